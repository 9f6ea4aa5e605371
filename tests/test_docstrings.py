"""``help()`` explains what is public: every option, every field, every name; and what the examples there say is so."""

from __future__ import annotations

import asyncio
import dataclasses
import doctest
import importlib
import inspect
import math
import pathlib
import pydoc
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc import blocking, contract, errors, recording, testing
from node_ipc.config.config import Config, Interfaces
from node_ipc.config.options import Option
from node_ipc.config.tls_options import TLSOptions
from node_ipc.config.written import written_below
from node_ipc.core.trace import BusStats
from node_ipc.errors import ConfigError
from node_ipc.testing import pair

OPTIONS = [(owner, name) for owner in (Config, Interfaces, TLSOptions) for name in owner.options]
GLOBALS = {
    "Config": Config,
    "Interfaces": Interfaces,
    "TLSOptions": TLSOptions,
    "node_ipc": node_ipc,
    "blocking": blocking,
} | {module.__name__: module for module in (asyncio, math, pathlib, sys)}


def explained(owner: type, name: str) -> str:
    option = inspect.getattr_static(owner, name)
    assert isinstance(option, Option)
    text = inspect.getdoc(option)
    assert text is not None
    return text


def takes(option: Option[Any, Any], value: object) -> bool:
    try:
        option.checked(value, "")
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("owner", "name"), OPTIONS)
def test_help_explains_each_option(owner: type, name: str) -> None:
    page = pydoc.plain(pydoc.render_doc(owner))
    first = explained(owner, name).splitlines()[0]
    assert re.search(rf"^ \|  {name}$\n^ \|      {re.escape(first)}", page, re.M)
    assert len(first) > 15


@pytest.mark.parametrize(("owner", "name"), OPTIONS)
def test_each_option_says_who_reads_it_what_it_takes_and_its_default(owner: type, name: str) -> None:
    text = explained(owner, name)
    assert re.search(r"^Read by: .*(clients|servers|UDP ports|``ipc\.\w+``)", text, re.M), (
        f"below {name} write, after what it means, a line 'Read by: clients and servers over streams.' or its like"
    )
    assert re.search(r"^Takes: .", text, re.M)
    assert len(re.findall(r"(?i)default: .|the default", text)) == 1


@pytest.mark.parametrize(("owner", "name"), OPTIONS)
def test_each_option_that_is_a_number_has_a_unit(owner: type, name: str) -> None:
    option = inspect.getattr_static(owner, name)
    unit = re.search(r"^Unit: ([\w ]+)", text := explained(owner, name), re.M)
    is_amount = takes(option, 40_000) and name not in (
        "network_port",
        "local_port",
        "hints",
        "heartbeat",
        "allowed_uids",
    )
    assert unit is not None or not is_amount, f"write a line 'Unit: …' below {name}"
    if unit is not None:
        assert (unit[1] == "milliseconds") == ("milliseconds" in re.findall("^Takes: .*", text, re.M)[0])


@pytest.mark.parametrize(("owner", "name"), OPTIONS)
def test_each_option_that_takes_none_or_infinity_says_what_that_means(owner: type, name: str) -> None:
    option, text = inspect.getattr_static(owner, name), explained(owner, name)
    if owner is not TLSOptions:  # whose own text says it for all of them
        assert not takes(option, None) or "``None``" in text, f"say below {name} what ``None`` means"
    assert not takes(option, math.inf) or "``math.inf``" in text, f"say below {name} what ``math.inf`` means"
    assert takes(option, math.inf) or "``math.inf``" not in text


def documented() -> Iterator[tuple[str, str]]:
    """Every text that may hold examples."""
    for owner, name in OPTIONS:
        yield f"{owner.__name__}.{name}", explained(owner, name)
    for name in ("node_ipc", *MODULES):
        module = importlib.import_module(name)
        for member in public(module):
            value = getattr(module, member)
            yield f"{name}.{member}", inspect.getdoc(value) or ""
            if inspect.isclass(value):
                for inner in vars(value):
                    if not inner.startswith("_") and not isinstance(vars(value)[inner], Option):
                        yield f"{name}.{member}.{inner}", inspect.getdoc(getattr(value, inner, None)) or ""


MODULES = (
    "node_ipc.blocking",
    "node_ipc.errors",
    "node_ipc.testing",
    "node_ipc.scale.bus",
    "node_ipc.scale.workers",
    "node_ipc.pytest_plugin",
    "node_ipc.contract",
    "node_ipc.recording",
    "node_ipc.telemetry",
)


def public(module: Any) -> list[str]:
    return list(module.__all__)


WITHOUT_EXAMPLE = {
    *("node_ipc.AsyncServer", "node_ipc.AsyncDatagramServer", "node_ipc.DatagramServer"),  # see serve, serve_udp
    *("blocking.BlockingClient", "blocking.BlockingServer", "blocking.Client", "blocking.Server"),  # see connect, serve
    *(
        "blocking.BlockingSocket",
        "blocking.Socket",
        "blocking.DatagramServer",
        "blocking.Serving",
        "blocking.reconnect",
        "blocking.finish",
    ),
    *("node_ipc.Raw", "node_ipc.style"),  # msgspec's; colours
    *("testing.Pair", "testing.Started", "testing.replay"),  # see pair, serve; it has a file
    *("testing.MemoryLink", "testing.MemoryListener", "testing.MemoryOutcome", "testing.MemoryPort"),  # for drivers
    *("bus.Bus", "bus.Hears", "workers.run", "telemetry.prometheus", "telemetry.opentelemetry"),  # have a how-to
    *("pytest_plugin.ipc_pair", "pytest_plugin.ipc_server", "contract.ContractWarning"),
    *("recording.Recording",),  # see read
}
"""Public names of which an example would show nothing, or run for ever."""


def names() -> Iterator[tuple[str, Any]]:
    for name in ("node_ipc", *MODULES):
        module = importlib.import_module(name)
        for member in public(module):
            if member not in errors.__all__:  # which say where they are met and what to do
                yield f"{name.rpartition('.')[2]}.{member}", getattr(module, member)


@pytest.mark.parametrize(("name", "value"), [*names()], ids=lambda value: value if isinstance(value, str) else "")
def test_every_public_name_is_explained_with_an_example(name: str, value: Any) -> None:
    own = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    assert own and len(own.split()) >= 4, f"{name} has no docstring"
    has_example = ">>>" in (inspect.getdoc(value) or "")
    assert has_example != (name in WITHOUT_EXAMPLE), f"give {name} an 'Example:' that a test can run"


@pytest.fixture
def root() -> Iterator[Path]:
    """Where the ids of the examples are: short, as sockets have it."""
    with tempfile.TemporaryDirectory(prefix="ipc-") as name:
        yield Path(name)


EXAMPLES = {name: text for name, text in documented() if ">>>" in text}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_say_what_is_so(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Config.options["socket_root"], "default", f"{root}/")
    monkeypatch.chdir(root)
    client, server, socket, driver = pair()
    modules = {"testing": testing, "contract": contract}
    ends = {"client": client, "server": server, "socket": socket, "driver": driver}
    server.on("error", lambda error, socket: None)
    examples = doctest.DocTestParser().get_doctest(EXAMPLES[name], {**GLOBALS, **modules, **ends}, name, None, None)
    assert examples.examples
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(examples, out=told.append)
    assert told == []


RECORDS = {
    node_ipc.Stats: node_ipc.Stats.__struct_fields__,
    BusStats: BusStats.__struct_fields__,
    node_ipc.Loss: node_ipc.Loss.__struct_fields__,
    node_ipc.Peer: node_ipc.Peer.__struct_fields__,
    node_ipc.Trace: node_ipc.Trace._fields,
    node_ipc.Received: node_ipc.Received._fields,
    testing.Pair: testing.Pair._fields,
    testing.Started: testing.Started._fields,
    testing.Conditions: tuple(field.name for field in dataclasses.fields(testing.Conditions)),
    recording.Header: recording.Header.__struct_fields__,
    recording.Entry: recording.Entry.__struct_fields__,
    recording.Recording: ("header", "cut", "is_whole"),
    contract.Message: tuple(field.name for field in dataclasses.fields(contract.Message)),
    contract.Method: tuple(field.name for field in dataclasses.fields(contract.Method)),
    node_ipc.ClientState: tuple(node_ipc.ClientState.__members__),
    node_ipc.Event: ("name", "type", "keep"),
    node_ipc.Request: ("method", "socket", "deadline", "cancelled", "ended"),
    node_ipc.DatagramPeer: ("id", "address", "port", "claimed_id", "validated", "heard_at"),
    node_ipc.Socket: ("id", "claimed_id", "state", "loss"),
}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_help_explains_each_field(record: type) -> None:
    page = pydoc.plain(pydoc.render_doc(record))
    attributes = page.partition("Attributes:\n")[2].split("\n |  \n")[0]
    assert re.findall(r"^ \|      (\w+): .", attributes, re.M) == [*RECORDS[record]]


def test_texts_below_fields_are_read_only_when_somebody_asks_and_may_be_missing() -> None:
    made_here = type("Packed", (), {"__module__": "nowhere"})
    assert written_below(made_here) == {}
    assert written_below(Config)["retry"].startswith("The first delay")
