"""The three fronts behind one face, so that a test says once what each of them must do.

A test calls plain methods. What runs in a loop or in another thread is called there; ``until`` waits for an event,
with a deadline that only a broken program meets.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

import node_ipc
from node_ipc import IPC, Client, Config, IPCError, Received, Server, blocking
from node_ipc.config.address import Tcp

DEADLINE = 60.0

T = TypeVar("T")


def register(server: Any, handlers: dict[str, Callable[..., Any]]) -> None:
    for event, handler in handlers.items():
        server.on(event, handler)


class Loop:
    """An asyncio loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def wait(self, awaitable: Callable[[], Awaitable[T]]) -> T:
        """What ``awaitable()``, made and awaited in the loop, gives."""

        async def run() -> T:
            return await awaitable()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(DEADLINE)

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """What ``function`` gives, called in the loop."""

        async def run() -> T:
            return function(*arguments, **options)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(DEADLINE)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)
        self.loop.close()


class ServerThread:
    """A blocking server in a thread of its own, which also runs what others want to be called there."""

    def __init__(self, config: Config, options: dict[str, Any]) -> None:
        self._calls: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._started: Future[Any] = Future()
        self._thread = threading.Thread(target=self._run, args=(config, options))
        self._thread.start()
        self.server = self._started.result(DEADLINE)

    def _run(self, config: Config, options: dict[str, Any]) -> None:
        handlers = options.pop("on", {})
        try:
            server = blocking.serve(options.pop("at", "world"), config=config, **options)
            register(server, handlers)
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._started.set_result(server)
        while not server.closed.done:
            server.poll(0.005)
            while self._calls:
                function, result = self._calls.pop(0)
                try:
                    result.set_result(function())
                except BaseException as error:
                    result.set_exception(error)

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        result: Future[Any] = Future()
        self._calls.append((lambda: function(*arguments, **options), result))
        return result.result(DEADLINE)

    def join(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


class ServerEnd:
    """A server, whichever front it has."""

    def __init__(self, server: Server, call: Callable[..., Any], stop: Callable[[float | None], None]) -> None:
        self.server = server
        self._call = call
        self._stop = stop

    def on(self, event: Any, handler: Callable[..., Any], **options: Any) -> None:
        self._call(self.server.on, event, handler, **options)

    def once(self, event: Any, handler: Callable[..., Any], **options: Any) -> None:
        self._call(self.server.once, event, handler, **options)

    def handle(self, method: Any, handler: Callable[..., Any], **options: Any) -> None:
        self._call(self.server.handle, method, handler, **options)

    def broadcast(self, type: Any, data: Any, **options: Any) -> None:
        self._call(self.server.broadcast, type, data, **options)

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call anything where handlers run."""
        return self._call(function, *arguments, **options)

    def stop(self, timeout: float | None = None) -> None:
        self._stop(timeout)

    @property
    def count(self) -> int:
        return len(self.server.sockets)


class ClientEnd:
    """A client, whichever front it has."""

    client: Client

    def on(self, event: Any, handler: Callable[..., Any], **options: Any) -> None:
        self.call(self.client.on, event, handler, **options)

    def once(self, event: Any, handler: Callable[..., Any], **options: Any) -> None:
        self.call(self.client.once, event, handler, **options)

    def off(self, event: Any, *handler: Any) -> None:
        self.call(self.client.off, event, *handler)

    def handle(self, method: Any, handler: Callable[..., Any], **options: Any) -> None:
        self.call(self.client.handle, method, handler, **options)

    def emit(self, *arguments: Any) -> bool:
        return bool(self.call(self.client.emit, *arguments))

    def stats(self) -> node_ipc.Stats:
        return self.call(self.client.stats)  # type: ignore[no-any-return]

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call anything where handlers run."""
        raise NotImplementedError

    def request(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    def close(self, *timeout: float) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        self.call(self.client.abort)

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, "it never came"
            self._let_happen()

    def _let_happen(self) -> None:
        time.sleep(0.002)  # another thread does the work


class LoopClient(ClientEnd):
    def __init__(self, loop: Loop, client: Client) -> None:
        self._loop = loop
        self.client = client

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self._loop.call(function, *arguments, **options)

    def request(self, *arguments: Any, **options: Any) -> Any:
        async def ask() -> Any:
            return await self.client.request(*arguments, **options)

        return self._loop.wait(ask)

    def close(self, *timeout: float) -> None:
        async def close() -> None:
            await self.client.close(*timeout)

        self._loop.wait(close)


class WaitingLoopClient(LoopClient):
    client: Any

    def receive(self, event: Any, **options: Any) -> Any:
        return self._loop.wait(lambda: self.client.receive(event, **options))

    def take(self, count: int, first: str | None = None) -> list[Received]:
        """The next events by iteration, after the emit of ``first``."""

        async def take() -> list[Received]:
            found = []
            if first is not None:
                self.client.emit(first)
            async for event in self.client:
                found.append(event)
                if len(found) == count:
                    break
            return found

        return self._loop.wait(take)

    def drain(self) -> None:
        self._loop.wait(self.client.drain)


class BlockingEnd(ClientEnd):
    client: Any

    def __init__(self, client: Any) -> None:
        self.client = client

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    def request(self, *arguments: Any, **options: Any) -> Any:
        return self.client.request(*arguments, **options)

    def receive(self, event: Any, **options: Any) -> Any:
        return self.client.receive(event, **options)

    def take(self, count: int, first: str | None = None) -> list[Received]:
        found = []
        if first is not None:
            self.client.emit(first)
        for event in self.client:
            found.append(event)
            if len(found) == count:
                break
        return found

    def drain(self) -> None:
        self.client.drain()

    def close(self, *timeout: float) -> None:
        self.client.close(*timeout)

    def _let_happen(self) -> None:
        if self.client.state is node_ipc.ClientState.CLOSED:
            time.sleep(0.002)
        else:
            self.client.poll(0.01)


class Front:
    """What a test gets: servers and clients of one front, which end with it."""

    name = ""
    waits = True
    """Whether its clients can ``receive``, iterate and ``drain``."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.ends = ExitStack()

    def serve(self, **options: Any) -> ServerEnd:
        """at: where to; on: handlers by event, there before any client is; options: those of the configuration."""
        raise NotImplementedError

    def connect(self, **options: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        self.ends.close()


class AsyncFront(Front):
    name = "asyncio"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.loop = Loop()
        self.ends.callback(self.loop.close)

    def serve(self, **options: Any) -> ServerEnd:
        handlers = options.pop("on", {})

        async def open() -> Any:
            server = await node_ipc.serve(options.pop("at", "world"), config=self.config, **options)
            register(server, handlers)
            return server

        server = self.loop.wait(open)

        def stop(timeout: float | None) -> None:
            async def ended() -> None:
                await server.stop(timeout)

            self.loop.wait(ended)

        self.ends.callback(stop, 0.5)
        return ServerEnd(server, self.loop.call, stop)

    def connect(self, **options: Any) -> WaitingLoopClient:
        async def open() -> Any:
            return await node_ipc.connect(options.pop("at", "world"), config=self.config, **options)

        client = WaitingLoopClient(self.loop, self.loop.wait(open))
        self.ends.callback(client.close, 0.5)
        return client


class CallbackFront(Front):
    name = "callbacks"
    waits = False

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.loop = Loop()
        self.ends.callback(self.loop.close)

    def _ipc(self, options: dict[str, Any]) -> IPC:
        ipc = IPC(self.config.copy())
        ipc.config.id = "world"
        ipc.config.update(**options)
        return ipc

    def serve(self, **options: Any) -> ServerEnd:
        at, handlers = options.pop("at", None), options.pop("on", {})
        ipc = self._ipc(options)

        async def open() -> None:
            ipc.serve(at)
            register(ipc.server, handlers)
            ipc.server.on("error", lambda error, socket: None)
            await ipc.server.start()

        self.loop.wait(open)
        server = ipc.server

        def stop(timeout: float | None) -> None:
            async def ended() -> None:
                await server.stop(timeout)

            self.loop.wait(ended)

        self.ends.callback(stop, 0.5)
        return ServerEnd(server, self.loop.call, stop)

    def connect(self, **options: Any) -> LoopClient:
        timeout = options.pop("timeout", None)
        wait = options.pop("wait", False)
        at = options.pop("at", "world")
        ipc = self._ipc(options)

        async def open() -> Client:
            if isinstance(at, Tcp):
                connected = ipc.connect_to_net("world", at.host, at.port)
            else:
                connected = ipc.connect_to("world")
            client = ipc.of.world
            client.on("error", lambda error: None)
            if wait:
                return client
            async with asyncio.timeout(timeout):
                assert connected is not None
                await connected
            return client

        client = LoopClient(self.loop, self.loop.wait(open))
        self.ends.callback(client.close, 0.5)
        return client


class BlockingFront(Front):
    name = "blocking"

    def serve(self, **options: Any) -> ServerEnd:
        thread = ServerThread(self.config, options)
        server = thread.server

        def stop(timeout: float | None) -> None:
            if not server.closed.done:
                with suppress(IPCError):
                    thread.call(server.stop, timeout)
            thread.join()

        self.ends.callback(stop, 0.5)
        return ServerEnd(server, thread.call, stop)

    def connect(self, **options: Any) -> BlockingEnd:
        client = BlockingEnd(blocking.connect(options.pop("at", "world"), config=self.config, **options))
        self.ends.callback(client.close, 0.5)
        return client


FRONTS: tuple[type[Front], ...] = (AsyncFront, CallbackFront, BlockingFront)


@contextmanager
def front_of(kind: type[Front], config: Config) -> Iterator[Any]:
    front = kind(config)
    try:
        yield front
    finally:
        front.close()
