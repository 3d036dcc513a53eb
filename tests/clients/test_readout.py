"""Layers of a folder of images as .npy files: against hooks in PyTorch, interrupted, resumed, with corrupt images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastalex import AlexNet, UserError, images, readout
from fastalex.cli.main import main
from fastalex.extractor import Extractor, get_extractor, get_extractor_from_model
from fastalex.networks import taps
from tests.support import jetbot_original, left, tool_layers
from tests.support.small_net import DIGITS, digit_folder

pytestmark = pytest.mark.peers

ROOT = Path(__file__).resolve().parents[2]
U = 2.0**-24


@pytest.fixture(scope="module")
def net():
    return AlexNet(weights="digits", device="cpu")


@pytest.fixture
def folder(tmp_path):
    """Pictures in a folder and one below it."""
    return digit_folder(tmp_path / "images", 7, below=2)


NAMES = ["0.png", "1.png", "2.png", "3.png", "4.png", "more/5.png", "more/6.png"]


def expected(net, folder, names, layer):
    return np.concatenate([net.taps(net.preprocess(folder / name), [layer])[layer] for name in names])


def names_in(output):
    return (output / readout.NAMES).read_text().splitlines()


# the files


def test_the_files_hold_what_taps_gives_image_by_image(net, folder, tmp_path):
    output, done = tmp_path / "out", []
    result = readout.read_out(
        net, str(folder), str(output), ["conv5", "blob:conv1", "fc7"], batch=3, report=done.append
    )
    assert done == [3, 6, 7]
    assert names_in(output) == NAMES
    files = {"conv5": "conv5.npy", "blob:conv1": "blob-conv1.npy", "fc7": "fc7.npy"}
    assert sorted(os.listdir(output)) == sorted([*files.values(), readout.NAMES, readout.RESULT])
    for layer, file in files.items():
        got = np.load(output / file)
        assert got.dtype == np.float32 and got.flags.c_contiguous
        np.testing.assert_array_equal(got, expected(net, folder, NAMES, layer))
        assert result["layers"][layer] == {"file": file, "shape": list(got.shape)}
    assert json.loads((output / readout.RESULT).read_text()) == result
    assert result["settings"]["weights"] == net.fingerprint() and result["left_out"] == {}


def test_what_killed_readouts_left_is_removed(net, folder, tmp_path):
    output = tmp_path / "out"
    remains = [left.beside(output / name) for name in (readout.STATE, readout.RESULT)]
    readout.read_out(net, str(folder), str(output), ["fc7"])
    assert not any(path.exists() for path in remains)


def test_a_complete_readout_is_not_repeated(net, folder, tmp_path, monkeypatch):
    output = tmp_path / "out"
    first = readout.read_out(net, str(folder), str(output), ["fc7"])
    monkeypatch.setattr(AlexNet, "taps", None)
    assert readout.read_out(net, str(folder), str(output), ["fc7"]) == first


def test_float16(net, folder, tmp_path):
    readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"], dtype="float16")
    got = np.load(tmp_path / "out" / "fc7.npy")
    np.testing.assert_array_equal(got, expected(net, folder, NAMES, "fc7").astype(np.float16))


def test_an_interrupted_readout_goes_on(net, folder, tmp_path, monkeypatch):
    """Rows that are there already are not computed again, and the files are those of one run."""
    output, batches = tmp_path / "out", []
    compute = AlexNet.taps

    def interrupted(self, x, names):
        batches.append(len(x))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return compute(self, x, names)

    monkeypatch.setattr(AlexNet, "taps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        readout.read_out(net, str(folder), str(output), ["conv5", "fc7"], batch=2)
    left = sorted(os.listdir(output))
    # no file has its final name yet
    assert left == ["conv5.npy.part", "fc7.npy.part", readout.NAMES + ".part", readout.STATE]
    batches.append(None)
    readout.read_out(net, str(folder), str(output), ["conv5", "fc7"], batch=2)
    assert batches == [2, 2, 2, None, 2, 1]
    for layer in ("conv5", "fc7"):
        np.testing.assert_array_equal(np.load(output / (layer + ".npy")), expected(net, folder, NAMES, layer))
    assert sorted(os.listdir(output)) == ["conv5.npy", "fc7.npy", readout.NAMES, readout.RESULT]


def test_a_killed_readout_goes_on(folder, tmp_path):
    """No exception is seen by a process that is killed: what was saved before counts."""
    output = tmp_path / "out"
    program = """
import os, signal, sys
from fastalex import AlexNet, readout
readout.run.SAVE_EVERY_S = 0.0
net = AlexNet(weights="digits", device="cpu")
def report(done):
    if done >= 4:
        os.kill(os.getpid(), signal.SIGKILL)
readout.read_out(net, sys.argv[1], sys.argv[2], ["fc7"], batch=2, report=report)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(folder), str(output)])
    assert killed.returncode == -9
    assert json.loads((output / readout.STATE).read_text())["done"] == 4
    net = AlexNet(weights="digits", device="cpu")
    done = []
    readout.read_out(net, str(folder), str(output), ["fc7"], batch=2, report=done.append)
    assert done == [6, 7]
    np.testing.assert_array_equal(np.load(output / "fc7.npy"), expected(net, folder, NAMES, "fc7"))


def test_a_readout_that_stopped_while_it_named_its_files_goes_on(net, folder, tmp_path, monkeypatch):
    output = tmp_path / "out"
    keep = readout.run.Run._keep

    def once(self, layer):
        if layer == "fc7":
            raise KeyboardInterrupt
        return keep(self, layer)

    with monkeypatch.context() as patch:
        patch.setattr(readout.run.Run, "_keep", once)
        with pytest.raises(KeyboardInterrupt):
            readout.read_out(net, str(folder), str(output), ["conv5", "fc7"])
    left = ["conv5.npy", "fc7.npy.part", readout.NAMES + ".part", readout.STATE]
    assert sorted(os.listdir(output)) == left
    monkeypatch.setattr(AlexNet, "taps", None)  # everything has been computed
    readout.read_out(net, str(folder), str(output), ["conv5", "fc7"])
    assert sorted(os.listdir(output)) == ["conv5.npy", "fc7.npy", readout.NAMES, readout.RESULT]


def test_another_readout_in_the_folder_is_refused_or_dropped(net, folder, tmp_path):
    output = tmp_path / "out"
    readout.read_out(net, str(folder), str(output), ["conv5", "fc7"])
    for change in ({"layers": ["fc6"]}, {"layers": ["conv5", "fc7"], "dtype": "float16"}):
        with pytest.raises(UserError, match="has results of other images, another network or other settings"):
            readout.read_out(net, str(folder), str(output), **change)
    (folder / "new.png").write_bytes(DIGITS[9].read_bytes())
    with pytest.raises(UserError, match="other images"):
        readout.read_out(net, str(folder), str(output), ["conv5", "fc7"])
    readout.read_out(net, str(folder), str(output), ["fc7"], restart=True)
    assert sorted(os.listdir(output)) == ["fc7.npy", readout.NAMES, readout.RESULT]
    assert len(np.load(output / "fc7.npy")) == 8


@pytest.mark.parametrize("bad", [["0.png"], ["3.png", "more/6.png"], ["more/5.png", "more/6.png"]])
def test_an_image_that_is_corrupt_is_left_out(net, folder, tmp_path, bad):
    for name in bad:
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    output = tmp_path / "out"
    result = readout.read_out(net, str(folder), str(output), ["conv1"], batch=2)
    good = [name for name in NAMES if name not in bad]
    assert names_in(output) == good and sorted(result["left_out"]) == sorted(bad)
    got = np.load(output / "conv1.npy")
    np.testing.assert_array_equal(got, expected(net, folder, good, "conv1"))
    assert sorted(os.listdir(output)) == ["conv1.npy", readout.NAMES, readout.RESULT]


def test_a_link_to_nothing_is_left_out(net, folder, tmp_path):
    (folder / "0.png").unlink()
    (folder / "0.png").symlink_to("nowhere")
    result = readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"])
    assert list(result["left_out"]) == ["0.png"] and names_in(tmp_path / "out") == NAMES[1:]


def test_the_command_says_what_was_left_out(capsys, folder, tmp_path):
    (folder / "2.png").write_bytes(b"")
    words = ["readout", str(folder), "--out", str(tmp_path / "out"), "--weights", "digits", "--layers", "fc7", "conv5"]
    for _ in range(2):
        code = main([*words, "--json"])
        out, err = capsys.readouterr()
        assert code == 2 and err.count("\n") == 1 and "2.png' is empty" in err
        assert json.loads(out)["layers"]["fc7"]["shape"] == [6, 192]
    code = main(words)
    out, err = capsys.readouterr()
    assert code == 2 and "6 x 192" in out


def test_all_corrupt_empty_and_missing_folders(net, folder, tmp_path):
    for name in NAMES:
        (folder / name).write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 7 images can be read; the first: .*0.png"):
        readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"])
    empty = tmp_path / "empty"
    empty.mkdir()
    for place, sentence in ((empty, "there is no image"), (tmp_path / "none", "is not a folder")):
        with pytest.raises(UserError, match=sentence):
            readout.read_out(net, str(place), str(tmp_path / "other"), ["fc7"])
    assert not (tmp_path / "other").exists()


def test_a_full_disk_is_one_sentence(net, folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"fc7.npy.part cannot be written: No space left on device"):
        readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"])
    monkeypatch.undo()
    readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"])  # continues once there is room
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "fc7.npy"), expected(net, folder, NAMES, "fc7"))


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
    """40 images, 1.7 MB of results for each: the process's own memory must not grow with them."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        shutil.copy(DIGITS[number % len(DIGITS)], folder / (f"{number:03}.png"))
    program = """
import sys
from fastalex import AlexNet, readout
net = AlexNet("torchvision", weights="random", device="cpu", threads=1)
def private():
    fields = dict(line.split(":") for line in open("/proc/self/status"))
    return int(fields["RssAnon"].split()[0]) if "RssAnon" in fields else int(fields["VmRSS"].split()[0])
seen = []
readout.read_out(net, sys.argv[1], sys.argv[2], ["conv1", "relu1", "pool1"], batch=4,
                 report=lambda done: seen.append(private()))
print(*seen)
"""
    done = subprocess.run([sys.executable, "-c", program, str(folder), str(tmp_path / "out")], stdout=subprocess.PIPE)
    kilobytes = [int(word) for word in done.stdout.split()]
    assert len(kilobytes) == 10
    written = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.npy"))
    assert written > 60e6
    assert kilobytes[-1] - kilobytes[1] < 12e3, "the private memory grows with what is written"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--weights digits", "name the layers to read out: --layers"),
        ("--layers conv1", "readout needs trained weights"),
        ("--weights digits --tool brainscore", "--tool must be one of brain-score, brain-score-convs, thingsvision"),
        ("--weights digits --tool thingsvision", "alexnet-digits has no layer 'features.10'"),
        ("--weights digits --layers conv9", "did you mean 'conv"),
        ("--weights digits --layers fc7 --dtype int4", "dtype must be one of float32, float16, int8"),
        ("--weights none.pth --layers fc7", "there is no weights file none.pth"),
    ],
)
def test_mistakes_are_one_sentence(capsys, folder, tmp_path, words, sentence):
    code = main(["readout", str(folder), "--out", str(tmp_path / "out"), *words.split()])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "") and err.count("\n") == 1 and sentence in err
    assert not (tmp_path / "out").exists()


# torchvision's network, by the names of the tools


@pytest.fixture(scope="module")
def original():
    return jetbot_original.trained()


@pytest.fixture(scope="module")
def torchvision_net(original):
    arrays = {name: value.numpy() for name, value in original.state_dict().items()}
    return AlexNet(weights=arrays, device="cpu", exact=True)


def hooked(model, x, names, clone=True):
    """Each module's output, as hooks keep it: thingsvision's with a clone (thingsvision/core/extraction/torch.py, line
    71), those of Net2Brain's torchextractor without (torchextractor/extractor.py, line 37, of version 0.3.0)."""
    kept, handles = {}, []
    for name, module in model.named_modules():
        if name in names:
            keep = lambda _, __, output, name=name: kept.__setitem__(name, output.clone() if clone else output)  # noqa: E731
            handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return {name: value.detach().double().numpy() for name, value in kept.items()}


def photos(count=3, height=300, width=260):
    return [Image.fromarray(frame[..., ::-1]) for frame in jetbot_original.frames(count, height, width)]


def assert_close(got, exact, single, name):
    """At most twice PyTorch's own error in float32, and some roundings of the largest value."""
    scale = np.abs(exact).max()
    assert scale > 0
    assert got.shape == exact.shape, name
    assert np.abs(got - exact).max() <= 2 * np.abs(single - exact).max() + 4 * U * scale, name


@pytest.mark.slow
@pytest.mark.parametrize("tool", list(taps.TOOLS))
def test_a_folder_read_out_as_a_tool_does_it_is_torch_with_hooks(torchvision_net, original, tmp_path, tool):
    layers, profile, in_place = taps.TOOLS[tool]
    folder = tmp_path / "images"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # a turned camera, which none of the tools heeds
    for number, photo in enumerate(photos()):
        photo.save(folder / (f"{number}.png"), exif=exif)
    reads = taps.TOOLS[tool].reads(torchvision_net.variant, layers)
    result = readout.read_out(torchvision_net, str(folder), str(tmp_path / "out"), reads, profile)
    assert result["settings"]["layers"] == list(layers) and result["settings"]["reads"] == reads
    x = images.preprocess(photos(), profile)
    single = hooked(original, torch.from_numpy(x), layers, clone=not in_place)
    exact = hooked(original.double(), torch.from_numpy(x).double(), layers, clone=not in_place)
    original.float()
    for layer in layers:
        assert_close(np.load(tmp_path / "out" / (layer + ".npy")), exact[layer], single[layer], layer)


def test_the_tools_layers_are_those_of_the_tools():
    assert list(taps.TOOLS["brain-score"].layers) == tool_layers.BRAIN_SCORE
    assert list(taps.TOOLS["brain-score-convs"].layers) == tool_layers.BRAIN_SCORE_CONVS
    assert list(taps.TOOLS["thingsvision"].layers) == tool_layers.THINGSVISION
    assert list(taps.TOOLS["net2brain"].layers) == tool_layers.NET2BRAIN


@pytest.mark.slow
def test_a_hook_without_a_clone_reads_what_the_next_relu_in_torch_made_of_it(original, torchvision_net):
    """Why Brain-Score's own wrapper reads features.10 after its ReLU on a CPU, and what is read here."""
    kept = []
    handle = original.features[10].register_forward_hook(lambda _, __, output: kept.append(output.data.numpy()))
    x = images.preprocess(photos(1), "brainscore")
    with torch.no_grad():
        original(torch.from_numpy(x))
    handle.remove()
    assert (kept[0] >= 0).all()
    got = torchvision_net.taps(x, ["features.10", "features.11"])
    assert (got["features.10"] < 0).any()
    np.testing.assert_array_equal(np.maximum(got["features.10"], 0), got["features.11"])


# the extractor


@pytest.mark.slow
def test_the_extractor_is_thingsvision_in_torch(torchvision_net, original, tmp_path):
    extractor = Extractor(torchvision_net)
    transform = extractor.get_transformations()
    batches = [torch.stack([transform(photo) for photo in photos()[start : start + 2]]) for start in (0, 2)]
    assert batches[0].shape == (2, 3, 224, 224) and batches[0].dtype == torch.float32
    names = ["features.10", "classifier.4", "features", "classifier", "avgpool"]
    whole = torch.cat(batches)
    single, exact = hooked(original, whole, names), hooked(original.double(), whole.double(), names)
    original.float()
    for name in names:
        features = extractor.extract_features(batches=batches, module_name=name, flatten_acts=False)
        assert isinstance(features, np.ndarray) and features.dtype == np.float32
        assert_close(features, exact[name], single[name], name)
        flat = extractor.extract_features(batches, module_name=name, flatten_acts=True, output_type="tensor")
        np.testing.assert_array_equal(flat.numpy(), features.reshape(3, -1))
    both = extractor.extract_features([batch.numpy() for batch in batches], module_names=names[:2])
    assert list(both) == names[:2] and both["features.10"].shape == (3, 256, 13, 13)
    one = extractor.extract_batch(batches[0], True, "features.10")
    np.testing.assert_array_equal(one, both["features.10"][:2].reshape(2, -1))
    modules = [name for name, _ in original.named_modules()]
    assert extractor.get_module_names() == modules[1:]
    assert [name for name, _ in extractor.model.named_modules()] == modules
    assert extractor.get_backend() == "pt" and extractor.get_output_types() == ["ndarray", "tensor"]
    assert extractor.show_model() is torchvision_net


def test_the_extractor_writes_files_as_thingsvision_names_them(net, tmp_path):
    extractor = Extractor(net)
    batches = extractor.batches(str(ROOT / "examples/digits"), batch_size=8)
    assert len(batches) == 3 and [len(batch) for batch in batches] == [8, 8, 4]
    whole = extractor.extract_features(batches, module_names=["fc7", "conv5"])
    assert whole["fc7"].shape == (20, 192)
    options = {"module_names": ["fc7", "conv5"], "output_dir": str(tmp_path / "a"), "step_size": 2}
    left.beside(tmp_path / "a/fc7/features_0-16.npy")  # which is removed
    assert extractor.extract_features(batches, **options) is None
    for name in ("fc7", "conv5"):
        assert sorted(os.listdir(tmp_path / "a" / name)) == ["features_0-16.npy", "features_16-20.npy"]
        parts = [np.load(tmp_path / "a" / name / file) for file in ("features_0-16.npy", "features_16-20.npy")]
        np.testing.assert_array_equal(np.concatenate(parts), whole[name])
    options.update(output_dir=str(tmp_path / "b"), save_in_one_file=True, file_name_suffix="_val")
    extractor.extract_features(batches, **options)
    np.testing.assert_array_equal(np.load(tmp_path / "b/fc7/features_val.npy"), whole["fc7"])
    extractor.extract_features(batches, "fc7", output_type="tensor", output_dir=str(tmp_path / "c"))
    loaded = torch.load(tmp_path / "c/fc7/features_0-20.pt")
    np.testing.assert_array_equal(loaded.numpy(), whole["fc7"])


@pytest.mark.slow
def test_get_extractor(tmp_path, monkeypatch, net):
    extractor = get_extractor(model_name="alexnet", source="torchvision", device="cpu", pretrained=False)
    assert extractor.model.variant.name == "torchvision" and extractor.device == "cpu"
    net.save(tmp_path / "w.safetensors")
    found = get_extractor("alexnet", True, "cpu", "torchvision", model_path=str(tmp_path / "w.safetensors"))
    assert found.model.variant.name == "alexnet-digits"
    asked = []
    monkeypatch.setattr(AlexNet, "from_pretrained", lambda name, **options: asked.append((name, options)) or net)
    parameters = {"weights": "IMAGENET1K_V1"}
    assert get_extractor(device="cpu", model_parameters=parameters, precision="bf16").model is net
    assert asked == [("torchvision", {"device": "cpu", "precision": "bf16"})]


def test_an_extractor_around_a_network(net, original):
    assert get_extractor_from_model(net, "cpu", "pt").model is net
    made = get_extractor_from_model(original, "cpu", "pt", threads=1)
    for name, array in made.model.state_dict().items():
        np.testing.assert_array_equal(array, original.state_dict()[name].numpy())
    assert made.model.variant.name == "torchvision" and made.model.threads == 1
    prepare = lambda image: torch.full((3, 9, 9), float(np.asarray(image)[0, 0, 0]))  # noqa: E731
    own = get_extractor_from_model(model=net, device="cpu", backend="pt", preprocess=prepare)
    assert own.get_transformations() is prepare
    first = next(iter(own.batches(str(ROOT / "examples/digits"), batch_size=2)))
    assert first.shape == (2, 3, 9, 9) and first.dtype == np.float32


def test_batches_of_images_and_labels_are_read_for_the_images(net):
    x = images.preprocess([str(path) for path in DIGITS[:5]], "digits")
    extractor = Extractor(net)
    expected = extractor.extract_features([x[:2], x[2:4], x[4:]], "fc7")
    labeled = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.arange(5))
    loader = torch.utils.data.DataLoader(labeled, batch_size=2)  # which makes lists of images and labels
    np.testing.assert_array_equal(extractor.extract_features(loader, "fc7"), expected)
    np.testing.assert_array_equal(extractor.extract_batch((x[:2], [0, 1]), module_name="fc7"), expected[:2])
    np.testing.assert_array_equal(extractor.extract_batch(list(x[:2]), module_name="fc7"), expected[:2])


@pytest.mark.parametrize(
    ("batch", "names", "match"),
    [
        ([[1], [1, 2]], {"module_name": "fc7"}, "must have one shape"),
        ([[[[0.0]], [[0.0], [1.0]]]], {"module_name": "fc7"}, "must have one shape"),
        ([np.zeros((1, 9, 9)), np.zeros((1, 8, 9))], {"module_name": "fc7"}, "must have one shape"),
        (np.zeros((1, 1, 8, 8)), {"module_name": ["fc7"]}, "a name, not .'fc7'.; pass several as module_names"),
        (np.zeros((1, 1, 8, 8)), {"module_names": [["fc7"]]}, "must be a list of names"),
    ],
)
def test_what_an_extractor_does_not_take_is_one_sentence(net, batch, names, match):
    for extract in (Extractor(net).extract_batch, lambda x, **names: Extractor(net).extract_features([x], **names)):
        with pytest.raises(UserError, match=match) as found:
            extract(batch, **names)
        assert "\n" not in str(found.value)


def test_extracting_in_a_context(net):
    x = images.preprocess([str(path) for path in DIGITS[:2]], "digits")
    extractor = Extractor(net)
    expected = net.taps(x, ["conv5", "fc7"])
    with extractor.batch_extraction("conv5", output_type="tensor") as e:
        assert e is extractor
        got = e.extract_batch(torch.from_numpy(x), True)
        assert isinstance(got, torch.Tensor)
        np.testing.assert_array_equal(got.numpy(), expected["conv5"].reshape(2, -1))
        with extractor.batch_extraction(module_names=["fc7", "conv5"]) as inner:
            both = inner.extract_batch(batch=x, flatten_acts=False)
            assert list(both) == ["fc7", "conv5"]
            np.testing.assert_array_equal(both["conv5"], expected["conv5"])
        np.testing.assert_array_equal(e.extract_batch(x, module_name="fc7").numpy(), expected["fc7"])
        np.testing.assert_array_equal(e.extract_batch(x).numpy(), expected["conv5"])
    with pytest.raises(UserError, match="pass either"):
        extractor.extract_batch(x)


def test_transformations(torchvision_net):
    extractor = Extractor(torchvision_net)
    photo = photos(1)[0]
    usual = extractor.get_transformations(output_type="ndarray")(photo)
    np.testing.assert_array_equal(usual, images.preprocess(photo, "torchvision")[0])
    smaller = extractor.get_transformations(resize_dim=128, crop_dim=100)(photo)
    resized = photo.resize((128, int(128 * 300 / 260)), Image.BILINEAR)
    left, top = 14, round((resized.height - 100) / 2)
    crop = np.asarray(resized.crop((left, top, left + 100, top + 100)), np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    np.testing.assert_array_equal(smaller.numpy(), (crop - mean[:, None, None]) / std[:, None, None])
    assert repr(extractor.get_transformations()) == "Transformation('torchvision', size=224)"
    whole = extractor.get_transformations(resize_dim=128, apply_center_crop=False)(photo)
    crop = np.asarray(resized, np.float32).transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(whole.numpy(), (crop - mean[:, None, None]) / std[:, None, None])
    uncropped = extractor.get_transformations(apply_center_crop=False, output_type="ndarray")
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    assert uncropped.batch([photo, photo]).shape == (2, 3, 295, 256)
    with pytest.raises(UserError, match="make no batch"):
        uncropped.batch([photo, turned])
    wide = extractor.extract_batch(uncropped.batch(turned), module_name="features.2")
    assert wide.shape == (1, 64, 31, 36)  # of 256 x 295 pixels


def test_the_transformation_of_pretrained_weights_is_fixed_as_in_thingsvision(net, monkeypatch):
    """thingsvision/core/extraction/extractors.py, lines 99 to 114: the weights' own transformation, and a warning."""
    monkeypatch.setattr(AlexNet, "from_pretrained", lambda *_, **__: net)
    photo = photos(1)[0]
    extractor = get_extractor("alexnet", True, "cpu", "torchvision")
    usual = extractor.get_transformations()(photo)
    with pytest.warns(UserWarning, match="apply_center_crop are ignored"):
        other = extractor.get_transformations(128, 100, False)
    np.testing.assert_array_equal(other(photo).numpy(), usual.numpy())


def test_a_mean_image_cannot_be_subtracted_from_a_whole_image():
    mean = np.full((3, 256, 256), 100, np.float32)
    extractor = Extractor(AlexNet("caffenet", weights="random", device="cpu", mean_image=mean, widths=(8,) * 7))
    with pytest.raises(UserError, match="leave out apply_center_crop=False"):
        extractor.get_transformations(apply_center_crop=False)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda e: e.extract_features([], "fc7"), "there are no batches"),
        (lambda e: e.extract_features([1], "fc7", module_names=["fc7"]), "pass either module_name or module_names"),
        (lambda e: e.extract_batch(np.zeros((1, 3, 131, 131), np.float32)), "pass either module_name or module_names"),
        (lambda e: e.extract_batch(np.zeros((1, 3, 131, 131), np.float32), "fc7"), "name a module as module_name="),
        (lambda e: e.extract_batch(np.zeros((1, 3, 131, 131), np.float32), module_name="fc9"), "did you mean 'fc"),
        (lambda e: e.extract_batch(np.zeros((1, 3, 131, 131)), module_name="fc7"), "must be float32"),
        (
            lambda e: e.extract_batch(np.zeros((1, 3, 9, 9), np.float32), False, "fc7", output_type="list"),
            "output_type",
        ),
        (lambda e: e.batch_extraction(), "pass either module_name or module_names"),
        (lambda e: e.batch_extraction("fc9"), "did you mean 'fc"),
        (lambda e: e.batch_extraction("fc7", output_type="list"), "output_type"),
        (lambda e: e.get_transformations(apply_center_crop=False), "profile digits does not crop"),
        (lambda e: e.get_transformations(resize_dim=300), "profile digits does not crop"),
        (lambda e: e.batches("nowhere"), "is not a folder"),
        (lambda e: e.batches(str(ROOT / "examples/digits"), 0), "batch_size"),
        (lambda e: get_extractor("resnet18"), "fastalex has model_name='alexnet' of source='torchvision'"),
        (lambda e: get_extractor(model_parameters={"weights": "V2"}), "model_parameters"),
        (lambda e: get_extractor("alexnet", "torchvision", "cpu", True), "the order of the arguments is model_name"),
        (lambda e: get_extractor_from_model(e.model, "cpu", "tf"), "backend must be 'pt', not 'tf'"),
        (lambda e: get_extractor_from_model(e.model, "cpu", "pt", None, len), "forward_fn"),
        (lambda e: get_extractor_from_model("alexnet", "cpu", "pt"), "must be an AlexNet or a PyTorch module, not str"),
        (lambda e: get_extractor_from_model(torch.nn.Linear(2, 2), "cpu", "pt"), "no place in a network of the family"),
    ],
)
def test_mistakes_with_the_extractor_are_one_sentence(net, call, sentence):
    with pytest.raises(UserError) as error:
        call(Extractor(net))
    assert sentence in str(error.value) and "\n" not in str(error.value)
