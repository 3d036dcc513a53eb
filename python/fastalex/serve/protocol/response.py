"""The answer to ``infer``: JSON, and behind it the outputs that were asked for as binary data."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import ServiceError
from . import tensors
from .errors import TOO_LARGE
from .request import InferRequest, Output

# What is as long as the list of class names is the scores of the classes.
CLASS_OUTPUTS = ("probabilities", "logits")
# Nothing else is answered while JSON is written, about 0.5 s for so many.
MAX_JSON_VALUES = 1 << 20
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def outputs_of(request: InferRequest, defaults: Sequence[str]) -> List[Output]:
    """Return the outputs that ``request`` asks for, or ``defaults``, the model's own."""
    return request.outputs or [Output(name, request.binary) for name in defaults]


def write(
    request: InferRequest,
    outputs: Sequence[Output],
    model: Tuple[str, str],
    results: Mapping[str, np.ndarray],
    labels: Optional[Sequence[str]],
) -> Tuple[Optional[int], bytes]:
    """Write the answer.

    :param model: name and version.
    :param results: of each output, float32 ``[N, ...]``.
    :param labels: the names of the classes, or None.
    :returns: the length of the JSON if binary data follows it (``Inference-Header-Content-Length``), else None; and the
        body.
    :raises ServiceError: for values that JSON lacks.
    """
    rows, binary = [], []
    for output in outputs:
        row, data = _row(output, results[output.name], labels)
        rows.append(row)
        if data is not None:
            binary.append(data)
    answer: Dict[str, Any] = {"model_name": model[0], "model_version": model[1], "outputs": rows}
    if request.id:
        answer["id"] = request.id
    head = _encode(answer).encode()
    return (len(head), b"".join((head, *binary))) if binary else (None, head)


def _row(output: Output, values: np.ndarray, labels: Optional[Sequence[str]]) -> Tuple[Dict[str, Any], Optional[bytes]]:
    """Return the JSON of one output, and its binary data if it has such."""
    shape: Tuple[int, ...] = values.shape
    datatype = "FP32"
    data: tensors.Values = values
    if output.classes:
        shape, data = tensors.classify(values, output.classes, labels if output.name in CLASS_OUTPUTS else None)
        datatype = tensors.BYTES
    row: Dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": list(shape)}
    if not output.binary:
        if isinstance(data, np.ndarray) and data.size > MAX_JSON_VALUES:
            raise ServiceError(
                TOO_LARGE,
                f"output '{output.name}' has {data.size} values, and JSON may have {MAX_JSON_VALUES}; ask for it with "
                "the parameter binary_data, or for fewer images at a time",
            )
        row["data"] = tensors.to_json(output.name, data)
        return row, None
    encoded = tensors.to_binary(data)
    row["parameters"] = {"binary_data_size": len(encoded)}
    return row, encoded
