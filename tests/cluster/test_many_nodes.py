"""Many nodes on a virtual clock, with kills, partitions and latecomers: the promises hold, traffic grows as it must.

NIGHTLY=soak pytest tests/cluster/test_many_nodes.py    1,000 nodes and 100,000 rooms
python tests/cluster/test_many_nodes.py PICTURE         how traffic grows, as a plot for the documentation
"""

from __future__ import annotations

import os
import random
import sys
import time

import pytest

from cluster_nodes import BEAT, Group, Process

NIGHTLY = os.environ.get("NIGHTLY") == "soak"


class World:
    """So many nodes, each with so many of the rooms, and what each should have heard."""

    def __init__(self, nodes: int, rooms: int, each: int, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.names = [f"room {number}" for number in range(rooms)]
        self.each = each
        self.group = Group(0)
        self.group.processes = [self.group.start(f"n{number}") for number in range(nodes)]
        self.members: dict[str, set[Process]] = {}
        self.sent: dict[tuple[str, str], int] = {}
        for process in self.group.processes:
            self.settle(process)
        self.group.run(4 * BEAT)

    def settle(self, process: Process) -> None:
        process.keeps = False
        for room in self.chance.sample(self.names, self.each):
            process.join(room)
            self.members.setdefault(room, set()).add(process)

    def emit(self, count: int, seconds: float) -> None:
        """So many emits of nodes that live, to rooms in which somebody is, within this time."""
        rooms = sorted(self.members)
        for _ in range(count):
            process = self.chance.choice(self.group.processes)
            room = self.chance.choice(rooms)
            process.emit(room, data=f'"{process.node.name}"')
            key = process.node.name, room
            self.sent[key] = self.sent.get(key, 0) + 1
            self.group.run(seconds / count)

    def kill(self) -> Process:
        dead = self.chance.choice(self.group.processes)
        self.group.processes.remove(dead)
        dead.kill()
        for members in self.members.values():
            members.discard(dead)
        self.members = {room: members for room, members in self.members.items() if members}
        return dead

    def due(self, process: Process, senders: set[str]) -> int:
        return sum(
            count
            for (sender, room), count in self.sent.items()
            if sender in senders and sender != process.node.name and room in process.names
        )


def run(nodes: int, rooms: int, each: int, emits: int, seed: int = 0) -> World:
    world = World(nodes, rooms, each, seed)
    world.emit(emits, 2.0)
    killed = [world.kill() for _ in range(max(nodes // 100, 1))]
    dead = {process.node.name for process in killed}
    cut = world.chance.sample(world.group.processes, max(nodes // 20, 1))
    for process in cut:
        world.group.broker.cut(process.line)
    world.emit(emits, 2.0)
    for process in cut:
        world.group.broker.mend(process.line)
    late = [world.group.start(f"late {number}") for number in range(max(nodes // 100, 1))]
    world.group.run(2 * BEAT)
    world.group.broker.kill()
    world.emit(emits, 1.0)
    world.group.broker.restart([(process.line, world.chance.random()) for process in world.group.processes])
    world.group.run(2 * BEAT)
    world.emit(emits, 2.0)
    world.group.processes += late
    world.group.run((3 + 1) * BEAT)
    check_presence(world, dead)
    world.group.run(12 * BEAT)
    check_delivery(world, late)
    return world


def check_presence(world: World, dead: set[str]) -> None:
    """Row 68: three heartbeats after the last change everybody knows who is there, and nobody else."""
    names = {process.node.name for process in world.group.processes}
    for process in world.group.processes:
        assert {node.name for node in process.node.nodes()} == names - {process.node.name}
    asker = world.group.processes[0]
    room = world.chance.choice([room for room, members in world.members.items() if asker not in members])
    found = asker.node.find(room, 1.0)
    world.group.run(0.5)
    assert {each.node for each in found.result()} == {process.node.name for process in world.members[room]}
    assert not found.result().missing


def check_delivery(world: World, late: list[Process]) -> None:
    """Rows 65 and 67: of those that live, every message was delivered once or told as missing."""
    senders = {process.node.name for process in world.group.processes}
    checked = 0
    for process in world.group.processes:
        if process in late:
            continue
        heard = sum(count for name, count in process.count_heard.items() if name in senders)
        told = sum(count for name, count in process.gaps.items() if name in senders)
        assert heard + told == world.due(process, senders), process.node.name
        assert not process.faults and process.node.stats().state == "up"
        checked += world.due(process, senders)
    assert checked > 100


@pytest.mark.row(68)
@pytest.mark.slow
def test_a_hundred_nodes_and_ten_thousand_rooms() -> None:
    run(100, 10_000, 200, 300)


@pytest.mark.row(68)
@pytest.mark.parametrize("seed", range(8))
def test_twenty_nodes_that_share_their_rooms(seed: int) -> None:
    run(20, 30, 10, 200, seed)


@pytest.mark.row(68)
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not NIGHTLY, reason="takes minutes: NIGHTLY=soak")
def test_a_thousand_nodes_and_a_hundred_thousand_rooms() -> None:
    run(1_000, 100_000, 300, 1_000)


def deliveries(nodes: int, rooms: int, each: int, emits: int = 200) -> tuple[float, float]:
    """What one emit costs in deliveries of the broker, and what a node hears of heartbeats in a second."""
    world = World(nodes, rooms, each)
    broker = world.group.broker
    before = broker.deliveries
    world.group.run(10 * BEAT)
    beats = (broker.deliveries - before) / (10 * BEAT) / nodes
    before = broker.deliveries
    world.emit(emits, 0.001)
    world.group.run(0.01)
    return (broker.deliveries - before) / emits, beats


def test_an_emit_costs_what_its_members_cost_however_many_rooms_and_nodes_there_are() -> None:
    """Ten nodes for each room; the others pay nothing."""
    few, _ = deliveries(20, 100, 50)
    many, _ = deliveries(100, 5_000, 500)
    assert 8 < few < 12 and 8 < many < 12


def plot(picture: str) -> None:
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    counts = [10, 30, 100, 300, 1000]
    beats: list[float] = []
    for label, rooms in (("100 rooms", 100), ("10,000 rooms", 10_000)):
        costs = [deliveries(nodes, rooms, max(10 * rooms // nodes, 1), 100) for nodes in counts]
        left.plot(counts, [emit for emit, _ in costs], marker="o", label=label)
        beats = [heard for _, heard in costs]
    right.plot(counts, beats, marker="o", color="C2")
    left.set(xscale="log", ylim=(0, 20), xlabel="nodes", title="Deliveries for one emit, 10 nodes being in its room")
    left.legend()
    right.set(xscale="log", yscale="log", xlabel="nodes", title="Heartbeats that one node hears, a second")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    began = time.perf_counter()
    plot(sys.argv[1])
    print(f"{time.perf_counter() - began:.0f} s")
