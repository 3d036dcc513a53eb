"""Figures for papers: the right numbers in them, text that stays text, the same bytes at every run, whole files."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastalex import AlexNet, UserError
from fastalex.cli import plot
from fastalex.cli.main import main
from fastalex.inspection import confusion, gradcam, occlusion, pictures, roofline
from fastalex.model import Prediction
from fastalex.plot import charts, figure, maps

DIGITS = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))
SEVEN = str(DIGITS[14])
HOSTILE = "</text><script>$x_1$ & \x00\x1b[31m\ud800\u202e'\"\n]]>" + 99 * "long"


@pytest.fixture(scope="module")
def net():
    return AlexNet(weights="digits", device="cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("fastalex._util.cache_folder.folder", lambda: str(tmp_path / "cache"))


@pytest.fixture
def labeled(tmp_path):
    for path in DIGITS[:6]:
        (tmp_path / "labeled" / path.name[6]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "labeled" / path.name[6])
    return str(tmp_path / "labeled")


def arguments_of(kind, folder):
    """Return what follows the name of the file to draw a figure of each kind of the bundled network."""
    more = {
        "maps": [SEVEN, "--layer", "pool2"],
        "top5": [SEVEN, str(DIGITS[3])],
        "neighbors": [SEVEN, "--folder", str(DIGITS[0].parent), "--count", "2"],
        "occlusion": [SEVEN, "--places", "3"],
        "gradcam": [SEVEN, "--class", "4"],
        "confusion": [folder],
        "roofline": ["--card", "nano", "--repeat", "1"],
        "density": [SEVEN, str(DIGITS[3])],
    }
    return [*more.get(kind, []), "--weights", "digits"]


KINDS = ("filters", "maps", "top5", "neighbors", "occlusion", "gradcam", "confusion", "roofline", "density")


def texts_in(path):
    """Return the text of an SVG file, which must be valid XML."""
    return ["".join(node.itertext()) for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_is_drawn_from_the_command_line(kind, labeled, tmp_path, capsys):
    path = tmp_path / "figure.svg"
    assert main(["plot", kind, str(path), *arguments_of(kind, labeled), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["output"] == str(path) and document["variant"] == "alexnet-digits" and len(document) > 2
    texts = texts_in(path)
    assert any(text.startswith("alexnet-digits") for text in texts), "text is text, and there is a title"
    assert b"<dc:date>" not in path.read_bytes()


def test_a_title_can_be_changed_and_left_out(tmp_path, capsys):
    path = tmp_path / "figure.svg"
    for option, expected in (["--title", "Figure 3"], ["Figure 3"]), (["--no-title"], []):
        assert main(["plot", "filters", str(path), "--weights", "digits", *option]) == 0
        assert capsys.readouterr().out == f"{path}\n"
        assert [text for text in texts_in(path) if not text.startswith("column")] == expected


def drawn(path, kind):
    """Write one of three figures that do not depend on measured times."""
    picture = np.full((20, 20, 3), 90, np.uint8)
    draw = {
        "filters": lambda: maps.filters([np.zeros((16, 11, 11, 3), np.uint8)] * 2, "two columns"),
        "top5": lambda: charts.top5([("a.png", picture, [Prediction("cat", 0.75, 3)])], "top"),
        "occlusion": lambda: maps.occlusion(picture, occlusion.Occlusion(np.eye(3), 0.9, 3, 5), "cat"),
    }[kind]
    figure.write(str(path), draw)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("occlusion", ".png"), ("occlusion", ".svg"), ("occlusion", ".pdf"), ("top5", ".svg"), ("filters", ".pdf")],
)
def test_two_runs_give_the_same_bytes(kind, suffix, tmp_path, monkeypatch):
    first = drawn(tmp_path / f"first{suffix}", kind)
    monkeypatch.setattr("time.time", lambda: 2e9)
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"font.size": 20, "image.cmap": "jet", "svg.fonttype": "path", "text.parse_math": True}):
        assert drawn(tmp_path / f"second{suffix}", kind) == first, "whatever the user's own settings are"


def test_a_png_has_300_dots_an_inch_and_a_pdf_has_text(tmp_path):
    image = Image.open(io.BytesIO(drawn(tmp_path / "figure.png", "top5")))
    assert [round(dots) for dots in image.info["dpi"]] == [300, 300] and "Software" not in image.info
    assert image.size[0] == round(1.9 * 300)
    content = drawn(tmp_path / "figure.pdf", "top5")
    assert content.startswith(b"%PDF") and b"/CIDFontType2" in content and b"CreationDate" not in content


@pytest.mark.slow
def test_text_of_others_is_not_mathematics_and_not_markup(net, tmp_path):
    picture = pictures.input_picture(net, SEVEN)
    matrix = confusion.Confusion(np.eye(2, dtype=int), [HOSTILE, "$\\frac{"], {}, {})
    cam = gradcam.gradcam(net, SEVEN)
    figures = [
        lambda: charts.top5([("$a$/" + HOSTILE, picture, [Prediction(HOSTILE, 0.5, 0)])], HOSTILE),
        lambda: charts.confusion(matrix, HOSTILE),
        lambda: maps.gradcam(picture, cam, HOSTILE, HOSTILE),
        lambda: maps.neighbors([(HOSTILE, picture, [(HOSTILE, 1.0, picture)])], HOSTILE),
    ]
    for number, draw in enumerate(figures):
        for suffix in figure.FORMATS if number == 0 else [".svg"]:
            figure.write(str(tmp_path / f"{number}{suffix}"), draw)
        texts = texts_in(tmp_path / f"{number}.svg")
        assert any("</text><script>$x_1$ & \\x00\\x1b[31m\\ud800" in text for text in texts)
        assert not ElementTree.parse(tmp_path / f"{number}.svg").findall(".//{*}script")
        assert all(text.isprintable() for text in texts)


def test_long_names_are_cut():
    assert figure.label(99 * "a") == 37 * "a" + "..." and figure.label("b\n") == "b\\n"


def test_the_numbers_of_a_figure_are_those_of_its_result(tmp_path):
    counts = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 6]])
    path = tmp_path / "matrix.svg"
    figure.write(str(path), lambda: charts.confusion(confusion.Confusion(counts, ["ant", "bee", "cat"], {}, {})))
    texts = texts_in(path)
    assert [text for text in texts if re.fullmatch("[0-9]", text)] == list("310000026")
    assert {"ant", "bee", "cat", "class that the network answers", "class of the image"} <= set(texts)
    with pytest.raises(UserError, match="no image was counted"):
        charts.confusion(confusion.Confusion(np.zeros((3, 3), int), list("abc"), {}, {}))


def test_bars_and_roofs_have_their_lengths():
    rows = [
        roofline.StepTime(("conv1", "relu1"), 4.0, 1.0, "compute", 8e6, 1e6),
        roofline.StepTime(("pool1",), 0.5, 0.0, None, 0.0, 0.0),
        roofline.StepTime(("fc6",), 2.0, 1.5, "memory", 2e6, 4e6),
    ]
    drawn = charts.roofline(roofline.Times(rows, 1, "card", "data sheet", 0.01, 10.0))
    left, right = drawn.axes
    assert [patch.get_width() for patch in left.patches] == [4.0, 0.5, 2.0, 1.0, 1.5]
    roof, points = right.lines
    assert list(points.get_xdata()) == [8.0, 0.5] and list(points.get_ydata()) == [2.0, 1.0]  # FLOP/byte, GFLOP/s
    assert roof.get_ydata().max() == 10.0 and left.get_xlabel() == "time of one image (ms)"
    assert len(charts.roofline(roofline.Times(rows, 4, None, None, None, None)).axes) == 1
    shares = charts.density({"conv1": 0.0, "relu1": 0.75}).axes[0]
    assert [patch.get_width() for patch in shares.patches] == [100, 25]


def test_maps_are_drawn_in_the_order_of_their_units():
    values = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    image = maps.maps(values, "conv1").axes[0].images[0].get_array()
    assert image.tolist() == [[0, 1, None, 4, 5], [2, 3, None, 6, 7]]
    assert maps.maps(np.arange(4, dtype=np.float32), "fc7").axes[0].images[0].get_array().tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["filters", "figure.jpg"], "a figure is a file that ends in .png, .svg, .pdf; 'figure.jpg' does not"),
        (["filters", "no/figure.png"], "no/figure.png cannot be written: No such file or directory"),
        (["maps", "figure.png", SEVEN, "--layer", "conv6"], "alexnet-digits has no layer 'conv6'"),
        (["maps", "figure.png", SEVEN, "--unit", "24"], "there is no unit 24; the numbers go from 0 to 23"),
        (["maps", "figure.png", SEVEN, "--layer", "fc7", "--unit", "2"], "the units of fc7 have no maps"),
        (["maps", "figure.png", "missing.png"], "cannot read 'missing.png': No such file or directory"),
        (["gradcam", "figure.png", SEVEN, "--class", "cat"], "the network has no class 'cat'"),
        (["gradcam", "figure.png", SEVEN, "--class", "1" * 99], "the network has no class '1"),
        (["gradcam", "figure.png", SEVEN, "--layer", "fc7"], "Grad-CAM is made of the maps"),
        (["neighbors", "figure.png", SEVEN, "--folder", "nowhere"], "'nowhere' is not a folder"),
        (["confusion", "figure.png", "nowhere"], "'nowhere' is not a folder"),
        (["roofline", "figure.png", "--card", "gtx1060"], "there is no device 'gtx1060'"),
        (["top5", "figure.png", *49 * ["a.png"]], "the number of images must be at most 48"),
        (["top5", "figure.png", SEVEN, "--topk", "21"], "--topk must be at most 20"),
        (["neighbors", "figure.png", SEVEN, "--folder", ".", "--count", "21"], "--count must be at most 20"),
        (["pie", "figure.png"], "invalid choice: 'pie'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *arguments, "--weights", "digits"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("fastalex: ") and sentence in message and message.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_class_is_named_by_a_part_of_its_label_or_a_number():
    class Net:
        labels = ("crane, bird", "crane", "tabby, tabby cat", "7", "kite, bird")
        variant = AlexNet(weights="digits", device="cpu").variant

    names = ("tabby cat", "crane", "kite", "7", "2", None)
    assert [plot._class(Net, name) for name in names] == [2, 1, 4, 3, 2, None]
    assert plot._class(Net, "0000000000005") == 5
    with pytest.raises(UserError, match="no class '0000000000010'"):
        plot._class(Net, "0000000000010")
    with pytest.raises(UserError, match="several classes are called 'bird'; give the number: 0, 4"):
        plot._class(Net, "bird")
    with pytest.raises(UserError, match="no class 'cat'; give a name, or a number below 10"):
        plot._class(Net, "cat")


def test_random_weights_have_nothing_to_show_but_their_time(tmp_path, capsys):
    assert main(["plot", "filters", str(tmp_path / "a.png"), "--weights", "random"]) == 2
    assert "filters needs trained weights" in capsys.readouterr().err


def test_without_matplotlib_one_sentence_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", "filters", str(tmp_path / "a.png"), "--weights", "digits"]) == 2
    assert "pip install 'fastalex[plot]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_the_old_figure(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="figure.png cannot be written: No space left"):
        drawn(path, "top5")
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
