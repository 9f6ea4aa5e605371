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

Where the link stands is a ``TLSState``, and what is done in it about what happens is in ``TRANSITIONS``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..config.foreign import caused
from ..core.seam import NOBODY, Peer, PlainLink
from ..errors import ConnectionLost, TLSError

if TYPE_CHECKING:
    from ..config.config import Config
    from ..core.seam import Driver, Link, Receiver, Timer
    from .tls import TLSChannel

__all__ = ["SHUTDOWN_SECONDS", "TRANSITIONS", "Handshakes", "TLSLink", "TLSState"]

SHUTDOWN_SECONDS = 2.0
"""How long the carrier may take to end when both sides have said their last word, or a handshake has failed."""
MOST_BYTES = 64 * 1024
"""What a receiver gets at once (``Receiver.received``); a channel may give 16 KiB more than it was fed."""


class TLSState(Enum):
    """Where a TLS link stands."""

    WAITING = "waiting"
    """For its carrier."""
    SHAKING = "shaking"
    """The handshake is under way."""
    OPEN = "open"
    """The session knows; both ends may send."""
    ENDED = "ended"
    """The other end has said that it sends nothing more."""
    CLOSING = "closing"
    """This end has said so."""
    CLOSED = "closed"
    """Both have; the carrier is to end."""
    REFUSED = "refused"
    """It came to nothing, of which the session hears when the carrier is gone."""
    CUT = "cut"
    """It was open and is not any more, of which the session hears when the carrier is gone."""
    GONE = "gone"
    """The session was told the last."""


_S = TLSState
SHAKING = _S.SHAKING  # what each read asks for
SENDING = (_S.OPEN, _S.ENDED)
TELLING = (_S.OPEN, _S.ENDED, _S.CLOSING, _S.CLOSED, _S.CUT)
"""The session knows of the link, and hears of it until it is gone."""
DEAF = (_S.REFUSED, _S.CUT, _S.GONE)
"""What the carrier still brings is dropped."""

TRANSITIONS: dict[tuple[TLSState, str], str] = {
    (_S.WAITING, "opened"): "_shake",
    (_S.WAITING, "failed"): "_fail",
    (_S.WAITING, "given up"): "_refuse",
    (_S.SHAKING, "established"): "_establish",
    (_S.SHAKING, "fault"): "_refuse_with_alert",
    (_S.SHAKING, "given up"): "_refuse_and_abort",
    (_S.SHAKING, "carrier ended"): "_end_of_carrier",
    (_S.SHAKING, "lost"): "_lose_unopened",
    (_S.OPEN, "peer ended"): "_hear_the_end",
    (_S.OPEN, "close"): "_say_goodbye",
    (_S.OPEN, "abort"): "_cut",
    (_S.OPEN, "fault"): "_cut_with_alert",
    (_S.OPEN, "carrier ended"): "_end_of_carrier",
    (_S.OPEN, "lost"): "_lose_open",
    (_S.ENDED, "close"): "_say_goodbye_last",
    (_S.ENDED, "abort"): "_cut",
    (_S.ENDED, "fault"): "_cut_with_alert",
    (_S.ENDED, "lost"): "_lose_open",
    (_S.CLOSING, "peer ended"): "_hear_the_end_last",
    (_S.CLOSING, "abort"): "_cut",
    (_S.CLOSING, "fault"): "_cut_with_alert",
    (_S.CLOSING, "carrier ended"): "_end_of_carrier",
    (_S.CLOSING, "lost"): "_lose_open",
    (_S.CLOSED, "abort"): "_cut",
    (_S.CLOSED, "carrier ended"): "_close_carrier",
    (_S.CLOSED, "lost"): "_lose_open",
    (_S.REFUSED, "opened"): "_abort_late",
    (_S.REFUSED, "failed"): "_fail",
    (_S.REFUSED, "carrier ended"): "_close_carrier",
    (_S.REFUSED, "lost"): "_lose_unopened",
    (_S.CUT, "abort"): "_cut",
    (_S.CUT, "carrier ended"): "_close_carrier",
    (_S.CUT, "lost"): "_lose_cut",
}
"""``(state, input) → what is done``; the methods set the next state, and a pair that is not there is ignored."""


class TLSLink(PlainLink):
    """One TLS connection: the session's ``Link``, and the ``Receiver`` of the link that carries it."""

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
        self.state = _S.WAITING
        self._driver = driver
        self._receiver = receiver
        self._channel = channel
        self._handshake_seconds = handshake_seconds
        self._settled = settled
        self._carrier: Link
        self._timer: Timer | None = None
        self._error: Exception | None = None  # why it came to nothing, or was cut
        self._full = False  # the kernel holds bytes back

    def _input(self, name: str, *arguments: Any) -> None:
        """Look the input up and do what the table says."""
        method = TRANSITIONS.get((self.state, name))
        if method is not None:
            getattr(self, method)(*arguments)

    # ---- the carrier's receiver

    def opened(self, link: Link) -> None:
        self._carrier, self.peer = link, link.peer
        self._input("opened")

    def failed(self, error: Exception) -> None:
        self._input("failed", error)

    def received(self, data: bytes) -> None:
        if self.state in DEAF:
            return
        channel = self._channel
        try:
            plain = channel.receive(data)
        except TLSError as error:
            self._input("fault", error)
            return
        self._send(channel.outgoing())
        if self.state is SHAKING:
            if not channel.established:
                return
            self._input("established")
        if plain:
            self._deliver(plain)
        if channel.ended:
            self._input("peer ended")

    def ending(self) -> None:
        if self.state in TELLING:
            self._receiver.ending()

    def ended(self) -> None:
        self._input("carrier ended")

    def pause(self) -> None:
        self._full = True
        if self.state in TELLING:
            self._receiver.pause()

    def writable(self) -> None:
        self._full = False
        if self.state in TELLING:
            self._receiver.writable()

    def lost(self, error: Exception | None) -> None:
        self._input("lost", error)

    # ---- the session's link

    def write(self, data: bytes) -> None:
        if self.state in SENDING:
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
        self._input("close")

    def abort(self) -> None:
        self._input("abort")

    def pause_reading(self) -> None:
        self._carrier.pause_reading()

    def resume_reading(self) -> None:
        self._carrier.resume_reading()

    # ---- the handshake

    def give_up(self, error: Exception) -> None:
        """End a handshake that is under way; an open link stays."""
        self._input("given up", error)

    def forget(self) -> None:
        """Whoever wanted it wants it no more: end the handshake and tell nobody; an open link stays."""
        if self.state not in TELLING:
            self._receiver = NOBODY
            self.give_up(ConnectionLost("the attempt was cancelled"))

    def _shake(self) -> None:
        self.state = _S.SHAKING
        self._timer = self._driver.call_later(self._handshake_seconds, self._handshake_due)
        self._send(self._channel.outgoing())

    def _handshake_due(self) -> None:
        self.give_up(self._channel.explained(TimeoutError()))

    def _establish(self) -> None:
        self._cancel_timer()
        self._settle()
        who = self.peer
        self.peer = Peer(who.transport, host=who.host, port=who.port, certificate=self._channel.certificate)
        self.state = _S.OPEN
        self._receiver.opened(self)
        if self._full and self.state is not _S.CUT:
            self._receiver.pause()

    def _refuse(self, error: Exception) -> None:
        self.state, self._error = _S.REFUSED, error

    def _refuse_and_abort(self, error: Exception) -> None:
        self._refuse(error)
        self._carrier.abort()

    def _refuse_with_alert(self, error: Exception) -> None:
        """Send the alert, if there is one, and leave the other end a moment to take it."""
        alert = self._channel.outgoing()
        if not alert:
            self._refuse_and_abort(error)
            return
        self._refuse(error)
        self._send(alert)
        self._carrier.close()
        self._arm_shutdown()

    def _abort_late(self) -> None:
        self._carrier.abort()

    def _fail(self, error: Exception) -> None:
        """The carrier did not come about."""
        self.state = _S.GONE
        self._settle()
        self._receiver.failed(error)

    # ---- while it is open

    def _deliver(self, plain: bytes) -> None:
        if len(plain) <= MOST_BYTES:
            if self.state not in DEAF:
                self._receiver.received(plain)
            return
        for start in range(0, len(plain), MOST_BYTES):
            self._deliver(plain[start : start + MOST_BYTES])

    def _send(self, data: bytes) -> None:
        if data:
            self._carrier.write(data)

    # ---- the end

    def _hear_the_end(self) -> None:
        self.state = _S.ENDED
        self._receiver.ended()

    def _hear_the_end_last(self) -> None:
        self.state = _S.CLOSED
        self._arm_shutdown()
        self._receiver.ended()

    def _say_goodbye(self) -> None:
        self.state = _S.CLOSING
        self._channel.close()
        self._send(self._channel.outgoing())
        self._carrier.close()

    def _say_goodbye_last(self) -> None:
        self._say_goodbye()
        self.state = _S.CLOSED
        self._arm_shutdown()

    def _end_of_carrier(self) -> None:
        """It sends nothing more: whether the other end had said so."""
        error = self._channel.receive_end()
        if error is not None:
            self._input("fault", error)
        elif self.state is _S.CLOSING:
            self._carrier.close()

    def _close_carrier(self) -> None:
        self._carrier.close()

    def _cut(self) -> None:
        self.state = _S.CUT
        self._carrier.abort()

    def _cut_with_alert(self, error: Exception) -> None:
        self._error = error
        self._send(self._channel.outgoing())
        self._cut()

    def _lose_unopened(self, error: Exception | None) -> None:
        self._settle()
        self._last_receiver().failed(self._error or self._channel.explained(error or EOFError()))

    def _lose_open(self, error: Exception | None) -> None:
        self._last_receiver().lost(error and self._cut_off(error))

    def _lose_cut(self, error: Exception | None) -> None:
        self._last_receiver().lost(self._error or error)

    def _last_receiver(self) -> Receiver:
        """Who is told the last, and then nothing more."""
        self.state = _S.GONE
        self._cancel_timer()
        receiver, self._receiver = self._receiver, NOBODY
        return receiver

    def _cut_off(self, error: Exception) -> Exception:
        """What the carrier's failure means here; it says more than that the connection was reset."""
        meaning = self._channel.receive_end()
        return error if meaning is None else caused(meaning, error)

    def _arm_shutdown(self) -> None:
        self._cancel_timer()
        self._timer = self._driver.call_later(SHUTDOWN_SECONDS, self._carrier.abort)

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
