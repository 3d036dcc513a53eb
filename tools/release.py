#!/usr/bin/env python3
"""Check that a tag may be released, or print its notes.

    python -m tools.release check v0.1.0 --address https://github.com/OWNER/NAME
    python -m tools.release notes v0.1.0

The version stands in pyproject.toml, python/fastalex/_version.py and CITATION.cff; CHANGELOG.md has a dated section.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import List, Optional

ROOT = Path(__file__).resolve().parent.parent
# Where the version and the address of the repository stand.
VERSIONS = {
    "pyproject.toml": r'^version = "(.+)"$',
    "python/fastalex/_version.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r'^version: "?([^"\n]+)"?$',
}
ADDRESSES = {"pyproject.toml": r'^Source = "(.+)"$', "CITATION.cff": r'^repository-code: "?([^"\n]+)"?$'}


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("check", "notes"))
    parser.add_argument("tag")
    parser.add_argument("--address", help="the repository that publishes it")
    options = parser.parse_args(argv)
    version = options.tag[1:] if options.tag.startswith("v") else ""
    if options.action == "notes":
        try:
            sys.stdout.write(notes(version))
        except ValueError as error:
            sys.exit(str(error))
        return 0
    wrong = faults(version, options.address)
    for sentence in wrong:
        print(f"{options.tag} cannot be released: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


def faults(version: str, address: Optional[str] = None, root: Path = ROOT) -> List[str]:
    """Return a sentence for each thing that has to be mended first."""
    found = []
    for expected, places in ((version, VERSIONS), (address, ADDRESSES)):
        for name, pattern in places.items():
            match = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
            if expected is not None and (match is None or match.group(1) != expected):
                found.append(f"{name} says {match.group(1) if match else 'nothing'}, not {expected or 'a version'}")
    heading = re.search(rf"^## \[{re.escape(version)}\] - (.+)$", _changes(root), re.MULTILINE)
    if heading is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", heading.group(1)):
        found.append(f"CHANGELOG.md has no line '## [{version}] - YYYY-MM-DD'")
    return found


def notes(version: str, root: Path = ROOT) -> str:
    """Return the section of CHANGELOG.md about ``version``, without its heading.

    :raises ValueError: if there is none.
    """
    match = re.search(
        rf"^## \[{re.escape(version)}\] - .+?\n+(.*?)(?=^## \[|^\[.+\]: |\Z)", _changes(root), re.MULTILINE | re.DOTALL
    )
    if match is None or not match.group(1).strip():
        raise ValueError(f"CHANGELOG.md has nothing about {version or 'this tag'}")
    return match.group(1).strip() + "\n"


def _changes(root: Path) -> str:
    return (root / "CHANGELOG.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
