"""Experiments in training: what the ideas of the 2012 paper do."""
