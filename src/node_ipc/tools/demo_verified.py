"""A copy of node-ipc that holds, byte for byte, what npm has under that name and version; only that is run.

A folder can say of itself that it is node-ipc 9.2.1, and so can each package that it loads. Whoever owns the folder,
and whatever becomes of it while the demo runs: each file is read once, counted in the hash and written to the copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .demo_node import DemoFailed

__all__ = ["KNOWN", "NotVerified", "copy_verified", "hash_of"]

KNOWN = {
    "@achrinza/event-pubsub@5.0.11": "bb424ed578c4a97996ff9a7040e5c2a34745df08d61d960fd77260867d2db10f",
    "@achrinza/node-ipc@10.1.11": "39ad12643031a281797ca259b2ddd3a2373e7a170d707f9d952d0ad8949ce388",
    "@achrinza/strong-type@0.1.14": "39f44a4bf1c43b62332b4e640fbd346287a0afa7a5dfad7659ffcaaf47753328",
    "@achrinza/strong-type@1.1.20": "04bd3f7c25d24d2d1c4b96ea789ac0fb8ad8d3697d115972250b7af9d8cae6c1",
    "@node-ipc/js-queue@2.0.3": "8c2dbc17d540f568e46bf60a7c3417beb024c64b04026cbebe83deea274c2f5b",
    "easy-stack@1.0.1": "32cd75a2503a4e4ccfb098612e7164ea6d698fb9d113d3d5419e05a1f1aef88d",
    "easy-stack@2.1.0": "ab4742e8d29187e337210117ff2cfe04884166a5067893d6a4d69799ea6f1b59",
    "event-pubsub@4.3.0": "9f443996ed8eff405024bb7fd5bf9e2fc25af6e6bce5ad47edee5c4d8fcd4f98",
    "event-pubsub@6.1.1": "7f1ab58ffab0a0aaa181020535469d91019842e04bbfafd38ceb1bc6a89ec8e4",
    "js-message@1.0.7": "dddfe7c75f5bb7b3758e0716dc4cb841c13dc4f2c838a53fc1682cd5e3863ff9",
    "js-message@3.1.0": "72c37537624449f08eedf6f73ff6d9f03fb32384219f4edee3992a3b6d13205f",
    "js-queue@2.0.2": "e8f5b79d912ac5dda0317708625bd7aa71fb782d02f1aceedef4ee5434973dc5",
    "js-queue@3.1.0": "cd10a4f3c49ccaf4c2c90446a188529d71e8938e73eade1a268c50d1e9b85414",
    "node-ipc@14.0.0": "4ae32fcd00eda051e953f6761e58bfe59da9dc3f9d76e49a07f9947ef1d90e1d",
    "node-ipc@9.2.1": "2dd4a6850b2ca0825f205496e9ea24594f48582fd701b5645377bf4d1bef243b",
    "strong-type@2.0.0": "05db86571f554d710a64f107cf585cec0d67a540663f92f8a0667b22bd660957",
}
"""Package and version: the hash of what Node may load of it."""
LOADED = (".js", ".cjs", ".mjs", ".json")
"""What Node loads; nothing else is copied."""
DECIDES = ("dependencies", "exports", "imports", "main", "name", "type", "version")
"""What package.json says of what is loaded; some versions of npm write more into it."""
MOST_FILES, MOST_BYTES = 1000, 8 * 1024 * 1024


class NotVerified(DemoFailed):
    """A package is not what npm has under its name; the message says which and where."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}. Nothing of it is run: install it anew, or let --install do so in a temporary directory"
        )


def copy_verified(name: str, folder: Path, place: Path) -> Path:
    """Copy the package ``name`` in ``folder``, and what it needs, to a new folder in ``place``; the copy's folder.

    Raises:
        NotVerified: a package is not known, not whole, changed, or cannot be read or copied.
    """
    copy = place / "package"
    try:
        _copy(name, folder.resolve(), copy)
    except OSError as error:
        raise NotVerified(f"{folder} cannot be read or copied: {error}") from error
    return copy


def _copy(name: str, folder: Path, copy: Path) -> None:
    files = dict(_files(folder))
    description = json.loads(files["package.json"])
    release = f"{name}@{description.get('version')}"
    if release not in KNOWN:
        raise NotVerified(f"{folder} is {release:.80}, which no safe node-ipc needs")
    if KNOWN[release] != _hash(files):
        raise NotVerified(f"{folder} calls itself {release}, and its files are not those that npm has under that name")
    for relative, content in files.items():
        file = copy / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    for needed in description.get("dependencies", ()):  # ends: what is verified needs only what it always did
        _copy(needed, _resolved(folder, needed), copy / "node_modules" / needed)


def _resolved(folder: Path, name: str) -> Path:
    """Where Node finds what the package in ``folder`` needs."""
    for above in (folder, *folder.parents):
        found = above / "node_modules" / name
        if above.name != "node_modules" and (found / "package.json").is_file():
            return found.resolve()
    raise NotVerified(f"{folder} needs {name}, and that is not installed")


def hash_of(folder: Path) -> str:
    """SHA-256 of what Node may load of the package in ``folder``."""
    return _hash(dict(_files(folder)))


def _hash(files: dict[str, bytes]) -> str:
    whole = hashlib.sha256()
    for relative, content in sorted(files.items()):
        whole.update(f"{relative}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        whole.update(content)
    return whole.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What Node may load of one package; of package.json only what decides that."""
    yield "package.json", _decisive(folder)
    bytes_left = MOST_BYTES
    for file in _loaded(folder):
        content = _read(file, bytes_left)
        bytes_left -= len(content)
        yield file.relative_to(folder).as_posix(), content


def _loaded(folder: Path) -> Iterator[Path]:
    """The files of a package beside package.json."""
    seen = 0
    folders = [folder]
    while folders:
        for file in folders.pop().iterdir():
            seen += 1
            if seen > MOST_FILES:
                raise NotVerified(f"{folder} has more than {MOST_FILES} files: no safe node-ipc has")
            if file.is_dir() and not file.is_symlink():
                folders += [file] if file.name != "node_modules" else []
            elif file.name.endswith(LOADED) and file != folder / "package.json":
                yield file


def _decisive(folder: Path) -> bytes:
    try:
        description: Any = json.loads(_read(folder / "package.json", MOST_BYTES))
    except ValueError:
        description = None
    if not isinstance(description, dict) or not isinstance(description.get("dependencies", {}), dict):
        raise NotVerified(f"the package.json of {folder} cannot be read")
    kept = {key: description[key] for key in DECIDES if description.get(key)}
    return json.dumps(kept, sort_keys=True, indent=2).encode()


def _read(file: Path, most: int) -> bytes:
    """The content of a file that is one, and no link, pipe or device: also where it becomes one meanwhile."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(file, flags), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise NotVerified(f"{file} is no file")
        content = opened.read(most + 1)
    if len(content) > most:
        raise NotVerified(f"{file.parent} has more than {MOST_BYTES} bytes to load: no safe node-ipc has")
    return content
