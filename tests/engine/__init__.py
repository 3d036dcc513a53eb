"""Tests of the native engine on a CPU."""
