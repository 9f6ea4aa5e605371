"""Completes the metadata when a distribution is built: addresses of the project, and a README whose links work on PyPI.

Where the project is, its files do not say, so that a fork is not taken for it: GitHub's workflows do, in
``GITHUB_REPOSITORY``, and whoever builds a release again sets that too (docs/releases.md). Elsewhere, as for
``pip install -e .``, there are no addresses, and the README is what it is. A wheel that is built from an sdist has what
that was built with.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!https?://|#)([^)]+)\)")


class Metadata(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        text = (root / "README.md").read_text("utf-8")
        built_with = root / "PKG-INFO"
        home = home_of(built_with.read_text("utf-8") if built_with.is_file() else None, os.environ)
        if home is not None:
            metadata["urls"] = addresses(home)
            text = absolute(text, home, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def home_of(built_with: str | None, environment: Any) -> str | None:
    """The repository's address: an sdist's own, else what the workflow says; None where nobody does."""
    if built_with is not None:
        found = re.search(r"^Project-URL: Homepage, (\S+)$", built_with, re.M)
        return found[1] if found else None
    repository = environment.get("GITHUB_REPOSITORY")
    return f"https://github.com/{repository}" if repository else None


def addresses(home: str) -> dict[str, str]:
    owner, name = home.removeprefix("https://github.com/").split("/")
    return {
        "Homepage": home,
        "Documentation": f"https://{owner.lower()}.github.io/{name}/",
        "Issues": f"{home}/issues",
        "Changes": f"{home}/blob/main/CHANGELOG.md",
    }


def absolute(text: str, home: str, tag: str) -> str:
    """Each link to a file leads to it in the repository, as it was at this tag; a picture to its bytes."""

    def lead(link: re.Match[str]) -> str:
        kind = "raw" if link[1] else "blob"
        return f"{link[1]}[{link[2]}]({home}/{kind}/{tag}/{link[3]})"

    return LINK.sub(lead, text)
