"""A session's life: the table, every pair of a state and an input, and any walk with its promises."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_ipc import Config
from node_ipc.core.events import Events
from node_ipc.core.life import TRANSITIONS, Life
from node_ipc.core.seam import Peer
from node_ipc.core.session import Loss, Session
from node_ipc.errors import ConnectionLost, IPCError, NotConnected, ProtocolError
from node_ipc.testing import MemoryDriver
from node_ipc.wire.codec import choose

INPUTS = sorted({name for _, name in TRANSITIONS})
NEXT: dict[tuple[Life, str], Life] = {
    (Life.WAITING, "opened"): Life.OPEN,
    (Life.WAITING, "failed"): Life.GONE,
    (Life.WAITING, "lost"): Life.GONE,
    (Life.OPEN, "peer leaves"): Life.LEFT,
    (Life.OPEN, "peer ended"): Life.CLOSING,
    (Life.OPEN, "close"): Life.CLOSING,
    (Life.OPEN, "finish"): Life.FINISHING,
    (Life.OPEN, "abort"): Life.CLOSING,
    (Life.OPEN, "cut"): Life.CUT,
    (Life.OPEN, "lost"): Life.GONE,
    (Life.LEFT, "peer ended"): Life.CLOSING,
    (Life.LEFT, "close"): Life.CLOSING,
    (Life.LEFT, "finish"): Life.FINISHING,
    (Life.LEFT, "abort"): Life.CLOSING,
    (Life.LEFT, "cut"): Life.CUT,
    (Life.LEFT, "lost"): Life.GONE,
    (Life.HOLDING, "caught up"): Life.CLOSING,
    (Life.HOLDING, "close"): Life.CLOSING,
    (Life.HOLDING, "finish"): Life.FINISHING,
    (Life.HOLDING, "abort"): Life.CLOSING,
    (Life.HOLDING, "cut"): Life.CUT,
    (Life.HOLDING, "lost"): Life.GONE,
    (Life.ANSWERING, "caught up"): Life.ANSWERING,  # until the handlers are done
    (Life.ANSWERING, "overdue"): Life.CLOSING,
    (Life.ANSWERING, "close"): Life.CLOSING,
    (Life.ANSWERING, "finish"): Life.FINISHING,
    (Life.ANSWERING, "abort"): Life.CLOSING,
    (Life.ANSWERING, "cut"): Life.CUT,
    (Life.ANSWERING, "lost"): Life.GONE,
    (Life.FINISHING, "answered"): Life.CLOSING,
    (Life.FINISHING, "peer ended"): Life.CLOSING,
    (Life.FINISHING, "close"): Life.CLOSING,
    (Life.FINISHING, "abort"): Life.CLOSING,
    (Life.FINISHING, "cut"): Life.CUT,
    (Life.FINISHING, "lost"): Life.GONE,
    (Life.CLOSING, "emptied"): Life.CLOSING,
    (Life.CLOSING, "peer ended"): Life.ANSWERED,
    (Life.CLOSING, "abort"): Life.CLOSING,
    (Life.CLOSING, "cut"): Life.CUT,
    (Life.CLOSING, "lost"): Life.GONE,
    (Life.ANSWERED, "emptied"): Life.ANSWERED,
    (Life.ANSWERED, "abort"): Life.ANSWERED,
    (Life.ANSWERED, "cut"): Life.CUT,
    (Life.ANSWERED, "lost"): Life.GONE,
    (Life.CUT, "abort"): Life.CUT,
    (Life.CUT, "lost"): Life.GONE,
    (Life.BROKEN, "close"): Life.BROKEN,
    (Life.BROKEN, "abort"): Life.BROKEN,
    (Life.BROKEN, "cut"): Life.CUT,
    (Life.BROKEN, "lost"): Life.GONE,
    (Life.LOST, "lost"): Life.GONE,
}
REASON = IPCError("enough")
BROKEN = ConnectionLost("broken")


class FakeLink:
    """A link that notes what it is told, and takes everything unless it is full."""

    def __init__(self) -> None:
        self.peer = Peer("memory")
        self.told: list[str] = []
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert "abort" not in self.told
        self.written.append(data)

    def write_parts(self, parts: list[Any]) -> None:
        self.write(b"".join(parts))

    def read_into(self, room: memoryview) -> int:
        return 0

    def read_first(self, read: Callable[[], bool] | None) -> None: ...

    def pending_bytes(self) -> int:
        return 0

    def unread_bytes(self) -> int | None:
        return None

    def all_arrived(self) -> bool:
        return True

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


class Stage:
    """A session of a fake link, whose owner this is."""

    def __init__(self) -> None:
        self.driver = MemoryDriver()
        config = Config(max_handler_frames=1).settings()
        codec = choose(config)
        self.events: Events[Session] = Events(2, codec.check_name, self._fault, self.driver.spawn)
        self.session = Session(self, codec, self.events, self.driver, config, 1, serving=True)  # type: ignore[arg-type]
        self.link = FakeLink()
        self.told: list[str] = []
        self.heard: list[Any] = []
        self.losses: list[Loss] = []
        self.is_answering = False
        self.in_handler: Callable[[], None] = lambda: None
        self.in_loss: Callable[[], None] = lambda: None
        self.events.on("n", self._hear)
        self.events.on("slow", self._work)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("session_"):
            raise AttributeError(name)
        return lambda *arguments: self.told.append(name)

    def _hear(self, data: Any) -> None:
        self.heard.append(data)
        act, self.in_handler = self.in_handler, lambda: None
        act()

    async def _work(self) -> None:
        await asyncio.sleep(3600)

    def _fault(self, session: Any, error: IPCError) -> None:
        self.told.append("session_fault")

    def session_lost(self, session: Session, loss: Loss) -> None:
        act, self.in_loss = self.in_loss, lambda: None
        act()
        self.told.append("session_lost")
        self.losses.append(loss)

    def pending_changed(self, session: Session, pending: int) -> None: ...
    def answers_first(self, session: Session) -> bool:
        return self.is_answering

    def comes(self, *messages: bytes) -> None:
        self.session.received(b"".join(b'{"type":"%s","data":1}\f' % name for name in messages))

    def give(self, name: str) -> None:
        """This input, with what the driver would give along."""
        arguments: dict[str, list[Any]] = {
            "opened": [self.link], "failed": [BROKEN], "lost": [BROKEN], "close": [1.0], "finish": [1.0],
            "cut": [REASON],
        }  # fmt: skip
        self.session._input(name, *arguments.get(name, []))

    def interrupt(self) -> None:
        raise KeyboardInterrupt


def bring(life: Life) -> Stage:
    """A session that lives so, by what users do and drivers tell; not for BROKEN, which lasts as long as a handler."""
    stage = Stage()
    session = stage.session
    if life is not Life.WAITING:
        session.opened(stage.link)
    if life is Life.LEFT:
        session.pause_reading("inbox", True)
        session.ending()
    elif life is Life.HOLDING:
        stage.in_handler = stage.interrupt
        with pytest.raises(KeyboardInterrupt):
            stage.comes(b"n", b"n")
        session.ended()
    elif life is Life.ANSWERING:
        stage.comes(b"slow")
        session.ending()
        session.ended()
    elif life is Life.FINISHING:
        stage.is_answering = True
        session.close()
    elif life in (Life.CLOSING, Life.ANSWERED):
        session.close()
        if life is Life.ANSWERED:
            session.ended()
    elif life is Life.CUT:
        session.cut(REASON)
    elif life is Life.LOST:
        stage.in_loss = stage.interrupt
        with pytest.raises(KeyboardInterrupt):
            session.lost(None)
    elif life is Life.GONE:
        session.lost(None)
    assert session.life is life
    return stage


def test_the_table_is_the_one_that_is_tested() -> None:
    assert NEXT.keys() == TRANSITIONS.keys()
    assert all(hasattr(Session, method) for method in TRANSITIONS.values())


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("life", [life for life in Life if life is not Life.BROKEN], ids=lambda life: life.value)
def test_every_state_and_input(life: Life, name: str) -> None:
    stage = bring(life)
    before = list(stage.told), list(stage.link.told), stage.session.is_open
    stage.give(name)
    assert stage.session.life is NEXT.get((life, name), life)
    if (life, name) not in TRANSITIONS:
        assert (stage.told, stage.link.told, stage.session.is_open) == before
    stage.driver.close()


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_while_what_a_broken_link_brought_is_handled(name: str) -> None:
    stage = bring(Life.HOLDING)
    lives: list[Life] = []

    def act() -> None:
        lives.append(stage.session.life)
        with pytest.raises(NotConnected):
            stage.session.emit("n", 1)
        stage.give(name)
        lives.append(stage.session.life)

    stage.session.incoming._held.append(b'{"type":"n","data":2}')
    stage.in_handler = act
    stage.session.lost(BROKEN)
    assert lives == [Life.BROKEN, NEXT.get((Life.BROKEN, name), Life.BROKEN)]
    assert stage.session.life is Life.GONE
    ended = (Life.BROKEN, name) in TRANSITIONS
    assert stage.heard == ([1, 1] if ended else [1, 1, 2])
    assert stage.losses[0].unheard == (1 if ended else 0)
    assert stage.losses[0].reason is (REASON if name == "cut" else BROKEN)
    stage.driver.close()


def test_a_session_is_open_while_it_takes_emits() -> None:
    takes = {Life.OPEN, Life.LEFT, Life.HOLDING, Life.ANSWERING, Life.FINISHING}
    for life in Life:
        if life is not Life.BROKEN:
            stage = bring(life)
            assert stage.session.is_open is (life in takes)
            stage.driver.close()


def test_only_an_answer_proves_that_everything_has_arrived() -> None:
    for life, in_flight in ((Life.CLOSING, 1), (Life.ANSWERED, 0)):
        stage = Stage()
        stage.session.opened(stage.link)
        stage.session.emit("n", 1)
        stage.session.close()
        if life is Life.ANSWERED:
            stage.session.ended()
        stage.session.lost(None)
        assert stage.losses == [Loss(None, 0, in_flight)]


WALK = ["opened", "peer leaves", "peer ended", "lost", "close", "finish", "answered", "abort", "cut", "emptied"]
WALK += ["n", "slow", "n slow n", "fail", "emit", "pause", "resume", "full", "turn", "second"]


@given(st.lists(st.sampled_from(WALK), max_size=20))
@settings(max_examples=400, deadline=None)
def test_any_walk_keeps_the_promises_of_the_states(steps: list[str]) -> None:
    stage = Stage()
    session, driver = stage.session, stage.driver
    for step in ["opened", *steps]:
        life = session.life
        if step.split()[0] in ("n", "slow"):
            if life not in (Life.WAITING, Life.GONE, Life.HOLDING, Life.ANSWERING):
                stage.comes(*step.encode().split())
        elif step == "fail":
            session.fail(ProtocolError("no"))
        elif step == "emit":
            with contextlib.suppress(NotConnected):
                session.emit("n", 1)
        elif step in ("pause", "resume"):
            session.pause_reading("inbox", step == "pause")
        elif step == "full":
            session.pause()
        elif step == "emptied":
            if "abort" not in stage.link.told:  # a link that was cut takes nothing, and says nothing
                session.writable()
        elif step == "turn":
            if driver.turn_due():
                driver.run_turn()
        elif step == "second":
            driver.advance(1)
        else:
            stage.give(step)
        if life is not session.life and life in (Life.CLOSING, Life.ANSWERED, Life.CUT, Life.GONE):
            assert session.life in (Life.ANSWERED, Life.CUT, Life.GONE)
        assert stage.told.count("session_opened") == 1
        assert stage.told.count("session_lost") == (session.life is Life.GONE)
    if session.life is not Life.GONE:
        session.lost(None)
    assert [loss is session.loss for loss in stage.losses] == [True]
    stage.driver.advance(3600)
    assert stage.driver.next_due() is None


def test_a_loss_that_was_interrupted_is_told_once_when_it_comes_again() -> None:
    stage = bring(Life.OPEN)
    stage.session.emit("n", 1)
    stage.in_loss = stage.interrupt
    with pytest.raises(KeyboardInterrupt):
        stage.session.lost(BROKEN)
    stage.session.lost(BROKEN)
    stage.session.lost(None)
    assert stage.losses == [Loss(BROKEN, 0, 1)]


def test_a_session_that_is_not_trusted_is_cut_and_lost_in_a_later_turn() -> None:
    for life in Life:
        if life not in (Life.BROKEN, Life.WAITING):
            stage = bring(life)
            stage.session.distrust(ConnectionLost("interrupted"))
            stage.driver.advance(0)
            assert stage.session.life is Life.GONE
            assert len(stage.losses) == 1
            stage.driver.close()
