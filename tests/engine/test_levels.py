"""int8 precision with every instruction set: the same integers, so the same bits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

NETS = """
import hashlib, json
import numpy as np
from fastalex import AlexNet, _core, variants
from fastalex import quantize
from fastalex.weights import initial

row = variants.get("torchvision", widths=(24, 40, 35, 17, 33, 278, 150), num_classes=29)
arrays = initial.random_weights(row, seed=6)
x = np.random.default_rng(3).standard_normal((7, 3, row.input_size, row.input_size), dtype=np.float32)
found = quantize.calibrate(AlexNet(row, weights=arrays, device="naive"), [x[:1]])
digests = {}
options = {"weights": arrays, "device": "cpu", "precision": "int8", "calibration": found}
for storage, layout in (("int8", "latency"), ("int8", "throughput"), ("int4", "latency")):
    net = AlexNet(row, fc_weights=storage, fc_layout=layout, **options)
    for batch in (1, 7):
        digests[f"{storage} {layout} {batch}"] = hashlib.sha256(net(x[:batch]).tobytes()).hexdigest()
formats = [step.get("format", "") for step in net.kernels()["steps"]]
print(json.dumps({"isa": _core.cpu_isa(), "digests": digests, "formats": formats}))
"""


def run_with(isa, program):
    env = dict(os.environ, FASTALEX_CPU_ISA=isa)
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)


def levels():
    """The names of all levels of this build."""
    refusal = run_with("none", "from fastalex import _core; _core.cpu_isa()").stderr
    return re.search(r"is none of: (.*)", refusal).group(1).split(", ")


@pytest.mark.slow
def test_int8_has_the_same_bits_with_every_instruction_set():
    """v2 is left out: without fused multiply-adds, scaling a sum and adding the bias rounds twice."""
    answers = {}
    for isa in levels():
        done = run_with(isa, NETS)
        if done.returncode:
            assert f"FASTALEX_CPU_ISA={isa}: " in done.stderr  # this processor, or its system, lacks it
            assert done.stderr.rstrip().endswith("unset the variable")
        elif isa != "v2":
            answers[isa] = json.loads(done.stdout)
            assert answers[isa]["isa"] == isa
    for answer in answers.values():
        assert answer["digests"] == next(iter(answers.values()))["digests"], list(answers)
    if "v3" in answers:
        assert any(text.startswith("winograd") for text in answers["v3"]["formats"])
