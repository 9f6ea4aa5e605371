"""``node-ipc convert``: what comes out is read by the programs it is for, tshark and the library of MCAP."""

from __future__ import annotations

import builtins
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader

from node_ipc import Config
from node_ipc.recording.lines import Recorder, header
from node_ipc.tools import convert
from node_ipc.tools.cli import main
from ports import free_port

DISSECTOR = Path(__file__).parents[2] / "docs" / "howto" / "node_ipc.lua"
DEADLINE = 60.0

wireshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed (Debian: tshark)")


class Made:
    """Writes a recording by hand."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.time = 1_764_412_800.25
        settings = Config(**options).settings()
        self._text = header(settings, address="", program="test", payloads=True, hide=None, time=self.time, part=1)
        self.recorder = Recorder(self, settings, payloads=True, clock=lambda: self.time)

    def write(self, lines: bytes, messages: int) -> None:
        self._text += lines

    def save(self) -> str:
        self.recorder.end()
        self.path.write_bytes(self._text)
        return str(self.path)


def event(type: str, data: Any = 1, mark: bytes = b"\f") -> bytes:
    return json.dumps({"type": type, "data": data}, separators=(",", ":"), ensure_ascii=False).encode() + mark


ORDER = {"item": 'tea } " ] {', "count": 3}
REQUEST = {"jsonrpc": "2.0", "id": 7, "method": "add", "params": [1]}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "run.jsonl")


@pytest.fixture
def file(made: Made) -> str:
    one, two = made.recorder.link("unix pid 7"), made.recorder.link("unix pid 8")
    one.heard("client", event("order", ORDER) + event("rpc.request", REQUEST))
    made.time += 1.5
    one.heard("server", event("rpc.response", {"jsonrpc": "2.0", "id": 7, "result": 1}))
    two.heard("client", event("big", "x" * 200_000) + b"[]\f" + event("é", None))
    one.closed()
    two.closed("reset")
    return made.save()


def converted(*arguments: str) -> str:
    assert main(["convert", *arguments]) == 0
    return arguments[-1] if arguments[-1][:2] != "--" else arguments[-2]


def tshark(file: str, *arguments: str) -> list[str]:
    command = ["tshark", "-X", f"lua_script:{DISSECTOR}", "-r", file, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0 and "Lua" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def fields(file: str, *names: str, more: tuple[str, ...] = ()) -> list[list[str]]:
    """The values of these fields in each packet that has the first of them."""
    wanted = [part for name in names for part in ("-e", name)]
    shown = ("-T", "fields", "-E", "separator=/t", "-E", "aggregator=|")
    return [line.split("\t") for line in tshark(file, "-Y", names[0], *shown, *wanted, *more)]


@wireshark
def test_wireshark_sees_the_events(file: str, tmp_path: Path) -> None:
    out = converted(file, str(tmp_path / "run.pcapng"))
    found = fields(out, "nodeipc.size", "nodeipc.type", "nodeipc.data", "nodeipc.method", "nodeipc.id")
    types = [name for line in found for name in line[1].split("|") if name]
    assert types == ["order", "rpc.request", "rpc.response", "big", "é"]
    assert json.loads(found[0][2]) == ORDER
    assert found[1][3:] == ["add", "7"] and found[2][4] == "7"
    sizes = [int(size) for line in found for size in line[0].split("|")]
    assert sizes[0] == len(event("order", ORDER)) - 1 and sizes[3] == 200_024
    assert len(tshark(out, "-Y", "nodeipc.no_event")) == 1


@wireshark
def test_its_packets_are_sound_tcp(file: str, tmp_path: Path) -> None:
    out = converted(file, str(tmp_path / "run.pcapng"))
    checks = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
    assert tshark(out, "-Y", "tcp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed", *checks) == []
    wrong = "tcp.analysis.lost_segment || tcp.analysis.retransmission || tcp.analysis.out_of_order"
    assert tshark(out, "-Y", wrong) == []
    assert [line[1] for line in fields(out, "frame.comment", "frame.comment")] == [
        "link 1, unix pid 7", "link 2, unix pid 8", "reset", "reset",
    ]  # fmt: skip
    streams = {line[0] for line in fields(out, "tcp.stream")}
    assert streams == {"0", "1"}
    times = [float(line[0]) for line in fields(out, "frame.time_epoch")]
    assert times[0] == 1_764_412_800.25 and times[-1] == 1_764_412_801.75
    followed = "\n".join(tshark(out, "-q", "-z", "follow,tcp,ascii,0"))
    assert '{"type":"order"' in followed and '"result":1' in followed


@wireshark
@pytest.mark.skipif(shutil.which("text2pcap") is None, reason="text2pcap is not installed (Debian: wireshark-common)")
@pytest.mark.parametrize("mark", [b"\f", b"<end>"])
def test_frames_of_a_tcp_capture_however_they_are_cut(mark: bytes, tmp_path: Path) -> None:
    """Packets that Wireshark's own text2pcap makes, at a port that nobody told the dissector of."""
    stream = b"".join(event(f"e{number}", "x" * number, mark) for number in range(40))
    cuts = [stream[at : at + 29] for at in range(0, len(stream), 29)]
    dump = "".join(
        "I\n" + "\n".join(f"{at:06x} {part[at : at + 16].hex(' ')}" for at in range(0, len(part), 16)) + "\n\n"
        for part in cuts
    )
    text, capture = tmp_path / "dump.txt", str(tmp_path / "capture.pcapng")
    text.write_text(dump)
    subprocess.run(["text2pcap", "-q", "-D", "-T", "40711,40712", str(text), capture], check=True, timeout=DEADLINE)
    more = () if mark == b"\f" else ("-o", "nodeipc.delimiter:<end>")
    found = fields(capture, "nodeipc.type", "nodeipc.type", more=more)
    assert [name for line in found for name in line[1].split("|")] == [f"e{number}" for number in range(40)]


@wireshark
def test_a_capture_of_a_real_conversation(tmp_path: Path) -> None:
    """Where this user may capture at all."""
    from node_ipc import blocking

    capture = str(tmp_path / "capture.pcapng")
    port = free_port()
    command = ["tshark", "-i", "lo", "-f", f"tcp port {port}", "-w", capture, "-a", "duration:20"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as capturing:
        assert capturing.stderr is not None
        for line in capturing.stderr:
            if "Capture started" in line or "Capturing on" in line:
                break
        else:
            pytest.skip("this user may not capture packets")
        _talk(blocking, port)
        capturing.terminate()
        capturing.communicate(timeout=DEADLINE)
    if not os.path.exists(capture):
        pytest.skip("this user may not capture packets")
    types = [name for line in fields(capture, "nodeipc.type", "nodeipc.type") for name in line[1].split("|")]
    assert types[:2] == ["hello", "hello"]


def _talk(blocking: Any, port: int) -> None:
    with blocking.serve(f"tcp://127.0.0.1:{port}") as server:
        server.on("hello", lambda data, socket: socket.emit("hello", data))
        stop = threading.Event()

        def ask() -> None:
            with blocking.connect(f"tcp://127.0.0.1:{port}") as client:
                for _ in range(30):
                    client.emit("hello", "x" * 10)
                    client.receive("hello", timeout=DEADLINE)
                    stop.wait(0.05)  # until the capture has begun for certain

        asking = threading.Thread(target=ask)
        asking.start()
        while asking.is_alive():
            server.poll(0.05)
        asking.join()


def test_mcap_by_its_own_library(file: str, tmp_path: Path) -> None:
    out = converted(file, str(tmp_path / "run.mcap"))
    with open(out, "rb") as stream:
        found = [
            (channel.topic, channel.metadata.get("from"), json.loads(message.data), message.log_time, schema)
            for schema, channel, message in make_reader(stream, validate_crcs=True).iter_messages()
        ]
    assert {topic for topic, *_ in found} == {
        "order", "rpc.request", "rpc.response", "big", "é", "node-ipc/links", "node-ipc/faults",
    }  # fmt: skip
    order = next(each for each in found if each[0] == "order")
    assert order[1:4] == (
        "client",
        {"link": 1, "peer": "unix pid 7", "from": "client", "bytes": len(event("order", ORDER)) - 1, "data": ORDER},
        1_764_412_800_250_000_000,
    )
    assert order[4] is not None and order[4].encoding == "jsonschema"
    assert json.loads(order[4].data)["type"] == "object"
    assert [each[2]["event"] for each in found if each[0] == "node-ipc/links"] == ["connect"] * 2 + ["disconnect"] * 2
    [fault] = [each[2] for each in found if each[0] == "node-ipc/faults"]
    assert fault["frame"] == "[]" and "JSON object" in fault["fault"]
    assert sorted(os.listdir(tmp_path)) == ["run.jsonl", "run.mcap"]


CONTRACT = """
from msgspec import Struct

class Order(Struct):
    item: str
    count: int = 1

def register(server):
    @server.on("order")
    def order(data: Order): ...
"""


def test_mcap_with_the_schemas_of_typed_handlers(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jsonschema import Draft202012Validator

    (tmp_path / "contract_for_mcap.py").write_text(CONTRACT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    out = converted(file, "run.mcap", "--contract", "contract_for_mcap:register")
    with open("run.mcap", "rb") as stream:
        for schema, channel, message in make_reader(stream).iter_messages():
            assert schema is not None
            Draft202012Validator(json.loads(schema.data)).validate(json.loads(message.data))
            if channel.topic == "order":
                checked = json.loads(schema.data)
                assert checked["$defs"]["Order"]["properties"]["count"]["type"] == "integer"
                wrong = {**json.loads(message.data), "data": {"item": 5}}
                assert not Draft202012Validator(checked).is_valid(wrong)
    assert out


def test_mcap_without_its_library(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("mcap"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert main(["convert", file, str(tmp_path / "run.mcap")]) == 1
    assert "for MCAP its library is needed: pip install 'node-ipc[mcap]'" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["run.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["FILE", "run.txt"], "'run.txt' says not what to make: end it in .mcap or .pcapng"),
        (["FILE", "FILE", "--mcap"], "OUTPUT is the recording itself"),
        (["FILE", "run.pcapng", "--contract", "x:y"], "--contract goes with MCAP"),
        (["nothing", "run.pcapng"], "cannot read 'nothing'"),
        (["FILE", "no/where/run.pcapng"], "cannot write 'no/where/run.pcapng': No such file or directory"),
        (["FILE", ".", "--pcapng"], "cannot write '.': "),
        (["FILE", "run.mcap", "--contract", "no_such_module:x"], "there is no module 'no_such_module'"),
    ],
)
def test_what_cannot_be_meant(
    arguments: list[str],
    error: str,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *[file if each == "FILE" else each for each in arguments]]) in (1, 2)
    [said] = capsys.readouterr().err.splitlines()
    assert error in said
    assert os.listdir(tmp_path) == ["run.jsonl"], "nothing half made is left"


def test_without_payloads_there_is_nothing_for_packets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text('{"recording":"node-ipc","version":1,"time":1.0}\n{"time":1,"link":1,"from":"client","bytes":9}\n')
    assert main(["convert", str(file), str(tmp_path / "run.pcapng")]) == 1
    assert "has no payloads, so there is nothing for packets: record with --payloads" in capsys.readouterr().err
    assert main(["convert", str(file), str(tmp_path / "run.mcap")]) == 0
    assert "1 message as MCAP" in capsys.readouterr().out


def test_raw_bytes_are_packets_too(tmp_path: Path) -> None:
    made = Made(tmp_path / "raw.jsonl", raw_buffer=True)
    made.recorder.link("x").heard("client", b"\x00\xffabc")
    out = converted(made.save(), str(tmp_path / "raw.pcapng"))
    assert b"\x00\xffabc" in Path(out).read_bytes()


def test_the_examples_run(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.jsonl.1").write_bytes(Path(file).read_bytes())
    Path("app.py").write_text(CONTRACT)
    lines = [line for line in convert.EXAMPLES.splitlines() if line.startswith("  node-ipc convert ")]
    assert len(lines) == 4
    for line in lines:
        command = [sys.executable, "-m", "node_ipc", *shlex.split(line.strip().split("  ")[0])[1:]]
        subprocess.run(command, check=True, timeout=DEADLINE)
    assert {"run.mcap", "run.pcapng", "out"} <= set(os.listdir(tmp_path))
