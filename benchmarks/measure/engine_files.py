"""Names of the files that engines load, in the folder of a comparison."""

from __future__ import annotations

import os
from typing import Any, Mapping

WEIGHTS, TORCH_STATE = "weights.safetensors", "state.pt"


def weights_file(precision: str, fc_weights: str) -> str:
    """The file that a mode loads: one that holds fully connected weights of 8 or 4 bits already, and the steps of the
    activations for precision int8, where it wants such; else the fp32 file.
    """
    if precision != "int8" and fc_weights not in ("int8", "int4"):
        return WEIGHTS
    return f"{'int8' if precision == 'int8' else 'any'}-{fc_weights}.safetensors"


def graph_path(spec: Mapping[str, Any], conversion: str, suffix: str) -> str:
    """The file of a conversion. One serves every batch: the engine fixes the batch when it loads."""
    return os.path.join(spec["folder"], conversion.replace(" ", "-") + suffix)
