"""Printing a record, and writing it where the options say."""

from __future__ import annotations

import argparse
from types import ModuleType
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


def publish_document(record: Dict[str, Any], report: ModuleType) -> None:
    """Write the record of a processor to the results of ``report``, and its document anew from all of them."""
    name = f"{records.slug(record['title'])}-{record['machine']['isa']}.json"
    files.write_atomically(report.RESULTS / name, files.as_json(record))
    report.write()
