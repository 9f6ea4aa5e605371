"""``docs/wire/vectors.json``, run by ``tests/peers/vectors.js`` against each released node-ipc, over real sockets."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import NodePool
from .deviations import DEVIATIONS
from .install import PEERS, TESTS, Peer

FILE = TESTS.parent / "docs" / "wire" / "vectors.json"
VECTORS = json.loads(FILE.read_text("utf-8"))
SECONDS = 90


def run(peer: Peer, file: Path) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and what was printed: differences, and at the end how many vectors ran."""
    command = [peer.node, str(PEERS / "vectors.js"), str(peer.folder), peer.package, peer.version, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert not done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def about(version: str) -> dict[str, int]:
    """How many vectors of each section are about this version."""
    counted = {
        section: sum(version in vector.get("by", vector.get("server")) for vector in VECTORS[section])
        for section in ("write", "refuse_to_write", "read", "raw_write", "raw_read", "datagrams", "addresses")
    }
    return {section: count for section, count in counted.items() if count}


@pytest.mark.parametrize("version", ["v9", "v10", "v14"])
def test_real_node_ipc_does_what_the_vectors_say(node_pool: NodePool, version: str) -> None:
    code, said = run(node_pool.installed(version), FILE)
    assert (code, said) == (0, [{"ran": about(version)}])
    assert sum(about(version).values()) > 200


def test_a_vector_that_is_not_so_is_told(node_pool: NodePool, tmp_path: Path) -> None:
    wrong = json.loads(FILE.read_text("utf-8"))
    changed = {}
    for section, member, value in (
        ("write", "bytes", "00"),
        ("refuse_to_write", "code", "ERR_IPC"),
        ("read", "events", [["message", "another"]]),
        ("raw_write", "bytes", "00"),
        ("raw_read", "heard", "00"),
        ("datagrams", "events", []),
    ):
        vector = next(each for each in wrong[section] if "v14" in each["by"])
        vector[member] = value
        changed[section] = vector["name"]
    wrong["addresses"][0]["server"]["v14"] = "/elsewhere"
    changed["addresses"] = wrong["addresses"][0]["name"]
    (tmp_path / "vectors.json").write_text(json.dumps(wrong), "utf-8")

    code, said = run(node_pool.installed("v14"), tmp_path / "vectors.json")

    assert code == 1
    assert {each["section"]: each["name"] for each in said[:-1]} == changed


def test_every_deviation_of_the_wire_is_on_the_page() -> None:
    page = (FILE.parent / "index.md").read_text("utf-8").replace("`", "")
    of_the_library = {
        *("a * handler on an event without arguments", "disconnect drains", "explicit disconnect is heard"),
        *("emits while the link is down wait", "a second server on a live path"),
    }
    for name in DEVIATIONS.keys() - of_the_library:
        assert name in page, f"docs/wire/index.md does not name the deviation {name!r}"
