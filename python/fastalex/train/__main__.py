"""The program for torchrun: ``torchrun --nproc-per-node 2 -m fastalex.train DIR ...`` runs ``fastalex train``."""

from __future__ import annotations

import sys

from ..cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
