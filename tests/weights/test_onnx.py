"""ONNX files: the graphs of the family, the ways to store a parameter, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.errors import UserError
from fastalex.weights import adapt, initial

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from fastalex.networks.onnx_export import graph_of  # noqa: E402

pytestmark = pytest.mark.peers

WIDTHS = (16, 32, 48, 48, 32, 64, 64)
# ONNX has no layer for the other one's spatial normalization: its files say what they are (tests/cli/test_export.py)
NAMES = [name for name in variants.VARIANTS if name != "alexnet2012-original"]


def model_of(name="torchvision"):
    row = variants.get(name, widths=WIDTHS, num_classes=5)
    arrays = initial.random_weights(row, seed=1)
    return row, arrays, graph_of(row, arrays)


def saved(folder, model):
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def same_values(loaded, arrays):
    assert len(loaded.arrays) == len(arrays)
    for got, expected in zip(loaded.arrays.values(), arrays.values()):
        assert np.array_equal(got, expected)


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        weights.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_is_found_from_its_graph(tmp_path, name):
    row, arrays, model = model_of(name)
    loaded = weights.load(saved(tmp_path, model))
    same_values(loaded, arrays)
    found = adapt.find(loaded)
    assert found.variant == row
    assert found.others == ()
    net = AlexNet(weights=tmp_path / "net.onnx", device="cpu")
    assert list(net.state_dict()) == list(arrays)
    for key, array in net.state_dict().items():
        assert np.array_equal(array, arrays[key])


def test_raw_data_is_a_view_of_the_file(tmp_path):
    _, _, model = model_of()
    loaded = weights.load(saved(tmp_path, model))
    assert not any(array.flags.owndata or array.flags.writeable for array in loaded.arrays.values())


@pytest.mark.parametrize("how", ["float_data", "double_data", "float16", "double", "bfloat16", "constant", "identity"])
def test_ways_to_store_a_parameter(tmp_path, how):
    _, arrays, model = model_of()
    arrays = {key: np.round(array * 16) / 16 for key, array in arrays.items()}  # exact in every type
    graph = model.graph
    for index, (key, array) in enumerate(arrays.items()):
        tensor = graph.initializer[index]
        if how == "float_data":
            tensor.CopyFrom(helper.make_tensor(key, TensorProto.FLOAT, array.shape, array.reshape(-1).tolist()))
        elif how == "double_data":
            tensor.CopyFrom(helper.make_tensor(key, TensorProto.DOUBLE, array.shape, array.reshape(-1).tolist()))
        elif how in ("float16", "double"):
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16 if how == "float16" else np.float64), key))
        elif how == "bfloat16":
            stored = (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
            tensor.CopyFrom(helper.make_tensor(key, TensorProto.BFLOAT16, array.shape, stored.tobytes(), raw=True))
        else:
            tensor.CopyFrom(numpy_helper.from_array(array, key))
    if how == "constant":
        tensors = list(graph.initializer)
        del graph.initializer[:]
        nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors]
        rest = list(graph.node)
        del graph.node[:]
        graph.node.extend(nodes + rest)
    if how == "identity":
        first = graph.initializer[0].name
        graph.initializer[0].name = "elsewhere"
        rest = list(graph.node)
        del graph.node[:]
        graph.node.extend([helper.make_node("Identity", ["elsewhere"], [first]), *rest])
    same_values(weights.load(saved(tmp_path, model)), arrays)


def fully_connected(model):
    return [node for node in model.graph.node if node.op_type == "Gemm"]


def replace(model, name, array):
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def test_gemm_without_transposition_and_with_factors(tmp_path):
    _, arrays, model = model_of()
    node = fully_connected(model)[0]
    replace(model, "classifier.1.weight", arrays["classifier.1.weight"].T / 2)
    replace(model, "classifier.1.bias", arrays["classifier.1.bias"] * 4)
    del node.attribute[:]
    node.attribute.extend([helper.make_attribute("alpha", 2.0), helper.make_attribute("beta", 0.25)])
    same_values(weights.load(saved(tmp_path, model)), arrays)


def test_matmul_and_add(tmp_path):
    _, arrays, model = model_of()
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Gemm":
            nodes.append(helper.make_node("MatMul", list(node.input[:2]), [node.output[0] + ".m"]))
            nodes.append(helper.make_node("Add", [node.input[2], node.output[0] + ".m"], list(node.output)))
            replace(model, node.input[1], arrays[node.input[1]].T)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    same_values(weights.load(saved(tmp_path, model)), arrays)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pytorchs_own_export(tmp_path):
    torch = pytest.importorskip("torch")
    from fastalex.networks import torch_reference

    row = variants.get("torchvision", widths=WIDTHS, num_classes=3)
    module = torch_reference.build(row).eval()
    path = tmp_path / "export.onnx"
    torch.onnx.export(module, torch.zeros(1, 3, 224, 224), str(path), dynamo=False, opset_version=16)
    loaded = weights.load(path)
    same_values(loaded, torch_reference.arrays_of(module))
    assert adapt.find(loaded).variant == row


def test_the_zoos_way_to_round_up(tmp_path):
    """Caffe2's route writes the rounding up of a pool as padding at the end, and the input of 224."""
    row, arrays, _ = model_of("bvlc_alexnet")
    row = variants.get(row, input_size=224)
    model = graph_of(row, arrays)
    for node in model.graph.node:
        if node.op_type == "MaxPool":
            kept = [attribute for attribute in node.attribute if attribute.name != "ceil_mode"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("pads", [0, 0, 1, 1])])
    found = adapt.find(weights.load(saved(tmp_path, model)))
    assert found.variant == row
    assert "input_size differs: 224" in found.note


def operation(op, index=0):
    def change(model):
        model.graph.node[index].op_type = op

    return change


def attribute(index, name, value):
    def change(model):
        node = model.graph.node[index]
        kept = [one for one in node.attribute if one.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (operation("QLinearConv"), "quantized.*QLinearConv"),
        (operation("DequantizeLinear"), "quantized.*DequantizeLinear"),
        (operation("ConvInteger"), "quantized.*ConvInteger"),
        (lambda m: m.graph.initializer.pop(0), r"features\.0\.weight.*missing"),
        (lambda m: m.graph.initializer[0].dims.__setitem__(0, 17), "5808.*6171"),
        (lambda m: m.graph.initializer[0].dims.__setitem__(0, -1), "side.*whole number"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 8), "type 8"),
        (lambda m: setattr(m.graph.initializer[0], "raw_data", b"abc"), "do not divide"),
        (lambda m: m.graph.node[3].input.__setitem__(1, "features.0.weight"), "share"),
        (attribute(0, "strides", [4, 2]), "strides"),
        (attribute(0, "pads", 3), "pads.*not a list"),
        (lambda m: m.ClearField("graph"), "no graph"),
        (lambda m: m.graph.ClearField("node"), "no layers"),
    ],
)
def test_what_is_refused(tmp_path, change, match):
    _, _, model = model_of()
    change(model)
    refused(saved(tmp_path, model), match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (operation("Elu", 1), r"\bElu\b"),
        (operation("Bell\a\nTwo", 1), r"Bell\\x07\\nTwo"),
        (attribute(0, "strides", [2, 2]), "fc6.*1152"),
    ],
)
def test_graphs_outside_the_family(tmp_path, change, match):
    _, _, model = model_of()
    change(model)
    with pytest.raises(UserError, match=match):
        AlexNet(weights=saved(tmp_path, model))
