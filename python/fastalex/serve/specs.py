"""What the command line says of a model: its name, its file and its options."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Dict, Optional, Tuple

from .._util.arguments import one_of
from ..errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")  # what a URL takes without escapes
_OPTION = re.compile(r"([a-z_-]+)=(.*)$", re.DOTALL)


@dataclass(frozen=True)
class ModelSpec:
    """A model that the server may load: ``NAME=FILE,OPTION=VALUE,...``, or the name of published weights alone.

    The options are arguments of :class:`fastalex.AlexNet`; ``profile`` is the preprocessing of its images,
    ``labels`` a file of its class names.
    """

    name: str
    file: str
    variant: Optional[str] = None
    device: str = "auto"
    precision: str = "fp32"
    fc_weights: Optional[str] = None
    fc_layout: Optional[str] = None
    profile: Optional[str] = None
    labels: Optional[str] = None
    threads: Optional[int] = None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Read ``text`` as the command line has it.

        :raises UserError: for a name or an option that does not exist.
        """
        file, options = _split(text, tuple(field.name for field in fields(cls))[2:], "--model")
        name, equals, path = file.partition("=")
        if not _NAME.match(name) or (equals and not path):
            raise UserError(
                f"--model {text}: say NAME=FILE, where the name has up to 64 letters, digits, '.', '_' and '-', or the "
                "name of published weights (fastalex weights)"
            )
        return cls(name, path or name, **options)


@dataclass(frozen=True)
class LpipsSpec:
    """The perceptual distance that the server offers: ``WEIGHTS,OPTION=VALUE,...``."""

    weights: str
    heads: Optional[str] = None
    version: str = "0.1"
    device: str = "auto"
    precision: str = "fp32"
    threads: Optional[int] = None

    @classmethod
    def parse(cls, text: str) -> LpipsSpec:
        """Read ``text`` as the command line has it.

        :raises UserError: for an option that does not exist.
        """
        weights, options = _split(text, tuple(field.name for field in fields(cls))[1:], "--lpips")
        if not weights:
            raise UserError("--lpips needs weights of the convolutions first: a file, or 'torchvision'")
        return cls(weights, **options)


def _split(text: str, allowed: Tuple[str, ...], flag: str) -> Tuple[str, Dict[str, Any]]:
    """Split ``FILE,OPTION=VALUE,...`` at the commas before options, so that the name of a file may have commas."""
    parts = text.split(",")
    options: Dict[str, Any] = {}
    while len(parts) > 1:
        match = _OPTION.match(parts[-1])
        if match is None:
            break
        name = match.group(1).replace("-", "_")
        one_of(f"an option of {flag}", name, allowed)
        options.setdefault(name, _whole(flag, name, match.group(2)) if name == "threads" else match.group(2))
        parts.pop()
    return ",".join(parts), options


def _whole(flag: str, name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) == int(text):
        raise UserError(f"{flag}: {name} must be a whole number above 0, not '{text}'")
    return int(text)
