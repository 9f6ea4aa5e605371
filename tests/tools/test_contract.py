"""``node-ipc contract``: files that are written whole or not at all, and checked."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from node_ipc.contract import Contract, asyncapi, python_of

APP = """
import msgspec
from node_ipc import IPC, Event

print("loaded")

class Order(msgspec.Struct):
    item: str
    count: int = 1

done = Event("done", list[Order])

def register(server):
    @server.on("order")
    def order(data: Order, socket):
        "Somebody wants something."

    @server.handle("count")
    def count(params: str) -> int: ...

ipc = IPC()
ipc.config.id = "moon"
ipc.config.silent = True
ipc.serve(lambda: register(ipc.server))

def empty(server): ...
def broken(server): return 1 / 0
import node_ipc.contract
odd = node_ipc.contract.Contract("odd", receives=[node_ipc.contract.Message("odd", complex)])
"""
FORMATS = (
    "--typescript",
    "world.d.ts",
    "--json-schema",
    "world.schema.json",
    "--asyncapi",
    "world.yaml",
    "--html",
    "w.html",
)


class Folder:
    """A folder with ``app.py``, where the command runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0
        self.write("app.py", APP)

    def write(self, name: str, text: str) -> None:
        """Each in another second: Python takes a module of the same size and second for the one that it compiled."""
        self._written += 1
        (self.path / name).write_text(text, "utf-8")
        os.utime(self.path / name, (self._written, self._written))

    def read(self, name: str) -> str:
        return (self.path / name).read_text("utf-8")

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "node_ipc", "contract", *arguments]
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True, timeout=60, input=stdin)

    def fails(self, *arguments: str, code: int = 1) -> str:
        """What the command complains of, in one line."""
        done = self.run(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), done
        lines = [line for line in done.stderr.splitlines() if line != "loaded"]
        assert len(lines) == 1, done.stderr
        return lines[0].removeprefix("node-ipc contract: ")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_it_shows_what_is_registered(folder: Folder) -> None:
    done = folder.run("app:register")
    assert done.stdout == (
        "world 1.0.0\n"
        "  clients emit         order: Order\n"
        "  the server emits     done: Order[]\n"
        "  the server answers   count(string): number\n"
    )
    assert done.stderr == "loaded\n"  # what the code prints is no part of it


def test_an_ipc_and_a_module_of_events(folder: Folder) -> None:
    assert folder.run("app:ipc").stdout.startswith("moon 1.0.0\n  clients emit         order: Order\n")
    assert "done: Order[]" in folder.run("app").stdout


def test_every_format_at_once_and_then_checked(folder: Folder) -> None:
    done = folder.run("app:register", *FORMATS, "--title", "Shop", "--contract-version", "2.0")
    assert (done.returncode, done.stdout) == (0, "")
    assert "export interface Order {" in folder.read("world.d.ts")
    assert json.loads(folder.read("world.schema.json"))["title"] == "Shop"
    assert folder.read("world.yaml").startswith("asyncapi: 3.0.0\n")
    assert "<title>Shop 2.0</title>" in folder.read("w.html")
    assert not [name for name in os.listdir(folder.path) if name.startswith(".")]
    checked = folder.run("app:register", *FORMATS, "--title", "Shop", "--contract-version", "2.0", "--check")
    assert (checked.returncode, checked.stdout) == (0, "")


def test_a_struct_that_changes_fails_the_check_with_a_diff(folder: Folder) -> None:
    folder.run("app:register", *FORMATS)
    before = folder.read("world.d.ts")
    folder.write("app.py", APP.replace("item: str", "item: int"))
    done = folder.run("app:register", *FORMATS, "--check")
    assert done.returncode == 1
    assert "--- world.d.ts (the file)\n+++ world.d.ts (the code)\n" in done.stdout
    assert "-  item: string;\n" in done.stdout
    assert "+  item: number;\n" in done.stdout
    assert "world.d.ts is not what the code says: run the command without --check" in done.stderr
    assert folder.read("world.d.ts") == before


def test_a_file_that_is_not_there_fails_the_check(folder: Folder) -> None:
    done = folder.run("app:register", "--html", "w.html", "--check")
    assert done.returncode == 1
    assert not (folder.path / "w.html").exists()


def test_ends_of_lines_as_git_writes_them_on_windows_are_no_difference(folder: Folder) -> None:
    folder.run("app:register", "--typescript", "world.d.ts")
    (folder.path / "world.d.ts").write_bytes(folder.read("world.d.ts").replace("\n", "\r\n").encode())
    assert folder.run("app:register", "--typescript", "world.d.ts", "--check").returncode == 0


def test_a_ts_holds_a_client_too(folder: Folder) -> None:
    folder.run("app:ipc", "--typescript", "moon.ts")
    assert "export class Moon {" in folder.read("moon.ts")


def test_standard_output(folder: Folder) -> None:
    done = folder.run("app:register", "--json-schema", "-")
    assert "Order" in json.loads(done.stdout)["$defs"]


def test_asyncapi_to_python_and_back(folder: Folder) -> None:
    folder.run("app:register", "--asyncapi", "world.yaml", "--asyncapi-version", "3.1.0")
    assert folder.run("--from", "world.yaml", "--python", "made.py").returncode == 0
    assert folder.run("--from", "world.yaml", "--python", "made.py", "--check").returncode == 0
    shown = folder.run("made:contract").stdout
    assert shown == folder.run("app:register").stdout
    again = folder.run("--from", "-", "--python", "-", stdin=json.dumps(asyncapi(Contract("a", receives=[]))))
    assert again.returncode == 1
    assert "the document has no operations" in again.stderr


def test_dates_in_yaml_stay_text(folder: Folder) -> None:
    folder.write(
        "a.yaml",
        """
asyncapi: 3.0.0
info: {title: a, version: 2030-01-31}
channels: {a: {address: a, messages: {a: {payload: {enum: [2030-01-31]}}}}}
operations: {a: {action: send, channel: {$ref: '#/channels/a'}}}
""",
    )
    assert 'Literal["2030-01-31"]' in folder.run("--from", "a.yaml", "--python", "-").stdout


# ---- what is wrong


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere:server"], "there is no module 'nowhere' in"),
        (["app:regster"], "'app' has no 'regster': did you mean 'register'?"),
        (["app:ipc.of.mars"], "'app' has no 'ipc.of.mars'"),
        (["app:empty"], "empty has no event and no method"),
        (["app:broken"], "broken failed: ZeroDivisionError: division by zero"),
        (["raises"], "'raises' could not be loaded: ZeroDivisionError: division by zero (raises.py, line 2)"),
        (["ends"], "'ends' could not be loaded: SystemExit: 3 (ends.py, line 1)"),
        (["misses"], "'misses' could not be loaded: ModuleNotFoundError: No module named 'nowhere' (misses.py"),
        (["spelt"], "'spelt' could not be loaded: SyntaxError"),
        (["app:register", "--html", "."], "it is a directory"),
        (["app:register", "--html", "none/w.html"], "No such file or directory"),
        (["app:register", "--html", "sealed.html"], "it is read-only"),
        (["--from", "none.yaml", "--python", "a.py"], "cannot read 'none.yaml': No such file or directory"),
        (["--from", "app.py", "--python", "a.py"], "'app.py' is neither JSON nor YAML"),
        (["--from", "bad.json", "--python", "a.py"], "'bad.json' is not JSON"),
        (["--from", "bytes.yaml", "--python", "a.py"], "'bytes.yaml' is not text in UTF-8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_one_clear_error_and_nothing_written(folder: Folder, arguments: list[str], says: str) -> None:
    folder.write("raises.py", "a = 1\na / 0\n")
    folder.write("ends.py", "raise SystemExit(3)\n")
    folder.write("misses.py", "import nowhere\n")
    folder.write("spelt.py", "def\n")
    folder.write("bad.json", "{")
    (folder.path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    folder.write("sealed.html", "as it was")
    (folder.path / "sealed.html").chmod(0o444)
    before = set(os.listdir(folder.path))
    assert says in folder.fails(*arguments)
    assert set(os.listdir(folder.path)) - {"__pycache__"} == before
    assert folder.read("sealed.html") == "as it was"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say what has the handlers, as app:server, or --at ADDRESS or --from FILE"),
        (["app.py:server"], "a target is MODULE:NAME, as app:server for app.py, not 'app.py:server'"),
        (["app", "--check"], "--check compares files: name one"),
        (["app", "--html", "-", "--check"], "--check compares files: name one"),
        (["app", "--python", "a.py"], "--python needs --from FILE"),
        (["--from", "a.yaml"], "--from needs --python FILE"),
        (["app", "--from", "a.yaml", "--python", "a.py"], "it goes with --python FILE and without TARGET"),
        (["--at", "world", "--title", "The world"], "go with a TARGET: a server at work and a document say it"),
        (["--from", "a.yaml", "--python", "a.py", "--contract-version", "2"], "go with a TARGET"),
        (["app", "--html", "a", "--typescript", "./a"], "two formats cannot go into one file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments(folder: Folder, arguments: list[str], says: str) -> None:
    assert says in folder.fails(*arguments, code=2)


def test_two_files_are_written_or_none(folder: Folder) -> None:
    folder.write("world.d.ts", "as it was")
    folder.fails("app:register", "--typescript", "world.d.ts", "--html", "none/w.html")
    assert folder.read("world.d.ts") == "as it was"


def test_a_device_or_a_pipe_is_written_and_stays_what_it_is(folder: Folder) -> None:
    """Renaming a file over ``/dev/null`` would take it from the whole machine."""
    os.mkfifo(folder.path / "pipe")
    reader = subprocess.Popen(["cat", str(folder.path / "pipe")], stdout=subprocess.PIPE, text=True)
    assert folder.run("app:register", "--html", "pipe", "--typescript", "/dev/null").returncode == 0
    assert "<title>world 1.0.0</title>" in reader.communicate(timeout=60)[0]
    assert stat.S_ISFIFO((folder.path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert folder.fails("app:register", "--html", "/dev/full") == "cannot write '/dev/full': No space left on device"
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_module_that_serves_when_it_is_loaded_leaves_no_socket(folder: Folder, root: str) -> None:
    folder.write(
        "serves.py",
        f"""
from node_ipc import blocking
server = blocking.serve("unix:{root}app.world")
server.on("a", print, type=int)
""",
    )
    assert folder.run("serves:server").stdout.endswith("a: number\n")
    assert os.listdir(root) == []


def test_a_file_keeps_its_mode_and_a_link_its_place(folder: Folder) -> None:
    folder.write("real.html", "")
    (folder.path / "real.html").chmod(0o640)
    (folder.path / "w.html").symlink_to("real.html")
    folder.run("app:register", "--html", "w.html")
    assert (folder.path / "w.html").is_symlink()
    assert stat.S_IMODE((folder.path / "real.html").stat().st_mode) == 0o640
    assert "<title>" in folder.read("real.html")


def test_what_a_format_cannot_say_is_told_once_and_the_rest_is_written(folder: Folder) -> None:
    done = folder.run("app:odd", "--typescript", "odd.d.ts", "--html", "odd.html", "--json-schema", "odd.json")
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if line != "loaded"] == [
        "node-ipc contract: receives.odd: TypeScript cannot say <class 'complex'>; written: unknown",
        "node-ipc contract: receives.odd: JSON Schema cannot say <class 'complex'>; written: {} (anything)",
    ]
    assert "odd: unknown;" in folder.read("odd.d.ts")


def test_what_is_made_is_python(folder: Folder) -> None:
    folder.run("app:register", "--asyncapi", "world.json")
    folder.run("--from", "world.json", "--python", "made.py")
    assert folder.read("made.py") == python_of(json.loads(folder.read("world.json")))


BOMBS = {
    "lists": ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))],
    "merged": ["a0: &a0 {k: 1}", *(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))],
    "in itself": ["a: &a [*a]"],
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_document_that_grows_without_end_is_refused_before_it_does(folder: Folder, bomb: str) -> None:
    folder.write("bomb.yaml", "\n".join(BOMBS[bomb]))
    ended = folder.run("--from", "bomb.yaml", "--python", "-")
    assert ended.returncode == 1
    assert "'bomb.yaml' grows to more than 1,000,000 values" in ended.stderr


def test_aliases_that_do_not_are_followed(folder: Folder) -> None:
    folder.write(
        "a.yaml",
        """
asyncapi: 3.0.0
info: &both {title: a, version: '1'}
channels: {a: {address: a, messages: {a: {payload: &one {type: string}}}}, b: {address: b, messages: {b: *one2}}}
operations: {a: {action: send, channel: {$ref: '#/channels/a'}}}
""".replace("*one2", "{<<: *both, payload: *one}"),
    )
    assert "Event('a', str)" in folder.run("--from", "a.yaml", "--python", "-").stdout.replace('"', "'")
