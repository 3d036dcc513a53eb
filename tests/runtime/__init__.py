"""Tests of a call on a GPU: its device, arrays, streams and frames, on the emulator."""
