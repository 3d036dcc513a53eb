"""Tests of calibration and quantized weights."""
