"""Classes of arithmetic, in which engines are compared, and the modes of the cpu backend."""

from __future__ import annotations

from typing import Dict, Tuple

# Classes of arithmetic, of activations and of the fully connected weights; FC8: fp32 activations, 8-bit fully connected
# weights. BITS16: 16-bit activations; weights of 16 or 8 bits, whichever is faster.
FP32, FC8, BITS16, INT8 = "fp32", "int8 fc weights", "16-bit", "int8"
#: Classes in which engines are compared on a CPU.
CLASSES = (FP32, FC8, BITS16, INT8)
# Other modes of fastalex: no peer computes alike, or no claim is made.
FC4, FC16, BF16, INT8_FC4 = "int4 fc weights", "fp16 fc weights", "bf16 weights", "int8, int4 fc weights"
#: The classes on a GPU.
GPU_CLASSES = (FP32, BITS16, FC8, FC4)

#: Modes of the cpu backend: (precision, fully connected weights) -> the class.
MODES: Dict[Tuple[str, str], str] = {
    ("fp32", "fp32"): FP32,
    ("fp32", "fp16"): FC16,
    ("fp32", "int8"): FC8,
    ("fp32", "int4"): FC4,
    ("bf16", "bf16"): BF16,
    ("bf16", "int8"): BITS16,
    ("int8", "int8"): INT8,
    ("int8", "int4"): INT8_FC4,
}


def mode_name(precision: str, fc_weights: str) -> str:
    """Name of a mode in the tables: ``fp32``, ``fp32, int8 fc``."""
    return precision if precision == fc_weights else f"{precision}, {fc_weights} fc"


def own_engine(precision: str, fc_weights: str) -> str:
    """Name of the fastalex engine of a mode."""
    return "fastalex " + mode_name(precision, fc_weights)
