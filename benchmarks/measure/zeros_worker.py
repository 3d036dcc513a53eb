"""A process that times fully connected layers inside a build of fastalex: ``run.py measure.zeros_worker serve SPEC``.

It answers one JSON object a line on stdin with one on stdout, and sleeps in between. The build is the one that Python
finds, and the instruction set that of ``FASTALEX_CPU_ISA``. It may be an older build, so that nothing newer than
``AlexNet`` is used where :func:`load` is not asked to count.

SPEC has threads, cpus (to pin to), and networks: dicts with the ``name`` of a case, its ``variant``, and the paths of
its ``weights``, ``biases`` (or None: those of the weights) and ``images``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any, Dict, List, Mapping, Sequence, Tuple

Networks = Dict[str, Tuple[Any, Any]]  # name of the case -> the network and its images


def facts() -> Dict[str, Any]:
    """Describe the build. :raises BackendError: if the processor lacks the instruction set."""
    import fastalex
    from fastalex import _core

    build = {key: str(value) for key, value in _core.build_info().items()}
    return {"isa": str(_core.cpu_isa()), "version": fastalex.__version__, "build": build, "file": fastalex.__file__}


def load(spec: Mapping[str, Any], fc_weights: str, count: bool) -> Tuple[Networks, Dict[str, Any]]:
    """Make a network for each case, and hash its logits; with ``count`` also count the zeros."""
    import numpy as np

    from fastalex import AlexNet, weights

    networks: Networks = {}
    answer: Dict[str, Any] = {"logits": {}, "density": {}}
    for case in spec["networks"]:
        arrays: Dict[str, Any] = dict(weights.load(case["weights"]).arrays)
        if case["biases"]:
            with np.load(case["biases"]) as shifted:
                arrays.update(shifted)
        options = {"device": "cpu", "threads": spec["threads"], "fc_weights": fc_weights}
        net, images = AlexNet(case["variant"], weights=arrays, **options), np.load(case["images"])
        networks[case["name"]] = (net, images)
        answer["logits"][case["name"]] = hashlib.sha256(net(images).tobytes()).hexdigest()
        if count:
            from fastalex import density

            answer["density"][case["name"]] = density.means(density.measure(net, images))
    return networks, answer


def burst(net: Any, images: Any, calls: int) -> Dict[str, List[Any]]:
    """Times in ms of ``calls`` calls at batch 1, which take the images in turn: of each fully connected layer with its
    activation, and of the whole network. A first call, which warms caches and threads, is discarded.
    """
    from benchmarks.measure.layer_times import groups

    owners = groups(net.variant.layers())
    names = [layer.name for layer in net.variant.layers() if layer.op == "fc"]
    layers: List[Dict[str, float]] = []
    totals: List[float] = []
    net.profile(images[:1])
    for call in range(calls):
        at = call % len(images)
        steps = [(owners[name], 1e3 * seconds) for name, seconds in net.profile(images[at : at + 1])]
        layers.append({fc: sum(ms for owner, ms in steps if owner == fc) for fc in names})
        totals.append(sum(ms for _, ms in steps))
    return {"layers": layers, "total_ms": totals}


def main(words: Sequence[str]) -> int:
    """Serve until the input ends; a command that fails is answered with its error."""
    from benchmarks.measure.worker import one_line

    spec = json.loads(words[1])
    if spec["cpus"]:
        os.sched_setaffinity(0, spec["cpus"])  # before the engine starts its threads
    networks: Networks = {}
    for line in iter(sys.stdin.readline, ""):
        command = json.loads(line)
        try:
            if command["do"] == "facts":
                answer: Dict[str, Any] = facts()
            elif command["do"] == "load":
                networks.clear()  # before others take its memory
                networks, answer = load(spec, command["fc_weights"], command["count"])
            else:
                answer = burst(*networks[command["case"]], command["calls"])
        except Exception as error:  # noqa: BLE001  # any exception becomes the answer
            answer = {"error": one_line(error)}
        print(json.dumps(answer), flush=True)
    return 0
