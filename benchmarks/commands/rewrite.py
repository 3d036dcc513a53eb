"""``rewrite``: write the committed JSON files again, as the commands would write them now."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import List

from benchmarks import contributed, files, records
from benchmarks.commands.options import to_stderr
from fastalex.errors import UserError

HELP = "write the committed JSON files again, a line for each row; no value changes"
FOLDERS = ("predicted", "simulated", "experiments")


def add_options(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def committed() -> List[Path]:
    """Every JSON file of results, contributions, predictions, simulations and experiments."""
    folders = (records.RESULTS, contributed.FOLDER, *(records.HERE / name for name in FOLDERS))
    return [path for folder in folders for path in sorted(folder.rglob("*.json"))]


def rewritten(path: Path) -> str:
    """The file's text as :func:`benchmarks.files.as_json` writes it. :raises UserError: for what is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        text = files.as_json(found, sort_keys=False)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a JSON object: {error}") from None
    assert json.dumps(json.loads(text)) == json.dumps(found), path  # every value, and the order of the keys
    return text


def run(options: argparse.Namespace) -> int:
    for path in committed():
        text = rewritten(path)
        if text != path.read_text(encoding="utf-8"):
            files.write_atomically(path, text)
            to_stderr("%s: %d lines" % (path.relative_to(records.ROOT), text.count("\n")))
    return 0
