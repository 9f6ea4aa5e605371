"""``node-ipc demo``, as a new user runs it: an empty home, an empty directory, nothing but Python in reach."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.conftest import in_ci
from interop.install import VERSIONS, NodeMissing, Peer, install_all
from node_ipc.tools import demo, demo_node, demo_verified
from node_ipc.tools.cli import main
from processes import Program

Demo = Callable[..., Program]


@pytest.fixture
def run_demo(tmp_path: Path) -> Iterator[Demo]:
    """Starts the demo with an empty home; ``PATH`` and the place it runs in may be given."""
    started: list[Program] = []
    home = tmp_path / "home"
    home.mkdir()
    temporary = tmp_path / "t"
    temporary.mkdir()

    def start(*arguments: str, **environment: str) -> Program:
        place = {"HOME": str(home), "TMPDIR": str(temporary)}
        started.append(Program.python("-m", "node_ipc", "demo", *arguments, **{**place, **environment}))
        return started[-1]

    yield start
    for program in started:
        program.close()
    assert list(home.iterdir()) == [], "the demo wrote into the home directory"
    assert list(temporary.iterdir()) == [], "the demo left something behind"


def conversation(program: Program) -> list[str]:
    """The lines of both ends without the times, sorted as they must be: each end's own in order."""
    spoken = [re.sub(r"^ *[0-9.]+ s +", "", line) for line in program.lines if re.match(r" *[0-9.]+ s ", line)]
    return [re.sub(r" +", " ", line) for line in spoken]


def assert_complete(program: Program) -> None:
    lines = conversation(program)
    for role, other in (("server", "client"), ("client", "server")):
        heard = [line.split(" ", 2)[2] for line in lines if line.startswith(f"{role} hears")]
        said = [line.split(" ", 2)[2] for line in lines if re.match(f"{other} (says|broadcasts)", line)]
        assert [re.sub(r"\.0\b", "", line) for line in heard] == [re.sub(r"\.0\b", "", line) for line in said]
        assert len(heard) == 3


def test_both_ends_in_python(run_demo: Demo) -> None:
    program = run_demo(PATH="")  # no Node, nothing
    program.ends()
    assert_complete(program)
    assert program.lines[-1].startswith("all 6 events arrived")
    assert 'server hears message "hello"' in conversation(program)


@pytest.fixture(scope="session")
def peers() -> dict[str, Peer]:
    try:
        return install_all()
    except NodeMissing as error:
        (pytest.fail if in_ci() else pytest.skip)(f"real node-ipc is not here: {error}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["v9", "v10", "v14"])
def test_with_real_node_ipc_in_both_roles(run_demo: Demo, peers: dict[str, Peer], version: str) -> None:
    peer = peers[version]
    path = f"{Path(shutil.which(peer.node) or '').parent}:{os.environ['PATH']}"
    program = run_demo("--node", "--node-modules", str(peer.folder), PATH=path)
    program.ends()
    said = [line for line in program.lines if line.startswith("the ") and "Node" in line]
    assert len(said) == 2
    assert all(f"{peer.package} {VERSIONS[version]}" in line for line in said)
    assert sum(line.startswith("all 6 events arrived") for line in program.lines) == 2


def test_one_role_only(run_demo: Demo, peers: dict[str, Peer]) -> None:
    program = run_demo("--node", "server", "--node-modules", str(peers["v9"].folder / "node_modules"))
    program.ends()
    assert_complete(program)
    assert [line.split(" is ")[0] for line in program.lines if " is Node" in line] == ["the server"]


def node_in(folder: Path, script: str) -> str:
    """A PATH with a program called node in it."""
    folder.mkdir(exist_ok=True)
    for name in ("node", "npm"):
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    return f"{folder}:/bin:/usr/bin"


def package_in(folder: Path, version: str) -> Path:
    """A node_modules with something that calls itself node-ipc."""
    package = folder / "node_modules" / "node-ipc"
    package.mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"version": version}), "utf-8")
    return folder


def assert_says_what_it_needs(program: Program) -> None:
    text = "\n".join(program.ends(1))
    for needed in ("9.2.1", "14.0.0", "@achrinza/node-ipc 10.1.11", "--ignore-scripts"):
        assert needed in text


def test_without_node_it_says_what_it_needs(run_demo: Demo, tmp_path: Path) -> None:
    program = run_demo("--node", PATH=str(tmp_path))
    assert_says_what_it_needs(program)
    assert "install Node" in program.printed


def test_without_node_ipc_it_says_what_it_needs(run_demo: Demo, tmp_path: Path) -> None:
    program = run_demo("--node", "--node-modules", str(tmp_path), PATH=node_in(tmp_path / "bin", "echo v20.0.0"))
    assert_says_what_it_needs(program)
    assert "there is none in" in program.printed


@pytest.mark.parametrize("version", ["9.1.6", "9.2.2", "9.2.3", "10.1.1", "11.0.0", "12.0.1", "14.0.0"])
def test_releases_that_are_not_safe_are_never_run(run_demo: Demo, tmp_path: Path, version: str) -> None:
    """14.0.0 is safe, but not for this Node: it wants a newer one."""
    place = package_in(tmp_path / "app", version)
    program = run_demo("--node", "--node-modules", str(place), PATH=node_in(tmp_path / "bin", "echo v20.0.0"))
    assert_says_what_it_needs(program)
    assert f"node-ipc {version}, which is not run with Node 20.0.0" in program.printed


@pytest.mark.parametrize("contents", ["", "require('child_process').execSync('touch run')"])
def test_what_only_says_that_it_is_safe_is_never_run(run_demo: Demo, tmp_path: Path, contents: str) -> None:
    """Anybody who may write to a folder above can put it there."""
    place = package_in(tmp_path / "app", "9.2.1")
    (place / "node_modules" / "node-ipc" / "index.js").write_text(contents)
    played = f'case "$1" in --version) echo v20.0.0;; *) touch {tmp_path}/run;; esac'
    program = run_demo("--node", "--node-modules", str(place), PATH=node_in(tmp_path / "bin", played))
    printed = "\n".join(program.ends(1))
    assert "calls itself node-ipc@9.2.1, and its files are not those that npm has" in printed
    assert "--install" in printed
    assert not (tmp_path / "run").exists()


def test_the_hashes_are_those_of_the_packages_in_the_lock_files(peers: dict[str, Peer]) -> None:
    """npm has compared these with the integrity that the lock files name."""
    installed = {}
    for peer in peers.values():
        for described in peer.folder.rglob("package.json"):
            description = json.loads(described.read_text("utf-8"))
            if "name" in description and "version" in description:
                release = f"{description['name']}@{description['version']}"
                installed[release] = demo_verified.hash_of(described.parent)
    assert {release: hash for release, hash in installed.items() if release in demo_verified.KNOWN} == (
        demo_verified.KNOWN
    )


def link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def link_to_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def add_many(file: Path) -> None:
    for number in range(demo_verified.MOST_FILES + 1):
        file.with_name(f"{number}.js").touch()


CHANGES: list[Callable[[Path], Any]] = [
    lambda file: file.write_bytes(file.read_bytes() + b" "),
    lambda file: file.write_bytes(b"x" * (demo_verified.MOST_BYTES + 1)),
    lambda file: file.unlink(),
    lambda file: file.with_name("more.js").write_text(""),
    add_many,
    lambda file: file.with_name("package.json").write_text("{}"),
    lambda file: file.with_name("package.json").write_text("["),
    lambda file: file.with_name("package.json").unlink(),
    link_to_itself,
    link_to_a_pipe,
]


@pytest.mark.parametrize("package", ["node-ipc", "easy-stack"])
@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_one_changed_file_of_any_package_is_refused(
    peers: dict[str, Peer], tmp_path: Path, package: str, number: int
) -> None:
    modules = tmp_path / "node_modules"
    shutil.copytree(peers["v9"].folder / "node_modules", modules)
    whole = demo_verified.copy_verified("node-ipc", modules / "node-ipc", tmp_path / "whole")
    assert (whole / "node_modules" / "js-queue" / "node_modules" / "easy-stack" / "package.json").exists()
    script = {"node-ipc": "node-ipc.js", "easy-stack": "stack.js"}[package]
    CHANGES[number](modules / package / script)
    with pytest.raises(demo_verified.NotVerified, match=package):
        demo_verified.copy_verified("node-ipc", modules / "node-ipc", tmp_path / "changed")


def test_what_npm_6_writes_into_package_json_and_what_is_no_program_changes_nothing(
    peers: dict[str, Peer], tmp_path: Path
) -> None:
    modules = tmp_path / "node_modules"
    shutil.copytree(peers["v9"].folder / "node_modules", modules)
    for package in modules.iterdir():
        if (file := package / "package.json").exists():
            description = json.loads(file.read_text("utf-8"))
            file.write_text(json.dumps({**description, "_from": "x", "deprecated": False, "bugs": {}}), "utf-8")
            (package / "README.md").write_text("changed")
    demo_verified.copy_verified("node-ipc", modules / "node-ipc", tmp_path / "copy")


def test_nothing_is_installed_unless_asked_and_then_without_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """npm is played: it notes what it was asked for, and installs a package."""
    asked = tmp_path / "asked"
    install = (
        f'case "$0" in *npm) echo "$@" > {asked}; mkdir -p node_modules/node-ipc;'
        """ echo '{"version": "9.2.1"}' > node_modules/node-ipc/package.json;; *) echo v20.0.0;; esac"""
    )
    monkeypatch.setenv("PATH", node_in(tmp_path / "bin", install))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(demo_node.NodeIPCMissing):
        demo_node.find_node_ipc(None)
    assert not asked.exists()
    place = tmp_path / "place"
    place.mkdir()
    found = demo_node.install_node_ipc(place)
    assert (found.package, found.version, found.folder) == ("node-ipc", "9.2.1", place / "node_modules" / "node-ipc")
    assert "--ignore-scripts" in asked.read_text() and asked.read_text().endswith(" node-ipc@9.2.1\n")
    monkeypatch.chdir(place)
    assert demo_node.find_node_ipc(None) == found


def test_npm_that_is_missing_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = node_in(tmp_path / "bin", 'case "$0" in *npm) echo no registry >&2; exit 5;; *) echo v20.0.0;; esac')
    monkeypatch.setenv("PATH", path)
    with pytest.raises(demo_node.NodeIPCMissing, match="npm ended with 5:\nno registry"):
        demo_node.install_node_ipc(tmp_path)
    monkeypatch.setattr(demo_node, "INSTALL_SECONDS", 0.01)
    with pytest.raises(demo_node.NodeIPCMissing, match=r"npm took longer than 0\.01 s"):
        node_in(tmp_path / "bin", 'case "$0" in *npm) exec sleep 10;; *) echo v20.0.0;; esac')
        demo_node.install_node_ipc(tmp_path)
    (tmp_path / "bin" / "npm").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(demo_node.NodeIPCMissing, match="there is none in PATH"):
        demo_node.install_node_ipc(tmp_path)


def test_a_node_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", node_in(tmp_path / "bin", "exit 3"))
    with pytest.raises(demo_node.NodeIPCMissing, match="does not run"):
        demo_node.find_node_ipc(tmp_path)


def test_packages_that_cannot_be_read_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", node_in(tmp_path / "bin", "echo v20.0.0"))
    place = package_in(tmp_path / "app", "9.2.1")
    for text in ("{", "[]"):
        (place / "node_modules" / "node-ipc" / "package.json").write_text(text)
        with pytest.raises(demo_node.NodeIPCMissing, match="there is none"):
            demo_node.find_node_ipc(place)


def test_arguments_that_go_with_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--install"]) == 2
    assert "go with --node" in capsys.readouterr().err


def end_that(script: str) -> Callable[..., list[str]]:
    return lambda *_: [sys.executable, "-c", script]


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("import sys; sys.exit('the \\x1b[2J disk is full')", "the \\x1b[2J disk is full"),
        ("print('{}'); print('[1]'); print('words')", "the server heard nothing and never message, order, everybody"),
        ('import time; print(\'{"does": "listens", "type": "at"}\', flush=True); time.sleep(60)', "not over after"),
    ],
)
def test_a_conversation_that_fails_says_why_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, complaint: str
) -> None:
    if complaint == "not over after":  # the others end by themselves, however long a busy machine takes to start them
        monkeypatch.setattr(demo, "DEADLINE", 2.0)
    monkeypatch.setattr(demo, "_command", end_that(script))
    assert main(["demo"]) == 1
    assert complaint in capsys.readouterr().err


def test_what_is_heard_is_shown_after_it_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    stage = demo._Stage()
    stage.show("server", "hears", "message", "1")
    stage.show("server", "says", "bill", "2")
    assert capsys.readouterr().out == ""
    stage.show("client", "says", "message", "1")
    stage.show("client", "hears", "bill", "2")
    stage.show("client", "hears", "bill", "3")
    stage.end()
    shown = [line.split(" s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert [re.sub(" +", " ", line) for line in shown] == [
        "client says message 1",
        "server hears message 1",
        "server says bill 2",
        "client hears bill 2",
        "client hears bill 3",
    ]


def test_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    demo._Stage().show("server", "listens", "at", "here")
    assert "\x1b[36mserver\x1b[0m  listens" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    demo._Stage().show("server", "listens", "at", "here")
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers need fork()")
def test_several_processes_as_one(run_demo: Demo) -> None:
    program = run_demo("--cluster")
    program.ends()
    heard = [re.sub(r"[0-9]+", "N", line) for line in program.lines if "the client of worker" in line]
    rooms = [room for room in ("red", "blue") for _ in range(3)] + [room for room in ("red", "blue") for _ in range(2)]
    assert heard == [f"  the client of worker N in '{room}' hears 'hello {room}'" for room in rooms]
    assert len({re.findall("[0-9]+", line)[0] for line in program.lines if "the client of worker" in line}) == 3
    assert program.lines[-1] == "everybody heard what was for them, and all processes have ended"


def test_cluster_and_node_are_two_demonstrations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--cluster", "--node"]) == 2
    assert "one at a time" in capsys.readouterr().err
