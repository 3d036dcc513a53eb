"""Devices as data: the abilities of boards and cards, and recognition of the one in this machine.

The data is in ``devices/<name>.toml`` (installed as ``fastalex/data/devices/``), each number with its source. Peaks are
computed from the number of SMs, the clock, and the rate per SM and clock (:meth:`Card.peak_tflops`).
"""

from __future__ import annotations

import difflib
import functools
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ..errors import UserError
from .tuning_rule import parse_rule

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = ("jetson", "card")
BASES = ("predicted", "measured")  # of tuning rules and of the choice of plugins
RATES = ("fp32", "fp16", "fp16_tensor", "fp16_tensor_fp32", "int8_tensor")
_SMI = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_SMI_TIMEOUT_S = 10.0
# Range of the reported memory over the nominal: 14486 MiB on an Orin NX 16GB (its deviceQuery, devices/orin.toml).
_REPORTED_MEMORY = (0.75, 1.05)


@dataclass(frozen=True)
class Card:
    """One member of a device family.

    ``clock_mhz`` is the highest (boost) clock, ``tensor_clock_mhz`` the clock under tensor-core load if it differs.
    ``bandwidth_gb_s`` is DRAM bandwidth in 1e9 bytes per second. ``rates`` are fused multiply-adds per SM and clock,
    by kind (:data:`RATES`), without the kinds that have no source. ``match`` is a regular expression for the name in
    nvidia-smi or, on a Jetson, in the device tree; empty, it matches every member of the family.
    """

    name: str
    device: str
    sms: int
    clock_mhz: float
    bandwidth_gb_s: float
    rates: Mapping[str, int]
    l2_kib: Optional[int] = None
    memory_gib: Optional[float] = None
    power_w: Optional[float] = None
    tensor_clock_mhz: Optional[float] = None
    match: str = ""

    def peak_tflops(self, rate: str) -> Optional[float]:
        """Compute the peak in 1e12 operations per second, SMs x clock x rate x 2; None if the rate is unknown.

        :param rate: a kind in :data:`RATES`. A multiply-add counts as two operations.
        :raises UserError: for another kind.
        """
        if rate not in RATES:
            raise UserError(f"there is no rate '{rate}' (there are: {', '.join(RATES)})")
        if rate not in self.rates:
            return None
        clock = self.tensor_clock_mhz if "tensor" in rate and self.tensor_clock_mhz else self.clock_mhz
        return self.sms * clock * 1e6 * self.rates[rate] * 2 / 1e12

    def fits(self, name: str, memory_mib: Optional[float]) -> bool:
        """Whether a GPU or board of this ``name`` and memory (None: unknown) can be this card."""
        if not re.search(self.match, name):
            return False
        if memory_mib is None or self.memory_gib is None:
            return True
        return _REPORTED_MEMORY[0] <= memory_mib / (self.memory_gib * 1024) <= _REPORTED_MEMORY[1]


@dataclass(frozen=True)
class DeviceTuning:
    """The setup of the CUDA engine for a device.

    ``graphs``: a network runs as one CUDA graph. ``rules``: the kernels for layers (:mod:`.tuning_rule`). ``basis``:
    whether the rules were ``measured`` or are ``predicted``, and ``source`` by what.
    """

    graphs: bool
    rules: Tuple[str, ...] = ()
    basis: str = "predicted"
    source: str = ""


@dataclass(frozen=True)
class EngineChoice:
    """The plugins of fastalex that a TensorRT engine uses wherever it can.

    Other layers are TensorRT's own, unless it has none. ``basis``: whether the choice was ``measured`` or is
    ``predicted``; ``source``: the reason.
    """

    plugins: Tuple[str, ...]
    basis: str
    source: str


@dataclass(frozen=True)
class Device:
    """A board or a family of cards: one file in ``devices/``.

    ``limits`` are per SM and per block (KiB, registers, threads), ``abilities`` are the instructions it has, and
    ``software`` is the last JetPack, CUDA and TensorRT that support it. A board is recognized by ``device_tree``
    (words in its model, without those of ``device_tree_not``), a card by the regular expression ``gpu_name``.
    """

    name: str
    title: str
    kind: str
    compute_capability: Tuple[int, int]
    limits: Mapping[str, int]
    abilities: Mapping[str, Any]
    software: Mapping[str, str]
    cards: Tuple[Card, ...]
    device_tree: Tuple[str, ...] = ()
    device_tree_not: Tuple[str, ...] = ()
    gpu_name: str = ""
    tuning: Optional[DeviceTuning] = None
    engine: Optional[EngineChoice] = None

    def card(self, name: str) -> Card:
        """Return the card called ``name``; case and a leading vendor or family word do not matter.

        :raises UserError: if there is none.
        """
        plain = _plain(name)
        for card in self.cards:
            if plain in (_plain(card.name), _plain(card.name).replace("geforce", "", 1)):
                return card
        names = [card.name for card in self.cards]
        raise UserError(f"{self.name} has no card '{name}'{_hint(name, names)} (there are: {', '.join(names)})")

    def owns_board(self, model: str) -> bool:
        """Whether ``model``, the text of /proc/device-tree/model, is one of this device's boards."""
        excluded = any(word in model for word in self.device_tree_not)
        return any(word in model for word in self.device_tree) and not excluded

    def owns_gpu(self, name: str) -> bool:
        """Whether ``name``, as nvidia-smi prints it, belongs to this family."""
        return bool(self.gpu_name and re.search(self.gpu_name, name))


@dataclass(frozen=True)
class Cpu:
    """A processor; ``isa`` has the flags (x86) or features (Arm) that the kernel reports."""

    model: str
    machine: str
    cores: int
    isa: Tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Probes:
    """The sources of :func:`recognize` and :func:`cpu`: functions that return text, or None, and never raise."""

    device_tree_model: Callable[[], Optional[str]] = lambda: read_text("/proc/device-tree/model")
    nvidia_smi: Callable[[], Optional[str]] = lambda: run_nvidia_smi()
    cpuinfo: Callable[[], Optional[str]] = lambda: read_text("/proc/cpuinfo")
    meminfo: Callable[[], Optional[str]] = lambda: read_text("/proc/meminfo")
    machine: Callable[[], str] = platform.machine


@dataclass(frozen=True)
class Recognition:
    """The device and card of a machine, None where they are unknown, and the ``reason`` in one sentence."""

    device: Optional[Device]
    card: Optional[Card]
    reason: str


def directory() -> Path:
    """Return the folder of the device files, in the installed package or else in a source checkout.

    :raises UserError: if neither exists.
    """
    here = Path(__file__).resolve()
    for folder in (here.parents[1] / "data" / "devices", here.parents[3] / "devices"):
        if folder.is_dir():
            return folder
    raise UserError("the device files are missing: install fastalex again")


@functools.lru_cache(maxsize=None)
def load_all() -> Mapping[str, Device]:
    """Read every device file: name -> device, boards first, then cards, each by compute capability.

    :raises UserError: for a file that is not valid.
    """
    devices = [_load(path) for path in sorted(directory().glob("*.toml"))]
    devices.sort(key=lambda device: (KINDS.index(device.kind), device.compute_capability, device.name))
    return MappingProxyType({device.name: device for device in devices})


def get(name: str) -> Device:
    """Return the device called ``name``.

    :raises UserError: if there is none; the message suggests a similar name.
    """
    devices = load_all()
    if name not in devices:
        raise UserError(f"there is no device '{name}'{_hint(name, devices)} (there are: {', '.join(devices)})")
    return devices[name]


def recognize(probes: Optional[Probes] = None) -> Recognition:
    """Recognize this machine's device; nothing on the machine makes this raise.

    The device tree comes first: a Jetson has one, and its nvidia-smi, if any, tells little.
    """
    probes = probes or Probes()
    model = clean(probes.device_tree_model())
    for device in load_all().values():
        if model and device.owns_board(model):
            return _with_card(device, model, _total_memory_mib(probes.meminfo()), f"the board says '{model}'")
    listing = probes.nvidia_smi()
    gpus = _gpus(listing)
    for name, memory in gpus:
        for device in load_all().values():
            if device.owns_gpu(name):
                return _with_card(device, name, memory, f"nvidia-smi names '{name}'")
    board = f"the board says '{model}'" if model else "there is no /proc/device-tree/model"
    if gpus:
        cards = "nvidia-smi names {}".format(", ".join(f"'{name}'" for name, _ in gpus))
    else:
        cards = "nvidia-smi is missing or fails" if listing is None else "nvidia-smi names no GPU"
    return Recognition(None, None, f"{board}, and {cards}")


def recognize_gpu(name: str, sm: int, memory_mib: Optional[float], integrated: bool) -> Recognition:
    """Recognize a GPU by the CUDA runtime's ``name`` and compute capability ``sm`` (75 for 7.5).

    The name of a Jetson's GPU says nothing: the board of its compute capability is returned, without a card.
    """
    reason = f"CUDA names '{name}', sm_{sm}"
    for device in load_all().values():
        major, minor = device.compute_capability
        if 10 * major + minor != sm:
            continue
        if integrated and device.kind == "jetson":
            return Recognition(device, None, reason)
        if not integrated and device.owns_gpu(name):
            return _with_card(device, name, memory_mib, reason)
    return Recognition(None, None, reason + ", which no file of devices/ describes")


def cpu(probes: Optional[Probes] = None) -> Cpu:
    """Describe this machine's processor from /proc/cpuinfo, which x86 and Arm write differently."""
    probes = probes or Probes()
    text = probes.cpuinfo() or ""
    fields: Dict[str, str] = {}
    cores = 0
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        cores += key == "processor"
        fields.setdefault(key, value)
    flags = fields.get("flags") or fields.get("Features") or ""
    model = fields.get("model name") or ""
    if not model and "CPU part" in fields:  # aarch64 kernels print numbers instead of a name
        model = f"Arm implementer {fields.get('CPU implementer', '?')} part {fields['CPU part']}"
        board = clean(probes.device_tree_model())
        model += f" ({board})" if board else ""
    machine = probes.machine()
    return Cpu(model or f"unknown {machine}", machine, cores or os.cpu_count() or 1, tuple(flags.split()))


def read_text(path: str) -> Optional[str]:
    """Read a file of the kernel; return None if it cannot be read."""
    try:
        return Path(path).read_bytes().decode("utf-8", "replace")
    except OSError:
        return None


def run_nvidia_smi(command: Tuple[str, ...] = _SMI, timeout_s: float = _SMI_TIMEOUT_S) -> Optional[str]:
    """Run nvidia-smi; return a line per GPU (``name, memory in MiB``), or None if it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=timeout_s
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _load(path: Path) -> Device:
    try:
        row = _read(path)
        rates = MappingProxyType(dict(row["rates"]))
        unknown = sorted(set(rates) - set(RATES))
        if unknown or row["kind"] not in KINDS:
            raise ValueError("unknown rate or kind: %s" % (unknown or row["kind"]))
        cards = tuple(Card(device=path.stem, rates=rates, **values) for values in row["card"])
        major, minor = row["compute_capability"].split(".")
        rules = row["recognize"]
        return Device(
            name=path.stem,
            title=row["title"],
            kind=row["kind"],
            compute_capability=(int(major), int(minor)),
            limits=MappingProxyType(row["limits"]),
            abilities=MappingProxyType(row["abilities"]),
            software=MappingProxyType(row["software"]),
            cards=cards,
            device_tree=tuple(rules.get("device_tree", ())),
            device_tree_not=tuple(rules.get("device_tree_not", ())),
            gpu_name=rules.get("gpu_name", ""),
            tuning=_tuning(row.get("tuning"), path.parent / "tuning" / path.name),
            engine=_engine(row.get("engine")),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the device file {path} is not valid: {error}") from None


def _read(path: Path) -> Dict[str, Any]:
    table: Dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return table


def _tuning(row: Optional[Dict[str, Any]], generated: Path) -> Optional[DeviceTuning]:
    """Join the table ``[tuning]`` of a device file with the ``generated`` file of its rules, if there is one."""
    if row is None:
        return None
    row = {**row, **(_read(generated) if generated.exists() else {})}
    tuning = DeviceTuning(**{**row, "rules": tuple(row.get("rules", ()))})
    for line in tuning.rules:
        parse_rule(line)
    if not isinstance(tuning.graphs, bool) or tuning.basis not in BASES:
        raise ValueError(f"[tuning] must have graphs = true or false, and its rules a basis of {' or '.join(BASES)}")
    if tuning.rules and not tuning.source:
        raise ValueError(f"{generated} has rules, so it must name their source")
    return tuning


def _engine(row: Optional[Dict[str, Any]]) -> Optional[EngineChoice]:
    if row is None:
        return None
    choice = EngineChoice(**{**row, "plugins": tuple(row["plugins"])})
    if choice.basis not in BASES or not choice.source:
        raise ValueError(f"[engine] must have a basis of {' or '.join(BASES)}, and a source")
    return choice


def _with_card(device: Device, name: str, memory_mib: Optional[float], reason: str) -> Recognition:
    fitting = [card for card in device.cards if card.fits(name, memory_mib)]
    if len(fitting) == 1:
        return Recognition(device, fitting[0], reason)
    if not fitting:
        return Recognition(device, None, reason + f", a member of {device.title} that has no row of its own")
    names = " or ".join(card.name for card in fitting)
    return Recognition(device, None, reason + f", which may be {names}")


def _gpus(listing: Optional[str]) -> List[Tuple[str, Optional[float]]]:
    gpus = []
    for line in (listing or "").splitlines():
        name, _, memory = (part.strip() for part in line.rpartition(",")) if "," in line else (line.strip(), "", "")
        if name:
            gpus.append((name, float(memory) if re.fullmatch(r"\d+(\.\d+)?", memory) else None))
    return gpus


def _total_memory_mib(meminfo: Optional[str]) -> Optional[float]:
    match = re.search(r"^MemTotal:\s+(\d+) kB", meminfo or "", re.MULTILINE)
    return int(match.group(1)) / 1024 if match else None


def clean(text: Optional[str]) -> str:
    """Strip a text of the device tree, whose strings end with a zero byte; None is empty."""
    return (text or "").replace("\0", " ").strip()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("nvidia", "", 1))


def _hint(name: str, names: Any) -> str:
    close = difflib.get_close_matches(str(name), list(names), 1, 0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
