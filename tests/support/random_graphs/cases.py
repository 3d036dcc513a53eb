"""Cases of generated graphs: the reference result of another program, and the outcome of fastalex on the same file."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from fastalex import AlexNet
from fastalex.errors import UserError

U = 2.0**-24
#: Deviations that a sum of independent rounding errors is allowed, as in fastalex.selftest.bounds.
DEVIATIONS = 7.0
#: How much more a convolution of that side rounds by Winograd's algorithm: the root mean square of what is added up for
#: an output of F(4 x 4, 3 x 3) and F(3 x 3, 5 x 5), whose matrices stand in csrc/cpu/kernels/winograd.h, relative to
#: that of the direct sum. It is the root of sum_i,j A_i^2 A_j^2 (G_i^2 B_i^2)(G_j^2 B_j^2) over r^2.
WINOGRAD = {3: 8.2, 5: 17.2}
#: Roundings beside the sum of products in a layer: the bias, the activation (a function of 8), LRN (a window of 7 and a
#: power), a scale or two.
OTHERS = 40
#: A network whose answers to two pictures differ by less than this part of the largest is no witness: it is dead.
ALIVE = 1e-2

EQUAL, REFUSED, UNEXPLAINED, WRONG = "equal", "refused", "refused without its cause", "wrong"


class Oddity(NamedTuple):
    """A deviation from the family; a refusal must match the ``words`` of one of the case's oddities."""

    name: str
    words: str


class Kind(NamedTuple):
    """A kind of oddity: the words of its refusals, and its change of a draft."""

    words: str
    change: Callable[[Any], None]


class Table(Dict[str, Kind]):
    """Kinds by their names."""

    def add(self, name: str, words: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
        """Register the decorated function."""

        def keep(change: Callable[[Any], None]) -> Callable[[Any], None]:
            self[name] = Kind(words, change)
            return change

        return keep


class Case(NamedTuple):
    """``data`` is a file called ``file``, ``x`` a batch of two, ``expected`` the results that are right (several where
    the file has several outputs), off by at most ``tolerance``. ``said`` describes everything random."""

    seed: int
    file: str
    data: bytes
    x: np.ndarray
    expected: Tuple[np.ndarray, ...]
    tolerance: float
    said: str
    oddities: Tuple[Oddity, ...]


class Outcome(NamedTuple):
    """``kind`` is one of the four words; ``ratio`` the largest difference over the tolerance, where there is one."""

    kind: str
    why: str
    ratio: float = math.nan
    warned: Tuple[str, ...] = ()


class Impossible(Exception):  # noqa: N818
    """The choices made no network: a map without pixels, or one that answers the same to everything."""


Maker = Callable[..., Case]


def tolerance_of(products: Sequence[int], sides: Sequence[int], scale: float) -> float:
    """Largest difference allowed between two fp32 programs that compute one chain.

    Each of the n products of a sum is rounded into a partial sum that is of the size of the result, so the errors,
    independent and at most U times that, come to at most DEVIATIONS U sqrt(n) of the result (Hoeffding's inequality).
    OTHERS are the layer's further roundings. Weights are as large as they must be to keep a signal's size, so a layer
    passes an error on as large as it came, relative to the signal: the errors of the layers add up. Both programs make
    them. ``scale`` is the largest of the last layer's results, times what its head does to a difference at most.

    :param products: n of each layer. :param sides: of its kernel, 1 if it has none: one of the programs may sum those
        of 3 and 5 by Winograd's algorithm.
    """
    parts = []
    for count, side in zip(products, sides):
        parts.append((1 + WINOGRAD.get(side, 1.0)) * math.sqrt(count) + 2 * math.sqrt(OTHERS))
    return DEVIATIONS * U * sum(parts) * scale


def check_alive(results: np.ndarray) -> None:
    """:raises Impossible: if the two pictures of the batch give the same."""
    largest = np.abs(results).max()
    if not np.isfinite(results).all() or largest < 1e-2 or np.abs(results[0] - results[1]).max() < ALIVE * largest:
        raise Impossible


def first_possible(seed: int, draw: Callable[[np.random.Generator], Case], attempts: int = 60) -> Case:
    """The first of the seed's draws that makes a network."""
    for attempt in range(attempts):
        try:
            return draw(np.random.default_rng([seed, attempt]))
        except Impossible:
            continue
    raise AssertionError(f"seed {seed} makes no network in {attempts} draws")


def choose_oddities(rng: np.random.Generator, table: Dict[str, Any], most: int = 2) -> List[str]:
    """Draw up to ``most`` names of ``table``, in random order."""
    count = int(rng.choice(most + 1, p=_shares(most)))
    return [str(name) for name in rng.permutation(sorted(table))[:count]]


def _shares(most: int) -> List[float]:
    """The plain ones are two in five."""
    return [0.4] + [0.6 / most] * most if most else [1.0]


def outcome(case: Case, folder: Path) -> Outcome:
    """Load the file as a user would and compare. A refusal counts only if it gives the reason."""
    path = folder / case.file
    path.write_bytes(case.data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = AlexNet(weights=path, device="cpu")(np.ascontiguousarray(case.x, np.float32))
        except UserError as error:
            return _refusal(case, str(error))
        except Exception as error:  # noqa: BLE001 - the test looks for any other exception
            return Outcome(WRONG, f"{type(error).__name__}: {error}")
    warned = tuple(str(one.message) for one in caught)
    differences = [_difference(result, right) for right in case.expected]
    best = min(differences)
    if best <= case.tolerance:
        return Outcome(EQUAL, "", best / case.tolerance, warned)
    right = case.expected[differences.index(best)]
    why = f"off by {best:.3g} of {np.abs(right).max():.3g}, allowed are {case.tolerance:.3g}"
    why += f": it gives {_short(result)}, right is {_short(right)}"
    return Outcome(WRONG, why, best / case.tolerance, warned)


def _difference(result: np.ndarray, right: np.ndarray) -> float:
    if result.shape != right.shape:
        return math.inf
    difference = float(np.abs(result - right).max())
    return math.inf if math.isnan(difference) else difference


def _short(array: np.ndarray) -> str:
    return f"{list(array.shape)} {np.array2string(np.ravel(array)[:4], precision=4)} ..."


def _refusal(case: Case, sentence: str) -> Outcome:
    """The path is no part of what it says: it could name anything."""
    text = re.sub(rf"\S*{re.escape(case.file)}", "the file", sentence)
    if "\n" in sentence:
        return Outcome(WRONG, f"a refusal of several lines: {sentence}")
    if not case.oddities:
        return Outcome(UNEXPLAINED, f"it has no oddity: {text}")
    if not any(re.search(oddity.words, text, re.IGNORECASE) for oddity in case.oddities):
        return Outcome(UNEXPLAINED, f"for none of its oddities: {text}")
    return Outcome(REFUSED, text)


def report(case: Case, found: Outcome) -> str:
    """Report of one case for a failing test."""
    names = ", ".join(oddity.name for oddity in case.oddities) or "none"
    lines = [f"seed {case.seed} ({case.file}), oddities: {names}", "  " + case.said, "  {}: {}".format(*found[:2])]
    return "\n".join(lines + [f"  warned: {sentence}" for sentence in found.warned])
