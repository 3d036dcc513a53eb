"""Tests of what the networks are."""
