"""mypy on every Python block of the site: ``python tests/documents/check_types.py``.

A block that names its file is a module of its own, beside those that stand before it on its page. The others of a page
are one module, line by line where they are on the page, so that what is found has the page's line. What the page's text
has told before such a block stands in comments that readers do not see: ``% before: server: node_ipc.AsyncServer``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from documents.pages import PAGES, ROOT, Block, blocks, read

OPTIONS = (
    *("--check-untyped-defs", "--ignore-missing-imports", "--no-error-summary", "--hide-error-context"),
    *("--config-file=", "--python-version=3.11"),
    *("--disable-error-code=no-redef", "--disable-error-code=empty-body", "--disable-error-code=annotation-unchecked"),
)


def modules(page: str) -> Iterator[dict[str, str]]:
    """The files that mypy sees together: first the page's loose blocks, then each state of its named files."""
    python = [block for block in blocks(page) if block.language == "python"]
    named = [block for block in python if block.file is not None]
    loose = [block for block in python if block.file is None]
    files: dict[str, str] = {}
    for block in named:
        assert block.file is not None
        if block.file in files:
            yield dict(files)
        files[block.file] = "\n" * (block.line - 1) + block.text
    if loose:
        files["page.py"] = together(read(page), loose)
    if files:
        yield files


def together(text: str, loose: list[Block]) -> str:
    """One module of all loose blocks, each in its lines."""
    lines = [re.sub(r"^% before: ", "", line) if line.startswith("% before: ") else "" for line in text.splitlines()]
    for number, block in enumerate(loose):
        code = block.text.splitlines()
        if waits(block.text):
            lines[block.line - 2] = f"async def _{number}() -> None:"
            code = [f"    {line}" if line else "" for line in code]
        lines[block.line - 1 : block.line - 1 + len(code)] = code
    return "\n".join(lines) + "\n"


def waits(text: str) -> bool:
    """Is there an await, or a return, outside of functions?"""
    try:
        compile(text, "block", "exec")
    except SyntaxError as error:
        if "outside" not in str(error):
            raise
        return True
    return False


def complaints(page: str, folder: Path, cache: Path) -> list[str]:
    found: list[str] = []
    for number, files in enumerate(modules(page)):
        here = folder / str(number)
        here.mkdir(parents=True)
        for name, text in files.items():
            (here / name).write_text(text, "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *OPTIONS, f"--cache-dir={cache}", *sorted(files)],
            cwd=here,
            capture_output=True,
            text=True,
        )
        assert done.returncode in (0, 1), done.stderr + done.stdout
        found += [re.sub(r"^[\w.]+:(\d+)", rf"{page}:\1", line) for line in done.stdout.splitlines()]
    return found


def main() -> int:
    found: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        for number, path in enumerate(PAGES):
            page = path.relative_to(ROOT).as_posix()
            found += complaints(page, Path(name) / f"page{number}", Path(name) / "cache")
    print("\n".join(sorted({*found}, key=found.index)))
    print(f"{len(PAGES)} pages, {len(found)} complaints")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
