"""Many nodes on a virtual clock, with kills, partitions and latecomers: the promises hold, traffic grows as it must.

NIGHTLY=soak pytest -s tests/cluster/test_many_nodes.py    1,000 nodes and 100,000 rooms, in four minutes and 1.3 GB
python docs/growth.py                                      how traffic grows, as a plot for the documentation
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from functools import partial
from itertools import pairwise

import pytest
from msgspec import Raw

from cluster_nodes import BEAT, Group, Process, at_scale
from node_ipc.core.rooms import Audience

NIGHTLY = os.environ.get("NIGHTLY") == "soak"
BROADCASTS = 0.02
"""Of the emits; each goes to every node."""


class World:
    """So many nodes, each with so many of the rooms, and what each should have heard."""

    def __init__(self, nodes: int, rooms: int, each: int, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.names = [f"room {number}" for number in range(rooms)]
        self.each = each
        self.group = Group(0)
        self.members: dict[str, set[Process]] = {}
        self.sent: Counter[tuple[str, str]] = Counter()
        """By sender and room; the room "" is everybody."""
        self.heard: dict[Process, dict[tuple[str, str], list[int]]] = {}
        self.before: dict[Process, Counter[tuple[str, str]]] = {}
        """What had been sent before that process could hear anything."""
        self.group.processes = [self.start(f"n{number}") for number in range(nodes)]
        self.group.run(4 * BEAT)

    def start(self, name: str) -> Process:
        """One more node, in rooms of its own choice."""
        process = self.group.start(name)
        heard = self.heard[process] = {}
        process.deliver = partial(self._delivered, heard)  # type: ignore[method-assign]
        for room in self.chance.sample(self.names, self.each):
            process.join(room)
            self.members.setdefault(room, set()).add(process)
        return process

    @staticmethod
    def _delivered(heard: dict[tuple[str, str], list[int]], audience: Audience, frame: Raw, event: str | None) -> None:
        sender, number = bytes(frame).split(b'"')[-2].decode().split("/")
        [room] = audience.rooms or ("",)
        heard.setdefault((sender, room), []).append(int(number))

    def emit(self, count: int, seconds: float) -> None:
        """So many emits of nodes that live, to rooms in which somebody is, within this time."""
        rooms = sorted(self.members)
        for _ in range(count):
            process = self.chance.choice(self.group.processes)
            room = "" if self.chance.random() < BROADCASTS else self.chance.choice(rooms)
            key = process.node.name, room
            self.sent[key] += 1
            process.emit(*([room] if room else []), data=f'"{process.node.name}/{self.sent[key]}"')
            self.group.run(seconds / count)

    def kill(self) -> str:
        """A process is gone; its node's name."""
        dead = self.chance.choice(self.group.processes)
        self.group.processes.remove(dead)
        dead.kill()
        for members in self.members.values():
            members.discard(dead)
        self.members = {room: members for room, members in self.members.items() if members}
        return dead.node.name

    def due(self, process: Process, senders: set[str]) -> dict[tuple[str, str], int]:
        """What a process should have heard of those: by sender and room, how many."""
        before = self.before.get(process, Counter())
        return {
            (sender, room): count - before[sender, room]
            for (sender, room), count in self.sent.items()
            if sender in senders and sender != process.node.name and (not room or room in process.names)
        }


def run(nodes: int, rooms: int, each: int, emits: int, seed: int = 0) -> World:
    """Kills, cuts, latecomers and the death of the broker, under load."""
    world = World(nodes, rooms, each, seed)
    broker = world.group.broker
    world.emit(emits, 2.0)
    dead = {world.kill() for _ in range(max(nodes // 100, 1))}
    cut = world.chance.sample(world.group.processes, max(nodes // 20, 1))
    for process in cut:
        broker.cut(process.line)
    world.emit(emits, 2.0)
    for process in cut:
        broker.mend(process.line)
    late = [world.start(f"late {number}") for number in range(max(nodes // 100, 1))]
    world.group.run(3 * BEAT)
    world.before = {process: world.sent.copy() for process in late}
    world.group.processes += late
    broker.kill()
    world.emit(emits, 1.0)
    broker.restart([(process.line, world.chance.random()) for process in world.group.processes])
    world.group.run(2 * BEAT)
    world.emit(emits, 2.0)
    world.group.run((3 + 1) * BEAT)
    check_presence(world, dead)
    world.group.run(12 * BEAT)
    check_delivery(world)
    return world


def check_presence(world: World, dead: set[str]) -> None:
    """Row 68: three heartbeats after the last change everybody knows who is there, and nobody else."""
    names = {process.node.name for process in world.group.processes}
    assert not names & dead
    for process in world.group.processes:
        assert {node.name for node in process.node.nodes()} == names - {process.node.name}
    asker = world.group.processes[0]
    room = world.chance.choice([room for room, members in world.members.items() if asker not in members])
    found = asker.node.find(room, 1.0)
    world.group.run(0.5)
    assert {each.node for each in found.result()} == {process.node.name for process in world.members[room]}
    assert not found.result().missing


def check_delivery(world: World) -> None:
    """Rows 65 and 67: of those that live, every message was delivered once and in order, or told as missing."""
    senders = {process.node.name for process in world.group.processes}
    checked = lost = 0
    for process in world.group.processes:
        due = world.due(process, senders)
        before = world.before.get(process, Counter())
        came = told = 0
        for key, numbers in world.heard[process].items():
            assert all(one < next for one, next in pairwise(numbers)), (process, key, numbers)
            came += sum(number > before[key] for number in numbers if key in due)
        told = sum(count for name, count in process.gaps.items() if name in senders)
        assert came + told == sum(due.values()), (process, came, told)
        assert not process.faults and process.node.stats().state == "up"
        checked, lost = checked + came, lost + told
    assert checked > 100 and lost


@pytest.mark.row(65)
@pytest.mark.row(67)
@pytest.mark.row(68)
@pytest.mark.slow
def test_a_hundred_nodes_and_ten_thousand_rooms() -> None:
    with at_scale():
        run(100, 10_000, 200, 300)


@pytest.mark.row(65)
@pytest.mark.row(67)
@pytest.mark.row(68)
@pytest.mark.parametrize("seed", range(8))
def test_twenty_nodes_that_share_their_rooms(seed: int) -> None:
    run(20, 30, 10, 200, seed)


@pytest.mark.row(65)
@pytest.mark.row(67)
@pytest.mark.row(68)
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.lane(name="soak")
@pytest.mark.skipif(not NIGHTLY, reason="takes minutes: NIGHTLY=soak")
def test_a_thousand_nodes_and_a_hundred_thousand_rooms() -> None:
    began = time.perf_counter()
    with at_scale():
        broker = run(1_000, 100_000, 300, 1_000).group.broker
    print(
        f"\n{broker.messages:,} messages, {broker.deliveries:,} deliveries of {broker.bytes >> 20:,} MiB, "
        f"{broker.lost:,} lost with a connection; {time.perf_counter() - began:.0f} s"
    )


# ---- how traffic grows


def cost_of_an_emit(world: World, emits: int = 200) -> float:
    """What one emit to a room costs in deliveries of the broker."""
    broker, rooms = world.group.broker, sorted(world.members)
    came: list[str] = []
    broker.loses = lambda subject, line: ".room." in subject and bool(came.append(subject))  # type: ignore[func-returns-value]
    for _ in range(emits):
        world.chance.choice(world.group.processes).emit(world.chance.choice(rooms), data='"x/1"')
    world.group.run(0.002)
    broker.loses = lambda subject, line: False
    return len(came) / emits


def cost_of_coming_back(world: World, emits: int = 200) -> float:
    """What a node hears, in bytes, while all come back to a broker that was killed, and ask for what they missed."""
    broker, rooms = world.group.broker, sorted(world.members)
    broker.kill()
    for _ in range(emits):
        world.chance.choice(world.group.processes).emit(world.chance.choice(rooms), data='"x/1"')
    before = broker.bytes
    broker.restart()
    world.group.run(0.2)
    return (broker.bytes - before) / len(world.group.processes)


def test_an_emit_costs_what_its_members_cost_however_many_rooms_and_nodes_there_are() -> None:
    """Ten nodes for each room; the others pay nothing."""
    for nodes, rooms in ((20, 100), (100, 100), (100, 5_000)):
        assert 7 < cost_of_an_emit(World(nodes, rooms, 10 * rooms // nodes)) < 12


def test_who_comes_back_pays_for_nodes_and_what_was_sent_and_not_for_rooms() -> None:
    few, many = (cost_of_coming_back(World(50, rooms, 10 * rooms // 50), 50) for rooms in (500, 5_000))
    assert many < 1.2 * few
