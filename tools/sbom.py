#!/usr/bin/env python3
"""Print what a wheel of fastalex is made of and needs, as a CycloneDX document (a software bill of materials).

    python -m tools.sbom > fastalex.cdx.json
    python -m tools.sbom --validate fastalex.cdx.json    # needs cyclonedx-python-lib[json-validation]

What the wheel contains of others is read from NOTICE, what it needs from pyproject.toml: required packages, and those
of extras as optional ones, with their ranges. It does not list the packages of one installation.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

try:
    import tomllib
except ImportError:  # before Python 3.11
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
SPEC = "1.5"
SPDX = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "MIT")


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validate", metavar="FILE", help="check a document against the schema")
    options = parser.parse_args(argv)
    if options.validate:
        return _validate(Path(options.validate).read_text(encoding="utf-8"))
    print(json.dumps(document(), indent=2))
    return 0


def document(root: Path = ROOT) -> Dict[str, Any]:
    """Return the document: the package, its parts of others, and the packages that it needs."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["version"]
    main_ref = f"pkg:pypi/fastalex@{version}"
    parts = list(bundled((root / "NOTICE").read_text(encoding="utf-8")))
    needs = [package(text, "required") for text in project["dependencies"]]
    known = {each["bom-ref"] for each in needs}
    for extra, texts in project["optional-dependencies"].items():
        for each in (package(text, "optional", extra) for text in texts if extra not in ("test", "examples")):
            if each["bom-ref"] not in known:
                needs.append(each)
                known.add(each["bom-ref"])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": main_ref,
                "name": "fastalex",
                "version": version,
                "purl": main_ref,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "components": parts,
            }
        },
        "components": needs,
        "dependencies": [{"ref": main_ref, "dependsOn": [each["bom-ref"] for each in needs]}],
    }


def bundled(notice: str) -> Iterator[Dict[str, Any]]:
    """Yield a component for each numbered section of NOTICE that has a source and a license."""
    for number, title, body in re.findall(r"^(\d+)\. (.+)\n((?:(?!\d+\. ).*\n?)*)", notice, re.MULTILINE):
        source, license_ = (_field(body, name) for name in ("Source", "License"))
        if source and license_:
            kind = "data" if "File" in body.split("Source:")[0] else "library"
            name = title.split(",")[0]
            known = next((id_ for id_ in SPDX if license_.replace(" ", "-").startswith(id_)), None)
            yield {
                "type": kind,
                "bom-ref": f"notice-{number}",
                "name": name,
                "description": title,
                "licenses": [{"license": {"id": known} if known else {"name": license_}}],
                "properties": [{"name": "fastalex:source", "value": source}],
            }


def _field(body: str, name: str) -> str:
    match = re.search(rf"^ +{name}: +(.+?)(?:\n +\w+: |\n\n|\Z)", body, re.MULTILINE | re.DOTALL)
    return " ".join(match.group(1).split()) if match else ""


def package(requirement: str, scope: str, extra: str = "") -> Dict[str, Any]:
    """Return the component of a package that is needed, by the text of pyproject.toml."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    name = re.sub(r"[-_.]+", "-", match.group()).lower()
    properties = [{"name": "fastalex:requirement", "value": requirement}]
    if extra:
        properties.append({"name": "fastalex:extra", "value": extra})
    reference = f"pkg:pypi/{name}"
    return {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "scope": scope,
        "purl": reference,
        "properties": properties,
    }


def _validate(text: str) -> int:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.from_version(SPEC)).validate_str(text)
    if error is not None:
        print(f"the document is not valid: {error}", file=sys.stderr)
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main())
