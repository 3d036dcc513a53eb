"""Experiments in training: the effect of the ideas of the 2012 paper."""
