"""Tests of the definitions of the networks."""
