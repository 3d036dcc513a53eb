"""Tests of the documents and the build."""
