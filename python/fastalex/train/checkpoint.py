"""Checkpoints: the complete state of a run in one file, which is written atomically.

Parameters and momentum are stored whole even if they were split over devices, so that a run may resume with another
parallel scheme.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any, Callable, Dict, List, Mapping

from .._util.arguments import is_int
from .._util.files import replacing
from ..errors import UserError
from ..networks.layers import Shape
from ..networks.torch_reference import pytorch
from ..weights.readers import mapped
from ..weights.readers.pytorch import zip_container
from .parallel import Scheme

FORMAT = 1


def velocity(optimizer: Any, tensor: Any) -> Any:
    """Return the velocity of a parameter's tensor; None before the first step."""
    return optimizer.state[tensor].get("momentum_buffer") if tensor in optimizer.state else None


def momenta(scheme: Scheme, optimizer: Any) -> Dict[str, Any]:
    """Return the velocity of each parameter by name; zeros before the first step. A collective call."""
    torch = pytorch()

    def buffer(tensor: Any) -> Any:
        found = velocity(optimizer, tensor)
        return torch.zeros_like(tensor) if found is None else found

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


def load(path: str, trust: bool = False) -> Dict[str, Any]:
    """Read a checkpoint written by :func:`save`.

    ``torch.load`` of PyTorch 2.5.1 and older can be made to run code in the file, in spite of ``weights_only``
    (CVE-2025-32434, github.com/pytorch/pytorch/security/advisories/GHSA-53q9-r3pm-6pq6).

    :param trust: read the file with such a PyTorch, too.
    :raises UserError: if the file is missing or is not a checkpoint, or PyTorch is too old.
    """
    torch = pytorch()
    state: Any = None
    if not os.path.exists(path):
        raise UserError(f"there is no checkpoint {path} to resume from; leave out --resume to start a new run")
    if not trust and _runs_code(torch.__version__):
        raise UserError(
            f"PyTorch {torch.__version__} would run code that someone hid in {path} (CVE-2025-32434): install PyTorch "
            "2.6 or newer, or add --trust if you made the checkpoint yourself"
        )
    with contextlib.suppress(Exception):  # pickle and zip raise many kinds of exceptions for a damaged file
        _check_cost(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this version of fastalex")
    return state


def _check_cost(path: str) -> None:
    """Read the pickle within the limits of weights files, since PyTorch has none of time and memory.

    :raises FormatError: if it is above them, or no pickle.
    """
    with open(path, "rb") as stream:
        zip_container.read(mapped.view_of(stream, os.fstat(stream.fileno()).st_size), stream)


def _runs_code(version: str) -> bool:
    """Whether a release of PyTorch has CVE-2025-32434; alpha versions of 2.6.0 may be from before it was mended."""
    found = re.match(r"(\d+)\.(\d+)(\.0a)?", version)
    return not found or (int(found[1]), int(found[2]), not found[3]) < (2, 6, True)


def check(
    path: str, state: Dict[str, Any], classes: List[str], facts: Dict[str, Any], shapes: Mapping[str, Shape]
) -> None:
    """Check that a checkpoint is whole and belongs to this run.

    :param shapes: those of the parameters.
    :raises UserError: naming the entry that is wrong, or what differs if it belongs to another run.
    """
    for name, sound in _ENTRIES.items():
        if name not in state or not sound(state[name]):
            raise _damaged(path, name)
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
    for name in ("parameters", "momenta"):
        if not _are_tensors(state.get(name), shapes):
            raise _damaged(path, name)


def _damaged(path: str, name: str) -> UserError:
    return UserError(f"the {name} in {path} are not as fastalex writes them; start a new run, or use an older copy")


def _are_tensors(values: Any, shapes: Mapping[str, Shape]) -> bool:
    torch = pytorch()
    return (
        isinstance(values, dict)
        and set(values) == set(shapes)
        and all(
            type(value) is torch.Tensor
            and value.layout == torch.strided
            and value.device.type == "cpu"
            and value.is_floating_point()
            and tuple(value.shape) == tuple(shapes[name])
            for name, value in values.items()
        )
    )


def _is_count(value: Any) -> bool:
    return is_int(value) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or _is_count(value)


def _are_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_schedule(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"reductions", "best", "bad"}
        and _is_count(value["reductions"])
        and _is_number(value["best"])
        and _is_count(value["bad"])
    )


#: Each entry of a checkpoint but its tensors, and whether it is sound.
_ENTRIES: Dict[str, Callable[[Any], bool]] = {
    "classes": lambda value: isinstance(value, list) and _are_texts(value),
    "facts": lambda value: isinstance(value, dict) and _are_texts([*value, *value.values()]),
    "schedule": _is_schedule,
    "scaler": lambda value: isinstance(value, dict) and _are_texts(value) and all(map(_is_number, value.values())),
    "epoch": _is_count,
    "step": _is_count,
    "done": _is_count,
    "sums": lambda value: isinstance(value, list) and len(value) == 3 and all(map(_is_number, value)),
    "best": _is_number,
    "bad": lambda value: isinstance(value, dict) and _are_texts([*value, *value.values()]),
}
