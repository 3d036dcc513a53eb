"""Check the links inside a built site: each leads to a file that is there, and to an anchor that it has.

    python tools/check_site.py build/site

It prints a line for each link that does not, and ends with 1 then. Addresses elsewhere are not asked.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set, Tuple
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """The anchors and the links of an HTML file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: Set[str] = set()
        self.links: List[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: List[Tuple[str, Optional[str]]]) -> None:
        """Take down what a tag has of both."""
        for key, value in attributes:
            if key == "id" or (key == "name" and tag == "a"):
                self.anchors.add(value or "")
            elif key in ("href", "src") and value:
                self.links.append(value)


def broken(folder: Path) -> List[str]:
    """A line for each link below ``folder`` that leads nowhere."""
    pages: Dict[Path, Page] = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            target, anchor = urldefrag(link)
            home = (path.parent / unquote(urlsplit(target).path)).resolve() if target else path
            home = home / "index.html" if home.is_dir() else home
            if not home.is_file():
                found.append(f"{path.relative_to(folder.resolve())}: {link} is not there")
            elif anchor and home in pages and unquote(anchor) not in pages[home].anchors:
                found.append(f"{path.relative_to(folder.resolve())}: {link} has no such anchor")
    return found


def main(arguments: Sequence[str]) -> int:
    """Check one site; return the exit code."""
    folder = Path(arguments[0])
    if not (folder / "index.html").is_file():
        sys.exit(f"{folder} has no index.html; build the site first")
    found = broken(folder)
    print("\n".join(found) or f"{folder}: all links inside lead somewhere")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
