"""Contributed results: those that are here, what is accepted and refused, and how a measurement becomes one."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from cuda_emulator import emulated
from fastalex.errors import UserError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks import contributed  # noqa: E402
from benchmarks.commands import gpu as gpu_command  # noqa: E402
from benchmarks.commands import main  # noqa: E402
from benchmarks.measure import gpu as gpu_run  # noqa: E402
from benchmarks.measure import machine, power, share  # noqa: E402
from benchmarks.measure.errors import ChildError, MeasurementError, StoppedError, WrongResultError  # noqa: E402
from benchmarks.report import compose, summary  # noqa: E402
from tests.benchmarks.test_gpu_benchmarks import PlayedChild, PlayedTools  # noqa: E402

EXAMPLE = contributed.FOLDER / "nano-example.json"


def example(**changes):
    return {**json.loads(EXAMPLE.read_text(encoding="utf-8")), **changes}


def put(folder, content, name="nano-somebody.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder / name


# Files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(contributed.FOLDER.iterdir()), ids=lambda path: path.name)
def test_every_contributed_result_is_one(path):
    contributed.read(path)


def test_the_example_is_accepted_and_in_no_table():
    found = contributed.read(EXAMPLE)
    assert found["example"] is True
    assert EXAMPLE.name not in dict(contributed.load())
    assert not any(EXAMPLE.name in text for text in compose.pages([], contributed.load()).values())


def test_one_that_is_no_example_fills_its_cell(tmp_path):
    put(tmp_path, example(example=None, commit="0" * 40))
    shared = contributed.load(tmp_path)
    assert [name for name, _ in shared] == ["nano-somebody.json"]
    made = compose.pages([], shared)
    row = shared[0][1]["rows"][0]
    (line,) = [line for line in made["RESULTS.md"].splitlines() if line.startswith("| alexnet2012, batch 1 |")]
    assert line.startswith(f"| alexnet2012, batch 1 | {row['median_ms']:.0f} ms, ")
    assert "int8 fc, [contributed](contributed/nano-somebody.json))" in line
    assert line.count(summary.BLANK) == 3
    assert "](results/contributed.md)" in made["RESULTS.md"]
    assert "| [nano-somebody.json](../contributed/nano-somebody.json) |" in made["results/contributed.md"]
    assert "| 0000000000 |" in made["results/contributed.md"]
    # what was measured by the project itself is beside it: the quicker one has the cell
    own = dict(shared[0][1]["rows"][0], median_ms=1e-3, images_per_s=1e6)
    mine = {"device": "nano", "title": "Jetson Nano 4GB", "rows": [own], "machine": {"gpu": {}}}
    assert "contributed" not in summary.best_cell([mine], shared, ("nano",), "alexnet2012", 1)


def row(**changes):
    return {"rows": [{**example()["rows"][0], **changes}]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema": 2}, "schema must be 1"),
        ({"device": "../nano"}, "device must be the name of a file in devices/"),
        ({"device": "toaster"}, "device must be the name of a file in devices/"),
        ({"title": "Nano | <b>fast</b>"}, "title must be a line of at most 200 plain characters"),
        ({"title": "Nano\n# mine"}, "title must be a line of"),
        ({"title": "[x](http:y)"}, "title must be a line of"),
        ({"title": None}, "title must be a line of"),
        ({"date": "yesterday"}, "date must be a date"),
        ({"commit": "abc"}, "commit must be the 40 digits of a commit"),
        ({"gpu": []}, "gpu must be an object"),
        ({"gpu": {}}, "gpu.name is missing"),
        ({"extra": 1}, "extra is not known"),
        ({"rows": {}}, "rows must be a list"),
        ({"rows": []}, "rows is empty"),
        ({"rows": [1]}, "rows[0] must be an object"),
        (row(batch=True), "rows[0].batch must be a whole number from 1 to 4096"),
        (row(batch=5000), "rows[0].batch must be"),
        (row(variant="alexnet-digits"), "rows[0].variant must be one of alexnet2012, torchvision"),
        (row(precision="fp8"), "rows[0].precision must be fp32 or fp16"),
        (row(fc_weights=["int8"]), "rows[0].fc_weights must be fp32, fp16, int8 or int4"),
        (row(median_ms="fast"), "rows[0].median_ms must be a number above 0"),
        (row(median_ms=-1.0), "rows[0].median_ms must be a number above 0"),
        (row(p10_ms=1e9), "rows[0]: p10_ms, median_ms and p90_ms do not rise"),
        (row(images_per_s=1e9), "rows[0].images_per_s: batch and median_ms give"),
        (row(correct={"max_abs_diff": 0.2, "tolerance": 0.1}), "rows[0].correct: the result is wrong"),
        (row(correct={"tolerance": 0.1}), "rows[0].correct.max_abs_diff is missing"),
        ({"rows": row()["rows"] * 2}, "rows[1] is there twice"),
        ({"failed": [{}]}, "failed[0].variant is missing"),
    ],
)
def test_a_broken_one_is_refused_with_the_place(changes, sentence, tmp_path):
    path = put(tmp_path, example(**changes))
    with pytest.raises(UserError) as error:
        contributed.read(path)
    assert str(error.value).startswith(f"{path} is not a contributed result: {sentence}")
    with pytest.raises(UserError):
        contributed.load(tmp_path)  # and so is a folder that has it


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Expecting value"),
        ("[]", "the file must be an object"),
        ("nan", "Expecting value"),
        ('{"schema": NaN}', "NaN is no number"),
        ('{"schema": -Infinity}', "-Infinity is no number"),
        ("[" * 100000, "is not a contributed result"),
        (" " * (65 << 10), "it is larger than 64 KiB"),
    ],
)
def test_what_is_no_json_of_a_result_is_refused(text, sentence, tmp_path):
    with pytest.raises(UserError, match="is not a contributed result") as error:
        contributed.read(put(tmp_path, text))
    assert sentence in str(error.value)
    with pytest.raises(UserError, match="No such file"):
        contributed.read(tmp_path / "nano-none.json")


@pytest.mark.parametrize("name", ["tx2-mine.json", "nano.json", "nano-Mine.json", "nano-a](b.json"])
def test_a_name_that_does_not_fit_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"must be named nano-<gpu>\.json"):
        contributed.read(put(tmp_path, example(), name))


def test_every_value_that_is_left_out_is_missed():
    """Each key of the schema in turn, in each object: only the optional ones may be absent."""

    def objects(found, fields):
        yield found, fields
        for key, field in fields.items():
            if field.fields and found.get(key):
                for one in found[key] if field.many else [found[key]]:
                    yield from objects(one, field.fields)

    whole = example()
    for index, (_, fields) in enumerate(list(objects(whole, contributed.SCHEMA))):
        for key, field in fields.items():
            one = copy.deepcopy(whole)
            del list(objects(one, contributed.SCHEMA))[index][0][key]
            if field.optional:
                contributed.check(one)
            else:
                with pytest.raises(ValueError, match="is missing"):
                    contributed.check(one)


# --share ----------------------------------------------------------------------------------------------------------

SHARE = ["--device", "h200", "--share", "--variants", "alexnet2012"]


def share_run(words, child=None):
    options = main.parse(words)
    with emulated.pretend("sm=90,sms=132,name=NVIDIA H200,memory_bytes=151397597184"):
        return gpu_command.run(options, "emulated", child=child or PlayedChild(), tools=PlayedTools())


@pytest.mark.emulator
def test_what_is_shared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert share_run(SHARE) == 0
    out, err = capsys.readouterr()
    assert [path.name for path in tmp_path.iterdir()] == ["h200-h200-sxm.json"]
    assert "h200-h200-sxm.json is what to send: docs/measure-your-board.md says how" in err
    found = contributed.read(tmp_path / "h200-h200-sxm.json")
    assert (found["device"], found["title"], found["gpu"]["sm"]) == ("h200", "H200 SXM", 90)
    assert found["gpu"]["memory_mib"] == 144384
    assert {one["batch"] for one in found["rows"]} == {1, 8, 32}
    assert found["rows"][0]["correct"] == {"max_abs_diff": 1e-5, "tolerance": 1e-4}
    assert found["versions"]["cuda_driver"] == "12.9"
    assert "images/s" in out
    assert (tmp_path / "h200-h200-sxm.json").stat().st_size < 16 << 10
    # and what was written is what the tables take
    made = compose.pages([], contributed.load(tmp_path))
    assert "0.200 ms" not in made["RESULTS.md"]  # no column
    assert "| H200 SXM |" in made["results/contributed.md"]


@pytest.mark.emulator
@pytest.mark.parametrize("words", [["--quick"], ["--variants", "alexnet-digits"]])
def test_what_cannot_be_shared_is_refused_before_anything_is_measured(words, capsys):
    assert main.main(["--device", "h200", "--share", *words]) == 2
    error = capsys.readouterr().err
    assert "--share" in error
    assert error.count("\n") == 1


def test_only_a_gpu_is_shared(capsys):
    assert main.main(["--device", "cpu", "--share"]) == 2
    assert "cpu does not take '--share'" in capsys.readouterr().err


@pytest.mark.emulator
def test_the_state_of_a_jetson_is_shared(tmp_path):
    def file(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    file("etc/nv_tegra_release", "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n")
    file("var/lib/dpkg/status", "Package: a\nVersion: 1\n\nPackage: nvidia-jetpack\nStatus: ok\nVersion: 4.6.1-b110\n")
    file("sys/class/devfreq/57000000.gpu/cur_freq", "921600000\n")
    assert power.jetpack(tmp_path) == "JetPack 4.6.1-b110, L4T 32.7.1"
    assert power.jetson_gpu_mhz(tmp_path) == 921.6
    assert (power.jetpack(tmp_path / "no"), power.jetson_gpu_mhz(tmp_path / "no")) == (None, None)
    with emulated.pretend("nano"):
        one = gpu_run.Measurement(gpu_run.find("nano", "emulated"), False, None, PlayedChild(peaks=None), PlayedTools())
        one.run(["alexnet2012"], [1])
        record = gpu_run.record(one, "nano", machine.make_record(one.base, []))
    record["machine"]["state"].update(nvpmodel="0 MAXN", clocks_held=True)
    record["machine"]["smi"] = None
    record["commit"] = "1" * 40 + "-dirty"
    found = share.contribution(record, tmp_path)
    board = found["board"]
    assert found["commit"] == record["commit"]
    assert (board["power_mode"], board["clocks_held"], board["jetpack"]) == ("0 MAXN", True, power.jetpack(tmp_path))
    assert (board["sm_clock_mhz"], board["memory_clock_mhz"], board["driver"]) == (921.6, None, None)
    record["rows"][0]["correctness"]["max_abs_diff"] = 1.0
    with pytest.raises(MeasurementError, match="cannot be shared: .*the result is wrong"):
        share.contribution(record, tmp_path)


def test_text_of_a_machine_becomes_plain():
    assert share.plain("Ubuntu | <22.04>\n“LTS”") == "Ubuntu 22.04 LTS"
    assert share.plain("") is None
    assert share.plain(None) is None
    assert (share.number("[N/A]"), share.number("1980"), share.number(None)) == (None, 1980.0, None)
    assert share.cuda_version(12090) == "12.9"


# Bad input --------------------------------------------------------------------------------------------------------


class Ending(PlayedChild):
    """Measures ``good`` engines and then ends as told."""

    def __init__(self, good, end):
        super().__init__()
        self.good, self.end = good, end

    def __call__(self, task, spec):
        if task == "measure":
            self.good -= 1
            if self.good < 0:
                raise self.end
        return super().__call__(task, spec)


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("end", "kind", "sentence"),
    [
        (KeyboardInterrupt(), StoppedError, "stopped; what was measured until then is in "),
        (
            ChildError("the measure process failed (1): MemoryError: device memory of 9 MiB cannot be had"),
            ChildError,
            "device memory of 9 MiB cannot be had; what was measured until then is in ",
        ),
    ],
)
def test_what_was_measured_is_kept(end, kind, sentence, tmp_path):
    path = tmp_path / "out.json"
    words = ["--device", "h200", "--variants", "alexnet2012", "--batches", "1", "--output", str(path)]
    with pytest.raises(kind) as error:
        share_run(words, Ending(2, end))
    assert sentence in str(error.value)
    assert str(error.value).endswith("out.json.partial")
    assert [one.name for one in tmp_path.iterdir()] == ["out.json.partial"]
    kept = json.loads((tmp_path / "out.json.partial").read_text())
    assert [one["engine"] for one in kept["rows"]] == ["fastalex fp32", "fastalex fp16"]
    with pytest.raises(kind, match="nothing was written"):
        share_run([*words[:-2], "--no-write"], Ending(2, copy.copy(end)))
    # the next run to its end takes it away
    assert share_run(words) == 0
    assert [one.name for one in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.emulator
def test_a_wrong_result_keeps_no_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongResultError, match=r"fastalex fp32.*h200-h200-sxm\.json\.partial"):
        share_run(SHARE, PlayedChild(wrong=("fastalex fp32",)))
    assert [one.name for one in tmp_path.iterdir()] == ["h200-h200-sxm.json.partial"]


class Small(PlayedChild):
    """A GPU without the memory for a batch above 1."""

    def __call__(self, task, spec):
        answer = super().__call__(task, spec)
        for one in answer.get("rows", []):
            if one["batch"] > 1:
                batch = one["batch"]
                one.clear()
                one.update(batch=batch, failed="out of memory: device memory of 9 MiB cannot be had")
        return answer


@pytest.mark.emulator
def test_a_batch_that_does_not_fit_costs_that_batch(tmp_path, capsys):
    path = tmp_path / "h200-mine.json"
    words = ["--device", "h200", "--share", "--variants", "alexnet2012", "--batches", "1", "8", "--output", str(path)]
    with pytest.raises(MeasurementError, match="batch 8: out of memory: .*; everything else was measured and written"):
        share_run(words, Small())
    found = contributed.read(path)
    assert {one["batch"] for one in found["rows"]} == {1}
    assert {(one["batch"], one["why"]) for one in found["failed"]} == {
        (8, "out of memory: device memory of 9 MiB cannot be had")
    }
    assert "out of memory: device memory of 9 MiB" in capsys.readouterr().out


def test_ctrl_c_is_one_sentence(monkeypatch, capsys):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.COMMANDS["cpu"], "run", stop)
    assert main.main(["cpu"]) == main.STOPPED
    assert capsys.readouterr().err == "stopped; nothing was written\n"


@pytest.mark.parametrize(
    ("reason", "here", "sentence"),
    [
        (
            "the NVIDIA driver supports CUDA 10.2, this library needs 13.0; update the driver",
            "h200",
            "supports CUDA 10.2",
        ),
        (
            "there is no NVIDIA driver on this machine",
            None,
            "(NVIDIA H200): nothing was found; CUDA: there is no NVIDIA driver on this machine",
        ),
        ("", "rtx40", "this machine is not h200 (NVIDIA H200): it is rtx40, by its name"),
    ],
)
def test_a_gpu_that_cannot_be_measured_is_one_sentence(reason, here, sentence, monkeypatch, capsys):
    from fastalex.hardware import devices

    found = devices.Recognition(
        devices.get(here) if here else None, None, "by its name" if here else "nothing was found"
    )
    monkeypatch.setattr(devices, "recognize", lambda: found)
    monkeypatch.setattr(gpu_command.measuring, "find", lambda name, backend: None)
    monkeypatch.setattr(gpu_command, "engine_reason", lambda: reason)
    assert main.main(["--device", "h200", "--share"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
