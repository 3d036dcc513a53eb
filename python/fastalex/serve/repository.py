"""The models of a server: loaded, unloaded and found by name."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, Generic, List, NamedTuple, Optional, TypeVar

from ..errors import BackendError, UserError, one_line
from ..runtime import device_spec
from .decoding import Decoders
from .distance import Distance
from .errors import ServiceError
from .metrics import Metrics
from .pipeline import Shared
from .served import VERSION, Served
from .settings import Settings
from .turns import Admission

UNAVAILABLE, LOADING, READY, UNLOADING = "UNAVAILABLE", "LOADING", "READY", "UNLOADING"
_SOON = 1  # seconds until a model that is being loaded is worth another try


class Row(NamedTuple):
    """A line of the repository's index, as Triton's repository extension has it."""

    name: str
    version: str
    state: str
    reason: str


Loaded = TypeVar("Loaded", Served, Distance)


class _Slot(Generic[Loaded]):
    """The place of a model: whether it is loaded, and why not."""

    def __init__(self, make: Callable[[], Loaded]) -> None:
        self.make: Callable[[], Loaded] = make
        self.loaded: Optional[Loaded] = None
        self.state, self.reason = UNAVAILABLE, "it was not loaded yet"
        self.changing = threading.Lock()  # held by the one who loads or unloads


class Repository:
    """The models that the command line names; no others can be loaded.

    :meth:`start`, :meth:`load`, :meth:`unload` and :meth:`close` take their time: call them off the event loop.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        shared = Shared(
            Admission(settings.queue_per_client, settings.queue_total),
            Decoders(settings.decoders or device_spec.thread_count(None)),
        )

        def making(kind: Any, spec: Any) -> Callable[[], Any]:
            return lambda: kind(spec, settings, metrics, shared)

        self._models: Dict[str, _Slot[Served]] = {spec.name: _Slot(making(Served, spec)) for spec in settings.models}
        self._distance: Optional[_Slot[Distance]] = (
            None if settings.lpips is None else _Slot(making(Distance, settings.lpips))
        )
        self._starter: Optional[threading.Thread] = None
        self._closed = False

    def names(self) -> List[str]:
        """Return the names of all models, loaded or not."""
        return list(self._models)

    def index(self) -> List[Row]:
        """Return the state of every model, and why it is not :data:`READY`."""
        return [Row(name, VERSION, slot.state, slot.reason) for name, slot in self._models.items()]

    @property
    def ready(self) -> bool:
        """Whether everything that the command line names is loaded."""
        slots: List[Any] = [*self._models.values(), *([self._distance] if self._distance else [])]
        return not self._closed and all(slot.state == READY for slot in slots)

    def get(self, name: str, version: Optional[str] = None) -> Served:
        """Return a loaded model.

        :param version: :data:`~fastalex.serve.served.VERSION`, the only one, or None.
        :raises ServiceError: 404 if there is none of this name or version, 503 with the reason if it is not loaded.
        """
        slot = self._slot(name)
        if version not in (None, VERSION):
            raise ServiceError(404, f"model '{name}' has no version '{version[:20]}', only '{VERSION}'")
        return _loaded(slot, f"model '{name}'")

    @property
    def distance(self) -> Optional[Distance]:
        """The perceptual distance; None if the command line asks for none.

        :raises ServiceError: 503 with the reason if it is not loaded.
        """
        if self._distance is None:
            return None
        return _loaded(self._distance, "the distance")

    def start(self, wait: bool = False) -> None:
        """Load everything, one after the other, on a thread of its own; the server answers meanwhile.

        What cannot be loaded is unavailable, and :meth:`index` says why.

        :param wait: return when all are through.
        """
        self._starter = threading.Thread(target=self._load_all, name="fastalex-load", daemon=True)
        self._starter.start()
        if wait:
            self._starter.join()

    def check_loaded(self) -> None:
        """Check that everything that :meth:`start` was to load is there.

        :raises UserError: with the reason of the first that is not.
        """
        failed = next((row for row in self.index() if row.state != READY), None)
        if failed is not None:
            raise UserError(f"model '{failed.name}' cannot be loaded: {failed.reason}")
        self.distance  # noqa: B018  raises the reason if it was asked for and cannot be had

    def _load_all(self) -> None:
        for name, slot in self._models.items():
            self._load(slot, f"model '{name}'")
        if self._distance is not None:
            self._load(self._distance, "the distance")

    def load(self, name: str) -> None:
        """Load a model. One that is loaded is read again from its file, and serves until the new one is ready.

        :raises ServiceError: 404 if there is none of this name, 503 if it cannot be loaded, with the reason.
        """
        slot = self._slot(name)
        if not self._load(slot, f"model '{name}'"):
            raise ServiceError(503, f"model '{name}' cannot be loaded: {slot.reason}")

    def _load(self, slot: _Slot[Any], what: str) -> bool:
        with slot.changing:
            if self._closed:
                return False
            before, slot.reason = slot.loaded, ""
            if before is None:
                slot.state = LOADING
            try:
                slot.loaded = slot.make()
            except Exception as error:  # noqa: BLE001 - a file can fail in many ways, and the server must live on
                slot.reason = _why(error)
                slot.state = UNAVAILABLE if before is None else READY
                return False
            slot.state = READY
            if before is not None:
                before.successor = slot.loaded
                before.close()
            return True

    def unload(self, name: str) -> None:
        """Take a model out of service, when the calls that it accepted have ended.

        :raises ServiceError: 404 if there is none of this name, 503 if it is not loaded.
        """
        slot = self._slot(name)
        with slot.changing:
            _loaded(slot, f"model '{name}'")
            self._unload(slot, None)

    def _unload(self, slot: _Slot[Any], timeout: Optional[float]) -> None:
        loaded, slot.loaded = slot.loaded, None
        if loaded is not None:
            slot.state, slot.reason = UNLOADING, "it is being unloaded"
            loaded.close(timeout)
        slot.state, slot.reason = UNAVAILABLE, "it was unloaded"

    def close(self, timeout: Optional[float] = None) -> None:
        """Finish what was accepted, for up to ``timeout`` seconds in all, and unload everything.

        A model that is still being loaded then, or unloaded, is left to its thread.
        """
        self._closed = True
        end = None if timeout is None else time.monotonic() + timeout
        slots: List[Any] = [*self._models.values(), *([self._distance] if self._distance else [])]
        for slot in slots:
            if slot.changing.acquire(timeout=-1 if end is None else max(0.0, end - time.monotonic())):
                try:
                    self._unload(slot, None if end is None else max(0.0, end - time.monotonic()))
                finally:
                    slot.changing.release()

    def _slot(self, name: str) -> _Slot[Served]:
        if name not in self._models:
            raise ServiceError(404, f"there is no model '{name[:64]}' (there are: {', '.join(self._models) or 'none'})")
        return self._models[name]


def _loaded(slot: _Slot[Loaded], what: str) -> Loaded:
    loaded = slot.loaded
    if loaded is None:
        soon = _SOON if slot.state == LOADING else None
        reason = "it is being loaded" if slot.state == LOADING else slot.reason
        raise ServiceError(503, f"{what} is not available: {reason}", soon)
    return loaded


def _why(error: Exception) -> str:
    """Return why a model was not loaded, as a phrase."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    if isinstance(error, (UserError, BackendError)):
        return str(error)
    return one_line(f"{type(error).__name__}: {error}")
