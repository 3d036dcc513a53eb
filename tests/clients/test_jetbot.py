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


def resnet(blocks):
    """The names of the state dict of torchvision's ResNet (torchvision/models/resnet.py), with few channels."""

    class Block(torch.nn.Module):
        def __init__(self, strides):
            super().__init__()
            self.conv1, self.bn1 = torch.nn.Conv2d(4, 4, 3, bias=False), torch.nn.BatchNorm2d(4)
            self.conv2, self.bn2 = torch.nn.Conv2d(4, 4, 3, bias=False), torch.nn.BatchNorm2d(4)
            if strides:
                self.downsample = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1, bias=False), torch.nn.BatchNorm2d(4))

    model = torch.nn.Module()
    model.conv1, model.bn1 = torch.nn.Conv2d(3, 4, 7, bias=False), torch.nn.BatchNorm2d(4)
    for number, count in enumerate(blocks, start=1):
        model.add_module(f"layer{number}", torch.nn.Sequential(*(Block(number > 1 and not i) for i in range(count))))
    model.fc = torch.nn.Linear(4, 2)
    return model.state_dict()


SIZES = [(1, 1), (1, 500), (2, 3), (112, 224), (223, 225), (300, 300), (448, 448), (448, 300), (480, 640), (720, 1280)]


@pytest.mark.parametrize("size", SIZES)
def test_frames_are_resized_as_opencv_does_within_one_gray_level(size):
    """object_following's ``cv2.resize(image, (224, 224))``, which rounds its weights to 11 bits."""
    rng = np.random.default_rng(4)
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (PROFILES["jetbot"].mean, PROFILES["jetbot"].std))
    steps = np.indices(size).sum(0) % 2 * 255  # a chessboard
    ramp = np.indices(size)[1] % 256
    pictures = [rng.integers(0, 256, (*size, 3)), rng.integers(0, 2, (*size, 3)) * 255, np.full((*size, 3), 255)]
    for picture in (*pictures, *(np.repeat(one[..., None], 3, 2) for one in (steps, ramp))):
        frame = picture.astype(np.uint8)
        seen = prepare_frame(frame, "jetbot", 224, True)[0].astype(np.float64) * std + mean
        levels = np.rint(seen).transpose(1, 2, 0)[..., ::-1]
        assert np.abs(seen - np.rint(seen)).max() < 1e-3  # whole gray levels
        assert np.abs(levels - cv2.resize(frame, (224, 224))).max() <= 1


def test_wrong_weights_are_one_sentence(original, tmp_path):
    with pytest.raises(UserError, match=r"pass the best_model.pth"):
        CollisionAvoidance(None)
    with pytest.raises(UserError, match="shape"):
        CollisionAvoidance("digits")
    with pytest.raises(UserError, match=r"there is no|cannot be read|no such file"):
        CollisionAvoidance(tmp_path / "best_model.pth")
    for blocks, name in (((2, 2, 2, 2), "of ResNet-18, as JetBot's road following"), ((3, 4, 6, 3), "of a ResNet, ")):
        torch.save(resnet(blocks), tmp_path / "best_steering_model_xy.pth")
        for weights in (resnet(blocks), tmp_path / "best_steering_model_xy.pth"):
            with pytest.raises(UserError, match=name) as error:
                CollisionAvoidance(weights)
            assert "\n" not in str(error.value) and "train_model.ipynb" in str(error.value)
        assert "best_steering_model_xy.pth" in str(error.value)
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
