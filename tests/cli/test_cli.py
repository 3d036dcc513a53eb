"""The command line: what it prints, its exit codes, and one sentence for every mistake."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastalex import __version__, _core, density, variants, weights
from fastalex._util import console
from fastalex.cli import bench, classify, common, diagnosis, summary
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.model import AlexNet, choose_device
from fastalex.networks.layers import layer_table
from fastalex.selftest import checks, native

DIGITS = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))
FULL_DEVICE = "/dev/full"


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(5).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture(params=["rich", "plain"])
def either_way(request, monkeypatch):
    """With rich, and as if it were not installed."""
    if request.param == "plain":
        for name in ("rich", "rich.box", "rich.console", "rich.table", "rich.text"):
            monkeypatch.setitem(sys.modules, name, None)
    else:
        pytest.importorskip("rich")
    return request.param


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def run_json(capsys, *arguments):
    code, out, err = run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def assert_mistake(result, *words):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("fastalex: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def process(*arguments, module=True, **options):
    command = [sys.executable, *(["-m", "fastalex"] if module else []), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, **options)


# classify


def test_classify_prints_a_table_for_each_image(capsys, either_way):
    code, out, err = run(capsys, "classify", "--weights", "digits", "--topk", "3", DIGITS[0], DIGITS[-1])
    assert (code, err) == (0, "")
    assert f"device auto chose {choose_device('auto')}" in out
    assert "variant alexnet-digits" in out
    for path, label in ((DIGITS[0], "0"), (DIGITS[-1], "9")):
        lines = out[out.index(str(path)) :].splitlines()
        assert lines[0].strip() == str(path)  # a long name is not wrapped
        assert lines[1].split() == ["rank", "label", "probability", "%"]
        rows = [line.split() for line in lines[3:6]]
        assert [row[0] for row in rows] == ["1", "2", "3"]
        assert rows[0][1] == label
        assert float(rows[0][2]) >= float(rows[1][2]) >= float(rows[2][2])
    assert "\x1b" not in out


def test_classify_json_agrees_with_the_network(capsys):
    result = run_json(capsys, "classify", "--weights", "digits", "--device", "cpu", "--threads", 1, DIGITS[3])
    assert result["device"] == "cpu"
    assert result["isa"] == _core.cpu_isa()
    assert result["threads"] == 1
    assert result["profile"] == "digits"
    (entry,) = result["images"]
    expected = AlexNet(weights="digits", device="cpu", threads=1).classify(str(DIGITS[3]))
    assert [(row["label"], row["probability"], row["index"]) for row in entry["predictions"]] == expected
    assert [row["rank"] for row in entry["predictions"]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("storage", ["fp16", "int8"])
def test_classify_with_smaller_weights_names_the_same_digit(capsys, storage):
    result = run_json(capsys, "classify", "--weights", "digits", "--fc-weights", storage, *DIGITS[:4])
    assert result["fc_weights"] == storage
    for path, entry in zip(DIGITS, result["images"]):
        assert path.name.startswith(f"digit-{entry['predictions'][0]['label']}-")


def test_classify_a_folder_in_order_and_in_batches(capsys, monkeypatch, tmp_path):
    for number, path in enumerate(DIGITS[:5]):
        (tmp_path / (f"{number}.PNG")).write_bytes(path.read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    sizes = []
    compute = AlexNet.classify
    monkeypatch.setattr(classify, "CLASSIFY_BATCH", 2)
    monkeypatch.setattr(AlexNet, "classify", lambda net, x, topk: sizes.append(len(x)) or compute(net, x, topk))
    code, out, err = run(capsys, "classify", "--weights", "digits", tmp_path, DIGITS[7], "--json")
    assert code == 0
    assert "left out 1 of 6" in err
    result = json.loads(out)
    assert [Path(entry["path"]).name for entry in result["images"]] == [f"{i}.PNG" for i in range(5)] + [DIGITS[7].name]
    assert sizes == [2, 2, 2]
    alone = [run_json(capsys, "classify", "--weights", "digits", path)["images"][0] for path in DIGITS[:5]]
    for entry, other in zip(result["images"], alone):
        assert entry["predictions"][0]["label"] == other["predictions"][0]["label"]
        assert entry["predictions"][0]["probability"] == pytest.approx(other["predictions"][0]["probability"], 1e-5)


@pytest.mark.parametrize("as_json", [False, True])
def test_one_bad_image_does_not_stop_the_others(capsys, tmp_path, as_json):
    broken = tmp_path / "broken.png"
    broken.write_bytes(DIGITS[0].read_bytes()[:60])
    empty = tmp_path / "empty"
    empty.mkdir()
    paths = [DIGITS[0], broken, tmp_path / "missing.png", empty, DIGITS[1]]
    code, out, err = run(capsys, "classify", "--weights", "digits", *paths, *(["--json"] if as_json else []))
    assert code == 2
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("fastalex: ") for line in lines)
    assert "broken.png" in lines[0]
    assert "missing.png" in lines[1]
    assert "empty" in lines[2]
    if as_json:
        entries = json.loads(out)["images"]
        assert [entry["path"] for entry in entries] == [str(path) for path in paths]
        assert ["error" in entry for entry in entries] == [False, True, True, True, False]
    else:
        assert str(DIGITS[0]) in out
        assert str(DIGITS[1]) in out


def test_classify_with_labels_and_profile(capsys, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"[red]digit {i}\u00e9" for i in range(10)) + "\n\n", encoding="utf-8")
    arguments = ("classify", "--weights", "digits", "--labels", names, "--profile", "torchvision", DIGITS[7])
    result = run_json(capsys, *arguments)
    assert result["profile"] == "torchvision"
    assert result["images"][0]["predictions"][0]["label"].startswith("[red]digit ")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "[red]digit" in out  # no markup of rich


def test_classify_weights_that_are_not_finite_is_still_json(capsys, tmp_path, image):
    net = AlexNet(weights="digits")
    arrays = {name: np.full_like(array, np.nan) for name, array in net.state_dict().items()}
    path = tmp_path / "nan.npz"
    weights.save(path, arrays, {weights.VARIANT_KEY: json.dumps(net.variant.to_dict())})
    result = run_json(capsys, "classify", "--weights", path, image)
    assert result["images"][0]["predictions"][0]["probability"] is None


# summary


def test_summary_lists_the_variants(capsys, either_way):
    code, out, err = run(capsys, "summary")
    assert (code, err) == (0, "")
    for row in variants.VARIANTS.values():
        line = next(line for line in out.splitlines() if line.split()[:1] == [row.name])
        assert row.summary in line
        assert f"{row.params:,}" in line
    listed = run_json(capsys, "summary")["variants"]
    assert [entry["name"] for entry in listed] == list(variants.VARIANTS)
    assert listed[0]["macs"] == variants.get("alexnet2012").macs


def test_summary_of_a_variant(capsys, either_way):
    code, out, err = run(capsys, "summary", "alexnet2012")
    assert (code, err) == (0, "")
    conv2 = next(line.split() for line in out.splitlines() if line.split()[:1] == ["conv2"])
    assert " ".join(conv2) == "conv2 conv 256 x 27 x 27 307,456 223,948,800 1,229,824"
    total = next(line.split() for line in out.splitlines() if line.split()[:1] == ["total"])
    assert total[1] == "60,965,224"


def test_summary_json_adds_up(capsys):
    result = run_json(capsys, "summary", "torchvision", "--num-classes", 7, "--input-size", 100, "--table")
    row = variants.get("torchvision", num_classes=7, input_size=100)
    assert result["total"] == {"params": row.params, "macs": row.macs, "weight_bytes": 4 * row.params}
    assert sum(layer["params"] for layer in result["layers"]) == row.params
    assert result["input_shape"] == [3, 100, 100]
    assert result["table"] == layer_table(row.layers())


def test_summary_prints_the_native_table(capsys):
    code, out, err = run(capsys, "summary", "alexnet2012", "--table")
    assert (code, err) == (0, "")
    assert out == layer_table(variants.get("alexnet2012").layers())


def test_summary_of_weights(capsys, tmp_path):
    assert run_json(capsys, "summary", "--weights", "digits")["num_classes"] == 10
    assert run_json(capsys, "summary", "alexnet-digits", "--weights", "digits")["variant"] == "alexnet-digits"
    path = tmp_path / "bare.npz"
    weights.save(path, {"a": np.zeros(3)})
    assert_mistake(run(capsys, "summary", "--weights", path), "the array 'a' of")


def test_summary_of_densities(capsys, tmp_path):
    words = ("summary", "--weights", "digits", "--device", "cpu", "--density")
    result = run_json(capsys, *words, DIGITS[0].parent)
    assert result["images"] == 20
    shares = density.measure(AlexNet(weights="digits", device="cpu"), [str(path) for path in DIGITS])
    assert [row["name"] for row in result["density"]] == list(shares)
    for row in result["density"]:
        of_layer = shares[row["name"]]
        figures = (of_layer.mean(), of_layer.min(), of_layer.max())
        assert (row["mean"], row["minimum"], row["maximum"]) == pytest.approx(figures)
    code, out, err = run(capsys, *words, *DIGITS)
    assert (code, err) == (0, "")
    assert " ".join(next(line for line in out.splitlines() if line.split()[:1] == ["fc7"]).split()).startswith(
        "fc7 192 "
    )
    assert "alexnet-digits, fp32, 20 images: share of the inputs that is not zero" in out
    other = run_json(capsys, *words, DIGITS[0], "--profile", "caffe")
    assert other["profile"] == "caffe"
    assert other["density"] != run_json(capsys, *words, DIGITS[0])["density"]
    code, out, err = run(capsys, *words, tmp_path / "none.png", DIGITS[0])
    assert code == 2
    assert "1 image:" in out
    assert "none.png" in err
    assert err.count("\n") == 1
    assert_mistake(run(capsys, *words, tmp_path), "there is no image")


# bench


@pytest.mark.slow
def test_bench(capsys, either_way):
    arguments = ("bench", "--weights", "digits", "--batch", 1, 3, "--repeat", 4, "--threads", 1, "--device", "cpu")
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert "1 thread" in out
    rows = [line.split() for line in out.splitlines() if line.split()[:1] in (["1"], ["3"])]
    assert [row[0] for row in rows] == ["1", "3"]
    for row in rows:
        median, p10, p90, images_per_s = map(float, row[1:5])
        assert 0 < p10 <= median <= p90
        assert images_per_s == pytest.approx(1e3 * int(row[0]) / median, rel=0.05)


@pytest.mark.slow
def test_exact_is_for_the_cpu(capsys):
    words = ("--weights", "digits", "--threads", 1, "--repeat", 2)
    assert run_json(capsys, "bench", *words, "--device", "cpu", "--exact")["exact"] is True
    assert run_json(capsys, "bench", *words, "--device", "cpu")["exact"] is False
    out = run(capsys, "bench", *words, "--device", "cpu", "--exact")[1]
    assert "variant alexnet-digits, fp32, exact, fc weights fp32" in out
    assert_mistake(run(capsys, "bench", *words, "--device", "naive", "--exact"), "exact=True is for device='cpu'")


def test_bench_states_the_density(capsys, monkeypatch):
    monkeypatch.setattr(bench, "WARM_UP_S", 0)
    words = ("bench", "--variant", "alexnet-digits", "--repeat", 1, "--batch", 3, 2, "--threads", 1, "--device", "cpu")
    result = run_json(capsys, *words)
    row = variants.get("alexnet-digits")
    images = np.random.default_rng(0).standard_normal((3, 3, row.input_size, row.input_size), np.float32)
    net = AlexNet("alexnet-digits", device="cpu")
    for entry in result["batches"]:
        sources = {"fc6": "pool5", "fc7": "relu6", "fc8": "relu7"}
        values = net.taps(images[: entry["batch"]], list(sources.values()))
        assert entry["density"] == pytest.approx({name: np.mean(values[at] != 0) for name, at in sources.items()})
    chosen = run_json(capsys, *words, "--fc-weights", "int4", "--density", "0.35,0.5,0.25")
    assert chosen["weights"] == "random"
    assert chosen["batches"][1]["density"] == pytest.approx({"fc6": 0.35, "fc7": 0.5, "fc8": 0.25}, abs=0.005)
    code, out, err = run(capsys, *words, "--density", 1)
    assert (code, err) == (0, "")
    assert "inputs that are not zero, batch 2: fc6 1.000, fc7 1.000, fc8 1.000\n" in out


def test_bench_json_and_random_weights(capsys):
    result = run_json(capsys, "bench", "--variant", "alexnet-digits", "--fc-weights", "int8", "--repeat", 2)
    assert result["variant"] == "alexnet-digits"
    assert result["weights"] == "random"
    assert result["fc_weights"] == "int8"
    assert result["param_bytes"] > 0
    assert 0.3 < result["batches"][0]["density"]["fc7"] < 0.7
    assert [(row["batch"], row["runs"]) for row in result["batches"]] == [(1, 2)]


# info


def test_info_says_what_there_is(capsys, either_way):
    code, out, err = run(capsys, "info")
    assert (code, err) == (0, "")
    for word in (__version__, _core.cpu_isa(), "naive", "cuda", "refused", "numpy", "digits", "spatial_norm", "passed"):
        assert word in out
    assert "\x1b" not in out


def test_info_json(capsys):
    result = run_json(capsys, "info")
    assert result["ok"] is True
    assert result["problems"] == []
    assert [row["name"] for row in result["backends"]] == [row["name"] for row in _core.backends()]
    assert {row["op"] for row in result["selftest"]} >= {"conv", "fc", "lrn", "spatial_norm", "softmax"}
    assert all(row["ok"] for row in result["selftest"])
    assert result["build"]["compiler"]
    packages = {row["name"]: row for row in result["packages"]}
    assert packages["numpy"]["version"] == np.__version__
    assert result["weights"][0]["classes"] == 10


def test_info_fails_when_a_backend_is_wrong(capsys, monkeypatch):
    def wrong(table, x, params, backend, storage):
        return native.run_native(table, x, params, "naive") * np.float32(1.001)

    check = checks.check
    monkeypatch.setattr(checks, "check", lambda case, backend, run=None: check(case, backend, run=wrong))
    code, out, err = run(capsys, "info")
    assert code == 1
    assert err.startswith("fastalex: ")
    assert "self-tests failed" in err
    assert err.count("\n") == 1
    assert "FAILED" in out
    code, out, _ = run(capsys, "info", "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False


def test_info_of_an_incomplete_installation(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastalex._core", None)
    monkeypatch.delattr("fastalex._core")
    code, out, err = run(capsys, "info")
    assert code == 1
    assert "the native engine cannot be loaded" in err
    assert __version__ in out
    assert diagnosis.collect()["backends"] == []


def test_info_of_a_processor_without_the_isa():
    done = process("--json", env=dict(os.environ, FASTALEX_CPU_ISA="v99"))
    assert done.returncode == 1
    assert b"FASTALEX_CPU_ISA=v99" in done.stderr
    assert b"Traceback" not in done.stderr
    cpu = next(row for row in json.loads(done.stdout)["backends"] if row["name"] == "cpu")
    assert not cpu["available"]


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", ("COMMAND", "fastalex --help")),
        ("clasify", ("clasify", "classify", "fastalex --help")),
        ("--nonsense info", ("--nonsense",)),
        ("classify", ("SOURCE", "fastalex classify --help")),
        ("classify x.png", ("--weights digits",)),
        ("classify x.png --weights random", ("--weights digits",)),
        ("classify x.png --weights none.npz", ("none.npz",)),
        ("classify x.png --weights digits --topk 0", ("--topk", "above 0")),
        ("classify x.png --weights digits --topk two", ("--topk", "two")),
        ("classify x.png --weights digits --profile caffee", ("'caffee'", "'caffe'")),
        ("classify x.png --weights digits --labels none.txt", ("none.txt",)),
        ("classify x.png --weights digits --variant alexnet2012", ("conv1.weight", "shape")),
        ("classify x.png --weights digits --variant alexnet2021", ("'alexnet2021'", "'alexnet2012'")),
        ("classify x.png --weights digits --device tpu", ("device", "tpu")),
        ("classify x.png --weights digits --fc-weights int3", ("int8", "int3")),
        ("classify x.png --weights digits --precision fp8", ("fp32", "fp8")),
        ("classify x.png --weights digits --threads 0", ("--threads",)),
        ("classify x.png --weights digits --threads 99999", ("threads", "99999")),
        ("classify x.png --weights digits --wieghts", ("--wieghts",)),
        ("classify x.png", ("weights",)),
        ("summary alexnet", ("variant", "'alexnet'")),
        ("summary alexnet2012 --input-size 30", ("too small",)),
        ("summary alexnet2012 --num-classes -1", ("--num-classes",)),
        ("summary --table", ("name a variant",)),
        ("summary torchvision --weights digits", ("features.0.weight", "(24, 3, 11, 11)")),
        ("bench --batch 0", ("--batch",)),
        ("bench --batch 5000", ("4096",)),
        ("bench --repeat 1.5", ("--repeat",)),
        ("bench --density 0", ("density", "above 0 and at most 1", "'0'")),
        ("bench --density 0.3,0.4", ("density", "three of them")),
        ("bench --density 0.3 --weights digits", ("--density", "random weights")),
        ("summary --density x.png", ("--density", "--weights digits")),
        ("summary --density x.png --weights random", ("--density", "--weights digits")),
        ("summary --density x.png --weights digits", ("x.png",)),
        ("summary --density x.png --weights digits --kernels", ("one of --density and --kernels",)),
        ("summary --density x.png --weights digits --table", ("one of --density and --table",)),
        ("summary --density x.png --weights digits --profile caffee", ("'caffee'", "'caffe'")),
        ("info extra", ("extra", "fastalex info --help")),
    ],
)
def test_a_mistake_is_one_sentence(capsys, arguments, words):
    assert_mistake(run(capsys, *arguments.split()), *words)
    assert_mistake(run(capsys, *arguments.split(), "--json"))


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_device_that_cannot_be_had_says_why(capsys, name):
    reason = next(entry["reason"] for entry in _core.backends() if entry["name"] == name)
    if not reason:
        pytest.skip("it can be had here")
    assert_mistake(run(capsys, "bench", "--device", name), name, reason)


def test_labels_must_match(capsys, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\n")
    assert_mistake(
        run(capsys, "classify", DIGITS[0], "--weights", "digits", "--labels", names), "2 labels", "10 classes"
    )
    names.write_bytes(b"\xff\xfe\xff")
    assert_mistake(run(capsys, "classify", DIGITS[0], "--weights", "digits", "--labels", names), "cannot be read")


def test_control_characters_do_not_reach_the_terminal(capsys):
    code, _, err = run(capsys, "classify", "--weights", "digits", "no\x1b[31m\nsuch\udc80.png")
    assert code == 2
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "\\x1b[31m" in err


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (KeyboardInterrupt(), 130, ""),
        (MemoryError(), 2, "not enough memory"),
        (UserError("two\nlines"), 2, "two lines"),
        (FileNotFoundError(2, "No such file", "x"), 2, "No such file: x"),
        (ImportError("no numpy"), 2, "install fastalex again"),
    ],
)
def test_what_a_command_may_raise(capsys, monkeypatch, raised, code, words):
    def command(options):
        raise raised

    monkeypatch.setattr(summary, "run", command)
    got, out, err = run(capsys, "summary")
    assert (got, out) == (code, "")
    assert err.count("\n") == (1 if words else 0)
    assert words in err


# Whole processes


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, f"fastalex {__version__}\n", "")
    for arguments in (("--help",), ("classify", "--help"), ("info", "-h"), ("summary", "-h"), ("bench", "-h")):
        code, out, err = run(capsys, *arguments)
        assert (code, err) == (0, "")
        assert out.startswith("usage: fastalex")
        assert all(len(line) < 200 for line in out.splitlines())


def test_the_module_is_info_and_takes_commands():
    assert json.loads(process("--json").stdout)["version"] == __version__
    assert process("--version").stdout.decode() == f"fastalex {__version__}\n"
    done = process("summary", "alexnet2012", "--table")
    assert done.returncode == 0
    assert done.stdout.startswith(b"conv name=conv1 out=96 kernel=11 stride=4 pad=0")
    done = process("nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith(b"fastalex: ")
    assert b"Traceback" not in done.stderr


def test_start_up_loads_nothing_heavy():
    program = (
        "import sys, fastalex.cli.main\ncode = fastalex.cli.main.main(['--version'])\nprint(code, *sorted(sys.modules))"
    )
    words = process("-c", program, module=False).stdout.decode().split()
    assert words[:3] == ["fastalex", __version__, "0"]
    assert not {"numpy", "torch", "PIL", "rich", "fastalex._core"} & set(words)
    program = (
        "import sys, fastalex.cli.main\nfastalex.cli.main.main(['info', '--json'])\nassert 'torch' not in sys.modules"
    )
    assert process("-c", program, module=False).returncode == 0


def test_a_closed_pipe_is_quiet():
    command = [sys.executable, "-m", "fastalex", "summary", "alexnet2012"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, timeout=60)
    os.close(write_end)
    assert done.stderr == b""
    assert done.returncode == common.PIPE_CLOSED


@pytest.mark.skipif(not os.path.exists(FULL_DEVICE), reason="needs " + FULL_DEVICE)
@pytest.mark.parametrize("arguments", [["--version"], ["summary", "--json"]])
def test_output_that_cannot_be_written(arguments):
    with open(FULL_DEVICE, "wb") as full:
        command = [sys.executable, "-m", "fastalex", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(b"fastalex: ") and b"No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_closed_standard_streams():
    done = process("-c", 'exec "$0" -m fastalex summary >&-', module=False, executable="/bin/sh")
    assert done.returncode == 2
    assert done.stderr.startswith(b"fastalex: ") and b"closed" in done.stderr and done.stderr.count(b"\n") == 1
    done = process("-c", 'exec "$0" -m fastalex nonsense 2>&-', module=False, executable="/bin/sh")
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("columns", ["80", "120"])
def test_on_a_terminal(columns):
    pytest.importorskip("rich")
    master, terminal = pty.openpty()
    environment = dict(os.environ, COLUMNS=columns, TERM="xterm-256color", PYTHONIOENCODING="utf-8")
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "fastalex", "summary", "alexnet-digits"]
    done = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, timeout=60, env=environment)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal that is closed
        while True:
            shown += os.read(master, 65536)
    os.close(master)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b[1m" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    table = plain[plain.index("layer") :]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= int(columns)


def test_an_encoding_without_the_characters(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"z\u00e9ro{i}" for i in range(10)), encoding="utf-8")
    environment = dict(os.environ, PYTHONIOENCODING="ascii")
    done = process("classify", "--weights", "digits", "--labels", names, DIGITS[0], env=environment)
    assert done.returncode == 0, done.stderr
    assert b"z\\xe9ro0" in done.stdout


def test_tables_are_aligned_without_rich(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    console.table("Title", ("name", "count"), [("a", 1), ("longer", 1000)], right=("count",))
    assert capsys.readouterr().out == "Title\n  name    count\n  ------  -----\n  a           1\n  longer   1000\n\n"
