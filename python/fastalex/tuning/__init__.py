"""Kernel tuning: rules that choose kernels for layers (:mod:`.rules`), and measuring them (:mod:`.measure`)."""
