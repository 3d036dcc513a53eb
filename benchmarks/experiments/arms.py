"""Small versions of the 2012 paper's experiments: network, recipe, and the changes of each arm.

The network is ``alexnet2012`` made narrow (``NETWORK``). Epochs are counted, not seconds, so a busy machine gives the
same.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Sequence

from fastalex import variants
from fastalex.train import recipes

# alexnet2012 with the maps 15, 7, 3, 1. Inputs are divided by their deviation, as a narrow network needs; 77 pixels
# leave 10 of each axis for random crops.
NETWORK = variants.get(
    "alexnet2012", input_size=67, widths=(16, 32, 48, 48, 32, 64, 64), num_classes=10, profile="torchvision"
)
RECIPE = recipes.get("paper", init="he", dropout="inverted", schedule="constant", flip=False, weight_decay=5e-4)
SEEDS = range(5)

# Figure 1: no regularization of any kind, and for each activation the rate that is quickest on a seed of its own.
# The training error is measured every MEASURED updates; the rate is chosen by the first target, the paper's.
TARGETS, MOST_EPOCHS, TRIAL_SEED, MEASURED = (0.25, 0.05), 15, 100, 4
RATES = (0.003, 0.01, 0.03, 0.1)
BARE = {"dropout": "off", "crop": "center", "color": "off", "weight_decay": 0.0}

ABLATION = {"batch": 32, "lr": 0.01, "epochs": 15, "schedule": "epochs", "cuts": (10,)}
_PLAIN = tuple(block.replace(" lrn", "") for block in NETWORK.blocks)
#: name -> changes of the network, changes of the recipe
ARMS: Dict[str, Any] = {
    "all of it": ({}, {}),
    "plain pooling (2 x 2, stride 2)": ({"pool_kernel": 2}, {}),
    "no LRN": ({"blocks": _PLAIN}, {}),
    "no dropout": ({}, {"dropout": "off"}),
    "no augmentation": ({}, {"crop": "center", "color": "off"}),
    "one column": ({"columns": 1}, {}),
    "tanh": ({"activation": "tanh"}, {}),
}


def arm_network(name: str, changes: Dict[str, Any]) -> Any:
    row = variants.get(NETWORK, **changes)
    return dataclasses.replace(row, lrn=None) if name == "no LRN" else row


def reached(errors: Sequence[Any], target: float) -> Optional[float]:
    """Epochs until the training error was first at most ``target``; None if never."""
    return next((epochs for epochs, error in errors if error <= target), None)


def seeds_of(arms: Dict[str, Any]) -> List[str]:
    """Seeds of every arm's runs."""
    return [name for name in (f"seed {seed}" for seed in SEEDS) if all(name in arm for arm in arms.values())]


def best_rate(arm: Dict[str, Any]) -> float:
    return min(RATES, key=lambda rate: reached(arm[f"rate {rate:g}"], TARGETS[0]) or MOST_EPOCHS + 1)
