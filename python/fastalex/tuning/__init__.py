"""Kernel tuning: which kernel serves a layer (:mod:`.rules`), and measuring it on the GPU at hand (:mod:`.measure`)."""
