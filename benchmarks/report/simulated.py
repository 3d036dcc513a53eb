"""The tables of docs/simulation.md: the kernels on a cycle simulator, beside what was predicted."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from benchmarks import files, records, simulated
from benchmarks.report.markdown import digits, table
from fastalex.hardware import devices

PREDICTED = records.HERE / "predicted"
BEFORE = PREDICTED / "throughput"  # by throughputs alone, without latencies
REPORT = records.DOCS / "simulation.md"
NAME = "simulation"  # of the part between marks
CLOSE = 0.2  # how far a prediction may be from the simulation
HEAD: Tuple[str, ...] = ("layer", "kernel", "blocks run", "factor", "IPC", "simulated us", "predicted us", "ratio")
HEAD += ("by throughput us", "ratio", "error", "emulator's")

Times = Dict[Tuple[Any, ...], float]  # case, layer, kernel -> microseconds


def predictions(folder: Any) -> Dict[str, Times]:
    """Device -> what the files of a folder predict for each kernel of each layer."""
    found: Dict[str, Times] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        times = found.setdefault(record["device"], {})
        for step in record["steps"]:
            for kernel in step["kernels"]:
                ms = kernel["ms"] if "ms" in kernel else max(kernel["compute_ms"], kernel["memory_ms"])
                key = (*simulated.of_case(record), step["layers"][0], kernel["name"])
                times[key] = 1e3 * ms
    return found


def launches(record: Mapping[str, Any]) -> Iterator[Tuple[Tuple[Any, ...], List[Mapping[str, Any]]]]:
    """Each launch that was simulated and its runs, one for each model."""
    found: Dict[Tuple[Any, ...], List[Mapping[str, Any]]] = {}
    for run in record["runs"]:
        found.setdefault((*simulated.of_case(run), run["layer"], run["kernel"]), []).append(run)
    return iter(found.items())


def spread(values: Sequence[float]) -> str:
    """A value, or the lowest and the highest of several."""
    low, high = digits(min(values)), digits(max(values))
    return low if low == high else f"{low} to {high}"


def rows(record: Mapping[str, Any], new: Times, old: Times) -> Iterator[List[str]]:
    for key, runs in launches(record):
        one = runs[0]
        whole = [run["us"] * simulated.scale(run) for run in runs]
        cells = [_title(one), f"`{one['kernel']}`"]
        cells += [f"{one['blocks_run']} of {one['blocks']}", digits(simulated.scale(one))]
        issued = [run["ipc"] for run in runs if run.get("ipc")]
        cells += [spread(issued) if issued else "", spread(whole)]
        for times in (new, old):
            predicted = times.get(key)
            cells += [digits(predicted), spread([us / predicted for us in whole]) if predicted else ""]
        emulated = [run["emulator_error"] for run in runs if run.get("emulator_error") is not None]
        cells += [_error([run["relative_error"] for run in runs]), _error(emulated)]
        yield cells


def _title(run: Mapping[str, Any]) -> str:
    words = [run["layer"], run["precision"]]
    words += [run["fc_weights"]] if run["layer"].startswith("fc") else []
    words += [f"{100 * run['density']:.0f} % not zero"] if run.get("density") else []
    words += [f"batch {run['batch']}"] if run["batch"] > 1 else []
    return " ".join(words)


def _error(values: Sequence[float]) -> str:
    """The largest of them."""
    return ("0" if max(values) == 0 else f"{max(values):.1e}") if values else ""


def judgment(record: Mapping[str, Any], new: Times) -> str:
    """How many predictions lie near what each model simulated, and which do not."""
    lines = []
    for model in record["models"]:
        near, far = 0, []
        for run in record["runs"]:
            key = (*simulated.of_case(run), run["layer"], run["kernel"])
            if run["model"] != model["name"] or key not in new:
                continue
            ratio = run["us"] * simulated.scale(run) / new[key]
            if abs(ratio - 1) <= CLOSE:
                near += 1
            else:
                far.append(f"{_title(run)} `{run['kernel']}` {digits(ratio)}")
        if near or far:
            text = f"Within {100 * CLOSE:.0f} % of model {model['name']}: {near} of {near + len(far)} predictions"
            lines.append(text + (f"; not {', '.join(far)}." if far else "."))
    return "\n".join(lines) or "Nothing of it is predicted."


def totals(record: Mapping[str, Any], new: Times, old: Times) -> Iterator[str]:
    """The sums of each network all of whose kernels were simulated and predicted, in milliseconds."""
    ran: Dict[Tuple[Any, ...], Dict[str, float]] = {}  # case, layer, kernel -> model -> us
    for key, runs in launches(record):
        ran[key] = {run["model"]: run["us"] * simulated.scale(run) for run in runs}
    for case in sorted({key[:5] for key in new}, key=str):
        keys = [key for key in new if key[:5] == case]
        models = [one["name"] for one in record["models"] if all(one["name"] in ran.get(key, {}) for key in keys)]
        if not models:
            continue
        sums = [sum(ran[key][model] for key in keys) / 1e3 for model in models]
        words = f"All of {case[0]}, {case[1]}, fc {case[2]}, batch {case[3]}: simulated {spread(sums)} ms"
        words += f", predicted {digits(sum(new[key] for key in keys) / 1e3)} ms"
        if all(key in old for key in keys):
            words += f", by throughput {digits(sum(old[key] for key in keys) / 1e3)} ms"
        yield words + "."


def section(record: Mapping[str, Any], new: Times, old: Times) -> str:
    simulator = record["simulator"]
    parts = [f"### {devices.get(record['device']).title}\n"]
    commits = sorted({run["commit"][:7] for run in record["runs"]})
    compilers = sorted({run["nvcc"] for run in record["runs"]})
    facts = (simulator["name"], simulator["version"], ", ".join(compilers), ", ".join(commits))
    parts.append("**Simulated, not measured**: %s %s; nvcc %s; commit %s.\n" % facts)
    for model in record["models"]:
        said = ", ".join(f"{name} {value}" for name, value in model["parameters"].items())
        parts.append(f"- Model {model['name']}: {said}.{_remark(model.get('note'))}")
    said = [*judgment(record, new).splitlines(), *totals(record, new, old)]
    parts += ["", table(HEAD, rows(record, new, old), left=2), *(f"- {line}" for line in said)]
    notes = sorted({f"{run['layer']} `{run['kernel']}`: {run['note']}" for run in record["runs"] if run.get("note")})
    parts += ["\n" + "\n".join(f"- {note}" for note in notes)] if notes else []
    if record["not_run"]:
        missing = "; ".join(f"{one['layer']} `{one['kernel']}` ({one['why']})" for one in record["not_run"])
        parts.append(f"\nNot run: {missing}.")
    return "\n".join(parts) + "\n"


def _remark(note: Optional[str]) -> str:
    return f" {note[0].upper()}{note[1:]}." if note else ""


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """What stands between the marks of docs/simulation.md."""
    if not found:
        return "Nothing is simulated yet."
    new, old = predictions(PREDICTED), predictions(BEFORE)
    return "\n".join(section(one, new.get(one["device"], {}), old.get(one["device"], {})) for one in found).rstrip("\n")


def write() -> None:
    files.replace_between(REPORT, NAME, render(simulated.load()))
