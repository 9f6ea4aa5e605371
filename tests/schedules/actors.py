"""Who takes part: clients and servers with what they do, and a network that fails. A plan decides all of it.

Each has a script, made from the seed and its own name alone, so that leaving one out leaves the others as they are.
The clients are of the callback front and of the asyncio front (its events are received by a coroutine), the servers of
both too. The blocking front waits in the caller's thread, on a driver of its own: its core, which is the same, is
what is played here.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from invariants import (
    ARRIVAL_SECONDS,
    LATE_SECONDS,
    RECONNECT_SECONDS,
    Asked,
    Broken,
    Ledger,
    check_at_rest,
    check_client,
    check_end,
    check_fault,
    check_nothing_left,
    check_owners,
    check_server,
    check_timers,
    require,
)
from schedule import CLOCK, Road, Schedule, ScheduledDriver

from node_ipc.aio import AsyncClient, AsyncServer
from node_ipc.config.address import Address, Tcp, Unix
from node_ipc.config.config import Config
from node_ipc.core.client import Client, ClientState
from node_ipc.core.endpoint import ServerState
from node_ipc.core.server import Server
from node_ipc.core.session import Loss, Session
from node_ipc.errors import BackpressureError, IPCError, NotConnected
from node_ipc.testing import Conditions

POLICIES = ("disconnect", "drop_newest", "drop_oldest")
ROOM = "lobby"
CHECK_EVERY = 8
"""Choices from one look at everybody's memory to the next."""
CHOICES_AN_ACTION = 9
"""About: what follows from an action included."""
MOST_CHOICES = 1000
"""The same, at the most: then something goes on for ever."""
REST_SECONDS = 8.0
"""In which whoever closes has closed, and the handlers of twenty messages have ended, four at a time."""
HEARTBEATS, ANSWERS = 20, 50
"""Frames that nobody counts here, of which so many at the most may wait for a link when it is lost."""


@dataclass(frozen=True)
class Plan:
    """One run. The same plan is the same run."""

    seed: int
    clients: int = 3
    servers: int = 2
    actions: int = 25
    """Of each of them, and of the network."""
    changes: int | None = None
    """At how many points priorities change; None: who goes next is chance."""
    without: frozenset[str] = frozenset()
    """Actions that are left out, as ``c0.7``: the eighth of client 0."""

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Half of them by chance, half by priorities that change at none to eight points; few are large."""
        changes = None if seed % 2 else seed // 2 % 9
        return cls(seed, 1 + seed // 3 % 3, 1 + seed // 5 % 2, (8, 12, 12, 24)[seed // 7 % 4], changes)


Step = tuple[str, Any]

CLIENT_VERBS = (
    *["emit"] * 8, *["newest"] * 2, *["ask"] * 4, *["cancel"] * 2, *["connect"] * 3, "close", "abort", "kill",
    *["slow"] * 3, *["flood"] * 2,
)  # fmt: skip
SERVER_VERBS = (
    *["serve"] * 4, *["broadcast"] * 4, "flood", *["emit"] * 4, *["room"] * 3, *["ask"] * 2, *["cancel"], "newest",
    "stop", "abort", "kill", "end", "cut_one",
)  # fmt: skip
NETWORK_VERBS = (
    *["drop"] * 2, "cut", *["stall"] * 3, *["stall_one"] * 3, *["resume"] * 5, "half_close", "garbage", "half",
    *["conditions"] * 2, *["rest"] * 12,
)  # fmt: skip


def script(plan: Plan, name: str, verbs: tuple[str, ...]) -> list[Step]:
    """What this one does, but for what the plan leaves out."""
    chance = random.Random(f"{plan.seed} {name}")
    steps = [(chance.choice(verbs), chance.random()) for _ in range(plan.actions)]
    return [step for number, step in enumerate(steps) if f"{name}.{number}" not in plan.without]


class Actor:
    """Somebody with a script, who may be killed and live again as another process."""

    letter: str

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.index = index
        self.lives = 0
        self.settings = world.settings
        self.name = f"{self.letter}{index}"
        self.steps = iter(world.script(self.name))
        self.closing: tuple[object, float] = (None, 0.0)
        """What it closes for, and since when."""
        self.told: Callable[[str], Any] | None = None
        """Told of each thing before it is done."""

    @property
    def process(self) -> str:
        return f"{self.name}/{self.lives}"

    def act(self) -> bool:
        """Do the next thing; False where there is none."""
        step = next(self.steps, None)
        if step is None:
            return False
        self.world.driver.process = self.process
        verb, chance = step
        if self.told is not None:
            self.told(f"          {self.process}: {verb} ({self.subject()!r})")
        getattr(self, verb)(chance)
        return True

    def close_in_time(self, closes: bool, closed: object) -> None:
        now = self.world.driver.now()
        if not closes or closed is not self.closing[0]:
            self.closing = (closed if closes else None, now)
        check_end(self.process, now - self.closing[1] if closes else 0.0, self.settings)

    def check(self) -> None:
        """What must hold at any moment."""

    def account(self) -> None:
        """What must hold at the end."""

    def subject(self) -> Any:
        """What acts, for people."""
        return getattr(self, "client", None) or getattr(self, "server", None)

    def payload(self, number: int, size: int, by: str | None = None) -> dict[str, Any]:
        return {"by": by or self.process, "number": number, "x": "x" * size}

    def chance(self, number: int, salt: str = "") -> float:
        """Of this message, whatever came before it."""
        return crc32(f"{self.world.plan.seed} {self.name} {number} {salt}".encode()) / 2**32

    def ask_by(self, by: str, ask: Callable[..., Any], chance: float) -> None:
        ledger, driver = self.world.ledger, self.world.driver
        number = ledger.next_number(by)
        timeout = (0.3, 1.0, 5.0)[int(chance * 3)]
        method = ("echo", "slow", "fails", "never", "closes")[int(chance * 15) % 5]
        try:
            outcome = ask(method, self.payload(number, 10, by), timeout=timeout)
        except (BackpressureError, NotConnected):
            return
        asked = Asked(number, outcome, driver.now() + timeout + LATE_SECONDS)
        ledger.sender(by).asked[number] = asked
        outcome.then(lambda: ledger.answered(by, asked, driver.now()))
        self.world.open_requests.append((by, asked))

    def cancel_by(self, by: str) -> None:
        for asked in self.world.ledger.sender(by).asked.values():
            if not asked.outcome.done and asked.outcome.abandon is not None:
                asked.outcome.abandon()
                return

    def answers(self, endpoint: Any, heard: Callable[[Any, Any], None]) -> None:
        """Handlers of requests."""

        def echo(data: Any, socket: Any) -> int:
            heard(data, socket)
            return int(data["number"])

        def slow(data: Any, socket: Any) -> Any:
            heard(data, socket)
            return self.work(data, self.chance(data["number"], "slow"))

        def fails(data: Any, socket: Any) -> int:
            heard(data, socket)
            raise ValueError("a handler fails")

        def never(data: Any, socket: Any) -> Any:
            heard(data, socket)
            return self.work(data, 60)

        def closes(data: Any, socket: Any) -> int:
            heard(data, socket)
            if self.world.is_wild and self.chance(data["number"], "closes") < 0.3:
                (socket if hasattr(endpoint, "sockets") else endpoint).close()
            return int(data["number"])

        # those that wait are called at once, in their turn, and return what is awaited
        for name, handler in (("echo", echo), ("slow", slow), ("fails", fails), ("never", never), ("closes", closes)):
            endpoint.handle(name, bare(handler))

    async def work(self, data: Any, seconds: float) -> int:
        await self.world.driver.sleep(seconds)
        return int(data["number"])

    def failed(self, error: IPCError) -> None:
        with contextlib.suppress(IPCError):
            try:
                check_fault(error)
            except Broken as broken:
                self.world.ledger.broken.append(broken)


class ClientActor(Actor):
    """Odd ones are of the asyncio front."""

    letter = "c"

    def __init__(self, world: World, index: int) -> None:
        super().__init__(world, index)
        self.client: Client
        self.losses: list[Loss] = []
        self.live()

    def live(self) -> None:
        """Be a new process."""
        world = self.world
        self.lives += 1
        world.driver.process = process = self.process
        kind = AsyncClient if self.index % 2 else Client
        self.client = client = kind(self.name, world.address, world.driver, self.settings)
        losses: list[Loss] = []
        self.losses = losses
        self.receives = False
        self.receives_more = kind is AsyncClient
        world.ledger.sender(process).has_inbox = self.receives_more
        client.on("disconnect", losses.append)
        client.on("error", lambda error: self.failed(error))
        for event in ("news", "newest") if self.receives_more else ("news", "newest", "more"):
            client.on(event, lambda data: self.heard(data))
        self.answers(client, lambda data, socket: self.heard(data))

    def heard(self, data: Any, inbox: object = None) -> None:
        self.world.ledger.hear(
            self.process, data["by"], data["number"], self.client._session if inbox is None else inbox
        )

    async def receive(self, client: AsyncClient) -> None:
        with contextlib.suppress(NotConnected):
            while True:
                self.heard(await client.receive("more"), client.inbox)

    # ---- what it does

    def emit(self, chance: float) -> None:
        for size in ((0,), (10, 10, 10), (2000,), (0, 2000, 0))[int(chance * 4)]:
            self._emit("n", size)

    def newest(self, chance: float) -> None:
        self._emit("newest", int(chance * 3000), keep="latest")

    def slow(self, chance: float) -> None:
        for _ in range(1 + int(chance * 7)):
            self._emit("slow", 10)

    def flood(self, chance: float) -> None:
        for _ in range(12):
            self._emit("n", 4000)

    def _emit(self, event: str, size: int, **options: Any) -> int | None:
        number = self.world.ledger.next_number(self.process)
        try:
            self.client.emit(event, self.payload(number, size), **options)
        except (BackpressureError, NotConnected):
            return None
        self.world.ledger.sender(self.process).taken.append(number)
        return number

    def ask(self, chance: float) -> None:
        self.ask_by(self.process, self.client.request, chance)

    def cancel(self, chance: float) -> None:
        self.cancel_by(self.process)

    def connect(self, chance: float) -> None:
        self.client.connect()
        if isinstance(self.client, AsyncClient) and not self.receives:
            self.receives = True
            client = self.client

            def over(error: BaseException | None) -> None:
                if client is self.client:
                    self.receives = False
                if isinstance(error, Exception):
                    self.world.ledger.broken.append(Broken("truth", f"receive raised {error!r}"))

            self.world.driver.spawn(self.receive(client), over)

    def close(self, chance: float) -> None:
        self.client.close()

    def abort(self, chance: float) -> None:
        self.client.abort()

    def kill(self, chance: float) -> None:
        self.world.kill(self)
        self.live()
        if chance < 0.7:
            self.connect(chance)

    # ---- what must hold

    def check(self) -> None:
        sender = self.world.ledger.sender(self.process)
        unended = sum(not asked.outcome.done for asked in sender.asked.values())
        check_client(self.client, self.settings, unended)
        self.close_in_time(self.client.state is ClientState.CLOSING, self.client.closed)
        links = sum(self.process == road.processes[road.client] for road in self.world.driver.connections)  # type: ignore[attr-defined]
        check_timers(self.world.driver, self.process, links, 2 * len(sender.asked) + 40)

    def account(self) -> None:
        ledger, client = self.world.ledger, self.client
        sender = ledger.sender(self.process)
        written = ledger.written_by(self.world.driver.roads, self.process)
        stats = client.stats()
        extra = len(sender.asked) * 2 + self.world.requests_of_servers + HEARTBEATS * bool(self.settings.heartbeat)
        ledger.account_unwritten(self.process, sender.taken, written, stats, extra, False)
        told = sum(loss.dropped for loss in self.losses)
        exact = self.settings.slow_policy == "disconnect"
        require(
            told == stats.dropped if exact else told <= stats.dropped,
            "accounting",
            f"{self.process} dropped {stats.dropped}, and told of {told}",
        )


class ServerActor(Actor):
    """Odd ones are of the asyncio front. Both have the same address, and take turns."""

    letter = "s"

    def __init__(self, world: World, index: int) -> None:
        super().__init__(world, index)
        self.server: Server
        self.sockets: list[Session] = []
        self.taken: dict[Session, list[int]] = {}
        self.live()

    def live(self) -> None:
        world = self.world
        self.lives += 1
        world.driver.process = self.process
        kind = AsyncServer if self.index % 2 else Server
        self.server = server = kind(world.address, world.driver, self.settings)
        self.sockets, self.taken = [], {}
        server.on("connect", lambda socket: self.connected(socket))
        server.on("error", lambda error, socket: self.failed(error))
        for event in ("n", "newest"):
            server.on(event, bare(self.heard))
        server.on("slow", bare(self.slowly))
        self.answers(server, self._hear)

    def connected(self, socket: Session) -> None:
        self.sockets.append(socket)
        self.taken[socket] = []

    def _hear(self, data: Any, socket: Session) -> None:
        self.world.ledger.hear(self.process, data["by"], data["number"], socket)
        self.world.heard += 1

    def heard(self, data: Any, socket: Any) -> None:
        self._hear(data, socket)
        chance = self.chance(data["number"], data["by"]) if self.world.is_wild else 1.0
        if chance < 0.01:
            socket.close()
        elif chance < 0.015:
            socket.abort()
        elif chance < 0.02:
            self.server.stop()
        elif chance < 0.3:
            self._emit(socket, "news", 10)
        elif chance < 0.4:
            with contextlib.suppress(NotConnected):
                (socket.join if chance < 0.36 else socket.leave)(ROOM)

    def slowly(self, data: Any, socket: Any) -> Any:
        self._hear(data, socket)
        return self._fail_slowly(data)

    async def _fail_slowly(self, data: Any) -> None:
        await self.work(data, self.chance(data["number"], "slow"))
        if data["number"] % 3 == 0:
            raise ValueError("a handler fails")

    # ---- what it does

    def serve(self, chance: float) -> None:
        if self.server.state in (ServerState.IDLE, ServerState.CLOSED):
            self.server.start()

    def broadcast(self, chance: float) -> None:
        number = self.world.ledger.next_number(self.process)
        size = (1, 500, 4000)[int(chance * 3)]
        self._took(number, list(self.server.sockets), lambda data: self.server.broadcast("news", data), size)

    def flood(self, chance: float) -> None:
        for _ in range(12):
            self.broadcast(0.9)

    def room(self, chance: float) -> None:
        number = self.world.ledger.next_number(self.process)
        to = list(self.server.rooms.get(ROOM, ()))
        self._took(number, to, lambda data: self.server.to(ROOM).emit("more", data), int(chance * 500))

    def _took(self, number: int, to: list[Any], send: Callable[[Any], Any], size: int) -> None:
        before = [socket for socket in to if socket.is_open]
        send(self.payload(number, size))
        for socket in before:
            if socket.is_open:
                self.taken[socket].append(number)

    def emit(self, chance: float) -> None:
        if self.server.sockets:
            socket = self.server.sockets[int(chance * len(self.server.sockets))]
            self._emit(socket, "more", (0, 100, 3000)[int(chance * 300) % 3])

    def newest(self, chance: float) -> None:
        if self.server.sockets:
            socket = self.server.sockets[int(chance * len(self.server.sockets))]
            self._emit(socket, "newest", int(chance * 4000), keep="latest")

    def _emit(self, socket: Any, event: str, size: int, **options: Any) -> None:
        number = self.world.ledger.next_number(self.process)
        try:
            socket.emit(event, self.payload(number, size), **options)
        except (BackpressureError, NotConnected):
            return
        self.taken[socket].append(number)

    def ask(self, chance: float) -> None:
        if self.server.sockets:
            socket = self.server.sockets[int(chance * len(self.server.sockets))]
            self.world.requests_of_servers += 1
            self.ask_by(self.process, socket.request, chance)

    def cancel(self, chance: float) -> None:
        self.cancel_by(self.process)

    def end(self, chance: float) -> None:
        if self.server.sockets:
            self.server.sockets[int(chance * len(self.server.sockets))].close()

    def cut_one(self, chance: float) -> None:
        if self.server.sockets:
            self.server.sockets[int(chance * len(self.server.sockets))].abort()

    def stop(self, chance: float) -> None:
        self.server.stop()

    def abort(self, chance: float) -> None:
        self.server.abort()

    def kill(self, chance: float) -> None:
        self.world.kill(self)
        self.live()
        if chance < 0.7:
            self.serve(chance)

    # ---- what must hold

    def check(self) -> None:
        check_server(self.server, self.settings)
        self.close_in_time(self.server.state is ServerState.CLOSING, self.server.closed)
        sockets = len(self.server._sessions) + len(self.server._opening)
        sender = self.world.ledger.sender(self.process)
        check_timers(self.world.driver, self.process, sockets, 2 * len(sender.asked) + 40)

    def account(self) -> None:
        ledger = self.world.ledger
        roads = self.world.driver.roads
        for socket in self.sockets:
            written = ledger.written_by(roads, self.process, socket)
            extra = ANSWERS + HEARTBEATS * bool(self.settings.heartbeat)
            name = f"{self.process} to socket {socket.id}"
            ledger.account_unwritten(name, self.taken[socket], written, socket.stats(), extra, False)


class Network(Actor):
    """What may go wrong between them."""

    letter = "w"

    def _one(self, chance: float) -> Road | None:
        roads: list[Any] = self.world.driver.connections
        return roads[int(chance * len(roads))] if roads else None

    def _do(self, chance: float, verb: str) -> None:
        road = self._one(chance)
        if road is not None:
            getattr(road, verb)()

    def drop(self, chance: float) -> None:
        self._do(chance, "drop")

    def cut(self, chance: float) -> None:
        self._do(chance, "cut")

    def stall(self, chance: float) -> None:
        self._do(chance, "stall")

    def stall_one(self, chance: float) -> None:
        """A slow reader."""
        road = self._one(chance)
        if road is not None:
            (road.to_client if chance * 1000 % 2 < 1.3 else road.to_server).stall()

    def resume(self, chance: float) -> None:
        self.world.driver.resume()

    def half_close(self, chance: float) -> None:
        road = self._one(chance)
        if road is not None:
            (road.to_client if chance * 1000 % 2 < 1 else road.to_server).end()

    def garbage(self, chance: float) -> None:
        self._inject(chance, b"garbage\f")

    def half(self, chance: float) -> None:
        self._inject(chance, b'{"type":')

    def _inject(self, chance: float, data: bytes) -> None:
        """Bytes that nobody wrote."""
        road = self._one(chance)
        if road is not None:
            way = road.to_client if chance * 1000 % 2 < 1 else road.to_server
            if not (way._unsent or way._ending or way.writer.is_over):
                way._send(data)

    def conditions(self, chance: float) -> None:
        self.world.driver.conditions = self.world.some_conditions(chance)

    def rest(self, chance: float) -> None:
        """Nothing."""


class World:
    """All of it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        chance = random.Random(f"{plan.seed} world")
        self._chance = random.Random(f"{plan.seed} network's")
        people = plan.clients + plan.servers + 1
        self.schedule = Schedule(plan.seed, plan.changes, people * plan.actions * CHOICES_AN_ACTION)
        self.driver = ScheduledDriver(self.schedule, plan.seed)
        self.address: Address = chance.choice((Unix("/memory/app.world"), Tcp("localhost", 8000)))
        self.settings = settings(chance.choice(POLICIES), chance.random() < 0.2, chance.choice((0, 0, 2000)))
        self.driver.conditions = self.some_conditions(chance.random())
        self.ledger = Ledger()
        self.heard = 0
        self.is_wild = True
        """Whether handlers end links and servers."""
        self.requests_of_servers = 0
        self.open_requests: list[tuple[str, Asked]] = []
        self.servers = [ServerActor(self, index) for index in range(plan.servers)]
        self.clients = [ClientActor(self, index) for index in range(plan.clients)]
        self.network = Network(self, 0)

    def script(self, name: str) -> list[Step]:
        verbs = {"c": CLIENT_VERBS, "s": SERVER_VERBS, "w": NETWORK_VERBS}[name[0]]
        return script(self.plan, name, verbs)

    def some_conditions(self, chance: float) -> Conditions:
        draw = self._chance
        latency: Any = (0.0, 0.0, 0.05, lambda: draw.random() / 5)[int(chance * 4)]
        split: Any = (None, None, None, [1, 200], lambda: draw.randint(1, 800))[int(chance * 500) % 5]
        return Conditions(latency=latency, split=split, buffer=(500, 5000, 200_000)[int(chance * 5000) % 3])

    def kill(self, actor: Actor) -> None:
        self.ledger.sender(actor.process).is_killed = True
        self.driver.kill(actor.process)

    # ---- a run

    def play(self) -> None:
        """Everybody does what he does; then it has to come to rest, and to nothing."""
        for server in self.servers[:1]:
            self.driver.process = server.process
            server.server.start()
        for client in self.clients:
            self.driver.process = client.process
            client.connect(0)
        acting: dict[str, Actor] = {actor.name: actor for actor in (*self.clients, *self.servers, self.network)}
        most = len(acting) * self.plan.actions * MOST_CHOICES
        while acting:
            names = [*self.driver.names(), *acting]
            if self.driver.may_pass_time():
                names.append(CLOCK)
            name = self.schedule.choose(names)
            if name == CLOCK:
                self.driver.pass_time()
            elif name not in acting:
                self.driver.perform(name)
            elif not acting[name].act():
                del acting[name]
            self.ledger.check_heard()
            if self.schedule.choices % CHECK_EVERY == 0:
                self.check()
                require(self.schedule.choices < most, "liveness", f"{most} choices, and not everybody has acted")
        self.heal()
        self.end()

    def check(self) -> None:
        check_owners(server.server for server in self.servers)
        for actor in (*self.servers, *self.clients):
            actor.check()
        now = self.driver.now()
        still = []
        for by, asked in self.open_requests:
            if not (asked.outcome.done or self.ledger.sender(by).is_killed):
                require(now <= asked.until, "truth", f"{by}'s request {asked.number} has not ended at {now:g} s")
                still.append((by, asked))
        self.open_requests = still

    def heal(self) -> None:
        """The network is as it should be, one serves: everybody connects, and what he says arrives."""
        self.schedule.be_fair()
        self.is_wild = False
        driver = self.driver
        driver.conditions = Conditions()
        for road in tuple(driver.connections):
            if road.to_client.was_cut or road.to_server.was_cut:
                road.drop()  # as a kernel does, after a while
        driver.resume()
        driver.advance(REST_SECONDS)
        self.check()
        for road in driver.connections:
            assert isinstance(road, Road)
            for session in (road.client_session, road.server_session):
                check_at_rest(session)
        if not any(server.server.state is ServerState.LISTENING for server in self.servers):
            self._as(self.servers[0], "serve")
        driver.advance(0)
        [serving] = [server for server in self.servers if server.server.state is ServerState.LISTENING]
        for client in self.clients:
            self._as(client, "connect")
        since = driver.now()
        while driver.now() < since + RECONNECT_SECONDS and not self._all_connected(serving):
            driver.advance(0.1)
        states = [client.client.state.name for client in self.clients]
        require(self._all_connected(serving), "liveness", f"{RECONNECT_SECONDS:g} s after the network healed: {states}")
        driver.advance(REST_SECONDS)
        self._probe(serving)

    def _as(self, actor: Actor, verb: str) -> None:
        self.driver.process = actor.process
        getattr(actor, verb)(0.0)

    def _all_connected(self, serving: ServerActor) -> bool:
        return len(serving.server.sockets) == len(self.clients) and all(
            client.client.state is ClientState.CONNECTED for client in self.clients
        )

    def _probe(self, serving: ServerActor) -> None:
        """What is sent now arrives; a handler may close at it, which is its right."""
        if not self.settings.sync:  # there the next waits for an answer to the last
            for client in self.clients:
                self.driver.process = client.process
                number = client._emit("slow", 10)
                require(number is not None, "liveness", f"{client.process} is connected, and may not emit")
            self.driver.advance(ARRIVAL_SECONDS)
            for client in self.clients:
                heard = self.ledger.heard.get((serving.process, client.process), set())
                last = self.ledger.sender(client.process).taken[-1]
                require(last in heard, "liveness", f"{client.process}'s message {last} has not arrived")
        self._as(serving, "broadcast")
        self.driver.advance(ARRIVAL_SECONDS)
        for socket in serving.server.sockets:
            [name] = [road.processes[road.client] for road in self.driver.roads if road.server_session is socket]
            last = serving.taken[socket][-1]
            heard = self.ledger.heard.get((name, serving.process), set())
            require(last in heard, "liveness", f"the broadcast {last} of {serving.process} has not arrived at {name}")
        self.ledger.check_heard()

    def end(self) -> None:
        """Everybody goes; nothing is left, and every message is accounted for."""
        for client in self.clients:
            self._as(client, "close")
        for server in self.servers:
            self._as(server, "stop")
        self.driver.advance(70)  # a handler waits for a minute
        self.check()
        self.ledger.check_heard()
        for server in self.servers:
            require(server.server.state in (ServerState.CLOSED, ServerState.IDLE), "liveness", f"{server.server}")
            require(not server.server._opening and not server.server._sessions, "bounded memory", f"{server.server}")
        for client in self.clients:
            require(client.client.state in (ClientState.CLOSED, ClientState.IDLE), "liveness", f"{client.client}")
        check_nothing_left(self.driver)
        for sender in self.ledger.senders.values():
            for asked in sender.asked.values():
                require(
                    asked.ends == 1 or sender.is_killed, "truth", f"{sender.name}'s request {asked.number} never ended"
                )
        self.ledger.account(self.driver.roads)
        for actor in (*self.clients, *self.servers):
            actor.account()


def bare(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The same without annotations: to resolve these takes longer than all the rest of a process's birth."""
    return lambda data, socket: handler(data, socket)


KEPT: dict[tuple[str, bool, int], Config] = {}


def settings(policy: str, sync: bool, heartbeat: int) -> Config:
    """Small limits, so that they are met."""
    if (policy, sync, heartbeat) not in KEPT:
        KEPT[policy, sync, heartbeat] = Config(
            retry=100,
            max_queued_messages=20,
            max_queued_bytes=50_000,
            max_pending_bytes=30_000,
            soft_pending_bytes=10_000,
            slow_timeout=3000,
            slow_policy=policy,
            close_timeout=2000,
            message_timeout=5000,
            max_connections=5,
            max_handler_frames=4,
            sync=sync,
            **({"heartbeat": heartbeat, "heartbeat_timeout": 1000} if heartbeat else {}),
        ).settings()
    return KEPT[policy, sync, heartbeat]


def play(plan: Plan) -> World:
    """One run; raises :class:`Broken`."""
    world = World(plan)
    with contextlib.closing(world.driver):
        world.play()
    return world
