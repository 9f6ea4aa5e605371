"""A block of messages: a loop over it can be stopped by whoever is called inside."""

from __future__ import annotations

import pytest

from node_ipc.core.block import NOTHING, Block


def test_a_loop_ends_behind_the_message_at_which_it_is_stopped() -> None:
    block, seen = Block(), []
    for message in map(str.upper, block.begin(["a", "b", "c", "d"])):
        seen.append(message)
        if message == "B":
            assert block.stop() == ["c", "d"]
            assert block.stop() == []
    assert seen == ["A", "B"]


@pytest.mark.parametrize("kind", [list, tuple])
def test_it_knows_the_message_at_hand_and_its_place(kind: type) -> None:
    block = Block()
    assert (block.position, block.at_hand) == (-1, None)
    frames = block.begin(kind(["a", "b"]))
    assert (block.position, block.at_hand) == (-1, None)
    for position, message in enumerate(frames):
        assert (block.position, block.at_hand) == (position, message)


def test_the_place_stays_where_the_decoder_refused_a_message() -> None:
    block = Block()
    frames = block.begin(["1", "2", "x", "4"])
    with pytest.raises(ValueError, match="x"):
        list(map(int, frames))
    assert (block.position, block.at_hand) == (2, "x")
    assert list(map(int, frames)) == [4]


def test_nothing_is_kept_of_a_block_that_is_done() -> None:
    block = Block()
    list(block.begin(["a"]))
    block.messages = NOTHING
    assert (block.position, block.at_hand, block.stop()) == (-1, None, [])


def test_the_next_read_begins_anew() -> None:
    block = Block()
    next(block.begin(["a", "b", "c"]))
    assert list(block.begin(["d"])) == ["d"]
    assert (block.position, block.at_hand) == (0, "d")
