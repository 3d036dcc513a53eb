"""What must be the same on all hosts of a run, and what each of them keeps in its folder.

Every function with a :class:`.parallel.Scheme` is a collective call.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ..errors import UserError, printable
from ..networks.torch_reference import pytorch
from . import elastic
from .parallel import Scheme

# torchrun takes a host for dead whose last sign of life, by its own clock, is 15 s old; there is one every 5 s
# (torch/distributed/elastic/rendezvous/dynamic_rendezvous.py: keep_alive_interval, keep_alive_max_attempt).
CLOCKS_S = 10
_SHOWN = 200  # characters of a name or a value in a message


def check_clocks(scheme: Scheme) -> None:
    """Check that the clocks of all hosts agree.

    :raises UserError: if two are more than :data:`CLOCKS_S` apart.
    """
    scheme.gathered(None)  # all begin together
    clocks = scheme.gathered((time.time(), elastic.host()))
    (first, slow), (last, fast) = min(clocks), max(clocks)
    if last - first > CLOCKS_S:
        raise UserError(
            f"the clock of {fast} is {last - first:.0f} s ahead of that of {slow}, and torchrun takes a host for dead "
            "after 15 s; set the clocks, for example with chrony"
        )


def contents(images: Any, name: str) -> Dict[str, str]:
    """Return, for each shard or class of the images of the set ``name``, their number and a hash of what they are."""
    groups: Dict[str, List[Any]] = {}
    for sample in images.samples:
        if getattr(sample, "offset", -1) >= 0:
            key, row = f"shard {os.path.basename(sample.path)}", [sample.name, sample.label, sample.size]
        else:
            key, row = f"class {images.classes[sample.label]}", [os.path.basename(sample.where()), sample.label]
        groups.setdefault(f"{name} {key}", []).append(row)
    return {key: _described(rows) for key, rows in groups.items()}


def _described(rows: List[Any]) -> str:
    digest = hashlib.sha256(json.dumps(rows).encode("utf-8")).hexdigest()[:16]
    size = sum(row[2] for row in rows if len(row) > 2)
    return f"{len(rows)} images{f' of {size} bytes' if size else ''}, {digest}"


def check_same(scheme: Scheme, facts: Mapping[str, str]) -> None:
    """Check that ``facts`` are the same in all processes.

    :raises UserError: naming the first that differs.
    """
    everyone = scheme.gathered((elastic.host(), dict(facts)))
    host, expected = everyone[0]
    for other, found in everyone[1:]:
        if found == expected:
            continue
        name = next(name for name in [*expected, *found] if found.get(name) != expected.get(name))
        one, two = (_shown(values.get(name)) for values in (expected, found))
        raise UserError(
            f"the {_shown(name)} on {other} is not that on {host} ({two}, not {one}); give every host the same data "
            "and the same command"
        )


def _shown(value: Optional[str]) -> str:
    return "missing" if value is None else printable(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")


def writes(scheme: Scheme, folder: str) -> bool:
    """Whether this process writes the files of the run to ``folder``: one process for each folder that hosts share.

    :raises UserError: if the folder cannot be made or written to.
    """
    error = ""
    token = os.path.join(folder, f".{scheme.gathered(os.urandom(8).hex())[0]}.rank")
    try:
        os.makedirs(folder, exist_ok=True)
        if scheme.world > 1:
            os.close(os.open(f"{token}{scheme.rank}", os.O_CREAT | os.O_WRONLY))
    except OSError as failed:
        error = f"{folder} cannot be written: {failed.strerror or failed}"
        if scheme.world == 1:
            raise UserError(error) from None
    errors = [f"on {host}: {text}" for host, text in scheme.gathered((elastic.host(), error)) if text]
    lowest = next((rank for rank in range(scheme.world) if os.path.exists(f"{token}{rank}")), 0)
    scheme.gathered(None)  # everyone has looked
    with contextlib.suppress(OSError):
        os.unlink(f"{token}{scheme.rank}")
    if errors:
        raise UserError(errors[0])
    return lowest == scheme.rank


def newest(scheme: Scheme, path: str, load: Callable[[str], Dict[str, Any]], needed: bool) -> Optional[Dict[str, Any]]:
    """Return the newest of the checkpoints that the hosts have at ``path``; None if there is none.

    :param load: reads a checkpoint.
    :param needed: whether there must be one; ``load`` then says that it is missing.
    """
    state = load(path) if os.path.exists(path) or (needed and scheme.world == 1) else None
    steps: List[Tuple[int, int]] = [(step, -rank) for rank, step in enumerate(scheme.gathered(_step(state)))]
    step, owner = max(steps)
    if step < 0:
        if needed:
            load(path)
        return state
    if all(found == step for found, _ in steps):
        return state
    box = [state if scheme.rank == -owner else None]
    pytorch().distributed.broadcast_object_list(box, -owner)
    return box[0]


def _step(state: Optional[Dict[str, Any]]) -> int:
    """Return the step of a checkpoint; -1 without one, and for one that is damaged, which its check says later."""
    step = None if state is None else state.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) else -1
