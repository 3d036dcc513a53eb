"""Tests of the class AlexNet."""
