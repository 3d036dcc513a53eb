"""Result records: where they are, how they are named and checked, and the words that their rows use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from fastalex.errors import UserError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DOCS = ROOT / "docs"
RESULTS = HERE / "results"

# What is measured unless the options say otherwise.
VARIANTS = ("alexnet2012", "torchvision")
CPU_BATCHES = (1, 8, 32)
# The results of the commands peers and layers have folders, rows and sections of their own.
PEERS, LAYERS = "peers", "layers"
ROW_KEYS: Tuple[str, ...] = (
    "variant",
    "batch",
    "precision",
    "fc_weights",
    "median_ms",
    "p10_ms",
    "p90_ms",
    "images_per_s",
)
ROW_KEYS += ("correctness",)
LAYER_KEYS = ("variant", "batch", "threads", "precision", "fc_weights", "layers", "total_ms", "limits")
PEER_KEYS: Tuple[str, ...] = ("variant", "batch", "threads", "engine", "peer", "numeric_class", "status", "note")
PEER_KEYS += ("median_ms", "ms_per_image")
#: The status of a row of a comparison.
OK, WRONG, FAILED, MISSING, SKIPPED = "ok", "wrong", "failed", "missing", "skipped"
#: What the times of a row were taken with on a GPU.
EVENTS, HOST = "CUDA events", "host clock"


def load(folder: Path = RESULTS) -> List[Dict[str, Any]]:
    """Every result file under ``folder``, in the order of their paths.

    :raises UserError: for a file that is no result record.
    """
    records = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            missing = [key for key in ("device", "title", "machine", "versions", "rows") if key not in record]
            missing += [key for row in record["rows"] for key in _row_keys(record["device"]) if key not in row]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is not a result file: {error}") from None
        if missing:
            raise UserError(f"{path} is not a result file: it has no {missing[0]}")
        if record["device"] != path.parent.name:
            raise UserError(f"{path} says device {record['device']}, so it belongs in results/{record['device']}")
        records.append(record)
    return records


def _row_keys(device: str) -> Sequence[str]:
    return {PEERS: PEER_KEYS, LAYERS: LAYER_KEYS}.get(device, ROW_KEYS)


def slug(name: str) -> str:
    """A processor's name as a file name."""
    words = re.sub(r"\((r|tm|c)\)|@.*|\bcpu\b|\bprocessor\b", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "cpu"


def file_name(record: Mapping[str, Any]) -> str:
    """The name of a record's files, without a suffix: processors of one name differ in their instruction sets."""
    name = slug(record["title"])
    return f"{name}-{record['machine']['isa']}" if record["device"] in ("cpu", PEERS, LAYERS) else name
