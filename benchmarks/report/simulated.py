"""The tables of docs/simulation.md: the kernels on a cycle simulator, beside what was predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from benchmarks import files, records, simulated
from benchmarks.report.markdown import digits, table
from fastalex import variants
from fastalex.hardware import devices

PREDICTED = records.HERE / "predicted"  # of the newest commit; of an older one in the folder of its name
THROUGHPUT = PREDICTED / "throughput"  # of the oldest commit, by throughputs alone, without latencies
REPORT = records.DOCS / "simulation.md"
NAME = "simulation"  # of the part between marks
CLOSE = 0.2  # how far a prediction may be from the simulation
LAUNCHES = ("layer", "kernel", "commit", "blocks run", "factor", "IPC", "simulated us", "predicted us", "ratio")

Place = Tuple[Any, ...]  # a case and the name of a layer
Run = Mapping[str, Any]
Layers = Dict[Place, Dict[str, List[Run]]]  # the runs of each kernel of a layer, one for each model
Times = Dict[Place, Dict[str, float]]  # microseconds of each kernel of a layer


def place_of(row: Mapping[str, Any], layer: str) -> Place:
    """Zeros matter to fully connected layers alone."""
    *case, density = simulated.of_case(row)
    return (*case, density if layer.startswith("fc") else None, layer)


def predictions(folder: Path) -> Dict[str, Times]:
    """Device -> what the files of a folder predict."""
    found: Dict[str, Times] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        times = found.setdefault(record["device"], {})
        for step in record["steps"]:
            place = place_of(record, step["layers"][0])
            for kernel in step["kernels"]:
                ms = kernel["ms"] if "ms" in kernel else max(kernel["compute_ms"], kernel["memory_ms"])
                times.setdefault(place, {})[kernel["name"]] = 1e3 * ms
    return found


class State:
    """One commit of a record: its runs, and the predictions of its kernels."""

    def __init__(self, record: Mapping[str, Any], index: int, predicted: Times) -> None:
        self.name, commit = record["commits"][index]["name"], record["commits"][index]["commit"]
        self.predicted = predicted
        self.layers: Layers = {}
        for run in record["runs"]:
            if run["commit"] == commit:
                kernels = self.layers.setdefault(place_of(run, run["layer"]), {})
                kernels.setdefault(run["kernel"], []).append(run)

    def models(self, place: Place) -> List[str]:
        """The models that ran all kernels of a layer."""
        ran = [{run["model"] for run in runs} for runs in self.layers.get(place, {}).values()]
        return sorted(set.intersection(*ran)) if ran else []

    def times(self, place: Place) -> List[float]:
        """Of a layer, one for each model that ran all of it."""
        return [sum(_whole(run) for run in self._of_model(place, model)) for model in self.models(place)]

    def issued(self, place: Place) -> List[float]:
        """Instructions a clock of a layer, over its kernels."""
        found = []
        for model in self.models(place):
            runs = self._of_model(place, model)
            if all(run.get("ipc") for run in runs):
                found.append(sum(run["ipc"] * _whole(run) for run in runs) / sum(map(_whole, runs)))
        return found

    def prediction(self, place: Place, times: Optional[Times] = None) -> Optional[float]:
        """Of a layer whose kernels, and no others, are predicted."""
        mine = (self.predicted if times is None else times).get(place, {})
        return sum(mine.values()) if mine and set(mine) == set(self.layers.get(place, {})) else None

    def _of_model(self, place: Place, model: str) -> List[Run]:
        return [run for runs in self.layers[place].values() for run in runs if run["model"] == model]


def _whole(run: Run) -> float:
    return float(run["us"] * simulated.scale(run))


def spread(values: Sequence[float]) -> str:
    """A value, or the lowest and the highest of several; empty for none."""
    if not values:
        return ""
    low, high = digits(min(values)), digits(max(values))
    return low if low == high else f"{low} to {high}"


def places(states: Sequence[State]) -> List[Place]:
    """All layers that ran, in the order of the network, those without zeros first."""
    found = {place for state in states for place in state.layers}
    return sorted(found, key=lambda place: (tuple(map(str, place[:4])), -(place[4] or 1), _depth(place)))


def _depth(place: Place) -> int:
    return [one.name for one in variants.get(place[0]).layers()].index(place[5])


def layer_head(states: Sequence[State]) -> List[str]:
    head = ["layer", *(f"{state.name} us" for state in states)]
    head += [f"{states[-1].name} / {states[0].name}"] if len(states) > 1 else []
    head += [f"{state.name} IPC" for state in states]
    return [*head, "predicted us", "ratio", "by throughput us", "ratio", "error", "emulator's"]


def layer_rows(states: Sequence[State], throughput: Times) -> Iterator[List[str]]:
    """``predicted`` is of the newest commit, ``throughput`` of the oldest."""
    first, last = states[0], states[-1]
    for place in places(states):
        cells = [title(place), *(spread(state.times(place)) for state in states)]
        if len(states) > 1:
            gained = zip(last.times(place), first.times(place)) if last.models(place) == first.models(place) else ()
            cells += [spread([new / old for new, old in gained])]
        cells += [spread(state.issued(place)) for state in states]
        for state, predicted in ((last, last.prediction(place)), (first, first.prediction(place, throughput))):
            cells += [digits(predicted), spread([us / predicted for us in state.times(place)]) if predicted else ""]
        runs = [run for kernels in last.layers.get(place, {}).values() for run in kernels]
        cells += [_error([run["relative_error"] for run in runs])]
        yield [*cells, _error([run["emulator_error"] for run in runs if run.get("emulator_error") is not None])]


def launch_rows(states: Sequence[State]) -> Iterator[List[str]]:
    for place in places(states):
        for state in states:
            for kernel, runs in state.layers.get(place, {}).items():
                one, whole = runs[0], [_whole(run) for run in runs]
                cells = [title(place), f"`{kernel}`", state.name, f"{one['blocks_run']} of {one['blocks']}"]
                cells += [digits(simulated.scale(one)), spread([run["ipc"] for run in runs if run.get("ipc")])]
                predicted = state.predicted.get(place, {}).get(kernel)
                cells += [spread(whole), digits(predicted)]
                yield [*cells, spread([us / predicted for us in whole]) if predicted else ""]


def title(place: Place) -> str:
    _, precision, fc_weights, batch, density, layer = place
    words = [layer, precision]
    words += [fc_weights] if layer.startswith("fc") else []
    words += [f"{100 * density:.0f} % not zero"] if density else []
    words += [f"batch {batch}"] if batch > 1 else []
    return " ".join(words)


def _error(values: Sequence[float]) -> str:
    """The largest of them."""
    return ("0" if max(values) == 0 else f"{max(values):.1e}") if values else ""


def judgment(states: Sequence[State]) -> Iterator[str]:
    """How many predictions lie near all that was simulated, and which do not; of layers, and of kernels."""
    for state in states:
        of_layers: Dict[str, List[float]] = {}
        of_kernels: Dict[str, List[float]] = {}
        for place in places([state]):
            predicted = state.prediction(place)
            if predicted:
                of_layers[title(place)] = [us / predicted for us in state.times(place)]
            for kernel, us in state.predicted.get(place, {}).items():
                runs = state.layers[place].get(kernel, ())
                if runs:
                    of_kernels[f"{title(place)} `{kernel}`"] = [_whole(run) / us for run in runs]
        if of_layers:
            said = f"{_near('layers', of_layers)}. {_near('kernels', of_kernels)}"
            yield f"Predictions within {100 * CLOSE:.0f} % of the simulation, {state.name}: {said}."


def _near(what: str, ratios: Mapping[str, Sequence[float]]) -> str:
    far = [f"{name} {spread(mine)}" for name, mine in ratios.items() if any(abs(one - 1) > CLOSE for one in mine)]
    said = f"{len(ratios) - len(far)} of {len(ratios)} {what}"
    return f"{said}, not {', '.join(far)}" if far else said


def totals(states: Sequence[State], throughput: Times) -> Iterator[str]:
    """The sums of each network all of whose layers were simulated and predicted, in milliseconds."""
    first, last = states[0], states[-1]
    for case in sorted({place[:5] for place in last.predicted}, key=lambda one: (str(one[:4]), -(one[4] or 1))):
        mine = [place for place in last.predicted if place[:4] == case[:4] and place[4] == _density(case, place)]
        if any(last.prediction(place) is None for place in mine):
            continue
        words = f"All of {case[0]}, {case[1]}, fc {case[2]}, batch {case[3]}"
        words += f", {100 * case[4]:.0f} % of the inputs of fc not zero" if case[4] else ""
        sums = [(state, [state.times(place) for place in mine]) for state in states]
        words += ": simulated " + ", ".join(
            f"{state.name} {spread([sum(one) / 1e3 for one in zip(*times)])} ms" for state, times in sums if all(times)
        )
        words += f"; predicted, {last.name}, {digits(sum(last.prediction(place) or 0 for place in mine) / 1e3)} ms"
        older = [first.prediction(place, throughput) for place in mine]
        if all(older):
            words += f"; by throughput, {first.name}, {digits(sum(one or 0 for one in older) / 1e3)} ms"
        yield words + "."


def _density(case: Place, place: Place) -> Optional[float]:
    return case[4] if place[5].startswith("fc") else None


def section(record: Mapping[str, Any], predicted: Sequence[Times], throughput: Times) -> str:
    """``predicted``: of each commit."""
    states = [State(record, index, times) for index, times in enumerate(predicted)]
    simulator = record["simulator"]
    compilers = ", ".join(sorted({run["nvcc"] for run in record["runs"]}))
    parts = [f"### {devices.get(record['device']).title}\n"]
    parts.append(f"**Simulated, not measured**: {simulator['name']} {simulator['version']}; nvcc {compilers}.\n")
    parts += [f"- {one['name'].capitalize()} (commit {one['commit'][:7]}): {one['what']}." for one in record["commits"]]
    for model in record["models"]:
        said = ", ".join(f"{name} {value}" for name, value in model["parameters"].items())
        parts.append(f"- Model {model['name']}: {said}.{_remark(model.get('note'))}")
    parts += ["", table(layer_head(states), layer_rows(states, throughput))]
    parts += [f"- {line}" for line in (*judgment(states), *totals(states, throughput))]
    parts += ["", table(LAUNCHES, launch_rows(states), left=3)]
    notes = {(run["layer"], run["kernel"], run["note"]) for run in record["runs"] if run.get("note")}
    parts += [f"- {layer} `{kernel}`: {note}" for layer, kernel, note in sorted(notes)]
    if record["not_run"]:
        missing = "; ".join(f"{one['layer']} `{one['kernel']}` ({one['why']})" for one in record["not_run"])
        parts.append(f"\nNot run: {missing}.")
    return "\n".join(parts).rstrip("\n") + "\n"


def _remark(note: Optional[str]) -> str:
    return f" {note[0].upper()}{note[1:]}." if note else ""


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """What stands between the marks of docs/simulation.md."""
    if not found:
        return "Nothing is simulated yet."
    throughput = predictions(THROUGHPUT)
    parts = []
    for record in found:
        folders = [PREDICTED / one["name"] for one in record["commits"][:-1]] + [PREDICTED]
        of_device = [predictions(folder).get(record["device"], {}) for folder in folders]
        parts.append(section(record, of_device, throughput.get(record["device"], {})))
    return "\n".join(parts).rstrip("\n")


def write() -> None:
    files.replace_between(REPORT, NAME, render(simulated.load()))
