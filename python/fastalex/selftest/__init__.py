"""Self-test: every op on every backend against the naive one. It needs no PyTorch and no pytest, so boards run it."""
