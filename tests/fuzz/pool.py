"""Worker processes, what becomes of each case, and where the files of a bad one are kept."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from tests.fuzz import corpus, worker
from tests.fuzz.worker import LOADED, REFUSED, Verdict

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds without an answer: a worker that waits for ever takes no time of the processor
CRASH, HANG = "crash", "hang"
KINDS = (LOADED, REFUSED, CRASH, HANG, worker.TRACEBACK, worker.OVER, worker.MESSAGE)
GOOD = (LOADED, REFUSED)


class Result(NamedTuple):
    """The verdict on the case ``number`` of the format ``name``; ``path``: its file, if it was kept."""

    name: str
    number: int
    verdict: Verdict
    path: str = ""

    @property
    def replay(self) -> str:
        """The command that runs the case again."""
        return f"python -m tests.fuzz.replay {self.name} {self.number}"


def run(
    cases: Iterable[Tuple[str, int]],
    keep: str,
    jobs: int = 1,
    module: str = "tests.fuzz.worker",
    seconds: float = math.inf,
) -> Iterator[Result]:
    """Run cases in ``jobs`` processes of ``module``, for so many ``seconds``; the files of bad ones go to ``keep``."""
    end = time.monotonic() + seconds
    waiting: queue.Queue[Tuple[str, int]] = queue.Queue()
    done: queue.Queue[Optional[Result]] = queue.Queue()
    for one in cases:
        waiting.put(one)
    with tempfile.TemporaryDirectory(prefix="fastalex-fuzz-") as folder:
        for name in {name for name, _ in waiting.queue}:
            with open(os.path.join(folder, name + ".pickle"), "wb") as stream:
                pickle.dump(corpus.FORMATS[name].make(), stream)
        threads = [
            threading.Thread(target=_serve, args=(module, folder, waiting, done, keep, end)) for _ in range(jobs)
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            yield from iter(done.get, None)
        for thread in threads:
            thread.join()


def _serve(module: str, folder: str, waiting: Any, done: Any, keep: str, end: float) -> None:
    """Hand cases to a worker, and to a new one when that ends."""
    process: Optional[_Process] = None
    try:
        while time.monotonic() < end:
            name, number = waiting.get_nowait()
            process = process or _Process(module, folder)
            verdict = process.judge(name, number)
            if verdict.kind in (CRASH, HANG):
                process.close()
                process = None
            result = Result(name, number, verdict)
            done.put(result if verdict.kind in GOOD else result._replace(path=_kept(folder, result, keep)))
    except queue.Empty:
        pass
    finally:
        if process:
            process.close()
        done.put(None)


def _kept(folder: str, result: Result, keep: str) -> str:
    with open(os.path.join(folder, result.name + ".pickle"), "rb") as stream:
        sound = pickle.load(stream)
    return worker.place(
        corpus.case(result.name, sound, result.number), os.path.join(keep, f"{result.name}-{result.number}")
    )


class _Process:
    """A worker."""

    def __init__(self, module: str, folder: str) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - close() does
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, folder],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def judge(self, name: str, number: int) -> Verdict:
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{name} {number}\n")
            self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            return Verdict(HANG, f"no answer in {PATIENCE:.0f} s")
        answer = self.process.stdout.readline()
        if answer:
            return Verdict(**json.loads(answer))
        code = self.process.wait()
        if code == -signal.SIGPROF:
            return Verdict(HANG, f"more than {worker.SECONDS} s of the processor", worker.SECONDS)
        return Verdict(CRASH, f"{_ending(code)}; {self._last_words()}")

    def _last_words(self) -> str:
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 4000))
        said = self.log.read().decode("utf-8", "replace")
        return said[said.find("Fatal Python error") :] if "Fatal Python error" in said else said[-1500:]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            with contextlib.suppress(OSError):
                stream.close()


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def table(results: Sequence[Result]) -> str:
    """Counts by format and kind."""
    names = list(dict.fromkeys(result.name for result in results))
    counts: Dict[Tuple[str, str], int] = {}
    for result in results:
        key = (result.name, result.verdict.kind)
        counts[key] = counts.get(key, 0) + 1
    lines = [f"{'format':<14} {'cases':>6} " + " ".join(f"{kind:>9}" for kind in KINDS) + "  slowest s   most MB"]
    for name in names:
        own = [result.verdict for result in results if result.name == name]
        cells = " ".join(f"{counts.get((name, kind), 0):>9}" for kind in KINDS)
        slowest, most = max(one.seconds for one in own), max(one.megabytes for one in own)
        lines.append(f"{name:<14} {len(own):>6} {cells} {slowest:>10.2f} {most:>9.0f}")
    return "\n".join(lines)


def faults(results: Sequence[Result]) -> List[Result]:
    """The bad cases, in their order."""
    return sorted(one for one in results if one.verdict.kind not in GOOD)
