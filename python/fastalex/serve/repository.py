"""The models of a server: loaded, unloaded and found by name."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

from ..errors import UserError
from .errors import ServiceError
from .metrics import Metrics
from .served import Served
from .settings import Settings

UNAVAILABLE, LOADING, READY, UNLOADING = "UNAVAILABLE", "LOADING", "READY", "UNLOADING"


class Row(NamedTuple):
    """A line of the repository's index, as Triton's repository extension has it."""

    name: str
    version: str
    state: str
    reason: str


class Repository:
    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._served: Dict[str, Served] = {}
        self._reasons: Dict[str, str] = {}
        self.distance = None  # or a Distance: async compare(a: bytes, b: bytes, client, deadline) -> float

    def names(self) -> List[str]:
        return [spec.name for spec in self._settings.models]

    def index(self) -> List[Row]:
        return [
            Row(n, "1", READY if n in self._served else UNAVAILABLE, self._reasons.get(n, "")) for n in self.names()
        ]

    def get(self, name: str, version: Optional[str] = None) -> Served:
        if name not in self.names():
            raise ServiceError(404, f"there is no model '{name}'")
        if name not in self._served:
            raise ServiceError(503, f"model '{name}' is not loaded: {self._reasons.get(name, '')}")
        return self._served[name]

    def start(self, wait: bool = False) -> None:
        """Begin to load all models, one after the other, on a thread of its own; ``wait`` until all are through."""
        for name in self.names():
            self.load(name)

    def load(self, name: str) -> None:
        """Blocks; on a thread."""
        spec = next(s for s in self._settings.models if s.name == name)
        try:
            self._served[name] = Served(spec, self._settings, self._metrics)
        except UserError as error:
            self._reasons[name] = str(error)

    def unload(self, name: str) -> None:
        """Blocks until the model's calls have ended; on a thread."""
        self._served.pop(name).close()

    def close(self, timeout: Optional[float] = None) -> None:
        """Blocks: finish what was accepted, at most for ``timeout`` seconds."""
