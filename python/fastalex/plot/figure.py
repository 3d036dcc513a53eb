"""Writing a figure: one look for all, the same bytes at every run, and text that stays text.

Class names and file names come from others. Matplotlib would read a dollar sign in them as mathematics, and SVG does
not allow control characters: :func:`label` escapes these, and :data:`LOOK` turns the former off.
"""

from __future__ import annotations

import io
import os
import warnings
from typing import Any, Callable, Dict, Optional

from .._util.files import replacing
from ..errors import UserError, one_line, printable

#: Suffix -> metadata that would differ from run to run, or between releases, and are left out.
FORMATS: Dict[str, Dict[str, Optional[str]]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
DPI = 300
MAX_LABEL = 40  # characters of a name that a figure shows
#: Colors that people with any color vision tell apart: Okabe and Ito, "Color Universal Design", 2008.
BLUE, ORANGE, GREEN, RED, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
COLORS = "viridis"  # of maps: even steps in gray, and read without red-green vision

LOOK = {
    "text.parse_math": False,
    "svg.fonttype": "none",  # text, not outlines
    "svg.hashsalt": "fastalex",  # names of clips and markers; random otherwise
    "pdf.fonttype": 42,  # TrueType, which editors take and journals ask for
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.linewidth": 0.6,
    "image.interpolation": "nearest",
    "image.cmap": COLORS,
    "savefig.dpi": DPI,
}


def check_path(path: str) -> str:
    """Return the suffix of a figure's path, in lower case.

    :raises UserError: if it is none of :data:`FORMATS`.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in FORMATS:
        raise UserError(f"a figure is a file that ends in {', '.join(FORMATS)}; '{path}' does not")
    return suffix


def label(text: str, longest: int = MAX_LABEL) -> str:
    """Return the start of a name as text that a figure can show on one line."""
    return printable(text) if len(text) <= longest else printable(text[: longest - 3]) + "..."


def new(width: float, height: float, title: Optional[str]) -> Any:
    """Make a ``matplotlib.figure.Figure``, sizes in inches, with a title if there is one. No window belongs to it."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    if title:
        made.suptitle(one_line(title), fontsize=9)
    return made


def write(path: str, draw: Callable[[], Any]) -> None:
    """Draw a figure in the look of all, and write it: a whole file or none.

    :param path: a name that ends in ``.png`` (300 dots an inch), ``.svg`` or ``.pdf``.
    :param draw: makes the figure, for instance a call of a function in :mod:`fastalex.plot.maps` or
        :mod:`fastalex.plot.charts`.
    :raises UserError: for another suffix, if matplotlib is missing, or if the file cannot be written.
    """
    suffix = check_path(path)
    style = _matplotlib_style()
    content = io.BytesIO()
    with style.context(["default", LOOK]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")  # a name in a script that the font lacks
        draw().savefig(content, format=suffix[1:], metadata=FORMATS[suffix])
    with replacing(path) as stream:
        stream.write(content.getvalue())


def _matplotlib_style() -> Any:
    try:
        from matplotlib import style
    except ImportError:
        raise UserError("figures are drawn by matplotlib; install it: pip install 'fastalex[plot]'") from None
    return style
