"""The metric of torchmetrics' name, next to torchmetrics' own and inside of its collections; and without it."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch

import fastalex.lpips
from fastalex import UserError
from tests.lpips.test_lpips import ARRAYS, HEADS, images, noisy
from tests.support import originals

pytestmark = pytest.mark.peers

SIZE = (40, 48)
HAVE = originals.installed("torchmetrics")
OPTIONS = {"weights": ARRAYS, "heads": HEADS, "device": "cpu", "exact": True}


@pytest.fixture(scope="module", autouse=True)
def no_stand_in_afterwards():
    yield
    originals.forget()


def made(*positional, **options):
    return fastalex.lpips.LearnedPerceptualImagePatchSimilarity(*positional, **{**OPTIONS, **options})


def original(**options):
    """torchmetrics' own, with the same heads."""
    metric = originals.torchmetrics(ARRAYS, **options)
    heads = {name: torch.from_numpy(value) for name, value in HEADS.items()}
    heads.update({name.replace("lin", "lins.", 1): value for name, value in heads.items()})
    unknown = metric.net.load_state_dict(heads, strict=False).unexpected_keys
    assert not unknown
    return metric


def pair(unit=False, count=2):
    a = images(count, *SIZE)
    return tuple(torch.from_numpy((x + 1) / 2 if unit else x) for x in (a, noisy(a)))


def close(mine, theirs):
    """float32's roundings in both."""
    torch.testing.assert_close(torch.as_tensor(mine), theirs.detach(), rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["mean", "none"] if HAVE else [])
def test_the_values_are_those_of_torchmetrics(reduction):
    mine, theirs = made("alex", reduction, True), original(reduction=reduction, normalize=True)
    a, b = pair(True)
    for metric in (mine, theirs):
        metric.update(a, b)
        metric.update(a[:1], b[1:])
    close(mine.compute(), theirs.compute())
    close(mine(a, b), theirs(a, b))
    close(mine.compute(), theirs.compute())
    mine.reset()
    mine.update(a.numpy(), b.numpy())  # which torchmetrics does not take
    close(mine.eval().compute(), theirs(a, b))
    assert mine.update(a, b) is None


VALUES = [(-1, 1), (0, 1), (0, 255), (-1, 3), (-1.01, 1), (0, 1.01), (-1e-3, 1), (0.2, 0.8), (0.5, np.nan)]


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [False, True] if HAVE else [])
def test_images_are_refused_where_torchmetrics_refuses_them(normalize):
    mine, theirs = made(normalize=normalize), original(normalize=normalize)
    right, other = (torch.from_numpy((images(1, *SIZE, seed=s) + 1) / 2) for s in (0, 1))
    outcomes = []
    for low, high in [*VALUES, (0, np.inf), (-np.inf, 1)]:
        image = right.clone()
        image[0, 0, 3, 3], image[0, 1, 5, 7] = low, high
        for first, second in ((image, other), (other, image)):
            outcome = []
            for metric, error in ((theirs, ValueError), (mine, UserError)):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        outcome.append(float(metric(first, second)))
                    except error:
                        outcome.append(None)
            outcomes.append(outcome)
            assert outcome[1] == (None if outcome[0] is None else pytest.approx(outcome[0], rel=1e-5, nan_ok=True))
    refused = [one is None for one, _ in outcomes]
    assert any(refused) and not all(refused)
    # theirs has forgotten everything before the last that it refused
    taken = [value for _, value in outcomes if value is not None]
    assert float(mine.compute()) == pytest.approx(np.mean(taken), rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("kind", [torch.from_numpy, lambda array: array])
def test_bright_images_bring_one_warning(kind):
    bright = [kind((image + 1) / 2) for image in (images(1, *SIZE), images(1, *SIZE, seed=1))]
    metric = made()
    with pytest.warns(UserWarning, match=r"looks like \[0, 1\].*no further warnings") as caught:
        first = metric(*bright)
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(*bright)
        assert float(metric.compute()) == pytest.approx(float(first), rel=1e-6)
        made(range_check="off").update(*bright)
    with pytest.raises(UserError, match="looks like"):
        made(range_check="raise").update(*bright)
    for images_, words in ((np.float32([np.nan]), "NaN"), (np.float32([-2]), "with normalize=False: rescale or clip")):
        with pytest.raises(UserError, match=words):
            metric.update(kind(np.broadcast_to(images_, (1, 3, *SIZE)).copy()), bright[0])


@pytest.mark.parametrize("prefix", ["val_"] if HAVE else [])
def test_in_a_collection_of_torchmetrics(prefix):
    import torchmetrics

    a, b = pair()
    collection = torchmetrics.MetricCollection({"mine": made(), "theirs": original()})
    both = collection(a, b)
    close(both["mine"], both["theirs"])
    copied = collection.clone(prefix=prefix)
    copied.update(b[:1], a[1:])
    close(copied.compute()["val_mine"], copied.compute()["val_theirs"])
    assert float(collection.compute()["mine"]) != float(copied.compute()["val_mine"])
    collection.reset()
    collection.to("cpu").requires_grad_(False).update(a, b)
    close(collection.compute()["mine"], both["theirs"])
    assert collection["mine"].device == torch.device("cpu")
    tracked = torchmetrics.MetricTracker(made(), maximize=False)
    for other in (a, b):
        tracked.increment()
        tracked.update(a, other)
    assert int(tracked.best_metric(return_step=True)[1]) == 0


@pytest.mark.parametrize("reduction", ["mean", "sum"] if HAVE else [])
def test_states_of_processes_are_joined(reduction):
    a, b = pair()
    whole, one, two = (made(reduction=reduction, sync_on_compute=False) for _ in range(3))
    whole.update(a, b)
    one.update(a[:1], b[:1])
    two.update(a[1:], b[1:])
    one.merge_state(two)
    torch.testing.assert_close(one.compute(), whole.compute(), rtol=1e-6, atol=0)
    two.persistent(True)
    assert torch.equal(two.state_dict()["all_scores"][0], two.all_scores[0])
    with pytest.raises(ValueError, match="unknown"):
        made(unknown=1)


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [False] if HAVE else [])
def test_the_gradient_of_a_batch(normalize):
    mine, theirs = made(normalize=normalize), original(normalize=normalize)
    a, b = pair()
    gradients = []
    for metric in (mine, theirs):
        x = a.clone().requires_grad_()
        metric(x, b).backward()
        gradients.append(x.grad)
    scale = gradients[1].abs().max()
    # as in test_lpips.py: of the worst pixel, where a ReLU or a maximum may fall to the other side
    assert scale > 0 and (gradients[0] - gradients[1]).abs().max() <= 1e-3 * scale
    assert not any(scores.requires_grad for scores in mine.all_scores)
    mine.update(x, b)
    assert not mine.compute().requires_grad


@pytest.mark.parametrize("place", ["meta"] if HAVE else [])
def test_a_device_that_cannot_be_used_moves_nothing(place):
    metric = made()
    metric.update(*pair())
    with pytest.raises(UserError, match=place):
        metric.to(place)
    assert metric.device.type == metric.all_scores[0].device.type == metric.scores.lpips.device == "cpu"


def remove_torchmetrics(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastalex.lpips.torchmetrics_metric", None)
    monkeypatch.delattr(fastalex.lpips, "torchmetrics_metric", raising=False)


def test_without_torchmetrics(monkeypatch):
    remove_torchmetrics(monkeypatch)
    metric = made("alex", "sum")
    assert type(metric).__module__ == "fastalex.lpips.torchmetrics_style"
    a, b = (x.numpy() for x in pair())
    assert isinstance(metric(a, b), np.float32)
    copied = metric.clone()
    metric.update(a, b)
    assert metric.compute() == pytest.approx(2 * copied.compute(), rel=1e-6)
    assert metric.device == "cpu" and metric.to("cpu").cpu().eval().train() is metric.requires_grad_(False)
    assert made(reduction="none")(torch.from_numpy(a), torch.from_numpy(b)).shape == (2,)
    metric.reset()


@pytest.mark.parametrize("absent", [False, True])
def test_mistakes_are_one_sentence(monkeypatch, absent):
    if absent:
        remove_torchmetrics(monkeypatch)
    with pytest.raises(UserError, match="reduction.*'max'"):
        made("alex", "max")
    with pytest.raises(UserError, match="net must be 'alex'"):
        made("vgg")
    with pytest.raises(UserError, match="range_check"):
        made(range_check="loud")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics', of compute before update
        with pytest.raises(UserError, match="call update first"):
            made().compute()
    with pytest.raises(UserError, match="normalize=True"):
        made(normalize=True).update(*pair())
