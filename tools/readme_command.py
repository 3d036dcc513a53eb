#!/usr/bin/env python3
"""Print a command of README.md: the code block below the line ``<!-- command: NAME -->``.

    bash -c "$(python3 tools/readme_command.py install)"

README.md is the only place where the two commands are written; everything that runs them reads them from there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Dict, List, Optional

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = re.compile(r"^<!-- command: (\S+) -->\n```sh\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> Dict[str, str]:
    """Name -> command, for each marked block of ``text``.

    :raises ValueError: if a name occurs twice.
    """
    marked: Dict[str, str] = {}
    for name, command in BLOCK.findall(text):
        if name in marked:
            raise ValueError(f"the command '{name}' is marked twice")
        marked[name] = command
    return marked


def main(argv: Optional[List[str]] = None) -> int:
    names = sys.argv[1:] if argv is None else argv
    marked = commands(README.read_text(encoding="utf-8"))
    if len(names) != 1 or names[0] not in marked:
        print(f"usage: readme_command.py NAME, with NAME one of: {', '.join(marked)}", file=sys.stderr)
        return 2
    print(marked[names[0]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
