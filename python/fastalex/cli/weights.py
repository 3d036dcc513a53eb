"""The command ``fastalex weights``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List

from .._util import console
from ..errors import UserError, one_line
from .options import add_command


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "weights", run, "list published weights, or download some")
    parser.add_argument(
        "action", nargs="?", choices=("list", "fetch"), default="list", help="list, or download (default: list)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="weights to fetch")


def run(options: argparse.Namespace) -> int:
    """List the published weights, or download some."""
    from ..weights import registry

    if options.action == "fetch":
        if not options.names:
            raise UserError(f"name the weights to fetch (there are: {', '.join(registry.FILES)})")
        paths = {name: registry.fetch(name, quiet=options.json) for name in options.names}
        if options.json:
            console.write_json(paths)
        else:
            console.write("\n".join(one_line(path) for path in paths.values()))
        return 0
    rows = registry.listing()
    if options.json:
        console.write_json({"folder": registry.folder(), "weights": rows})
    else:
        columns = ("name", "variant", "downloaded", "bytes", "license", "file")
        console.table(f"Weights in {registry.folder()}", columns, [_cells(row) for row in rows], right=("bytes",))
    return 0


def _cells(row: Dict[str, Any]) -> List[str]:
    size = "-" if row["bytes"] is None else f"{row['bytes']:,}"
    return [row["name"], row["variant"], "yes" if row["present"] else "no", size, row["license"], row["filename"]]
