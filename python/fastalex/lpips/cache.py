"""A cache of image features."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any, List, Optional

import numpy as np


class FeatureCache:
    """A thread-safe cache of the maps of single images, keyed by content: least recently used, ``capacity`` bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.hits = self.misses = self.nbytes = 0
        self._entries: OrderedDict[Any, List[np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(image: np.ndarray, *setting: Any) -> Any:
        """Return the key of an image; ``setting`` is everything else that its maps depend on."""
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        return (digest, image.shape, image.dtype.str, *setting)

    def get(self, key: Any) -> Optional[List[np.ndarray]]:
        """Return the maps of ``key``, or None, and count a hit or a miss."""
        with self._lock:
            maps = self._entries.get(key)
            if maps is None:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return maps

    def put(self, key: Any, maps: List[np.ndarray]) -> None:
        """Store ``maps`` without a copy: they must not be views of larger arrays, and must not change."""
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
        """Remove all entries."""
        with self._lock:
            self._entries.clear()
            self.nbytes = 0
