"""Tuning rules for the native engine, from the user's own measurements and from the device files.

A rule chooses the kernel of a layer. The text has one per line (grammar: ``csrc/include/fastalex.h``), and the first
that fits a layer applies: first the rules of the user's cache, written by ``fastalex tune``, then those of the device
file. If none fits, the engine's cost model chooses. Of settings (``graphs off``) the last line applies, the user's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .._util import cache_folder
from ..errors import UserError
from ..runtime.device_spec import DeviceSpec, Gpu
from .user_cache import cache_path, read_cache

if TYPE_CHECKING:
    from ..hardware import devices


class Tuning(NamedTuple):
    """The text of rules for the native engine, and their source; ``cached``: the user's cache has a part in it."""

    text: str
    source: str
    cached: bool = False


def choose(device: DeviceSpec, engine: str = "") -> Tuning:
    """Choose the rules for a device: the user's cache over the device file over none; none without a GPU.

    A broken cache is ignored. TensorRT engines ignore the user's cache: it was measured without TensorRT.

    :param engine: one of :data:`fastalex.runtime.device_spec.ENGINE_MODES`, if the backend runs engines.
    """
    if device.gpu is None:
        return Tuning("", "")
    file = of_device_file(device.gpu)
    if device.engines:
        return _with_engine(device.gpu, file, engine)
    cached = read_cache(device)
    if not cached.rules and not cached.settings:
        return file
    source = f"measured by fastalex tune, {cache_path(device)}"
    before, after = (
        "".join(line + "\n" for line in lines) for lines in ([rule.text for rule in cached.rules], cached.settings)
    )
    return Tuning(before + file.text + after, source, cached=True)


def known_as(gpu: Gpu) -> devices.Recognition:
    """Recognize the GPU by the device files; nothing is raised if these are missing."""
    from ..hardware import devices  # reading the files takes time, and a CPU needs none

    try:
        return devices.recognize_gpu(gpu.name, gpu.sm, gpu.memory_bytes / 2**20, gpu.integrated)
    except UserError as error:
        return devices.Recognition(None, None, str(error))


def of_device_file(gpu: Gpu) -> Tuning:
    """Return the rules in the device file of the GPU."""
    recognition = known_as(gpu)
    device = recognition.device
    if device is None or device.tuning is None:
        return Tuning("", f"none: {recognition.reason}")
    tuning = device.tuning
    lines = [f"graphs {'on' if tuning.graphs else 'off'}", *tuning.rules]
    if not tuning.rules:
        return Tuning(lines[0] + "\n", f"devices/{device.name}.toml (no rules: the cost model chooses)")
    source = f"devices/tuning/{device.name}.toml ({len(tuning.rules)} rules, {tuning.basis})"
    return Tuning("\n".join(lines) + "\n", source)


def engine_folder() -> str:
    """Return the folder of the user's cache of TensorRT engines."""
    return os.path.join(cache_folder.folder(), "engines")


def _with_engine(gpu: Gpu, file: Tuning, mode: str) -> Tuning:
    """Add the settings of TensorRT engines to the rules of the device file, which apply to plugins."""
    lines = [f"engine cache {os.path.abspath(engine_folder())}", "engine progress"]
    device = known_as(gpu).device
    choice = device.engine if device else None
    if mode == "native":
        lines.append("engine native")
        layers = "TensorRT's own layers alone"
    else:
        lines.append(" ".join(["engine plugins", *(choice.plugins if choice else ())]))
        layers = f"plugins {', '.join(choice.plugins)} ({choice.basis})" if choice else "no choice of plugins"
    return Tuning(file.text + "\n".join(lines) + "\n", f"{file.source}, {layers}")
