"""The page of the service, its image and its unit of systemd: what can be checked without Docker."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from benchmarks.report import serve as report
from fastalex.cli import main
from fastalex.serve.settings import Settings
from tests.serve import test_triton_client

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
UNIT = ROOT / "docker" / "fastalex.service"
DOCKERFILE = (ROOT / "docker" / "serve.Dockerfile").read_text(encoding="utf-8")


def between(name):
    return PAGE.split(f"<!-- begin {name} -->")[1].split(f"<!-- end {name} -->")[0].strip()


def settings_of(words):
    options, unknown = main._parser().parse_known_args(words)
    assert options.command == "serve" and not unknown
    return options


def instructions():
    """(instruction, arguments) of the Dockerfile, lines joined, comments dropped."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def test_the_tables_of_the_page_come_from_their_sources():
    rows = between("conformance").splitlines()[2:]
    assert rows == test_triton_client.table()
    records = report.load(report.RESULTS)
    assert records and not any(one["quick"] for one in records)
    assert between("load") == report.render(records).strip()
    hostile = report.load(report.HOSTILITY)
    assert hostile and between("hostility") == report.hostility(hostile).strip()


def test_the_page_names_every_option():
    known = main._parser()._subparsers._group_actions[0].choices["serve"]._option_string_actions
    said = set(re.findall(r"--[a-z][\w-]+", PAGE)) - {"--rm", "--read-only", "--now", "--data-binary"}
    assert said <= set(known)
    limits = {option for option in known if option.startswith(("--max-", "--queue", "--allow"))}
    assert limits <= said


def test_the_dockerfile_is_sound():
    assert "Not built and not run by the project" in DOCKERFILE.split("\nARG ")[0]
    found = list(instructions())
    declared = {rest.split("=")[0] for word, rest in found if word in ("ARG", "ENV")} | {"PATH"}
    for word, rest in found:
        assert set(re.findall(r"\$\{(\w+)\}", rest)) <= declared
        if word == "RUN":
            assert subprocess.run(["bash", "-n", "-c", rest]).returncode == 0
    assert [rest for word, rest in found if word == "FROM"] == ["${BASE} AS build", "${BASE}"]
    assert [rest for word, rest in found if word == "USER"] == ["fastalex"]
    copied = next(rest for word, rest in found if word == "COPY" and "--from" in rest)
    assert copied == "--from=build /opt/fastalex /opt/fastalex"


def test_the_image_starts_a_server_that_the_health_check_finds():
    arguments = dict(instructions())
    whole = json.loads(arguments["ENTRYPOINT"]) + json.loads(arguments["CMD"])
    assert whole[0] == "fastalex" and settings_of(whole[1:]).host == "0.0.0.0"
    assert arguments["EXPOSE"] == str(Settings.port) and f":{Settings.port}/v2/health/ready" in arguments["HEALTHCHECK"]
    for words in re.findall(r"fastalex-serve (--model [^\n]+)", DOCKERFILE):
        settings_of(["serve", *words.split()])
    check = json.loads(arguments["HEALTHCHECK"].split("CMD", 1)[1])
    compile(check[2], "HEALTHCHECK", "exec")


def test_the_unit_starts_the_server_and_outlasts_its_drain():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/fastalex") and settings_of(words).model == ["digits"]
    assert service["Type"] == "notify" and int(service["WatchdogSec"]) > 0
    assert int(service["TimeoutStopSec"]) > Settings.drain_s
    assert int(service["LimitNOFILE"]) > Settings.max_connections
    assert service["DynamicUser"] == "yes" and service["ProtectSystem"] == "strict"


def test_systemd_accepts_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        return  # most containers have no systemd
    here = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    here.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
