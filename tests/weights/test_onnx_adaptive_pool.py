"""Adaptive average pools that PyTorch's exporters write as many nodes, for maps of other sides than the pool's."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

import onnx
import torch
from torch import nn

from fastalex import weights
from fastalex.errors import UserError
from fastalex.networks.onnx_export import adaptive_means
from tests.support.onnx_nets import CONVS, POOLED, Net, equal, load, saved
from tests.support.random_graphs.torch_exports import exported, has_dynamo

pytestmark = pytest.mark.peers


def module(layers, out=6):
    """The network in PyTorch."""
    convs, fcs = layers
    parts = []
    for index, (layer, (kernel, stride, pad)) in enumerate(zip(convs, CONVS)):
        parts += [with_parameters(nn.Conv2d(*layer.weight.shape[1::-1], kernel, stride, pad), layer), nn.ReLU()]
        parts += [nn.MaxPool2d(3, 2)] if index in POOLED else []
    parts += [nn.AdaptiveAvgPool2d(out), nn.Flatten()]
    for index, layer in enumerate(fcs):
        parts += [with_parameters(nn.Linear(*layer.weight.shape[::-1]), layer), nn.ReLU()][: 1 if index == 2 else 2]
    return nn.Sequential(*parts).eval()


def with_parameters(part, layer):
    part.weight.data, part.bias.data = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
    return part


def of_torch(folder, exporter, size, out=6, dynamic=False):
    net = Net(side=out)
    sides = (size, size) if isinstance(size, int) else size
    x = np.random.default_rng(4).standard_normal((2, 3, *sides)).astype(np.float32)
    opset = 18 if exporter == "dynamo" else 17
    model = onnx.load_from_string(exported(module((net.convs, net.fcs), out), x, exporter, opset, dynamic))
    assert not any(node.op_type == "AdaptiveAveragePool" for node in model.graph.node)
    return model, equal(folder, model, (2, 3, *sides))


if has_dynamo():  # PyTorch's test extra does not bring it

    @pytest.mark.slow
    @pytest.mark.parametrize(("size", "out"), [(256, 6), (192, 6), (160, 6), (300, 6), (384, 6), (224, 4), (96, 3)])
    def test_exports_at_other_sizes(tmp_path, size, out):
        model, net = of_torch(tmp_path, "dynamo", size, out)
        assert net.variant.adaptive_pool == out
        assert net.variant.input_size == size
        assert any(node.op_type == "GatherND" for node in model.graph.node)

    @pytest.mark.slow
    @pytest.mark.parametrize("sides", [(256, 320), (320, 256), (96, 130)])
    def test_exports_of_oblong_images(tmp_path, sides):
        _, net = of_torch(tmp_path, "dynamo", sides)
        assert net.variant.adaptive_pool == 6

    @pytest.mark.slow
    def test_an_export_with_any_batch(tmp_path):
        _, net = of_torch(tmp_path, "dynamo", 256, dynamic=True)
        assert net.variant.adaptive_pool == 6


@pytest.mark.slow
@pytest.mark.parametrize(("size", "out"), [(423, 6), (224, 3), (224, 2)])
def test_maps_that_the_pool_divides(tmp_path, size, out):
    """The older exporter has these alone, as windows side by side."""
    model, net = of_torch(tmp_path, "script", size, out)
    assert net.variant.adaptive_pool == out
    assert any(node.op_type == "AveragePool" for node in model.graph.node)


# Node by node ---------------------------------------------------------------------------------------------------------


def windows(side, out):
    """For each window the indices along a side, repeated to the longest, and which of them count."""
    starts = [index * side // out for index in range(out)]
    ends = [-(-(index + 1) * side // out) for index in range(out)]
    longest = max(end - start for start, end in zip(starts, ends))
    indices = np.array([[min(start + step, side - 1) for step in range(longest)] for start in starts])
    counts = np.array([end - start for start, end in zip(starts, ends)])
    return indices, np.arange(longest) < counts[:, None], counts


def gathered(net, side, out=6, shift=0):
    """The windows ``[N, C, out, longest, out, longest]`` of a map, by GatherND as PyTorch writes it."""
    indices, used, counts = windows(side, out)
    net.add("Transpose", perm=[2, 3, 0, 1])
    rows, columns = np.broadcast_arrays(indices[:, :, None, None], (indices + shift)[None, None])
    net.add("GatherND", np.stack([rows, np.minimum(columns, side - 1)], axis=-1).astype(np.int64))
    net.add("Transpose", perm=[4, 5, 0, 1, 2, 3])
    return used, counts


def masked(net, used, counts, fill=0.0):
    nothing = net.stored(np.float32(fill))
    for mask in (used, used[:, :, None, None]):
        kept = net.value
        net.value = net.graph.add("Where", [net.stored(~mask), nothing, kept], ())
    net.add("ReduceSum", np.array([3, 5]), keepdims=0)
    net.add("Div", (counts[:, None] * counts[None]).astype(np.float32))


def by_masks(side):
    def pool(net, shift=0, fill=0.0):
        used, counts = gathered(net, side, shift=shift)
        masked(net, used, counts, fill)

    return pool


def network(size, pool, **options):
    net = Net(("N", 3, size, size), **options)
    net.features()
    pool(net)
    net.classifier()
    return net


def by_sums(net):
    """Corners of a map of 7 x 7, whose windows of 2 x 2 overlap."""
    source, parts = net.value, []
    for row in (0, 1):
        for column in (0, 1):
            first = net.graph.add("Gather", [source, net.stored(np.arange(6) + row)], (), axis=2)
            parts.append(net.graph.add("Gather", [first, net.stored(np.arange(6) + column)], (), axis=3))
    net.value = parts[0]
    for part in parts[1:]:
        net.add("Add", part)
    net.add("Mul", np.float32(0.25))


POOLS = {
    "masks and sums, 5 x 5": (192, by_masks(5)),
    "masks and sums, 8 x 8": (288, by_masks(8)),
    "sums of corners": (256, by_sums),
    "windows of one size": (256, lambda net: net.add("AveragePool", kernel_shape=[2, 2], strides=[1, 1])),
    "windows side by side": (423, lambda net: net.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools_node_by_node(tmp_path, name):
    size, pool = POOLS[name]
    net = equal(tmp_path, network(size, pool).model(), (2, 3, size, size))
    assert net.variant.adaptive_pool == 6


def blurred(net):
    """Windows of one size, of which one has other weights."""
    net.add("AveragePool", kernel_shape=[2, 2], strides=[1, 1])
    weights = np.ones((6, 6), np.float32)
    weights[2, 3] = 1.0001
    net.add("Mul", weights)


OTHERS = {
    "another column": (192, lambda net: by_masks(5)(net, shift=1), "Where"),
    "a mask of ones": (192, lambda net: by_masks(5)(net, fill=1.0), "Where"),
    "a padded pool": (256, lambda net: net.add("AveragePool", kernel_shape=[4, 4], pads=[1] * 4), "AveragePool"),
    "a pool with other windows": (288, lambda net: net.add("AveragePool", kernel_shape=[3, 3]), "AveragePool"),
    "a maximum over windows": (192, lambda net: (gathered(net, 5), net.add("ReduceMax", axes=[3, 5])), "ReduceMax"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_nodes_are_refused_by_name(tmp_path, name):
    size, pool, word = OTHERS[name]
    with pytest.raises(UserError, match=rf"\({word}\)") as caught:
        load(tmp_path, network(size, pool).model())
    assert "\n" not in str(caught.value)


def test_one_weight_that_differs_is_not_taken(tmp_path):
    """The pool is right, and what follows it is not."""
    with pytest.raises(UserError, match=r"\(Mul\).*not one number for each channel"):
        load(tmp_path, network(256, blurred).model())


def test_a_pool_of_a_size_that_is_not_fixed(tmp_path):
    """Its nodes fit one size of the map alone."""
    net = Net(("N", 3, "H", "W"))
    net.features()
    net.add("AveragePool", kernel_shape=[1, 2], strides=[1, 1])
    net.classifier()
    with pytest.raises(UserError, match=r"\(AveragePool\).*adaptive"):
        load(tmp_path, net.model())


@pytest.mark.slow
@pytest.mark.parametrize("op", ["Add", "ReduceSum", "Gather"])
def test_many_nodes_are_bounded(tmp_path, op):
    """Each reads a large map, and writes one or a few values."""
    net = Net()
    net.add("Conv", *net.convs[0], kernel_shape=[11, 11], strides=[4, 4], pads=[2] * 4)
    net.add("Mul", np.linspace(1, 2, 55).astype(np.float32))
    source, parts, zero = net.value, [], net.stored(np.zeros(1, np.int64))
    others = {"Add": [source], "ReduceSum": [], "Gather": [zero]}[op]
    for _ in range(3000):
        parts.append(net.graph.add(op, [source, *others], ()))
    net.value = net.graph.add("Concat", parts, (), axis=0)
    start = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(UserError, match=r"\(Mul\)"):
        weights.load(saved(tmp_path, net.model(4)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - start < 5
    assert peak < 300 << 20


@pytest.mark.parametrize(("side", "out"), [(7, 6), (5, 6), (13, 6), (1, 6), (6, 6)])
def test_the_matrix_is_that_of_pytorch(side, out):
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    rows = torch.from_numpy(adaptive_means(side, out)[0, 0])
    expected = nn.functional.adaptive_avg_pool2d(x, out)
    torch.testing.assert_close(rows @ x @ rows.T, expected)
