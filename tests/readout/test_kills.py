"""Thousands of small images in tar shards, killed at random moments and gone on with: to the bit, in bounded memory.

``.ci/steps/long_readout.sh`` does so with 200,000.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PEAK_MIB = 250  # of a process with numpy, Pillow and the network: 80 measured, and what chunks and libraries take


def run(folder, images, *words):
    program = [sys.executable, "-m", "tests.readout.killed", str(folder), "--images", str(images), *words]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_2000_images_killed_five_times(tmp_path):
    report = run(tmp_path, 2000)
    assert report["different"] == [] and report["left_out"] == 2
    assert len(report["kills"]) == 5 and max(report["kills"]) > 0
    assert report["peak_mib"] < PEAK_MIB and report["killed_peak_mib"] < PEAK_MIB
    assert report["codes"] == [2, 2]  # for the images that were left out
