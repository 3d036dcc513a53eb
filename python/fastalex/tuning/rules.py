"""Tuning rules: which kernel serves a layer, from the user's own measurements and from the device files.

The text that the native engine reads has one rule a line (grammar: ``csrc/include/fastalex.h``), and the first that
fits is followed: the rules of the user's cache, written by ``fastalex tune``, then those of the device file. Where none
fits, the engine's cost model chooses. Of settings (``graphs off``) the last line counts: the user's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .._util import cache_folder
from ..errors import UserError
from ..runtime.device_spec import DeviceSpec, Gpu
from .user_cache import cache_path, cached_rules, cached_settings

if TYPE_CHECKING:
    from ..hardware import devices


class Tuning(NamedTuple):
    """Rules for the native engine, and where they come from."""

    text: str
    source: str
    cached: bool = False


def choose(device: DeviceSpec, engine: str = "") -> Tuning:
    """The rules for a GPU: the user's cache over the device file over none. A broken cache counts as none.

    :param engine: one of :data:`fastalex.runtime.device_spec.ENGINE_MODES`, where the backend runs engines. They
        ignore the user's cache: it was measured without TensorRT.
    """
    if device.gpu is None:
        return Tuning("", "")
    file = of_device_file(device.gpu)
    if device.engines:
        return _with_engine(device.gpu, file, engine)
    rules, settings = cached_rules(device), cached_settings(device)
    if not rules and not settings:
        return file
    source = f"measured by fastalex tune, {cache_path(device)}"
    before, after = ("".join(line + "\n" for line in lines) for lines in ([rule.text for rule in rules], settings))
    return Tuning(before + file.text + after, source, cached=True)


def known_as(gpu: Gpu) -> devices.Recognition:
    """The device file that knows the GPU. Raises nothing: without device files none does."""
    from ..hardware import devices  # only a GPU has them: reading the files takes time

    try:
        return devices.recognize_gpu(gpu.name, gpu.sm, gpu.memory_bytes / 2**20, gpu.integrated)
    except UserError as error:
        return devices.Recognition(None, None, str(error))


def of_device_file(gpu: Gpu) -> Tuning:
    """The rules of the device file that knows the GPU."""
    found = known_as(gpu)
    if found.device is None or found.device.tuning is None:
        return Tuning("", f"none: {found.reason}")
    tuning = found.device.tuning
    lines = [f"graphs {'on' if tuning.graphs else 'off'}", *tuning.rules]
    if not tuning.rules:
        return Tuning(lines[0] + "\n", f"devices/{found.device.name}.toml (no rules: the cost model chooses)")
    facts = (found.device.name, len(tuning.rules), tuning.basis)
    return Tuning("\n".join(lines) + "\n", "devices/tuning/%s.toml (%d rules, %s)" % facts)


def engine_folder() -> str:
    """Where engines are kept."""
    return os.path.join(cache_folder.folder(), "engines")


def _with_engine(gpu: Gpu, file: Tuning, mode: str) -> Tuning:
    """The rules of the device file for the plugins, and what it says of engines."""
    lines = [f"engine cache {os.path.abspath(engine_folder())}", "engine progress"]
    device = known_as(gpu).device
    choice = device.engine if device else None
    if mode == "native":
        lines.append("engine native")
        named = "TensorRT's own layers alone"
    else:
        lines.append(" ".join(["engine plugins", *(choice.plugins if choice else ())]))
        named = f"plugins {', '.join(choice.plugins)} ({choice.basis})" if choice else "no choice of plugins"
    return Tuning(file.text + "\n".join(lines) + "\n", f"{file.source}, {named}")
