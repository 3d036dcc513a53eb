"""The user's tuning cache: measurements of ``fastalex tune``, one JSON file per GPU and backend."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, List, Sequence, Tuple

from .. import _core
from .._util import cache_folder
from .._util.files import replacing
from .._version import __version__
from ..errors import UserError
from ..hardware.tuning_rule import Rule, parse_rule
from ..runtime.device_spec import DeviceSpec
from .trials import LINES, settings

CACHE_VERSION = 1


def cache_path(device: DeviceSpec) -> str:
    """Return the path of the file for this GPU; :func:`cache_key` is written inside."""
    assert device.gpu is not None
    name = re.sub(r"[^a-z0-9]+", "-", device.gpu.name.lower()).strip("-")
    return os.path.join(cache_folder.folder(), "tuning", f"{device.backend}-{name or 'gpu'}.json")


def cache_key(device: DeviceSpec) -> Dict[str, Any]:
    """Describe what the measurements are valid for: another GPU, driver, version or library may have other winners."""
    gpu = device.gpu
    assert gpu is not None
    library = os.path.join(os.path.dirname(_core.__file__), f"libfastalex_{device.backend}.so")
    size = os.path.getsize(library) if os.path.exists(library) else 0
    return {
        "gpu": gpu.name,
        "sm": gpu.sm,
        "driver": gpu.driver,
        "runtime": gpu.runtime,
        "fastalex": __version__,
        "library_bytes": size,
    }


def read_cache(device: DeviceSpec) -> Dict[str, Any]:
    """Read the measurements that were made with the present :func:`cache_key`.

    :returns: ``{"rules": [lines], "settings": [lines], "trials": [...]}``; the lists are empty if there are none or the
        file is broken.
    """
    empty: Dict[str, Any] = {"rules": [], "settings": [], "trials": []}
    try:
        with open(cache_path(device), encoding="utf-8") as stream:
            content = json.load(stream)
        if content["version"] != CACHE_VERSION or content["key"] != cache_key(device):
            return empty
        rules = [parse_rule(line).text for line in content["rules"]]
        lines = [str(line) for line in content.get("settings", ())]
        if not set(lines) <= set(LINES):
            return empty
        return {"rules": rules, "settings": lines, "trials": [dict(trial) for trial in content["trials"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return empty


def cached_rules(device: DeviceSpec) -> List[Rule]:
    """Return the rules that the user measured on this GPU."""
    return [parse_rule(line) for line in read_cache(device)["rules"]]


def cached_settings(device: DeviceSpec) -> List[str]:
    """Return the lines of the settings that the user measured to be better on this GPU."""
    return list(read_cache(device)["settings"])


def write_cache(device: DeviceSpec, rules: Sequence[Rule], trials: Sequence[Dict[str, Any]]) -> str:
    """Add ``rules`` and all trials of a measurement, losers included, to the cache; return its path.

    Earlier measurements of the same layers, precision and batches are replaced; the others stay.

    :raises UserError: if the file cannot be written.
    """
    before = read_cache(device)
    old_rules = [rule for rule in map(parse_rule, before["rules"]) if not _measured_again(rule, trials)]
    measured = {_measured_for(trial) for trial in trials}
    old = [trial for trial in before["trials"] if _measured_for(trial) not in measured]
    content = {
        "version": CACHE_VERSION,
        "key": cache_key(device),
        "rules": [rule.text for rule in [*rules, *old_rules]],
        "settings": settings([*trials, *old]),
        "trials": [*trials, *old],
    }
    path = cache_path(device)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with replacing(path) as stream:
            stream.write((json.dumps(content, indent=1) + "\n").encode("utf-8"))
    except (OSError, UserError) as error:
        raise UserError(f"the tuning cannot be kept in {path}: {getattr(error, 'strerror', None) or error}") from None
    return path


def _measured_for(trial: Dict[str, Any]) -> Tuple[str, str, int]:
    return trial["precision"], trial["key"], trial["batch"]


def _measured_again(rule: Rule, trials: Sequence[Dict[str, Any]]) -> bool:
    return any(
        (trial["precision"], trial["key"]) == (rule.precision, rule.key) and rule.first <= trial["batch"] <= rule.last
        for trial in trials
    )
