"""benchmarks/RESULTS.md: on one screen what was measured, and where the rest stands."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence, Tuple

from benchmarks import contributed, ranking, records
from benchmarks.numeric_classes import CLASSES, mode_name
from benchmarks.report import density
from benchmarks.report import targets as targets_text
from benchmarks.report.markdown import digits, table

#: Contributed results with the names of their files.
Contributions = Sequence[Tuple[str, Dict[str, Any]]]
CASES = tuple((variant, batch) for variant in records.VARIANTS for batch in (1, 32))
#: Of the modes (precision, fully connected weights) those that the first table has.
MODES = (("fp32", "fp32"), ("fp32", "int8"), ("bf16", "int8"), ("fp16", "fp16"), ("fp16", "int8"), ("int8", "int8"))
#: The columns of the table of devices, and the device files of each.
COLUMNS = {
    "Nano (optimized)": ("nano",),
    "TX2 (optimized)": ("tx2",),
    "RTX (optimized)": ("rtx20", "rtx30", "rtx40", "rtx50"),
    "GTX-1650 (optimized)": ("gtx1650",),
}
BLANK = "not measured"
#: Where the pages of RESULTS.md are, from there.
RESULTS, CONTRIBUTED, PREDICTED = "results/%s.md", "results/contributed.md", "predicted/roofline.md"
INTRODUCTION = """\
# Results

Measured, or marked as predicted. `python benchmarks/run.py report` writes this page and those it links to from the
files in `benchmarks/results/`, `benchmarks/contributed/` and `devices/`; nothing is typed in by hand.
"""
FURTHER = """
## More

- [Accuracy of each precision](../docs/accuracy.md), [JetBot and read-outs beside PyTorch](../docs/clients-results.md),
  [LPIPS beside the package `lpips`](../docs/lpips.md#measured)
- [Predictions for every device](%s): roofline floors, nothing measured
"""


def render(found: Sequence[Dict[str, Any]], shared: Contributions = ()) -> str:
    """The whole page."""
    own = [record for record in found if record["device"] not in (records.PEERS, records.LAYERS)]
    parts = [INTRODUCTION, _times(own)]
    parts += [_peers(record) for record in found if record["device"] == records.PEERS]
    parts += [_devices(own, shared), FURTHER % PREDICTED]
    if shared:
        parts.append(f"- [Contributed]({CONTRIBUTED}): every figure of boards that others measured\n")
    return "".join(parts)


def title(record: Mapping[str, Any]) -> str:
    """The machine's name, of a CPU with its instruction set."""
    if record["device"] not in ("cpu", records.PEERS, records.LAYERS):
        return str(record["title"])
    return f"{record['title']} ({record['machine']['isa']})"


def _times(own: Sequence[Dict[str, Any]]) -> str:
    """The table of fastalex alone: a line for each machine and mode."""
    lines = []
    for record in own:
        if record.get("quick"):
            continue
        name = f"[{title(record)}]({RESULTS % records.file_name(record)})"
        for mode in MODES:
            cells = [_time([row for row in record["rows"] if _is(row, case, mode)]) for case in CASES]
            if any(cells):
                lines.append([name, mode_name(*mode), *cells])
                name = ""
    if not lines:
        return "\nNothing is measured yet.\n"
    head = ["machine", "precision", *("%s, batch %d" % case for case in CASES)]
    return "\n## fastalex\n\nMilliseconds for a batch, and images per second.\n\n" + table(head, lines, left=2)


def _is(row: Mapping[str, Any], case: Tuple[str, int], mode: Tuple[str, str]) -> bool:
    return (row["variant"], row["batch"]) == case and (row["precision"], row["fc_weights"]) == mode


def _time(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    best = min(rows, key=lambda row: row["median_ms"])
    return f"{digits(best['median_ms'])} ms, {digits(best['images_per_s'])}/s"


def _peers(record: Mapping[str, Any]) -> str:
    """How many times as long the fastest other engine takes, by class of arithmetic, with the most threads."""
    most = ranking.counts(record["rows"])[0]
    verdicts = [one for one in targets_text.verdicts(record) if one["threads"] == most and one["ratio"]]
    found = {(one["numeric_class"], one["variant"], one["batch"]): one for one in verdicts}
    lines = []
    for numeric_class in CLASSES:
        ones = [found.get((numeric_class, *case)) for case in CASES]
        cells = [f"{one['ratio']:.2f} ({one['peer']})" if one else "" for one in ones]
        if any(cells):
            lines.append([numeric_class, *cells])
    text = f"\n## Other engines: {title(record)}\n\n"
    text += "How many times as long as fastalex the fastest other engine takes, in the same class of arithmetic on\n"
    page = RESULTS % records.file_name(record)
    text += f"the same CPUs (threads: {most}). {targets_text.count(record)}; [every engine]({page}).\n"
    counted = density.sentence(record, 1)
    text += f"{counted}\n\n" if counted else "\n"
    return text + table(["class", *("%s, batch %d" % case for case in CASES)], lines)


def _devices(own: Sequence[Dict[str, Any]], shared: Contributions) -> str:
    """The best figure of each kind of device."""
    lines = []
    for variant, batch in CASES:
        cells = [best_cell(own, shared, names, variant, batch) or BLANK for names in COLUMNS.values()]
        lines.append([f"{variant}, batch {batch}", *cells])
    text = "\n## Devices\n\n" + table(["AlexNet image classification", *COLUMNS], lines)
    if any(BLANK in line for line in lines):
        text += "\nIf you have one of these, [two commands fill its column](../docs/measure-your-board.md).\n"
    return text


def best_cell(
    own: Sequence[Dict[str, Any]], shared: Contributions, names: Sequence[str], variant: str, batch: int
) -> str:
    """The fastest result of the devices ``names``, and whose it is; empty without any."""
    sources = [(record, "") for record in own if not record.get("quick")]
    sources += [(one, f", [contributed]({contributed.FOLDER.name}/{name})") for name, one in shared]
    found = [
        (row["median_ms"], record["title"], note, row)
        for record, note in sources
        if record["device"] in names
        for row in record["rows"]
        if (row["variant"], row["batch"]) == (variant, batch)
    ]
    if not found:
        return ""
    _, card, note, row = min(found, key=lambda one: one[:3])
    mode = mode_name(row["precision"], row["fc_weights"])
    return f"{_time([row])} ({card}, {mode}{note})"
