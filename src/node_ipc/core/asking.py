"""Who can be asked: the verb ``request`` of a client and of a server's sockets, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from ..config.misspelt import suggests

if TYPE_CHECKING:
    from typing import TypedDict, Unpack

    from typing_extensions import TypeForm

    from .events import Event, R
    from .outcome import Outcome, Progress

    class AskOptions(TypedDict, total=False):
        """What every ``request`` takes by name, besides ``type``, which says what it gives."""

        timeout: float | None
        progress: Progress | None

    class AskAnywhereOptions(AskOptions, total=False):
        """As it is asked of another server, or of a socket there."""

        to: str | None


__all__ = ["Asking", "Question"]

T = TypeVar("T")


class Question(NamedTuple):
    """What ``request`` was given, on its way from a front to the wire."""

    method: str | Event[Any]
    params: Any
    timeout: float | None
    type: Any
    progress: Progress | None = None


class Asking:
    """Has an other side that answers requests."""

    __slots__ = ()

    @overload
    def request(
        self, method: Event[T], params: T, *, type: TypeForm[R] = ..., **how: Unpack[AskOptions]
    ) -> Outcome[R]: ...
    @overload
    def request(
        self, method: str, params: Any = None, *, type: TypeForm[R] = ..., **how: Unpack[AskOptions]
    ) -> Outcome[R]: ...
    @suggests
    def request(
        self,
        method: str | Event[Any],
        params: Any = None,
        *,
        timeout: float | None = 30.0,
        progress: Progress | None = None,
        type: Any = None,
    ) -> Outcome[Any]:
        """Ask the other side, and get what its handler returns: ``await client.request("add", {"a": 1, "b": 2})``.

        Args:
            method: what is asked for: a name, or an ``Event``.
            params: what the handler gets.
            timeout: seconds; ``None`` waits as long as the link holds; 0, or what is left of a time that is over, times
                out without asking.
            type: what to decode the result to; None takes what JSON makes of it.
            progress: called with what the handler tells meanwhile (``request.progress(data)``).

        While the link is down the request waits in the queue, and its time runs; when that is over, or nobody awaits it
        any more, it is not sent at all.

        Returns:
            An outcome, to await: it is settled with the result, or with one of these errors. One that goes while
            nobody has looked at its error is logged: ``the request … failed, and nobody awaited it``.

        On the callback front it is awaited in an async handler.

        Raises:
            RemoteError: the other side answered with an error.
            RequestTimeout: no answer came in time.
            ConnectionLost: the link went away before the answer; it may have been carried out.
            NotConnected: the client is closed.
            InvalidPayload: the result does not fit ``type``.
            BackpressureError: it cannot even wait to be sent.

        Example:
            >>> async def ask():
            ...     print(await client.request("add", {"a": 1, "b": 2}))
            >>> _ = client.on("connect", ask)
        """
        return self._ask(Question(method, params, timeout, type, progress))

    def _ask(self, question: Question) -> Outcome[Any]:
        """Send a request; the outcome is its answer."""
        raise NotImplementedError
