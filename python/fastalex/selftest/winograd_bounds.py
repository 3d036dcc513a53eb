"""Error bounds of the Winograd convolutions of csrc/cuda/kernels/conv_winograd.cuh, for each value of a result.

:func:`winograd_bound` is the worst case, by the standard analysis of rounding errors (Higham, Accuracy and Stability of
Numerical Algorithms, chapter 3): a sum of products whose terms take at most k roundings of relative size u each is off
by at most gamma(k) = k u / (1 - k u) times the sum of their magnitudes, |A^T| [ sum_c |G||g||G^T| . |B^T||d||B| ] |A|.

:func:`winograd_deviation` is the standard deviation for roundings that are independent of each other and of the signs
of the terms. Real errors are of this size, some hundred times smaller than the bound, which in fp16 exceeds the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional, Sequence, Tuple, Union

import numpy as np

if TYPE_CHECKING:
    from .cases import Case

#: Interpolation points of F(m, r), without infinity.
POINTS: Dict[Tuple[int, int], Tuple[float, ...]] = {
    (2, 3): (0, 1, -1),
    (4, 3): (0, 1.5, -1.5, 0.625, -0.625),
    (3, 5): (0, 1, 0.5, -0.75, -1.25, 2.5),
}
FLOAT, HALF = 2.0**-24, 2.0**-11  # unit roundoffs
HALF_TINY = 2.0**-25  # largest error of a result below the normal halves
# Mean square of a rounding's relative error, in units of u^2. The error is uniform over +-u / mantissa, and the
# logarithm of the mantissa uniform over [1, 2): (1 / 3) (3 / 8) / ln 2.
MEAN_SQUARE = float(0.125 / np.log(2))

#: (weight, bias, x, (pad, groups, m)) of a convolution of stride 1, whose output tiles have the side m.
Problem = Tuple[np.ndarray, np.ndarray, np.ndarray, Tuple[int, int, int]]


def bound(
    case: Case, x: np.ndarray, params: Sequence[np.ndarray], form: str, half_sum: int, deviations: float
) -> np.ndarray:
    """Bound the error of ``case`` by the algorithm ``form`` (``winograd 2x3``), for each value of its result.

    For products in fp16 it is ``deviations`` standard deviations, with the largest error for each rounding (Hoeffding).
    """
    weight, bias, x, sizes = _as_stride_1(case, x, params, form)
    if not half_sum:  # products, and what they are made of, in fp32; the tensors may be fp16
        return winograd_bound(x, weight, *sizes, "float", bias=bias)
    return deviations * winograd_deviation(x, weight, *sizes, "half", half_sum, bias, mean_square=1.0)


def deviation(case: Case, x: np.ndarray, params: Sequence[np.ndarray], form: str, part: int) -> np.ndarray:
    """Estimate the standard deviation of the error of ``case`` in fp32 by ``form``, for each value of its result.

    ``part`` is the number of channels in each partial sum.
    """
    weight, bias, x, sizes = _as_stride_1(case, x, params, form)
    return winograd_deviation(x, weight, *sizes, "float", bias=bias, part=part)


def _as_stride_1(case: Case, x: np.ndarray, params: Sequence[np.ndarray], form: str) -> Problem:
    """Return (weight, bias, x, (pad, groups, m)) of the stride 1 convolution that ``form`` computes."""
    words = form.split()
    weight, bias = params
    pad, groups, m = int(case.options["pad"]), int(case.options["groups"]), int(words[1].split("x")[0])
    if words[2:4] == ["of", "blocks"]:
        x, weight = in_blocks(x, weight, pad, int(words[4]), case.options["rounding"] == "ceil")
        pad = 0
    return weight, bias, x, (pad, groups, m)


def in_blocks(
    x: np.ndarray, w: np.ndarray, pad: int, block: int, rounds_up: bool = False
) -> Tuple[np.ndarray, np.ndarray]:
    """Turn a convolution of stride ``block`` into one of stride 1 without padding.

    Pixel (dy, dx) of each block of the padded input becomes channel c block^2 + dy block + dx. The weights are split
    likewise, with zeros in their last blocks.

    :param x: ``[N, C, H, W]``.
    :param w: ``[K, C, r, r]``.
    :param rounds_up: the size of the output is rounded up.
    :returns: ``[N, C block^2, H', W']`` and ``[K, C block^2, r', r']``, r' = ceil(r / block).
    """
    kernel = -(-w.shape[2] // block)
    room = [side + 2 * pad - w.shape[2] for side in x.shape[2:]]
    out = [(-(-rest // block) if rounds_up else rest // block) + 1 for rest in room]
    sides = [block * (side + kernel - 1) for side in out]
    padded = np.zeros((*x.shape[:2], *(max(side, pad + size) for side, size in zip(sides, x.shape[2:]))), x.dtype)
    padded[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]] = x
    weights = np.zeros((*w.shape[:2], block * kernel, block * kernel), w.dtype)
    weights[:, :, : w.shape[2], : w.shape[3]] = w
    return _channels_of_blocks(padded[:, :, : sides[0], : sides[1]], block), _channels_of_blocks(weights, block)


def _channels_of_blocks(x: np.ndarray, block: int) -> np.ndarray:
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // block, block, w // block, block).transpose(0, 1, 3, 5, 2, 4)
    channels: np.ndarray = blocks.reshape(n, c * block**2, h // block, w // block)
    return channels


def winograd_matrices(m: int, r: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Construct A^T [m, n], G [n, r] and B^T [n, n] of F(m, r), n = m + r - 1, by Cook and Toom."""
    points = POINTS[m, r]
    n = m + r - 1
    at, g, bt = np.zeros((m, n)), np.zeros((n, r)), np.zeros((n, n))
    for j, point in enumerate(points):
        others = [p for p in points if p != point]
        at[:, j] = [float(point) ** i for i in range(m)]
        g[j] = [float(point) ** i / np.prod([point - p for p in others]) for i in range(r)]
        bt[j, : n - 1] = np.poly(others)[::-1]
    at[-1, -1] = g[-1, -1] = 1
    bt[-1] = np.poly(points)[::-1]
    return at, g, bt


class Tiles:
    """The transforms of a convolution of x [N, C, H, W] with w [K, C / groups, r, r], by any matrices."""

    def __init__(self, x: np.ndarray, w: np.ndarray, pad: int, groups: int, m: int) -> None:
        self.batch, self.groups, self.pad, self.m = x.shape[0], groups, pad, m
        self.channels, r = w.shape[1:3]
        self.n = m + r - 1
        self.out = [size + 2 * pad - r + 1 for size in x.shape[2:]]
        self.tiles = [-(-size // m) for size in self.out]

    def inputs(self, x: np.ndarray, bt: np.ndarray) -> np.ndarray:
        """Transform the input by B^T d B to [n n, groups, tiles, channels]."""
        sizes = [max(tiles * self.m + self.n - self.m, size + self.pad) for tiles, size in zip(self.tiles, x.shape[2:])]
        padded = np.zeros((*x.shape[:2], *sizes))
        padded[:, :, self.pad : self.pad + x.shape[2], self.pad : self.pad + x.shape[3]] = x
        rows, columns = (np.arange(tiles)[:, None] * self.m + np.arange(self.n) for tiles in self.tiles)
        v: np.ndarray = bt @ padded[:, :, rows[:, None, :, None], columns[None, :, None, :]] @ bt.T
        v = v.reshape(self.batch, self.groups, self.channels, -1, self.n**2).transpose(4, 1, 0, 3, 2)
        return v.reshape(self.n**2, self.groups, -1, self.channels)

    def weights(self, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Transform the weights by G g G^T to [n n, groups, channels, rows]."""
        u = (g @ w @ g.T).reshape(self.groups, -1, self.channels, self.n**2)
        transformed: np.ndarray = u.transpose(3, 0, 2, 1)
        return transformed

    def outputs(self, products: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Transform products m [n n, groups, tiles, rows] by A^T m A to [N, K, out_h, out_w]."""
        rows = products.shape[3]
        tiles = products.reshape(self.n, self.n, self.groups, self.batch, *self.tiles, rows)
        y: np.ndarray = np.einsum("ip,pqgnyxo,jq->ngoyixj", at, tiles, at, optimize=True)
        y = y.reshape(self.batch, self.groups * rows, self.tiles[0] * self.m, self.tiles[1] * self.m)
        return y[:, :, : self.out[0], : self.out[1]]


def longest_row(matrix: np.ndarray) -> int:
    """Count the roundings of a sum along a row of a transform, one for each factor other than 0."""
    return int(np.count_nonzero(matrix, axis=1).max())


def gamma(count: int, unit: float) -> float:
    """Bound the relative error after ``count`` roundings with the unit roundoff ``unit``."""
    return count * unit / (1 - count * unit)


def column(bias: Optional[np.ndarray]) -> Union[int, np.ndarray]:
    """Shape a bias [K] as [1, K, 1, 1]; return 0 for None."""
    return 0 if bias is None else np.asarray(bias, np.float64).reshape(1, -1, 1, 1)


def winograd_bound(
    x: np.ndarray,
    w: np.ndarray,
    pad: int,
    groups: int,
    m: int,
    dtype: str,
    half_sum: int = 32,
    bias: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Bound |computed - exact|. ReLU and tanh do not enlarge it; tanhf adds its own error.

    :param x: ``[N, C, H, W]``, the input as the tensor has it.
    :param w: ``[K, C / groups, r, r]``, float32, not rounded to half.
    :param m: side of a tile of the output.
    :param dtype: of tensors and transformed weights, ``"float"`` or ``"half"``.
    :param half_sum: products of a chunk that is summed in half; for ``"half"`` only.
    :param bias: ``[K]``.
    :returns: ``[N, K, H + 2 pad - r + 1, W + 2 pad - r + 1]``.
    """
    x, w = np.abs(np.asarray(x, np.float64)), np.abs(np.asarray(w, np.float64))
    at, g, bt = (np.abs(matrix) for matrix in winograd_matrices(m, w.shape[2]))
    tiles = Tiles(x, w, pad, groups, m)
    v, u = tiles.inputs(x, bt), tiles.weights(w, g)
    channels = tiles.channels
    in_float = 2 * longest_row(bt) + 2 * longest_row(at) + 1  # one for the weights, transformed in double
    in_half = 0
    if dtype == "float":
        in_float += 1 + channels  # stored weights, products
    else:
        # Stored weights and inputs, half of a chunk's products (even and odd ones have a sum each), the sum of the two,
        # and the stored sum of all chunks.
        in_half = 2 + half_sum // 2 + 1 + 1
        in_float += -(-channels // half_sum)
    relative = (1 + gamma(in_half, HALF)) * (1 + gamma(in_float, FLOAT)) - 1
    products: np.ndarray = v @ u
    size = tiles.outputs(products, at)
    bound: np.ndarray = relative * size
    if dtype == "half":
        # Underflow of stored weights, stored inputs, products and the stored sum. Stored inputs are scaled by a
        # quarter, and so are the products.
        tiny = v.sum(3, keepdims=True) + 4 * u.sum(2, keepdims=True) + 4 * (channels + 1)
        bound += (1 + relative) * HALF_TINY * tiles.outputs(tiny, at)
    # The sum with the bias, and the result, are rounded once each.
    size += bound + np.abs(column(bias))
    bound += FLOAT * size
    if dtype == "half":
        bound += HALF * (1 + FLOAT) * size + HALF_TINY
    return bound


def winograd_deviation(
    x: np.ndarray,
    w: np.ndarray,
    pad: int,
    groups: int,
    m: int,
    dtype: str,
    half_sum: int = 32,
    bias: Optional[np.ndarray] = None,
    mean_square: float = MEAN_SQUARE,
    part: Optional[int] = None,
) -> np.ndarray:
    """Estimate the standard deviation of computed - exact before the activation; see :func:`winograd_bound`.

    A sum of k terms in sequence is rounded k times, and its i-th partial sum has the variance of i terms: k (k + 1) / 2
    mean squares of a term in all, (k + 1) / 2 for each term.

    :param mean_square: of the relative error of a rounding, in units of u^2.
    :param part: channels in each partial sum of fp32 products; default: one sum.
    """
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    at, g, bt = winograd_matrices(m, w.shape[2])
    tiles = Tiles(x, w, pad, groups, m)
    v, u = tiles.inputs(x, bt), tiles.weights(w, g)
    float_square, half_square = mean_square * FLOAT**2, mean_square * HALF**2
    products: np.ndarray = v @ u
    squares: np.ndarray = v**2 @ u**2
    transformed: np.ndarray = longest_row(bt) * float_square * (tiles.inputs(x**2, bt**2) @ u**2)
    if dtype == "float":
        part = min(part or tiles.channels, tiles.channels)
        parts = -(-tiles.channels // part)
        rounded = (part + 1) / 2 + ((parts + 1) / 2 if parts > 1 else 0)
        variance: np.ndarray = (1 + rounded) * float_square * squares  # stored weights, products
        result = float_square
    else:
        # Stored weights and inputs, a chunk's sums and the sum of the two, and the stored sum of all chunks.
        variance = (2 + (half_sum // 2 + 1) / 2 + 1) * half_square * squares + half_square * products**2
        result = half_square
        # Errors of values below the normal halves.
        tiny = (v**2).sum(3, keepdims=True) + 16 * (u**2).sum(2, keepdims=True) + 16 * (tiles.channels + 1)
        variance += HALF_TINY**2 / 3 * tiny
    variance += transformed + longest_row(at) * float_square * products**2
    y = tiles.outputs(products, at) + column(bias)
    standard: np.ndarray = np.sqrt(tiles.outputs(variance, at**2) + (result + float_square) * y**2)
    return standard
