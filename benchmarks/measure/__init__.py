"""Measurements: each module covers one subject or is the program of a worker process."""
