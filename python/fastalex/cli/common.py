"""What the commands share: the network that the options ask for, and what is said of it."""

from __future__ import annotations

import argparse
import re
from typing import Any, Dict, List, Optional

from .._version import __version__
from ..errors import UserError

OK, BROKEN, USAGE_ERROR, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141  # exit codes
MAX_BATCH = 4096

_SYNSET = re.compile(r"n\d{8} ")


def net_from(options: argparse.Namespace, **overrides: Any) -> Any:
    from ..model import AlexNet

    return AlexNet(
        options.variant,
        weights=options.weights,
        device=options.device,
        precision=options.precision,
        fc_weights=options.fc_weights,
        threads=options.threads,
        exact=options.exact,
        engine=options.engine,
        **overrides,
    )


def net_facts(net: Any) -> Dict[str, Any]:
    return {
        "version": __version__,
        "variant": net.variant.name,
        "device": net.device,
        "isa": isa(net),
        "threads": net.threads,
        "precision": net.precision,
        "fc_weights": net.fc_weights,
        "exact": net.exact,
        "tuning": net.tuning,
    }


def isa(net: Any) -> Optional[str]:
    from .. import _core

    return _core.cpu_isa() if net.device == "cpu" else None


def device_line(net: Any, options: argparse.Namespace) -> str:
    """``device auto chose cpu (v3, 2 threads)``: no choice is made in silence."""
    chosen = f"device auto chose {net.device}" if options.device == "auto" else f"device {net.device}"
    level = isa(net)
    threads = "1 thread" if net.threads == 1 else f"{net.threads} threads"
    return f"{chosen} ({level}, {threads})" if level else chosen


def check_file(options: argparse.Namespace, loaded: Any, variant: Any, arrays: Any) -> None:
    """Hold what was read against the file's own graph, unless --no-check says otherwise.

    :raises UserError: if they differ.
    """
    from ..selftest import files

    if not options.no_check:
        files.check(loaded, variant, arrays)


def profile_name(name: Optional[str]) -> Optional[str]:
    from ..images import profiles

    return profiles.get(name).name if name is not None else None


def read_labels(path: str, count: int) -> List[str]:
    """The names in a file, one a line; WordNet identifiers before them, as in ``ilsvrc12_synset_words.txt``, are cut.

    :raises UserError: if it cannot be read or has not ``count`` names.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            labels = [_SYNSET.sub("", line) for line in stream.read().splitlines()]
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a null character in the path
        raise UserError(f"the labels '{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None
    while labels and not labels[-1].strip():
        labels.pop()
    if len(labels) != count:
        raise UserError(f"the labels '{path}' are {len(labels)}, but the network has {count} classes")
    return labels


def not_negative(name: str, value: Optional[int]) -> int:
    if value is None or value < 0:
        raise UserError(f"{name} must not be below 0, not {value}")
    return value
