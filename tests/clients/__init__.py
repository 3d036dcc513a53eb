"""Tests of the interfaces for other projects: readouts, extractors, JetBot, the examples."""
