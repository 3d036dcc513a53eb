"""Errors of measurements; the command exits with 1."""

from __future__ import annotations


class MeasurementError(RuntimeError):
    """A measurement failed; the message is one sentence."""


class ChildError(MeasurementError):
    """A measuring process failed; the message ends with the last line it wrote to stderr."""


class EngineError(MeasurementError):
    """An engine could not do what it was asked."""


class WrongResultError(MeasurementError):
    """A result differs from its reference by more than the tolerance."""


class StoppedError(MeasurementError):
    """The user stopped the run (Ctrl-C); the message names the file with everything measured until then."""
