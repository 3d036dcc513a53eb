"""The program for torchrun: ``torchrun --nproc-per-node 2 -m fastalex.train DIR ...`` runs ``fastalex train``."""

from __future__ import annotations

import sys

from ..cli.main import main
from . import elastic

if __name__ == "__main__":
    if elastic.noted(elastic.MISTAKE):  # torchrun starts again what cannot succeed
        sys.exit(2)
    sys.exit(main(["train", *sys.argv[1:]], elastic.say))
