"""The comparison of two RDMs, with a confidence interval by bootstrap over the stimuli."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import numpy as np

from .._util import arguments
from ..errors import UserError, printable
from .files import Rdm
from .similarity import METHODS as _SIMILARITIES
from .similarity import pair_weights

METHODS = tuple(_SIMILARITIES)
CONFIDENCE = 0.95
_LEAST = 3  # distinct stimuli of a sample: with two there is one dissimilarity, and nothing to correlate


def compare(
    a: Rdm,
    b: Rdm,
    method: str = "spearman",
    bootstrap: int = 0,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    report: Optional[Callable[[int], None]] = None,
) -> Dict[str, Any]:
    """Correlate two RDMs of the same stimuli.

    The bootstrap draws as many stimuli as there are, with replacement, and takes the rows and columns of both RDMs for
    them, without the pairs of a stimulus with itself, whose dissimilarity is 0 by definition: as in Nili et al., "A
    toolbox for representational similarity analysis", PLoS Comput. Biol. 10(4):e1003553, 2014, and in rsatoolbox's
    ``bootstrap_sample_pattern``. The interval is from percentile to percentile of the samples' correlations; it says
    how the value varies with the choice of stimuli, and with nothing else. Samples of fewer than 3 distinct stimuli, or
    of equal dissimilarities, have no correlation: they are left out and counted as ``undefined``.

    :param method: one of :data:`METHODS`. ``"tau-a"`` suits RDMs with many ties (Nili et al.), and sorts each sample.
    :param bootstrap: the number of samples; 0 for none.
    :param seed: of numpy's default generator.
    :param confidence: of the interval, between 0 and 1.
    :param report: called with the number of samples done.
    :returns: ``method``, ``stimuli``, ``similarity``; with a bootstrap also ``low`` and ``high``, ``standard_error``,
        ``confidence``, ``bootstrap``, ``seed``, ``undefined``.
    :raises UserError: for an invalid argument, RDMs of other stimuli, or one whose dissimilarities are all equal.
    """
    arguments.one_of("method", method, METHODS)
    arguments.at_least("bootstrap", bootstrap, 0)
    arguments.at_least("seed", seed, 0)
    if not 0 < arguments.finite("confidence", confidence) < 1:
        raise UserError(f"confidence must be between 0 and 1, such as 0.95, not {arguments.brief(confidence)}")
    _check_stimuli(a, b)
    for rdm in (a, b):
        if rdm.values.min() == rdm.values.max() and (method != "cosine" or not rdm.values.any()):
            raise UserError(f"all dissimilarities in '{rdm.path}' are equal, so there is nothing to compare")
    similarity = _SIMILARITIES[method](a.values, b.values)
    value = similarity(np.ones(len(a.values), np.int64))
    result: Dict[str, Any] = {"method": method, "stimuli": a.stimuli, "similarity": value}
    if not bootstrap:
        return result
    generator = np.random.default_rng(seed)
    samples: List[float] = []
    for done in range(1, bootstrap + 1):
        counts = np.bincount(generator.integers(0, a.stimuli, a.stimuli), minlength=a.stimuli)
        enough = np.count_nonzero(counts) >= _LEAST
        samples.append(similarity(pair_weights(counts)) if enough else float("nan"))
        if report is not None:
            report(done)
    return {**result, **_interval(np.array(samples), confidence), "bootstrap": bootstrap, "seed": seed}


def _interval(samples: np.ndarray, confidence: float) -> Dict[str, Any]:
    defined = samples[~np.isnan(samples)]
    if len(defined) < 2:
        raise UserError("fewer than two bootstrap samples have a correlation; use more samples, or more stimuli")
    low, high = np.percentile(defined, [50 * (1 - confidence), 50 * (1 + confidence)])
    return {
        "low": float(low),
        "high": float(high),
        "standard_error": float(defined.std(ddof=1)),
        "confidence": confidence,
        "undefined": len(samples) - len(defined),
    }


def _check_stimuli(a: Rdm, b: Rdm) -> None:
    if a.stimuli != b.stimuli:
        raise UserError(
            f"'{a.path}' has {a.stimuli} stimuli and '{b.path}' has {b.stimuli}; RDMs are compared of the same stimuli"
        )
    if a.names is not None and b.names is not None and a.names != b.names:
        row = next(i for i, (x, y) in enumerate(zip(a.names, b.names)) if x != y)
        first, second = (printable(str(rdm.names[row])[:80]) for rdm in (a, b) if rdm.names)
        what = "the same stimuli in another order" if sorted(a.names) == sorted(b.names) else "other stimuli"
        raise UserError(
            f"the two RDMs are of {what}: number {row} is '{first}' in '{a.path}' and '{second}' in '{b.path}'"
        )
