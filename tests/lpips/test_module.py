"""LPIPS as a module of PyTorch, next to the module of the package lpips."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch

from fastalex import UserError
from tests.lpips.test_lpips import ARRAYS, images, make, noisy
from tests.support import originals

pytestmark = pytest.mark.peers

U = 2.0**-24
SIZE = (40, 48)
CONVOLUTIONS = ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10")
NAMES = ["scaling_layer.shift", "scaling_layer.scale"]
NAMES += [f"net.{name}.{leaf}" for name in CONVOLUTIONS for leaf in ("weight", "bias")]
NAMES += [f"{group}{k}.model.1.weight" for group in ("lin", "lins.") for k in range(5)]
HAVE = originals.installed("lpips")


@pytest.fixture(scope="module", autouse=True)
def no_stand_in_afterwards():
    yield
    originals.forget()


@pytest.fixture
def module():
    return make(range_check="off", exact=True).module()


@pytest.fixture(scope="module")
def theirs():
    return originals.lpips(ARRAYS).double()


def pair(count=1):
    a = images(count, *SIZE)
    return torch.from_numpy(a), torch.from_numpy(noisy(a))


def names(found):
    return [name for name, _ in found]


def test_making_a_module_draws_no_random_numbers():
    metric, before = make(), torch.get_rng_state()
    metric.module()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_has_the_names_of_the_package(module):
    assert list(module.state_dict()) == NAMES
    assert names(module.named_buffers()) == NAMES[:2]
    assert names(module.named_parameters()) == NAMES[2:17]
    assert "lin0.model.1.weight" not in make(lpips=False).module().state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"lpips": False}, {"version": "0.0"}] if HAVE else [])
def test_the_modules_are_those_of_the_package_and_take_its_state(options):
    theirs = originals.lpips(ARRAYS, **options)
    module = make(heads=None, exact=True, **options).module()
    for kind in ("named_modules", "named_parameters", "named_buffers"):
        assert names(getattr(module, kind)()) == names(getattr(theirs, kind)())
    for (name, mine), (other, right) in zip(module.state_dict().items(), theirs.state_dict().items()):
        assert name == other and mine.dtype == right.dtype
        torch.testing.assert_close(mine, right, rtol=0, atol=0)
    torch.manual_seed(1)
    state = {name: value * (1 + torch.rand_like(value) / 4) for name, value in theirs.state_dict().items()}
    for k in range(0 if "lpips" in options else 5):
        state[f"lins.{k}.model.1.weight"] = state[f"lin{k}.model.1.weight"]
    for one in (module, theirs):
        one.load_state_dict(state)
        one.double()
    a, b = (x.double() for x in pair(2))
    with torch.no_grad():
        (value, layers), (right, rights) = (one(a, b, retPerLayer=True) for one in (module, theirs))
    for mine, other in zip([value, *layers], [right, *rights]):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=0)
    theirs.load_state_dict(module.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("trains", [True] if HAVE else [])
def test_gradients_of_weights_are_those_of_the_package(theirs, trains):
    module = make(heads=None, exact=True).module().double().requires_grad_(trains)
    theirs = copy.deepcopy(theirs).requires_grad_(trains)
    a, b = (x.double() for x in pair())
    for one in (module, theirs):
        one(a, b).sum().backward()
    right = dict(theirs.named_parameters())
    for name, parameter in module.named_parameters():
        scale = right[name].grad.abs().max()
        assert scale > 0
        torch.testing.assert_close(parameter.grad, right[name].grad, rtol=0, atol=1e-9 * float(scale))


@pytest.mark.slow
def test_in_a_model_it_is_a_part_that_is_not_trained(module):
    model = torch.nn.ModuleList([torch.nn.Linear(2, 2), module]).train()
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["0.weight", "0.bias"]
    a, b = pair()
    values = {float(module(a, b)) for _ in range(3)}  # the package's dropout would change them
    assert values == {float(module.eval()(a, b))}
    assert [name for name in model.state_dict() if name.startswith("1.")] == ["1." + name for name in NAMES]
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = torch.nn.ModuleList(
        [torch.nn.Linear(2, 2), make(heads=other_heads(), range_check="off", exact=True).module()]
    )
    assert float(other[1](a, b)) not in values
    other.load_state_dict(torch.load(file))
    assert float(other[1](a, b)) in values


def other_heads():
    return {
        f"lin{k}.model.1.weight": np.full((1, count, 1, 1), 0.5) for k, count in enumerate((64, 192, 384, 256, 256))
    }


def test_hooks_see_the_features(module):
    seen = {}
    for name in ("net", "net.slice3", "net.slice2.3", "lin2", "lin2.model.1"):
        module.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.setdefault(name, []).append(output)
        )
    a, b = pair()
    value, layers = module(a, b, retPerLayer=True)
    assert {name: len(outputs) for name, outputs in seen.items()} == {
        "net": 2,
        "net.slice3": 2,
        "net.slice2.3": 2,
        "lin2": 1,
        "lin2.model.1": 1,
    }
    assert seen["net"][0]._fields == ("relu1", "relu2", "relu3", "relu4", "relu5")
    assert seen["net"][0].relu3 is seen["net.slice3"][0]
    assert (seen["net.slice2.3"][0] < 0).any()  # before its ReLU, which does not work in place
    torch.testing.assert_close(seen["lin2"][0].mean((2, 3), keepdim=True), layers[2], rtol=0, atol=0)
    stop = module.net.slice3.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyError))
    with pytest.raises(KeyError):
        module(a, b)
    stop.remove()
    torch.testing.assert_close(module(a, b), value, rtol=0, atol=0)


@pytest.mark.parametrize(("convert", "digits"), [("half", 11), ("bfloat16", 8)])
def test_lower_precision_is_that_of_weights_and_convolutions(module, convert, digits):
    """Distances stay float32. Weights and convolutions have ``digits`` binary digits: five layers, the scaling, the
    heads and the weights round, each passed on to a distance of about the features' own size."""
    a, b = pair()
    right = module(a, b)
    lowered = getattr(copy.deepcopy(module), convert)()
    assert {tensor.dtype for tensor in lowered.state_dict().values()} == {getattr(torch, convert, torch.float16)}
    got = lowered(getattr(a, convert)(), getattr(b, convert)())
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(float(right), rel=16 * 2.0**-digits)


def test_features_of_other_convolutions_are_refused():
    metric = make(range_check="off", exact=True)
    module, (a, b) = metric.module(), pair()
    features, expected = metric.features(b), float(module(a, b))
    state = module.state_dict()
    module.load_state_dict(state)  # the same
    module.load_state_dict({name: 2 * value if name.startswith("lin") else value for name, value in state.items()})
    assert float(module(a, features)) == pytest.approx(2 * expected, rel=64 * U)
    assert float(metric(a, b)) == pytest.approx(expected, rel=64 * U)  # the module's weights are copies
    holder = torch.nn.ModuleList([module])
    holder.load_state_dict({"0." + name: 2 * value if "net" in name else value for name, value in state.items()})
    with pytest.raises(UserError, match="another metric"):
        module(a, features)


@pytest.mark.parametrize("entry", [[0.0], np.zeros(64, np.float32)])
def test_an_entry_that_is_no_tensor_gives_pytorchs_own_message(module, entry):
    name = "net.slice1.0.bias"
    with pytest.raises(RuntimeError, match=f'"{name}", expected torch.Tensor or Tensor-like object'):
        module.load_state_dict({**module.state_dict(), name: entry})


def test_gray_images_and_bytes(module):
    bytes_ = [torch.from_numpy(np.random.default_rng(s).integers(0, 256, (1, 3, *SIZE), np.uint8)) for s in (0, 1)]
    a, b = (x / 127.5 - 1 for x in bytes_)
    assert float(module(*bytes_)) == pytest.approx(float(module(a, b)), rel=64 * U)
    gray = a[:, :1]
    torch.testing.assert_close(module(gray, b), module(gray.repeat(1, 3, 1, 1), b), rtol=64 * U, atol=0)
