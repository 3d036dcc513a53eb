"""What is done to the values of a layer before they are stored: mean over space, random projection, components."""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np

from ..errors import UserError
from . import packages

Step = Callable[[np.ndarray], np.ndarray]  # float32 [N, ...] -> float32 [N, ...], each row by itself


class Reductions(NamedTuple):
    """The reductions that a user asks for, applied in this order; ``project`` and ``pca`` exclude each other."""

    spatial_mean: bool = False
    project: Optional[int] = None  # number of features kept
    seed: int = 0
    pca: Optional[int] = None  # number of components


def spatial_mean(values: np.ndarray) -> np.ndarray:
    """Average maps ``[N, C, H, W]`` over space, to ``[N, C]``; rows of features stay as they are."""
    if values.ndim != 4:
        return values
    return values.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)


class Projection:
    """A sparse random projection to ``count`` features, by scikit-learn.

    Its matrix has an entry of 0 in most places and of plus or minus one size in others, with the density ``1 /
    sqrt(features)`` of Li, Hastie & Church, "Very Sparse Random Projections", KDD 2006: distances are kept as by a
    Gaussian matrix (Johnson & Lindenstrauss), for a square root of its memory and time. A row's sums have the same
    order in a batch of any size.

    :raises UserError: where it is used, for fewer features than ``count``.
    """

    def __init__(self, layer: str, count: int, seed: int) -> None:
        self._layer, self._count, self._seed = layer, count, seed
        self._fitted: Any = None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Project rows ``[N, ...]`` to ``[N, count]``."""
        flat = values.reshape(len(values), -1).astype(np.float64)
        if self._fitted is None:
            check_count(self._layer, flat.shape[1], self._count, "project")
            random = packages.needed("sklearn.random_projection", "a random projection")
            made = random.SparseRandomProjection(self._count, random_state=self._seed)
            self._fitted = made.fit(flat[:1])
        return np.asarray(self._fitted.transform(flat), np.float32)


class Components:
    """Coordinates along principal components.

    :param fitted: ``mean_`` ``[features]`` and ``components_`` ``[count, features]``, as scikit-learn calls them.
    """

    def __init__(self, fitted: Dict[str, np.ndarray]) -> None:
        self._mean, self._components = fitted["mean_"], fitted["components_"]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return ``(row - mean) @ components.T`` of rows ``[N, ...]``, as ``[N, count]``."""
        flat = values.reshape(len(values), -1).astype(np.float64)
        if flat.shape[1] != len(self._mean):
            raise UserError(f"the components are of {len(self._mean)} features, not of {flat.shape[1]}")
        with one_thread():
            return np.asarray((flat - self._mean) @ self._components.T, np.float32)


def check_count(layer: str, features: int, count: int, option: str) -> None:
    """Check that ``layer`` has at least ``count`` features.

    :raises UserError: if it has fewer.
    """
    if count > features:
        raise UserError(f"'{layer}' has {features} features, fewer than {option} asks for ({count})")


def one_thread() -> Any:
    """Return a context manager of one thread for BLAS and LAPACK, whose sums depend on how many there are."""
    return _controller().limit(limits=1)


@functools.lru_cache(maxsize=None)
def _controller() -> Any:
    packages.needed("sklearn.decomposition", "a PCA")  # loads the libraries that are to be controlled
    return packages.needed("threadpoolctl", "a PCA").ThreadpoolController()
