"""Fairness: clients are served in turn, and none may fill the memory."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from typing import Counter as CounterType
from typing import Deque, Generic, List, Tuple, TypeVar

from .errors import ServiceError

Item = TypeVar("Item")
_SOON = 1  # seconds: a full queue is computed in about as many


class Turns(Generic[Item]):
    """Items of clients who are served in turn, each client's own in their order. Callers hold a lock of their own."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, Deque[Item]] = OrderedDict()
        self._aside: List[Tuple[str, Deque[Item]]] = []

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, client: str, item: Item) -> None:
        """Append an item of ``client``; a new client has its turn after all others."""
        self._queues.setdefault(client, deque()).append(item)

    def head(self) -> Item:
        """Return the next item of the client whose turn it is."""
        return next(iter(self._queues.values()))[0]

    def pop(self) -> Item:
        """Remove the next item, and end the turn of its client."""
        client, queue = next(iter(self._queues.items()))
        item = queue.popleft()
        if queue:
            self._queues.move_to_end(client)
        else:
            del self._queues[client]
        return item

    def end_turn(self) -> None:
        """Give the turn to the next client."""
        self._queues.move_to_end(next(iter(self._queues)))

    def set_aside(self) -> None:
        """Leave the client whose turn it is out until :meth:`restore`."""
        self._aside.append(self._queues.popitem(last=False))

    def restore(self) -> None:
        """Put the clients that were left out before all others, who had their turn meanwhile."""
        while self._aside:
            client, queue = self._aside.pop()
            self._queues[client] = queue
            self._queues.move_to_end(client, last=False)


class Admission:
    """Counts the images that were accepted and not answered, of each client address and of all.

    :param per_client: the most images of a client address.
    :param total: the most images of all clients.
    """

    def __init__(self, per_client: int, total: int) -> None:
        self.per_client, self.total = min(per_client, total), total
        self._clients: CounterType[str] = Counter()
        self._all = 0
        self._lock = threading.Lock()

    def enter(self, client: str, images: int) -> None:
        """Count ``images`` more of ``client``.

        :raises ServiceError: 413 for more than a client may ever have, 429 if it has too many now, 503 if all have.
        """
        if images > self.per_client:
            raise ServiceError(
                413, f"a request may have up to {self.per_client} images, not {images}; send it in several parts"
            )
        with self._lock:
            if self._clients[client] + images > self.per_client:
                raise ServiceError(
                    429,
                    f"{self._clients[client]} images of this client are waiting, and {self.per_client} are allowed; "
                    "wait for their answers",
                    _SOON,
                )
            if self._all + images > self.total:
                raise ServiceError(503, "the server has as much work as it takes; try again", _SOON)
            self._clients[client] += images
            self._all += images

    def leave(self, client: str, images: int) -> None:
        """Take back what :meth:`enter` counted."""
        with self._lock:
            self._all -= images
            self._clients[client] -= images
            if not self._clients[client]:
                del self._clients[client]
