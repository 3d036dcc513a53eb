"""Layers read out by name: every name of every variant against a hook on the PyTorch reference."""

from __future__ import annotations

import numpy as np
import pytest

from fastalex import VARIANTS, AlexNet, UserError
from fastalex.networks import taps
from fastalex.networks.architecture import module_paths
from fastalex.variants import get
from fastalex.weights import initial
from tests.support.tool_layers import BRAIN_SCORE, BRAIN_SCORE_CONVS, LPIPS, NET2BRAIN, THINGSVISION

NARROW = (16, 32, 48, 48, 32, 64, 64)
U = 2.0**-24


def hooked(row, arrays, x, dtype_name="float64"):
    """Outputs from cloning hooks, float64, by layer name and by module path."""
    torch = pytest.importorskip("torch")
    from fastalex.networks import torch_reference

    model = torch_reference.build(row, dtype=getattr(torch, dtype_name)).eval()
    torch_reference.load(model, arrays)
    seen = {}

    def keep(*names):
        def hook(module, inputs, output):
            for name in names:
                seen[name] = output.detach().clone().double().numpy()

        return hook

    for path, layer in module_paths(row):
        model.get_submodule(path).register_forward_hook(keep(path, layer.name))
    with torch.no_grad():
        logits = model(torch.from_numpy(x).to(getattr(torch, dtype_name)))
        seen["logits"] = logits.double().numpy()
        seen["prob"] = torch.softmax(logits, 1).double().numpy()
    return seen


@pytest.mark.peers
@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_layer_is_what_a_hook_sees(name):
    row = get(name, widths=NARROW, num_classes=11)
    arrays = initial.random_weights(row)
    x = 10 * np.random.default_rng(0).standard_normal((2, 3, row.input_size, row.input_size), dtype=np.float32)
    exact, single = hooked(row, arrays, x), hooked(row, arrays, x, "float32")
    net = AlexNet(row, weights=arrays, device="cpu", exact=True)
    got = net.taps(x, list(exact))
    assert list(got) == list(exact)
    for layer, expected in exact.items():
        scale = np.abs(expected).max()
        shape = expected.shape
        assert scale > 0, layer
        if layer == "classifier.0":  # torchvision flattens before its first dropout, the reference after it
            shape = (2, 1152)
        assert got[layer].shape == shape, layer
        allowed = 2 * np.abs(single[layer] - expected).max() + 4 * U * scale
        assert np.abs(got[layer] - expected.reshape(shape)).max() <= allowed, layer


def test_a_tap_changes_nothing_else():
    net = AlexNet("alexnet-digits", device="cpu")
    x = np.random.default_rng(1).standard_normal((2, 3, 131, 131), dtype=np.float32)
    everything = net.taps(x, list(taps.names(net.variant)))
    np.testing.assert_array_equal(everything["logits"], net(x))
    np.testing.assert_array_equal(everything["prob"], net.predict_proba(x))
    for name, expected in everything.items():
        np.testing.assert_array_equal(net.taps(x, [name])[name], expected, err_msg=name)


def test_before_and_after_the_activation():
    x = np.random.default_rng(1).standard_normal((1, 3, 131, 131), dtype=np.float32)
    got = AlexNet("alexnet-digits", device="cpu").taps(
        x, ["conv5", "relu5", "conv5.pre", "conv5.post", "blob:conv5", "fc7", "fc7.post"]
    )
    assert (got["conv5"] < 0).any()
    np.testing.assert_array_equal(np.maximum(got["conv5"], 0), got["relu5"])
    np.testing.assert_array_equal(got["conv5.pre"], got["conv5"])
    np.testing.assert_array_equal(got["conv5.post"], got["relu5"])
    np.testing.assert_array_equal(got["blob:conv5"], got["relu5"])
    np.testing.assert_array_equal(np.maximum(got["fc7"], 0), got["fc7.post"])


def test_the_names_of_other_tools():
    row = get("torchvision", widths=NARROW)
    net = AlexNet(row, device="cpu")
    x = np.random.default_rng(1).standard_normal((1, 3, 224, 224), dtype=np.float32)
    names = list(dict.fromkeys(BRAIN_SCORE + BRAIN_SCORE_CONVS + THINGSVISION + NET2BRAIN + LPIPS))
    got = net.taps(x, names)
    channels = {"features.0": 16, "features.3": 32, "features.6": 48, "features.8": 48, "features.10": 32}
    for name, count in channels.items():
        assert got[name].shape[1] == count
        assert (got[name] < 0).any(), name  # before the ReLU
    for name, shape in {"features.2": (1, 16, 27, 27), "features.12": (1, 32, 6, 6), "classifier.5": (1, 64)}.items():
        assert got[name].shape == shape
        assert (got[name] >= 0).all(), name
    # Caffe's blobs, for networks with Caffe's names
    caffe = AlexNet("caffenet", device="cpu", widths=NARROW)
    y = np.random.default_rng(1).standard_normal((1, 3, 227, 227), dtype=np.float32)
    got = caffe.taps(y, ["blob:conv1", "pool1", "norm1", "blob:fc6", "fc8", "prob"])
    assert (got["blob:conv1"] >= 0).all()
    assert got["norm1"].shape == got["pool1"].shape
    np.testing.assert_allclose(got["prob"].sum(), 1, rtol=1e-5)


def test_the_network_runs_no_further_than_the_last_tap():
    """A small image has no fc6, but its first layers can be read out."""
    net = AlexNet("alexnet-digits", device="cpu")
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 80), dtype=np.float32)
    with pytest.raises(UserError, match="64 x 80.*pool5"):
        net(x)
    assert net.taps(x, ["pool1", "conv3"])["conv3"].shape[:2] == (1, 96)
    with pytest.raises(UserError, match="too small.*pool5"):
        net.taps(x, ["fc6"])
    x = np.zeros((1, 3, 131, 170), np.float32)
    with pytest.raises(UserError, match="3 x 4.*3 x 3"):
        net.taps(x, ["fc6"])


@pytest.mark.peers
def test_images_and_tensors():
    torch = pytest.importorskip("torch")
    net = AlexNet(weights="digits")
    x = np.random.default_rng(1).standard_normal((1, 3, 131, 131), dtype=np.float32)
    got = net.taps(torch.from_numpy(x), ["conv1", "fc8"])
    assert isinstance(got["conv1"], torch.Tensor)
    np.testing.assert_array_equal(got["fc8"].numpy(), net(x))
    image = np.zeros((8, 8, 3), np.uint8)
    np.testing.assert_array_equal(net.taps(image, ["fc8"])["fc8"], net(net.preprocess(image)))


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["conv9"], "'conv9'.*mean 'conv"),
        (["features.0"], r"'features\.0'"),
        ([], r"names.*\[\]"),
        ("conv1", "names.*'conv1'"),
        ([["fc7"]], "has no layer"),
    ],
)
def test_a_wrong_name_is_one_sentence(names, match):
    with pytest.raises(UserError, match=match) as error:
        AlexNet("alexnet-digits").taps(np.zeros((1, 3, 131, 131), np.float32), names)
    assert "\n" not in str(error.value)
