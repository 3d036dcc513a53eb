"""How the accesses of a warp to shared and global memory are carried out."""

from __future__ import annotations

from typing import Dict, List, Tuple

import numpy as np

BANKS, WORD, SECTOR = 32, 4, 32
WARP = 32


def bank_turns(addresses: np.ndarray, active: np.ndarray, width: int) -> int:
    """Clocks in which shared memory serves the 32 lanes of a warp, each ``width`` bytes from its address.

    32 banks of 4 bytes (CUDA programming guide, shared memory of 5.x and later); lanes that ask for the same word are
    served together. Of 8 bytes, half a warp is served at a time, of 16 bytes a quarter. Two such parts go together if
    every lane has the address of its neighbor, or every lane that of the lane two on, or these do not take part
    (NVIDIA of 7.x, forums.developer.nvidia.com/t/unexpected-shared-memory-bank-conflict/77228; of 5.x it is assumed).
    """
    if not active.any():
        return 0
    first = int(addresses[active][0])  # only distances matter: banks are all alike
    key = (width, first % WORD, active.tobytes(), np.where(active, addresses - first, 0).tobytes())
    if key not in _turns:
        _turns[key] = _count_turns(addresses, active, width)
    return _turns[key]


_turns: Dict[Tuple[int, int, bytes, bytes], int] = {}  # loops repeat few patterns


def _count_turns(addresses: np.ndarray, active: np.ndarray, width: int) -> int:
    lanes = WARP * WORD // max(WORD, width)  # that move 128 bytes together
    parts = [slice(first, first + lanes) for first in range(0, WARP, lanes)]
    turns = 0
    step = 2 if len(parts) > 1 else 1
    for i in range(0, len(parts), step):
        both = slice(parts[i].start, parts[i + step - 1].stop)
        if step == 2 and _is_paired(addresses[both], active[both]):
            turns += _conflicts(addresses[both], active[both], width)
        else:
            turns += sum(_conflicts(addresses[one], active[one], width) for one in parts[i : i + step])
    return turns


def _is_paired(addresses: np.ndarray, active: np.ndarray) -> bool:
    lanes = np.arange(len(addresses))
    return any(
        bool(((addresses == addresses[lanes ^ distance]) | ~active | ~active[lanes ^ distance]).all())
        for distance in (1, 2)
    )


def _conflicts(addresses: np.ndarray, active: np.ndarray, width: int) -> int:
    """The most words that one bank has to give."""
    if not active.any():
        return 0
    first = np.unique(addresses[active]) // WORD
    words = np.unique(first[:, None] + np.arange(max(1, width // WORD)))
    return int(np.bincount(words % BANKS).max())


def sectors(addresses: np.ndarray, active: np.ndarray, width: int) -> Tuple[int, ...]:
    """The 32-byte sectors of global memory that a warp touches, in order."""
    if not active.any():
        return ()
    first = addresses[active] // SECTOR
    last = (addresses[active] + width - 1) // SECTOR
    touched: List[int] = np.unique(np.concatenate([first, last])).tolist()
    return tuple(touched)
