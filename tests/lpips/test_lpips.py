"""LPIPS against its definition in PyTorch's float64 and, where they are installed, against the original packages.

The convolutions are random, since published ones cannot be downloaded everywhere; the arithmetic is the same. The
heads are also random where the packages are not installed.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from fastalex import LPIPS, AlexNet, UserError, variants, weights
from fastalex.cli.main import main
from fastalex.lpips import CONVENTIONS, Features, heads, inputs
from fastalex.lpips.geometry import Geometry
from fastalex.weights import initial
from tests.support import originals

pytestmark = pytest.mark.peers

ROOT = Path(__file__).resolve().parents[2]
U = 2.0**-24
CHANNELS = (64, 192, 384, 256, 256)
ROW = variants.get("torchvision")
SHAPES = {name: shape for layer in ROW.layers() if layer.op == "conv" for name, shape in layer.param_shapes.items()}
ARRAYS = initial.random_arrays(SHAPES, seed=3)
_GENERATOR = np.random.default_rng(5)
HEADS = {
    heads.NAME % k: np.maximum(_GENERATOR.standard_normal((1, count, 1, 1)), 0).astype(np.float32) / 16
    for k, count in enumerate(CHANNELS)
}
SIZE = (96, 118)


def images(count=1, height=SIZE[0], width=SIZE[1], seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, height, width)).astype(np.float32)


def noisy(x, seed=9):
    return np.clip(x + 0.3 * np.random.default_rng(seed).standard_normal(x.shape), -1, 1).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def no_stand_in_afterwards():
    yield
    originals.forget()


@pytest.fixture(scope="module")
def metric():
    return LPIPS(weights=ARRAYS, heads=HEADS, device="cpu")


def make(**options):
    options.setdefault("heads", HEADS)
    return LPIPS(weights=ARRAYS, device="cpu", **options)


# The definition -------------------------------------------------------------------------------------------------------


def trunk_of(x, dtype):
    """The five maps; the layers are repeated here, from lpips/pretrained_networks.py."""
    found = []
    for index, (stride, pad, pool) in enumerate(((4, 2, 0), (1, 2, 1), (1, 1, 1), (1, 1, 0), (1, 1, 0))):
        name = f"features.{(0, 3, 6, 8, 10)[index]}"
        w, b = (torch.from_numpy(np.array(ARRAYS[name + leaf])).to(dtype) for leaf in (".weight", ".bias"))
        x = F.max_pool2d(x, 3, 2) if pool else x
        x = F.relu(F.conv2d(x, w, b, stride, pad))
        found.append(x)
    return found


def defined(a, b, dtype=torch.float64, version="0.1", eps="lpips", spatial=False, ones=False, given=HEADS):
    """[value, one of each layer] as float64, every step in ``dtype``; images in [-1, 1]."""
    found = []
    for x in (a, b):
        x = torch.from_numpy(np.asarray(x, np.float32)).to(dtype)
        if version == "0.1":
            shift, scale = ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450])
            x = (x - torch.tensor(shift, dtype=dtype)[:, None, None]) / torch.tensor(scale, dtype=dtype)[:, None, None]
        found.append([unit(maps, eps) for maps in trunk_of(x, dtype)])
    layers = []
    for k, (one, two) in enumerate(zip(*found)):
        w = torch.ones(1, CHANNELS[k], 1, 1) if ones else torch.from_numpy(given[heads.NAME % k])
        values = ((one - two) ** 2 * w.to(dtype)).sum(1, keepdim=True)
        size = tuple(a.shape[2:])
        layers.append(
            F.interpolate(values, size, mode="bilinear", align_corners=False)
            if spatial
            else values.mean((2, 3), keepdim=True)
        )
    return [sum(layers).double().numpy(), *(layer.double().numpy() for layer in layers)]


def unit(x, eps):
    squares = (x**2).sum(1, keepdim=True)
    if eps in ("lpips", "piq"):
        return x / (squares.sqrt() + 1e-10)
    return x / (squares + {"torchmetrics": 1e-8, "stargan-v2": 1e-10}[eps]).sqrt()


def slack(a, b, given=HEADS, **options):
    """How far each of [value, layers...] may be from float64: twice the error of PyTorch's float32 at a position, the
    mean of its sizes where positions are averaged (there it may cancel by luck), and four roundings of the result."""
    kinds = (torch.float32, torch.float64)
    maps, wide = (defined(a, b, dtype, given=given, spatial=True, **options)[1:] for dtype in kinds)
    apart = [np.abs(one - right) for one, right in zip(maps, wide)]
    pooled = [(error.mean((2, 3)), right.mean((2, 3))) for error, right in zip(apart, wide)]
    pooled.insert(0, tuple(sum(values) for values in zip(*pooled)))
    return [(2 * error + 4 * U * right)[:, :, None, None] for error, right in pooled]


def check(got, a, b, **options):
    """``got`` is [value, layers...]."""
    allowed = slack(a, b, **options)
    for mine, right, most in zip(got, defined(a, b, **options), allowed):
        assert mine.dtype == np.float32 and mine.shape == right.shape
        assert right.max() > 1e-5
        assert (np.abs(mine - right) <= most).all()


def check_maps(got, a, b, **options):
    """``got`` is [value, layers...] with ``spatial``: the worst position may be twice as far off as PyTorch's worst."""
    exact, single = (defined(a, b, dtype, spatial=True, **options) for dtype in (torch.float64, torch.float32))
    for mine, right, theirs in zip(got, exact, single):
        scale = right.max()
        assert mine.dtype == np.float32 and mine.shape == right.shape and scale > 1e-5
        assert np.abs(mine - right).max() <= 2 * np.abs(theirs - right).max() + 4 * U * scale


@pytest.mark.parametrize("version", ["0.1", "0.0"])
@pytest.mark.parametrize("eps", list(CONVENTIONS))
def test_it_is_the_definition(version, eps):
    a = images(2)
    b = noisy(a)
    value, layers = make(version=version, eps=eps, exact=True)(a, b, retPerLayer=True, normalize=False)
    check([value, *layers], a, b, version=version, eps=eps)


@pytest.mark.parametrize("size", [(31, 31), (32, 64), (63, 47), (224, 160)])
def test_any_size(size):
    a = images(1, *size)
    b = noisy(a)
    got = make(exact=True)(a, b, retPerLayer=True)
    check([got[0], *got[1]], a, b)


@pytest.mark.parametrize("ones", [False, True])
def test_a_distance_for_each_pixel(ones):
    a = images(2)
    b = noisy(a)
    value, layers = make(spatial=True, lpips=not ones, exact=True)(a, b, retPerLayer=True)
    assert value.shape == (2, 1, *SIZE)
    check_maps([value, *layers], a, b, ones=ones)


def test_winograd_adds_its_roundings_and_no_more():
    """The default's distance, from the features' own errors: of vectors of length 1 that are off by at most e,
    sum w d^2 is off by at most 2 sqrt(w_max sum w d^2) 2e + w_max (2e)^2."""
    a = images(2)
    b = noisy(a)
    metric = make()
    value, layers = metric(a, b, retPerLayer=True)
    exact = defined(a, b)
    shift, scale = (np.array(v)[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    errors = []
    for x in (a, b):
        right = trunk_of(torch.from_numpy((x - shift) / scale), torch.float64)
        mine = metric.features(x).maps
        apart = [np.sqrt(((m - unit(r, "lpips").numpy()) ** 2).sum(1)).max() for m, r in zip(mine, right)]
        assert max(apart) < 64 * U  # F(4x4, 3x3) makes some tens of roundings' worth; an algorithm's fault is larger
        errors.append(apart)
    for k, layer in enumerate(layers):
        e, w = max(errors[0][k], errors[1][k]), HEADS[heads.NAME % k].max()
        allowed = 2 * np.sqrt(w * exact[k + 1]) * 2 * e + w * (2 * e) ** 2 + 4 * U * exact[k + 1]
        assert (np.abs(layer - exact[k + 1]) <= allowed).all()
    np.testing.assert_allclose(value, sum(layers), rtol=8 * U)


# The originals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.1", "0.0"] if originals.installed("lpips") else [])
@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("baseline", [False, True])
def test_lpips_itself(version, spatial, baseline):
    theirs = originals.lpips(ARRAYS, version, spatial=spatial, lpips=not baseline)
    options = {"version": version, "spatial": spatial, "lpips": not baseline}
    mine = make(heads=None, exact=True, **options)  # the package's own heads
    own = HEADS if baseline else theirs_heads(theirs)
    a, b = pair(False)
    allowed = slack(a, b, own, version=version, ones=baseline)
    if spatial:
        single = defined(a, b, torch.float32, version, given=own, ones=baseline, spatial=True)
        exact = defined(a, b, torch.float64, version, given=own, ones=baseline, spatial=True)
        allowed = [2 * np.abs(x - y).max() + 4 * U * y.max() for x, y in zip(single, exact)]
    for normalize in (False, True):
        x, y = pair(normalize)
        got = mine(x, y, retPerLayer=True, normalize=normalize)
        compare_with(theirs, got, x, y, allowed, retPerLayer=True, normalize=normalize)


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [False, True] if originals.installed("torchmetrics") else [])
def test_torchmetrics_itself(normalize):
    theirs = originals.torchmetrics(ARRAYS, normalize=normalize).net
    own = theirs_heads(theirs)
    a, b = pair(normalize)
    got = make(eps="torchmetrics", heads=own, exact=True)(a, b, retPerLayer=True, normalize=normalize)
    allowed = slack(*pair(False), own, eps="torchmetrics")
    compare_with(theirs, got, a, b, allowed, retperlayer=True, normalize=normalize)
    mean = make(eps="torchmetrics", heads=own, reduction="mean", exact=True)
    np.testing.assert_allclose(mean(a, b, normalize=normalize), got[0].mean(), rtol=4 * U)


@pytest.mark.parametrize("count", [2] if originals.installed("piq") else [])
def test_piq_itself(count):
    mine = make(eps="piq", exact=True)
    theirs = originals.piq(ARRAYS, mine.heads).double()
    a, b = pair(True)  # without normalize=: piq's images are in [0, 1]
    exact = theirs(torch.from_numpy(a).double(), torch.from_numpy(b).double()).numpy()
    got = mine(a, b)[:, 0, 0, 0]
    assert exact.shape == (count,) and exact.min() > 1e-5
    assert (np.abs(got - exact) <= slack(*pair(False), eps="piq")[0][:, 0, 0, 0]).all()


def pair(normalize):
    """Two batches of 2, exact in [-1, 1] and in [0, 1]: multiples of 2^-10."""
    a = images(2)
    a, b = (np.round(x * 1024) / 1024 for x in (a, noisy(a)))
    return ((a + 1) / 2, (b + 1) / 2) if normalize else (a, b)


def theirs_heads(module):
    return {name: value.detach().numpy() for name, value in module.state_dict().items() if name in HEADS}


def compare_with(theirs, got, a, b, allowed, **options):
    """``got`` is (value, layers); the original's own code in float64 is right."""
    with torch.no_grad():
        exact = theirs.double()(torch.from_numpy(a).double(), torch.from_numpy(b).double(), **options)
    for mine, right, most in zip((got[0], *got[1]), (exact[0], *exact[1]), allowed):
        right = right.numpy()
        assert mine.shape == right.shape and right.max() > 1e-5
        assert (np.abs(mine - right) <= most).all()


# Inputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", list(CONVENTIONS))
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_finite_and_zero_for_equal_and_constant_images(eps, value):
    metric = make(eps=eps, range_check="off")
    flat = np.full((1, 3, *SIZE), value, np.float32)
    assert metric(flat, flat, normalize=False).item() == 0
    assert metric(images(), images()).item() == 0
    got = metric(flat, images(), normalize=False)
    assert np.isfinite(got).all() and got.item() > 0


@pytest.mark.parametrize("eps", list(CONVENTIONS))
def test_finite_for_maps_of_zeros(eps):
    """Weights of zero, and a bias below 0, make every feature 0."""
    arrays = {name: np.full_like(array, -1) if name.endswith("bias") else 0 * array for name, array in ARRAYS.items()}
    metric = LPIPS(weights=arrays, heads=HEADS, device="cpu", eps=eps, range_check="off")
    assert metric(images(), images(seed=1), normalize=False).item() == 0
    x = torch.from_numpy(images()).requires_grad_()
    metric(x, torch.from_numpy(images(seed=1)), normalize=False).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_a_nan_shows(metric):
    x = images()
    x[0, 1, 40, 40] = np.nan
    assert np.isnan(metric(x, images())).all()


def test_numpy_and_torch_of_any_kind(metric):
    a, b = images(2), noisy(images(2))
    expected = metric(a, b)
    got = metric(torch.from_numpy(a), torch.from_numpy(b))
    assert isinstance(got, torch.Tensor) and got.dtype == torch.float32
    np.testing.assert_array_equal(got.numpy(), expected)
    assert isinstance(metric(a, torch.from_numpy(b)), torch.Tensor)
    np.testing.assert_array_equal(metric(a.astype(np.float64), b.astype(np.float64)), expected)
    np.testing.assert_array_equal(metric(a.transpose(3, 2, 1, 0).copy().transpose(3, 2, 1, 0), b), expected)
    np.testing.assert_array_equal(metric(a[0], b[0]), metric(a[:1], b[:1]))
    for dtype in (torch.float16, torch.bfloat16):  # like the same numbers in float32
        x, y = torch.from_numpy(a).to(dtype), torch.from_numpy(b).to(dtype)
        np.testing.assert_array_equal(metric(x, y).numpy(), metric(x.float().numpy(), y.float().numpy()))
    np.testing.assert_array_equal(metric(a.astype(np.float16), b), metric(a.astype(np.float16).astype(np.float32), b))


def test_bytes_and_ranges_give_the_same_distance(metric):
    """uint8, [0, 1] and [-1, 1] differ by roundings of the input: it is at most 2.7 after scaling, and a product and a
    sum make two roundings of it; the features of random convolutions pass them on about as they are."""
    a, b = (np.random.default_rng(s).integers(0, 256, (1, 3, *SIZE), dtype=np.uint8) for s in (0, 1))
    wide = [x / np.float64(255) for x in (a, b)]
    expected = metric(*[(2 * x - 1) for x in wide]).item()
    assert abs(metric(a, b).item() - expected) <= 64 * U * expected
    assert abs(metric(*wide, normalize=True).item() - expected) <= 64 * U * expected
    np.testing.assert_array_equal(metric(a, b), metric(a, b, normalize=True))
    gray = np.repeat(images()[:, :1], 3, axis=1)
    np.testing.assert_array_equal(metric(gray[:, :1], images(seed=4)), metric(gray, images(seed=4)))


@pytest.mark.parametrize(
    ("scale", "shift", "normalize", "match"),
    [
        (127.5, 127.5, False, "by 255"),
        (127.5, 127.5, True, "by 255"),
        (0.5, 0.5, False, r"looks like \[0, 1\]"),
        (1, 0, True, r"normalize=True is for \[0, 1\]"),
        (3, 0, False, "rescale"),
        (1, 0, False, None),
        (0.5, 0.5, True, None),
    ],
)
def test_a_wrong_range_is_reported(metric, scale, shift, normalize, match):
    a, b = (images(seed=s) * np.float32(scale) + np.float32(shift) for s in (0, 1))
    strict = make(range_check="raise")
    for x, y in ((a, b), (torch.from_numpy(a), torch.from_numpy(b).requires_grad_())):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            metric(x, y, normalize=normalize)
        texts = [str(w.message) for w in caught]
        if match is None:
            assert texts == []
            strict(x, y, normalize=normalize)
        else:
            assert len(texts) == 1 and re.search(match, texts[0])
            assert caught[0].filename == __file__
            with pytest.raises(UserError, match=match):
                strict(x, y, normalize=normalize)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(range_check="off")(a, b, normalize=normalize)


# Many images ----------------------------------------------------------------------------------------------------------


def test_all_pairs(metric):
    a, b = images(5), images(3, seed=1)
    b[1] = a[2]
    got = metric.matrix(a, b)
    assert got.shape == (5, 3) and got.dtype == np.float32
    expected = np.array([[metric(x, y).item() for y in b] for x in a])
    np.testing.assert_allclose(got, expected, rtol=2 * U, atol=0)
    assert got[2, 1] == 0
    np.testing.assert_array_equal(metric.matrix(b, a), got.T)
    own = metric.matrix(torch.from_numpy(a))
    assert isinstance(own, torch.Tensor)
    np.testing.assert_array_equal(own.numpy(), metric.matrix(a, a))
    assert (np.diag(own) == 0).all()
    np.testing.assert_array_equal(metric.one_to_many(a[0], b), got[0])
    np.testing.assert_array_equal(metric(a[0], b)[:, 0, 0, 0], got[0])
    np.testing.assert_array_equal(metric(b, a[0])[:, 0, 0, 0], got[0])


@pytest.mark.slow
@pytest.mark.parametrize("room", [1, 3, 4, 7, 100])
def test_all_pairs_in_little_memory(metric, room):
    a, b = images(7), images(5, seed=1)
    size = metric.features(a[:1]).nbytes
    np.testing.assert_array_equal(metric.matrix(a, b, memory=room * size), metric.matrix(a, b))
    np.testing.assert_array_equal(metric.matrix(a, memory=room * size), metric.matrix(a))


def test_features_once(metric):
    a, b = images(3), images(3, seed=1)
    f = metric.features(a)
    assert isinstance(f, Features) and len(f) == 3 and f.size == SIZE
    assert [array.shape[1] for array in f.maps] == list(CHANNELS)
    np.testing.assert_array_equal(metric(f, b), metric(a, b))
    np.testing.assert_array_equal(metric.matrix(f, metric.features(b)), metric.matrix(a, b))
    np.testing.assert_array_equal(metric(f[1], b), metric(a[1], b))
    np.testing.assert_array_equal(metric(f[-1], b[:1]), metric(a[2:], b[:1]))
    both = Features.concatenate([f[:1], metric.features(a[1:])])
    np.testing.assert_array_equal(metric(both, b), metric(a, b))
    copied = pickle.loads(pickle.dumps(f))  # another metric of the same weights and convention takes them
    np.testing.assert_array_equal(make()(copied, b), metric(a, b))
    with pytest.raises(UserError, match="another metric"):
        make(eps="torchmetrics")(f, b)
    with pytest.raises(UserError, match="another metric"):
        LPIPS(pnet_rand=True, heads=HEADS, device="cpu")(f, b)
    with pytest.raises(IndexError):
        f[3]


def test_the_cache_recognizes_images(monkeypatch):
    cached, plain = make(cache_bytes=10 << 20), make()
    runs = []
    inner = cached._trunk.maps
    monkeypatch.setattr(cached._trunk, "maps", lambda x: runs.append(len(x)) or inner(x))
    a, b = images(2), images(2, seed=1)
    np.testing.assert_array_equal(cached(a, b), plain(a, b))
    assert sum(runs) == 4
    np.testing.assert_array_equal(cached(b, a), plain(b, a))
    np.testing.assert_array_equal(cached.matrix(a, b), plain.matrix(a, b))
    assert sum(runs) == 4
    np.testing.assert_array_equal(cached(a[:1], images(1, seed=2)), plain(a[:1], images(1, seed=2)))
    assert sum(runs) == 5
    a, b = (a + 1) / 2, (b + 1) / 2
    np.testing.assert_array_equal(cached(a, b, normalize=True), plain(a, b, normalize=True))
    assert sum(runs) == 9  # the range is part of the key
    small = make(cache_bytes=2 * plain.features(images()).nbytes)
    for seed in range(5):
        small(images(1, seed=seed), images(1, seed=seed + 1))
    assert small.cache.nbytes <= small.cache.capacity
    cached.cache.clear()
    assert cached.cache.nbytes == 0


def test_several_threads(metric):
    pairs = [(images(2, seed=s), images(2, seed=s + 10)) for s in range(4)]
    expected = [metric(a, b) for a, b in pairs]
    got = [None] * 4

    def work(i):
        got[i] = metric(*pairs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, two in zip(got, expected):
        np.testing.assert_array_equal(one, two)


def test_batches_change_no_bit(metric):
    a, b = images(40, 40, 48), images(40, 40, 48, seed=1)
    whole = metric(a, b)
    np.testing.assert_array_equal(whole, np.concatenate([metric(a[i : i + 1], b[i : i + 1]) for i in range(40)]))
    np.testing.assert_array_equal(whole, make(threads=1)(a, b))


# Tiles ----------------------------------------------------------------------------------------------------------------


def test_a_tile_sees_what_its_outputs_see():
    trunk = make()._trunk
    geometry = Geometry(trunk.layers, trunk.taps)
    assert geometry.least_side == 31
    # the receptive fields of AlexNet's convolutions, published: 11, 51, 99, 131, 163
    assert [field.size for field in geometry.fields] == [11, 51, 99, 131, 163]
    assert [field.stride for field in geometry.fields] == [4, 8, 16, 16, 16]
    for size in (*range(31, 200), 500, 1023, 1024, 1025):
        for side in (64, 100, 256):
            sides = geometry.sides(size)
            stretches = geometry._stretches(size, side)
            for k, field in enumerate(geometry.fields):
                covered = []
                for stretch in stretches:
                    part = stretch.parts[k]
                    covered += range(part.to, part.to + part.last - part.first)
                    assert part.last <= geometry.sides(stretch.end - stretch.begin)[k]
                    if part.last > part.first:
                        first, last = part.to * field.stride - field.before, part.to + part.last - part.first - 1
                        assert stretch.begin <= max(0, first)
                        assert stretch.end >= min(size, last * field.stride - field.before + field.size)
                assert covered == list(range(sides[k]))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(190, 201), (64, 300)])
def test_tiles_are_the_whole_image(size):
    a, b = images(2, *size), noisy(images(2, *size))
    tiled, whole = (make(tile=tile, exact=True) for tile in (64, None))
    # direct sums add up the same products in the same order wherever a window lies
    for one, two in zip(tiled.features(a).maps, whole.features(a).maps):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(tiled(a, b), whole(a, b), rtol=2 * U)
    np.testing.assert_allclose(tiled.matrix(a, b), whole.matrix(a, b), rtol=2 * U)
    np.testing.assert_array_equal(tiled(tiled.features(a), b), tiled(a, b))
    spatial = [make(tile=tile, exact=True, spatial=True)(a, b) for tile in (64, None)]
    np.testing.assert_array_equal(*spatial)


# As a loss ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", list(CONVENTIONS))
def test_the_gradient(eps):
    """Of float64's definition, with PyTorch's own derivative, within float32's roundings: of the worst pixel, a
    thousandth of the largest, as a ReLU or a maximum may fall to the other side there."""
    a, b = images(1), noisy(images(1))
    metric = make(eps=eps)
    x = torch.from_numpy(a).requires_grad_()
    value = metric(x, torch.from_numpy(b), normalize=False)
    value.sum().backward()
    check_value = metric(a, b, normalize=False)
    np.testing.assert_allclose(value.detach().numpy(), check_value, rtol=64 * U)
    module = metric.module().double()
    y = torch.from_numpy(a).double().requires_grad_()
    module(y, torch.from_numpy(b).double(), normalize=False).sum().backward()
    scale = y.grad.abs().max()
    assert scale > 1e-6
    assert (x.grad.double() - y.grad).abs().max() <= 1e-3 * scale
    # the module's own derivative, against differences of the definition
    direction = torch.from_numpy(np.random.default_rng(3).standard_normal(a.shape))
    step = 1e-6
    ends = [defined64(y.detach() + sign * step * direction, b, eps) for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert abs(float((y.grad * direction).sum()) - slope) <= 1e-4 * abs(slope) + 1e-9


def defined64(x, b, eps):
    shift, scale = (torch.tensor(v).double()[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    one, two = (trunk_of((v - shift) / scale, torch.float64) for v in (x, torch.from_numpy(b).double()))
    total = 0.0
    for k in range(5):
        w = torch.from_numpy(HEADS[heads.NAME % k]).double()
        total += float(((unit(one[k], eps) - unit(two[k], eps)) ** 2 * w).sum(1).mean())
    return total


@pytest.mark.parametrize("eps", list(CONVENTIONS))
def test_equal_images_have_a_finite_gradient(eps):
    metric = make(eps=eps, range_check="off")
    for value in (images(), np.zeros((1, 3, *SIZE), np.float32)):
        x = torch.from_numpy(value).requires_grad_()
        metric(x, torch.from_numpy(value.copy()), normalize=False).sum().backward()
        assert torch.isfinite(x.grad).all()


@pytest.mark.slow
def test_training_with_it(metric):
    """A target's features are computed once, without a graph; half precision and autocast keep the sums in float32."""
    target = images(1, seed=2)
    features = metric.features(target)
    x = torch.from_numpy(images(1)).requires_grad_()
    optimizer = torch.optim.Adam([x], 0.05)
    values = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = metric(x, features)
        loss.sum().backward()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
        values.append(loss.item())
    assert values[-1] < 0.95 * values[0]
    with torch.no_grad():  # no gradient is needed: computed by the engine
        np.testing.assert_array_equal(metric(x, features).numpy(), metric(x.detach().numpy(), target))
    module = metric.module()
    assert not any(parameter.requires_grad for parameter in module.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        lowered = module(x, torch.from_numpy(target))
    assert lowered.dtype == torch.float32
    half = torch.from_numpy(images(1)).half().requires_grad_()
    metric(half, features).sum().backward()
    assert half.grad.dtype == torch.float16 and torch.isfinite(half.grad).all()
    spatial = make(spatial=True)
    with torch.enable_grad():
        one = spatial(x, torch.from_numpy(target))
    np.testing.assert_allclose(
        one.detach().numpy(), spatial(x.detach().numpy(), target), atol=64 * U * one.max().item()
    )


def test_bf16_sums_in_float32():
    """The convolutions' inputs and weights have 8 bits; the features' errors pass on as in the test of Winograd."""
    metric, single = make(precision="bf16"), make()
    assert metric.precision == "bf16"
    a, b = images(2), noisy(images(2))
    value, layers = metric(a, b, retPerLayer=True)
    assert value.dtype == np.float32
    assert metric(a, a).max() == 0
    exact = single(a, b, retPerLayer=True)[1]
    for k, (one, two) in enumerate(zip(layers, exact)):
        pairs = [(metric.features(x).maps[k], single.features(x).maps[k]) for x in (a, b)]
        e = max(np.sqrt(np.square(p - q).sum(1)).max() for p, q in pairs)
        assert e < 32 * 2.0**-9  # five layers of roundings of 2^-9
        w = HEADS[heads.NAME % k].max()
        assert (np.abs(one - two) <= 2 * np.sqrt(w * two) * 2 * e + w * (2 * e) ** 2 + 64 * U * two).all()


# Weights and heads ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_of_the_convolutions_alone(tmp_path, metric, capsys):
    whole = initial.random_arrays(ROW.parameter_shapes())
    whole.update(ARRAYS)
    source, target = tmp_path / "alexnet.safetensors", tmp_path / "trunk.safetensors"
    weights.save(source, whole, weights.metadata_for(ROW))
    assert main(["convert", "--conv-only", str(source), str(target)]) == 0
    assert "10 arrays" in capsys.readouterr().out
    assert os.path.getsize(target) < 10e6 < 240e6 < os.path.getsize(source)
    a, b = images(), images(seed=1)
    for path in (source, target):
        found = LPIPS(weights=path, heads=HEADS, device="cpu")
        np.testing.assert_array_equal(found(a, b), metric(a, b))
    state = dict(HEADS)  # what lpips.LPIPS().state_dict() has
    for name, array in ARRAYS.items():
        place = name[len("features.") :]
        state[f"net.slice{int((0, 3, 6, 8, 10).index(int(place.split('.')[0])) + 1)}.{place}"] = array
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in state.items()}, tmp_path / "lpips.pth")
    found = LPIPS(weights=tmp_path / "lpips.pth", heads=tmp_path / "lpips.pth", check_hash=False, device="cpu")
    np.testing.assert_array_equal(found(a, b), metric(a, b))
    with pytest.raises(UserError, match=r"lack.*classifier\.1\.weight"):
        AlexNet(weights=target, device="cpu")


def test_little_memory_is_taken(metric):
    assert metric._trunk.net.param_bytes < 60e6  # Winograd's weights are four times the file's; all of AlexNet is 244


@pytest.mark.slow
def test_heads_that_are_not_the_published_ones(tmp_path):
    path = tmp_path / "alex.pth"
    torch.save({name: torch.from_numpy(array) for name, array in HEADS.items()}, path)
    with pytest.raises(UserError, match=r"SHA-256.*heads 0\.1"):
        make(heads=path)
    a, b = images(), images(seed=1)
    np.testing.assert_array_equal(make(heads=path, check_hash=False)(a, b), make()(a, b))
    np.testing.assert_array_equal(make(heads=None, model_path=path, check_hash=False)(a, b), make()(a, b))
    for broken, match in (
        ({k: v for k, v in HEADS.items() if "lin3" not in k}, r"lack.*lin3\.model\.1\.weight"),
        ({**HEADS, heads.NAME % 1: np.ones((1, 7, 1, 1))}, r"\(1, 7, 1, 1\).*\(1, 192, 1, 1\)"),
        ({**HEADS, heads.NAME % 1: np.full((1, 192, 1, 1), np.nan)}, "not finite"),
    ):
        with pytest.raises(UserError, match=match):
            make(heads=broken)
    with pytest.raises(UserError, match=r"none\.pth"):
        make(heads=tmp_path / "none.pth")


def test_heads_are_found_in_the_installed_package(monkeypatch):
    monkeypatch.setattr(heads, "_PACKAGES", ())
    with pytest.raises(UserError, match="pip install.*heads="):
        make(heads=None)


@pytest.mark.parametrize("version", ["0.1", "0.0"] if originals.installed("lpips") else [])
def test_the_published_heads(version):
    folder = importlib.util.find_spec("lpips").submodule_search_locations[0]
    path = os.path.join(folder, "weights", "v" + version, "alex.pth")
    expected = torch.load(path, map_location="cpu")
    for k, head in enumerate(heads.load(path, version, CHANNELS)):
        np.testing.assert_array_equal(head, expected[heads.NAME % k].numpy().ravel())
    other = {"0.1": "0.0", "0.0": "0.1"}[version]
    with pytest.raises(UserError, match=f"pass version='{version}'"):
        heads.load(path, other, CHANNELS)


# As lpips.LPIPS is used -----------------------------------------------------------------------------------------------


def test_the_calls_of_the_package(metric):
    a, b = torch.from_numpy(images()), torch.from_numpy(images(seed=1))
    assert metric.eval() is metric and metric.train(False) is metric and metric.cpu() is metric
    assert metric.to(torch.device("cpu")) is metric and metric.requires_grad_(False) is metric
    assert metric.forward(a, b).shape == (1, 1, 1, 1)
    assert make(reduction="sum")(a, b).shape == ()
    with torch.no_grad():
        np.testing.assert_array_equal(metric.to("naive").cpu()(a, b), make()(a, b))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"net": "vgg"}, "'alex', not 'vgg'"),
        ({"version": "0.2"}, r"version.*'0\.2'"),
        ({"eps": "mine"}, "eps.*'mine'"),
        ({"pnet_tune": True}, "pnet_tune"),
        ({"pretrained": False}, "pretrained=False"),
        ({"precision": "int8"}, "precision.*not 'int8'"),
        ({"precision": "fp16"}, "precision='fp16'.*device='cpu'"),
        ({"range_check": "maybe"}, "range_check.*'maybe'"),
        ({"tile": 10}, "tile.*not 10"),
        ({"cache_bytes": -1}, "cache_bytes.*not -1"),
        ({"reduction": "max"}, "reduction.*'max'"),
        ({"threads": 0}, "threads.*not 0"),
        ({"model_path": "x.pth"}, "model_path and heads"),
        ({"pnet_rand": True}, "pnet_rand=True and weights="),
    ],
)
def test_wrong_options_are_one_sentence(options, match):
    with pytest.raises(UserError, match=match) as error:
        make(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        ((1, 3, 30, 64), (1, 3, 30, 64), r"30 x 64.*\b31\b"),
        ((1, 3, 64, 64), (1, 3, 64, 65), "64 x 64.*64 x 65"),
        ((2, 3, 64, 64), (3, 3, 64, 64), "2 images.*3.*matrix"),
        ((1, 64, 64, 3), (1, 3, 64, 64), r"\(1, 64, 64, 3\).*\[\.\.\., H, W, C\]"),
        ((64, 64, 3), (1, 3, 64, 64), r"transpose\(2, 0, 1\)"),
        ((1, 3, 64, 64), (0, 3, 64, 64), "second images.*empty"),
        ((1, 4, 64, 64), (1, 3, 64, 64), r"not \(1, 4, 64, 64\)"),
    ],
)
def test_wrong_images_are_one_sentence(metric, a, b, match):
    a, b = np.zeros(a), np.zeros(b)
    with pytest.raises(UserError, match=match) as error:
        metric(a, b)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=match):  # the differentiable path raises the same error
        metric(torch.from_numpy(a).requires_grad_(), torch.from_numpy(b))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.zeros((1, 3, 64, 64), int), "not int64"),
        ("photo.png", "first images.*not str"),
        (torch.zeros((1, 3, 64, 64), device="meta"), "meta.*CPU"),
    ],
)
def test_values_that_are_not_images_are_one_sentence(metric, value, match):
    with pytest.raises(UserError, match=match) as error:
        metric(value, images(1, 64, 64))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_example_compares_files(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("lpips_distance", ROOT / "examples" / "lpips_distance.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    weights.save(tmp_path / "trunk.safetensors", ARRAYS)
    weights.save(tmp_path / "heads.safetensors", HEADS)
    example.LPIPS = lambda **options: LPIPS(**options, check_hash=False)
    files = ["--weights", str(tmp_path / "trunk.safetensors"), "--heads", str(tmp_path / "heads.safetensors")]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 72, 3), dtype=np.uint8)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for k in range(2):
            shown = pixels[k] if folder == "one" else pixels[k + 1]
            Image.fromarray(shown).save(tmp_path / folder / (f"{k}.png"))
    one, two = ([str(tmp_path / folder / (f"{k}.png")) for k in range(2)] for folder in ("one", "two"))
    expected = [make()(p.transpose(2, 0, 1), q.transpose(2, 0, 1)).item() for p, q in zip(pixels, pixels[1:])]

    assert example.main([one[0], two[0], *files, "--map", str(tmp_path / "map.png")]) == 0
    # the mean of the upsampled maps, which is near the mean of the maps
    assert abs(float(capsys.readouterr().out.split()[-1]) - expected[0]) < 0.1 * expected[0]
    assert Image.open(tmp_path / "map.png").size == (72, 64)
    assert example.main([str(tmp_path / "one"), str(tmp_path / "two"), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [float(line.split()[-1]) for line in lines[:2]] == pytest.approx(expected, abs=1e-6)

    (tmp_path / "one" / "broken.png").write_bytes(b"no image")
    Image.fromarray(pixels[0][:50]).save(tmp_path / "one" / "small.png")
    Image.fromarray(pixels[0]).save(tmp_path / "two" / "small.png")
    assert example.main([str(tmp_path / "one"), str(tmp_path / "two"), *files]) == 1
    said = capsys.readouterr()
    assert "has no partner" in said.err and "50 x 72" in said.err
    assert len(said.out.splitlines()) == 3
    assert example.main([str(tmp_path / "one"), *files]) == 1
    said = capsys.readouterr()
    assert "broken.png" in said.err and "2 sizes" in said.err
    assert float(said.out.split()[2]) == pytest.approx(expected[0], abs=1e-6)
    for wrong, word in (
        ([one[0]], "second image"),
        ([one[0], str(tmp_path)], "one of each"),
        ([str(tmp_path / "none"), one[0]], "none"),
    ):
        assert example.main([*wrong, *files]) == 2
        assert word in capsys.readouterr().err


def test_the_table_of_the_comparison():
    from benchmarks.measure import lpips as measuring
    from benchmarks.report import lpips as report

    document = (ROOT / "docs" / "lpips.md").read_text(encoding="utf-8")
    records = report.load()
    assert document.split(report.BEGIN)[1].split(report.END)[0].strip() == report.render(records).strip()
    for record in records:
        assert not record["quick"] and {row["case"] for row in record["times"]} == set(measuring.CASES)
    with pytest.raises(RuntimeError, match="differ"):
        measuring.compare(np.ones(3), np.full(3, 1.001))
    assert measuring.compare(np.ones(3), np.full(3, 1 + 1e-6)) < 2e-6


def test_resized_as_torch_does():
    maps = np.random.default_rng(0).random((2, 7, 15), dtype=np.float32)
    got = inputs.bilinear(maps, 96, 118)
    expected = F.interpolate(torch.from_numpy(maps)[:, None], (96, 118), mode="bilinear", align_corners=False)[:, 0]
    # two weighted sums of two terms with rounded weights; PyTorch also rounds pixel positions
    np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=(8 + 2 * (7 + 15)) * U)
