"""Measurement of the fastest kernel for each layer, on the GPU of this machine.

The engine lists the candidates of each step (``describe``), and times the steps of a whole run by its own events
(``profile``). Trial i is a net in which every step has its i-th candidate and split, so that few nets measure them all.
The base is the net without the user's rules, measured first and last. A candidate counts only if the results of its net
agree with those of the base, and wins only if it is faster by more than either of the two varies. A pair of ops that
one kernel computes (LRN and pool) has one more option, :data:`SEPARATE`.

Settings of the whole network (:data:`~.trials.SETTINGS`) are timed by the host's clock: calls that run as one CUDA
graph or as single launches and, if CPU and GPU share memory, camera frames that the GPU reads in place or from a copy.
"""

from __future__ import annotations

import json
import time
from typing import Any, Callable, Container, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import _core
from ..errors import BackendError, UserError
from ..hardware.tuning_rule import Rule
from ..images import profiles
from ..networks.architecture import Variant
from ..networks.layers import label_fused_steps, layer_table
from ..runtime import arrays, execution, frames, native
from ..runtime.device_spec import DeviceSpec
from .rules import of_device_file
from .trials import DEFAULT, FAILED, SETTINGS, SLOWER, TITLES, WINNER, WRONG, Trial

ROUNDS = 3  # of `repeat` runs each; the noise is the difference between the medians of the rounds
WARM_UP = 3  # runs
#: Allowed difference of results, relative to the largest value: sums in another order and Winograd, or sums in fp16.
AGREEMENT = {"fp32": 1e-3, "fp16": 3e-2}
SEPARATE = "separate"  # instead of a candidate for a pair: its ops run one after the other
FRAME = (720, 1280, 3)  # shape of a camera frame


class Option(NamedTuple):
    """One way to compute a step: a candidate, and the number of blocks that share a sum (0: the cost model's)."""

    candidate: str
    split: int


class TuningJob(NamedTuple):
    """A network to tune, in one precision and for one batch size."""

    variant: Variant
    parameters: Sequence[np.ndarray]
    device: DeviceSpec
    precision: str
    fc_weights: str
    batch: int
    threads: int = 1


class Timing(NamedTuple):
    """The median over the rounds, and the difference between the slowest and the fastest round, in ms."""

    ms: float
    noise: float


def tune(
    work: TuningJob, repeat: int = 20, log: Callable[[str], None] = lambda line: None, skip: Container[str] = ()
) -> List[Trial]:
    """Measure every option of every step, and of every setting.

    :param repeat: runs per round.
    :param log: is called with a line about each step of the progress.
    :param skip: keys to leave out, because the measurement of another network had them.
    :returns: a trial per option, with its time and verdict; the best of each key is ``winner`` or ``default``.
    :raises UserError: for a network that the backend cannot run.
    """
    base = _TrialNet(work, [])
    described = base.describe()
    owners = {layer: _key(step) for step in described for layer in step["layers"]}
    steps = {key: step for key, step in _by_key(described).items() if key not in skip}
    expected = base.result()
    before = base.times(repeat, owners)
    del base
    measured: Dict[Tuple[str, Option], Any] = {}
    for number, options in enumerate(_trials(steps)):
        log(f"batch {work.batch}, {work.precision}: trial {number + 1}, {len(options)} layers")
        measured.update(_measure(work, options, expected, repeat, owners))
    after = _TrialNet(work, []).times(repeat, owners)
    trials: List[Trial] = []
    for key, step in steps.items():
        trials += _verdicts(work, key, step, _joined(before[key], after[key]), measured)
    for key in SETTINGS:
        if key not in skip and (key != "frames" or _has_mapped_frames(work)):
            log(f"batch {work.batch}, {work.precision}: {TITLES[key]}")
            trials += _setting(work, key, repeat)
    return trials


def rules(trials: Sequence[Trial]) -> List[Rule]:
    """Make rules of the winners, each for its own batch size only: another may have other candidates."""
    return [
        Rule(trial["precision"], trial["key"], trial["batch"], trial["batch"], trial["candidate"], trial["split"])
        for trial in trials
        if trial["verdict"] == WINNER and trial["key"] not in SETTINGS
    ]


class _Step(NamedTuple):
    """The layers that share a key, the option in use for them, and the other options."""

    layers: List[str]
    chosen: Option
    options: List[Option]


class _TrialNet:
    """A native net with rules before those of the device file, and a setting after them if there is one."""

    def __init__(self, work: TuningJob, forced: Sequence[Rule], setting: str = "") -> None:
        self.work = work
        size = work.variant.input_size
        text = "".join(rule.text + "\n" for rule in forced)
        if work.device.gpu is not None:
            text += of_device_file(work.device.gpu).text
        text += setting + "\n" if setting else ""
        self.net = native.make(
            layer_table(work.variant.layers()),
            (work.variant.channels, size, size),
            work.parameters,
            work.device,
            work.precision,
            work.fc_weights,
            work.threads,
            text,
        )
        shape = (work.batch, work.variant.channels, size, size)
        self.images = _core.Call(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))

    def facts(self) -> Dict[str, Any]:
        description: Dict[str, Any] = json.loads(self.net.describe(self.images))
        return description

    def describe(self) -> List[Dict[str, Any]]:
        steps: List[Dict[str, Any]] = self.facts()["steps"]
        label_fused_steps(self.work.variant.layers(), steps)
        return steps

    def result(self) -> np.ndarray:
        return self.net.run(self.images)[0]

    def frame(self) -> np.ndarray:
        """Run a camera frame that is in host memory."""
        size = self.work.variant.input_size
        view = arrays.read(np.random.default_rng(0).integers(0, 256, FRAME, np.uint8), self.work.device)
        spec = frames.spec(view, "BGR", profiles.get(self.work.variant.profile), size)
        return self.net.run(execution.request(view, frame=execution.Frame(spec, size)))[0]

    def times(self, repeat: int, keys: Dict[str, str]) -> Dict[str, Timing]:
        """Time the layers of each key together; ``keys`` maps layers to the keys of the base."""
        for _ in range(WARM_UP):
            self.net.profile(self.images)
        rounds: Dict[str, List[float]] = {key: [] for key in keys.values()}
        for _ in range(ROUNDS):
            runs: Dict[str, List[float]] = {key: [] for key in rounds}
            for _ in range(repeat):
                sums = dict.fromkeys(rounds, 0.0)
                for layer, seconds in self.net.profile(self.images):
                    sums[keys[layer]] += 1e3 * seconds
                for key, ms in sums.items():
                    runs[key].append(ms)
            for key, values in runs.items():
                rounds[key].append(float(np.median(values)))
        return {key: Timing(float(np.median(values)), max(values) - min(values)) for key, values in rounds.items()}


def _by_key(steps: Sequence[Dict[str, Any]]) -> Dict[str, _Step]:
    by_key: Dict[str, _Step] = {}
    for step in steps:
        key = _key(step)
        if key in by_key:
            by_key[key].layers.extend(step["layers"])
            continue
        options = [
            Option(candidate["name"], split)
            for candidate in step["candidates"]
            for split in _splits(candidate["max_split"])
        ]
        if "+" in key:
            options.append(Option(SEPARATE, 0))
        chosen = Option(step["candidate"], step["split"])
        by_key[key] = _Step(list(step["layers"]), chosen, [option for option in options if option != chosen])
    return by_key


def _key(step: Dict[str, Any]) -> str:
    _, key = str(step["key"]).split(" ", 1)  # the first word is the precision
    return key


def _splits(largest: int) -> List[int]:
    """Return 1, 2, 4, ... and the largest."""
    return sorted({min(2**power, largest) for power in range(largest.bit_length() + 1)})


def _trials(steps: Dict[str, _Step]) -> List[Dict[str, Option]]:
    """Arrange the options in trials: trial i has the i-th option of each key that has so many."""
    count = max((len(step.options) for step in steps.values()), default=0)
    return [{key: step.options[i] for key, step in steps.items() if i < len(step.options)} for i in range(count)]


def _measure(
    work: TuningJob, chosen: Dict[str, Option], expected: np.ndarray, repeat: int, owners: Dict[str, str]
) -> Dict[Any, Any]:
    """Measure a trial: (key, option) -> its timing, or the (verdict, reason) that rules it out.

    If a net of several options fails or is wrong, each option is tried alone.
    """
    forced = [
        Rule(work.precision, key, work.batch, work.batch, option.candidate, option.split)
        for key, option in chosen.items()
    ]
    try:
        net = _TrialNet(work, forced)
        reason = disagreement(net.result(), expected, AGREEMENT[work.precision])
        outcome: Any = (WRONG, reason) if reason else None
        if not reason:
            times = net.times(repeat, owners)
            return {(key, option): times[key] for key, option in chosen.items()}
    except (UserError, BackendError, RuntimeError, MemoryError) as error:
        outcome = (FAILED, str(error) or type(error).__name__)
    if len(chosen) == 1:
        return dict.fromkeys(chosen.items(), outcome)
    outcomes: Dict[Any, Any] = {}
    for key, option in chosen.items():
        outcomes.update(_measure(work, {key: option}, expected, repeat, owners))
    return outcomes


def _has_mapped_frames(work: TuningJob) -> bool:
    """Whether the GPU can read frames where the CPU wrote them; a frame is one image of three channels."""
    gpu = work.device.gpu
    return gpu is not None and gpu.integrated and work.batch == 1 and work.variant.channels == 3


def _setting(work: TuningJob, key: str, repeat: int) -> List[Trial]:
    """Measure a setting: the device's own value, first and last, and the other value."""
    first = _TrialNet(work, [])
    own = SETTINGS[key][0] if key == "frames" or first.facts()["graph"] else SETTINGS[key][1]
    (other,) = (value for value in SETTINGS[key] if value != own)
    step = _Step([TITLES[key]], Option(own, 0), [Option(other, 0)])
    expected, before = _whole(first, key, repeat)
    del first
    outcome: Any
    try:
        result, outcome = _whole(_TrialNet(work, [], f"{key} {other}"), key, repeat)
        reason = disagreement(result, expected, AGREEMENT[work.precision])
        outcome = (WRONG, reason) if reason else outcome
    except (UserError, BackendError, RuntimeError, MemoryError) as error:
        outcome = (FAILED, str(error) or type(error).__name__)
    _, after = _whole(_TrialNet(work, []), key, repeat)
    return _verdicts(work, key, step, _joined(before, after), {(key, step.options[0]): outcome})


def _whole(net: _TrialNet, key: str, repeat: int) -> Tuple[np.ndarray, Timing]:
    """Return the result and the time of a whole call, from host memory to host memory; of a frame for ``frames``."""
    run = net.frame if key == "frames" else net.result
    for _ in range(WARM_UP):
        result = run()
    rounds = []
    for _ in range(ROUNDS):
        times = []
        for _ in range(repeat):
            before = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - before))
        rounds.append(float(np.median(times)))
    return result, Timing(float(np.median(rounds)), max(rounds) - min(rounds))


def disagreement(result: np.ndarray, expected: np.ndarray, relative: float) -> str:
    """Say why ``result`` does not agree with ``expected``; return "" if it does."""
    largest = float(np.abs(expected).max())
    difference = float(np.abs(result.astype(np.float64) - expected).max())
    if difference <= relative * largest:  # false for NaN
        return ""
    return f"the result differs by {(difference / largest if largest else difference):.2g} of the largest value"


def _joined(before: Timing, after: Timing) -> Timing:
    """Join two measurements of the base; the drift between them counts as noise."""
    noise = max(before.noise, after.noise, abs(before.ms - after.ms))
    return Timing((before.ms + after.ms) / 2, noise)


def _verdicts(work: TuningJob, key: str, step: _Step, base: Timing, measured: Dict[Any, Any]) -> List[Trial]:
    """Judge the options of one key; the base comes first."""
    timed = {option: measured[key, option] for option in step.options if isinstance(measured[key, option], Timing)}
    best: Optional[Option] = min(timed, key=lambda option: timed[option].ms) if timed else None
    if best is not None and timed[best].ms + max(base.noise, timed[best].noise) >= base.ms:
        best = None
    rows = [_row(work, key, step, step.chosen, base, DEFAULT, "")]
    for option in step.options:
        result = measured[key, option]
        if isinstance(result, Timing):
            rows.append(_row(work, key, step, option, result, WINNER if option == best else SLOWER, ""))
        else:
            rows.append(_row(work, key, step, option, None, *result))
    return rows


def _row(
    work: TuningJob, key: str, step: _Step, option: Option, timing: Optional[Timing], verdict: str, reason: str
) -> Trial:
    return {
        "precision": work.precision,
        "key": key,
        "layers": list(step.layers),
        "batch": work.batch,
        "candidate": option.candidate,
        "split": option.split,
        "ms": timing.ms if timing else None,
        "noise_ms": timing.noise if timing else None,
        "verdict": verdict,
        "reason": reason,
    }
