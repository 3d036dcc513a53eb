"""What moving over brings: fastalex beside the PyTorch code that JetBot and thingsvision run, on this machine's CPU.

    python benchmarks/clients.py              # measure, write the result and docs/clients-results.md
    python benchmarks/clients.py --quick      # fewer runs, nothing written
    python benchmarks/clients.py --report     # docs/clients-results.md again, from the results

Needs PyTorch. Each row is measured in a process of its own, so that time to the first answer and peak memory belong to
it alone; all have the same random weights, and their answers are compared first. ``jetbot`` is one camera frame of
224 x 224 to a probability, ``readout`` a folder of JPEG files to the activations of two modules on disk.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "examples"))

import results_table  # noqa: E402
import timing  # noqa: E402

RESULTS = HERE / "results" / "clients" / "cpu"
REPORT = HERE.parent / "docs" / "clients-results.md"
MODULES = ("features.10", "classifier.4")  # thingsvision's README and tests
BATCH = 32
PROBABILITY_TOLERANCE = {"fp32": 1e-4, "int8": 0.05}  # of one that int8 weights may move; see docs/accuracy.md

# How each row is named, and computed.
JETBOT = {
    "fastalex": ("fastalex", {}),
    "fastalex, int8 weights": ("fastalex", {"fc_weights": "int8"}),
    "PyTorch, eval and no_grad": ("pytorch", {"careful": True}),
    "PyTorch, as the notebook has it": ("pytorch", {"careful": False}),
}
READOUT = {"fastalex readout": ("fastalex", {}), "PyTorch with hooks, np.save": ("pytorch", {})}


# One process a row ------------------------------------------------------------------------------------------------


def task_weights(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Write best_model.pth and the folder of JPEG files."""
    import torch
    from PIL import Image

    import fastalex
    from fastalex.networks import torch_reference

    torch.manual_seed(0)
    model = torch_reference.build(fastalex.variants.get("torchvision", num_classes=2))
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value *= 6**0.5  # He's bound, so that the signal stays alive
    torch.save(model.state_dict(), spec["weights"])
    random = np.random.RandomState(0)
    os.mkdir(spec["images"])
    for number in range(spec["count"]):
        patches = Image.fromarray(random.randint(0, 256, (6, 8, 3)).astype(np.uint8))
        patches.resize((500, 375), Image.BICUBIC).save("%s/%04d.jpg" % (spec["images"], number), quality=90)
    return {}


def frames() -> List[np.ndarray]:
    from PIL import Image

    random = np.random.RandomState(1)
    patches = [Image.fromarray(random.randint(0, 256, (5, 5, 3)).astype(np.uint8)) for _ in range(4)]
    return [np.ascontiguousarray(np.asarray(one.resize((224, 224), Image.BICUBIC))) for one in patches]


def jetbot_fastalex(spec: Dict[str, Any]) -> Callable[[np.ndarray], float]:
    from fastalex.jetbot import CollisionAvoidance

    return CollisionAvoidance(spec["weights"], device="cpu", threads=spec["threads"], **spec["options"])


def jetbot_pytorch(spec: Dict[str, Any]) -> Callable[[np.ndarray], float]:
    import torch

    import jetbot_demo
    import pytorch_alexnet

    torch.set_num_threads(spec["threads"])
    model = pytorch_alexnet.load(spec["weights"], 2)
    if not spec["options"]["careful"]:
        return lambda frame: jetbot_demo.original(model, frame)
    model.eval()

    def careful(frame: np.ndarray) -> float:
        with torch.no_grad():
            return jetbot_demo.original(model, frame)

    return careful


def task_jetbot(spec: Dict[str, Any]) -> Dict[str, Any]:
    began = time.perf_counter()
    blocked = {"fastalex": jetbot_fastalex, "pytorch": jetbot_pytorch}[spec["side"]](spec)
    shown = frames()
    answers = [blocked(frame) for frame in shown[:1]]
    first_s = time.perf_counter() - began
    answers += [blocked(frame) for frame in shown[1:]]
    times = timing.time_calls(lambda: blocked(shown[0]), spec["warmup_s"], spec["measure_s"], 10)
    return dict(timing.summarize(times, 1), first_s=first_s, answers=answers, peak_rss_mib=timing.peak_rss_mib())


def readout_fastalex(spec: Dict[str, Any]) -> None:
    from fastalex import AlexNet, readout

    net = AlexNet(weights=spec["weights"], device="cpu", threads=spec["threads"])
    readout.read_out(net, spec["images"], spec["output"], MODULES, "torchvision", BATCH)


def readout_pytorch(spec: Dict[str, Any]) -> None:
    """thingsvision's way: PIL transforms, batches, hooks that clone, everything kept and saved at the end."""
    import torch
    from PIL import Image

    import pytorch_alexnet

    torch.set_num_threads(spec["threads"])
    model = pytorch_alexnet.load(spec["weights"], 2).eval()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def transform(path: str) -> Any:
        picture = Image.open(path).convert("RGB")
        short = min(picture.size)
        picture = picture.resize([256 * side // short for side in picture.size], Image.BILINEAR)
        left, top = (round((side - 224) / 2) for side in picture.size)
        pixels = np.array(picture.crop((left, top, left + 224, top + 224)))
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        return (tensor - mean[:, None, None]) / deviation[:, None, None]

    paths = sorted(str(path) for path in Path(spec["images"]).iterdir())
    kept: Dict[str, List[np.ndarray]] = {name: [] for name in MODULES}
    for start in range(0, len(paths), BATCH):
        batch = torch.stack([transform(path) for path in paths[start : start + BATCH]])
        for name, values in pytorch_alexnet.hooked(model, batch, MODULES).items():
            kept[name].append(values)
    os.makedirs(spec["output"])
    for name, values in kept.items():
        np.save("%s/%s.npy" % (spec["output"], name), np.concatenate(values))


def task_readout(spec: Dict[str, Any]) -> Dict[str, Any]:
    began = time.perf_counter()
    {"fastalex": readout_fastalex, "pytorch": readout_pytorch}[spec["side"]](spec)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "images_per_s": spec["count"] / seconds, "peak_rss_mib": timing.peak_rss_mib()}


TASKS = {"weights": task_weights, "jetbot": task_jetbot, "readout": task_readout}


def child(task: str, spec: Dict[str, Any]) -> Dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--task", task, json.dumps(spec)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    return json.loads(done.stdout.decode().splitlines()[-1])


# All rows -----------------------------------------------------------------------------------------------------------


def measure(threads: int, quick: bool) -> Dict[str, List[Dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        spec: Dict[str, Any] = {"weights": folder + "/best_model.pth", "images": folder + "/images"}
        spec.update(threads=threads, count=32 if quick else 256)
        spec.update(warmup_s=0.2 if quick else 1.0, measure_s=0.5 if quick else 5.0)
        child("weights", spec)
        for side in ("fastalex", "pytorch"):  # the first process of all finds the files in no cache
            child(
                "jetbot", dict(spec, side=side, options=next(o for s, o in JETBOT.values() if s == side), measure_s=0.1)
            )
        jetbot = []
        for name, (side, options) in JETBOT.items():
            jetbot.append(dict(child("jetbot", dict(spec, side=side, options=options)), name=name))
        check_answers(jetbot)
        readout = []
        for index, (name, (side, _)) in enumerate(READOUT.items()):
            output = "%s/out%d" % (folder, index)
            row = dict(child("readout", dict(spec, side=side, output=output)), name=name, images=spec["count"])
            readout.append(row)
        check_files(folder + "/out0", folder + "/out1")
    return {"jetbot": jetbot, "readout": readout}


def check_answers(rows: Sequence[Dict[str, Any]]) -> None:
    """All agree with PyTorch in evaluation mode; as the notebook has it, dropout is on and no answer is right."""
    expected = np.array(rows[2]["answers"])
    for row, tolerance in zip(rows, (PROBABILITY_TOLERANCE["fp32"], PROBABILITY_TOLERANCE["int8"])):
        error = float(np.abs(np.array(row["answers"]) - expected).max())
        if not error <= tolerance:
            raise SystemExit("%s: %s instead of %s" % (row["name"], row["answers"], list(expected)))


def check_files(ours: str, theirs: str) -> None:
    for name in MODULES:
        a, b = (np.load("%s/%s.npy" % (folder, name)) for folder in (ours, theirs))
        if a.shape != b.shape or not np.abs(a - b).max() <= timing.TOLERANCES["fp32"] * np.abs(b).max():
            raise SystemExit("the activations of %s differ" % name)


def record(rows: Dict[str, List[Dict[str, Any]]], threads: int, quick: bool) -> Dict[str, Any]:
    import torch

    import fastalex
    from fastalex import _core
    from fastalex.hardware import devices

    cpu = devices.cpu()
    return {
        "schema": 1,
        "device": "clients",
        "title": cpu.model,
        "quick": quick,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": {"architecture": cpu.machine, "isa": str(_core.cpu_isa()), "threads": threads},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "fastalex": fastalex.__version__,
        },
        **rows,
    }


# The document -------------------------------------------------------------------------------------------------------

INTRODUCTION = """\
# JetBot and read-outs beside PyTorch, measured

Generated by `python benchmarks/clients.py --report` from `benchmarks/results/clients/`. On a CPU only: no Jetson and no
GPU has been measured with fastalex yet. The network is torchvision's AlexNet with two classes and random weights, the
same for all rows, and the answers are compared before anything is timed.

- **JetBot**: one camera frame of 224 x 224, 8-bit, to the probability of being blocked. `as the notebook has it` leaves
  dropout on and keeps the autograd graph, as JetBot's live demo does.
- **Read-out**: 500 x 375 JPEG files to `features.10` and `classifier.4` on disk, from the start of loading the weights;
  PyTorch as thingsvision does it, with hooks that clone and everything in memory until it is saved.
- **First answer**: from the start of the imports to the first probability. Files are in the page cache.
  **Peak**: resident memory of the process, the mapped weights file included.
"""


def render(records: Sequence[Dict[str, Any]]) -> str:
    """The whole of docs/clients-results.md."""
    parts = [INTRODUCTION]
    for one in records:
        versions = one["versions"]
        facts = (one["date"], one["machine"]["threads"], versions["fastalex"], versions["torch"])
        parts.append("## %s (%s)\n" % (one["title"], one["machine"]["isa"]))
        parts.append("%s, %d threads, fastalex %s, PyTorch %s.\n" % facts)
        head = ("JetBot", "ms a frame", "p10", "p90", "frames/s", "first answer s", "peak MiB")
        rows = [
            [
                row["name"],
                *(results_table.digits(row[key]) for key in ("median_ms", "p10_ms", "p90_ms", "images_per_s")),
            ]
            + [results_table.digits(row[key]) for key in ("first_s", "peak_rss_mib")]
            for row in one["jetbot"]
        ]
        parts.append(results_table.table(head, rows))
        head = ("Read-out of %d images" % one["readout"][0]["images"], "s", "images/s", "peak MiB")
        keys = ("seconds", "images_per_s", "peak_rss_mib")
        rows = [[row["name"], *(results_table.digits(row[key]) for key in keys)] for row in one["readout"]]
        parts.append(results_table.table(head, rows))
    return "\n".join(parts)


def load_records() -> List[Dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Measure JetBot and read-outs beside PyTorch.")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both (all)")
    parser.add_argument("--quick", action="store_true", help="fewer runs, and nothing is written")
    parser.add_argument(
        "--report", action="store_true", help="write docs/clients-results.md from the results, and stop"
    )
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.task:
        print(json.dumps(TASKS[options.task[0]](json.loads(options.task[1]))))
        return 0
    if not options.report:
        result = record(measure(options.threads, options.quick), options.threads, options.quick)
        if options.quick:
            print(render([result])[len(INTRODUCTION) :].strip())
            return 0
        name = "%s-%s.json" % (results_table.slug(result["title"]), result["machine"]["isa"])
        results_table.write_atomically(RESULTS / name, json.dumps(result, indent=1, sort_keys=True) + "\n")
    results_table.write_atomically(REPORT, render(load_records()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
