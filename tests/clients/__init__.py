"""Tests of what other projects use: readouts, extractors, JetBot, the examples."""
