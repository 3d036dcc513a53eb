"""The include contract of csrc: every include is written from csrc/, and points to a room below.

    python -m tools.check_includes [CSRC]

A room is a folder. Refused are: a folder that is not in ROOMS; an include of a header of csrc that is not written from
csrc/ (only "fastalex.h" is included as an installed user does); an include of a room that ROOMS does not allow; an
include that means another file where the includer stands.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

CSRC = Path(__file__).resolve().parents[1] / "csrc"
PUBLIC = "fastalex.h"  # in include/
#: Headers outside csrc, from the CUDA emulator.
EMULATOR = {"cuda_emulator.h", "ptx_emulated.h"}
SUFFIXES = (".h", ".cpp", ".cu", ".cuh")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]*)"', re.MULTILINE)

#: Room -> the rooms whose headers it may include, each of which stands above it in this table.
ROOMS: Dict[str, Tuple[str, ...]] = {
    "include": (),
    "constants": (),
    "common": ("include",),
    "backend": ("include", "common"),
    "weights": ("include", "common", "backend"),
    "core": ("include", "common", "backend"),
    "reference": ("include", "common", "backend", "weights"),
    "cpu/kernels": ("include", "constants", "backend"),
    "cpu": ("include", "common", "backend", "weights", "cpu/kernels"),
    "cuda/kernels": ("constants",),
    "cuda/runtime": ("include", "common", "backend", "cuda/kernels"),
    "cuda/candidates": ("include", "common", "backend", "cuda/kernels", "cuda/runtime"),
    "cuda/weights": ("include", "constants", "common", "backend", "weights", "cuda/runtime", "cuda/candidates"),
    "cuda/plan": ("include", "common", "backend", "cuda/runtime", "cuda/candidates", "cuda/weights"),
    "cuda": ("include", "common", "backend", "weights", "cuda/runtime", "cuda/candidates", "cuda/plan"),
    "tensorrt/plugins": ("include", "common", "backend", "weights", "core"),
    "tensorrt/adapters": ("include", "common", "backend", "tensorrt/plugins"),
    "tensorrt/engine": (
        *("include", "common", "backend", "weights"),
        *("cuda/runtime", "tensorrt/plugins", "tensorrt/adapters"),
    ),
    "tensorrt": ("include", "common", "backend", "cuda/runtime", "tensorrt/engine"),
    "api": ("include", "common", "backend", "weights", "core", "reference", "cpu"),
}


def room_of(path: str) -> str:
    """Folder of a file, both relative to csrc/."""
    return path.rpartition("/")[0]


def problem_of(csrc: Path, path: str, name: str) -> str:
    """Problem of the include of ``name`` in the file ``path`` of ``csrc``; empty if there is none."""
    here = (csrc / path).parent
    if name == PUBLIC:
        room = "include"
    elif name in EMULATOR:
        return ""
    elif (csrc / name).is_file() and not name.startswith("include/") and ".." not in name.split("/"):
        room = room_of(name)
        if (here / name).is_file() and not (here / name).samefile(csrc / name):
            return f'"{name}" also names a file of {room_of(path)}, which the compiler finds first: rename one'
    elif (here / name).is_file() or [one for one in csrc.rglob(Path(name).name) if one.is_file()]:
        return f'write "{name}" from csrc/'
    else:
        return f'"{name}" is not in csrc: write headers of others in angle brackets'
    if room != room_of(path) and room not in ROOMS[room_of(path)]:
        return f'{room_of(path)} may not include "{name}": ROOMS in tools/check_includes.py does not allow it'
    return ""


def problems(csrc: Path = CSRC) -> Iterator[str]:
    """One sentence for each offense."""
    above: List[str] = []
    for room, below in ROOMS.items():
        for wrong in sorted(set(below) - set(above)):
            yield f"ROOMS: {room} may include {wrong}, which does not stand above it in the table"
        above.append(room)
    for file in sorted(file for file in csrc.rglob("*") if file.suffix in SUFFIXES):
        path = file.relative_to(csrc).as_posix()
        if room_of(path) not in ROOMS:
            yield f"{path}: its folder is not in ROOMS of tools/check_includes.py: add it, or put the file elsewhere"
            continue
        for name in INCLUDE.findall(file.read_text(encoding="utf-8")):
            problem = problem_of(csrc, path, name)
            if problem:
                yield f"{path}: {problem}"


def main(arguments: List[str]) -> int:
    offenses = list(problems(Path(arguments[0]) if arguments else CSRC))
    for sentence in offenses:
        print(sentence)
    return 1 if offenses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
