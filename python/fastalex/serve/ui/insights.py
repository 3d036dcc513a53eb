"""What the page tells of networks, as plain values: the functions of :mod:`fastalex.inspection` in the page's words."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..served import Served
from . import sprites
from .jobs import Report
from .pictures import Pictures, facts

DIGITS = 5  # significant digits of values in JSON: as many as a page shows, in a third of the bytes
NEIGHBORS, LIKED = 8, 4  # pictures that are shown
PLACES = 13  # of occlusion, along each side
CHANGED = 8  # classes whose probabilities are compared


def layer_names(variant: Any) -> List[str]:
    """Return the layers that the page shows: all but dropout, which passes its input on."""
    return [layer.name for layer in variant.layers() if layer.op != "dropout"]


def as_maps(values: np.ndarray) -> np.ndarray:
    """Return one image's values ``[1, C, H, W]`` or ``[1, features]`` as ``[units, H, W]``."""
    one: np.ndarray = values[0]
    return one if one.ndim == 3 else one.reshape(-1, 1, 1)


def model_facts(served: Served) -> Dict[str, Any]:
    """Return the layers, classes and settings of a model."""
    net = served.net
    shown = set(layer_names(net.variant))
    row = net.variant.layers()[0]
    return {
        "name": served.name,
        "variant": net.variant.name,
        "device": net.device,
        "precision": net.precision,
        "fc_weights": net.fc_weights,
        "threads": net.threads,
        "input": net.variant.input_size,
        "classes": net.variant.num_classes,
        "labels": served.labels or [str(number) for number in range(net.variant.num_classes)],
        "filters": {
            "count": row.out_shape[0],
            "side": row.options["kernel"],
            "across": sprites.columns(row.out_shape[0]),
            "groups": net.variant.columns,
        },
        "layers": [_layer_row(layer) for layer in net.variant.layers() if layer.name in shown],
    }


def _layer_row(layer: Any) -> Dict[str, Any]:
    shape = [*layer.out_shape, 1, 1][:3]
    return {"name": layer.name, "op": layer.op, "shape": shape, "across": sprites.columns(shape[0])}


def best(probabilities: np.ndarray, served: Served, count: int) -> List[Dict[str, Any]]:
    """Return the ``count`` most probable classes, the best first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [dict(_class(served, int(index)), probability=float(probabilities[index])) for index in order]


def _class(served: Served, index: int) -> Dict[str, Any]:
    return {"index": index, "label": served.labels[index] if served.labels else str(index)}


# Layers ---------------------------------------------------------------------------------------------------------------


def filters(net: Any) -> bytes:
    """Return conv1's filters in their colors, all columns in one sprite, as a PNG file."""
    from ...inspection import filters as pictures

    return sprites.pictures(np.concatenate(pictures.filters(net)))


def seen(served: Served, content: bytes) -> bytes:
    """Return the part of an image that the network sees, as a PNG file."""
    from PIL import Image

    from ...inspection import pictures

    return sprites.encoded(Image.fromarray(pictures.input_picture(served.net, content, served.spec.profile)))


def layer_facts(name: str, values: np.ndarray) -> Dict[str, Any]:
    """Return the range of a layer's values ``[units, H, W]`` and the share of zeros among them."""
    return {
        "name": name,
        "low": float(values.min()),
        "high": float(values.max()),
        "zeros": 1 - np.count_nonzero(values) / values.size,
    }


def peaks(values: np.ndarray) -> List[float]:
    """Return, for each unit of ``[units, H, W]``, the value that is farthest from zero."""
    flat = values.reshape(len(values), -1)
    return [rounded(value) for value in flat[np.arange(len(flat)), np.abs(flat).argmax(axis=1)]]


def rounded(value: Any) -> float:
    """Return a number with :data:`DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


# Explanations, which take a while -------------------------------------------------------------------------------------


def occlusion(served: Served, report: Report, content: bytes, index: int) -> Dict[str, Any]:
    """Return the probability of class ``index`` with a patch at each place, and without one."""
    from ...inspection import occlusion as maps

    found = maps.occlusion(served.net, content, index=index, places=PLACES, profile=served.spec.profile, report=report)
    return dict(_class(served, index), whole=float(found.whole), patch=int(found.patch), grid=_grid(found.probability))


def gradcam(served: Served, report: Report, content: bytes, index: int) -> Dict[str, Any]:
    """Return the Grad-CAM of class ``index``, from 0 to 1."""
    from ...inspection import gradcam as maps

    found = maps.gradcam(served.net, content, index=index, profile=served.spec.profile)
    return dict(_class(served, index), layer=found.layer, grid=_grid(found.heat))


def _grid(values: np.ndarray) -> List[List[float]]:
    return [[rounded(value) for value in row] for row in values]


def index_of(served: Served, report: Report, known: Pictures) -> Any:
    """Return the vectors of the searched folder at fc7; they are kept on disk from one start to the next."""
    from ...inspection import neighbors as search

    return search.build(served.net, known.searched, profile=served.spec.profile, report=report)


def neighbors(served: Served, known: Pictures, index: Any, content: bytes) -> Dict[str, Any]:
    """Return the pictures of the searched folder whose fc7 is nearest to an image's."""
    near = index.nearest(served.net, content, count=NEIGHBORS)
    return {
        "near": [dict(facts(known.at(one.path)), distance=rounded(one.distance)) for one in near],
        "searched": len(index.paths),
        "left_out": list(index.left_out.values()),
    }


def ranking_of(served: Served, report: Report, known: Pictures) -> Any:
    """Return the pictures of the searched folder that each unit likes most; they are kept on disk, too."""
    from ...inspection import units

    layers = layer_names(served.net.variant)
    return units.build(served.net, known.searched, layers, count=LIKED, profile=served.spec.profile, report=report)


def likes(served: Served, known: Pictures, ranking: Any, layer: str) -> Dict[str, Any]:
    """Return, for each unit of a layer, the numbers of the pictures that excite it most, with its values there."""
    count = next(row.out_shape[0] for row in served.net.variant.layers() if row.name == layer)
    places: Dict[str, int] = {}
    liked = [
        [[places.setdefault(one.path, len(places)), rounded(one.value)] for one in ranking.best(layer, unit)]
        for unit in range(count)
    ]
    return {"pictures": [facts(known.at(path)) for path in places], "units": liked}


# Two models -----------------------------------------------------------------------------------------------------------


def differences(one: Dict[str, np.ndarray], two: Dict[str, np.ndarray]) -> List[Dict[str, Any]]:
    """Return how far the layers that two networks share are apart: root mean squares, and the largest difference."""
    rows = []
    for name, values in one.items():
        if name not in two or two[name].shape != values.shape:
            continue
        apart = two[name].astype(np.float64) - values
        size, error = (float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (values, apart))
        rows.append(
            {
                "name": name,
                "rms": size,
                "error": error,
                "relative": error / size if size else None,
                "largest": float(np.abs(apart).max()),
            }
        )
    return rows


def class_differences(pair: Sequence[Served], odds: Sequence[np.ndarray]) -> List[Dict[str, Any]]:
    """Return the probabilities that two models give to the best classes of either, by label."""
    names = [_distinct(served, len(probabilities)) for served, probabilities in zip(pair, odds)]
    rows: Dict[Tuple[str, int], List[float]] = {}
    for known, served, probabilities in zip(names, pair, odds):
        for entry in best(probabilities, served, CHANGED):
            rows.setdefault(known[entry["index"]], [0.0, 0.0])
    for place, (known, probabilities) in enumerate(zip(names, odds)):
        for name, probability in zip(known, probabilities):
            if name in rows:
                rows[name][place] = float(probability)
    return [{"label": label, "probabilities": both} for (label, _), both in rows.items()]


def _distinct(served: Served, count: int) -> List[Tuple[str, int]]:
    """Return the labels, each with the number of equal ones before it: ImageNet has two cranes."""
    met: Dict[str, int] = {}
    names = []
    for label in served.labels or map(str, range(count)):
        names.append((label, met.get(label, 0)))
        met[label] = met.get(label, 0) + 1
    return names


# Times ----------------------------------------------------------------------------------------------------------------


def times(served: Served, report: Report) -> Dict[str, Any]:
    """Return the measured time of each step of the engine, and the least that its roofline allows."""
    from ...inspection import roofline

    found = roofline.measure(served.net)
    rows = [
        {
            "layers": list(row.layers),
            "ms": float(row.ms),
            "floor_ms": None if row.floor_ms is None else float(row.floor_ms),
            "bound": row.bound,
            "flop": float(row.flop),
            "bytes": float(row.bytes),
        }
        for row in found.rows
    ]
    return {"rows": rows, "batch": found.batch, "card": found.card, "basis": found.basis}


def trace(served: Served, report: Report) -> Dict[str, Any]:
    """Return a trace of a few runs, in the format that Perfetto opens."""
    from ...inspection import timeline

    return timeline.trace(served.net)
