"""Compile the TensorRT plugins against real headers, one release after another.

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
#: Symbols that a release's own programs look up in the library.
EXPORTS = {"8": {"setLoggerFinder"}, "10": {"getCreators", "setLoggerFinder"}, "11": {"getCreators", "setLoggerFinder"}}
OPTIONAL = {"fastalex_backend_entry"}
WITHOUT_FINDER = re.compile(r"8\.[0-5]\.")  # plugins get access to the logger since 8.6


def folders(root: Path) -> List[Path]:
    """Folders with NvInfer.h, sorted by release."""
    matches = [path.parent for pattern in ("NvInfer.h", "include/NvInfer.h", "*/include/NvInfer.h", "*/NvInfer.h")
             for path in root.glob(pattern)]  # fmt: skip
    return sorted(set(matches), key=lambda path: [int(n) for n in re.findall(r"\d+", str(path.relative_to(root)))])


def exports(library: Path) -> List[str]:
    """Symbols that a library exports."""
    listing = subprocess.run(["nm", "-D", "--defined-only", str(library)], stdout=subprocess.PIPE, check=True)
    return [line.split()[-1] for line in listing.stdout.decode().splitlines()]


def problem_of(library: Path, release: str) -> str:
    """Problem of a library in one sentence; empty if there is none."""
    expected = EXPORTS[release.split(".")[0]]
    if WITHOUT_FINDER.match(release):
        expected = set()
    symbols = set(exports(library)) - OPTIONAL
    if symbols != expected:
        return f"it exports {sorted(symbols)}, not {sorted(expected)}"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"it does not load: {error}"
    return ""


def check(include: Path, build: Path, cmake: List[str], cuda: str) -> bool:
    """Build the library for one release and print a line."""
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
    facts = f"{library.name} as {adapter}, {library.stat().st_size} bytes, exports {names}"
    print(f"TensorRT {release}: {facts}: {verdict}", flush=True)
    return not problem


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=Path, required=True, metavar="DIR", help="folder of folders by release")
    parser.add_argument("--cuda", default="", metavar="DIR", help="folder of cuda_runtime_api.h")
    options = parser.parse_args(arguments)
    releases = folders(options.headers)
    if not releases:
        print(f"{options.headers} has no NvInfer.h, neither in it nor in folders of it", file=sys.stderr)
        return 2
    cmake = [shutil.which("cmake")] if shutil.which("cmake") else [sys.executable, "-m", "cmake"]
    with tempfile.TemporaryDirectory() as scratch:
        results = [check(include, Path(scratch) / str(i), cmake, options.cuda) for i, include in enumerate(releases)]
    print(f"{sum(results)} of {len(results)} releases")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
