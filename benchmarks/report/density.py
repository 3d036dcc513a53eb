"""Lines on the density at which a comparison ran: the share of the inputs of fc6, fc7 and fc8 that are not zero.

Records from before it was counted have none, and no lines.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence


def lines(record: Mapping[str, Any]) -> List[str]:
    """A line for each network, with every batch; and one that says to what the biases were shifted, if they were."""
    found: Sequence[Mapping[str, Any]] = record.get("density") or ()
    text = []
    for variant in dict.fromkeys(one["variant"] for one in found):
        ones = [one for one in found if one["variant"] == variant]
        shares = "; ".join(f"{', '.join(_shares(one, 3))} (batch {one['batch']})" for one in ones)
        text.append(f"{variant}, inputs of {', '.join(_layers(ones[0]))} that are not zero: {shares}")
    if record.get("density_asked"):
        asked = ", ".join(f"{share:g}" for share in record["density_asked"])
        text.append(f"biases of the random weights were shifted until batch 1 had {asked}")
    return text


def sentence(record: Mapping[str, Any], batch: int) -> str:
    """The same in one sentence, for one batch; empty where it was not counted."""
    ones = [one for one in record.get("density") or () if one["batch"] == batch]
    if not ones:
        return ""
    shares = "; ".join(f"{one['variant']} {', '.join(_shares(one, 2))}" for one in ones)
    return f"Inputs of {', '.join(_layers(ones[0]))} that are not zero at batch {batch}: {shares}."


def _layers(row: Mapping[str, Any]) -> List[str]:
    return sorted(key for key in row if key not in ("variant", "batch"))


def _shares(row: Mapping[str, Any], places: int) -> List[str]:
    return [f"{row[name]:.{places}f}" for name in _layers(row)]
