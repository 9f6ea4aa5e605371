"""Several processes that serve one address: ``run`` starts them, replaces the dead, and ends them in order.

    from node_ipc.scale import workers

    def setup(server):
        @server.on("message")
        def message(data, socket):
            socket.emit("message", f"process {os.getpid()} got {data}")

    workers.run(setup, "world", count=4)

The parent makes the listening socket and keeps it open, forks, and then only watches: it has no event loop and no
thread, and never accepts. A connection waits in the kernel until some worker takes it, so none is refused while a
worker dies and is replaced. A worker is a process of its own with a loop and a server of its own: what it knows of
its clients the others do not, and a ``broadcast`` reaches its own clients only, unless a bus joins them: ``bus=True``
is a hub between the workers, a process more that only relays, and ``bus="nats://…"`` or ``"redis://…"`` a broker,
which also reaches other machines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from logging import WARNING
from typing import Any, NoReturn, TypeAlias

from ..config.address import Address, Handed, Several, Tcp, Tls, Udp, Unix
from ..config.config import Config
from ..config.foreign import last_resort
from ..config.logs import logger
from ..config.resolve import Place, TLSChoice, resolve
from ..drivers.runner import LoopFactory, loop_factory, runs_here
from ..errors import AddressError, ConfigError, IPCError, WouldDeadlock
from ..net import tcp, udp, unix
from ..net.holders import holder_of
from ..net.listen import listen_local
from .fairness import Board, Turn
from .hub import Hub
from .worker import FAILED, READY, Worker

__all__ = ["run"]

Where: TypeAlias = Unix | Tcp | Tls | Udp
Sockets: TypeAlias = tuple[socket.socket, ...]
Door: TypeAlias = tuple[Where, Sockets]
"""One address, and the sockets that listen there."""

STEADY_SECONDS = 5.0
"""A worker that lived this long is replaced at once; one that did not, later each time."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
GRACE_SECONDS = 2.0
"""How long after its own time limits a worker that was told to stop is killed."""
REASON_BYTES = 4096
HUB = -1
"""The number of the place of the process that relays between the workers."""


def run(
    setup: Callable[..., Any],
    address: Place,
    *,
    count: int | None = None,
    config: Config | None = None,
    tls: TLSChoice = None,
    loop: str | LoopFactory = "auto",
    **options: Any,
) -> None:
    """Serve an address with several processes until SIGTERM or SIGINT; returns when all of them have ended.

    Args:
        setup: called in each worker with its server (an ``AsyncServer``), before that accepts anybody: register the
            handlers in it. It may be async.
        address: as for ``node_ipc.serve``, also a list of several addresses, all of which each worker serves.
        config: as for ``node_ipc.serve``. Limits, such as ``max_connections``, are each worker's.
        tls: as for ``node_ipc.serve``.
        **options: as for ``node_ipc.serve``.
        bus (an option): True joins the workers, so that rooms and broadcasts reach the clients of all of them.
        count: how many workers; ``None``: one for each processor.
        loop: the workers' event loop: ``"auto"`` (uvloop where it is installed), ``"asyncio"``, ``"uvloop"``, or what
            makes a loop.

    A worker that ends, or whose ``setup`` raises or exits, is replaced: at once if it lived for 5 s, otherwise after a
    delay that grows from 0.1 s to 5 s; both are logged (on stderr, with the traceback, while logging is not set up),
    and the others serve on. In a worker ``server.stop()`` ends that worker when its clients are served, and a new one
    takes its place. At SIGTERM or SIGINT the socket is removed, and
    each worker sends what it has emitted, as ``Server.stop`` does; at a second one they end at once. Should the parent
    be killed, the workers stop too.

    Raises:
        AddressInUse, AddressError: nobody can listen there.
        WouldDeadlock: this process has other threads or runs an event loop, and so cannot be forked safely.
        IPCError: no worker could be set up, each has failed before any served; or this system has no ``fork``.
    """
    if not hasattr(os, "fork"):
        raise IPCError("workers need fork(), which this system has not: start one process for each address")
    if not callable(setup) and callable(address):
        raise TypeError(f"run() takes setup before the address: run(setup, {setup!r:.80}, …)")
    if not callable(setup):
        raise TypeError(
            f"setup is a function that each worker calls with its server, not {setup!r:.80}: give the function itself, "
            "run(setup, …), and not what it returns, run(setup(server), …)"
        )
    where, settings = resolve(address, config, options, "server", tls, own=("count", "loop"))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = processors if count is None else count
    if type(wanted) is not int or wanted < 1:
        raise ConfigError(f"count is the number of workers, at least 1, not {count!r}")
    factory = loop_factory(loop)
    _refuse_unsafe_fork()
    with _Supervisor(setup, where, settings, wanted, factory) as supervisor:
        supervisor.watch()


def _refuse_unsafe_fork() -> None:
    """Locks that other threads hold stay locked in a child, and a loop's epoll would be shared with it."""
    if threading.active_count() > 1:
        others = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        raise WouldDeadlock(f"run() forks, and this process has other threads ({others}): start them in setup()")
    if runs_here():
        raise WouldDeadlock("run() forks, and an event loop runs here: call it without one, and use setup()")


# The listening sockets


def _listen(address: Address, settings: Config, count: int, undo: contextlib.ExitStack) -> list[tuple[Door, ...]]:
    """Listen, at each of several addresses; gives each worker's doors, which only with UDP are its own."""
    doors: list[Door] = []
    for each in address.addresses if isinstance(address, Several) else (address,):
        try:
            if isinstance(each, Udp):
                return [(door,) for door in _bind(each, count, undo)]
            doors.append(_listen_once(each, settings, undo))
        except Exception as error:
            raise tcp.listen_failed(each, error, holder_of(each, error)) from error
    return [tuple(doors)] * count


def _listen_once(address: Address, settings: Config, undo: contextlib.ExitStack) -> Door:
    if isinstance(address, Unix):
        owned = listen_local(address, settings)
        undo.callback(owned.close)
        return address, (owned.sock,)
    if isinstance(address, Handed):
        for sock in address.sockets:
            undo.callback(sock.close)
        unix.adopt_all(address.sockets, root=settings.socket_root, secure=settings.requires_secure_root)
        if not isinstance(address.where, Tls):
            tcp.warn_if_exposed(address, address.sockets)
        return address.where, address.sockets
    if not isinstance(address, (Tcp, Tls)):
        raise AddressError(f"workers cannot share {address}: give a Unix socket, or a network address")
    resolved = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets = tcp.listen_tcp(resolved, address.port, settings.backlog)
    for sock in sockets:
        undo.callback(sock.close)
    where = type(address)(address.host, sockets[0].getsockname()[1])
    if isinstance(where, Tcp):
        tcp.warn_if_exposed(where, sockets)
    return where, tuple(sockets)


def _bind(address: Udp, count: int, undo: contextlib.ExitStack) -> list[Door]:
    """A socket for each worker, on one port: the kernel chooses one by the sender's address, always the same one.

    The parent keeps them open, so what comes for a worker that is being replaced waits for its successor.
    """
    port = address.port
    resolved = udp.at_once(address) or udp.look_up(address).at_once()
    sockets: list[socket.socket] = []
    for _ in range(count):
        sock = udp.bind(resolved, port, reuse_port=True)
        undo.callback(sock.close)
        port = sock.getsockname()[1]
        sockets.append(sock)
    where = Udp(address.host, port, address.family)
    udp.warn_if_exposed(where, sockets[0])
    return [(where, (sock,)) for sock in sockets]


# The parent


class _Place:
    """One worker's place: it keeps its number and its doors while processes come and go."""

    def __init__(self, number: int, doors: tuple[Door, ...]) -> None:
        self.number = number
        self.doors = doors
        self.pid = 0
        """The process; 0 where there is none."""
        self.report = -1
        """The pipe in which the worker says that it accepts, or why it cannot."""
        self.said = b""
        self.has_failed = False
        """A worker could not be set up here."""
        self.since = 0.0
        self.deaths = 0
        """How many in a row died young."""
        self.untold = ""
        """How the last process ended, where that is told only when the next starts."""
        self.due: float | None = None
        """When the next process is to be started."""

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return "the hub" if self.number == HUB else f"worker {self.number + 1}"

    def delay(self, lived: float) -> float:
        """Seconds until the next process may start, after one that lived so long."""
        self.deaths = 0 if lived >= STEADY_SECONDS else self.deaths + 1
        return min(FIRST_DELAY * 2.0 ** (self.deaths - 1), LONGEST_DELAY) if self.deaths else 0.0

    def reason(self) -> str:
        """Why the worker could not start, in its own words; empty if it did, or said nothing."""
        return self.said.removeprefix(FAILED).decode(errors="replace") if self.said.startswith(FAILED) else ""


class _Supervisor:
    """The parent: it owns the sockets, and knows its children by their process numbers only."""

    def __init__(
        self, setup: Callable[..., Any], address: Address, settings: Config, count: int, factory: LoopFactory | None
    ) -> None:
        self._setup = setup
        self._settings = settings
        self._factory = factory
        self._any_ready = False
        self._stopping = False
        self._kill_at: float | None = None
        self._failure: IPCError | None = None
        logger.explain_once_in_all()
        with contextlib.ExitStack() as undo:
            self._hub = Hub(undo) if settings.bus is True else None
            if self._hub is not None:
                self._settings = settings.frozen(bus=self._hub.place)
                self._hub_place = _Place(HUB, ())
            self._listening = undo.enter_context(contextlib.ExitStack())
            doors = _listen(address, settings, count, self._listening)
            self._where = ", ".join(str(where) for where, _ in doors[0])
            self._places = [_Place(number, own) for number, own in enumerate(doors)]
            self._board = Board(count)
            # The other end closes with this process, however that ends, and the workers see it.
            self._lifeline, lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            undo.callback(os.close, lifeline)
            self._wakeup, wakeup = undo.enter_context(_signals())
            self._own_descriptors = (lifeline, self._wakeup, wakeup)
            self._undo = undo.pop_all()

    def __enter__(self) -> _Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for place in self._all():  # workers only after an error in here; the hub has done its duty
                if place.pid:
                    os.kill(place.pid, signal.SIGKILL)
                    os.waitpid(place.pid, 0)
        finally:
            self._undo.close()

    def _alive(self) -> list[_Place]:
        return [place for place in self._places if place.pid]

    def _all(self) -> list[_Place]:
        """The places, the hub's first: workers connect to it."""
        return self._places if self._hub is None else [self._hub_place, *self._places]

    def watch(self) -> None:
        """Until all workers have ended on a signal, or none of them could be set up."""
        logger.info("%d workers for %s start", len(self._places), self._where)
        for place in self._all():
            self._start(place)
        while self._alive() or not self._stopping:
            self._wait()
            self._bury()
            now = time.monotonic()
            for place in self._all():
                if place.due is not None and now >= place.due:
                    self._start(place)
            if self._kill_at is not None and now >= self._kill_at:
                self._kill()
        if self._failure is not None:
            raise self._failure

    def _wait(self) -> None:
        """Until a signal comes, a worker reports, or something is due."""
        moments = [place.due for place in self._all() if place.due is not None]
        if self._kill_at is not None:
            moments.append(self._kill_at)
        seconds = max(min(moments) - time.monotonic(), 0.0) if moments else None
        reports = {place.report: place for place in self._all() if place.report >= 0}
        ready, _, _ = select.select([self._wakeup, *reports], [], [], seconds)
        for descriptor in ready:
            if descriptor == self._wakeup:
                for number in os.read(self._wakeup, 1024):
                    if number in (signal.SIGTERM, signal.SIGINT):
                        self._stop()
            else:
                self._hear(reports[descriptor])

    def _hear(self, place: _Place) -> None:
        chunk = os.read(place.report, REASON_BYTES)
        place.said += chunk
        if not chunk:
            os.close(place.report)
            place.report = -1
        elif place.said == READY:
            self._any_ready = self._any_ready or place.number != HUB
            logger.info("%s of %s is process %d", place.name, self._where, place.pid)

    # ---- starting and burying

    def _start(self, place: _Place) -> None:
        place.due = None
        if self._stopping:
            return
        if place.untold:
            self._warn(place.untold)
            place.untold = ""
        report, tell = os.pipe()
        place.said = b""
        place.since = time.monotonic()
        _flush()  # or both processes print what is in the buffers
        # No signal may come between fork and the moment when the child has handlers of its own.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD))
        try:
            pid = os.fork()
            if pid == 0:
                self._become_worker(place, tell, report, blocked)
        except OSError as error:  # no memory or too many processes: that may pass
            self._warn(f"cannot start {place.name} of {self._where}: {error}")
            os.close(report)
            place.due = time.monotonic() + place.delay(0.0)
        else:
            place.pid, place.report = pid, report
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.close(tell)

    def _become_worker(self, place: _Place, tell: int, report: int, mask: set[Any]) -> NoReturn:
        status = 1
        try:
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the parent passes it on, once
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            reports = [other.report for other in self._all() if other.report >= 0]
            for descriptor in (report, *self._own_descriptors, *reports):
                os.close(descriptor)
            with asyncio.Runner(loop_factory=self._factory) as runner:
                status = runner.run(self._live(place, tell))
        except SystemExit as end:
            status = _status_of(end)
        except BaseException as error:
            logger.failure(f"{place.name} of {self._where} failed", error)
        finally:
            _flush()
            os._exit(status & 0xFF)

    def _live(self, place: _Place, tell: int) -> Coroutine[Any, Any, int]:
        """What the process does whose place this is."""
        if place.number == HUB:
            assert self._hub is not None
            return self._hub.live(tell, self._lifeline)
        served = self._served(place)
        return Worker(served, self._settings, self._setup, self._board, place.number, tell, self._lifeline).live()

    def _served(self, place: _Place) -> Handed | Several:
        most = self._settings.max_connections
        handed = [Handed(sockets, where, Turn(self._board, place.number, most)) for where, sockets in place.doors]
        return handed[0] if len(handed) == 1 else Several(tuple(handed))

    def _bury(self) -> None:
        for place in self._all():
            pid, status = os.waitpid(place.pid, os.WNOHANG) if place.pid else (0, 0)
            if pid:
                if place.number != HUB:
                    self._board.leave(place.number)
                while place.report >= 0:
                    self._hear(place)
                place.pid = 0
                self._after_death(place, pid, status)

    def _after_death(self, place: _Place, pid: int, status: int) -> None:
        if self._stopping:
            return
        reason = place.reason()
        place.has_failed = place.has_failed or bool(reason)
        if reason and not self._any_ready and all(each.has_failed for each in self._places):
            self._failure = IPCError(f"the workers for {self._where} cannot start: {reason}")
            self._stop()
            return
        lived = time.monotonic() - place.since
        delay = place.delay(lived)
        place.due = time.monotonic() + delay
        text = (
            f"{place.name} of {self._where} (process {pid}) {_end(status)} after {lived:.1f} s"
            f"{f' ({reason})' if reason else ''}; another starts {f'in {delay:g} s' if delay else 'now'}"
        )
        if reason and not self._any_ready:
            place.untold = text  # until it does start: should the others fail too, none will
        elif status == 0:
            logger.info("%s", text)
        else:
            self._warn(text)

    def _warn(self, text: str) -> None:
        logger.failure(text, None, WARNING, stderr=not self._settings.silent)

    # ---- stopping

    def _stop(self) -> None:
        """First: nobody new, and what was emitted is sent. Told again: at once."""
        if not self._stopping:
            self._stopping = True
            logger.info("the workers for %s stop", self._where)
            # Before the workers are told: whoever connects from now on learns at once that nobody will serve it.
            self._listening.close()
            drain = 2 * self._settings.close_timeout / 1000  # the links, then the async handlers
            self._kill_at = time.monotonic() + drain + GRACE_SECONDS
        else:
            self._kill_at = time.monotonic() + GRACE_SECONDS
        self._send(signal.SIGTERM)

    def _kill(self) -> None:
        self._kill_at = None
        for place in self._alive():
            self._warn(f"{place.name} of {self._where} (process {place.pid}) does not end: killed")
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        for place in self._alive():
            os.kill(place.pid, number)  # not reaped yet, so the number is still its own


@contextlib.contextmanager
def _signals() -> Iterator[tuple[int, int]]:
    """A pipe that gets the number of each signal: what to read, and the other end."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield read, write
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.set_wakeup_fd(wakeup)
        os.close(read)
        os.close(write)


def _status_of(end: SystemExit) -> int:
    """The exit status that ``sys.exit(…)`` means; a text is said, as Python does at the end of a program."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    last_resort(str(end.code))
    return 1


def _end(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return "ended" if code == 0 else f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or None: nothing to lose
            stream.flush()
