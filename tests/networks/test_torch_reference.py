"""The PyTorch reference against independent constructions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fastalex import variants
from fastalex.errors import UserError
from fastalex.weights import initial

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional

from fastalex.networks import torch_reference  # noqa: E402

pytestmark = pytest.mark.peers

NARROW = (8, 16, 24, 24, 16, 32, 32)
EXACT = {"rtol": 1e-12, "atol": 1e-14}  # both sides in float64, the same sums in another order


def narrow(name, **overrides):
    return variants.get(name, widths=NARROW, num_classes=5, **overrides)


def images(size, count=2, seed=0):
    return torch.randn(count, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(got, expected, **tolerance):
    assert expected.abs().max() > 1e-3, "the expected output must not be tiny"
    torch.testing.assert_close(got, expected, **(tolerance or EXACT))


def built(row, seed=1):
    model = torch_reference.build(row, dtype=torch.float64).eval()
    torch_reference.load(model, initial.random_weights(row, seed))
    return model


def test_importing_the_module_imports_no_torch():
    code = "import sys, fastalex.networks.torch_reference, fastalex.weights.initial; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_state_dict_has_the_names_and_shapes_of_the_table(name):
    with torch.device("meta"):  # full size without the memory
        model = torch_reference.build(name)
    assert [(key, tuple(value.shape)) for key, value in model.state_dict().items()] == list(
        variants.get(name).parameter_shapes().items()
    )
    assert sum(parameter.numel() for parameter in model.parameters()) == variants.get(name).params


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_output_has_the_shape_of_the_table(name):
    row = narrow(name)
    model = built(row)
    shapes = []
    for path in model.order:
        model.get_submodule(path).register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        model(images(row.input_size, 1))
    assert shapes == [layer.out_shape for layer in row.layers()]


def torchvision_by_hand():
    """torchvision's module tree, written out."""
    model = nn.Module()
    model.features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
    model.avgpool = nn.AdaptiveAvgPool2d((6, 6))
    model.classifier = nn.Sequential(
        nn.Dropout(),
        nn.Linear(9216, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, 1000),
    )
    return model


@pytest.mark.slow
def test_torchvision_against_its_tree_written_by_hand():
    by_hand = torchvision_by_hand().eval()
    ours = torch_reference.build("torchvision").eval()
    ours.load_state_dict(by_hand.state_dict())  # strict: the same keys both ways
    by_hand.load_state_dict(ours.state_dict())
    ours.load_state_dict(by_hand.state_dict(), assign=True)  # one copy of the 244 MB
    for size in (63, 224):
        x = images(size, 1).float()
        with torch.no_grad():
            expected = by_hand.classifier(by_hand.avgpool(by_hand.features(x)).flatten(1))
            close(ours(x), expected, rtol=0, atol=0)  # the same operations in the same order


def test_paper_network_as_two_separate_columns():
    """Two columns computed apart, meeting where section 3.5 of the paper lets them: at conv3 and the fc layers."""
    row = narrow("alexnet2012")
    weights = {name: torch.from_numpy(array).double() for name, array in initial.random_weights(row, 3).items()}

    def half(name, column, x, **options):
        weight, bias = (tensor.chunk(2)[column] for tensor in (weights[name + ".weight"], weights[name + ".bias"]))
        return functional.relu(functional.conv2d(x, weight, bias, **options))

    def normalize_and_pool(x):
        return functional.max_pool2d(functional.local_response_norm(x, 5, 1e-4, 0.75, 2.0), 3, 2)

    x = images(227)
    first = [normalize_and_pool(half("conv1", column, x, stride=4)) for column in (0, 1)]
    second = [normalize_and_pool(half("conv2", column, first[column], padding=2)) for column in (0, 1)]
    third = [half("conv3", column, torch.cat(second, 1), padding=1) for column in (0, 1)]
    fourth = [half("conv4", column, third[column], padding=1) for column in (0, 1)]
    fifth = [functional.max_pool2d(half("conv5", column, fourth[column], padding=1), 3, 2) for column in (0, 1)]
    y = torch.cat(fifth, 1).flatten(1)
    for name in ("fc6", "fc7", "fc8"):
        y = functional.linear(y, weights[name + ".weight"], weights[name + ".bias"])
        y = functional.relu(y) if name != "fc8" else y
    with torch.no_grad():
        close(built(row, 3)(x), y)


def test_original_network_by_hand():
    """LRN before pool and ReLU, spatial normalization, and the rounding up of configuration 145, step by step."""
    row = narrow("alexnet2012-original")
    weights = {name: torch.from_numpy(array).double() for name, array in initial.random_weights(row, 4).items()}

    def conv(name, x, **options):
        return functional.conv2d(x, weights[name + ".weight"], weights[name + ".bias"], **options)

    def columns(x):
        return torch.cat([functional.local_response_norm(part, 5, 1e-4, 0.75, 2.0) for part in x.chunk(2, 1)], 1)

    def pool(x):
        return functional.max_pool2d(x, 3, 2, ceil_mode=True)

    x = functional.pad(images(224), (0, 3, 0, 3))  # 224 rounded up reaches as far as 227
    y = functional.relu(pool(columns(conv("conv1", x, stride=4))))
    y = columns(functional.relu(conv("conv2", y, padding=2, groups=2)))
    y = pool(literal_spatial_norm(y, 5, 1e-3 / 25, 0.75, 1.0))
    y = functional.relu(conv("conv3", y, padding=1))
    y = functional.relu(conv("conv4", y, padding=1, groups=2))
    y = functional.relu(pool(conv("conv5", y, padding=1, groups=2))).flatten(1)
    for name in ("fc6", "fc7"):
        y = functional.relu(functional.linear(y, weights[name + ".weight"], weights[name + ".bias"]))
    y = functional.linear(y, weights["fc8.weight"], weights["fc8.bias"])
    with torch.no_grad():
        close(built(row, 4)(images(224)), y)


def literal_lrn(x, size, alpha, beta, k):
    """The formula, a loop over the channels."""
    y, channels = torch.empty_like(x), x.shape[1]
    for c in range(channels):
        window = range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1))
        total = sum(x[:, other] ** 2 for other in window)
        y[:, c] = x[:, c] / (k + alpha * total) ** beta
    return y


def literal_spatial_norm(x, size, alpha, beta, k):
    """The formula, a loop over the positions."""
    y, (height, width) = torch.empty_like(x), x.shape[2:]
    for row in range(height):
        for column in range(width):
            top, left = max(0, row - size // 2), max(0, column - size // 2)
            window = x[:, :, top : row + (size - 1) // 2 + 1, left : column + (size - 1) // 2 + 1]
            total = (window**2).sum((2, 3))
            y[:, :, row, column] = x[:, :, row, column] / (k + alpha * total) ** beta
    return y


LRN_CASES = [(5, 1e-4, 0.75, 2.0), (5, 1.0, 0.75, 1.0), (3, 0.5, 0.5, 2.0), (4, 0.5, 0.75, 1.0), (1, 2.0, 1.0, 1.0)]


@pytest.mark.parametrize(("size", "alpha", "beta", "k"), [*LRN_CASES, (9, 0.3, 0.75, 1.0)])
def test_lrn_against_torch_and_the_formula(size, alpha, beta, k):
    x = images(7)[:, :1].repeat(1, 6, 1, 1) * torch.arange(1.0, 7.0).reshape(1, 6, 1, 1)
    got = torch_reference.lrn(x, size, alpha, beta, k)
    close(got, nn.LocalResponseNorm(size, alpha * size, beta, k)(x))
    close(got, literal_lrn(x, size, alpha, beta, k))
    assert not torch.allclose(got, x / k**beta, rtol=1e-5)  # the window must matter


@pytest.mark.parametrize(("size", "alpha", "beta", "k"), LRN_CASES)
def test_lrn_in_two_columns_is_lrn_of_two_halves(size, alpha, beta, k):
    x = torch.randn(2, 12, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 3
    got = torch_reference.lrn(x, size, alpha, beta, k, groups=2)
    close(got, torch.cat([literal_lrn(half, size, alpha, beta, k) for half in x.chunk(2, 1)], 1))
    if size > 1:
        assert not torch.allclose(got, torch_reference.lrn(x, size, alpha, beta, k), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 9])
def test_spatial_norm_against_the_formula(size):
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    got = torch_reference.spatial_norm(x, size, 0.4, 0.75, 1.0)
    close(got, literal_spatial_norm(x, size, 0.4, 0.75, 1.0))


@pytest.mark.parametrize("size", [221, 223, 224, 225, 226, 227])
def test_rounding_up_is_padding_with_zeros_at_the_right_and_bottom(size):
    row = narrow("alexnet2012-original", adaptive_pool=6)
    model = built(row)
    x = images(size, 1)
    extra = -(size - 11) % 4
    conv1 = model.get_submodule("conv1")
    expected = functional.conv2d(functional.pad(x, (0, extra, 0, extra)), conv1.weight, conv1.bias, stride=4)
    with torch.no_grad():
        assert expected.shape[-1] == -(-(size - 11) // 4) + 1
        close(conv1(x), expected)
        close(model(x), model(functional.pad(x, (0, extra, 0, extra))))


def test_rounding_up_of_a_pool_ignores_what_is_outside():
    row = narrow("bvlc_alexnet", adaptive_pool=6)
    pool = built(row).get_submodule("pool1")
    x = -images(6)[:, :, :, :].abs() - 1  # negative: a padding zero would win
    padded = functional.pad(x, (0, 1, 0, 1), value=-float("inf"))
    close(pool(x), functional.max_pool2d(padded, 3, 2))


def test_tanh_takes_the_place_of_relu():
    row = narrow("torchvision", activation="tanh")
    relu, tanh = built(narrow("torchvision")), built(row)
    x = images(67)
    with torch.no_grad():
        close(tanh.get_submodule("features.1")(x), torch.tanh(x))
        assert not torch.allclose(relu(x), tanh(x))


def test_dropout_acts_in_training_only():
    model = built(narrow("alexnet2012"))
    x = images(227)
    torch.manual_seed(0)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize("name", ["alexnet2012-original", "torchvision"])
def test_gradients_reach_every_parameter(name):
    row = narrow(name)
    model = built(row).train()
    torch.manual_seed(0)
    functional.cross_entropy(model(images(row.input_size)), torch.tensor([1, 2])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


def test_gradient_of_the_normalizations_against_differences():
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: torch_reference.lrn(x, 3, 0.5, 0.75, 2.0, groups=2), (x,))
    assert torch.autograd.gradcheck(lambda x: torch_reference.spatial_norm(x, 3, 0.5, 0.75, 1.0), (x,))


def test_load_and_arrays_of_are_inverse():
    row = narrow("caffenet")
    arrays = initial.random_weights(row, 9)
    model = torch_reference.build(row)
    torch_reference.load(model, arrays)
    back = torch_reference.arrays_of(model)
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == np.float32
        assert np.array_equal(back[name], array)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda arrays: arrays.pop("fc7.bias"), r"lack.*fc7\.bias"),
        (lambda arrays: arrays.update(fc9=np.zeros(3)), "fc9"),
        (lambda arrays: arrays.update({"conv1.weight": np.zeros((8, 3, 11, 10))}), r"conv1\.weight.*\(8, 3, 11, 10\)"),
    ],
)
def test_load_names_what_does_not_fit(change, match):
    row = narrow("alexnet2012")
    arrays = initial.random_weights(row)
    change(arrays)
    model = torch_reference.build(row)
    before = torch_reference.arrays_of(model)
    with pytest.raises(UserError, match=match):
        torch_reference.load(model, arrays)
    after = torch_reference.arrays_of(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)  # nothing is partly loaded


def test_build_takes_overrides_and_refuses_unknown_ones():
    assert torch_reference.build("alexnet-digits", num_classes=3)(images(131).float()).shape == (2, 3)
    with pytest.raises(UserError, match="'classes'"):
        torch_reference.build("alexnet-digits", classes=3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_normalizations_of_16_bits_do_not_overflow(dtype):
    """Squares of 1000 are beyond fp16; the result is that of float32, rounded once."""
    x = (1000 * torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))).to(dtype)
    constants = {"size": 5, "alpha": 2e-5, "beta": 0.75, "k": 2.0}
    for function in (torch_reference.lrn, torch_reference.spatial_norm):
        found = function(x, **constants)
        assert found.dtype == dtype
        assert torch.equal(found, function(x.float(), **constants).to(dtype))
        assert found.isfinite().all() and found.abs().max() > 10
