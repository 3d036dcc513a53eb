"""Blocks computed by the actors of a Ray cluster, through Ray Data, in the order and to the bits of one process.

Each actor reserves as many CPUs as its network has threads, and reads, decodes and computes blocks by itself: only the
numbers of images go to it, and only results come back. Ray starts an actor whose process was lost again, and does its
unfinished tasks again; a task has no other effect than its result.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import platform
import re
import signal
import socket
import threading
from typing import Any, Dict, Iterator, List, NoReturn, Set, Tuple

from .. import _core
from ..errors import UserError
from .sources import Source
from .work import Block, Work, spans

LOCAL = "local"
_ADDRESS = re.compile(r"([\w.-]{1,253}):(\d{1,5})", re.ASCII)
_CONNECT_S = 10.0
_TASK_IMAGES = 64  # that are lost with a process, at most, if that leaves each actor a few tasks
_TASKS = 4  # for each actor, at least
_MAX_BYTES = (1 << 31) - 1  # of one result: the offsets of Arrow's binary columns
#: For a cluster of ours: it reports nothing to Ray's makers, has 2 minutes to start on a busy machine, and its
#: processes do not warn here.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
_SHOWN = 300  # characters of an error of Ray


class Actor:
    """Computes the blocks of the spans that it is called with; Ray Data makes one in each process.

    :param work: a list with the reference of a :class:`Work`, so that a node fetches the weights once.
    :param isa: the instruction set that the results are to be of.
    """

    def __init__(self, work: List[Any], source: Source, isa: str) -> None:
        self._source, self._problem = source, ""
        try:
            if str(_core.cpu_isa()) != isa:
                raise UserError(
                    f"the node {platform.node()} has the instruction set {_core.cpu_isa()} and this machine {isa}, "
                    "whose last bits differ; start Ray on all nodes with the FASTALEX_CPU_ISA that every one has"
                )
            import ray

            self._work: Work = ray.get(work[0])
        except UserError as error:
            self._problem = str(error)

    def __call__(self, batch: Dict[str, Any]) -> Dict[str, Any]:
        """Compute the block of one span; a problem of the source comes back as the text that the user is to see."""
        (start,), (stop,) = batch["start"], batch["stop"]
        problem, content = self._problem, b""
        if not problem:
            try:
                content = pickle.dumps(tuple(self._work.block(self._source, int(start), int(stop))), protocol=5)
                if len(content) > _MAX_BYTES:
                    raise UserError(
                        f"the results of a batch are {len(content)} bytes, too many for Ray; use a smaller one"
                    )
            except UserError as error:
                problem, content = str(error), b""
        return {
            "start": [int(start)],
            "problem": [problem],
            "block": [content],
            "process": [f"{platform.node()} {os.getpid()}"],
        }


class Cluster:
    """A connection to a Ray cluster, as a context manager.

    :param address: ``"local"`` for one on this machine, which ends with the connection; ``"auto"`` for the one that
        this machine is a node of; or the ``"host:port"`` of another, on which all nodes see the same files.

    * ``processes``: those that results came from, each as ``"<node> <number>"``;
    * ``sent``, ``received``: bytes of results and of the rest that went through the object store.

    :raises UserError: for an address of another form, if Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str) -> None:
        if address not in (LOCAL, "auto") and not _ADDRESS.fullmatch(address):
            raise UserError(f"--ray takes local, auto or HOST:PORT, not '{address[:80]}'")
        self._address, self._ours = address, False
        self.processes: Set[str] = set()
        self.sent = self.received = 0

    def __enter__(self) -> Cluster:
        self._check_port()
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import ray
            import ray.data
        except ImportError:
            raise UserError("--ray needs the package ray: pip install 'fastalex[ray]'") from None
        self._ray = ray
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        if not ray.is_initialized():
            self._connect()
            self._ours = True
        return self

    def _check_port(self) -> None:
        """Ray itself would try for many minutes."""
        named = _ADDRESS.fullmatch(self._address)
        if named:
            try:
                socket.create_connection((named.group(1), int(named.group(2))), _CONNECT_S).close()
            except (OSError, OverflowError) as error:
                self._unreachable(getattr(error, "strerror", None) or str(error))

    def _unreachable(self, reason: str) -> NoReturn:
        raise UserError(f"the Ray cluster '{self._address}' cannot be reached: {reason}") from None

    def _connect(self) -> None:
        options: Dict[str, Any] = {"address": self._address, "log_to_driver": False, "logging_level": "ERROR"}
        if self._address == LOCAL:
            options["include_dashboard"] = False
        with _kept_handlers(), _silence():
            try:
                self._ray.init(**options)
            except Exception as error:  # noqa: BLE001 (of many kinds, by what is wrong with the address)
                self._unreachable(_reason(error))

    def __exit__(self, *error: Any) -> None:
        if self._ours:
            self._ray.shutdown()

    def blocks(self, work: Work, source: Source, start: int, stop: int, batch: int) -> Iterator[Block]:
        """Compute the blocks of :func:`fastalex.readout.work.spans` in their order.

        :raises UserError: if the source cannot be read, the network is not on a CPU, or the cluster fails.
        """
        todo = list(spans(start, stop, batch))
        if not todo:
            return
        if work.net.device != "cpu":
            raise UserError(f"--ray computes on CPUs, and the network is on {work.net.device}; add --device cpu")
        results = self._results(work, source, todo, batch)
        waiting: Dict[int, bytes] = {}
        for first, last in todo:
            while first not in waiting:
                try:
                    row = next(results)
                except StopIteration:
                    raise UserError(
                        f"Ray ended without the images {first} to {last}; use the same command again"
                    ) from None
                if row["problem"]:
                    raise UserError(row["problem"])
                waiting[row["start"]] = row["block"]
                self.processes.add(row["process"])
                self.received += len(row["block"])
            yield Block(*pickle.loads(waiting.pop(first)))

    def _results(self, work: Work, source: Source, todo: List[Tuple[int, int]], batch: int) -> Iterator[Dict[str, Any]]:
        """Yield what the actors return, about in the order of ``todo``."""
        data, threads = self._ray.data, work.net.threads
        actors = self._actors(threads)
        each = max(1, min(_TASK_IMAGES // batch, len(todo) // (_TASKS * actors)))
        reference = self._ray.put(work)
        self.sent += len(pickle.dumps(work, protocol=5))
        rows = [{"start": first, "stop": last} for first, last in todo]
        dataset = data.from_items(rows, override_num_blocks=-(-len(todo) // each))
        dataset.context.execution_options.preserve_order = True  # what waits for its turn stays in the object store
        dataset.context.enable_progress_bars = False
        computed = dataset.map_batches(
            Actor,
            fn_constructor_args=([reference], source, str(_core.cpu_isa())),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=actors),
            num_cpus=threads,
        )
        try:
            yield from computed.iter_rows()
        except self._ray.exceptions.RayError as error:
            raise UserError(f"the Ray cluster failed: {_reason(error)}; use the same command again") from None

    def _actors(self, threads: int) -> int:
        """Return how many actors of so many CPUs there is room for.

        :raises UserError: if there is none for one.
        """
        nodes = [node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]]
        count = sum(int(cpus) // threads for cpus in nodes)
        if not count:
            raise UserError(f"no node of the Ray cluster has {threads} CPUs; use a smaller --threads")
        return count


@contextlib.contextmanager
def _kept_handlers() -> Iterator[None]:
    """Keep the signal handlers of the process, some of which Ray replaces."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if main:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop what Ray's libraries write to standard error as they start, past Python: the level of their log."""
    try:
        kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # it is closed
        yield
        return
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _reason(error: BaseException) -> str:
    """Return the last line of an error, in which Ray quotes its cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:_SHOWN]
