#!/usr/bin/env python3
"""Measure AlexNet on this machine, or predict it for a device.

  python benchmarks/run.py --device cpu              measure, write results/cpu/<cpu>.json and RESULTS.md
  python benchmarks/run.py --device cpu --peers      compare with other engines (requirements.txt), where installed
  python benchmarks/run.py --device cpu --peers --quick    only with the fastest of each class, in under 3 minutes
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
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

import charts
import engines
import gpu_run
import gpu_table
import layer_times
import limits
import peers
import peers_table
import power
import results_table
import timing
from fastalex import variants
from fastalex.errors import BackendError, UserError
from fastalex.hardware import devices, roofline
from fastalex.runtime.precisions import FC_STORAGES as GPU_FC_STORAGES

SIMD = re.compile(r"^(sse4_2|ssse3|avx|avx2|fma|f16c|avx512\w*|avx_vnni|amx\w*|asimd\w*|sve\w*|bf16|i8mm|fphp)$")
ALL_FC_STORAGES = tuple(dict.fromkeys((*GPU_FC_STORAGES, *(fc_weights for _, fc_weights in engines.MODES))))
PRECISIONS = tuple(dict.fromkeys(precision for precision, _ in engines.MODES))
LAYER_MODES = (("fp32", "fp32"), ("bf16", "int8"), ("int8", "int8"))
QUICK_PEER_BATCHES = (1, 32)
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
        "--batches",
        nargs="+",
        type=int,
        metavar="N",
        help="default: 1 8 32; --quick: 1 32; a GPU: 1 8 32 128; --predict: 1",
    )
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, help="of a CPU; default: all")
    parser.add_argument(
        "--fc-weights", nargs="+", choices=ALL_FC_STORAGES, help="default: all; with --layers: one each"
    )
    parser.add_argument(
        "--threads",
        nargs="+",
        type=int,
        metavar="N",
        help="default: every CPU this process may use; with --peers (not --quick) and --layers also 1",
    )
    parser.add_argument(
        "--peers", nargs="*", metavar="NAME", help="compare with these engines, or all (%s)" % ", ".join(engines.PEERS)
    )
    parser.add_argument(
        "--cold", action="store_true", help="with --peers: fastalex's cold processes alone, into the committed result"
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
    if options.cold and (options.peers is None or options.quick):
        raise UserError("--cold goes with --peers, and not with --quick")
    if options.peers is not None and options.layers:
        raise UserError("give one of --peers and --layers")
    if options.device != "cpu":
        if options.precisions:
            raise UserError("--precisions is for the CPU; on a GPU give --fc-weights")
        return measure_gpu(options)
    if options.peers is not None:
        return cold_again(options) if options.cold else compare(options)
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
    if options.fc_weights or options.precisions:
        raise UserError("--fc-weights and --precisions do not go with --peers, which compares all of them")
    base = setting(options, () if options.quick else (1,))
    if options.quick and not options.peers:
        chosen = peers.fastest(committed(results_table.PEERS), batches(options), base["counts"])
    else:
        chosen = peers.choose(options.peers)
    state = power.state(base["cpus"])
    one = peers.Comparison(chosen, base["cpus"], base["counts"], base["quick"], tools, say=to_stderr)
    one.run(options.variants, batches(options))
    record = make_record(base, one.rows)
    record["machine"].update(state=state, gpu=power.gpu())  # the state before, not after
    record.update(device=results_table.PEERS, cold=one.cold, packages=peers.packages(chosen))
    record.update(limits=one.limits, steps=one.steps, without_limits=one.without_limits)
    wrong = [row for row in one.rows if row["peer"] == "fastalex" and row["status"] != peers.OK]
    if wrong:
        raise WrongResultError("%(engine)s, %(variant)s, batch %(batch)d: %(note)s" % wrong[0])
    publish(record, options, (peers_table.quick if options.quick else peers_table.terminal)(record))
    return 0


def cold_again(options: argparse.Namespace, tools: Optional[peers.Tools] = None) -> int:
    """Measure fastalex's cold processes again; they take no part in the ratios, which stay."""
    record = committed(results_table.PEERS)
    if record is None:
        raise UserError("there is no comparison of this processor yet; run --peers without --cold first")
    base = setting(options, (1,))
    own = [engine for engine in peers.choose(()) if engine.peer == "fastalex"]
    one = peers.Comparison(own, base["cpus"], base["counts"], False, tools, say=to_stderr)
    one.run_cold(options.variants)
    again = {(row["variant"], row["engine"]): row for row in one.cold}
    record["cold"] = [again.get((row["variant"], row["engine"]), row) for row in record["cold"]]
    publish(record, options, peers_table.terminal(record))
    return 0


def committed(device: str) -> Optional[Dict[str, Any]]:
    """The record in results/ of this very processor and instruction set, if there is one."""
    from fastalex import _core

    this = (device, devices.cpu().model, str(_core.cpu_isa()))
    records = results_table.load_records()
    found = [one for one in records if (one["device"], one["title"], one["machine"].get("isa")) == this]
    return found[-1] if found else None


def batches(options: argparse.Namespace) -> Sequence[int]:
    return options.batches or (QUICK_PEER_BATCHES if options.quick else results_table.CPU_BATCHES)


def modes(options: argparse.Namespace, default: Sequence[Tuple[str, str]]) -> List[Tuple[str, str]]:
    """The (precision, fully connected weights) that the options ask for: those of ``default``, or where the options
    name any, all that there are of them.

    :raises UserError: if they ask for what there is not.
    """
    if not options.precisions and not options.fc_weights:
        return list(default)
    found = [
        (precision, fc_weights)
        for precision, fc_weights in engines.MODES
        if precision in (options.precisions or PRECISIONS)
        and (not options.fc_weights or fc_weights in options.fc_weights)
    ]
    if not found:
        there = ", ".join("%s with %s" % mode for mode in engines.MODES)
        raise UserError("the CPU has no such precision with such --fc-weights (there are: %s)" % there)
    return found


def layers(options: argparse.Namespace, tools: Optional[peers.Tools] = None) -> int:
    """Time the layers of each network, batch, number of threads, precision and kind of fully connected weights."""
    chosen = modes(options, LAYER_MODES)
    base = setting(options, (1,))
    tools = tools or peers.Tools()
    rows = []
    reason = None
    for variant in options.variants:
        for threads in base["counts"]:
            for batch in batches(options):
                for precision, fc_weights in chosen:
                    spec = dict(base, variant=variant, batch=batch, precision=precision, fc_weights=fc_weights)
                    spec.update(threads=threads, cpus=base["cpus"][:threads])
                    name = engines.mode_name(precision, fc_weights)
                    to_stderr("%s, %s, batch %d, threads %d: layers" % (variant, name, batch, threads))
                    try:
                        runs = [tools.limits(spec["cpus"], threads, base["quick"])] if reason is None else []
                    except limits.NoLimitsError as error:
                        runs, reason = [], str(error)
                        to_stderr(reason)
                    row = tools.once("layers", dict(spec, limits=limits.combine(runs)), timing.CHILD_TIMEOUT_S)
                    row.update((key, spec[key]) for key in layer_times.CASE)
                    row.update(state=power.state(base["cpus"]))
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


def setting(options: argparse.Namespace, also: Sequence[int] = ()) -> Dict[str, Any]:
    """Numbers of threads (``counts``; ``threads`` is the highest), the CPUs to pin to, and quick.

    :param also: numbers that belong to the default, which is one thread on each CPU.
    :raises UserError: for more threads than there are CPUs.
    """
    cpus = timing.available_cpus()
    counts = options.threads or [*also, len(cpus) or os.cpu_count() or 1]
    if min(counts) < 1 or (cpus and max(counts) > len(cpus)):
        raise UserError("--threads must be 1 to %d, the CPUs this process may use" % len(cpus))
    counts = sorted(set(counts))
    return {"counts": counts, "threads": counts[-1], "cpus": cpus[: counts[-1]], "quick": options.quick}


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
    wanted = engines.CLASSES if options.quick else engines.MODES.values()
    chosen = modes(options, [mode for mode, numeric_class in engines.MODES.items() if numeric_class in wanted])
    base = setting(options)
    rows: List[Dict[str, Any]] = []
    for variant in options.variants:
        with tempfile.TemporaryDirectory(prefix="fastalex-bench-") as folder:
            spec = dict(base, variant=variant, folder=folder, batch=1, precision="fp32", fc_weights="fp32")
            child("save", spec)
            written = {engines.WEIGHTS}
            for precision, fc_weights in chosen:
                file = engines.weights_file(precision, fc_weights)
                one = dict(spec, precision=precision, fc_weights=fc_weights, weights=os.path.join(folder, file))
                if file not in written:
                    child("quantise", one)
                    written.add(file)
                for threads in base["counts"]:
                    pinned = dict(one, threads=threads, cpus=base["cpus"][:threads])
                    rows += measure_variant(pinned, batches(options), child)
    record = make_record(base, rows)
    publish(record, options, results_table.measured_section(record))
    return 0


def measure_variant(spec: Dict[str, Any], batches: Sequence[int], child: Child) -> List[Dict[str, Any]]:
    """The rows of one network in one precision with one kind of fully connected weights: correctness first, then times.

    :raises WrongResultError: if the engine's result is not that of the naive backend.
    """
    rows = []
    for batch in batches:
        one = dict(spec, batch=batch)
        row = {key: one[key] for key in ("variant", "precision", "fc_weights", "batch", "threads")}
        row["correctness"] = child("correct", one)
        if not row["correctness"]["ok"]:
            raise WrongResultError(
                "%(variant)s in %(precision)s with fc weights %(fc_weights)s, batch %(batch)d: " % row
                + "max|difference| to the naive backend is %(max_abs_diff).3g, " % row["correctness"]
                + "allowed %(tolerance).3g (max|reference| %(max_abs_reference).3g)" % row["correctness"]
            )
        row.update(child("time", one))
        row["cold"] = timing.measure_cold(one, child) if batch == 1 else None
        rows.append(row)
        print(
            "%(variant)s, %(precision)s, fc weights %(fc_weights)s, batch %(batch)d: %(median_ms).2f ms "
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
        "schema": 2,
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
            "thread_counts": base.get("counts", [base["threads"]]),
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
    path = options.output or results_table.RESULTS / record["device"] / (results_table.file_name(record) + ".json")
    results_table.write_atomically(path, text)
    if not options.output:
        results_table.write_report()


if __name__ == "__main__":
    sys.exit(main())
