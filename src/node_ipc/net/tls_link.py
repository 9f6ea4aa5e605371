"""A link with TLS over a link without: what a session writes goes out encrypted, what comes in is plain again.

To the carrier (a TCP link) it is the receiver, to the session it is the link, and ``tls.TLSChannel`` does the
arithmetic. It knows no socket and no event loop: any driver whose links and receivers follow ``seam.py`` can
put it between the two.

asyncio has TLS of its own, but both its loops close a connection whose handshake failed without sending the alert,
so the other end never hears why. Here the alert goes out first, and what the other end still sends is read and
dropped for a moment: a socket closed over unread bytes resets the connection, and the alert would be lost with it.

When the session hears what:

- ``opened`` after the handshake, when the other end is who it must be; ``failed`` where it does not come so far,
  and only when the carrier is gone, so that a server's limits count every open socket;
- ``ended`` after TLS's closing message. A carrier that ends without it was cut off: ``lost`` with an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.seam import NOBODY, Peer
from ..errors import ConnectionLost, TLSError

if TYPE_CHECKING:
    from ..config.config import Config
    from ..core.seam import Driver, Link, Receiver, Timer
    from .tls import TLSChannel

__all__ = ["SHUTDOWN_SECONDS", "Handshakes", "TLSLink"]

SHUTDOWN_SECONDS = 2.0
"""How long the carrier may take to end when both sides have said their last word, or a handshake has failed."""
MOST_BYTES = 64 * 1024
"""What a receiver gets at once (``Receiver.received``); a channel may give 16 KiB more than it was fed."""


class TLSLink:
    """One TLS connection: the session's ``Link``, and the ``Receiver`` of the link that carries it."""

    __slots__ = (
        "_carried",
        "_carrier",
        "_channel",
        "_closed",
        "_driver",
        "_end_told",
        "_error",
        "_full",
        "_handshake_seconds",
        "_open",
        "_over",
        "_receiver",
        "_settled",
        "_timer",
        "peer",
    )

    def __init__(
        self,
        driver: Driver,
        receiver: Receiver,
        channel: TLSChannel,
        handshake_seconds: float,
        settled: Callable[[TLSLink], None] | None = None,
    ) -> None:
        """Wait for the carrier to open.

        Args:
            driver: for the time limits.
            receiver: the session.
            channel: a new conversation.
            handshake_seconds: how long the handshake may take, counted from the carrier's opening.
            settled: called once the handshake is done, or has failed.
        """
        self._driver = driver
        self._receiver = receiver
        self._channel = channel
        self._handshake_seconds = handshake_seconds
        self._settled = settled
        self._carrier: Link
        self._carried = False
        self._timer: Timer | None = None
        self._error: Exception | None = None
        self._open = False  # the session was told
        self._closed = False  # we have said that we send nothing more
        self._end_told = False  # the other end has
        self._over = False  # failed or aborted: only the carrier's end is awaited
        self._full = False  # the kernel holds bytes back

    # ---- the carrier's receiver

    def opened(self, link: Link) -> None:
        self._carrier, self._carried = link, True
        self.peer = link.peer
        if self._over:  # given up already
            link.abort()
            return
        self._timer = self._driver.call_later(self._handshake_seconds, self._handshake_due)
        self._send(self._channel.outgoing())

    def failed(self, error: Exception) -> None:
        self._settle()
        self._receiver.failed(error)

    def received(self, data: bytes) -> None:
        if self._over:
            return
        channel = self._channel
        try:
            plain = channel.receive(data)
        except TLSError as error:
            self._fail(error)
            return
        self._send(channel.outgoing())
        if not self._open:
            if not channel.established:
                return
            self._establish()
        if plain:
            self._deliver(plain)
        if channel.ended and not (self._end_told or self._over):
            self._end_told = True
            self._receiver.ended()

    def ending(self) -> None:
        if self._open:
            self._receiver.ending()

    def ended(self) -> None:
        if not self._over:
            error = self._channel.receive_end()
            if error is not None:
                self._fail(error)
                return
        if self._over or self._closed:
            self._carrier.close()

    def pause(self) -> None:
        self._full = True
        if self._open:
            self._receiver.pause()

    def writable(self) -> None:
        self._full = False
        if self._open:
            self._receiver.writable()

    def lost(self, error: Exception | None) -> None:
        self._cancel_timer()
        self._settle()
        if self._error is not None:
            error = self._error
        elif not self._open:
            error = self._channel.explained(error or EOFError())
        elif error is not None and not self._over:
            error = self._cut_off(error)
        receiver, self._receiver = self._receiver, NOBODY
        if self._open:
            receiver.lost(error)
        else:
            assert error is not None
            receiver.failed(error)

    # ---- the session's link

    def write(self, data: bytes) -> None:
        if not (self._over or self._closed):
            self._carrier.write(self._channel.send(data))

    def pending_bytes(self) -> int:
        """Encrypted, so a little more than was written."""
        return self._carrier.pending_bytes()

    def unread_bytes(self) -> int | None:
        """TLS is spoken over TCP, which does not know."""
        return None

    def all_arrived(self) -> bool:
        return self._carrier.all_arrived()

    def close(self) -> None:
        if self._over:
            return
        if not self._closed:
            self._closed = True
            self._channel.close()
            self._send(self._channel.outgoing())
            self._carrier.close()
        if self._end_told and self._timer is None:
            self._timer = self._driver.call_later(SHUTDOWN_SECONDS, self._shutdown_due)

    def abort(self) -> None:
        self._over = True
        self._carrier.abort()

    def pause_reading(self) -> None:
        self._carrier.pause_reading()

    def resume_reading(self) -> None:
        self._carrier.resume_reading()

    # ---- the handshake and the end

    def give_up(self, error: Exception) -> None:
        """End a handshake that is under way; an open link stays."""
        if not (self._open or self._over):
            self._error, self._over = error, True
            if self._carried:
                self._carrier.abort()

    def forget(self) -> None:
        """Whoever wanted it wants it no more: end the handshake and tell nobody; an open link stays."""
        if not self._open:
            self._receiver = NOBODY
            self.give_up(ConnectionLost("the attempt was cancelled"))

    def _establish(self) -> None:
        self._cancel_timer()
        self._settle()
        who = self.peer
        self.peer = Peer(who.transport, host=who.host, port=who.port, certificate=self._channel.certificate)
        self._open = True
        self._receiver.opened(self)
        if self._full and not self._over:
            self._receiver.pause()

    def _deliver(self, plain: bytes) -> None:
        if len(plain) <= MOST_BYTES:
            if not self._over:
                self._receiver.received(plain)
            return
        for start in range(0, len(plain), MOST_BYTES):
            self._deliver(plain[start : start + MOST_BYTES])

    def _send(self, data: bytes) -> None:
        if data:
            self._carrier.write(data)

    def _fail(self, error: Exception) -> None:
        """Send the alert, if there is one, and end; the session hears of it when the carrier is gone."""
        self._error, self._over = error, True
        alert = self._channel.outgoing()
        self._send(alert)
        if self._open or not alert:
            self._carrier.abort()
            return
        self._carrier.close()
        self._cancel_timer()
        self._timer = self._driver.call_later(SHUTDOWN_SECONDS, self._shutdown_due)

    def _cut_off(self, error: Exception) -> Exception:
        """What the carrier's failure means here; it says more than that the connection was reset."""
        meaning = self._channel.receive_end()
        if meaning is None:
            return error
        meaning.__cause__ = error
        return meaning

    def _handshake_due(self) -> None:
        self._timer = None
        self.give_up(self._channel.explained(TimeoutError()))

    def _shutdown_due(self) -> None:
        self._timer = None
        self._carrier.abort()

    def _settle(self) -> None:
        settled, self._settled = self._settled, None
        if settled is not None:
            settled(self)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Handshakes:
    """A server's certificates, and its links that still shake hands."""

    def __init__(self, driver: Driver, settings: Config) -> None:
        """Load the certificates; raises what ``tls.server_context`` raises."""
        from .tls import ServerTLS

        self._driver = driver
        self._seconds = settings.handshake_timeout / 1000
        self._server = ServerTLS(settings.tls, assured=settings.profile == "assured")
        self._under_way: set[TLSLink] = set()

    def begin(self, receiver: Receiver, peer: Peer) -> TLSLink:
        """TLS between this receiver and the link that will carry it."""
        channel = self._server.channel(name=f"the client {peer}".replace("tls ", ""))
        link = TLSLink(self._driver, receiver, channel, self._seconds, self._under_way.discard)
        self._under_way.add(link)
        return link

    def reload(self, tls: Any) -> None:
        """New certificates for new handshakes: the files as they are now, or other options; open links stay."""
        self._server.reload(tls)

    def give_up(self) -> None:
        """The server stops; the links that have shaken hands are its own to close."""
        for link in tuple(self._under_way):
            link.give_up(ConnectionLost("the server was stopped before the TLS handshake was done"))
