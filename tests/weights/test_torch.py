"""Files of torch.save, read without PyTorch: three containers, awkward tensors, and malicious pickles."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.errors import UserError
from fastalex.weights import adapt, initial
from fastalex.weights.errors import FormatError
from fastalex.weights.readers import numpy_pickles, pickle_machine
from fastalex.weights.readers.pytorch import stream_container, tensors

torch = pytest.importorskip("torch")
from tests.support import file_writers  # noqa: E402

pytestmark = pytest.mark.peers

CONTAINERS = ["zip", "stream"]
SMALL = variants.get("torchvision", widths=(8, 16, 24, 16, 16, 32, 32), num_classes=2)


def written(folder, value, container="zip", name="net.pth"):
    path = folder / name
    path.write_bytes(file_writers.torch_bytes(value, container))
    return path


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        weights.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def same(arrays, tensors):
    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        expected = tensor.detach().float().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().numpy()
        assert arrays[name].dtype == expected.dtype, name
        assert arrays[name].shape == expected.shape, name
        assert np.array_equal(arrays[name], expected, equal_nan=expected.dtype.kind == "f"), name
        assert not arrays[name].flags.writeable


def awkward():
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    return {
        "plain": base,
        "turned": base.permute(2, 0, 1),
        "strided": base[:, ::2, 1::2],
        "offset": base[2, 3, 4:],
        "shared": base[1],
        "scalar": torch.tensor(2.5),
        "number": torch.tensor(7),
        "empty": torch.zeros(0, 4),
        "expanded": torch.ones(1).expand(3, 5),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "nan": torch.tensor([float("nan"), float("inf")]),
    }


@pytest.mark.parametrize("container", CONTAINERS)
def test_awkward_tensors(tmp_path, container):
    tensors = awkward()
    loaded = weights.load(written(tmp_path, tensors, container))
    same(loaded.arrays, tensors)
    assert np.shares_memory(loaded.arrays["plain"], loaded.arrays["shared"])


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
)
def test_every_type(tmp_path, container, dtype):
    tensors = {"a": (torch.randn(5, 3) * 50).to(getattr(torch, dtype)), "b": torch.ones(3).to(getattr(torch, dtype))}
    same(weights.load(written(tmp_path, tensors, container)).arrays, tensors)


def test_untyped_storages(tmp_path):
    tensors = {"a": torch.arange(6).to(torch.uint16)[2:], "b": torch.arange(3).to(torch.uint32)}
    same(weights.load(written(tmp_path, tensors)).arrays, tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path, protocol):
    for container in CONTAINERS:
        path = tmp_path / "p.pth"
        torch.save(awkward(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=container == "zip")
        same(weights.load(path).arrays, {**awkward(), "parameter": torch.load(path, weights_only=False)["parameter"]})


def test_the_tar_container_as_pytorch_reads_it(tmp_path):
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tensors = {"a": base, "t": base.permute(2, 1, 0), "o": base[1, 1:], "n": torch.arange(3), "s": torch.tensor(4.0)}
    path = tmp_path / "old.tar"
    path.write_bytes(file_writers.tar_bytes(tensors))
    theirs = torch.load(path, weights_only=False)
    for name, tensor in tensors.items():
        assert torch.equal(theirs[name], tensor)
    loaded = weights.load(path)
    same(loaded.arrays, tensors)
    assert np.shares_memory(loaded.arrays["a"], loaded.arrays["o"])


def small_tensors(seed=0):
    return {name: torch.from_numpy(array) for name, array in initial.random_weights(SMALL, seed).items()}


def parallel(tensors):
    """Keys as DataParallel over the features leaves them."""
    return OrderedDict((name.replace("features.", "features.module."), tensor) for name, tensor in tensors.items())


WRAPPINGS = {
    "plain": lambda tensors: tensors,
    "module": lambda tensors: {"module." + name: tensor for name, tensor in tensors.items()},
    "features.module": parallel,
    "checkpoint": lambda tensors: {"epoch": 90, "arch": "alexnet", "best": 56.5, "state_dict": parallel(tensors)},
    "nested": lambda tensors: {"model": {"state_dict": tensors}, "args": None, "loss": [0.5, (1, 2)]},
    "another key": lambda tensors: {"STUDENT": tensors, "epoch": 3, "best": {"top1": 56.5}},
    "nested keys": lambda tensors: {"run": {"ema": parallel(tensors)}, "args": {"lr": 0.1}},
    "a tuple": lambda tensors: (tensors, 90),
    "with an optimizer's state": lambda tensors: {
        "weights_of_the_best": tensors,
        "optim": {"state": {0: {"momentum_buffer": tensors["features.0.weight"]}}, "param_groups": [{"lr": 0.1}]},
    },
}


@pytest.mark.parametrize("container", [*CONTAINERS, "tar"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapped_state_dicts(tmp_path, container, wrapping):
    tensors = small_tensors()
    path = tmp_path / "best_model.pth"
    wrap = WRAPPINGS[wrapping]
    path.write_bytes(
        file_writers.tar_bytes(tensors, wrap)
        if container == "tar"
        else file_writers.torch_bytes(wrap(tensors), container)
    )
    loaded = weights.load(path)
    same(loaded.arrays, tensors)
    found = adapt.find(loaded)
    assert found.variant == SMALL
    assert found.others == ()
    net = AlexNet(weights=path, device="cpu")
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    expected = AlexNet(SMALL, weights={name: tensor.numpy() for name, tensor in tensors.items()}, device="cpu")(x)
    np.testing.assert_array_equal(net(x), expected)
    np.testing.assert_array_equal(AlexNet("torchvision", weights=path, device="cpu", widths=SMALL.widths)(x), expected)


def test_the_state_dict_of_a_module_with_an_optimizer(tmp_path):
    model = torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(1, 2, 3), fc=torch.nn.Linear(2, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checkpoint = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "size": torch.Size([3, 4])}
    for container in CONTAINERS:
        same(weights.load(written(tmp_path, checkpoint, container)).arrays, model.state_dict())


def test_reading_needs_no_torch(tmp_path):
    tensors = small_tensors()
    paths = [str(written(tmp_path, tensors, container, container + ".pt")) for container in CONTAINERS]
    (tmp_path / "old.pth.tar").write_bytes(file_writers.tar_bytes(tensors))
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'google.protobuf'): sys.modules[name] = None\n"
        "from fastalex import weights\n"
        "for path in sys.argv[1:]: print(sum(float(a.sum()) for a in weights.load(path).arrays.values()))\n"
    )
    command = [sys.executable, "-c", code, *paths, str(tmp_path / "old.pth.tar")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = sum(float(tensor.numpy().sum()) for tensor in tensors.values())
    assert [float(line) for line in done.stdout.split()] == pytest.approx(
        [expected] * 3, rel=1e-6
    )  # with another alignment


@pytest.mark.parametrize("container", CONTAINERS)
def test_arrays_are_views_of_the_file(tmp_path, container):
    import tracemalloc

    path = written(tmp_path, {"a": torch.ones(1 << 20), "b": torch.ones(1 << 20)}, container)
    tracemalloc.start()
    loaded = weights.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 19
    assert loaded.arrays["b"].sum() == 1 << 20


def test_classes_are_found_and_stated(tmp_path):
    tensors = small_tensors()
    path = written(tmp_path, tensors)
    assert AlexNet("torchvision", weights=path, widths=SMALL.widths).variant.num_classes == 2
    with pytest.raises(UserError, match="num_classes=2"):
        AlexNet("torchvision", weights=path, widths=SMALL.widths, num_classes=5)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda t: t.update({"features.1.running_mean": torch.ones(8)}),
            r"features\.1\.running_mean",
        ),
        (
            lambda t: t.update({"features.12.weight": torch.ones(4, 4, 3, 3)}),
            r"features\.12\.weight",
        ),
        (lambda t: t.pop("classifier.6.weight"), r"lack.*classifier\.6\.weight"),
        (lambda t: t.pop("features.3.bias"), r"lack.*features\.3\.bias"),
        (
            lambda t: t.update({"features.6.weight": torch.ones(24, 16, 5, 5)}),
            r"features\.6\.weight.*\(24, 16, 5, 5\)",
        ),
        (
            lambda t: t.update({"classifier.4.weight": torch.ones(32, 31)}),
            r"classifier\.4\.weight.*\(32, 31\)",
        ),
        (lambda t: t.update({"classifier.1.weight": torch.ones(32, 577)}), r"classifier\.1\.weight.*\(32, 577\)"),
        (lambda t: t.update({"features.3.weight": torch.ones(16, 0, 5, 5)}), r"features\.3\.weight.*empty"),
    ],
)
def test_the_first_array_that_does_not_fit_is_named(tmp_path, change, match):
    tensors = small_tensors()
    change(tensors)
    with pytest.raises(UserError, match=match):
        AlexNet(weights=written(tmp_path, tensors))


def test_shapes_that_fit_several_are_assumed_and_said(tmp_path):
    row = variants.get("alexnet2012", widths=(8, 16, 24, 16, 16, 32, 32), num_classes=3)
    arrays = initial.random_weights(row)
    path = written(tmp_path, {name: torch.from_numpy(array) for name, array in arrays.items()})
    found = adapt.find(weights.load(path))
    assert found.variant == row
    assert found.others == ("alexnet2012-original", "bvlc_alexnet", "caffenet")
    with pytest.warns(UserWarning, match="alexnet2012.*assumed.*caffenet"):
        AlexNet(weights=path)
    chosen = AlexNet("caffenet", weights=path, widths=row.widths)
    assert (chosen.variant.name, chosen.variant.num_classes) == ("caffenet", 3)


# Malicious pickles ---------------------------------------------------------------------------------------------


def in_zip(body):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x/data.pkl", body)
        archive.writestr("x/byteorder", "little")
    return stream.getvalue()


def in_stream(body):
    head = b"\x80\x02" + stream_container.STREAM_START + b".\x80\x02M\xe9\x03.\x80\x02}."
    return head + body + b"\x80\x02]."


def in_tar(body):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in (("storages", b"K\x00.].."), ("tensors", b"K\x00."), ("pickle", body)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


class Reduced:
    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def attacks(marker):
    """Name -> a pickle that runs ``touch marker`` in ``pickle.load``, or makes objects that no tensor needs."""
    command = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w').close()"
    line = command.encode()
    storage = b"(X\x07\x00\x00\x00storage"
    return {
        "os.system": pickle.dumps({"state_dict": Reduced(os.system, (command,))}, 2),
        "posix by name": b"cposix\nsystem\n(X" + struct.pack("<I", len(line)) + line + b"tR.",
        "eval": pickle.dumps(Reduced(eval, (code,)), 2),
        "exec, protocol 0": pickle.dumps(Reduced(exec, (code,)), 0),
        "INST": b"(X" + struct.pack("<I", len(line)) + line + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nX" + struct.pack("<I", len(line)) + line + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n(X" + struct.pack("<I", len(line)) + line + b"t\x81.",
        "NEWOBJ of an allowed name": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n)}\x92.",
        "STACK_GLOBAL": b"\x80\x04" + short("os") + short("system") + b"\x93" + short(command) + b"\x85R.",
        "STACK_GLOBAL with dots": b"\x80\x04"
        + short("torch")
        + short("os.system")
        + b"\x93"
        + short(command)
        + b"\x85R.",
        "an allowed name split otherwise": b"\x80\x04" + short("torch._utils") + short("os") + b"\x93.",
        "BUILD with a dict": b"ccollections\nOrderedDict\n)R}X\x03\x00\x00\x00popNsb.",
        "BUILD with __setstate__": b"ccollections\nOrderedDict\n)R}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb.",
        "BUILD with slots": b"ccollections\nOrderedDict\n)RN}X\x05\x00\x00\x00clearNs\x86b.",
        "BUILD of a function": b"ctorch._utils\n_rebuild_tensor_v2\n}X\x04\x00\x00\x00call)sb.",
        "REDUCE of a returned value": b"ctorch\ndevice\nX\x03\x00\x00\x00cpu\x85R)R.",
        "REDUCE of a type": b"ctorch\nFloatStorage\n)R.",
        "EXT1": b"\x82\x01.",
        "EXT2": b"\x83\x01\x00.",
        "EXT4": b"\x84\x01\x00\x00\x00.",
        "a persistent id of one word": b"X\x03\x00\x00\x00abcQ.",
        "a persistent id that is a list": b"]Q.",
        "a persistent id of another kind": b"(X\x06\x00\x00\x00modulecos\nsystem\nNNtQ.",
        "a persistent id in text": b"Pabc\n.",
        "a storage of a function": storage + b"ctorch._utils\n_rebuild_tensor_v2\nX\x01\x00\x00\x000NK\x01tQ.",
        "a storage of a negative size": storage + b"ctorch\nFloatStorage\nX\x01\x00\x00\x000NJ\xff\xff\xff\xfftQ.",
        "a key that is a tensor's type": b"}ctorch\nFloatStorage\nNs.",
        "a tensor of nothing": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)))tR.",
        "a tensor of too few arguments": b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        "a key that is a tuple": b"}" + b")" + b"\x85" * 5000 + b"Ns.",
        "doubling lists": b"]" + b"2l" * 3 + b"(]2" + b"(2222222222l2" * 30000 + b".",
        "memo growth": b"]" + b"".join(b"r" + struct.pack("<I", i) for i in range(pickle_machine.MAX_STEPS + 1)) + b".",
        "a long number": b"\x8b" + struct.pack("<i", 1 << 20) + b"\x01" * (1 << 20) + b".",
        "a longer LONG1": b"\x8a\xff" + b"\x01" * 255 + b".",
        "long digits": b"L" + b"9" * 100000 + b"L\n.",
        "much text": b"X" + struct.pack("<I", 1 << 30) + b"a.",
        "marks": b"(" * 100_000 + b".",
        "a mark too few": b"t.",
        "an empty stack": b"0.",
        "a set": b"\x80\x04\x8f.",
        "a bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",
        "no end": b"\x80\x02}",
        "a whole model": pickle.dumps(Reduced(zipfile.ZipInfo, ()), 2),
    }


ATTACKS = list(attacks("x"))


@pytest.mark.parametrize("container", [in_zip, in_stream, in_tar])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_pickle_that_wants_more_is_refused_and_runs_nothing(tmp_path, name, container):
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pth"
    path.write_bytes(container(attacks(marker)[name]))
    refused(path, "cannot be used")
    assert not marker.exists()


@pytest.mark.slow
def test_the_attacks_work_where_nothing_guards(tmp_path):
    marker = tmp_path / "marker"
    for name in ("os.system", "posix by name", "eval", "exec, protocol 0", "INST", "OBJ", "STACK_GLOBAL"):
        pickle.loads(attacks(marker)[name])
        assert marker.exists(), name
        marker.unlink()


def test_the_table_of_globals_is_inert():
    """Every name maps to a function of this package or to a plain name, so REDUCE can reach nothing else."""
    for value in tensors.NAMES.values():
        assert type(value) in (pickle_machine.Function, pickle_machine.Name)
    for table, module in ((tensors._FUNCTIONS, tensors), (numpy_pickles.FUNCTIONS, numpy_pickles)):
        for name, function in table.items():
            assert function.__module__ == module.__name__, name


def test_a_list_that_holds_itself_is_no_harm():
    value, end = pickle_machine.load(memoryview(b"]q\x00h\x00a."))
    assert value[0] is value
    assert end == 7


def test_pickles_of_plain_values_agree_with_python():
    values = [
        None,
        True,
        5,
        -7,
        300,
        70000,
        2**40,
        -(2**40),
        1.5,
        "text",
        "ü€",
        b"raw",
        [1, [2]],
        (1,),
        (1, 2, 3, 4),
        {},
    ]
    for value in [*values, {"a": values, 1: {"b": ()}}]:
        for protocol in range(2, 6):
            if protocol == 2 and b"raw" in (values if isinstance(value, dict) and value else [value]):
                continue  # protocol 2 writes bytes as a call of _codecs.encode
            data = pickle.dumps(value, protocol)
            assert pickle_machine.load(memoryview(data)) == (value, len(data)), (value, protocol)
    with pytest.raises(FormatError, match="calls|asks"):
        pickle_machine.load(memoryview(pickle.dumps({1, 2}, 2)))


def long_text(length, start=""):
    return b"X" + struct.pack("<I", length) + start.encode().ljust(length, b"a")


def number8(value):
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def keys_of_one_hash(count):
    """Pairs of numbers for which CPython's hash of a tuple (tuplehash, of xxHash's primes) is the same."""
    first, second, start, size = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64
    pairs = []
    for a in range(2, 100 * count):
        lane = (start + a * second) % size
        lane = (lane << 31 | lane >> 33) % size * first % size
        b = (12345 - lane) * pow(second, -1, size) % size
        b -= size if b >= size // 2 else 0
        if abs(b) < 2**61 - 1 and len(pairs) < count:
            pairs.append((a, b))
    return pairs


def bombs():
    """Pickles of at most two megabytes that would take minutes or gigabytes, and what refuses them."""
    device, repeat = b"ctorch\ndevice\nq\x010", b"h\x01h\x00R0"
    many = b"(" + b"K\x00K\x00\x86" * 50_000 + b"lq\x00"
    ordered = many + b"ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00\x85R" * 20_000
    encode = b"](" + long_text(1 << 20) + b"q\x00X\x06\x00\x00\x00latin1\x86q\x01c_codecs\nencode\nq\x02"
    array = b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x01\x85N\x89"
    names = (
        b"\x80\x04](" + long_text(250, "\U0001f600") + b"\x94" + long_text(250) + b"\x94" + b"h\x00h\x01\x93" * 90_000
    )
    line = b"c\xf0\x9f\x98\x80" + b"a" * 250 + b"\n" + b"b" * 250 + b"\n"
    return {
        "a list of pairs of many dicts": (ordered, "instructions"),
        "many calls with many arguments": (
            device + b"(" + b"N" * 50_000 + b"tq\x000" + repeat * 50_000,
            "instructions",
        ),
        "text that is encoded again and again": (encode + b"h\x02h\x01R" * 90_000 + b"e", "characters of text"),
        "arrays of one text": (
            long_text(1 << 20) + b"q\x00(" + (array + b"h\x00tb") * 20_000 + b"l",
            "characters of text",
        ),
        "long names of globals": (names + b"e", "bytes of text"),
        "long lines of globals": (b"(" + line * 40_000 + b"l", "bytes of text"),
    }


@pytest.mark.parametrize("name", bombs())
def test_one_budget_bounds_the_pickles_of_a_file(tmp_path, name):
    body, match = bombs()[name]
    path = tmp_path / "bomb.pth"
    path.write_bytes(in_zip(b"\x80\x02" + body + b"."))
    tracemalloc.start()
    start = time.process_time()
    refused(path, match)
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 150 << 20


@pytest.mark.parametrize("kind", ["multiples of the modulus", "tuples"])
def test_keys_of_one_hash_take_no_time(kind):
    """As keys of a dict of Python's these take 10 seconds."""
    if kind == "tuples":
        keys = keys_of_one_hash(20_000)
        items = [number8(a) + number8(b) + b"\x86N" for a, b in keys]
    else:
        keys = [(2**61 - 1) * i for i in range(1, 20_001)]
        items = [b"\x8a\x0a" + key.to_bytes(10, "little") + b"N" for key in keys]
    assert len({hash(key) for key in keys}) == 1
    start = time.process_time()
    content, _ = pickle_machine.load(memoryview(b"\x80\x02}(" + b"".join(items) + b"u."))
    assert time.process_time() - start < 2
    assert len(content) == len(keys)


def test_names_of_modules_take_bounded_memory(tmp_path):
    """One module at many places, whose only tensor has a long name."""
    child, parent = torch.nn.Module(), torch.nn.Module()
    child._parameters = {"w" * (1 << 20): torch.nn.Parameter(torch.zeros(1))}
    parent._modules = dict.fromkeys(map(str, range(3000)), child)
    refused(written(tmp_path, parent), "names of its modules")


def test_the_pickles_of_a_tar_share_a_budget(tmp_path):
    entry = b"\x80\x02" + b"N0" * 1000 + b"(K\x00X\x03\x00\x00\x00cpuctorch\nFloatStorage\nt."
    storages = b"\x80\x02M\xe8\x03." + (entry + struct.pack("<q", 0)) * 1000
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in (("storages", storages), ("tensors", b"K\x00."), ("pickle", b"}.")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path = tmp_path / "many.pth"
    path.write_bytes(stream.getvalue())
    refused(path, "instructions")


# Sizes that lie -----------------------------------------------------------------------------------------------------


def tensor_pickle(count=4, offset=0, shape=(4,), stride=(1,), dtype="FloatStorage"):
    def number(value):
        return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)

    def numbers(values):
        return b"(" + b"".join(number(value) for value in values) + b"t"

    storage = b"(X\x07\x00\x00\x00storagectorch\n" + dtype.encode() + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    storage += number(count) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape) + numbers(stride)
    return b"\x80\x02}X\x01\x00\x00\x00a" + tensor + b"\x89NtRs."


def tensor_zip(folder, data=b"\0" * 16, **options):
    stream = io.BytesIO(in_zip(tensor_pickle(**options)))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("x/data/0", data)
    path = folder / "lies.pth"
    path.write_bytes(stream.getvalue())
    return path


def test_a_sound_handmade_tensor(tmp_path):
    assert weights.load(tensor_zip(tmp_path)).arrays["a"].tolist() == [0.0] * 4


def test_the_stride_along_a_side_of_1_may_be_any_number(tmp_path):
    path = tensor_zip(tmp_path, shape=(1, 4, 1), stride=(2**70, 1, 2**62))
    array = weights.load(path).arrays["a"]
    assert array.shape == (1, 4, 1)
    assert np.ascontiguousarray(array).tolist() == [[[0.0]] * 4]


@pytest.mark.parametrize(
    "items", [b"K\x00G" + bytes(8) + b"s", b"(K\x00G" + bytes(8) + b"u"], ids=["SETITEM", "SETITEMS"]
)
def test_items_of_a_tensor_are_not_set(tmp_path, items):
    """As CVE-2026-24747 has PyTorch do; the other half of it is a storage of another size, below."""
    path = tmp_path / "items.pth"
    path.write_bytes(in_zip(tensor_pickle()[: -len(b"s.")] + items + b"s."))
    refused(path, "sets an item of something that is not a dict")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"count": 5}, "16 bytes"),
        ({"count": 2**60}, "16 bytes"),
        ({"shape": (5,)}, r"element 4\b"),
        ({"offset": 1}, r"element 4\b"),
        ({"offset": 2**62}, "element 4611686018427387907"),
        ({"offset": -1}, "do not fit"),
        ({"stride": (2,)}, "element 6"),
        ({"stride": (-1,)}, "do not fit"),
        ({"stride": (1, 1)}, "do not fit"),
        ({"shape": (-4,)}, "whole number"),
        ({"shape": (2**40,), "stride": (0,)}, "1099511627776"),
        ({"shape": (2**31, 2**31, 2**31), "stride": (0, 0, 0)}, "too large"),
        ({"shape": (0, 2**40, 2**40), "stride": (0, 0, 0)}, "too large"),
        ({"shape": (1,) * 40, "stride": (1,) * 40}, "40 dimensions"),
        ({"dtype": "QInt8Storage"}, "QInt8Storage"),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage(tmp_path, options, match):
    refused(tensor_zip(tmp_path, **options), match)


def test_other_zip_archives_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "x")
    refused(path, r"\(readme\).*it is text")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", tensor_pickle())
        archive.writestr("x/data/0", bytes(1 << 22))
    refused(path, "compressed")
    path.write_bytes(written(tmp_path, awkward(), name="a.pth").read_bytes()[:-30])
    refused(path, "no valid directory")


def test_a_directory_beyond_reason_is_not_read(tmp_path):
    path = tmp_path / "vast.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(17):
            info = zipfile.ZipInfo(f"x/data/{index}")
            info.comment = bytes(65535)
            archive.writestr(info, b"")
    refused(path, "directory.*1048576")


def test_a_tar_header_that_points_to_itself_is_refused(tmp_path):
    """Python's own tarfile looped forever on it until 2025."""
    path = tmp_path / "round.tar"
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (2**96 - 512).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(1024))
    refused(path, "damaged")


def test_zip64_records_are_read(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in (("x/data.pkl", tensor_pickle()), ("x/data/0", struct.pack("<4f", 1, 2, 3, 4))):
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    data = stream.getvalue()
    at = data.rfind(b"PK\x05\x06")
    count, size, offset = struct.unpack("<10xHII2x", data[at:])
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "big.pth"
    path.write_bytes(data[:at] + end64 + locator + end)
    assert weights.load(path).arrays["a"].tolist() == [1, 2, 3, 4]
    assert zipfile.ZipFile(path).namelist() == ["x/data.pkl", "x/data/0"]


def test_two_networks_under_keys_of_their_own_are_refused_by_their_keys(tmp_path):
    tensors = small_tensors()
    refused(written(tmp_path, {"student": tensors, "teacher": parallel(tensors), "epoch": 1}), "student.*teacher")
    assert weights.load(written(tmp_path, {"state_dict": tensors, "teacher": parallel(tensors)})).arrays


@pytest.mark.parametrize(
    ("value", "match"),
    [([1, 2], "no state dict"), ({"a": 1, "bee": 2}, "no state dict.*'a', 'bee'"), (None, "NoneType")],
)
def test_other_values_than_state_dicts_are_refused(tmp_path, value, match):
    for container in CONTAINERS:
        refused(written(tmp_path, value, container), match)


@pytest.mark.parametrize("container", CONTAINERS)
def test_an_object_of_another_class_is_refused_with_advice(tmp_path, container):
    refused(
        written(tmp_path, argparse.Namespace(a=1), container), r"argparse\.Namespace, not a state dict.*state_dict\(\)"
    )


@pytest.mark.parametrize("data", [b"", b"hello", bytes(600), b"\x80\x02}."])
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "other.pth"
    path.write_bytes(data)
    refused(path, "formats")


# torchvision's size -------------------------------------------------------------------------------------------------

MEASURE = """
import sys, threading, time
from fastalex import AlexNet, weights

def anonymous():
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("RssAnon")) << 10

AlexNet(weights="digits", device="cpu")
start = time.perf_counter()
loaded = weights.load(sys.argv[1])
seconds = time.perf_counter() - start
del loaded
before = peak = anonymous()
done = threading.Event()

def watch():
    global peak
    while not done.is_set():
        peak = max(peak, anonymous())
        time.sleep(0.001)

watcher = threading.Thread(target=watch)
watcher.start()
net = AlexNet(weights=sys.argv[1], device="cpu")
done.set()
watcher.join()
print(seconds, peak - before, net.param_bytes, net.variant.name)
"""


@pytest.mark.slow
def test_torchvisions_size_loads_fast_and_in_little_memory(tmp_path):
    """Anonymous memory is what a board runs out of: pages of the mapped file can be dropped and read again."""
    arrays = initial.random_weights("torchvision")
    path = tmp_path / "alexnet.pth"
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    del arrays
    assert path.stat().st_size > 244_000_000
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    seconds, peak, kept, name = done.stdout.split()
    assert name == "torchvision"
    assert float(seconds) < 0.5
    assert int(kept) > 244_000_000
    assert int(peak) < 1.3 * int(kept)
    path.unlink()
