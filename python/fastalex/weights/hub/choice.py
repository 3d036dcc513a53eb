"""The choice of the weights file among the files of a repository."""

from __future__ import annotations

import posixpath
import re
from typing import List, Sequence

from ...errors import UserError
from .. import formats
from .names import Name

# Files of this name at the top of a repository are the model's, by the convention of the package transformers.
CONVENTIONAL = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = tuple(dict.fromkeys((*formats.SUFFIXES, ".bin")))  # the last is PyTorch's, in repositories
# What transformers' Trainer saves beside a model.
_OTHER = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state\w*|random_states\w*)\.\w+")
_SHOWN = 8  # files in a message


class SeveralError(UserError):
    """A repository has several weights files, and the name does not say which."""


def choose(name: Name, files: Sequence[str]) -> str:
    """Return the one of ``files`` that ``name`` means: the file that it names, or the only one that it can mean.

    A ``.safetensors`` file goes before those of all other formats, and :data:`CONVENTIONAL` names before others. A
    container is taken only if it is named.

    :param files: the paths of all files of the repository.
    :raises UserError: if there is no such file.
    :raises SeveralError: if there are several.
    """
    if name.file is not None:
        if name.file not in files:
            raise UserError(f"{name._replace(file=None)} has no file {name.file} ({_listed('it has', files)})")
        return name.file
    found = candidates(files)
    if not found:
        raise UserError(
            f"{name} has no weights file that fastalex reads ({', '.join(_SUFFIXES)}; {_listed('it has', files)})"
        )
    tier = [path for path in found if path.lower().endswith(".safetensors")] or found
    for path in (tier[0] if len(tier) == 1 else None, *CONVENTIONAL):
        if path in tier:
            return path
    raise SeveralError(
        f"{name} has several weights files, name one: {_listed('', [f'{name}/{path}' for path in tier])}"
    )


def candidates(files: Sequence[str]) -> List[str]:
    """Return the files that may be weights, by their names."""
    return [
        path
        for path in files
        if path.lower().endswith(_SUFFIXES) and not _OTHER.fullmatch(posixpath.basename(path).lower())
    ]


def companions(chosen: str, files: Sequence[str], config: str) -> List[str]:
    """Return the files that belong to the file ``chosen``: ``config`` beside it, and the data files of an ONNX file.

    Those have its name with something behind it, as PyTorch and the package onnx write them.
    """
    folder = posixpath.dirname(chosen)
    found = [posixpath.join(folder, config)]
    if chosen.lower().endswith(".onnx"):
        found += [path for path in files if path.startswith((chosen + ".", chosen + "_"))]
    return [path for path in found if path in files]


def _listed(start: str, files: Sequence[str]) -> str:
    if not files:
        return f"{start} no files".strip()
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return f"{start} {', '.join(files[:_SHOWN])}{more}".strip()
