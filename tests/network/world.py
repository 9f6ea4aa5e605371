"""Two machines and a broker, each with a network of its own, and what happens between them.

    python world.py ENGINE FAULTS RATE SEED        FAULTS: how many, or "short" for one of each kind

It is the first process of a namespace of processes, so that all it starts ends with it, whatever ends it: its networks,
its broker and its servers are there as long as they have a process, and no longer. It ends with its standard input.
The last line of its output is what it found, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

sys.path.insert(0, str(Path(__file__).parent.parent))

import brokers

MACHINE = str(Path(__file__).with_name("machine.py"))
DEADLINE = 60.0
BEAT = 0.2


def run(*command: str, text: str | None = None) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")


class Network:
    """A machine's network: one cable to where the broker is."""

    def __init__(self, number: int) -> None:
        self.cable = f"m{number}"
        self.broker = f"10.9.{number}.1"
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.enter = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]
        own = os.readlink("/proc/self/ns/net")
        wait(lambda: os.readlink(f"/proc/{self._holder.pid}/ns/net") != own)
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid))
        run("ip", "addr", "add", f"{self.broker}/24", "dev", self.cable)
        run("ip", "link", "set", self.cable, "up")
        run(*self.enter, "ip", "addr", "add", f"10.9.{number}.2/24", "dev", "eth0")
        run(*self.enter, "ip", "link", "set", "eth0", "up")
        run(*self.enter, "ip", "link", "set", "lo", "up")

    def rules(self, into: str = "", out: str = "") -> None:
        """What becomes of packets from there, and of those to there."""
        chains = [
            f'chain {hook} {{ type filter hook {hook} priority 0;\n{way} "{self.cable}" {verdict}\n}}\n'
            for hook, way, verdict in (("input", "iifname", into), ("output", "oifname", out))
            if verdict
        ]
        table = f"inet {self.cable}"
        run("nft", "-f", "-", text=f"add table {table}\ndelete table {table}\ntable {table} {{\n{''.join(chains)}}}\n")

    def slow(self, rate: str) -> None:
        shape = ("root", "tbf", "rate", rate, "burst", "16kb", "latency", "100ms")
        run("tc", "qdisc", "replace", "dev", self.cable, *shape)
        run(*self.enter, "tc", "qdisc", "replace", "dev", "eth0", *shape)

    def unplug(self) -> None:
        run("ip", "link", "set", self.cable, "down")

    def heal(self) -> None:
        run("nft", "-f", "-", text=f"add table inet {self.cable}\ndelete table inet {self.cable}\n")
        run("ip", "link", "set", self.cable, "up")
        for command in ([], self.enter):
            device = "eth0" if command else self.cable
            subprocess.run([*command, "tc", "qdisc", "del", "dev", device, "root"], capture_output=True)


class Server:
    """A process of ``machine.py`` on one of the machines."""

    def __init__(self, network: Network, url: str, folder: str, late: float) -> None:
        self._make = (network, url, folder, late)
        self.start()

    def start(self) -> None:
        network, url, folder, late = self._make
        path = f"{folder}/{time.monotonic_ns()}"
        command = [*network.enter, sys.executable, "-u", MACHINE, url, path, str(late)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], DEADLINE)
        line = self.process.stdout.readline() if ready else b""
        assert line, "a server does not answer"
        return cast("dict[str, Any]", json.loads(line))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class World:
    def __init__(self, engine: str, folder: str, rate: int, each: int) -> None:
        run("ip", "link", "set", "lo", "up")
        anywhere: dict[str, dict[str, Any]] = {
            "nats": {"host": "0.0.0.0"},
            "redis": {"arguments": ("--protected-mode", "no"), "host": "0.0.0.0"},
        }
        self.broker = brokers.start(engine, **anywhere[engine])
        self.networks = [Network(number) for number in (1, 2)]
        self.rate = rate
        self.servers = [
            Server(network, f"{engine}://{network.broker}:{self.broker.port}", folder, late=0.7 * number)
            for number in range(each)
            for network in self.networks
        ]
        self.found: dict[str, Any] = {"faults": {}, "sent": 0, "heard": 0, "told": 0, "back": []}
        self.answers: dict[str, list[float]] = {"up": [], "down": []}
        self.resident: list[int] = []
        self.settle()

    # ---- what can happen

    def cut(self, network: Network, seconds: float) -> None:
        network.rules("drop", "drop")
        time.sleep(seconds)

    def cut_one_way(self, network: Network, seconds: float) -> None:
        network.rules(*random.choice((("drop", ""), ("", "drop"))))
        time.sleep(seconds)

    def reset(self, network: Network, seconds: float) -> None:
        network.rules("meta l4proto tcp reject with tcp reset")
        time.sleep(seconds)

    def unplug(self, network: Network, seconds: float) -> None:
        network.unplug()
        time.sleep(seconds)

    def slow(self, network: Network, seconds: float) -> None:
        network.slow("2mbit")
        time.sleep(seconds)

    def lose(self, network: Network, seconds: float) -> None:
        network.rules("numgen random mod 100 < 10 drop", "numgen random mod 100 < 10 drop")
        time.sleep(seconds)

    def kill_broker(self, network: Network, seconds: float) -> None:
        self.broker.kill()
        time.sleep(seconds)
        self.broker.start()
        self.came_back()

    def stop_broker(self, network: Network, seconds: float) -> None:
        """It stands still, and goes on."""
        assert self.broker.process is not None
        self.broker.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.broker.process.send_signal(signal.SIGCONT)

    def kill_server(self, network: Network, seconds: float) -> None:
        server = random.choice(self.servers)
        self.collect(server.tell())
        server.kill()
        time.sleep(seconds)
        server.start()
        self.all_up()
        time.sleep(4 * BEAT)  # from here on it is told of what it misses
        server.tell(rate=self.rate)
        time.sleep(4 * BEAT)

    KINDS: ClassVar[dict[str, tuple[Callable[[World, Network, float], None], int]]] = {
        "broker killed": (kill_broker, 8),
        "cut": (cut, 4),
        "cut one way": (cut_one_way, 3),
        "reset": (reset, 3),
        "unplugged": (unplug, 2),
        "slow": (slow, 2),
        "a tenth of the packets lost": (lose, 2),
        "broker stopped": (stop_broker, 2),
        "server killed": (kill_server, 3),
    }

    def fault(self, kind: str, seconds: float) -> None:
        network = random.choice(self.networks)
        self.KINDS[kind][0](self, network, seconds)
        network.heal()
        self.found["faults"][kind] = self.found["faults"].get(kind, 0) + 1

    # ---- what has to be true

    def states(self) -> list[dict[str, Any]]:
        return [server.tell() for server in self.servers]

    def all_up(self) -> None:
        count = len(self.servers) - 1
        wait(lambda: all(each["state"] == "up" and each["nodes"] == count for each in self.states()), self.states)

    def came_back(self) -> None:
        """How long after the broker the last of those is back who do not come late on purpose."""
        began = time.monotonic()
        prompt = [server for server in self.servers if not server._make[3]]
        wait(lambda: all(server.tell()["state"] in ("up", "joining") for server in prompt), self.states)
        self.found["back"].append(time.monotonic() - began)

    def settle(self) -> None:
        """All are there and have been for some heartbeats; and then they emit."""
        self.all_up()
        time.sleep(4 * BEAT)
        for server in self.servers:
            server.tell(rate=self.rate)

    def check(self) -> None:
        """Nobody emits any more: what was sent has come or is told, in order and once; and all is as it was."""
        for server in self.servers:
            server.tell(rate=0)
        self.all_up()
        wait(lambda: not self.missing(), self.missing)
        time.sleep(12 * BEAT)  # and it stays so: nothing is told that came
        assert not (missing := self.missing()), missing
        for state in self.states():
            for sender, heard in state["heard"].items():
                assert not heard["wrong"], f"{state['name']} heard {sender} out of order, or twice: {heard}"
            self.resident.append(state["resident"])
        for server in self.servers:
            found = server.tell(find=True)
            assert found["found"] == len(self.servers) and not found["missing"] and found["asked"], found
        self.nothing_more()
        for server in self.servers:
            server.tell(rate=self.rate)

    def missing(self) -> list[str]:
        """The pairs of whom it does not hold."""
        states = self.states()
        return [
            f"{receiver['name']} of {sender['name']}: {sender['sent']} sent, {heard} heard, {told} told, from {first}"
            for receiver in states
            for sender in states
            if receiver is not sender
            for first, heard, told in [account(receiver, sender["name"])]
            if not sender["sent"] - first <= heard + told <= sender["sent"]  # what was before it may be told as well
        ]

    def nothing_more(self) -> None:
        """The network is whole: a few more come to everybody, and no loss is told."""
        before = self.states()
        for server in self.servers:
            server.tell(rate=100)
        time.sleep(0.3)
        for server in self.servers:
            server.tell(rate=0)
        wait(lambda: not self.missing(), self.missing)
        after = self.states()
        assert [state["gaps"] for state in before] == [state["gaps"] for state in after], "a loss in a whole network"
        assert all(old["sent"] < new["sent"] for old, new in zip(before, after, strict=True))

    def collect(self, state: dict[str, Any]) -> None:
        """What is known of a server before it is killed, or at the end; of one that goes each hole has to be told."""
        for sender, heard in state["heard"].items():
            assert not heard["wrong"], heard
            self.found["heard"] += heard["count"]
            self.found["told"] += state["gaps"].get(sender, 0)
        self.found["sent"] += state["sent"]
        for name, times in state["answers"].items():
            self.answers[name] += times

    def finish(self) -> dict[str, Any]:
        self.check()
        for server in self.servers:
            server.tell(rate=0)
        for state in self.states():
            self.collect(state)
        for name, times in self.answers.items():
            times.sort()
            self.found[f"p99 of an answer with the bus {name} (ms)"] = 1000 * at(times, 0.99)
            self.found[f"median of an answer with the bus {name} (ms)"] = 1000 * at(times, 0.5)
        back = sorted(self.found.pop("back"))
        self.found |= {
            "back after the broker, median (s)": at(back, 0.5),
            "back after the broker, at most (s)": at(back, 1),
            "largest server (MiB)": max(self.resident) / 2**20,
            "smallest server (MiB)": min(self.resident) / 2**20,
        }
        return self.found


def account(receiver: dict[str, Any], sender: str) -> tuple[int, int, int]:
    """With which number it begins that something of this sender came, how many did, and how many were told missing."""
    heard = receiver["heard"].get(sender)
    told = receiver["gaps"].get(sender, 0)
    return (0, 0, told) if heard is None else (heard["first"], heard["count"], told)


def at(ordered: list[float], part: float) -> float:
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def wait(condition: Callable[[], object], show: Callable[[], object] = str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"this does not come true: {show()!s:.3000}"
        time.sleep(0.05)


def end_with_the_input() -> None:
    """What started this is gone: so is everything here."""
    while os.read(0, 1024):
        pass
    os._exit(1)


SHORT = [
    ("cut", 1.0), ("reset", 0.4), ("broker killed", 0.3), ("cut one way", 0.6), ("a tenth of the packets lost", 0.6),
    ("slow", 0.5), ("server killed", 0.0), ("broker stopped", 0.3), ("unplugged", 0.4), ("broker killed", 0.0),
]  # fmt: skip


def main(engine: str, faults: str, rate: str, seed: str) -> None:
    random.seed(int(seed))
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # with ``unshare``, which started this
    threading.Thread(target=end_with_the_input, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="ipc-") as folder:
        if faults == "short":
            world = World(engine, folder, int(rate), each=1)
            for kind, seconds in SHORT:
                world.fault(kind, seconds)
                time.sleep(0.1)
        else:
            world = World(engine, folder, int(rate), each=2)
            kinds, weights = zip(*((kind, weight) for kind, (_, weight) in World.KINDS.items()), strict=True)
            for number in range(1, int(faults) + 1):
                seconds = 18.0 if number % 50 == 0 else random.random() ** 3 * 2  # past what a broker's pings bear
                world.fault("cut" if seconds == 18.0 else random.choices(kinds, weights)[0], seconds)
                time.sleep(random.random() * 0.5)
                if number % 10 == 0:
                    world.check()
                    print(f"{number} faults", flush=True)
        found = world.finish()
        for server in world.servers:
            server.kill()
        world.broker.close()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
