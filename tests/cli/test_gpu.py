"""The command line on the emulated GPU."""

from __future__ import annotations

import json

import pytest

from cuda_emulator import emulated
from fastalex.cli import diagnosis
from fastalex.cli.main import main
from tests.support.small_net import DIGITS

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("own_cache")]


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def test_summary_prints_the_kernels(capsys):
    arguments = ["summary", "alexnet-digits", "--kernels", "--device", "emulated", "--precision", "fp16"]
    code, out, err = run(capsys, *arguments, "--fc-weights", "int4", "--batch", 2)
    assert (code, err) == (0, "")
    assert "alexnet-digits on emulated:0, fp16, fc weights int4, batch 2; one CUDA graph" in out
    assert "tuning: devices/tuning/rtx30.toml" in out
    found = json.loads(run(capsys, *arguments, "--json")[1])
    assert found["steps"][0]["kernels"]
    assert (found["device"], found["precision"]) == ("emulated:0", "fp16")


def test_info_lists_the_gpus(capsys):
    with emulated.pretend("nano"):
        (row,) = [one for one in diagnosis.collect()["gpus"] if one["device"] == "emulated:0"]
    assert (row["recognized"], row["sm"]) == ("nano", 53)
    assert row["tuning"].startswith("devices/tuning/nano.toml")
    _, out, _ = run(capsys, "info")
    assert "NVIDIA GeForce RTX 3090" in out
    assert "emulated:0" in out
    assert "cuda.bindings" in out


def test_classify_on_the_command_line(capsys):
    code, out, err = run(capsys, "classify", "--weights", "digits", "--device", "emulated", "--json", DIGITS[5])
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["device"], found["isa"]) == ("emulated:0", None)
    assert found["images"][0]["predictions"][0]["label"] == DIGITS[5].name.split("-")[1]
