"""What nodes say: what it looks like, and what brokers can take for subjects."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from node_ipc.cluster.messages import Answer, Ask, Emit, Here, Subjects, decode, encode


def test_a_frame_passes_as_it_is() -> None:
    emit = Emit("n", 1, 2, "json", [("a", 1, 2, 1, 1)], None, ["b"], ["n.1"], Raw(b'{ "type" : "x" }'))
    data = encode(emit)
    assert data == b'["e","n",1,2,"json",[["a",1,2,1,1]],null,["b"],["n.1"],{ "type" : "x" },""]'
    again = decode(data)
    assert isinstance(again, Emit) and bytes(again.frame) == b'{ "type" : "x" }'


@pytest.mark.parametrize(
    "message",
    [
        Emit("n", 1, 2, "json", [("a", 1, 2, 1, 1)], None, [], [], Raw(b'{"type":"\\udc00","data":[1.5,{}]}')),
        Ask("n", 1, 2, 3, "add\ud800", None, Raw(b'"\\ud83d"')),
        Answer("n", 1, 2, ("remote", 1, "no \udfff"), Raw(b"null")),
        Answer("n", 1, 2, None, Raw(b'{"\\ud800":["\\ud800","\\u00fc"]}')),
        Here("n", 1, 2, [(1, "unix", "\ud800", ["a"])], False),
    ],
    ids=repr,
)
def test_lone_surrogates_pass(message: Any) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b'["h","\\ud800",1,0,0,0,true,false]',
        b'["q","n\\ud800",1]',
        b'["a","n",1,2,3,"\\ud800",null]',
        b'["a","n",1,2,3,"\\ud800",null,1],1',
        b'["r","n",1,2,null,["\\ud800",' + b"[" * 100_000 + b"]" * 100_000 + b"]]",
        b'["r","n",1,2,null,["\\ud800",' + b"9" * 10_000 + b"]]",
        b'["r","n",1,2,null,["\\ud800",NaN]]',
        b'["r","n",1,2,null,"\\ud800\xff"]',
    ],
    ids=lambda data: str(data[:40]),
)
def test_nor_is_it_one_with_lone_surrogates_that_is_none_otherwise(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


def test_who_knows_nothing_of_the_newest_is_understood() -> None:
    again = decode(b'["e","n",1,2,"json",[["a",1,2,1,1]],null,["b"],["n.1"],{ "type" : "x" }]')
    assert isinstance(again, Emit) and again.newest == ""


@pytest.mark.parametrize("data", [b"", b"\xff", b"1", b'["z"]', b'["q","",1]', b'["q","n",-1]', b"[" * 100_000])
def test_what_is_no_message_is_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


@pytest.mark.parametrize("room", ["a", "a.b", "*", ">", "a b", "ü€😀", "\n\r", "%2E", "~", " ", "x" * 256, "€" * 256])
def test_any_room_is_one_token_of_a_subject(room: str) -> None:
    subject = Subjects("app.").room(room)
    assert subject.startswith("node_ipc.app%2E.room.") and subject.count(".") == 3
    assert subject.isascii() and not set(subject) & set(" *>\r\n\t") and len(subject) < 4096


def test_subjects_of_different_things_differ() -> None:
    names = ["a", "a.b", "a%2Eb", "all", "any", "", "room", "A"]
    one, two = Subjects("g"), Subjects("g.")
    subjects = [s.room(name) for s in (one, two) for name in names] + [s.node(n) for s in (one, two) for n in names]
    subjects += [one.anybody, two.anybody]
    assert len(set(subjects)) == len(subjects)
    assert one.room("") == one.everybody
