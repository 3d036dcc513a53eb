"""Contributed results: measurements from users' boards, one small JSON file each, under ``benchmarks/contributed/``.

``python benchmarks/run.py --device nano --share`` writes one (docs/measure-your-board.md says how to send it), and the
tests hold every file of the folder against :data:`SCHEMA` and :func:`check`. A file whose ``example`` is true shows the
form and is kept out of every table.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, NoReturn, Optional, Tuple

from benchmarks import records
from fastalex._util.arguments import is_int
from fastalex.errors import UserError

FOLDER = records.HERE / "contributed"
VERSION = 1
LARGEST_BYTES = 64 << 10
LARGEST_BATCH = 4096
#: Tolerance of images/s against batch / time: the figures are rounded.
RATE_TOLERANCE = 0.01

# Text is shown in tables: one line, and nothing that Markdown or HTML would take for its own.
_TEXT = re.compile(r"[A-Za-z0-9 .,;:+()/@#_=~-]{1,200}$")
_NAME = re.compile(r"[a-z0-9]{1,40}$")
_COMMIT = re.compile(r"[0-9a-f]{40}(-dirty)?$")


class Kind(NamedTuple):
    """A condition on a value, in words and as a predicate."""

    words: str
    fits: Callable[[Any], bool]


class Field(NamedTuple):
    """A key of an object: its kind, or the fields of the object (or of each object of the list) that it holds."""

    kind: Optional[Kind] = None
    fields: Optional[Mapping[str, Field]] = None
    many: bool = False
    optional: bool = False  # may be null or absent


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.datetime.strptime(value, "%Y-%m-%d"))
    except ValueError:
        return False


TEXT = Kind("a line of at most 200 plain characters", lambda value: isinstance(value, str) and bool(_TEXT.match(value)))
TRUTH = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a whole number above 0", lambda value: is_int(value) and value > 0)
BATCH = Kind("a whole number from 1 to 4096", lambda value: is_int(value) and 1 <= value <= LARGEST_BATCH)
POSITIVE = Kind("a number above 0", lambda value: _is_number(value) and value > 0)
SIZE = Kind("a number of at least 0", lambda value: _is_number(value) and value >= 0)
DATE = Kind("a date, 2026-12-31", _is_date)
COMMIT = Kind("the 40 digits of a commit", lambda value: isinstance(value, str) and bool(_COMMIT.match(value)))
SCHEMA_NUMBER = Kind(str(VERSION), lambda value: is_int(value) and value == VERSION)
DEVICE = Kind(
    "the name of a file in devices/",
    lambda value: (
        isinstance(value, str) and bool(_NAME.match(value)) and (records.ROOT / "devices" / (value + ".toml")).is_file()
    ),
)
VARIANT = Kind("one of " + ", ".join(records.VARIANTS), lambda value: value in records.VARIANTS)
PRECISION = Kind("fp32 or fp16", lambda value: value in ("fp32", "fp16"))
FC_WEIGHTS = Kind("fp32, fp16, int8 or int4", lambda value: value in ("fp32", "fp16", "int8", "int4"))
CLOCK = Kind(f"{records.EVENTS} or {records.HOST}", lambda value: value in (records.EVENTS, records.HOST))

_CORRECT = {"max_abs_diff": Field(SIZE), "tolerance": Field(POSITIVE)}
_ROW = {
    "variant": Field(VARIANT),
    "batch": Field(BATCH),
    "precision": Field(PRECISION),
    "fc_weights": Field(FC_WEIGHTS),
    "correct": Field(fields=_CORRECT),
    "median_ms": Field(POSITIVE),
    "p10_ms": Field(POSITIVE),
    "p90_ms": Field(POSITIVE),
    "images_per_s": Field(POSITIVE),
    "l2_cold_ms": Field(POSITIVE, optional=True),
    "clock": Field(CLOCK),
}
_FAILED = {
    "variant": Field(VARIANT),
    "batch": Field(BATCH),
    "precision": Field(PRECISION),
    "fc_weights": Field(FC_WEIGHTS),
    "why": Field(TEXT),
}
_GPU = {
    "name": Field(TEXT),
    "sm": Field(COUNT),
    "sms": Field(COUNT),
    "memory_mib": Field(COUNT),
    "clock_mhz": Field(POSITIVE),
}
_BOARD = {
    "power_mode": Field(TEXT, optional=True),
    "clocks_held": Field(TRUTH, optional=True),
    "jetpack": Field(TEXT, optional=True),
    "driver": Field(TEXT, optional=True),
    "sm_clock_mhz": Field(POSITIVE, optional=True),
    "memory_clock_mhz": Field(POSITIVE, optional=True),
    "power_limit_w": Field(POSITIVE, optional=True),
    "os": Field(TEXT),
}
_VERSIONS = {
    "fastalex": Field(TEXT),
    "python": Field(TEXT),
    "numpy": Field(TEXT),
    "cuda_driver": Field(TEXT),
    "cuda_runtime": Field(TEXT),
    "torch": Field(TEXT, optional=True),
}
#: All keys of a file; any other is refused.
SCHEMA: Mapping[str, Field] = {
    "schema": Field(SCHEMA_NUMBER),
    "example": Field(TRUTH, optional=True),
    "device": Field(DEVICE),
    "title": Field(TEXT),
    "date": Field(DATE),
    "commit": Field(COMMIT, optional=True),
    "gpu": Field(fields=_GPU),
    "board": Field(fields=_BOARD),
    "versions": Field(fields=_VERSIONS),
    "rows": Field(fields=_ROW, many=True),
    "failed": Field(fields=_FAILED, many=True, optional=True),
}


def check(record: Any) -> None:
    """Check that ``record`` is a contributed result.

    :raises ValueError: if it is not; the message says which value is wrong and what it must be.
    """
    check_object(record, SCHEMA, "")
    if not record["rows"]:
        raise ValueError("rows is empty: nothing was measured")
    seen = set()
    for index, row in enumerate(record["rows"]):
        path = "rows[%d]" % index
        correct = row["correct"]
        if correct["max_abs_diff"] > correct["tolerance"]:
            raise ValueError(f"{path}.correct: the result is wrong, its time counts for nothing")
        if not row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]:
            raise ValueError(f"{path}: p10_ms, median_ms and p90_ms do not rise")
        rate = 1e3 * row["batch"] / row["median_ms"]
        if abs(row["images_per_s"] - rate) > RATE_TOLERANCE * rate:
            raise ValueError(f"{path}.images_per_s: batch and median_ms give {rate:.4g}")
        key = tuple(row[name] for name in ("variant", "batch", "precision", "fc_weights"))
        if key in seen:
            raise ValueError(f"{path} is there twice")
        seen.add(key)


def check_object(value: Any, fields: Mapping[str, Field], path: str) -> None:
    if not isinstance(value, dict):
        raise ValueError("%s must be an object" % (path or "the file"))
    dot = path + "." if path else ""
    for key in value:
        if key not in fields:
            raise ValueError(f"{dot}{key:.40} is not known")
    for key, field in fields.items():
        member = value.get(key)
        if member is None and field.optional:
            continue
        if key not in value:
            raise ValueError(f"{dot}{key} is missing")
        if field.kind and not field.kind.fits(member):
            raise ValueError(f"{dot}{key} must be {field.kind.words}")
        if field.many and not isinstance(member, list):
            raise ValueError(f"{dot}{key} must be a list")
        if field.fields:
            for index, one in enumerate(member if field.many else [member]):
                check_object(one, field.fields, "{}{}{}".format(dot, key, "[%d]" % index if field.many else ""))


def read(path: Path) -> Dict[str, Any]:
    """Read and check one file. :raises UserError: for a file that is not a contributed result; says why."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number")

    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError("it is larger than %d KiB" % (LARGEST_BYTES >> 10))
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
        check(record)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a contributed result: {error}") from None
    if not re.match(re.escape(record["device"]) + r"-[a-z0-9-]{1,80}\.json$", path.name):
        raise UserError("{} must be named {}-<gpu>.json, in a-z, 0-9 and -".format(path, record["device"]))
    return record


def load(folder: Path = FOLDER) -> List[Tuple[str, Dict[str, Any]]]:
    """Load all contributed results as (file name, record), sorted by name, without the examples.

    :raises UserError: for a file that is not a contributed result.
    """
    files = [(path.name, read(path)) for path in sorted(folder.glob("*.json"))]
    return [(name, record) for name, record in files if not record.get("example")]
