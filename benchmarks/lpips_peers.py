"""LPIPS beside the package lpips: the same weights, images and CPUs; and the tables of docs/lpips.md.

    python benchmarks/lpips_peers.py              # measure, write the result and the tables
    python benchmarks/lpips_peers.py --quick      # fewer rounds, nothing written
    python benchmarks/lpips_peers.py --report     # the tables again, from the results

Each of the two lives in a process of its own and sleeps while the other is timed; they take turns in shuffled order,
one burst of calls at a time. Nothing is timed before the results have been compared. Memory is the resident size of
fresh processes, one for each case: its peak from start to end, its peak while distances are computed (Linux's
clear_refs sets the peak back once the metric is made), and what of both importing the packages takes.

The convolutions are random, as published ones do not come with either package; the heads are those of the package lpips
0.1. Where torchvision is not installed, the package gets the whole AlexNet that it would build from tests/originals.py.
All pairs of two sets are compared by the package row by row: one image with all others, in one call.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import results_table  # noqa: E402
import timing  # noqa: E402

RESULTS = HERE / "results" / "lpips" / "cpu"
REPORT = HERE.parent / "docs" / "lpips.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SIDE = 256
ENGINES = ("fastalex", "lpips")
# Name -> images on each side, whether all are paired, rounds, calls in a burst.
CASES = {
    "batch 1": (1, False, 15, 5),
    "batch 16": (16, False, 8, 1),
    "50 x 50 matrix": (50, True, 2, 1),
}
QUICK = ("batch 1", "batch 16")
# Both sum up in float32, fastalex by Winograd's algorithm: its roundings are some ten times float32's own.
TOLERANCE = 1e-4  # of the largest distance
TARGETS = {"batch 1": 2.0, "batch 16": 2.0, "50 x 50 matrix": 10.0}  # times as fast as the package, on a CPU


# In the measured process --------------------------------------------------------------------------------------------


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, SIDE, SIDE)).astype(np.float32)


def arrays() -> Dict[str, np.ndarray]:
    """Random convolutions, the same for both."""
    from fastalex import variants
    from fastalex.weights import initial

    layers = (layer for layer in variants.get("torchvision").layers() if layer.op == "conv")
    return initial.random_arrays({name: shape for layer in layers for name, shape in layer.param_shapes.items()})


class Fastalex:
    def __init__(self, threads: int) -> None:
        from fastalex import LPIPS

        self.make = lambda: LPIPS(weights=arrays(), device="cpu", threads=threads)

    def build(self) -> None:
        self.metric = self.make()

    def call(self, a: np.ndarray, b: np.ndarray, all_pairs: bool) -> Callable[[], np.ndarray]:
        if all_pairs:
            return lambda: self.metric.matrix(a, b)
        return lambda: self.metric(a, b).ravel()


class Package:
    def __init__(self, threads: int) -> None:
        sys.path.insert(0, str(HERE.parent / "tests"))
        import torch

        import originals

        torch.set_num_threads(threads)
        originals.lpips_package(originals.WHOLE)
        self.torch, self.originals = torch, originals

    def build(self) -> None:
        self.metric = self.originals.lpips(arrays())

    def call(self, a: np.ndarray, b: np.ndarray, all_pairs: bool) -> Callable[[], np.ndarray]:
        x, y = self.torch.from_numpy(a), self.torch.from_numpy(b)

        def pairs() -> np.ndarray:
            with self.torch.no_grad():
                return self.metric(x, y).numpy().ravel()

        def rows() -> np.ndarray:
            with self.torch.no_grad():
                return np.stack([self.metric(x[i : i + 1], y).numpy().ravel() for i in range(len(x))])

        return rows if all_pairs else pairs


MAKERS = {"fastalex": Fastalex, "lpips": Package}


def resident_mib(key: str = "VmRSS") -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key + ":"))


def serve(name: str, threads: int) -> None:
    """Answers lines of JSON, ``{"case", "calls", "path"}``, with the seconds of each call; the last result goes to
    ``path``."""
    engine = MAKERS[name](threads)
    engine.build()
    calls = {}
    for line in sys.stdin:
        order = json.loads(line)
        case = order["case"]
        if case not in calls:
            count, all_pairs = CASES[case][:2]
            calls = {case: engine.call(images(count, 1), images(count, 2), all_pairs)}
        seconds = []
        for _ in range(order["calls"]):
            begin = time.perf_counter()
            result = calls[case]()
            seconds.append(time.perf_counter() - begin)
        if order.get("path"):
            np.save(order["path"], result)
        print(json.dumps(seconds), flush=True)


def memory(name: str, threads: int, case: str) -> Dict[str, float]:
    """MiB: after importing, the peak of the whole process, and the peak while it computes distances."""
    engine = MAKERS[name](threads)
    imported = resident_mib()
    engine.build()
    built = resident_mib("VmHWM")
    count, all_pairs = CASES[case][:2]
    call = engine.call(images(count, 1), images(count, 2), all_pairs)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    for _ in range(1 if all_pairs else 2):
        call()
    running = resident_mib("VmHWM")
    return {"import_mib": imported, "peak_mib": max(built, running), "running_mib": running}


# Measuring ----------------------------------------------------------------------------------------------------------


def environment(threads: int) -> Dict[str, str]:
    return dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))


class Process:
    """One engine, asked for bursts."""

    def __init__(self, name: str, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(threads),
            universal_newlines=True,
        )

    def __call__(self, case: str, calls: int, path: str = "") -> List[float]:
        self.process.stdin.write(json.dumps({"case": case, "calls": calls, "path": path}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a measuring process ended with code %s" % self.process.wait())
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure_times(cases: Sequence[str], threads: int, quick: bool, folder: Path) -> List[Dict[str, Any]]:
    order = random.Random(2018)
    rows = []
    live = {name: Process(name, threads) for name in ENGINES}
    try:
        for case in cases:
            _, _, rounds, burst = CASES[case]
            paths = {name: folder / ("%s-%s.npy" % (name, case.replace(" ", "-"))) for name in ENGINES}
            for name in ENGINES:  # warm-up, and the results
                live[name](case, 1, str(paths[name]))
            difference = compare(*(np.load(str(paths[name])) for name in ENGINES))
            times: Dict[str, List[float]] = {name: [] for name in ENGINES}
            for _ in range(max(2, rounds // 4) if quick else rounds):
                for name in order.sample(ENGINES, len(ENGINES)):
                    time.sleep(0.1)  # the threads of the one before go to sleep
                    times[name] += live[name](case, burst)
            for name in ENGINES:
                row = timing.summarize([1e3 * seconds for seconds in times[name]], CASES[case][0])
                rows.append(dict(row, engine=name, case=case, threads=threads, difference=difference))
                print("%s, %s: %.1f ms" % (name, case, row["median_ms"]), file=sys.stderr)
    finally:
        for process in live.values():
            process.close()
    return rows


def compare(mine: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference in parts of the largest distance. :raises RuntimeError: if it is no rounding."""
    difference = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
    if mine.shape != theirs.shape or not difference <= TOLERANCE or np.abs(theirs).max() < 1e-4:
        raise RuntimeError("the results differ by %.2e of the largest" % difference)
    return difference


def measure_memory(cases: Sequence[str], threads: int) -> List[Dict[str, Any]]:
    rows = []
    for case in cases:
        for name in ENGINES:
            command = [sys.executable, __file__, "--memory", name, "--threads", str(threads), "--case", case]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment(threads))
            rows.append(dict(json.loads(done.stdout.decode()), engine=name, case=case, threads=threads))
            print("%(engine)s, %(case)s: peak %(peak_mib).0f MiB, import %(import_mib).0f" % rows[-1], file=sys.stderr)
    return rows


def record(times: List[Dict[str, Any]], memories: List[Dict[str, Any]], quick: bool) -> Dict[str, Any]:
    import torch

    import fastalex
    from fastalex import _core
    from fastalex.hardware import devices

    cpu = devices.cpu()
    return {
        "schema": 1,
        "device": "lpips",
        "title": cpu.model,
        "quick": quick,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": {"architecture": cpu.machine, "isa": str(_core.cpu_isa()), "cores": len(timing.available_cpus())},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "lpips": "0.1.4",
            "fastalex": fastalex.__version__,
        },
        "side": SIDE,
        "times": times,
        "memory": memories,
    }


# The document -------------------------------------------------------------------------------------------------------


def speed_table(one: Mapping[str, Any]) -> str:
    lines = []
    for case in dict.fromkeys(row["case"] for row in one["times"]):
        found = {row["engine"]: row for row in one["times"] if row["case"] == case}
        mine, theirs = (found[name] for name in ENGINES)
        ratio = theirs["median_ms"] / mine["median_ms"]
        keys = ("median_ms", "p10_ms", "p90_ms")
        spread = ["%s (%s to %s)" % tuple(results_table.digits(row[key]) for key in keys) for row in (mine, theirs)]
        lines.append([case, *spread, "%.1f" % ratio, "%g" % TARGETS[case], "%.0e" % mine["difference"]])
    head = ["%d x %d" % (one["side"], one["side"]), "fastalex, ms", "lpips, ms", "times as fast", "target", "differ by"]
    return results_table.table(head, lines)


def memory_table(one: Mapping[str, Any]) -> str:
    """Of each case: the whole process's peak, and above the import the peak and the peak while running."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in one["memory"]):
        found = [next(r for r in one["memory"] if (r["case"], r["engine"]) == (case, name)) for name in ENGINES]
        for what, key, above in (
            ("whole process, peak", "peak_mib", False),
            ("above import, peak", "peak_mib", True),
            ("above import, while running", "running_mib", True),
        ):
            mine, theirs = (row[key] - (row["import_mib"] if above else 0) for row in found)
            lines.append([case, what, "%.0f" % mine, "%.0f" % theirs, "%.2f" % (mine / theirs)])
    head = ["%d x %d" % (one["side"], one["side"]), "resident size", "fastalex, MiB", "lpips, MiB", "ratio"]
    return results_table.table(head, lines, left=2)


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """What stands between the two marks of docs/lpips.md."""
    parts = []
    for one in records:
        threads = sorted({row["threads"] for row in one["times"]})
        versions = ", ".join("%s %s" % (name, one["versions"][name]) for name in ("fastalex", "lpips", "torch"))
        title = "### %s (%s), %s threads" % (one["title"], one["machine"]["isa"], "/".join(map(str, threads)))
        parts.append("%s\n\n%s; %s. Median (10th to 90th percentile).\n" % (title, one["date"], versions))
        parts += [speed_table(one), memory_table(one)]
    return "\n".join(parts) if parts else "Nothing is measured yet.\n"


def report() -> None:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    text = REPORT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    results_table.write_atomically(REPORT, before + BEGIN + "\n" + render(records) + END + rest.split(END)[1])


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure LPIPS beside the package lpips.")
    parser.add_argument("--threads", type=int, default=len(timing.available_cpus()) or 1, help="default: all")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), help="default: all")
    parser.add_argument("--quick", action="store_true", help="few rounds of the batches, and nothing is written")
    parser.add_argument("--output", type=Path, help="write the result there, and no document")
    parser.add_argument("--report", action="store_true", help="write the tables from the results, and stop")
    for name in ("--serve", "--memory"):  # what the processes that it starts do
        parser.add_argument(name, choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse(argv)
    if options.report:
        report()
    elif options.serve:
        serve(options.serve, options.threads)
    elif options.memory:
        print(json.dumps(memory(options.memory, options.threads, options.case)))
    else:
        import tempfile

        cases = options.cases or (QUICK if options.quick else list(CASES))
        memories = measure_memory(cases, options.threads)
        with tempfile.TemporaryDirectory() as folder:
            times = measure_times(cases, options.threads, options.quick, Path(folder))
        result = record(times, memories, options.quick)
        text = json.dumps(result, indent=1, sort_keys=True) + "\n"
        if options.output:
            results_table.write_atomically(options.output, text)
        elif not options.quick and list(cases) == list(CASES):  # a part is no result
            name = "%s-%s.json" % (results_table.slug(result["title"]), result["machine"]["isa"])
            results_table.write_atomically(RESULTS / name, text)
            report()
        print(render([result]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
