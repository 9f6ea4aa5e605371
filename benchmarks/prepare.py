"""What has to be made before a run: the C program, Node with node-ipc, certificates."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.install import Peer

__all__ = ["Unavailable", "certificates", "compiled", "compiler_version", "peer"]

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"


class Unavailable(Exception):
    """An implementation cannot be run here; the message says what is missing."""


@cache
def compiled(source: Path) -> Path:
    """The program made from one C file; compiled again when the file is newer.

    Raises:
        Unavailable: without a C compiler.
    """
    program = BUILD / source.stem
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        subprocess.run([_compiler(), "-O2", "-o", str(program), str(source)], check=True)
    return program


def compiler_version() -> str:
    """The first line of what the compiler says of itself.

    Raises:
        Unavailable: without a C compiler.
    """
    done = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def _compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        raise Unavailable("no C compiler in PATH: install gcc")
    return found


@cache
def peer(version: str) -> Peer:
    """node-ipc as the tests install it (``v9`` or ``v14``); both run on the Node that 14 needs.

    Raises:
        Unavailable: without Node or npm, or when npm fails.
    """
    sys.path.insert(0, str(HERE.parent))
    try:
        from tests.interop.install import InstallFailed, NodeMissing, install_all
    finally:
        sys.path.pop(0)
    try:
        peers = install_all()
    except (NodeMissing, InstallFailed) as error:
        raise Unavailable(str(error)) from error
    return replace(peers[version], node=peers["v14"].node)


def certificates(folder: Path) -> dict[str, str]:
    """A new authority and a certificate for this machine, written to ``folder``; the paths as a plan names them."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    paths = {"key": folder / "server.key", "cert": folder / "server.pem", "ca": folder / "authority.pem"}
    issued.private_key_pem.write_to_path(str(paths["key"]))
    issued.cert_chain_pems[0].write_to_path(str(paths["cert"]))
    authority.cert_pem.write_to_path(str(paths["ca"]))
    return {name: str(path) for name, path in paths.items()}
