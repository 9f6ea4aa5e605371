"""How options work, shown on ``Config``: names, messages, mappings from JSON, and copies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from node_ipc.config.config import Config, Interfaces
from node_ipc.config.options import UnknownOption
from node_ipc.errors import ConfigError


def same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


def test_an_option_of_the_class_knows_its_default() -> None:
    assert Config.retry.default == 500
    assert Config.retry.name == "retry"


@pytest.mark.parametrize("value", ["x" * 1000, b"y" * 1000, ["z"] * 1000, "é\n\x1b\u202e" * 100])
def test_the_value_in_a_message_is_short_and_printable(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(unlink=value)
    shown = (
        str(caught.value)
        .removeprefix("config option 'unlink': ")
        .removesuffix(" is not allowed; it takes True, False or 'force'")
    )
    assert len(shown) == 80
    assert shown.endswith("…")
    assert shown.isprintable()


def test_a_value_without_a_repr_is_named_by_its_type() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    class Lines:
        def __repr__(self) -> str:
            return "two\nlines"

    with pytest.raises(ConfigError, match="'retry': <Odd without a repr> is not allowed"):
        Config(retry=Odd())
    with pytest.raises(ConfigError, match="'retry': two lines is not allowed"):
        Config(retry=Lines())


# --- names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maxRetries", "'maxRetries': in Python it is 'max_retries'"),
        ("max-retries", "'max-retries': in Python it is 'max_retries'"),
        ("socketRoot", "in Python it is 'socket_root'"),
        ("interface", "in Python it is 'interfaces'"),
        ("maxUDPPeers", "in Python it is 'max_udp_peers'"),
        ("retyr", "'retyr': did you mean 'retry'?"),
        ("maxRetrys", "did you mean 'max_retries'?"),
        ("IPType", "'interfaces.family' chooses one"),
        ("ip_type", "'interfaces.family' chooses one"),
        ("zzzz", "help(node_ipc.Config) lists them"),
        ("x" * 100_000, "help(node_ipc.Config) lists them"),
    ],
)
def test_an_unknown_name_is_told_the_right_one(name: str, message: str) -> None:
    config = Config()
    for attempt in (
        lambda: setattr(config, name, 1),
        lambda: getattr(config, name),
        lambda: Config(**{name: 1}),
        lambda: config.update(**{name: 1}),
    ):
        with pytest.raises(UnknownOption) as caught:
            attempt()
        assert isinstance(caught.value, ConfigError)
        assert message in str(caught.value)
        assert len(str(caught.value)) < 250
    assert not hasattr(config, name)
    assert getattr(config, name, None) is None
    assert config == Config()


def test_update_is_all_or_nothing() -> None:
    config = Config()
    with pytest.raises(ConfigError):
        config.update(retry=1000, max_retries=-1)
    with pytest.raises(UnknownOption):
        config.update(retry=1000, maxRetries=1)
    assert config.retry == 500
    config.update(retry=1000, max_retries=1)
    assert (config.retry, config.max_retries) == (1000, 1)


def test_deleting_puts_the_default_back() -> None:
    config = Config(retry=1000, interfaces={"local_port": 1})
    del config.retry
    del config.interfaces
    assert config == Config()
    assert config.interfaces is not Config().interfaces


# --- from JSON


def test_python_names_and_both_names_of_the_interface_in_a_mapping() -> None:
    assert Config.from_mapping({"max_retries": 3, "interfaces": {"local_port": 1}, "ip_type": "IPv6"}) == Config(
        max_retries=3, interfaces={"localPort": 1}
    )
    assert Config.from_mapping({"interface": Interfaces(hints=1)}).interfaces.hints == 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"maxRetrys": 1}, "did you mean 'max_retries'"),
        ({5: 1}, "no config option '5'"),
        ({"maxRetries": 1, "max_retries": 1}, "'max_retries' is given twice"),
        ({"interface": {}, "interfaces": {}}, "'interfaces' is given twice"),
        ({"interface": {"localPorts": 1}}, "did you mean 'interfaces.local_port'"),
        ({"logger": "console.log"}, "'logger': 'console.log' is not allowed.*JSON cannot hold"),
        ({"tls": {"requestCerts": True}}, "did you mean 'tls.request_cert'"),
        ([("retry", 1)], r"mapping \(a JSON object\), not \[\('retry', 1\)\]"),
        (None, "mapping"),
    ],
)
def test_wrong_mappings(mapping: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.from_mapping(mapping)


# --- copies


def changed() -> Config:
    return Config(
        id="world",
        retry=7,
        stop_retrying=0,
        interfaces={"family": 4},
        tls={"public": "/c"},
        allowed_events=["a"],
    )


@pytest.mark.parametrize(
    "twin",
    [Config.copy, copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))],
    ids=["copy", "copy.copy", "deepcopy", "pickle"],
)
def test_copies_are_equal_and_independent(twin: Any) -> None:
    config = changed()
    other = twin(config)
    assert other == config
    assert all(same(value, vars(config)[name]) for name, value in vars(other).items())
    other.interfaces.family = 6
    other.retry = 8
    assert (config.interfaces.family, config.retry) == (4, 7)
    assert other != config


def test_a_config_that_cannot_be_pickled_says_so() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(Config(logger=lambda line: None))


def test_equality_tells_zero_from_false() -> None:
    assert Config(stop_retrying=0) != Config(stop_retrying=False)
    assert Config() != Interfaces()
    assert Config() != 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(Config())


def test_repr_shows_what_was_changed() -> None:
    assert repr(Config()) == "Config()"
    assert repr(Config(stop_retrying=0, id="x", interfaces={"hints": 2})) == (
        "Config(id='x', interfaces=Interfaces(hints=2), stop_retrying=0)"
    )
