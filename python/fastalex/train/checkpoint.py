"""Checkpoints: all that a run needs to go on as if it had not stopped, in one file that appears whole or not at all.

Parameters and momentum are stored whole, whatever they were spread over, so a run may go on with another scheme.
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
    """Parameter name -> its velocity; zeros before the first step. A collective call."""
    torch = pytorch()

    def buffer(tensor: Any) -> Any:
        found = optimizer.state[tensor].get("momentum_buffer") if tensor in optimizer.state else None
        return torch.zeros_like(tensor) if found is None else found

    return scheme.assemble(buffer)


def restore_momenta(scheme: Scheme, optimizer: Any, values: Dict[str, Any]) -> None:
    torch = pytorch()

    def buffer(tensor: Any) -> Any:
        return optimizer.state[tensor].setdefault("momentum_buffer", torch.empty_like(tensor))

    scheme.load(values, into=buffer)


def save(path: str, state: Dict[str, Any]) -> None:
    """Write ``state`` to ``path``; a failure leaves the file that is there as it is.

    :raises UserError: if it cannot be written.
    """
    buffer = io.BytesIO()  # torch.save hides the reason of a failed write; this does not
    pytorch().save(dict(state, format=FORMAT), buffer)
    try:
        with replacing(path) as stream:
            stream.write(buffer.getbuffer())
    except UserError as error:
        kept = "; the checkpoint before it is still there" if os.path.exists(path) else ""
        raise UserError(f"the checkpoint {error}{kept}") from None


def load(path: str) -> Dict[str, Any]:
    """What :func:`save` wrote.

    :raises UserError: if the file is missing, or no checkpoint.
    """
    torch = pytorch()
    state: Any = None
    if not os.path.exists(path):
        raise UserError(f"there is no checkpoint {path} to resume from; leave out --resume to start anew")
    with contextlib.suppress(Exception):  # pickle and zip raise all manner of things for a damaged file
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is no checkpoint of this version of fastalex")
    return state


def check(path: str, state: Dict[str, Any], classes: List[str], facts: Dict[str, Any]) -> None:
    """Refuse a checkpoint of another run.

    :raises UserError: naming what differs.
    """
    if len(state["classes"]) != len(classes):
        raise UserError(
            "%s is of a network with %d classes, but the data has %d: resume with the data it was trained on, or "
            "start anew with --finetune" % (path, len(state["classes"]), len(classes))
        )
    if state["classes"] != classes:
        raise UserError(f"{path} was trained on other classes ({', '.join(state['classes'][:3])}, ...)")
    for name, value in facts.items():
        if state["facts"].get(name) != value:
            raise UserError(
                f"{path} was made with another {name}; resume with the same arguments, or leave out --resume"
            )
