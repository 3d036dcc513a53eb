"""The k most probable classes: chosen on the host or on the (emulated) device, with one rule for ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_emulator import emulated
from fastalex import AlexNet, UserError, _core, images
from tests.support.small_net import DIGITS, Foreign

TABLE = "fc name=fc out=6"
# Ties between 1 and 4, and between 2 and 3; NaN ranks first.
ROW = np.array([-1.0, 2.0, 0.0, 0.0, 2.0, np.nan], np.float32)
ORDER = [5, 1, 4, 2, 3, 0]


@pytest.fixture(scope="module", params=["cpu", "naive", pytest.param("emulated", marks=pytest.mark.emulator)])
def device(request):
    if request.param == "emulated":
        request.getfixturevalue("emulated")
    return request.param


@pytest.fixture(scope="module")
def digits(device):
    return AlexNet(weights="digits", device=device)


@pytest.fixture(scope="module")
def batch(digits):
    return digits.preprocess(DIGITS[:3])


def native(device, k, x=None, table=TABLE, taps=(), with_indices=True):
    """Values and indices of a net that adds ROW to zeros; -9 where nothing was written."""
    net = _core.Net(table, [1, 1, 1], [np.zeros((6, 1), np.float32), ROW] if "fc" in table else [], device)
    x = np.zeros((2, 1, 1, 1), np.float32) if x is None else x
    values, indices = np.full((2, max(k, 1)), -9, np.float32), np.full((2, max(k, 1)), -9, np.int32)
    call = _core.Call(x, top_k=k, taps=taps)
    call.set_outputs([values.ctypes.data], [values.size], indices=indices.ctypes.data if with_indices else 0)
    net.run(call)
    return values, indices


@pytest.mark.parametrize("k", range(1, 7))
def test_ties_and_nan_have_one_order_everywhere(device, k):
    values, indices = native(device, k)
    np.testing.assert_array_equal(indices, [ORDER[:k]] * 2)
    np.testing.assert_array_equal(values, [ROW[ORDER[:k]]] * 2)


@pytest.mark.parametrize(
    ("k", "options", "match"),
    [
        (7, {}, "top_k is 7"),
        (-1, {}, "top_k is -1"),
        (0, {}, "together"),
        (2, {"with_indices": False}, "together"),
        (2, {"taps": ["fc"]}, "last layer"),
        (2, {"table": "relu name=r"}, "softmax"),
    ],
)
def test_a_wrong_k_is_one_sentence(device, k, options, match):
    with pytest.raises(UserError, match=match) as error:
        native(device, k, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_probabilities_and_classes_are_those_of_predict_proba(digits, batch, k):
    probabilities = digits.predict_proba(batch)
    values, indices = digits.top_k(batch, k)
    assert (values.dtype, indices.dtype, values.shape) == (np.float32, np.int32, (3, k))
    np.testing.assert_array_equal(indices, np.argsort(-probabilities, axis=1, kind="stable")[:, :k])
    np.testing.assert_array_equal(values, np.take_along_axis(probabilities, indices, 1))


def test_a_nan_image_spoils_no_other(digits, batch):
    spoilt = batch.copy()
    spoilt[1] = np.nan
    values, indices = digits.top_k(spoilt, 3)
    assert np.isnan(values[1]).all()
    assert indices[1].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(indices[[0, 2]], digits.top_k(batch, 3)[1][[0, 2]])


@pytest.mark.parametrize(
    ("k", "match"),
    [(11, "at most 10"), (0, "above 0")],
)
def test_more_than_there_are_is_refused(digits, batch, k, match):
    with pytest.raises(UserError, match=match):
        digits.top_k(batch, k)


def test_a_batch_is_classified_as_its_images_are(digits, batch):
    expected = digits.classify(DIGITS[:3], topk=4)
    assert digits.classify(batch, topk=4) == expected
    assert [row[0].label for row in expected] == [path.name.split("-")[1] for path in DIGITS[:3]]
    assert len(digits.classify(batch, topk=99)[2]) == 10


# On the device ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_gpu(emulated):
    return AlexNet(weights="digits", device="emulated")


@pytest.mark.emulator
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("card", ["nano", "rtx30"])  # memory that CPU and GPU share, no graph; a graph
def test_arrays_on_the_device_are_classified(card, precision):
    with emulated.pretend(card):
        net = AlexNet(weights="digits", device="emulated", precision=precision)
        x = net.preprocess(DIGITS[:2])
        there = net.to_device(x)
        assert net.classify(there, topk=3) == net.classify(x, topk=3)
        for one, other in zip(net.top_k(Foreign(there), 2), net.top_k(x, 2)):
            np.testing.assert_array_equal(one, other)


def test_a_frame_on_the_device_is_classified(on_gpu):
    frame = np.ascontiguousarray(np.asarray(images.open_image(DIGITS[3]).convert("RGB"))[..., ::-1])
    size = frame.nbytes + -frame.nbytes % 4
    room = np.zeros(size // 4, np.float32)
    room.view(np.uint8)[: frame.nbytes] = frame.ravel()
    there = Foreign(on_gpu.to_device(room), typestr="|u1", shape=frame.shape, strides=None)
    expected = on_gpu.classify_frame(frame, topk=3)
    assert on_gpu.classify_frame(there, topk=3) == expected
    assert expected[0].label == DIGITS[3].name.split("-")[1]
    probabilities = on_gpu.run_frame(frame, softmax=True)[0]
    assert [answer.probability for answer in expected] == sorted(probabilities.tolist(), reverse=True)[:3]
    whole = on_gpu.classify_frame(frame[..., ::-1], order="RGB", topk=99, profile="caffe")
    assert len(whole) == 10


@pytest.mark.emulator
def test_results_may_stay_on_the_device():
    net = _core.Net(TABLE, [1, 1, 1], [np.zeros((6, 1), np.float32), ROW], "emulated")
    x = np.zeros((2, 1, 1, 1), np.float32)
    values, indices = (_core.DeviceBuffer(net, 2 * 3 * 4) for _ in range(2))
    call = _core.Call(x, top_k=3)
    call.set_outputs([values.ptr], [6], True, indices.ptr)
    net.run(call)
    found = np.empty((2, 3), np.int32)
    indices.copy_to_host(found)
    np.testing.assert_array_equal(found, [ORDER[:3]] * 2)
    call.set_outputs([values.ptr], [6], True, found.ctypes.data)
    with pytest.raises(UserError, match="indices.*device memory"):
        net.run(call)
