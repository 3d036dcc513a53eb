"""Readers of weights files, one a format, and what they share."""
