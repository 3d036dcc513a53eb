"""A process that runs cases within limits: ``python -m tests.fuzz.worker FOLDER``.

It reads lines ``FORMAT NUMBER`` and answers each with a line of JSON, a :class:`Verdict`'s fields. The kernel ends it
at a case that takes more than :data:`SECONDS` of the processor; that a case takes more memory than :data:`MEMORY` is
seen in the largest resident set, since libraries answer a failed allocation in ways of their own.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import Any, Dict, List, NamedTuple

from fastalex.images import decode

SECONDS = 5.0  # of the processor, a case
MEMORY = 500 << 20  # bytes, a case
IMAGE_MEMORY = 1600 << 20  # bytes, of a file that has enough bytes for the largest image: SECURITY.md
GUARD = 4 * MEMORY  # bytes of data that the process may have more than before; beyond it allocations fail
SENTENCE = 1000  # characters of a message besides the names in it that are the user's own
LOADED, REFUSED, TRACEBACK, OVER, MESSAGE = "loaded", "refused", "traceback", "memory", "message"


class Verdict(NamedTuple):
    """What became of a case: ``kind``, a reason, and what it took."""

    kind: str
    reason: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


def run(target: str, path: str, number: int, raising: bool = False) -> Verdict:
    """Let ``target`` read the file at ``path`` and judge what it does.

    :param raising: do not catch what a target must not raise.
    """
    from tests.fuzz import targets

    _limit_data()
    before = _reset_peak()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF, not handled, ends the process
    start = time.process_time()
    try:
        seen = targets.use(target, path, number)
        kind, reason = (REFUSED, seen.refusal) if seen.refusal else (LOADED, "")
        wrong = _wrong_text(seen, path)
        if wrong:
            kind, reason = MESSAGE, wrong
    except MemoryError as error:
        kind, reason = OVER, _signature(error)
    except Exception as error:
        if raising:
            raise
        kind, reason = TRACEBACK, _signature(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds, taken = time.process_time() - start, _peak() - before
    if taken > _allowed(target, path):
        kind, reason = OVER, f"{taken >> 20} MB, then: {kind} {reason}"
    return Verdict(kind, reason[:2000], seconds, taken / (1 << 20))


def _allowed(target: str, path: str) -> int:
    """The bytes of memory that a case may take."""
    few = decode.DENSE_PIXELS // decode.MAX_PIXELS_A_BYTE
    return MEMORY if target != "image" or os.path.getsize(path) <= few else IMAGE_MEMORY


def _wrong_text(seen: Any, path: str) -> str:
    """What is wrong with the texts that a user sees; empty if nothing is."""
    for text in (seen.refusal, *seen.notes):
        if "MemoryError" in text or "not enough memory" in text:
            return f"an allocation failed: {text[:200]!r}"
        if len(text.replace(path, "")) > SENTENCE:
            return f"a sentence of {len(text)} characters: {text[:200]!r}"
        if not text.replace(path, "").isprintable():
            return f"characters that are not printable: {text[:300]!r}"
    if not seen.output.replace("\n", "").isprintable():
        bad = next(place for place, one in enumerate(seen.output) if not (one.isprintable() or one == "\n"))
        return f"output that is not printable: {seen.output[max(0, bad - 100) : bad + 30]!r}"
    return ""


def _signature(error: BaseException) -> str:
    """The exception, and the last place of the package that it passed."""
    package = f"{os.sep}fastalex{os.sep}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if package in frame.filename]
    place = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno} {frames[-1].name}" if frames else "?"
    return f"{place}: {type(error).__name__}: {str(error)[:200]}"


# Limits ---------------------------------------------------------------------------------------------------------------


def _limit_data() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + GUARD, resource.RLIM_INFINITY))


def _reset_peak() -> int:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")  # proc(5): the peak of the resident set becomes what it is now
    return _peak()


def _peak() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) << 10 for line in stream if line.startswith(field))


# The process ----------------------------------------------------------------------------------------------------------


def _sound(folder: str, name: str) -> List[Dict[str, bytes]]:
    with open(os.path.join(folder, name + ".pickle"), "rb") as stream:
        files: List[Dict[str, bytes]] = pickle.load(stream)
    return files


def place(files: Dict[str, bytes], folder: str) -> str:
    """Write ``files`` to ``folder``, which loses all others; return the path of the one to use."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(data)
    return os.path.join(folder, min(files))


def main() -> None:
    from tests.fuzz import corpus, targets

    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries write belongs to the log
    sound: Dict[str, List[Dict[str, bytes]]] = {}
    with tempfile.TemporaryDirectory(prefix="fastalex-fuzz-") as folder:
        for line in sys.stdin:
            name, number = line.split()
            target = corpus.FORMATS[name].target
            if name not in sound:
                sound[name] = _sound(sys.argv[1], name)
                targets.prepare(target)
            path = place(corpus.case(name, sound[name], int(number)), os.path.join(folder, "case"))
            answers.write(json.dumps(run(target, path, int(number))._asdict()) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
