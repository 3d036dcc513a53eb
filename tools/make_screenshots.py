"""Draw the screenshots of docs/see.md: the page of `fastalex ui` in Debian's Chromium, driven by Playwright.

python -m tools.make_screenshots
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from PIL import Image

from tests.support import pages

DOCS = Path(__file__).resolve().parents[1] / "docs"
SETTLED_MS = 1500
GAP = 24  # pixels between two windows of a phone
WIDE, PHONE = (1280, 820), (390, 820)
#: Name -> the windows of a picture: address, example, size, scheme.
SHOTS = {
    "see-layers": [("#/layers", 3, WIDE, "light")],
    "see-unit": [("#/relu2/unit/9", 3, WIDE, "dark")],
    "see-why": [("#/why", 5, (1280, 700), "light")],
    "see-phone": [("#/", 3, PHONE, "light"), ("#/relu3", 3, PHONE, "dark"), ("#/compare", 8, PHONE, "light")],
}


def main(folder: Path = DOCS) -> int:
    """Write the pictures to ``folder``."""
    from playwright.sync_api import sync_playwright

    models = (pages.SPEC, pages.SMALL)
    with pages.running(models) as page, sync_playwright() as playwright:
        path = os.environ.get("FASTALEX_CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--hide-scrollbars"])
        for name, windows in SHOTS.items():
            joined = _joined([_window(browser, page.url, *window) for window in windows])
            joined.save(folder / f"{name}.png", optimize=True)
        browser.close()
    return 0


def _window(browser, url: str, view: str, example: int, size, scheme: str) -> Image.Image:
    context = browser.new_context(viewport=dict(zip(("width", "height"), size)), color_scheme=scheme)
    tab = context.new_page()
    tab.goto(url)
    tab.evaluate("id => sessionStorage.setItem('fastalex.picture', id)", f"example-{example}")
    tab.goto(f"{url}/?{view}")  # another address, so that the page starts anew
    tab.wait_for_selector("main h1")
    tab.wait_for_function("() => !document.querySelector('main [aria-busy]')")
    tab.wait_for_timeout(SETTLED_MS)  # small pictures, which come one by one
    shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    context.close()
    return shot


def _joined(windows) -> Image.Image:
    """Put windows side by side."""
    width = sum(window.width for window in windows) + GAP * (len(windows) - 1)
    whole = Image.new("RGB", (width, windows[0].height), "white")
    left = 0
    for window in windows:
        whole.paste(window, (left, 0))
        left += window.width + GAP
    return whole


if __name__ == "__main__":
    sys.exit(main())
