"""The native engine through its thin Python module: tables, threads, forks, backends in libraries."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastalex import BackendError, UserError, _core
from fastalex.networks.layers import layer_table
from fastalex.selftest.native import output
from fastalex.variants import get
from fastalex.weights import initial

ROOT = Path(__file__).resolve().parents[2]
CONV = "conv name=c out=8 kernel=3 stride=1 pad=1 groups=1 rounding=floor\n"


def narrow_net(threads=2, backend="cpu", storage=0):
    row = get("alexnet-digits")
    params = initial.check(row, initial.random_weights(row))
    return _core.Net(layer_table(row.layers()), [3, row.input_size, row.input_size], params, backend, storage, threads)


def images(count, size=131, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, size, size)).astype(np.float32)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("", "empty"),
        ("warp name=w", "layer w.*no op warp"),
        ("conv name=c", "needs out="),
        ("conv out", "line 1.*key=value"),
        ("fc name=f out=many", "out=many"),
        ("fc name=f out=3x", "out=3x"),
        (CONV.replace("pad=1", "pad=3"), "pad.*kernel"),
        ("adaptive_avgpool name=a out=70000", "too large"),
        ("fc name=f out=0", "out=0.*range"),
        ("fc name=f out=-1", "out=-1.*range"),
        ("fc name=f out=99999999999", "out=99999999999"),
        (CONV.replace("groups=1", "groups=2"), "2 groups"),
        (CONV.replace("floor", "up"), "rounding="),
        (CONV.replace("kernel=3", "kernel=9"), "too small.*side of 5"),
        ("lrn name=n size=4 alpha=1 beta=1 k=1 groups=1", "size.*odd"),
        ("lrn name=n size=5 alpha=nan beta=1 k=1 groups=1", "alpha=nan"),
        ("softmax name=s", "softmax must"),
        ("fc name=f out=4\nmaxpool name=p kernel=1 stride=1 rounding=floor", "layer p.*after"),
    ],
)
def test_a_wrong_table_is_one_sentence(table, match):
    with pytest.raises(UserError, match=match) as error:
        _core.Net(table, [3, 5, 5], [], "cpu")
    assert "\n" not in str(error.value)


WORDS = """conv fc relu lrn maxpool adaptive_avgpool softmax spatial_norm out=3 kernel=3 pad=1 pad=-1 stride=2 groups=1
nan rounding=ceil size=5 alpha=0.1 beta=0.75 k=1 = out= name=\0 kernel=16777216 out=16777216 groups=2147483647
stride=99999999999999999999 \\n""".split()
LINES = [
    CONV,
    "relu name=r\n",
    "fc name=f out=4\n",
    "softmax name=s\n",
    "fc name=f out=16777216\n",
    "adaptive_avgpool name=a out=70000\n",
    "adaptive_avgpool name=a out=16777216\n",
    "maxpool name=p kernel=16777216 stride=1 rounding=ceil\n",
    "lrn name=n size=63 alpha=1e300 beta=-1e300 k=0 groups=3\n",
]
TABLES = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=30).map(lambda words: " ".join(words).replace("\\n", "\n")),
    st.lists(st.sampled_from(LINES), max_size=6).map("".join),
    st.text(max_size=60),
)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(TABLES)
def test_any_text_makes_a_net_or_one_sentence(table):
    try:
        _core.Net(table, [3, 5, 5], [], "cpu")
    except UserError as error:
        assert "\n" not in str(error)


def test_wrong_parameters_are_refused():
    with pytest.raises(UserError, match="2 parameters"):
        _core.Net(CONV, [3, 5, 5], [], "cpu")
    with pytest.raises(UserError, match="parameter 0.*216"):
        _core.Net(CONV, [3, 5, 5], [np.zeros(8, np.float32)] * 2, "cpu")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
@pytest.mark.parametrize("storage", [1, 2])
def test_weights_that_do_not_fit_their_storage_are_refused(storage, value):
    weights = np.ones((4, 3), np.float32)
    weights[2, 1] = value
    params = [weights, np.zeros(4, np.float32)]
    if storage == 2 and np.isfinite(value):
        assert _core.Net("fc name=f out=4", [3, 1, 1], params, "cpu", storage).param(0)[7] == value
    else:
        with pytest.raises(UserError, match="fully connected.*fp32"):
            _core.Net("fc name=f out=4", [3, 1, 1], params, "cpu", storage)


@pytest.mark.parametrize("storage", [0, 1, 2])
def test_parameters_come_back(storage):
    row = get("alexnet-digits")
    net = narrow_net(storage=storage)
    for index, array in enumerate(initial.check(row, initial.random_weights(row))):
        got = net.param(index).reshape(array.shape)
        if storage == 0 or array.ndim == 1 or index < 10:
            np.testing.assert_array_equal(got, array)
        else:
            assert 0 < np.abs(got - array).max() <= np.abs(array).max() / 253  # at most half of 1/127 of the largest
    with pytest.raises(IndexError):
        net.param(16)


@pytest.mark.parametrize("backend", ["cpu", "naive"])
def test_parameters_may_lie_at_any_address(backend):
    weights = np.random.default_rng(0).standard_normal((7, 30)).astype(np.float32)
    unaligned = np.zeros(weights.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(weights.shape)
    unaligned[:] = weights
    assert not unaligned.flags.aligned
    for storage in range(3 if backend == "cpu" else 1):
        nets = [
            _core.Net("fc name=f out=7", [30, 1, 1], [array, weights[0, :7].copy()], backend, storage)
            for array in (weights, unaligned)
        ]
        np.testing.assert_array_equal(nets[0].param(0), nets[1].param(0))


def test_same_bits_for_any_number_of_threads():
    x = images(3)
    expected = [output(narrow_net(1, storage=storage), x) for storage in range(3)]
    for threads in (2, 3, 7):
        for storage in range(3):
            np.testing.assert_array_equal(output(narrow_net(threads, storage=storage), x), expected[storage])


def test_threads_share_a_net_and_shapes_take_turns():
    net = narrow_net()
    batches = [images(n, seed=n) for n in (1, 2, 3)]
    expected = [output(net, x) for x in batches]
    wrong = []

    def work(offset):
        for turn in range(30):
            which = (offset + turn) % 3
            if not np.array_equal(output(net, batches[which]), expected[which]):
                wrong.append(which)

    workers = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_more_shapes_than_the_plan_cache_holds():
    net = narrow_net(1)
    first = [output(net, images(n)) for n in range(1, 13)]
    for n, expected in enumerate(first, 1):
        np.testing.assert_array_equal(output(net, images(n)), expected)


@pytest.mark.parametrize("backend", ["cpu", "naive"])
def test_a_profile_times_every_step(backend):
    net, x = narrow_net(1, backend), images(2)
    shares = []
    for _ in range(5):
        begin = time.perf_counter()
        steps = net.profile(_core.Call(x))
        elapsed = time.perf_counter() - begin
        names = "relu1 norm1 pool1 relu2 norm2 pool2 relu3 relu4 relu5 pool5 relu6 relu7 fc8"
        assert [name for name, _ in steps] == names.split()
        # The cpu backend does LRN and the pool after it together.
        together = ("norm1", "norm2") if backend == "cpu" else ()
        assert all((seconds > 0) == (name not in together) for name, seconds in steps)
        shares.append(sum(seconds for _, seconds in steps) / elapsed)
    assert max(shares) <= 1
    assert max(shares) > 0.5  # in the best call: other processes may interrupt between two steps


def test_the_gil_is_released_while_computing():
    net, x = narrow_net(1), images(64)
    ticks, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            ticks[0] += 1
            stop.wait(0.0005)

    counter = threading.Thread(target=count)
    counter.start()
    output(net, x)
    before = ticks[0]
    output(net, x)
    during = ticks[0] - before
    stop.set()
    counter.join()
    assert during >= 3


def in_child(function):
    """Fork, run ``function`` in the child, return its exit code; a child that hangs is killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if function() else 1
        finally:
            os._exit(code)
    alarm = threading.Timer(60, os.kill, (pid, 9))
    alarm.start()
    _, status = os.waitpid(pid, 0)
    alarm.cancel()
    return status


def test_a_net_works_on_both_sides_of_a_fork():
    net, x = narrow_net(), images(2)
    expected = output(net, x)  # worker threads now exist; a forked child has none
    assert in_child(lambda: all(np.array_equal(output(net, x), expected) for _ in range(3))) == 0
    assert in_child(lambda: np.array_equal(output(narrow_net(), x), expected)) == 0
    np.testing.assert_array_equal(output(net, x), expected)


def test_fork_while_another_thread_computes():
    net, x = narrow_net(), images(4)
    expected = output(net, x)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            output(net, x)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        codes = [in_child(lambda: np.array_equal(output(net, x), expected)) for _ in range(5)]
    finally:
        stop.set()
        worker.join()
    assert codes == [0] * 5


SHARED = {}


def run_shared(x):
    return output(SHARED["net"], x)


def test_a_worker_process_uses_the_net_of_its_parent():
    SHARED["net"], x = narrow_net(), images(1)
    expected = run_shared(x)
    with multiprocessing.get_context("fork").Pool(2) as pool:  # as a DataLoader does
        for result in pool.map(run_shared, [x] * 4):
            np.testing.assert_array_equal(result, expected)


def test_dropping_a_net_waits_for_its_call():
    box = [narrow_net()]
    x = images(16)
    expected = output(box[0], x)
    results = []
    worker = threading.Thread(target=lambda net: results.append(output(net, x)), args=(box[0],))
    worker.start()
    box.clear()
    worker.join()
    np.testing.assert_array_equal(results[0], expected)


def compile_backend(tmp_path, *flags):
    library = tmp_path / "libtest_backend.so"
    command = ["g++", "-std=c++14", "-shared", "-fPIC", "-I", str(ROOT / "csrc"), "-I", str(ROOT / "csrc/include")]
    source = ROOT / "tests/support/cpp/constant_backend.cpp"
    subprocess.run([*command, *flags, str(source), "-o", str(library)], check=True)
    return str(library)


def test_a_backend_comes_from_a_library(tmp_path):
    path = compile_backend(tmp_path)

    def load_and_run():
        _core.load_backend(path)
        status = {entry["name"]: entry for entry in _core.backends()}
        assert status["constant"] == {"name": "constant", "available": True, "reason": ""}
        net = _core.Net("relu name=r", [2, 3, 3], [], "constant")
        result = output(net, np.ones((2, 2, 3, 3), np.float32))
        np.testing.assert_array_equal(result, np.full((2, 2, 3, 3), 42, np.float32))
        with pytest.raises(UserError, match="constant already"):
            _core.load_backend(path)
        return True

    assert in_child(load_and_run) == 0  # in a child: a loaded backend stays, and other tests must not see it


def test_a_library_of_another_interface_is_refused(tmp_path):
    with pytest.raises(BackendError, match="interface 999"):
        _core.load_backend(compile_backend(tmp_path, "-DABI=999"))


def test_a_backend_whose_probe_fails_keeps_its_reason(tmp_path):
    with pytest.raises(BackendError, match="out of order"):
        _core.load_backend(compile_backend(tmp_path, "-DBROKEN"))


def test_what_is_no_backend_is_refused(tmp_path):
    garbage = tmp_path / "garbage.so"
    garbage.write_bytes(b"\x7fELF nothing")
    for path in (str(garbage), str(tmp_path / "missing.so")):
        with pytest.raises(BackendError, match=os.path.basename(path)):
            _core.load_backend(path)
    with pytest.raises(BackendError, match="fastalex_backend_entry"):
        _core.load_backend(compile_backend(tmp_path, "-DNO_ENTRY"))


LOADED = """
import sys
from fastalex import _core
(entry,) = (entry for entry in _core.backends() if entry["name"] == "tensorrt")
print(entry["available"], entry["reason"].replace(sys.argv[1], ""))
"""


@pytest.mark.slow
def test_tensorrts_library_is_the_newest_that_works(tmp_path):
    """One a major release beside the engine; broken ones are skipped, and their reasons reported."""
    package = tmp_path / "fastalex"
    shutil.copytree(Path(_core.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "data"))

    def found():
        command, copied = [sys.executable, "-c", LOADED, str(tmp_path)], dict(os.environ, PYTHONPATH=str(tmp_path))
        return subprocess.run(command, env=copied, stdout=subprocess.PIPE, check=True).stdout.decode().strip()

    (package / "libfastalex_tensorrt11.so").write_bytes(b"\x7fELF nothing")
    assert re.match(r"False /fastalex/libfastalex_tensorrt11\.so: .+", found())
    broken = compile_backend(tmp_path, "-DBROKEN")
    shutil.copy(broken, package / "libfastalex_tensorrt10.so")
    assert re.match(r"False /fastalex/libfastalex_tensorrt11\.so: .+; the constant machine is out of order$", found())
    shutil.copy(compile_backend(tmp_path), package / "libfastalex_tensorrt8.so")
    assert found() == "True"


def test_missing_backends_say_why():
    status = {entry["name"]: entry for entry in _core.backends()}
    for name in ("cuda", "tensorrt"):
        assert not status[name]["available"]
        assert "there is no" in status[name]["reason"]
        with pytest.raises(BackendError, match=f"no {name} library"):
            _core.Net("relu name=r", [1, 1, 1], [], name)
    with pytest.raises(UserError, match="no backend gpu"):
        _core.Net("relu name=r", [1, 1, 1], [], "gpu")
