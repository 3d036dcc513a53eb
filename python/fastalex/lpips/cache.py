"""Features of the images that were seen last."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any, List, Optional

import numpy as np


class FeatureCache:
    """The maps of single images by what is in them, up to ``capacity`` bytes; the longest unused go first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.hits = self.misses = self.nbytes = 0
        self._entries: OrderedDict[Any, List[np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(image: np.ndarray, *setting: Any) -> Any:
        """``setting``: what else the maps depend on."""
        digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()
        return (digest, image.shape, image.dtype.str, *setting)

    def get(self, key: Any) -> Optional[List[np.ndarray]]:
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return found

    def put(self, key: Any, maps: List[np.ndarray]) -> None:
        """Keeps the arrays themselves: they must not be views of larger ones, nor change."""
        size = sum(array.nbytes for array in maps)
        with self._lock:
            if key in self._entries or size > self.capacity:
                return
            self._entries[key] = maps
            self.nbytes += size
            while self.nbytes > self.capacity:
                _, oldest = self._entries.popitem(last=False)
                self.nbytes -= sum(array.nbytes for array in oldest)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.nbytes = 0
