"""The command ``python -m tests.fuzz.replay FORMAT NUMBER|FILE``: run one case in this process, with its traceback."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile

from tests.fuzz import corpus, targets, worker


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.replay", description=__doc__)
    parser.add_argument("format", choices=corpus.FORMATS, metavar="FORMAT")
    parser.add_argument("case", metavar="NUMBER|FILE", help="a case, or a file, of which every use is tried")
    parser.add_argument("--keep", metavar="DIR", help="write the files of the case to this folder")
    options = parser.parse_args()
    target = corpus.FORMATS[options.format].target
    numbers = [int(options.case)] if options.case.isdigit() else list(targets.USES.get(target, (0,)))
    targets.prepare(target)
    with tempfile.TemporaryDirectory(prefix="fastalex-fuzz-") as folder:
        for number in numbers:
            place = options.keep or os.path.join(folder, "case")
            if options.case.isdigit():
                path = worker.place(corpus.case(options.format, corpus.FORMATS[options.format].make(), number), place)
            else:
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(os.path.dirname(os.path.abspath(options.case)), place)
                path = os.path.join(place, os.path.basename(options.case))
            if options.keep:
                print(path)
            print(worker.run(target, path, number, raising=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
