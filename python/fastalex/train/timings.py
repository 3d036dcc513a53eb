"""A training run that measures where its time goes: ``fastalex train --timings``."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Dict, Iterator, List, Sequence

from .._util import console
from . import data
from .loop import Run

#: The parts of a run and what they are, in the order in which they are printed.
PARTS = {
    "data": "waiting for images",
    "forward": "the network",
    "backward": "the loss and the gradients",
    "update": "the optimizer, logs and counts",
    "validation": "the images of the validation set, and the network on them",
    "files": "checkpoints and weights",
}


class Timings:
    """Seconds by part. A part within another one is not counted twice."""

    def __init__(self, synchronize: Any = None) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._synchronize = synchronize
        self._open: List[float] = []  # of each part that is running, the time of the parts within it

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of a block as that of the part ``name``; the time of parts within it is theirs alone."""
        began = self._now()
        self._open.append(0.0)
        try:
            yield
        finally:
            whole = self._now() - began
            self.seconds[name] += whole - self._open.pop()
            if self._open:
                self._open[-1] += whole

    def _now(self) -> float:
        if self._synchronize is not None:
            self._synchronize()  # kernels of a GPU end later than their launches
        return time.perf_counter()


class TimedRun(Run):
    """A :class:`fastalex.train.loop.Run` with :class:`Timings`.

    On a GPU, waiting for each part keeps the next one from overlapping it: the run takes longer than without.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.images = 0
        on_gpu = self.scheme.device.type == "cuda"
        self.timings = Timings(self.torch.cuda.synchronize if on_gpu else None)
        self._forward, self.scheme.logits = self.scheme.logits, self._logits  # type: ignore[method-assign]

    def run(self) -> Dict[str, Any]:
        """Train the network, and return the summary with ``timings``, the seconds of each part."""
        return {**super().run(), "timings": dict(self.timings.seconds)}

    def _logits(self, x: Any, train: bool = True) -> Any:
        with self.timings.part("forward") if train else contextlib.nullcontext():
            return self._forward(x, train)

    def _loader(self, images: data.Images, prepare: Any, share: data.Batches) -> Any:
        batches = super()._loader(images, prepare, share)
        return self._waited(batches) if images is self.training else batches

    def _waited(self, batches: Any) -> Iterator[data.Batch]:
        with self.timings.part("data"):
            rest = iter(batches)
        while True:
            with self.timings.part("data"):
                batch = next(rest, None)
            if batch is None:
                return
            yield batch

    def _backward(self, *arguments: Any) -> Any:
        with self.timings.part("backward"):
            return super()._backward(*arguments)

    def _update(self, *arguments: Any) -> None:
        before = self.sums.images
        with self.timings.part("update"):
            super()._update(*arguments)
        self.images += self.sums.images - before

    def validate(self) -> Dict[str, float]:
        """Validate as :class:`fastalex.train.loop.Run` does."""
        with self.timings.part("validation"):
            return super().validate()

    def _save(self) -> None:
        with self.timings.part("files"):
            super()._save()

    def _export(self, names: Sequence[str]) -> None:
        with self.timings.part("files"):
            super()._export(names)


def show(run: TimedRun) -> None:
    """Print the parts of the time of ``run``, and the rate of its steps."""
    seconds = run.timings.seconds
    whole = sum(seconds.values())
    steps = sum(seconds[name] for name in ("data", "forward", "backward", "update"))
    for name, meaning in PARTS.items():
        share = 100 * seconds[name] / whole if whole else 0.0
        console.write(f"{name:10}  {seconds[name]:8.1f} s  {share:4.1f}%  {meaning}")
    console.write(f"{run.images / steps if steps else 0.0:.0f} images/s in the steps")
