"""Readers of weights files, a module for each format, and the modules that they share."""
