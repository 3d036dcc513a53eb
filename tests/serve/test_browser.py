"""The page in Debian's Chromium: every view at two widths, by keyboard, with a camera, and when things go wrong."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from fastalex import AlexNet
from fastalex.serve.specs import ModelSpec
from fastalex.serve.ui import export
from fastalex.serve.ui.settings import PageSettings
from tests.support import pages
from tests.support.small_net import DIGITS

pytestmark = pytest.mark.browser

VIEWS = {
    "#/": "What is it?",
    "#/filters": "Filters of conv1",
    "#/layers": "Layers",
    "#/conv5": "conv5",
    "#/fc6": "fc6",
    "#/conv5/unit/12": "conv5, unit 12",
    "#/why": "Why?",
    "#/neighbors": "Nearest neighbors",
    "#/compare": "Compare",
    "#/time": "Time",
    "#/collect": "Collect",
}
WIDTHS = (1280, 390)
SLOW_MS = 120_000  # on a busy machine
HOSTILE = "<img src=x onerror='document.title=1'>"
# It reads copies: Chromium warns of canvases that are read often.
NO_CANVAS_IS_EMPTY = """() => [...document.querySelectorAll('main canvas')].every(canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  return copy.getImageData(0, 0, canvas.width, canvas.height).data.some(value => value !== 0);
})"""
STRONGEST_FIRST = """() => {
  const links = [...document.querySelectorAll('main .grid a')];
  const values = links.map(link => parseFloat(link.getAttribute('aria-label').split(', ').pop()));
  return values[0] > 0 && values.every((value, at) => !at || values[at - 1] >= value);
}"""
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def playwright():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as found:
        yield found


def launched(playwright, *flags):
    path = os.environ.get("FASTALEX_CHROMIUM", "/usr/bin/chromium")
    return playwright.chromium.launch(executable_path=path, headless=True, args=["--no-sandbox", *flags])


@pytest.fixture(scope="module")
def browser(playwright):
    found = launched(playwright, *FAKE_CAMERA)
    yield found
    found.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A page with two networks and hostile names of a class, of a label and of a picture."""
    base = tmp_path_factory.mktemp("page")
    examples = base / "examples"
    examples.mkdir()
    for path in DIGITS[::2]:
        shutil.copy(path, examples)
    shutil.copy(DIGITS[1], examples / "<b onclick=x>bold.png")
    net = AlexNet(weights="digits", device="cpu")
    net.labels[0] = HOSTILE
    net.save(base / "digits.safetensors")
    models = (ModelSpec.parse(f"digits={base}/digits.safetensors,device=cpu,threads=1"), pages.SMALL)
    page = PageSettings(str(examples), None, str(base / "data"), ("free", HOSTILE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        with pages.running(models, page) as running:
            yield running


class Seen:
    """A tab, with what went wrong in it: errors on the console, and requests to other machines than its server's."""

    def __init__(self, context, url):
        self.tab, self.url = context.new_page(), url
        self.errors, self.requests = [], []
        self.tab.set_default_timeout(SLOW_MS)
        self.tab.on("console", lambda line: line.type in ("error", "warning") and self.errors.append(line.text))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))

    def open(self, view="#/"):
        self.tab.goto(self.url + "/" + view)
        return self.title(VIEWS[view])

    def title(self, text):
        """Wait for the view with this title, and for all that it computes."""
        self.tab.wait_for_function("text => document.querySelector('main h1')?.textContent === text", arg=text)
        self.tab.wait_for_function("() => !document.querySelector('main [aria-busy]')")
        return self.tab

    def notice(self):
        """The sentence that is shown."""
        self.tab.wait_for_selector("#notice:not([hidden])")
        return self.tab.inner_text("#notice p")

    def check(self):
        assert self.errors == []
        own = (self.url, "data:", "blob:" + self.url)
        assert self.requests and [url for url in self.requests if not url.startswith(own)] == []


@pytest.fixture
def seen(browser, served, request):
    """A tab of the page; ``request.param`` has options of its context."""
    context = browser.new_context(**getattr(request, "param", {"viewport": {"width": 1280, "height": 900}}))
    yield Seen(context, served.url)
    context.close()


def wide_and_narrow(function):
    sizes = [{"viewport": {"width": width, "height": 844}} for width in WIDTHS]
    return pytest.mark.parametrize("seen", sizes, indirect=True, ids=map(str, WIDTHS))(function)


# Views ----------------------------------------------------------------------------------------------------------------


@wide_and_narrow
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_drawn(seen, view):
    tab = seen.open(view)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
    assert tab.inner_text("main").strip() != VIEWS[view]  # more than its title
    tab.wait_for_function(NO_CANVAS_IS_EMPTY)
    loaded = "[...document.querySelectorAll('img')].every(image => image.complete && image.naturalWidth)"
    tab.wait_for_function(loaded)
    seen.check()


@pytest.mark.parametrize("view", VIEWS)
def test_controls_have_names_and_pages_have_landmarks(seen, view):
    tab = seen.open(view)
    for role in ("banner", "navigation", "main"):
        assert tab.get_by_role(role).count() >= 1
    assert tab.get_by_role("heading", level=1).count() == 1
    nameless = tab.evaluate(
        "[...document.querySelectorAll('a, button, select, input:not([hidden])')].filter(e => e.checkVisibility()"
        " && !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')?.textContent.trim()))"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []
    unnamed = "[...document.querySelectorAll('img:not([alt]), [role=img]:not([aria-label])')].length"
    assert tab.evaluate(unnamed) == 0


def contrast(tab, selector):
    """The contrast of an element's text with what is behind it, as WCAG computes it."""
    return tab.evaluate(
        """selector => {
          const context = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
            .getContext('2d', {willReadFrequently: true});
          const light = color => {
            context.fillStyle = color; context.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map(v => v / 255)
              .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const element = document.querySelector(selector);
          let behind = element;
          while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
          const [a, b] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        }""",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_can_be_read(browser, served, scheme):
    context = browser.new_context(color_scheme=scheme)
    seen = Seen(context, served.url)
    tab = seen.open()
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 384) == (scheme == "light")
    texts = ("h1", "main p.soft", ".percent", "#nav a:not([aria-current])", "aside .row button", "#theme", ".caption")
    for selector in texts:
        assert contrast(tab, selector) >= 4.5, selector
    seen.open("#/collect")
    assert contrast(tab, "main .main") >= 4.5
    for wanted in ("light", "dark"):  # the switch goes through auto, light and dark
        while tab.inner_text("#theme") != wanted.capitalize():
            tab.click("#theme")
        assert tab.evaluate("getComputedStyle(document.documentElement).colorScheme") == wanted
    tab.reload()
    assert tab.inner_text("#theme") == "Dark"
    context.close()


def test_motion_is_reduced_for_those_who_ask(browser, served):
    context = browser.new_context(reduced_motion="reduce")
    tab = Seen(context, served.url).open()
    assert tab.evaluate("getComputedStyle(document.querySelector('.best .track i')).transitionDuration") == "0s"
    context.close()


def test_results_are_told_to_those_who_listen(seen):
    tab = seen.open()
    assert tab.get_attribute("#status", "aria-live") == "polite"
    tab.wait_for_function("() => document.querySelector('#status').textContent.endsWith('%')")


# Addresses ------------------------------------------------------------------------------------------------------------


def test_a_unit_has_an_address_that_survives_reload(seen):
    tab = seen.open("#/conv5")
    tab.click("main .grid a >> nth=7")
    seen.title("conv5, unit 7")
    assert tab.url.endswith("/#/conv5/unit/7")
    tab.click("aside .examples button >> nth=4")
    pressed = "document.querySelector('.examples [aria-pressed=true]').dataset.id"
    tab.wait_for_function(f"() => {pressed} === 'example-4'")
    tab.reload()
    seen.title("conv5, unit 7")
    assert tab.evaluate(pressed) == "example-4"
    tab.go_back()
    seen.title("conv5")
    seen.check()


@pytest.mark.parametrize(
    ("address", "words"),
    [("#/conv5/unit/64", "units 0 to 63"), ("#/conv5/unit/<b>", "not '<b>'"), ("#/conv9", "no layer")],
)
def test_addresses_of_nothing_are_a_sentence(seen, address, words):
    seen.tab.goto(seen.url + "/" + address)
    assert words in seen.notice()


def test_a_unit_of_the_last_layer_is_a_class(seen):
    seen.tab.goto(seen.url + "/#/fc8/unit/0")
    tab = seen.title("fc8, unit 0")
    assert HOSTILE in tab.inner_text("main .head p")
    assert tab.locator("main figure canvas").bounding_box()["width"] < 200  # one value is no map
    tab.click("main .crumbs a >> text=fc8")
    seen.title("fc8")
    assert tab.get_attribute("main .grid a >> nth=0", "aria-label").startswith(f"Unit 0, {HOSTILE}, ")
    seen.check()


def test_order_and_scale_of_maps(seen):
    seen.tab.goto(seen.url + "/#/relu5")
    tab = seen.title("relu5")
    tab.select_option("main select >> nth=0", "strength")
    tab.wait_for_function(STRONGEST_FIRST)
    tab.select_option("main select >> nth=1", "each")
    seen.title("relu5")
    seen.check()


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(seen):
    held = []

    def late(route):
        held.append(route)

    tab = seen.open("#/compare")
    tab.route("**/maps/relu3.png", late)
    tab.click("main tbody button >> text=relu3")
    tab.wait_for_timeout(100)
    tab.click("main tbody button >> text=relu4")
    tab.wait_for_function("() => document.querySelector('main tr[aria-current=true]')?.dataset.name === 'relu4'")
    for route in held:
        route.continue_()
    tab.wait_for_timeout(500)
    assert len(held) == 2  # of both networks
    assert tab.get_attribute("main tr[aria-current=true]", "data-name") == "relu4"
    seen.check()


def test_what_differs_is_shown_first(seen):
    tab = seen.open("#/compare")
    tab.wait_for_selector("main tr[aria-current=true]")
    name = tab.get_attribute("main tr[aria-current=true]", "data-name")
    assert name == "fc6"  # int4 changes nothing before it


# The keyboard ---------------------------------------------------------------------------------------------------------


def focused(tab):
    return tab.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")


def test_the_keyboard_alone(seen):
    tab = seen.open()
    tab.keyboard.press("Tab")
    assert focused(tab) == "Skip to the content"
    reached = []
    for _ in range(20):
        tab.keyboard.press("Tab")
        reached.append(focused(tab))
        ring = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring not in ("none", ""), f"no ring around {reached[-1]}"
        if reached[-1] == "Layers":
            break
    tab.keyboard.press("Enter")
    seen.title("Layers")
    assert focused(tab) == "Layers" and tab.evaluate("document.activeElement.tagName") == "H1"
    while "conv2" not in (tab.evaluate("document.activeElement.textContent") or "")[:5]:
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    seen.title("conv2")
    for _ in range(30):
        tab.keyboard.press("Tab")
        if focused(tab).startswith("Unit 0"):
            break
    for key, unit in (("ArrowRight", 1), ("End", 63), ("Home", 0), ("ArrowLeft", 0), ("ArrowRight", 1)):
        tab.keyboard.press(key)
        assert focused(tab).startswith(f"Unit {unit},"), key
    tab.keyboard.press("ArrowDown")
    below = int(focused(tab).split()[1].rstrip(","))
    tops = [box["y"] for box in (tab.locator("main .grid a").nth(unit).bounding_box() for unit in (1, below))]
    assert below > 1 and tops[1] > tops[0]
    tab.keyboard.press("Enter")
    seen.title(f"conv2, unit {below}")
    seen.check()


def test_examples_are_chosen_by_keyboard(seen):
    tab = seen.open()
    tab.focus("aside .examples [aria-pressed=true]")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.wait_for_function("() => document.querySelector('.examples [aria-pressed=true]')?.dataset.id === 'example-1'")
    assert tab.evaluate("document.activeElement.dataset.id") == "example-1"  # the focus stays where it was


@pytest.mark.parametrize("seen", [{"viewport": {"width": 390, "height": 844}}], indirect=True)
def test_the_chosen_example_is_in_sight_on_a_phone(seen):
    tab = seen.open()
    last = tab.get_attribute(".examples li:last-child button", "data-id")
    tab.evaluate("id => sessionStorage.setItem('fastalex.picture', id)", last)
    tab.reload()
    seen.title("What is it?")
    chosen = tab.locator(".examples [aria-pressed=true]")
    assert chosen.get_attribute("data-id") == last
    assert chosen.bounding_box()["x"] + chosen.bounding_box()["width"] <= 390


def test_a_large_folder_of_examples_is_asked_for_as_it_is_seen(browser, tmp_path):
    for number in range(150):
        shutil.copy(DIGITS[number % 10], tmp_path / f"{number:03}.png")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    with pages.running(page=PageSettings(str(tmp_path))) as page:
        seen = Seen(context, page.url)

        def asked():
            return [url.rsplit("-", 1)[1] for url in seen.requests if "/pictures/example-" in url]

        tab = seen.open()
        tab.wait_for_selector("aside li:nth-child(11) img")
        assert 10 < len(asked()) < 60
        tab.locator("aside li >> nth=149").scroll_into_view_if_needed()
        tab.wait_for_selector("aside li:nth-child(150) img")
        tab.click("aside li:nth-child(150) button")
        tab.wait_for_selector("aside li:nth-child(150) [aria-pressed=true]")
        assert tab.evaluate("document.querySelector('.examples').scrollTop") > 0  # the list stays where it was
        before = len(asked())
        tab.click("#nav [data-view=layers]")
        seen.title("Layers")
        assert asked()[before:] in ([], ["149"])  # but for the chosen one, which is shown large
        seen.check()
    context.close()


# Pictures -------------------------------------------------------------------------------------------------------------


def drop(tab, name, content):
    tab.evaluate(
        """([name, bytes]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], name));
          dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, cancelable: true}));
        }""",
        [name, list(content)],
    )


def test_a_picture_is_dropped_or_chosen(seen):
    tab = seen.open()
    drop(tab, "seven.png", DIGITS[14].read_bytes())
    tab.wait_for_function("() => document.querySelector('.best .label')?.textContent === '7'")
    tab.set_input_files("aside input[type=file]", str(DIGITS[8]))
    tab.wait_for_function("() => document.querySelector('.best .label')?.textContent === '4'")
    assert tab.inner_text("aside .caption") == "your picture"
    seen.check()


def test_a_picture_that_cannot_be_read_is_a_sentence(seen):
    tab = seen.open()
    drop(tab, "a.png", b"no picture")
    assert "image" in seen.notice()
    drop(tab, "b.png", DIGITS[14].read_bytes())
    tab.wait_for_selector("#notice", state="hidden")


def test_hostile_names_are_text(seen, served):
    tab = seen.open()
    drop(tab, "zero.png", DIGITS[0].read_bytes())
    tab.wait_for_function("text => document.querySelector('.best .label')?.textContent === text", arg=HOSTILE)
    seen.open("#/why")
    assert HOSTILE in tab.inner_text("main .card")
    seen.open("#/collect")
    assert HOSTILE.replace("/", "") in tab.inner_text("main")
    seen.open("#/neighbors")
    assert "<b onclick=x>bold.png" in tab.inner_text("main")
    assert tab.evaluate("document.querySelectorAll('main b[onclick], main img[onerror]').length") == 0
    assert tab.title() == "Nearest neighbors \u2013 fastalex"
    seen.check()


# The camera -----------------------------------------------------------------------------------------------------------


@wide_and_narrow
def test_the_camera_is_classified_live(seen):
    tab = seen.open()
    tab.click("#camera")
    tab.wait_for_function("() => /^[1-9][0-9.]* frames a second/.test(document.querySelector('#rate')?.textContent)")
    before = tab.inner_text("main .bars")
    tab.wait_for_function("text => document.querySelector('main .bars').innerText !== text", arg=before)
    assert tab.locator("main .bars li").count() == 5
    tab.click("text=Look into this frame")
    tab.wait_for_function("() => document.querySelector('aside .caption')?.textContent === 'your picture'")
    tab.wait_for_selector("aside video", state="detached")
    seen.check()


def test_a_camera_that_goes_away_is_a_sentence(seen):
    tab = seen.open()
    tab.click("#camera")
    tab.wait_for_selector("#rate")
    tab.evaluate(
        "document.querySelector('video').srcObject.getTracks()"
        ".forEach(track => { track.stop(); track.dispatchEvent(new Event('ended')); })"
    )
    assert "gone away" in seen.notice()
    tab.wait_for_selector("#camera")
    seen.check()


def test_no_permission_is_a_sentence(playwright, served):
    browser = launched(playwright, "--use-fake-device-for-media-stream", "--deny-permission-prompts")
    seen = Seen(browser.new_context(permissions=[]), served.url)
    seen.open().click("#camera")
    assert "not allowed" in seen.notice()
    seen.check()
    browser.close()


def test_no_camera_is_a_sentence(playwright, served):
    browser = launched(playwright, "--use-fake-ui-for-media-stream")
    seen = Seen(browser.new_context(), served.url)
    seen.open().click("#camera")
    assert "no camera" in seen.notice()
    browser.close()


# Collecting -----------------------------------------------------------------------------------------------------------


def counts(tab):
    return [int(text) for text in tab.eval_on_selector_all("main .classes b", "all => all.map(b => b.textContent)")]


def test_frames_are_collected_by_button_and_by_key(seen, served):
    tab = seen.open("#/collect")
    assert tab.locator("main .classes button:disabled").count() == 2
    tab.click("text=Start the camera")
    tab.wait_for_function("() => document.querySelector('video')?.videoWidth")
    first = counts(tab)
    tab.click("main .classes button >> nth=0")
    tab.wait_for_function("n => document.querySelector('main .classes b').textContent == n", arg=first[0] + 1)
    tab.keyboard.press("2")
    tab.wait_for_function("n => document.querySelectorAll('main .classes b')[1].textContent == n", arg=first[1] + 1)
    folder = Path(served.collection.folder)
    for name, count in zip(served.collection.classes, counts(tab)):
        found = list((folder / name).iterdir())
        assert len(found) == count
        for path in found:
            assert min(Image.open(path).size) == 256
    assert tab.inner_text("main pre") == served.collection.command()
    seen.check()


def test_a_full_disk_is_a_sentence(seen, served, monkeypatch):
    tab = seen.open("#/collect")
    tab.click("text=Start the camera")
    tab.wait_for_function("() => document.querySelector('video')?.videoWidth")
    before = counts(tab)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    tab.click("main .classes button >> nth=0")
    assert "No space left on device" in seen.notice()
    monkeypatch.undo()
    tab.click("main .classes button >> nth=0")
    tab.wait_for_function("n => document.querySelector('main .classes b').textContent == n", arg=before[0] + 1)


# The server -----------------------------------------------------------------------------------------------------------


def test_a_server_that_is_gone_is_a_sentence(browser):
    context = browser.new_context()
    with pages.running() as page:
        seen = Seen(context, page.url)
        tab = seen.open()
        page.stop()
        tab.click("aside .examples button >> nth=3")
        assert "does not answer" in seen.notice()
    context.close()


def test_a_token_is_asked_for_and_kept(browser):
    context = browser.new_context()
    with pages.running(token="secret") as page:
        seen = Seen(context, page.url)
        seen.tab.goto(page.url)
        for word in ("wrong", "secret"):
            seen.tab.wait_for_selector("dialog[open]")
            seen.tab.fill("#token", word)
            seen.tab.keyboard.press("Enter")
        seen.title("What is it?")
        seen.tab.reload()
        seen.title("What is it?")
    context.close()


def test_a_token_in_the_address_is_taken_from_it(browser):
    context = browser.new_context()
    with pages.running(token="secret") as page:
        seen = Seen(context, page.url)
        seen.tab.goto(page.url + "/#token=secret")
        seen.title("What is it?")
        assert seen.tab.url.endswith("#/")
        assert seen.tab.query_selector("dialog[open]") is None
        seen.tab.evaluate("location.hash = '#token=newer'")  # of another start, in the same tab
        seen.tab.wait_for_function("() => sessionStorage.getItem('fastalex.token') === 'newer'")
        assert seen.tab.url.endswith("#/")
    context.close()


def test_a_bar_is_shown_while_something_is_computed(seen):
    tab = seen.open()
    answers = [{"done": 5, "total": 10}] * 40
    tab.route(
        "**/occlusion/*.json",
        lambda route: route.fulfill(status=202, json=answers.pop()) if answers else route.continue_(),
    )
    tab.goto(seen.url + "/#/why")
    tab.wait_for_function("() => document.querySelector('main progress[max=\"10\"]')?.value === 5")
    answers.clear()
    seen.title("Why?")
    seen.check()


# The exported page ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory, served):
    place = tmp_path_factory.mktemp("export") / "site"
    parts = export.plan(served.resources, served.repository)
    some = [(model, picture) for model, picture in parts if picture in ("", "example-0", "example-1")]
    with ThreadPoolExecutor() as pool:  # Playwright has an event loop on this thread
        pool.submit(export.write, served.resources, some, str(place), lambda done: None).result()
    return place


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "#/collect"])
def test_the_exported_page_works_from_a_folder(browser, folder, view):
    context = browser.new_context()
    seen = Seen(context, folder.as_uri())
    seen.tab.goto(folder.as_uri() + "/index.html" + view)
    tab = seen.title(VIEWS[view])
    assert tab.locator("main [role=alert]").count() == 0 and not tab.is_visible("#notice")
    assert tab.locator("#nav a", has_text="Collect").count() == 0 and tab.locator("#camera").count() == 0
    tab.wait_for_function("[...document.querySelectorAll('img')].every(image => image.complete && image.naturalWidth)")
    assert seen.errors == [] and all(url.startswith(("file://", "data:")) for url in seen.requests)
    context.close()
