"""How far a Winograd convolution of csrc/cuda/kernels/conv_winograd.cuh may be from the exact one, element by element.

winograd_bound: never farther. The standard analysis of rounding errors (Higham, Accuracy and Stability of Numerical
Algorithms, chapter 3): a sum of products whose terms take at most k roundings of relative size u each is off by at most
gamma(k) = k u / (1 - k u) times the sum of their magnitudes, |A^T| [ sum_c |G||g||G^T| . |B^T||d||B| ] |A|.

winograd_deviation: the standard deviation if roundings are independent of each other and of the terms' signs. Real
errors are like this and some hundred times smaller than the bound, which in fp16 is larger than the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

if TYPE_CHECKING:
    from .cases import Case

POINTS = {(2, 3): (0, 1, -1), (4, 3): (0, 1.5, -1.5, 0.625, -0.625), (3, 5): (0, 1, 0.5, -0.75, -1.25, 2.5)}
FLOAT, HALF = 2.0**-24, 2.0**-11  # unit roundoffs
HALF_TINY = 2.0**-25  # largest error of a result below the normal halves
# Mean square of a rounding's relative error, in units of u^2: uniform over +-u / mantissa, the mantissa's logarithm
# uniform over [1, 2): (1 / 3) (3 / 8) / ln 2.
MEAN_SQUARE = 0.125 / np.log(2)


def bound(
    case: Case, x: np.ndarray, params: Sequence[np.ndarray], form: str, half: bool, half_sum: int, deviations: float
) -> np.ndarray:
    """Error bound of ``case`` by the algorithm ``form`` (``winograd 2x3``), shaped like its result.

    In fp16 it is ``deviations`` standard deviations, each rounding's error taken at its largest (Hoeffding).
    """
    weight, bias, x, sizes = _as_stride_1(case, x, params, form)
    if not half:
        return winograd_bound(x, weight, *sizes, "float", bias=bias)
    return deviations * winograd_deviation(x, weight, *sizes, "half", half_sum, bias, mean_square=1.0)


def deviation(case: Case, x: np.ndarray, params: Sequence[np.ndarray], form: str, part: int) -> np.ndarray:
    """Standard deviation of the error of ``case`` in fp32 by the algorithm ``form``, shaped like its result.

    ``part``: channels that are summed before the sum is added to those before it.
    """
    weight, bias, x, sizes = _as_stride_1(case, x, params, form)
    return winograd_deviation(x, weight, *sizes, "float", bias=bias, part=part)


def _as_stride_1(case: Case, x: np.ndarray, params: Sequence[np.ndarray], form: str) -> Any:
    """(weight, bias, x, (pad, groups, m)) of the convolution that ``form`` computes, in blocks where it says so."""
    words = form.split()
    weight, bias = params
    pad, groups, m = int(case.options["pad"]), int(case.options["groups"]), int(words[1].split("x")[0])
    if words[2:4] == ["of", "blocks"]:
        x, weight = in_blocks(x, weight, pad, int(words[4]), case.options["rounding"] == "ceil")
        pad = 0
    return weight, bias, x, (pad, groups, m)


def in_blocks(x, w, pad, block, rounds_up=False):
    """The convolution of stride ``block`` as one of stride 1 without padding: pixel (dy, dx) of each block of the
    padded input becomes channel c block^2 + dy block + dx, and the weights are cut likewise, zeros filling their last
    blocks.

    x [N, C, H, W], w [K, C, r, r]; returns [N, C block^2, H', W'] and [K, C block^2, r', r'], r' = ceil(r / block).
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


def _channels_of_blocks(x, block):
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // block, block, w // block, block)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(n, c * block**2, h // block, w // block)


def winograd_matrices(m, r):
    """A^T [m, n], G [n, r] and B^T [n, n] of F(m, r), n = m + r - 1, by the Cook-Toom construction."""
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
    """The transforms of one convolution, by any matrices: of x [N, C, H, W], w [K, C / groups, r, r], and back."""

    def __init__(self, x, w, pad, groups, m):
        self.batch, self.groups, self.pad, self.m = x.shape[0], groups, pad, m
        self.channels, r = w.shape[1:3]
        self.n = m + r - 1
        self.out = [size + 2 * pad - r + 1 for size in x.shape[2:]]
        self.tiles = [-(-size // m) for size in self.out]

    def inputs(self, x, bt):
        """B^T d B: [n n, groups, tiles, channels]."""
        sizes = [max(tiles * self.m + self.n - self.m, size + self.pad) for tiles, size in zip(self.tiles, x.shape[2:])]
        padded = np.zeros((*x.shape[:2], *sizes))
        padded[:, :, self.pad : self.pad + x.shape[2], self.pad : self.pad + x.shape[3]] = x
        rows, columns = (np.arange(tiles)[:, None] * self.m + np.arange(self.n) for tiles in self.tiles)
        v = bt @ padded[:, :, rows[:, None, :, None], columns[None, :, None, :]] @ bt.T
        v = v.reshape(self.batch, self.groups, self.channels, -1, self.n**2).transpose(4, 1, 0, 3, 2)
        return v.reshape(self.n**2, self.groups, -1, self.channels)

    def weights(self, w, g):
        """G g G^T: [n n, groups, channels, rows]."""
        return (g @ w @ g.T).reshape(self.groups, -1, self.channels, self.n**2).transpose(3, 0, 2, 1)

    def outputs(self, products, at):
        """A^T m A of [n n, groups, tiles, rows]: [N, K, out_h, out_w]."""
        rows = products.shape[3]
        tiles = products.reshape(self.n, self.n, self.groups, self.batch, *self.tiles, rows)
        y = np.einsum("ip,pqgnyxo,jq->ngoyixj", at, tiles, at, optimize=True)
        y = y.reshape(self.batch, self.groups * rows, self.tiles[0] * self.m, self.tiles[1] * self.m)
        return y[:, :, : self.out[0], : self.out[1]]


def longest_row(matrix):
    """Roundings of a sum along a row of a transform: one for each factor that is not 0."""
    return int(np.count_nonzero(matrix, axis=1).max())


def gamma(count, unit):
    return count * unit / (1 - count * unit)


def column(bias):
    return 0 if bias is None else np.asarray(bias, np.float64).reshape(1, -1, 1, 1)


def winograd_bound(x, w, pad, groups, m, dtype, half_sum=32, bias=None):
    """Bound of |computed - exact|; ReLU and tanh do not enlarge it, but tanhf's own error comes on top.

    x [N, C, H, W]: the input as the tensor holds it. w [K, C / groups, r, r]: float32, not rounded to half. bias [K].
    dtype: "float" or "half", that of tensors and transformed weights. half_sum: products of a chunk that is summed in
    half; for dtype "half" only. Returns [N, K, H + 2 pad - r + 1, W + 2 pad - r + 1].
    """
    x, w = np.abs(np.asarray(x, np.float64)), np.abs(np.asarray(w, np.float64))
    at, g, bt = (np.abs(matrix) for matrix in winograd_matrices(m, w.shape[2]))
    tiles = Tiles(x, w, pad, groups, m)
    v, u = tiles.inputs(x, bt), tiles.weights(w, g)
    channels = tiles.channels
    in_float = 2 * longest_row(bt) + 2 * longest_row(at) + 1  # one for the transform of the weights, in double
    in_half = 0
    if dtype == "float":
        in_float += 1 + channels  # stored weights, products
    else:
        # Stored weights and inputs, half of a chunk's products (even and odd ones are summed apart), the sum of the
        # two, and the stored sum of all chunks.
        in_half = 2 + half_sum // 2 + 1 + 1
        in_float += -(-channels // half_sum)
    relative = (1 + gamma(in_half, HALF)) * (1 + gamma(in_float, FLOAT)) - 1
    size = tiles.outputs(v @ u, at)
    bound = relative * size
    if dtype == "half":
        # Stored weights, stored inputs, each product and the stored sum may also be off by a tiny amount. A stored
        # input is a quarter, and so are the products.
        tiny = v.sum(3, keepdims=True) + 4 * u.sum(2, keepdims=True) + 4 * (channels + 1)
        bound += (1 + relative) * HALF_TINY * tiles.outputs(tiny, at)
    # The sum with the bias and the result are rounded once each.
    size += bound + np.abs(column(bias))
    bound += FLOAT * size
    if dtype == "half":
        bound += HALF * (1 + FLOAT) * size + HALF_TINY
    return bound


def winograd_deviation(x, w, pad, groups, m, dtype, half_sum=32, bias=None, mean_square=MEAN_SQUARE, part=None):
    """Standard deviation of computed - exact before the activation; arguments and shape as of winograd_bound.

    A sum of k terms t in sequence is rounded k times, its i-th partial sum has the variance of i terms: k (k + 1) / 2
    mean squares of a term, (k + 1) / 2 for each. The products of fp32 are summed in parts of ``part`` channels
    (default: one part), and then the parts.
    """
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    at, g, bt = winograd_matrices(m, w.shape[2])
    tiles = Tiles(x, w, pad, groups, m)
    v, u = tiles.inputs(x, bt), tiles.weights(w, g)
    float_square, half_square = mean_square * FLOAT**2, mean_square * HALF**2
    products, squares = v @ u, v**2 @ u**2
    transformed = longest_row(bt) * float_square * (tiles.inputs(x**2, bt**2) @ u**2)
    if dtype == "float":
        part = min(part or tiles.channels, tiles.channels)
        parts = -(-tiles.channels // part)
        rounded = (part + 1) / 2 + ((parts + 1) / 2 if parts > 1 else 0)
        variance = (1 + rounded) * float_square * squares  # stored weights, products
        result = float_square
    else:
        # Stored weights and inputs, a chunk's sums and the sum of the two, and the stored sum of all chunks.
        variance = (2 + (half_sum // 2 + 1) / 2 + 1) * half_square * squares + half_square * products**2
        result = half_square
        # Below the normal halves, where these are all there is.
        tiny = (v**2).sum(3, keepdims=True) + 16 * (u**2).sum(2, keepdims=True) + 16 * (tiles.channels + 1)
        variance += HALF_TINY**2 / 3 * tiny
    variance += transformed + longest_row(at) * float_square * products**2
    y = tiles.outputs(products, at) + column(bias)
    return np.sqrt(tiles.outputs(variance, at**2) + (result + float_square) * y**2)
