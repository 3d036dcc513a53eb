"""The example of Spark on a session of this machine: the values of a read-out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastalex import readout
from tests.readout import stimuli

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "spark_readout.py"


@pytest.mark.spark
def test_the_example_has_the_values_of_a_read_out(net, tmp_path):
    images = stimuli.write_folder(tmp_path / "images", range(40))
    readout.read_out(net, str(images), str(tmp_path / "plain"), ["fc7"])
    words = [str(images / "*.png"), str(tmp_path / "out"), "--weights", "digits", "--layer", "fc7"]
    environment = dict(os.environ, PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1")
    subprocess.run([sys.executable, str(EXAMPLE), *words], check=True, timeout=300, env=environment)
    from pyarrow import parquet

    rows = sorted(parquet.read_table(tmp_path / "out").to_pylist(), key=lambda row: row["path"])
    results = readout.Results(str(tmp_path / "plain"))
    assert [Path(row["path"]).name for row in rows] == list(results.names())
    # Spark makes other batches, so that sums may be in another order: float32's roundings, relative to the largest.
    found, want = np.array([row["activations"] for row in rows], np.float32), results.rows("fc7", 0, 40)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())
