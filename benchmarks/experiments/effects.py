"""Sentences on what the runs show, beyond their spread or not, beside what the 2012 paper says."""

from __future__ import annotations

import math
import statistics
from typing import Any, List, Mapping, Sequence, Tuple

from benchmarks.experiments.plan import reached

#: Student's t for 95 % on both sides, by degrees of freedom.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
#: What the paper says of each idea, and by how many points of top-1 error ImageNet's network is worse without it.
PAPER = {
    "no overlap": "0.4 points worse (section 3.4)",
    "no LRN": "1.4 points worse (section 3.3)",
    "one column": "1.7 points worse (section 3.2)",
    "no PCA": "more than 1 point worse (section 4.1)",
    "no crops": '"substantial overfitting" without crops and reflections (section 4.1)',
    "no reflections": '"substantial overfitting" without crops and reflections (section 4.1)',
    "no dropout": '"substantial overfitting" (section 4.2)',
}
FIGURE_1 = 6.0  # times as fast to 25 % training error on CIFAR-10: the paper's figure 1


def runs_of(record: Mapping[str, Any], arm: str) -> Mapping[str, Any]:
    return {
        name: run
        for name, run in record["arms"].get(arm, {}).items()
        if name.startswith("seed ") and not run.get("diverged")
    }


def differences(record: Mapping[str, Any], arm: str) -> List[float]:
    """Points of held-out error by which ``arm`` is worse than the first arm, for each seed that both have."""
    first, own = runs_of(record, next(iter(record["plan"]["arms"]))), runs_of(record, arm)
    return [100 * (own[seed]["held_out"][-1] - first[seed]["held_out"][-1]) for seed in first if seed in own]


def interval(values: Sequence[float]) -> Tuple[float, float]:
    """The 95 % interval of the mean of 2 to 10 values, by Student's t."""
    middle = statistics.mean(values)
    half = T_95[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return middle - half, middle + half


def of_ablations(record: Mapping[str, Any]) -> List[str]:
    """A line for each arm with what the difference to the first shows."""
    lines = []
    for arm in list(record["plan"]["arms"])[1:]:
        values = differences(record, arm)
        if len(values) < 2:
            continue
        low, high = interval(values)
        verdict = "worse" if low > 0 else "better" if high < 0 else "no difference that these runs could show"
        paper = f"; the paper: {PAPER[arm]}" if arm in PAPER else ""
        lines.append(f"- {arm}: {verdict}; the mean difference is within {low:+.2f} to {high:+.2f} points{paper}.")
    head = "The held-out error against the first row, paired by seed, with the 95 % interval of the mean:"
    return [head, "", *lines] if lines else []


def of_activations(record: Mapping[str, Any]) -> List[str]:
    """A sentence for each target: how many times as fast the first arm is."""
    first, second = list(record["plan"]["arms"])[:2]
    said = []
    for target in record["plan"]["targets"]:
        both = [runs_of(record, first), runs_of(record, second)]
        pairs = [[reached(runs[seed]["errors"], target) for runs in both] for seed in both[0] if seed in both[1]]
        ratios = [two / one for one, two in pairs if one is not None and two is not None]
        if len(ratios) < 2:
            continue
        low, high = interval(ratios)
        verdict = "faster" if low > 1 else "slower" if high < 1 else "neither faster nor slower beyond the spread"
        said.append(
            f"- To {100 * target:g} %, {first} is {verdict}: {second} takes {statistics.mean(ratios):.2f} times the "
            f"epochs (95 % interval {low:.2f} to {high:.2f}, {len(ratios)} pairs of seeds)."
        )
    return [*said, f"- The paper's figure 1, on CIFAR-10 to 25 %: {FIGURE_1:g} times."] if said else []
