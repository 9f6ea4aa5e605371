"""``{example} NAME``: the programs of ``examples/NAME``, as they stand there."""

from __future__ import annotations

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
        folder = EXAMPLES / self.arguments[0]
        files = sorted(path for path in folder.iterdir() if path.suffix in LANGUAGES)
        if not files:
            raise self.error(f"no programs in {folder}")
        found: list[nodes.Node] = []
        for path in files:
            self.env.note_dependency(str(path))
            name = f"examples/{folder.name}/{path.name}"
            found += [nodes.paragraph("", "", nodes.literal("", name)), _block(path)]
        return found


def _block(path: Path) -> nodes.literal_block:
    text = path.read_text("utf-8")
    block = nodes.literal_block(text, text)
    block["language"] = LANGUAGES[path.suffix]
    return block


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("example", Example)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
