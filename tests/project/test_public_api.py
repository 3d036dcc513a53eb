"""docs/public-api.txt is the interface that the code has, and the pages that promise it name what there is."""

from __future__ import annotations

import difflib
import importlib
import re
from pathlib import Path

from fastalex._util import signals
from fastalex.cli import common
from tools import public_api

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "docs" / "public-api.txt"
PAGE = ROOT / "docs" / "versioning.md"


def test_the_list_is_the_interface():
    listed, found = LIST.read_text(encoding="utf-8").splitlines(), public_api.text().splitlines()
    changes = list(difflib.unified_diff(listed, found, "docs/public-api.txt", "the code", n=0, lineterm=""))
    assert not changes, "\n".join(
        ["if this change is meant: python -m tools.public_api > docs/public-api.txt, and CHANGELOG.md", *changes]
    )


def test_the_list_would_show_a_change(monkeypatch):
    """A parameter that is renamed, a default, an option, and a name that is gone."""
    import fastalex
    from fastalex.cli import weights as command

    before = public_api.text()
    assert "fastalex.AlexNet.classify(self, image, topk=5)\n" in before
    assert "\nfastalex weights --out\n" in before
    assert "\nint fastalex_create(" in before and "FASTALEX_API_VERSION" in before
    assert " object at 0x" not in before and "<function" not in before
    monkeypatch.setattr(fastalex.AlexNet, "classify", lambda self, image, topk=4: None)
    monkeypatch.setattr(fastalex, "__all__", [name for name in fastalex.__all__ if name != "LPIPS"])
    monkeypatch.setattr(command, "add_parser", lambda commands: commands.add_parser("weights"))
    changes = [line for line in difflib.ndiff(before.splitlines(), public_api.text().splitlines()) if line[0] in "+-"]
    assert "- fastalex.AlexNet.classify(self, image, topk=5)" in changes
    assert any(line.startswith("- fastalex.LPIPS(") for line in changes)
    assert "- fastalex weights --out" in changes


def test_every_public_name_is_there():
    for name in public_api.modules():
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            assert public in public_api.ELSEWHERE or hasattr(module, public), f"{name}.{public}"


def test_the_page_names_the_modules_and_the_exit_codes():
    page = PAGE.read_text(encoding="utf-8")
    for name in (*public_api.MODULES, *public_api.PACKAGES):
        assert f"`{name}`" in page, name
    assert set(re.findall(r"`(fastalex\.[\w.]+)`", page)) >= set(public_api.MODULES[1:])
    codes = re.search(r"exit codes ([\d, and]+)", page).group(1)
    known = {common.OK, common.BROKEN, common.USAGE_ERROR, common.PIPE_CLOSED, *(128 + one for one in signals.ENDING)}
    assert set(map(int, re.findall(r"\d+", codes))) == known


def test_the_page_names_the_pythons_of_the_package():
    page = PAGE.read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest = re.search(r'requires-python = ">=([\d.]+)"', project).group(1)
    tried = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert tried[0] == oldest
    assert f"Python {tried[0]} to {tried[-1]}" in page
    assert re.search(r"numpy>=([\d.]+)", project).group(1) in page
