"""onnxruntime's fused operators, rewritten to the standard ones that they stand for.

onnxruntime writes them to ``SessionOptions.optimized_model_filepath``. Their definitions are in
github.com/microsoft/onnxruntime, ``docs/ContribOperators.md``.
"""

from __future__ import annotations

from typing import Any, Dict, List

from ...errors import FormatError
from ...graph import Node, attribute, optional_input, shown

_DOMAIN = "com.microsoft."
_BLOCKED = "com.microsoft.nchwc."  # operators on channels in blocks, in the width of a processor's vectors
_ACTIVATION = ("activation", "activation_params", "activation_alpha", "activation_beta", "activation_gamma")


def standard(nodes: List[Node]) -> List[Node]:
    """Return ``nodes`` with FusedConv, FusedGemm and FusedMatMul as standard operators.

    :raises FormatError: for operators that onnxruntime writes for one kind of processor, and for a FusedConv that adds
        a second value.
    """
    result: List[Node] = []
    for node in nodes:
        if node.op.startswith(_BLOCKED):
            raise FormatError(
                f"onnxruntime has optimized it for one kind of processor ({shown(node.op)}); use the model it was made "
                "from, or optimize that with ORT_ENABLE_EXTENDED"
            )
        rewrite = _REWRITTEN.get(node.op)
        result += [node] if rewrite is None else rewrite(node)
    return result


def _conv(node: Node) -> List[Node]:
    if optional_input(node.inputs, 3):
        raise FormatError(
            f"its layer '{shown(node.name)}' (FusedConv) adds another value, which no network of the family does"
        )
    params = node.attributes.get("activation_params")
    return _with_activation(node, "Conv", node.inputs[:3], params[0] if isinstance(params, list) and params else None)


def _gemm(node: Node) -> List[Node]:
    return _with_activation(node, "Gemm", node.inputs, node.attributes.get("activation_alpha"))


def _with_activation(node: Node, op: str, inputs: List[str], alpha: Any) -> List[Node]:
    """Return a layer of the standard ``op`` and its activation; a LeakyRelu has the slope ``alpha``, and must have."""
    attributes = {key: value for key, value in node.attributes.items() if key not in _ACTIVATION}
    activation = attribute(node, "activation", "")
    if not activation or len(node.outputs) != 1:
        return [Node(op, node.name, inputs, node.outputs, attributes)]
    between = node.outputs[0] + "\0" + op  # no name of a file ends like this
    parameters: Dict[str, Any] = {}
    if activation == "LeakyRelu":
        parameters["alpha"] = "missing" if alpha is None else alpha
    return [
        Node(op, node.name, inputs, [between], attributes),
        Node(str(activation), node.name, [between], node.outputs, parameters),
    ]


def _matmul(node: Node) -> List[Node]:
    """Return a product of matrices; one of stacks of transposed matrices stays as it is."""
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0):
        return [node]
    kept: Dict[str, Any] = {
        key: node.attributes[key] for key in ("alpha", "transA", "transB") if key in node.attributes
    }
    return [Node("Gemm", node.name, node.inputs, node.outputs, kept)]


_REWRITTEN = {_DOMAIN + "FusedConv": _conv, _DOMAIN + "FusedGemm": _gemm, _DOMAIN + "FusedMatMul": _matmul}
