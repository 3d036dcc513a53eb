"""Pickles of every kind through spawned workers (`--pickles N`): what a worker computes is what this process computes,
to the bit."""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from fastalex import LPIPS, VARIANTS, AlexNet, quantize, variants
from fastalex.extractor import Extractor
from fastalex.lpips.heads import NAME
from fastalex.networks import taps
from fastalex.runtime.precisions import SUPPORTED
from fastalex.weights import initial

SIZE = 99  # pixels; every variant has maps of at least one pixel at it
WIDTHS = (16, 32, 48, 48, 32, 48, 40)
CLASSES = 7
ROUND = 20  # pickles that are sent at a time, so that few files lie about
SMALL = 100_000  # bytes of a pickle by path
WAYS = ("arrays", "path")
SUFFIXES = (".safetensors", ".npz")
#: Kinds of networks: precision, storage of the fully connected weights, and what the pickle carries.
NETWORKS = [
    (precision, storage, way)
    for precision, storages in SUPPORTED["cpu"].items()
    for storage in storages
    for way in WAYS
]
OTHERS = ["metric", "metric", *(("extractor", way) for way in WAYS)]
KINDS = [*NETWORKS, *OTHERS]
LIMIT_S = 60  # for a round


def compute(thing, inputs):
    """Run in a worker and here."""
    run = thing.extract_batch if isinstance(thing, Extractor) else thing
    return os.getpid(), run(*inputs)


def images(generator, size, count=2):
    return generator.standard_normal((count, 3, size, size), np.float32)


def variant_of(number):
    return list(VARIANTS)[number % len(VARIANTS)]


def network(number, folder, precision, storage, way):
    """A network of random weights, of one variant after the other; by path from a file that may be quantized."""
    row = variants.get(variant_of(number), input_size=SIZE, widths=WIDTHS, num_classes=CLASSES)
    options = {"device": "cpu", "precision": precision, "fc_weights": storage}
    arrays = initial.random_weights(row, seed=number)
    plain = AlexNet(row, weights=arrays, device="cpu")
    if precision == "int8":
        options["calibration"] = quantize.calibrate(plain, [images(np.random.default_rng(number), SIZE)])
    if way == "arrays":
        return AlexNet(row, weights=arrays, **options)
    turn = number // len(KINDS)
    quantized = storage if storage in ("int8", "int4") and turn % 2 else "fp32"
    path = folder / (str(number) + SUFFIXES[turn // 2 % 2 if quantized == "fp32" else 0])
    plain.save(path, quantized)
    return AlexNet(weights=path, pickle_by="path", **options)


def metric(number):
    """A metric with random weights of the convolutions and the heads."""
    trunk = variants.get("torchvision", widths=(64, 192, 384, 256, 256, 8, 8), num_classes=2)
    generator = np.random.default_rng(number)
    heads = {NAME % k: generator.random((1, n, 1, 1), np.float32) for k, n in enumerate(trunk.widths[:5])}
    convolutions = initial.random_weights(trunk, seed=number)
    precision = ("fp32", "bf16")[number % 2]
    return LPIPS(weights=convolutions, heads=heads, check_hash=False, device="cpu", precision=precision)


def made(number, folder):
    """What pickle ``number`` is of, and inputs for it."""
    kind = KINDS[number % len(KINDS)]
    generator = np.random.default_rng((number, 1))
    if kind == "metric":
        return metric(number), [generator.uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32) for _ in range(2)]
    if kind[0] == "extractor":
        extractor = Extractor(network(number, folder, "fp32", "fp32", kind[1]))
        layers = [name for name in taps.names(extractor.model.variant) if name != taps.SOFTMAX]
        return extractor, [images(generator, SIZE), False, layers[generator.integers(len(layers))]]
    return network(number, folder, *kind), [images(generator, SIZE)]


def check(number, thing, expected, received):
    here, right = expected
    there, result = received
    assert there != here
    assert np.ptp(right) > 0 or right.size == 1
    assert result.dtype == right.dtype
    np.testing.assert_array_equal(result, right, err_msg=f"pickle {number} of {thing!r}")


@pytest.mark.slow
def test_pickles_through_spawned_workers_give_the_same_bits(tmp_path, request):
    count = request.config.getoption("--pickles")
    sent = collections.Counter()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for first in range(0, count, ROUND):
            numbers = range(first, min(first + ROUND, count))
            tasks = [made(number, tmp_path) for number in numbers]
            results = pool.starmap_async(compute, tasks, chunksize=1)
            expected = [compute(*task) for task in tasks]
            for number, (thing, _), right, received in zip(numbers, tasks, expected, results.get(LIMIT_S)):
                check(number, thing, right, received)
                sent[str(KINDS[number % len(KINDS)])] += 1
            for path in tmp_path.iterdir():
                path.unlink()
    print(f"{sum(sent.values())} pickles: {dict(sent)}")
    assert sum(sent.values()) == count


def test_the_numbers_make_every_kind(tmp_path):
    """2,000 pickles have every kind of network of every variant, and those by path are small."""
    numbers = [number for number in range(2000) if number % len(KINDS) < len(NETWORKS)]
    seen = {(variant_of(number), KINDS[number % len(KINDS)]) for number in numbers}
    assert seen == set(itertools.product(VARIANTS, NETWORKS))
    for number in (1, len(KINDS) - 1):
        thing, _ = made(number, tmp_path)
        assert len(pickle.dumps(thing)) < SMALL
    assert len(pickle.dumps(made(0, tmp_path)[0])) > SMALL
