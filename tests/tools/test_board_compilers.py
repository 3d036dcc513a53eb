"""The parts of tools/check_board_compilers.py: wheels, PTX for another architecture, the document. No compiler, no
network."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from fastalex.hardware import devices
from tools import check_board_compilers
from tools.cuda_gate import boards, families, toolchain

PTX = """//
.version 6.5
.target sm_52
.address_size 64
\t// .target sm_52 in a comment stays
"""


def wheel(folder, name, files):
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)


def write_wheels(folder):
    libraries = {"torch/lib/libnvrtc-1f.so.10.2": b"not a library", "torch/lib/libnvrtc-builtins.so": b"builtins"}
    wheel(folder, "torch-1.10.2-cp39-cp39-manylinux1_x86_64.whl", dict(libraries, **{"torch/lib/libc10.so": b"other"}))
    ptxas = {"nvidia/cuda_nvcc/bin/ptxas": b"#!/bin/sh\necho Cuda compilation tools, release 11.7, V11.7.99\n"}
    wheel(folder, "nvidia_cuda_nvcc_cu11-11.7.99-py3-none-manylinux1_x86_64.whl", ptxas)


def test_files_come_out_of_the_wheels(tmp_path):
    write_wheels(tmp_path)
    library, builtins = boards.unpack(tmp_path, "torch==1.10.2")
    (ptxas,) = boards.unpack(tmp_path, "nvidia-cuda-nvcc-cu11==11.7.99")
    assert library.parent == builtins.parent  # NVRTC looks for them there, by this name
    assert (library.read_bytes(), builtins.name) == (b"not a library", "libnvrtc-builtins.so")
    assert os.access(ptxas, os.X_OK)
    assert sorted(path.name for path in library.parent.iterdir()) == sorted([library.name, builtins.name, "ptxas"])
    with pytest.raises(toolchain.ToolError, match="libnvrtc-1f.so.10.2 needs Linux on x86-64"):
        boards.load(tmp_path)


def test_missing_and_damaged_wheels_are_refused_with_the_command(tmp_path, capsys):
    output = tmp_path / "document.md"
    command = ["--wheels", str(tmp_path), "--output", str(output)]
    assert check_board_compilers.main(command) == 2
    said = capsys.readouterr().err
    assert "has no torch-1.10.2-*.whl: pip download --no-deps" in said
    assert f"-d {tmp_path} torch==1.10.2 nvidia-cuda-nvcc-cu11==11.7.99" in said
    assert len(said.splitlines()) == 1

    write_wheels(tmp_path)
    name = "torch-1.10.2-cp39-cp39-manylinux1_x86_64.whl"
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-30])
    assert check_board_compilers.main(command) == 2
    assert f"{name} is damaged: remove it, and pip download" in capsys.readouterr().err
    wheel(tmp_path, name, {"torch/lib/libnvrtc-builtins.so": b""})
    assert check_board_compilers.main(command) == 2
    assert "has 0 files torch/lib/libnvrtc-*.so.10.2, not one" in capsys.readouterr().err
    assert not output.exists()


def test_the_boards_and_what_they_are_compiled_for():
    assert [board.name for board in boards.boards()] == ["nano", "tx2"]
    assert [boards.virtual_architecture(one) for one in (53, 62, 61)] == [52, 61, 61]
    assert boards.source_of("frame", 53).splitlines()[:2] == ["#undef __CUDA_ARCH__", "#define __CUDA_ARCH__ 530"]


def test_ptx_is_changed_in_its_target_alone():
    changed = boards.retarget(PTX, 53)
    different = [pair for pair in zip(PTX.splitlines(), changed.splitlines()) if pair[0] != pair[1]]
    assert different == [(".target sm_52", ".target sm_53")]
    assert boards.ptx_version(changed) == "6.5"
    with pytest.raises(toolchain.ToolError, match="sm_62 has 0 lines .target sm_61"):
        boards.retarget(PTX, 62)
    with pytest.raises(toolchain.ToolError, match="no line .version"):
        boards.ptx_version("")


def result(architecture, registers, spills=0):
    instance = families.Instance("conv_simt", f"k{registers}", "k", 64, 2048, 0, 0, False, ())
    usage = {instance.name: toolchain.Usage(registers, 0, spills, 0, 0)}
    compiled = families.Compiled("conv_simt", architecture, [instance], {}, usage, Path())
    return boards.Result(compiled, "6.5")


def run(monkeypatch, output, spills):
    by_board = {"nano": [result(53, 64), result(53, 128, spills)], "tx2": [result(62, 64)]}
    compilers = boards.Compilers(type("Nvrtc", (), {"version": "10.2"})(), Path("ptxas"), "11.7")
    monkeypatch.setattr(boards, "load", lambda wheels: compilers)
    monkeypatch.setattr(check_board_compilers, "compile_board", lambda compilers, board: by_board[board.name])
    return check_board_compilers.main(["--output", str(output)])


def test_the_document(monkeypatch, tmp_path, capsys):
    output = tmp_path / "document.md"
    assert run(monkeypatch, output, spills=0) == 0
    text = output.read_text(encoding="utf-8")
    assert all(len(line) <= 120 for line in text.splitlines())
    words = " ".join(text.split())
    assert "the last one of NVIDIA Jetson Nano and NVIDIA Jetson TX2, has CUDA 10.2. NVRTC 10.2 compiled" in words
    assert "functions for compute_53 and compute_62; it compiled for compute_52 and compute_61" in words
    assert "| NVIDIA Jetson Nano (`nano`, sm_53) | 2 | 128 | 0 | 0 |\n" in text
    # As docs/cuda-kernels.md counts: 65536 registers of 64 a thread are 1024 threads, half of 2048; of 128, a quarter.
    assert "| `k64` | conv_simt | 64 | 2.0 KiB | 64 | 50 % | 64 | 50 % |\n" in text
    assert "| `k128` | conv_simt | 64 | 2.0 KiB | 128 | 25 % |  |  |\n" in text
    assert devices.get("nano").limits["registers_per_sm"] == 65536
    assert "0 problems" in capsys.readouterr().out


def test_a_kernel_that_spills_is_a_problem_and_nothing_is_written(monkeypatch, tmp_path, capsys):
    output = tmp_path / "document.md"
    assert run(monkeypatch, output, spills=4) == 1
    assert "conv_simt, k128 for sm_53: spills 4 bytes" in capsys.readouterr().err
    assert not output.exists()
