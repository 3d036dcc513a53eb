"""AlexNet-like graphs at random (`--graphs N`): each gives what another program computes from the same file, or is
refused by what is odd in it. A plain one is never refused."""

from __future__ import annotations

import collections

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")
pytest.importorskip("google.protobuf")

from tests.support.random_graphs import caffe_nets, cases, onnx_graphs, torch_exports

pytestmark = pytest.mark.peers

#: Maker and its share of the graphs; the newer exporter of PyTorch takes seconds per graph.
SHARES = {
    "onnx": (onnx_graphs.make, 36),
    "caffe": (caffe_nets.make, 24),
    "torch": (torch_exports.make_script, 6),
    "torch dynamo": (torch_exports.make_dynamo, 2),
}
if not torch_exports.has_dynamo():  # PyTorch's test extra does not bring it
    SHARES["torch"] = (torch_exports.make_script, 8)
    del SHARES["torch dynamo"]
TOTAL = sum(share for _, share in SHARES.values())
MOST_SHOWN = 20


def plain_case(maker):
    """The first seed's case that has no oddity."""
    found = (maker(seed) for seed in range(40))
    return next(case for case in found if not case.oddities)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARES)
def test_random_graphs_are_right_or_refused(tmp_path, name, request):
    maker, share = SHARES[name]
    count = -(-request.config.getoption("--graphs") * share // TOTAL)
    counts, bad = collections.Counter(), []
    plain = 0
    for seed in range(count):
        case = maker(seed)
        plain += not case.oddities
        found = cases.outcome(case, tmp_path)
        counts[found.kind] += 1
        if found.kind in (cases.WRONG, cases.UNEXPLAINED):
            bad.append((found.kind != cases.WRONG, cases.report(case, found)))
    print(f"{name}: {count} graphs, {plain} of them plain: {dict(counts)}")
    if bad:
        shown = [text for _, text in sorted(bad, key=lambda one: one[0])[:MOST_SHOWN]]
        pytest.fail("%d of %d: %s\n%s" % (len(bad), count, dict(counts), "\n".join(shown)), pytrace=False)
    assert count < 20 or 0.2 * count < plain < 0.7 * count  # plain and odd graphs both occur


@pytest.mark.parametrize("maker", [onnx_graphs.make, caffe_nets.make], ids=["onnx", "caffe"])
def test_a_seed_makes_one_file(maker):
    for seed in (3, 4):
        one, other = maker(seed), maker(seed)
        assert one.data == other.data
        assert np.array_equal(one.x, other.x)
        assert all(np.array_equal(a, b) for a, b in zip(one.expected, other.expected))
    assert maker(3).data != maker(4).data


@pytest.mark.parametrize("maker", [onnx_graphs.make, caffe_nets.make], ids=["onnx", "caffe"])
def test_what_counts_as_wrong(tmp_path, maker):
    """The test above detects wrong values, shapes and causes, and refusals without a cause."""
    case = plain_case(maker)
    assert cases.outcome(case, tmp_path).kind == cases.EQUAL
    off = case._replace(expected=tuple(one + 2 * case.tolerance for one in case.expected))
    assert cases.outcome(off, tmp_path).kind == cases.WRONG
    cut = case._replace(expected=tuple(one[:, 1:] for one in case.expected))
    assert cases.outcome(cut, tmp_path).kind == cases.WRONG
    damaged = case._replace(data=case.data[:-9])
    assert cases.outcome(damaged, tmp_path).kind == cases.UNEXPLAINED
    odd = damaged._replace(oddities=(cases.Oddity("other", "a word that is not in it"),))
    assert cases.outcome(odd, tmp_path).kind == cases.UNEXPLAINED
    named = damaged._replace(oddities=(cases.Oddity("damage", "claims|ends within"),))
    assert cases.outcome(named, tmp_path).kind == cases.REFUSED
