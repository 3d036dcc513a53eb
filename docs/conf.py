"""Settings of the site: python -m sphinx -W -b html docs build/site

docs/requirements.txt has its packages. API pages are those of the fastalex that is installed, or else read from python/
without compiling. The gallery runs its examples, which need the former and matplotlib; `-D plot_gallery=0` leaves them
out.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
if importlib.util.find_spec("fastalex") is None:
    import uncompiled

    sys.path.insert(1, str(ROOT / "python"))
    uncompiled.stand_in()

metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
urls = {name.lower(): url.rstrip("/") for name, url in metadata.get("urls", {}).items()}

project = metadata["name"]
author = metadata["authors"][0]["name"]
copyright = author  # Sphinx's own name for it
version = release = metadata["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "command_line",
    "outside",
    "descriptions",
]

# Where the site and the sources are. A fork's workflow publishes its own: it names both.
html_baseurl = os.environ.get("FASTALEX_SITE_URL", urls.get("documentation", "")).rstrip("/")
html_baseurl += "/" if html_baseurl else ""
outside_source_url = os.environ.get("FASTALEX_SOURCE_URL", urls.get("repository", urls.get("source", "")))
if html_baseurl:
    extensions.append("sphinx_sitemap")
    sitemap_url_scheme = "{link}"
    sitemap_show_lastmod = False

exclude_patterns = ["_ext", "requirements.txt", "**/sg_execution_times.rst", "sg_execution_times.rst"]
smartquotes = False  # they make a dash of an option's two hyphens
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "image_scrapers": ("figures.scrape",),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
}

html_theme = "furo"
html_title = f"fastalex {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
