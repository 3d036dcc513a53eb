"""README, docs/ and docker/: links lead somewhere, commands and code are accepted, the picture is what is drawn."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastalex import UserError, weights
from fastalex.cli import main
from fastalex.networks import taps

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(set(DOCS.rglob("*.md")) - set((DOCS / "generated").glob("*")))
NAMES = ["README.md", "SECURITY.md", *(path.relative_to(ROOT).as_posix() for path in PAGES)]
DOCKERFILE = ROOT / "docker" / "jetson.Dockerfile"


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.S)


def commands(path):
    """The ``fastalex`` commands in a page's shell blocks and code spans, as words."""
    lines = [line for block in blocks(path, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(fastalex [^`]+)`", path.read_text(encoding="utf-8").replace("\n", " "))
    for line in lines:
        words = re.sub(r"\s+#.*", "", line).strip()
        if re.match(r"(\S*/)?fastalex \S+ \S", words):  # its name alone is a mention
            yield re.sub(r"'([^']*)'", lambda quoted: quoted.group(1).replace(" ", "_"), words).split()[1:]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        assert (page.parent / target).exists(), f"{name} links to {target}"


def test_the_index_names_every_page():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for path in PAGES:
        assert path.name == "index.md" or f"]({path.relative_to(DOCS).as_posix()})" in index, path


def test_the_page_of_gtx_16_has_the_figures_of_the_predictions():
    predicted = (ROOT / "benchmarks" / "predicted" / "roofline.md").read_text(encoding="utf-8")
    row = re.search(r"## alexnet2012\n.*?GeForce GTX 1650 \(GDDR5\) \|([^\n]+)", predicted, re.S).group(1).split("|")
    page = (DOCS / "devices" / "gtx16.md").read_text(encoding="utf-8")
    assert re.search(r"\| ms, at least \|(.+)\|", page).group(1).split("|") == row[:4]


@pytest.mark.parametrize("name", [name for name in NAMES if list(commands(ROOT / name))])
def test_commands_are_accepted(name):
    """Their options and sub-commands; the files they name need not be there."""
    for words in commands(ROOT / name):
        try:
            _, unknown = main._parser().parse_known_args(words)
        except UserError as error:
            pytest.fail(f"{name}: fastalex {' '.join(words)}: {error}")
        except SystemExit as end:
            assert "--help" in words and end.code == 0
            continue
        assert not unknown, (name, words)


def test_jetson_inference_options_are_accepted():
    cells = (DOCS / "streams.md").read_text(encoding="utf-8").split("## From jetson-inference")[1]
    wanted = re.findall(r"`(--[\w-]+)(?:=\S+)?`", cells.split("`--prototxt`")[0])
    assert {"--topK", "--threshold", "--smoothing", "--labels", "--headless", "--input-width"} <= set(wanted)
    known = main._parser()._subparsers._group_actions[0].choices["classify"]._option_string_actions
    assert set(wanted) <= set(known)


@pytest.mark.parametrize("name", [name for name in NAMES if blocks(ROOT / name, "python")])
def test_code_compiles(name):
    for block in blocks(ROOT / name, "python"):
        compile(block, name, "exec")


def test_the_page_of_readouts_has_the_layers_of_each_tool():
    text = (DOCS / "readouts.md").read_text(encoding="utf-8")
    for tool, row_of_tool in taps.TOOLS.items():
        row = re.search(rf"`{tool}`: ([^|]+)\|", text).group(1)
        block, found = "", []
        for word in row.replace(",", " ").split():
            block = word.split(".")[0] or block
            found.append(f"{block}.{word.split('.')[1]}")
        assert tuple(found) == row_of_tool.layers


def test_the_picture_of_the_overlay_is_what_the_program_draws(tmp_path):
    """But for the rate, which is the machine's: the same digit, the same classes at the same place."""
    from tools import make_overlay  # which imports OpenCV

    assert make_overlay.main(tmp_path / "overlay.png") == 0
    made, kept = (np.asarray(Image.open(path), np.int16) for path in (tmp_path / "overlay.png", DOCS / "overlay.png"))
    assert made.shape == kept.shape
    # Decoders of JPEG differ by some levels, versions of Pillow by the edges of letters.
    assert np.abs(made - kept)[90:].max() <= 16
    assert (np.abs(made - kept)[:90, :90].max(axis=2) > 64).mean() < 0.05


def test_results_come_from_their_files():
    from benchmarks.report import clients

    records = clients.load()
    assert records and not any(one["quick"] for one in records)
    assert (DOCS / "clients-results.md").read_text(encoding="utf-8") == clients.render(records)


# The image for Jetson, which cannot be built here


def instructions():
    """(instruction, arguments) of the Dockerfile, lines joined, comments dropped."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.M)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def test_the_dockerfile_says_what_it_is_not():
    head = DOCKERFILE.read_text(encoding="utf-8").split("\nARG ")[0]
    assert "Not built and not run by the project" in head


def test_the_dockerfile_is_sound():
    known = {"ARG", "FROM", "ENV", "RUN", "COPY", "VOLUME", "ENTRYPOINT", "CMD"}
    found = list(instructions())
    assert {word for word, _ in found} <= known
    assert [word for word, _ in found[:2]] == ["ARG", "FROM"]
    declared = {rest.split("=")[0] for word, rest in found if word in ("ARG", "ENV")} | {"PATH"}
    for _, rest in found:
        assert set(re.findall(r"\$\{(\w+)\}", rest)) <= declared
    arguments = dict(rest.split("=", 1) for word, rest in found if word == "ARG")
    assert arguments["BASE"] == "nvcr.io/nvidia/l4t-base:r32.7.1" and arguments["PYTHON"] == "python3.8"
    for device in re.findall(r"--build-arg DEVICE=(\w+)", DOCKERFILE.read_text(encoding="utf-8")):
        assert (ROOT / "devices" / (device + ".toml")).is_file()
    for word, rest in found:
        if word == "RUN":
            assert subprocess.run(["bash", "-n", "-c", rest]).returncode == 0
    options = (ROOT / "cmake" / "Options.cmake").read_text(encoding="utf-8")
    for option in re.findall(r"cmake\.define\.(\w+)=", DOCKERFILE.read_text(encoding="utf-8")):
        assert option in options
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    entry = re.search(r'ENTRYPOINT \["(\w+)"\]', DOCKERFILE.read_text(encoding="utf-8")).group(1)
    assert f"\n{entry} = " in project.split("[project.scripts]")[1]
    assert list(re.findall(r"opencv-python[\w-]*>=[\d.]+,<\d", DOCKERFILE.read_text(encoding="utf-8")))


def test_the_dockerfiles_own_commands_are_accepted():
    line = re.search(r"fastalex (classify [^\n]+)", DOCKERFILE.read_text(encoding="utf-8")).group(1)
    assert main._parser().parse_args(line.split()).headless
    assert main._parser().parse_args(["info"]).command == "info"


def test_what_docker_leaves_out_is_nothing_that_is_built():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for needed in (
        "csrc",
        "python",
        "cmake",
        "devices",
        "CMakeLists.txt",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "NOTICE",
    ):
        assert needed not in ignored and (ROOT / needed).exists()


def test_the_limits_in_security_are_those_of_the_code():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|[^|]+\| ([\d,]+)([^|]*)\| `([\w.]+)\.(\w+)` \|$", page, re.M)
    assert len(rows) == page.count("\n| ") - 2  # but the head of the table
    for number, unit, module, name in rows:
        scale = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "hours": 3600}.get(unit.strip(), 1)
        value = getattr(importlib.import_module(f"fastalex.{module}"), name)
        assert int(number.replace(",", "")) * scale == value, name
    listed = {(module, name) for _, _, module, name in rows}
    for module in ("weights", "weights.mean_image", "weights.transfer", "images.decode", "images.remote"):
        limits = (name for name in vars(importlib.import_module(f"fastalex.{module}")) if name.startswith("MAX_"))
        assert {(module, name) for name in limits} <= listed


def test_every_text_of_the_metadata_has_its_limit():
    limits = {key: characters for key, (characters, _) in weights._LIMITS.items()}
    assert limits == {
        weights.VARIANT_KEY: weights.MAX_VARIANT_TEXT,
        weights.LABELS_KEY: weights.MAX_LABELS_TEXT,
        weights.MEAN_IMAGE_KEY: weights.MAX_MEAN_TEXT,
    }
