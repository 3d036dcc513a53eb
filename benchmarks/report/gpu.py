"""Tables of one GPU's result file, for the terminal and for the page of a machine."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks import records
from benchmarks.numeric_classes import GPU_CLASSES
from benchmarks.report.machine import measured
from benchmarks.report.markdown import digits, table, text_table
from fastalex import variants
from fastalex.hardware import devices
from fastalex.hardware.roofline import PRECISIONS

HEAD = ["network", "batch", "class", "engine", "median ms", "p10", "p90", "images/s", "L2 cold ms", "latency ms"]
HEAD += ["max error / tolerance", "quantization error", "note"]


def is_gpu(record: Mapping[str, Any]) -> bool:
    """Whether a result file is of this kind."""
    return "gpu" in record["machine"]


def comparison(record: Mapping[str, Any]) -> List[List[str]]:
    """A line for each row; engines of one class of numbers stand together, the quickest first."""
    rows = [*record["rows"], *record.get("failed", ()), *record["peers"]]
    order = {name: index for index, name in enumerate(GPU_CLASSES)}
    rows.sort(key=lambda row: (row["variant"], row["batch"], order[row["numeric_class"]], row.get("median_ms") or 1e9))
    return [_line(row) for row in rows]


def _line(row: Mapping[str, Any]) -> List[str]:
    correct: Mapping[str, Any] = row.get("correctness") or {}
    share = correct["max_abs_diff"] / correct["tolerance"] if correct.get("tolerance") else None
    figures = [row.get(key) for key in ("median_ms", "p10_ms", "p90_ms", "images_per_s")]
    figures += [(row.get("l2_cold") or {}).get("median_ms"), row.get("latency_ms")]
    note = row.get("note") or ("" if row["status"] == "ok" else row["status"])
    start = [row["variant"], str(row["batch"]), row["numeric_class"], row["engine"]]
    return [*start, *map(digits, figures), digits(share), digits(correct.get("quantisation_error")), note]


def layer_rows(row: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Each layer's ms, TFLOPS and GB/s, and percent of the ceiling that binds it; None without probes."""
    found = []
    for layer in variants.get(row["variant"]).layers():
        if layer.name not in row["layers"]:
            continue
        ms = row["layers"][layer.name]
        entry: Dict[str, Any] = {"layer": layer.name, "ms": ms, "tflops": None, "gb_s": None, "percent": None}
        entry["bound"] = ""
        if layer.macs and ms > 0:
            flop, moved = 2.0 * layer.macs * row["batch"], bytes_moved(layer, row)
            entry.update(tflops=flop / ms / 1e9, gb_s=moved / ms / 1e6)
            entry["bound"], entry["percent"] = share_of_ceiling(row, flop, moved, ms)
        found.append(entry)
    return found


def bytes_moved(layer: Any, row: Mapping[str, Any]) -> float:
    """Weights once, inputs and outputs of each image once."""
    size = PRECISIONS[row["precision"]].conv_bytes
    inputs = 1
    for side in layer.in_shape:
        inputs *= side
    weights = layer.params * (PRECISIONS[row["fc_weights"]].fc_bytes if layer.op == "fc" else size)
    return weights + row["batch"] * (inputs + layer.activation_count) * size


def share_of_ceiling(row: Mapping[str, Any], flop: float, moved: float, ms: float) -> Tuple[str, Optional[float]]:
    """Which of the measured ceilings binds, and how near it the time is."""
    peaks = row.get("peaks")
    if not peaks:
        return "", None
    math_ms = flop / peaks[f"{row['precision']}_tflops"] / 1e9
    memory_ms = moved / peaks["gb_s"] / 1e6
    return ("math" if math_ms >= memory_ms else "memory"), 100 * max(math_ms, memory_ms) / ms


def layer_tables(record: Mapping[str, Any]) -> List[Tuple[List[str], List[List[str]]]]:
    """Head and lines of each row's layers."""
    tables = []
    for row in record["rows"]:
        if not row.get("layers"):
            continue
        head = [f"{row['variant']}, {row['engine']}, batch {row['batch']}", "ms", "TFLOPS", "GB/s", "%", "of"]
        lines = [
            [one["layer"], *(digits(one[key]) for key in ("ms", "tflops", "gb_s", "percent")), one["bound"]]
            for one in layer_rows(row)
        ]
        tables.append((head, [*lines, ["total", digits(sum(row["layers"].values())), "", "", "", ""]]))
    return tables


def machine_line(record: Mapping[str, Any]) -> str:
    """GPU, driver, clocks and versions."""
    machine, versions = record["machine"], record["versions"]
    gpu: Mapping[str, Any] = machine["gpu"]
    parts = [f"{gpu['name']}, {gpu['sms']} SMs, CUDA driver {gpu['driver']}, runtime {gpu['runtime']}"]
    if machine.get("smi"):
        said = machine["smi"]
        parts.append(
            "driver {}, SM clock {} of {} MHz".format(
                *tuple(said[key] for key in ("driver_version", "clocks.sm", "clocks.max.sm"))
            )
        )
    if versions.get("torch"):
        parts.append("PyTorch {torch}, CUDA {cuda}, cuDNN {cudnn}".format(**versions))
    parts += [f"fastalex {versions['fastalex']}", machine["os"], measured(record)]
    text = "; ".join(parts) + ("; **quick run, not for comparison**" if record.get("quick") else "") + "."
    if record["peaks"]:
        text += " Ceilings, by PyTorch: {gb_s:.0f} GB/s, {fp32_tflops:.1f} TFLOPS fp32, {fp16_tflops:.1f} fp16.".format(
            **record["peaks"]
        )
    if record["peers_missing"]:
        text += f" PyTorch was not measured: {record['peers_missing']}."
    return text


def terminal(record: Mapping[str, Any]) -> str:
    """What run.py prints."""
    parts = [machine_line(record) + "\n", text_table(HEAD, comparison(record))]
    parts += [text_table(head, lines) for head, lines in layer_tables(record)]
    return "\n".join(parts)


def section(record: Mapping[str, Any]) -> str:
    """The Markdown of one record."""
    title = devices.get(record["device"]).title
    text = f"\n## {title}, measured: {record['title']}\n\n{machine_line(record)}\n\n"
    text += (
        "Input and output stay on the GPU; PyTorch gets its input in the layout and precision that suit it. L2\n"
        "cold: twice the size of the L2 cache is overwritten before each call. Latency: host clock, from a call\n"
        "on an idle GPU to its end. Other times are by {}. Max error: against the naive backend, which sums in\n"
        "double, with the weights as they are kept. Quantization error: max difference from the fp32 weights'\n"
        "output, over its maximum.\n\n"
    ).format(clock_note([*record["rows"], *record["peers"]]))
    text += table(HEAD, comparison(record), left=4)
    text += (
        "\nLayers of fastalex by its own events. An activation is part of the layer before it, a normalization\n"
        "that is done together with a pool is part of the pool.\n"
    )
    for head, lines in layer_tables(record):
        text += "\n" + table(head, lines)
    return text


def clock_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the times were taken with."""
    names = sorted({str(row["clock"]) for row in rows if row.get("clock")})
    note = " and ".join(names) or records.EVENTS
    return note + (", which includes waiting for the GPU" if records.HOST in names else "")
