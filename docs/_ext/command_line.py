"""The page of the command line, docs/generated/command-line.md, from the program's own parser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

PAGE = Path(__file__).resolve().parents[1] / "generated" / "command-line.md"
HEAD = """# `fastalex`: every command and option

This page lists the commands of `fastalex` with their options, as `fastalex COMMAND --help` prints them.

Exit codes: 0 for success; 1 if `info` finds a problem; 2, with one sentence on standard error, for a mistake that you
can mend; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, 141 when the reader of the output went away
([signals](../behavior.md#ctrl-c-and-signals)).
"""


def commands(parser: argparse.ArgumentParser) -> Iterator[Tuple[argparse.ArgumentParser, int]]:
    """The commands below ``parser``, in the order of its help, each followed by those below it; with their depth."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command, 0
                yield from ((below, depth + 1) for below, depth in commands(command))


def escaped(text: str) -> str:
    """``text`` as a cell of a Markdown table."""
    for sign in "\\`*_<>[]|":
        text = text.replace(sign, "\\" + sign)
    return text


def spelled(action: argparse.Action) -> str:
    """An option as it is written, with its value."""
    value = action.metavar or ("" if action.nargs == 0 else "{" + ",".join(map(str, action.choices or ())) + "}")
    if not action.option_strings:
        return f"`{value}`".replace("|", "\\|")
    more = " ..." if action.nargs == "+" else ""
    return ", ".join(f"`{name}{' ' * bool(value)}{value}{more}`" for name in action.option_strings).replace("|", "\\|")


def section(parser: argparse.ArgumentParser, depth: int) -> List[str]:
    """The Markdown lines of one command."""
    usage = parser.format_usage().replace("\n       ", "\n").partition(": ")[2].rstrip()
    lines = [f"\n{'#' * (depth + 2)} {parser.prog}", "", parser.description or "", "", "```text", usage, "```", ""]
    shown = [
        action
        for action in parser._actions
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
        and action.help != argparse.SUPPRESS
    ]
    if shown:
        lines += ["| argument | meaning |", "| --- | --- |"]
        said = [" ".join((action.help or "").replace("%%", "%").split()) for action in shown]
        lines += [f"| {spelled(action)} | {escaped(text)} |" for action, text in zip(shown, said)]
    return lines


def write_page(app: Any, config: Any) -> None:
    """Sphinx's event config-inited; the folder is made by :mod:`outside`."""
    from fastalex.cli.main import _parser

    lines = [line for command, depth in commands(_parser()) for line in section(command, depth)]
    text = HEAD + "\n".join(lines) + "\n"
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")


def setup(app: Any) -> Dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", write_page, priority=600)  # after the pages of outside, which clears its folder
    return {"parallel_read_safe": True, "parallel_write_safe": True}
