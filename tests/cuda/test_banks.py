"""The turns that shared memory takes for a warp's read, and the threads of a tile (simt_lanes.cuh), on the host.

That the kernels' own reads take two turns at most is asserted where they are compiled.
"""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = 80  # bytes of a row of a stage
LANES = range(32)
# What lanes read: bytes, addresses, turns.
READS = {
    "words in a row": (4, [4 * i for i in LANES], 1),
    "one word": (4, [64] * 32, 1),
    "two words apart": (4, [8 * i for i in LANES], 2),
    "one bank": (4, [128 * i for i in LANES], 32),
    "pairs in a row": (8, [8 * i for i in LANES], 2),
    "pairs, two lanes each": (8, [i // 2 * 8 for i in LANES], 1),
    "pairs, the lane two on": (8, [(i & ~2) * 8 for i in LANES], 2),  # over 256 bytes
    "pairs, halves of the warp alike": (8, [i % 16 * 8 for i in LANES], 2),
    "quads in a row": (16, [16 * i for i in LANES], 4),
    "one quad": (16, [16] * 32, 2),
    "eight rows, twice in half a warp": (16, [i % 8 * ROW for i in LANES], 4),
    "eight rows, two lanes each": (16, [i // 2 % 8 * ROW for i in LANES], 2),
    "eight rows of 64 bytes, two lanes each": (16, [i // 2 % 8 * 64 for i in LANES], 8),
    "columns of a tile": (16, [((i >> 3 & 2) + i % 2) * 4 * ROW for i in LANES], 2),
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Lines of the program: a count for each of READS, then the threads of each kind of warp."""
    program = str(tmp_path_factory.mktemp("banks") / "bank_turns")
    source = "tests/support/cpp/bank_turns.cpp"
    subprocess.run(["g++", "-std=c++14", "-pedantic", "-I", "csrc", source, "-o", program], check=True, cwd=str(ROOT))
    text = "\n".join(" ".join(map(str, [size, *addresses])) for size, addresses, _ in READS.values())
    done = subprocess.run([program], input=text, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", READS)
def test_turns(printed, name):
    assert int(printed[list(READS).index(name)]) == READS[name][2]


def test_threads(printed):
    """Each place is one thread's. In half a warp, pair neighbors have a row, and lanes two on a column in common."""
    tiles = printed[len(READS) :]
    assert len(tiles) == 4
    for line in tiles:
        rows, columns, *places = line.split()
        threads = [tuple(map(int, place.split(":"))) for place in places]
        assert sorted(threads) == list(itertools.product(range(int(rows)), range(int(columns))))
        for i, (row, column) in enumerate(threads):
            assert (threads[i ^ 1][0], threads[i ^ 2][1]) == (row, column)
