"""The tools that build and check wheels; .ci/steps/cuda.sh runs them whole."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fastalex import _core
from fastalex.hardware import installation
from tools import build_wheels, check_wheels

ROOT = Path(__file__).resolve().parents[2]


def header(folder, name, *numbers):
    (folder / name / "include").mkdir(parents=True)
    style = "#define TRT_{}_ENTERPRISE {}\n" if numbers[0] == 11 else "#define NV_TENSORRT_{} {} //!< {}\n"
    text = "".join(style.format(*row, "version") for row in zip(("MAJOR", "MINOR", "PATCH"), numbers))
    (folder / name / "include" / "NvInferVersion.h").write_text("/* 2024 */\n" + text)


def test_headers_are_the_oldest_of_each_release(tmp_path):
    for name, numbers in (("c", (10, 16, 0)), ("b", (10, 3, 0)), ("a", (11, 1, 0)), ("d", (8, 6, 1))):
        header(tmp_path, name, *numbers)
    assert {major: path.parent.name for major, path in build_wheels.oldest_headers(tmp_path).items()} == {
        10: "b",
        11: "a",
    }
    assert build_wheels.oldest_headers(None) == {}
    with pytest.raises(build_wheels.BuildError, match="TensorRT 10 or 11"):
        build_wheels.oldest_headers(tmp_path / "a")


def test_a_tree_with_changes_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_wheels, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(build_wheels.BuildError, match="in a clone, with git"):
        build_wheels.refuse_changes()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    build_wheels.refuse_changes()
    (tmp_path / "left.txt").write_text("x")
    assert build_wheels.main(["gpu", "--output", str(tmp_path / "gpu")]) == 1
    assert "1 changes, the first of left.txt: commit them" in capsys.readouterr().err
    assert not (tmp_path / "gpu").exists()


def test_libraries_of_a_wheel_and_what_they_are_linked_with(tmp_path):
    name = f"fastalex/{Path(_core.__file__).name}"
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.write(_core.__file__, name)
        wheel.writestr("fastalex/data.json", "{}")
    ((found, linked),) = check_wheels.libraries(tmp_path / "x.whl").items()
    assert found == name
    assert any(re.match(r"libstdc\+\+\.so|libm\.so|libc\.so", library) for library in linked)
    assert not any(check_wheels.NEVER_LINKED.match(library) for library in linked)
    for library in ("libcuda.so.1", "libcudart.so.11.0", "libnvinfer.so.10"):
        assert check_wheels.NEVER_LINKED.match(library)


def test_the_wheel_of_an_interpreter(tmp_path):
    tag = "cp{0}{1}-cp{0}{1}{2}".format(*sys.version_info[:2], getattr(sys, "abiflags", ""))
    names = [f"fastalex-1-{tag}-manylinux2014_x86_64.whl", "fastalex-1-cp38-cp38x-manylinux2014_x86_64.whl"]
    assert check_wheels.matching(sys.executable, [tmp_path / name for name in names]).name == names[0]


def test_the_workflow_installs_the_cuda_that_info_speaks_of():
    config = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(re.findall(r"cuda-nvcc-(\d+-\d+)", config)) == {installation.WHEEL_TOOLKIT.replace(".", "-")}
    assert f"/usr/local/cuda-{installation.WHEEL_TOOLKIT}/bin/nvcc" in config
