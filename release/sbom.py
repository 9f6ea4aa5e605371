"""Writes the software bill of materials that lies in every wheel (PEP 770, CycloneDX 1.7).

    python release/sbom.py            write release/node-ipc.cdx.json after pyproject.toml
    python release/sbom.py --check    exit code 1 where the file is not what would be written

It names what an installation needs from elsewhere, for the wheel holds nothing but this project's own code: the
versions are ranges, and what an extra brings is optional. There is no time in it, so that two builds are the same.
"""

from __future__ import annotations

import json
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

HERE = Path(__file__).parent
PROJECT = HERE.parent / "pyproject.toml"
WRITTEN = HERE / "node-ipc.cdx.json"

DEVELOPMENT = {"test", "lint", "bench", "fuzz", "docs"}
"""Extras for work on the project itself: nobody who uses it installs them."""

Json = dict[str, Any]


def bill(project: Json) -> Json:
    """The bill of a ``[project]`` table."""
    itself = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{project['name']}@{project['version']}",
        "name": project["name"],
        "version": project["version"],
        "description": project["description"],
        "licenses": [{"license": {"id": project["license"]}}],
        "purl": f"pkg:pypi/{project['name']}@{project['version']}",
    }
    others = [component(Requirement(line)) for line in project["dependencies"]]
    for extra, lines in project.get("optional-dependencies", {}).items():
        if extra not in DEVELOPMENT:
            others += [component(Requirement(line), extra) for line in lines]
    references = [other["bom-ref"] for other in others]
    content = {
        "metadata": {"component": itself},
        "components": others,
        "dependencies": [
            {"ref": itself["bom-ref"], "dependsOn": references},
            *({"ref": reference} for reference in references),
        ],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content)).urn,  # another content, another number
        "version": 1,
        **content,
    }


def component(needed: Requirement, extra: str | None = None) -> Json:
    """One entry: something that pip gets from elsewhere. ``extra`` is what asks for it, ``None`` the package."""
    purl = f"pkg:pypi/{canonicalize_name(needed.name)}"
    conditions = {"extra": extra, "marker": needed.marker}
    properties = [{"name": f"node-ipc:{key}", "value": str(value)} for key, value in conditions.items() if value]
    return {
        "type": "library",
        "bom-ref": f"{purl}#{extra}" if extra else purl,
        "name": canonicalize_name(needed.name),
        "isExternal": True,
        "versionRange": version_range(needed.specifier),
        "scope": "optional" if extra else "required",
        "purl": purl,
        **({"properties": properties} if properties else {}),
    }


def version_range(versions: SpecifierSet) -> str:
    """``>=1,<2`` in the notation of package URLs, ``vers:pypi/>=1|<2``. ``ValueError`` for what that cannot say."""
    parts = sorted(versions, key=lambda part: Version(part.version.removesuffix(".*")))
    if not parts or any(part.operator in ("~=", "===") or "*" in part.version for part in parts):
        raise ValueError(f"say {str(versions)!r} with >=, >, <, <=, != or == and whole versions")
    return "vers:pypi/" + "|".join(f"{part.operator}{part.version}".removeprefix("==") for part in parts)


def main(arguments: list[str]) -> int:
    text = json.dumps(bill(tomllib.loads(PROJECT.read_text("utf-8"))["project"]), indent=2) + "\n"
    if arguments == ["--check"]:
        if WRITTEN.is_file() and WRITTEN.read_text("utf-8") == text:
            return 0
        print(f"{WRITTEN.name} is not what pyproject.toml says: run python release/sbom.py", file=sys.stderr)
        return 1
    WRITTEN.write_text(text, "utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
