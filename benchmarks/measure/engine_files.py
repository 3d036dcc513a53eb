"""Names of the files that engines load, in the folder of a comparison."""

from __future__ import annotations

import os
from typing import Any, Mapping

WEIGHTS, TORCH_STATE = "weights.safetensors", "state.pt"


def weights_file(precision: str, fc_weights: str) -> str:
    """Name of the file that a mode loads.

    It has fully connected weights of 8 or 4 bits and, for precision int8 where the mode uses them, the scales of the
    activations; otherwise it is the fp32 file.
    """
    if precision != "int8" and fc_weights not in ("int8", "int4"):
        return WEIGHTS
    return f"{'int8' if precision == 'int8' else 'any'}-{fc_weights}.safetensors"


def graph_path(spec: Mapping[str, Any], conversion: str, suffix: str) -> str:
    """Path of a conversion's file. It serves every batch: the engine fixes the batch when it loads."""
    return os.path.join(spec["folder"], conversion.replace(" ", "-") + suffix)
