"""Compiles the TensorRT plugins against real headers, one release after the other.

    python -m tools.check_tensorrt_headers --headers DIR

``DIR`` has a folder for each release, with ``include/NvInfer.h`` in it; or it is such a folder. Warnings are errors.
Each library must load in a process without TensorRT and CUDA, and export what TensorRT looks for. Needs CMake, a C++
compiler, and CUDA's ``cuda_runtime_api.h`` (``--cuda``, or a CUDA toolkit), of any release.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

ROOT = Path(__file__).resolve().parents[1]
#: What a release's own programs ask the library for.
EXPORTS = {"8": {"setLoggerFinder"}, "10": {"getCreators", "setLoggerFinder"}, "11": {"getCreators", "setLoggerFinder"}}
OPTIONAL = {"fastalex_backend_entry"}
WITHOUT_FINDER = re.compile(r"8\.[0-5]\.")  # plugins are given a way to the logger from 8.6 on


def folders(root: Path) -> List[Path]:
    """The folders with NvInfer.h, by release."""
    found = [path.parent for pattern in ("NvInfer.h", "include/NvInfer.h", "*/include/NvInfer.h", "*/NvInfer.h")
             for path in root.glob(pattern)]  # fmt: skip
    return sorted(set(found), key=lambda path: [int(n) for n in re.findall(r"\d+", str(path.relative_to(root)))])


def exports(library: Path) -> List[str]:
    """The symbols that a library defines for others."""
    listing = subprocess.run(["nm", "-D", "--defined-only", str(library)], stdout=subprocess.PIPE, check=True)
    return [line.split()[-1] for line in listing.stdout.decode().splitlines()]


def problem_of(library: Path, release: str) -> str:
    """What is wrong with a library, in one sentence; empty if nothing is."""
    wanted = EXPORTS[release.split(".")[0]]
    if WITHOUT_FINDER.match(release):
        wanted = set()
    found = set(exports(library)) - OPTIONAL
    if found != wanted:
        return f"it exports {sorted(found)}, not {sorted(wanted)}"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"it does not load: {error}"
    return ""


def check(include: Path, build: Path, cmake: List[str], cuda: str) -> bool:
    """Builds the library for one release; prints a line."""
    definitions = [f"-DFASTALEX_TENSORRT_HEADERS={include}", "-DFASTALEX_HARNESSES=OFF"]
    definitions += ["-DTensorRT_CUDA_INCLUDE_DIR=" + cuda] if cuda else []
    for command in (
        [*cmake, "-S", str(ROOT / "tests/support/tensorrt_harness"), "-B", str(build), *definitions],
        [*cmake, "--build", str(build)],
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            print(f"{include}: FAILED\n{done.stdout.decode(errors='replace')[-4000:]}")
            return False
    (library,) = build.glob("*/libfastalex_tensorrt*.so")
    release = library.parent.name
    problem = problem_of(library, release)
    adapter = "IPluginV2DynamicExt" if release.startswith("8.") else "IPluginV3"
    names = ", ".join(exports(library)) or "nothing (it registers its creators when it is loaded)"
    verdict = "FAILED, " + problem if problem else "ok"
    print(f"TensorRT {release}: {library.name} as {adapter}, {library.stat().st_size} bytes, exports {names}: {verdict}", flush=True)  # fmt: skip
    return not problem


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=Path, required=True, metavar="DIR", help="folder of folders by release")
    parser.add_argument("--cuda", default="", metavar="DIR", help="folder of cuda_runtime_api.h")
    options = parser.parse_args(arguments)
    found = folders(options.headers)
    if not found:
        print(f"{options.headers} has no NvInfer.h, neither in it nor in folders of it", file=sys.stderr)
        return 2
    cmake = [shutil.which("cmake")] if shutil.which("cmake") else [sys.executable, "-m", "cmake"]
    with tempfile.TemporaryDirectory() as scratch:
        results = [check(include, Path(scratch) / str(i), cmake, options.cuda) for i, include in enumerate(found)]
    print(f"{sum(results)} of {len(results)} releases")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
