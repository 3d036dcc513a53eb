"""Signals that end the process, as exceptions and as exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from fastalex._util import signals
from fastalex.cli import main, summary


@pytest.fixture(autouse=True)
def harmless():
    """A fault of the code must not end the tests; returns the signals that came through."""
    came = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in signals.ENDING}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_are_held_until_it_is_asked_for_them(harmless):
    with signals.held() as hold:
        hold.check()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):  # the last one at once: forwarded, not impatient
            os.kill(os.getpid(), number)
        with pytest.raises(signals.Stopped) as stop:
            hold.check()
    assert (stop.value.number, signals.exit_code(stop.value), str(stop.value)) == (signal.SIGTERM, 143, "SIGTERM")
    assert isinstance(stop.value, KeyboardInterrupt)
    assert harmless == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert harmless == [signal.SIGTERM], "handlers are put back"


def test_a_later_ctrl_c_does_not_wait(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    with signals.held():
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += signals.AGAIN_S + 0.1
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(signals.Stopped):
            os.kill(os.getpid(), signal.SIGINT)
    assert signals.exit_code(KeyboardInterrupt()) == 130


def test_what_is_ignored_stays_ignored():
    """nohup; jobs in the background of scripts."""
    for number in signals.ENDING:
        signal.signal(number, signal.SIG_IGN)
    with signals.raised(), signals.held() as hold:
        for number in signals.ENDING:
            os.kill(os.getpid(), number)
        hold.check()


def test_handlers_of_a_program_that_calls_the_command_line_stay(harmless, monkeypatch, capsys):
    monkeypatch.setattr(summary, "run", lambda options: os.kill(os.getpid(), signal.SIGTERM) or 0)
    assert main.main(["summary"]) == 0 and harmless == [signal.SIGTERM]
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main.main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]
    capsys.readouterr()


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_command_ends_quietly(name, code):
    program = (
        "import os, signal, sys\nfrom fastalex.cli import main, summary\n"
        f"summary.run = lambda options: os.kill(os.getpid(), signal.{name})\n"
        "sys.exit(main.main(['summary']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
