"""Tests of LPIPS."""
