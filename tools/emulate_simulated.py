"""Run the layers of the simulated runs on the emulated CUDA backend, and note its errors beside the simulator's.

    python -m tools.emulate_simulated --device nano

For the runs of the newest commit in benchmarks/simulated/<device>.json whose kernels are those of this source tree; it
also writes the tables of docs/simulation.md. The inputs and weights are random, and not those of the simulator.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from benchmarks import files, simulated
from benchmarks.report import simulated as text
from fastalex.errors import UserError
from tools.cuda_gate import emulation, plans
from tools.cuda_gate.toolchain import ToolError


def place_of(run: Dict[str, Any]) -> emulation.Place:
    return emulation.Place(*simulated.of_case(run), run["layer"])


def fill(record: Dict[str, Any], library: Path) -> List[str]:
    """Note the errors in the runs of the newest commit; return a sentence for each layer that has other kernels.

    :raises ToolError: if the emulated backend refuses a layer.
    """
    runs = [run for run in record["runs"] if run["commit"] == record["commits"][-1]["commit"]]
    wanted: Dict[emulation.Place, Set[str]] = {}
    for run in runs:
        wanted.setdefault(place_of(run), set()).add(run["kernel"])
    found = emulation.read_errors(library, record["device"], list(wanted))
    for run in runs:
        answer = found[place_of(run)]
        run["emulator_error"] = float(f"{answer.error:.3g}") if run["kernel"] in answer.kernels else None
    return [
        f"{place.layer} runs {', '.join(found[place].kernels)}, and what was simulated is {', '.join(sorted(kernels))}"
        for place, kernels in wanted.items()
        if set(found[place].kernels) != kernels
    ]


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="nano", help="the name of a file in benchmarks/simulated/")
    parser.add_argument("--library", type=Path, help="libfastalex_emulated.so; default: the one in build/")
    wish = parser.parse_args(argv)
    path = simulated.FOLDER / f"{wish.device}.json"
    try:
        record = simulated.read(path)
        said = fill(record, wish.library or plans.default_library())
    except (ToolError, UserError) as error:
        print(error, file=sys.stderr)
        return 2
    files.write_atomically(path, files.as_json(record, sort_keys=False))
    text.write()
    print("\n".join(said) or f"{wish.device}: the emulator ran every layer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
