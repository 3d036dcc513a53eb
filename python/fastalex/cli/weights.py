"""The command ``fastalex weights``."""

from __future__ import annotations

import argparse
from typing import Any, Callable, Dict, List

from .._util import console
from ..errors import UserError, one_line
from .options import add_command


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "weights", run, "list published weights, download some, or pack some for elsewhere")
    parser.add_argument(
        "action",
        nargs="?",
        choices=tuple(_ACTIONS),
        default="list",
        help="list; fetch, to download; pack, to make a folder for machines without a network, where "
        "FASTALEX_WEIGHTS_DIR names it; or verify, to compute the hashes of that folder's files (default: list)",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="weights to fetch or to pack: a name, hf:OWNER/NAME, or a file to pack"
    )
    parser.add_argument("--out", metavar="DIR", help="new folder for pack")


def run(options: argparse.Namespace) -> int:
    """List the published weights, download, pack or verify some."""
    if options.out is not None and options.action != "pack":
        raise UserError(f"--out is for 'fastalex weights pack', not for '{options.action}'")
    _ACTIONS[options.action](options)
    return 0


def _list(options: argparse.Namespace) -> None:
    from ..weights import registry

    rows, packed = registry.listing(), registry.packed()
    if options.json:
        console.write_json({"folder": registry.folder(), "weights": rows, "packed": packed})
        return
    columns = ("name", "variant", "downloaded", "bytes", "license", "file")
    console.table(f"Weights in {registry.folder()}", columns, [_cells(row) for row in rows], right=("bytes",))
    if packed:
        console.table("Packed", ("name", "file"), [[row["name"], row["path"]] for row in packed])


def _fetch(options: argparse.Namespace) -> None:
    from ..weights import registry

    if not options.names:
        raise UserError(f"name the weights to fetch (there are: {', '.join(registry.FILES)}, hf:OWNER/NAME)")
    paths = {name: registry.fetch(name, quiet=options.json) for name in options.names}
    if options.json:
        console.write_json(paths)
    else:
        console.write("\n".join(one_line(path) for path in paths.values()))


def _pack(options: argparse.Namespace) -> None:
    from ..weights import packing

    if not options.names or not options.out:
        raise UserError("name the weights and a new folder: fastalex weights pack NAME... --out DIR")
    entries = packing.pack(options.names, options.out, quiet=options.json)
    if options.json:
        console.write_json({"folder": options.out, "packed": [_plain(entry) for entry in entries]})
        return
    rows = [[entry.name, entry.files[0].path, f"{sum(file.bytes for file in entry.files):,}"] for entry in entries]
    console.table(f"Packed in {options.out}", ("name", "file", "bytes"), rows, right=("bytes",))
    console.write("Copy the folder, and set FASTALEX_WEIGHTS_DIR to it on the other machine.")


def _verify(options: argparse.Namespace) -> None:
    from ..weights import registry

    if options.names:
        raise UserError("verify takes no names: it is about the folder that FASTALEX_WEIGHTS_DIR names")
    names = registry.verify()
    if options.json:
        console.write_json({"folder": registry.folder(), "verified": names})
    else:
        console.write(f"{registry.folder()}: {', '.join(names) or 'no weights'}" + (" verified" if names else ""))


_ACTIONS: Dict[str, Callable[[argparse.Namespace], None]] = {
    "list": _list,
    "fetch": _fetch,
    "pack": _pack,
    "verify": _verify,
}


def _plain(entry: Any) -> Dict[str, Any]:
    return dict(entry._asdict(), files=[file._asdict() for file in entry.files])


def _cells(row: Dict[str, Any]) -> List[str]:
    size = "-" if row["bytes"] is None else f"{row['bytes']:,}"
    return [row["name"], row["variant"], "yes" if row["present"] else "no", size, row["license"], row["filename"]]
