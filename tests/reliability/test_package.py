"""The package itself: what it needs, what importing it does, that it builds the same twice (reliability row 53), and
that it looks at no clock that can be set (row 46).
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import textwrap
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import node_ipc
from children import refuse_to_run

ROOT = Path(__file__).parents[2]
SOURCE = Path(node_ipc.__file__).parent
LIBFAKETIME = [
    path
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib")
    if (path := Path(folder) / "faketime" / "libfaketimeMT.so.1").exists()
]
STEADY = ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "sleep", "thread_time")
OPTIONAL = ("uvloop", "winloop")
OF_EXTRAS = {
    "cluster": {"nats", "redis"},
    "recording": {"mcap"},
    "telemetry": {"opentelemetry", "prometheus_client"},
    "top": {"rich", "textual"},
}
"""By folder, what its modules may import since an extra brings it; nobody else imports those modules."""
MAY_COMPILE = {"python.py": {"exec", "compile"}, "advice.py": {"compile"}}
"""What declarations.py lets through; and a line of the user's program, into a tree that is only looked at."""
SBOM = "sboms/node-ipc.cdx.json"
"""In the wheel's dist-info, where PEP 770 wants it."""


def modules() -> list[str]:
    """Every module, but for what runs when it is imported and what only Windows can import."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = list(path.relative_to(SOURCE.parent).with_suffix("").parts)
        if parts[-1] != "__main__" and parts[-1] != "pytest_plugin":
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def run(program: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program in a Python of its own, which gets this one's path by itself: ``-I`` and ``-S`` look for nothing."""
    path = f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry and os.path.exists(entry)]!r}\n"
    return subprocess.run(
        [sys.executable, "-B", *options, "-c", path + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **environment},
    )


IMPORT_ALL = f"import importlib\nfor name in {modules()!r}: importlib.import_module(name)\n"
HELLO = """
    from node_ipc.testing import pair
    client, server, socket, driver = pair()
    heard = []
    server.on("hello", lambda data, socket: heard.append(data))
    client.emit("hello", {"to": "world"})
    driver.run_until_idle()
    print(heard)
"""


# ---- what it needs

WHAT_CHECKERS_HAVE = {"_typeshed", "typing_extensions"}
"""Every type checker brings these along; nobody has to install them."""


@pytest.mark.row(53)
def test_one_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [needed] = project["dependencies"]
    assert re.match(r"msgspec\b", needed)


@pytest.mark.row(53)
def test_nothing_else_is_imported() -> None:
    ours = {"msgspec", "node_ipc", "node_ipc_native"}  # the last is this repository's own, used where it is installed
    known = {*sys.stdlib_module_names, "annotationlib", *ours, *OPTIONAL}  # the second is of 3.14
    for path in SOURCE.rglob("*.py"):
        if path.name == "pytest_plugin.py":  # pytest loads it, so pytest is there
            continue
        tree = ast.parse(path.read_text())
        for_checkers = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for each in node.body
            for inner in ast.walk(each)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            allowed = known | (WHAT_CHECKERS_HAVE if node in for_checkers else set())
            allowed |= OF_EXTRAS.get(path.parent.name, set())
            assert {name.split(".")[0] for name in names} <= allowed, f"{path} imports {names}"


@pytest.mark.row(53)
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                assert not names & {"pickle", "marshal", "shelve", "dill"}, f"{path} imports {names}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                may = MAY_COMPILE.get(path.name, set())
                assert node.func.id not in {"eval", "exec", "compile", "__import__"} - may, (
                    f"{path} calls {node.func.id}"
                )
            if isinstance(node, ast.keyword) and node.arg == "shell":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path


# ---- what importing does


@pytest.mark.row(53)
def test_importing_opens_no_socket_writes_no_file_and_starts_nothing() -> None:
    """Told by the interpreter's own audit events."""
    program = (
        """
import sys, threading
seen = []
def audit(event, arguments):
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & 0o1103):
            seen.append((event, *map(str, arguments)))
    elif event == "socket.gethostname":  # the default of the option id; no packet leaves for it
        pass
    elif event.split(".")[0] in ("socket", "subprocess", "shutil", "tempfile", "pty", "signal", "urllib"):
        seen.append((event, *map(str, arguments)))
    elif event in ("os.mkdir", "os.remove", "os.rename", "os.chmod", "os.fork", "os.exec", "os.system", "os.putenv"):
        seen.append((event, *map(str, arguments)))
sys.addaudithook(audit)
"""
        + IMPORT_ALL
        + "print(seen, threading.active_count())"
    )
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[] 1\n", "")


@pytest.mark.row(53)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed; the audit test has looked as well")
def test_importing_speaks_to_nobody(tmp_path: Path) -> None:
    """Told by the kernel."""
    calls = "connect,sendto,sendmsg,bind,listen,unlink,mkdir,rename,chmod,fchmod,kill,execve"
    log = tmp_path / "strace"
    program = f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}\n" + IMPORT_ALL
    command = ["strace", "-f", "-o", str(log), "-e", f"trace={calls},openat", sys.executable, "-B", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    if "ptrace" in done.stderr:  # a container that does not allow it
        pytest.skip(f"strace may not trace here: {done.stderr}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = [line for line in log.read_text().splitlines() if re.search(r"\d+ +\w+\(", line)]
    assert len(made) > 20
    others = [line for line in made if "openat(" not in line]
    assert len(others) == 1 and "execve(" in others[0]
    assert [line for line in made if "O_WRONLY" in line or "O_RDWR" in line or "O_CREAT" in line] == []


@pytest.mark.row(53)
@pytest.mark.parametrize(
    "options",
    [
        ("-W", "error"),
        ("-W", "error", "-X", "dev", "-bb"),
        ("-I",),
        ("-S",),
        ("-I", "-S", "-E", "-s"),
        ("-OO",),
        ("-X", "utf8=0"),
    ],
    ids=" ".join,
)
def test_it_can_be_imported_and_used_whatever_the_interpreter_was_told(options: tuple[str, ...]) -> None:
    done = run(IMPORT_ALL + textwrap.dedent(HELLO), *options, LC_ALL="C")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[{'to': 'world'}]\n", "")


@pytest.mark.row(53)
def test_it_can_be_imported_without_a_home_a_user_or_standard_streams(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    program = (
        f"import os, sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}\n"
        f"os.mkdir({str(gone)!r}); os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
        "for number in (0, 1, 2): os.close(number)\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
        + IMPORT_ALL
        + textwrap.dedent(HELLO).replace("print(heard)", "os._exit(7 if heard == [{'to': 'world'}] else 8)")
    )
    done = subprocess.run([sys.executable, "-B", "-P", "-c", program], env={}, timeout=100, capture_output=True)
    assert done.returncode == 7


# ---- what is built


def build(tree: Path, at: int) -> dict[str, str]:
    """Build both distributions in a copy of the project, and give their hashes."""
    shutil.copytree(SOURCE, tree / "src" / "node_ipc", ignore=shutil.ignore_patterns("__pycache__", ".mypy_cache"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    shutil.copytree(ROOT / "release", tree / "release", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("tests", "examples", "fuzzing", "mutants", "benchmarks", "docs"):
        (tree / folder).mkdir()
        (tree / folder / "one.py").write_text("")
    for path in tree.rglob("*"):
        os.utime(path, (at, at))
    program = (
        "import hatchling.build as backend\nbackend.build_sdist('dist')\nbackend.build_wheel('dist')\n"
        "import hashlib, json, pathlib\n"
    )
    (tree / "dist").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "GITHUB_REPOSITORY": "Owner/repository"},
    )
    assert done.returncode == 0, done.stderr
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tree / "dist").iterdir()}


@pytest.mark.row(53)
def test_two_builds_are_the_same_and_hold_what_they_should(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "a longer way" / "two").mkdir(parents=True)
    before = os.umask(0o077)
    try:
        first = build(tmp_path / "one", 1_600_000_000)
        os.umask(0o022)
        second = build(tmp_path / "a longer way" / "two", 1_650_000_000)
    finally:
        os.umask(before)
    assert first == second and len(first) == 2
    [wheel] = (tmp_path / "one" / "dist").glob("*.whl")
    [sdist] = (tmp_path / "one" / "dist").glob("*.tar.gz")
    _check_wheel(wheel)
    _check_addresses(wheel)
    _check_sdist(sdist)


def _check_wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = f"node_ipc-{node_ipc.__version__}.dist-info"
        code = {name for name in names if name.startswith("node_ipc/")}
        assert "node_ipc/py.typed" in code
        assert code == {f"node_ipc/{file.relative_to(SOURCE).as_posix()}" for file in _sources()}
        others = {name.removeprefix(f"{info}/") for name in names if name not in code}
        assert others == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE", SBOM}
        assert wheel.read(f"{info}/{SBOM}") == (ROOT / "release" / Path(SBOM).name).read_bytes()
        metadata = wheel.read(f"{info}/METADATA").decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert len(needed) == 1 and "msgspec" in needed[0]
    _check_bill(json.loads((ROOT / "release" / Path(SBOM).name).read_text("utf-8")), metadata)


def _check_addresses(path: Path) -> None:
    """What PyPI shows leads somewhere from there: whole addresses, of files that are in the repository."""
    with zipfile.ZipFile(path) as wheel:
        metadata = wheel.read(f"node_ipc-{node_ipc.__version__}.dist-info/METADATA").decode()
    urls = dict(re.findall(r"^Project-URL: (\w+), (\S+)$", metadata, re.M))
    assert set(urls) == {"Homepage", "Documentation", "Issues", "Changes"}
    assert urls["Homepage"] == "https://github.com/Owner/repository"
    assert urls["Documentation"] == "https://owner.github.io/repository/"
    text = metadata.split("\n\n", 1)[1]
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 25 and all(re.match("https://", target) for target in targets), targets
    tagged = rf"https://github\.com/Owner/repository/(blob|raw)/v{re.escape(node_ipc.__version__)}/"
    files = [(found[1], re.sub(tagged, "", one)) for one in targets if (found := re.match(tagged, one))]
    assert len(files) > 20 and all((ROOT / name).exists() for _, name in files)
    assert [name for kind, name in files if kind == "raw"] == ["docs/benchmarks/throughput.png"]


def test_a_distribution_that_no_workflow_builds_names_no_address() -> None:
    made = runpy.run_path(str(ROOT / "release" / "metadata.py"))
    assert made["home_of"](None, {}) is None
    assert made["home_of"]("Name: node-ipc\nVersion: 1\n", {"GITHUB_REPOSITORY": "a/fork"}) is None
    assert made["home_of"]("Project-URL: Homepage, https://github.com/a/b\n", {}) == "https://github.com/a/b"


def _check_bill(bill: dict[str, Any], metadata: str) -> None:
    """It names what an installation needs, and nothing else: against what pip reads in the same wheel."""
    wanted = {}
    for line in re.findall(r"^Requires-Dist: (.*)", metadata, re.M):
        requirement, asked_by = Requirement(line), re.search(r"extra == .(\w+)", line)
        if asked_by is None or asked_by[1] not in ("test", "lint", "bench", "fuzz", "docs"):
            name = requirement.name.lower()
            parts = sorted(requirement.specifier, key=lambda part: Version(part.version))
            wanted[name] = (f"vers:pypi/{'|'.join(map(str, parts))}", "optional" if asked_by else "required")
    assert {one["name"]: (one["versionRange"], one["scope"]) for one in bill["components"]} == wanted
    assert {"msgspec", "uvloop"} <= set(wanted)
    itself = bill["metadata"]["component"]
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.7")
    assert (itself["name"], itself["version"]) == ("node-ipc", node_ipc.__version__)
    first, *others = bill["dependencies"]
    assert first["ref"] == itself["bom-ref"]
    assert first["dependsOn"] == [one["ref"] for one in others] == [one["bom-ref"] for one in bill["components"]]


def _sources() -> list[Path]:
    """What git would hold: Python, the marker of types, the Node peer of the demo, the topics of the help."""
    files = [path for path in SOURCE.rglob("*") if path.is_file() and "cache" not in str(path.relative_to(SOURCE))]
    assert {path.suffix for path in files} <= {".py", ".typed", ".js", ".txt", ".html"}
    return files


def _check_sdist(path: Path) -> None:
    with tarfile.open(path) as sdist:
        top = {name.split("/")[1] for name in sdist.getnames() if "/" in name}
        assert all(member.uid == member.gid == 0 and not member.issym() for member in sdist.getmembers())
    assert top == {
        "src", "tests", "fuzzing", "mutants", "examples", "benchmarks", "docs", "release",  # what the README leads to
        "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "pyproject.toml", "PKG-INFO",
    }  # fmt: skip


# ---- the bill of materials


def test_the_bill_of_materials_is_what_its_script_writes(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "release", tmp_path / "release")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    check = [sys.executable, str(tmp_path / "release" / "sbom.py"), "--check"]
    assert subprocess.run(check, timeout=60).returncode == 0
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text("utf-8").replace("msgspec>=0.20", "msgspec<2,>=0.21"), "utf-8")
    stale = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert stale.returncode == 1 and "run python release/sbom.py" in stale.stderr
    assert subprocess.run(check[:-1], timeout=60).returncode == 0
    assert "vers:pypi/>=0.21|<2" in (tmp_path / "release" / "node-ipc.cdx.json").read_text("utf-8")


# ---- clocks


@pytest.mark.row(46)
def test_no_timer_looks_at_a_clock_that_can_be_set() -> None:
    """``time.time`` is for what people read (logs, recordings, what tools print), for the dates of certificates, and to
    number the lives of a bus's nodes, whose names are random anyway."""
    may = {"logs.py", "tools", "tls.py", "tls_faults.py", "certificate.py", "recording", "joined.py", "emitting.py"}
    for path in SOURCE.rglob("*.py"):
        if set(path.relative_to(SOURCE).parts) & may:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                assert node.attr in STEADY, f"{path} uses time.{node.attr}"
            if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
                raise AssertionError(f"{path} imports from {node.module}")
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"datetime"}, path


TIMERS = """
    import asyncio, json, socket, sys, tempfile, time
    import node_ipc
    from stopwatch import Stopwatch

    def jump(to):
        '''Set the clock.'''
        CHANGE

    async def main(root):
        options = {"socket_root": root, "silent": True}
        took = {}
        async def timed(name, outcome):
            since, watch = time.monotonic(), Stopwatch()
            await asyncio.sleep(0.1)
            jump(JUMP)
            await asyncio.wait_for(outcome, 20)
            took[name] = time.monotonic() - since, watch.seconds
        loop = asyncio.get_running_loop()
        cut, silent = loop.create_future(), loop.create_future()
        settings = {"message_timeout": 500, "heartbeat": 300, "heartbeat_timeout": 200}
        async with node_ipc.serve("world", **options, message_timeout=500) as server:
            server.on("error", lambda error, socket: cut.set_result(error))
            reader, writer = await asyncio.open_unix_connection(root + "app.world")
            writer.write(b'{"type":')
            await timed("message_timeout", cut)
            writer.close()
            async with node_ipc.connect("world", **options) as client:
                since = loop.create_future()
                async def asked():
                    try:
                        await client.request("nothing answers", timeout=0.5)
                    except node_ipc.RequestTimeout:
                        since.set_result(None)
                server.on("rpc.request", lambda data, socket: None)
                task = asyncio.ensure_future(asked())
                await timed("request", since)
                await task
        async with node_ipc.serve("world", **options, heartbeat=300, heartbeat_timeout=200) as server:
            server.on("error", lambda error, socket: silent.set_result(error))
            reader, writer = await asyncio.open_unix_connection(root + "app.world")
            await timed("heartbeat", silent)
            writer.close()
        print(json.dumps(took))

    with tempfile.TemporaryDirectory() as root:
        asyncio.run(main(root + "/"))
"""


def timers(change: str, jump: str, **environment: str) -> dict[str, list[float]]:
    program = TIMERS.replace("CHANGE", change).replace("JUMP", jump)
    done = run(program, **environment)
    assert done.returncode == 0, done.stderr
    took: dict[str, list[float]] = json.loads(done.stdout)
    return took


@pytest.fixture
def faketime() -> None:
    if not LIBFAKETIME:
        refuse_to_run("libfaketime is not installed (Debian: libfaketime): only the clock of Python was set")


def on_time(took: dict[str, list[float]]) -> None:
    """Each is half a second, 10 % early at most, and late by no more than our own doing."""
    assert set(took) == {"message_timeout", "request", "heartbeat"}
    for name, (seconds, ours) in took.items():
        assert seconds >= 0.45 and ours <= 0.55 + 0.5, f"{name} took {seconds}, {ours} of them ours"


@pytest.mark.row(46)
@pytest.mark.parametrize("days", [-1, 1])
def test_timers_are_on_time_while_python_s_clock_jumps(days: int) -> None:
    """``time.time`` jumps by a day while each of them runs."""
    change = "real = time.time; time.time = lambda: real() + to"
    on_time(timers(change, str(days * 86_400)))


@pytest.mark.row(46)
@pytest.mark.usefixtures("faketime")
@pytest.mark.parametrize("to", ["-1d", "+1d", "+0 x10"])
def test_timers_are_on_time_while_the_system_s_clock_jumps(tmp_path: Path, to: str) -> None:
    """The C library's wall clock jumps, or runs ten times as fast; the monotonic one goes on as ever."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    took = timers(
        f"open({str(clock)!r}, 'w').write(to)",
        repr(to),
        LD_PRELOAD=str(LIBFAKETIME[0]),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        DONT_FAKE_MONOTONIC="1",
    )
    on_time(took)


@pytest.mark.row(46)
@pytest.mark.usefixtures("faketime")
def test_the_clock_really_jumps(tmp_path: Path) -> None:
    """What the test above stands on."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    program = f"""
        import time
        wall, steady = time.time(), time.monotonic()
        open({str(clock)!r}, "w").write("+1d")
        print(time.time() - wall > 86_000, time.monotonic() - steady < 60)
    """
    environment: dict[str, Any] = {
        "LD_PRELOAD": str(LIBFAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    done = run(program, **environment)
    assert (done.stdout, done.stderr) == ("True True\n", "")
