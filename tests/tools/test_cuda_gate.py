"""The parts of the compile gate: lists, limits, the output of ptxas, and calls of the CUDA runtime. No GPU, network or
compiler."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from fastalex import variants
from fastalex.hardware import devices
from tools import check_cuda_kernels
from tools.cuda_gate import families, limits, plans, predict, sass, table, toolchain

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


def word(*stalls):
    return f"/* 0x{sum((stall | 0x7E0) << 21 * i for i, stall in enumerate(stalls)):016x} */"


# Two stages of a product as nvdisasm prints them, with a load, an inner loop of two pairs of halves and a store.
LISTING = f"""
.text.kernel:
        .weak           kernel
kernel:
                                                            {word(1, 2, 6)}
        /*0008*/                   MOV R1, c[0x0][0x20] ;    /* 0x4c98078000870001 */
        /*0010*/                   S2R R0, SR_TID.X ;        /* 0xf0c8000002170000 */
        /*0018*/                   SHL R2, R0, 0x2 ;         /* 0x3848000000270002 */
.L_x_1:
                                                            {word(1, 1, 5)}
        /*0028*/                   LDG.E.128 R4, [R2] ;      /* 0xeed4200000070204 */
        /*0030*/                   STS.U.128 [R0], R4 ;      /* 0xef5e000000070004 */
        /*0038*/                   BAR.SYNC 0x0 ;            /* 0xf0a81b8000070000 */
.L_x_2:
                                                            {word(0, 1, 1)}
        /*0048*/                   LDS.U.128 R8, [R0] ;      /* 0xef4e100000070008 */
        /*0050*/                   HFMA2 R12, R8, R9, R12 ;  /* 0x5d0024160a97080c */
        /*0058*/                   HFMA2.MRG_H0 R13, R8, R9, R13 ; /* 0x5d00261b0a97080d */
                                                            {word(5, 5, 2)}
        /*0068*/              @!P0 BRA `(.L_x_2) ;           /* 0xe24fffffd008000f */
        /*0070*/               @P1 BRA `(.L_x_1) ;           /* 0xe24fffffa801000f */
        /*0078*/                   F2F.F32.F16 R3, R12 ;     /* 0x5ca8000000c70a03 */
                                                            {word(1, 5, 15)}
        /*0088*/                   STG.E [R2], R3 ;          /* 0xeedc200000070203 */
        /*0090*/                   EXIT ;                    /* 0xe30000000007000f */
.L_x_3:
        /*0098*/                   BRA `(.L_x_3) ;           /* 0xe2400fffff87000f */
.L_x_4:
"""


def test_machine_code_is_read():
    kernel = sass.parse(LISTING)["kernel"]
    assert [one.kind for one in kernel.code][:6] == ["integer", "integer", "compare", "global", "shared", "barrier"]
    assert kernel.loops == (sass.Loop(3, 10), sass.Loop(6, 9))  # the padding at the end is none
    assert kernel.main_loop() == sass.Loop(6, 9)
    body = kernel.profile(kernel.main_loop())
    assert (body.macs, body.instructions, body.issue, body.stall) == (4, 4, 3, 7)  # the load goes beside a product
    assert body.fma_share == 0.5
    assert body.shared == 2  # 512 bytes, of which half are asked for twice
    assert body.clocks()["core"] == 2 / 4
    outside = kernel.profile()
    assert outside.counts == {"integer": 2, "compare": 1, "convert": 1, "global": 1, "branch": 2}
    assert outside.clocks()["convert"] == 1
    assert kernel.longest().instructions == outside.instructions - 1
    assert kernel.longest(sass.Loop(3, 10)).instructions == 4
    assert kernel.longest(None, ("F2F",)) == kernel.longest()  # there is no way round it


WORK = predict.Work("conv", 3, 1, 1, 64 * 64 * 96, 96, 1e4, 8192.0, 12288.0, 0, 2, 1)


def product_work(**changes):
    return dataclasses.replace(WORK, **changes)


def test_a_product_runs_as_often_as_it_must():
    """A block of 64 threads, 64 x 64 results and 96 products: a thread loads 16 bytes a stage, so 1024 bytes make a
    stage of 1024 / (128 x 2) = 4 products, at least 8; it multiplies 64 x 64 x 8 / 64 = 512 times a stage."""
    kernel = sass.parse(LISTING)["kernel"]
    launch = {"name": "hfma2_64x64", "threads": 64, "grid": [1, 1, 1], "shared_bytes": 1024, "window": 1, "vectors": 1}
    pieces = {piece.what: piece for piece in predict.pieces_of(kernel, product_work(), launch)}
    assert pieces["outside"].times == 1
    assert pieces["stages"].times == 96 / 8
    assert pieces["main loop"].times == 96 / 8 * 512 / 4
    halved = {piece.what: piece for piece in predict.pieces_of(kernel, product_work(split=2), launch)}
    assert halved["main loop"].times == pieces["main loop"].times / 2


def test_a_prediction_is_the_longer_of_clocks_and_bytes():
    kernel = sass.parse(LISTING)["kernel"]
    nano = devices.get("nano")
    instance = families.Instance("conv_simt", "hfma2_64x64", "k", 64, 1024, 0, 0, False, ())
    launch = {"name": instance.name, "threads": 64, "grid": [3, 1, 1], "shared_bytes": 1024, "window": 1, "vectors": 1}

    def run(shares, **changes):
        work = product_work(**changes)
        return predict.predict(kernel, instance, usage(128), work, launch, (0, 1), nano, nano.cards[0], shares)

    found = run((1.0, 1.0))
    assert found.bytes == 1e4 + 8192 + 12288
    assert found.memory_ms == pytest.approx(found.bytes / 25.6e6)
    # Three blocks of two warps. Shared memory is busiest: 12 stages of a 4-clock store and 128 2-clock loads.
    assert found.limited_by == "shared"
    assert found.clocks == pytest.approx(3 * 2 * 12 * (4 + 128 * 2))
    assert found.ms == found.compute_ms == pytest.approx(found.clocks / 921.6e3)
    assert run((0.5, 1.0)).clocks == 2 * found.clocks
    assert run((1.0, 0.5), weight_bytes=1e9).ms == pytest.approx((1e9 + 18192) / 12.8e6)


def test_bytes_of_a_step_with_several_kernels():
    work = product_work(workspace=1000)
    assert sum(predict.bytes_of(work, i, 2) for i in range(2)) == 1e4 + 8192 + 12288 + 2 * 1000
    assert sum(predict.bytes_of(work, i, 3) for i in range(3)) == 1e4 + 8192 + 12288 + 2 * 1000
    assert predict.bytes_of(work, 0, 1) == 1e4 + 8192 + 12288


def test_steps_are_layers():
    rows = variants.get("alexnet2012").layers()
    steps = [{"layers": ["relu1"]}, {"layers": ["norm1", "pool1"]}, {"layers": ["relu2"]}]
    groups = predict.step_layers(rows, steps)
    assert [[one.name for one in group] for group in groups] == [
        ["conv1", "relu1"],
        ["norm1", "pool1"],
        ["conv2", "relu2"],
    ]


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


@pytest.mark.parametrize("name", ["nano", "tx2"])
def test_predictions_say_what_they_are(name):
    record = json.loads((ROOT / "benchmarks" / "predicted" / (name + ".json")).read_text(encoding="utf-8"))
    assert record["what"].startswith("predicted")
    assert record["device"] == name
    assert record["assumed"] == {"issue_share": predict.ISSUE_SHARE, "bandwidth_share": predict.BANDWIDTH_SHARE}
    assert record["total_ms"] == pytest.approx(sum(step["ms"] for step in record["steps"]), abs=2e-3)
    for step in record["steps"]:
        longer = [max(kernel["compute_ms"], kernel["memory_ms"]) for kernel in step["kernels"]]
        assert step["ms"] == pytest.approx(sum(longer), abs=1e-3)
