"""Forked processes that act as other users, hold something, or race each other. Fork before a loop runs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

NOBODY, SOMEBODY = 65534, 65533
DEADLINE = 60.0
"""Seconds that anything in another process may take."""


class Child:
    """Runs ``work`` in a fork of this process; ``outcome`` is its result (JSON) or its exception."""

    def __init__(self, work: Callable[[], Any], *, uid: int | None = None) -> None:
        self._from, to = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._from)
                if uid is not None:
                    os.setgroups([])
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                answer: list[Any] = ["ok", work()]
            except BaseException as error:
                answer = [type(error).__name__, str(error)]
            with contextlib.suppress(OSError):
                os.write(to, json.dumps(answer).encode())
            os._exit(0)
        os.close(to)
        self._ended = False

    def outcome(self) -> list[Any]:
        """``["ok", result]``, or the name of the exception and its text; waits until the process has ended."""
        answer = b""
        while chunk := self._read():
            answer += chunk
        self._reap()
        found: list[Any] = json.loads(answer)
        return found

    def _read(self) -> bytes:
        if not select.select([self._from], [], [], DEADLINE)[0]:
            self.kill()
            raise AssertionError("the child does not answer")
        return os.read(self._from, 65536)

    def result(self) -> Any:
        name, value = self.outcome()
        assert name == "ok", f"{name}: {value}"
        return value

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        os.waitpid(self.pid, 0)
        os.close(self._from)
        self._ended = True

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Crew:
    """So many forked processes that do each command at the same moment, and answer it with a letter.

    ``work`` reads its commands, of one byte each, from the first descriptor until there are no more, and answers on the
    second.
    """

    def __init__(self, count: int, work: Callable[[int, int], None]) -> None:
        self._answers, tell = os.pipe()
        self._children: list[Child] = []
        self._orders: list[int] = []
        for _ in range(count):
            commands, order = os.pipe()
            self._children.append(Child(partial(self._work, work, commands, order, tell)))
            self._orders.append(order)
            os.close(commands)
        os.close(tell)

    def _work(self, work: Callable[[int, int], None], commands: int, order: int, tell: int) -> None:
        """In a child, which would never hear of the end while it had an end of its own that gives orders."""
        for mine in (*self._orders, order):
            os.close(mine)
        work(commands, tell)

    def all(self, command: bytes) -> str:
        """What they answer, sorted."""
        for order in self._orders:
            os.write(order, command)
        heard = b""
        while len(heard) < len(self._orders):
            assert select.select([self._answers], [], [], DEADLINE)[0], f"only {heard!r} after {command!r}"
            heard += os.read(self._answers, 64)
        return "".join(sorted(heard.decode()))

    def end(self) -> None:
        """No more commands: they end by themselves."""
        while self._orders:
            os.close(self._orders.pop())
        for child in self._children:
            child.result()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
        for left in (*self._orders, self._answers):
            os.close(left)


class Held:
    """A forked process that does ``begin`` and then keeps what that made, until it is killed."""

    def __init__(self, begin: Callable[[], Any], *, uid: int | None = None) -> None:
        ready, tell = os.pipe()

        def work() -> None:
            kept = begin()
            os.write(tell, b"!")
            signal.pause()
            del kept

        self._child = Child(work, uid=uid)
        self.pid = self._child.pid
        os.close(tell)
        try:
            assert select.select([ready], [], [], DEADLINE)[0], "the child does not begin"
            assert os.read(ready, 1) == b"!", self._child.outcome()
        finally:
            os.close(ready)

    def kill(self) -> None:
        self._child.kill()

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Gate:
    """A pipe on which children wait until it is opened."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._parent = os.getpid()
        self._mine = False

    def _take(self) -> None:
        """In a child: its copy of the end that opens the gate is closed, once."""
        if os.getpid() != self._parent and not self._mine:
            self._mine = True
            os.close(self._write)

    def wait(self) -> None:
        """In a child: until the parent opens it."""
        self._take()
        select.select([self._read], [], [], DEADLINE)

    @property
    def is_open(self) -> bool:
        """In a child: whether the parent has opened it."""
        self._take()
        return bool(select.select([self._read], [], [], 0)[0])

    def open(self) -> None:
        os.close(self._write)
        os.close(self._read)


class Signal:
    """A pipe on which the parent waits for a child."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def give(self) -> None:
        """In a child."""
        os.write(self._write, b"!")

    def wait(self) -> None:
        """In the parent; once."""
        os.close(self._write)
        assert select.select([self._read], [], [], DEADLINE)[0], "the child does not begin"
        assert os.read(self._read, 1) == b"!", "the child has ended"
        os.close(self._read)


def refuse_to_run(reason: str) -> None:
    """Skip, or fail where everything has to run."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)
