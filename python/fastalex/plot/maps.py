"""Figures that are pictures: filters, maps, neighbors, and what occlusion and Grad-CAM find."""

from __future__ import annotations

import os
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ..inspection import pictures
from ..inspection.gradcam import Cam
from ..inspection.occlusion import Occlusion
from .figure import label, new

_WIDTH = 3.4  # inches, a column of a journal's page
_OPACITY = 0.6  # of a heat map over a picture


def filters(blocks: Sequence[np.ndarray], title: Optional[str] = None) -> Any:
    """Draw conv1's kernels, a block for each column of the network: figure 3 of the paper.

    :param blocks: a result of :func:`fastalex.inspection.filters.filters`.
    """
    pages = [pictures.tiles(block, 16 if len(blocks) > 1 and len(block) >= 16 else None) for block in blocks]
    ratio = sum(len(page) for page in pages) / pages[0].shape[1]
    figure = new(_WIDTH, _WIDTH * ratio + 0.3 * len(pages) + 0.3, title)
    for number, (page, axes) in enumerate(zip(pages, figure.subplots(len(pages), 1, squeeze=False)[:, 0]), 1):
        _picture(axes, page)
        if len(pages) > 1:
            axes.set_title(f"column {number}: {len(blocks[number - 1])} filters", loc="left")
    return figure


def maps(values: np.ndarray, layer: str, title: Optional[str] = None) -> Any:
    """Draw all maps of a layer, ``[C, H, W]``, or the units of a vector, on one scale of colors."""
    cells = values if values.ndim == 3 else values.reshape(-1, 1, 1)
    page = pictures.tiles(cells.astype(np.float32), gap=int(cells.shape[1] > 1), background=np.nan)
    figure = new(_WIDTH + 0.7, _WIDTH * page.shape[0] / page.shape[1] + 0.4, title)
    axes = figure.add_subplot()
    _bar(figure, axes, axes.imshow(page), f"result of {label(layer)}")
    return figure


def one_map(picture: np.ndarray, values: np.ndarray, layer: str, unit: int, title: Optional[str] = None) -> Any:
    """Draw the picture that the network sees, and the map ``[H, W]`` of one unit beside it."""
    figure, (left, right) = _pair(title)
    _pixels(left, picture)
    _bar(figure, right, right.imshow(values), f"result of unit {unit} of {label(layer)}")
    return figure


def occlusion(picture: np.ndarray, found: Occlusion, name: str, title: Optional[str] = None) -> Any:
    """Draw the picture, and beside it the probability of the class ``name`` with the patch at each place."""
    figure, (left, right) = _pair(title)
    _pixels(left, picture)
    size = len(picture)
    drawn = right.imshow(found.probability, vmin=0, vmax=1, extent=(0, size, size, 0))
    _bar(figure, right, drawn, f"probability of {label(name)}\n({found.whole:.3f} without the patch)", ticks=True)
    right.set_xlabel(f"center of the patch of {found.patch} px (px)")
    return figure


def gradcam(picture: np.ndarray, found: Cam, name: str, title: Optional[str] = None) -> Any:
    """Draw the picture, and beside it what speaks for the class ``name``, over the picture in gray."""
    figure, (left, right) = _pair(title)
    _pixels(left, picture)
    right.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    heat = pictures.stretched(found.heat, picture.shape[:2])
    drawn = right.imshow(heat, vmin=0, vmax=1, alpha=_OPACITY)
    _bar(figure, right, drawn, f"Grad-CAM of {label(name)} at {found.layer},\nshare of the highest value", ticks=True)
    return figure


def neighbors(
    rows: Sequence[Tuple[str, np.ndarray, List[Tuple[str, float, np.ndarray]]]], title: Optional[str] = None
) -> Any:
    """Draw images, each with its nearest neighbors to the right: figure 4 of the paper, on the right.

    :param rows: for each image its path, its picture, and (path, distance, picture) of each neighbor.
    """
    columns = 1 + max(len(near) for _, _, near in rows)
    figure = new(1.1 * columns, 1.4 * len(rows) + 0.2, title)
    for (path, picture, near), line in zip(rows, figure.subplots(len(rows), columns, squeeze=False)):
        for axes in line:
            axes.set_axis_off()
        _picture(line[0], picture)
        line[0].set_title(label(os.path.basename(path), 20), fontsize=6, fontweight="bold")
        for axes, (other, distance, shown) in zip(line[1:], near):
            _picture(axes, shown)
            axes.set_title(f"{label(os.path.basename(other), 20)}\ndistance {distance:.4g}", fontsize=6)
    return figure


def _pair(title: Optional[str]) -> Tuple[Any, Any]:
    figure = new(2 * _WIDTH, 2.8, title)
    return figure, figure.subplots(1, 2)


def _picture(axes: Any, picture: np.ndarray) -> None:
    axes.imshow(picture)
    axes.set_axis_off()


def _pixels(axes: Any, picture: np.ndarray) -> None:
    """Draw the input of the network with its pixels counted."""
    axes.imshow(picture, extent=(0, picture.shape[1], picture.shape[0], 0))
    axes.set_xlabel("input of the network (px)")


def _bar(figure: Any, axes: Any, drawn: Any, text: str, ticks: bool = False) -> None:
    """Add the scale of colors, and remove the ticks of ``axes`` unless they count pixels."""
    figure.colorbar(drawn, ax=axes, label=text)
    if not ticks:
        axes.set_axis_off()
