"""RDMs of activations: the values of scipy, whatever the blocks, formats and ties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from fastalex import UserError, rdm

COUNT, FEATURES = 23, 57
ULP = 2.0**-24  # a rounding to float32, relative


@pytest.fixture
def values():
    """Rows with many equal values, as after a ReLU; two that are equal, and two that are nearly."""
    generator = np.random.default_rng(0)
    rows = np.maximum(generator.normal(0.3, 1, (COUNT, FEATURES)), 0).astype(np.float32)
    rows[7] = rows[3]
    rows[9] = rows[4] * (1 + 1e-5 * generator.normal(size=FEATURES)).astype(np.float32)
    return rows


def by_scipy(values, metric):
    values = values.astype(np.float64)
    if metric == "spearman":
        values, metric = stats.rankdata(values, axis=1), "correlation"
    return distance.pdist(values, "correlation" if metric == "pearson" else metric)


def check(found, want, metric):
    """scipy itself loses digits of the smallest: 1 - r has errors of doubles near 1."""
    np.testing.assert_allclose(found, want, rtol=ULP, atol=1e-14 if metric != "euclidean" else 0)


@pytest.mark.parametrize("metric", list(rdm.METRICS))
def test_scipy_finds_the_same_in_one_block_and_in_many(values, metric):
    want = by_scipy(values, metric)
    row = 8 * FEATURES
    for memory in (1, 8 * row, 40 * row, 10**9):  # blocks of 1 row, of 5 and 1, of 25 and 5, of all
        check(rdm.compute(values, metric, condensed=True, memory=memory), want, metric)
        square = rdm.compute(values, metric, memory=memory)
        assert square.dtype == np.float32 and (square == square.T).all() and not square.diagonal().any()
        check(distance.squareform(square), want, metric)
        assert square[3, 7] == 0


def test_a_large_common_offset_takes_no_digits_from_distances():
    generator = np.random.default_rng(1)
    rows = 1e6 + generator.normal(size=(6, 2000))
    check(rdm.compute(rows, "euclidean", condensed=True), distance.pdist(rows), "euclidean")


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_correlations_of_tiny_and_huge_values(values, scale):
    found = rdm.compute(values.astype(np.float64) * scale, "pearson", condensed=True)
    check(found, by_scipy(values, "pearson"), "pearson")


def test_no_more_is_read_at_once_than_the_memory_holds(values):
    class Counted:
        shape, dtype = values.shape, values.dtype

        def __init__(self):
            self.read = []

        def __getitem__(self, rows):
            self.read.append(len(values[rows]))
            return values[rows]

    stored = Counted()
    rdm.compute(rdm.Activations(stored), "spearman", memory=40 * 8 * FEATURES)
    assert max(stored.read) == 5 and sum(stored.read) == COUNT  # 25 rows are held, so each is read once
    stored.read.clear()
    rdm.compute(rdm.Activations(stored), "spearman", memory=16 * 8 * FEATURES)
    assert max(stored.read) == 2 and sum(stored.read) == COUNT + (COUNT - 10) + (COUNT - 20)


def test_progress_ends_with_all_pairs(values):
    said = []
    rdm.compute(values, memory=16 * 8 * FEATURES, report=said.append)
    assert said == sorted(said) and said[-1] == COUNT * (COUNT - 1) // 2


def test_what_has_no_rdm(values, monkeypatch):
    def refused(sentence, rows, metric="pearson", **options):
        with pytest.raises(UserError, match=sentence):
            rdm.compute(rows, metric, **options)

    refused("needs at least 3 stimuli, and the activations has 2", values[:2])
    refused("metric must be one of pearson, .*, not 'manhattan'", values, "manhattan")
    refused("must have a row of numbers for each stimulus", values[0])
    refused("must have a row of numbers for each stimulus", values.astype(str))
    for bad in (np.nan, np.inf):
        broken = values.copy()
        broken[5, 2] = bad
        for metric in rdm.METRICS:
            refused("^row 5 of the activations has values that are not finite", broken, metric)
    constant = values.copy()
    constant[11] = 0.1
    for metric in ("pearson", "spearman"):
        refused(f"^row 11 of .* one value everywhere, so its {metric} dissimilarity is not defined", constant, metric)
    assert np.isfinite(rdm.compute(constant, "cosine")).all()
    constant[11] = 0
    refused("^row 11 of .* only zeros", constant, "cosine")
    assert np.isfinite(rdm.compute(constant, "euclidean")).all()
    refused("so large that their squares overflow", values.astype(np.float64) * 1e200, "euclidean")
    monkeypatch.setattr("fastalex.rdm.dissimilarities._physical_memory", lambda: 2000.0)
    refused("an RDM of 23 stimuli takes .* GB, more than there is; use --condensed", values)
    rdm.compute(values, condensed=True)


def test_squared_distances_beyond_float32(values):
    with pytest.raises(UserError, match="so large that their squares overflow"):
        rdm.compute(values * 1e25, "sqeuclidean")
    assert np.isfinite(rdm.compute(values * 1e25, "euclidean")).all()
