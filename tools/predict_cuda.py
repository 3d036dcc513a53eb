"""Predict the time of a network on a Jetson Nano or TX2 from the machine code of its kernels. Not a measurement.

    python -m tools.predict_cuda --device nano
    python -m tools.predict_cuda --device tx2 --fc int4 --batch 16

The plan comes from the emulated backend (cuda_emulator), the machine code from NVRTC and ptxas 12.9, its text
from nvdisasm, which PyPI does not have: the package nvidia-cuda-toolkit of Debian (non-free) and Ubuntu brings one, and
so does any CUDA toolkit up to 12.9. Either have it on PATH or give --nvdisasm.

A kernel takes the longer of its issue slots (or of the part of a multiprocessor that is busiest), at an assumed share
of the clocks, and of its bytes, at an assumed share of the memory's bandwidth. Kernels follow each other; launches take
no time. tools/cuda_gate/predict.py and sass.py say where the shares and the throughputs come from.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from benchmarks import files
from fastalex import variants
from fastalex.hardware import devices
from tools.cuda_gate import families, limits, plans, predict, sass, toolchain
from tools.cuda_gate.toolchain import ToolError

RESULTS = families.ROOT / "benchmarks" / "predicted"
NVDISASM = "give --nvdisasm, or install the package nvidia-cuda-toolkit of Debian (non-free) or Ubuntu"


def machine_code(architecture: int, nvdisasm: Path) -> Dict[str, Tuple]:
    """Kernel name -> (instance, usage, disassembly) for an architecture."""
    kernels_by_name = {}
    for family in families.families():
        compiled = families.compile_family(family, architecture)
        kernels = sass.disassemble(nvdisasm, compiled.cubin) if compiled.instances else {}
        for instance in compiled.instances:
            kernels_by_name[instance.name] = (
                instance,
                compiled.usage[instance.name],
                kernels[compiled.symbols[instance.name]],
            )
    return kernels_by_name


def predict_step(
    step: Dict[str, Any], work: predict.Work, code: Dict[str, Tuple], wish: Any
) -> List[predict.Prediction]:
    """Predict each kernel of a step."""
    predictions = []
    winograd = re.search(r"(\d)x(\d)", step["format"])
    for i, launch in enumerate(step["kernels"]):
        if launch["name"] not in code:
            raise ToolError(f"no list has the kernel {launch['name']}")
        instance, usage, kernel = code[launch["name"]]
        # Winograd's algorithm sums over channels alone; a streaming kernel takes so many vectors at a time.
        vectors = int(instance.rest[2]) if instance.family == "fully_connected" else work.batch
        facts = dict(launch, window=int(winograd.group(2)) ** 2 if winograd else 1, vectors=max(1, vectors))
        shares = (wish.issue_share, wish.bandwidth_share)
        place = (i, len(step["kernels"]))
        predictions.append(predict.predict(kernel, instance, usage, work, facts, place, wish.device, wish.card, shares))
    return predictions


def predict_net(wish: Any, code: Dict[str, Tuple], plan: Dict[str, Any]) -> List[Dict[str, Any]]:
    """A row for each step of the plan."""
    rows = []
    groups = predict.step_layers(variants.get(wish.variant).layers(), plan["steps"])
    for step, group in zip(plan["steps"], groups):
        work = predict.work_of(group, step, wish.precision, wish.fc, wish.batch)
        kernels = predict_step(step, work, code, wish)
        rows.append(
            {
                "layers": [one.name for one in group],
                "candidate": step["candidate"],
                "split": step["split"],
                "ms": sum(one.ms for one in kernels),
                "kernels": [kernel_row(one) for one in kernels],
            }
        )
    return rows


def kernel_row(one: predict.Prediction) -> Dict[str, Any]:
    return {
        "name": one.name,
        "grid": list(one.grid),
        "threads": one.threads,
        "registers": one.registers,
        "blocks_per_sm": one.blocks_per_sm,
        "clocks": round(one.clocks),
        "limited_by": "memory" if one.memory_ms > one.compute_ms else one.limited_by,
        "fma_share": round(one.fma_share, 3),
        "bytes": round(one.bytes),
        "compute_ms": round(one.compute_ms, 4),
        "memory_ms": round(one.memory_ms, 4),
        "code": [
            {"what": piece.what, "times": round(piece.times, 2), "instructions": piece.profile.counts}
            for piece in one.pieces
        ],
    }


def print_table(wish: Any, rows: List[Dict[str, Any]]) -> None:
    print(
        "predicted: %s, %s %s, fc %s, batch %d (%.0f %% of the clocks, %.0f %% of the bandwidth)"
        % (wish.card.name, wish.variant, wish.precision, wish.fc, wish.batch, *(100 * one for one in wish_shares(wish)))
    )
    print("| layers | kernel | blocks | FMA share | limited by | ms |\n| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        for kernel in row["kernels"]:
            blocks = "x".join(map(str, kernel["grid"]))
            ms = max(kernel["compute_ms"], kernel["memory_ms"])
            share = f"{100 * kernel['fma_share']:.0f} %"
            cells = ["+".join(row["layers"]), kernel["name"], blocks, share, kernel["limited_by"], f"{ms:.3f}"]
            print(f"| {' | '.join(cells)} |")
    print(f"| total | | | | | {sum(row['ms'] for row in rows):.2f} |")


def wish_shares(wish: Any) -> Tuple[float, float]:
    return wish.issue_share, wish.bandwidth_share


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="nano", choices=("nano", "tx2"))
    parser.add_argument("--card", help="a member of the device file; default: the first")
    parser.add_argument("--variant", default="alexnet2012", choices=sorted(variants.VARIANTS))
    parser.add_argument("--precision", default="fp16", choices=plans.PRECISIONS)
    parser.add_argument("--fc", default="int8", choices=plans.STORAGES, help="storage of the fully connected weights")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--issue-share", type=float, default=predict.ISSUE_SHARE)
    parser.add_argument("--bandwidth-share", type=float, default=predict.BANDWIDTH_SHARE)
    parser.add_argument("--nvdisasm", help="default: the one on PATH")
    parser.add_argument("--library", type=Path, help="libfastalex_emulated.so; default: the one in build/")
    parser.add_argument("--at-most", type=float, metavar="MS", help="fail if the prediction is longer")
    parser.add_argument("--out", type=Path, help="default: benchmarks/predicted/<device>.json")
    wish = parser.parse_args(argv)
    name = wish.device
    wish.device = devices.get(name)
    wish.card = wish.device.card(wish.card) if wish.card else wish.device.cards[0]
    try:
        nvdisasm = toolchain.find_program("nvdisasm", wish.nvdisasm, NVDISASM)
        case = (wish.variant, wish.precision, wish.fc, wish.batch)
        plan = plans.read_plans(wish.library or plans.default_library(), name, [case])[case]
        rows = predict_net(wish, machine_code(limits.architecture_of(wish.device), nvdisasm), plan)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    total = sum(row["ms"] for row in rows)
    record = {
        "what": "predicted from machine code by tools/predict_cuda.py; nothing here was measured",
        "device": name,
        "card": wish.card.name,
        "variant": wish.variant,
        "precision": wish.precision,
        "fc_weights": wish.fc,
        "batch": wish.batch,
        "assumed": {"issue_share": wish.issue_share, "bandwidth_share": wish.bandwidth_share},
        "total_ms": round(total, 3),
        "steps": [dict(row, ms=round(row["ms"], 4)) for row in rows],
    }
    files.write_atomically(wish.out or RESULTS / (name + ".json"), files.as_json(record, sort_keys=False))
    print_table(wish, rows)
    return 1 if wish.at_most and total > wish.at_most else 0


if __name__ == "__main__":
    sys.exit(main())
