"""Density: the share of the inputs of a fully connected layer that are not zero.

Behind a ReLU many inputs are zero, and products with them add nothing to a sum, so the time of fc6, fc7 and fc8 at
batch 1 can depend on the density of each. :func:`measure` counts the zeros of a network on given images, and
:func:`random_weights` draws weights whose layers have given densities, so that times can be compared.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from .errors import UserError
from .networks import activations, variants
from .networks.architecture import Variant
from .networks.layers import Layer
from .weights import initial

BATCH = 16  # images at once; their activations are most of the memory that counting needs
_SAME_ZEROS = ("relu", "maxpool", "adaptive_avgpool", "lrn", "spatial_norm")  # ops that keep or make zeros, no others
Densities = Tuple[float, ...]


def inputs(variant: Union[str, Variant]) -> Dict[str, str]:
    """Return, for the name of each fully connected layer, the layer whose result it reads.

    >>> inputs("torchvision")
    {'fc6': 'avgpool', 'fc7': 'relu6', 'fc8': 'relu7'}
    """
    sources, source = {}, ""
    for layer in variants.get(variant).layers():
        if layer.op == "fc":
            sources[layer.name] = source
        if layer.op != "dropout":  # the identity, in evaluation mode
            source = layer.name
    return sources


def measure(net: Any, images: Any) -> Dict[str, np.ndarray]:
    """Measure the density of each fully connected layer's input, for each image.

    >>> from fastalex import AlexNet
    >>> net = AlexNet(weights="digits", device="cpu")
    >>> density = measure(net, "examples/digits/digit-7-sample-0007.png")
    >>> {name: values.round(2).tolist() for name, values in density.items()}
    {'fc6': [0.52], 'fc7': [0.32], 'fc8': [0.41]}

    Zeros of either sign are zeros; NaN and infinity are not.

    :param net: an :class:`~fastalex.AlexNet` on any device, in any precision.
    :param images: images or a preprocessed batch, as for :meth:`fastalex.AlexNet.taps`.
    :returns: name of the layer -> shares from 0 to 1, float64 ``[N]``.
    :raises UserError: for an image that cannot be read, or a wrong batch.
    """
    sources = inputs(net.variant)
    found: Dict[str, List[np.ndarray]] = {name: [] for name in sources}
    for batch in _batches(images):
        results = net.taps(batch, list(sources.values()))
        for name, source in sources.items():
            values = np.asarray(results[source])
            found[name].append(np.count_nonzero(values.reshape(len(values), -1), axis=1) / values[0].size)
    return {name: np.concatenate(shares) if shares else np.empty(0) for name, shares in found.items()}


def random_weights(
    variant: Union[str, Variant],
    images: np.ndarray,
    density: Union[str, float, Sequence[float]],
    fc_weights: str = "fp32",
    seed: int = 0,
    threads: Optional[int] = None,
) -> Dict[str, np.ndarray]:
    """Draw random weights with which the inputs of fc6, fc7 and fc8 have the given ``density``.

    They are those of :func:`fastalex.weights.initial.random_weights`, but for the biases of conv5, fc6 and fc7. To each
    of these a constant is added, one layer after another, that leaves the share ``density`` of the next layer's inputs
    above zero: over all ``images`` together, and as nearly as the number of inputs allows (a pool's windows overlap, so
    that some of its results are equal). Equal arguments give equal arrays on one processor.

    :param variant: the network, which must have no activation but ReLU after conv5, fc6 and fc7.
    :param images: a preprocessed float32 batch ``[N, C, H, W]``, of finite numbers.
    :param density: above 0, at most 1, for the three layers; or a number for each of them (:func:`parse`).
    :param fc_weights: the format of the fully connected weights in the network that will run: rounding them moves the
        results a little.
    :param seed: as for :func:`fastalex.weights.initial.random_weights`.
    :param threads: as for :class:`~fastalex.AlexNet`.
    :raises UserError: for a wrong density, images that are not finite, or a network whose activations make no zeros.
    """
    from .model import AlexNet

    row = variants.get(variant)
    shares = parse(density)
    chains = _chains(row)
    arrays = initial.random_weights(row, seed)
    options: Dict[str, Any] = {"device": "cpu", "fc_weights": fc_weights, "threads": threads}
    for (layer, chain), share in zip(chains, shares):
        net = AlexNet(row, weights=arrays, **options)
        largest = [_largest(net.taps(batch, [layer.name])[layer.name], chain) for batch in _batches(images)]
        name = layer.param + ".bias"
        arrays[name] = arrays[name] + np.float32(_shift(np.concatenate(largest).ravel(), share))
    return arrays


def parse(density: Union[str, float, Sequence[float]]) -> Densities:
    """Return the densities of fc6, fc7 and fc8 from one number, three numbers, or text such as ``"0.35,0.35,0.375"``.

    >>> parse("0.35")
    (0.35, 0.35, 0.35)

    :raises UserError: unless there are one or three numbers above 0 and at most 1.
    """
    parts: Any = density.split(",") if isinstance(density, str) else density
    try:
        shares = tuple(float(part) for part in (parts if np.ndim(parts) else [parts]))
    except (TypeError, ValueError):
        shares = ()
    if len(shares) not in (1, 3) or not all(0 < share <= 1 for share in shares):
        raise UserError(
            "the density must be a number above 0 and at most 1, or three of them for fc6, fc7 and fc8 such as "
            f"0.35,0.35,0.375, not '{density!s:.40}'"
        )
    return shares if len(shares) == 3 else shares * 3


def in_words(density: Dict[str, float]) -> str:
    """Return the densities of layers as text: ``fc6 0.666, fc7 0.511, fc8 0.493``."""
    return ", ".join(f"{name} {share:.3f}" for name, share in density.items())


def means(density: Dict[str, np.ndarray]) -> Dict[str, float]:
    """Return the means over the images of a result of :func:`measure`."""
    return {name: float(shares.mean()) for name, shares in density.items()}


def _batches(images: Any) -> Iterator[Any]:
    """Yield ``images`` in parts of at most :data:`BATCH`."""
    if not isinstance(images, (list, tuple)) and not (isinstance(images, np.ndarray) and images.ndim == 4):
        yield images
        return
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def _chains(row: Variant) -> List[Tuple[Layer, List[Layer]]]:
    """Return conv5, fc6 and fc7, each with the layers between it and the next fully connected one.

    :raises UserError: if those make no zeros.
    """
    chains: List[Tuple[Layer, List[Layer]]] = []
    before: Optional[Layer] = None
    between: List[Layer] = []
    for layer in row.layers():
        if layer.op == "fc" and before is not None:
            chains.append((before, between))
            _check_zeros(row, before, between, layer)
        if layer.param:
            before, between = layer, []
        elif layer.op != "dropout":
            between.append(layer)
    return chains


def _check_zeros(row: Variant, before: Layer, between: List[Layer], after: Layer) -> None:
    ops = [layer.op for layer in between]
    if "relu" in ops and set(ops) <= set(_SAME_ZEROS):
        return
    words = [op for op in ops if op in activations.OPS] or ["no activation"]
    raise UserError(
        f"{row.name} has {words[0]} between {before.name} and {after.name}, which makes no zeros: a density can be "
        "chosen only for networks with relu there"
    )


def _largest(values: np.ndarray, chain: List[Layer]) -> np.ndarray:
    """Return, for each input of the next layer, the largest of the ``values`` before the ReLU that it is made of.

    With a constant added to the values, the input is above zero where this sum is: normalization keeps signs, a pool's
    result is above zero where one value in its window is, and ReLU may come before or after it.
    """
    for layer in chain:
        if layer.op in ("maxpool", "adaptive_avgpool"):
            for axis in (2, 3):
                spans = _windows(layer, axis - 1)
                values = np.stack([values.take(range(*span), axis).max(axis) for span in spans], axis)
    return values


def _windows(layer: Layer, axis: int) -> List[Tuple[int, int]]:
    """Return the first and the end of each window of a pool along ``axis`` of its shapes."""
    size, count = layer.in_shape[axis], layer.out_shape[axis]
    if layer.op == "adaptive_avgpool":
        return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    kernel, stride = layer.options["kernel"], layer.options["stride"]
    return [(i * stride, min(i * stride + kernel, size)) for i in range(count)]


def _shift(values: np.ndarray, share: float) -> float:
    """Return the constant that, added to ``values``, leaves ``share`` of them above zero, or the nearest possible.

    It lies halfway between two of the values, so that rounding moves as few as possible across zero.
    """
    falling = np.sort(values.astype(np.float64))[::-1]
    if not np.isfinite(falling).all():
        raise UserError("a density can be chosen only on images of finite numbers; these give NaN or infinity")
    count = len(falling)
    gaps = np.flatnonzero(falling[:-1] > falling[1:]) + 1  # numbers of values that a constant can separate
    choices = np.append(gaps, count)
    above = int(choices[np.argmin(np.abs(choices - share * count))])
    if above == count:  # all of them, by a margin: the least input must not round to zero
        return float(0.1 * (falling.std() or 1.0) - falling[-1])
    return float(-(falling[above - 1] + falling[above]) / 2)
