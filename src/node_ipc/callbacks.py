"""The callback front: node-ipc's own shape, on asyncio.

``ipc`` is the shared instance, ``IPC()`` makes independent ones. It makes endpoints and keeps them; what they do is in
``core/client.py`` and ``core/server.py``. Called before a loop runs, ``start`` and ``connect_to`` begin when ``run``
does; inside a running asyncio loop they begin at once, and what they return can be awaited.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import partial
from socket import socket
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, TypeGuard, TypeVar, cast, overload
from weakref import WeakSet

from .config import address as addresses
from .config.address import Tcp, Tls, Udp, has_datagrams
from .config.config import Config
from .config.foreign import PASSING, shown, warn
from .config.handed import handed
from .config.logs import Log, RateLimited, is_cut_for, slow_links, style, traceback_of
from .config.misspelt import meant, suggests
from .config.options import same, snake_case
from .config.options import shown as shown_value
from .config.several import several, with_tls
from .core.client import Client, ClientState
from .core.endpoint import begun
from .core.events import describe
from .core.outcome import Outcome
from .core.server import Server, ServerState
from .core.session import refuse_other_threads
from .core.signature import signature_of
from .core.trace import Trace
from .drivers.loop import EventLoopDriver
from .errors import AddressError, ConfigError, ConnectError, ForkError, HandlerError, IPCError, NoServer

if TYPE_CHECKING:
    from .core.datagram import DatagramServer

__all__ = ["IPC", "Clients", "ipc"]

E = TypeVar("E", "Server", "DatagramServer")
UDP_TYPES = ("udp4", "udp6")
READ_LATER = {
    *("appspace", "id", "network_host", "network_port", "socket_root"),  # say where the next one is
    *("max_retries", "retry", "retry_growth", "stop_retrying"),  # read when a link was lost
    *("log_depth", "log_in_color", "logger", "silent"),  # read with each line
}
"""Options that do not belong to what is made; any other is copied when a client or a server is made."""
OF_SERVERS = {
    *("backlog", "max_connections", "max_connections_per_host", "max_connections_per_uid", "max_total_pending_bytes"),
    *("identify_peer", "max_rooms_per_socket", "max_udp_peers", "readable_all", "secure_socket_root", "udp_peer_ttl"),
    *("bus", "bus_group", "bus_heartbeat", "bus_policy", "max_bus_pending_bytes", "max_bus_pending_messages"),
    *("unlink", "writable_all"),
}
"""Options that make no difference to a client."""
OVER = (ClientState.CLOSED, ServerState.CLOSED)
ELSEWHERE = {
    "broadcast": "ipc.server.broadcast(type, data)",
    "close": "ipc.stop(), or ipc.disconnect(id) for one client",
    "connect": "ipc.connect_to(id)",
    "emit": "ipc.of.world.emit(type, data) for the client 'world', ipc.server.broadcast(type, data) for the server",
    "on": "ipc.of.world.on(event, handler) for the client 'world', ipc.server.on(event, handler) for the server",
    "start": "ipc.server.start(), after ipc.serve()",
}
"""Verbs of clients and servers, and what has them."""
Order: TypeAlias = tuple[tuple[str, Callable[[Any], bool]], ...]
"""The arguments of a verb: what each is called, and whether a value is one."""


def _option_hint(name: str) -> str:
    return f": options are those of its config, as ipc.config.{name}" if name in Config.options else ""


class Clients:
    """The clients by their ids: ``ipc.of.world`` and ``ipc.of["world"]`` are the same.

    One that gave up stays, until ``disconnect`` or until ``connect_to`` makes a new one.
    """

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    def __getitem__(self, id: str) -> Client:
        try:
            return self._clients[id]
        except KeyError:
            raise KeyError(self._missing(id)) from None

    def __getattr__(self, id: str) -> Client:
        if id.startswith("__"):
            raise AttributeError(id)
        try:
            return self._clients[id]
        except KeyError:
            raise AttributeError(self._missing(id)) from None

    def _missing(self, id: str) -> str:
        known = ", ".join(sorted(self._clients)) or "none"
        return f"there is no client {id!r}: connect_to({id!r}) makes it (there are: {known})"

    def __contains__(self, id: object) -> bool:
        return id in self._clients

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._clients]

    def __repr__(self) -> str:
        return f"<Clients {', '.join(self._clients) or 'none'}>"


class IPC:
    """One independent instance of node-ipc: a configuration, clients in ``of``, and at most one ``server``.

    Example:
        >>> ipc = node_ipc.IPC()
        >>> ipc.config.id, ipc.config.silent = "world", True
        >>> ipc.serve(lambda: ipc.server.on("message", print))
        >>> ipc.server.state.name  # then ipc.server.start() and ipc.run()
        'IDLE'
    """

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()
        self._config.on_change(self._option_changed)
        self._told_late: set[str] = set()
        self._followed: WeakSet[Client | Server | DatagramServer] = WeakSet()
        self.of = Clients()
        """The clients that ``connect_to`` made, by id."""
        self._server: Server | DatagramServer | None = None
        self._placed_by: frozenset[str] = frozenset()
        self._driver = EventLoopDriver(renews=True)
        self._log: Log | None = None
        self._leaving: set[Client | Server | DatagramServer] = set()  # told to close, and not closed yet
        self._failure: IPCError | None = None
        self._wake: asyncio.Event | None = None
        self._stopping = False
        self._is_signalled = False
        self._is_ending = False  # by a signal, or by what a handler raised: then what begins keeps run() no longer
        self._stopped: Outcome[IPC] = self._driver.outcome(self)

    def __repr__(self) -> str:
        return f"<IPC {self._config.id!r}, {self.of!r}, {self._server or 'no server'}>"

    if not TYPE_CHECKING:  # for those who come from node-ipc, and run without a type checker

        def __getattr__(self, name: str) -> NoReturn:
            if name == "server":  # asked here because it raised
                type(self).server.__get__(self)
            python = snake_case(name)
            hint = f": in Python it is {python!r}" if python != name and hasattr(type(self), python) else ""
            hint = f": use {ELSEWHERE[name]}" if name in ELSEWHERE else hint
            hint = hint or _option_hint(python)
            if not (hint or name.startswith("_")):
                near = meant(name, [each for each in dir(type(self)) if not each.startswith("_")])
                hint = "" if near is None else f". Did you mean {near!r}?"
            of = None if hint.startswith(". Did") else self  # where Python would say it once more
            raise AttributeError(f"an IPC has no {name!r}{hint}", name=name, obj=of)

        def __setattr__(self, name: str, value: Any) -> None:
            if not hasattr(type(self), name) and (hint := _option_hint(snake_case(name))):
                raise AttributeError(f"an IPC has no {name!r}{hint}", name=name)
            super().__setattr__(name, value)

    @property
    def config(self) -> Config:
        """The configuration. Each client and server takes a copy when it is made; what is set too late is told."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        if not isinstance(config, Config):
            raise ConfigError(f"config takes a Config, not {config!r:.80}: Config.from_mapping reads node-ipc's")
        self._config = config
        self._log = None
        config.on_change(self._option_changed)
        for name in config.options:
            self._option_changed(name)

    def _option_changed(self, name: str) -> None:
        """Say so where an option comes too late for what was made before, which keeps its copy."""
        if name == "silent":
            for endpoint in self._made():
                self._follow(endpoint)
        made = self._made()
        if name in self._placed_by and self._server is not None and self._server.state is ServerState.IDLE:
            made = [self._server]  # once it has started, the next one may well be elsewhere
        elif name in READ_LATER:
            return
        if name in self._told_late:
            return
        value = getattr(self._config, name)
        for endpoint in made:
            kept = getattr(endpoint.settings, name)
            if name in OF_SERVERS and isinstance(endpoint, Client):
                continue
            if not same(value, kept):
                self._told_late.add(name)
                had = "what it had" if Config.options[name].secret else shown_value(kept)
                warn(
                    f"config.{name} was set too late for {endpoint}, which goes on with {had}: set it before "
                    "connect_to() or serve(). What is made from now on has it"
                )
                return

    def _made(self) -> list[Client | Server | DatagramServer]:
        """What is there: not closed, though perhaps not started yet."""
        made: list[Client | Server | DatagramServer] = list(self.of._clients.values())
        made += [] if self._server is None else [self._server]
        return [endpoint for endpoint in made if endpoint.state not in OVER]

    @property
    def server(self) -> Server:
        """What ``serve``, ``serve_net`` or ``serve_udp`` made. Raises :class:`NoServer`, an ``AttributeError``, before.

        A UDP port is a :class:`DatagramServer`; to a type checker it is what ``serve_udp`` returns that says so.
        """
        if self._server is None:
            raise NoServer("there is no server yet: call serve() or serve_net() first", name="server", obj=self)
        return cast("Server", self._server)

    @property
    def log(self) -> Log:
        """``log(*arguments)``: to ``config.logger``, unless ``config.silent``."""
        if self._log is None:
            self._log = Log(self._config)
        return self._log

    # ---- connecting

    @overload
    def connect_to(self, id: str, path: Any = None, callback: Callable[..., Any] | None = None) -> Outcome[Client]: ...
    @overload
    def connect_to(self, id: None = None, path: Any = None, callback: Callable[..., Any] | None = None) -> None: ...
    def connect_to(
        self, id: str | None = None, path: Any = None, callback: Callable[..., Any] | None = None
    ) -> Outcome[Client] | None:
        """Connect to a Unix socket, or on Windows to a named pipe: ``connect_to(id[, path][, callback])``.

        Args:
            id: the name of the client in ``of``, and of the socket: ``socket_root + appspace + id``. Where nobody
                listens there, the place where node-ipc 14 would listen is tried too. Without an id nothing happens but
                a line in the log.
            path: another path for the socket.
            callback: called at once with this instance: register handlers and emit in it. What it raises is an
                ``error`` event of that client.

        Connecting to an id that is connected already runs the callback and keeps the connection. Returns what can
        be awaited until the link is up, giving the client.
        """
        path, callback = _in_order("connect_to takes an id", CONNECT_TO, (path, callback))
        if not self._has_id(id):
            return None
        if path is None:
            where: addresses.Address = addresses.local_client(
                id, socket_root=self._config.socket_root, appspace=self._config.appspace
            )
            self.log("Service path not specified, so defaulting to socket_root + appspace + id:", str(where))
        else:
            where = addresses.local_path(path)
        return self._connect(id, where, callback)

    @overload
    def connect_to_net(
        self, id: str, host: Any = None, port: Any = None, callback: Callable[..., Any] | None = None
    ) -> Outcome[Client]: ...
    @overload
    def connect_to_net(
        self, id: None = None, host: Any = None, port: Any = None, callback: Callable[..., Any] | None = None
    ) -> None: ...
    def connect_to_net(
        self, id: str | None = None, host: Any = None, port: Any = None, callback: Callable[..., Any] | None = None
    ) -> Outcome[Client] | None:
        """Connect over TCP, or TLS where ``config.tls`` is set: ``connect_to_net(id[, host][, port][, callback])``.

        ``host`` and ``port`` default to ``network_host`` and ``network_port``; otherwise as ``connect_to``.
        """
        host, port, callback = _in_order("connect_to_net takes an id", CONNECT_TO_NET, (host, port, callback))
        if not self._has_id(id):
            return None
        return self._connect(id, self._network_address(host, port), callback)

    def _has_id(self, id: str | None) -> TypeGuard[str]:
        if id is None or id == "":
            self._tell_mistake("Service id required: connecting was requested without one, so nothing is done")
            return False
        if not isinstance(id, str):
            raise AddressError(f"the id of the server comes first and is text, such as 'world', not {id!r:.80}")
        if "://" in id:
            raise AddressError(
                f"the id of the server comes first, a name such as 'world', not the address {id!r:.80}: "
                "connect_to_net(id, host, port) is for TCP and TLS"
            )
        return True

    def _network_address(self, host: Any, port: Any) -> Tcp | Tls:
        host = self._config.network_host if host is None else host
        port = self._config.network_port if port is None else port
        return Tls(host, port) if self._config.tls else Tcp(host, port)

    def _connect(self, id: str, where: addresses.Address, callback: Callable[..., Any] | None) -> Outcome[Client]:
        self._refuse_others("connect_to")
        client = self.of._clients.get(id)
        if client is not None and not client.ends:
            self.log("Already connected to", id, "- so running the callback without connecting")
        else:
            if client is not None and client.state is ClientState.CLOSING:
                self._leaving.add(client)
            client = Client(
                id,
                where,
                self._driver,
                self._config.settings(),
                retrying=lambda: self._config,
            )
            self._follow(client)
            self.of._clients[id] = client
            client.on_closed.append(partial(self._closed, client))
            client.connect()
        if callback is not None:
            self._run_callback(client, callback)
        return client.connected

    def _run_callback(self, client: Client, callback: Callable[..., Any]) -> None:
        """Call with this instance, or with nothing where it takes nothing; an async one goes on in the loop."""
        signature = signature_of(callback)
        try:
            result = callback() if signature.accepts == 0 else callback(self)
        except PASSING:
            raise
        except BaseException as error:  # told as that of an async one is, once the handlers are registered
            self._driver.call_later(0, partial(self._callback_done, client, callback, error))
            return
        if signature.asynchronous:
            self._driver.call_later(0, partial(self._spawn_callback, client, callback, result))

    def _spawn_callback(self, client: Client, callback: Callable[..., Any], coroutine: Any) -> None:
        self._driver.spawn(coroutine, partial(self._callback_done, client, callback))

    def _callback_done(self, client: Client, callback: Callable[..., Any], error: BaseException | None) -> None:
        if error is not None and not isinstance(error, (*PASSING, asyncio.CancelledError)):
            from .config.advice import advice  # only a mistake pays for it

            failure = HandlerError(
                f"the callback {describe(callback)} of {client.id!r} failed: {shown(error)}{advice(error)}"
            )
            failure.__cause__ = error
            client.session_fault(None, failure)

    def disconnect(self, id: str) -> Outcome[Client] | None:
        """Close the client ``id``: what it emitted is sent, then ``disconnect`` and ``destroy`` are published.

        It is out of ``of`` at once; an unknown id is a line in the log, or a warning where that is silent. Returns what
        can be awaited.
        """
        self._refuse_others("disconnect")
        if not isinstance(id, str):
            raise AddressError(f"disconnect takes the id of a client, such as 'world', not {id!r:.80}")
        client = self.of._clients.pop(id, None)
        if client is None:
            near = meant(id, self.of)
            self._tell_mistake(
                f"There is no client {id} to disconnect{'' if near is None else f'. Did you mean {near!r}?'}"
            )
            return None
        if client.state is ClientState.CLOSED:  # it gave up
            return client.closed
        self._leaving.add(client)
        return client.close()

    # ---- serving

    def serve(self, path: Any = None, callback: Callable[..., Any] | None = None) -> None:
        """Make a server on a Unix socket, or on Windows on a named pipe: ``serve([path][, callback])``.

        Args:
            path: the socket's path; ``socket_root + appspace + config.id`` by default. Or a socket that is bound
                already, or several, as ``systemd_sockets()`` gives them: what is in the file system stays untouched,
                and the server closes them when it stops. Or a list of several places, paths and URLs:
                ``serve(["/run/app.world", "tcp://127.0.0.1:8000"])``.
            callback: called when the server has started: register handlers in it. ``server.start()`` starts it.
        """
        path, callback = _in_order("serve takes", SERVE, (path, callback))
        if path is None:
            where: addresses.Address = addresses.local_server(
                self._config.id, socket_root=self._config.socket_root, appspace=self._config.appspace
            )
            self.log("Server path not specified, so defaulting to socket_root + appspace + id:", str(where))
        elif isinstance(path, (str, os.PathLike)):
            where = addresses.local_path(path)
            self._tell_where_an_id_goes(path)
        else:
            where = several(path, self._address_in_a_list)
            where = with_tls(where) if self._config.tls else where
        self._serve(where, callback)
        self._placed_by = frozenset({"appspace", "id", "socket_root"} if path is None else ())

    def _tell_where_an_id_goes(self, path: str | os.PathLike[str]) -> None:
        """A word alone would be an id everywhere else, and no client looks for it in the current directory."""
        if not isinstance(path, str) or not set("/\\.:~").isdisjoint(path):
            return
        self._tell_mistake(f"{path!r} is taken as a path, ./{path}; an id is set by ipc.config.id")

    def _tell_mistake(self, line: str) -> None:
        """A line of the log; where that is silent, a mistake in the program is told all the same."""
        if self._config.silent:
            warn(line)
        else:
            self.log(line)

    def _address_in_a_list(self, text: str) -> addresses.Address:
        """A URL, or a path as ``serve`` takes it alone."""
        if text.partition(":")[0].lower() in addresses.SCHEMES:
            return addresses.parse(
                text, role="server", socket_root=self._config.socket_root, appspace=self._config.appspace
            )
        return addresses.local_path(text)

    def serve_net(
        self, host: Any = None, port: Any = None, udp_type: Any = None, callback: Callable[..., Any] | None = None
    ) -> None:
        """Make a TCP, TLS or UDP server: ``serve_net([host][, port][, "udp4" | "udp6"][, callback])``.

        ``host`` and ``port`` default to ``network_host`` and ``network_port``; with ``config.tls`` set it speaks
        TLS. Any argument may be left out as long as the order is kept. ``server.start()`` starts it.
        """
        host, port, udp_type, callback = _in_order("serve_net takes", SERVE_NET, (host, port, udp_type, callback))
        if udp_type is None:
            self._serve(self._network_address(host, port), callback)
        else:
            self._serve_port(self._udp_address(host, port, udp_type.lower()), callback)
        self._placed_by = frozenset(
            name for name, given in (("network_host", host), ("network_port", port)) if given is None
        )

    def serve_udp(
        self, host: Any = None, port: Any = None, udp_type: Any = None, callback: Callable[..., Any] | None = None
    ) -> DatagramServer:
        """Make a UDP port: ``serve_udp([host][, port][, udp_type][, callback])``; returns what ``server`` is now.

        As ``serve_net`` with a kind of UDP, which is that of the host here where it is left out. Or a UDP socket that
        is bound already, alone or as ``systemd_sockets()`` gives it. ``server.start()`` binds the port.
        """
        host, port, udp_type, callback = _in_order("serve_udp takes", SERVE_UDP, (host, port, udp_type, callback))
        if host is None or isinstance(host, str):
            udp_type = ("udp6" if host is not None and ":" in host else "udp4") if udp_type is None else udp_type
            return self._serve_port(self._udp_address(host, port, udp_type.lower()), callback)
        where = handed(host)
        if not has_datagrams(where):
            raise AddressError(f"{where} is no UDP port: serve() is for stream sockets")
        return self._serve_port(where, callback)

    def _udp_address(self, host: str | None, port: int | None, udp_type: Literal["udp4", "udp6"]) -> Udp:
        host = self._config.network_host if host is None else host
        if udp_type == "udp4" and host == "::1":
            host = "127.0.0.1"
        return Udp(host, self._config.network_port if port is None else port, udp_type)

    def _serve(self, where: addresses.Address, callback: Callable[..., Any] | None) -> None:
        if has_datagrams(where):
            self._serve_port(where, callback)
        else:
            self._replace_server(lambda: Server(where, self._driver, self._config.settings()), callback)

    def _serve_port(self, where: Udp | addresses.Handed, callback: Callable[..., Any] | None) -> DatagramServer:
        from .core.datagram import DatagramServer

        return self._replace_server(lambda: DatagramServer(where, self._driver, self._config.settings()), callback)

    def _replace_server(self, make: Callable[[], E], callback: Callable[..., Any] | None) -> E:
        self._refuse_others("serve")
        if self._server is not None and self._server.state not in (ServerState.IDLE, ServerState.CLOSED):
            self._leaving.add(self._server)  # replaced, as in node-ipc; it goes on until it is stopped
        server = make()
        self._placed_by = frozenset()
        if server.settings.bus is not None:
            from .cluster.joined import join  # only where there is a bus

            join(server, self._driver, server.settings)
        self._follow(server)
        server.on_closed.append(partial(self._closed, server))
        if callback is not None:
            server.on("start", callback)
        self._server = server
        return server

    def _closed(self, endpoint: Client | Server | DatagramServer) -> None:
        self._failure = self._failure or endpoint.failure
        if endpoint.state in OVER or (self._stopping and isinstance(endpoint, Client)):
            self._leaving.discard(endpoint)  # one that a handler connects anew each time would never end
        elif self._stopping and not isinstance(endpoint, Client):  # started anew by a handler, and all is to end
            endpoint.stop()
        self._look_around()

    def _follow(self, endpoint: Client | Server | DatagramServer) -> None:
        """Lines in the log for what happens to an endpoint, unless the log is silent; payloads only where asked."""
        endpoint.own_log_is_silent = lambda: self._config.silent
        if self._config.silent or endpoint in self._followed:
            return
        self._followed.add(endpoint)
        endpoint.on_trace(_LogLines(self.log, self._driver), traffic=False)
        if endpoint.settings.log_payloads:
            endpoint.log_payloads(self.log)

    def _refuse_forked(self) -> None:
        if self._driver.is_forked:
            raise ForkError("this process was forked, and the instance is its parent's: make an IPC() of your own")

    def _refuse_others(self, verb: str) -> None:
        """A forked child, or a thread that does not run this instance; asked before anything is changed."""
        self._refuse_forked()
        refuse_other_threads(self._driver, verb)

    # ---- running

    @suggests
    def run(self, *, loop: str | Callable[[], asyncio.AbstractEventLoop] = "asyncio") -> None:
        """Run the event loop until nothing is left to do, as Node does by itself.

        Returns when nothing is left open (a client that is not closed, a server that listens or has sockets), on
        ``stop()``, on SIGINT and on SIGTERM; in the latter cases after everything emitted was sent, at most
        ``close_timeout`` milliseconds later. Raises the error of ``start`` or of a last connection attempt that no
        ``error`` handler heard, and what ends the program out of a handler (``sys.exit``, ``KeyboardInterrupt``),
        also in that order.

        Args:
            loop: ``"asyncio"``, ``"uvloop"``, ``"auto"`` (uvloop where it is installed), or what makes a loop.
        """
        from .drivers.runner import loop_factory, runs_here
        from .drivers.signals import told_to_end

        self._refuse_forked()
        if self._driver.misplaced() is not None or self._driver.loop is not None:
            raise IPCError(
                "this instance works on an event loop already, which runs its clients and its server: there await "
                "ipc.server.closed, or the closed of a client, as ipc.of.world.closed, waits until that has ended"
            )
        if runs_here():
            raise IPCError(
                "run() makes an event loop, and one runs in this thread already: there start() and connect_to() begin "
                "by themselves, and what they return can be awaited. What ends later is awaited as ipc.server.closed, "
                "or ipc.of.world.closed"
            )
        if not self._is_open():
            self._tell_that_nothing_runs()
        runner = asyncio.Runner(loop_factory=loop_factory(loop))
        # Signals are ours until the loop is closed: a second one, as many a launcher sends, ends nothing twice.
        with told_to_end(runner.get_loop(), self._signalled), runner:
            try:
                runner.run(self._main())
            finally:
                self._driver.detach()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _tell_that_nothing_runs(self) -> None:
        """A line of the log; where that is silent, a mistake of the program is told all the same."""
        line = "There is nothing to run: no client, and no server that was told to start()"
        if not self._config.silent:
            self.log(line)
        elif self._server is not None and self._server.state is ServerState.IDLE:
            warn(f"{line}. ipc.serve() only makes the server: call ipc.server.start() before ipc.run()")
        elif self._server is None and not self.of:
            warn(line)

    def stop(self) -> Outcome[IPC]:
        """Close every client and stop the server; ``run`` then returns. Safe from any thread and signal handler.

        What was emitted is sent first, and in the handler of a request its answer. Returns what can be awaited (that
        handler cannot wait for the end: there it is over at once). Raises :class:`ForkError` in a forked child.
        """
        self._refuse_forked()
        if self._stopped.done:
            self._stopped = self._driver.outcome(self)
        in_handler = [endpoint for endpoint in tuple(self._driver.endpoints) if endpoint.called_by_handler()]
        if self._driver.misplaced() is None and self._driver.loop is None:
            self._stop_now()
        else:  # a signal handler may come between any two steps, and a loop that waits has to be woken
            self._driver.call_from_thread(self._stop_now)
        return begun(self._driver) if in_handler else self._stopped

    def _stop_now(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        for id in list(self.of):
            self.disconnect(id)
        for client in [each for each in self._leaving if isinstance(each, Client)]:
            client.close()  # it may have been told to connect anew behind its closing
        for server in self._servers():
            server.stop()
        self._driver.call_later(0, self._look_around)

    def _abort_now(self) -> None:
        """A second signal: do not wait for anybody, nor for handlers that still run."""
        for endpoint in (*self._leaving, *self._servers()):
            endpoint.abort()
        for task in tuple(self._driver.tasks):
            task.cancel()

    def _servers(self) -> list[Server | DatagramServer]:
        servers = [endpoint for endpoint in self._leaving if not isinstance(endpoint, Client)]
        return servers + ([self._server] if self._server is not None and self._server not in servers else [])

    def _is_open(self) -> bool:
        if self._leaving:
            return True
        if not self._is_ending and any(self.of[id].state is not ClientState.CLOSED for id in self.of):
            return True
        return self._server is not None and self._server.state not in (ServerState.IDLE, ServerState.CLOSED)

    def _look_around(self) -> None:
        """Something closed: if it was the last, ``run`` may return."""
        if self._is_open():
            return
        self._stopping = False
        self._stopped.settle()
        if self._wake is not None:
            self._wake.set()

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._is_signalled = False
        self._driver.attach(loop)
        try:
            await self._all_closed()
            await self._handlers_done()
        except asyncio.CancelledError:  # SystemExit or KeyboardInterrupt out of a handler has ended the loop
            self._is_ending = True
            self._stop_now()
            await self._all_closed()
            raise
        finally:
            self._wake = None
            self._is_ending = False

    async def _all_closed(self) -> None:
        assert self._wake is not None
        while self._is_open():
            self._wake.clear()
            await self._wake.wait()

    async def _handlers_done(self) -> None:
        """Async handlers that still run get the time that closing may take."""
        running = [task for task in self._driver.tasks if task is not asyncio.current_task()]
        if running:
            await asyncio.wait(running, timeout=self._config.close_timeout / 1000)

    def _signalled(self) -> None:
        if self._wake is None:
            return  # it is over already
        if self._is_signalled:
            self._abort_now()
        else:
            self._is_signalled = self._is_ending = True
            self._stop_now()


LOGGED = {
    "connecting": "connecting to",
    "starting": "starting server on",
    "opened": "connected:",
    "lost": "connection closed:",
}
"""What of the traces is a line in the log, as in node-ipc, and how it begins."""


class _LogLines:
    """What happens to one endpoint, as lines of ``ipc.log``.

    A server that is not there is told of once and not at each attempt, and errors, which a peer may cause, are a few
    lines a second.
    """

    def __init__(self, log: Log, driver: EventLoopDriver) -> None:
        self._log = log

        def clock() -> float:
            return driver.now()  # of the loop that it has then

        self._limited = RateLimited(clock, driver.call_later, what="lines about errors and refusals", sum_up=log)
        self._slow = slow_links(clock, driver.call_later, what="links of slow peers that were cut", sum_up=log)
        self._unread = RateLimited(driver.now, what="requests that failed", sum_up=log)  # any thread tells of those
        self._down = self._trying = False

    def __call__(self, trace: Trace) -> None:
        if trace.what == "error":
            self._error(trace.detail, trace.socket)
        elif trace.what == "refused":
            if self._limited.passes():
                self._log("a connection was refused, max_connections or one like it is reached:", str(trace.detail))
        elif trace.what == "unread":
            if self._unread.passes():
                self._unread.close()  # says first how many lines were left out
                self._log(style.error(str(trace.detail)))
        elif trace.what in ("unheard", "unsent", "mistake"):
            self._log(style.error(str(trace.detail)))
        elif trace.what == "retrying" and not self._trying:
            self._trying = True
            self._log("trying to connect again, at growing intervals")
        elif trace.what in LOGGED and not (trace.what == "connecting" and self._down):
            socket = () if trace.socket is None else (f"(socket {trace.socket.id})",)
            self._log(LOGGED[trace.what], str(trace.detail), *socket)
        if trace.what == "opened":
            self._down = self._trying = False

    def _error(self, error: IPCError, socket: Any) -> None:
        if isinstance(error, ConnectError):
            if self._down:
                return
            self._down = True
        elif not (self._slow if is_cut_for(error, socket) else self._limited).passes():
            return
        if isinstance(error, HandlerError) and error.__cause__ is not None:
            self._log(style.error(f"{error}\n{traceback_of(error.__cause__)}"))
        else:
            self._log(style.error(f"error: {error}"))


def _is_udp_type(value: Any) -> bool:
    return isinstance(value, str) and value.lower() in UDP_TYPES


PATH = ("a path", lambda value: isinstance(value, (str, os.PathLike)))
PATH_OR_SOCKETS = (
    "a path, bound sockets or a list of places",
    lambda value: isinstance(value, (str, os.PathLike, socket, list, tuple)),
)
HOST = ("a host", lambda value: isinstance(value, str) and not _is_udp_type(value))
HOST_OR_SOCKETS = ("a host or a bound socket", lambda value: HOST[1](value) or isinstance(value, (socket, list, tuple)))
PORT = ("a port number", lambda value: isinstance(value, int) and not isinstance(value, bool))
UDP_TYPE = ("'udp4' or 'udp6'", _is_udp_type)
CALLBACK = ("a callback", callable)
CONNECT_TO: Order = (PATH, CALLBACK)
CONNECT_TO_NET: Order = (HOST, PORT, CALLBACK)
SERVE: Order = (PATH_OR_SOCKETS, CALLBACK)
SERVE_UDP: Order = (HOST_OR_SOCKETS, PORT, UDP_TYPE, CALLBACK)
SERVE_NET: Order = (HOST, PORT, UDP_TYPE, CALLBACK)


def _misplaced(argument: Any, order: Order, places: list[Any]) -> str:
    if PORT in order and isinstance(argument, str) and argument.isdigit():
        return f": a port is a number, {argument}"
    if PATH_OR_SOCKETS in order and isinstance(argument, str) and places[0] is not None:
        return ": several places are one list, serve([…, …])"
    return ""


def _in_order(beginning: str, order: Order, arguments: tuple[Any, ...]) -> list[Any]:
    """Each argument in its place: any may be left out, as in node-ipc, as long as the order is kept."""
    places: list[Any] = [None] * len(order)
    free = 0
    for argument in arguments:
        if argument is None:
            continue
        fits = [place for place in range(free, len(order)) if order[place][1](argument)]
        if not fits:
            places_left = ", ".join(f"[{words}]" for words, _ in order)
            why = _misplaced(argument, order, places)
            raise AddressError(f"{beginning} {places_left}, in this order: {argument!r:.80} is out of place{why}")
        places[fits[0]] = argument
        free = fits[0] + 1
    return places


ipc = IPC()
"""The shared instance."""
