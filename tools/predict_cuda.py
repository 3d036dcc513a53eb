"""Predict the time of a network on a device from the machine code of its kernels. Not a measurement.

    python -m tools.predict_cuda --device nano
    python -m tools.predict_cuda --device tx2 --fc int4 --batch 16

The launches come from the emulated backend (cuda_emulator), the machine code from NVRTC and ptxas 12.9, its text
from nvdisasm, which PyPI does not have: the package nvidia-cuda-toolkit of Debian (non-free) and Ubuntu brings one, and
so does any CUDA toolkit up to 12.9. Either have it on PATH or give --nvdisasm.

tools/cuda_gate/predict.py says how a launch is predicted, machine.py where the latencies and throughputs come from.
Kernels follow each other, each with an empty L2; launches take no time; input and output in the order of the caller are
not counted.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from benchmarks import files
from fastalex import variants
from fastalex.errors import UserError
from fastalex.hardware import devices
from tools.cuda_gate import families, limits, plans, predict, sass, toolchain
from tools.cuda_gate.toolchain import ToolError

RESULTS = families.ROOT / "benchmarks" / "predicted"
NVDISASM = "give --nvdisasm, or install the package nvidia-cuda-toolkit of Debian (non-free) or Ubuntu"
DEVICES = ("nano", "tx2", "gtx1650")  # whose instructions tools/cuda_gate/instructions knows


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


def predict_net(
    wish: Any, code: Dict[str, Tuple], plan: Dict[str, Any], launches: List[Dict[str, Any]]
) -> List[Dict[str, Any]]:
    """A row for each step of the plan."""
    rows = []
    groups = predict.step_layers(variants.get(wish.variant).layers(), plan["steps"])
    for step, group, own in zip(plan["steps"], groups, predict.launches_of(plan["steps"], launches)):
        kernels = []
        if group[0].op == "fc":
            values = wish.batch * math.prod(group[0].in_shape)
            own[0] = predict.with_inputs(own[0], values, 2 if wish.precision == "fp16" else 4, wish.density or 1.0)
        for launch, facts in zip(own, step["kernels"]):
            if facts["name"] not in code:
                raise ToolError(f"no list has the kernel {facts['name']}")
            instance, usage, kernel = code[facts["name"]]
            card = (wish.device, wish.card)
            kernels.append(predict.predict(kernel, instance, usage, launch, *card, wish.bandwidth_share))
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
        "blocks": one.blocks,
        "blocks_run": one.blocks_run,
        "clocks": round(one.clocks),
        "ipc": round(one.ipc, 2),
        "limited_by": one.limited_by,
        "busy": {part: round(share, 2) for part, share in one.busy.items()},
        "bytes": round(one.bytes),
        "instructions": dict(one.instructions),
        "ms": round(one.ms, 4),
    }


def print_table(wish: Any, rows: List[Dict[str, Any]]) -> None:
    facts = (wish.card.name, wish.variant, wish.precision, wish.fc, wish.batch)
    print(
        "predicted: %s, %s %s, fc %s, batch %d (memory at %.0f %% of its bandwidth; %.0f %% of fc inputs not zero)"
        % (*facts, 100 * wish.bandwidth_share, 100 * (wish.density or 1))
    )
    print(
        "| layers | kernel | blocks | resident | IPC | limited by | ms |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for row in rows:
        for one in row["kernels"]:
            blocks, resident = "x".join(map(str, one["grid"])), str(one["blocks_per_sm"])
            cells = ["+".join(row["layers"]), one["name"], blocks, resident, f"{one['ipc']:.2f}", one["limited_by"]]
            print(f"| {' | '.join([*cells, format(one['ms'], '.3f')])} |")
    print(f"| total | | | | | | {sum(row['ms'] for row in rows):.2f} |")


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="nano", choices=DEVICES)
    parser.add_argument("--card", help="a member of the device file; default: the first")
    parser.add_argument("--variant", default="alexnet2012", choices=sorted(variants.VARIANTS))
    parser.add_argument("--precision", default="fp16", choices=plans.PRECISIONS)
    parser.add_argument("--fc", default="int8", choices=plans.STORAGES, help="storage of the fully connected weights")
    parser.add_argument("--batch", type=int, default=1)
    text = "share of the inputs of fully connected layers that are not zero; default: all"
    parser.add_argument("--density", type=float, metavar="D", help=text)
    parser.add_argument("--bandwidth-share", type=float, default=predict.BANDWIDTH_SHARE)
    parser.add_argument("--nvdisasm", help="default: the one on PATH")
    parser.add_argument("--library", type=Path, help="libfastalex_emulated.so; default: the one in build/")
    parser.add_argument("--at-most", type=float, metavar="MS", help="fail if the prediction is longer")
    parser.add_argument("--out", type=Path, help="default: benchmarks/predicted/<device>.json, or <device>-<D>.json")
    wish = parser.parse_args(argv)
    if wish.density is not None and not 0 < wish.density <= 1:
        parser.error(f"--density must be above 0 and at most 1, not {wish.density}")
    name = wish.device
    wish.device = devices.get(name)
    try:
        wish.card = wish.device.card(wish.card) if wish.card else wish.device.cards[0]
        nvdisasm = toolchain.find_program("nvdisasm", wish.nvdisasm, NVDISASM)
        case = (wish.variant, wish.precision, wish.fc, wish.batch)
        library = wish.library or plans.default_library()
        plan = plans.read_plans(library, name, [case], wish.card.name)[case]
        launches = plans.read_launches(library, name, case, wish.card.name)
        rows = predict_net(wish, machine_code(limits.architecture_of(wish.device), nvdisasm), plan, launches)
    except (ToolError, UserError) as error:
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
        **({"density": wish.density} if wish.density else {}),
        "assumed": {"bandwidth_share": wish.bandwidth_share},
        "total_ms": round(total, 3),
        "steps": [dict(row, ms=round(row["ms"], 4)) for row in rows],
    }
    path = wish.out or RESULTS / (name + (f"-{wish.density}" if wish.density else "") + ".json")
    files.write_atomically(path, files.as_json(record, sort_keys=False))
    print_table(wish, rows)
    return 1 if wish.at_most and total > wish.at_most else 0


if __name__ == "__main__":
    sys.exit(main())
