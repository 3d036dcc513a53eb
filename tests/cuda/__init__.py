"""Tests of the CUDA backend, on the emulator and on a GPU."""
