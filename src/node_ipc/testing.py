"""For your own tests: a client and a server that are connected in memory, on a virtual clock, without waiting.

    with pair() as (client, server, socket, driver):
        server.on("add", lambda data, socket: socket.emit("sum", data["a"] + data["b"]))
        client.on("sum", print)
        client.emit("add", {"a": 1, "b": 2})
        driver.run_until_idle()

At the end of the block what is left is done, and what a handler raised and nobody heard is raised: an ``assert`` in a
handler fails its test. ``client, server, socket, driver = pair()`` alone keeps that in ``driver.failures``. A test that
does not look there has an error at its end (with pytest), or a ``RuntimeWarning`` tells it (elsewhere).

They are the real client and server; only the kernel is played (``MemoryDriver``). ``driver.advance(seconds)`` lets
virtual time pass. Links can be made slow, cut in pieces, stalled and broken: see ``Conditions`` and ``Connection``.
A ``Wire`` speaks bytes where the other end should be hostile. With pytest, ``ipc_pair`` and ``ipc_server`` are there
as fixtures.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from .config import address as addresses
from .config.address import Address
from .config.config import Config
from .config.resolve import refuse_unknown
from .core.client import Client
from .core.seam import Link, Peer
from .core.server import Server
from .core.session import Socket
from .drivers.memory import MemoryDriver, MemoryListener, MemoryOutcome, NothingHappens
from .drivers.memory_link import Conditions, Connection, Direction, MemoryLink
from .drivers.memory_port import MemoryPort

if TYPE_CHECKING:
    import os

__all__ = [
    "Conditions",
    "Connection",
    "Direction",
    "MemoryDriver",
    "MemoryLink",
    "MemoryListener",
    "MemoryOutcome",
    "MemoryPort",
    "NothingHappens",
    "Pair",
    "Started",
    "Wire",
    "WireServer",
    "connect",
    "pair",
    "replay",
    "serve",
]

ROOT = "/memory/"
WORLD = f"unix:{ROOT}app.world"


class Pair(NamedTuple):
    """A connected client and server, the server's socket of that client, and what drives them.

    Both are those of the callback front, since nothing here waits: ``client.on("sum", got.append)`` stands where a
    client of ``node_ipc.connect`` has ``receive``, and ``request`` returns an outcome, to be awaited in
    ``driver.run(main())``, or read as ``driver.run_until(outcome).result()``.

    Attributes:
        client: The client, connected.
        server: The server, listening.
        socket: The server's socket of that client.
        driver: The memory driver that runs both, and its virtual clock.
    """

    client: Client
    server: Server
    socket: Socket
    driver: MemoryDriver

    @property
    def connection(self) -> Connection:
        """The link between them, to do harm to. Raises ``IndexError`` while there is none."""
        if not self.driver.connections:
            raise IndexError(
                "there is no link now: driver.advance() leads to the next attempt of a client that retries"
            )
        return self.driver.connections[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        __tracebackhide__ = True
        if error is None:
            self.driver.finish()
        self.driver.__exit__(kind, error, where)


class Started(NamedTuple):
    """A server that listens, and what drives it.

    Attributes:
        server: The server, listening.
        driver: The memory driver that runs it, and its virtual clock.
    """

    server: Server
    driver: MemoryDriver

    def connect(self, *misplaced: Any, **options: Any) -> Client:
        """Another client, connected to this server; options are given by name."""
        if misplaced:
            raise TypeError(
                f"ipc_server.connect() takes no address, so no {misplaced[0]!r:.80}: it connects to this server. "
                "Options are given by name, as connect(retry=100)"
            )
        return connect(self.driver, self.server.address, **options)

    def wire(self) -> Wire:
        """A peer that speaks bytes, connected."""
        return Wire.connected(self.driver, self.server.address)


CLIENTS = ("client", "clients", "connect", "connect_to", "connection", "socket", "sockets")
"""What is looked for by who wants another client."""


def _no_such(made: NamedTuple, verb: str) -> NoReturn:
    """Say whose verb it is, where it is one of a part."""
    parts = list(type(made).__annotations__)
    owners = [part for part in parts if hasattr(type(getattr(made, part)), verb)]
    use = f": use {' or '.join(f'.{part}.{verb}' for part in owners)}" if owners else ""
    if verb in CLIENTS:
        another = (
            "ipc_server.connect()"
            if isinstance(made, Started)
            else "connect(driver, server.address) of node_ipc.testing"
        )
        use = f": {another} gives another client"
    raise AttributeError(
        f"{type(made).__name__!r} object has no attribute {verb!r}, it is ({', '.join(parts)}){use}",
        name=verb,
        obj=made,
    )


if not TYPE_CHECKING:  # a type checker says it in its own words
    Pair.__getattr__ = Started.__getattr__ = _no_such


def pair(
    *,
    driver: MemoryDriver | None = None,
    address: str | Address = WORLD,
    config: Config | None = None,
    client: dict[str, Any] | None = None,
    server: dict[str, Any] | None = None,
    **options: Any,
) -> Pair:
    """A connected client and server.

    What a handler of theirs raises, an ``assert`` of it also, is raised at the end of ``with pair() as (client, server,
    socket, driver):``. Without the block it is in ``driver.failures``; with pytest what nobody looked at there is an
    error at the test's end, and elsewhere a ``RuntimeWarning`` when the driver goes. The fixture ``ipc_pair`` is this,
    and fails the test itself.

    Args:
        driver: the driver to use; a new one by default.
        address: any address; nothing but the driver ever sees it.
        config: the configuration of both; ``options`` are set on a copy of it.
        client, server: further options of that end only.

    Example:
        >>> client, server, socket, driver = testing.pair(server={"max_message_size": 1000})
        >>> driver.conditions.latency = 0.5
        >>> server.on("message", lambda data, socket: print(f"{data} after {driver.now():.1f} s"))
        <function <lambda> at ...>
        >>> client.emit("message", "hello")
        True
        >>> driver.run_until_idle(); driver.advance(1)
        hello after 0.5 s
    """
    refuse_unknown((*options, *(client or ()), *(server or ())), ("driver", "address", "config", "client", "server"))
    driver = MemoryDriver() if driver is None else driver
    one = serve(driver, address, config=config, **{**options, **(server or {})})
    other = connect(driver, one.address, config=config, **{**options, **(client or {})})
    driver.run_until(lambda: one.sockets)
    driver.run_until_idle()
    return Pair(other, one, one.sockets[-1], driver)


def serve(
    driver: MemoryDriver, address: str | Address = WORLD, *, config: Config | None = None, **options: Any
) -> Server:
    """A server that listens; raises what kept it from listening.

    Example:
        >>> driver = testing.MemoryDriver()
        >>> server = testing.serve(driver, max_connections=2)
        >>> client = testing.connect(driver, server.address)
        >>> client.state.name
        'CONNECTED'
    """
    _refuse_no_driver(driver, "serve")
    made = Server(_address(address), driver, _settings(config, options))
    started = made.start()
    driver.run_until(started)
    return started.result()


def connect(
    driver: MemoryDriver, address: str | Address = WORLD, *, config: Config | None = None, **options: Any
) -> Client:
    """A client that is connected; raises what kept it from connecting for good.

    Example:
        >>> other = testing.connect(driver, server.address, retry=100)
        >>> len(server.sockets)
        2
    """
    _refuse_no_driver(driver, "connect")
    made = Client("world", _address(address), driver, _settings(config, options))
    connected = made.connect()
    try:
        driver.run_until(connected)
    except NothingHappens as error:
        there = ", ".join(map(str, driver.listeners)) or "none"
        raise NothingHappens(
            f"{error}. There is no link to {made.address}: {made.last_error}. Servers of this driver are at: {there}. "
            "connect(driver, server.address) finds one, and so does ipc_server.connect()"
        ) from error
    driver.run_until_idle()  # the server's end opens after the client's
    return connected.result()


@contextlib.contextmanager
def replay(
    *files: str | os.PathLike[str],
    only: Collection[str] = (),
    ignore: Collection[str] = (),
    driver: MemoryDriver | None = None,
    config: Config | None = None,
    **options: Any,
) -> Iterator[Server]:
    """Make a recording a test: what its clients said is said to your server, which has to answer as it did then.

        with replay("orders.jsonl") as server:
            register(server)  # your handlers

    At the end of the block the recording is played, on the virtual clock and so in no time. ``node-ipc tap … --record
    orders.jsonl --payloads`` makes one.

    files: the recording, or its parts, the oldest first.
    only: events that are sent, and compared; requests also by their methods. All, if left out.
    ignore: paths in answers that may differ, as ``["$.time", "$..id"]``. What was redacted may differ anyway.
    driver: the driver to use; a new one by default.
    config: the server's configuration; ``options`` are set on a copy of it.

    Raises:
        AssertionError: the server said something else than was recorded; it says what.
        RecordingError: the recording cannot be read or played.
    """
    from .recording.paths import Paths  # most tests replay nothing
    from .recording.player import Player
    from .recording.reader import read

    refuse_unknown(options, ("only", "ignore", "driver", "config"))
    recording = read(*files)
    clock = driver or MemoryDriver()
    server = serve(clock, config=config, delimiter=recording.header.delimiter, **options)
    paths = Paths(ignore)
    try:
        yield server
        player = Player(
            recording, clock, server.address, server.settings, only=only, compare=True, ignore=paths
        ).start()
        clock.run_until(player.done, limit=float("inf"))
        played = player.done.result().played
    finally:
        server.abort()
        clock.run_until_idle()
    faults = [*played.faults, *played.differences]
    if faults:
        failures = [str(failure) for failure in clock.take_failures()]
        raise AssertionError("\n".join([f"the server did not answer as in {recording}:", *faults, *failures]))


def _settings(config: Config | None, options: dict[str, Any]) -> Config:
    refuse_unknown(options, ("address", "config"))
    config = Config(socket_root=ROOT) if config is None else config.copy()
    config.update(**options)
    return config.settings()


def _refuse_no_driver(driver: Any, verb: str) -> None:
    if not isinstance(driver, MemoryDriver):
        address = "server.address" if verb == "connect" else '"world"'
        raise TypeError(
            f"{verb}() of node_ipc.testing takes the memory driver first, not {driver!r:.80}: {verb}(driver, "
            f"{address}). With the fixture, ipc_server.connect() gives a client"
        )


def _address(address: str | Address) -> Address:
    if isinstance(address, Server):
        raise TypeError(f"a server is no address: give its own, server.address, and not {address!r:.80}")
    if not isinstance(address, str):
        return address
    return addresses.parse(address, role="server", socket_root=ROOT, appspace="app.")


class Wire:
    """One end of a link that speaks bytes: it writes what it is told and keeps what it hears.

    As a client: ``Wire.connected(driver, server.address)``. As a server's end: ``WireServer``. ``bytes`` is all that
    arrived, but for what was taken.

    Example:
        >>> wire = testing.Wire.connected(driver, server.address)
        >>> server.on("message", lambda data, socket: socket.emit("message", data))
        <function <lambda> at ...>
        >>> wire.write(b'{"type":"message","data":1}\\f')
        >>> driver.run_until_idle()
        >>> wire.take()
        b'{"type":"message","data":1}\\x0c'
    """

    def __init__(self) -> None:
        self.link: Link | None = None
        """The link, once it is open."""
        self.error: Exception | None = None
        """Why the attempt failed, or the link was lost; None also after an orderly end."""
        self.has_ended = False
        """Whether the other end said that it sends nothing more."""
        self.is_lost = False
        """Whether the link is gone."""
        self.is_ending = False
        """Whether the other end has ended while this one read nothing (``link.pause_reading()``)."""
        self.is_full = False
        """Whether the kernel takes nothing more at present."""
        self._received = bytearray()

    @classmethod
    def connected(cls, driver: MemoryDriver, address: Address, settings: Config | None = None) -> Wire:
        """A wire to this server. What kept it from connecting is in ``error``."""
        wire = cls()
        driver.open(address, wire, settings or Config().settings())
        driver.run_until(lambda: wire.link is not None or wire.error is not None)
        driver.run_until_idle()
        return wire

    def write(self, data: builtins.bytes) -> None:
        """Send these bytes as they are."""
        self._open_link().write(data)

    def close(self) -> None:
        """Send nothing more; the link ends when the other end does the same."""
        self._open_link().close()

    def abort(self) -> None:
        """End both directions at once."""
        self._open_link().abort()

    @property
    def bytes(self) -> builtins.bytes:
        """All that arrived, but for what was taken."""
        return builtins.bytes(self._received)

    def take(self) -> builtins.bytes:
        """What arrived since the last time."""
        taken = self.bytes
        self._received.clear()
        return taken

    def _open_link(self) -> Link:
        if self.link is None:
            raise ConnectionError(f"this wire is not open: {self.error!r}")
        return self.link

    # what the driver tells

    def opened(self, link: Link) -> None:
        self.link = link

    def failed(self, error: Exception) -> None:
        self.error = error

    def received(self, data: builtins.bytes) -> None:
        self._received += data

    def ending(self) -> None:
        self.is_ending = True

    def ended(self) -> None:
        self.has_ended = True

    def pause(self) -> None:
        self.is_full = True

    def writable(self) -> None:
        self.is_full = False

    def lost(self, error: Exception | None) -> None:
        self.is_lost, self.error = True, error


class WireServer:
    """A server whose ends are wires: for what a client does with bytes that no server should send.

    Example:
        >>> elsewhere = testing.MemoryDriver()
        >>> server = testing.WireServer(elsewhere)
        >>> client = testing.connect(elsewhere, server.address)
        >>> client.on("error", lambda error: print(error.code))
        <function <lambda> at ...>
        >>> server.wires[0].write(b"no JSON\\f")
        >>> elsewhere.run_until_idle()
        ERR_IPC_INVALID_JSON
    """

    def __init__(self, driver: MemoryDriver, address: str | Address = WORLD) -> None:
        self.wires: list[Wire] = []
        """One for each connection, oldest first."""
        self.accepts = True
        """Whether connections are taken; where not, they are closed as soon as they are made."""
        self.address = _address(address)
        """Where it listens."""
        self._listener = driver.listen(self.address, self, Config().settings())
        driver.run_until_idle()

    def close(self) -> None:
        """Accept nothing more; open wires stay."""
        self._listener.close()

    # what the driver tells

    def listening(self, address: Address) -> None:
        self.address = address

    def not_listening(self, error: Exception) -> None:
        raise error

    def accept(self, peer: Peer) -> Wire | None:
        if not self.accepts:
            return None
        wire = Wire()
        self.wires.append(wire)
        return wire
