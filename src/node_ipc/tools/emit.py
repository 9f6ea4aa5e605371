"""``node-ipc emit`` and ``node-ipc request``: connect, say one thing, print the answer, end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from ..aio import AsyncClient, AsyncDatagramServer, connect, serve_udp
from ..config.address import Address, Udp
from ..config.config import Config
from ..core.client import ClientState
from ..core.session import Loss
from ..errors import ConnectionLost, NotConnected, ReceiveTimeout, RequestTimeout
from .arguments import (
    Commands,
    UsageError,
    add_command,
    add_configuration,
    add_timeout,
    asking_doctor,
    configuration,
    json_argument,
    place,
)
from .doctor import look
from .output import json_text, notice
from .outside import DEAF, holder, processes, serves_node, silence
from .probes import answers
from .waiting import run

__all__ = ["add_commands"]

EMIT_EXAMPLES = """\
  node-ipc emit world message '"hello"'              the payload is JSON, so text has quotes
  node-ipc emit world message --text hello           or is text, without them
  node-ipc emit world ping --wait-for pong           print the payload of the next "pong"
  node-ipc emit tcp://127.0.0.1:8000 order @order.json
  some-program | node-ipc emit world order -         JSON from standard input
  node-ipc emit udp4://127.0.0.1:8000 message '{"a": 1}'
  node-ipc emit world --raw -o encoding=hex 056d5c   raw mode: the payload alone, text in the encoding

It ends when everything is with the kernel, and with exit code 1 where that is not so. A server that does not read it is
waited for until --timeout is over.

Silence and exit code 0 mean sent, not heard: an event has no answer, and where no handler has its name, only the log of
the server says so (node-ipc help unheard). To see it from here: --wait-for, where the server emits an answer, or
node-ipc request, where it handles one; node-ipc listen in its place, or node-ipc tap before it, shows what comes.
"""
REQUEST_EXAMPLES = """\
  node-ipc request world add '{"a": 1, "b": 2}'      print what the server's handler of "add" returns
  node-ipc request world status --timeout 60

An error of the handler's is printed, and the exit code is 1.
"""
TIMEOUT = 5.0
ARRIVAL_SECONDS = 0.3
"""How long a server in Python has to say that it has read an event; one that is busy need not."""


def add_commands(commands: Commands) -> None:
    emit = add_command(commands, "emit", help="send one event to a server", examples=EMIT_EXAMPLES)
    emit.add_argument("address", metavar="ADDRESS", help="the server: an id, a path or a URL")
    emit.add_argument("type", metavar="TYPE", help="the event's name (with --raw: the payload)")
    emit.add_argument(
        "data", metavar="JSON", nargs="?", help="the payload: JSON, @FILE, or - for standard input; {} if left out"
    )
    emit.add_argument("--text", metavar="TEXT", help="the payload, as text that is not JSON")
    emit.add_argument("--raw", action="store_true", help="raw mode: bytes, without events and JSON")
    emit.add_argument("--wait-for", metavar="TYPE", help="wait for an event and print its payload (raw: 'data')")
    _add_link(emit)
    emit.set_defaults(run=_run_emit, late="data")

    request = add_command(commands, "request", help="ask a server and print its answer", examples=REQUEST_EXAMPLES)
    request.add_argument("address", metavar="ADDRESS", help="the server: an id, a path or a URL")
    request.add_argument("method", metavar="METHOD", help="what to ask for")
    request.add_argument("params", metavar="JSON", nargs="?", help="the parameters: JSON, @FILE or -; none if left out")
    _add_link(request)
    request.set_defaults(run=_run_request, late="params")


def _add_link(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait for a server that is not there yet")
    add_timeout(parser, TIMEOUT, "for the connection, and again for the answer")
    add_configuration(parser)


def _run_emit(arguments: argparse.Namespace) -> int:
    config = configuration(arguments)
    config.raw_buffer = config.raw_buffer or arguments.raw
    message = _message(arguments, config)  # before the loop: Ctrl-C ends the wait for standard input
    return run(_emit(arguments, config, message))


def _run_request(arguments: argparse.Namespace) -> int:
    params = None if arguments.params is None else json_argument(arguments.params)
    return run(_request(arguments, configuration(arguments), params))


async def _emit(arguments: argparse.Namespace, config: Config, message: tuple[Any, ...]) -> int:
    where, _ = place(arguments.address, config, "client")
    if isinstance(where, Udp):
        await _send_datagram(where, message, arguments, config)
        return 0
    link = _link(arguments, where, config)
    async with _explained(arguments, where, config, link), link:
        link.client.emit(*message)
        if arguments.wait_for is not None:
            print(json_text(await link.answer(arguments.wait_for, arguments.timeout)))
        else:
            await link.arrival()
    return 0


async def _request(arguments: argparse.Namespace, config: Config, params: Any) -> int:
    no_udp = "a request needs a connection, and {} has none: use emit --wait-for there"
    where, _ = place(arguments.address, config, "client", no_udp)
    link = _link(arguments, where, config)
    async with _explained(arguments, where, config, link), link:
        print(json_text(await link.client.request(arguments.method, params, timeout=arguments.timeout)))
    return 0


@contextlib.asynccontextmanager
async def _explained(arguments: argparse.Namespace, where: Address, config: Config, link: _link) -> AsyncIterator[None]:
    """Where a server was there and nothing came of it, add what is known of it."""
    try:
        yield
    except (ConnectionLost, NotConnected, ReceiveTimeout, RequestTimeout) as error:
        if config.raw_buffer and isinstance(error, ReceiveTimeout):  # of bytes nobody can tell more
            raise
        lost = isinstance(error, (ConnectionLost, NotConnected))
        unheeded = _unheeded(arguments) if link.answers else None
        said = str(error)
        if unheeded is not None and isinstance(error, RequestTimeout):  # what else it supposes is refuted by now
            said = f"no answer to {arguments.method!r:.80} within {arguments.timeout:g} s"
        cause = unheeded or look(arguments.address, where, config, link.pid, lost)
        more = f"For more, ask the server: {asking_doctor(arguments)}"
        raise type(error)(f"{said}. {more if cause is None else f'{cause[:1].upper()}{cause[1:]}. {more}'}") from error


def _unheeded(arguments: argparse.Namespace) -> str:
    """What may be the matter where the server reads, understands and answers, only not this."""
    if arguments.command == "request":
        return "The server is there and answers, so it may still be at work on it: raise --timeout"
    return (
        "The server is there and answers; it sent no such event in that time. Does something handle "
        f"{arguments.type!r} there and emit {arguments.wait_for!r}? Where it is a method, ask with node-ipc request. A "
        "payload that it refuses is in its log, and for a handler that takes long, raise --timeout"
    )


def _message(arguments: argparse.Namespace, config: Config) -> tuple[Any, ...]:
    """What ``emit`` gets: event name and payload, or in raw mode the payload alone."""
    if config.raw_buffer:
        if arguments.data is not None:
            raise UsageError("raw mode has no events: give the payload alone, as in emit ADDRESS --raw PAYLOAD")
        return (sys.stdin.buffer.read() if arguments.type == "-" else arguments.type,)
    if arguments.text is not None:
        if arguments.data is not None:
            raise UsageError("the payload is either JSON or --text, not both")
        return arguments.type, arguments.text
    return (arguments.type,) if arguments.data is None else (arguments.type, json_argument(arguments.data))


class _link:
    """A connected client for one conversation: a link that breaks ends it, with an error."""

    def __init__(self, arguments: argparse.Namespace, where: Address, config: Config) -> None:
        self._opening = connect(where, config=config, timeout=arguments.timeout, wait=arguments.wait)
        self._loss: Loss | None = None
        self._timeout = arguments.timeout
        self._until = 0.0
        self.pid: int | None = None
        self.answers = False
        """Whether the server, when the time was over, answered another question over this very link."""
        self._bytes: asyncio.Queue[bytes] = asyncio.Queue()

    async def __aenter__(self) -> _link:
        self.client: AsyncClient = await self._opening
        self._until = asyncio.get_running_loop().time() + self._timeout
        self.pid = self.client.peer.pid
        self.client.once("disconnect", self._lost)
        if self.client.settings.raw_buffer:
            self.client.on("data", self._bytes.put_nowait)
        return self

    def _lost(self, loss: Loss) -> None:
        self._loss = loss
        self.client.close()  # no second link: what was said on the first is not said again

    async def arrival(self) -> None:
        """Until the server has read what was emitted, if it is one that says so: a local one in Python.

        Raises :class:`ConnectionLost` where such a one reads it and does not understand it.
        """
        client = self.client
        if client.settings.raw_buffer or client.state is not ClientState.CONNECTED:
            return
        if client.peer.pid is None or client.peer.pid != holder(client.address) or self._is_node():
            return
        if await answers(client, ARRIVAL_SECONDS) or self._loss is not None:
            return
        cause = silence(client.address, self.pid, client.settings.copy())
        if cause == DEAF:
            raise ConnectionLost(f"{client.address} has read the event and did not understand it: {DEAF}")
        notice(f"node-ipc emit: the event is sent, and {client.address} has not said yet that it read it: {cause}")

    def _is_node(self) -> bool:
        """Whether Node serves there, maybe behind a tap: it answers no question of this library's own."""
        client = self.client
        return serves_node(processes(client.address, self.pid), client.settings.copy())

    async def answer(self, type: str, timeout: float) -> Any:
        if not self.client.settings.raw_buffer:
            try:
                return await self.client.receive(type, timeout=timeout)
            except NotConnected:
                reason = self._loss.reason if self._loss is not None else None
                words = "the server ended the link" if reason is None else str(reason)
                raise ConnectionLost(f"no event {type!r} from {self.client.address}: {words}") from reason
        try:
            async with asyncio.timeout(timeout):
                return await self._bytes.get()
        except TimeoutError:
            raise ReceiveTimeout(f"no bytes from {self.client.address} within {timeout:g} s") from None

    async def __aexit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        client = self.client
        if kind is not None and issubclass(kind, (ReceiveTimeout, RequestTimeout)):
            if not client.settings.raw_buffer and not self._is_node():
                self.answers = await answers(client, ARRIVAL_SECONDS)
            client.abort()  # who has not answered in time need not read in time either
        else:
            client.close(timeout=max(0, self._until - asyncio.get_running_loop().time()))
        await client.__aexit__(kind, *rest)
        loss = self._loss
        if kind is None and loss is not None and (loss.reason or loss.dropped or loss.in_flight):
            raise ConnectionLost(f"the event may not have arrived: {loss}") from loss.reason


async def _send_datagram(where: Udp, message: tuple[Any, ...], arguments: argparse.Namespace, config: Config) -> None:
    anywhere = "udp4://0.0.0.0:0" if where.family == "udp4" else "udp6://[::]:0"
    async with serve_udp(anywhere, config=config) as port:
        answer = _first_answer(port, arguments.wait_for) if arguments.wait_for is not None else None
        port.emit({"address": where.host, "port": where.port}, *message)
        if answer is None:
            return
        try:
            async with asyncio.timeout(arguments.timeout):
                print(json_text(await answer))
        except TimeoutError:
            raise ReceiveTimeout(
                f"no event {arguments.wait_for!r} from {where} within {arguments.timeout:g} s"
            ) from None


def _first_answer(port: AsyncDatagramServer, type: str) -> asyncio.Future[Any]:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def came(data: Any) -> None:
        if not answer.done():
            answer.set_result(data)

    port.on(type, came)
    return answer
