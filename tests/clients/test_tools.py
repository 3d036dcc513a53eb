"""The packages of vision scientists themselves, where they run without their dependencies, next to the read-outs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fastalex import AlexNet
from fastalex.cli.main import main
from fastalex.extractor import get_extractor_from_model
from fastalex.networks import taps
from tests.support import jetbot_original, originals

pytestmark = pytest.mark.peers

ORIENTATION = 0x0112  # the EXIF tag
CLASSES = 2
WIDTHS = (8, 12, 16, 12, 8, 24, 20)
PRODUCTS = (3 * 121, 8 * 25, 12 * 9, 16 * 9, 12 * 9, 8 * 36, 24, 20)  # of a sum of each layer


@pytest.fixture(scope="module")
def original():
    """torchvision's AlexNet with few channels, as PyTorch initializes it."""
    torch.manual_seed(3)
    model = jetbot_original.OriginalAlexNet(CLASSES).eval()
    sizes = iter(WIDTHS[:5])
    channels = 3
    for index in (0, 3, 6, 8, 10):
        old, count = model.features[index], next(sizes)
        shape = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
        model.features[index] = torch.nn.Conv2d(channels, count, **shape)
        channels = count
    features = channels * 6 * 6
    for index, count in ((1, WIDTHS[5]), (4, WIDTHS[6]), (6, CLASSES)):
        model.classifier[index], features = torch.nn.Linear(features, count), count
    return model


@pytest.fixture(scope="module")
def net(original):
    return get_extractor_from_model(original, "cpu", "pt", variant="torchvision", exact=True).model


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(2).standard_normal((2, 3, 224, 224)).astype(np.float32)


def close(got, expected):
    """As a fraction of the largest value, within the roundings that float32's sums can make: as many as products."""
    assert got.shape == expected.shape and np.abs(expected).max() > 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=sum(PRODUCTS) * 2.0**-24 * np.abs(expected).max())


@pytest.mark.parametrize("tool", ["net2brain"] if originals.installed("torchextractor") else [])
def test_what_torchextractor_itself_keeps_is_what_net2brain_stores(original, net, batch, tool):
    """Net2Brain's ``extraction_function`` (net2brain/architectures/pytorch_models.py, lines 73 to 76), whose result
    ``extract`` detaches after the run (net2brain/feature_extraction.py, line 252): of every module."""
    import torchextractor

    names = [name for name, _ in original.named_modules() if name]
    with torch.no_grad():
        _, kept = torchextractor.Extractor(original, names)(torch.from_numpy(batch))
    reads = taps.TOOLS[tool].reads(net.variant, names)
    results = net.taps(batch, list(reads.values()))
    assert list(reads) == names and any(name != layer for name, layer in reads.items())
    for name, layer in reads.items():
        close(results[layer], kept[name].numpy())


def test_the_command_stores_what_net2brain_does(original, net, tmp_path, capsys):
    """The rule in PyTorch: a hook that keeps the tensor without a clone, of photos read without their orientation."""
    folder, file = tmp_path / "images", tmp_path / "w.safetensors"
    folder.mkdir()
    net.save(file)
    pictures = []
    for number, frame in enumerate(jetbot_original.frames(2, 300, 260)):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        Image.fromarray(frame).save(folder / f"{number}.png", exif=exif)
        # netsetbase.py, lines 133 to 138: Resize((256,256)), CenterCrop(224), ToTensor, Normalize
        square = Image.fromarray(frame).resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
        planes = np.asarray(square, np.float32).transpose(2, 0, 1) / 255
        mean, std = (np.float32(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        pictures.append((planes - mean) / std)
    words = ["readout", str(folder), "--out", str(tmp_path / "out"), "--weights", str(file), "--tool", "net2brain"]
    assert main([*words, "--device", "cpu"]) == 0
    capsys.readouterr()
    layers = taps.TOOLS["net2brain"].layers
    kept = {}
    handles = [
        original.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: kept.update({name: output}))
        for name in layers
    ]
    with torch.no_grad():
        original(torch.from_numpy(np.stack(pictures)))
    for handle in handles:
        handle.remove()
    for name in layers:
        assert kept[name].min() == 0
        close(np.load(tmp_path / "out" / f"{name}.npy"), kept[name].numpy())


def test_other_tools_and_networks_store_each_module_itself(net):
    for tool in ("brain-score", "brain-score-convs", "thingsvision"):
        layers = taps.TOOLS[tool].layers
        assert taps.TOOLS[tool].reads(net.variant, layers) == {name: name for name in layers}
    digits = AlexNet(weights="digits", device="cpu").variant
    assert taps.TOOLS["net2brain"].reads(digits, ["conv1", "fc7"]) == {"conv1": "conv1", "fc7": "fc7"}


@pytest.mark.slow
@pytest.mark.parametrize("flat", [False, True] if originals.installed("thingsvision") else [])
@pytest.mark.filterwarnings("ignore::UserWarning")  # thingsvision's, of labels in batches
def test_thingsvision_itself(original, net, batch, flat, tmp_path):
    """The same calls, some by position, on batches of images and labels: its extractor and this one."""
    theirs, mine = originals.thingsvision_extractor(original), get_extractor_from_model(net, "cpu", "pt")
    assert mine.get_module_names() == theirs.get_module_names()
    assert mine.get_output_types() == theirs.get_output_types() and mine.get_backend() == theirs.get_backend()
    labeled = torch.utils.data.TensorDataset(torch.from_numpy(np.concatenate([batch, batch[:1]])), torch.arange(3))
    names = ["features.10", "classifier.4"]
    made = []
    for extractor in (theirs, mine):
        loader = torch.utils.data.DataLoader(labeled, batch_size=2)
        one = extractor.extract_features(loader, "features.3", None, flat, "tensor")
        several = extractor.extract_features(loader, module_names=names, flatten_acts=flat)
        extractor.extract_features(loader, "classifier.1", None, flat, "ndarray", str(tmp_path), 1, "_x", True)
        file = tmp_path / "classifier.1" / "features_x.npy"
        stored = np.load(file)
        file.unlink()
        with extractor.batch_extraction("features.6", None, "tensor") as e:
            inside = e.extract_batch(torch.from_numpy(batch), flat)
        with extractor.batch_extraction(module_names=names) as e:
            both = e.extract_batch(batch=torch.from_numpy(batch), flatten_acts=flat)
        assert isinstance(one, torch.Tensor) and isinstance(inside, torch.Tensor)
        assert list(several) == list(both) == names
        made.append([one.numpy(), inside.numpy(), stored, *several.values(), *both.values()])
    for expected, got in zip(*made):
        close(got, expected)


@pytest.mark.parametrize("profile", ["brainscore", "caffe"])
def test_the_command_sees_a_turned_picture_alike_with_frames_and_without(tmp_path, capsys, profile):
    exif, path = Image.Exif(), tmp_path / "turned.png"
    exif[ORIENTATION] = 6
    frame = jetbot_original.frames(1, 131, 131)[0]
    Image.fromarray(frame).save(path, exif=exif)
    words = ["classify", str(path), "--weights", "digits", "--device", "cpu", "--profile", profile, "--json"]
    assert main(words) == 0
    table = json.loads(capsys.readouterr().out)["images"][0]["predictions"]
    assert main([*words, "--headless"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (shown,) = (line["predictions"] for line in lines if "predictions" in line)
    assert [row["label"] for row in shown] == [row["label"] for row in table]
    np.testing.assert_allclose(*([row["probability"] for row in rows] for rows in (shown, table)), rtol=1e-6)
    net = AlexNet(weights="digits", device="cpu")
    turned = frame if profile == "brainscore" else np.rot90(frame, -1)
    expected = net.predict_proba(net.preprocess(np.ascontiguousarray(turned), profile)).max()
    assert table[0]["probability"] == pytest.approx(float(expected), rel=1e-4)
