"""What waits for the bus has an end."""

from __future__ import annotations

from node_ipc.cluster.waiting import Waiting


def test_messages_come_out_as_they_went_in() -> None:
    waiting = Waiting(10, 100)
    for number in range(3):
        assert waiting.add("s", b"%d" % number, number) == 0
    assert (len(waiting), waiting.bytes) == (3, 3)
    assert [waiting.take() for _ in range(3)] == [("s", b"0", 0), ("s", b"1", 1), ("s", b"2", 2)]
    assert not waiting and waiting.bytes == 0


def test_past_either_limit_the_oldest_go() -> None:
    waiting = Waiting(3, 10)
    assert [waiting.add("s", b"xx", number) for number in range(4)] == [0, 0, 0, 1]
    assert waiting.add("s", b"x" * 8, 4) == 2
    assert waiting.take()[2] == 3
    assert waiting.add("s", b"x" * 11, 5) == 2 and not waiting
    assert waiting.has_room(3, 10) and not waiting.has_room(4, 1) and not waiting.has_room(1, 11)
    assert waiting.clear() == 0
