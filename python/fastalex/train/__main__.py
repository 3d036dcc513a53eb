"""``torchrun --nproc-per-node 2 -m fastalex.train DIR ...``: the command ``fastalex train`` in each process."""

from __future__ import annotations

import sys

from ..cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
