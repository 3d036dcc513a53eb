"""The description that a search engine shows of a page: its first paragraph, which says what the page is for."""

from __future__ import annotations

import html
from typing import Any, Dict, Optional

from docutils import nodes

LENGTH = 300  # characters; search engines show about half of it


def describe(app: Any, name: str, template: str, context: Dict[str, Any], tree: Optional[nodes.document]) -> None:
    """Sphinx's event html-page-context."""
    if tree is None:
        return
    for paragraph in tree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            text = " ".join(paragraph.astext().split())
            if len(text) > LENGTH:
                text = text[:LENGTH].rsplit(" ", 1)[0] + " ..."
            context["metatags"] = (
                context.get("metatags", "") + f'<meta name="description" content="{html.escape(text)}">'
            )
            return


def setup(app: Any) -> Dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
