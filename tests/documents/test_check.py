"""``docs/check.py`` finds what is wrong with a built site."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .pages import DOCS

TOLD = "".join(f'<meta property="{key}" content="x">' for key in ("description", "og:title", "og:image"))
SOUND = {
    "index.html": f'{TOLD}<a href="a/one.html#here">one</a><a href="https://example.org/x">other</a>',
    "a/one.html": f'{TOLD}<h1 id="here">One</h1><a href="../index.html">back</a><img src="../p.png">',
    "p.png": "",
    "_static/card.png": "",
    "robots.txt": "Sitemap: https://example.org/sitemap.xml",
    "sitemap.xml": "a/one.html",
    "llms.txt": "[a/one](https://example.org/_sources/one.md.txt)",
    "_sources/one.md.txt": "# One",
}


def check(folder: Path, changes: dict[str, str | None]) -> tuple[int, str]:
    for name, text in {**SOUND, **changes}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if text is not None:
            path.write_text(text, "utf-8")
    done = subprocess.run([sys.executable, str(DOCS / "check.py"), str(folder)], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_sound_site_has_no_faults(tmp_path: Path) -> None:
    assert check(tmp_path, {}) == (0, "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"index.html": TOLD}, "a/one.html cannot be reached from index.html"),
        (
            {"index.html": SOUND["index.html"] + '<a href="none.html">'},
            "index.html links to none.html, which is not there",
        ),
        ({"index.html": SOUND["index.html"].replace("#here", "#there")}, "no such place on that page"),
        ({"p.png": None}, "a/one.html needs ../p.png, which is not there"),
        ({"index.html": SOUND["index.html"] + '<img src="https://example.org/x.png">'}, "from another host"),
        ({"index.html": SOUND["index.html"].removeprefix(TOLD)}, "index.html has no description"),
        ({"sitemap.xml": ""}, "sitemap.xml does not name a/one.html"),
        ({"_static/card.png": None}, "_static/card.png, the picture of links, is not there"),
        ({"llms.txt": ""}, "llms.txt does not name a/one.html"),
        ({"llms.txt": "[a/one](_sources/none.md.txt)"}, "llms.txt links to _sources/none.md.txt, which is not there"),
        ({"_sources/one.md.txt": "```{example} unix_basic"}, "where ```{example} stands instead of a text"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, str | None], said: str) -> None:
    code, complaint = check(tmp_path, changes)
    assert code == 1 and said in complaint
