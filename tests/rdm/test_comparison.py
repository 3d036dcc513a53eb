"""Comparisons of RDMs: scipy's correlations, also of bootstrap samples that are written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from fastalex import UserError, rdm
from fastalex.rdm import similarity

COUNT = 12


def made(seed, count=COUNT, ties=True):
    values = np.random.default_rng(seed).uniform(0, 2, count * (count - 1) // 2)
    values = np.round(values, 1) if ties else values
    return rdm.Rdm(f"{seed}.npy", values, count, None, {})


def tau_a(x, y):
    pairs = list(itertools.combinations(range(len(x)), 2))
    return sum(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs) / len(pairs)


BY_SCIPY = {
    "pearson": lambda x, y: stats.pearsonr(x, y)[0],
    "spearman": lambda x, y: stats.spearmanr(x, y)[0],
    "tau-a": tau_a,
    "cosine": lambda x, y: 1 - distance.cosine(x, y),
}


def sample_of(values, drawn):
    """A bootstrap sample, written out: the pairs of places that have two different stimuli."""
    square = distance.squareform(values)
    pairs = itertools.combinations(drawn, 2)
    return np.array([square[i, j] for i, j in pairs if i != j])


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("method", rdm.METHODS)
def test_the_value_is_scipys(method, ties):
    a, b = made(0, ties=ties), made(1, ties=ties)
    found = rdm.compare(a, b, method)
    assert found == {
        "method": method,
        "stimuli": COUNT,
        "similarity": pytest.approx(BY_SCIPY[method](a.values, b.values)),
    }


def test_without_ties_tau_a_is_tau_b():
    a, b = made(0, 40, ties=False), made(1, 40, ties=False)
    assert rdm.compare(a, b, "tau-a")["similarity"] == pytest.approx(stats.kendalltau(a.values, b.values)[0])


@pytest.mark.parametrize("method", rdm.METHODS)
def test_the_interval_is_that_of_samples_written_out(method):
    a, b, samples = made(2), made(3), 60
    generator, values = np.random.default_rng(5), []
    for _ in range(samples):
        drawn = generator.integers(0, COUNT, COUNT)
        values.append(BY_SCIPY[method](sample_of(a.values, drawn), sample_of(b.values, drawn)))
    found = rdm.compare(a, b, method, bootstrap=samples, seed=5, confidence=0.8)
    low, high = np.percentile(values, [10, 90])
    want = {"low": low, "high": high, "standard_error": np.std(values, ddof=1), "confidence": 0.8, "undefined": 0}
    assert {key: found[key] for key in want} == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert found == rdm.compare(a, b, method, bootstrap=samples, seed=5, confidence=0.8)
    assert found != rdm.compare(a, b, method, bootstrap=samples, seed=6, confidence=0.8)


def test_an_rdm_beside_itself():
    a = made(4, ties=False)
    found = rdm.compare(a, a, "pearson", bootstrap=50)
    assert [found[key] for key in ("similarity", "low", "high")] == pytest.approx([1, 1, 1])


def test_samples_of_one_or_two_stimuli_have_no_correlation():
    a, b = made(0, 3, ties=False), made(1, 3, ties=False)
    generator = np.random.default_rng(0)
    few = sum(len(set(generator.integers(0, 3, 3))) < 3 for _ in range(100))
    for method in rdm.METHODS:
        assert rdm.compare(a, b, method, bootstrap=100)["undefined"] == few > 50


def test_inversions_are_those_of_pairs():
    generator = np.random.default_rng(0)
    for size, largest in ((1, 1), (2, 2), (50, 7), (60, 1000)):
        numbers, weights = generator.integers(0, largest, size), generator.integers(0, 4, size)
        pairs = itertools.combinations(range(size), 2)
        want = sum(int(weights[i] * weights[j]) for i, j in pairs if numbers[i] > numbers[j])
        assert similarity.inversions(numbers, weights) == want
    assert similarity.inversions(np.zeros(0, np.int64), np.zeros(0, np.int64)) == 0


def test_what_cannot_be_compared():
    def refused(sentence, a, b, **options):
        with pytest.raises(UserError, match=sentence):
            rdm.compare(a, b, **options)

    a, b = made(0), made(1)
    refused("method must be one of pearson, spearman, tau-a, cosine, not 'kendall'", a, b, method="kendall")
    refused("confidence must be between 0 and 1", a, b, confidence=95.0)
    refused("seed must be a whole number from 0 on", a, b, seed=-1)
    refused("'0.npy' has 12 stimuli and '1.npy' has 5; RDMs are compared of the same stimuli", a, made(1, 5))
    refused("all dissimilarities in '0.npy' are equal", a._replace(values=np.ones_like(a.values)), b)
    refused("all dissimilarities in '1.npy' are equal", a, b._replace(values=0 * b.values), method="cosine")
    names = [f"{number}.png" for number in range(COUNT)]
    a, b = a._replace(names=names), b._replace(names=[*names[:-1], "x.png"])
    refused("of other stimuli: number 11 is '11.png' in '0.npy' and 'x.png' in '1.npy'", a, b)
    refused("of the same stimuli in another order: number 0 is", a, b._replace(names=names[::-1]))
    assert rdm.compare(a, b._replace(names=None))
