"""The pictures of the gallery: matplotlib figures that a script has made, which pyplot does not know of."""

from __future__ import annotations

from typing import Any, Dict

from sphinx_gallery.scrapers import figure_rst

DPI = 130


def scrape(block: Any, block_vars: Dict[str, Any], gallery_conf: Dict[str, Any]) -> str:
    """Save the figures that this block of the script has made; return the text that shows them."""
    from matplotlib.figure import Figure

    paths = []
    for value in list(block_vars["example_globals"].values()):
        if isinstance(value, Figure) and not hasattr(value, "shown"):
            value.shown = True
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=DPI)
            paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])
