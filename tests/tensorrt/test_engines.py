"""TensorRT engines without TensorRT: the plan of layers, its cache and its calls, run by cuda_emulator.

engine_emulated.cpp computes each layer as TensorRT's documentation defines it, and checks what TensorRT would refuse:
types that do not match, shapes, batches outside the profile, damaged engines. The plugins run their real kernels on the
CUDA emulator. What only TensorRT itself can tell is listed in docs/tensorrt.md.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastalex import AlexNet, variants
from fastalex.cli.main import main
from fastalex.errors import BackendError, UserError
from fastalex.hardware import devices
from fastalex.runtime import device_spec
from fastalex.tuning import rules
from fastalex.weights import initial

ROOT = Path(__file__).resolve().parents[2]
U = 2.0**-24
# Eight layers of sums of at most 1200 products, 2^-24 * sqrt(1200) = 35 u each.
FP32 = 8 * 35 * U
# Input, weights and output of eight layers are rounded to 2^-11 independently, four standard deviations.
FP16 = 4 * np.sqrt(3 * 8) * 2.0**-11
NARROW = {"widths": (16, 32, 48, 48, 32, 64, 64), "num_classes": 7}
ALL = "FastAlexConvReLU FastAlexLRNPool FastAlexFullyConnectedW8"
VERSIONS = ("8.2.1", "10.3.0", "11.1.0")


@pytest.fixture
def trt(emulated_tensorrt, tmp_path, monkeypatch):
    """The emulated backend, with a cache of its own, as an RTX 30 with TensorRT 10.3."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with emulated_tensorrt.pretend("rtx30"):
        yield emulated_tensorrt


def narrow(name="alexnet-digits", **overrides):
    size = {} if name == "alexnet-digits" else NARROW
    return variants.get(name, **{**size, **overrides})


def make(trt, row=None, seed=2, **options):
    row = row or narrow()
    return AlexNet(row, weights=initial.random_weights(row, seed=seed), device=trt.TENSORRT, **options)


def images(row, batch=1, seed=3):
    shape = (batch, row.channels, row.input_size, row.input_size)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def exact(net):
    """The same network on the backend that defines every op, with the weights as they are kept."""
    return AlexNet(net.variant, weights=net.state_dict(), device="naive")


def check(got, expected, bound):
    scale = np.abs(expected).max()
    assert scale > 1e-3
    assert np.abs(got - expected).max() <= bound * scale


def engine_files():
    return sorted(Path(rules.engine_folder()).glob("*.engine"))


def origin(net, batch=1):
    return net.kernels(batch)["engine"]


def served(net, batch=1, names=()):
    """layer -> who does it."""
    return {layer: step["candidate"] for step in net.kernels(batch, names)["steps"] for layer in step["layers"]}


# The plan of layers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["8.2.1", "10.3.0"])
@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_variant_in_native_layers(trt, name, version):
    """Weakly and strongly typed."""
    row = narrow(name)
    with trt.pretend(tensorrt=version):
        net = make(trt, row, engine="native")
        assert set(served(net).values()) == {"TensorRT"}
        x = images(row, 2)
        check(net(x), exact(net)(x), FP32)
        half = make(trt, row, engine="native", precision="fp16")
        check(half(x), exact(half)(x), FP16)


@pytest.mark.parametrize(("precision", "fc_weights", "bound"), [("fp32", "int8", FP32), ("fp16", "int4", FP16)])
@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_variant_in_plugins(trt, monkeypatch, name, precision, fc_weights, bound):
    text = f"engine plugins {ALL}\n"
    monkeypatch.setattr(rules, "choose", lambda place, engine: rules.Tuning(text, "of the test"))
    row = narrow(name)
    net = make(trt, row, precision=precision, fc_weights=fc_weights)
    x = images(row, 2)
    check(net(x), exact(net)(x), bound)
    found = served(net)
    assert found["conv3"] == found["relu3"] == "FastAlexConvReLU"
    assert found["fc6"] == "FastAlexFullyConnectedW8"
    if row.lrn:
        assert found["norm1"] == found["pool1"] == "FastAlexLRNPool"


@pytest.mark.parametrize("engine", ["plugins", "native"])
def test_an_activation_for_each_layer(trt, engine):
    words = ("relu", "leaky_relu(0.3)", "tanh", "sigmoid", "leaky_relu", "none", "sigmoid")
    net = make(trt, narrow("torchvision", activation=words, output="sigmoid"), engine=engine)
    x = images(net.variant, 2)
    check(net(x), exact(net)(x), FP32)
    np.testing.assert_array_equal(net.top_k(x, 3)[1], np.argsort(-net(x), axis=1)[:, :3])


def test_the_device_file_says_which_plugins(trt):
    found = served(make(trt, precision="fp16", fc_weights="int8"))
    assert found["norm1"] == found["pool1"] == "FastAlexLRNPool"
    assert found["fc7"] == "FastAlexFullyConnectedW8"
    assert found["conv1"] == found["pool5"] == "TensorRT"
    for device in devices.load_all().values():
        assert device.engine.basis in devices.BASES
        assert device.engine.source
        if device.engine.basis == "predicted":
            assert "not measured" in device.engine.source
        assert set(device.engine.plugins) <= set(ALL.split())
    assert "plugins FastAlexLRNPool, FastAlexFullyConnectedW8 (predicted)" in make(trt).tuning


def test_a_layer_that_tensorrt_lacks_is_a_plugins_or_refused(trt):
    lrn = variants.LRN(size=17, alpha=1e-2)
    row = narrow(lrn=lrn)
    net = make(trt, row)
    assert served(net)["norm1"] == "FastAlexLRNPool"
    check(net(images(row)), exact(net)(images(row)), FP32)
    with pytest.raises(UserError, match="a normalization over more than 15 channels; use mode plugins"):
        make(trt, row, engine="native")
    with pytest.raises(UserError, match="fully connected weights in int8 or int4; use mode plugins"):
        make(trt, engine="native", fc_weights="int8")


@pytest.mark.parametrize("engine", ["plugins", "native"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_taps_stop_fusion_and_stay_apart(trt, engine, precision):
    row = narrow("torchvision")
    net = make(trt, row, engine=engine, precision=precision)
    names = ["conv1", "relu1", "pool5", "avgpool", "fc7", "prob"]
    x = images(row, 2)
    found, expected = net.taps(x, names), exact(net).taps(x, names)
    for name in names:
        assert found[name].shape == expected[name].shape
        check(found[name], expected[name], FP32 if precision == "fp32" else FP16)
    lrn = make(trt, engine=engine)
    x = images(lrn.variant)
    check(lrn.taps(x, ["norm1"])["norm1"], exact(lrn).taps(x, ["norm1"])["norm1"], FP32)


@pytest.mark.parametrize("size", [63, 100, 225])
def test_adaptive_pool_at_other_sizes(trt, size):
    row = narrow("torchvision")
    net = make(trt, row)
    x = images(variants.get(row, input_size=size), 2)
    check(net(x), exact(net)(x), FP32)


def test_caffes_range_does_not_overflow(trt):
    """Squares of activations of 0 to 255 are beyond fp16: the normalization is fp32 in native layers, too."""
    row = narrow()
    for version in VERSIONS:
        for engine in ("native", "plugins"):
            with trt.pretend(tensorrt=version):
                net = make(trt, row, engine=engine, precision="fp16")
                x = 255 * np.random.default_rng(1).random((1, 3, row.input_size, row.input_size), dtype=np.float32)
                taps = exact(net).taps(x, ["relu1"])["relu1"]
                assert np.square(taps.max()) > 65504
                check(net(x), exact(net)(x), FP16)


# Calls --------------------------------------------------------------------------------------------------------------


def test_batches_share_engines_to_the_next_power_of_two(trt):
    net = make(trt)
    expected = exact(net)
    for batch in (1, 2, 3, 4, 5):
        x = images(net.variant, batch, seed=batch)
        check(net(x), expected(x), FP32)
    assert [re.search(r"-b(\d+)\.engine$", path.name).group(1) for path in engine_files()] == ["1", "2", "4", "8"]
    assert net.kernels(3)["batch"] == net.kernels(4)["batch"] == [1, 4]


def test_one_graph_but_on_a_jetson(trt):
    x = images(narrow())
    results = []
    for device, graph in (("rtx30", True), ("nano", False)):
        with trt.pretend(device):
            net = make(trt)
            assert net.kernels()["graph"] is graph
            results += [net(x), net(x)]
    assert all(np.array_equal(result, results[0]) for result in results)


def test_threads_share_a_net(trt):
    net = make(trt)
    x = images(net.variant, 2)
    expected, results = net(x), [None] * 4

    def work(i):
        results[i] = net(x)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, expected) for result in results)


def test_arrays_on_the_device(trt):
    net = make(trt)
    x = images(net.variant, 2)
    given = net.to_device(x)
    out = net.to_device(np.full((2, 10), np.nan, np.float32))
    net(given, out=out)
    assert np.array_equal(out.numpy(), net(x))
    assert np.array_equal(net.predict_proba(given).numpy(), net.predict_proba(x))


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_a_frame_becomes_the_input_on_the_device(trt, order):
    net = make(trt, narrow("torchvision"))
    frames = np.random.default_rng(0).integers(0, 256, (2, 90, 121, 3), np.uint8)
    wide = np.zeros((90, 140, 3), np.uint8)
    wide[:, :121] = frames[0]
    expected = exact(net)
    for frame in (frames[0], frames[1], wide[:, :121]):
        check(net.run_frame(frame, order), expected.run_frame(frame, order), FP32)
    assert np.array_equal(net.run_frame(frames[0], order), net.run_frame(wide[:, :121], order))


def test_the_k_largest(trt):
    net = make(trt)
    x = images(net.variant, 3)
    values, indices = net.top_k(x, 4)
    wanted = exact(net).top_k(x, 4)
    assert np.array_equal(indices, wanted[1])
    check(values, wanted[0], FP32)


def test_the_time_is_one_engines(trt):
    net = make(trt)
    times = net.profile(images(net.variant))
    assert times[-1][1] > 0
    assert sum(seconds for _, seconds in times[:-1]) == 0


# The cache ----------------------------------------------------------------------------------------------------------


def test_an_engine_is_built_once(trt):
    assert origin(make(trt)) == "built"
    (path,) = engine_files()
    before = path.read_bytes()
    assert origin(make(trt)) == f"loaded from {path}"
    assert path.read_bytes() == before
    net = make(trt)
    check(net(images(net.variant)), exact(net)(images(net.variant)), FP32)


def test_the_key_names_its_parts(trt):
    make(trt, precision="fp16", fc_weights="int8").kernels()
    (path,) = engine_files()
    header, *lines = path.read_bytes().split(b"\n")[:12]
    assert header.startswith(b"fastalex-cache 1 ")
    parts = dict(line.decode().split(" ", 1) for line in lines[:10])
    assert list(parts) == "gpu sm sms plan weights precision batch tensorrt library tuning".split()
    assert (parts["gpu"], parts["sm"]) == (trt.device_text("rtx30").split(",")[0][5:], "86")
    assert (parts["precision"], parts["tensorrt"], parts["batch"]) == ("fp16, fc int8", "10.3.0", "1 1 1")
    _, _, key_bytes, content_bytes, digest = header.split()
    body = path.read_bytes()[len(header) + 1 :]
    assert len(body) == int(key_bytes) + int(content_bytes)
    assert f"{xxh64(body):016x}" == digest.decode()


def test_another_network_precision_or_gpu_has_its_own_file(trt):
    makers = [
        lambda: make(trt),
        lambda: make(trt, seed=4),
        lambda: make(trt, precision="fp16"),
        lambda: make(trt, fc_weights="int8"),
        lambda: make(trt, engine="native"),
        lambda: make(trt, narrow(num_classes=9)),
    ]
    for count, maker in enumerate(makers, 1):
        assert origin(maker()) == "built"
        assert len(engine_files()) == count
    with trt.pretend("rtx40"):
        assert origin(make(trt)) == "built"
    assert len(engine_files()) == len(makers) + 1
    for maker in makers:
        assert origin(maker()).startswith("loaded from ")


def test_another_tensorrt_or_tuning_replaces_the_file(trt, monkeypatch):
    make(trt).kernels()
    (path,) = engine_files()
    with trt.pretend(tensorrt="10.4.0"):
        assert origin(make(trt)) == f"built, since {path} is of another TensorRT, GPU, network or tuning"
        assert origin(make(trt)) == f"loaded from {path}"
        text = rules.choose(device_spec.choose(trt.TENSORRT), "plugins").text
        monkeypatch.setattr(rules, "choose", lambda place, engine: rules.Tuning(text + "# another\n", "of the test"))
        assert origin(make(trt)).endswith("is of another TensorRT, GPU, network or tuning")
    assert engine_files() == [path]


def damages():
    """What can become of a file."""
    return {
        "empty": lambda data: b"",
        "garbage": lambda data: os.urandom(500),
        "no newline": lambda data: b"fastalex-cache 1 " + b"9" * 300,
        "half": lambda data: data[: len(data) // 2],
        "last byte missing": lambda data: data[:-1],
        "a byte more": lambda data: data + b"\0",
        "a bit of the engine": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
        "a bit of the key": lambda data: data[:80] + bytes([data[80] ^ 1]) + data[81:],
        "a huge length": lambda data: re.sub(rb" 1 \d+ \d+ ", b" 1 18446744073709551615 9 ", data, count=1),
        "another format": lambda data: data.replace(b"cache 1", b"cache 2", 1),
    }


@pytest.mark.parametrize("name", damages())
def test_a_damaged_file_is_built_again(trt, name):
    make(trt).kernels()
    (path,) = engine_files()
    good = path.read_bytes()
    path.write_bytes(damages()[name](good))
    net = make(trt)
    assert re.match(rf"built, since {re.escape(str(path))} (is damaged|is no file of this cache)", origin(net))
    assert path.read_bytes() == good
    check(net(images(net.variant)), exact(net)(images(net.variant)), FP32)


def test_an_engine_that_tensorrt_refuses_is_built_again(trt):
    """A file that is whole and of the right key, but whose engine is another release's: TensorRT has the last word."""
    make(trt).kernels()
    (path,) = engine_files()
    header, rest = path.read_bytes().split(b"\n", 1)
    key_bytes = int(header.split()[2])
    engine = rest[key_bytes:].replace(b"10.3.0", b"10.2.9", 1)
    assert engine != rest[key_bytes:]
    body = rest[:key_bytes] + engine
    path.write_bytes(b"fastalex-cache 1 %d %d %016x\n" % (key_bytes, len(engine), xxh64(body)) + body)
    assert "cannot be used: TensorRT refuses the engine: it is of version 10.2.9" in origin(make(trt))
    assert origin(make(trt)).startswith("loaded from ")


def test_a_cache_that_cannot_be_written_costs_a_sentence(trt, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    net = make(trt)
    check(net(images(net.variant)), exact(net)(images(net.variant)), FP32)
    said = capfd.readouterr().err
    assert f"fastalex: the TensorRT cache cannot be kept: the folder {tmp_path / 'file'}" in said


def test_timings_are_kept_for_each_gpu_and_release(trt):
    folder = Path(rules.engine_folder())
    make(trt).kernels()
    (path,) = folder.glob("*.timings")
    assert path.read_bytes().endswith(b"\nt")
    make(trt, seed=4).kernels()
    assert path.read_bytes().endswith(b"\ntt")
    with trt.pretend(tensorrt="10.4.0"):
        make(trt).kernels()
    assert len(list(folder.glob("*.timings"))) == 2
    path.write_bytes(b"nonsense")
    make(trt, seed=5).kernels()
    assert path.read_bytes().endswith(b"\nt")


WORKER = """
from fastalex import AlexNet
from cuda_emulator import emulated
emulated.load_tensorrt()
print(AlexNet(weights="digits", device=emulated.TENSORRT).kernels()["engine"].split()[0], flush=True)
"""


def start(trt, build_s):
    command = [sys.executable, "-c", WORKER]
    library = {"FASTALEX_EMULATOR_LIBRARY": trt.library(), "FASTALEX_EMULATED_BUILD_S": str(build_s)}
    return subprocess.Popen(
        command,
        cwd=str(ROOT),
        env={**os.environ, **library},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )


def test_of_several_processes_one_builds(trt):
    workers = [start(trt, 2) for _ in range(3)]
    said = sorted(worker.communicate(timeout=60)[0].strip() for worker in workers)
    assert said == ["built", "loaded", "loaded"]


def test_progress_is_said_and_a_killed_build_leaves_nothing(trt):
    worker = start(trt, 60)
    line = worker.stderr.readline()
    assert re.match(
        r"fastalex: building a TensorRT engine \(fp32, fc fp32, one image, on NVIDIA GeForce RTX 30.*\), "
        r"which can take minutes: 3 s, Building 1/2\n",
        line,
    )
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert engine_files() == []
    assert start(trt, 0).communicate(timeout=60)[0] == "built\n"  # the lock went with its holder


def test_a_short_build_says_nothing(trt, capfd):
    make(trt).kernels()
    assert capfd.readouterr().err == ""


def xxh64(data):
    """XXH64 with seed 0, from its specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md)."""
    mask = 2**64 - 1
    p1, p2, p3, p4, p5 = (
        11400714785074694791,
        14029467366897019727,
        1609587929392839161,
        9650029242287828579,
        2870177450012600261,
    )

    def rotated(value, bits):
        return (value << bits | value >> (64 - bits)) & mask

    def mixed(lane, word):
        return rotated((lane + word * p2) & mask, 31) * p1 & mask

    def word(at, size):
        return int.from_bytes(data[at : at + size], "little")

    at, hashed = 0, p5
    if len(data) >= 32:
        lanes = [(p1 + p2) & mask, p2, 0, -p1 & mask]
        while at + 32 <= len(data):
            lanes = [mixed(lane, word(at + 8 * i, 8)) for i, lane in enumerate(lanes)]
            at += 32
        hashed = sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18))) & mask
        for lane in lanes:
            hashed = ((hashed ^ mixed(0, lane)) * p1 + p4) & mask
    hashed = (hashed + len(data)) & mask
    for size, factor, bits, times, plus in ((8, None, 27, p1, p4), (4, p1, 23, p2, p3), (1, p5, 11, p1, 0)):
        while at + size <= len(data):
            part = mixed(0, word(at, 8)) if factor is None else word(at, size) * factor & mask
            hashed = (rotated(hashed ^ part, bits) * times + plus) & mask
            at += size
    hashed = (hashed ^ hashed >> 33) * p2 & mask
    hashed = (hashed ^ hashed >> 29) * p3 & mask
    return hashed ^ hashed >> 32


@pytest.mark.parametrize(
    ("data", "value"), [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)]
)
def test_published_hashes(data, value):
    assert xxh64(data) == value


# What cannot be had -------------------------------------------------------------------------------------------------


def test_without_the_library_the_reason_is_kept():
    for _ in range(2):
        with pytest.raises(BackendError, match="device='tensorrt' cannot be used: this build has no tensorrt library"):
            AlexNet(device="tensorrt")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "fast"}, "engine must be one of plugins, native, not 'fast'"),
        (
            {"precision": "bf16"},
            "precision='bf16' is not for device='emulated-tensorrt:0', which computes in fp32 or fp16",
        ),
        ({"fc_weights": "fp16"}, "fc_weights='fp16' does not go with precision='fp32'"),
        ({"exact": True}, "exact=True is for device='cpu'"),
    ],
)
def test_wrong_arguments(trt, options, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        make(trt, **options)


def test_engines_are_tensorrts_alone(trt, capsys):
    with pytest.raises(UserError, match="engine='native' is for device='tensorrt'; on device='cpu', leave it out"):
        AlexNet(device="cpu", engine="native")
    with pytest.raises(UserError, match="device='cpu' has no engines; use device='tensorrt'"):
        AlexNet(weights="digits", device="cpu").save_engine("x.engine")
    assert main(["tune", "--device", trt.TENSORRT]) == 2
    assert "tune fastalex's own kernels: --device cuda" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("engine plugins FastAlexConv", "line 1 of the tuning: there is no plugin FastAlexConv (there are: "),
        ("# x\nengine cache here", "line 2 of the tuning: engine cache needs the absolute path of a folder"),
        ("engine fast", "line 1 of the tuning: say engine native, plugins NAME..., cache FOLDER or progress"),
    ],
)
def test_wrong_rules(trt, monkeypatch, text, sentence):
    monkeypatch.setattr(rules, "choose", lambda place, engine: rules.Tuning(text, "of the test"))
    with pytest.raises(UserError, match=re.escape(sentence)):
        make(trt)
