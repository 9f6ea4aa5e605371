"""What the tables of the site say is so: complete, with the defaults that hold, and with names that exist."""

from __future__ import annotations

import re
from pathlib import Path

import node_ipc
from node_ipc import IPC, Client, Config, Server, Socket

from .pages import ROOT, names, read, rows, section

NAMES = "docs/howto/node-ipc-names.md"
OPTIONS = "docs/howto/node-ipc-options.md"
INTEROP = "docs/evidence/interop.md"

NODE_IPC_CODES = {
    *("ERR_IPC_ASSURED_TLS", "ERR_IPC_ASSURED_TRANSPORT", "ERR_IPC_BACKPRESSURE", "ERR_IPC_EVENT_NOT_ALLOWED"),
    *("ERR_IPC_EVENT_TOO_LARGE", "ERR_IPC_FRAME_TOO_LARGE", "ERR_IPC_INVALID_EVENT", "ERR_IPC_INVALID_JSON"),
    *("ERR_IPC_INVALID_MESSAGE", "ERR_IPC_MESSAGE_TIMEOUT", "ERR_IPC_PROTOCOL", "ERR_IPC_RESERVED_EVENT"),
    *("ERR_IPC_SOCKET_ROOT", "ERR_IPC_TLS_CONFIGURATION", "ERR_IPC_UNLINK_NOT_SOCKET"),
}
"""What node-ipc 14.0.0 says, collected from its sources."""


def test_every_option_is_in_the_table_with_its_default() -> None:
    table = rows(read(OPTIONS))
    config = Config()
    for theirs, ours, default in table:
        name = names(ours).pop()
        camel = re.sub(r"_(\w)", lambda found: found[1].upper(), name)
        assert names(theirs) == {camel}
        shown = re.match(r"`(.*?)`", default)
        if shown and name != "logger":
            assert repr(getattr(config, name)).replace("\\x0c", "\\f").replace("'", '"') == shown[1], name
    in_table = {names(row[1]).pop() for row in table}
    listed = set()
    for paragraph in re.findall(r"Python only, .*?\.\n", read(OPTIONS), re.S):
        listed |= names(paragraph)
    assert in_table | listed == set(vars(config))
    assert not in_table & listed


def test_every_event_is_one() -> None:
    from node_ipc.wire.names import LIFECYCLE

    told = {row[0].strip("`") for row in rows(section(NAMES, "## Events"))}
    assert told == LIFECYCLE | {"your own", "*"}


def test_the_error_codes_of_the_table_are_those_of_the_classes() -> None:
    for code, name in rows(section(NAMES, "## Errors")):
        cls = getattr(node_ipc, name.split("`")[1])
        assert cls is node_ipc.ConfigError or cls.code in names(code), name
    assert {codes for row in rows(section(NAMES, "## Errors")) for codes in names(row[0])} == NODE_IPC_CODES


def test_the_names_of_the_table_exist() -> None:
    text = section(NAMES, "## Methods")
    python = " ".join(row[1] for row in rows(text))
    for name in re.findall(r"`ipc\.(?!of|server)(\w+)", python):
        assert hasattr(IPC(), name), name
    for name in re.findall(r"`ipc\.server\.(\w+)", python):
        assert hasattr(Server, name), name
    for name in re.findall(r"`ipc\.of\.world\.(\w+)", python):
        assert hasattr(Client, name), name
    assert hasattr(Socket, "emit")
    for name in ("IPC", "Config", "style", "buffer", "to_bytes", "runtime_socket_root"):
        assert name in text + read(OPTIONS) and hasattr(node_ipc, name)


def test_the_tests_that_are_named_exist() -> None:
    folder = "."
    for path in re.findall(r"`((?:tests/\w+/)?\w+\.py)`", read(INTEROP)):
        folder = str(Path(path).parent) if "/" in path else folder
        assert (ROOT / folder / Path(path).name).is_file(), path


def test_every_transport_has_a_row_for_each_role() -> None:
    table = rows(read(INTEROP))
    assert len(table) == 10
    for row in table:
        assert all(cell in ("yes", "not tested") for cell in row[2:5]), row
