"""``experiments``: train with and without the ideas of the 2012 paper; needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train to see what the ideas of the 2012 paper do, over several seeds; 'report experiments' has the tables"
EXPERIMENTS = {
    "relu-tanh": "epochs to 25 % training error (the paper's figure 1)",
    "ablations": "one idea left out at a time: held-out error",
    "traffic": "bytes that a process sends in a step, by scheme; writes its table of docs/training.md",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = ["%-10s  %s" % one for one in (*EXPERIMENTS.items(), ("digits", "no experiment: writes their data"))]
    parser.epilog = "experiments:\n  " + "\n  ".join(lines)
    kinds = parser.add_subparsers(dest="experiment", metavar="EXPERIMENT", required=True)
    for name, text in EXPERIMENTS.items():
        one = kinds.add_parser(name, help=text.replace("%", "%%"), allow_abbrev=False)
        if name != "traffic":
            text = "CIFAR-10's binary files, in place of scikit-learn's digits"
            one.add_argument("--cifar", type=Path, metavar="DIR", help=text)
    one = kinds.add_parser("digits", help="write FOLDER/train/<digit> and FOLDER/val/<digit>", allow_abbrev=False)
    one.add_argument("folder", type=Path, metavar="FOLDER")


def run(options: argparse.Namespace) -> int:
    if options.experiment == "traffic":
        from benchmarks.experiments import traffic

        traffic.measure()
    elif options.experiment == "digits":
        from benchmarks.experiments import digits_data

        digits_data.write(options.folder)
    else:
        from benchmarks.experiments import cifar_data, digits_data, runs

        sets = cifar_data.sets(options.cifar) if options.cifar else digits_data.sets()
        runs.carry_out(options.experiment, "cifar10" if options.cifar else "digits", sets)
    return 0
