"""The driver in memory: its clock, its coroutines, who reaches whom."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from memory_ends import SETTINGS, WORLD, Watcher, WatchingServer, link
from node_ipc.config.address import Address, Pipe, Tcp, Tls, Udp, Unix
from node_ipc.config.config import Config
from node_ipc.core.seam import NOWHERE, Peer
from node_ipc.errors import AddressError, AddressInUse, ConnectDenied, ConnectError, ConnectTimeout
from node_ipc.testing import Conditions, MemoryDriver, NothingHappens, Wire, WireServer


@pytest.fixture
def driver() -> MemoryDriver:
    return MemoryDriver()


# ---- the clock


def test_what_is_due_is_done_in_order_and_on_time(driver: MemoryDriver) -> None:
    done: list[Any] = []
    for delay in (2, 1, 1, 0, 3):
        driver.call_later(delay, lambda delay=delay: done.append((delay, driver.now())))  # type: ignore[misc]
    driver.run_until_idle()
    assert done == [(0, 0)]
    driver.advance(2)
    assert done == [(0, 0), (1, 1), (1, 1), (2, 2)]
    assert driver.now() == 2
    driver.advance(0.5)
    assert len(done) == 4
    driver.advance(0.5)
    assert done[-1] == (3, 3)


def test_cancelled_calls_are_forgotten(driver: MemoryDriver) -> None:
    done: list[int] = []
    calls = [driver.call_later(delay, partial(done.append, delay)) for delay in (0, 1, 2)]
    for call in calls[:2]:
        call.cancel()
        call.cancel()
    driver.advance(5)
    assert done == [2]
    calls[2].cancel()


def test_calls_made_during_a_turn_are_for_the_next(driver: MemoryDriver) -> None:
    done: list[str] = []

    class Session:
        def turn_ended(self) -> None:
            done.append("end of turn")

    def first() -> None:
        done.append("first")
        driver.call_later(0, lambda: done.append("later"))
        driver.turn_ends(Session())

    driver.call_later(0, first)
    driver.call_later(0, lambda: done.append("second"))
    driver.run_until_idle()
    assert done == ["first", "second", "end of turn", "later"]


def test_run_until_stops_when_it_holds(driver: MemoryDriver) -> None:
    done: list[int] = []
    for delay in range(1, 6):
        driver.call_later(delay, partial(done.append, delay))
    driver.run_until(lambda: len(done) == 3)
    assert driver.now() == 3
    outcome = driver.outcome("value")
    driver.call_later(1.5, outcome.settle)
    driver.run_until(outcome)
    assert driver.now() == 4.5


def test_run_until_gives_up(driver: MemoryDriver) -> None:
    with pytest.raises(NothingHappens, match="nothing more is due"):
        driver.run_until(lambda: False)
    driver.call_later(100, lambda: None)
    with pytest.raises(
        NothingHappens, match=r"60 virtual seconds .* since this call began at 0 s \(limit= allows more\)"
    ):
        driver.run_until(lambda: False)
    driver.run_until(lambda: driver.now() >= 100, limit=100)


def test_run_takes_a_coroutine_and_says_so(driver: MemoryDriver) -> None:
    async def main() -> None: ...

    wrong: list[Any] = [main, None, driver.outcome(1)]
    for each in wrong:
        with pytest.raises(
            TypeError, match=r"run takes a coroutine, as run\(main\(\)\) with async def main\(\): …, not <?"
        ):
            driver.run(each)


def test_the_limit_of_run_counts_from_the_call(driver: MemoryDriver) -> None:
    driver.advance(5)
    with pytest.raises(
        NothingHappens, match=r"2 virtual seconds are over since this call began at 5 s \(limit= allows"
    ):
        driver.run(driver.sleep(3), limit=2)


def test_turns_without_end_are_noticed(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_ipc.drivers.memory.TURNS", 1000)

    def again() -> None:
        driver.call_later(0, again)

    again()
    with pytest.raises(NothingHappens, match="still something to do"):
        driver.run_until_idle()
    with pytest.raises(NothingHappens, match="without what was waited for"):
        driver.run_until(lambda: False)


def test_an_error_in_a_call_passes_and_the_rest_goes_on(driver: MemoryDriver) -> None:
    done: list[int] = []

    def fail() -> None:
        raise KeyboardInterrupt

    driver.call_later(0, fail)
    driver.call_later(0, lambda: done.append(1))
    with pytest.raises(KeyboardInterrupt):
        driver.run_until_idle()
    driver.run_until_idle()
    assert done == [1]


def test_chance_comes_from_the_seed() -> None:
    draws = [
        [driver.random() for _ in range(5)] for driver in (MemoryDriver(), MemoryDriver(seed=0), MemoryDriver(seed=1))
    ]
    assert draws[0] == draws[1] != draws[2]
    assert all(0 <= draw < 1 for draw in draws[0])


def test_closing_forgets_everything() -> None:
    done: list[int] = []
    with MemoryDriver() as driver:
        driver.call_later(0, lambda: done.append(1))
        driver.call_later(1, lambda: done.append(1))
        driver.spawn(driver.sleep(5), lambda error: done.append(1))
        driver.run_until(lambda: done)
        driver.spawn(driver.sleep(5), lambda error: done.append(1))  # not begun
    done.clear()
    driver.advance(100)
    assert done == []
    assert "100 s" in repr(driver)


# ---- coroutines


def test_coroutines_wait_on_the_virtual_clock(driver: MemoryDriver) -> None:
    async def main() -> tuple[str, float]:
        await driver.sleep(1.5)
        outcome = driver.outcome("value")
        driver.call_later(1, outcome.settle)
        assert await outcome == "value"
        return await outcome, driver.now()

    assert driver.run(main()) == ("value", 2.5)


def test_errors_of_coroutines_and_outcomes_are_raised(driver: MemoryDriver) -> None:
    async def main() -> None:
        outcome = driver.outcome(None)
        driver.call_later(1, partial(outcome.settle, ValueError("no")))
        await outcome

    with pytest.raises(ValueError, match="no"):
        driver.run(main())


def test_a_coroutine_that_never_ends(driver: MemoryDriver) -> None:
    ended: list[float] = []

    async def main() -> None:
        try:
            await driver.outcome(None)
        finally:
            ended.append(driver.now())

    with pytest.raises(NothingHappens):
        driver.run(main())
    assert ended == [0]


@pytest.mark.parametrize("error", [None, ValueError("no"), GeneratorExit()])
def test_spawned_coroutines_tell_how_they_ended_in_a_later_turn(
    driver: MemoryDriver, error: BaseException | None
) -> None:
    told: list[Any] = []

    async def main() -> None:
        if error is not None:
            raise error

    driver.spawn(main(), told.append)
    assert told == []
    driver.run_until_idle()
    assert told == [error]


def test_what_ends_the_program_passes_through_coroutines(driver: MemoryDriver) -> None:
    told: list[Any] = []

    async def main() -> None:
        raise SystemExit(3)

    driver.spawn(main(), told.append)
    with pytest.raises(SystemExit):
        driver.run_until_idle()
    driver.run_until_idle()
    assert [type(error) for error in told] == [SystemExit]


def test_asyncio_waits_on_the_virtual_clock(driver: MemoryDriver) -> None:
    async def main() -> list[Any]:
        got: list[Any] = []
        queue: asyncio.Queue[str] = asyncio.Queue()
        asyncio.get_running_loop().call_later(600, queue.put_nowait, "put")
        got.append(await queue.get())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1800):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1e6), 600)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            outcome = driver.outcome("in a task")
            group.create_task(driver.sleep(300)).add_done_callback(lambda task: outcome.settle())
            got.append(await outcome)
        return [*got, *await asyncio.gather(asyncio.sleep(300, "slept"), asyncio.sleep(1, "little"))]

    assert driver.run(main(), limit=1e5) == ["put", "in a task", "slept", "little"]
    assert driver.now() == 600 + 1800 + 600 + 300 + 300
    assert driver.next_due() is None  # cancelled timers are not waited for
    assert driver.failures == []
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_what_has_no_virtual_counterpart_says_so(driver: MemoryDriver) -> None:
    async def main() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(NotImplementedError, match=r"run_in_executor: .* no sockets, threads"):
        driver.run(main())


def test_a_task_that_nobody_awaits_is_among_the_failures(driver: MemoryDriver) -> None:
    async def fails() -> None:
        raise ValueError("unheard")

    async def main() -> None:
        asyncio.create_task(fails())  # noqa: RUF006
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    driver.run(main())
    gc.collect()
    assert sorted(map(repr, driver.failures)) == ["ValueError('unheard')", "ZeroDivisionError('division by zero')"]


def test_a_handler_that_still_waits_when_the_driver_ends_is_no_failure(
    driver: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    async def waits() -> None:
        await asyncio.sleep(3600)

    async def begins_another() -> None:
        asyncio.create_task(waits()).set_name("somebody's")
        await asyncio.sleep(0)

    driver.spawn(waits(), lambda error: None)
    driver.run(begins_another())
    driver.close()
    gc.collect()
    assert list(map(repr, driver.failures)) == ["RuntimeError('Task was destroyed but it is pending!')"]
    assert caplog.records == []


def test_a_call_of_the_virtual_loop_can_be_cancelled(driver: MemoryDriver) -> None:
    called: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert loop.is_running()
        late = loop.call_at(loop.time() + 5, called.append, "late")
        never = loop.call_later(3, called.append, "never")
        assert (late.when(), never.cancelled()) == (5.0, False)
        never.cancel()
        assert never.cancelled()
        await asyncio.sleep(10)
        late.cancel()  # too late, and harmless

    driver.run(main())
    assert called == ["late"]


async def test_a_driver_in_a_running_loop(driver: MemoryDriver) -> None:
    """A test that is a coroutine of asyncio's own may drive it, and a coroutine of the driver may, too."""

    async def inner() -> str:
        await asyncio.sleep(60)
        return "inner"

    async def main() -> str:
        await asyncio.sleep(60)
        return driver.run(inner())

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert driver.run(main(), limit=200) == "inner"
    assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
    await asyncio.sleep(0)
    with pytest.raises(TypeError, match=r"driver.run\(main\(\)\), or an async handler"):
        await driver.outcome(None)


def test_cancelling_a_coroutine(driver: MemoryDriver) -> None:
    told: list[Any] = []
    steps: list[str] = []
    waited = driver.outcome(None)
    waited.abandon = lambda: steps.append("abandoned")

    async def main() -> None:
        try:
            await waited
        finally:
            steps.append("finally")
            await driver.sleep(1)
            steps.append("end")

    task = driver.spawn(main(), told.append)
    driver.run_until_idle()
    task.cancel()
    waited.settle()  # too late: the cancelling came first
    driver.advance(2)
    assert steps == ["abandoned", "finally", "end"]
    assert told == [None]
    task.cancel()
    driver.run_until_idle()


def test_cancelling_a_coroutine_that_waits_for_an_outcome_of_nobody(driver: MemoryDriver) -> None:
    told: list[Any] = []

    async def main() -> None:
        await driver.outcome(None)

    driver.spawn(main(), told.append).cancel()
    driver.run_until_idle()
    task = driver.spawn(main(), told.append)
    driver.run_until_idle()
    task.cancel()
    driver.run_until_idle()
    assert told == [None, None]


# ---- connecting


def test_nobody_listens(driver: MemoryDriver) -> None:
    wire = Wire.connected(driver, WORLD)
    assert isinstance(wire.error, ConnectError)
    assert isinstance(wire.error.__cause__, ConnectionRefusedError)
    with pytest.raises(ConnectionError, match="not open"):
        wire.write(b"a")


def test_attempts_can_be_made_to_fail(driver: MemoryDriver) -> None:
    server = WireServer(driver)
    driver.refusal = PermissionError(13, "Permission denied")
    assert isinstance(Wire.connected(driver, server.address).error, ConnectDenied)
    driver.refusal = ConnectError("mine")
    assert Wire.connected(driver, server.address).error is driver.refusal
    driver.refusal = None
    assert Wire.connected(driver, server.address).error is None


@pytest.mark.parametrize(
    ("address", "connect_timeout", "seconds"),
    [(WORLD, None, 2), (Tcp("localhost", 80), None, 5), (Pipe("a"), None, 2), (WORLD, 700, 0.7)],
)
def test_attempts_without_an_answer(
    driver: MemoryDriver, address: Address, connect_timeout: int | None, seconds: float
) -> None:
    driver.conditions.latency = 1000
    wire = Wire.connected(driver, address, Config(connect_timeout=connect_timeout).settings())
    assert isinstance(wire.error, ConnectTimeout)
    assert driver.now() == seconds


def test_a_server_that_refuses(driver: MemoryDriver) -> None:
    server = WatchingServer(driver)
    server.accepts = False
    client = Watcher()
    driver.open(WORLD, client, SETTINGS)
    driver.run_until_idle()
    assert client.heard == ["opened", "ended"]
    client.call("close")
    driver.run_until_idle()
    assert client.heard[-1] == "lost"
    assert driver.connections == []


@pytest.mark.parametrize("break_it", ["drop", "close"])
def test_breaking_between_connecting_and_accepting(driver: MemoryDriver, break_it: str) -> None:
    server = WatchingServer(driver)
    driver.run_until_idle()
    client = Watcher()
    driver.open(WORLD, client, SETTINGS)
    driver.run_turn()
    assert client.heard == ["opened"]
    if break_it == "drop":
        driver.drop()
    else:
        server.listener.close()
    driver.run_until_idle()
    assert server.ends == []
    assert client.heard == (["opened", "lost ConnectionLost"] if break_it == "drop" else ["opened", "ended"])


def test_breaking_between_accepting_and_opening(driver: MemoryDriver) -> None:
    server = WatchingServer(driver)
    driver.run_until_idle()
    driver.open(WORLD, Watcher(), SETTINGS)
    driver.run_until(lambda: server.ends)
    driver.drop()
    driver.run_until_idle()
    assert server.ends[0].heard == ["opened", "lost ConnectionLost"]


def test_listening_twice_and_after_closing(driver: MemoryDriver) -> None:
    first, second = WatchingServer(driver), WatchingServer(driver)
    assert first.told == second.told == []
    driver.run_until_idle()
    assert first.told == [WORLD]
    assert isinstance(second.told[0], AddressInUse)
    second.listener.close()
    assert Wire.connected(driver, WORLD).error is None
    first.listener.close()
    first.listener.close()
    assert Wire.connected(driver, WORLD).error is not None
    third = WatchingServer(driver)
    third.listener.close()
    fourth = WatchingServer(driver)
    driver.run_until_idle()
    assert (third.told, fourth.told) == ([], [WORLD])


def test_free_ports(driver: MemoryDriver) -> None:
    first, second = (WatchingServer(driver, Tcp("localhost", 0)) for _ in range(2))
    driver.run_until_idle()
    ports = {first.told[0].port, second.told[0].port}
    assert len(ports) == 2
    assert 0 not in ports
    assert Wire.connected(driver, first.told[0]).error is None


def test_further_places_are_tried(driver: MemoryDriver) -> None:
    for address, also in (
        (Unix("/a"), Unix("/b", ("/c", "/a"))),
        (Pipe("a"), Pipe("b", ("a",))),
        (Tls("localhost", 443), Tls("localhost", 443)),
    ):
        WatchingServer(driver, address)
        driver.run_until_idle()
        assert Wire.connected(driver, also).error is None


def test_peers_are_who_the_driver_says(driver: MemoryDriver) -> None:
    local, network = WatchingServer(driver), WatchingServer(driver, Tcp("localhost", 8000))
    driver.run_until_idle()
    driver.identity = Peer("memory", pid=7, uid=1001)
    wire = Wire.connected(driver, WORLD)
    assert wire.link is not None
    assert wire.link.peer == driver.server_identity
    assert local.peers == [Peer("memory", pid=7, uid=1001)]
    wire = Wire.connected(driver, Tcp("localhost", 8000))
    assert wire.link is not None
    assert wire.link.peer == Peer("memory", host="127.0.0.1", port=8000)
    driver.identity = Peer("memory", host="192.0.2.1")
    Wire.connected(driver, Tcp("localhost", 8000))
    assert [peer.host for peer in network.peers] == ["127.0.0.1", "192.0.2.1"]
    assert len({peer.port for peer in network.peers}) == 2


def test_datagrams_have_no_connections(driver: MemoryDriver) -> None:
    server = WatchingServer(driver, Udp("127.0.0.1", 5, "udp4"))
    driver.run_until_idle()
    assert isinstance(server.told[0], AddressError)
    assert isinstance(Wire.connected(driver, Udp("127.0.0.1", 5, "udp4")).error, AddressError)


def test_there_is_no_tls_to_reload(driver: MemoryDriver) -> None:
    with pytest.raises(AddressError, match="no TLS"):
        WatchingServer(driver).listener.reload_tls(None)


# ---- threads and forks


def test_threads_and_forks_are_played(driver: MemoryDriver) -> None:
    assert driver.home == driver.thread() == threading.get_ident()
    with driver.other_thread():
        assert driver.thread() != driver.home
        with driver.other_thread():
            assert driver.thread() != driver.home
        assert driver.thread() != driver.home
    assert driver.home == driver.thread()
    with driver.forked_child():
        assert (driver.home, driver.is_forked) == (NOWHERE, True)
    assert driver.home == driver.thread()


def test_calls_from_threads_keep_their_order(driver: MemoryDriver) -> None:
    done: list[int] = []

    def work(call: Callable[[Callable[[], None]], None]) -> None:
        for number in range(100):
            call(partial(done.append, number))

    thread = threading.Thread(target=work, args=(driver.call_from_thread,))
    thread.start()
    thread.join()
    assert done == []
    driver.run_until_idle()
    assert done == list(range(100))


# ---- determinism


@pytest.mark.row(48)
def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> list[tuple[float, bytes]]:
        driver = MemoryDriver(seed=seed)
        heard: list[tuple[float, bytes]] = []
        client, server = link(driver)
        server.received = lambda data: heard.append((driver.now(), data))  # type: ignore[method-assign]
        driver.conditions = Conditions(latency=driver.random, split=lambda: int(driver.random() * 9))
        for _ in range(20):
            client.write(bytes(range(int(driver.random() * 50))))
            driver.advance(driver.random())
        driver.advance(5)
        return heard

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize("seconds", ["1", None, True, [1]])
def test_advance_refuses_what_is_no_number(seconds: Any) -> None:
    with pytest.raises(TypeError, match=rf"advance\(\) takes seconds as a number, not {type(seconds).__name__}: "):
        MemoryDriver().advance(seconds)
