"""Tests of preprocessing images for the network."""
