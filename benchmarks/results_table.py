"""benchmarks/RESULTS.md from the JSON files under benchmarks/results/ and the device files. Nothing in it is typed."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from fastalex.errors import UserError
from fastalex.hardware import devices, roofline

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
REPORT = HERE / "RESULTS.md"

HEAD = (
    "AlexNet image classification | Nano (optimized) | TX2 (optimized) | RTX (optimized) | GTX-1650 (optimized)",
    "--- | --- | --- | --- | ---",
)
COLUMNS = (("nano",), ("tx2",), ("rtx20", "rtx30", "rtx40", "rtx50"), ("gtx1650",))
VARIANTS = ("alexnet2012", "torchvision")
BATCHES = (1, 32)
CPU_BATCHES = (1, 8, 32)
# Results of run.py --peers and --layers have folders, rows and sections of their own.
PEERS, LAYERS = "peers", "layers"
LAYER_KEYS = ("variant", "batch", "fc_weights", "layers", "total_ms", "limits")
ROW_KEYS = ("variant", "batch", "fc_weights", "median_ms", "p10_ms", "p90_ms", "images_per_s", "correctness")


def load_records(folder: Path = RESULTS) -> List[Dict[str, Any]]:
    """Every result file under ``folder``, in the order of their paths.

    :raises UserError: for a file that is no result record.
    """
    records = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            missing = [key for key in ("device", "title", "machine", "versions", "rows") if key not in record]
            missing += [key for row in record["rows"] for key in _row_keys(record["device"]) if key not in row]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError("%s is not a result file: %s" % (path, error)) from None
        if missing:
            raise UserError("%s is not a result file: it has no %s" % (path, missing[0]))
        if record["device"] != path.parent.name:
            raise UserError(
                "%s says device %s, so it belongs in results/%s" % (path, record["device"], record["device"])
            )
        records.append(record)
    return records


def _row_keys(device: str) -> Sequence[str]:
    if device == PEERS:
        import peers_table

        return peers_table.ROW_KEYS
    return LAYER_KEYS if device == LAYERS else ROW_KEYS


def render(records: Sequence[Dict[str, Any]]) -> str:
    """The whole of RESULTS.md."""
    import charts
    import gpu_table
    import layer_times
    import peers_table

    own = [record for record in records if record["device"] not in (PEERS, LAYERS)]
    parts = [_targets(own)]
    parts += [gpu_table.section(one) if gpu_table.is_gpu(one) else measured_section(one) for one in own]
    for record in records:
        if record["device"] == PEERS:
            parts.append(peers_table.section(record, "%s/%s.svg" % (charts.FOLDER.name, charts.name(record))))
    parts += [layer_times.section(record) for record in records if record["device"] == LAYERS]
    parts += [_predictions(variant) for variant in VARIANTS]
    return "".join(parts)


def write_report(folder: Path = RESULTS, path: Path = REPORT) -> None:
    """Render ``folder`` into ``path``."""
    write_atomically(path, render(load_records(folder)))


def slug(name: str) -> str:
    """A processor's name as a file name."""
    words = re.sub(r"\((r|tm|c)\)|@.*|\bcpu\b|\bprocessor\b", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "cpu"


def file_name(record: Mapping[str, Any]) -> str:
    """The name of a record's files, without a suffix: processors of one name differ in their instruction sets."""
    name = slug(record["title"])
    return "%s-%s" % (name, record["machine"]["isa"]) if record["device"] in ("cpu", PEERS, LAYERS) else name


def replace_between(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the lines ``<!-- begin name -->`` and ``<!-- end name -->`` of a document that has them."""
    start, end = ("<!-- %s %s -->" % (word, name) for word in ("begin", "end"))
    head, found, rest = path.read_text(encoding="utf-8").partition(start)
    if found:
        write_atomically(path, "%s%s\n\n%s\n%s%s" % (head, start, text, end, rest.partition(end)[2]))


def write_atomically(path: Path, text: Union[str, bytes]) -> None:
    """Write to a temporary name in the same folder, then rename; a reader sees the old file or the new one.

    :raises UserError: if the folder cannot be written.
    """
    temporary: Optional[str] = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=str(path.parent), prefix=path.name + ".")
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8") if isinstance(text, str) else text)
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, str(path))
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise UserError("cannot write %s: %s" % (path, error.strerror or error)) from None


def digits(value: Optional[float]) -> str:
    """Three significant digits (all of them from 100 up) without an exponent; empty for None."""
    if value is None:
        return ""
    return "%.0f" % value if abs(value) >= 99.95 else "%#.3g" % value


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; all but the first ``left`` columns are aligned right."""
    lines = [list(head), ["---" if index < left else "---:" for index in range(len(head))]]
    lines += [list(row) for row in rows]
    return "\n".join("| %s |" % " | ".join(line) for line in lines) + "\n"


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same for a terminal: columns padded with spaces, the first aligned left."""
    lines = [list(head)] + [list(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = (
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in pairs)
        for pairs in (list(enumerate(zip(line, widths))) for line in lines)
    )
    return "\n".join(line.rstrip() for line in padded) + "\n"


def _targets(records: Sequence[Dict[str, Any]]) -> str:
    lines = list(HEAD)
    for variant in VARIANTS:
        for batch in BATCHES:
            cells = [_best_cell(records, names, variant, batch) for names in COLUMNS]
            lines.append("| %s, batch %d (ms, images/s) | %s |" % (variant, batch, " | ".join(cells)))
    return (
        "\n".join(lines)
        + "\n\nMeasured figures only; a blank cell has not been measured. Every figure comes from a JSON file under"
        + ' `benchmarks/results/`\nor, in the tables headed "predicted", from `devices/*.toml`;'
        + " `python benchmarks/run.py --report` writes this file.\n"
    )


def _best_cell(records: Sequence[Dict[str, Any]], names: Sequence[str], variant: str, batch: int) -> str:
    found = [
        (row["median_ms"], record["title"], row)
        for record in records
        if record["device"] in names and not record.get("quick")
        for row in record["rows"]
        if (row["variant"], row["batch"]) == (variant, batch)
    ]
    if not found:
        return ""
    _, title, row = min(found, key=lambda one: one[:2])
    figures = "%s ms, %s images/s" % (digits(row["median_ms"]), digits(row["images_per_s"]))
    return "%s (%s, fc %s)" % (figures, title, row["fc_weights"])


def measured_section(record: Dict[str, Any]) -> str:
    """The tables of one result file: times, memory and errors, then the cold starts."""
    head = ["network", "precision", "fc weights", "threads", "batch", "median ms", "p10", "p90", "images/s", "peak MiB"]
    head += ["max error / tolerance", "quantisation error"]
    rows = []
    for row in record["rows"]:
        correctness = row["correctness"]
        figures = [row[key] for key in ("median_ms", "p10_ms", "p90_ms", "images_per_s", "peak_rss_mib")]
        figures += [correctness["max_abs_diff"] / correctness["tolerance"], correctness.get("quantisation_error")]
        rows.append([*_mode(row), str(row["threads"]), str(row["batch"]), *map(digits, figures)])
    family = "CPU" if record["device"] == "cpu" else devices.get(record["device"]).title
    text = "\n## %s, measured: %s\n\n%s\n\n" % (family, record["title"], machine_line(record))
    text += (
        "p10 and p90: ms, 10th and 90th percentile. Peak MiB: resident memory of a process that does only this,\n"
        "the mapped weights file included. Max error: to the naive backend, which sums in double.\n"
        "Quantisation error: max difference to the output in fp32 with fp32 weights over its maximum.\n\n"
    )
    text += table(head, rows, left=3)
    cold = [row for row in record["rows"] if row.get("cold")]
    if cold:
        text += (
            "\nCold process, start to first result (median of %d; weights file in the page cache):\n\n"
            % (cold[0]["cold"]["repeats"])
        )
        keys = ("total_ms", "start_ms", "import_ms", "build_ms", "first_run_ms", "peak_rss_mib")
        names = (
            "network",
            "precision",
            "fc weights",
            "total ms",
            "interpreter",
            "import",
            "load and build",
            "first run",
            "peak MiB",
        )
        cells = [_mode(row) + [digits(row["cold"][key]) for key in keys] for row in cold]
        text += table(names, cells, left=3)
    return text


def _mode(row: Dict[str, Any]) -> List[str]:
    """Network, precision and fully connected weights; records of schema 1 knew one precision only."""
    return [row["variant"], row.get("precision", "fp32"), row["fc_weights"]]


def machine_line(record: Dict[str, Any]) -> str:
    """One paragraph: versions, system, compiler, threads and where they were pinned."""
    machine, versions = record["machine"], record["versions"]
    pinned, counts = machine.get("pinned_cpus"), machine.get("thread_counts") or [machine["threads"]]
    parts = [
        "fastalex %s, Python %s, numpy %s" % (versions["fastalex"], versions["python"], versions["numpy"]),
        machine["os"],
        "%s threads %s" % (" and ".join(map(str, counts)), "pinned to CPUs %s" % pinned if pinned else "not pinned"),
        "engine ISA %s" % machine["isa"],
        "compiler %s" % versions["build"].get("compiler", "unknown"),
        "measured %s" % record["date"],
    ]
    return "; ".join(parts) + ("; **quick run, not for comparison**" if record.get("quick") else "") + "."


def _predictions(variant: str) -> str:
    head = ["predicted ms a batch"]
    head += ["batch %d %s" % (batch, name) for batch in BATCHES for name in roofline.PRECISIONS]
    rows = []
    for device in devices.load_all().values():
        for card in device.cards:
            rows.append(
                [card.name]
                + [_predicted_cell(variant, card, name, batch) for batch in BATCHES for name in roofline.PRECISIONS]
            )
    return (
        "\n## Predicted, not measured: %s\n\n" % variant
        + "Roofline floors: per layer the slower of arithmetic at peak and memory at full bandwidth, summed; what is"
        + " counted stands in\n`python/fastalex/hardware/roofline.py`. int8 and int4 are the fully connected weights only."
        + " Blank: the card's rate has no source.\n\n"
        + table(head, rows)
    )


def _predicted_cell(variant: str, card: devices.Card, precision: str, batch: int) -> str:
    if roofline.math_peak_tflops(card, precision) is None:
        return ""
    return digits(roofline.roofline(variant, card, precision, batch).ms)
