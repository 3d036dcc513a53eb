"""Forms in which exporters write the layers of the family: without a bias, fully connected layers as convolutions,
parameters that nodes rearrange. Each network gives what onnxruntime gives, or is refused."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from fastalex import weights
from fastalex.errors import UserError
from fastalex.weights.datapath import stored
from fastalex.weights.errors import FormatError
from fastalex.weights.graph import Node
from tests.support.onnx_nets import CLASSES, WIDTHS, Net, equal, load

pytestmark = pytest.mark.peers


def refused(folder, net, match, **options):
    with pytest.raises(UserError, match=match) as caught:
        load(folder, net.model(**options))
    assert "\n" not in str(caught.value)


# Without a bias -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["Conv", "Gemm", "MatMul", "all"])
def test_layers_without_a_bias(tmp_path, op):
    net = Net()
    net.features(bias=op not in ("Conv", "all"))
    net.add("Flatten")
    for index, layer in enumerate(net.fcs):
        if op in ("Gemm", "all"):
            net.add("Gemm", layer.weight, transB=1)
        elif op == "MatMul":
            net.add("MatMul", layer.weight.T)
        else:
            net.add("Gemm", *layer, transB=1)
        if index < 2:
            net.add("Relu")
    arrays = equal(tmp_path, net.model()).state_dict()
    zero = [not array.any() for name, array in arrays.items() if name.endswith(".bias")]
    convolutions, fully_connected = [op in ("Conv", "all")] * 5, [op != "Conv"] * 3
    assert zero == convolutions + fully_connected


# Fully connected layers as convolutions -------------------------------------------------------------------------------


def convolutional(net, side=6, between=("Relu", "Dropout")):
    """The fully connected layers as convolutions."""
    for index, layer in enumerate(net.fcs):
        kernel = 1 if index else side
        sides = (len(layer.weight), -1, kernel, kernel)
        net.add("Conv", layer.weight.reshape(sides), layer.bias, kernel_shape=[kernel] * 2)
        for op in between if index < 2 else ():
            net.add(op)


def pooled_by_reduction(net):
    net.add("ReduceMean", axes=[2, 3], keepdims=0)


ENDS = {
    "Flatten": lambda net: net.add("Flatten"),
    "Squeeze": lambda net: net.add("Squeeze", np.array([2, 3])),
    "Reshape": lambda net: net.add("Reshape", np.array([-1, CLASSES])),
    "GlobalAveragePool": lambda net: (net.add("GlobalAveragePool"), net.add("Flatten")),
    "AveragePool": lambda net: (net.add("AveragePool", kernel_shape=[1, 1]), net.add("Flatten")),
    "ReduceMean": pooled_by_reduction,
    "a map of 1 x 1": lambda net: None,
    "Softmax of a map": lambda net: net.add("Softmax", axis=1),
    "Softmax of the last axis": lambda net: (net.add("Squeeze", np.array([2, 3])), net.add("Softmax", axis=-1)),
    "Sigmoid of a map": lambda net: net.add("Sigmoid"),
}


@pytest.mark.parametrize("end", ENDS)
def test_fully_connected_layers_as_convolutions(tmp_path, end):
    net = Net()
    net.features()
    convolutional(net)
    ENDS[end](net)
    loaded = equal(tmp_path, net.model(4 if "map" in end else 2))
    assert loaded(np.zeros((1, 3, 224, 224), np.float32)).shape == (1, CLASSES)


@pytest.mark.parametrize(("side", "size"), [(5, 195), (1, 63), (6, 227)])
def test_convolutions_over_other_maps(tmp_path, side, size):
    net = Net(("N", 3, size, size), side=side)
    net.features()
    convolutional(net, side)
    equal(tmp_path, net.model(4), (2, 3, size, size))


def test_one_convolution_and_then_matrices(tmp_path):
    net = Net()
    net.features()
    first, *rest = net.fcs
    net.add("Conv", first.weight.reshape(-1, WIDTHS[-1], 6, 6), first.bias)
    net.add("LeakyRelu", alpha=0.1)
    net.add("Mul", np.linspace(0.5, 2, len(first.bias)).astype(np.float32).reshape(1, -1, 1, 1))
    net.add("Flatten")
    for layer in rest:
        net.add("Gemm", *layer, transB=1)
        net.add("LeakyRelu", alpha=0.1) if layer is not rest[-1] else None
    equal(tmp_path, net.model())


def test_batch_normalization_of_convolutions_over_the_map(tmp_path):
    net = Net()
    net.features()
    for index, layer in enumerate(net.fcs):
        kernel, width = (1 if index else 6), len(layer.weight)
        net.add("Conv", layer.weight.reshape(width, -1, kernel, kernel))
        if index < 2:
            scales = [net.rng.uniform(0.5, 1.5, width).astype(np.float32) for _ in range(4)]
            net.add("BatchNormalization", *scales)
            net.add("Relu")
        else:
            net.add("Add", layer.bias.reshape(1, -1, 1, 1))
    equal(tmp_path, net.model(4))


@pytest.mark.parametrize(
    ("size", "match"),
    [
        (256, "convolution 6 of a family with 5.*window of 6 x 6 is not the map of 7 x 7"),
        (192, "window of 6 x 6 is not the map of 5 x 5"),
        ("any", "one size of the picture alone"),
    ],
)
def test_a_map_of_scores_is_refused(tmp_path, size, match):
    """A network of convolutions gives more than one score of a class for larger pictures."""
    net = Net(("N", 3, size, size))
    net.features()
    convolutional(net)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    refused(tmp_path, net, match)


def test_convolutions_after_a_global_average_for_any_size(tmp_path):
    net = Net(("N", 3, "H", "W"), side=1)
    net.features()
    net.add("GlobalAveragePool")
    convolutional(net, 1)
    for size in (224, 256):
        equal(tmp_path, net.model(4), (2, 3, size, size))


def test_a_convolution_of_a_map_with_padding_is_refused(tmp_path):
    net = Net(side=5)
    net.features()
    net.add("Conv", net.rng.normal(size=(40, WIDTHS[-1], 6, 6)).astype(np.float32), pads=[1] * 4)
    net.add("Relu")
    net.add("GlobalAveragePool")
    net.add("Flatten")
    refused(tmp_path, net, "window of 6 x 6 with padding is not the map of 6 x 6")


# Parameters that nodes rearrange --------------------------------------------------------------------------------------


def through(net, array, *nodes):
    """A stored array, and the value after ``nodes``: an op, further inputs and attributes each."""
    name = net.stored(array)
    for op, others, attributes in nodes:
        name = net.graph.add(op, [name, *map(net.stored, others)], (), **attributes)
    return name


def turned(net, weight, _):
    return through(net, weight.transpose(2, 3, 1, 0), ("Transpose", (), {"perm": [3, 2, 0, 1]}))


def reshaped(net, weight, _):
    return through(net, weight.reshape(-1), ("Reshape", (np.array(weight.shape),), {}))


def squeezed(net, weight, _):
    return through(net, weight[None, :, None], ("Squeeze", (np.array([0, 2]),), {}))


def unsqueezed(net, weight, _):
    return through(
        net,
        weight.reshape(len(weight), -1),
        ("Unsqueeze", (np.array([0]),), {}),
        ("Reshape", (np.array(weight.shape),), {}),
    )


def flattened(net, weight, _):
    nodes = [("Flatten", (), {"axis": 1}), ("Identity", (), {}), ("Reshape", (np.array(weight.shape),), {})]
    return through(net, weight, *nodes)


def chained(net, weight, _):
    back = [("Transpose", (), {"perm": [3, 2, 0, 1]}), ("Reshape", (np.array([len(weight), -1]),), {})]
    again = [("Identity", (), {}), ("Reshape", (np.array(weight.shape),), {})]
    return through(net, weight.transpose(2, 3, 1, 0), *back, *again)


WAYS = (turned, reshaped, squeezed, unsqueezed, flattened, chained)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_convolutions_with_rearranged_weights(tmp_path, monkeypatch, way, large):
    """All are computed at once, or all as large parameters are: on request."""
    if large:
        monkeypatch.setattr("fastalex.weights.datapath.walk.LARGEST_CONSTANT", 16)
    net = Net()
    net.convs = [layer._replace(weight=way(net, layer.weight, 0)) for layer in net.convs]
    net.features()
    net.classifier()
    equal(tmp_path, net.model())


@pytest.mark.parametrize("large", [False, True])
def test_matrices_with_rearranged_weights(tmp_path, monkeypatch, large):
    if large:
        monkeypatch.setattr("fastalex.weights.datapath.walk.LARGEST_CONSTANT", 64)
    net = Net()
    net.features()
    net.add("Flatten")
    first, second, third = net.fcs
    net.add(
        "Gemm",
        through(net, first.weight.reshape(len(first.weight), -1, 6, 6), ("Flatten", (), {})),
        first.bias,
        transB=1,
    )
    net.add("Relu")
    net.add("MatMul", through(net, second.weight, ("Transpose", (), {"perm": [1, 0]})))
    net.add("Add", through(net, second.bias, ("Unsqueeze", (np.array([0]),), {})))
    net.add("Relu")
    net.add("MatMul", through(net, third.weight[None], ("Squeeze", (np.array([0]),), {}), ("Transpose", (), {})))
    net.add("Add", third.bias)
    equal(tmp_path, net.model())


def large_matrix(net, turn):
    """The network with a large fc6, whose matrix is stored as ``[1, in, out]``, or the other way round."""
    width, features = 128, WIDTHS[-1] * 36
    weight = (net.rng.normal(size=(width, features)) / 20).astype(np.float32)
    net.features()
    net.add("Flatten")
    nodes = [("Squeeze", (np.array([0]),), {}), ("Identity", (), {}), *[("Transpose", (), {})] * turn]
    net.add("MatMul", through(net, (weight if turn else weight.T)[None], *nodes))
    net.add("Add", np.linspace(-1, 1, width).astype(np.float32))
    net.add("Relu")
    net.add("Gemm", (net.rng.normal(size=(40, width)) / 8).astype(np.float32), transB=1)
    net.add("Relu")
    net.add("Gemm", *net.fcs[2], transB=1)
    return weight


@pytest.mark.parametrize("turn", [0, 1])
def test_a_large_parameter_stays_a_view_of_the_file(tmp_path, turn):
    net = Net()
    weight = large_matrix(net, turn)
    equal(tmp_path, net.model())
    array = weights.load(tmp_path / "net.onnx").arrays["fc6.weight"]
    assert not array.flags.owndata
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, weight)


def test_a_matrix_the_other_way_round_is_refused(tmp_path):
    net = Net()
    large_matrix(net, 2)
    refused(tmp_path, net, "weights for 128 features where there are 576")


class Claimed:
    """A parameter that claims a shape and has no values."""

    def __init__(self, *sides):
        self.sides, self.name = list(sides), "claimed"

    def array(self):
        raise FormatError("it has no values")


@pytest.mark.parametrize(
    ("op", "others", "attributes", "sides"),
    [
        ("Transpose", [], {"perm": [1, 0]}, [2**20, 2**21]),
        ("Reshape", [np.array([2, -1])], {}, [2, 2**40]),
        ("Flatten", [], {}, [2**21, 2**20]),
        ("Unsqueeze", [np.array([0])], {}, [1, 2**21, 2**20]),
    ],
)
def test_a_claimed_shape_costs_nothing(op, others, attributes, sides):
    tracemalloc.start()
    start = time.perf_counter()
    found = stored.Rearranged(Claimed(2**21, 2**20), Node(op, "", ["a"], ["b"], attributes), others, 13)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.sides == sides
    assert peak < 1 << 20
    assert time.perf_counter() - start < 1
    with pytest.raises(FormatError):
        found.array()


def test_a_parameter_that_is_rearranged_too_often(tmp_path, monkeypatch):
    monkeypatch.setattr("fastalex.weights.datapath.walk.LARGEST_CONSTANT", 64)
    net = Net()
    weight = net.convs[2].weight
    often = [("Transpose", (), {"perm": [1, 0, 2, 3]})] * 10
    net.convs[2] = net.convs[2]._replace(weight=through(net, weight, *often))
    net.features()
    net.classifier()
    refused(tmp_path, net, "rearranged more than 8 times")


def test_one_parameter_in_two_shapes_is_used_once(tmp_path, monkeypatch):
    monkeypatch.setattr("fastalex.weights.datapath.walk.LARGEST_CONSTANT", 64)
    net = Net()
    net.convs[3] = net.convs[3]._replace(weight=net.stored(net.convs[3].weight))
    same = net.graph.add("Transpose", [net.convs[3].weight], (), perm=[1, 0, 2, 3])
    net.convs[2] = net.convs[2]._replace(weight=same)
    net.features()
    refused(tmp_path, net, "share the parameter")
