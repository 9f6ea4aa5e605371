"""Two machines, a cable and one link between them, in every state that a network can be in.

    python links.py tcp|tls|udp SECONDS SEED        SECONDS: of each fault

It is the first process of a namespace of processes, as ``world.py``, and ends with its standard input. The last line of
its output is what it found, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parent.parent))

from network.cable import Cable
from network.world import DEADLINE, end_with_the_input, run, wait
from tls_certificates import identity

END = str(Path(__file__).with_name("link_end.py"))
RATE = 200
LINK = {"heartbeat": 200, "heartbeat_timeout": 1000, "handshake_timeout": 1500, "silent": True}
CLIENT = {"retry": 50, "connect_timeout": 1000, "max_queued_messages": 100_000}
RELIABLE = ("tcp", "tls")


class End:
    """A process of ``link_end.py`` on one of the machines."""

    def __init__(self, enter: list[str], role: str, url: str, name: str, options: dict[str, Any]) -> None:
        command = [*enter, sys.executable, "-u", END, role, url, name, json.dumps(options)]
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def begin(self) -> None:
        assert self._line() == b"ready\n"

    def tell(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE)
        line: bytes = self._process.stdout.readline() if ready else b""
        assert line, f"{self.name} does not answer"
        return line

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Link:
    def __init__(self, transport: str, seed: int) -> None:
        run("ip", "link", "set", "lo", "up")
        self.transport = transport
        self.cable = Cable(seed)
        self._clients = 0
        self._options = self._tls() if transport == "tls" else ({}, {})
        self.server = self._server()
        self.server.begin()
        self.client = self._client()
        self.client.begin()
        self.gone: list[dict[str, Any]] = []
        self._settled: dict[str, tuple[int, int, int]] = {}
        self.found: dict[str, Any] = {"faults": {}, "sent": 0, "heard": 0, "told": 0}
        self._talk()

    @staticmethod
    def _tls() -> tuple[dict[str, Any], dict[str, Any]]:
        authority = identity("authority", authority=True)
        server = identity("server", authority, names=["10.8.0.1"])
        return {"tls": server.options}, {"tls": {"ca": authority.cert}}

    def _server(self) -> End:
        enter = self.cable.enter[0]
        if self.transport in RELIABLE:
            return End(enter, "serve", f"{self.transport}://10.8.0.1:8000", "server", LINK | self._options[0])
        return End(enter, "datagrams", "udp4://10.8.0.1:8000", "server", {"to": "10.8.0.2:8000"})

    def _client(self) -> End:
        self._clients += 1
        name, enter = f"client {self._clients}", self.cable.enter[1]
        if self.transport in RELIABLE:
            options = LINK | CLIENT | self._options[1]
            return End(enter, "connect", f"{self.transport}://10.8.0.1:8000", name, options)
        return End(enter, "datagrams", "udp4://10.8.0.2:8000", name, {"to": "10.8.0.1:8000"})

    @property
    def _ends(self) -> tuple[End, End]:
        return self.server, self.client

    def _talk(self) -> None:
        for end in self._ends:
            end.tell(rate=RATE)

    # ---- what can happen

    def lose(self, part: float, seconds: float) -> None:
        self.cable.loss = part
        time.sleep(seconds)

    def slow(self, rate: float, seconds: float) -> None:
        self.cable.rate = rate
        time.sleep(seconds)

    def reorder(self, jitter: float, seconds: float) -> None:
        self.cable.delay = self.cable.jitter = jitter
        time.sleep(seconds)

    def double(self, part: float, seconds: float) -> None:
        self.cable.twice = part
        time.sleep(seconds)

    def swallow(self, largest: int, seconds: float) -> None:
        """A hole for packets that are large, of which nobody tells."""
        self.cable.largest = largest
        time.sleep(seconds)

    def cut(self, ways: tuple[bool, bool], seconds: float) -> None:
        self.cable.cut = ways
        time.sleep(seconds)

    def kill_unheard(self, _: None, seconds: float) -> None:
        """The client's machine goes while the cable is cut: the server has half a link until it notices by itself."""
        self.cable.cut = (True, True)
        self.client.tell(rate=0)
        self.gone.append(self.client.tell() | {"name": self.client.name})
        self.client.kill()
        time.sleep(seconds)
        self.client = self._client()
        self.cable.heal()
        self.client.begin()
        self.client.tell(rate=RATE)

    FAULTS: ClassVar[dict[str, tuple[Callable[[Link, Any, float], None], Any]]] = {
        "1 % lost": (lose, 0.01),
        "5 % lost": (lose, 0.05),
        "20 % lost": (lose, 0.2),
        "1 Mbit/s": (slow, 125_000),
        "late and in another order": (reorder, 0.05),
        "a tenth twice": (double, 0.1),
        "packets over 600 bytes lost": (swallow, 600),
        "cut": (cut, (True, True)),
        "cut to the client": (cut, (True, False)),
        "cut to the server": (cut, (False, True)),
        "client gone unheard": (kill_unheard, None),
    }

    def fault(self, kind: str, seconds: float) -> None:
        what, how = self.FAULTS[kind]
        lost = self.cable.lost
        what(self, how, seconds)
        self.cable.heal()
        began = time.monotonic()
        self.check()
        self.found["faults"][kind] = {
            "packets lost": self.cable.lost - lost,
            "right again after (s)": round(time.monotonic() - began, 3),
        }

    # ---- what has to be true

    def check(self) -> None:
        """The network is whole and nobody emits any more: all has come, or is told, in order and once."""
        for end in self._ends:
            end.tell(rate=0)
        if self.transport in RELIABLE:
            for end in self._ends:
                wait(partial(end.tell, ask=True), self.states)
            wait(lambda: not self.missing(), self.missing)
            self._settled = self.ways()
        else:
            self._datagrams_come()
        for state in self.states():
            for sender, heard in state["heard"].items():
                assert not heard["broken"], f"{state['name']} heard {sender} wrong: {heard}"
                if self.transport in RELIABLE:
                    right = not heard["misplaced"] and not heard["twice"]
                    assert right, f"{state['name']} heard {sender} out of order, or twice: {heard}"
        self._talk()

    def _datagrams_come(self) -> None:
        before = [count(state) for state in self.states()]
        self._talk()
        wait(lambda: all(count(new) > old + 10 for old, new in zip(before, self.states(), strict=True)), self.states)

    def states(self) -> list[dict[str, Any]]:
        return [end.tell() | {"name": end.name} for end in self._ends]

    def ways(self) -> dict[str, tuple[int, int, int]]:
        """Of each end that is there: how many it sent, how many were heard, and how many it told lost or in doubt."""
        server, client = self.states()
        clients = [client, *self.gone]
        return {
            server["name"]: (server["sent"], sum(of(each, server) for each in clients), server["told"]),
            client["name"]: (client["sent"], of(server, client), client["told"]),
        }

    def missing(self) -> list[str]:
        """Whose messages since the last time have neither come nor are told; who is in doubt tells too many."""
        found = []
        for name, now in self.ways().items():
            sent, heard, told = (new - old for new, old in zip(now, self._settled.get(name, (0, 0, 0)), strict=True))
            if heard + told < sent or (not told and heard != sent):
                found.append(f"{name}: {sent} sent, {heard} heard, {told} told; {self.states()}")
        return found

    def finish(self) -> dict[str, Any]:
        self.check()
        for state in [*self.states(), *self.gone]:
            self.found["sent"] += state["sent"]
            self.found["heard"] += count(state)
            self.found["told"] += state["told"]
            for key in ("links", "answers", "unanswered"):
                self.found[key] = self.found.get(key, 0) + state[key]
            for error, times in state["errors"].items():
                errors = self.found.setdefault("errors", {})
                errors[error] = errors.get(error, 0) + times
        self.found |= {"packets": self.cable.carried, "packets lost": self.cable.lost}
        return self.found


def of(receiver: dict[str, Any], sender: dict[str, Any]) -> int:
    heard = receiver["heard"].get(sender["name"])
    return 0 if heard is None else int(heard["count"])


def count(state: dict[str, Any]) -> int:
    return sum(each["count"] for each in state["heard"].values())


def main(transport: str, seconds: str, seed: str) -> None:
    random.seed(int(seed))
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # with ``unshare``, which started this
    threading.Thread(target=end_with_the_input, daemon=True).start()
    link = Link(transport, int(seed))
    for kind in Link.FAULTS:
        if transport in RELIABLE or kind != "client gone unheard":
            link.fault(kind, float(seconds))
            print(kind, link.found["faults"][kind], flush=True)
    found = link.finish()
    for end in link._ends:
        end.kill()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
