"""The self-test: every op on every backend against the naive one, without PyTorch and pytest, which boards lack."""
