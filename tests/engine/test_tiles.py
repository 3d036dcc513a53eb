"""Products of tiles (AMX): one step by its definition, the edges of what is divided into tiles, and the permission.

The tests of the engine run the same kernels wherever the engine has tiles: on a processor with AMX, and with
``FASTALEX_CPU_ISA=amxtwin`` in a build with ``FASTALEX_TEST_ISA``.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastalex import _core
from fastalex.runtime.device_spec import FC_LAYOUTS
from fastalex.runtime.precisions import PRECISIONS
from fastalex.selftest import bounds, checks
from fastalex.selftest.cases import STORAGES, Case
from fastalex.selftest.native import output

ROOT = Path(__file__).resolve().parents[2]
X86 = platform.machine() in ("x86_64", "AMD64")
FLAGS = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
BF16, QUANTIZED = 1, 2  # DType of csrc/cpu/kernels/kernel_table.h
TILED = {"amx_tile", "amx_int8", "amx_bf16"} <= FLAGS


def built(folder, name, *arguments):
    path = folder / name
    sources = [f"tests/support/cpp/{name}.cpp", "csrc/cpu/amx.cpp"]
    command = ["g++", "-std=c++14", "-I", "csrc", "-I", "csrc/include", *arguments, "-o", str(path), *sources]
    subprocess.run(command, check=True, cwd=ROOT)
    return path


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """The programs that add one step: of the twin, and of the instructions where there are any."""
    if not X86 or "avx2" not in FLAGS:
        return []
    base = ["-O1", "-mavx2", "-mfma", "-mf16c", "-Wno-psabi", "-Wno-ignored-attributes"]
    levels = {"amxtwin": base}
    if TILED:
        flags = ["f", "bw", "cd", "dq", "vl", "vnni", "bf16"]
        tiles = ["-mamx-tile", "-mamx-int8", "-mamx-bf16"]
        levels["v4amx"] = [*base, *("-mavx512" + flag for flag in flags), *tiles]
    return [
        built(tmp_path_factory.mktemp(level), "tile_steps", "-DFASTALEX_ISA_" + level, *flags)
        for level, flags in levels.items()
    ]


def added(program, dtype, inputs, weights, sums, units):
    """What the program makes of ``sums``; ``inputs`` [1 or 2, rows, 16], ``weights`` [16, 32], all int32."""
    whole = np.full((2, 16, 16), 0x7F7F7F7F, np.int32)  # what lies outside of the shape counts for nothing
    whole[: len(inputs), : inputs.shape[1]] = inputs
    before = np.full((2, 16, 32), 7, np.int32)
    before[: len(inputs), : inputs.shape[1]] = sums
    header = np.array([dtype, len(inputs), inputs.shape[1], units], np.int32)
    data = b"".join(array.tobytes() for array in (header, whole, weights, before))
    done = subprocess.run([str(program)], input=data, stdout=subprocess.PIPE, check=True)
    after = np.frombuffer(done.stdout, np.int32).reshape(2, 16, 32).copy()
    result = after[: len(inputs), : inputs.shape[1]].copy()
    after[: len(inputs), : inputs.shape[1]] = before[: len(inputs), : inputs.shape[1]]
    np.testing.assert_array_equal(after, before)
    return result


SHAPES = [(1, 1, 1), (1, 16, 16), (2, 16, 16), (2, 13, 9), (2, 3, 12), (1, 7, 2)]


@pytest.mark.parametrize(("tiles", "rows", "units"), SHAPES)
def test_a_step_of_bytes_is_exact(steps, tiles, rows, units):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (tiles, rows, 64), dtype=np.uint8)
    x[:, 0] = 255
    w = rng.integers(-128, 128, (16, 32, 4), dtype=np.int8)
    w[:, 0] = -128
    sums = rng.integers(-(2**31), 2**31, (tiles, rows, 32))
    pairs = x.reshape(tiles, rows, 16, 4).astype(np.int64)[:, :, :units], w.astype(np.int64)[:units]
    expected = (sums + np.einsum("truq,uoq->tro", *pairs)).astype(np.int32)  # sums wrap around
    for program in steps:
        got = added(program, QUANTIZED, x.view(np.int32), w.view(np.int32)[..., 0], sums.astype(np.int32), units)
        np.testing.assert_array_equal(got, expected)


def flushed(x):
    return np.where(np.abs(x) < np.float32(2.0**-126), np.copysign(np.float32(0), x), x)


def by_description(x, w, sums):
    """TDPBF16PS as Intel describes it: ``x`` [rows, units, 2], ``w`` [units, outputs, 2], ``sums`` [rows, outputs].

    The values of these tests have so few bits that a fused multiply-add is exact in float64 before it is rounded.
    """
    both = np.zeros((*sums.shape, 2), np.float32)
    for unit in range(x.shape[1]):
        products = flushed(x)[:, unit, None].astype(np.float64) * flushed(w)[unit]
        both = flushed((both + products).astype(np.float32))
    return flushed(flushed(sums) + flushed(both[..., 0] + both[..., 1]))


@pytest.mark.parametrize("kind", ["normal", "small", "denormal"])
@pytest.mark.parametrize(("tiles", "rows", "units"), SHAPES)
def test_a_step_of_bf16_is_the_described_one(steps, kind, tiles, rows, units):
    rng = np.random.default_rng(4)
    exponent = {"normal": 0, "small": -62, "denormal": -126}[kind]  # products, or the values, are partly denormal
    x = checks.to_bf16(rng.standard_normal((tiles, rows, 16, 2), np.float32) * np.float32(2.0**exponent))
    w = checks.to_bf16(rng.standard_normal((16, 32, 2), np.float32) * np.float32(2.0 ** min(0, exponent + 64)))
    x[:, 0, 0] = (np.float32(-0.0), np.float32(2.0**-130))
    sums = (rng.standard_normal((tiles, rows, 32), np.float32) * np.float32(2.0 ** (2 * exponent))).astype(np.float32)
    halves = [np.ascontiguousarray(a.view(np.uint32) >> 16).astype(np.uint16).view(np.int32)[..., 0] for a in (x, w)]
    expected = [by_description(x[t, :, :units], w[:units], sums[t]) for t in range(tiles)]
    for program in steps:
        got = added(program, BF16, halves[0], halves[1], sums.view(np.int32), units)
        np.testing.assert_array_equal(got, np.array(expected).view(np.int32))


def conv(out, kernel, stride=1, pad=0, groups=1):
    return f"conv name=conv out={out} kernel={kernel} stride={stride} pad={pad} groups={groups} rounding=floor"


# Rows of 1, of one tile and one more, of several tiles with a rest; an odd number of tiles; runs of a window of one
# unit, of one step and one unit more, of several steps that do not divide them; groups; panels that are partly empty.
CASES = [
    Case("tiles-one-position", conv(5, 3), (1, 70, 3, 3)),
    Case("tiles-row-of-16", conv(33, 3, pad=1), (2, 21, 3, 16)),
    Case("tiles-row-of-17", conv(65, 3, pad=1), (1, 22, 5, 17)),
    Case("tiles-rows-of-55", conv(40, 11, 4, 2), (1, 3, 224 // 4, 224)),
    Case("tiles-one-value", conv(1, 1), (1, 1, 3, 37)),
    Case("tiles-run-of-17-units", conv(16, 1), (1, 65, 2, 6)),
    Case("tiles-run-of-33-units", conv(48, 1, 2), (2, 130, 5, 33)),
    Case("tiles-groups", conv(34, 5, 1, 2, 2), (1, 96, 4, 13)),
    Case("tiles-groups-odd", conv(21, 3, 2, 1, 3), (2, 201, 6, 35)),
    Case("tiles-tall", conv(32, 5, 1, 2), (1, 16, 40, 2)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_edges_of_tiles(case):
    for unsigned in (False, True):
        problem = checks.problem(case, "int8", unsigned)
        assert (np.abs(problem.run() - problem.reference) <= problem.bound).all()
    outcome = checks.check(case, "cpu", precision="bf16", exact=True)
    assert outcome.ok, outcome


# Inputs of a fully connected layer: fewer than a step has, a step and one more, parts of a sum, parts with a rest.
# Batches: one image, one tile of byte planes or of images and one more, two tiles and one more.
INPUTS, BATCHES = (1, 65, 512, 1301), (2, 3, 5, 16, 17, 32, 33, 70)


def features(inputs):
    """Images, each with zeros of its own, all with some in common, one without."""
    rng = np.random.default_rng(5)
    x = np.maximum(rng.standard_normal((max(BATCHES), inputs), dtype=np.float32), 0)
    x[:, 1::3] = 0
    x[:, 100:300] = 0
    x[-1] = 0.5
    return x.reshape(*x.shape, 1, 1)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("layout", FC_LAYOUTS)
@pytest.mark.parametrize(
    ("precision", "storage"), [("bf16", "bf16"), ("bf16", "int8"), ("fp32", "int8"), ("int8", "int8")]
)
def test_batches_of_features_are_single_images(precision, storage, layout, inputs):
    """The bits of an image do not depend on its batch, which needs fewer or more tiles and leaves out other weights."""
    rng = np.random.default_rng(6)
    outputs = 330
    params = [rng.standard_normal((outputs, inputs), dtype=np.float32), rng.standard_normal(outputs, dtype=np.float32)]
    step = 0.02  # of quantized inputs
    scale = f" scale={step}" if precision == "int8" else ""
    net = _core.Net(
        f"relu name=before\nfc name=fc out={outputs}{scale}",
        [inputs, 1, 1],
        params,
        "cpu",
        STORAGES.index(storage),
        precision=PRECISIONS.index(precision),
        fc_layout=FC_LAYOUTS.index(layout),
    )
    x = features(inputs)
    singles = np.concatenate([output(net, x[i : i + 1]) for i in range(len(x))])
    for batch in BATCHES:
        np.testing.assert_array_equal(output(net, x[:batch]), singles[:batch], err_msg=str(batch))
    weights = net.param(0).reshape(outputs, inputs).astype(np.float64)
    exact = x.reshape(x.shape[:2]).astype(np.float64) @ weights.T + params[1]
    sizes = np.abs(x).reshape(x.shape[:2]) @ np.abs(weights).T + np.abs(params[1])
    off = bounds.gamma(inputs + 4) * sizes  # and the rounding of the inputs:
    if precision == "int8":
        off = off + step / 2 * (1 + 2.0**-20) * np.abs(weights).sum(axis=1)
    elif storage == "int8":
        off = off + bounds.byte_plane_error(x, [weights], 2 if precision == "bf16" else 3)
    else:
        off = off + 2.0**-8 * sizes  # bf16 has 8 bits
    assert (np.abs(singles - exact) <= off).all()


def digest_of_int8():
    """Hash the results of quantized convolutions, whose sums are exact: the same with every instruction set."""
    digest = hashlib.sha256()
    for case in CASES[2], CASES[6], CASES[8]:
        for unsigned in (False, True):
            digest.update(checks.problem(case, "int8", unsigned).run().tobytes())
    return digest.hexdigest()


def forced(isa, program):
    command = [sys.executable, "-c", program]
    env = dict(os.environ, FASTALEX_CPU_ISA=isa)
    return subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT)


NAME = "from fastalex import _core; print(_core.cpu_isa())"
DIGEST = "from tests.engine.test_tiles import digest_of_int8; print(digest_of_int8())"


def levels():
    """Instruction sets of this build."""
    return re.search(r"is none of: (.*)", forced("none", NAME).stderr).group(1).split(", ")


@pytest.mark.slow
def test_int8_has_the_same_bits_with_every_instruction_set():
    fused = [isa for isa in levels() if isa != "v2"]  # v2 rounds the product with a scale before it adds the bias
    done = {isa: forced(isa, DIGEST) for isa in fused}
    digests = {isa: run.stdout for isa, run in done.items() if run.returncode == 0}
    assert set(digests.values()) == {digest_of_int8() + "\n"}, digests
    for isa in set(done) - set(digests):
        assert done[isa].stderr.rstrip().endswith("unset the variable")  # this processor, or its system, lacks it


def test_tiles_that_the_processor_lacks_are_refused():
    if "v4amx" not in levels():  # an older compiler
        return
    done = forced("v4amx", NAME)
    if TILED:
        assert done.stdout == "v4amx\n" or "the operating system" in done.stderr
    else:
        reason = "FASTALEX_CPU_ISA=v4amx: this processor does not have it; unset the variable"
        assert done.stderr.rstrip().endswith(reason)


def test_tiles_that_the_system_refuses(tmp_path):
    """An old kernel, a kernel that says no, and a container that forbids the question: a sentence for each."""
    if not X86:
        return
    program = built(tmp_path, "amx_permission")

    def answer(*arguments):
        return subprocess.run([str(program), *arguments], stdout=subprocess.PIPE, check=True).stdout.decode().rstrip()

    saved = hex(0xE7 | 1 << 17 | 1 << 18)
    assert answer("0xe7") == "the operating system does not save the state of AMX, as Linux does since 5.16"
    denied = "the operating system does not let this process use AMX (arch_prctl: %s)"
    assert answer(saved, "deny") == denied % os.strerror(1)
    if not TILED:
        assert answer(saved).startswith(denied[: denied.index("%")])
