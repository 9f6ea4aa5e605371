"""Real node-ipc for the demo: found where the user has it, or fetched when asked for; only releases to be trusted.

Some releases of node-ipc were published with malicious code, so nothing but the three below is ever run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess  # nosec B404 # node and npm, by their paths, without a shell
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SAFE", "DemoFailed", "NodeIPC", "NodeIPCMissing", "find_node_ipc", "install_node_ipc", "version_of"]

SAFE = {("node-ipc", "9.2.1"), ("node-ipc", "14.0.0"), ("@achrinza/node-ipc", "10.1.11")}
"""Package and version: the only ones that the demo runs."""
NODE_OF_14 = (22, 13)
INSTALL_SECONDS = 120

HOW = """\
Safe releases are node-ipc 9.2.1, node-ipc 14.0.0 (wants Node 22.13 or newer) and @achrinza/node-ipc 10.1.11; some
others were published with malicious code. Install exactly one of these, without its install scripts:
    npm install --ignore-scripts --save-exact node-ipc@9.2.1
and run the demo there, or point to it with --node-modules DIR. --install does that in a temporary directory."""


class DemoFailed(Exception):
    """The conversation did not go as it must; the message says what is missing."""


class NodeIPCMissing(DemoFailed):
    """There is no Node, or no node-ipc that may be run; the message says what to do."""


@dataclass(frozen=True)
class NodeIPC:
    """A Node and a node-ipc for it."""

    node: str
    node_version: str
    package: str
    version: str
    folder: Path

    def __str__(self) -> str:
        return f"Node {self.node_version} with {self.package} {self.version}"


def find_node_ipc(place: Path | None) -> NodeIPC:
    """The first safe node-ipc in ``place`` (a node_modules or the folder that holds one), or here and above.

    Raises:
        NodeIPCMissing: no Node, none installed, or not one of the safe releases.
    """
    node, node_version = _node()
    found = [] if place is None else [*_packages(place), *_packages(place / "node_modules")]
    if place is None:
        for folder in (Path.cwd(), *Path.cwd().parents):
            found += _packages(folder / "node_modules")
    for package, version, folder in found:
        if (package, version) in SAFE and not (version == "14.0.0" and _number(node_version) < NODE_OF_14):
            return NodeIPC(node, node_version, package, version, folder)
    where = "here or above" if place is None else f"in {str(place)!r}"
    if not found:
        raise NodeIPCMissing(f"--node needs node-ipc, and there is none {where}.\n{HOW}")
    seen = ", ".join(f"{package} {version}" for package, version, _ in found)
    raise NodeIPCMissing(f"{where} is {seen}, which is not run with Node {node_version}.\n{HOW}")


def install_node_ipc(place: Path) -> NodeIPC:
    """Fetch node-ipc 9.2.1 from npm into ``place``, without install scripts.

    Raises:
        NodeIPCMissing: there is no Node or npm, or npm failed.
    """
    _node()
    npm = shutil.which("npm")
    if npm is None:
        raise NodeIPCMissing("--install needs npm, and there is none in PATH: install Node with npm")
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "node-ipc@9.2.1"]
    try:
        done = subprocess.run(  # nosec B603 # a fixed command
            command, cwd=place, capture_output=True, text=True, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise NodeIPCMissing(f"npm took longer than {INSTALL_SECONDS} s: is its registry reachable?") from None
    if done.returncode != 0:
        raise NodeIPCMissing(f"npm ended with {done.returncode}:\n{done.stderr or done.stdout}")
    return find_node_ipc(place)


def _node() -> tuple[str, str]:
    node = shutil.which("node")
    if node is None:
        raise NodeIPCMissing(f"--node needs Node, and there is none in PATH: install Node 18 or newer.\n{HOW}")
    try:
        return node, version_of(node).removeprefix("v")
    except (OSError, subprocess.SubprocessError) as error:
        raise NodeIPCMissing(f"{node} does not run: {error}") from error


def version_of(node: str) -> str:
    """What ``node --version`` says; raises what keeps it from being said."""
    command = [node, "--version"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()  # nosec B603


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _packages(modules: Path) -> Iterator[tuple[str, str, Path]]:
    for package in ("node-ipc", "@achrinza/node-ipc"):
        folder = modules / package
        try:
            description = json.loads((folder / "package.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(description, dict):
            yield package, str(description.get("version")), folder.resolve()
