"""Tests of videos, cameras and pipelines."""
