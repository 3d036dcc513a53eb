"""The line that `fastalex info` has for a machine, by what the machine says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastalex.cli import diagnosis
from fastalex.hardware import devices, installation

ROOT = Path(__file__).resolve().parents[2]
CPU_ONLY = {"device": "all", "cuda_toolkit": "", "cuda_architectures": ""}
WHEEL = {"device": "all", "cuda_toolkit": "11.8", "cuda_architectures": "61 70 75 80 86 89 90 90+PTX"}
FROM_13 = {"device": "all", "cuda_toolkit": "13.0", "cuda_architectures": "86"}
NANO_BUILD = {"device": "nano", "cuda_toolkit": "10.2", "cuda_architectures": "53"}
REASON = r"^nothing to install: the table of backends has the reason"


def line(build, board=None, driver=None, on_bus=False, machine="x86_64", usable=False):
    text = lambda value: lambda: value  # noqa: E731
    smi = None if driver is None else ""
    described = devices.Probes(text(board), text(smi), text(None), text(None), text(machine))
    return installation.line(build, usable, installation.Probes(described, text(driver), text(on_bus)))


BOARD = "NVIDIA Jetson Nano Developer Kit\0"
SDIST = "^" + re.escape(installation.FROM_SOURCE)
WHEEL_LINE = r"^pip install --force-reinstall --no-deps fastalex$"


@pytest.mark.parametrize(
    ("build", "machine", "expected"),
    [
        (CPU_ONLY, {}, "^nothing to do: no NVIDIA GPU was found"),
        (WHEEL, {}, "^nothing to do: no NVIDIA GPU was found"),
        (WHEEL, {"usable": True}, "^nothing to do: device='cuda' uses the GPU$"),
        # x86-64 with a GPU
        (WHEEL, {"on_bus": True}, "^install the NVIDIA driver, 450.80.02 or newer"),
        (WHEEL, {"driver": "440.33.01\n"}, "^update the NVIDIA driver to 450.80.02 or newer: this one is 440.33.01$"),
        (WHEEL, {"driver": "450.51.06\n"}, "^update the NVIDIA driver to 450.80.02 or newer: this one is 450.51.06$"),
        (CPU_ONLY, {"driver": "450.80.02\n"}, WHEEL_LINE),
        (CPU_ONLY, {"driver": "535.104.05, 8.6\n"}, WHEEL_LINE),
        (CPU_ONLY, {"driver": "535.104.05, 5.2\n"}, "^nothing to do: .* compute capability 5.2 and runs on the proc"),
        (CPU_ONLY, {"driver": "535.104.05, 5.2\n535.104.05, 6.1\n"}, WHEEL_LINE),  # the newer of two cards
        (FROM_13, {"driver": "535.104.05, 8.6\n"}, WHEEL_LINE),  # CUDA 13 needs 580, the wheel does not
        (FROM_13, {"driver": "580.65.06, 7.5\n"}, WHEEL_LINE),  # built for another card
        (FROM_13, {"driver": "580.65.06, 8.9\n"}, REASON),  # 8.6 runs on 8.9: another reason, such as a container's
        (WHEEL, {"driver": "580.65.06, 12.0\n"}, REASON),
        # Jetson
        (CPU_ONLY, {"board": BOARD, "machine": "aarch64"}, SDIST + r" -C cmake\.define\.FASTALEX_DEVICE=nano$"),
        (CPU_ONLY, {"board": "NVIDIA Jetson Orin Nano", "machine": "aarch64"}, SDIST + r".*DEVICE=orin$"),
        (CPU_ONLY, {"board": "quill\0", "machine": "aarch64"}, SDIST + r".*DEVICE=tx2$"),
        (NANO_BUILD, {"board": "quill\0", "machine": "aarch64"}, SDIST + r".*DEVICE=tx2$"),
        (NANO_BUILD, {"board": BOARD, "machine": "aarch64"}, REASON),
        (CPU_ONLY, {"board": "Jetson-AGX Xavier\0", "machine": "aarch64"}, "^nothing to do: .*'Jetson-AGX Xavier'"),
        # other boards and servers of Arm
        (CPU_ONLY, {"board": "Raspberry Pi 5 Model B\0", "machine": "aarch64"}, "^nothing to do: no NVIDIA GPU"),
        (CPU_ONLY, {"driver": "550.54, 9.0\n", "machine": "aarch64"}, SDIST + "$"),
        (FROM_13, {"driver": "550.54, 9.0\n", "machine": "aarch64"}, "^update the NVIDIA driver to 580 or newer"),
    ],
)  # fmt: skip
def test_the_line_of_a_machine(build, machine, expected):
    said = line(build, **machine)
    assert re.search(expected, said), said
    assert "\n" not in said


def test_what_old_and_new_nvidia_smi_print():
    assert installation.parse_driver("450.80.02\n") == ("450.80.02", None)
    assert installation.parse_driver("580.65.06, 12.0\n580.65.06, 7.5\n") == ("580.65.06", (12, 0))
    assert installation.parse_driver("535.104.05, [N/A]\n") == ("535.104.05", None)
    assert installation.parse_driver("No devices were found\n") == installation.parse_driver(None) == ("", None)


def test_a_gpu_on_the_bus(tmp_path):
    def add(name, vendor, kind):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")

    assert not installation.has_nvidia_gpu(tmp_path / "none")
    add("0000:00:02.0", "0x8086", "0x030000")
    add("0000:01:00.1", "0x10de", "0x040300")  # the sound of a card
    assert not installation.has_nvidia_gpu(tmp_path)
    add("0000:02:00.0", "0x10de", "0x030200")
    assert installation.has_nvidia_gpu(tmp_path)


def test_a_bus_that_may_not_be_read(monkeypatch, tmp_path):
    def forbidden(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    assert not installation.has_nvidia_gpu(tmp_path)


def test_an_nvidia_smi_that_hangs_is_asked_once(monkeypatch):
    asked = []
    monkeypatch.setattr(devices, "run_nvidia_smi", lambda *command: asked.append(command))
    probes = installation.Probes(on_bus=lambda: True)
    assert installation.line(CPU_ONLY, False, probes).startswith("install the NVIDIA driver, ")
    assert len(asked) == 1


def test_the_install_page_has_the_lines():
    """Without what replaces an installation, and fetches no other package: the page is for a machine without one."""
    first = installation.FROM_SOURCE.replace("--force-reinstall --no-deps --no-cache-dir ", "")
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert "--no-deps" not in page
    assert f"`{first}`" in page and f"`{first} -C cmake.define.FASTALEX_DEVICE=nano`" in page


def test_info_asks_nvidia_smi(tmp_path, monkeypatch):
    """One that does not know compute_cap, as those of old drivers."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        "case $1 in *compute_cap*) exit 2;; *driver_version*) echo 440.33.01;; *) echo 'GTX 1080, 8119';; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installation.query_driver() == "440.33.01\n"
    report = {"build": CPU_ONLY, "backends": [{"name": "cuda", "available": False}]}
    assert diagnosis._advice(report).endswith("450.80.02 or newer: this one is 440.33.01")


def test_the_wheel_is_what_cmake_builds():
    listed = re.search(
        r"^set\(FASTALEX_WHEEL_ARCHITECTURES ([\d ]+)\)", (ROOT / "cmake/CudaArch.cmake").read_text(), re.M
    )
    least = min(int(word) for word in listed.group(1).split())
    assert (least // 10, least % 10) == installation.WHEEL_CAPABILITY
    assert installation.least_driver("11.8") == installation.least_driver("") == "450.80.02"
