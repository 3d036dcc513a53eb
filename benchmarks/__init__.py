"""Measurement of fastalex on this machine, and the documents that are written from the results."""
