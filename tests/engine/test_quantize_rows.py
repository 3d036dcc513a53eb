"""Quantized values of fully connected weights against their definition in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from fastalex import UserError, _core
from fastalex.runtime.precisions import FC_STORAGES

INT8, INT4 = FC_STORAGES.index("int8"), FC_STORAGES.index("int4")
GROUP = 128
COUNTS = (1, 2, 127, 128, 129, 403, 1152)


def weights(count, rows=6, seed=0):
    """Rows of very different scales, one of zeros, one with an outlier."""
    generator = np.random.default_rng([count, seed])
    rows = generator.standard_normal((rows, count)) * 10.0 ** generator.integers(-5, 3, (rows, 1))
    rows[1] = 0
    rows[2, count // 2] = 40 * np.abs(rows[2]).max()
    return rows.astype(np.float32)


def nibbles(packed, count):
    """Unpack bytes into two quantized values each, -8 .. 7, the first from the low half."""
    return (np.stack((packed & 15, packed >> 4), axis=2).reshape(len(packed), -1)[:, :count]).astype(np.int32) - 8


@pytest.mark.parametrize("count", COUNTS)
def test_int8_is_the_nearest_level_of_each_row(count):
    w = weights(count)
    levels, scale = _core.quantize_rows(w, INT8)
    assert levels.dtype == np.int8 and levels.shape == w.shape
    assert scale.dtype == np.float32 and scale.shape == (len(w),)
    largest = np.abs(w).max(axis=1)
    np.testing.assert_array_equal(scale, np.where(largest > 0, largest / np.float32(127), np.float32(1)))
    np.testing.assert_array_equal(levels, np.rint(w / scale[:, None]))
    assert np.abs(levels.astype(np.int32)).max() == 127


def test_int8_rounds_ties_to_even_and_scales_the_smallest_numbers():
    levels, scale = _core.quantize_rows(np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5]], np.float32), INT8)
    assert scale[0] == 1 and levels.tolist() == [[127, 0, 2, 2, 0, -2]]
    levels, scale = _core.quantize_rows(np.array([[1e-45, -1e-45]], np.float32), INT8)
    assert scale[0] == 1 and levels.tolist() == [[0, 0]]


@pytest.mark.parametrize("count", COUNTS)
def test_int4_is_as_good_as_the_best_of_many_scales(count):
    """Each group's squared error: at most that of the plain scale, and near that of an exhaustive search."""
    w = weights(count)
    packed, scale = _core.quantize_rows(w, INT4)
    assert packed.dtype == np.uint8 and packed.shape == (len(w), (count + 1) // 2)
    assert scale.dtype == np.float16 and scale.shape == (len(w), (count + GROUP - 1) // GROUP)
    if count % 2:
        assert (packed[:, -1] >> 4 == 8).all()  # padding is quantized value 0
    levels = nibbles(packed, count)
    for row, row_levels, row_scales in zip(w.astype(np.float64), levels, scale.astype(np.float64)):
        for group in range(scale.shape[1]):
            part = slice(GROUP * group, GROUP * (group + 1))
            values, step = row[part], row_scales[group]
            error = np.square(values - row_levels[part] * step).sum()
            extreme = values[np.abs(values).argmax()]
            searched = [
                squared_error(values, np.float64(np.float16(extreme / -8 * ratio)))
                for ratio in np.linspace(0.5, 1.2, 400)
            ]
            assert error <= squared_error(values, np.float64(np.float16(extreme / -8))) * (1 + 1e-5) + 1e-30
            if len(values) == GROUP:  # few values may fit a scale by luck
                assert error <= 1.35 * min(searched) + 1e-12 * np.square(values).sum()


def squared_error(values, step):
    if step == 0:
        return np.square(values).sum()
    return np.square(values - np.clip(np.rint(values / step), -8, 7) * step).sum()


@pytest.mark.parametrize("storage", [INT8, INT4])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(storage, bad):
    w = weights(300)
    w[4, 299] = bad
    with pytest.raises(UserError, match="NaN or infinity"):
        _core.quantize_rows(w, storage)


def test_int4_ends_where_its_scales_do():
    _core.quantize_rows(np.array([[8 * 65504.0, 1]], np.float32), INT4)
    with pytest.raises(UserError, match="range of int4"):
        _core.quantize_rows(np.array([[8 * 65504.0 * 1.01, 1]], np.float32), INT4)


@pytest.mark.parametrize("storage", [0, 1, 4, -1, 9])  # fp32, fp16, bf16, none
def test_only_int8_and_int4_have_quantized_values(storage):
    with pytest.raises(UserError, match="storage must be"):
        _core.quantize_rows(weights(4), storage)
