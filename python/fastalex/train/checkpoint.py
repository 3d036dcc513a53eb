"""Checkpoints: the complete state of a run in one file, which is written atomically.

Parameters and momentum are stored whole even if they were split over devices, so that a run may resume with another
parallel scheme.
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any, Dict, List

from .._util.files import replacing
from ..errors import UserError
from ..networks.torch_reference import pytorch
from .parallel import Scheme

FORMAT = 1


def momenta(scheme: Scheme, optimizer: Any) -> Dict[str, Any]:
    """Return the velocity of each parameter by name; zeros before the first step. A collective call."""
    torch = pytorch()

    def buffer(tensor: Any) -> Any:
        velocity = optimizer.state[tensor].get("momentum_buffer") if tensor in optimizer.state else None
        return torch.zeros_like(tensor) if velocity is None else velocity

    return scheme.assemble(buffer)


def restore_momenta(scheme: Scheme, optimizer: Any, values: Dict[str, Any]) -> None:
    """Set the velocities of ``optimizer`` to ``values``, the result of :func:`momenta`."""
    torch = pytorch()

    def buffer(tensor: Any) -> Any:
        return optimizer.state[tensor].setdefault("momentum_buffer", torch.empty_like(tensor))

    scheme.load(values, into=buffer)


def save(path: str, state: Dict[str, Any]) -> None:
    """Write ``state`` to ``path``; if that fails, an existing file stays unchanged.

    :raises UserError: if the file cannot be written.
    """
    buffer = io.BytesIO()  # because torch.save hides the reason why a write failed
    pytorch().save(dict(state, format=FORMAT), buffer)
    try:
        with replacing(path, tidy=True) as stream:
            stream.write(buffer.getbuffer())
    except UserError as error:
        previous = "; the previous checkpoint is still there" if os.path.exists(path) else ""
        raise UserError(f"the checkpoint {error}{previous}") from None


def load(path: str) -> Dict[str, Any]:
    """Read a checkpoint written by :func:`save`.

    :raises UserError: if the file is missing or is not a checkpoint.
    """
    torch = pytorch()
    state: Any = None
    if not os.path.exists(path):
        raise UserError(f"there is no checkpoint {path} to resume from; leave out --resume to start a new run")
    with contextlib.suppress(Exception):  # pickle and zip raise many kinds of exceptions for a damaged file
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this version of fastalex")
    return state


def check(path: str, state: Dict[str, Any], classes: List[str], facts: Dict[str, Any]) -> None:
    """Check that a checkpoint belongs to this run.

    :raises UserError: if it belongs to another run; the message names the difference.
    """
    if len(state["classes"]) != len(classes):
        raise UserError(
            f"{path} is from a network with {len(state['classes'])} classes, but the data has {len(classes)}: resume "
            "with the data it was trained on, or start a new run with --finetune"
        )
    if state["classes"] != classes:
        raise UserError(f"{path} was trained on other classes ({', '.join(state['classes'][:3])}, ...)")
    for name, value in facts.items():
        if state["facts"].get(name) != value:
            raise UserError(
                f"{path} was made with another {name}; resume with the same arguments, or leave out --resume"
            )
