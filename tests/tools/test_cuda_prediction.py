"""The prediction from machine code: how a multiprocessor runs it, against cases computed by hand. No GPU, network or
compiler."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastalex import variants
from fastalex.hardware import devices
from tests.tools.machine_code import control, kernel_of, launch_of, run_block
from tools.cuda_gate import execution, families, machine, predict, scoreboard, toolchain
from tools.cuda_gate.memory import Memory
from tools.predict_cuda import DEVICES, main

ROOT = Path(__file__).resolve().parents[2]


# A multiprocessor

MAXWELL = machine.MAXWELL


def memory_of(bytes_a_clock=1e9, dram_clocks=0.0, l2_bytes=1 << 20, **others):
    return Memory(l2_bytes, bytes_a_clock, dram_clocks, 64, **others)


def run_warps(rows, warps, memory=None, blocks=1, resident=1, issued=None, access=(), of=MAXWELL):
    """Warps of a block that each run the instructions once, or as ``issued`` says."""
    code = kernel_of(*rows).code
    order = list(range(len(code))) if issued is None else list(issued)
    traces = [execution.WarpTrace(order, list(access)) for _ in range(warps)]
    following = iter([traces] * blocks)
    steps = scoreboard.steps_of(code, of)
    return scoreboard.Multiprocessor(steps, memory or memory_of(), resident).run(lambda: next(following, None))


FMA = "FFMA R8, R4, R5, R10"


def test_independent_products_issue_one_a_clock():
    result = run_warps([(FMA, control(1))], warps=1, issued=[0] * 100)
    assert (result.clocks, result.issued) == (100, 100)
    assert run_warps([(FMA, control(1))], warps=4, issued=[0] * 100).clocks == 100  # a scheduler each
    assert run_warps([(FMA, control(1))], warps=8, issued=[0] * 100).clocks == 200


def test_a_chain_takes_its_latency_and_warps_hide_it():
    """Each product needs the one before: six clocks on Maxwell, which the control word says. Of n warps a scheduler."""
    chain = [(FMA, control(6))]
    assert run_warps(chain, warps=4, issued=[0] * 100).clocks == 600
    for warps in (2, 3, 6):
        result = run_warps(chain, warps=4 * warps, issued=[0] * 100)
        assert result.issued / result.clocks == pytest.approx(4 * warps / 6, rel=0.02)
    full = run_warps(chain, warps=4 * 8, issued=[0] * 100)
    assert full.issued / full.clocks == pytest.approx(4, rel=0.02)


def test_two_instructions_where_the_first_has_no_stall():
    pair = [(FMA, control(0)), ("LDS R0, [R1]", control(1))]
    result = run_warps(pair, warps=1, issued=[0, 1] * 50, access=[1] * 50)
    assert (result.clocks, result.issued) == (50, 100)
    single = run_warps(pair, warps=1, issued=[0, 1] * 50, access=[1] * 50, of=machine.TURING)
    assert single.clocks == 100


LOAD_AND_USE = [("LDS.U.128 R4, [R1]", control(2, sets=0)), (FMA, control(1, waits=[0]))] + [(FMA, control(1))] * 12


def test_a_warp_waits_for_shared_memory_and_others_fill_the_gap():
    """A load of one turn takes 24 clocks; 13 products follow. Alone a round is 24 + 13 clocks. A second warp on each
    scheduler costs no more than the turns of the eight loads of all; with four the slots are full, 14 of each."""
    rounds = 50

    def clocks(warps):
        order = list(range(14)) * rounds
        return run_warps(LOAD_AND_USE, warps=4 * warps, issued=order, access=[1] * rounds).clocks / rounds

    assert clocks(1) == pytest.approx(24 + 13, abs=0.5)
    assert 24 + 13 <= clocks(2) <= 24 + 13 + 2 * 8
    assert clocks(4) == pytest.approx(4 * 14, abs=1)


def test_turns_of_the_banks_are_the_whole_multiprocessor_s():
    """Sixteen warps that only load, eight turns each: 8 x 16 x 50 clocks, on whichever scheduler."""
    load = [("LDS.U.128 R4, [R1]", control(2, sets=0)), ("NOP", control(1, waits=[0]))]
    result = run_warps(load, warps=16, issued=[0, 1] * 50, access=[8] * 50)
    assert result.clocks == pytest.approx(8 * 16 * 50, rel=0.01)
    assert result.busy["shared"] == 8 * 16 * 50


def test_slow_units_hold_back_other_warps():
    """Conversions: 32 lanes a clock and multiprocessor, so one in four clocks of a scheduler."""
    result = run_warps([("F2F.F32.F16 R0, R1", control(1))], warps=16, issued=[0] * 50)
    assert result.clocks == pytest.approx(4 * 4 * 50, rel=0.02)


@pytest.mark.parametrize(
    ("products", "clocks"),
    [
        (["FFMA R8, R4, R5, R10"], 1),
        (["FFMA R8, R4, R8, R10"], 2),  # R4 and R8 lie in one of the four banks
        (["FFMA R8, R4, R8, R12"], 3),
        (["FFMA R8, R4, R4, R10"], 1),  # one register
        (["FFMA R8, R4.reuse, R5, R10", "FFMA R9, R4, R8, R11"], 1),  # the cache has R4 for the second
        (["FFMA R8, R5, R4.reuse, R10", "FFMA R9, R4, R8, R11"], 1.5),  # but not at this place
    ],
)
def test_registers_of_one_bank_are_read_one_after_the_other(products, clocks):
    order = list(range(len(products))) * 100
    result = run_warps([(one, control(1)) for one in products], warps=1, issued=order)
    assert result.clocks == pytest.approx(clocks * len(order), abs=2)


def test_the_cache_of_registers_is_another_warp_s_after_a_yield():
    """Two warps on each scheduler: a warp goes on, and keeps R4, until its code yields."""
    pair = ["FFMA R8, R4.reuse, R5, R10", "FFMA R9, R4.reuse, R8, R11"]
    order = [0, 1] * 100

    def clocks(yields):
        rows = [(one, control(1, yields=yields)) for one in pair]
        return run_warps(rows, warps=8, issued=order).clocks / len(order)

    assert clocks(False) == pytest.approx(2, rel=0.02)
    assert clocks(True) == pytest.approx(2 * 1.5, rel=0.02)


def test_results_that_a_barrier_tells_of():
    """Pairs of halves have a barrier on Maxwell, and the latency of other products; conversions take longer."""
    for name, latency in (("HFMA2 R8, R4, R5, R10", 6), ("F2F.F32.F16 R8, R4", 20)):
        rows = [(name, control(1, sets=0)), (FMA, control(1, waits=[0]))]
        assert run_warps(rows, warps=1).clocks == latency + 1


def test_a_barrier_waits_for_the_last_warp():
    rows = [(FMA, control(1)), ("BAR.SYNC 0x0", control(5)), (FMA, control(1))]
    code = kernel_of(*rows).code
    slow, fast = [0] * 100 + [1, 2], [1, 2]
    following = iter([[execution.WarpTrace(order, []) for order in (slow, fast, fast)]])
    sm = scoreboard.Multiprocessor(scoreboard.steps_of(code, MAXWELL), memory_of(), 1)
    result = sm.run(lambda: next(following, None))
    assert result.clocks == 100 + 5 + 1
    gone = iter([[execution.WarpTrace(order, []) for order in ([1, 2], [0] * 30)]])  # one ends without it
    sm = scoreboard.Multiprocessor(scoreboard.steps_of(code, MAXWELL), memory_of(), 1)
    assert sm.run(lambda: next(gone, None)).clocks == 30 + 5 + 1


def test_a_count_under_way_may_be_waited_for():
    """DEPBAR.LE SB0, 0x1 goes on when one of three loads is still under way."""
    load = ("LDS R4, [R1]", control(1, sets=0))
    rows = [load, load, load, ("DEPBAR.LE SB0, 0x1", control(1)), ("EXIT", control(1))]
    last = run_warps(rows, warps=1, access=[10, 10, 10]).clocks
    first = run_warps([*rows[:3], ("DEPBAR.LE SB0, 0x2", control(1)), rows[4]], warps=1, access=[10, 10, 10]).clocks
    assert last - first == 10  # the turns of one load


def streaming(warps, loads, rounds, memory, blocks=1, resident=1):
    """Warps that load ``loads`` times 512 bytes, wait for all of it, and do so again; every byte is new."""
    load = [("LDG.E.128 R4, [R1]", control(1, sets=0))] * loads + [("NOP", control(1, waits=[0]))]
    code = kernel_of(*load).code
    sector = iter(range(1 << 40))
    made = []
    for _ in range(blocks):
        traces = []
        for _ in range(warps):
            access = [tuple(next(sector) for _ in range(16)) for _ in range(loads * rounds)]
            traces.append(execution.WarpTrace(list(range(loads + 1)) * rounds, access))
        made.append(traces)
    following = iter(made)
    sm = scoreboard.Multiprocessor(scoreboard.steps_of(code, MAXWELL), memory, resident)
    return sm.run(lambda: next(following, None))


@pytest.mark.parametrize(("warps", "loads"), [(1, 1), (2, 2), (4, 1)])
def test_bandwidth_is_the_bytes_in_flight_by_the_latency(warps, loads):
    """Little's law. A load's 512 bytes need 8 clocks more at 64 bytes a clock, and those of all may stand in line."""
    latency, rounds = machine.L2_CLOCKS + 100, 20
    result = streaming(warps, loads, rounds, memory_of(dram_clocks=100.0))
    in_flight = warps * loads * 512
    assert result.bytes == in_flight * rounds
    assert in_flight / (latency + 8 * warps * loads + 1) <= result.bytes / result.clocks <= in_flight / latency


def test_enough_in_flight_fills_the_memory_and_short_blocks_leave_it_idle():
    """At 16 bytes a clock and a latency of about 400, 6.4 KB must be under way. Blocks that live for one load start and
    end with nothing under way; as many as are resident at once overlap."""
    full = streaming(16, 4, 20, memory_of(16.0, 100.0))
    assert full.busy["memory"] / full.clocks > 0.9
    short = streaming(16, 1, 1, memory_of(16.0, 100.0), blocks=80)
    assert short.bytes == full.bytes
    idle = 1 - short.busy["memory"] / short.clocks
    assert idle > 0.35
    overlapping = streaming(16, 1, 1, memory_of(16.0, 100.0), blocks=80, resident=4)
    assert 1 - overlapping.busy["memory"] / overlapping.clocks < idle / 2


def test_loads_of_a_warp_end_in_order():
    """The first load comes from memory, the second from the L2; a barrier of the second tells of both."""
    memory = memory_of(dram_clocks=500.0)
    memory.access((1,), 0.0, True)
    load = "LDG.E R4, [R1]"
    rows = [(load, control(1)), (load, control(1, sets=0)), ("NOP", control(1, waits=[0]))]
    assert run_warps(rows, 1, memory, access=[(0,), (1,)]).clocks > machine.L2_CLOCKS + 500


def test_the_l2_keeps_what_was_used_last():
    memory = memory_of(32.0, 100.0, l2_bytes=4 * 32)
    far, near = machine.L2_CLOCKS + 100 + 1, machine.L2_CLOCKS
    assert memory.access((0,), 0, True) == pytest.approx(far)
    assert memory.access((0,), 1000, True) == pytest.approx(1000 + near)
    memory.access((1, 2, 3, 4), 2000, True)  # 0 goes
    assert memory.access((0,), 3000, True) == pytest.approx(3000 + far)
    assert memory.bytes == 6 * 32
    memory.access((9,), 4000, False)  # stored: it goes to memory when it has to leave
    assert memory.bytes == 6 * 32
    memory.access((1, 2, 3, 4), 5000, True)
    assert memory.bytes == (6 + 4 + 1) * 32  # four loads, and 9 when 4 needs its place
    shared = memory_of(32.0, 100.0, common={7}, sharers=2)
    shared.access((7, 8), 0, True)
    assert shared.bytes == 32 / 2 + 32  # another multiprocessor fetches half of what both need


# Whole launches

LOOP = (
    ("S2R R0, SR_TID.X", control(2, sets=0)),
    ("MOV R2, RZ", control(1)),
    ".L_x_1",
    (FMA, control(1, waits=[0])),
    (FMA, control(1)),
    ("IADD32I R2, R2, 0x1", control(6)),
    ("ISETP.LT.AND P0, PT, R2, c[0x0][0x140], PT", control(13)),
    ("@P0 BRA `(.L_x_1)", control(5)),
    ("EXIT", control(5)),
)


def predicted(grid, rounds=50, threads=32, registers=32, device="nano", code=LOOP):
    chosen = devices.get(device)
    instance = families.Instance("conv", "k", "k", threads, 0, 0, 0, False, ())
    launch = launch_of(threads, grid, arguments=rounds.to_bytes(4, "little"))
    usage = toolchain.Usage(registers, 0, 0, 0, 0)
    return predict.predict(kernel_of(*code), instance, usage, launch, chosen, chosen.cards[0])


def test_one_block_takes_what_its_control_words_say():
    """20 clocks for S2R, 26 for a round, 5 for the end."""
    found = predicted((1, 1, 1))
    assert found.clocks == pytest.approx(20 + 50 * 26 + 5, abs=2)
    assert found.ms == pytest.approx(found.clocks / 921.6e3)
    assert (found.blocks, found.blocks_run, found.blocks_per_sm) == (1, 1, 1)
    assert found.limited_by == "latency"
    assert found.instructions["fma"] == 100


def test_a_long_launch_repeats_what_was_run():
    """32 blocks are resident. Of more than 8 sets, 3 and the rest run; what is longer takes as much more."""
    short, long = predicted((3 * 32, 1, 1), rounds=10), predicted((9 * 32, 1, 1), rounds=10)
    assert (short.blocks_run, long.blocks, long.blocks_run) == (96, 288, 96)
    assert long.clocks == pytest.approx(3 * short.clocks, rel=0.05)
    assert predicted((8 * 32, 1, 1), rounds=2).blocks_run == 8 * 32
    rest = predicted((5, 1, 1), rounds=10)
    assert predicted((9 * 32 + 5, 1, 1), rounds=10).clocks == pytest.approx(long.clocks + rest.clocks, rel=0.02)


#: Each thread of a block of 32 stores 16 bytes of its own.
STORES = (
    ("S2R R0, SR_TID.X", control()),
    ("S2R R1, SR_CTAID.X", control()),
    ("MOV R4, c[0x0][0x140]", control()),
    ("MOV R5, c[0x0][0x144]", control()),
    ("LEA R4, R0, R4, 0x4", control()),
    ("LEA R4, R1, R4, 0x9", control()),
    ("STG.E.128 [R4], R8", control(1, sets=0)),
    ("EXIT", control(5, waits=[0])),
)


def test_what_a_long_launch_repeats_begins_with_a_full_l2():
    """512 bytes a block: 512 of them fill the 256 KiB of a Nano. The 32 after those store to memory, and are repeated.
    What never fills it repeats its third set."""
    found = predicted((1200, 1, 1), code=STORES)
    assert found.blocks_run == 512 + 32 + 1200 % 32
    assert found.bytes > 0
    few = predicted((500, 1, 1), code=STORES)
    assert few.blocks_run == 3 * 32 + 500 % 32
    assert few.bytes == 0


def test_blocks_are_spread_over_multiprocessors():
    assert predicted((64, 1, 1), device="tx2").blocks == 32
    assert predicted((1, 1, 1), device="tx2").blocks == 1


def test_what_does_not_fit_is_said():
    with pytest.raises(toolchain.ToolError, match="no block of k fits a multiprocessor of nano"):
        predicted((1, 1, 1), threads=256, registers=255)


def test_inputs_have_as_many_zeros_as_asked_for():
    """Where the first member of the argument points; and a kernel that skips zeros issues less of them."""
    base = 0x123450000
    rows = [
        ("S2R R0, SR_TID.X", control()),
        ("MOV R2, c[0x0][0x140]", control()),
        ("MOV R3, c[0x0][0x144]", control()),
        ("LEA R4.CC, R0, R2, 0x1", control()),
        ("LEA.HI.X R5, R0, R3, RZ, 0x1", control()),
        ("LDG.E.U16 R6, [R4]", control()),
        ("ISETP.EQ.AND P0, PT, R6, RZ, PT", control()),
        ("@P0 EXIT", control()),
        ("MOV R1, RZ", control()),
        ("EXIT", control()),
    ]
    plain = launch_of(threads=1024, arguments=base.to_bytes(8, "little"))
    for density in (0.0, 0.25, 1.0):
        launch = predict.with_inputs(plain, 1024, 2, density)
        block, _ = run_block(kernel_of(*rows), launch)
        values = block.registers[6].astype(np.uint16).view(np.float16)
        assert set(values.tolist()) <= {0.0, 1.0}
        assert values.mean() == pytest.approx(density, abs=0.05)


@pytest.mark.parametrize("density", ["0", "-0.5", "35"])
def test_a_share_that_is_none_is_refused(density, capsys):
    with pytest.raises(SystemExit):
        main(["--density", density])
    assert "--density must be above 0 and at most 1, not " in capsys.readouterr().err


def test_a_card_that_is_none_is_refused(capsys):
    assert main(["--card", "toaster"]) == 2
    assert capsys.readouterr().err.startswith("nano has no card 'toaster'")


def test_launches_of_a_plan_are_found_among_all_of_a_call():
    def launched(name, grid):
        return {"kernel": name, "grid": grid, "threads": 64, "shared_bytes": 16, "arguments": "0a0b"}

    steps = [{"kernels": [{"name": "a", "grid": [2, 1, 1]}]}, {"kernels": [{"name": "b", "grid": [1, 1, 1]}]}]
    call = [
        launched("input", [9, 1, 1]),
        launched("a", [2, 1, 1]),
        launched("b", [1, 1, 1]),
        launched("out", [1, 1, 1]),
    ]
    found = predict.launches_of(steps, call)
    assert found == [[execution.Launch((2, 1, 1), 64, 16, b"\n\v")], [execution.Launch((1, 1, 1), 64, 16, b"\n\v")]]
    for wrong in (call[:2], [call[0], launched("a", [3, 1, 1]), *call[2:]]):
        with pytest.raises(toolchain.ToolError, match="does not launch . as its plan says"):
            predict.launches_of(steps, wrong)


def test_steps_are_layers():
    rows = variants.get("alexnet2012").layers()
    steps = [{"layers": ["relu1"]}, {"layers": ["norm1", "pool1"]}, {"layers": ["relu2"]}]
    groups = predict.step_layers(rows, steps)
    assert [[one.name for one in group] for group in groups] == [
        ["conv1", "relu1"],
        ["norm1", "pool1"],
        ["conv2", "relu2"],
    ]


@pytest.mark.parametrize("name", DEVICES)
def test_predictions_say_what_they_are(name):
    record = json.loads((ROOT / "benchmarks" / "predicted" / (name + ".json")).read_text(encoding="utf-8"))
    assert record["what"].startswith("predicted")
    assert record["device"] == name
    assert record["assumed"] == {"bandwidth_share": predict.BANDWIDTH_SHARE}
    assert record["total_ms"] == pytest.approx(sum(step["ms"] for step in record["steps"]), abs=2e-3)
    for step in record["steps"]:
        assert step["ms"] == pytest.approx(sum(kernel["ms"] for kernel in step["kernels"]), abs=1e-3)
