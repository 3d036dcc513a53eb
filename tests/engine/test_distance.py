"""The engine's two operations of a perceptual distance against their definition in float64."""

from __future__ import annotations

import numpy as np
import pytest

from fastalex import UserError, _core

U = 2.0**-24
PART = 32  # kPartChannels in csrc/cpu/kernels/distance.h
ZIPPED, ALL, TRIANGLE = range(3)
# Channels; positions: fewer than a vector, a strip and a rest of every instruction set, several units of work.
SHAPES = [(1, 1), (3, 5), (64, 63), (64, 64), (100, 67), (384, 225), (64, 961)]


def terms(channels):
    """Roundings that a sum over the channels may add to each of its terms."""
    return min(channels, PART) + channels // PART + 1


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("channels", "positions"), SHAPES)
@pytest.mark.parametrize("inside", [False, True])
def test_vectors_get_length_one(channels, positions, inside):
    maps = random(2, channels, positions)
    maps[0, :, 0] = 0
    wide = maps.astype(np.float64)
    squares = (wide**2).sum(1, keepdims=True)
    eps = 1e-8 if inside else 1e-10
    expected = wide / (np.sqrt(squares + eps) if inside else np.sqrt(squares) + eps)
    assert np.abs(expected).max() > 0.5 / np.sqrt(channels)
    _core.unit_normalize(maps, eps, inside)
    # half of the sum's relative error, and the root's, the reciprocal's and the product's; eps itself is rounded
    assert (np.abs(maps - expected) <= np.abs(expected) * (terms(channels) / 2 + 5) * U).all()
    assert (maps[0, :, 0] == 0).all()


@pytest.mark.parametrize(("channels", "positions"), SHAPES)
@pytest.mark.parametrize("pairing", [ZIPPED, ALL, TRIANGLE])
def test_distances(channels, positions, pairing):
    count = 6  # more than a tile's side
    a, b = random(count, channels, positions), random(count, channels, positions, seed=1)
    weights = random(channels, seed=2)  # of both signs
    each = np.square(a[:, None].astype(np.float64) - b[None])
    exact = np.einsum("abcp,c->abp", each, weights.astype(np.float64))
    size = np.einsum("abcp,c->abp", each, np.abs(weights).astype(np.float64))
    bound = size * (terms(channels) + 4) * U  # of a term: two for the difference, its square's and the product's
    if pairing == ZIPPED:
        exact, bound = (np.stack([values[i, i] for i in range(count)])[:, None] for values in (exact, bound))
    if pairing == TRIANGLE:
        above = np.triu(np.ones((count, count), bool), 1)[:, :, None]
        exact, bound = exact * above, bound * above
    sums, maps = _core.map_distances(list(a), list(b), weights, pairing, pairing != TRIANGLE)
    assert np.abs(exact.sum(2)).max() > 0.1
    # sums of float32 values in double: the lanes of a strip are also added in double
    assert (np.abs(sums - exact.sum(2)) <= bound.sum(2)).all()
    if pairing == TRIANGLE:
        assert maps is None and (sums[np.tril_indices(count)] == 0).all()
    else:
        assert (np.abs(maps - exact) <= bound).all()


def test_threads_and_tiles_change_no_bit():
    a, b = random(9, 192, 700), random(7, 192, 700, seed=1)
    weights = np.abs(random(192, seed=2))
    whole, _ = _core.map_distances(list(a), list(b), weights, ALL, False, 1)
    shared, _ = _core.map_distances(list(a), list(b), weights, ALL, False, 3)
    np.testing.assert_array_equal(whole, shared)
    for i, j in ((0, 0), (8, 6), (4, 3)):
        alone, _ = _core.map_distances([a[i]], [b[j]], weights, ZIPPED)
        assert alone[0, 0] == whole[i, j]
    one, many = a.copy(), a.copy()
    _core.unit_normalize(one, 1e-10, False, 1)
    _core.unit_normalize(many, 1e-10, False, 3)
    np.testing.assert_array_equal(one, many)


def test_nan_and_infinity_propagate():
    a = random(2, 64, 100)
    a[0, 3, 7] = np.nan
    a[1, 5, 9] = np.inf
    _core.unit_normalize(a, 1e-10, False)
    assert np.isnan(a[0, :, 7]).all() and np.isfinite(a[0, :, 8]).all()
    assert np.isnan(a[1, 5, 9])


def test_wrong_arguments():
    a = random(2, 4, 5)
    with pytest.raises(UserError, match="pairing 9"):
        _core.map_distances(list(a), list(a), np.ones(4, np.float32), 9)
    with pytest.raises(UserError, match="no maps"):
        _core.map_distances(list(a), list(a), np.ones(4, np.float32), TRIANGLE, True)
    with pytest.raises(UserError, match="threads"):
        _core.unit_normalize(a, 1e-10, False, -1)
    with pytest.raises(ValueError, match="the same shape"):
        _core.map_distances(list(a), list(a), np.ones(3, np.float32), ALL)
    with pytest.raises(ValueError, match="as many maps"):
        _core.map_distances(list(a), list(a[:1]), np.ones(4, np.float32), ZIPPED)
