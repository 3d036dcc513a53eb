"""``python -m benchmarks COMMAND ...``, in the root of the repository."""

from __future__ import annotations

import sys

from benchmarks.commands.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
