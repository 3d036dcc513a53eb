"""The user's tuning cache: measurements of ``fastalex tune``, one JSON file per GPU and backend."""

from __future__ import annotations

import json
import os
import re
import stat
import warnings
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .. import _core
from .._util import cache_folder
from .._util.files import locked, replacing
from .._version import __version__
from ..errors import UserError
from ..hardware.tuning_rule import Rule, parse_rule
from ..runtime.device_spec import DeviceSpec
from .trials import LINES, Trial, settings

CACHE_VERSION = 1
MAX_CHARACTERS = 64 << 20  # of a file
_NUMBER = (int, float, type(None))
_FIELDS = {  # of a trial that are used, and their types
    "precision": (str,),
    "key": (str,),
    "batch": (int,),
    "candidate": (str,),
    "verdict": (str,),
    "ms": _NUMBER,
    "noise_ms": _NUMBER,
}


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


class Measurements(NamedTuple):
    """What the cache holds for one GPU: rules, lines of settings, and all trials."""

    rules: List[Rule]
    settings: List[str]
    trials: List[Trial]


def read_cache(device: DeviceSpec) -> Measurements:
    """Read the measurements that were made with the present :func:`cache_key`; empty if there are none.

    A file that is broken counts as none, with a warning.
    """
    path = cache_path(device)
    try:
        content = _content(path)
        if content is None or (content["version"], content["key"]) != (CACHE_VERSION, cache_key(device)):
            return Measurements([], [], [])
        return _measurements(content)
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError, MemoryError):
        warnings.warn(f"the cached tuning in {path} is broken and is not used; run fastalex tune again", stacklevel=2)
        return Measurements([], [], [])


def write_cache(device: DeviceSpec, rules: Sequence[Rule], trials: Sequence[Trial]) -> str:
    """Add ``rules`` and all trials of a measurement, losers included, to the cache; return its path.

    Earlier measurements of the same layers, precision and batches are replaced; the others stay, as do those that other
    processes add at the same time.

    :raises UserError: if the file cannot be written.
    """
    path = cache_path(device)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".lock", "ab") as lock, locked(lock):
            content = _merged(device, rules, trials)
            with replacing(path, tidy=True) as stream:
                stream.write((json.dumps(content, indent=1) + "\n").encode("utf-8"))
    except (OSError, UserError) as error:
        raise UserError(f"the tuning cannot be kept in {path}: {getattr(error, 'strerror', None) or error}") from None
    return path


def _content(path: str) -> Optional[Dict[str, Any]]:
    """Return the JSON object in the file, or None if there is no file.

    :raises OSError: if it cannot be read, :raises ValueError: if it is none.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait forever
            raise ValueError
        with open(path, encoding="utf-8") as stream:
            text = stream.read(MAX_CHARACTERS + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    content = json.loads(text) if len(text) <= MAX_CHARACTERS else None
    if not isinstance(content, dict):
        raise ValueError
    return content


def _measurements(content: Mapping[str, Any]) -> Measurements:
    """Check every field of the file, so that nothing that uses them can fail.

    :raises ValueError: or another error if a field is missing or of another kind.
    """
    lines = list(content.get("settings", ()))
    if not set(lines) <= set(LINES):
        raise ValueError
    return Measurements(list(map(parse_rule, content["rules"])), lines, list(map(_trial, content["trials"])))


def _trial(values: Any) -> Trial:
    trial = dict(values)
    for name, kinds in _FIELDS.items():
        if type(trial[name]) not in kinds:
            raise ValueError
    if trial["ms"] is None:
        trial["noise_ms"] = None
    else:
        float(trial["ms"]) + float(trial["noise_ms"])  # JSON has numbers that no float holds
    return trial


def _merged(device: DeviceSpec, rules: Sequence[Rule], trials: Sequence[Trial]) -> Dict[str, Any]:
    before = read_cache(device)
    old_rules = [rule for rule in before.rules if not _measured_again(rule, trials)]
    measured = {_measured_for(trial) for trial in trials}
    old = [trial for trial in before.trials if _measured_for(trial) not in measured]
    return {
        "version": CACHE_VERSION,
        "key": cache_key(device),
        "rules": [rule.text for rule in dict.fromkeys([*rules, *old_rules])],
        "settings": settings([*trials, *old]),
        "trials": [*trials, *old],
    }


def _measured_for(trial: Trial) -> Tuple[str, str, int]:
    return trial["precision"], trial["key"], trial["batch"]


def _measured_again(rule: Rule, trials: Sequence[Trial]) -> bool:
    return any(
        (trial["precision"], trial["key"]) == (rule.precision, rule.key) and rule.first <= trial["batch"] <= rule.last
        for trial in trials
    )
