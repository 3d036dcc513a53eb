"""The site: links of files outside docs/, the page of the command line, and the check of links, without Sphinx."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from fastalex.cli import main
from tools import check_site

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
URL = "https://example.org/fastalex"


def extension(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


outside, command_line = extension("outside"), extension("command_line")


@pytest.mark.parametrize(
    ("origin", "page", "link", "wanted"),
    [
        ("docs/see.md", "docs/see.md", "[s](../SECURITY.md#limits)", "[s](generated/security.md#limits)"),
        ("docs/devices/rtx.md", "docs/devices/rtx.md", "[g](../gpus.md)", "[g](../gpus.md)"),
        ("docs/c.md", "docs/c.md", "[h](../csrc/backend/ops.h)", f"[h]({URL}/blob/main/csrc/backend/ops.h)"),
        ("docs/gpus.md", "docs/gpus.md", "[d](../devices)", f"[d]({URL}/tree/main/devices)"),
        ("docs/index.md", "docs/index.md", "[r](../README.md)", "[r](index.md)"),
        ("CONTRIBUTING.md", "docs/generated/contributing.md", "[m](docs/see.md#figures)", "[m](../see.md#figures)"),
        ("benchmarks/RESULTS.md", "docs/generated/results.md", "![c](charts/x.svg)", "![c](charts/x.svg)"),
        ("docs/see.md", "docs/see.md", "[n](nowhere.md)", "[n](nowhere.md)"),  # which Sphinx then names
        ("docs/see.md", "docs/see.md", "[p](https://ui.perfetto.dev)", "[p](https://ui.perfetto.dev)"),
    ],
)
def test_links_are_turned_to_where_the_site_has_them(origin, page, link, wanted):
    assert outside.turned(f"See {link}.", ROOT / origin, ROOT / page, URL) == f"See {wanted}."


def test_pictures_of_copied_pages_are_found():
    chart = sorted((ROOT / "benchmarks" / "charts").glob("*.svg"))[0].name
    page = DOCS / "generated" / "results.md"
    said = outside.turned(f"![c](charts/{chart})", ROOT / "benchmarks" / "RESULTS.md", page, URL)
    assert (page.parent / re.search(r"\((.*)\)", said).group(1)).resolve().is_file()


def test_without_an_address_of_the_sources_no_link_leads_to_them():
    assert outside.turned("[h](../csrc/backend/ops.h)", DOCS / "c.md", DOCS / "c.md", "") == "h"


def test_the_page_of_the_command_line_has_every_command_and_option():
    parsers = [parser for parser, _ in command_line.commands(main._parser())]
    assert {"fastalex classify", "fastalex plot gradcam"} <= {one.prog for one in parsers}
    for parser in parsers:
        lines = "\n".join(command_line.section(parser, 0))
        for option in parser._option_string_actions:
            assert option in ("-h", "--help") or f"`{option}" in lines, (parser.prog, option)


def test_the_check_of_links_finds_what_leads_nowhere(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text('<a id="top" href="a/b.html#in">b</a><a href="https://x.org/y">x</a>')
    (tmp_path / "a" / "b.html").write_text('<p id="in"><a href="../index.html#top">up</a><a href="#in">in</a></p>')
    assert check_site.broken(tmp_path) == [] and check_site.main([str(tmp_path)]) == 0
    (tmp_path / "a" / "b.html").write_text(
        '<img src="no.png"><a href="../index.html#bottom">up</a><a href="../c/">c</a>'
    )
    assert check_site.broken(tmp_path) == [
        "a/b.html: no.png is not there",
        "a/b.html: ../index.html#bottom has no such anchor",
        "a/b.html: ../c/ is not there",
        "index.html: a/b.html#in has no such anchor",
    ]
    assert check_site.main([str(tmp_path)]) == 1
