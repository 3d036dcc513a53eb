"""A request of ``infer``: read from its body, and held against what the model takes."""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..._util import bounded_json
from ..._util.arguments import brief, is_int
from ...errors import printable
from ..errors import ServiceError
from ..served import TensorSpec
from . import tensors
from .errors import TOO_LARGE, malformed, text, unusable
from .tensors import BYTES, Tensor

# Parsing takes all of the interpreter: 2 million numbers, 13 images of 3 x 224 x 224, keep it for 0.2 s.
MAX_JSON_BYTES = 32 << 20
MAX_JSON_PARTS = 2_000_000
MAX_IMAGES = 1 << 16  # far more than a client may have waiting
MAX_OUTPUTS = 64
MAX_CLASSES = 1_000_000

_LACKING = "this server does not have {}; leave out the parameter '{}'"
_SHARED, _SEQUENCES, _PRIORITIES = "shared memory", "sequences", "priorities"
_REFUSED = {
    "shared_memory_region": _SHARED,
    "shared_memory_byte_size": _SHARED,
    "shared_memory_offset": _SHARED,
    "sequence_id": _SEQUENCES,
    "sequence_start": _SEQUENCES,
    "sequence_end": _SEQUENCES,
    "priority": _PRIORITIES,
}


class Output(NamedTuple):
    """An output that was asked for; ``classes`` is the count of the classification extension, or 0."""

    name: str
    binary: bool
    classes: int = 0


class InferRequest(NamedTuple):
    """What a client asks for; no ``outputs`` means those of the model, binary or not as ``binary`` says.

    ``timeout_us`` are microseconds, or None.
    """

    id: str
    inputs: List[Tensor]
    outputs: List[Output]
    binary: bool
    timeout_us: Optional[int]


def read(body: bytes, json_length: Optional[int]) -> InferRequest:
    """Read the body of a request.

    :param json_length: the length of its JSON if binary data follows (``Inference-Header-Content-Length``), else None.
    :raises ServiceError: for a request that breaks the protocol, or wants what is not here.
    """
    if json_length is not None and not 0 < json_length <= len(body):
        raise malformed(
            f"Inference-Header-Content-Length must be from 1 to {len(body)}, the length of the body, not {json_length}"
        )
    document = _parse(body if json_length is None else body[:json_length])
    parameters = _parameters("the request", document, ("binary_data_output", "timeout"))
    binary = _boolean("binary_data_output", parameters.get("binary_data_output", False))
    return InferRequest(
        _id(document.get("id")),
        _inputs(document.get("inputs"), memoryview(body)[json_length:] if json_length is not None else None),
        _outputs(document.get("outputs"), binary),
        binary,
        _timeout(parameters.get("timeout")),
    )


def _parse(body: bytes) -> Dict[str, Any]:
    if len(body) > MAX_JSON_BYTES:
        raise malformed(f"the JSON has {len(body)} bytes, more than {MAX_JSON_BYTES}; send tensors as binary data")
    try:
        document = bounded_json.loads(body.decode(), MAX_JSON_BYTES, MAX_JSON_PARTS)
    except UnicodeDecodeError:
        raise malformed("the request's JSON is not UTF-8; binary data needs Inference-Header-Content-Length") from None
    except ValueError as error:
        raise malformed(f"the request's JSON {error}; large tensors go as binary data") from None
    if not isinstance(document, dict):
        raise malformed(f"the request must be a JSON object, not {brief(document)}")
    return document


def _id(value: Any) -> str:
    if value is None or value == "":
        return ""
    return text("'id'", value)


def _parameters(where: str, row: Dict[str, Any], allowed: Tuple[str, ...]) -> Dict[str, Any]:
    """Return the parameters of a part of the request, all of which are in ``allowed``."""
    parameters = row.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise malformed(f"'parameters' of {where} must be an object, not {brief(parameters)}")
    for name in parameters:
        if name in _REFUSED:
            raise malformed(_LACKING.format(_REFUSED[name], name))
        if name not in allowed:
            raise malformed(f"{where} has no parameter {brief(name)}, only {', '.join(allowed)}")
    return parameters


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise malformed(f"'{name}' must be true or false, not {brief(value)}")
    return value


def _timeout(value: Any) -> Optional[int]:
    if value is None or value == 0:  # Triton's word for none
        return None
    return _whole("timeout", value, 10**15)


def _whole(name: str, value: Any, most: int) -> int:
    if not is_int(value) or not 0 <= value <= most:
        raise malformed(f"'{name}' must be a whole number from 0 to {most}, not {brief(value)}")
    number: int = value
    return number


def _rows(name: str, value: Any, most: int) -> List[Dict[str, Any]]:
    if not isinstance(value, list) or len(value) > most or not all(isinstance(row, dict) for row in value):
        raise malformed(f"'{name}' must be a list of at most {most} objects, not {brief(value)}")
    return value


def _inputs(value: Any, data: Optional[memoryview]) -> List[Tensor]:
    read = []
    for row in _rows("inputs", value, 16):
        tensor, data = _input(row, data)
        read.append(tensor)
    if data:
        raise malformed(f"{len(data)} bytes follow the binary data that 'binary_data_size' of the inputs tells of")
    return read


def _input(row: Dict[str, Any], data: Optional[memoryview]) -> Tuple[Tensor, Optional[memoryview]]:
    """Read one input; return it and the binary data after it."""
    name = printable(text("'name' of an input", row.get("name")))
    datatype = row.get("datatype")
    if datatype not in tensors.DATATYPES:
        raise malformed(f"'datatype' of '{name}' must be one of {', '.join(tensors.DATATYPES)}, not {brief(datatype)}")
    shape = tensors.read_shape(name, row.get("shape"))
    _check_images(name, datatype, shape)
    parameters = _parameters(f"input '{name}'", row, ("binary_data_size",))
    if "binary_data_size" not in parameters:
        return Tensor(name, datatype, shape, tensors.from_json(name, datatype, shape, row.get("data"))), data
    if "data" in row:
        raise malformed(f"'{name}' has both 'data' and 'binary_data_size'; send one")
    if data is None:
        raise malformed(f"'{name}' has 'binary_data_size', which needs the header Inference-Header-Content-Length")
    size = _whole("binary_data_size", parameters["binary_data_size"], tensors.MAX_LENGTH)
    if size > len(data):
        raise malformed(f"'binary_data_size' of '{name}' is {size}, but {len(data)} bytes of binary data follow")
    return Tensor(name, datatype, shape, tensors.from_binary(name, datatype, shape, data[:size])), data[size:]


def _check_images(name: str, datatype: Any, shape: Tuple[int, ...]) -> None:
    """Check the number of images, of which each becomes an object of some hundred bytes, however small it is.

    :raises ServiceError: if there are more than :data:`MAX_IMAGES`.
    """
    images = math.prod(shape) if datatype == BYTES else shape[0] if datatype == "UINT8" and shape else 0
    if images > MAX_IMAGES:
        raise ServiceError(TOO_LARGE, f"'{name}' has {images} images, more than {MAX_IMAGES}; send several requests")


def _outputs(value: Any, binary: bool) -> List[Output]:
    if value is None:
        return []
    read: Dict[str, Output] = {}
    for row in _rows("outputs", value, MAX_OUTPUTS):
        name = printable(text("'name' of an output", row.get("name")))
        if name in read:
            raise malformed(f"the output '{name}' is asked for twice")
        parameters = _parameters(f"output '{name}'", row, ("binary_data", "classification"))
        classes = _whole("classification", parameters.get("classification", 0), MAX_CLASSES)
        read[name] = Output(name, _boolean("binary_data", parameters.get("binary_data", binary)), classes)
    return list(read.values())


def choose_input(request: InferRequest, specs: Sequence[TensorSpec], model: str) -> Tensor:
    """Return the one input of ``request``, which is one of those that the model takes.

    :raises ServiceError: if there is not exactly one, or its datatype or shape is another.
    """
    if len(request.inputs) != 1:
        count = len(request.inputs)
        raise malformed(f"a request to '{model}' has exactly one input, one of {_names(specs)}; this has {count}")
    tensor = request.inputs[0]
    spec = next((spec for spec in specs if spec.name == tensor.name), None)
    if spec is None:
        raise malformed(f"'{model}' has no input '{tensor.name}', only {_names(specs)}")
    half = (spec.datatype, tensor.datatype) == ("FP32", "FP16")  # every model takes both
    if tensor.datatype != spec.datatype and not half:
        raise malformed(f"input '{tensor.name}' of '{model}' is {spec.datatype}, not {tensor.datatype}")
    shape = tensor.shape
    if tensor.datatype == BYTES and len(shape) == 2 and shape[1] == 1:  # as clients with a batch axis send it
        shape = shape[:1]
    if not _fits(shape, spec.shape):
        wanted = ", ".join("any" if length == -1 else str(length) for length in spec.shape)
        raise unusable(f"input '{tensor.name}' of '{model}' has the shape [{wanted}], not {list(tensor.shape)}")
    if 0 in shape:
        raise unusable(f"input '{tensor.name}' is empty: its shape is {list(tensor.shape)}")
    return tensor._replace(shape=shape)


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _fits(shape: Tuple[int, ...], wanted: Tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, n) for n, w in zip(shape, wanted))
