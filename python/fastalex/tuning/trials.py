"""What a measurement finds: its verdicts, and the settings that follow from it."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

Trial = Dict[str, Any]  # precision, key, layers, batch, candidate, split, ms, noise_ms, verdict, reason
DEFAULT, SLOWER, WINNER, WRONG, FAILED = "default", "slower", "winner", "wrong", "failed"

#: What is chosen for a whole network, by the first word of its line (``csrc/include/fastalex.h``): the values.
SETTINGS = {"graphs": ("on", "off"), "frames": ("mapped", "copied")}
#: How the tables call them.
TITLES = {"graphs": "CUDA graph", "frames": "camera frame"}
LINES = tuple(f"{key} {value}" for key, values in SETTINGS.items() for value in values)


def settings(trials: Sequence[Trial]) -> List[str]:
    """The lines of the settings that are better than the device's own: quicker for some precision and batch by more
    than the noise, and slower for none. They hold for all of them."""
    found = []
    for key in SETTINGS:
        rows = [trial for trial in trials if trial["key"] == key]
        winners = [trial for trial in rows if trial["verdict"] == WINNER]
        defaults = {_place(trial): trial for trial in rows if trial["verdict"] == DEFAULT}
        others = [(trial, defaults.get(_place(trial))) for trial in rows if trial["verdict"] != DEFAULT]
        if winners and not any(base is None or _is_worse(trial, base) for trial, base in others):
            found.append(f"{key} {winners[0]['candidate']}")
    return found


def _place(trial: Trial) -> Any:
    return trial["precision"], trial["batch"]


def _is_worse(trial: Trial, base: Trial) -> bool:
    """Slower than ``base`` by more than the noise, or not to be had at all."""
    if trial["ms"] is None or base["ms"] is None:
        return True
    return bool(trial["ms"] > base["ms"] + max(trial["noise_ms"], base["noise_ms"]))
