"""Machine code, read and executed: control words, what instructions do, how accesses are carried out. No GPU, network
or compiler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tools.machine_code import control, kernel_of, launch_of, run_block
from tools.cuda_gate import accesses, execution, sass, toolchain

LISTINGS = Path(__file__).parent / "listings"


# Reading


def test_control_words_are_read():
    kernel = kernel_of(
        ("S2R R0, SR_TID.X", control(2, sets=0)),
        ".L_x_1",
        ("LDS.U.128 R4, [R0+0x10]", control(0, sets=1, frees=2, waits=[0])),
        ("FFMA R8, R4.reuse, -R5, c[0x2][0x4]", control(6, waits=[1, 2])),
        ("@!P0 BRA `(.L_x_1)", control(5)),
        ('SYNC (*"BRANCH_TARGETS .L_x_1"*)', control(5)),
    )
    assert [(one.stall, one.sets, one.frees, one.waits) for one in kernel.code] == [
        (2, 0, None, ()),
        (0, 1, 2, (0,)),
        (6, None, None, (1, 2)),
        (5, None, None, ()),
        (5, None, None, ()),
    ]
    assert kernel.targets == {3: 1, 4: 1}
    assert [one.kind for one in kernel.code] == ["integer", "shared", "fma", "branch", "branch"]
    assert kernel.code[1].width == 16
    assert kernel.code[3].predicate == "!P0"


def test_later_instructions_carry_their_control_themselves():
    """Volta and later: 128 bits; the upper word has the control from its bit 41 on."""
    rows = []
    for i, (text, bits) in enumerate([("IADD3 R0, R1, R2, RZ", control(4)), ("EXIT", control(5, waits=[3]))]):
        rows.append(f"   /*{16 * i:04x}*/   {text} ;   /* 0x0000000000000000 */\n   /* 0x{bits << 41:016x} */")
    kernel = sass.parse(".text.kernel:\n" + "\n".join(rows))["kernel"]
    assert [(one.stall, one.waits) for one in kernel.code] == [(4, ()), (5, (3,))]


# Executing


def places(threads, a, b):
    """Where the kernel of listings/places_*.txt stores, in its own words."""
    out = []
    for thread in range(threads):
        k = thread * a - b
        by_7, by_a = int(k / 7), int(k / a)
        total = sum(i * by_7 for i in range(thread & 3)) - (by_a if thread & 1 else 0)
        out.append((4096 + by_7 + 64 * by_a + total) * 4)
    return np.array(out)


@pytest.mark.parametrize("architecture", [53, 75])
@pytest.mark.parametrize(("a", "b"), [(7, 0), (13, 100), (-5, 3), (1, 4000), (300, 40000), (-70000, 2)])
def test_integers_branches_and_loops(architecture, a, b):
    """Products and quotients, by a constant and not, of both signs, and loops that threads leave one after the other,
    as ptxas writes them: what is stored lies where Python says."""
    text = (LISTINGS / f"places_sm{architecture}.txt").read_text(encoding="utf-8")
    kernel = sass.parse(text)["places"]
    base = 1 << 33
    arguments = base.to_bytes(8, "little") + b"".join((x & 0xFFFFFFFF).to_bytes(4, "little") for x in (a, b))
    _, traces = run_block(kernel, launch_of(threads=64, arguments=arguments), architecture=architecture)
    assert len(traces) == 2
    for warp, trace in enumerate(traces):
        expected = base + places(64, a, b)[32 * warp : 32 * warp + 32]
        assert trace.accesses == [tuple(sorted(set((expected // accesses.SECTOR).tolist())))]


def test_shared_memory_keeps_what_is_stored():
    """Lane l stores l * 3 at l * 4; then reads its neighbor's and uses it as an address."""
    kernel = kernel_of(
        ("S2R R0, SR_TID.X", control()),
        ("SHL R1, R0, 0x2", control()),
        ("ISCADD R2, R0, R0, 0x1", control()),
        ("STS [R1], R2", control()),
        ("BAR.SYNC 0x0", control()),
        ("LOP32I.XOR R3, R1, 0x4", control()),
        ("LDS.U.32 R4, [R3]", control()),
        ("EXIT", control()),
    )
    block, traces = run_block(kernel, launch_of(shared=128))
    lanes = np.arange(32)
    assert block.registers[4].tolist() == (3 * (lanes ^ 1)).tolist()
    assert traces[0].accesses == [1, 1]


def test_threads_that_parted_meet_again():
    kernel = kernel_of(
        ("S2R R0, SR_TID.X", control()),
        ("ISETP.LT.AND P0, PT, R0, 0x20, PT", control()),
        ("@P0 BRA `(.L_x_1)", control()),
        ("MOV R1, RZ", control()),
        ("MOV R2, RZ", control()),
        ".L_x_1",
        ("MOV R3, RZ", control()),
        ("EXIT", control()),
    )
    _, traces = run_block(kernel, launch_of(threads=64))
    assert [trace.issued for trace in traces] == [[0, 1, 2, 5, 6], [0, 1, 2, 3, 4, 5, 6]]
    _, traces = run_block(kernel, launch_of(threads=40))  # the last warp is not full
    assert [len(trace.issued) for trace in traces] == [5, 7]


def test_code_for_a_warp_that_is_together_and_for_one_that_is_not():
    """Half of the second warp goes ahead to the vote, so the other half finds its warp parted. Both halves of the first
    come to it together."""
    kernel = kernel_of(
        ("S2R R0, SR_TID.X", control()),
        ("ISETP.GE.AND P0, PT, R0, 0x30, PT", control()),
        ("@P0 BRA `(.L_x_3)", control()),
        ("BRA.DIV ~URZ, `(.L_x_2)", control()),
        ("BRA.CONV ~URZ, `(.L_x_3)", control()),
        ("MOV R1, 0x1", control()),
        ".L_x_2",
        ("MOV R2, 0x1", control()),
        ".L_x_3",
        ("VOTEU.ANY UR4, UPT, PT", control()),
        ("MOV R3, UR4", control()),
        ("YIELD", control()),
        ("EXIT", control()),
    )
    block, traces = run_block(kernel, launch_of(threads=64), architecture=75)
    assert [trace.issued for trace in traces] == [[0, 1, 2, 3, 4, 7, 8, 9, 10], [0, 1, 2, 3, 6, 7, 8, 9, 10]]
    assert block.registers[2].tolist() == [0] * 32 + [1] * 16 + [0] * 16
    assert set(block.registers[3].tolist()) == {0xFFFFFFFF}


def test_the_least_and_greatest_of_three():
    kernel = kernel_of(
        ("S2R R0, SR_TID.X", control()),
        ("IADD R1, -R0, 0xa", control()),
        ("VMNMX.MIN R2, R0, R1, 0x3", control()),
        ("VMNMX.MX.MAX R3, R0, R1, -0x1", control()),
        ("VMNMX.MAX R4, R0, R1, -0x5", control()),
        ("EXIT", control()),
    )
    block, _ = run_block(kernel, launch_of())
    up, down = np.arange(32), 10 - np.arange(32)
    assert block.registers[2].view(np.int32).tolist() == np.minimum(np.minimum(up, down), 3).tolist()
    assert block.registers[3].view(np.int32).tolist() == np.maximum(np.maximum(up, down), -1).tolist()
    assert block.registers[4].view(np.int32).tolist() == np.maximum(np.minimum(up, down), -5).tolist()


def test_lanes_tell_each_other():
    kernel = kernel_of(
        ("S2R R0, SR_TID.X", control()),
        ("SHFL.BFLY PT, R1, R0, 0x10, 0x1f", control()),
        ("SHFL.UP P1, R2, R0, 0x3, 0x0", control()),
        ("LOP.AND.NZ P0, RZ, R0, 0x1", control()),
        ("VOTE.ANY R3, PT, P0", control()),
        ("POPC R4, R3", control()),
        ("EXIT", control()),
    )
    block, _ = run_block(kernel, launch_of())
    lanes = np.arange(32)
    assert block.registers[1].tolist() == (lanes ^ 16).tolist()
    assert block.registers[2].tolist() == np.where(lanes >= 3, lanes - 3, lanes).tolist()
    assert block.predicates[1].tolist() == (lanes >= 3).tolist()
    assert set(block.registers[3].tolist()) == {0xAAAAAAAA}
    assert set(block.registers[4].tolist()) == {16}


def test_memory_holds_what_was_filled_in():
    """A loop that runs as often as a value in memory says."""
    kernel = kernel_of(
        ("MOV R2, c[0x0][0x140]", control()),
        ("MOV R3, c[0x0][0x144]", control()),
        ("LDG.E R4, [R2+0x4]", control(sets=0)),
        ".L_x_1",
        ("IADD32I R4, R4, -0x1", control(waits=[0])),
        ("ISETP.GT.AND P0, PT, R4, RZ, PT", control()),
        ("@P0 BRA `(.L_x_1)", control()),
        ("EXIT", control()),
    )
    base = 0x100000000
    filled = ((base, b"\0\0\0\0" + (5).to_bytes(4, "little")),)
    _, traces = run_block(kernel, launch_of(arguments=base.to_bytes(8, "little"), filled=filled))
    assert traces[0].issued.count(3) == 5
    _, traces = run_block(kernel, launch_of(arguments=base.to_bytes(8, "little")))
    assert traces[0].issued.count(3) == 1


def test_what_is_not_known_is_named_only_when_it_runs(monkeypatch):
    rows = [("@P0 BRA `(.L_x_1)", control()), ("EXIT", control()), ".L_x_1", ("FROB R0, R1", control())]
    _, traces = run_block(kernel_of(*rows), launch_of())
    assert traces[0].issued == [0, 1]
    rows[0] = ("@!P0 BRA `(.L_x_1)", control())
    with pytest.raises(toolchain.ToolError, match="what FROB does is not known"):
        run_block(kernel_of(*rows), launch_of())
    monkeypatch.setattr(execution, "MOST_STEPS", 100)
    endless = kernel_of(".L_x_1", ("NOP", control()), ("BRA `(.L_x_1)", control()))
    with pytest.raises(toolchain.ToolError, match="kernel does not end"):
        run_block(endless, launch_of())
    with pytest.raises(toolchain.ToolError, match="instructions of sm_90 do is not known"):
        execution.Program(kernel_of(("EXIT", control())), 90)


# Accesses

LANES = np.arange(32)
ALL = np.ones(32, bool)


@pytest.mark.parametrize(
    ("addresses", "width", "turns"),
    [
        (LANES * 4, 4, 1),  # neighbors
        (LANES * 8, 4, 2),  # every second word: two lanes a bank
        (LANES * 128, 4, 32),  # one bank
        (LANES * 132, 4, 1),  # a row of 33 words
        (LANES * 0 + 64, 4, 1),  # one word for all
        (LANES // 2 * 4, 2, 1),  # halves of words
        (LANES * 8, 8, 2),  # half a warp at a time
        (LANES // 2 * 8, 8, 1),  # pairs of lanes ask for the same: both halves together
        (LANES * 16, 16, 4),  # a quarter of a warp at a time
        (LANES // 2 * 16, 16, 2),
        (LANES * 0, 16, 2),
        ((LANES & 1) * 16 + (LANES >> 2) * 32, 16, 2),  # lane l shares with l ^ 2
        (LANES % 4 * 16, 16, 4),  # lanes four apart share, which does not help (the case of the forum)
        (LANES * 32, 16, 8),  # every second unit of 16 bytes
        (LANES * 80, 16, 4),  # rows of five units
    ],
)
def test_turns_of_the_banks(addresses, width, turns):
    assert accesses.bank_turns(addresses, ALL, width) == turns


def test_lanes_that_take_no_part_take_no_turn():
    assert accesses.bank_turns(LANES * 128, LANES < 3, 4) == 3
    assert accesses.bank_turns(LANES * 16, LANES < 8, 16) == 1
    assert accesses.bank_turns(LANES, LANES > 40, 4) == 0


def test_sectors_of_global_memory():
    assert accesses.sectors(LANES * 4 + 128, ALL, 4) == (4, 5, 6, 7)
    assert accesses.sectors(LANES * 16, LANES < 3, 16) == (0, 1)
    assert accesses.sectors(LANES * 4 + 16, ALL, 4) == (0, 1, 2, 3, 4)
    assert len(accesses.sectors(LANES * 4096, ALL, 16)) == 32
    assert accesses.sectors(LANES, LANES > 40, 4) == ()
