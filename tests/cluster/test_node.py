"""A node among others, on a broker in memory and a virtual clock: delivery, loss, order, presence, requests."""

from __future__ import annotations

import random
from typing import Any
from unittest.mock import patch

import pytest
from msgspec import Raw

from cluster_nodes import BEAT, Group
from node_ipc.cluster import node as module
from node_ipc.cluster.node import TRANSITIONS, Node, NodeState
from node_ipc.core.everywhere import RemoteSocket
from node_ipc.errors import BackpressureError, ConnectionLost, FrameTooLarge, NoResponder, NotConnected, RequestTimeout


def everything(data: Any) -> Any:
    return data


# ---- who hears what


def test_an_emit_reaches_the_nodes_with_somebody_in_the_room_and_no_other() -> None:
    group = Group(3)
    one, two, three = group.processes
    two.join("a")
    three.join("b")
    group.run(BEAT)
    one.emit("a", data=1)
    one.emit("b", data=2)
    one.emit(data=3)
    group.run(0.1)
    assert [process.numbers for process in group.processes] == [[], [1, 3], [2, 3]]
    assert two.heard[0][0] == ("a",) and two.heard[1][0] == ()


def test_who_is_in_several_rooms_hears_it_once_and_for_all_of_them() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    two.join("b")
    group.run(BEAT)
    for number in range(3):
        one.emit("a", "b", "c", data=number)
    group.run(0.1)
    assert two.numbers == [0, 1, 2]
    assert {rooms for rooms, _ in two.heard} == {("a", "b")}
    assert two.node.stats().duplicates == 3  # one for each second copy
    assert not two.gaps


def test_what_is_emitted_from_the_end_of_a_join_on_comes_all_of_it() -> None:
    group = Group(2)
    one, two = group.processes
    before = two.enter("a")
    assert not before.done
    two.join("b")
    group.driver.run_until(lambda: before.done)
    one.emit("a", data=1)
    assert two.enter("a", "a").done  # it is there already
    group.run(0.01)
    assert two.numbers == [1] and not two.gaps and before.error is None


def test_all_who_join_in_one_turn_cost_one_question_and_those_who_join_meanwhile_one_more() -> None:
    group = Group(2)
    two = group.processes[1]
    with patch.object(two.line, "confirm", wraps=two.line.confirm) as confirm:
        first = [two.enter(f"room {number}", "all") for number in range(100)]
        group.driver.run_until(lambda: bool(confirm.call_count))
        then = [two.enter(f"later {number}", "all") for number in range(100)]
        assert not any(each.done for each in first + then)
        group.driver.run_until(lambda: all(each.done for each in first + then))
        assert confirm.call_count == 2


def test_a_join_does_not_wait_for_a_bus_that_is_down_and_what_is_emitted_when_it_is_back_comes() -> None:
    group = Group(2)
    one, two = group.processes
    asked = two.enter("a")
    group.run(0.001)  # the question is on its way
    meanwhile = two.enter("b")
    assert not asked.done and not meanwhile.done
    group.broker.kill()
    group.driver.run_until(lambda: asked.done and meanwhile.done)
    assert two.enter("c").done
    group.broker.restart()
    group.driver.run_until(lambda: one.node.state is two.node.state is NodeState.UP)
    again = two.enter("a", "b", "c")
    assert again.done, "they were subscribed before the bus was up"
    one.emit("a", data=1)
    group.run(3)
    assert two.numbers == [1] and not two.gaps


def test_where_the_bus_has_just_come_back_a_join_waits_also_of_rooms_that_were_there_before() -> None:
    group = Group(2)
    two = group.processes[1]
    before = two.enter("a")
    group.driver.run_until(lambda: before.done)
    group.broker.kill()
    group.run(1)
    group.broker.restart()
    group.driver.run_until(lambda: two.node.state is NodeState.JOINING)
    again = two.enter("a")
    assert not again.done
    group.driver.run_until(lambda: again.done)
    assert two.node.state is not NodeState.DOWN


def test_a_room_that_was_left_and_joined_again_is_another_question() -> None:
    group = Group(2)
    two = group.processes[1]
    left = two.enter("a")
    group.run(0.001)  # the question is on its way
    two.leave("a")
    again = two.enter("a")
    group.driver.run_until(lambda: left.done)
    assert not again.done, "the answer says nothing of this one"
    group.driver.run_until(lambda: again.done)


def test_joins_keep_nothing_however_many_come_while_the_bus_answers_none() -> None:
    group = Group(2)
    two = group.processes[1]
    two.enter("all")
    group.run(0.001)
    waiting = {id(two.enter("all", f"room {number}")) for number in range(1000)}
    assert len(waiting) == 1


def test_nobody_waits_for_a_join_where_the_server_ends() -> None:
    group = Group(2)
    two = group.processes[1]
    waiting = two.enter("a")
    two.node.abort()
    assert waiting.done and waiting.error is None and two.enter("b").done


def test_an_emit_to_many_rooms_is_one_message_to_everybody() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("room 39")
    before = group.broker.messages
    one.emit(*(f"room {number}" for number in range(40)))
    group.run(0.01)
    assert group.broker.messages - before == 1
    assert len(two.heard) == 1 and len(two.heard[0][0]) == 40


def test_except_goes_along_as_names() -> None:
    group = Group(2)
    one, two = group.processes
    seen: list[Any] = []
    two.deliver = lambda audience, frame, event: seen.append((audience.but, audience.but_rooms))  # type: ignore[method-assign]
    there = RemoteSocket("n1.7", "n1", 7)
    one.emit(but=(there, RemoteSocket("n5.8", "n5", 8)), but_rooms=("quiet",))
    group.run(0.1)
    assert seen == [((7,), ("quiet",))]


def test_a_node_costs_the_broker_the_rooms_that_it_has() -> None:
    group = Group(2)
    one, two = group.processes
    for number in range(10):
        two.join(f"room {number}")
    group.run(BEAT)
    assert len(two.line.subjects) == 12  # and its inbox, and everybody
    before = group.broker.deliveries
    for number in range(1000):
        one.emit(f"other room {number}")
    group.run(0.1)
    assert group.broker.deliveries == before and not two.heard
    for number in range(10):
        two.leave(f"room {number}")
    assert len(two.line.subjects) == 2


# ---- order, duplicates, loss


def test_messages_come_in_the_order_of_their_emits_in_each_room() -> None:
    group = Group(3)
    one, two, three = group.processes
    three.join("a")
    group.run(BEAT)
    for number in range(200):
        (one if number % 2 else two).emit("a", data=number)
    group.run(0.1)
    assert [number for number in three.numbers if number % 2] == list(range(1, 200, 2))
    assert [number for number in three.numbers if not number % 2] == list(range(0, 200, 2))


def test_what_comes_twice_is_dropped_and_counted() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    group.run(BEAT)
    publish = one.line.publish
    one.line.publish = lambda subject, data: publish(subject, data) and publish(subject, data)  # type: ignore[method-assign]
    for number in range(5):
        one.emit("a", data=number)
    group.run(0.1)
    assert two.numbers == [0, 1, 2, 3, 4] and two.node.stats().duplicates == 5 and not two.gaps


def test_what_is_missing_in_the_middle_is_told_once_with_its_count() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    two.join("b")
    group.run(BEAT)
    for number in range(10):
        group.broker.loses = lambda subject, line, number=number: ".room." in subject and number in (2, 3, 5)  # type: ignore[misc]
        one.emit("a", data=number)
        one.emit("b", data=number)
        group.run(0.01)
    group.run(1)
    assert two.numbers == [number for number in range(10) if number not in (2, 3, 5) for _ in "ab"]
    assert two.told[-1] == ("bus.gap", "n0", 6) and two.events.count("bus.gap") == 1
    assert two.node.stats().lost == 6


def test_what_is_missing_at_the_end_is_found_by_asking() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    group.run(BEAT)
    one.emit("a", data=1)
    group.run(0.01)
    group.broker.loses = lambda subject, line: ".room." in subject
    for _ in range(7):
        one.emit("a")
    group.run(0.01)
    group.broker.loses = lambda subject, line: False
    group.run((module.AUDIT_BEATS + 2) * BEAT)
    assert two.numbers == [1] and dict(two.gaps) == {"n0": 7}


def test_what_was_lost_before_anything_came_is_counted_too() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    group.run(3 * BEAT)
    group.broker.loses = lambda subject, line: ".room." in subject
    for _ in range(4):
        one.emit("a")
    group.run(0.01)
    group.broker.loses = lambda subject, line: False
    one.emit("a", data=5)
    group.run(1)
    assert two.numbers == [5] and dict(two.gaps) == {"n0": 4}


def test_what_was_sent_before_somebody_joined_is_no_loss() -> None:
    group = Group(2)
    one, two = group.processes
    for number in range(5):
        one.emit("a", data=number)
        group.run(0.3)
    two.join("a")
    for number in range(5, 10):
        one.emit("a", data=number)
        group.run(0.3)
    two.leave("a")
    one.emit("a")
    group.run(0.3)
    two.join("a")
    group.run(0.3)
    one.emit("a", data=11)
    group.run(30)
    assert two.numbers == [*range(5, 10), 11] and not two.gaps


def test_what_a_client_library_dropped_is_found_at_the_next_heartbeat() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    group.run(BEAT)
    one.emit("a", data=1)
    group.run(0.01)
    group.broker.loses = lambda subject, line: ".room." in subject
    one.emit("a")
    group.run(0.01)
    group.broker.loses = lambda subject, line: False
    two.node.missed()
    group.run(2 * BEAT)
    assert dict(two.gaps) == {"n0": 1}


def test_a_heartbeat_does_not_settle_what_was_in_doubt_before_it() -> None:
    """Found by the simulation: cut off while something is sent, and the broker dies before anybody was asked."""
    group = Group(3)
    one, two, three = group.processes
    two.join("a")
    group.run(3 * BEAT)
    group.broker.cut(two.line)
    one.emit("a", data=1)
    group.run(BEAT)
    three.kill()
    group.broker.mend(two.line)
    group.run(1.9)  # it still waits for the third
    assert two.node.stats().state == "joining"
    group.broker.kill()
    group.broker.restart()
    group.run(15)
    assert dict(two.gaps) == {"n0": 1}


# ---- a sender that is new


def test_what_a_new_node_sent_while_this_one_was_cut_off_is_counted() -> None:
    group = Group(2)
    _one, two = group.processes
    two.join("a")
    group.run(3 * BEAT)
    group.broker.cut(two.line)
    new = group.start("new")
    group.run(BEAT)
    for number in range(5):
        new.emit("a", data=number)
    new.emit(data=5)
    group.run(0.01)
    group.broker.mend(two.line)
    group.run(3)
    new.emit("a", data=6)
    group.run(15)
    assert two.numbers == [6] and dict(two.gaps) == {"new": 6}


def test_a_first_message_that_comes_before_its_senders_hello_hides_nothing() -> None:
    group = Group(2)
    _one, two = group.processes
    two.join("a")
    group.run(3 * BEAT)
    group.broker.loses = lambda subject, line: line is two.line
    new = group.start("new")
    group.run(0.1)
    for number in range(5):
        new.emit("a", data=number)
    group.run(0.01)
    group.broker.loses = lambda subject, line: False
    new.emit("a", data=5)
    group.run(0.01)
    assert two.numbers == [5]
    group.run(3)
    assert dict(two.gaps) == {"new": 5}
    assert "new" in {node.name for node in two.node.nodes()}


def test_what_was_sent_before_this_node_began_or_joined_is_not_its_loss() -> None:
    group = Group(2)
    one, two = group.processes
    for number in range(5):
        one.emit("a", data=number)
        group.run(0.3)
    group.broker.cut(one.line)  # whoever comes now hears of it late
    late = group.start("late")
    late.join("a")
    two.join("b")
    group.run(4 * BEAT)
    for number in range(3):
        one.emit("a", data=number)  # these wait, and come
    group.broker.mend(one.line)
    group.run(15)
    assert late.numbers == [0, 1, 2] and not late.gaps and not two.gaps


def test_of_a_node_that_was_forgotten_nothing_is_made_up() -> None:
    from node_ipc.cluster import members

    group = Group(2)
    one, two = group.processes
    two.join("a")
    group.run(3 * BEAT)
    for number in range(5):
        one.emit("a", data=number)
    group.run(0.1)
    group.broker.cut(one.line)
    group.run(5 * BEAT)
    two.node._members._gone.clear()
    for number in range(members.MOST_GONE + 1):  # who could publish could invent them
        two.node._members.note(f"x{number}", 1, group.driver.now() - 9)
    group.run(2 * BEAT)
    assert two.node._members.forgot_at > 0
    group.broker.mend(one.line)
    group.run(15)
    one.emit("a", data=9)
    group.run(15)
    assert two.numbers == [0, 1, 2, 3, 4, 9] and not two.gaps


def test_a_node_of_a_version_that_does_not_say_its_age_is_no_reason_to_make_up_losses() -> None:
    """Nor is it asked what it does not know: since some number."""
    from node_ipc.cluster.messages import Hello, Marks, Sync, decode, encode

    group = Group(1)
    [one] = group.processes
    one.join("a")
    group.run(3 * BEAT)
    group.broker.cut(one.line)
    old = group.start("old")
    publish = old.line.publish
    asked: list[Any] = []

    def say_less(subject: str, data: bytes) -> bool:
        message = decode(data)
        return publish(subject, encode(message)[:-1].rsplit(b",", 1)[0] + b"]" if type(message) in _AGED else data)

    _AGED = (Hello, Marks)
    old.line.publish = say_less  # type: ignore[method-assign]
    heard = old.node.heard
    old.node.heard = lambda subject, data: (asked.append(decode(data)), heard(subject, data))[1]  # type: ignore[method-assign, func-returns-value]
    group.run(BEAT)
    old.emit("a", data=1)
    group.run(0.1)
    group.broker.mend(one.line)
    group.run(5)
    old.emit("a", data=2)
    group.run(1)
    group.broker.kill()
    group.broker.restart([(one.line, 1.0)])
    old.emit("a", data=3)
    group.run(15)
    assert one.numbers == [2, 3] and not one.gaps
    syncs = [message for message in asked if isinstance(message, Sync)]
    assert syncs and all(sync.since is None for sync in syncs)


def test_what_a_later_version_says_besides_is_passed_over() -> None:
    group = Group(1)
    [one] = group.processes
    one.node.heard("", b'["h","new",1,0,0,0,true,false,12.5,{"more":1}]')
    assert not one.faults and [node.name for node in one.node.nodes()] == ["new"]


@pytest.mark.row(65)
@pytest.mark.parametrize("seed", range(12))
def test_delivered_and_told_is_what_was_sent_by_nodes_that_begin_at_any_time(seed: int) -> None:
    """Row 65 for the first messages of a sender: some of those who hear it are cut off when it begins."""
    chance = random.Random(seed)
    group = Group(3)
    for process in group.processes:
        process.join("a")
    group.run(3 * BEAT)
    sent: dict[str, int] = {}
    late = [group.start("late 0")]
    for turn in range(1, 6):
        for process in group.processes:
            if chance.random() < 0.5:
                group.broker.cut(process.line)
        if chance.random() < 0.3:
            group.broker.kill()
        late.append(group.start(f"late {turn}"))
        group.run(chance.random() * 0.01)
        late[-1].join("a")
        for _ in range(30):
            sender = chance.choice(late)
            sender.emit(*(["a"] if chance.random() < 0.7 else []))
            sent[sender.node.name] = sent.get(sender.node.name, 0) + 1
            group.run(chance.choice((0.0, 0.002, 0.1)))
        if not group.broker.is_up:
            group.broker.restart((process.line, chance.random()) for process in group.processes)
        for process in group.processes:
            if not process.line.is_up:
                group.broker.mend(process.line)
        group.run(chance.random() * 3)
    group.run(25)
    for process in group.processes:  # who was there before all of these
        for name, count in sent.items():
            heard = len([1 for _, frame in process.heard if b'"data":1' in frame])
            assert heard + sum(process.gaps.values()) == sum(sent.values()), (process.node.name, name, count)
    for process in late:
        assert len(process.heard) + sum(process.gaps.values()) <= sum(sent.values())


def test_who_was_away_asks_in_few_bytes_however_many_rooms_it_is_in() -> None:
    """Else a thousand nodes that come back at once would name all their rooms to each other."""
    cost = []
    for rooms in (10, 900):
        group = Group(2)
        one, two = group.processes
        for number in range(rooms):
            two.join(f"room {number}")
        group.run(3 * BEAT)
        group.broker.kill()
        one.emit("room 1")
        before = group.broker.bytes
        group.broker.restart()
        group.run(0.1)
        assert two.numbers == [1]
        cost.append(group.broker.bytes - before)
    assert cost[1] < cost[0] + 100


def test_who_sent_to_too_many_rooms_is_asked_by_their_names() -> None:
    group = Group(2)
    one, two = group.processes
    for number in range(4):
        two.join(f"room {number}")
    group.run(3 * BEAT)
    group.broker.cut(two.line)
    for number in range(3000):
        one.emit(f"room {number}")
    group.run(0.01)
    before = group.broker.bytes
    group.broker.mend(two.line)
    group.run(3)
    assert dict(two.gaps) == {"n0": 4} and group.broker.bytes - before < 2000


def test_a_question_since_when_is_answered_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can publish could ask for it; a node that asks in earnest then names its rooms."""
    monkeypatch.setattr(module, "MOST_MARKS", 10)
    group = Group(2)
    one, two = group.processes
    for number in range(12):
        two.join(f"room {number}")
    group.run(3 * BEAT)
    group.broker.cut(two.line)
    for number in range(11):
        one.emit(f"room {number}")
    group.run(0.01)
    group.broker.mend(two.line)
    group.run(3)
    assert not two.gaps  # not answered
    for number in range(3):
        one.emit(f"elsewhere {number}")
    group.run(3)
    assert dict(two.gaps) == {"n0": 11}


# ---- the broker dies


@pytest.mark.row(65)
@pytest.mark.parametrize("seed", range(12))
def test_delivered_and_told_is_what_was_sent_whatever_the_broker_did(seed: int) -> None:
    """Killed under load, back with subscribers later than publishers, links cut: row 65 on the virtual clock."""
    chance = random.Random(seed)
    group = Group(4)
    rooms = ("a", "b", "c")
    for process in group.processes:
        for room in chance.sample(rooms, 2):
            process.join(room)
    group.run(3 * BEAT)
    sent: list[dict[str, int]] = [dict.fromkeys((*rooms, ""), 0) for _ in group.processes]
    for _ in range(20):
        for _ in range(60):
            number = chance.randrange(4)
            room = chance.choice((*rooms, ""))
            sent[number][room] += 1
            group.processes[number].emit(*([room] if room else []), data=number)
            group.run(0.001 * chance.random())
        what = chance.random()
        if what < 0.4:
            group.broker.kill()
            group.run(chance.random() * 6)
            late = [(process.line, chance.random() * 1.5) for process in group.processes]
            group.broker.restart(late)
        elif what < 0.7:
            line = chance.choice(group.processes).line
            group.broker.cut(line)
            group.run(chance.random() * 6)
            group.broker.mend(line)
        else:
            group.run(chance.random())
    group.run(30)
    for number, process in enumerate(group.processes):
        for other, counts in enumerate(sent):
            if other == number:
                continue
            due = sum(count for room, count in counts.items() if not room or room in process.names)
            name = f"n{other}"
            heard = process.numbers.count(other)
            assert heard + process.gaps[name] == due, (number, name, heard, process.gaps[name], due)
        assert process.node.stats().state == "up" and not process.faults


def test_what_is_sent_while_the_broker_is_down_comes_when_it_is_back() -> None:
    group = Group(3)
    one, two, _three = group.processes
    two.join("a")
    group.run(BEAT)
    group.broker.kill()
    assert one.told[-1][0] == "bus.down" and isinstance(one.told[-1][1], ConnectionError)
    for number in range(100):
        one.emit("a", data=number)
    assert one.node.stats().waiting_messages == 100
    group.run(20)
    group.broker.restart([(two.line, 1.5)])  # the subscriber comes back later than the publisher
    group.run(5)
    assert two.numbers == list(range(100)) and not two.gaps
    assert one.events == ["bus.up", "bus.down", "bus.up"]
    assert one.node.stats().waiting_messages == 0


def test_who_does_not_come_back_holds_what_waits_for_two_seconds() -> None:
    group = Group(3)
    one, two, three = group.processes
    two.join("a")
    group.run(BEAT)
    group.broker.kill()
    one.emit("a", data=1)
    three.kill()
    group.broker.restart()
    group.run(1.5)
    assert one.node.stats().state == "joining" and not two.heard
    group.run(1)
    assert one.node.stats().state == "up" and two.numbers == [1]


def test_a_bounded_buffer_drops_the_oldest_and_everybody_is_told() -> None:
    group = Group(2, messages=10)
    one, two = group.processes
    two.join("a")
    group.run(3 * BEAT)
    group.broker.kill()
    for number in range(25):
        one.emit("a", data=number)
    stats = one.node.stats()
    assert (stats.dropped, stats.waiting_messages) == (15, 10)
    assert [type(fault) for fault in one.faults] == [BackpressureError]
    group.broker.restart()
    group.run(5)
    assert two.numbers == list(range(15, 25)) and dict(two.gaps) == {"n0": 15}


def test_the_buffer_is_bounded_in_bytes_too() -> None:
    group = Group(1, size=10_000)
    [one] = group.processes
    group.broker.kill()
    for number in range(1000):
        one.emit("a", data=number)
    assert one.node.stats().waiting_bytes <= 10_000
    one.emit("a", data="9" * 20_000)
    assert one.node.stats().waiting_messages == 0 and one.node.stats().dropped == 1001


def test_where_it_is_the_callers_to_know_a_full_buffer_raises_and_loses_nothing() -> None:
    group = Group(2, messages=3, raises=True)
    one, two = group.processes
    two.join("a")
    group.run(3 * BEAT)
    group.broker.kill()
    for number in range(3):
        one.emit("a", data=number)
    with pytest.raises(BackpressureError, match="max_bus_pending_messages"):
        one.emit("a", data=3)
    group.broker.restart()
    group.run(3)
    one.emit("a", data=4)
    group.run(20)
    assert two.numbers == [0, 1, 2, 4] and not two.gaps and not one.faults


def test_a_message_above_the_brokers_limit_is_the_callers_error() -> None:
    group = Group(2, limit=1000)
    one, two = group.processes
    with pytest.raises(FrameTooLarge, match=r"takes 1000: raise the limit of MemoryBroker"):
        one.emit(data="1" * 1000)
    one.emit(data=2)
    group.run(20)
    assert two.numbers == [2] and not two.gaps


def test_a_full_bus_is_waited_for_in_order() -> None:
    group = Group(2)
    one, two = group.processes
    publish = one.line.publish
    one.line.publish = lambda subject, data: publish(subject, data) and False  # type: ignore[method-assign]
    for number in range(5):
        one.emit(data=number)
    group.run(0.01)
    assert two.numbers == [0]
    for _ in range(3):
        one.node.writable()
    one.line.publish = publish  # type: ignore[method-assign]
    one.node.writable()
    one.emit(data=5)
    group.run(0.01)
    assert two.numbers == [0, 1, 2, 3, 4, 5]


# ---- who is there


def test_presence_is_asked_and_gives_those_of_every_node() -> None:
    group = Group(3)
    one, two, three = group.processes
    two.join("a")
    three.join("a")
    three.join("b")
    found = one.node.find("a", 1.0)
    group.run(0.1)
    assert sorted(each.id for each in found.result()) == ["n1.1", "n2.1"] and not found.result().missing
    assert {each.rooms for each in found.result()} == {frozenset("a"), frozenset("ab")}
    everybody = one.node.find(None, 1.0)
    group.run(0.1)
    assert len(everybody.result()) == 3


def test_whatever_clients_call_themselves_and_join_an_answer_keeps_to_the_limit_of_the_bus() -> None:
    """Else the broker cuts off whoever answers, each time that somebody asks who is there."""
    group = Group(2, limit=5000)
    one, two = group.processes
    sockets: list[tuple[int, str, Any, list[str]]] = [
        (number, "unix", "x" * 300, ["a", "y" * 200]) for number in range(30)
    ]
    sockets[7] = (7, "unix", "x" * 6000, ["a"])
    sockets[8] = (8, "unix", None, ["a", *(f"{number} " + "y" * 200 for number in range(100))])
    two.describe = lambda room: sockets  # type: ignore[method-assign]
    found = one.node.find("a", 1.0)
    group.run(0.1)
    assert len(found.result()) == 30 and not found.result().missing
    assert found.result()[6].claimed_id == "x" * 300 and len(found.result()[6].rooms) == 2
    assert found.result()[7].claimed_id is None and found.result()[7].rooms == {"a"}
    assert found.result()[8].rooms == {"a"}  # as much as there is room for: that which was asked for
    assert "bus.down" not in one.events + two.events


def test_questions_and_answers_how_far_somebody_is_keep_to_the_limit_of_the_bus() -> None:
    group = Group(2, limit=5000)
    one, two = group.processes
    rooms = [f"{number} " + "\u0001" * 250 for number in range(20)]  # as JSON six bytes each
    for room in rooms:
        two.join(room)
        one.join(room)
    group.run(3 * BEAT)
    group.broker.cut(two.line)
    for _ in range(3):
        for room in rooms:
            one.emit(room)
    group.run(0.01)
    group.broker.mend(two.line)
    group.run(3)
    assert dict(two.gaps) == {"n0": 60}
    assert one.events == ["bus.up"] and two.events == ["bus.up", "bus.down", "bus.up", "bus.gap"]


def test_an_answer_is_partial_after_its_time_and_names_who_is_missing() -> None:
    group = Group(3)
    one, _two, three = group.processes
    for process in group.processes:
        process.join("a")
    three.kill()
    found = one.node.find("a", 0.5)
    group.run(0.4)
    assert not found.done
    group.run(0.2)
    assert sorted(each.node for each in found.result()) == ["n0", "n1"] and found.result().missing == {"n2"}


@pytest.mark.row(68)
def test_a_dead_nodes_members_are_gone_after_three_heartbeats() -> None:
    group = Group(3)
    one, _two, three = group.processes
    three.kill()
    group.run(3 * BEAT - 0.6)
    assert {node.name for node in one.node.nodes()} == {"n1", "n2"}
    group.run(2 * BEAT)
    assert {node.name for node in one.node.nodes()} == {"n1"}
    found = one.node.find(None, 5.0)
    group.run(0.1)
    assert found.done and not found.result().missing


def test_a_node_that_says_goodbye_is_gone_at_once() -> None:
    group = Group(3)
    one, two, _three = group.processes
    one.emit(data=1)
    one.node.close(1.0)
    group.run(0.1)
    assert {node.name for node in two.node.nodes()} == {"n2"} and two.numbers == [1]
    assert one.node.state is NodeState.CLOSED and not one.node._timers


def test_who_comes_late_knows_everybody_after_a_moment() -> None:
    group = Group(3)
    late = group.start("late")
    group.run(0.1)
    assert {node.name for node in late.node.nodes()} == {"n0", "n1", "n2"}
    assert "late" in {node.name for node in group.processes[0].node.nodes()}


def test_presence_while_the_bus_is_down_says_that_all_others_are_missing() -> None:
    group = Group(2)
    one, _ = group.processes
    one.join("a")
    group.broker.kill()
    found = one.node.find("a", 1.0)
    assert found.done and len(found.result()) == 1 and found.result().missing == {"n1"}


def test_a_node_that_was_cut_off_for_long_is_told_what_it_missed() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    group.run(3 * BEAT)
    one.emit("a", data=0)
    group.run(0.1)
    group.broker.cut(two.line)
    for number in range(50):
        one.emit("a", data=number)
        group.run(0.2)
    assert {node.name for node in one.node.nodes()} == set()
    group.broker.mend(two.line)
    group.run(3)
    assert two.numbers == [0] and dict(two.gaps) == {"n0": 50}


def test_a_node_that_starts_anew_is_another_one() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    group.run(BEAT)
    one.emit("a", data=1)
    group.run(0.1)
    one.kill()
    again = group.start("n0", life=2)
    group.run(3)
    again.emit("a", data=2)
    group.run(1)
    assert two.numbers == [1, 2] and not two.gaps
    assert len(two.node.nodes()) == 1


# ---- requests


def test_a_request_to_a_socket_elsewhere_and_to_any_one_node() -> None:
    for groups in (False, True):
        group = Group(3)
        group.broker.has_groups = groups
        one = group.processes[0]
        answers = [one.node.ask("n1.1", "add", Raw(b"7"), 5.0, everything)]
        if not groups:
            answers.append(one.node.ask(None, "add", Raw(b"8"), 5.0, everything))
        group.run(0.1)
        assert [bytes(answer.result()) for answer in answers] == [b"7", b"8"][: len(answers)]


@pytest.mark.parametrize("to", ["n1.5", "nobody.1", "n0.9"])
def test_where_nobody_is_there_it_is_said_at_once(to: str) -> None:
    group = Group(2)
    answer = group.processes[0].node.ask(to, "add", Raw(b"1"), 30.0, everything)
    group.run(0.01)
    assert isinstance(answer.error, NoResponder)


def test_a_request_that_fails_and_that_nobody_looks_at_is_told_and_none_that_was_looked_at_or_given_up() -> None:
    group = Group(2)
    one = group.processes[0]
    for _ in range(2):
        looked_at = one.node.ask("n1.5", "add", Raw(b"1"), 30.0, everything)
        group.run(0.01)
        assert looked_at.error is not None
        one.node.ask("n1.5", "add", Raw(b"1"), 30.0, everything)
        group.run(0.01)
    one.node.ask("n1.1", "wait", Raw(b"1"), 0.5, everything)
    group.run(1)
    given_up = one.node.ask("n1.1", "wait", Raw(b"1"), 0.5, everything)
    assert given_up.abandon is not None
    given_up.abandon()
    del looked_at, given_up
    group.run(1)
    assert [(method, type(error)) for method, error in one.unread_errors] == [
        ("add", NoResponder),
        ("add", NoResponder),
        ("wait", RequestTimeout),
    ]


def test_any_one_node_where_there_is_no_other() -> None:
    group = Group(1)
    answer = group.processes[0].node.ask(None, "add", Raw(b"1"), 30.0, everything)
    group.run(0.01)
    assert isinstance(answer.error, NoResponder)


def test_any_one_node_is_one_that_lives() -> None:
    group = Group(4)
    one, two, three, _four = group.processes
    two.kill()
    three.kill()
    for _ in range(20):
        answer = one.node.ask(None, "add", Raw(b"1"), 30.0, everything)
        group.run(0.02)
        assert bytes(answer.result()) == b"1"


def test_requests_end_with_the_truth() -> None:
    group = Group(3)
    one, two, three = group.processes
    two.answer = lambda ask, done, told: lambda: None  # type: ignore[method-assign]
    three.answer = lambda ask, done, told: lambda: None  # type: ignore[method-assign]
    late = one.node.ask("n1.1", "add", Raw(b"1"), 0.5, everything)
    dead = one.node.ask("n2.1", "add", Raw(b"1"), None, everything)
    three.kill()
    group.run(5)
    down = one.node.ask("n1.1", "add", Raw(b"1"), 30.0, everything)
    group.broker.kill()
    after = one.node.ask("n1.1", "add", Raw(b"1"), 30.0, everything)
    errors = [type(answer.error) for answer in (late, dead, down, after)]
    assert errors == [RequestTimeout, ConnectionLost, ConnectionLost, NotConnected]
    assert not len(one.node._questions)


@pytest.mark.parametrize("to", ["n1.1", None])
def test_a_bus_that_is_still_coming_is_told_as_that_and_as_down_only_once_it_was_there(to: str | None) -> None:
    group = Group(2)
    late = group.start("n2")
    not_up_yet = r"^cannot ask .*: the bus is not up yet: wait for the event 'bus\.up'$"
    for _ in range(2):
        with pytest.raises(NotConnected, match=not_up_yet):
            late.node.ask(to, "add", Raw(b"1"), 30.0, everything).result()
        group.driver.run_until(lambda: late.node.state is not NodeState.DOWN)
    group.driver.run_until(lambda: "bus.up" in late.events)
    assert not late.node.ask("n1.1", "add", Raw(b"1"), 30.0, everything).done
    group.broker.kill()
    with pytest.raises(NotConnected, match=r"the bus is down$"):
        late.node.ask(to, "add", Raw(b"1"), 30.0, everything).result()


@pytest.mark.parametrize("to", ["n0.1", "n1.1", "n1.9", None])
def test_a_request_without_time_is_not_sent(to: str | None) -> None:
    """As on a link."""
    group = Group(2)
    one, two = group.processes
    before = group.broker.messages
    answer = one.node.ask(to, "wait", Raw(b"1"), 0.0, everything)
    found = one.node.find(None, 0.0)
    assert isinstance(answer.error, RequestTimeout) and "within 0 s" in str(answer.error)
    assert found.result().missing == {"n1"}
    group.run(0.01)
    assert not two.waits and not one.waits and not len(one.node._questions)
    assert group.broker.messages == before


@pytest.mark.parametrize("rooms", [(), ("a",), ("a", "b")])
def test_what_was_lost_of_the_last_that_somebody_sent_is_told_when_it_leaves(rooms: tuple[str, ...]) -> None:
    """Nobody can ask it any more, and no message comes behind what was lost."""
    group = Group(3)
    one, two, three = group.processes
    for room in rooms:
        two.join(room)
    group.run(3 * BEAT)
    one.emit(*rooms, data=1)
    group.run(0.01)
    heard = len(two.heard)
    group.broker.loses = lambda subject, line: line is two.line
    for number in range(5):
        one.emit(*rooms, data=number)
    group.run(0.01)
    group.broker.loses = lambda subject, line: False
    one.node.close(1.0)
    group.run(1)
    assert heard == len(two.heard) and two.gaps == {"n0": 5 * max(len(rooms), 1)}
    assert not three.gaps and "n0" not in {node.name for node in two.node.nodes()}


def test_whose_last_messages_came_is_told_of_nothing_when_somebody_leaves() -> None:
    group = Group(2)
    one, two = group.processes
    two.join("a")
    group.run(3 * BEAT)
    for number in range(50):
        one.emit("a", data=number)
        one.emit(data=number)
    one.node.close(1.0)
    group.run(1)
    assert len(two.heard) == 100 and not two.gaps


@pytest.mark.parametrize("to", ["n1.1", None])
def test_how_far_it_is_comes_in_order_before_the_answer(to: str | None) -> None:
    group = Group(2)
    one, two = group.processes
    heard: list[bytes] = []
    answer = one.node.ask(to, "wait", Raw(b"1"), 30.0, everything, lambda data: heard.append(bytes(data)))
    group.run(0.01)
    [(done, told)] = two.waits
    told(Raw(b"1"))
    told(Raw(b'"half"'))
    done(None, Raw(b"2"))
    told(Raw(b"3"))  # nobody waits
    group.run(0.01)
    assert heard == [b"1", b'"half"'] and bytes(answer.result()) == b"2"
    assert not len(two.node._answers)


@pytest.mark.parametrize("to", ["n1.1", None])
@pytest.mark.parametrize("how", ["late", "given up", "before it was taken", "goodbye", "killed"])
def test_whoever_works_on_what_nobody_waits_for_any_more_is_told(to: str | None, how: str) -> None:
    group = Group(2)
    one, two = group.processes
    answer = one.node.ask(to, "wait", Raw(b"1"), 1.0 if how == "late" else 60.0, everything)
    if how != "before it was taken":
        group.run(0.01)
        assert len(two.waits) == 1 and not two.given_up
    if how in ("given up", "before it was taken"):
        assert answer.abandon is not None
        answer.abandon()
    elif how == "goodbye":
        one.node.close(1.0)
    elif how == "killed":
        one.kill()
    group.run(5)
    assert two.given_up == [1] and not len(two.node._answers)
    assert how == "killed" or not len(one.node._questions)
    two.waits[0][0](None, Raw(b"too late"))
    group.run(0.1)
    assert not two.faults and not one.faults


def test_the_end_of_whichever_node_has_a_request_is_told_as_such() -> None:
    group = Group(3)
    one = group.processes[0]
    answer = one.node.ask(None, "wait", Raw(b"1"), None, everything)
    group.run(0.01)
    [other] = [process for process in group.processes if process.waits]
    other.kill()
    group.run(5)
    assert isinstance(answer.error, ConnectionLost) and other.node.name in str(answer.error)


def test_a_node_that_stops_gives_up_what_it_was_asked() -> None:
    group = Group(2)
    one, two = group.processes
    one.node.ask("n1.1", "wait", Raw(b"1"), None, everything)
    group.run(0.01)
    two.node.close(1.0)
    assert two.given_up == [1]


def test_a_request_to_a_socket_here_is_given_up_as_well() -> None:
    group = Group(1)
    [one] = group.processes
    heard: list[bytes] = []
    answer = one.node.ask("n0.1", "wait", Raw(b"1"), 1.0, everything, lambda data: heard.append(bytes(data)))
    one.waits[0][1](Raw(b"5"))
    group.run(2)
    assert heard == [b"5"] and one.given_up == [1] and isinstance(answer.error, RequestTimeout)


def test_what_is_told_of_a_request_keeps_to_the_limit_of_the_bus() -> None:
    group = Group(2, limit=1000)
    one, two = group.processes
    one.node.ask("n1.1", "wait", Raw(b"1"), None, everything, lambda data: None)
    group.run(0.01)
    with pytest.raises(FrameTooLarge, match="what is told of 'wait'"):
        two.waits[0][1](Raw(b"1" * 1000))


def test_a_node_of_an_earlier_version_is_told_neither_of_progress_nor_of_who_has_it() -> None:
    group = Group(1)
    [one] = group.processes
    said: list[bytes] = []
    one.line.publish = lambda subject, data: said.append(data) or True  # type: ignore[method-assign, func-returns-value]
    one.node.heard("", b'["a","old",1,7,0,"wait",null,1]')
    assert len(one.waits) == 1 and not [data for data in said if data.startswith(b'["t"')]


# ---- what comes is not trusted


@pytest.mark.row(69)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"null",
        b'["e"]',
        b'["?",1]',
        b'["e","evil",1,1,"json",[["",1,1,1,1]],null,[],[],' + b"[" * 100_000,
        b'["b","x",1,-1,0,0,true]',
        b'["b","%s",1,1,0,0,true]' % (b"x" * 65),
        b'["m","n0",1,1,[["a",1,99999999999999999999,1,1]]]',
        b'["e","evil",1,1,"json \'\\\\f\'",[["",1,1,1,1]],["%s"],[],[],{}]' % (b"x" * 300),
        b'["s","evil",1,1,[["a"]]]',
    ],
)
def test_what_is_no_message_is_one_error_and_has_no_other_effect(data: bytes) -> None:
    group = Group(2)
    one, two = group.processes
    for subject in list(two.line.subjects):
        one.line.publish(subject, data)
    group.run(0.1)
    assert len(two.faults) == 2 and not two.heard
    assert {node.name for node in two.node.nodes()} == {"n0"}
    one.emit(data=1)
    group.run(0.1)
    assert two.numbers == [1]


def test_frames_of_another_form_are_refused_and_told_once() -> None:
    group = Group(2)
    one, two = group.processes
    one.wire = "json ';'"
    for _ in range(5):
        one.emit()
    group.run(0.1)
    assert not two.heard and len(two.faults) == 1 and "same delimiter" in str(two.faults[0])


def test_nobody_can_invent_more_nodes_than_there_may_be() -> None:
    from node_ipc.cluster.members import MOST_NODES, Members

    members = Members(BEAT)
    for number in range(MOST_NODES + 5):
        members.note(f"n{number}", 1, 0.0)
    assert members.note("one more", 1, 0.0) is None and members.note("n1", 1, 0.0) is not None


# ---- the table


def test_every_pair_of_state_and_input_is_done_or_ignored() -> None:
    inputs = {input for _, input in TRANSITIONS}
    for state in NodeState:
        for input in inputs:
            group = Group(1)
            node: Node = group.processes[0].node
            if state is not NodeState.UP:
                node.state = state
            if state in (NodeState.DOWN, NodeState.CLOSED):
                for name in list(node._timers):
                    node._cancel(name)
            arguments = {"up": (group.processes[0].line, None), "down": (None,), "close": (1.0,)}.get(input, ())
            node._input(input, *arguments)
            group.run(5)
            if (state, input) not in TRANSITIONS and state is not NodeState.JOINING:
                assert node.state is state
