"""Measure fastalex on this machine and write the documents that show the results."""
