"""Figures for papers, drawn by matplotlib (extra ``[plot]``) from the results of :mod:`fastalex.inspection`."""
