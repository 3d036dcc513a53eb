"""Caffe files: every generation, as protobuf's own runtime writes them, and the same answers as OpenCV."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.errors import UserError
from fastalex.weights import adapt, initial
from fastalex.weights.readers import mapped

pytest.importorskip("google.protobuf")
from tests.support import file_writers

pytestmark = pytest.mark.peers

U = 2.0**-24
WIDTHS = (16, 32, 48, 48, 32, 64, 64)
ROWS = {name: variants.get(name, widths=WIDTHS, num_classes=5) for name in ("bvlc_alexnet", "caffenet")}


def saved(folder, row, arrays=None, **options):
    arrays = initial.random_weights(row, seed=1) if arrays is None else arrays
    path = folder / "net.caffemodel"
    path.write_bytes(file_writers.caffemodel_bytes(row, arrays, **options))
    return path, arrays


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        weights.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("version", [2, 1, 0])
@pytest.mark.parametrize(
    "options", [{}, {"packed": False}, {"double": True}, {"old_shape": True}, {"packed": False, "old_shape": True}]
)
def test_every_generation(tmp_path, name, version, options):
    path, arrays = saved(tmp_path, ROWS[name], version=version, **options)
    loaded = weights.load(path)
    assert list(loaded.arrays) == list(arrays)
    for key, array in arrays.items():
        assert loaded.arrays[key].dtype == (np.float64 if options.get("double") else np.float32)
        assert np.array_equal(loaded.arrays[key], array), key
    found = adapt.find(loaded)
    assert found.variant == ROWS[name]
    assert found.others == ()
    assert "layers" in found.note


@pytest.mark.slow
def test_packed_data_is_a_view_of_the_file(tmp_path):
    row = variants.get("bvlc_alexnet", widths=(96, 256, 384, 384, 256, 512, 512))
    path, arrays = saved(tmp_path, row)
    total = sum(array.nbytes for array in arrays.values())
    weights.load(path)  # imports the reader, whose own memory is not meant
    tracemalloc.start()
    loaded = weights.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 20 << 20
    assert peak < 1 << 18
    large = [array for array in loaded.arrays.values() if array.nbytes > mapped.SMALL_ARRAY]
    assert large and not any(array.flags.owndata or array.flags.writeable for array in large)


def test_places365_is_caffenet_with_other_classes(tmp_path):
    path, _ = saved(tmp_path, variants.get("caffenet", widths=WIDTHS, num_classes=365))
    net = AlexNet(weights=path)
    assert (net.variant.name, net.variant.num_classes, net.variant.profile) == ("caffenet", 365, "caffe")


def test_the_input_size_and_constants_of_the_file_count(tmp_path):
    import dataclasses

    row = variants.get(ROWS["bvlc_alexnet"], lrn=dataclasses.replace(ROWS["bvlc_alexnet"].lrn, k=2.0, alpha=5e-4))
    path, _ = saved(tmp_path, row)
    found = adapt.find(weights.load(path))
    assert found.variant.lrn.k == 2.0
    assert found.variant.lrn.alpha == pytest.approx(5e-4)
    assert "lrn differs" in found.note
    net = file_writers.caffe_messages()["NetParameter"].FromString(path.read_bytes())
    net.input_dim.extend([10, 3, 224, 224])
    path.write_bytes(net.SerializeToString())
    assert adapt.find(weights.load(path)).variant.input_size == 224


def test_a_shared_trunk_and_other_layers(tmp_path):
    row = ROWS["caffenet"]
    path, _ = saved(tmp_path, row)
    net = file_writers.caffe_messages()["NetParameter"].FromString(path.read_bytes())
    for kind in ("Data", "SoftmaxWithLoss", "Accuracy", "Dropout"):
        net.layer.add(name="x", type=kind)
    path.write_bytes(net.SerializeToString())
    assert adapt.find(weights.load(path)).variant == row
    net.layer[1].type = "ELU"
    path.write_bytes(net.SerializeToString())
    with pytest.raises(UserError, match=r"relu1.*\bELU\b"):
        AlexNet(weights=path)
    net.layer[1].type = "ReLU"
    net.layer[0].convolution_param.stride[0] = 2
    path.write_bytes(net.SerializeToString())
    with pytest.raises(UserError, match="conv1.*stride 2"):
        AlexNet(weights=path)


def damaged(folder, change):
    path, _ = saved(folder, ROWS["caffenet"])
    net = file_writers.caffe_messages()["NetParameter"].FromString(path.read_bytes())
    change(net)
    path.write_bytes(net.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda n: n.layer[0].blobs[0].data.append(1), "5809.*5808"),
        (lambda n: n.layer[0].blobs[0].shape.dim.__setitem__(0, -1), "whole number"),
        (lambda n: n.layer[0].blobs[0].shape.dim.__setitem__(0, 2**62), "too large"),
        (lambda n: n.layer[0].blobs[0].shape.dim.extend([1] * 40), "44 dimensions"),
        (lambda n: n.layer[0].blobs[1].shape.dim.extend([1]), r"conv1\.bias"),
        (lambda n: n.layer[0].blobs.add(), "3 blobs"),
        (lambda n: n.layer.add().CopyFrom(n.layer[0]), "conv1.*no map"),
        (lambda n: setattr(next(one for one in n.layer if one.name == "conv2"), "name", "conv1"), "twice"),
        (lambda n: n.ClearField("layer"), "no layers"),
    ],
)
def test_damage_is_one_sentence(tmp_path, change, match):
    refused(damaged(tmp_path, change), match)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (b"\xff" * 20, "ten bytes"),
        (b"\x0a\xff\xff\xff\xff\x7f", "claims"),
        (b"\x0b", "wire type"),
        (b"\x00\x00", "without"),
        (b"\x08", "within"),
        (b"\x0d\x00", "within"),
        (b"\x18\x01" * 600_000, "500000"),
        (b"\x12\x06\x28\x04\x32\x02\x2a\x01", "claims"),
        (b"hello, this is not a network", "it is text"),
    ],
)
def test_other_bytes_are_refused(tmp_path, data, match):
    path = tmp_path / "x.caffemodel"
    path.write_bytes(data)
    refused(path, match)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bvlc_alexnet", "caffenet"])
def test_opencv_and_onnxruntime_agree(tmp_path, name):
    """One set of weights, written as a caffemodel and as ONNX, read by three engines."""
    cv2 = pytest.importorskip("cv2")
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from fastalex.networks.onnx_export import graph_of

    row = variants.get(name, widths=(96, 256, 384, 384, 256, 512, 512))
    path, arrays = saved(tmp_path, row)
    (tmp_path / "net.prototxt").write_text(file_writers.prototxt(row, row.input_size))
    onnx.save(graph_of(row, arrays), str(tmp_path / "net.onnx"))
    x = 30 * np.random.default_rng(2).standard_normal((1, 3, 227, 227), dtype=np.float32)

    theirs = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(path))
    theirs.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    theirs.setInput(x)
    opencv = theirs.forward()
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    runtime = session.run(None, {session.get_inputs()[0].name: x})[0]

    for file in (path, tmp_path / "net.onnx"):
        net = AlexNet(weights=file, device="cpu")
        assert net.variant.name == name
        ours = net(x)
        for other in (opencv, runtime):
            # Two fp32 engines, each a few units of the largest value off, as in tests/model/test_model.py.
            assert np.abs(ours - other).max() <= 96 * U * np.abs(other).max()
    wrong = AlexNet(
        "caffenet" if name == "bvlc_alexnet" else "bvlc_alexnet", weights=path, widths=row.widths, check=False
    )
    assert np.abs(wrong(x) - opencv).max() > 0.01 * np.abs(opencv).max()
