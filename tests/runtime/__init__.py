"""Tests of calls on a GPU: device, arrays, streams and frames, on the emulator."""
