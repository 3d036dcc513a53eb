"""Tests of the TensorRT plugins and engines."""
