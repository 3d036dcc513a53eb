"""The threads that decode images, shared by all models."""

from __future__ import annotations

import threading
from typing import Callable, List, Optional

from .turns import Turns

Task = Callable[[], bool]  # whether it left an image for the engine


class Decoders:
    """Threads that decode images; Pillow releases Python's lock meanwhile.

    The lanes, one a model, are served in turn.
    """

    def __init__(self, threads: int) -> None:
        self._count = threads
        self._threads: List[threading.Thread] = []
        self._lanes: List[Lane] = []
        self.changed = threading.Condition()

    def lane(self, ahead: int) -> Lane:
        """Add a lane whose images may be up to ``ahead`` ahead of the engine."""
        lane = Lane(self, ahead)
        with self.changed:
            self._lanes = [other for other in self._lanes if not other.over]
            self._lanes.append(lane)
        return lane

    def start(self) -> None:
        """Start the threads, unless they run. The lock is held."""
        while len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name="fastalex-decode", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while True:
            with self.changed:
                lane = self._next_lane()
                while lane is None:
                    self.changed.wait()
                    lane = self._next_lane()
                task = lane.take()
            if not task():
                lane.give_room(1)
            del task, lane  # an idle thread keeps no image alive

    def _next_lane(self) -> Optional[Lane]:
        for index, lane in enumerate(self._lanes):
            if lane.ready:
                self._lanes.append(self._lanes.pop(index))
                return lane
        return None


class Lane:
    """The images of one model that are to be decoded, clients in turn, not too far ahead of the engine.

    This bounds the memory: a decoded image takes six times that of its file.
    """

    def __init__(self, decoders: Decoders, ahead: int) -> None:
        self._decoders, self._room = decoders, ahead
        self._closed = False
        self._turns: Turns[Task] = Turns()

    @property
    def ready(self) -> bool:
        """Whether there is an image to decode, and room for it."""
        return self._room > 0 and bool(self._turns)

    @property
    def over(self) -> bool:
        """Whether the lane is closed and has no tasks left."""
        return self._closed and not self._turns

    def put(self, client: str, tasks: List[Task]) -> None:
        """Queue tasks of ``client``."""
        changed = self._decoders.changed
        with changed:
            self._decoders.start()
            for task in tasks:
                self._turns.put(client, task)
            changed.notify(len(tasks))

    def take(self) -> Task:
        """Take the next task. The lock is held."""
        self._room -= 1
        return self._turns.pop()

    def give_room(self, images: int) -> None:
        """Say that the engine has taken images, or that nobody wants them."""
        changed = self._decoders.changed
        with changed:
            self._room += images
            if self._turns:
                changed.notify(images)

    def close(self) -> None:
        """Say that no more tasks come."""
        self._closed = True
