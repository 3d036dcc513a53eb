"""JetBot's collision avoidance next to the original notebook's preprocessing and network in PyTorch."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
import torch

from fastalex import UserError
from fastalex.images import PROFILES, prepare_frame, preprocess
from fastalex.jetbot import LABELS, CollisionAvoidance
from tests.support import jetbot_original
from tests.support.jetbot_original import frames

pytestmark = pytest.mark.peers

U = 2.0**-24


@pytest.fixture(scope="module")
def original():
    return jetbot_original.trained()


@pytest.fixture(scope="module")
def best_model(original, tmp_path_factory):
    path = tmp_path_factory.mktemp("jetbot") / "best_model.pth"
    torch.save(original.state_dict(), path)
    return str(path)


@pytest.mark.slow
def test_the_probability_is_that_of_the_notebook_in_torch(original, best_model):
    """At most twice PyTorch's fp32 error against float64, and the softmax's own roundings."""
    avoid = CollisionAvoidance(best_model, device="cpu", exact=True)
    shown = frames()
    single = np.array([jetbot_original.blocked(original, frame) for frame in shown])
    double = original.double()
    exact = np.array([jetbot_original.blocked(double, frame, torch.float64) for frame in shown])
    original.float()
    ours = np.array([avoid(frame) for frame in shown])
    assert np.ptp(exact) > 0.5  # the frames differ in probability
    assert np.abs(ours - exact).max() <= 2 * np.abs(single - exact).max() + 4 * U
    usual = CollisionAvoidance(best_model, device="cpu")
    assert [usual(frame) < 0.5 for frame in shown] == list(exact < 0.5)
    assert usual.net.labels == list(LABELS) and usual.net.variant.profile == "jetbot"


@pytest.mark.slow
def test_it_answers_alike_each_time_which_the_notebook_in_torch_does_not(original, best_model):
    avoid = CollisionAvoidance(best_model, device="cpu")
    frame = frames(1)[0]
    assert len({avoid(frame) for _ in range(3)}) == 1
    original.train()  # the notebook never calls eval()
    assert len({jetbot_original.blocked(original, frame) for _ in range(3)}) > 1
    original.eval()


def test_orders_sizes_and_threads(best_model):
    avoid = CollisionAvoidance(best_model, device="cpu")
    frame = frames(1)[0]
    assert avoid(frame) == avoid(np.ascontiguousarray(frame[..., ::-1]), order="RGB")
    assert avoid(frame) != avoid(frame, order="RGB")
    large = frames(1, 300, 300)[0]  # object_following's camera, whose frames cv2.resize makes smaller
    assert avoid(large) == pytest.approx(avoid(cv2.resize(large, (224, 224))), abs=0.01)
    found = []
    threads = [threading.Thread(target=lambda: found.append(avoid(frame))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {avoid(frame)}


@pytest.mark.parametrize("frame", [None, np.zeros((224, 224)), np.zeros((224, 224, 3), np.float32), "x.png"])
def test_what_is_no_frame_is_one_sentence(best_model, frame):
    with pytest.raises(UserError):
        CollisionAvoidance(best_model, device="cpu")(frame)


def test_wrong_weights_are_one_sentence(original, tmp_path):
    with pytest.raises(UserError, match=r"pass the best_model.pth"):
        CollisionAvoidance(None)
    with pytest.raises(UserError, match="shape"):
        CollisionAvoidance("digits")
    with pytest.raises(UserError, match=r"there is no|cannot be read|no such file"):
        CollisionAvoidance(tmp_path / "best_model.pth")
    three = {name: value.numpy() for name, value in original.state_dict().items()}
    for name in ("classifier.6.weight", "classifier.6.bias"):
        three[name] = np.concatenate((three[name], three[name][:1]))
    with pytest.raises(UserError, match="has the classes blocked and free; these weights have 3"):
        CollisionAvoidance(three)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_a_frame_is_prepared_as_an_image_is(profile):
    """prepare_frame looks at fewer pixels and must not differ by a bit."""
    size = PROFILES[profile].size
    for height, width in ((size, size), (480, 640), (301, 203)):
        frame = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
        for view in (frame, frame[::-1, ::-1]):  # rows and columns may lie in any order
            for bgr in (False, True):
                expected = preprocess(view, profile, bgr=bgr)
                np.testing.assert_array_equal(prepare_frame(view, profile, size, bgr), expected)


def test_it_is_found_without_an_import_of_its_own():
    import subprocess
    import sys

    program = "import fastalex, sys; assert 'fastalex.jetbot' not in sys.modules; print(fastalex.jetbot.LABELS)"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"('blocked', 'free')\n"
