"""The include contract of csrc: it holds, and violations are reported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import check_includes

ROOT = Path(__file__).resolve().parents[2]


def test_every_include_runs_down():
    assert list(check_includes.problems()) == []


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("includes") / "csrc"
    shutil.copytree(str(check_includes.CSRC), str(folder))
    return folder


@pytest.mark.parametrize(
    ("path", "name", "sentence"),
    [
        ("core/plan.cpp", "cpu/plan.h", 'core may not include "cpu/plan.h"'),
        ("common/half.h", "backend/ops.h", 'common may not include "backend/ops.h"'),
        ("cpu/kernels/tile.h", "cpu/pack.h", 'cpu/kernels may not include "cpu/pack.h"'),
        ("cpu/pack.cpp", "cuda/runtime/runtime.h", 'cpu may not include "cuda/runtime/runtime.h"'),
        ("cuda/kernels/args.h", "fastalex.h", 'cuda/kernels may not include "fastalex.h"'),
        ("core/net.cpp", "plan.h", 'write "plan.h" from csrc/'),
        ("cpu/plan.cpp", "../core/plan.h", 'write "../core/plan.h" from csrc/'),
        ("core/net.cpp", "include/fastalex.h", 'write "include/fastalex.h" from csrc/'),
        ("core/net.cpp", "dlfcn.h", '"dlfcn.h" is not in csrc: write headers of others in angle brackets'),
        ("misc/misc.h", "fastalex.h", "its folder is not in ROOMS"),
    ],
)
def test_what_is_refused(copy, path, name, sentence):
    file = copy / path
    before = file.read_text(encoding="utf-8") if file.is_file() else None
    file.parent.mkdir(exist_ok=True)
    file.write_text((before or "") + f'#include "{name}"\n', encoding="utf-8")
    try:
        (said,) = check_includes.problems(copy)
    finally:
        file.write_text(before, encoding="utf-8") if before else file.unlink()
    assert said.startswith(path + ": ") and sentence in said


def test_a_header_that_hides_another_is_refused(copy):
    hiding = copy / "cuda" / "weights" / "quantize.h"
    hiding.write_text("", encoding="utf-8")
    file = copy / "cuda" / "backend.cpp"
    before = file.read_text(encoding="utf-8")
    file.write_text(before + '#include "weights/quantize.h"\n', encoding="utf-8")
    try:
        (said,) = check_includes.problems(copy)
    finally:
        hiding.unlink()
        file.write_text(before, encoding="utf-8")
    assert '"weights/quantize.h" also names a file of cuda' in said


def test_the_table_runs_one_way(monkeypatch):
    monkeypatch.setitem(check_includes.ROOMS, "common", ("include", "core"))
    assert "ROOMS: common may include core, which does not stand above it in the table" in check_includes.problems()


def test_the_program_fails(copy):
    file = copy / "core" / "top_k.h"
    before = file.read_text(encoding="utf-8")
    command = [sys.executable, "-m", "tools.check_includes", str(copy)]
    assert subprocess.run(command, cwd=str(ROOT)).returncode == 0
    file.write_text(before + '#include "api/c_api.h"\n', encoding="utf-8")
    (copy / "api" / "c_api.h").write_text("", encoding="utf-8")
    done = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
