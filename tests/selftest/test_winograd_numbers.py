"""The constants of csrc/constants/winograd.h against Cook-Toom matrices computed from the points."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from fastalex.selftest import winograd_bounds

HEADER = Path(__file__).resolve().parents[2] / "csrc/constants/winograd.h"
DEFINITION = re.compile(r"#define FASTALEX_WINOGRAD_(\d)X(\d)_(POINTS|BT|AT)\s+((?:.*\\\n)*.*)")


def numbers():
    """{(m, r): {"POINTS": [...], "BT": ..., "AT": ...}} as the header has them, in float64."""
    found = {}
    for m, r, name, text in DEFINITION.findall(HEADER.read_text()):
        text = re.sub(r"(?<=\d)f\b", "", text.replace("\\\n", " "))
        values = ast.literal_eval(text.replace("{", "[").replace("}", "]"))
        found.setdefault((int(m), int(r)), {})[name] = np.array(values, np.float64)
    return found


def test_the_header_has_the_points_that_the_bounds_are_of():
    assert {form: tuple(each["POINTS"]) for form, each in numbers().items()} == winograd_bounds.POINTS


@pytest.mark.parametrize("form", winograd_bounds.POINTS, ids="{0[0]}x{0[1]}".format)
def test_matrices_are_those_of_their_points(form):
    at, _, bt = winograd_bounds.winograd_matrices(*form)
    written = numbers()[form]
    np.testing.assert_array_equal(written["AT"], at)
    np.testing.assert_array_equal(written["BT"], bt)
    for matrix in written.values():  # the kernels hold them in float
        np.testing.assert_array_equal(matrix, matrix.astype(np.float32))
