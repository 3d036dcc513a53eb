"""Tests of the device files."""
