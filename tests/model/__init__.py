"""Tests of AlexNet, the object."""
