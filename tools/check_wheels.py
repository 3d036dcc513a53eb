"""Check wheels: name, size, libraries; and install them in clean environments without a compiler.

    python -m tools.check_wheels dist/*.whl                          wheels for the processor alone
    python -m tools.check_wheels --gpu dist/*x86_64.whl              with the libraries for GPUs
    python -m tools.check_wheels --gpu --install python3.8 python3.13 -- dist/*.whl

Refused are: a wheel that is too large; one whose tag is not what auditwheel finds in it; libraries that are missing,
that nobody expects, or that are linked with the NVIDIA driver, CUDA or TensorRT. ``--install`` makes an environment of
each Python with the wheel for it and nothing else on PATH, classifies images there and, without an NVIDIA driver,
checks that the GPU is refused with a sentence. Needs auditwheel and readelf.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 5_000_000  # bytes of a wheel for the processor alone
GPU_LIMIT = 15_000_000  # with the libraries for GPUs
GPU_LIBRARIES = ("libfastalex_cuda.so", "libfastalex_tensorrt10.so", "libfastalex_tensorrt11.so")
LEAST_CUDA = "11.0"  # of a driver that runs them, compiled with CUDA 11.8
NEVER_LINKED = re.compile(r"lib(cuda|nvcuda|cudart|cublas|cudnn|nvrtc|nvinfer|nvidia)")


def libraries(wheel: Path) -> Dict[str, List[str]]:
    """Shared libraries of a wheel by their path in it, each with those that it is linked with."""
    linked = {}
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so") or ".so." in name:
                path = archive.extract(name, folder)
                said = subprocess.run(["readelf", "-dW", path], stdout=subprocess.PIPE, check=True).stdout.decode()
                linked[name] = re.findall(r"\(NEEDED\).*\[(.+)\]", said)
    return linked


def problems(wheel: Path, expected: Sequence[str]) -> List[str]:
    """What is wrong with a wheel, one sentence each; ``expected`` are its libraries beside _core."""
    size, limit = wheel.stat().st_size, GPU_LIMIT if expected else LIMIT
    found = [f"{size} bytes, more than {limit}"] if size > limit else []
    linked = libraries(wheel)
    names = {name.partition("/")[2] if name.startswith("fastalex/") else name for name in linked}
    native = {name for name in names if re.match(r"_core\.[\w-]+\.so$", name)}
    if len(native) != 1 or names - native != set(expected):
        found.append(f"its libraries are {sorted(names)}, expected are _core and {sorted(expected)}")
    for name, others in linked.items():
        found += [f"{name} is linked with {other}" for other in others if NEVER_LINKED.match(other)]
    said = subprocess.run(["auditwheel", "show", str(wheel)], stdout=subprocess.PIPE, check=True).stdout.decode()
    tag = re.search(r'platform\s+tag:\s+"(\w+)"', said)
    if not tag or tag.group(1) not in wheel.stem.rpartition("-")[2].split("."):
        found.append(f"auditwheel finds {tag.group(1) if tag else 'no tag'} in it")
    return found


def matching(python: str, wheels: Sequence[Path]) -> Path:
    """The wheel for an interpreter."""
    code = "import sys; print('cp%d%d-cp%d%d%s' % (sys.version_info[:2] * 2 + (getattr(sys, 'abiflags', ''),)))"
    tag = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    (wheel,) = [path for path in wheels if f"-{tag}-" in path.name]
    return wheel


def install(python: str, wheel: Path, gpu: bool) -> List[str]:
    """Use a wheel in an environment of its own; return what went wrong, one sentence each."""
    images = [str(path) for path in sorted((ROOT / "examples" / "digits").glob("*.png"))]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder + "/clean"], check=True)
        programs = folder + "/clean/bin"
        # No compiler is found there, and no tool of this machine.
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "FASTALEX_"))}
        clean["PATH"] = programs
        for command, expected in steps(wheel, images, gpu):
            program = [f"{programs}/{command[0]}", *command[1:]]
            done = subprocess.run(program, cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            said = done.stdout.decode(errors="replace").strip()
            print(f"  {' '.join(command[:4])} ...: {done.returncode}  {said.rpartition(chr(10))[-1][:200]}", flush=True)
            if (done.returncode != 0) != bool(expected) or expected not in said:
                return [f"{python}: {' '.join(command)} said\n{said}"]
    return []


def steps(wheel: Path, images: List[str], gpu: bool) -> List[Tuple[Tuple[str, ...], str]]:
    """Commands, each with what its refusal must say, or nothing where it must succeed."""
    commands: List[Tuple[Tuple[str, ...], str]] = [
        (("pip", "install", "-q", "--only-binary", ":all:", str(wheel)), ""),
        (("fastalex", "info"), ""),
        (("fastalex", "classify", "--weights", "digits", *images), ""),
    ]
    if gpu and not Path("/proc/driver/nvidia/version").exists():
        # The same for both: each has a CUDA runtime in it.
        reason = f"there is no NVIDIA driver on this machine; install one that supports CUDA {LEAST_CUDA} or newer"
        for backend in ("cuda", "tensorrt"):
            command = ("fastalex", "classify", "--device", backend, "--weights", "digits", *images)
            commands.append((command, f"device='{backend}' cannot be used: {reason}"))
    return commands


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help=f"they have {', '.join(GPU_LIBRARIES)}")
    parser.add_argument("--libraries", type=lambda text: text.split(","), help="with --gpu: these instead")
    parser.add_argument("--install", nargs="+", default=[], metavar="PYTHON", help="and install them with these")
    parser.add_argument("wheel", type=Path, nargs="+")
    wish = parser.parse_args(argv)
    expected = (wish.libraries or GPU_LIBRARIES) if wish.gpu else ()
    failed = 0
    for wheel in wish.wheel:
        wrong = problems(wheel, expected)
        failed += bool(wrong)
        print(f"{wheel.name}: {wheel.stat().st_size} bytes: {'; '.join(wrong) or 'ok'}", flush=True)
    for python in wish.install:
        wheel = matching(python, wish.wheel).resolve()
        print(f"{python}, {wheel.name}", flush=True)
        wrong = install(python, wheel, wish.gpu)
        failed += bool(wrong)
        print("\n".join(wrong) or "  ok", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
