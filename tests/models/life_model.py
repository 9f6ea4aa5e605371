"""A client, a server and the link between them, as states: what they do, what the user, the kernel and time do to them.

Small on purpose: one client, one server, so many events and requests, so many times that each may start or break.
What is on its way arrives when ``to server`` or ``to client`` says so, all of it that is there; what has begun (an
attempt, to listen, to stop without sockets) comes to its end at ``run``, before anything else but what the user does.
A message is a number; the request is ``R``, its answer ``A``, that it was given up ``X``, the end of a direction ``.``,
or ``!`` where what was unread went with it.

``CLIENT`` and ``SERVER`` are the rows of the code's own tables that this model walks; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from state_space import Step

CLIENT = {
    ("IDLE", "connect"): {"CONNECTING"},
    ("IDLE", "close"): {"CLOSING"},
    ("CONNECTING", "opened"): {"CONNECTED"},
    ("CONNECTING", "failed"): {"WAITING"},
    ("CONNECTING", "close"): {"CLOSING"},
    ("CONNECTED", "lost"): {"WAITING"},
    ("CONNECTED", "close"): {"CLOSING"},
    ("WAITING", "retry"): {"CONNECTING"},
    ("WAITING", "close"): {"CLOSING"},
    ("CLOSING", "opened"): {"CLOSING"},
    ("CLOSING", "failed"): {"CLOSING"},
    ("CLOSING", "connect"): {"CLOSING"},
    ("CLOSING", "close"): {"CLOSING"},
    ("CLOSING", "lost"): {"CLOSED", "CONNECTING"},
    ("CLOSING", "expired"): {"CLOSING", "CLOSED", "CONNECTING"},
    ("CLOSED", "connect"): {"CONNECTING"},
}
"""``(state, input) → the states that follow``."""
NOT_CLIENT = {
    **dict.fromkeys((("CONNECTING", name) for name in ("abandoned", "interrupted", "lost")), "a loop or a signal"),
    **dict.fromkeys((("CONNECTED", name) for name in ("abandoned", "interrupted")), "a loop or a signal"),
    **dict.fromkeys((("WAITING", name) for name in ("abandoned", "interrupted")), "a loop or a signal"),
    **dict.fromkeys((("CLOSING", name) for name in ("abandoned", "interrupted")), "a loop or a signal"),
    ("CLOSED", "interrupted"): "a loop or a signal",
    ("CLOSED", "close"): "a handler of the end",
}
"""The code's rows that are left out, and why: an event loop that is closed, a handler of a signal that raises, or one
that hears of the end and takes back what was to come behind it."""
SERVER = {
    ("IDLE", "start"): {"STARTING"},
    ("IDLE", "stop"): {"CLOSED"},
    ("STARTING", "listening"): {"LISTENING"},
    ("STARTING", "stop"): {"CLOSING"},
    ("LISTENING", "stop"): {"CLOSING"},
    ("CLOSING", "start"): {"CLOSING"},
    ("CLOSING", "stop"): {"CLOSING"},
    ("CLOSING", "expired"): {"CLOSING"},
    ("CLOSING", "emptied"): {"CLOSED", "STARTING"},
    ("CLOSED", "start"): {"STARTING"},
}
NOT_SERVER = {
    **dict.fromkeys(((state, "failed") for state in ("STARTING", "LISTENING", "CLOSING")), "an address that fails"),
    ("CLOSED", "stop"): "a hook of the end",
}


class Sizes(NamedTuple):
    """How much there may be of each."""

    events: int = 2
    requests: int = 1
    connects: int = 2
    starts: int = 2
    breaks: int = 1


class State(NamedTuple):
    """Where everything stands."""

    client: str = "IDLE"
    server: str = "IDLE"
    client_anew: bool = False
    """The client closes, and connects anew behind that."""
    server_anew: bool = False
    """The server stops, and starts anew behind that."""
    attempt: bool = False
    """The client is connecting: what becomes of it is seen at the next ``run``."""
    queue: str = ""
    here: str = "none"
    """The client's end of the link: open, ended (by it), none."""
    there: str = "none"
    """The server's."""
    to_server: str = ""
    to_client: str = ""
    written: str = ""
    """On this link, and not proven to have arrived."""
    heard: str = ""
    told: str = ""
    """Of which the client was told that they are in doubt, or dropped."""
    unheard: str = ""
    """Of which the server was told that nobody heard them."""
    request: str = "none"
    """none, waits, answered, failed."""
    emitted: int = 0
    connects: int = 0
    starts: int = 0
    breaks: int = 0


def steps(state: State, sizes: Sizes) -> Iterator[Step[State]]:
    """What may happen next."""
    yield from (step for step in _users(state, sizes) if is_modelled(step.to))
    if is_pending(state):
        yield from (Step("run", to) for to in _run(state))
        return  # all else lets time go on, in which this happens first
    for step in (*_kernels(state, sizes), *_timers(state)):
        yield from (Step(step.action, to) for to in _run(step.to))
    if state.client == "WAITING" and state.there == "none":
        yield Step("retry", state._replace(client="CONNECTING", attempt=True))


def is_modelled(state: State) -> bool:
    """Whether there is no second link, beside one that the server has not noticed to be gone: the model has one."""
    return not (state.attempt and state.there != "none")


def is_pending(state: State) -> bool:
    """Whether something has begun that ``run`` brings to its end."""
    stops = state.server == "CLOSING" and state.there == "none"
    closes = state.client == "CLOSING" and state.here == "none"
    return state.attempt or state.server == "STARTING" or stops or closes


def _users(state: State, sizes: Sizes) -> Iterator[Step[State]]:
    takes = state.client not in ("CLOSING", "CLOSED")
    if takes and state.emitted < sizes.events:
        yield Step("emit", _send(state._replace(emitted=state.emitted + 1), str(state.emitted)))
    if takes and state.request == "none" and sizes.requests:
        yield Step("ask", _send(state._replace(request="waits"), "R"))
    if state.connects < sizes.connects and state.client in ("IDLE", "CLOSED"):
        yield Step("connect", state._replace(client="CONNECTING", attempt=True, connects=state.connects + 1))
    elif state.connects < sizes.connects and state.client == "CLOSING" and not state.client_anew:
        yield Step("connect", state._replace(client_anew=True, connects=state.connects + 1))
    if takes:
        yield Step("close", _close(state))
    elif state.client_anew:
        yield Step("close", state._replace(client_anew=False))
    if state.starts < sizes.starts and state.server in ("IDLE", "CLOSED"):
        yield Step("start", state._replace(server="STARTING", starts=state.starts + 1))
    elif state.starts < sizes.starts and state.server == "CLOSING" and not state.server_anew:
        yield Step("start", state._replace(server_anew=True, starts=state.starts + 1))
    if state.server in ("IDLE", "STARTING", "LISTENING") and not (state.attempt and state.server == "LISTENING"):
        yield Step("stop", _stop(state))
    elif state.server_anew:
        yield Step("stop", state._replace(server_anew=False))


def _send(state: State, message: str) -> State:
    if state.client == "CONNECTED":
        return _write(state, message)
    return state._replace(queue=state.queue + message)


def _write(state: State, messages: str) -> State:
    carried = state.to_server + messages if state.there != "none" or state.here == "open" else state.to_server
    return state._replace(to_server=carried, written=state.written + messages.replace("X", ""))


def _withdraw(state: State) -> State:
    """A request that was never sent is not sent any more."""
    if "R" in state.queue:
        return state._replace(queue=state.queue.replace("R", ""), request="failed")
    return state


def _close(state: State) -> State:
    state = _withdraw(state)
    if state.client == "CONNECTED":
        return state._replace(client="CLOSING", here="ended", to_server=state.to_server + ".")
    if state.client == "CONNECTING":
        return state._replace(client="CLOSING")
    return state._replace(client="CLOSING")  # IDLE, WAITING: closed in the next turn


def _closed(state: State, doubt: bool = True) -> State:
    """The client has ended: its link is gone, what waited is dropped, what was written is in doubt."""
    told = state.told + state.queue + (state.written if doubt else "")
    request = "failed" if state.request == "waits" else state.request
    state = state._replace(here="none", queue="", written="", told=told, request=request, attempt=False)
    if state.client_anew:
        return state._replace(client="CONNECTING", client_anew=False, attempt=True)
    return state._replace(client="CLOSED")


def _stop(state: State) -> State:
    if state.server == "IDLE":
        return state._replace(server="CLOSED")
    if state.there == "none":
        return state._replace(server="CLOSING")
    return state._replace(server="CLOSING", there="ended", to_client=state.to_client + ".")


def _stopped(state: State) -> State:
    """The server has ended; behind that it may start."""
    return state._replace(server="STARTING" if state.server_anew else "CLOSED", server_anew=False)


# ---- what follows at once


def _run(state: State) -> Iterator[State]:
    """What was begun is done, and what begins by that."""
    if not is_pending(state):
        yield state
    elif is_modelled(state):
        for to in _turn(state):
            yield from _run(to)


def _turn(state: State) -> Iterator[State]:
    """A server listens, an attempt ends. Which is first is not said."""
    listening = state._replace(server="LISTENING") if state.server == "STARTING" else state
    if state.server == "CLOSING" and state.there == "none":
        listening = _stopped(state)
    if not state.attempt:
        yield _closed(listening) if state.client == "CLOSING" and state.here == "none" else listening
        return
    if listening.server == "LISTENING":
        yield _opened(listening)
    if state.server != "LISTENING":
        yield _failed(listening)
    if listening.server == "STARTING":
        yield listening


def _opened(state: State) -> State:
    state = state._replace(attempt=False, here="open", there="open", to_server="", to_client="", written="")
    state = _write(state._replace(queue=""), state.queue)
    if "R" in state.written and state.request != "waits":
        raise AssertionError("a request that has ended was sent")
    if state.client == "CLOSING":
        return state._replace(here="ended", to_server=state.to_server + ".")
    return state._replace(client="CONNECTED")


def _failed(state: State) -> State:
    if state.client == "CLOSING":
        return _closed(state)
    return state._replace(client="WAITING", attempt=False)


# ---- the kernel


def _kernels(state: State, sizes: Sizes) -> Iterator[Step[State]]:
    if state.to_server and state.there != "none":
        yield Step("to server", _arrive_there(state))
    if state.to_client and state.here != "none":
        yield Step("to client", _arrive_here(state))
    if state.here != "none" and state.there != "none" and state.breaks < sizes.breaks:
        yield Step("break", _break(state._replace(breaks=state.breaks + 1)))


def _arrive_there(state: State) -> State:
    """The server reads all that is there."""
    came, state = state.to_server, state._replace(to_server="")
    for message in came:
        if message == ".":
            return _end_there(state)
        if message == "X":
            continue
        if state.there != "open":
            state = state._replace(unheard=state.unheard + message)
            continue
        state = state._replace(heard=state.heard + message)
        if message == "R" and state.here != "none":
            state = state._replace(to_client=state.to_client + "A")
    return state


def _end_there(state: State) -> State:
    """The client has ended: so does the server, if it has not, and its link is over."""
    end = "." if state.there == "open" else ""
    state = state._replace(there="none", to_client=state.to_client + end if state.here != "none" else "")
    return _stopped(state) if state.server == "CLOSING" else state


def _arrive_here(state: State) -> State:
    """The client reads all that is there."""
    came, state = state.to_client, state._replace(to_client="")
    for message in came:
        if message in ".!":
            return _end_here(state, message == "!")
        if state.here == "open" and state.request == "waits":  # one that has closed hears nothing
            rest = state.written.partition("R")[2] if "R" in state.written else state.written
            state = state._replace(request="answered", written=rest)
    return state


def _end_here(state: State, reset: bool) -> State:
    """The server has ended, in order or not."""
    if state.client == "CLOSING":
        return _closed(
            state, doubt=reset or bool(state.to_server.replace(".", ""))
        )  # behind our own end: a proof where all was read
    to_server = state.to_server + "." if state.there != "none" else ""
    return _lost(state._replace(to_server=to_server))


def _lost(state: State) -> State:
    """The client's link is gone, and it tries again."""
    failed = state.request == "waits" and "R" in state.written
    request = "failed" if failed else state.request
    told = state.told + state.written
    return state._replace(client="WAITING", here="none", to_client="", told=told, written="", request=request)


def _break(state: State) -> State:
    """Both hear that the link is gone, and what was on its way with it."""
    state = state._replace(to_server="", to_client="", there="none")
    if state.server == "CLOSING":
        state = _stopped(state)
    return _closed(state) if state.client == "CLOSING" else _lost(state)


# ---- timers


def _timers(state: State) -> Iterator[Step[State]]:
    if state.client == "CLOSING":
        to_server = state.to_server if state.there == "none" or "." in state.to_server else state.to_server + "."
        yield Step("client expired", _closed(state._replace(to_server=to_server, to_client="")))
    if state.server == "CLOSING":
        end = "!" if state.to_server.replace(".", "") else "."  # a kernel that throws away what was unread says so
        to_client = state.to_client.replace(".", "") + end if state.here != "none" else ""
        yield Step("server expired", _stopped(state._replace(there="none", to_server="", to_client=to_client)))
    if state.request == "waits":
        yield Step("request timed out", _time_out(state))


def _time_out(state: State) -> State:
    if "R" in state.queue:
        return _withdraw(state)
    state = state._replace(request="failed")
    return _write(state, "X") if state.client == "CONNECTED" else state


# ---- what is to hold


def accounted(state: State) -> bool:
    """Every event is heard, or somebody was told, or it is held: in the queue, or to be told of at the link's end."""
    held = state.queue + state.told + state.heard + state.unheard + state.written
    return all(str(number) in held for number in range(state.emitted))


def at_most_once(state: State) -> bool:
    """None is heard twice, and none is both dropped from the queue and on its way."""
    return len(set(state.heard)) == len(state.heard) and not set(state.queue) & set(state.heard + state.to_server)


def in_order(state: State) -> bool:
    events = [message for message in state.heard if message != "R"]
    return events == sorted(events)


def request_is_true(state: State) -> bool:
    """What was answered was carried out; what waits is somewhere."""
    if state.request == "answered":
        return "R" in state.heard
    return state.request != "waits" or state.client not in ("CLOSED",)


def quiet(state: State) -> bool:
    """All is over: nobody waits for anything."""
    over = state.client == "CLOSED" and state.server in ("CLOSED", "IDLE")
    return over and state.here == state.there == "none" and state.request != "waits"


def ends_agree(state: State) -> bool:
    """A client that is connected has a link, one that waits has none."""
    has_link = state.here != "none"
    return {"CONNECTED": has_link, "WAITING": not has_link, "CLOSED": not has_link, "IDLE": not has_link}.get(
        state.client, True
    )
