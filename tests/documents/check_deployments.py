"""Judges the site's files of Docker, Compose, Kubernetes, systemd: ``python tests/documents/check_deployments.py``.

hadolint reads Dockerfiles, the schemas of Compose and of Kubernetes the YAML, and ``systemd-analyze`` the units. They
come with the extra ``docs`` and with systemd; nothing is fetched, and no container is started. That the programs which
these files start do what their pages say is in ``test_deployments.py``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from documents.pages import PAGES, ROOT, Block, blocks

BIN = Path(sys.executable).parent
DOCKERFILE = (BIN / "hadolint", "--ignore", "DL3013")  # that packages be pinned: a page would go stale
COMPOSE = (BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec")
KUBERNETES = (BIN / "kubernetes-validate", "--strict", "--quiet")
SYSTEMD = ("systemd-analyze", "verify", "--man=no")


def judged(blocks: list[Block], folder: Path) -> list[tuple[tuple[str | Path, ...], list[Path]]]:
    """The files of a page, written into the folder, by the program that judges them; units are judged together."""
    found: dict[tuple[str | Path, ...], list[Path]] = {}
    for block in blocks:
        judge = judge_of(block)
        if judge is not None:
            path = folder / (unit_name(block) or f"line{block.line}.{block.language}")
            path.write_text(runnable(block.text) if judge is SYSTEMD else block.text, "utf-8")
            found.setdefault(judge, []).append(path)
    return [*found.items()]


def judge_of(block: Block) -> tuple[str | Path, ...] | None:
    if block.language == "dockerfile":
        return DOCKERFILE
    if block.language == "yaml":
        return KUBERNETES if re.search("^apiVersion:", block.text, re.M) else COMPOSE
    return SYSTEMD if unit_name(block) else None


def unit_name(block: Block) -> str | None:
    found = re.match(r"# /etc/systemd/system/([\w.-]+)\n", block.text)
    return found[1] if found else None


def runnable(unit: str) -> str:
    """What it starts is a program that is here: systemd looks whether it is."""
    return re.sub(r"^(ExecStart=)\S+", rf"\1{sys.executable}", unit, flags=re.M)


def complaints(page: str, folder: Path) -> tuple[int, list[str]]:
    """How many files were judged, and what was said against them."""
    folder.mkdir()
    count = 0
    found: list[str] = []
    for judge, paths in judged(blocks(page), folder):
        done = subprocess.run([*judge, *paths], capture_output=True, text=True)
        said = (done.stdout + done.stderr).replace(f"{folder}/", "").strip()
        count += len(paths)
        if done.returncode != 0 or (judge is SYSTEMD and said):
            found.append(f"{page}: {Path(judge[0]).name} ended with {done.returncode}:\n{said}")
    return count, found


def main() -> int:
    missing = [str(judge[0]) for judge in (DOCKERFILE, COMPOSE, KUBERNETES, SYSTEMD) if shutil.which(judge[0]) is None]
    if missing:
        print(
            f"{', '.join(missing)} not found: pip install -e '.[docs]', and Debian's package systemd", file=sys.stderr
        )
        return 2
    total = 0
    found: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        for number, path in enumerate(PAGES):
            count, said = complaints(path.relative_to(ROOT).as_posix(), Path(name) / f"page{number}")
            total, found = total + count, found + said
    print("\n".join(found), end="\n" if found else "")
    print(f"{total} files, {len(found)} complaints")
    return 1 if found or total < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
