"""Tuning rules: which kernel serves a layer, from the user's own measurements and from the device files.

The text that the native engine reads has one rule a line (grammar: ``csrc/include/fastalex.h``), and the first that
fits is followed: the rules of the user's cache, written by ``fastalex tune``, then those of the device file. Where none
fits, the engine's cost model chooses.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Sequence

from . import __version__, _core, cache
from .errors import UserError
from .files import replacing
from .placement import Gpu, Placement
from .tuning_rules import Rule, parse_rule

if TYPE_CHECKING:
    from . import devices

CACHE_VERSION = 1


class Tuning(NamedTuple):
    """Rules for the native engine, and where they come from."""

    text: str
    source: str
    cached: bool = False


def choose(placement: Placement, engine: str = "") -> Tuning:
    """The rules for a GPU: the user's cache over the device file over none. A broken cache counts as none.

    :param engine: of :data:`fastalex.placement.ENGINE_MODES`, where the backend runs engines. What the user measured is
        not for them: it is of whole networks without TensorRT.
    """
    if placement.gpu is None:
        return Tuning("", "")
    file = of_device_file(placement.gpu)
    if placement.engines:
        return _with_engine(placement.gpu, file, engine)
    rules = cached_rules(placement)
    if not rules:
        return file
    source = "measured by fastalex tune, %s" % cache_path(placement)
    return Tuning("".join(rule.text + "\n" for rule in rules) + file.text, source, cached=True)


def known_as(gpu: Gpu) -> devices.Recognition:
    """The device file that knows the GPU. Raises nothing: without device files none does."""
    from . import devices  # only a GPU has them: reading the files takes time

    try:
        return devices.recognise_gpu(gpu.name, gpu.sm, gpu.memory_bytes / 2**20, gpu.integrated)
    except UserError as error:
        return devices.Recognition(None, None, str(error))


def of_device_file(gpu: Gpu) -> Tuning:
    """The rules of the device file that knows the GPU."""
    found = known_as(gpu)
    if found.device is None or found.device.tuning is None:
        return Tuning("", "none: %s" % found.reason)
    tuning = found.device.tuning
    lines = ["graphs %s" % ("on" if tuning.graphs else "off"), *tuning.rules]
    basis = "%d rules, %s" % (len(tuning.rules), tuning.basis) if tuning.rules else "no rules: the cost model chooses"
    return Tuning("\n".join(lines) + "\n", "devices/%s.toml (%s)" % (found.device.name, basis))


def engine_folder() -> str:
    """Where engines are kept."""
    return os.path.join(cache.folder(), "engines")


def _with_engine(gpu: Gpu, file: Tuning, mode: str) -> Tuning:
    """The rules of the device file for the plugins, and what it says of engines."""
    lines = ["engine cache %s" % os.path.abspath(engine_folder()), "engine progress"]
    device = known_as(gpu).device
    choice = device.engine if device else None
    if mode == "native":
        lines.append("engine native")
        named = "TensorRT's own layers alone"
    else:
        lines.append(" ".join(["engine plugins", *(choice.plugins if choice else ())]))
        named = "plugins %s (%s)" % (", ".join(choice.plugins), choice.basis) if choice else "no choice of plugins"
    return Tuning(file.text + "\n".join(lines) + "\n", "%s, %s" % (file.source, named))


# The user's cache ---------------------------------------------------------------------------------------------------


def cache_path(placement: Placement) -> str:
    """The file for this GPU; :func:`cache_key` is written inside."""
    assert placement.gpu is not None
    name = re.sub(r"[^a-z0-9]+", "-", placement.gpu.name.lower()).strip("-")
    return os.path.join(cache.folder(), "tuning", "%s-%s.json" % (placement.backend, name or "gpu"))


def cache_key(placement: Placement) -> Dict[str, Any]:
    """What measurements are good for: another GPU, driver, version or library may have other winners."""
    gpu = placement.gpu
    assert gpu is not None
    library = os.path.join(os.path.dirname(_core.__file__), "libfastalex_%s.so" % placement.backend)
    size = os.path.getsize(library) if os.path.exists(library) else 0
    return {
        "gpu": gpu.name,
        "sm": gpu.sm,
        "driver": gpu.driver,
        "runtime": gpu.runtime,
        "fastalex": __version__,
        "library_bytes": size,
    }


def read_cache(placement: Placement) -> Dict[str, Any]:
    """``{"rules": [lines], "trials": [...]}`` that were measured with this key; empty lists where there are none."""
    empty: Dict[str, Any] = {"rules": [], "trials": []}
    try:
        with open(cache_path(placement), encoding="utf-8") as stream:
            found = json.load(stream)
        if found["version"] != CACHE_VERSION or found["key"] != cache_key(placement):
            return empty
        rules = [parse_rule(line).text for line in found["rules"]]
        return {"rules": rules, "trials": [dict(trial) for trial in found["trials"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return empty


def cached_rules(placement: Placement) -> List[Rule]:
    """The rules that the user measured on this GPU."""
    return [parse_rule(line) for line in read_cache(placement)["rules"]]


def write_cache(placement: Placement, rules: Sequence[Rule], trials: Sequence[Dict[str, Any]]) -> str:
    """Put ``rules`` and every trial of the measurement, losers included, into the cache; returns its path.

    What was measured before of the same layers, precision and batches is replaced; other measurements stay.

    :raises UserError: if the folder cannot be written.
    """
    before = read_cache(placement)
    kept = [rule for rule in map(parse_rule, before["rules"]) if not _measured_again(rule, trials)]
    old = [trial for trial in before["trials"] if _place(trial) not in {_place(one) for one in trials}]
    content = {
        "version": CACHE_VERSION,
        "key": cache_key(placement),
        "rules": [rule.text for rule in [*rules, *kept]],
        "trials": [*trials, *old],
    }
    path = cache_path(placement)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with replacing(path) as stream:
            stream.write((json.dumps(content, indent=1) + "\n").encode("utf-8"))
    except (OSError, UserError) as error:
        raise UserError(
            "the tuning cannot be kept in %s: %s" % (path, getattr(error, "strerror", None) or error)
        ) from None
    return path


def _place(trial: Dict[str, Any]) -> Any:
    return trial["precision"], trial["key"], trial["batch"]


def _measured_again(rule: Rule, trials: Sequence[Dict[str, Any]]) -> bool:
    return any(
        (trial["precision"], trial["key"]) == (rule.precision, rule.key) and rule.first <= trial["batch"] <= rule.last
        for trial in trials
    )
