"""Checkpoints as people have them: objects beside the tensors, modules, scripts, and arrays beside the network's own.

The right results are those of PyTorch, for the network whose weights were saved.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import pickle
import random
import warnings

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.weights import adapt, initial, resolve
from fastalex.weights.selection.names import layers_of

torch = pytest.importorskip("torch")
from tests.support import file_writers  # noqa: E402

nn = torch.nn
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore:variant torchvision. assumed")]

WIDTHS = (8, 16, 24, 16, 16, 40, 32)
CLASSES = 5


class Net(nn.Module):
    """torchvision's alexnet, narrow."""

    def __init__(self, head=nn.Linear):
        super().__init__()
        a, b, c, d, e, f, g = WIDTHS
        self.features = nn.Sequential(
            *(nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(d, e, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(e * 36, f), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(f, g), nn.ReLU(), nn.Linear(g, CLASSES)),
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Net().eval()


X = np.random.default_rng(1).standard_normal((2, 3, 224, 224), dtype=np.float32)


def agrees(model, source, **options):
    """Check the network of ``source`` against PyTorch; return what was told."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = AlexNet(weights=source, device="cpu", **options)(X)
    with torch.no_grad():
        expected = model(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    return " | ".join(str(warning.message) for warning in caught if "variant torchvision: " not in str(warning.message))


def saved(folder, value, container="zip"):
    path = folder / "best.pth"
    path.write_bytes(file_writers.torch_bytes(value, container))
    return path


class Unknown:
    """A class that nobody else has."""

    def __init__(self):
        self.history = [1, 2]


class Options(dict):
    """A subclass of dict, as many configurations are."""


def beside():
    parameters = [nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.SGD(parameters, 0.1)
    return {
        "Counter": collections.Counter("alexnet"),
        "MultiStepLR": torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2]).state_dict(),
        "set": {"a", "b"},
        "frozenset": frozenset((1, 2)),
        "bytes": b"abc",
        "bytearray": bytearray(b"abc"),
        "tuple keys": {(1, 2): 3, ("a", None): 4},
        "numpy scalar": np.float64(0.5),
        "numpy array": np.arange(3.0),
        "numpy objects": np.array(["a", None], object),
        "numpy random": np.random.get_state(),
        "PCG64": np.random.default_rng(0).bit_generator.state,
        "random": random.getstate(),
        "Namespace": argparse.Namespace(lr=0.1, milestones=[1, 2]),
        "Path": pathlib.Path("x"),
        "unknown": Unknown(),
        "subclass": Options(a=1),
        "defaultdict": collections.defaultdict(list, a=[1]),
        "complex": 1j,
        "dtype": torch.float16,
        "a function": nn.functional.relu,
    }


@pytest.mark.parametrize("container", ["zip", "stream"])
@pytest.mark.parametrize("what", list(beside()))
def test_anything_may_lie_beside_the_tensors(tmp_path, model, container, what):
    path = saved(tmp_path, {"state_dict": model.state_dict(), "extra": beside()[what], "epoch": 3}, container)
    arrays = weights.load(path).arrays
    assert list(arrays) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert np.array_equal(arrays[name], tensor.numpy())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_things_beside_in_every_protocol(tmp_path, model, protocol):
    path = tmp_path / "c.pth"
    torch.save({"net": model.state_dict(), **beside()}, path, pickle_protocol=protocol)
    assert list(weights.load(path).arrays) == list(model.state_dict())


def test_arrays_of_numpy_are_weights(tmp_path, model):
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    arrays["classifier.1.weight"] = np.asfortranarray(arrays["classifier.1.weight"])
    assert agrees(model, saved(tmp_path, {"params": arrays})) == ""


def test_no_code_of_a_placeholder_runs(tmp_path, model):
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self):
            return pathlib.Path.touch, (marker,)

    path = saved(tmp_path, {"state_dict": model.state_dict(), "hook": Evil()})
    assert len(weights.load(path).arrays) == 16
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the attack works where nothing guards"


@pytest.mark.parametrize("container", ["zip", "stream"])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m, "epoch": 1}, nn.DataParallel])
def test_whole_modules(tmp_path, model, container, wrap):
    assert agrees(model, saved(tmp_path, wrap(model), container)) == ""


def test_modules_say_which_layers_were_not_read(tmp_path, model):
    with_softmax = nn.Sequential(model, nn.Softmax(1))
    assert "layers of the classes Softmax were not read" in agrees(model, saved(tmp_path, with_softmax))


UNUSUAL = {
    "a pool of 2 x 2": (2, nn.MaxPool2d(2, 2), "kernel_size = 2 of 'features.2'"),
    "an oblong pool": (2, nn.MaxPool2d((3, 2), 2), "kernel_size = (3, 2) of 'features.2'"),
    "a pool with padding": (5, nn.MaxPool2d(3, 2, 1), "padding = 1 of 'features.5'"),
    "no padding": (0, nn.Conv2d(3, WIDTHS[0], 11, 4), "padding = 0 of 'features.0'"),
    "a stride of 2": (0, nn.Conv2d(3, WIDTHS[0], 11, 2, 2), "stride = 2 of 'features.0'"),
    "dilation": (6, nn.Conv2d(WIDTHS[1], WIDTHS[2], 3, padding=2, dilation=2), "dilation = 2 of 'features.6'"),
    "reflected borders": (
        3,
        nn.Conv2d(WIDTHS[0], WIDTHS[1], 5, padding=2, padding_mode="reflect"),
        "padding_mode = reflect of 'features.3'",
    ),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_modules_say_which_settings_were_not_read(tmp_path, case):
    index, layer, told = UNUSUAL[case]
    net = Net().eval()
    net.features[index] = layer
    with pytest.warns(UserWarning, match="were not read") as caught:
        AlexNet(weights=saved(tmp_path, net), device="cpu")
    assert told in str(caught[0].message)


@pytest.mark.parametrize("script", [torch.jit.script, lambda m: torch.jit.trace(m, torch.from_numpy(X))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_archives_of_torchscript(tmp_path, model, script):
    path = tmp_path / "net.pt"
    script(model).save(str(path))
    assert agrees(model, path).endswith("it is a script, of which the weights were read and the code was not")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_frozen_script_has_no_weights(tmp_path, model):
    path = tmp_path / "net.pt"
    torch.jit.freeze(torch.jit.script(model)).save(str(path))
    with pytest.raises(UserError, match="no state dict|not a state dict"):
        weights.load(path)


BESIDE_WITHOUT_A_NETWORK = {
    "a loss": lambda t: {"loss": torch.tensor(0.5), "mine": t},
    "a mean": lambda t: {"mean": torch.zeros(3), "mine": t},
    "the options of the model": lambda t: {"model": {"name": "alexnet"}, "mine": t},
    "parameters of the training": lambda t: {"params": {"lr": 0.1, "betas": torch.zeros(2)}, "mine": t},
    "deeper, under a usual key": lambda t: {"net": {"mine": t, "step": torch.tensor(3)}},
}


@pytest.mark.parametrize("case", BESIDE_WITHOUT_A_NETWORK)
def test_the_entry_that_holds_the_network_is_taken(tmp_path, model, case):
    assert agrees(model, saved(tmp_path, BESIDE_WITHOUT_A_NETWORK[case](model.state_dict()))) == ""


@pytest.mark.parametrize("usual", ["state_dict", "model"])
def test_another_network_beside_a_usual_key_is_told(tmp_path, model, usual):
    other = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    path = saved(tmp_path, {"ema": other, usual: model.state_dict()})
    assert agrees(model, path).endswith("another network, under 'ema', was left out")


def test_two_networks_under_other_keys_are_refused(tmp_path, model):
    with pytest.raises(UserError, match="several of its entries hold a network \\('a', 'b'\\)"):
        weights.load(saved(tmp_path, {"a": model.state_dict(), "b": model.state_dict()}))


def test_a_module_that_holds_itself_is_refused(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3))
    module._modules["again"] = module
    with pytest.raises(UserError, match="nested too deep"):
        weights.load(saved(tmp_path, module))


# Arrays beside the network's own --------------------------------------------------------------------------------------


def prefixed(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


EXTRAS = {
    "class weights of a loss": (lambda t: {**prefixed("net.", t), "crit.weight": torch.ones(CLASSES)}, "crit.weight"),
    "class weights without a prefix": (lambda t: {**t, "criterion.weight": torch.ones(CLASSES)}, "criterion.weight"),
    "a counter": (lambda t: {**t, "acc.total": torch.tensor(3)}, "acc.total"),
    "a confusion matrix": (lambda t: {**t, "matrix": torch.ones(CLASSES, CLASSES, dtype=torch.long)}, "'matrix'"),
    "a normalizer": (
        lambda t: {**prefixed("model.", t), "normalizer.new_mean": torch.tensor([[[0.5]], [[0.25]], [[0.125]]])},
        r"normalizer.new_mean' (0.5, 0.25, 0.125) was left out",
    ),
    "a second copy": (
        lambda t: {**prefixed("model.", t), **prefixed("attacker.model.", t)},
        "'attacker', was left out",
    ),
    "another module": (lambda t: {**prefixed("backbone.", t), "head.weight": torch.ones(3, CLASSES)}, "'head'"),
    "pruned": (
        lambda t: {
            **{name + "_orig" * name.endswith("weight"): tensor for name, tensor in t.items()},
            **{name + "_mask": torch.ones_like(tensor) for name, tensor in t.items() if name.endswith("weight")},
        },
        "",
    ),
    "biases of four dimensions": (
        lambda t: {k: v.reshape(1, 1, 1, -1) if v.ndim == 1 else v for k, v in t.items()},
        "",
    ),
    "fc as convolutions": (
        lambda t: {
            name: tensor.reshape(len(tensor), -1, *((6, 6) if name == "classifier.1.weight" else (1, 1)))
            if tensor.ndim == 2
            else tensor
            for name, tensor in t.items()
        },
        "",
    ),
}


@pytest.mark.parametrize("case", EXTRAS)
def test_arrays_beside_the_networks(tmp_path, model, case):
    change, told = EXTRAS[case]
    changed = change(model.state_dict())
    for source in (saved(tmp_path, changed), changed):
        message = agrees(model, source)
        assert told in message
        assert bool(message) == bool(told)


def test_pruned_weights_are_masked(tmp_path):
    from torch.nn.utils import prune

    torch.manual_seed(3)
    net = Net().eval()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            prune.l1_unstructured(module, "weight", 0.4)
    assert agrees(net, saved(tmp_path, net.state_dict())) == ""


def test_pruned_weights_may_be_lists():
    layer = {"a.weight_orig": [[1.0, 2.0]], "a.weight_mask": [[0.0, 1.0]]}
    layers, others = layers_of(weights.Weights(layer))
    assert np.array_equal(layers["a"]["weight"], [[0, 2]])
    assert not others


def test_a_missing_last_bias_is_zero(tmp_path, model):
    state = model.state_dict()
    del state["classifier.6.bias"]
    without = Net().eval()
    without.classifier[6] = nn.Linear(WIDTHS[6], CLASSES, bias=False)
    without.load_state_dict(state)
    assert "last layer has no bias" in agrees(without, saved(tmp_path, state))


REFUSED = {
    "two networks": (lambda t: {**prefixed("a.", t), **prefixed("b.", {k: v + 1 for k, v in t.items()})}, "'a', 'b'"),
    "batch norm": (
        lambda t: {**t, **{f"features.1.{leaf}": torch.ones(8) for leaf in ("weight", "bias", "running_mean")}},
        "features.1.weight",
    ),
    "prelu": (lambda t: {**t, "features.1.weight": torch.ones(8)}, "features.1.weight"),
    "weight norm": (lambda t: {**t, "features.0.weight_g": torch.ones(8, 1, 1, 1)}, "remove_weight_norm"),
    "parametrized": (
        lambda t: {**t, "features.0.parametrizations.weight.original0": torch.ones(8, 1, 1, 1)},
        "remove_parametrizations",
    ),
    "prelu of the classes": (lambda t: {**t, "classifier.7.weight": torch.ones(CLASSES)}, "classifier.7.weight"),
    "scales of the classes": (lambda t: {**t, "scale.weight": torch.ones(CLASSES)}, "scale.weight"),
    "a scale of a layer": (lambda t: {**t, "features.0.scale": torch.tensor(0.5)}, "features.0.scale"),
    "a zero point": (lambda t: {**t, "classifier.1.weight_zero_point": torch.tensor(3)}, "weight_zero_point"),
    "a mask that is not PyTorch's": (
        lambda t: {**t, "features.0.weight_mask": torch.zeros_like(t["features.0.weight"])},
        "features.0.weight_mask",
    ),
    "weights of int8": (lambda t: {**t, "features.3.weight": t["features.3.weight"].char()}, "whole numbers .int8"),
    "a ninth layer": (lambda t: {**t, "classifier.8.weight": torch.ones(3, CLASSES)}, "classifier.8.weight"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_change_the_result_are_refused_by_name(tmp_path, model, case):
    change, named = REFUSED[case]
    changed = change(model.state_dict())
    for source in (saved(tmp_path, changed), changed):
        with pytest.raises(UserError, match=named):
            AlexNet(weights=source, device="cpu")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "quantized tensor"),
        (lambda tensor: tensor.to_sparse(), "to_dense"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quantiz.*:UserWarning")
def test_tensors_that_numpy_does_not_have_are_refused(model, change, named):
    state = model.state_dict()
    state["classifier.1.weight"] = change(state["classifier.1.weight"])
    with pytest.raises(UserError, match=named):
        AlexNet(weights=state, device="cpu")


def test_keys_that_are_no_text_are_left_out(model):
    state = {**prefixed("net.", model.state_dict()), "head.weight": torch.ones(3, CLASSES), 5: torch.ones(3)}
    assert "'head', '5' are not of the network" in agrees(model, state)


def test_a_quantized_state_dict_is_refused(tmp_path, model):
    state = dict(model.state_dict(), scale=torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8))
    with pytest.raises(UserError, match="QInt8Storage|plain tensor"):
        weights.load(saved(tmp_path, state))


@pytest.mark.parametrize(
    "words",
    [
        ["export", "{source}", "{folder}/net.onnx"],
        ["quantize", "{source}", "{folder}/net.npz"],
        ["summary", "--weights", "{source}"],
    ],
    ids=lambda words: words[0],
)
def test_commands_that_run_no_network_tell_it_too(tmp_path, model, words):
    source = saved(tmp_path, {**model.state_dict(), "criterion.weight": torch.ones(CLASSES)})
    with pytest.warns(UserWarning, match="criterion.weight"):
        assert main([word.format(source=source, folder=tmp_path) for word in words]) == 0


# Order and names ------------------------------------------------------------------------------------------------------

LAYERS = ["features.0", "features.3", "features.6", "features.8", "features.10", "classifier.1", "classifier.4"]
LAYERS.append("classifier.6")


def renamed(model, names, leaf="{}.{}"):
    """Return the state dict with layers called ``names``."""
    state = model.state_dict()
    return {
        leaf.format(new, part): state[f"{old}.{part}"] for old, new in zip(LAYERS, names) for part in ("weight", "bias")
    }


@pytest.mark.parametrize(
    "names",
    [
        ["stem", "body", "alpha", "neck", "cat", "zero", "head", "end"],
        ["conv10", "conv9", "conv8", "conv7", "conv6", "fc3", "fc2", "fc1"],
    ],
)
def test_layers_are_in_the_order_of_the_file(tmp_path, model, names):
    assert agrees(model, saved(tmp_path, renamed(model, names)), variant="torchvision") == ""


def test_equal_layers_are_in_the_order_of_the_file(tmp_path):
    """conv3 to conv5 have equal shapes, so that shapes do not tell which is first."""
    row = variants.get("torchvision", widths=(8, 12, 12, 12, 12, 20, 20), num_classes=20)
    arrays = initial.random_weights(row)
    names = [name[: -len(".weight")] for name in arrays if name.endswith(".weight")]
    new = ["t", "s", "r", "q", "p", "c", "b", "a"]
    state = {
        f"{short}.{leaf}": torch.from_numpy(arrays[f"{old}.{leaf}"])
        for old, short in zip(names, new)
        for leaf in ("weight", "bias")
    }
    loaded = resolve.load(saved(tmp_path, state))
    fitted = adapt.fit(loaded, row)
    assert all(np.array_equal(fitted[name], arrays[name]) for name in arrays)


def test_the_alphabet_of_safetensors_is_not_the_order(tmp_path, model):
    from safetensors.torch import save_file

    path = tmp_path / "net.safetensors"
    save_file(model.state_dict(), str(path))
    assert agrees(model, path) == ""
    numbered = [f"layer{i}" for i in (1, 2, 3, 10, 11, 12, 20, 100)]
    save_file(renamed(model, numbered), str(path))
    assert agrees(model, path, variant="torchvision") == ""


EQUAL = variants.get("torchvision", widths=(8, 12, 12, 12, 12, 432, 432), num_classes=432)
IN_ORDER = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]


@pytest.mark.parametrize(
    ("names", "sorts", "told"),
    [
        (IN_ORDER, False, ""),
        (IN_ORDER, True, ""),
        (["conv1", "conv2", "conv4", "conv3", "conv5", "fc6", "fc7", "fc8"], False, "'conv4' and 'conv3'"),
        (["t", "s", "r", "q", "p", "c", "b", "a"], False, ""),
        (["a", "b", "c", "d", "e", "f", "g", "h"], True, "'c' and 'd'"),
    ],
)
def test_an_order_that_neither_shapes_nor_names_settle_is_told(tmp_path, names, sorts, told):
    from safetensors.torch import save_file

    arrays = initial.random_weights(EQUAL)
    layers = [name[: -len(".weight")] for name in arrays if name.endswith(".weight")]
    state = {
        f"{new}.{leaf}": torch.from_numpy(arrays[f"{old}.{leaf}"])
        for old, new in zip(layers, names)
        for leaf in ("weight", "bias")
    }
    if sorts:
        path = tmp_path / "net.safetensors"
        save_file(state, str(path))
    else:
        path = saved(tmp_path, state)
    notes = " ".join(resolve.load(path).notes)
    assert ("same shape" in notes) == bool(told)
    assert told in notes


@pytest.mark.parametrize("leaf", ["{}_{}", "{}/{}", "{}/{}:0"])
def test_names_of_other_frameworks(tmp_path, model, leaf):
    names = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    state = {name: tensor.numpy() for name, tensor in renamed(model, names, leaf).items()}
    np.savez(tmp_path / "net.npz", **state)
    assert agrees(model, tmp_path / "net.npz", variant="torchvision") == ""


def test_a_named_variant_takes_the_files_widths(tmp_path, model):
    path = saved(tmp_path, model.state_dict())
    net = AlexNet("torchvision", weights=path, device="cpu")
    assert (net.variant.widths, net.variant.num_classes) == (WIDTHS, CLASSES)
    with pytest.raises(UserError, match="has shape"):
        AlexNet("torchvision", weights=path, device="cpu", widths=(8, 16, 24, 16, 16, 40, 33))


# Dicts of converters from Caffe ---------------------------------------------------------------------------------------

CAFFE = variants.get("bvlc_alexnet", widths=(16, 32, 24, 24, 16, 40, 32), num_classes=5)


def tensorflow_order():
    """Return the arrays in Caffe's order, and as the converters write them, a weight and a bias for each layer."""
    arrays = initial.random_weights(CAFFE)
    layers = {}
    for name in (name[: -len(".weight")] for name in arrays if name.endswith(".weight")):
        weight = arrays[name + ".weight"]
        if name == "fc6":
            weight = weight.reshape(len(weight), CAFFE.widths[4], 6, 6).transpose(2, 3, 1, 0).reshape(-1, len(weight))
        else:
            weight = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        layers[name] = [np.ascontiguousarray(weight), arrays[name + ".bias"]]
    return arrays, layers


def as_converted(folder, layers, form):
    path = folder / f"bvlc_alexnet.{'npz' if form == 'npz' else 'npy'}"
    if form == "npz":
        np.savez(path, **{f"{name}_{leaf}": part for name, layer in layers.items() for leaf, part in zip("Wb", layer)})
    elif form == "dicts":
        np.save(path, {name: {"weights": layer[0], "biases": layer[1]} for name, layer in layers.items()})
    elif form == "lists":
        np.save(path, layers)
    else:  # as numpy of Python 2 wrote it
        with open(path, "wb") as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
            pickle.dump(np.array(layers, object), stream, protocol=2)
    return path


@pytest.mark.parametrize("form", ["lists", "dicts", "npz", "protocol 2"])
def test_dicts_of_converters_from_caffe(tmp_path, form):
    arrays, layers = tensorflow_order()
    path = as_converted(tmp_path, layers, form)
    with pytest.warns(UserWarning, match="TensorFlow's order of axes"):
        net = AlexNet("bvlc_alexnet", weights=path, device="cpu")
    assert net.variant.widths == CAFFE.widths
    for name, array in net.state_dict().items():
        assert np.array_equal(array, arrays[name]), name


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (np.zeros((3, 4)), "single array"),
        (np.array([1, None], object), "not hold a dict"),
        (np.array({"a": 1}, object), "has no arrays"),
        (np.array({"a": np.array(["x"])}, object), "plain numbers"),
    ],
)
def test_other_npy_files_are_refused(tmp_path, content, match):
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    with pytest.raises(UserError, match=match):
        weights.load(tmp_path / "a.npy")


# Bounds ---------------------------------------------------------------------------------------------------------------


def nested(levels, entries):
    """Return a dict of ``entries`` keys, all of whose values are one dict, and so on: few objects at many places."""
    inner = {}
    for _ in range(levels):
        inner = dict.fromkeys(range(entries), inner)
    return inner


def wide_module():
    """Return a module whose many children are one module, with many attributes."""
    child, parent = nn.ReLU(), nn.Sequential()
    child._buffers = dict.fromkeys(map(str, range(2000)))
    parent._modules = dict.fromkeys(map(str, range(2000)), child)
    return parent


@pytest.mark.parametrize("content", [lambda: nested(3, 2000), wide_module], ids=["dicts", "module"])
def test_one_object_at_many_places_takes_bounded_time(tmp_path, content):
    with pytest.raises(UserError, match="would have to be looked at"):
        weights.load(saved(tmp_path, content()))


def test_one_dict_at_many_places_of_an_npy_takes_bounded_time(tmp_path):
    np.save(tmp_path / "a.npy", nested(3, 2000))
    with pytest.raises(UserError, match="more than 100000 entries"):
        weights.load(tmp_path / "a.npy")


@pytest.mark.parametrize("count", [20, 1_200, 1_300])
def test_many_layers_with_long_names_take_bounded_time(count):
    """Splitting these names at every dot, and joining the parts again, would take minutes."""
    weight, matrix = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1), np.float32)
    start = "a." * 480
    state = {f"{start}{i // 8:05}.{i % 8}.weight": matrix if i % 8 > 4 else weight for i in range(8 * count)}
    with pytest.raises(UserError, match="networks; save one|does not fit"):
        resolve.variant(resolve.load(state), None, None, {}, 1)
