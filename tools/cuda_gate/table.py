"""docs/cuda-kernels.md: the kernel of each layer on each device, with its resource usage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from fastalex import variants
from fastalex._util.files import write_atomically
from fastalex.hardware import devices

from . import families, limits, plans, predict

HEAD = """# The CUDA kernel of every standard layer

Written by `python -m tools.check_cuda_kernels --table docs/cuda-kernels.md`; edit nothing here. The choice is the
library's own, without a tuning file. Registers are of a thread, as ptxas 12.9 gives them; shared memory is of a block;
the share is of a multiprocessor's threads that blocks of the kernel can fill at a time (occupancy), from the limits in
`devices/`. "x 4" behind a name: the sum is split over four layers of blocks. Nothing in this file is a measurement.
"""
ALONG = ("relu", "tanh", "dropout", "softmax")  # done at the end of the kernel of the layer before, or not at all
Kernels = Mapping[Tuple[int, str], Tuple[families.Instance, Any]]


def write(path: Path, done: Sequence[families.Compiled], library: Optional[Path], only_check: bool) -> List[str]:
    """Write the document; return the problems of the plans, one sentence each."""
    text, problems = render(by_name(done), library or plans.default_library())
    if only_check:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            problems.append(f"{path} is not what the library says: write it again with --table")
    else:
        write_atomically(path, text)
    return problems


def by_name(done: Sequence[families.Compiled]) -> Dict[Tuple[int, str], Tuple[families.Instance, Any]]:
    """(architecture, kernel name) -> the kernel and its usage."""
    return {
        (compiled.architecture, one.name): (one, compiled.usage[one.name])
        for compiled in done
        for one in compiled.instances
    }


def render(kernels: Kernels, library: Path) -> Tuple[str, List[str]]:
    parts, problems = [HEAD], []
    for device in devices.load_all().values():
        known = plans.read_plans(library, device.name, list(plans.all_cases()))
        parts.append("\n## %s (`%s`, sm_%d)\n" % (device.title, device.name, limits.architecture_of(device)))
        for variant in plans.VARIANTS:
            mine = {case[1:]: plan for case, plan in known.items() if case[0] == variant}
            lines, wrong = variant_table(device, variant, mine, kernels)
            parts.append("\n" + "\n".join(lines) + "\n")
            problems += wrong
    return "".join(parts), problems


def variant_table(
    device: devices.Device, variant: str, mine: Mapping[Tuple, Any], kernels: Kernels
) -> Tuple[List[str], List[str]]:
    """Lines of the table of one network, and its problems. ``mine``: (precision, storage, batch) -> plan."""
    rows: Dict[str, Dict[Tuple, str]] = {name: {} for name in row_names(variant)}
    problems: List[str] = []
    for (precision, storage, batch), plan in mine.items():
        groups = predict.step_layers(variants.get(variant).layers(), plan["steps"])
        for step, group in zip(plan["steps"], groups):
            where = "%s, %s, %s, fc %s, batch %d" % (device.name, variant, precision, storage, batch)
            text, wrong = cell(device, step, kernels, f"{where}, {group[0].name}")
            problems += wrong
            heads = [layer for layer in group if layer.op not in ALONG]
            for i, layer in enumerate(heads):
                row = f"{layer.name} {storage}" if layer.op == "fc" else layer.name
                rows[row][(precision, batch)] = text if i == 0 else f"with {heads[0].name}"
    columns = [(precision, batch) for precision in plans.PRECISIONS for batch in plans.BATCHES]
    lines = ["| {} | {} |".format(variant, " | ".join("%s, batch %d" % column for column in columns))]
    lines.append("| --- " * (1 + len(columns)) + "|")
    for row, values in rows.items():
        for column in columns:
            if not plans.is_offered(column[0], row.split()[-1]):
                values[column] = "not offered"
            if not values.get(column):
                problems.append("%s, %s: no kernel for %s, %s batch %d" % (device.name, variant, row, *column))
        lines.append("| {} | {} |".format(row, " | ".join(values.get(column, "") for column in columns)))
    return lines, problems


def row_names(variant: str) -> List[str]:
    """Names of the rows: one per layer with a kernel, and one per storage of a fully connected layer."""
    names = []
    for layer in variants.get(variant).layers():
        if layer.op == "fc":
            names += [f"{layer.name} {storage}" for storage in plans.STORAGES]
        elif layer.op not in ALONG:
            names.append(layer.name)
    return names


def cell(device: devices.Device, step: Mapping[str, Any], kernels: Kernels, where: str) -> Tuple[str, List[str]]:
    """The kernels of one step with their usage, and their problems."""
    problems = []
    if step["general"]:
        problems.append(
            "{}: served by the fallback {}, whose shapes are known at run time only".format(where, step["candidate"])
        )
    if not step["kernels"]:
        problems.append("{}: {} launches nothing".format(where, step["candidate"]))
    architecture = limits.architecture_of(device)
    texts: Dict[str, None] = {}
    for kernel in step["kernels"]:
        if (architecture, kernel["name"]) not in kernels:
            problems.append("%s: no list has the kernel %s for sm_%d" % (where, kernel["name"], architecture))
            continue
        instance, usage = kernels[(architecture, kernel["name"])]
        if (instance.threads, instance.shared_bytes) != (kernel["threads"], kernel["shared_bytes"]):
            problems.append(f"{where}: the list and the library differ in threads or shared memory of {instance.name}")
        limit = limits.limits_of(device)
        blocks = limits.blocks_per_sm(limit, instance.threads, instance.shared_bytes, usage)
        if not blocks:
            problems.append(f"{where}: no block of {instance.name} fits")
        share = limits.occupancy(limit, instance.threads, instance.shared_bytes, usage)
        size = "%.1f KiB" % (instance.shared_bytes / 1024) if instance.shared_bytes else "0"
        texts["`%s` %d r, %s, %.0f %%" % (instance.name, usage.registers, size, 100 * share)] = None
    split = " x %d" % step["split"] if step["split"] > 1 else ""
    return " + ".join(texts) + (split if texts else ""), problems
