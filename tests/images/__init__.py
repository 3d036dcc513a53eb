"""Tests of the way from an image to the network's input."""
