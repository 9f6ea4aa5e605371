"""What nodes say: what it looks like, and what brokers can take for subjects."""

from __future__ import annotations

import pytest
from msgspec import Raw

from node_ipc.cluster.messages import Emit, Subjects, decode, encode


def test_a_frame_passes_as_it_is() -> None:
    emit = Emit("n", 1, 2, "json", [("a", 1, 2, 1, 1)], None, ["b"], ["n.1"], Raw(b'{ "type" : "x" }'))
    data = encode(emit)
    assert data == b'["e","n",1,2,"json",[["a",1,2,1,1]],null,["b"],["n.1"],{ "type" : "x" }]'
    again = decode(data)
    assert isinstance(again, Emit) and bytes(again.frame) == b'{ "type" : "x" }'


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
