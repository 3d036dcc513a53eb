"""Functions shared by the commands: building a network from options, and describing it."""

from __future__ import annotations

import argparse
from typing import Any, Dict, Optional

from .._version import __version__
from ..errors import UserError

OK, BROKEN, USAGE_ERROR, PIPE_CLOSED = 0, 1, 2, 141  # exit codes; those of signals: signals.exit_code
MAX_BATCH = 4096


def net_from(options: argparse.Namespace, **overrides: Any) -> Any:
    """Build the :class:`~fastalex.AlexNet` that ``options`` describe, with ``overrides`` as further arguments."""
    from ..model import AlexNet

    return AlexNet(
        options.variant,
        weights=located(options.weights),
        device=options.device,
        precision=options.precision,
        fc_weights=options.fc_weights,
        threads=options.threads,
        exact=options.exact,
        fc_layout=options.fc_layout,
        engine=options.engine,
        mean_image=getattr(options, "mean", None),  # some commands prepare no images
        mmap=not getattr(options, "no_mmap", False),
        **overrides,
    )


def located(weights: Any) -> Any:
    """Return the path of ``weights`` that are named on a command line; random ones and arrays as they are.

    :raises UserError: if there are none of that name, or they cannot be downloaded.
    """
    from ..weights import registry

    return registry.locate(weights) if isinstance(weights, str) and weights != "random" else weights


def net_facts(net: Any) -> Dict[str, Any]:
    """Return the settings of ``net`` for JSON output."""
    return {
        "version": __version__,
        "variant": net.variant.name,
        "device": net.device,
        "isa": isa(net),
        "threads": net.threads,
        "precision": net.precision,
        "fc_weights": net.fc_weights,
        "exact": net.exact,
        "fc_layout": net.fc_layout,
        "tuning": net.tuning,
    }


def isa(net: Any) -> Optional[str]:
    """Return the instruction set that ``net`` uses; None if it does not run on the CPU backend."""
    from .. import _core

    return _core.cpu_isa() if net.device == "cpu" else None


def device_line(net: Any, options: argparse.Namespace) -> str:
    """Describe the device of ``net``, and that it was chosen: ``device auto chose cpu (v3, 2 threads)``."""
    chosen = f"device auto chose {net.device}" if options.device == "auto" else f"device {net.device}"
    instructions = isa(net)
    threads = "1 thread" if net.threads == 1 else f"{net.threads} threads"
    return f"{chosen} ({instructions}, {threads})" if instructions else chosen


def check_file(options: argparse.Namespace, loaded: Any, variant: Any, arrays: Any) -> None:
    """Compare the network with the graph in its weights file, unless --no-check is given.

    :raises UserError: if they differ.
    """
    from ..selftest import files

    if not options.no_check:
        files.check(loaded, variant, arrays)


def profile_name(name: Optional[str]) -> Optional[str]:
    """Return the full name of the preprocessing profile ``name``.

    :raises UserError: if there is no such profile.
    """
    from ..images import profiles

    return profiles.get(name).name if name is not None else None


def not_negative(name: str, value: Optional[int]) -> int:
    """Return ``value`` of the option ``name``.

    :raises UserError: if it is negative or None.
    """
    if value is None or value < 0:
        raise UserError(f"{name} must be 0 or more, not {value}")
    return value
