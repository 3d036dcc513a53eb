"""The parts of the compile gate: lists, limits, the output of ptxas, and calls of the CUDA runtime. No GPU, network or
compiler."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastalex.hardware import devices
from tools import check_cuda_kernels
from tools.cuda_gate import families, limits, plans, table, toolchain

ROOT = Path(__file__).resolve().parents[2]
CUDA = ROOT / "csrc" / "cuda"
CALL = re.compile(r"\b(cuda[A-Z]\w+)\(")


def host_calls():
    """Call -> its line in the list of what CUDA 10.2 has."""
    calls = {}
    for line in (ROOT / "tests" / "tools" / "cuda_host_calls.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name = line.split("(")[0]
            assert name not in calls, name + " is there twice"
            calls[name] = line
    return calls


def code(path):
    """The text of a C++ file without comments and strings."""
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"', " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def host_files():
    return sorted(path for path in CUDA.rglob("*") if path.suffix in (".cpp", ".cu", ".h", ".cuh"))


def test_only_calls_that_cuda_10_2_has():
    listed = host_calls()
    assert list(listed) == sorted(listed)
    assert all(re.fullmatch(r"cuda[A-Z]\w+\([^#]*\)(  # .+)?", line) for line in listed.values())
    used = set()
    for path in host_files():
        here = set(CALL.findall(code(path)))
        assert here <= set(listed), f"{path.name} calls what CUDA 10.2 may not have: {sorted(here - set(listed))}"
        used |= here
    assert "cudaLaunchKernel" in used


def test_runtime_calls_are_in_one_file():
    assert [path.name for path in host_files() if CALL.search(code(path))] == ["runtime.cpp"]


def test_a_changed_signature_is_told_apart_by_version():
    text = code(CUDA / "runtime" / "runtime.cpp")
    before, _, after = text.partition("cudaGraphInstantiate(&exec, graph, 0)")
    assert before.rstrip().endswith("CHECK(")
    assert "CUDART_VERSION >= 12000" in before.splitlines()[-2]
    assert after.lstrip(");\n").startswith("#else")


def test_every_kernel_is_in_a_list():
    lists = " ".join(code(families.KERNELS / (name + "_instances.h")) for name in families.families())
    for path in families.KERNELS.glob("*.cuh"):
        for name in re.findall(r"__global__.*?\b(\w+)\(const \w+Args\b", code(path), re.DOTALL):
            assert re.search(rf"\b{name}\b", lists), f"{name} of {path.name} is in no list of instances"
    for name in families.families():
        families.unit(name)


def test_kernels_include_no_host_header_and_keep_ptx_in_one_file():
    for path in families.sources():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"#\s*include\s*<", text), path.name
        if path.name != "ptx.h":
            assert not re.search(r"\basm\b", code(path)), path.name


def facts_ptx(*rows):
    """PTX as NVRTC writes it for a list, without trailing zeros."""
    data = b""
    for numbers, texts in rows:
        data += b"".join(value.to_bytes(4, "little") for value in numbers)
        data += b"".join(text.encode().ljust(families.TEXT_BYTES, b"\0") for text in texts)
    values = ", ".join(str(byte) for byte in data.rstrip(b"\0"))
    return ".global .align 4 .b8 facts[%d] = {%s};\n" % (len(data), values)


def test_lists_are_read_from_ptx():
    ptx = facts_ptx(
        ((128, 1024, 0, 62, 0), ("simt", "(conv<float, 64>)", "kConv, 64,")),
        ((256, 0, 80, 0, 1), ("mma", "plain", "")),
    )
    simt, mma = families.read_facts("conv", ptx)
    assert simt == families.Instance("conv", "simt", "conv<float, 64>", 128, 1024, 0, 62, False, ("kConv", "64"))
    assert mma == families.Instance("conv", "mma", "plain", 256, 0, 80, 0, True, ())
    assert [simt.fits(53), simt.fits(62), simt.fits(75)] == [True, True, False]
    assert [mma.fits(75), mma.fits(80), mma.fits(80, tensor_cores=False)] == [False, True, False]
    assert families.duplicates([simt, mma, simt]) == ["simt"]
    with pytest.raises(toolchain.ToolError, match="the list of conv is empty"):
        families.read_facts("conv", "")


PTXAS = """
ptxas info    : Compiling entry function '_Z1aIfEvi' for 'sm_53'
ptxas info    : Function properties for _Z1aIfEvi
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 96 registers, used 1 barriers, 8 bytes cumulative stack size, 2048 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_Z1bi' for 'sm_53'
ptxas info    : Function properties for _Z1bi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, 324 bytes cmem[0]
"""


def test_ptxas_output_is_read():
    usage = toolchain.read_usage(PTXAS)
    assert usage == {"_Z1aIfEvi": toolchain.Usage(96, 8, 4, 12, 2048), "_Z1bi": toolchain.Usage(8, 0, 0, 0, 0)}


def kernel(threads, shared=0):
    return families.Instance("conv", "k", "k", threads, shared, 0, 0, False, ())


def usage(registers, stack=0, spills=0, shared=0):
    return toolchain.Usage(registers, stack, spills, 0, shared)


@pytest.mark.parametrize(
    ("device", "threads", "shared", "registers", "blocks"),
    [  # by hand, from the limits in the device files and the units of cuda_occupancy.h
        ("nano", 256, 0, 32, 8),  # 65536 / (32 x 256); as many by threads: 2048 / 256
        ("nano", 64, 12 * 1024, 128, 5),  # 64 KiB / 12 KiB; 8 by registers
        ("nano", 256, 0, 129, 0),  # counted as 136 a thread: 34816 of 32768
        ("nano", 32, 0, 16, 32),  # no more blocks than 32
        ("nano", 64, 49152, 32, 1),
        ("gtx1650", 64, 0, 16, 16),  # 7.5: 16 blocks
        ("rtx30", 128, 99 * 1024, 64, 1),  # with the 1 KiB that the system takes
        ("rtx30", 128, 49 * 1024, 64, 2),
        ("rtx30", 128, 49 * 1024 + 1, 64, 1),
        ("h200", 1024, 0, 64, 1),
    ],
)
def test_blocks_of_a_multiprocessor(device, threads, shared, registers, blocks):
    limit = limits.limits_of(devices.get(device))
    assert limits.blocks_per_sm(limit, threads, shared, usage(registers)) == blocks


def test_what_is_refused():
    nano = limits.limits_for(53)
    assert limits.problems(kernel(256, 48 * 1024), usage(128), nano, 53) == []
    for instance, used, words in [
        (kernel(256), usage(129), "34816 registers of 32768"),
        (kernel(96), usage(255), ""),
        (kernel(64, 48 * 1024 + 16), usage(32), "49168 bytes of 49152"),
        (kernel(64), usage(32, spills=4), "spills 4 bytes"),
        (kernel(64), usage(32, stack=8), "8 bytes of a thread on the stack"),
        (kernel(64), usage(32, shared=128), "must be dynamic"),
    ]:
        said = limits.problems(instance, used, nano, 53)
        assert words in "; ".join(said)
        assert bool(said) == bool(words)
    assert limits.limits_for(80) is None
    assert limits.problems(kernel(64, 1 << 20), usage(32), None, 80) == []
    assert all(one.reason and one.architecture for one in limits.ALLOWED)


def test_every_device_has_an_architecture_of_the_gate():
    for device in devices.load_all().values():
        assert limits.architecture_of(device) in check_cuda_kernels.ARCHITECTURES
        assert limits.limits_for(limits.architecture_of(device)) is not None
    for names, reason in check_cuda_kernels.WITHOUT.values():
        assert not names or reason


def test_missing_tools_are_named(monkeypatch, capsys):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    assert check_cuda_kernels.main(["--arch", "53"]) == 2
    assert "pip install 'nvidia-cuda-nvrtc-cu12==12.9.*'" in capsys.readouterr().err
    with pytest.raises(toolchain.ToolError, match="nvdisasm-nowhere is not there: get it"):
        toolchain.find_program("nvdisasm", "/nonexistent/nvdisasm-nowhere", "get it")


def plan_step(layers, key, **changes):
    kernel = {"name": "k", "threads": 64, "shared_bytes": 0, "grid": [1, 1, 1]}
    step = {"layers": layers, "key": key, "candidate": "c", "general": False, "split": 1, "kernels": [kernel]}
    return dict(step, **changes)


def test_the_table_has_no_empty_cell_and_no_fallback():
    nano = devices.get("nano")
    known = {(53, "k"): (families.Instance("conv", "k", "k", 64, 0, 0, 0, False, ()), usage(64))}
    text, wrong = table.cell(nano, plan_step(["relu1"], "fp32 conv:3x11x11/4:96", split=3), known, "here")
    assert (text, wrong) == ("`k` 64 r, 0, 50 % x 3", [])
    for step, words in [
        (plan_step(["relu1"], "", general=True), "served by the fallback c"),
        (plan_step(["relu1"], "", kernels=[]), "launches nothing"),
        (plan_step(["relu1"], "", kernels=[{"name": "other"}]), "no list has the kernel other for sm_53"),
        (plan_step(["relu1"], "", kernels=[dict(plan_step([], "")["kernels"][0], threads=32)]), "differ in threads"),
    ]:
        assert words in "; ".join(table.cell(nano, step, known, "here")[1])
    rows = table.row_names("alexnet2012")
    assert rows[:3] == ["conv1", "norm1", "pool1"]
    assert rows[-4:] == ["fc8 fp32", "fc8 fp16", "fc8 int8", "fc8 int4"]
    lines, wrong = table.variant_table(nano, "alexnet2012", {("fp32", "fp32", 1): {"steps": []}}, known)
    assert len(lines) == 2 + len(rows)
    assert "nano, alexnet2012: no kernel for conv1, fp32 batch 1" in wrong


def test_the_document_is_whole():
    text = (ROOT / "docs" / "cuda-kernels.md").read_text(encoding="utf-8")
    for device in devices.load_all().values():
        assert f"## {device.title} (`{device.name}`, sm_{limits.architecture_of(device)})" in text
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    assert all(len(row) == 1 + 2 * len(plans.BATCHES) and all(cell.strip() for cell in row) for row in rows)
    expected = sum(2 + len(table.row_names(variant)) for variant in plans.VARIANTS)
    assert len(rows) == expected * len(devices.load_all())
