"""What must hold in every schedule, in words and in code. Nothing else of the exploration judges.

Each message has a number of its sender's, and is followed by itself: when it was taken from the program, whether it was
written to a link (seen on the link, whatever the library counts), whether a handler heard it.

order
    What one process hears of another over one link is in the order in which that emitted it; and what a client writes
    is, over all its links. (What is in doubt when a link ends may still come, behind what came over the next.)
at most once
    No message of a client's is written to two links, none at all twice to one; none is heard twice by one process.
accounting
    What a process took from its program is heard, or one that is still alive was told: what was never written counts
    in ``dropped`` (or ``replaced``, or is a request that has ended with an error), and nothing else; what was written
    and not heard is among the last ``in_flight`` of its link, or among the ``unheard`` of the other end, or such a
    request, or it was what that end could not read (the network puts garbage before it), which is an error there. What
    a process had read and not handled when it was killed goes with it: its kernel ends the link in order, which nobody
    can tell from a close. While a link is up a message is held: by the process, or on the way.
truth
    A request ends once, within its time-out; its answer is its own, and only one that was heard is answered.
liveness
    Once the network is healed, clients connect again, and what is sent to a peer that reads arrives, in bounded time:
    what waited for the kernel is gone, what was read is with handlers. Who closes has closed within ``close_timeout``.
one owner
    Of several servers on one address at most one listens.
bounded memory
    Queues, buffers, tasks, timers and pending requests stay within the options, at any moment; and when everything has
    ended nothing is left: no link, timer, task, request, room or place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from node_ipc.core.client import ClientCore, ClientState
from node_ipc.core.endpoint import ServerState
from node_ipc.core.life import Life
from node_ipc.errors import IPCError, ProtocolError

if TYPE_CHECKING:
    from schedule import Road, ScheduledDriver

    from node_ipc.config.config import Config
    from node_ipc.core.outcome import Outcome
    from node_ipc.core.server import ServerCore
    from node_ipc.core.session import Loss, Session
    from node_ipc.drivers.memory_link import MemoryLink

RECONNECT_SECONDS = 45.0
"""In which every client is connected again, once the network and a server are there: a retry comes 36 s after the last
at the most (30 s, 20 % more or less), and an attempt takes 5."""
ARRIVAL_SECONDS = 1.0
"""In which a message is heard, over a network that takes no time."""
LATE_SECONDS = 0.5
"""How much later than its time-out a request may end: a process may be kept from running."""
CLOSE_LATE_SECONDS = 1.0
"""How much later than its time-out somebody may have closed: it is kept from running more than once."""
TIMERS = 6
"""That a client or a server may have beside those of its links and requests: its own, of the log and of its end."""
TIMERS_OF_A_LINK = 7

MESSAGE = re.compile(rb'"by":"([^"]+)","number":(\d+)')
"""How a message says whose it is, anywhere in its frame."""


class Broken(AssertionError):
    """An invariant does not hold; ``invariant`` is its name."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


def require(holds: object, invariant: str, what: str) -> None:
    if not holds:
        raise Broken(invariant, what)


@dataclass
class Asked:
    """A request, and when it has to have ended."""

    number: int
    outcome: Outcome[Any]
    until: float
    ends: int = 0


@dataclass
class Sender:
    """A process that numbers what its program gives it, for all or for one link."""

    name: str
    taken: list[int] = field(default_factory=list)
    """Events, by their numbers, that ``emit`` or ``broadcast`` took."""
    asked: dict[int, Asked] = field(default_factory=dict)
    is_killed: bool = False
    has_inbox: bool = False
    """Whether it keeps what it heard until its program asks: what is in there goes with the process."""

    def given_up(self) -> set[int]:
        """The requests that have ended with an error, which told of them; who closes does not wait for their like."""
        return {number for number, asked in self.asked.items() if asked.outcome.done and asked.outcome.error}


class Ledger:
    """Follows each message."""

    def __init__(self) -> None:
        self.senders: dict[str, Sender] = {}
        self.heard: dict[tuple[str, str], set[int]] = {}
        """By who hears and who sent: the numbers."""
        self._numbers: dict[str, int] = {}
        self._last: dict[tuple[object, str], int] = {}
        self.broken: list[Broken] = []
        """What handlers found: the library reports what they raise, and goes on."""

    def sender(self, name: str) -> Sender:
        sender = self.senders.get(name)
        if sender is None:
            sender = self.senders[name] = Sender(name)
        return sender

    def next_number(self, process: str) -> int:
        """The next one of this process."""
        number = self._numbers[process] = self._numbers.get(process, -1) + 1
        return number

    # ---- order, at most once

    def hear(self, listener: str, by: str, number: int, way: object) -> None:
        """``listener`` heard this message, by this way: handlers over one link, or what was taken out of its inbox."""
        heard = self.heard.setdefault((listener, by), set())
        if number in heard:
            self.broken.append(Broken("at most once", f"{listener} heard {by}'s message {number} twice"))
        heard.add(number)
        last = self._last.get((way, by), -1)
        if number < last:
            self.broken.append(Broken("order", f"{listener} heard {by}'s message {number} after its {last}"))
        self._last[way, by] = max(last, number)

    def check_heard(self) -> None:
        if self.broken:
            raise self.broken[0]

    # ---- truth

    def answered(self, by: str, asked: Asked, now: float) -> None:
        """The outcome of a request is settled."""
        asked.ends += 1
        number, outcome = asked.number, asked.outcome
        if asked.ends > 1:
            self.broken.append(Broken("truth", f"{by}'s request {number} ended {asked.ends} times"))
        if now > asked.until:
            self.broken.append(Broken("truth", f"{by}'s request {number} ended at {now:g} s, due by {asked.until:g} s"))
        if outcome.error is None:
            was_heard = any(number in heard for (_, sender), heard in self.heard.items() if sender == by)
            if outcome.value != number or not was_heard:
                self.broken.append(Broken("truth", f"{by}'s request {number} was answered with {outcome.value!r}"))

    def check_requests(self, now: float) -> None:
        """None is overdue."""
        for sender in self.senders.values():
            for asked in sender.asked.values():
                if not (asked.outcome.done or sender.is_killed):
                    require(
                        now <= asked.until,
                        "truth",
                        f"{sender.name}'s request {asked.number} has not ended at {now:g} s",
                    )

    # ---- accounting

    def account(self, roads: Iterable[Road]) -> None:
        """Every message, when all links are gone."""
        written: dict[tuple[str, object], list[int]] = {}
        for road in roads:
            ends = [(road.client_session, road.client), (road.server_session, road.server)]
            for (sender, link), (receiver, other) in (ends, ends[::-1]):
                self._account_way(
                    road, link, (sender, road.processes[link]), (receiver, road.processes[other]), written
                )
        for (by, _), numbers in written.items():
            require(
                numbers == sorted(set(numbers)), "at most once", f"{by} wrote {numbers}: some twice, or out of order"
            )

    def _account_way(
        self,
        road: Road,
        link: MemoryLink,
        sender: tuple[Session, str],
        receiver: tuple[Session, str],
        written: dict[Any, list[int]],
    ) -> None:
        session, process = sender
        other, listener = receiver
        frames = b"".join(road.written[link]).split(b"\f")[:-1]
        messages = [(index, found) for index, frame in enumerate(frames) if (found := MESSAGE.search(frame))]
        numbers = [(index, int(found[2])) for index, found in messages if found[1].decode() == process]
        line = None if link is road.client else road.number  # a client that came back has two sockets for a while
        written.setdefault((process, line), []).extend(number for _, number in numbers)
        loss = _told(session)
        if loss is None and (session is None or self.sender(process).is_killed):
            return  # nobody was there to be told
        if self.sender(listener).is_killed and self.sender(listener).has_inbox:
            return  # it had heard more than is known here
        require(loss is not None, "accounting", f"link {road.number} is gone, and {process} was not told")
        assert loss is not None
        heard = self.heard.get((listener, process), set())
        given_up = self.sender(process).given_up()
        missing = [index for index, number in numbers if number not in heard and number not in given_up]
        undoubted = [index for index in missing if index < len(frames) - loss.in_flight]
        theirs = _told(other)
        if theirs is not None:
            unheard = theirs.unheard + isinstance(theirs.reason, ProtocolError)
        else:  # killed: its kernel ends in order what it had read, also what handlers had not come to, or never would
            unheard = 0 if other is None else len(other.incoming._held) + other.incoming.unheard
        require(
            len(undoubted) <= unheard,
            "accounting",
            f"of {len(frames)} messages that {process} wrote to link {road.number}, those at {undoubted} were unheard "
            f"by {listener}; {process} was told {loss}, {listener} that {unheard} were unheard",
        )

    def account_unwritten(
        self, name: str, taken: list[int], was_written: set[int], stats: Any, extra: int, killed: bool
    ) -> None:
        """What never came to a link was told, and nothing else was."""
        if killed:
            return
        unwritten = [number for number in taken if number not in was_written]
        told = stats.dropped + stats.replaced
        require(
            len(unwritten) <= told <= len(unwritten) + extra,
            "accounting",
            f"{name} never wrote {unwritten}, and told of {told} (with {extra} at the most that are not events)",
        )

    def written_by(self, roads: Iterable[Road], process: str, session: Session | None = None) -> set[int]:
        """The numbers of what this process wrote, over all links or over that of one session."""
        found: set[int] = set()
        for road in roads:
            for link, own in ((road.client, road.client_session), (road.server, road.server_session)):
                if road.processes[link] == process and (session is None or own is session):
                    texts = MESSAGE.findall(b"".join(road.written[link]))
                    found |= {int(number) for by, number in texts if by.decode() == process}
        return found


def _told(session: Session | None) -> Loss | None:
    """What this end's program was told; None where it was killed before."""
    return None if session is None or session.life is not Life.GONE else session.loss


# ---- one owner, bounded memory


def check_owners(servers: Iterable[ServerCore[Any]]) -> None:
    listening = sum(server.state is ServerState.LISTENING for server in servers)
    require(listening <= 1, "one owner", f"{listening} servers listen on one address")


def check_client(client: ClientCore[Any], settings: Config, unended: int) -> None:
    """Its memory; ``unended`` requests wait for their answers."""
    queue = client._queue
    require(len(queue) <= settings.max_queued_messages, "bounded memory", f"{len(queue)} messages are queued")
    most = settings.max_queued_bytes
    require(queue.bytes <= most or len(queue) == 1, "bounded memory", f"{queue.bytes} bytes are queued")
    most += 2 * settings.max_pending_bytes + 64 * 1024
    require(client.pending_bytes <= most, "bounded memory", f"{client.pending_bytes} bytes wait")
    pending = client._requests.pending if client._requests is not None else 0
    require(pending <= unended, "bounded memory", f"{pending} requests are kept, of which {unended} have not ended")
    require(client.closed.done == (client.state is ClientState.CLOSED), "liveness", "closed is not what the state says")


def check_server(server: ServerCore[Any], settings: Config) -> None:
    sockets = len(server._sessions) + len(server._opening)
    require(sockets <= settings.max_connections, "bounded memory", f"{sockets} sockets")
    require(
        len(server._full) <= sockets and sum(server._per_uid.values()) == sockets * bool(server._per_uid),
        "bounded memory",
        f"{sockets} sockets, {len(server._full)} full, {server._per_uid} counted",
    )
    for socket in server.sockets:
        most = 2 * settings.max_pending_bytes + 64 * 1024
        require(socket.pending_bytes <= most, "bounded memory", f"{socket.pending_bytes} bytes wait for {socket!r}")
    strangers = server.rooms._of.keys() - server._sessions.keys()
    require(not strangers, "bounded memory", f"the sockets {strangers} are in rooms, and are gone")


def check_end(process: str, seconds: float, settings: Config) -> None:
    """It has been closing for so long."""
    most = settings.close_timeout / 1000 + CLOSE_LATE_SECONDS
    require(seconds <= most, "liveness", f"{process} has been closing for {seconds:g} s")


def check_at_rest(session: Session | None) -> None:
    """Nothing holds up this link, for seconds: neither its peer nor handlers."""
    if session is None or not session.is_open:
        return
    out, incoming = session.outgoing, session.incoming
    require(not out.frames and not out.is_full, "liveness", f"{len(out.frames)} messages wait, and {session!r} is idle")
    require("handlers" not in incoming.pauses and not incoming._held, "liveness", f"{session!r} waits for no handler")


def check_timers(driver: ScheduledDriver, process: str, links: int, unended: int) -> None:
    timers, most = driver.timers_of(process), TIMERS + TIMERS_OF_A_LINK * links + unended
    require(
        timers <= most, "bounded memory", f"{process} has {timers} timers, with {links} links and {unended} requests"
    )


def check_nothing_left(driver: ScheduledDriver) -> None:
    require(not driver.connections, "bounded memory", f"{driver.connections} are left over")
    require(not driver.left(), "bounded memory", f"something is due yet: {driver.left()}")
    require(not driver.tasks, "bounded memory", f"{len(driver.tasks)} tasks are left over")
    require(not driver.listeners, "bounded memory", f"{driver.listeners} are left over")


def check_fault(error: BaseException | None) -> None:
    """A handler's failure that is an invariant's."""
    if isinstance(error, IPCError) and isinstance(error.__cause__, Broken):
        raise error.__cause__
