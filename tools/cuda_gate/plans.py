"""Kernels that serve the standard networks on each device, as the library itself reports them.

The emulated backend (cuda_emulator) is the CUDA backend over an emulated runtime that pretends to be a device of
devices/*.toml; cuda_emulator/emulated.py builds it and says what it pretends. Each device has a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from cuda_emulator import emulated

from .toolchain import ToolError

VARIANTS = ("alexnet2012", "torchvision")
PRECISIONS = ("fp32", "fp16")
STORAGES = ("fp32", "fp16", "int8", "int4")
BATCHES = (1, 32)
ROOT = Path(__file__).resolve().parents[2]

# (variant, precision, storage, batch)
Case = Tuple[str, str, str, int]


def all_cases() -> Iterator[Case]:
    for variant in VARIANTS:
        for precision in PRECISIONS:
            for storage in STORAGES:
                for batch in BATCHES:
                    if is_offered(precision, storage):
                        yield variant, precision, storage, batch


def is_offered(precision: str, storage: str) -> bool:
    """Whether ``storage`` goes with ``precision``: weights wider than fp16 activations would gain nothing."""
    return (precision, storage) != ("fp16", "fp32")


def default_library() -> Path:
    """Build the emulated backend if something has changed; return its path.

    :raises ToolError: if it cannot be built.
    """
    try:
        return emulated.build(ROOT / "build" / "cuda_emulator")
    except (OSError, RuntimeError) as error:
        raise ToolError(f"the emulated backend: {error}") from None


def read_plans(library: Path, device: str, cases: Sequence[Case], card: str = "") -> Dict[Case, Dict[str, Any]]:
    """The description of the plan of each case on ``device``.

    :raises ToolError: with the library's message if it refuses a case.
    """
    return {tuple(case): plan for case, plan in ask(library, device, card, __name__, "describe", cases)}


def read_launches(library: Path, device: str, case: Case, card: str = "") -> List[Dict[str, Any]]:
    """Everything that a call of ``case`` launches on ``device``, in order: kernel, grid, threads, shared_bytes, and the
    bytes of its argument (hexadecimal).

    :raises ToolError: with the library's message if it refuses the case.
    """
    found: List[Dict[str, Any]] = ask(library, device, card, __name__, "launches", [case])
    return found


def ask(library: Path, device: str, card: str, module: str, what: str, cases: Sequence[Any]) -> Any:
    """What a function of a module of this package returns in a process of its own, in which the emulated backend has
    the role of ``device``.

    :raises ToolError: with the last line of what the process said if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, FASTALEX_EMULATED_DEVICE=emulated.device_text(device, card))
        if what == "launches":
            environment["FASTALEX_EMULATED_LAUNCHES"] = str(Path(folder, "launches"))
        command = [sys.executable, "-m", module, what, str(library.resolve()), json.dumps(list(cases))]
        done = subprocess.run(command, env=environment, cwd=str(ROOT), capture_output=True)
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ToolError(f"no plans for {device}: {''.join(last)}")
    return json.loads(done.stdout.decode())


def load(library: str) -> str:
    """Register the emulated backend in this process; return its name."""
    from fastalex import _core

    before = {row["name"] for row in _core.backends()}
    _core.load_backend(library)
    return next(str(row["name"]) for row in _core.backends() if row["name"] not in before)


def _nets(library: str, cases: Sequence[Sequence[Any]]) -> Iterator[Tuple[Sequence[Any], Any, List[int]]]:
    """Case, net and the shape of its input; runs in the process of one device."""
    import numpy as np  # not needed by the parent process

    from fastalex import _core, variants
    from fastalex.networks.layers import layer_table

    name = load(library)
    nets: Dict[Tuple, Any] = {}
    for variant, precision, storage, batch in cases:
        row = variants.get(variant)
        if (variant, precision, storage) not in nets:
            nets.clear()
            params = [np.zeros(shape, np.float32) for shape in row.parameter_shapes().values()]
            nets[(variant, precision, storage)] = _core.Net(
                layer_table(row.layers()),
                [row.channels, row.input_size, row.input_size],
                params,
                name,
                STORAGES.index(storage),
                1,
                PRECISIONS.index(precision),
            )
        shape = [batch, row.channels, row.input_size, row.input_size]
        yield (variant, precision, storage, batch), nets[(variant, precision, storage)], shape


def describe(library: str, cases: Sequence[Sequence[Any]]) -> List[Any]:
    """Return [case, plan] for each case; runs in the process of one device."""
    from fastalex import _core

    described = []
    for case, net, shape in _nets(library, cases):
        call = _core.Call(shape=(shape[0], *shape[2:]))
        described.append([case, json.loads(net.describe(call))])
    return described


def launches(library: str, cases: Sequence[Sequence[Any]]) -> List[Any]:
    """Return what a call of the only case launches; runs in the process of one device."""
    import numpy as np

    from fastalex import _core

    for _, net, shape in _nets(library, cases):
        net.run(_core.Call(np.zeros(shape, np.float32)))
    text = Path(os.environ["FASTALEX_EMULATED_LAUNCHES"]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


if __name__ == "__main__":
    answer = {"describe": describe, "launches": launches}[sys.argv[1]]
    json.dump(answer(sys.argv[2], json.loads(sys.argv[3])), sys.stdout)
