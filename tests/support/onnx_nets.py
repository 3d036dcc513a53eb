"""Narrow AlexNets as ONNX graphs, node by node, so that a test can write a part of one in another form."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from fastalex import AlexNet

from .random_graphs.onnx_builder import Graph
from .random_graphs.onnx_graphs import onnx_results

WIDTHS = (16, 24, 32, 32, 16)
CLASSES = 10
FEATURES = 40
CONVS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # kernel, stride, padding
POOLED = (0, 1, 4)  # convolutions with a pool behind


class Layer(NamedTuple):
    """Parameters of a layer."""

    weight: np.ndarray
    bias: np.ndarray


def parameters(rng: np.random.Generator, side: int = 6) -> Tuple[List[Layer], List[Layer]]:
    """Those of the convolutions, and of the fully connected layers over a map of ``side``."""
    sizes: List[Tuple[int, ...]] = [
        (out, one, kernel, kernel) for out, one, (kernel, _, _) in zip(WIDTHS, (3, *WIDTHS), CONVS)
    ]
    sizes += [(FEATURES, WIDTHS[-1] * side**2), (FEATURES, FEATURES), (CLASSES, FEATURES)]
    layers = []
    for size in sizes:
        weight = rng.normal(0, (2 / np.prod(size[1:])) ** 0.5, size).astype(np.float32)
        layers.append(Layer(weight, rng.normal(0, 0.2, size[0]).astype(np.float32)))
    return layers[:5], layers[5:]


class Net:
    """A graph that grows at its end, ``value``."""

    def __init__(self, sides: Sequence[Any] = ("N", 3, 224, 224), opset: int = 17, side: int = 6) -> None:
        self.rng = np.random.default_rng(3)
        self.graph = Graph(self.rng, opset, False, "names", False)
        self.sides = list(sides)
        self.value = self.source = self.graph.name("input")
        self.convs, self.fcs = parameters(self.rng, side)

    def stored(self, array: Any) -> str:
        return self.graph.constant(np.asarray(array), "parameter")

    def add(self, op: str, *others: Any, **attributes: Any) -> str:
        """A node that reads the end, and constants: names, or arrays to be stored."""
        names = [one if isinstance(one, str) else self.stored(one) for one in others]
        self.value = self.graph.add(op, [self.value, *names], (), **attributes)
        return self.value

    def features(self, activation: str = "Relu", bias: bool = True) -> None:
        """The convolutional blocks."""
        for index, (layer, (kernel, stride, pad)) in enumerate(zip(self.convs, CONVS)):
            stored = layer if bias else layer[:1]
            self.add("Conv", *stored, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)
            self.add(activation)
            if index in POOLED:
                self.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2])

    def classifier(self) -> None:
        """Flatten, and the fully connected layers."""
        self.add("Flatten")
        for index, layer in enumerate(self.fcs):
            self.add("Gemm", *layer, transB=1)
            if index < 2:
                self.add("Relu")

    def model(self, rank: int = 2, domains: Optional[Dict[str, int]] = None) -> Any:
        """The model; ``rank`` is that of its result."""
        self.graph.shapes[self.value] = (CLASSES,) * (rank - 1)
        made = self.graph.model(self.source, self.sides, TensorProto.FLOAT, [self.value], ())
        for domain, version in (domains or {}).items():
            made.opset_import.append(helper.make_opsetid(domain, version))
        return made


def saved(folder: Any, model: Any) -> Any:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def load(folder: Any, model: Any, **options: Any) -> AlexNet:
    return AlexNet(weights=saved(folder, model), device="cpu", threads=1, **options)


def equal(folder: Any, model: Any, sides: Sequence[int] = (2, 3, 224, 224), channels_last: bool = False) -> AlexNet:
    """Check that the network of the file gives what onnxruntime gives; return it. ``sides`` are those of pictures."""
    onnx.checker.check_model(model)
    net = load(folder, model)
    x = np.random.default_rng(5).standard_normal(tuple(sides)).astype(np.float32)
    given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if channels_last else x
    expected = onnx_results(model, given)[0].reshape(len(x), -1)
    assert len(x) == 1 or np.abs(expected[0] - expected[1]).max() > 1e-3 * np.abs(expected).max()  # not dead
    np.testing.assert_allclose(net(x), expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    return net
