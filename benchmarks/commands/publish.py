"""Printing a record, and writing it where the options say."""

from __future__ import annotations

import argparse
from typing import Any, Dict

from benchmarks import files, records
from benchmarks.report import compose


def publish(record: Dict[str, Any], options: argparse.Namespace, shown: str) -> None:
    """Print the record and write it where the options say."""
    text = files.as_json(record)
    print(text if options.json else shown, end="")
    if options.no_write or (options.quick and not options.output):
        return
    path = options.output or records.RESULTS / record["device"] / (records.file_name(record) + ".json")
    files.write_atomically(path, text)
    if not options.output:
        compose.write()
