"""Models of Keras and TensorFlow: pictures and maps with their channels last, as tf2onnx writes them, with its
transposes around every layer or with those that its optimizer leaves."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from fastalex import weights
from fastalex.errors import UserError
from tests.support.onnx_nets import CONVS, POOLED, WIDTHS, Net, equal, load

pytestmark = pytest.mark.peers

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]  # perm to channels first, and back
VALID = {"auto_pad": "VALID"}


class Keras(Net):
    """A network whose maps have their channels last; ``transposes``: around every layer, or one at either end."""

    def __init__(self, transposes="every", size=224, sides=None, channels=3, **options):
        super().__init__(sides or ("N", size, size, channels), **options)
        self.every = transposes == "every"
        self.last = True

    def turn(self, last):
        if self.last != last:
            self.add("Transpose", perm=LAST if last else FIRST)
        self.last = last

    def first(self, op, *others, **attributes):
        """A node that needs the channels first."""
        self.turn(False)
        self.add(op, *others, **attributes)
        if self.every:
            self.turn(True)

    def convolution(self, layer, **attributes):
        weight, bias = layer
        if self.every:
            kernel = self.graph.add("Transpose", [self.stored(weight.transpose(2, 3, 1, 0))], (), perm=[3, 2, 0, 1])
            self.first("Conv", kernel, **attributes)
            self.add("Add", bias)
        else:
            self.first("Conv", weight, bias, **attributes)

    def blocks(self, pads=None, pool_pads=None, norm=(), after=lambda index: None):
        """The convolutional blocks, with the pads of Keras' "same" or of the family."""
        for index, (layer, (kernel, stride, pad)) in enumerate(zip(self.convs, CONVS)):
            words = {"pads": [pad] * 4} if pads is None else pads
            self.convolution(layer, kernel_shape=[kernel] * 2, strides=[stride] * 2, **words)
            self.add("Relu")
            if index in norm:
                self.first("LRN", size=5, alpha=2e-3, beta=0.75, bias=1.0)
            if index in POOLED:
                self.first("MaxPool", kernel_shape=[3, 3], strides=[2, 2], **(pool_pads or VALID))
            after(index)

    def dense(self, flatten="Reshape"):
        """The fully connected layers, with weights over features of the order height, width, channels."""
        self.turn(True)
        side = int((self.fcs[0].weight.shape[1] // WIDTHS[-1]) ** 0.5)
        features = WIDTHS[-1] * side**2
        self.add("Flatten") if flatten == "Flatten" else self.add("Reshape", np.array([-1, features]))
        for index, (weight, bias) in enumerate(self.fcs):
            if index == 0:
                weight = weight.reshape(-1, WIDTHS[-1], side, side).transpose(0, 2, 3, 1).reshape(len(weight), -1)
            self.add("MatMul", weight.T)
            self.add("Add", bias)
            if index < 2:
                self.add("Relu")


def refused(folder, net, match):
    with pytest.raises(UserError, match=match) as caught:
        load(folder, net.model())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("transposes", ["every", "ends"])
@pytest.mark.parametrize("flatten", ["Reshape", "Flatten"])
@pytest.mark.parametrize("end", ["logits", "softmax"])
def test_a_network_of_keras(tmp_path, transposes, flatten, end):
    net = Keras(transposes)
    net.blocks()
    net.dense(flatten)
    if end == "softmax":
        net.add("Softmax", axis=-1)
    loaded = equal(tmp_path, net.model(), channels_last=True)
    assert loaded.variant.output == end
    state = loaded.state_dict()
    for key, array in zip([key for key in state if key.endswith("weight")], [*net.convs, *net.fcs]):
        np.testing.assert_array_equal(state[key], array.weight)  # in the family's order of features


@pytest.mark.parametrize("transposes", ["every", "ends"])
def test_lrn_between_maps_with_channels_last(tmp_path, transposes):
    net = Keras(transposes)
    net.blocks(norm=(0, 1))
    net.dense()
    assert equal(tmp_path, net.model(), channels_last=True).variant.lrn.k == 1.0


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("transposes", ["every", "ends"])
def test_a_global_average_over_height_and_width(tmp_path, transposes, keepdims):
    net = Keras(transposes, side=1)
    net.blocks()
    net.turn(True)
    net.add("ReduceMean", axes=[1, 2], keepdims=keepdims)
    net.dense()
    assert equal(tmp_path, net.model(), channels_last=True).variant.adaptive_pool == 1


def test_an_average_over_other_axes_is_refused(tmp_path):
    net = Keras()
    net.blocks()
    net.add("ReduceMean", axes=[2, 3], keepdims=1)
    refused(tmp_path, net, "average over a whole map")


SAME = {"auto_pad": "SAME_UPPER"}


def explicit(kernel, stride, side):
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return [total // 2] * 2 + [total - total // 2] * 2


@pytest.mark.parametrize("form", ["auto_pad", "pads"])
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
def test_same_padding_that_is_one_of_the_family(tmp_path, form, auto):
    """At 224, conv1 is padded by three at the start and four at the end, and its windows come to 56."""
    net = Keras("ends")
    if form == "auto_pad":
        net.blocks({"auto_pad": auto})
    else:
        sides = iter((224, 27, 13, 13, 13))
        for index, (layer, (kernel, stride, _)) in enumerate(zip(net.convs, CONVS)):
            pads = explicit(kernel, stride, next(sides))
            pads = pads if auto == "SAME_UPPER" else pads[2:] + pads[:2]
            net.convolution(layer, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
            net.add("Relu")
            if index in POOLED:
                net.first("MaxPool", kernel_shape=[3, 3], strides=[2, 2], **VALID)
    net.dense()
    row = equal(tmp_path, net.model(), channels_last=True).variant
    assert (row.conv1_pad, row.conv_rounding) == ((3, "ceil") if auto == "SAME_UPPER" else (4, "floor"))


def test_pools_with_same_padding(tmp_path):
    """Of a map of 56, 28 and 14 the last window lies half outside: that is rounding up."""
    net = Keras("ends", side=7)
    net.blocks(SAME, SAME)
    net.dense()
    assert equal(tmp_path, net.model(), channels_last=True).variant.pool_rounding == "ceil"


def test_same_padding_that_is_none_of_the_family(tmp_path):
    net = Keras("ends", size=227, side=7)  # pools of a map of 57 are padded at the start
    net.blocks(SAME, SAME)
    net.dense()
    refused(tmp_path, net, r"pads \[1, 1, 1, 1\]")


def test_same_padding_of_a_size_that_is_not_fixed(tmp_path):
    net = Keras("ends", sides=("N", "H", "W", 3), side=1)
    net.blocks(SAME)
    net.turn(True)
    net.add("ReduceMean", axes=[1, 2], keepdims=0)
    net.dense()
    refused(tmp_path, net, "auto_pad=SAME_UPPER, and the size of the picture is not fixed")


@pytest.mark.parametrize("sides", [("N", "H", "W", 3), ("N", "H", "W", "C"), (1, 224, 224, 3)])
def test_sides_that_are_not_fixed(tmp_path, sides):
    net = Keras(sides=sides)
    net.blocks()
    net.dense()
    equal(tmp_path, net.model(), (1 if sides[0] == 1 else 2, 3, 224, 224), channels_last=True)


def test_gray_pictures(tmp_path):
    net = Keras(channels=1)
    net.convs[0] = net.convs[0]._replace(weight=net.convs[0].weight[:, :1])
    net.blocks()
    net.dense()
    assert equal(tmp_path, net.model(), (2, 1, 224, 224), channels_last=True).variant.channels == 1


def test_scales_of_channels_that_are_last(tmp_path):
    """A folded batch normalization: a product and a sum with a number for each channel, before or after the ReLU."""
    net = Keras()

    def after(index):
        if index in (0, 2):
            net.add("Mul", net.rng.uniform(0.5, 1.5, WIDTHS[index]).astype(np.float32))

    for index, layer in enumerate(net.convs):
        scaled = net.rng.uniform(0.5, 1.5, WIDTHS[index]).astype(np.float32)
        net.convs[index] = layer._replace(bias=layer.bias * scaled)
    net.blocks(after=after)
    net.dense()
    equal(tmp_path, net.model(), channels_last=True)


def test_numbers_that_are_not_those_of_channels(tmp_path):
    net = Keras()
    net.blocks(after=lambda index: index == 2 and net.add("Mul", net.rng.uniform(0.5, 1.5, (13, 1)).astype(np.float32)))
    net.dense()
    refused(tmp_path, net, r"\(Mul\): its constant of shape \[13, 1\] is not one number for each channel")


@pytest.mark.slow
def test_many_sums_with_channels_last_are_bounded(tmp_path):
    net = Keras(size=1600)
    net.convolution(net.convs[0], kernel_shape=[11, 11], strides=[4, 4])
    for _ in range(2000):
        net.add("Add", net.convs[0].bias)
    start = time.perf_counter()
    refused(tmp_path, net, "too often")
    assert time.perf_counter() - start < 5


def test_a_transpose_of_height_and_width_is_refused(tmp_path):
    net = Keras()
    net.add("Transpose", perm=[0, 3, 2, 1])
    net.last = False
    net.blocks()
    net.dense()
    refused(tmp_path, net, "Conv.*reordered by.*Transpose")


def test_a_network_of_convolutions_with_channels_last(tmp_path):
    net = Keras()
    net.blocks()
    for index, layer in enumerate(net.fcs):
        kernel = 1 if index else 6
        net.convolution(layer._replace(weight=layer.weight.reshape(len(layer.weight), -1, kernel, kernel)))
        net.add("Relu") if index < 2 else None
    equal(tmp_path, net.model(4), channels_last=True)


def test_the_graph_is_checked_with_channels_last(tmp_path):
    net = Keras()
    net.blocks()
    net.dense()
    load(tmp_path, net.model())
    graph = weights.load(tmp_path / "net.onnx").graph
    assert graph.channels_last
    assert graph.shape == (0, 3, 224, 224)
    net = Net()
    net.features()
    net.classifier()
    load(tmp_path, net.model())
    assert not weights.load(tmp_path / "net.onnx").graph.channels_last
