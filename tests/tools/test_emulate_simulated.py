"""The errors of the emulator beside those of the simulator: where they are noted, and what is said. No emulator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

if not (Path(__file__).resolve().parents[2] / "benchmarks").is_dir():
    pytest.skip("the benchmarks are only in a source checkout", allow_module_level=True)

from benchmarks import simulated
from benchmarks.report import simulated as text
from tests.benchmarks.test_simulated import NEW, record
from tools import emulate_simulated
from tools.cuda_gate import emulation, toolchain

CONV2 = emulation.Place("alexnet2012", "fp16", "int8", 1, None, "conv2")
AFTER = {"commit": NEW, "kernel": "in"}


def found_by(errors, monkeypatch):
    asked = []

    def read(library, device, places):
        asked.append((library, device, places))
        if isinstance(errors, Exception):
            raise errors
        return {place: errors[place] for place in places}

    monkeypatch.setattr(emulation, "read_errors", read)
    return asked


def test_the_newest_commit_s_runs_get_the_error_of_their_layer(monkeypatch):
    zeros = CONV2._replace(layer="fc7", density=0.35)
    errors = {CONV2: emulation.Emulated(1.2345e-3, ("in", "out")), zeros: emulation.Emulated(2e-4, ("c",))}
    asked = found_by(errors, monkeypatch)
    runs = ({}, AFTER, {**AFTER, "kernel": "out"}, {**AFTER, "layer": "fc7", "kernel": "c", "density": 0.35})
    made = record(*runs)
    assert emulate_simulated.fill(made, Path("x.so")) == []
    assert asked == [(Path("x.so"), "nano", [CONV2, zeros])]
    assert [run.get("emulator_error") for run in made["runs"]] == [None, 1.23e-3, 1.23e-3, 2e-4]
    simulated.check(made)


def test_a_layer_with_other_kernels_is_named_and_gets_none(monkeypatch):
    found_by({CONV2: emulation.Emulated(1e-3, ("other",))}, monkeypatch)
    made = record({**AFTER, "emulator_error": 5e-4})
    assert emulate_simulated.fill(made, Path("x.so")) == ["conv2 runs other, and what was simulated is in"]
    assert made["runs"][0]["emulator_error"] is None


def test_the_command_writes_the_record_and_the_document(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(simulated, "FOLDER", tmp_path)
    monkeypatch.setattr(text, "REPORT", tmp_path / "simulation.md")
    text.REPORT.write_text("<!-- begin simulation -->\nold\n<!-- end simulation -->\n", encoding="utf-8")
    (tmp_path / "nano.json").write_text(json.dumps(record(AFTER)), encoding="utf-8")
    found_by({CONV2: emulation.Emulated(1e-3, ("in",))}, monkeypatch)
    assert emulate_simulated.main(["--device", "nano", "--library", "x.so"]) == 0
    assert capsys.readouterr().out == "nano: the emulator ran every layer\n"
    assert simulated.read(tmp_path / "nano.json")["runs"][0]["emulator_error"] == 1e-3
    assert "| 1.0e-03 |" in text.REPORT.read_text(encoding="utf-8")
    found_by(toolchain.ToolError("no plans for nano: why"), monkeypatch)
    assert emulate_simulated.main(["--library", "x.so"]) == 2
    assert capsys.readouterr().err == "no plans for nano: why\n"
    assert emulate_simulated.main(["--device", "toaster"]) == 2
    assert "toaster.json is no record of simulated runs: " in capsys.readouterr().err
