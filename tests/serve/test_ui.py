"""The page without a browser: its files, its data against the network itself, what it refuses, collecting, export."""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image

from fastalex import AlexNet, UserError
from fastalex.cli import main, ui
from fastalex.serve.errors import ServiceError
from fastalex.serve.settings import Settings
from fastalex.serve.ui import export, files, insights, jobs, pictures, resources, settings, sprites
from fastalex.serve.ui.collect import Collection
from fastalex.serve.ui.jobs import Jobs, Progress
from fastalex.serve.ui.settings import PageSettings
from tests.support import pages, service
from tests.support.small_net import DIGITS

HOSTILE = '<img src=x onerror="alert(1)">'
FIRST = "models/digits/example-3/"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        collect = str(tmp_path_factory.mktemp("collect") / "data")
        models = (pages.SPEC, pages.SMALL)
        with pages.running(models, PageSettings(collect=collect, classes=("free", HOSTILE))) as running:
            yield running


@pytest.fixture(scope="module")
def client(page):
    with httpx.Client(base_url=page.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def net():
    return AlexNet(weights="digits", device="cpu", threads=1)


@pytest.fixture(scope="module")
def example(page):
    """The encoded fourth example."""
    return page.resources.pictures.get("example-3").read()


def whole(client, address):
    """The answer of an address, once it is computed."""
    for _ in range(600):
        answer = client.get("/ui/" + address)
        if answer.status_code != 202:
            return answer
        assert set(answer.json()) == {"done", "total"}
        time.sleep(0.02)
    raise AssertionError(f"{address} is never done")


def sentence(answer, status):
    """The one sentence of a refusal."""
    assert answer.status_code == status, answer.text
    (text,) = answer.json().values()
    assert text and "\n" not in text and "Traceback" not in text
    return text


# The files ------------------------------------------------------------------------------------------------------------


def test_three_files_are_the_page_and_they_are_small():
    texts = {name: files.read(name)[0] for name in files.MEDIA_TYPES}
    assert sorted(texts) == ["index.html", "page.css", "page.js"]
    assert sum(map(len, texts.values())) < 150_000
    for name, content in texts.items():
        addresses = set(re.findall(rb"https?://[^'\"\s)]+", content))
        assert addresses <= {b"http://www.w3.org/2000/svg"}, name


def test_text_cannot_become_markup():
    script = files.read("page.js")[0].decode()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert word not in script
    html = files.read("index.html")[0].decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/page.css", "/ui/about.json", "/ui/nowhere/x.json", "/ui/pictures/x"]
)
def test_nothing_of_others_runs_beside_the_page(client, path):
    answer = client.get(path)
    if path == "/ui/nowhere/x.json":  # no route of the page
        assert sentence(answer, 404)
        return
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:" and policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


# The data, against the network itself ---------------------------------------------------------------------------------

VALUES = {"model": "digits", "picture": "example-3", "layer": "conv5", "index": "3", "other": "small"}


SLOW = ("models/{model}/times.json", "models/{model}/trace.json")


@pytest.mark.parametrize(
    "address", [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in resources.ADDRESSES]
)
def test_every_address_answers(client, address):
    answer = whole(client, address.format(**VALUES))
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/json":
        assert answer.json() and address.endswith(".json")
    else:
        Image.open(io.BytesIO(answer.content)).load()


def test_classes_are_those_of_the_network(client, net, example):
    expected = net.classify(example)
    for answer in (
        client.get("/ui/" + FIRST + "top.json"),
        client.post("/ui/models/digits/frame", content=example),
    ):
        found = answer.json()["top"]
        assert [row["label"] for row in found] == [one.label for one in expected]
        assert [row["probability"] for row in found] == pytest.approx([one.probability for one in expected], rel=1e-6)


def sprite(client, address, row):
    """The maps of a sprite as colors, ``[units, H, W, 3]``."""
    count, height, width = row["shape"]
    pixels = np.asarray(Image.open(io.BytesIO(whole(client, address).content)).convert("RGB"))
    places = [divmod(unit, row["across"]) for unit in range(count)]
    return np.stack([pixels[y * height : (y + 1) * height, x * width : (x + 1) * width] for y, x in places])


def row_of(client, layer):
    rows = client.get("/ui/models/digits/model.json").json()["layers"]
    return next(row for row in rows if row["name"] == layer)


@pytest.mark.parametrize("layer", ["conv1", "relu5", "fc7"])
def test_maps_have_the_values_of_the_layer(client, net, example, layer):
    values = net.taps(example, [layer])[layer][0]
    values = values.reshape(len(values), *(values.shape[1:] or (1, 1)))
    colors = sprite(client, FIRST + f"maps/{layer}.png", row_of(client, layer)).astype(int)
    dark = np.array(sprites.WARM[0][1])
    near = np.abs(values) < np.abs(values).max() / 300  # less than half a level
    assert (colors[near] == dark).all()
    largest = np.unravel_index(np.abs(values).argmax(), values.shape)
    assert tuple(colors[largest]) == (sprites.WARM if values[largest] > 0 else sprites.COLD)[-1][1]
    clear = np.abs(values) > np.abs(values).max() / 20
    assert ((colors[..., 0] > colors[..., 2]) == (values > 0))[
        clear & (np.abs(values) < 0.7 * np.abs(values).max())
    ].all()
    peaks = client.get("/ui/" + FIRST + f"maps/{layer}.json").json()["peaks"]
    flat = values.reshape(len(values), -1)
    assert np.abs(peaks) == pytest.approx(np.abs(flat).max(axis=1), rel=1e-4)


def test_maps_on_their_own_scales_all_reach_the_brightest(client):
    colors = sprite(client, FIRST + "each/relu1.png", row_of(client, "relu1")).reshape(24, -1, 3)
    brightest = [bool((unit == sprites.WARM[-1][1]).all(axis=1).any()) for unit in colors]
    black = [bool((unit == sprites.WARM[0][1]).all()) for unit in colors]
    assert all(a != b for a, b in zip(brightest, black)) and sum(brightest) > 12


def test_values_that_are_not_finite_are_seen():
    maps = np.zeros((2, 1, 2), np.float32)
    maps[0, 0] = np.nan, 1
    pixels = np.asarray(Image.open(io.BytesIO(sprites.colored(maps))).convert("RGB"))
    assert tuple(pixels[0, 0]) == sprites.NOT_FINITE and tuple(pixels[0, 1]) == sprites.WARM[-1][1]


def test_zeros_are_counted(client, net, example):
    rows = client.get("/ui/" + FIRST + "layers.json").json()["layers"]
    found = net.taps(example, [row["name"] for row in rows])
    assert [row["name"] for row in rows][:4] == ["conv1", "relu1", "norm1", "pool1"]
    for row in rows:
        values = found[row["name"]]
        assert row["zeros"] == pytest.approx((values == 0).mean()) and row["high"] == pytest.approx(values.max())


def test_two_precisions_are_compared(client, net, example):
    small = AlexNet(weights="digits", device="cpu", threads=1, fc_weights="int4")
    found = client.get("/ui/" + FIRST + "compare/small.json").json()
    rows = {row["name"]: row for row in found["layers"]}
    one, two = (n.taps(example, ["conv5", "fc8"]) for n in (net, small))
    assert rows["conv5"]["error"] == 0
    apart = two["fc8"].astype(float) - one["fc8"]
    assert rows["fc8"]["largest"] == pytest.approx(np.abs(apart).max(), rel=1e-5) and rows["fc8"]["largest"] > 0
    assert rows["fc8"]["relative"] == pytest.approx(np.linalg.norm(apart) / np.linalg.norm(one["fc8"]), rel=1e-5)
    odds = [{p.label: p.probability for p in n.classify(example, 10)} for n in (net, small)]
    for row in found["classes"]:
        assert row["probabilities"] == pytest.approx([by_label[row["label"]] for by_label in odds], rel=1e-5)
    assert found["classes"][0]["label"] == "3"


def test_classes_that_are_called_alike_are_compared_apart():
    labels = ["crane", "cat", "crane", *(f"class {number}" for number in range(20))]
    one, two = np.full(23, 0.001), np.full(23, 0.002)
    one[[0, 1]] = 0.7, 0.2
    two[[2, 20]] = 0.9, 0.05  # the last one is of the best of the second network alone
    pair = [SimpleNamespace(labels=labels)] * 2
    rows = [(row["label"], *row["probabilities"]) for row in insights.class_differences(pair, [one, two])]
    assert {("crane", 0.7, 0.002), ("cat", 0.2, 0.002), ("crane", 0.001, 0.9), ("class 17", 0.001, 0.05)} <= set(rows)


def test_each_picture_is_its_own_nearest_neighbor(client):
    found = whole(client, FIRST + "neighbors.json").json()
    assert found["searched"] == 10 and found["near"][0] == {
        "id": "example-3",
        "name": "digit-3-sample-0003.png",
        "distance": 0.0,
    }
    distances = [row["distance"] for row in found["near"]]
    assert distances == sorted(distances) and distances[1] > 0


def test_what_excites_a_unit_is_what_is_computed(client, net, page):
    found = whole(client, "models/digits/likes/relu5.json").json()
    batch = [page.resources.pictures.get(f"example-{i}").read() for i in range(10)]
    highest = net.taps(net.preprocess(batch), ["relu5"])["relu5"].max(axis=(2, 3))
    for unit in np.flatnonzero(highest.max(axis=0) > 0):
        number, value = found["units"][unit][0]
        assert found["pictures"][number]["id"] == f"example-{highest[:, unit].argmax()}"
        assert value == pytest.approx(highest[:, unit].max(), rel=1e-4)


# What it refuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("models/nobody/model.json", "nobody"),
        ("models/digits/example-3/maps/conv9.json", "did you mean 'conv"),
        ("models/digits/example-99/top.json", "choose it again"),
        ("models/digits/example-3/occlusion/10.json", "0 to 9"),
        ("models/digits/example-3/gradcam/%C2%B2.json", "0 to 9"),
        ("models/digits/likes/conv5.post.json", "does not show conv5.post; it shows conv1"),
        ("models/digits/example-3/maps/drop6.json", "does not show drop6"),
        ("pictures/..%2F..%2Findex.html", ""),
    ],
)
def test_what_is_not_there_is_a_sentence(client, address, words):
    assert words in sentence(client.get("/ui/" + address), 404)


def test_the_pages_of_other_sites_get_nothing(client):
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
        assert "only the page" in sentence(client.get("/ui/about.json", headers=headers), 403)
    assert client.get("/ui/about.json", headers={"host": "evil.example"}).status_code == 403
    assert client.post("/ui/pictures", content=b"x", headers={"origin": "http://evil.example"}).status_code == 403


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"\xff\xd8\xff\xe0" * 9])
def test_a_picture_that_cannot_be_read_is_a_sentence(client, content):
    sentence(client.post("/ui/pictures", content=content), 422)
    sentence(client.post("/ui/models/digits/frame", content=content), 422)


def test_a_picture_is_brought_and_forgotten(client, page, monkeypatch):
    content = DIGITS[5].read_bytes()
    found = client.post("/ui/pictures", content=content).json()
    assert client.get(f"/ui/models/digits/{found['id']}/top.json").status_code == 200
    assert found == client.post("/ui/pictures", content=content).json()
    monkeypatch.setattr(pictures, "MAX_KEPT_BYTES", len(content) + 10)
    client.post("/ui/pictures", content=DIGITS[6].read_bytes())
    assert "choose it again" in sentence(client.get("/ui/pictures/" + found["id"]), 404)


def test_a_picture_of_too_many_pixels_is_refused():
    with pages.running(max_pixels=63) as page, httpx.Client(base_url=page.url) as client:
        assert "limit of 63" in sentence(client.post("/ui/pictures", content=DIGITS[0].read_bytes()), 422)


def test_a_frame_has_a_limit(client):
    assert "at most" in sentence(client.post("/ui/models/digits/frame", content=bytes((8 << 20) + 1)), 413)


def test_a_token_is_asked_for_everything_but_the_page_itself(tmp_path, example):
    settings = PageSettings(collect=str(tmp_path), classes=("a", "b"))
    with pages.running(page=settings, token="secret") as page, httpx.Client(base_url=page.url) as client:
        assert [client.get(path).status_code for path in ("/", "/page.js", "/page.css")] == [200] * 3
        assert client.get("/ui/about.json").status_code == 401
        assert collect(client, page, 0, example).status_code == 401 and saved_in(page, "a") == []
        assert collect(client, page, 0, example, authorization="Bearer secret").status_code == 200
        assert client.get("/ui/about.json", headers={"authorization": "Bearer secret"}).status_code == 200


def test_folders_that_vanish_are_sentences(tmp_path, own_cache):
    shutil.copytree(pictures.BUNDLED, tmp_path / "mine")
    settings = PageSettings(folder=str(tmp_path / "mine"))
    with pages.running(page=settings) as page, httpx.Client(base_url=page.url, timeout=30) as client:
        assert client.get("/ui/pictures/folder-2").status_code == 200
        shutil.rmtree(tmp_path / "mine")
        assert "any more" in sentence(client.get("/ui/pictures/folder-2"), 404)
        assert "mine" in sentence(whole(client, FIRST + "neighbors.json"), 422)
        assert client.get("/ui/" + FIRST + "top.json").status_code == 200


def test_names_of_files_are_told_as_they_are(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (HOSTILE.replace("/", "") + ".png", "new\nline\u202e.png", "x" * 200 + ".png"):
        shutil.copy(DIGITS[0], folder / name)
    found = [picture.name for picture in pictures.Pictures(PageSettings(examples=str(folder))).examples]
    assert HOSTILE + ".png" in found and all(name.isprintable() and len(name) <= 123 for name in found)


# Jobs -----------------------------------------------------------------------------------------------------------------


def test_a_job_says_how_far_it_is_and_runs_once():
    several, going, runs = Jobs(), threading.Event(), []

    def work(report):
        runs.append(1)
        report(3, 7)
        going.wait(10)
        return "done"

    async def asked():
        first = await several.result(("a",), work, 0.2)
        queued = await several.result(("b",), lambda report: 1, 0)
        going.set()
        return first, queued, await several.result(("a",), work, 10), await several.result(("a",), work, 10)

    assert asyncio.run(asked()) == (Progress(3, 7), Progress(0, 0), "done", "done") and len(runs) == 1
    several.close()


def test_a_job_that_failed_is_tried_again():
    several, results = Jobs(), iter([UserError("no"), "yes"])

    def work(report):
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(UserError, match="no"):
        asyncio.run(several.result(("a",), work, 10))
    assert asyncio.run(several.result(("a",), work, 10)) == "yes"
    several.close()


def test_jobs_that_wait_are_bounded():
    several, going = Jobs(), threading.Event()

    async def asked():
        for number in range(jobs.MAX_WAITING):
            await several.result((number,), lambda report: going.wait(10), 0)
        with pytest.raises(ServiceError, match="waiting") as refused:
            await several.result(("more",), lambda report: None, 0)
        assert refused.value.status == 503 and refused.value.retry_after
        going.set()

    asyncio.run(asked())
    several.close()


def test_a_long_search_holds_up_nothing_else(page, monkeypatch):
    begun, going = threading.Event(), threading.Event()

    def slow(served, report, known):
        begun.set()
        going.wait(120)

    monkeypatch.setattr(resources.insights, "ranking_of", slow)
    several = resources.Resources(page.repository, Settings(models=(pages.SPEC,)), PageSettings())
    try:
        asyncio.run(several.likes("", "digits", "conv1"))
        assert begun.is_set()
        for _ in range(50):  # each waits a while
            found = asyncio.run(several.gradcam("", "digits", "example-3", "3"))
            if not isinstance(found, Progress):
                break
        assert json.loads(found.content)["index"] == 3
        assert asyncio.run(several.times("", "digits")) == Progress(0, 0)  # a measurement wants the machine to itself
    finally:
        going.set()
        several.close()


def test_a_model_that_is_loaded_anew_has_no_results_of_the_old_one(page):
    class Loaded:
        pass

    several = resources.Resources(page.repository, Settings(models=(pages.SPEC,)), PageSettings())
    numbers = set()
    for _ in range(3):
        served = Loaded()
        numbers.add(several._number(served))
        assert several._number(served) in numbers
        del served  # unloaded
        gc.collect()
    several.close()
    assert len(numbers) == 3


def test_a_job_that_runs_ends_with_the_server():
    several, begun, ended = Jobs(), threading.Event(), threading.Event()

    def work(report):
        begun.set()
        try:
            while True:
                report(0, 1)
                time.sleep(0.01)
        finally:
            ended.set()

    asyncio.run(several.result(("a",), work, 0))
    assert begun.wait(10)
    several.close()
    assert ended.wait(10)


# Collecting -----------------------------------------------------------------------------------------------------------


def collect(client, page, number, content, **headers):
    return client.post(f"/ui/collect/{number}", content=content, headers={"origin": page.url, **headers})


def saved_in(page, name):
    return sorted(os.listdir(os.path.join(page.collection.folder, name)))


def test_frames_are_saved_and_counted(client, page, example):
    jpeg = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(jpeg, "JPEG")
    before = client.get("/ui/collect.json").json()["classes"]
    assert [row["name"] for row in before] == ["free", HOSTILE.replace("/", "")]
    assert collect(client, page, 0, jpeg.getvalue()).json()["classes"][0]["count"] == before[0]["count"] + 1
    found = collect(client, page, 1, example).json()["classes"]
    assert found[1]["count"] == before[1]["count"] + 1
    contents = {(Path(page.collection.folder) / "free" / name).read_bytes() for name in saved_in(page, "free")}
    assert jpeg.getvalue() in contents
    assert all(re.fullmatch(r"[0-9a-f]{32}\.(jpg|png)", name) for name in saved_in(page, "free"))


def test_only_the_page_itself_saves(client, page, example):
    before = saved_in(page, "free")
    for headers in ({}, {"origin": "null"}, {"origin": "http://evil.example"}, {"origin": "http://127.0.0.1:1"}):
        assert sentence(client.post("/ui/collect/0", content=example, headers=headers), 403)
    assert client.get("/ui/collect/0").status_code == 405
    assert saved_in(page, "free") == before


@pytest.mark.parametrize(
    ("number", "content", "status"),
    [("2", None, 404), ("-1", None, 404), ("%C2%B2", None, 404), ("0", b"text", 415), ("0", b"\xff\xd8\xff rest", 422)],
)
def test_what_is_no_frame_is_not_saved(client, page, example, number, content, status):
    before = saved_in(page, "free")
    sentence(collect(client, page, number, example if content is None else content), status)
    assert saved_in(page, "free") == before


def test_a_full_disk_is_a_sentence_and_leaves_nothing(client, page, example, monkeypatch):
    before = saved_in(page, "free")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in sentence(collect(client, page, 0, example), 507)
    monkeypatch.undo()
    assert saved_in(page, "free") == before
    assert collect(client, page, 0, example).status_code == 200


def test_a_folder_that_vanishes_is_a_sentence(tmp_path, example):
    page = PageSettings(collect=str(tmp_path / "data"), classes=("a", "b"))
    collection = Collection(page, "digits")
    shutil.rmtree(tmp_path / "data" / "b")
    with pytest.raises(ServiceError, match="class 'b' cannot be read: No such file") as refused:
        collection.save(1, example)
    assert refused.value.status == 507 and not (tmp_path / "data" / "b").exists()


@pytest.mark.parametrize(
    "text", ["", "one", "a,A", "a,../b", "a,.b", "a,b/c", "a,b\\c", "a,", "a,\x1b[2J", "a," + "b" * 81]
)
def test_class_names_that_cannot_be_folders_are_refused(text):
    with pytest.raises(UserError):
        settings.parse_classes(text)


def test_the_command_that_trains_is_quoted(tmp_path):
    folder = tmp_path / "it's; rm -rf $HOME"
    words = shlex.split(Collection(PageSettings(collect=str(folder), classes=("a", "b")), "my net.pth").command())
    options = main._parser().parse_args(words[1:])
    assert (options.command, options.data, options.finetune) == ("train", str(folder), "my net.pth")


@pytest.mark.slow
@pytest.mark.peers
def test_the_command_that_trains_works(tmp_path):
    collection = Collection(PageSettings(collect=str(tmp_path / "data"), classes=("nine", "zero")), "digits")
    for path in DIGITS[:2] * 2 + DIGITS[-2:] * 2:
        collection.save(int("digit-0" in path.name), path.read_bytes())
    words = shlex.split(collection.command())
    assert words[0] == "fastalex"
    more = ["--epochs", "1", "--workers", "0", "--device", "cpu", "--no-tensorboard", "--json"]
    done = subprocess.run([sys.executable, "-m", *words, *more], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data-run" / "best.safetensors").is_file()
    assert AlexNet(weights=str(tmp_path / "data-run" / "best.safetensors")).labels == ["nine", "zero"]


# Export, and the command ----------------------------------------------------------------------------------------------


def exported(page, folder):
    parts = export.plan(page.resources, page.repository)[:3] if folder.name == "part" else None
    return export.write(page.resources, parts or export.plan(page.resources, page.repository), str(folder), print)


def documents(folder):
    text = (folder / "data.js").read_text(encoding="utf-8")
    assert text.startswith("globalThis.fastalexSaved = ") and text.endswith(";\n")
    return json.loads(text[len("globalThis.fastalexSaved = ") : -2])


def test_the_exported_page_has_what_it_shows(page, client, tmp_path):
    found = exported(page, tmp_path / "part")  # a model and two of its pictures
    folder = tmp_path / "part"
    known = documents(folder)
    assert known["about.json"]["saved"] is True and found.files > 40
    assert '<script src="data.js"></script>' in (folder / "index.html").read_text(encoding="utf-8")
    for name in ("page.js", "page.css"):
        assert (folder / name).read_bytes() == files.read(name)[0]
    served = client.get("/ui/models/digits/example-1/top.json").json()
    assert known["models/digits/example-1/top.json"]["top"] == served["top"]
    for layer in known["models/digits/model.json"]["layers"]:
        assert f"models/digits/likes/{layer['name']}.json" in known
        Image.open(folder / "ui" / "models" / "digits" / "example-0" / "maps" / f"{layer['name']}.png").load()
    for row in known["models/digits/example-0/neighbors.json"]["near"]:
        Image.open(folder / "ui" / "pictures" / row["id"]).load()
    assert known["models/digits/trace.json"]["traceEvents"]
    assert sorted(os.listdir(tmp_path)) == ["part"]


def test_an_export_replaces_an_earlier_one_only(page, tmp_path, monkeypatch):
    folder = tmp_path / "part"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        exported(page, folder)
    (folder / "thesis.txt").rename(folder / "data.js")  # a name that others use, too
    with pytest.raises(UserError, match="holds other files"):
        exported(page, folder)
    assert (folder / "data.js").read_text() == "mine"
    (folder / "data.js").unlink()
    exported(page, folder)
    (folder / "CNAME").write_text("example.org")  # added by hand for a web server
    with pytest.raises(UserError, match="holds other files"):
        exported(page, folder)
    (folder / "CNAME").unlink()
    link = tmp_path / "link"
    link.symlink_to(folder)
    export.write(page.resources, export.plan(page.resources, page.repository)[:1], str(link), print)
    assert link.is_symlink() and documents(folder)["about.json"]["saved"]
    link.unlink()
    before = (folder / "data.js").read_bytes()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "open", full, raising=False)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        exported(page, folder)
    assert (folder / "data.js").read_bytes() == before and os.listdir(tmp_path) == ["part"]


@pytest.mark.parametrize(
    ("words", "words_of_it"),
    [
        (["--collect", "x"], "--classes"),
        (["--classes", "a,b"], "--collect"),
        (["--collect", "x", "--classes", "a,b", "--export", "y"], "leave out"),
        (["--examples", "/nowhere"], "/nowhere"),
        (["--folder", "/nowhere"], "/nowhere"),
        (["--model", "digits=/nowhere.pth"], "nowhere.pth"),
    ],
)
def test_wrong_options_are_a_sentence(words, words_of_it):
    options = main._parser().parse_args(["ui", "--port", "0", *words])
    with pytest.raises(UserError, match=re.escape(words_of_it)):
        ui.run(options)


def test_the_command_has_the_options_of_a_server():
    options = main._parser().parse_args(["ui", "--token", "t", "--allowed-host", "robot", "--host", "0.0.0.0"])
    assert isinstance(options, argparse.Namespace) and options.allowed_hosts == ["robot"]


@pytest.mark.slow
def test_what_collects_has_a_token(tmp_path):
    words = ("--model", "digits", "--collect", str(tmp_path), "--classes", "a,b")
    with service.process(*words, command="ui") as (_, address):
        url, token = address.split("/#token=")
        assert len(token) >= 22  # 128 bits in base64
        frame = io.BytesIO()
        Image.new("RGB", (8, 8)).save(frame, "PNG")
        for given, status in ((token[:-1], 401), (token + "x", 401), (token, 200)):
            headers = {"Origin": url, "Authorization": "Bearer " + given}
            answer = httpx.post(url + "/ui/collect/0", content=frame.getvalue(), headers=headers)
            assert answer.status_code == status, answer.text
    assert len(list((tmp_path / "a").iterdir())) == 1
