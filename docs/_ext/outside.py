"""Pages and links of files outside docs/: a page is written once, for the repository and for the site.

The files of ``PAGES`` are copied into docs/generated/. In all pages, links that lead to a file of the repository are
turned to its page on the site, or, where it has none, to the file at ``outside_source_url``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MACHINES = "\n```{toctree}\n:hidden:\n:glob:\n\nresults-*\n```\n"  # below the results: a page each
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def pages() -> Dict[Path, str]:
    """File outside docs/ -> its name on the site."""
    found = {ROOT / f"{name}.md": f"generated/{name.lower()}" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")}
    found[ROOT / "benchmarks" / "RESULTS.md"] = "generated/results"
    found.update((path, f"generated/results-{path.stem}") for path in (ROOT / "benchmarks" / "results").glob("*.md"))
    found[ROOT / "benchmarks" / "predicted" / "roofline.md"] = "generated/roofline"
    found[ROOT / "README.md"] = "index"
    return found


def copy_pages(app: Any, config: Any) -> None:
    """Write docs/generated/, but for files that are as they should be, and drop what is no page any more."""
    folder = DOCS / "generated"
    folder.mkdir(exist_ok=True)
    wanted = {DOCS / f"{name}.md": path for path, name in pages().items() if name != "index"}
    for copy in set(folder.glob("*.md")) - set(wanted) - {folder / "command-line.md"}:
        copy.unlink()
    for copy, path in wanted.items():
        text = path.read_text(encoding="utf-8") + (MACHINES if path.name == "RESULTS.md" else "")
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


def turned(text: str, origin: Path, page: Path, source_url: str) -> str:
    """``text`` of the file ``origin`` with the links that it needs as ``page``.

    A link to what is not there stays as it is, so that Sphinx names it.
    """
    homes = pages()

    def turn(match: re.Match[str]) -> str:
        image, label, target, anchor = match.groups()
        path = Path(os.path.normpath(origin.parent / target))
        if "://" in target or not path.exists():
            return match.group()
        if path in homes:
            path = DOCS / f"{homes[path]}.md"
        elif not image and DOCS not in path.parents:
            if not source_url:
                return label
            kind = "tree" if path.is_dir() else "blob"
            return f"[{label}]({source_url}/{kind}/main/{path.relative_to(ROOT).as_posix()}{anchor or ''})"
        elif path.is_dir():
            return label
        return f"{image}[{label}]({os.path.relpath(path, page.parent)}{anchor or ''})"

    return LINK.sub(turn, text)


def turn_links(app: Any, name: str, source: List[str]) -> None:
    """Sphinx's event source-read."""
    page = Path(app.env.doc2path(name))
    if page.suffix != ".md":
        return
    origins = {home: path for path, home in pages().items() if home != "index"}
    source[0] = turned(source[0], origins.get(name, page), page, app.config.outside_source_url)


def setup(app: Any) -> Dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("outside_source_url", "", "env")
    app.connect("config-inited", copy_pages)
    app.connect("source-read", turn_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
