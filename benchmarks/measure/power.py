"""State of the machine during a measurement: clocks, governor, power mode, watts.

Every function reads files under ``root`` (the root of the file system; another folder in the tests) and returns None
for missing or malformed values. None of them raises.

Jetson's INA3221: the driver of JetPack 4 has ``rail_name_K`` and ``in_powerK_input`` (mW) under
``/sys/bus/i2c/drivers/ina3221x/*/iio:device*`` (rbonghi/jetson_stats, issue 131); the one of JetPack 5 and 6 is the
kernel's, under ``/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*``, with ``inK_label``, ``inK_input`` (mV) and
``currK_input`` (mA) for K = 1..3, whose product is the power (kernel.org, Documentation/hwmon/ina3221.rst).
"""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

# The rail that feeds the whole module: Nano (POM_5V_IN); TX2, Xavier NX, Orin Nano and NX (VDD_IN). A board without
# one (AGX Orin measures its parts only) has no total here.
INPUT_RAILS = ("POM_5V_IN", "VDD_IN")
SAMPLE_S = 0.05
SMI_FIELDS = ("name", "power.draw", "clocks.sm", "clocks.mem", "driver_version")
SMI_TIMEOUT_S = 10.0
ROOT = Path("/")


def read(path: Path) -> Optional[str]:
    """The text of a small file; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n") or None
    except (OSError, ValueError):
        return None


def number(path: Path) -> Optional[float]:
    try:
        return float(read(path) or "")
    except ValueError:
        return None


def rails(root: Path = ROOT) -> Dict[str, float]:
    """Watts of each rail of every INA3221 power monitor; empty if there is none."""
    watts: Dict[str, float] = {}
    drivers = root / "sys/bus/i2c/drivers"
    for label in _glob(drivers, "ina3221x/*/iio*/rail_name_*"):
        power = number(label.with_name(f"in_power{label.name.rpartition('_')[2]}_input"))
        _add(watts, read(label), power, 1e-3)
    for label in _glob(drivers, "ina3221/*/hwmon/hwmon*/in[123]_label"):
        channel = label.name[2]
        volts, amperes = (number(label.with_name(name % channel)) for name in ("in%s_input", "curr%s_input"))
        _add(watts, read(label), None if volts is None or amperes is None else volts * amperes, 1e-6)
    return watts


def _glob(folder: Path, pattern: str) -> List[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _add(watts: Dict[str, float], name: Optional[str], value: Optional[float], unit: float) -> None:
    if name and name != "NC" and value is not None:  # NC: the channel is not connected
        watts[name] = value * unit


def board_watts(root: Path = ROOT) -> Optional[float]:
    """Watts that flow into the module; None without a meter."""
    measured = rails(root)
    return next((measured[name] for name in INPUT_RAILS if name in measured), None)


def run_smi(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, timeout=SMI_TIMEOUT_S, check=True).stdout.decode()


def gpu(run: Callable[[Sequence[str]], str] = run_smi) -> Optional[Dict[str, Any]]:
    """Name, watts, clocks (MHz) and driver of the first NVIDIA GPU, by nvidia-smi; None if there is none."""
    command = ["nvidia-smi", "--query-gpu=" + ",".join(SMI_FIELDS), "--format=csv,noheader,nounits", "--id=0"]
    try:
        values = [value.strip() for value in run(command).strip().splitlines()[0].split(",")]
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    if len(values) != len(SMI_FIELDS):
        return None
    watts, sm, memory = (_float(value) for value in values[1:4])
    return {"name": values[0], "watts": watts, "sm_mhz": sm, "memory_mhz": memory, "driver": values[4]}


def gpu_watts(run: Callable[[Sequence[str]], str] = run_smi) -> Optional[float]:
    facts = gpu(run)
    return facts["watts"] if facts else None


def _float(text: str) -> Optional[float]:
    try:
        return float(text)
    except ValueError:  # [N/A]
        return None


def state(cpus: Sequence[int], root: Path = ROOT) -> Dict[str, Any]:
    """Settings of the machine: governor and clocks of ``cpus``, nvpmodel's mode, whether the clocks are locked."""
    frequency = root / "sys/devices/system/cpu"
    folders = [frequency / (f"cpu{cpu}") / "cpufreq" for cpu in cpus]
    governors = sorted({governor for governor in (read(folder / "scaling_governor") for folder in folders) if governor})
    clocks = [clock for clock in (number(folder / "scaling_cur_freq") for folder in folders) if clock]
    return {
        "governor": ", ".join(governors) or None,
        "clock_mhz": sum(clocks) / len(clocks) / 1e3 if clocks else _cpuinfo_mhz(root, cpus),
        "nvpmodel": nvpmodel(root),
        "clocks_held": _held(folders),
    }


def _cpuinfo_mhz(root: Path, cpus: Sequence[int]) -> Optional[float]:
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", read(root / "proc/cpuinfo") or "", re.MULTILINE)
    wanted = [float(clocks[cpu]) for cpu in cpus if cpu < len(clocks)] or [float(clock) for clock in clocks]
    return sum(wanted) / len(wanted) if wanted else None


def nvpmodel(root: Path = ROOT) -> Optional[str]:
    """Power mode of a Jetson: the number in nvpmodel's status file, with its name."""
    mode = re.search(r"pmode:0*(\d+)", read(root / "var/lib/nvpmodel/status") or "")
    if not mode:
        return None
    names = dict(re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", read(root / "etc/nvpmodel.conf") or ""))
    return f"{mode.group(1)} {names[mode.group(1)]}" if mode.group(1) in names else mode.group(1)


def jetpack(root: Path = ROOT) -> Optional[str]:
    """Releases of JetPack (from its Debian package) and of L4T; None if this is not a Jetson."""
    releases = []
    package = re.search(
        r"^Package: nvidia-jetpack\n(?:.+\n)*?Version: (\S+)", read(root / "var/lib/dpkg/status") or "", re.MULTILINE
    )
    if package:
        releases.append("JetPack " + package.group(1))
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", read(root / "etc/nv_tegra_release") or "")
    if release:
        releases.append("L4T {}.{}".format(*release.groups()))
    return ", ".join(releases) or None


def jetson_gpu_mhz(root: Path = ROOT) -> Optional[float]:
    """Clock of a Jetson's GPU in MHz, from devfreq: ``57000000.gpu`` on a Nano, ``17000000.gp10b`` on a TX2."""
    for name in ("gpu", "gp10b", "gv11b", "ga10b"):
        for path in _glob(root / "sys/class/devfreq", f"*.{name}/cur_freq"):
            clock = number(path)
            if clock:
                return clock / 1e6
    return None


def _held(folders: Sequence[Path]) -> Optional[bool]:
    """Whether the lowest allowed clock is the highest, which is what jetson_clocks sets."""
    pairs = [(number(folder / "scaling_min_freq"), number(folder / "scaling_max_freq")) for folder in folders]
    if not pairs or any(low is None or high is None for low, high in pairs):
        return None
    return all(low == high for low, high in pairs)


class Meter:
    """Mean power while a ``with`` block runs, from ``watts`` called every :data:`SAMPLE_S` seconds in a thread.

    On a machine without a meter it starts no thread and :attr:`mean` stays None.
    """

    def __init__(self, watts: Callable[[], Optional[float]] = board_watts) -> None:
        self.watts = watts
        self.works = watts() is not None
        self.mean: Optional[float] = None

    def __enter__(self) -> Meter:
        self.mean, self._samples, self._stop = None, [], threading.Event()
        if self.works:
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.works:
            self._stop.set()
            self._thread.join()
            self.mean = sum(self._samples) / len(self._samples) if self._samples else None

    def _sample(self) -> None:
        while True:
            watts = self.watts()
            if watts is not None:
                self._samples.append(watts)
            if self._stop.wait(SAMPLE_S):
                return
