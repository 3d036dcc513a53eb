"""One kind of network at a time that is nearly one of the family: it gives what onnxruntime, OpenCV or PyTorch compute
from the same file, or is refused by what makes it another."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")
pytest.importorskip("google.protobuf")

import torch

from fastalex import AlexNet, variants
from fastalex.errors import UserError
from tests.support.random_graphs import caffe_nets, caffe_oddities, cases, onnx_graphs, onnx_oddities
from tests.support.random_graphs.caffe_nets import Part
from tests.support.random_graphs.onnx_builder import Op, binary, clip, cut, gather, node, norm, pool, turned

pytestmark = pytest.mark.peers

TORCHVISION, BVLC, CAFFENET = range(3)  # of onnx_graphs.PUBLISHED


def act(*places_and_op):
    """A change: another activation at these places of the seven."""
    *places, op = places_and_op

    def change(draft):
        draft.acts = [op if index in places else one for index, one in enumerate(draft.acts)]

    return change


def between(*ops):
    """A change: these after fc6, before its activation."""
    return lambda draft: draft.between[0].extend(ops)


def head(*ops):
    return lambda draft: draft.head.extend(ops)


def first(*ops):
    return lambda draft: draft.inputs.extend(ops)


def conv(index, **values):
    def change(draft):
        for name, value in values.items():
            setattr(draft.convs[index], name, value)

    return change


def one_pool(index, side=None, **options):
    def change(draft):
        draft.pools = [pool(**options) if place == index else one for place, one in enumerate(draft.pools)]
        draft.side = side or draft.side

    return change


def two_lrns(**other):
    constants = {"alpha": 0.3, "beta": 0.75, "bias": 1.0, "size": 5}

    def change(draft):
        draft.lrns = [onnx_graphs.lrn(**constants), onnx_graphs.lrn(**dict(constants, **other)), *draft.lrns[2:]]

    return change


def norm_after_fc6(draft):
    width = draft.fcs[0].out
    values = np.linspace(0.5, 1.5, width)
    draft.between[0].append(norm(values, 1 - values, values / 4, values[::-1]))


def crop(draft):
    draft.given = (3, draft.side + 32, draft.side + 32)
    draft.inputs += [cut(axis, 16, 16 + draft.side) for axis in (2, 3)]


def planes(graph, t):
    parts = [cut(1, i, i + 1).emit(graph, t) for i in (2, 1, 0)]
    return graph.add("Concat", parts, graph.shapes[t], axis=1)


def reordered(draft):
    draft.head.append(gather(list(range(draft.classes))[::-1], 1))


def fewer(draft):
    draft.head.append(cut(1, 0, draft.classes - 1))


NOTHING = Op("no activation", lambda graph, t: t)
LEAKY = node("LeakyRelu", alpha=0.2)
TAKEN = ""

#: name -> the network, the change, the words of its refusal (or TAKEN)
ONNX_KINDS = {
    "LeakyReLU after fc6": (TORCHVISION, act(5, LEAKY), TAKEN),
    "LeakyReLU everywhere": (TORCHVISION, act(*range(7), LEAKY), TAKEN),
    "Tanh after fc6 and fc7": (TORCHVISION, act(5, 6, node("Tanh")), TAKEN),
    "Sigmoid after fc7": (TORCHVISION, act(6, node("Sigmoid")), TAKEN),
    "ReLU6 after fc6": (TORCHVISION, act(5, clip(0, 0.5)), "clip"),
    "nothing after fc6": (TORCHVISION, act(5, NOTHING), TAKEN),
    "a half after fc6": (TORCHVISION, between(binary("Mul", 0.5)), TAKEN),
    "BatchNorm after fc6": (TORCHVISION, norm_after_fc6, TAKEN),
    "Softmax between fully connected layers": (TORCHVISION, between(node("Softmax", axis=1)), "softmax"),
    "Tanh after conv3 alone": (BVLC, act(2, node("Tanh")), TAKEN),
    "a softmax at the end": (TORCHVISION, head(node("Softmax", axis=1)), TAKEN),
    "a sigmoid at the end": (TORCHVISION, head(node("Sigmoid")), TAKEN),
    "a temperature": (TORCHVISION, head(binary("Div", 1.5)), TAKEN),
    "a temperature before softmax": (BVLC, head(binary("Mul", 0.4), node("Softmax", axis=1)), TAKEN),
    "a negation": (TORCHVISION, head(node("Neg")), TAKEN),
    "a clamp": (TORCHVISION, head(clip(-0.5, 0.5)), "clip"),
    "classes in another order": (TORCHVISION, reordered, TAKEN),
    "a class fewer": (TORCHVISION, fewer, TAKEN),
    "BGR by Gather": (TORCHVISION, first(gather([2, 1, 0], 1)), TAKEN),
    "BGR by Slice": (TORCHVISION, first(turned(1)), TAKEN),
    "BGR by Concat": (CAFFENET, first(Op("planes", planes)), TAKEN),
    "a mirrored picture": (TORCHVISION, first(turned(3)), "slice"),
    "a picture that is cut": (TORCHVISION, crop, "slice"),
    "whole numbers alone": (TORCHVISION, first(node("Floor")), "floor"),
    "a mean and a deviation": (TORCHVISION, first(binary("Sub", 0.4), binary("Div", 0.25)), r"\b(sub|div)\b"),
    "two sizes of LRN": (BVLC, two_lrns(size=3), "lrn|norm"),
    "two constants of LRN": (CAFFENET, two_lrns(bias=2.0), "lrn|norm"),
    "ceil_mode of one pool": (TORCHVISION, one_pool(0, 231, ceil_mode=1), TAKEN),
    "pads at the end of one pool": (TORCHVISION, one_pool(0, pads=[0, 0, 1, 1]), TAKEN),
    "conv1 with auto_pad": (TORCHVISION, conv(0, auto="SAME_UPPER"), TAKEN),
    "conv2 with auto_pad": (TORCHVISION, conv(1, auto="SAME_LOWER"), TAKEN),
    "asymmetric pads of conv1": (TORCHVISION, conv(0, pads=[1, 1, 2, 2]), TAKEN),
    "dilations of conv5": (TORCHVISION, conv(4, dilation=2, pads=[1, 1, 3, 3]), "dilat"),
    "conv1 with a pad of 2 in Caffe's": (BVLC, conv(0, pads=[2] * 4), TAKEN),
}

#: Changes without effect on the result, which must not be refused.
HARMLESS = {
    "a Mul that computes a shape": lambda draft: setattr(draft, "flatten", "shape with Mul"),
    "a branch that nothing reads": lambda draft: setattr(draft, "branch", True),
    "Dropout, Identity and Cast": lambda draft: setattr(draft, "idle", True),
    "parameters as Constant nodes": lambda draft: setattr(draft, "constants", True),
    "parameters among the inputs": lambda draft: setattr(draft, "listed", True),
    "a softmax that nothing reads": first(
        Op("aside", lambda graph, t: (graph.add("Softmax", [graph.add("GlobalAveragePool", [t])], axis=1), t)[1])
    ),
}


def check(case, folder, *allowed):
    found = cases.outcome(case, folder)
    if found.kind not in allowed:
        pytest.fail(cases.report(case, found), pytrace=False)


def right_or_refused(case, folder):
    check(case, folder, cases.EQUAL, cases.REFUSED)


def as_written(case, words, folder):
    check(case, folder, cases.REFUSED if words else cases.EQUAL)


@pytest.mark.parametrize("name", ONNX_KINDS)
def test_kinds_of_onnx(tmp_path, name):
    network, change, words = ONNX_KINDS[name]
    as_written(onnx_graphs.made(change, words, network), words, tmp_path)


@pytest.mark.parametrize("network", range(len(onnx_graphs.PUBLISHED)))
def test_the_networks_without_a_change_are_equal(tmp_path, network):
    check(onnx_graphs.made(lambda draft: None, "", network), tmp_path, cases.EQUAL)


@pytest.mark.parametrize("name", HARMLESS)
def test_changes_off_the_main_path_do_not_matter(tmp_path, name):
    for network in (TORCHVISION, BVLC):
        check(onnx_graphs.made(HARMLESS[name], "", network), tmp_path, cases.EQUAL)


@pytest.mark.parametrize("name", onnx_oddities.ODDITIES)
def test_every_oddity_of_onnx_in_a_published_network(tmp_path, name):
    right_or_refused(onnx_graphs.make(0, [name], published=True), tmp_path)


# Caffe ----------------------------------------------------------------------------------------------------------------


def caffe_act(*places_and_part):
    *places, part = places_and_part

    def change(draft):
        for place in places:
            draft.set_act(place, part)

    return change


def caffe_after(index, *parts):
    """A change: these after fc6, fc7 or fc8, before the activation if there is one."""

    def change(draft):
        draft.after[index][:0] = parts

    return change


def caffe_lrns(draft):
    one = {"local_size": 5, "alpha": 0.3, "beta": 0.75}
    parts = [Part("LRN", "lrn_param", **one), Part("LRN", "lrn_param", **dict(one, local_size=3))]
    draft.lrns = parts + draft.lrns[2:]


NORM = (Part("BatchNorm", "batch_norm_param", eps=1e-3), Part("Scale", "scale_param", bias_term=True))
CAFFE_KINDS = {
    "negative_slope everywhere": (caffe_act(*range(7), caffe_nets.relu(0.1)), TAKEN),
    "negative_slope after fc6": (caffe_act(5, caffe_nets.relu(0.1)), TAKEN),
    "TanH after fc6 and fc7": (caffe_act(5, 6, Part("TanH")), TAKEN),
    "Sigmoid after fc7": (caffe_act(6, Part("Sigmoid")), TAKEN),
    "nothing after fc6": (caffe_act(5, None), TAKEN),
    "Power after fc6": (caffe_after(0, Part("Power", "power_param", scale=0.5)), TAKEN),
    "BatchNorm and Scale after fc6": (caffe_after(0, *NORM), TAKEN),
    "Softmax at the end": (caffe_after(2, Part("Softmax")), TAKEN),
    "Sigmoid at the end": (caffe_after(2, Part("Sigmoid")), TAKEN),
    "a Power at the end": (caffe_after(2, Part("Power", "power_param", scale=-1.0)), TAKEN),
    "two sizes of LRN": (caffe_lrns, "lrn|norm"),
    "TanH after conv3 alone": (caffe_act(2, Part("TanH")), TAKEN),
    "dilation of conv5": (lambda draft: draft.convs[4].options.update(dilation=[2]), "dilat"),
}


@pytest.mark.parametrize("name", CAFFE_KINDS)
def test_kinds_of_caffe(tmp_path, name):
    change, words = CAFFE_KINDS[name]
    as_written(caffe_nets.made(change, words), words, tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_caffes_networks_without_a_change_are_equal(tmp_path, seed):
    check(caffe_nets.made(lambda draft: None, "", seed), tmp_path, cases.EQUAL)


@pytest.mark.parametrize("name", caffe_oddities.ODDITIES)
def test_every_oddity_of_caffe_in_a_published_network(tmp_path, name):
    right_or_refused(caffe_nets.make(0, [name], published=True), tmp_path)


# State dicts ----------------------------------------------------------------------------------------------------------

PUBLISHED_INDICES = (0, 3, 6, 8, 10)
WIDTHS = (8, 24, 16, 16, 8, 20, 20)
PAPERS = (96, 256, 384, 384, 256, 20, 20)


def state(indices=PUBLISHED_INDICES, classifier=(1, 4, 6), prefix="features", widths=WIDTHS, columns=1):
    """A state dict of five convolutions and three linear layers under PyTorch's names, and six by six pixels."""
    random = np.random.default_rng(5)
    groups, kernels, reads = (1, columns, 1, columns, columns), (11, 5, 3, 3, 3), (3, *widths[:4])
    shapes = {}
    for index, out, one, group, kernel in zip(indices, widths, reads, groups, kernels):
        shapes[f"{prefix}.{index}"] = (out, one // group, kernel, kernel)
    for index, out, one in zip(classifier, (*widths[5:], 7), (36 * widths[4], *widths[5:])):
        shapes[f"classifier.{index}"] = (out, one)
    arrays = {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[1:]))
        arrays[name + ".weight"] = (scale * random.standard_normal(shape)).astype(np.float32)
        arrays[name + ".bias"] = random.standard_normal(shape[0]).astype(np.float32)
    return arrays


def warnings_of(folder, arrays, **options):
    """Warnings from loading the state dict."""
    path = folder / "net.pth"
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, str(path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        AlexNet(weights=path, device="cpu", **options)
    return [str(one.message) for one in caught]


STATES = {
    "indices that leave room for LRN": state((0, 4, 8, 10, 12)),
    "indices that leave room for batch norm": state((0, 4, 8, 11, 14)),
    "room in the classifier": state(classifier=(1, 5, 9)),
    "another name for the features": state(prefix="net"),
    "the paper's widths and torchvision's indices": state(widths=PAPERS),
    "LRN, the paper's widths": state((0, 4, 8, 10, 12), widths=PAPERS),
    "convolutions that follow each other": state((0, 1, 2, 3, 4)),
    "columns under torchvision's names": state(columns=2),
}


@pytest.mark.parametrize("name", STATES)
def test_other_state_dicts_bring_a_warning_or_are_refused(tmp_path, name):
    """Whatever names and indices leave open is never assumed silently."""
    try:
        messages = warnings_of(tmp_path, STATES[name])
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert any("variant=" in message for message in messages), messages
    assert any(known in message for message in messages for known in variants.VARIANTS), messages


def test_naming_the_variant_settles_it(tmp_path):
    arrays = state((0, 4, 8, 10, 12), widths=PAPERS)
    options = {"variant": "alexnet2012", "columns": 1, "widths": PAPERS}
    assert warnings_of(tmp_path, arrays, **options) == []


def test_batch_norm_in_a_state_dict_is_refused_by_name(tmp_path):
    arrays = state((0, 4, 8, 11, 14))
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        arrays["features.1." + leaf] = np.ones(WIDTHS[0], np.float32)
    with pytest.raises(UserError, match=r"features\.1"):
        warnings_of(tmp_path, arrays)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1000, 7])
def test_a_published_state_dict_loads_without_a_word(classes):
    """torchvision's names, indices and shapes; the number of classes is free."""
    row = variants.get("torchvision", num_classes=classes)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in row.parameter_shapes().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = AlexNet(weights=arrays, device="cpu")
    assert net.variant == row
