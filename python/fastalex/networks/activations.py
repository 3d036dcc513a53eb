"""The activations of the family: their words in a variant's row, and the ops of the layer table for those words."""

from __future__ import annotations

import math
import re
from typing import Any, Dict, Sequence, Tuple, Union

from .._util.arguments import brief
from ..errors import UserError

#: Ops of the layer table (``csrc/include/fastalex.h``).
OPS = ("relu", "tanh", "sigmoid", "leaky_relu")
NONE = "none"  # word for no activation; the block of a convolution with this word has no ``act``
DEFAULT_SLOPE = 0.01  # of torch.nn.LeakyReLU and of ONNX's LeakyRelu
COUNT = 7  # conv1 to conv5, fc6, fc7
_CONVOLUTIONS = 5
_LEAKY = re.compile(r"leaky_relu\((?P<slope>[-+.0-9a-z]{1,32})\)")


def parse(word: Any) -> Tuple[str, Dict[str, float]]:
    """Return the op and the options of an activation: ``leaky_relu(0.1)`` gives ``("leaky_relu", {"alpha": 0.1})``.

    :raises UserError: if ``word`` is no activation of the family.
    """
    leaky = _LEAKY.fullmatch(word) if isinstance(word, str) else None
    if word == "leaky_relu":
        return "leaky_relu", {"alpha": DEFAULT_SLOPE}
    if leaky is not None:
        try:
            slope = float(leaky.group("slope"))
        except ValueError:
            slope = math.nan
        if math.isfinite(slope):
            return "leaky_relu", {"alpha": slope}
    elif isinstance(word, str) and word in OPS:
        return word, {}
    raise UserError(f"activation must be one of relu, tanh, sigmoid and leaky_relu(0.01), not {brief(word)}")


def leaky_relu(slope: float) -> str:
    """Return the word for a leaky ReLU with the given ``slope`` for negative inputs."""
    return "leaky_relu" if slope == DEFAULT_SLOPE else f"leaky_relu({float(slope)!r})"


def of_layer(words: Union[str, Sequence[str]], index: int) -> str:
    """Return the word for layer ``index``, counted from 0, of conv1 to conv5, fc6 and fc7."""
    return words if isinstance(words, str) else words[index]


def check(words: Union[str, Sequence[str]], blocks: Sequence[str]) -> None:
    """Check that ``words`` are one activation for all layers, or seven that agree with the ``blocks``.

    :raises UserError: naming the word that is wrong.
    """
    if not isinstance(words, tuple):
        parse(words)
        return
    if len(words) != COUNT:
        raise UserError(f"activation must be one word or seven (conv1-5, fc6, fc7), not {len(words)}")
    for index, word in enumerate(words):
        if word != NONE:
            parse(word)
        if index < _CONVOLUTIONS and (word == NONE) == ("act" in blocks[index].split()):
            raise UserError(
                f"conv{index + 1} has the activation '{word}' and the block '{blocks[index]}': write none where a "
                "block has no act, and only there"
            )
