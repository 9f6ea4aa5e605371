"""What the looks at a send queue prove, and what they do not."""

from __future__ import annotations

from node_ipc.core.arrivals import (
    LOOK_EVERY,
    MOST_IN_A_WRITE,
    MOST_LOOKS,
    READ_AHEAD,
    SIGN_SECONDS,
    Arrivals,
    next_look,
)


def test_what_was_read_alone_proves_nothing() -> None:
    """The peer may have read it all at once and be busy with the first message."""
    arrivals = Arrivals()
    assert arrivals.looked(128, 5_000, 0, 1.0) == 0
    assert arrivals.looked(256, 10_000, 0, 1.1) == 0


def test_who_reads_on_has_handled_what_it_read_before() -> None:
    arrivals = Arrivals()
    assert [arrivals.looked(64 * number, 5_000 * number, 0, number / 10) for number in range(1, 6)] == [
        0,
        0,
        64,
        128,
        192,
    ]
    assert arrivals.looked(1000, 50_000, 1, 0.6) == 0
    assert arrivals.looked(1100, 60_000, 0, 0.7) == 256


def test_a_peer_that_reads_once_a_second_may_only_look_for_a_sign_of_us() -> None:
    arrivals = Arrivals()
    assert [arrivals.looked(64 * number, 5_000 * number, 0, number * 0.5) for number in range(1, 9)] == [0] * 8


def test_under_load_what_lies_further_back_than_a_peer_reads_ahead_is_handled() -> None:
    """The queue is never empty, so the bytes tell: those that are unread, and those that were read ahead."""
    arrivals = Arrivals()
    unread = 200_000
    proven = [arrivals.looked(number * 128, number * 10_000, unread, 0.0) for number in range(1, 201)]
    first = (unread + READ_AHEAD) // 10_000 + 1
    assert proven[:first] == [0] * first
    assert proven[first:] == [number * 128 for number in range(1, 201 - first)]


def test_what_is_kept_is_bounded() -> None:
    arrivals = Arrivals()
    for number in range(1, 2 * MOST_LOOKS):
        assert arrivals.looked(number, number, 1 << 30, 0.0) == 0
    assert len(arrivals._looks) == MOST_LOOKS


def test_the_bounds_of_a_proof_are_exact() -> None:
    arrivals = Arrivals()
    assert arrivals.looked(10, 1000, 1, 0.0) == 0
    assert arrivals.looked(20, READ_AHEAD + 1001, 2, 0.0) == 0
    assert arrivals.looked(30, READ_AHEAD + 1002, 2, 0.0) == 10
    for last, arrived in ((SIGN_SECONDS, 0), (SIGN_SECONDS - 0.01, 1)):
        arrivals = Arrivals()
        assert [arrivals.looked(number, number, 0, at) for number, at in ((1, 0.0), (2, 0.1), (3, last))] == [
            *(0, 0, arrived)
        ]


def test_the_next_look_comes_after_so_many_writes_and_large_ones_count_as_eight() -> None:
    assert [next_look(messages) // LOOK_EVERY for messages in (1, 3, 8, 64)] == [1, 3, MOST_IN_A_WRITE, MOST_IN_A_WRITE]
