"""Results of tuning measurements: trials with their verdicts, and the settings that follow."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

Trial = Dict[str, Any]  # precision, key, layers, batch, candidate, split, ms, noise_ms, verdict, reason
DEFAULT, SLOWER, WINNER, WRONG, FAILED = "default", "slower", "winner", "wrong", "failed"

#: Settings of a whole network and their values; a line is ``graphs on`` (``csrc/include/fastalex.h``).
SETTINGS = {"graphs": ("on", "off"), "frames": ("mapped", "copied")}
#: Names of the settings in tables.
TITLES = {"graphs": "CUDA graph", "frames": "camera frame"}
LINES = tuple(f"{key} {value}" for key, values in SETTINGS.items() for value in values)


def settings(trials: Sequence[Trial]) -> List[str]:
    """Return the lines of the settings that are better than the device's own.

    Such a setting is faster for some precision and batch by more than the noise, and slower for none. It then applies
    to all precisions and batches.
    """
    lines = []
    for key in SETTINGS:
        rows = [trial for trial in trials if trial["key"] == key]
        winners = [trial for trial in rows if trial["verdict"] == WINNER]
        defaults = {_measured_for(trial): trial for trial in rows if trial["verdict"] == DEFAULT}
        others = [(trial, defaults.get(_measured_for(trial))) for trial in rows if trial["verdict"] != DEFAULT]
        if winners and not any(base is None or _is_worse(trial, base) for trial, base in others):
            lines.append(f"{key} {winners[0]['candidate']}")
    return lines


def _measured_for(trial: Trial) -> Tuple[str, int]:
    return trial["precision"], trial["batch"]


def _is_worse(trial: Trial, base: Trial) -> bool:
    """Whether ``trial`` is slower than ``base`` by more than the noise, or one of them was not timed."""
    if trial["ms"] is None or base["ms"] is None:
        return True
    return bool(trial["ms"] > base["ms"] + max(trial["noise_ms"], base["noise_ms"]))
