"""Worker processes, in which everything is measured: starting them and reading their answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

from benchmarks.measure.errors import ChildError

RUN = Path(__file__).resolve().parents[1] / "run.py"
CHILD_TIMEOUT_S = 1800.0


def command(module: str, *words: str) -> List[str]:
    """The command that runs ``module`` of this package (``measure.worker``) as a program, from any folder."""
    return [sys.executable, str(RUN), module, *words]


def environment(threads: int) -> Dict[str, str]:
    """Environment of a process whose libraries use ``threads`` threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict(os.environ, **{name: str(threads) for name in names})


def answer(task: str, words: Sequence[str]) -> Dict[str, Any]:
    """The JSON object that the command ``words`` prints last.

    :param task: name of the task, for error messages.
    :raises ChildError: if it fails, hangs or prints nothing.
    """
    try:
        done = subprocess.run(words, capture_output=True, timeout=CHILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ChildError(f"the {task} process did not end within {CHILD_TIMEOUT_S:.0f} s") from None
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said[-1][:300] if said else "no message"
        raise ChildError(f"the {task} process failed ({done.returncode}): {reason}")
    return json.loads(lines[-1])
