"""Tests of weights: files, downloads, the bundled network."""
