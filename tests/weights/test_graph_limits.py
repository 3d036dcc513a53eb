"""ONNX graphs that agree with the network for one batch or one size alone, that are malformed, or that ask for much."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import helper, numpy_helper

from fastalex import AlexNet
from fastalex.errors import UserError
from fastalex.weights import interpreter
from tests.support.random_graphs.onnx_graphs import onnx_results

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:variant")]

WIDTHS, FEATURES, CLASSES = (16, 24, 32, 32, 16), 40, 10
CONVS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))  # kernel, stride, padding
ANY = ("N", 3, 224, 224)
ANY_SIZE = ("N", 3, "H", "W")
MAP = "pool5"
LOGITS = "fc8"


def made(folder, shape=ANY, *, start="x", middle=MAP, end=LOGITS, nodes=(), arrays=None, **options):
    """A narrow torchvision AlexNet with a global average pool, in a file.

    :param start, middle, end: inputs of conv1 and of the classifier, and the output.
    :param nodes: more nodes, in front of those that need them. ``arrays``: their constants.
    """
    rng = np.random.default_rng(3)
    constants = dict(arrays or {})
    chain, value, channels = [], start, shape[1]

    def parameters(name, *sides):
        scale = (2 / np.prod(sides[1:])) ** 0.5
        constants[name + ".weight"] = rng.normal(0, scale, sides).astype(np.float32)
        constants[name + ".bias"] = rng.normal(0, 0.1, sides[:1]).astype(np.float32)
        return [name + ".weight", name + ".bias"]

    def add(op, inputs, output, **attributes):
        chain.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    for number, ((kernel, stride, pad), width) in enumerate(zip(CONVS, WIDTHS), 1):
        pads = options.get("pads", [pad] * 4) if number == 1 else [pad] * 4
        name = f"conv{number}"
        value = add(
            "Conv",
            [value, *parameters(name, width, channels, kernel, kernel)],
            name,
            pads=pads,
            strides=[stride] * 2,
            **(options.get("conv", {}) if number == 1 else {}),
        )
        value, channels = add("Relu", [value], f"relu{number}"), width
        if number in (1, 2, 5):
            pool = options.get("pool", {})
            value = add("MaxPool", [value], f"pool{number}", kernel_shape=[3, 3], strides=[2, 2], **pool)
    value = add("GlobalAveragePool", [middle], "means")
    value = add("Flatten", [value], "flat")
    for number, count in ((6, FEATURES), (7, FEATURES), (8, CLASSES)):
        name, before = f"fc{number}", FEATURES if number > 6 else WIDTHS[-1]
        value = add("Gemm", [value, *parameters(name, count, before)], name, transB=1)
        if number < 8:
            value = add("Relu", [value], f"relu{number}")
    whole = helper.make_graph(
        _in_order([*nodes, *chain], {"x", "", *constants}),
        "g",
        [helper.make_tensor_value_info("x", options.get("kind", onnx.TensorProto.FLOAT), shape)],
        [helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "g.onnx"
    path.write_bytes(model.SerializeToString())
    return str(path)


def _in_order(nodes, known):
    found, waiting = [], list(nodes)
    while waiting:
        node = next(one for one in waiting if set(one.input) <= known)
        waiting.remove(node)
        found.append(node)
        known |= set(node.output)
    return found


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], **attributes)


def load(path, variant=None):
    return AlexNet(variant, weights=path, device="cpu", threads=1)


def pictures(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def onnxruntimes(path, x):
    with open(path, "rb") as stream:
        return onnx_results(stream.read(), x)[0]


def agrees(path, x):
    net, expected = load(path), onnxruntimes(path, x)
    np.testing.assert_allclose(net(x), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 3])
def test_the_graph_without_a_change(tmp_path, batch):
    agrees(made(tmp_path), pictures(batch, 3, 224, 224))


@pytest.mark.parametrize("batch", [8, 40])
def test_a_batch_that_is_fixed(tmp_path, batch):
    agrees(made(tmp_path, (batch, 3, 224, 224)), pictures(batch, 3, 224, 224))


def test_a_shape_that_holds_the_batch(tmp_path):
    nodes = [node("Reshape", [MAP, "to"], "again")]
    sides = np.array([8, WIDTHS[-1], 6, 6])
    agrees(
        made(tmp_path, (8, 3, 224, 224), middle="again", nodes=nodes, arrays={"to": sides}), pictures(8, 3, 224, 224)
    )


SHAPE = [node("Shape", ["x"], "shape"), node("Gather", ["shape", "zero"], "batch"), node("Cast", ["batch"], "n", to=1)]
ZERO, LINE = {"zero": np.array(0)}, {"from": np.array([0]), "to": np.array([1]), "axis": np.array([0])}
OF_ONE_BATCH = {
    "images that are mixed": {
        "middle": "mixed",
        "nodes": [node("Transpose", [MAP], "turned", perm=[1, 0, 2, 3]), node("Reshape", ["turned", "to"], "mixed")],
        "arrays": {"to": np.array([-1, WIDTHS[-1], 6, 6])},
    },
    "the batch as a factor": {"end": "y", "nodes": [*SHAPE, node("Mul", [LOGITS, "n"], "y")], "arrays": ZERO},
    "the first image alone": {
        "end": "y",
        "nodes": [node("Slice", [LOGITS, "from", "to", "axis"], "y")],
        "arrays": LINE,
    },
    "no image": {
        "end": "y",
        "nodes": [node("Slice", [LOGITS, "from", "to", "axis"], "y")],
        "arrays": dict(LINE, to=np.array([0])),
    },
}


@pytest.mark.parametrize("name", OF_ONE_BATCH)
def test_what_is_right_for_one_image_alone_is_refused(tmp_path, name):
    with pytest.raises(UserError):
        load(made(tmp_path, **OF_ONE_BATCH[name]))


@pytest.mark.parametrize("size", [224, 231, 240])
def test_rounding_of_a_size_that_is_not_fixed(tmp_path, size):
    """224 and 256 do not tell floor from ceil."""
    x = pictures(1, 3, size, size)
    agrees(made(tmp_path, ANY_SIZE), x)
    agrees(made(tmp_path, ANY_SIZE, pool={"ceil_mode": 1}), x)


def test_uneven_pads_of_a_size_that_is_not_fixed(tmp_path):
    with pytest.raises(UserError, match="start and end"):
        load(made(tmp_path, ANY_SIZE, pads=[2, 2, 1, 1]))


def test_pads_that_contradict_each_other(tmp_path):
    with pytest.raises(UserError, match="auto_pad=VALID"):
        load(made(tmp_path, conv={"auto_pad": "VALID"}))


def test_whole_numbers_are_not_computed_with(tmp_path):
    nodes = [node("Div", ["x", "two"], "half"), node("Cast", ["half"], "floats", to=1)]
    two, kind = {"two": np.array(2, np.int32)}, onnx.TensorProto.INT32
    with pytest.raises(UserError, match="'half'.*whole numbers"):
        load(made(tmp_path, start="floats", nodes=nodes, arrays=two, kind=kind))
    path = made(tmp_path, start="floats", nodes=[node("Cast", ["x"], "floats", to=1)], kind=kind)
    x = np.random.default_rng(6).integers(0, 4, (1, 3, 224, 224), dtype=np.int32)
    np.testing.assert_allclose(load(path)(x.astype(np.float32)), onnxruntimes(path, x), rtol=0, atol=1e-4)


def test_whole_numbers_are_divided_towards_zero(tmp_path):
    nodes = [node("Div", ["a", "b"], "q"), node("Cast", ["q"], "f", to=1), node("Mul", [LOGITS, "f"], "y")]
    arrays = {"a": np.array([-7]), "b": np.array([2])}
    agrees(made(tmp_path, end="y", nodes=nodes, arrays=arrays), pictures(1, 3, 224, 224))


@pytest.mark.parametrize("variant", ["caffenet", "alexnet2012", "owt"])
def test_a_wrong_variant_is_one_sentence(tmp_path, variant):
    with pytest.raises(UserError):
        load(made(tmp_path), variant)


MALFORMED = {
    f"an input left out of {op}": {
        "middle": "y",
        "nodes": [node(op, [""], "z", **more), node("Add", [MAP, "z"], "y")],
    }
    for op, more in (("Cast", {"to": 1}), ("Shape", {}), ("Flatten", {}))
}
MALFORMED["a batch of 10^9"] = {"shape": (10**9, 3, 224, 224), "end": "y", "nodes": [node("Sqrt", [LOGITS], "y")]}
MALFORMED["the picture as axes"] = {"middle": "y", "nodes": [node("Unsqueeze", [MAP, "x"], "y")]}
MALFORMED["many axes"] = {
    "end": "y",
    "nodes": [node("Unsqueeze", ["one", "axes"], "z"), node("Mul", [LOGITS, "z"], "y")],
    "arrays": {"one": np.ones((), np.float32), "axes": np.arange(60000)},
}
MALFORMED["constants that grow"] = {
    "end": "y",
    "nodes": [node("Add", ["a", "b"], "z"), node("Mul", [LOGITS, "z"], "y")],
    "arrays": {"a": np.ones((60000, 1), np.float32), "b": np.ones((1, 60000), np.float32)},
}
MALFORMED["values that double"] = {
    "middle": "d30",
    "nodes": [node("Concat", [MAP if not i else f"d{i}"] * 2, f"d{i + 1}", axis=1) for i in range(30)],
}
MALFORMED["a constant that is claimed"] = {
    "end": "y",
    "nodes": [node("ConstantOfShape", ["sides"], "z"), node("Mul", [LOGITS, "z"], "y")],
    "arrays": {"sides": np.array([10**6, 10**6])},
}
MALFORMED["20,000 activations"] = {
    "middle": "r20000",
    "nodes": [node("Relu", [MAP if not i else f"r{i}"], f"r{i + 1}") for i in range(20000)],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_or_greedy_graphs_are_refused_by_one_sentence(tmp_path, name):
    with pytest.raises(UserError) as caught:
        load(made(tmp_path, **MALFORMED[name]))
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_a_parameter_of_a_claimed_size_is_refused(tmp_path):
    path = made(tmp_path)
    model = onnx.load(path)
    for one in model.graph.initializer:
        if one.name == "fc8.weight":
            one.dims[0] = 10**12
    with open(path, "wb") as stream:
        stream.write(model.SerializeToString())
    with pytest.raises(UserError, match=r"fc8\.weight.*side"):
        load(path)


def test_unread_nodes_cost_nothing(tmp_path):
    nodes = [node("Relu", ["x" if not i else f"r{i}"], f"r{i + 1}") for i in range(3000)]
    agrees(made(tmp_path, nodes=nodes), pictures(1, 3, 224, 224))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sides", [(70, 33), (1, 1), (32, 64), (3, 100)])
@pytest.mark.parametrize("offset", [0, 1])
def test_products_with_a_matrix_at_any_address(sides, transposed, offset):
    random = np.random.default_rng(3)
    values = random.integers(-9, 9, sides).astype(np.float32)  # integers: any order of the sum is exact
    stored = np.zeros(values.nbytes + offset, np.uint8)
    matrix = stored[offset:].view(np.float32).reshape(sides)
    matrix[...] = values
    x = random.integers(-9, 9, (2, sides[1] if transposed else sides[0])).astype(np.float32)
    assert matrix.flags.aligned == (offset == 0)
    found = interpreter.product(x, matrix.T if transposed else matrix)
    np.testing.assert_array_equal(found, x @ (values.T if transposed else values))
