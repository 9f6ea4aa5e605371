"""A cluster of NATS servers: whichever is there is taken, and another when it is killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

import brokers
from brokers import Broker
from cluster_ends import Ends, ends, until
from node_ipc import Config
from node_ipc.cluster.nats import NatsBus
from node_ipc.config.bus_options import BusPlace
from node_ipc.errors import ConfigError
from ports import free_port


class At:
    """What ``ends`` needs of a broker, for several."""

    def __init__(self, first: Broker, url: Any) -> None:
        self.folder, self.url = first.folder, url


@contextmanager
def cluster(**options: str) -> Iterator[tuple[Broker, Broker]]:
    """Two servers that pass on to each other, and tell their clients so."""
    ports = free_port(), free_port()
    started: list[Broker] = []
    try:
        for own, other in (ports, ports[::-1]):
            routes = f'cluster {{ name: c, listen: "127.0.0.1:{own}", routes: ["nats://127.0.0.1:{other}"] }}\n'
            started.append(
                brokers.start("nats", config=routes + options.get("config", ""), user=options.get("user", ""))
            )
        yield started[0], started[1]
    finally:
        for broker in started:
            broker.close()


# ---- what the option takes


@pytest.mark.parametrize(
    ("value", "urls"),
    [
        ("nats://a:1,nats://b:2", ("nats://a:1", "nats://b:2")),
        ("nats://a, b:2 ,tls://c", ("nats://a", "nats://b:2", "tls://c")),
        (["nats://a:1", "nats://b:2"], ("nats://a:1", "nats://b:2")),
        (("nats://a", "nats://a"), ("nats://a",)),
        (["redis://a"], ("redis://a",)),
        ("unix:/a,b", ("unix:/a,b",)),
    ],
    ids=str,
)
def test_several_urls_in_one_text_or_a_list(value: Any, urls: tuple[str, ...]) -> None:
    assert Config(bus=value).bus == BusPlace(*urls)


@pytest.mark.parametrize(
    "value",
    ["nats://a,", "nats://a,redis://b", "redis://a,redis://b", ["nats://a", 5], [], "nats://me:s3,cr@h"],
    ids=str,
)
def test_what_is_no_list_of_urls_is_refused_without_its_secrets(value: Any) -> None:
    with pytest.raises(ConfigError, match="NATS") as refused:
        Config(bus=value)
    assert "s3" not in str(refused.value)


def test_user_and_files_of_one_url_are_those_of_the_others() -> None:
    bus = NatsBus(BusPlace("nats://me:nevershown@a", "tls://b?ca=/etc/ssl/certs/ca-certificates.crt", "nats://you:x@c"))
    servers = {server.at: server for server in bus._servers}
    assert {at: server.options["user"] for at, server in servers.items()} == {
        "nats://a": "me", "nats://b": "me", "nats://c": "you",
    }  # fmt: skip
    assert all(server.wants_tls for server in bus._servers) and "nevershown" not in bus.health()
    assert "nevershown" not in repr(BusPlace("nats://me:nevershown@a", "nats://me:nevershown@b"))


# ---- whichever is there


async def test_a_server_that_is_not_there_costs_nothing() -> None:
    broker = brokers.start("nats")
    try:
        dead = f"nats://127.0.0.1:{free_port()}"
        for url in (f"{dead},{broker.url}", [broker.url, dead], [dead, dead + "/x", broker.url]):
            async with ends(At(broker, url), ("a",), ("a",)) as all:  # type: ignore[arg-type]
                all.servers[0].to("a").emit("x", 1)
                await until(partial(heard_by_both, all))
                assert not any(all.errors)
    finally:
        broker.close()


async def test_one_that_is_stopped_or_a_black_hole_is_not_waited_for() -> None:
    stopped, broker = brokers.start("nats"), brokers.start("nats")
    try:
        assert stopped.process is not None
        stopped.process.send_signal(signal.SIGSTOP)
        async with ends(At(broker, [stopped.url, broker.url]), ("a",)) as all:  # type: ignore[arg-type]
            await until(lambda: all.events == [["bus.up"]])
            assert not any(all.errors)
    finally:
        stopped.close()
        broker.close()


async def test_where_none_is_there_each_is_named_with_its_reason() -> None:
    broker = brokers.start("nats")
    try:
        urls = [f"nats://me:nevershown@127.0.0.1:{free_port()}" for _ in range(2)]
        async with AsyncExitStack() as stack:
            all = Ends(At(broker, urls), stack)  # type: ignore[arg-type]
            await all.add()
            await until(lambda: all.errors[0])
            said = str(all.errors[0][0])
            assert said.count("Connect call failed") == 2 and "nevershown" not in said
    finally:
        broker.close()


@pytest.mark.row(65)
@pytest.mark.parametrize("told", [False, True], ids=["both named", "the other one told"])
async def test_one_is_killed_and_the_other_goes_on(told: bool) -> None:
    """Also where only one was named, and that one told of the other; the password goes along."""
    config = 'authorization { user: "me", password: "nevershown" }\n'
    with cluster(config=config, user="me:nevershown@") as (one, two):
        url = one.url if told else f"{one.url},{two.url}"
        buses = [NatsBus(BusPlace(*url.split(","))) for _ in range(3)]
        async with AsyncExitStack() as stack:
            all = Ends(At(one, url), stack)  # type: ignore[arg-type]
            for bus in buses:
                await all.add("a", bus=bus)
            await all.joined()
            await until(lambda: all_know(buses))
            sent = 0
            for victim, other in ((one, two), (two, one)):
                for _ in range(50):
                    all.servers[0].to("a").emit("x", sent)
                    sent += 1
                await asyncio.to_thread(victim.kill)
                for _ in range(50):
                    all.servers[0].to("a").emit("x", sent)
                    sent += 1
                place = other.url.rpartition("@")[2]
                await until(partial(all_at, all, buses, place))
                await asyncio.to_thread(victim.start)
                await all.know_each_other()
                for _ in range(50):  # and then it is as it was
                    all.servers[0].to("a").emit("x", sent)
                    sent += 1
                await until(lambda: sent - 1 in all.heard[1] and sent - 1 in all.heard[2])  # noqa: B023 - at once
            name = all.servers[0].everywhere.name
            for number in (1, 2):
                await until(partial(accounted, all, number, name, sent))
                assert all.heard[number] == sorted(set(all.heard[number]))
                assert set(range(100, 150)) | set(range(250, 300)) <= set(all.heard[number])
            assert "nevershown" not in str(all.errors)


def all_know(buses: list[NatsBus]) -> bool:
    """Whether each was told of both servers: they have found each other, however long that took."""
    return {len(set(bus._client.others)) for bus in buses if bus._client is not None} == {2}


def heard_by_both(all: Ends) -> bool:
    return all.heard == [[1], [1]]


def accounted(all: Ends, number: int, name: str, sent: int) -> bool:
    return len(all.heard[number]) + all.gaps[number][name] == sent


def all_at(all: Ends, buses: list[NatsBus], place: str) -> bool:
    states = {server.stats().bus.state for server in all.servers}  # type: ignore[union-attr]
    return states == {"up"} and {bus.health() for bus in buses} == {f"nats://{place}"}
