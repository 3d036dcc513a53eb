"""What the results of a read-out follow from, as it is written down beside them, and where two of them differ."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from typing import Any, Dict, List, Optional

import numpy as np

from .. import _core
from .._version import __version__
from ..errors import UserError
from ..hardware import devices
from ..images import profiles
from .reductions import Reductions
from .sources import Source

_SHOWN = 3  # differences that a sentence names
_HASH = 12  # digits of a hash that it shows

# Setting -> what a sentence calls it; the most telling first.
_WORDS = {
    "weights": "the weights",
    "variant": "the variant",
    "profile": "the profile",
    "profile_sha256": "the profile's content",
    "mean_image": "the mean image",
    "source": "the source",
    "images": "the number of images",
    "images_sha256": "the list of images",
    "reads": "the layers",
    "format": "the format",
    "dtype": "the dtype",
    "reductions": "the reductions",
    "fitted": "the fitted files",
    "shard": "the shard",
    "batch": "the batch",
    "isa": "the instruction set",
    "version": "the version of fastalex",
    "scikit_learn": "the version of scikit-learn",
}
_PLURAL = ("weights", "reads", "reductions", "fitted")


def of_network(net: Any, profile: profiles.Profile) -> Dict[str, Any]:
    """Return the settings that say what a value is of: weights, precision, preprocessing, instructions."""
    mean = net.mean_image
    return {
        "version": __version__,
        "variant": net.variant.name,
        "weights": net.fingerprint(),
        "device": net.device,
        "isa": _core.cpu_isa() if net.device == "cpu" else None,
        "precision": net.precision,
        "exact": net.exact,
        "fc_weights": net.fc_weights,
        "profile": profile.name,
        "profile_sha256": _hash(dataclasses.asdict(profile)),
        "mean_image": None if mean is None else hashlib.sha256(mean.tobytes()).hexdigest(),
    }


def of_source(source: Source) -> Dict[str, Any]:
    """Return the settings that say which images there are, once they are counted."""
    return {"source": source.where, "images": len(source), "images_sha256": source.sha256}


def of_reductions(reductions: Reductions) -> Dict[str, Any]:
    """Return the settings of the reductions, with the version of the library that computes them."""
    library: Optional[str] = None
    if reductions.project is not None or reductions.pca is not None:
        from . import packages

        library = packages.needed("sklearn", "a projection").__version__
    return {"reductions": dict(reductions._asdict()), "scikit_learn": library}


def machine(net: Any) -> Dict[str, Any]:
    """Return facts about the machine, which are written down and not compared."""
    return {
        "node": platform.node(),
        "processor": devices.cpu().model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": net.threads,
        "tuning": net.tuning,
    }


def differences(before: Dict[str, Any], now: Dict[str, Any], here: str = "here") -> str:
    """Say in half a sentence where two runs differ: "the profile differs: brainscore there, thingsvision here"."""
    keys = [key for key in dict.fromkeys([*_WORDS, *now, *before]) if before.get(key) != now.get(key)]
    said_before = {"layers": "reads", "profile_sha256": "profile"}
    keys = [key for key in keys if said_before.get(key) not in keys]
    words = [
        f"{_WORDS.get(key, key)} {'differ' if key in _PLURAL else 'differs'}: "
        f"{_shown(key, before.get(key))} there, {_shown(key, now.get(key))} {here}"
        for key in keys[:_SHOWN]
    ]
    return "; ".join(words) + (f"; and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def _shown(key: str, value: Any) -> str:
    if isinstance(value, dict):
        value = " ".join(f"{name}={item}" if name != item else name for name, item in value.items())
    text = "none" if value is None else str(value)
    return text[:_HASH] if len(text) == 64 else text[:80]


def refuse_other(folder: str, before: Dict[str, Any], now: Dict[str, Any]) -> None:
    """Check that results are those of a run with the settings ``now``.

    :raises UserError: if they are not, saying where they differ.
    """
    if before != now:
        raise UserError(
            f"'{folder}' has results of other images, another network or other settings "
            f"({differences(before, now)}); choose another folder, or --restart"
        )


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def shards_differ(folders: List[str], settings: List[Dict[str, Any]]) -> Optional[str]:
    """Return a sentence about the first shard that another run made than the first one, if there is one."""
    first = dict(settings[0], shard=None)
    for folder, one in zip(folders[1:], settings[1:]):
        if dict(one, shard=None) != first:
            return f"'{folders[0]}' and '{folder}' differ, {differences(first, dict(one, shard=None), 'in the second')}"
    return None
