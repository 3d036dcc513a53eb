#!/usr/bin/env python3
"""Measure AlexNet on this machine, or predict it for a device.

  python benchmarks/run.py --device cpu              measure, write results/cpu/<cpu>.json and RESULTS.md
  python benchmarks/run.py --device cpu --peers      compare with other engines (requirements.txt), where installed
  python benchmarks/run.py --device cpu --layers     time each layer
  python benchmarks/run.py --device h200             on a GPU: fastalex, PyTorch where installed, and the layers
  python benchmarks/run.py --device tx2 --predict    print the per-layer roofline of a device
  python benchmarks/run.py --report                  write RESULTS.md and charts/ again from the committed results

Exit codes: 0; 1 if the engine's result is wrong or a measurement failed; 2 for what the caller can mend.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

import charts
import engines
import gpu_run
import gpu_table
import layer_times
import peers
import peers_table
import power
import results_table
import timing
from fastalex import devices, roofline, variants
from fastalex.errors import BackendError, UserError
from fastalex.layers import CPU_FC_STORAGES as FC_STORAGES
from fastalex.layers import FC_STORAGES as ALL_FC_STORAGES

SIMD = re.compile(r"^(sse4_2|ssse3|avx|avx2|fma|f16c|avx512\w*|avx_vnni|amx\w*|asimd\w*|sve\w*|bf16|i8mm|fphp)$")
Child = Callable[[str, Dict[str, Any]], Dict[str, Any]]


class WrongResultError(RuntimeError):
    """The tuned engine differs from the naive one by more than the tolerance."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    options = parse(argv)
    try:
        return dispatch(options)
    except (UserError, BackendError) as error:
        print("error: %s" % error, file=sys.stderr)
        return 2
    except (timing.ChildError, peers.EngineError, WrongResultError) as error:
        print("error: %s" % error, file=sys.stderr)
        return 1


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu (default), or the name of a file in devices/")
    parser.add_argument("--variants", nargs="+", default=list(results_table.VARIANTS), metavar="NAME")
    parser.add_argument(
        "--batches", nargs="+", type=int, metavar="N", help="default: 1 32; a GPU: 1 8 32 128; --predict: 1"
    )
    parser.add_argument("--fc-weights", nargs="+", choices=ALL_FC_STORAGES, help="default: all; with --layers: fp32")
    parser.add_argument("--threads", type=int, help="default: every CPU this process may use")
    parser.add_argument(
        "--peers", nargs="*", metavar="NAME", help="compare with these engines, or all (%s)" % ", ".join(engines.PEERS)
    )
    parser.add_argument("--layers", action="store_true", help="time each layer")
    parser.add_argument("--quick", action="store_true", help="few runs; written only where --output says")
    parser.add_argument("--output", type=Path, help="result file instead of results/cpu/<cpu>.json; leaves RESULTS.md")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--predict", action="store_true", help="print the roofline of --device; measures nothing")
    parser.add_argument("--card", help="with --predict: one card of the family")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--report", action="store_true", help="write RESULTS.md and charts/ from the committed results")
    return parser.parse_args(argv)


def dispatch(options: argparse.Namespace) -> int:
    """What the options ask for. :raises UserError: where they ask for what cannot be."""
    if options.report:
        return report()
    for name in options.variants:
        variants.get(name)
    if any(batch < 1 for batch in options.batches or ()):
        raise UserError("--batches must be above 0")
    if options.predict:
        return predict(options)
    if options.card:
        raise UserError("--card goes with --predict")
    if options.peers is not None and options.layers:
        raise UserError("give one of --peers and --layers")
    if options.device != "cpu":
        return measure_gpu(options)
    if "int4" in (options.fc_weights or ()):
        raise UserError("int4 weights are for a GPU; give --device, or others of --fc-weights")
    if options.peers is not None:
        return compare(options)
    return layers(options) if options.layers else measure(options)


def report() -> int:
    """Write RESULTS.md and the charts."""
    results_table.write_report()
    missing = charts.write(results_table.load_records())
    if missing:
        print(missing, file=sys.stderr)
    return 0


def compare(options: argparse.Namespace, tools: Optional[peers.Tools] = None) -> int:
    """Compare with the peers."""
    chosen = peers.choose(options.peers)
    if options.fc_weights:
        raise UserError("--fc-weights does not go with --peers, which compares all of them")
    base = setting(options)
    state = power.state(base["cpus"])
    one = peers.Comparison(chosen, base["cpus"], base["threads"], base["quick"], tools, say=to_stderr)
    one.run(options.variants, options.batches or results_table.BATCHES)
    record = make_record(base, one.rows)
    record["machine"].update(state=state, gpu=power.gpu())  # the state before, not after
    record.update(device=results_table.PEERS, cold=one.cold, packages=peers.packages(chosen))
    wrong = [row for row in one.rows if row["peer"] == "fastalex" and row["status"] != peers.OK]
    if wrong:
        raise WrongResultError("%(engine)s, %(variant)s, batch %(batch)d: %(note)s" % wrong[0])
    publish(record, options, peers_table.terminal(record))
    return 0


def layers(options: argparse.Namespace, tools: Optional[peers.Tools] = None) -> int:
    """Time the layers of each network, batch and kind of fully connected weights."""
    base = setting(options)
    rows = []
    for variant in options.variants:
        for batch in options.batches or results_table.BATCHES:
            for fc_weights in options.fc_weights or FC_STORAGES[:1]:
                spec = dict(base, variant=variant, batch=batch, fc_weights=fc_weights)
                to_stderr("%s, batch %d, fc weights %s: layers" % (variant, batch, fc_weights))
                row = (tools or peers.Tools()).once("layers", spec, timing.CHILD_TIMEOUT_S)
                row.update(variant=variant, batch=batch, fc_weights=fc_weights, state=power.state(base["cpus"]))
                rows.append(row)
    record = dict(make_record(base, rows), device=results_table.LAYERS)
    publish(record, options, layer_times.terminal(record))
    return 0


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def measure_gpu(options: argparse.Namespace, backend: str = "cuda", **tools: Any) -> int:
    """Measure the GPU of a device file."""
    gpu_run.check_options(options)
    place = gpu_run.find(options.device, backend)
    if place is None:
        refuse(options.device, devices.recognise(), engine_reason())
    one = gpu_run.Measurement(place, options.quick, options.fc_weights, say=to_stderr, **tools)
    one.run(options.variants, options.batches or gpu_run.BATCHES)
    if one.wrong():
        raise WrongResultError("%(engine)s, %(variant)s, batch %(batch)d: %(correctness)s" % one.wrong()[0])
    record = gpu_run.record(one, options.device, make_record(one.base, []))
    publish(record, options, gpu_table.terminal(record))
    return 0


def setting(options: argparse.Namespace) -> Dict[str, Any]:
    """Threads, the CPUs to pin to, and quick. :raises UserError: for more threads than there are CPUs."""
    cpus = timing.available_cpus()
    threads = len(cpus) or os.cpu_count() or 1 if options.threads is None else options.threads
    if threads < 1 or (cpus and threads > len(cpus)):
        raise UserError("--threads must be 1 to %d, the CPUs this process may use" % len(cpus))
    return {"threads": threads, "cpus": cpus[:threads], "quick": options.quick}


def refuse(name: str, found: devices.Recognition, reason: str) -> None:
    """A device is measured on itself, by an engine built for it.

    :raises UserError: always; the sentence says which of the two is missing.
    """
    device = devices.get(name)
    if found.device is None or found.device.name != name:
        here = "" if found.device is None else "it is %s, " % found.device.name
        raise UserError("this machine is not %s (%s): %s%s" % (name, device.title, here, found.reason))
    raise UserError("this is %s, but this version has no CUDA engine to measure: %s" % (device.title, reason))


def engine_reason() -> str:
    """Why there is no CUDA engine, as the native core tells it."""
    try:
        from fastalex import _core
    except ImportError as error:
        return "the native core is not built (%s)" % error
    for backend in _core.backends():
        if backend["name"] == "cuda":
            return str(backend["reason"] or "this script measures CPUs only")
    return "the native core knows no cuda backend"


def predict(options: argparse.Namespace) -> int:
    """Print the roofline of each card, variant and batch, layer by layer."""
    if options.device == "cpu":
        raise UserError(
            "--predict needs a device with a file in devices/ (there are: %s)" % ", ".join(devices.load_all())
        )
    device = devices.get(options.device)
    cards = [device.card(options.card)] if options.card else list(device.cards)
    found = [
        [roofline.roofline(variant, card, name, batch) for name in usable_precisions(card)]
        for card in cards
        for variant in options.variants
        for batch in options.batches or [1]
    ]
    if options.json:
        print(
            json.dumps({"predicted": True, "rooflines": [one.to_dict() for group in found for one in group]}, indent=1)
        )
    else:
        print("\n".join(prediction_text(group) for group in found))
    return 0


def usable_precisions(card: devices.Card) -> List[str]:
    return [name for name in roofline.PRECISIONS if roofline.math_peak_tflops(card, name) is not None]


def prediction_text(group: Sequence[roofline.Roofline]) -> str:
    """One table: a line a layer, a column a precision."""
    first = group[0]
    head = ["predicted ms"] + [one.precision for one in group]
    rows = []
    for index, layer in enumerate(first.layers):
        times = [one.layers[index] for one in group]
        rows.append([layer.name] + ["%.4f %s" % (time.ms, time.bound[0]) for time in times])
    rows.append(["total"] + ["%.4f  " % one.ms for one in group])
    rows.append(["images/s"] + ["%s  " % results_table.digits(one.images_per_s) for one in group])
    rows.append(["fc share"] + ["%.0f %% " % (100 * one.fc_share) for one in group])
    title = "predicted, not measured: %s, %s, batch %d (c: compute bound, m: memory bound)\n"
    missing = [name for name in roofline.PRECISIONS if name not in head]
    note = "not predicted: %s (the card's rate has no source)\n" % ", ".join(missing) if missing else ""
    return title % (first.card, first.variant, first.batch) + results_table.text_table(head, rows) + note


def measure(options: argparse.Namespace, child: Child = timing.run_child) -> int:
    """Measure this CPU. A wrong result ends the run: that case is not timed, and nothing is written."""
    base = setting(options)
    rows: List[Dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fastalex-bench-") as folder:
        for variant in options.variants:
            weights = os.path.join(folder, variant + ".safetensors")
            spec = dict(base, variant=variant, weights=weights, batch=1, fc_weights="fp32")
            child("save", spec)
            batches = options.batches or results_table.BATCHES
            for fc_weights in options.fc_weights or FC_STORAGES:
                rows += measure_variant(dict(spec, fc_weights=fc_weights), batches, child)
            if os.path.exists(weights):
                os.unlink(weights)  # 244 MB each
    record = make_record(base, rows)
    publish(record, options, results_table.measured_section(record))
    return 0


def measure_variant(spec: Dict[str, Any], batches: Sequence[int], child: Child) -> List[Dict[str, Any]]:
    """The rows of one network with one kind of fully connected weights: correctness first, then the times.

    :raises WrongResultError: if the engine's result is not that of the naive backend.
    """
    rows = []
    for batch in batches:
        one = dict(spec, batch=batch)
        row = {"variant": spec["variant"], "fc_weights": spec["fc_weights"], "batch": batch, "threads": spec["threads"]}
        row["correctness"] = child("correct", one)
        if not row["correctness"]["ok"]:
            raise WrongResultError(
                "%(variant)s with fc weights %(fc_weights)s, batch %(batch)d: " % row
                + "max|difference| to the naive backend is %(max_abs_diff).3g, " % row["correctness"]
                + "allowed %(tolerance).3g (max|reference| %(max_abs_reference).3g)" % row["correctness"]
            )
        row.update(child("time", one))
        row["cold"] = timing.measure_cold(one, child) if batch == 1 else None
        rows.append(row)
        print(
            "%(variant)s, fc weights %(fc_weights)s, batch %(batch)d: %(median_ms).2f ms "
            "(p10 %(p10_ms).2f, p90 %(p90_ms).2f), %(images_per_s).1f images/s" % row,
            file=sys.stderr,
        )
    return rows


def make_record(base: Dict[str, Any], rows: List[Dict[str, Any]]) -> Dict[str, Any]:
    """The result file: what was measured, where, and with what."""
    import fastalex
    from fastalex import _core

    cpu = devices.cpu()
    clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", devices.read_text("/proc/cpuinfo") or "", re.MULTILINE)
    return {
        "schema": 1,
        "device": "cpu",
        "title": cpu.model,
        "quick": base["quick"],
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": {
            "cores": cpu.cores,
            "architecture": cpu.machine,
            "simd": sorted(flag for flag in cpu.isa if SIMD.match(flag)),
            "isa": str(_core.cpu_isa()),
            "clock_mhz": max(map(float, clocks)) if clocks else None,
            "threads": base["threads"],
            "pinned_cpus": ", ".join(map(str, base["cpus"])),
            "state": power.state(base["cpus"]),
            "os": operating_system(),
        },
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "fastalex": str(getattr(fastalex, "__version__", "unknown")),
            "build": {key: str(value) for key, value in _core.build_info().items()},
        },
        "rows": rows,
    }


def operating_system() -> str:
    """The distribution and the kernel."""
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', devices.read_text("/etc/os-release") or "", re.MULTILINE)
    kernel = "%s %s" % (platform.system(), platform.release())
    return "%s, %s" % (named.group(1), kernel) if named else kernel


def publish(record: Dict[str, Any], options: argparse.Namespace, shown: str) -> None:
    """Print the record and write it where the options say."""
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    print(text if options.json else shown, end="")
    if options.no_write or (options.quick and not options.output):
        return
    path = options.output or results_table.RESULTS / record["device"] / (results_table.slug(record["title"]) + ".json")
    results_table.write_atomically(path, text)
    if not options.output:
        results_table.write_report()


if __name__ == "__main__":
    sys.exit(main())
