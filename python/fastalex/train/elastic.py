"""What a process of ``torchrun`` knows of the others: mistakes that one of them reports, lost ones, restarts.

``torchrun`` starts its processes again when one ended with an error, or when a host joins. It does not tell them why.
Therefore each process leaves notes in the folder that its agent, the process ``torchrun``, has for it; and a mistake
goes through the store that all processes have met in, so that one of them prints it.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import shlex
import socket
import threading
import time
from typing import Any, Iterator, List, Optional, Sequence

from .._util import console, signals
from ..errors import BackendError, UserError
from ..networks.torch_reference import pytorch

BEGUN, MISTAKE = "fastalex-begun", "fastalex-mistake"  # names of the notes
STORE_S = 10  # seconds to reach the store
WATCH_S = 0.2  # seconds between two looks into it
SAID_S = 20  # seconds that a process waits for the first one to print its mistake, before it does so itself
_KEY = "fastalex/"  # of entries of the store
_MODULE = "fastalex.train"
_PROGRAMS = ("torchrun", "torch.distributed.run", "run.py")


class LostError(Exception):
    """Another process of the run is gone or does not answer."""


def is_first_of_host() -> bool:
    """Whether this is the first process of its host."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def is_elastic() -> bool:
    """Whether ``torchrun`` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def host() -> str:
    """Return the number and the name of this host for messages."""
    return f"host {os.environ.get('GROUP_RANK', '0')} ({socket.gethostname()})"


# Notes ----------------------------------------------------------------------------------------------------------------


def noted(name: str) -> bool:
    """Whether a process left the note ``name`` on this host since its agent started."""
    path = _note(name)
    return path is not None and os.path.exists(path)


def leave_note(name: str) -> None:
    """Leave the note ``name`` for the processes that the agent of this one may start later."""
    path = _note(name)
    if path is not None:
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def _note(name: str) -> Optional[str]:
    # FOLDER/attempt_0/0/error.json: torch.distributed.elastic.multiprocessing.DefaultLogsSpecs
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return os.path.join(os.path.dirname(path), "..", "..", name) if path else None


# Mistakes -------------------------------------------------------------------------------------------------------------


def say(sentence: str) -> None:
    """Print the sentence of a mistake once for all processes: the first does it, for the others too.

    ``torchrun`` may start the processes again, which then end without a word.
    """
    leave_note(MISTAKE)
    if not _several():
        console.error(sentence)
        return
    tell(sentence)
    store = _store()
    if _rank():
        if store is not None and _is_set(store, "said", SAID_S):
            _count(store)
        elif is_first_of_host():  # the first process is gone, or in the middle of something long
            _print(store, sentence)
        return
    if store is None or not _is_set(store, "said"):
        _print(store, sentence)
    if store is not None and _hosts_store():
        _linger(store)


def _print(store: Any, sentence: str) -> None:
    console.error(sentence)
    if store is not None:
        with contextlib.suppress(RuntimeError):
            store.set(_KEY + "said", "1")


def _count(store: Any) -> int:
    """Count this process among those that know that the sentence is printed."""
    with contextlib.suppress(RuntimeError):
        return int(store.add(_KEY + "heard", 1))
    return 0


def _linger(store: Any) -> None:
    """Keep the store, which would end with this process, until the others know that the sentence is printed."""
    until, others = time.monotonic() + SAID_S, int(os.environ["WORLD_SIZE"]) - 1
    while time.monotonic() < until and store.add(_KEY + "heard", 0) < others:
        time.sleep(0.05)


def tell(sentence: str) -> None:
    """Tell the other processes about the mistake that ends this one, before they notice that it is gone."""
    store = _store() if _several() else None
    if store is not None:
        with contextlib.suppress(RuntimeError):
            store.compare_set(_KEY + "mistake", "", sentence if not _rank() else f"on {host()}: {sentence}")


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Return a context that tells the other processes about a mistake, and notices when one is gone.

    :raises UserError: the mistake of another process that ended for it.
    :raises LostError: if another process is gone for another reason.
    """
    try:
        with _watched():
            yield
    except (UserError, BackendError, OSError, MemoryError) as error:
        tell(str(error) or type(error).__name__)
        raise
    except RuntimeError as error:
        if not _several() or not _is_of_exchange(error):
            raise
        with signals.held():  # torchrun may end this process because the other one is gone
            mistake = _mistake(_store(0))
        if mistake:
            raise UserError(mistake) from None
        raise LostError(_reason(error)) from error


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """In the first process, print what others tell at once: it may be waiting for them."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(ended,), daemon=True)
    if not _several() or _rank():
        yield
        return
    _store()
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(ended: threading.Event) -> None:
    store = _store.__wrapped__()  # a connection of its own
    while not ended.wait(WATCH_S):
        mistake = _mistake(store)
        if mistake:
            _print(store, mistake)
            return


def _mistake(store: Any) -> str:
    """Return what a process said with :func:`tell`; "" for nothing."""
    if store is None or not _is_set(store, "mistake"):
        return ""
    return str(store.get(_KEY + "mistake").decode("utf-8", "replace"))


def meet(seconds: float) -> None:
    """Wait for the other processes, unless one of them ends for a mistake that the others do not make.

    :raises UserError: that mistake.
    """
    store, until = _store(), time.monotonic() + seconds
    if store is None:
        return
    world, here = int(os.environ["WORLD_SIZE"]), int(store.add(_KEY + "here", 1))
    while here < world and time.monotonic() < until:
        mistake = _mistake(store)
        if mistake:
            raise UserError(mistake)
        time.sleep(0.02)
        here = int(store.add(_KEY + "here", 0))


def _is_of_exchange(error: RuntimeError) -> bool:
    kind = getattr(pytorch().distributed, "DistError", ())  # since PyTorch 2.1
    return "gloo" in str(error) or isinstance(error, kind)


def _reason(error: RuntimeError) -> str:
    late = "imed out" in str(error) or "timeout" in str(error)
    return "another process did not answer in time" if late else "another process is gone"


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _hosts_store() -> bool:
    """Whether the store of the processes is in this one, not in an agent."""
    return not _rank() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"


@functools.lru_cache(maxsize=None)
def _store(seconds: float = STORE_S) -> Any:
    """Return the store of the processes; None if it cannot be reached within ``seconds``."""
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if not address or not port or not (_hosts_store() or _answers(address, int(port), seconds)):
        return None
    make, limit = pytorch().distributed.TCPStore, datetime.timedelta(seconds=STORE_S)
    try:  # multi_tenant: the process group has the same server
        return make(address, int(port), None, _hosts_store(), limit, wait_for_workers=False, multi_tenant=True)
    except (RuntimeError, ValueError):
        return None


def _answers(address: str, port: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), STORE_S).close()
            return True
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)


def _is_set(store: Any, key: str, seconds: float = 0) -> bool:
    try:
        if not seconds:
            return bool(store.check([_KEY + key]))
        store.wait([_KEY + key], datetime.timedelta(seconds=seconds))
    except RuntimeError:  # after the time, or without a connection
        return False
    return True


# Lines that resume ----------------------------------------------------------------------------------------------------


def command(words: Sequence[str]) -> str:
    """Return the command line that resumes the run of ``fastalex train WORDS``."""
    resume = [] if "--resume" in words else ["--resume"]
    if not _several() and not is_elastic():
        return shlex.join(["fastalex", "train", *words, *resume])
    agent = _agent_options() or ["--nproc-per-node", os.environ.get("LOCAL_WORLD_SIZE", "N")]
    return shlex.join(["torchrun", *agent, "-m", _MODULE, *words, *resume])


def _agent_options() -> List[str]:
    """Return the options that ``torchrun``, the parent of this process, was called with; [] if they are unknown."""
    if not is_elastic():
        return []
    try:
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as stream:
            words = stream.read().decode("utf-8", "replace").split("\0")[:-1]
    except OSError:
        return []
    if _MODULE not in words:
        return []
    words = words[: words.index(_MODULE)]
    program = [number for number, word in enumerate(words) if os.path.basename(word) in _PROGRAMS]
    return words[program[0] + 1 : -1] if program and words[-1] == "-m" else []
