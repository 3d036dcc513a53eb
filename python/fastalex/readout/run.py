"""The state and the files of one run: rows are added, counted when they are safe, and named when all are there."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import time
from typing import Any, BinaryIO, Deque, Dict, List, NamedTuple, Optional, Type

import numpy as np

from .._util.files import replacing
from ..errors import UserError
from . import destinations
from . import settings as settings_of
from .destinations import PART, Destination, writing
from .fitting import FIT_STATE, Pca, Scales
from .work import Block

SAVE_EVERY_S = 1.0  # work that may be lost when the machine stops
STATE, RESULT, NAMES = "readout.state.json", "readout.json", "file_names.txt"


class _Pending(NamedTuple):
    """An image whose row is not in a file yet; or, with a ``reason``, one that has none."""

    position: int
    name: str
    reason: Optional[str]
    clipped: Dict[str, int]


class _Safe(NamedTuple):
    """What is in the files, replaced as a whole: an interruption finds it before or after a change.

    ``done``: the images before this one have a row there, or are left out. ``clipped``: layer -> number of values.
    """

    done: int
    rows: int
    names_bytes: int
    clipped: Dict[str, int]


class Run:
    """The files of the images ``start`` to ``stop`` in ``folder``.

    Row r is that of the r-th image that can be read, in the order of the source. Rows of chunked destinations wait in
    memory until there are as many as are written at once.

    :raises UserError: if the folder has results of other settings, or cannot be written.
    """

    def __init__(
        self, folder: str, settings: Dict[str, Any], start: int, stop: int, restart: bool, facts: Dict[str, Any]
    ) -> None:
        self.folder, self.settings, self.start, self.stop, self._facts = folder, settings, start, stop, facts
        self.kind: Type[Destination] = destinations.FORMATS[settings["format"]]
        self._safe = _Safe(start, 0, 0, {})
        self.left_out: Dict[str, str] = {}
        self.complete: Optional[Dict[str, Any]] = None
        self._saved = time.monotonic()
        self._open: Dict[str, Destination] = {}
        self._names: Optional[BinaryIO] = None
        self._pending: Deque[_Pending] = collections.deque()
        self._buffers: Dict[str, np.ndarray] = {}
        self._step = self._filled = 0  # rows that are written at once, and those that wait
        if restart:
            with writing(folder):
                self._clear()
        self._resume()
        self.next = self.done  # the first image that is not added yet

    @property
    def done(self) -> int:
        """The first image that has no row in the files, and is not left out."""
        return self._safe.done

    def path(self, name: str) -> str:
        """Return the path of a file of the run."""
        return os.path.join(self.folder, name)

    def file(self, layer: str) -> str:
        """Return the name of a layer's file."""
        return destinations.file_of(layer, self.kind)

    def _part(self, layer: str) -> str:
        return self.path(self.file(layer) + PART)

    # Beginning

    def _clear(self) -> None:
        """Remove the files of the previous run, including those of other layers and formats."""
        layers = list(self.settings["layers"])
        for previous in (self._load(RESULT), self._load(STATE)):
            layers += previous["settings"]["layers"] if previous else []
        names = [RESULT, STATE, NAMES, NAMES + PART, FIT_STATE]
        for layer in layers:
            for kind in destinations.FORMATS.values():
                names += [destinations.file_of(layer, kind) + more for more in ("", PART, ".short")]
            names += [layer.replace(":", "-") + fit.suffix for fit in (Pca, Scales)]
        for name in names:
            destinations.remove(self.path(name))

    def _resume(self) -> None:
        complete, started = self._load(RESULT), self._load(STATE)
        for previous in (complete, started):
            if previous is not None:
                settings_of.refuse_other(self.folder, previous["settings"], self.settings)
        files = [row["file"] for row in complete.get("layers", {}).values()] if complete else []
        if complete is not None and all(os.path.exists(self.path(file)) for file in files):
            self.complete = complete
        elif started is not None and self._is_there(started):
            self._safe = _Safe(*(started[key] for key in _Safe._fields))
            self.left_out = started["left_out"]
            with writing(self.path(NAMES)), contextlib.suppress(FileNotFoundError):
                os.truncate(self.path(NAMES + PART), self._safe.names_bytes)  # what came after the state was saved

    def _is_there(self, started: Dict[str, Any]) -> bool:
        """Whether the files have the rows of a state. The last run may have stopped while it was renaming them."""
        names = [self.file(layer) for layer in self.settings["layers"]] if started["rows"] else []
        places = ("", PART) if started["done"] == self.stop else (PART,)
        there = all(any(os.path.exists(self.path(name + place)) for place in places) for name in [*names, NAMES])
        return there or not started["rows"]

    def _load(self, name: str) -> Optional[Dict[str, Any]]:
        try:
            with open(self.path(name), encoding="utf-8") as stream:
                content = json.load(stream)
        except (OSError, ValueError):  # treated like a missing file: everything is computed again
            return None
        keys = {"settings", "left_out", *_Safe._fields}
        return content if isinstance(content, dict) and keys <= set(content) else None

    # Adding rows

    def add(self, block: Block) -> None:
        """Add the rows of a block, which begins at :attr:`next` or before it, and its images that have none."""
        skip = row = 0
        for position, name, reason in zip(range(block.start, block.stop), block.names, block.reasons):
            has_row = reason is None
            if position >= self.next:
                counts = {layer: int(rows[row]) for layer, rows in block.clipped.items() if has_row}
                clipped = {layer: count for layer, count in counts.items() if count}
                self._pending.append(_Pending(position, name, reason, clipped))
            row, skip = row + has_row, skip + (has_row and position < self.next)  # those to skip are there already
        self.next = block.stop
        values = {layer: rows[skip:] for layer, rows in block.values.items()}
        if values:
            self._store(values)
        if not self._filled:
            self._consume(0)
        self._save_sometimes()

    def _store(self, values: Dict[str, np.ndarray]) -> None:
        """Write rows, or keep them until there are enough to be written at once."""
        if not self._step:
            self._begin(values)
        count = len(next(iter(values.values())))
        if not self.kind.chunked:
            self._write(values, count)
            return
        taken = 0
        while taken < count:
            now = min(self._step - self._filled, count - taken)
            for layer, rows in values.items():
                self._buffers[layer][self._filled : self._filled + now] = rows[taken : taken + now]
            taken, self._filled = taken + now, self._filled + now
            if self._filled == self._step:
                self._flush()

    def _begin(self, values: Dict[str, np.ndarray]) -> None:
        """Make the files, or open those of an earlier process."""
        total = self.stop - self.start
        step = destinations.rows_at_once(sum(rows[:1].nbytes for rows in values.values()), total)
        for layer, rows in values.items():
            part = self._part(layer)
            with writing(part):
                if self._safe.rows:
                    self._open[layer] = self.kind.reopened(part)
                else:
                    self._open[layer] = self.kind(part, (total, *rows.shape[1:]), rows.dtype.name, step)
            if self.kind.chunked:
                self._buffers[layer] = np.empty((step, *rows.shape[1:]), rows.dtype)
        self._step = step

    def _flush(self) -> None:
        if self._filled:
            filled, self._filled = self._filled, 0
            self._write({layer: rows[:filled] for layer, rows in self._buffers.items()}, filled)

    def _write(self, values: Dict[str, np.ndarray], count: int) -> None:
        waiting = (entry.name for entry in self._pending if entry.reason is None)
        names = [name for name, _ in zip(waiting, range(count))]
        for layer, rows in values.items():
            with writing(self._part(layer)):
                self._open[layer].write(self._safe.rows, rows, names)
        self._consume(count)

    def _consume(self, count: int) -> None:
        """Count images whose ``count`` rows were written, and those without rows behind them, as done."""
        done, rows, names_bytes, clipped = self._safe
        clipped, taken = dict(clipped), 0
        left_out: Dict[str, str] = {}
        lines: List[str] = []
        for position, name, reason, beyond in self._pending:
            if reason is None and len(lines) == count:
                break
            if reason is None:
                lines.append(name + "\n")
            else:
                while name in left_out or name in self.left_out:  # a tar file may have members of one name
                    name += " (again)"
                left_out[name] = reason
            for layer, number in beyond.items():
                clipped[layer] = clipped.get(layer, 0) + number
            done, taken = position + 1, taken + 1
        content = "".join(lines).encode("utf-8", "surrogateescape")
        if content:
            with writing(self.path(NAMES)):
                self._names_file().write(content)
        self.left_out.update(left_out)
        self._safe = _Safe(done, rows + len(lines), names_bytes + len(content), clipped)
        for _ in range(taken):
            self._pending.popleft()

    def _names_file(self) -> BinaryIO:
        if self._names is None:
            self._names = open(self.path(NAMES + PART), "ab" if self._safe.rows else "wb")  # noqa: SIM115 - kept
        return self._names

    # Saving

    def _save_sometimes(self) -> None:
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the rows to disk, and then the state that counts them."""
        for layer, destination in self._open.items():
            with writing(self._part(layer)):
                destination.flush()
        if self._names is not None:
            with writing(self.path(NAMES)):
                self._names.flush()
                os.fsync(self._names.fileno())
        self._write_json(STATE, self._state())
        self._saved = time.monotonic()

    def _state(self) -> Dict[str, Any]:
        return {"settings": self.settings, **self._safe._asdict(), "left_out": self.left_out}

    def _write_json(self, name: str, content: Any) -> None:
        with replacing(self.path(name), tidy=True) as stream:
            stream.write((json.dumps(content, indent=1) + "\n").encode("utf-8"))

    # Ending

    def close(self) -> None:
        """Save what is safe, and close the files; rows that wait to be written are computed again."""
        try:
            self.save()
        finally:
            for destination in self._open.values():
                with contextlib.suppress(OSError, RuntimeError):
                    destination.close()
            self._open.clear()
            if self._names is not None:
                with contextlib.suppress(OSError):  # what is not in the file yet could not be saved either
                    self._names.close()

    def finish(self) -> Dict[str, Any]:
        """Rename the files; write readout.json last, so that it describes only complete files.

        :raises UserError: if no image could be read. A shard may have none: then it has no layers.
        """
        if self.complete is not None:
            return self.complete
        if not self._safe.rows and self.settings["shard"] is None:
            first = next(iter(self.left_out.values()))
            raise UserError(f"none of the {self.stop - self.start} images can be read; the first: {first}")
        layers = {}
        for layer in self.settings["layers"] if self._safe.rows else ():
            with writing(self.path(self.file(layer))):
                layers[layer] = {"file": self.file(layer), "shape": self._keep(layer)}
        if not self._safe.rows:
            with writing(self.path(NAMES)):
                self._names_file().close()
        with writing(self.path(NAMES)), contextlib.suppress(FileNotFoundError):
            os.replace(self.path(NAMES + PART), self.path(NAMES))
        result = dict(self._state(), layers=layers, machine=self._facts)
        self._write_json(RESULT, result)
        with writing(self.folder):
            os.unlink(self.path(STATE))
        return result

    def _keep(self, layer: str) -> List[int]:
        """Rename a layer's file, without the unused rows at its end, and return its shape."""
        target = self.path(self.file(layer))
        self.kind.keep(self._part(layer), target, self._safe.rows)
        return list(destinations.reader(target).shape)

    def end(self) -> None:
        """Write the rows that wait, once all blocks are added."""
        self._flush()
        self._consume(0)


def result_of(folder: str) -> Dict[str, Any]:
    """Return the content of the ``readout.json`` of complete results.

    :raises UserError: if there is none, or it is damaged.
    """
    try:
        with open(os.path.join(folder, RESULT), encoding="utf-8") as stream:
            result = json.load(stream)
        if {"settings", "left_out", "layers", "machine", *_Safe._fields} <= set(result):
            return dict(result)
    except (OSError, ValueError, TypeError):
        pass
    raise UserError(f"there are no complete results in '{folder}'; run the command that makes them to its end")
