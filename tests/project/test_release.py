"""What a release is made of: its notes, its bill of materials, CITATION.cff, and the workflow that publishes it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tools import release, sbom

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M).group(1)
SOURCE = re.search(r'^Source = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M).group(1)


@pytest.fixture
def root(tmp_path):
    """The files that name the version, with a day for it in CHANGELOG.md."""
    for name in ("CHANGELOG.md", *release.VERSIONS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    change(tmp_path / "CHANGELOG.md", rf"(## \[{VERSION}\]) - .*", r"\1 - 2030-01-31")
    return tmp_path


def change(path, pattern, new):
    text, count = re.subn(pattern, new, path.read_text(encoding="utf-8"))
    assert count
    path.write_text(text, encoding="utf-8")


def test_what_may_be_released(root):
    assert release.faults(VERSION, SOURCE, root) == []
    assert len(release.faults("9.9.9", None, root)) == len(release.VERSIONS) + 1
    assert len(release.faults(VERSION, "https://github.com/somebody/else", root)) == len(release.ADDRESSES)
    for name in release.VERSIONS:
        kept = (root / name).read_text(encoding="utf-8")
        change(root / name, re.escape(VERSION), "9.9.9")
        assert release.faults(VERSION, SOURCE, root) == [f"{name} says 9.9.9, not {VERSION}"]
        (root / name).write_text(kept, encoding="utf-8")
    change(root / "CHANGELOG.md", "2030-01-31", "unreleased")
    assert release.faults(VERSION, SOURCE, root) == [f"CHANGELOG.md has no line '## [{VERSION}] - YYYY-MM-DD'"]


def test_the_command_refuses_a_tag(capsys):
    assert release.main(["check", "v9.9.9"]) == 1
    assert "v9.9.9 cannot be released: pyproject.toml says" in capsys.readouterr().err
    assert release.main(["check", VERSION]) == 1  # a tag begins with v
    with pytest.raises(SystemExit, match=r"^CHANGELOG\.md has nothing about 9\.9\.9$"):
        release.main(["notes", "v9.9.9"])


def test_the_notes_are_one_section(root):
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    (root / "CHANGELOG.md").write_text(text + "\n## [0.0.1] - 2020-01-01\n\nOlder.\n", encoding="utf-8")
    notes = release.notes(VERSION, root)
    assert "### Added" in notes and "Older." not in notes and "## [" not in notes
    assert release.notes("0.0.1", root) == "Older.\n"
    with pytest.raises(ValueError, match=r"nothing about 0\.0\.2"):
        release.notes("0.0.2", root)


def test_a_first_release_only_adds():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (.+)$", text, re.M) == ["Added"] * text.count("\n## [")


def test_the_bill_of_materials():
    made = json.loads(json.dumps(sbom.document()))
    wheel = made["metadata"]["component"]
    assert (made["bomFormat"], wheel["name"], wheel["version"]) == ("CycloneDX", "fastalex", VERSION)
    parts = {each["name"]: each for each in wheel["components"]}
    assert parts["pybind11"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert parts["Handwritten digits"]["type"] == "data"
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert len(parts) == len(re.findall(r"^   License:", notice, re.M))
    needed = {each["name"]: each["scope"] for each in made["components"]}
    assert needed["numpy"] == "required" and needed["huggingface-hub"] == "optional" and "pytest" not in needed
    refs = [wheel["bom-ref"], *(each["bom-ref"] for each in (*made["components"], *wheel["components"]))]
    assert len(set(refs)) == len(refs)


def test_the_citation_names_what_the_package_does():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    author = re.search(r'authors = \[\{ name = "(.+?)"', project).group(1)
    for line in ("cff-version: 1.2.0", f"version: {VERSION}", f"  - name: {author}", f"repository-code: {SOURCE}"):
        assert f"\n{line}\n" in "\n" + text
    keywords = re.search(r"keywords = \[(.+)\]", project).group(1).replace('"', "").split(", ")
    assert re.findall(r"^  - ([a-z ]+)$", text, re.M) == keywords


def test_the_workflows_pythons_are_the_packages():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    tried = re.findall(r'"(3\.\d+t?)"', re.search(r"python: \[(.+)\]", workflow).group(1))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [one for one in tried if not one.startswith("3.14")] == re.findall(r"Python :: (3\.\d+)\"", project)
    assert "continue-on-error: ${{ startsWith(matrix.python, '3.14') }}" in workflow


def test_only_a_tag_publishes_and_only_after_the_check():
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    jobs = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", workflow.split("\njobs:\n")[1], re.M))
    needs = {name: re.findall(r"needs: (\w+)", job) for name, job in jobs.items()}
    assert [*needs.values()] == [[], ["check"], ["files"], ["collect"], ["attest"], ["attest"], ["publish"]]
    assert re.search(r"^on:\n  push:\n    tags: .*\n  workflow_dispatch:\n\n", workflow, re.M)
    assert "if: github.event_name == 'push'" in jobs["publish"] and "environment: pypi\n" in jobs["publish"]
    assert "if: github.event_name == 'workflow_dispatch'" in jobs["rehearse"]


def test_no_job_that_may_sign_or_publish_runs_packages_of_others():
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    head, body = workflow.split("\njobs:\n")
    assert head.count("permissions:\n  contents: read\n") == 1
    jobs = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", body, re.M))
    trusted = {name for name, job in jobs.items() if ": write" in job}
    assert trusted == {"attest", "rehearse", "publish", "notes"}
    assert not [name for name in trusted if "pip install" in jobs[name]]
    assert not re.findall(r"run: .*\$\{\{", workflow)  # the name of a tag is never part of a command's text
    for action, version in re.findall(r"uses: ([\w./-]+)@(\S+)", workflow):
        assert re.fullmatch(r"v\d+|release/v1", version), action
