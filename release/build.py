"""Builds the sdist and the wheel twice, and keeps them only where both times gave the same bytes.

    python release/build.py [DIST]    into dist/ unless a folder is given

What is committed is built, by the tools that requirements.txt names with their hashes: whoever builds a tag gets the
files of its release. The builds differ in all that must not matter: the folder, the dates and modes of the files, the
time zone, the locale, the order of hashes. The wheel is built from the sdist, so nothing that it needs is left out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess  # nosec B404 # fixed commands
import sys
import tarfile
import tempfile
import venv
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = Path(__file__).parent / "requirements.txt"

SURROUNDINGS = [
    ("one", 1_600_000_000, 0o077, {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
    ("a longer way/two", 1_700_000_000, 0o022, {"TZ": "Pacific/Apia", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"}),
]
"""Of each build: its folder, the date of every file, the umask, the environment."""


def main(arguments: list[str]) -> int:
    dist = Path(arguments[0]) if arguments else ROOT / "dist"
    with tempfile.TemporaryDirectory(prefix="node-ipc-build-") as name:
        work = Path(name)
        python = install_tools(work / "tools")
        first, second = ([*build(python, work / folder, *rest)] for folder, *rest in SURROUNDINGS)
        hashes = hashes_of(first)
        if hashes != hashes_of(second) or len(hashes) != 2:
            print(f"two builds differ: {hashes} and {hashes_of(second)}", file=sys.stderr)
            return 1
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir(parents=True)
        for path in first:
            (dist / path.name).write_bytes(path.read_bytes())
    for file, number in sorted(hashes.items()):
        print(f"{number}  {file}")
    return 0


def install_tools(home: Path) -> Path:
    """A Python that has what builds, and nothing else."""
    venv.create(home, with_pip=True)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*pip, "--require-hashes", "-r", TOOLS], check=True)  # nosec B603 # a fixed command
    return python


def build(python: Path, folder: Path, date: int, umask: int, surroundings: dict[str, str]) -> list[Path]:
    """Both distributions, from a fresh copy of the project."""
    before = os.umask(umask)
    try:
        copy_project(folder)
        for path in folder.rglob("*"):
            os.utime(path, (date, date))
        environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"} | surroundings
        subprocess.run(  # nosec B603 # a fixed command
            [python, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder],
            check=True,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
    finally:
        os.umask(before)
    return sorted((folder / "dist").iterdir())


def hashes_of(files: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def copy_project(to: Path) -> None:
    """What is committed; where there is no repository, all but what .gitignore names."""
    if not (ROOT / ".git").exists():
        ignored = (line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").split())
        shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*ignored))
        return
    command = ["git", "-C", ROOT, "archive", "HEAD"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout  # nosec B603 # a fixed command
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(to, filter="data")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
