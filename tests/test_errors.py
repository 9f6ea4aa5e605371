"""The tree of errors: each can be raised by its own means, pickled and copied."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
from typing import Any

import pytest

from node_ipc import errors
from node_ipc.errors import HandlerError, InvalidPayload, RemoteError

SPECIAL: dict[type[Exception], Exception] = {
    RemoteError: RemoteError(7, "not today", {"tomorrow": [1, None]}),
    InvalidPayload: InvalidPayload("no", event="order", path="$.price"),
    HandlerError: HandlerError("failed", event="order"),
}
TREE = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)]


@pytest.mark.parametrize("kind", TREE)
@pytest.mark.parametrize(
    "again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deep"]
)
def test_errors_pickle_and_copy(kind: type[Exception], again: Any) -> None:
    error = SPECIAL.get(kind) or kind("what happened")
    error.add_note("a note")
    same = again(error)
    assert type(same) is kind
    assert (str(same), same.args, vars(same)) == (str(error), error.args, vars(error))


def test_an_error_of_ones_own_below_a_remote_error_does_too() -> None:
    same = pickle.loads(pickle.dumps(Refused(7, "no")))
    assert isinstance(same, Refused) and same.code == 7 and same.message == "no"


class Refused(RemoteError):
    """As an application may have it."""


def test_what_the_operating_system_calls_it() -> None:
    refused = errors.ConnectError("cannot connect")
    refused.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    lost = errors.ConnectionLost("lost")
    lost.__cause__ = refused
    assert (refused.os_code, lost.os_code) == ("ECONNREFUSED", "ECONNREFUSED")
    assert errors.AddressInUse("in use").os_code == "EADDRINUSE"
    assert errors.ConnectTimeout("late").os_code == "ETIMEDOUT"
    assert errors.InvalidPayload("no").os_code is None
