"""Models that onnxruntime has optimized and written: FusedConv, FusedGemm and FusedMatMul, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime

from fastalex import weights
from fastalex.errors import UserError
from tests.support.onnx_nets import Net, equal, load

pytestmark = pytest.mark.peers

MICROSOFT = {"com.microsoft": 1, "com.microsoft.nchwc": 1}


def network(activation="Relu", **attributes):
    net = Net()
    net.features("Relu" if activation == "Sigmoid" else activation)  # five sigmoids leave nothing of a picture
    net.add("Flatten")
    for index, layer in enumerate(net.fcs):
        if index < 2:
            net.add("Gemm", *layer, transB=1)
            net.add(activation, **attributes)
        else:
            net.add("MatMul", layer.weight.T)
            net.add("Mul", np.float32(0.5))
    return net


def optimized(folder, model, level):
    """The model as onnxruntime writes it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, "ORT_ENABLE_" + level)
    options.optimized_model_filepath, options.log_severity_level = str(folder / "optimized.onnx"), 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


def ops(model):
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "LeakyRelu"])
def test_what_onnxruntime_writes(tmp_path, activation):
    attributes = {"alpha": 0.2} if activation == "LeakyRelu" else {}
    plain = network(activation, **attributes).model()
    model = optimized(tmp_path, plain, "EXTENDED")
    assert {"FusedConv", "FusedGemm"} <= ops(model)
    assert activation not in ops(model)  # fused
    net = equal(tmp_path, model)
    unfused = load(tmp_path, plain)
    assert net.variant == unfused.variant
    for key, array in unfused.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[key], array)


def test_a_product_with_a_factor(tmp_path):
    model = optimized(tmp_path, network().model(), "EXTENDED")
    assert "FusedMatMul" in ops(model)
    for node in model.graph.node:
        if node.op_type == "FusedMatMul":
            assert next(one.f for one in node.attribute if one.name == "alpha") == 0.5
            tensor = next(one for one in model.graph.initializer if one.name == node.input[1])
            turned = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor).T)
            tensor.CopyFrom(onnx.numpy_helper.from_array(turned, tensor.name))
            next(one for one in node.attribute if one.name == "transB").i = 1
    equal(tmp_path, model)


def refused(folder, model, match):
    with pytest.raises(UserError, match=match) as caught:
        load(folder, model)
    assert "\n" not in str(caught.value)


def test_channels_in_blocks(tmp_path):
    """ORT_ENABLE_ALL writes them on processors with AVX alone, so that they are written here by name."""
    net = network()
    net.graph.nodes[0].op_type, net.graph.nodes[0].domain = "Conv", "com.microsoft.nchwc"
    refused(tmp_path, net.model(domains=MICROSOFT), r"one kind of processor \(com\.microsoft\.nchwc\.Conv\).*EXTENDED")


def fused(change):
    def made(folder):
        model = optimized(folder, network().model(), "EXTENDED")
        change(model.graph.node)
        return model

    return made


def attribute(node, name, value):
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def second(nodes):
    nodes[4].input.append(nodes[2].output[0])


def last(nodes):
    return next(node for node in nodes if node.op_type == "FusedMatMul")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (second, r"\(FusedConv\) adds another value"),
        (lambda nodes: attribute(nodes[0], "activation", "HardSigmoid"), r"\(HardSigmoid\) has no place"),
        (lambda nodes: attribute(nodes[0], "activation", "Clip"), r"\(Clip\) has no place"),
        (lambda nodes: attribute(nodes[0], "activation", "A\nB"), r"\(A\\nB\) has no place"),
        (lambda nodes: attribute(nodes[0], "activation", 3), r"\(3\) has no place"),
        (lambda nodes: attribute(last(nodes), "transBatchB", 1), r"\(com\.microsoft\.FusedMatMul\) has no place"),
        (lambda nodes: attribute(last(nodes), "transA", 1), "transA=1"),
    ],
)
def test_fused_operators_that_are_refused(tmp_path, change, match):
    refused(tmp_path, fused(change)(tmp_path), match)


@pytest.mark.parametrize("params", [[0.25], [0.25, 3.0], 0.25, []])
def test_the_parameters_of_an_activation(tmp_path, params):
    """The first is the slope; one that is no list of floats is no slope."""

    def change(nodes):
        for node in nodes:
            if node.op_type == "FusedConv":
                attribute(node, "activation", "LeakyRelu")
                attribute(node, "activation_params", params or [0.0])
                if params == []:
                    node.attribute.pop()

    model = fused(change)(tmp_path)
    if not isinstance(params, list) or not params:
        refused(tmp_path, model, "slope")
    else:
        path = tmp_path / "net.onnx"
        path.write_bytes(model.SerializeToString())
        words = [step.options["function"] for step in weights.load(path).steps if step.kind == "act"]
        assert words == ["leaky_relu(0.25)"] * 5 + ["relu"] * 2
