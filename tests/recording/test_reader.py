"""Reading recordings: entries in order, and an error that helps for what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_ipc.recording import RecordingError, read

HEADER = '{"recording":"node-ipc","version":1,"time":1.0,"payloads":true}\n'
END = '{"time":9.0,"event":"end"}\n'


def line(n: int, link: int = 1) -> str:
    return f'{{"time":{n},"link":{link},"peer":"p","from":"client","type":"e{n}","bytes":9,"data":{{"n":{n}}}}}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def types(*files: Path) -> list[object]:
    return [entry.type for entry in read(*files)]


def test_what_is_in_it_any_number_of_times(file: Path) -> None:
    file.write_text(HEADER + line(1) + '{"time":2.0,"event":"of later versions","more":1}\n' + line(3) + END)
    recording = read(file)
    assert recording.header.payloads
    for _ in range(2):
        first, later, third = recording
        assert (first.time, first.link, first.side, first.type, first.bytes) == (1.0, 1, "client", "e1", 9)
        assert later.event == "of later versions"
        assert bytes(third.data) == b'{"n":3}'  # type: ignore[arg-type]
        assert recording.is_whole and recording.cut == 0


@pytest.mark.parametrize("rest", ["", "{", '{"time":1', line(2)[:-1], line(2)[:-5], "\n"])
def test_one_that_was_cut_at_its_end_is_readable(file: Path, rest: str) -> None:
    file.write_text(HEADER + line(1) + rest)
    recording = read(file)
    found = [entry.type for entry in recording]
    assert found[0] == "e1" and not recording.is_whole
    assert (len(found), recording.cut) == ((2, 0) if rest == line(2)[:-1] else (1, 1 if rest.strip() else 0))


def test_one_that_was_continued_after_a_kill(file: Path) -> None:
    file.write_text(HEADER + line(1, 1) + line(2, 2) + '{"time":\n' + HEADER + line(3, 1) + END)
    recording = read(file)
    assert [(entry.type, entry.link) for entry in recording] == [("e1", 1), ("e2", 2), ("e3", 3)]
    assert recording.cut == 1 and recording.is_whole


def test_parts_of_one_that_was_rotated_are_read_in_order(file: Path, tmp_path: Path) -> None:
    before = tmp_path / "run.jsonl.1"
    before.write_text(HEADER + line(1, 1))
    file.write_text(HEADER.replace("}", ',"part":2}') + line(2, 1) + line(3, 2) + END)
    assert [(entry.type, entry.link) for entry in read(before, file)] == [("e1", 1), ("e2", 1), ("e3", 2)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is empty: nothing was recorded in it"),
        ("\n", "is empty"),
        ("hello\n", 'is no recording of node-ipc, whose first line begins with {"recording":"node-ipc"'),
        ("[]\n", "is no recording"),
        ('{"time":1}\n', "is no recording"),
        ("{" * 100_000, "is no recording"),
        ('{"recording":"other","version":1}\n', "is no recording"),
        (
            HEADER.replace("1,", '2,"program":"node-ipc 9",', 1),
            "is a recording in version 2 of the format, and this node-ipc reads 1: it was made by node-ipc 9",
        ),
        (HEADER.replace('"time":1.0', '"time":"x"'), "the header of .* is broken"),
        (HEADER.replace('"version":1,', ""), "the header of .* is broken"),
        (HEADER + line(1) + "}\n" + line(2), "line 3 of .* is broken: .*Remove it, and the rest can be read"),
        (HEADER + '{"time":"x"}\n' + line(2), r"line 2 of .* is broken: Expected `float`, got `str` - at `\$.time`"),
    ],
)
def test_what_is_none_says_why(file: Path, text: str, error: str) -> None:
    file.write_text(text)
    with pytest.raises(RecordingError, match=error):
        list(read(file))


def test_binary_missing_and_forbidden_files(file: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"cannot read .*nothing.jsonl.: No such file or directory"):
        read(tmp_path / "nothing.jsonl")
    with pytest.raises(RecordingError, match=r"cannot read .*: Is a directory"):
        read(tmp_path)
    file.write_bytes(b"\x1f\x8b\x08\x00\xff\xff\n\x00")
    with pytest.raises(RecordingError, match="is no recording"):
        read(file)
    with pytest.raises(RecordingError, match="give the recording's file"):
        read()


def test_of_different_servers(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    file.write_text(HEADER)
    other.write_text(HEADER.replace("}", ',"delimiter":"\\n"}'))
    with pytest.raises(RecordingError, match="are of different servers"):
        read(file, other)
