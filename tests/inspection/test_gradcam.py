"""Grad-CAM without PyTorch: against PyTorch's autograd, for every variant and activation, ties of a pool included."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastalex import AlexNet, UserError
from fastalex.inspection import backward, gradcam
from fastalex.networks import torch_reference
from fastalex.networks.architecture import module_paths
from fastalex.networks.layers import Layer
from fastalex.variants import VARIANTS

pytestmark = pytest.mark.peers

NARROW = {"num_classes": 5, "widths": (8, 12, 8, 12, 8, 16, 12)}
LRN_LAST = ("conv act lrn pool", "conv act lrn pool", "conv act", "conv act", "conv act lrn pool")
SPATIAL_LAST = ("conv lrn pool act", "conv act lrn pool", "conv act", "conv act", "conv spatial_norm act pool")
CASES = [
    *[(name, {}) for name in VARIANTS],
    ("alexnet2012", {"blocks": LRN_LAST}),
    ("alexnet2012-original", {"blocks": SPATIAL_LAST}),
    ("torchvision", {"activation": "tanh"}),
    ("torchvision", {"activation": "sigmoid", "adaptive_pool": 4}),
    ("caffenet", {"activation": "leaky_relu(0.1)", "output": "softmax"}),
]


def picture_for(net, seed=0):
    size = net.variant.input_size
    return np.random.default_rng(seed).standard_normal((1, 3, size, size), np.float32)


def by_autograd(net, x, layers, index):
    """Return, for each of ``layers``, the gradient of a logit with respect to its result, and that result."""
    model = torch_reference.build(net.variant)
    torch_reference.load(model, net.state_dict())
    paths = {row.name: path for path, row in module_paths(net.variant)}
    modules, kept = dict(model.named_modules()), {}

    def keep(name):
        def hook(module, inputs, output):
            if output.requires_grad:
                output.retain_grad()
            kept[name] = output

        return hook

    for name in (*layers, "fc8"):
        modules[paths[name]].register_forward_hook(keep(name))
    model.eval()(torch.from_numpy(x))
    kept["fc8"][0, index].backward()
    return {name: (kept[name].grad[0].numpy(), kept[name].detach()[0].numpy()) for name in layers}


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_the_gradient_is_that_of_autograd(name, changes):
    net = AlexNet(name, device="cpu", **{**NARROW, **changes})
    x = picture_for(net)
    layers = gradcam.layers(net.variant)
    assert layers[0] == "conv5" and len(layers) >= 3
    for layer, (expected, values) in by_autograd(net, x, layers, 3).items():
        gradient, maps, _, _ = gradcam.gradient_of(net, x, 3, layer)
        # The engine's forward results differ from PyTorch's by rounding, which the gradient's factors pass on.
        assert np.abs(maps - values).max() <= 1e-4 * np.abs(values).max()
        assert np.abs(gradient - expected).max() <= 1e-4 * np.abs(expected).max()
        assert np.abs(expected).max() > 0


def test_the_map_is_the_weighted_sum_that_the_paper_defines():
    net = AlexNet(weights="digits", device="cpu")
    x = picture_for(net)
    found = gradcam.gradcam(net, x)
    assert found.index == int(net(x).argmax()) and found.layer == "relu5"
    gradient, values = by_autograd(net, x, ["relu5"], found.index)["relu5"]
    expected = sum(weight * channel for weight, channel in zip(gradient.mean(axis=(1, 2)), values))
    np.testing.assert_allclose(found.raw, expected, atol=1e-4 * np.abs(expected).max())
    assert found.heat.min() == 0 and found.heat.max() == 1
    np.testing.assert_allclose(found.heat, expected.clip(0) / expected.max(), atol=1e-3)


def test_the_network_is_not_copied():
    net = AlexNet(weights="digits", device="cpu")
    x = picture_for(net)
    gradcam.gradcam(net, x)  # what is made once
    whole = sum(array.nbytes for array in net.state_dict().values())
    tracemalloc.start()
    gradcam.gradcam(net, x)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < whole, (most, whole)


@pytest.mark.parametrize(("kernel", "side", "ceil"), [(3, 9, False), (3, 8, False), (3, 8, True), (2, 7, True)])
def test_a_pool_gives_the_gradient_to_the_first_of_equal_values(kernel, side, ceil):
    generator = np.random.default_rng(side)
    x = generator.integers(0, 3, (4, side, side)).astype(np.float32)  # nearly every window has ties
    tensor = torch.from_numpy(x).requires_grad_()
    result = F.max_pool2d(tensor, kernel, 2, ceil_mode=ceil)
    gradient = generator.standard_normal(result.shape).astype(np.float32)
    result.backward(torch.from_numpy(gradient))
    layer = Layer("maxpool", "pool", x.shape, tuple(result.shape), {"kernel": kernel, "stride": 2})
    np.testing.assert_array_equal(backward.through(layer, gradient, x, {}), tensor.grad.numpy())


@pytest.mark.parametrize("sides", [((7, 9), (6, 6)), ((13, 13), (6, 6)), ((3, 2), (6, 4))])
def test_an_adaptive_pool_spreads_the_gradient_over_its_windows(sides):
    before, after = sides
    x = np.zeros((2, *before), np.float32)
    tensor = torch.from_numpy(x).requires_grad_()
    gradient = np.random.default_rng(1).standard_normal((2, *after)).astype(np.float32)
    F.adaptive_avg_pool2d(tensor, after).backward(torch.from_numpy(gradient))
    layer = Layer("adaptive_avgpool", "avgpool", x.shape, gradient.shape)
    np.testing.assert_allclose(backward.through(layer, gradient, x, {}), tensor.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("op", "options"),
    [
        ("lrn", {"size": 5, "alpha": 0.3, "beta": 0.75, "k": 2.0, "groups": 1}),
        ("lrn", {"size": 3, "alpha": 0.3, "beta": 1.5, "k": 1.0, "groups": 2}),
        ("spatial_norm", {"size": 3, "alpha": 0.3, "beta": 0.75, "k": 1.0}),
    ],
)
def test_normalization_spreads_the_gradient_over_its_neighbors(op, options):
    """With constants far larger than the family's, whose terms between neighbors would hide in the rounding."""
    generator = np.random.default_rng(4)
    x, gradient = (generator.standard_normal((8, 5, 6)).astype(np.float32) for _ in range(2))
    tensor = torch.from_numpy(x).double()[None].requires_grad_()
    getattr(torch_reference, op)(tensor, **options).backward(torch.from_numpy(gradient).double()[None])
    found = backward.through(Layer(op, "norm", x.shape, x.shape, options), gradient, x, {})
    np.testing.assert_allclose(found, tensor.grad[0].numpy(), rtol=1e-5, atol=1e-6)


def test_nothing_that_speaks_for_a_class_is_a_map_of_zeros():
    assert gradcam.Cam(np.full((2, 2), -1, np.float32), 0, "relu5").heat.tolist() == [[0, 0], [0, 0]]


def test_mistakes_are_one_sentence():
    net = AlexNet(weights="digits", device="cpu")
    x = picture_for(net)
    with pytest.raises(UserError, match="there is no class 10; the numbers go from 0 to 9"):
        gradcam.gradcam(net, x, 10)
    with pytest.raises(UserError, match="made of the maps behind the last convolution: conv5, relu5, pool5, not conv4"):
        gradcam.gradcam(net, x, layer="conv4")
    with pytest.raises(UserError, match="has no layer 'conv9'"):
        gradcam.gradcam(net, x, layer="conv9")
    with pytest.raises(UserError, match="give one image, not 2"):
        gradcam.gradcam(net, np.concatenate([x, x]))
    with pytest.raises(UserError, match="NaN or infinity"):
        gradcam.gradcam(net, np.full_like(x, np.nan))
