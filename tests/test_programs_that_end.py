"""What is said at the end of a program of that which it emitted, and which never left whole."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from node_ipc import testing

ASYNCIO = """
import asyncio, node_ipc
async def main():
    client = await node_ipc.connect({at!r}, attachments={attachments!r})
    for data in {data}:
        client.emit("big", data)
{run}
"""
CALLBACKS = """
import asyncio, node_ipc
from node_ipc import ipc
async def main():
    ipc.config.silent, ipc.config.attachments = True, {attachments!r}
    await ipc.connect_to("world", {at!r})
    for data in {data}:
        ipc.of.world.emit("big", data)
{run}
"""
BLOCKING = """
from node_ipc import blocking
client = blocking.connect({at!r}, attachments={attachments!r})
client.on("go", lambda: [client.emit("big", data) for data in {data}])
client.poll(None)
"""
PROGRAMS = {
    "asyncio": (ASYNCIO, "asyncio.run(main())", r"await client\.close\(\)"),
    "asyncio, uvloop": (ASYNCIO, "node_ipc.run(main())", r"await client\.close\(\)"),
    "callbacks": (CALLBACKS, "asyncio.run(main())", r"await ipc\.stop\(\)"),
    "callbacks, uvloop": (CALLBACKS, "node_ipc.run(main())", r"await ipc\.stop\(\)"),
    "blocking": (BLOCKING, "", r"client\.close\(\)"),
}
DATA = {
    "one large": "[b'x' * 3_000_000]",
    "some large": "[b'x' * 1_000_000] * 3",
    "many": "[b'x' * 10_002] * 90",
    "of one read": "['x' * 700] * 3000",
}


@pytest.mark.parametrize("attachments", ["auto", "off"])
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
@pytest.mark.parametrize(("program", "run", "said"), PROGRAMS.values(), ids=PROGRAMS)
def test_what_does_not_leave_whole_is_counted(
    program: str, run: str, said: str, data: str, attachments: str, tmp_path: Path
) -> None:
    at = f"{tmp_path}/world.sock"
    lines = program.format(at=at, run=run, data=data, attachments=attachments)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(at)
        listening.listen()
        with subprocess.Popen([sys.executable, "-c", lines], stderr=subprocess.PIPE, text=True) as process:
            link, _ = listening.accept()
            with link:
                if program is BLOCKING:  # to the others, which read nothing more, it would reset the link
                    link.sendall(b'{"type":"go","data":{}}\f')
                _, told = process.communicate(timeout=60)  # meanwhile nothing is read
                came = b"".join(iter(lambda: link.recv(1 << 20), b""))
    whole = came.rpartition(b"\f")[0].count(b'"type":"big"')
    found = re.search(r"and (\d+) messages? that w\w+ emitted to .* never left whole: .*" + said, told)
    assert found, told
    assert int(found[1]) + whole == len(eval(data))


@pytest.mark.parametrize("pieces", [1, 3])
def test_bytes_that_travel_beside_a_frame_belong_to_its_message(pieces: int) -> None:
    """A delimiter in them ends nothing."""
    client, server, _, driver = testing.pair()
    server.on("frame", lambda data, socket: None)
    data = [b"\f" * 20_000] * pieces
    for _ in range(2):  # after the first one both know that they may
        client.emit("frame", data)
        driver.run_until_idle()
    assert client.emit("frame", data) and client.unsent() == 0
    (connection,) = driver.connections
    connection.stall()
    emitted = 0
    while not client.unsent():
        client.emit("frame", data)
        emitted += 1
        assert client.unsent() == (1 if client.pending_bytes else 0)
    client.emit("frame", data)
    assert client.unsent() == 2
    connection.resume()
    driver.run_until_idle()
    assert client.unsent() == 0 and server.stats().messages_in >= emitted


RETURNING = """
async def main():
    async with node_ipc.serve({at!r}) as server:
        return server
node_ipc.run(main())
"""


@pytest.mark.parametrize(("program", "warned"), [("node_ipc.run(node_ipc.serve({at!r}))", True), (RETURNING, False)])
def test_a_program_that_only_makes_a_server_is_told_so(program: str, warned: bool, tmp_path: Path) -> None:
    command = "import node_ipc\n" + program.format(at=f"{tmp_path}/world.sock")
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    said = "the program ends, and <Server unix:" in ended.stderr and "nothing runs it behind run()" in ended.stderr
    assert said == warned, ended.stderr
