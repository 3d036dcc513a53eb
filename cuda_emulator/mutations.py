"""Test the tests of the CUDA kernels: they must notice each of the mistakes below in a copy of the sources.

    python -m cuda_emulator.mutations [NAME ...]

Prints what noticed each mistake. Fails if one is not noticed, not found in the sources or does not compile. It needs
what the tests need. Two mistakes are tried at a time, in temporary folders; the sources stay unchanged.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Deque, Dict, Iterable, List, NamedTuple, Tuple, Union

ROOT = Path(__file__).resolve().parents[1]
NOTHING_CHECKED = 5  # exit code, as pytest has it
LONGEST = 300  # seconds for the checks of one mistake


class Cases(NamedTuple):
    """Checks of every candidate for these cases and kernels, given as patterns separated by spaces. A layer of the
    family runs in sampled blocks."""

    cases: str
    device: str
    precision: str
    kernels: str = "*"


class Tests(NamedTuple):
    """Tests of a file in ``tests/``, as ``pytest -k`` chooses them."""

    file: str
    chosen: str


Checks = Union[Cases, Tests]


class Mutation(NamedTuple):
    """A mistake: in ``file`` of csrc/cuda/kernels, ``old`` (occurrence ``place`` of ``places``) becomes ``new``.
    ``build`` is the emulator's FASTALEX_EMULATOR_CHECK."""

    name: str
    file: str
    old: str
    new: str
    noticed_by: Checks
    build: str = "none"
    place: int = 1
    places: int = 1


BARRIER = "__syncthreads();\n"
FRAMES = Tests("runtime/test_frames.py", "frames_are_preprocessed and BGR and size0")
LRN = Cases("lrn-*", "nano", "fp32")
POOL = Cases("maxpool-*", "nano", "fp32")
NANS = Tests("cuda/test_kernels.py", "nan_passes and nano and fp32")
PADDING = Tests("cuda/test_kernels.py", "padding_channels and rtx30 and fp32")
FUSED = Tests("cuda/test_kernels.py", "fused and fp32")
TOP_K = Tests("cuda/test_kernels.py", "top_k and nano and fp32")

MUTATIONS = (
    # Pools and normalizations
    Mutation(
        "pool: window over the right edge",
        "norm_pool.cuh",
        "smaller(a.kernel, a.in_w - x), best)",
        "a.kernel, best)",
        POOL,
    ),
    Mutation("pool: last row forgotten", "norm_pool.cuh", "smaller(a.kernel, a.in_h - y)", "a.kernel - 1", POOL),
    Mutation(
        "pool: all values taken for positive",
        "norm_pool.cuh",
        "if ((signs & vector::Word<T>::kSigns) == 0) return;",
        "if (signs != 1) return;",
        POOL,
    ),
    Mutation(
        "pool: halves shifted by a bit too few",
        "norm_pool.cuh",
        "static_cast<int>(word << 16)",
        "static_cast<int>(word << 15)",
        Tests("cuda/test_kernels.py", "positive and fp16"),
    ),
    Mutation("pool: NaN lost", "norm_pool.cuh", "if (v[i] > y[i] || v[i] != v[i])", "if (v[i] > y[i])", NANS),
    Mutation(
        "average pool: end of window rounded down",
        "norm_pool.cuh",
        "static_cast<int>(ceil_div((row + 1) * in_h, a.out_h))",
        "static_cast<int>((row + 1) * in_h / a.out_h)",
        Cases("avgpool-*", "nano", "fp32"),
    ),
    Mutation(
        "LRN: window of four channels",
        "norm_pool.cuh",
        "(square[i + 2] + square[i + 3]) + square[i + 4]",
        "(square[i + 2] + square[i + 3])",
        LRN,
    ),
    Mutation(
        "LRN: window of any size one short",
        "norm_pool.cuh",
        "smaller(smaller(c0 + i + reach, begin",
        "smaller(smaller(c0 + i + reach - 1, begin",
        LRN,
    ),
    Mutation(
        "LRN: over the border of a group",
        "norm_pool.cuh",
        "larger(c0 + i - reach, begin)",
        "larger(c0 + i - reach, 0)",
        LRN,
    ),
    Mutation(
        "LRN: over the border of the columns",
        "norm_pool.cuh",
        "if (in_group > 0) vector",
        "if (c0 > 0) vector",
        Cases("alexnet2012/norm1", "nano", "fp32"),
    ),
    Mutation(
        "LRN and pool: a tile without its halo",
        "norm_pool.cuh",
        "in_cols = smaller((out_cols - 1) * a.stride + a.kernel, a.in_w - in_x)",
        "in_cols = smaller(out_cols * a.stride, a.in_w - in_x)",
        FUSED,
    ),
    Mutation(
        "spatial normalization: barrier",
        "norm_pool.cuh",
        BARRIER,
        "\n",
        Cases("spatial-*", "nano", "fp32"),
        "race",
        3,
        3,
    ),
    # Convolutions without tensor cores
    Mutation(
        "FFMA: no bias",
        "simt_tile.cuh",
        "        v[i] += bias[j + i];\n",
        "",
        Cases("conv-3x3-relu", "rtx30", "fp32", "ffma*"),
    ),
    Mutation(
        "FFMA: leaky ReLU",
        "simt_tile.cuh",
        "v[i] = v[i] < 0 ? 0 : v[i]",
        "v[i] = v[i] < 0 ? 0.01f * v[i] : v[i]",
        Cases("conv-3x3-relu", "rtx30", "fp32", "ffma*"),
    ),
    Mutation(
        "FFMA: ReLU loses NaN",
        "simt_tile.cuh",
        "v[i] = v[i] < 0 ? 0 : v[i]",
        "v[i] = v[i] > 0 ? v[i] : 0",
        NANS,
    ),
    Mutation(
        "FFMA: ReLU of the parts of a sum",
        "simt_tile.cuh",
        "      if (a.partial) {\n",
        "      if (a.partial) {\n        vector::activate(v, a.activation);\n",
        Cases("conv-3x3-relu", "rtx30", "fp32", "ffma*"),
    ),
    Mutation(
        "FFMA: group's first channel",
        "simt_copies.cuh",
        "group * (a.in_c_group / kUnit)",
        "group * (a.in_c_group / kUnit - 1)",
        Cases("conv-5x5-pad2-groups2", "rtx30", "fp32"),
    ),
    Mutation(
        "FFMA: stride and padding swapped",
        "simt_copies.cuh",
        "int y = line % a.out_h * a.stride - a.pad",
        "int y = line % a.out_h * a.pad - a.stride",
        Cases("conv-5x5-pad2-groups2", "rtx30", "fp32"),
    ),
    Mutation(
        "FFMA: last part without its tail",
        "simt_tile.cuh",
        "static_cast<long long>(count) * part / a.split",
        "static_cast<long long>(count / a.split) * part",
        Cases("conv-11x11/4", "rtx30", "fp32", "ffma_32x64"),
    ),
    Mutation(
        "FFMA: barrier before a stage",
        "conv_simt.cuh",
        BARRIER.replace("\n", "  // the stage before has been read\n"),
        "\n",
        Cases("conv-5x5-pad2-groups2", "rtx30", "fp32", "ffma_64x64"),
        "race",
    ),
    Mutation(
        "FFMA: padding channels not zeroed",
        "simt_tile.cuh",
        "group + 1 < a.groups || padding == 0) return;",
        "group + 1 < a.groups || padding >= 0) return;",
        PADDING,
    ),
    Mutation(
        "HFMA2: last sums in half not added",
        "conv_simt.cuh",
        "if (stage % kFlush == 0 || stage == end) sums.flush();",
        "if (stage % kFlush == 0) sums.flush();",
        Cases("conv-3x3-relu", "nano", "fp16", "hfma2*"),
    ),
    Mutation(
        "general: group's first channel",
        "conv_simt.cuh",
        "group * a.in_c_group + c]",
        "group * (a.in_c_group - 1) + c]",
        Cases("conv-3x3-groups3", "rtx30", "fp32"),
    ),
    Mutation(
        "first layer: barrier before a row",
        "conv_simt_first.cuh",
        BARRIER.replace("\n", "  // the row before has been read\n"),
        "\n",
        Cases("conv-11x11/4", "nano", "fp16", "hfma2_56x64*"),
        "race",
    ),
    Mutation(
        "first layer: odd pixel past the right edge",
        "conv_simt_first.cuh",
        "row && x + 1 >= 0 && x + 1 < a.in_w",
        "row && x + 1 >= 0 && x < a.in_w",
        Cases("conv-11x11/4-*", "nano", "fp16"),
    ),
    Mutation(
        "first layer: words of a column in their own order",
        "conv_simt_first.cuh",
        "+ column_place<kWords>(k % kWords)",
        "+ k % kWords",
        Cases("conv-11x11/4", "nano", "fp16", "hfma2_56x64*"),
    ),
    Mutation(
        "tile: pixels read ahead of those before them",
        "simt_tile.cuh",
        "(pixels, group + 1, x[(group + 1) % 2])",
        "(pixels, group, x[(group + 1) % 2])",
        Cases("conv-3x3-relu", "nano", "fp16", "hfma2*"),
    ),
    Mutation(
        "tile: pixels read over those in use",
        "simt_tile.cuh",
        "(pixels, group + 1, x[(group + 1) % 2])",
        "(pixels, group + 1, x[group % 2])",
        Cases("conv-3x3-relu", "nano", "fp16", "wino*"),
    ),
    Mutation(
        "tile: words of a column in their own order",
        "simt_tile.cuh",
        "placed[Column ? column_place<4>(k) : k] = w[k]",
        "placed[k] = w[k]",
        Cases("conv-3x3-relu", "nano", "fp16", "hfma2*"),
    ),
    Mutation(
        "lanes: a column for two",
        "simt_lanes.cuh",
        "thread % kLanes / (2 * WarpY) * 2",
        "thread % kLanes / (2 * WarpY)",
        Cases("conv-3x3-relu", "nano", "fp32", "wino2x3*"),
    ),
    Mutation(
        "parts of a sum: groups forgotten",
        "split_reduce.cuh",
        "step = static_cast<u64>(a.groups) * a.pixels * a.rows",
        "step = static_cast<u64>(a.pixels) * a.rows",
        Cases("conv-5x5-pad2-groups2", "rtx30", "fp32", "ffma_32x64"),
    ),
    # Winograd
    Mutation(
        "Winograd: sign of a coefficient",
        "../../constants/winograd.h",
        "{0, 1, -1, 1}}",
        "{0, 1, 1, 1}}",
        Cases("conv-3x3-relu", "nano", "fp32", "wino*"),
    ),
    Mutation(
        "Winograd: a column too many",
        "conv_winograd.cuh",
        "at.x + j < a.out_w)",
        "at.x + j <= a.out_w)",
        Cases("conv-3x3-relu", "nano", "fp32", "wino*"),
    ),
    Mutation(
        "Winograd: barrier behind the copies",
        "winograd_gemm.cuh",
        BARRIER,
        "\n",
        Cases("conv-3x3-relu", "nano", "fp32", "wino2x3*"),
        "race",
    ),
    Mutation(
        "Winograd: a stage past the last one",
        "winograd_gemm.cuh",
        "next_w.load(stage < stages);",
        "next_w.load(true);",
        Cases("conv-3x3-relu", "nano", "fp16", "wino2x3*"),
        "race",
    ),
    Mutation(
        "Winograd: a row past the last one",
        "winograd_gemm.cuh",
        "matrix_rows - 1) * row_units",
        "matrix_rows) * row_units",
        Cases("conv-3x3-relu", "nano", "fp16", "wino2x3*"),
        "race",
    ),
    Mutation(
        "Winograd: half weights for float products",
        "../weights/weights.cpp",
        "winograd_dtype(format, dtype_)",
        "dtype_",
        Cases("conv-5x5-16", "nano", "fp16", "wino3x5*"),
    ),
    # Tensor cores
    Mutation(
        "mma: lanes of ldmatrix",
        "mma_tile.cuh",
        "lane / 16 * 8 + lane % 8, lane / 8 % 2)",
        "lane / 8 % 2 * 8 + lane % 8, lane / 16)",
        Cases("conv-11x11/4", "rtx30", "fp16", "mma16_64x32*"),
    ),
    Mutation(
        "mma: wait for one copy too few",
        "mma_tile.cuh",
        "        copy_async_wait<Tile::STAGES - 2>();\n",
        "        copy_async_wait<Tile::STAGES - 1>();\n",
        Cases("conv-11x11/4", "rtx30", "fp16", "mma16_64x32*"),
    ),
    Mutation(
        "mma: double buffer not flipped",
        "mma_tile.cuh",
        "    next = Tile::STAGE_BYTES - next;\n",
        "",
        Cases("conv-11x11/4", "rtx20", "fp16", "mma8_64x32*"),
    ),
    Mutation(
        "mma: barrier between stages",
        "mma_tile.cuh",
        "        if (more) loader.store(smem + next);\n        " + BARRIER,
        "        if (more) loader.store(smem + next);\n",
        Cases("conv-11x11/4", "rtx20", "fp16", "mma8_64x32*"),
        "race",
    ),
    Mutation(
        "mma: window over the edge",
        "conv_mma.cuh",
        "end = smaller(kernel, size - start)",
        "end = smaller(kernel, size - start + 1)",
        Cases("conv-11x11/4-*", "rtx30", "fp16", "mma16_64x32*"),
    ),
    Mutation(
        "mma: group's first channel",
        "conv_mma.cuh",
        "        group * a.in_c_group);\n",
        "        group * (a.in_c_group - 8));\n",
        Cases("alexnet2012/conv2", "rtx30", "fp16", "mma16_64x64*"),
    ),
    Mutation(
        "mma: last part without its tail",
        "conv_mma.cuh",
        "part_stages = ceil_div(all_stages, a.split)",
        "part_stages = all_stages / a.split",
        Cases("conv-11x11/4 alexnet2012/conv2", "rtx30", "fp16", "mma16_64x*"),
    ),
    Mutation(
        "mma: pitch of the result",
        "conv_mma.cuh",
        "result.pitch = a.out_pitch",
        "result.pitch = a.groups * a.out_c_group",
        Cases("conv-11x11/4-ceil-overhang", "rtx30", "fp16", "mma16_64x32*"),
    ),
    # Fully connected layers
    Mutation(
        "int4: order of nibbles",
        "fully_connected.cuh",
        "const u32 even = word(bits, (first + i) / 8), odd = even >> 16;",
        "const u32 odd = word(bits, (first + i) / 8), even = odd >> 16;",
        Cases("fc-int4", "nano", "fp32", "stream*"),
    ),
    Mutation(
        "int4: scale of another group",
        "fully_connected.cuh",
        "rows.scales + unit / 4",
        "rows.scales + unit / 8",
        Cases("fc-int4", "nano", "fp16", "stream*"),
    ),
    Mutation(
        "int8: zero point",
        "fully_connected.cuh",
        "8388736.0f",
        "8388735.0f",
        Cases("fc-int8", "nano", "fp32", "stream*"),
    ),
    Mutation(
        "stream: last part without its tail",
        "fully_connected.cuh",
        "range = ceil_div(segments, a.split)",
        "range = segments / a.split",
        Cases("alexnet2012/fc6-fp32", "nano", "fp32", "stream*thin"),
    ),
    Mutation(
        "stream: last step between lanes skipped",
        "fully_connected.cuh",
        "for (int distance = DISTANCE; distance; distance /= 2)",
        "for (int distance = DISTANCE; distance > 1; distance /= 2)",
        Cases("fc-odd", "nano", "fp32", "stream*"),
    ),
    Mutation(
        "stream: ReLU of the parts of a sum",
        "fully_connected.cuh",
        "a.n * a.out_pitch + at] = sum;",
        "a.n * a.out_pitch + at] = activated(sum, a.activation);",
        Cases("fc-batch9-relu", "nano", "fp32", "stream*"),
    ),
    Mutation(
        "stream: no bias on a sum of parts",
        "fully_connected.cuh",
        "activated(sum + a.bias[row], a.activation)",
        "activated(sum, a.activation)",
        Cases("fc-long-sum", "nano", "fp32", "stream*thin"),
        place=2,
        places=2,
    ),
    Mutation(
        "stream: barrier between tiles",
        "fully_connected.cuh",
        "    if (first > begin) " + BARRIER,
        "",
        Cases("alexnet2012/fc6-fp32", "nano", "fp32", "stream*b4"),
        "race",
    ),
    # Fully connected weights by column
    Mutation(
        "columns: one of a chunk not listed",
        "fully_connected_columns.cuh",
        "__ballot_sync(0xffffffffu, needed)",
        "__ballot_sync(0xffffffffu, needed = needed && lane < 31)",
        Cases("fc-*-wide*", "nano", "fp16", "columns*"),
    ),
    Mutation(
        "columns: a run ends by its place in the list",
        "fully_connected_columns.cuh",
        "(all & run) >> lane == 1 ?",
        "(made + before) % 16 == 15 ?",
        Tests("cuda/test_columns.py", "changes_no_bit and nano-1-fp16-int8"),
    ),
    Mutation(
        "columns: NaN is a zero",
        "fully_connected_columns.cuh",
        "(bits & (sizeof(T) == 2 ? 0x7fffu : 0x7fffffffu)) == 0;",
        "(bits & 0x7fff) == 0 || (bits & 0x7fff) > 0x7c00;",
        Tests("cuda/test_columns.py", "no_zeros and fp16"),
    ),
    Mutation(
        "columns: infinite scales forgotten",
        "fully_connected_columns.cuh",
        "needed = chunk < end && !a.skip;",
        "needed = false;",
        Tests("cuda/test_columns.py", "infinite_weight and int4"),
    ),
    Mutation(
        "columns: zeros of the first vector alone",
        "fully_connected_columns.cuh",
        "v < S::kVectors; ++v) needed",
        "v < 1; ++v) needed",
        Tests("cuda/test_columns.py", "neighbor and int8"),
    ),
    Mutation(
        "columns: a group fetched twice",
        "fully_connected_columns.cuh",
        "list.get(next + i)",
        "list.get(next + i - AHEAD)",
        Cases("fc-*-wide*", "nano", "fp32", "columns*"),
    ),
    Mutation(
        "columns: last part without its tail",
        "fully_connected_columns.cuh",
        "part = round_up(ceil_div(chunks, a.split), K_WARPS)",
        "part = chunks / a.split / K_WARPS * K_WARPS",
        Cases("fc-*-wide*", "nano", "fp32", "columns*"),
    ),
    Mutation(
        "columns: int4 scale of another group",
        "fully_connected_columns.cuh",
        "place / kColumnBytes / kQuantGroup",
        "place / kColumnBytes / (2 * kQuantGroup)",
        Cases("fc-int4-wide*", "nano", "fp16", "columns*"),
    ),
    Mutation(
        "columns: sign of a sum that is zero",
        "fully_connected_columns.cuh",
        "    v[i] += 0.0f;\n",
        "",
        Tests("cuda/test_columns.py", "negative_zero"),
    ),
    Mutation(
        "columns: another block's tile",
        "fully_connected_columns.cuh",
        "tile += static_cast<int>(gridDim.x);",
        "tile += 1;",
        Tests("cuda/test_resident_blocks.py", "resident_blocks and 700-1-int8-fp16"),
        place=2,
        places=2,
    ),
    Mutation(
        "columns: kept beside the rows that replace them",
        "../weights/weights.cpp",
        "if (!both && column_values_.data()) {",
        "if (false) {",
        Tests("cuda/test_layouts.py", "one_layout and int8-nano"),
    ),
    Mutation(
        "columns: a plan keeps those that are gone",
        "../plan/device_plan.cpp",
        "step.choice.candidate->format == kColumns &&",
        "false &&",
        Tests("cuda/test_layouts.py", "one_layout and int8"),
    ),
    Mutation(
        "columns: made again after rows",
        "../weights/weights.h",
        "return streamed_used_ && !both;",
        "return false;",
        Tests("cuda/test_layouts.py", "came_first and int8"),
    ),
    Mutation(
        "columns: barrier between the sums of warps",
        "fully_connected_columns.cuh",
        BARRIER,
        "\n",
        Cases("fc-int8-wide*", "nano", "fp16", "columns*"),
        "race",
        1,
        2,
    ),
    Mutation(
        "columns: list read while it is written",
        "fully_connected_columns.cuh",
        "    __syncwarp();\n    made +=",
        "    made +=",
        Cases("fc-int8-wide*", "nano", "fp16", "columns*"),
        "race",
    ),
    Mutation(
        "GEMM: last part without its tail",
        "gemm_fc.cuh",
        "part = ceil_div(all, a.split)",
        "part = all / a.split",
        Cases("fc-long-sum fc-int4-map fc-odd", "rtx30", "fp32", "gemm_simt*"),
    ),
    Mutation(
        "GEMM: scale of half of the vectors",
        "gemm_fc.cuh",
        "        sums[i][j][k + 2] *= s;\n",
        "",
        Cases("fc-int8-batch9-relu", "rtx30", "fp16", "gemm16*"),
    ),
    Mutation(
        "GEMM: barrier behind a stage",
        "gemm_fc.cuh",
        "    simt_multiply(x, w, sums);\n    " + BARRIER,
        "    simt_multiply(x, w, sums);\n",
        Cases("fc-long-sum", "nano", "fp32", "gemm_simt*"),
        "race",
    ),
    # Softmax, tensors, frames
    Mutation(
        "softmax: without the maximum",
        "softmax_topk.cuh",
        "largest = over_block<false>(largest, parts)",
        "largest = 0",
        Cases("softmax*", "nano", "fp32", "stream*b8"),
    ),
    Mutation(
        "softmax: half of a warp",
        "softmax_topk.cuh",
        "distance /= 2) {\n    const float other",
        "distance /= 4) {\n    const float other",
        Cases("softmax", "nano", "fp32", "stream*b4"),
    ),
    Mutation(
        "softmax: barrier behind a sum",
        "softmax_topk.cuh",
        "  " + BARRIER + "  return v;",
        "  return v;",
        Cases("softmax", "nano", "fp32", "stream*b4"),
        "race",
    ),
    Mutation("top-k: the same class again", "softmax_topk.cuh", "if (key < last)", "if (key <= last)", TOP_K),
    Mutation(
        "top-k: of equals the higher index",
        "softmax_topk.cuh",
        "key = larger(key, static_cast<u64>(high) << 32 | low);",
        "key = high >= static_cast<u32>(key >> 32) ? static_cast<u64>(high) << 32 | low : key;",
        TOP_K,
    ),
    Mutation(
        "top-k: NaN is no number",
        "softmax_topk.cuh",
        "if (v != v) return 0xffffffffu;",
        "if (v != v) return 1;",
        TOP_K,
    ),
    Mutation(
        "top-k: a zero below the other",
        "softmax_topk.cuh",
        "float_to_bits(v + 0.0f)",
        "float_to_bits(v)",
        Tests("cuda/test_kernels.py", "top_k and nano and fp16"),
    ),
    Mutation(
        "top-k: barrier behind a choice",
        "softmax_topk.cuh",
        "  " + BARRIER + "  return key;",
        "  return key;",
        TOP_K,
        "race",
    ),
    Mutation(
        "tensor: padding channels not zeroed",
        "elementwise.cuh",
        "? get(in + row * s.plane + s.across) : 0;",
        "? get(in + row * s.plane + s.across) : bits_to_float(~0u);",
        Cases("fc-odd", "nano", "fp32", "stream*"),
    ),
    Mutation("tensor: barrier", "elementwise.cuh", BARRIER, "\n", Cases("relu", "nano", "fp32"), "race", 1, 2),
    Mutation("frame: colors not swapped", "frame.cuh", "a.swap ? bytes[2 - c] : bytes[c]", "bytes[c]", FRAMES),
    Mutation("frame: rounded down", "frame.cuh", "kRounding = 1 << (kFractionBits - 1)", "kRounding = 0", FRAMES),
    Mutation(
        "frame: fractions kept",
        "frame.cuh",
        "rounded(between(upper, up, lower, down))",
        "between(upper, up, lower, down)",
        FRAMES,
    ),
)


# Checks, in a process of their own -----------------------------------------------------------------------------------


def check_cases(chosen: Cases) -> int:
    """Print the first failure, and how many rules were checked."""
    from cuda_emulator import emulated
    from fastalex.selftest import checks
    from fastalex.selftest.cases import small
    from tests.support import kernels

    def matches(text, patterns):
        return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns.split())

    emulated.load()
    checked = 0
    with emulated.pretend(chosen.device):
        for case in [*small(), *kernels.layers()]:
            if not matches(case.name, chosen.cases):
                continue
            layer = None if case.small else kernels.StandardLayer(case, chosen.precision)
            for rule, kernel in kernels.rules(case, chosen.precision):
                if not matches(kernel, chosen.kernels):
                    continue
                checked += 1
                label = f"{case.name}, {rule.partition(' 1-')[2].partition(' ')[2]}"
                if layer is None:
                    outcome = checks.check(case, emulated.BACKEND, precision=chosen.precision, tuning=rule)
                    reason = outcome.reason
                else:
                    reason = failure(layer, rule, kernels.SAMPLED_BLOCKS)
                if reason:
                    print(f"{label}: {reason.splitlines()[0]}")
                    return 1
    print(f"{checked} rules")
    return 0 if checked else NOTHING_CHECKED


def failure(layer, rule: str, blocks: int) -> str:
    try:
        layer.check(rule, blocks)
    except (AssertionError, RuntimeError) as error:
        return str(error) or "wrong"
    return ""


def check_tests(chosen: Tests) -> int:
    import pytest

    return int(
        pytest.main(
            ["-q", "-x", "--tb=line", "-p", "no:cacheprovider", "-k", chosen.chosen, str(ROOT / "tests" / chosen.file)]
        )
    )


# Mutations -----------------------------------------------------------------------------------------------------------


class MutationError(Exception):
    """A mistake that could not be tried."""


class Tree:
    """A copy of the sources, and a build of it for each check."""

    def __init__(self, folder: Path):
        self.folder = folder
        for part in ("cmake", "csrc", "cuda_emulator"):
            shutil.copytree(str(ROOT / part), str(folder / part))

    def library(self, check: str) -> Path:
        """Build what has changed."""
        build = self.folder / check
        if not build.is_dir():
            source = str(self.folder / "cuda_emulator")
            self._run("cmake", "-S", source, "-B", str(build), "-DFASTALEX_EMULATOR_CHECK=" + check)
        self._run("cmake", "--build", str(build), "--target", "fastalex_emulated")
        return build / "libfastalex_emulated.so"

    @staticmethod
    def _run(*command: str) -> None:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if "error" in line.lower()]
            raise MutationError("does not compile: " + (errors or ["?"])[0])

    def check(self, mutation: Mutation) -> Tuple[int, str]:
        """Run the mutation's checks on the current build; return their exit code and last line."""
        kind = type(mutation.noticed_by).__name__
        command = [sys.executable, "-m", "cuda_emulator.mutations", "--check", kind, json.dumps(mutation.noticed_by)]
        library = str(self.library(mutation.build))
        done = subprocess.run(
            command,
            env=dict(os.environ, FASTALEX_EMULATOR_LIBRARY=library),
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
        )
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        return done.returncode, lines[-1] if lines else ""

    def noticed(self, mutation: Mutation) -> str:
        """Return what notices the mutation, or an empty string."""
        path = self.folder / "csrc/cuda/kernels" / mutation.file
        text = path.read_text(encoding="utf-8")
        path.write_text(mutated(text, mutation), encoding="utf-8")
        try:
            code, words = self.check(mutation)
        finally:
            path.write_text(text, encoding="utf-8")
        return words or f"exit code {code}" if code else ""


def mutated(text: str, mutation: Mutation) -> str:
    parts = text.split(mutation.old)
    if len(parts) != mutation.places + 1:
        raise MutationError(f"{len(parts) - 1} places in {mutation.file} instead of {mutation.places}")
    before, after = parts[: mutation.place], parts[mutation.place :]
    return mutation.old.join(before) + mutation.new + mutation.old.join(after)


class Run:
    """The mutations still to be tried, and the results of the others."""

    def __init__(self, mutations: List[Mutation]):
        # One file after another: a mutation's file is compiled for it, and once more with another file's mutation.
        self.waiting: Deque[Mutation] = deque(sorted(mutations, key=lambda mutation: (mutation.build, mutation.file)))
        self.lock = threading.Lock()
        self.unmutated: Dict[Tuple[str, Checks], Tuple[int, str]] = {}
        self.noticed = 0

    def prepare(self, tree: Tree, build: str) -> None:
        """Run the checks of this build on the unchanged sources."""
        for mutation in list(self.waiting):
            if mutation.build == build and (build, mutation.noticed_by) not in self.unmutated:
                self.unmutated[build, mutation.noticed_by] = tree.check(mutation)

    def work(self, tree: Tree, backwards: bool) -> None:
        """Take mutations from one end, so that a worker mostly keeps to one build."""
        while True:
            with self.lock:
                if not self.waiting:
                    return
                mutation = self.waiting.pop() if backwards else self.waiting.popleft()
            start = time.perf_counter()
            try:
                ok, words = self.verdict(tree, mutation)
            except (MutationError, subprocess.TimeoutExpired) as error:
                ok, words = False, f"not tried: {error}"
            seconds = time.perf_counter() - start
            with self.lock:
                self.noticed += ok
                print(f"{('ok' if ok else 'BAD'):3} {mutation.name:44} {seconds:3.0f} s  {words[:150]}", flush=True)

    def verdict(self, tree: Tree, mutation: Mutation) -> Tuple[bool, str]:
        code, words = self.unmutated[mutation.build, mutation.noticed_by]
        if code == NOTHING_CHECKED:
            return False, f"there is no such test: {mutation.noticed_by}"
        if code:
            return False, "the tests fail without it: " + words
        noticed = tree.noticed(mutation)
        return bool(noticed), noticed or "NOT NOTICED"


def in_parallel(function: Callable[..., None], arguments: Iterable[Tuple]) -> None:
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(function, *call) for call in arguments]:
            done.result()


def main(names: List[str]) -> int:
    chosen = [m for m in MUTATIONS if not names or any(fnmatch.fnmatchcase(m.name, name) for name in names)]
    run = Run(chosen)
    with tempfile.TemporaryDirectory(prefix="fastalex-mutations-") as folder:
        trees = [Tree(Path(folder) / name) for name in ("one", "two")]
        in_parallel(run.prepare, zip(trees, ("none", "race")))
        in_parallel(run.work, zip(trees, (False, True)))
    print(f"{run.noticed} of {len(chosen)} mistakes were noticed")
    return 0 if chosen and run.noticed == len(chosen) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        kind, fields = sys.argv[2], json.loads(sys.argv[3])
        sys.exit(check_cases(Cases(*fields)) if kind == "Cases" else check_tests(Tests(*fields)))
    sys.exit(main(sys.argv[1:]))
