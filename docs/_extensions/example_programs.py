"""``{example} NAME``: the programs of ``examples/NAME``, as they stand there, in the copies of the sources too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

EXAMPLES = Path(__file__).parents[2] / "examples"
LANGUAGES = {".py": "python", ".js": "javascript", ".mjs": "javascript", ".ts": "typescript", ".sh": "bash"}


class Example(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        files = programs(self.arguments[0])
        if not files:
            raise self.error(f"no programs in {EXAMPLES / self.arguments[0]}")
        found: list[nodes.Node] = []
        for path in files:
            self.env.note_dependency(str(path))
            found += [nodes.paragraph("", "", nodes.literal("", _name(path))), _block(path)]
        return found


def programs(folder: str) -> list[Path]:
    return sorted(path for path in (EXAMPLES / folder).iterdir() if path.suffix in LANGUAGES)


def _name(path: Path) -> str:
    return f"examples/{path.parent.name}/{path.name}"


def _block(path: Path) -> nodes.literal_block:
    text = path.read_text("utf-8")
    block = nodes.literal_block(text, text)
    block["language"] = LANGUAGES[path.suffix]
    return block


def put_into_copies(app: Sphinx, exception: Exception | None) -> None:
    """llms.txt leads to the copies of the sources, whose readers run no directive."""
    if exception is None and app.builder.format == "html":
        for copy in (Path(app.outdir) / "_sources").rglob("*.md.txt"):
            text = copy.read_text("utf-8")
            whole = re.sub(r"^```\{example\} (\w+)\n```$", lambda found: _as_markdown(found[1]), text, flags=re.M)
            if whole != text:
                copy.write_text(whole, "utf-8")


def _as_markdown(folder: str) -> str:
    blocks = [
        f"`{_name(path)}`\n\n```{LANGUAGES[path.suffix]}\n{path.read_text('utf-8')}```" for path in programs(folder)
    ]
    return "\n\n".join(blocks)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("example", Example)
    app.connect("build-finished", put_into_copies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
