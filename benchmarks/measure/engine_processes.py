"""Worker processes: one that serves an engine, others that do one task, and the folders of their files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, ContextManager, Dict, Mapping, Optional, Sequence

import numpy as np

from benchmarks.measure import conversions, engine_files, engines, limits, packages, processes, runtimes
from benchmarks.measure.engines import Engine, missing_module
from benchmarks.measure.errors import EngineError
from fastalex.errors import UserError

ANSWER_TIMEOUT_S = 900.0  # torch.compile on a small board


class Process:
    """A worker that serves one engine.

    :param module: the module that serves; its argument is ``spec`` as JSON, which has at least ``threads``.
    :param variables: environment variables to set for it.
    """

    def __init__(
        self, spec: Mapping[str, Any], module: str = "measure.worker", variables: Optional[Mapping[str, str]] = None
    ) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        self.process = subprocess.Popen(
            processes.command(module, "serve", json.dumps(spec)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**processes.environment(spec["threads"]), **(variables or {})},
        )

    def __call__(self, **command: Any) -> Dict[str, Any]:
        """Answer of the worker to ``command``. :raises EngineError: for an error, or no answer in time."""
        line = b""
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
            if select.select([self.process.stdout], [], [], ANSWER_TIMEOUT_S)[0]:
                line = self.process.stdout.readline()
        except OSError:
            pass  # the process has ended, and the line is empty
        if not line:
            self.process.kill()
            raise EngineError("it ended or hung: " + last_line(self.errors))
        answer = json.loads(line.decode())
        if "error" in answer:
            raise EngineError(answer["error"])
        return answer

    def close(self) -> None:
        with contextlib.suppress(OSError):  # data still buffered for a process that has ended
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class Tools:
    """Everything that starts processes; the tests replace it."""

    def once(self, task: str, spec: Mapping[str, Any], timeout: float) -> Dict[str, Any]:
        """Run one task in a worker. :raises EngineError: if it fails or takes longer."""
        command = processes.command("measure.worker", task, json.dumps(dict(spec, started=time.monotonic())))
        limit = min(timeout, processes.CHILD_TIMEOUT_S)
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=limit, env=processes.environment(spec["threads"])
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"it took more than {limit:.0f} s") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise EngineError(said[-1] if said else f"it failed with code {done.returncode}")
        return json.loads(done.stdout.decode())

    def start(self, spec: Mapping[str, Any]) -> Any:
        return Process(spec)

    def missing(self, engine: Engine) -> Optional[str]:
        return missing_module(engine)

    def folder(self, variant: str, quick: bool) -> ContextManager[str]:
        """Folder of a network's converted files: temporary, or a persistent one for quick runs."""
        if quick:
            return contextlib.nullcontext(kept_folder(variant))
        return tempfile.TemporaryDirectory(prefix="fastalex-peers-")

    def limits(self, cpus: Sequence[int], threads: int, quick: bool) -> Dict[str, Optional[float]]:
        """Measure the machine's current limits. :raises NoLimitsError: if they cannot be measured."""
        if self._limits is None:
            self._limits = tempfile.TemporaryDirectory(prefix="fastalex-limits-")  # removed with this object
            self._program = limits.compile_program(self._limits.name)
        return limits.measure(self._program, cpus, threads, quick)

    _limits: Optional[tempfile.TemporaryDirectory] = None
    _program = ""

    def result(self, path: str) -> np.ndarray:
        return np.load(path)


def last_line(file: Any) -> str:
    file.seek(0)
    lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def kept_folder(variant: str) -> str:
    """A folder of this user's under the temporary one, for the files of ``variant`` as these packages convert them.

    It takes about 1.3 GB; files from other versions of the packages are removed.

    :raises UserError: if somebody else could write there.
    """
    base = Path(tempfile.gettempdir()) / (f"fastalex-peers-{os.getuid()}")
    base.mkdir(mode=0o700, exist_ok=True)
    state = base.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise UserError(f"{base} is not a folder that only you can use; remove it")
    from fastalex import _core

    makers = (conversions, engine_files, engines, runtimes)
    parts = [Path(module.__file__).read_text(encoding="utf-8") for module in makers]
    parts += [str(os.path.getmtime(_core.__file__))]
    parts += [f"{name} {packages.version(engine)}" for name, engine in engines.ENGINES.items()]
    folder = base / ("{}-{}".format(variant, hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]))
    for other in base.glob(variant + "-*"):
        if other != folder:
            shutil.rmtree(str(other), ignore_errors=True)
    folder.mkdir(exist_ok=True)
    return str(folder)
