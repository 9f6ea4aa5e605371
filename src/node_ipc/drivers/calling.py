"""The thread that calls does the work: what the endpoints of the blocking front have in common."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..config.misspelt import suggests
from ..core.endpoint import SocketPublisher
from ..core.inbox import CATCH_UP_SECONDS
from ..core.outcome import seconds
from ..core.session import refuse_other_threads
from ..errors import DrainTimeout, IPCError, WouldDeadlock
from .termination import told_to_terminate
from .thread import ThreadDriver

if TYPE_CHECKING:
    from ..core.outcome import Outcome

__all__ = ["Serving", "before_waiting", "finish", "has_had_time", "leave", "looked", "warn_in_coroutine"]

S = TypeVar("S")
AWAY_SECONDS = 5.0
"""Between two calls that serve: a peer that came meanwhile takes such a server for one that hangs."""


def finish(driver: ThreadDriver, closed: Outcome[Any]) -> None:
    """Wait until an endpoint that was told to end has ended; in a handler, the call that waits does this."""
    if driver.busy:
        driver.wake()  # a signal handler may have called this while the thread waits
        return
    driver.run_until(lambda: closed.done)
    if closed:  # otherwise a handler has begun it anew
        driver.close()


def leave(
    driver: ThreadDriver, close: Callable[[], None], abort: Callable[[], None], error: BaseException | None
) -> None:
    """The end of a ``with`` block: in order, but at once when the program is being ended (Ctrl-C, ``sys.exit``)."""
    if error is not None:
        from ..config.advice import advise  # only a mistake pays for it

        advise(error)
    if driver.is_forked:
        return  # the links are the parent's
    if error is not None and not isinstance(error, Exception):
        abort()
    else:
        close()


def before_waiting(driver: ThreadDriver, verb: str) -> None:
    """Refuse to wait in another thread, and in a handler, where it would never end."""
    refuse_other_threads(driver, verb)
    driver.has_waited = True
    if driver.busy:
        raise WouldDeadlock(
            f"{verb}() in a handler would wait for ever: this very thread, which runs the handler, would have to do "
            "what is waited for. "
            + (
                "Return first, and ask outside of handlers; or ask in an async handler of node_ipc.serve or connect"
                if verb.startswith("request")
                else "Register a handler for it with on(), or return first"
            )
        )
    if "asyncio" in sys.modules and not driver.warned_in_coroutine and verb != "poll":  # which need not wait
        warn_in_coroutine(driver, f"{verb}() of the blocking front")


def looked(driver: ThreadDriver) -> None:
    """A ``poll()`` that does not wait found nothing: the first is no wait, as in ``while poll(): pass``, which ends."""
    driver.has_waited, driver.has_looked = driver.has_looked, True


def has_had_time(driver: ThreadDriver, has_sent: Callable[[], bool]) -> bool:
    """Whether a call waited, or a program that is there to send has looked for what came."""
    return driver.has_waited or (driver.has_looked and has_sent())


def warn_in_coroutine(driver: ThreadDriver, call: str) -> None:
    """Warn once, at the line of the user's that calls, where an event loop runs in this thread: it would stand still.

    Nothing happens where asyncio is not loaded: this front never loads it.
    """
    if "asyncio" not in sys.modules:
        return
    from .runner import runs_here

    if not runs_here():
        return
    import inspect  # asyncio has loaded it

    driver.warned_in_coroutine = True
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("node_ipc."):
        frame, level = frame.f_back, level + 1
    warnings.warn(
        f"{call} is called in a coroutine: while it waits, the event loop of this thread and all its tasks stand "
        "still. Use await node_ipc.connect(…) or node_ipc.serve(…) there, or run what blocks by asyncio.to_thread",
        RuntimeWarning,
        stacklevel=level,
    )


class Serving(SocketPublisher[S]):
    """What servers and UDP ports have in common; to be put before what they are."""

    waits_by = "handlers are called in serve_forever() and poll(), which waits where it is given a time, as poll(None)"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        assert isinstance(self._driver, ThreadDriver)
        self._thread = self._driver
        self._thread.serves = True
        self._away_since = self._thread.now()
        self._told_away = False

    def __enter__(self) -> Self:
        self._refuse_when_stopped("a block with a stopped server")
        return self

    def __exit__(self, kind: Any, error: BaseException | None, *_: Any) -> None:
        self.block_ended(error)
        leave(self._thread, self.stop, self.abort, error)

    def _had_time(self) -> bool:
        return has_had_time(self._thread, self._has_sent)

    @suggests
    def poll(self, timeout: float | None = 0.0) -> bool:
        """Serve all that is there; wait for the first thing at most ``timeout`` seconds (``None``: without end).

        Where more and more comes it returns after 50 ms. Returns whether anything happened: never, once the server is
        stopped. For a thread that has something else to do, too.
        """
        timeout = seconds(timeout, "poll")
        had_waited = self._thread.has_waited
        before_waiting(self._thread, "poll")
        if self.closed.done:
            return False
        driver = self._thread
        came = self._come_back() if driver.now() - self._away_since >= AWAY_SECONDS else False
        happened = (driver.pump(0.0 if came else timeout) or came) and driver.catch_up(CATCH_UP_SECONDS)
        if self.closed.done:  # a handler stopped it: this was its last turn
            driver.close()
        self._away_since = driver.now()
        if timeout == 0 and not (happened or had_waited):
            looked(driver)
        return happened

    def _came_so_far(self) -> tuple[int, int]:
        stats = self.stats()
        return stats.links, stats.messages_in

    def _come_back(self) -> bool:
        """Serve what came while nobody called for long, and say so once: to its peers this server was mute."""
        away = self._thread.now() - self._away_since
        before = self._came_so_far()
        came = self._thread.pump(0.0)
        if self._came_so_far() != before and not self._told_away:
            self._told_away = True
            self._log_fault(
                self,
                IPCError(
                    f"nobody let this server serve for {away:.0f} s, and peers waited: the blocking front serves only "
                    "inside serve_forever() and poll(). Call poll() now and then, serve in a thread of its own, or use "
                    "asyncio's node_ipc.serve. This is said once"
                ),
                loud=True,
                mistake=True,
            )
        return came

    def serve_forever(self) -> None:
        """Serve until the server is stopped: by ``stop()`` in a handler or in another thread.

        A ``start()`` right behind that, in a handler, lets this go on.

        Ctrl-C raises ``KeyboardInterrupt`` as everywhere; the ``with`` block then stops the server. SIGTERM stops it in
        order, then raises ``SystemExit(0)``, so what is behind this call runs only in ``finally`` and at the end of
        ``with``; a second one kills. That is in the main thread, where the program has no handler of its own.

        Stopped just before, as by a handler of signals, it returns at once. Raises :class:`NotConnected` where its
        ``with`` block, or a call of this, had ended before, and why that ``start()`` failed, as where another holds the
        address now, if no handler of ``error`` heard it.
        """
        before_waiting(self._thread, "serve_forever")
        self._refuse_when_stopped("serve_forever()")
        pump, over = self._thread.pump, self._over
        if self._thread.now() - self._away_since >= AWAY_SECONDS:
            self._come_back()
        with told_to_terminate(self._thread) as told:
            while not (over.done or told):
                pump(None)
        self.used_up()
        if told:
            self.end_for_good()
            self.stop()
            raise SystemExit(0)
        self._thread.close()
        over.result()

    @suggests
    def drain(self, timeout: float | None = None) -> None:
        """Wait until the kernel has everything that was emitted to anybody.

        Args:
            timeout: seconds; ``None`` waits as long as it takes.

        Raises:
            DrainTimeout: it took longer.
        """
        timeout = seconds(timeout, "drain")
        refuse_other_threads(self._driver, "drain")
        self.hand_over()
        if self.pending_bytes:
            before_waiting(self._thread, "drain")
            if not self._thread.run_until(lambda: not self.pending_bytes, timeout):
                raise DrainTimeout(f"{self.pending_bytes} bytes still wait after {timeout:g} s")

    def shutdown(self) -> None:
        """As ``stop`` in another thread, also where that is not known: its ``serve_forever`` ends, later."""
        self._thread.call_from_thread(self.stop)

    @suggests
    def stop(self, timeout: float | None = None) -> None:
        """Serve no more: what was emitted is sent, every link ends, the port is given back.

        In the handler of a request the answer goes out first.

        Args:
            timeout: the seconds it may take, after which every link is cut and the rest is dropped; ``None`` is
                ``close_timeout``.

        In a handler and in another thread this only begins, and the call that waits does the rest: ``serve_forever``
        ends then.
        """
        driver = self._thread
        if driver.thread() != driver.home and not driver.is_forked:
            seconds(timeout, "stop")  # which refuses what is none, here
            driver.call_from_thread(partial(self.stop, timeout))
            return
        self.begin_stop(timeout)
        finish(self._thread, self.closed)

    def abort(self) -> None:
        """Stop at once; what is not sent yet is dropped."""
        refuse_other_threads(self._driver, "abort")
        super().abort()
        finish(self._thread, self.closed)
