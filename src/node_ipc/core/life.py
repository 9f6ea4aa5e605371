"""Where a session stands, and what happens to it there: the table that ``session.py`` runs.

Both ends end their side by themselves, and either may be the first. What the peer sent before its end is handled, what
this side emitted before its own still goes out: most states are about that.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TRANSITIONS", "Life"]


class Life(Enum):
    """Where a session stands."""

    WAITING = "waiting"
    """For its link."""
    OPEN = "open"
    """Messages come and go."""
    LEFT = "left"
    """The peer has ended while nothing was read: what it sent before is read now, and waits for no handler."""
    HOLDING = "holding"
    """The peer has ended, and messages of its wait for handlers."""
    ANSWERING = "answering"
    """The peer has ended, and handlers under way may still answer it, for a moment."""
    FINISHING = "finishing"
    """A handler of a request has ended this side: its answer goes out first, and nothing more is heard."""
    CLOSING = "closing"
    """This side has ended, behind what was emitted; what still comes is for nobody."""
    ANSWERED = "answered"
    """So has the peer, after ours and all that was before it: everything has arrived."""
    CUT = "cut"
    """Ended at once for a reason that was reported; ``lost`` will follow."""
    BROKEN = "broken"
    """The link is gone, and what it had brought is being handled."""
    LOST = "lost"
    """The link is gone, and its owner is about to know."""
    GONE = "gone"
    """Over, and its owner knows."""


_L = Life
TRANSITIONS: dict[tuple[Life, str], str] = {
    (_L.WAITING, "opened"): "_open",
    (_L.WAITING, "failed"): "_never_open",
    (_L.WAITING, "lost"): "_lose_unopened",
    (_L.OPEN, "peer leaves"): "_leave",
    (_L.OPEN, "peer ended"): "_hear_the_end",
    (_L.OPEN, "close"): "_close",
    (_L.OPEN, "finish"): "_finish",
    (_L.OPEN, "abort"): "_abort",
    (_L.OPEN, "cut"): "_cut",
    (_L.OPEN, "lost"): "_break",
    (_L.LEFT, "peer ended"): "_hear_the_end_at_work",
    (_L.LEFT, "close"): "_close",
    (_L.LEFT, "finish"): "_finish",
    (_L.LEFT, "abort"): "_abort",
    (_L.LEFT, "cut"): "_cut",
    (_L.LEFT, "lost"): "_break",
    (_L.HOLDING, "caught up"): "close",
    (_L.HOLDING, "close"): "_close",
    (_L.HOLDING, "finish"): "_finish",
    (_L.HOLDING, "abort"): "_abort",
    (_L.HOLDING, "cut"): "_cut",
    (_L.HOLDING, "lost"): "_break",
    (_L.ANSWERING, "caught up"): "_close_if_idle",
    (_L.ANSWERING, "overdue"): "close",
    (_L.ANSWERING, "close"): "_close",
    (_L.ANSWERING, "finish"): "_finish",
    (_L.ANSWERING, "abort"): "_abort",
    (_L.ANSWERING, "cut"): "_cut",
    (_L.ANSWERING, "lost"): "_break",
    (_L.FINISHING, "answered"): "_end_in_order",
    (_L.FINISHING, "peer ended"): "_end_in_order",
    (_L.FINISHING, "close"): "_close",
    (_L.FINISHING, "abort"): "_abort",
    (_L.FINISHING, "cut"): "_cut",
    (_L.FINISHING, "lost"): "_lose",
    (_L.CLOSING, "emptied"): "_close_link",
    (_L.CLOSING, "peer ended"): "_hear_the_answer",
    (_L.CLOSING, "abort"): "_abort_link",
    (_L.CLOSING, "cut"): "_cut",
    (_L.CLOSING, "lost"): "_lose",
    (_L.ANSWERED, "emptied"): "_close_link",
    (_L.ANSWERED, "abort"): "_abort_link",
    (_L.ANSWERED, "cut"): "_cut",
    (_L.ANSWERED, "lost"): "_lose",
    (_L.CUT, "abort"): "_abort_link",
    (_L.CUT, "lost"): "_lose",
    (_L.BROKEN, "close"): "_hear_no_more",
    (_L.BROKEN, "abort"): "_hear_no_more",
    (_L.BROKEN, "cut"): "_cut",
    (_L.BROKEN, "lost"): "_break",
    (_L.LOST, "lost"): "_lose",
}
"""``(life, input) → what is done``; the methods set the next, and a pair that is not there is ignored."""
