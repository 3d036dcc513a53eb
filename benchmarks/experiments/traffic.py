"""The bytes that a process sends in one step of training, by scheme: counted from the calls of a whole alexnet2012.

It writes results/traffic.json and the table of docs/training.md.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import torch

from benchmarks import files, records
from benchmarks.measure import machine
from fastalex import variants
from fastalex.train.dropout import Masks
from fastalex.train.parallel import Scheme

RESULT, DOCUMENT = Path(__file__).resolve().parent / "results" / "traffic.json", records.DOCS / "training.md"
VARIANT, BATCH = "alexnet2012", 128
CASES = (("data", 2), ("columns", 2), ("hybrid", 2), ("data", 4), ("hybrid", 4))


def step(rank: int, world: int, kind: str, folder: str) -> None:
    """One forward and backward pass in process ``rank``; the first one writes what it sent."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    row = variants.get(VARIANT)
    scheme = Scheme(kind, row, [torch.device("cpu")], Masks(0), "halved")
    scheme.prepare()
    scheme.traffic.take()  # DistributedDataParallel's initial broadcast of the parameters is not part of a step
    rows = BATCH // scheme.shares
    logits = scheme.logits(torch.zeros(rows, row.channels, row.input_size, row.input_size))
    logits.sum().backward()
    sent = scheme.traffic.take()
    if rank == 0:
        (Path(folder) / "sent.json").write_text(json.dumps(sent), encoding="utf-8")
    torch.distributed.destroy_process_group()


def measure() -> None:
    cases: List[Dict[str, Any]] = []
    for kind, world in CASES:
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(step, (world, kind, folder), world)
            sent = json.loads((Path(folder) / "sent.json").read_text(encoding="utf-8"))
        cases.append({"scheme": kind, "processes": world, "sent": sent})
        print(cases[-1], flush=True)
    record = {
        "variant": VARIANT,
        "batch": BATCH,
        "torch": torch.__version__,
        "commit": machine.commit(),
        "cases": cases,
    }
    files.write_atomically(RESULT, files.as_json(record, sort_keys=False))
    lines = ["| scheme | processes | MB a step from each | all-reduce | all-gather | all-to-all |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for case in cases:
        parts = [case["sent"].get(name, 0) for name in ("all_reduce", "all_gather", "all_to_all")]
        cells = [f"{count / 1000000.0:.1f}" for count in (sum(parts), *parts)]
        lines.append(f"| `{case['scheme']}` | {case['processes']} | {' | '.join(cells)} |")
    files.replace_between(DOCUMENT, "traffic", "\n".join(lines) + "\n")
