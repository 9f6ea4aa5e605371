"""What exactly is asked of Windows for a named pipe: seen on any system, with a Windows that takes notes."""

import asyncio
import gc
import inspect
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from node_ipc.core.seam import Peer
from node_ipc.drivers.loop_pipes import accept_pipe, carry_pipe
from node_ipc.errors import AddressError, AddressInUse, ConnectError, IPCError, PeerRefused
from node_ipc.net.pipe import (
    INSTANCES_READY,
    Instances,
    PipeHandle,
    WinAPI,
    client_of,
    create_instance,
    open_instance,
    security_descriptor,
    server_of,
)
from pipe_ends import listen_pipe

PATH = r"\\.\pipe\tmp-app.world"
USER = "S-1-5-21-11-22-33-1001"
STRANGER = "S-1-5-21-11-22-33-1002"
OWNER_AND_SYSTEM = f"O:{USER}D:P(A;;GA;;;{USER})(A;;GA;;;SY)"

pytestmark = pytest.mark.row(28)


def windows_error(number: int, kind: type[OSError] = OSError) -> OSError:
    error = kind(0, f"error {number}")
    error.winerror = number  # type: ignore[attr-defined,unused-ignore]
    return error


@dataclass
class FakeWindows:
    """Keeps what it is asked for; every call works unless ``failures`` holds an error for it."""

    owner: str | None = USER
    process_user: str = STRANGER
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    failures: dict[str, list[OSError]] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    _last: int = 100

    def _call(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, *arguments))
        if errors := self.failures.get(name):
            raise errors.pop(0)

    def _handle(self) -> int:
        self._last += 1
        self.open.add(self._last)
        return self._last

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]

    def create_named_pipe(
        self, path: str, open_mode: int, pipe_mode: int, instances: int, buffer_bytes: int, sddl: str
    ) -> int:
        self._call("create_named_pipe", path, open_mode, pipe_mode, instances, buffer_bytes, sddl)
        return self._handle()

    def create_file(self, path: str, access: int, flags: int) -> int:
        self._call("create_file", path, access, flags)
        return self._handle()

    def close_handle(self, handle: int) -> None:
        self._call("close_handle", handle)
        self.open.remove(handle)

    def user_sid(self) -> str:
        self._call("user_sid")
        return USER

    def process_user_sid(self, process: int) -> str:
        self._call("process_user_sid", process)
        return self.process_user

    def owner_sid(self, handle: int) -> str | None:
        self._call("owner_sid", handle)
        return self.owner

    def client_process(self, handle: int) -> int:
        self._call("client_process", handle)
        return 41

    def server_process(self, handle: int) -> int:
        self._call("server_process", handle)
        return 42


@pytest.fixture
def windows() -> FakeWindows:
    return FakeWindows()


@pytest.fixture
def api(windows: FakeWindows) -> WinAPI:
    return cast(WinAPI, windows)


def test_the_fake_has_the_calls_of_the_real_one() -> None:
    for name, method in inspect.getmembers(WinAPI, inspect.isfunction):
        if not name.startswith("_"):
            fake = inspect.signature(getattr(FakeWindows, name), eval_str=True)
            assert fake == inspect.signature(method, eval_str=True), name


# --- the server's side ---------------------------------------------------------------


def test_the_first_instance(windows: FakeWindows, api: WinAPI) -> None:
    handle = create_instance(PATH, api, first=True)
    assert windows.named("create_named_pipe") == [
        (
            PATH,
            0x00000003  # PIPE_ACCESS_DUPLEX
            | 0x40000000  # FILE_FLAG_OVERLAPPED
            | 0x00080000,  # FILE_FLAG_FIRST_PIPE_INSTANCE
            0x00000008,  # PIPE_REJECT_REMOTE_CLIENTS, and bytes rather than messages
            255,  # PIPE_UNLIMITED_INSTANCES
            65536,
            OWNER_AND_SYSTEM,
        )
    ]
    handle.close()


def test_further_instances_differ_only_in_not_being_the_first(windows: FakeWindows, api: WinAPI) -> None:
    create_instance(PATH, api, first=True).close()
    create_instance(PATH, api, first=False).close()
    first, second = windows.named("create_named_pipe")
    assert first[1] ^ second[1] == 0x00080000
    assert (first[0], *first[2:]) == (second[0], *second[2:])


@pytest.mark.parametrize(
    ("options", "everybody"),
    [
        ({}, ""),
        ({"readable_all": True}, "(A;;0x80000100;;;WD)"),  # GENERIC_READ, FILE_WRITE_ATTRIBUTES
        ({"writable_all": True}, "(A;;0x40000080;;;WD)"),  # GENERIC_WRITE, FILE_READ_ATTRIBUTES
        ({"readable_all": True, "writable_all": True}, "(A;;0xc0000180;;;WD)"),
    ],
)
def test_the_descriptor_lets_in_the_owner_and_system(
    windows: FakeWindows, api: WinAPI, options: dict[str, bool], everybody: str
) -> None:
    assert security_descriptor(USER, **options) == OWNER_AND_SYSTEM + everybody
    create_instance(PATH, api, first=True, **options).close()
    assert windows.named("create_named_pipe")[0][-1] == OWNER_AND_SYSTEM + everybody


@pytest.mark.parametrize(
    ("number", "expected"),
    [(5, AddressInUse), (231, AddressInUse), (123, AddressError), (8, AddressError)],
)
def test_what_a_server_hears(windows: FakeWindows, api: WinAPI, number: int, expected: type[IPCError]) -> None:
    error = windows_error(number)
    windows.failures["create_named_pipe"] = [error]
    with pytest.raises(expected) as caught:
        create_instance(PATH, api, first=True)
    assert caught.value.__cause__ is error
    assert PATH in str(caught.value)


# --- the client's side ---------------------------------------------------------------


def test_what_a_client_asks_for(windows: FakeWindows, api: WinAPI) -> None:
    handle = open_instance(PATH, api)
    assert handle is not None
    assert windows.named("create_file") == [
        (
            PATH,
            0x80000000 | 0x40000000,  # GENERIC_READ, GENERIC_WRITE
            0x40000000  # FILE_FLAG_OVERLAPPED
            | 0x00100000  # SECURITY_SQOS_PRESENT
            | 0x00010000,  # SECURITY_IDENTIFICATION
        )
    ]
    assert windows.named("owner_sid") == [(handle.fileno(),)]
    handle.close()


@pytest.mark.parametrize("owner", [USER, "S-1-5-18", "S-1-5-32-544"])
def test_servers_that_are_trusted(windows: FakeWindows, api: WinAPI, owner: str) -> None:
    windows.owner = owner
    handle = open_instance(PATH, api)
    assert handle is not None
    assert windows.open
    handle.close()


@pytest.mark.parametrize("owner", [STRANGER, "S-1-5-32-545", "S-1-1-0", "S-1-5-7", USER + "0"])
def test_other_servers_are_left(windows: FakeWindows, api: WinAPI, owner: str) -> None:
    windows.owner = owner
    with pytest.raises(PeerRefused, match="nothing was sent"):
        open_instance(PATH, api)
    assert not windows.open


def test_a_pipe_without_owner_counts_as_its_server_process(windows: FakeWindows, api: WinAPI) -> None:
    windows.owner = None
    with pytest.raises(PeerRefused, match=STRANGER):
        open_instance(PATH, api)
    assert windows.named("process_user_sid") == [(42,)]
    assert not windows.open
    windows.process_user = USER
    handle = open_instance(PATH, api)
    assert handle is not None
    handle.close()


def test_a_server_whose_owner_cannot_be_told_is_left(windows: FakeWindows, api: WinAPI) -> None:
    windows.failures["owner_sid"] = [windows_error(5, PermissionError)]
    with pytest.raises(PeerRefused, match="cannot be told"):
        open_instance(PATH, api)
    assert not windows.open


def test_no_server_can_be_told_from_the_cause(windows: FakeWindows, api: WinAPI) -> None:
    windows.failures["create_file"] = [windows_error(2, FileNotFoundError)]
    with pytest.raises(ConnectError, match="no server listens") as caught:
        open_instance(PATH, api)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize(("number", "words"), [(5, "does not let this user in"), (53, "cannot connect")])
def test_what_a_client_hears(windows: FakeWindows, api: WinAPI, number: int, words: str) -> None:
    windows.failures["create_file"] = [windows_error(number)]
    with pytest.raises(ConnectError, match=words):
        open_instance(PATH, api)


def test_a_busy_pipe_is_no_error_yet(windows: FakeWindows, api: WinAPI) -> None:
    windows.failures["create_file"] = [windows_error(231)]
    assert open_instance(PATH, api) is None
    assert not windows.open


# --- handles and peers ---------------------------------------------------------------


def test_a_handle_is_closed_once(windows: FakeWindows, api: WinAPI) -> None:
    handle = create_instance(PATH, api, first=True)
    assert repr(handle) == f"<PipeHandle {handle.fileno()}>"
    handle.close()
    handle.close()
    assert len(windows.named("close_handle")) == 1
    assert repr(handle) == "<PipeHandle closed>"
    with pytest.raises(ValueError, match="closed"):
        handle.fileno()


def test_a_forgotten_handle_is_closed_with_a_warning(windows: FakeWindows, api: WinAPI) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        create_instance(PATH, api, first=True)
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning]
    assert not windows.open


def test_peers(windows: FakeWindows, api: WinAPI) -> None:
    handle = create_instance(PATH, api, first=True)
    assert client_of(handle, api) == Peer("pipe", pid=41)
    assert server_of(handle, api) == Peer("pipe", pid=42)
    windows.failures["client_process"] = [windows_error(233)]
    assert client_of(handle, api) == Peer("pipe")
    handle.close()


# --- the listener --------------------------------------------------------------------


@dataclass
class FakeTimer:
    callback: Callable[..., None]
    delay: float = 0
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Waiting:
    """A listener whose waiting the test does."""

    accepting: dict[PipeHandle, FakeTimer] = field(default_factory=dict)
    timers: list[FakeTimer] = field(default_factory=list)
    clients: list[tuple[PipeHandle, Peer]] = field(default_factory=list)
    instances_when_connected: list[int] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)

    def accept(self, handle: PipeHandle, done: Callable[[OSError | None], None]) -> FakeTimer:
        self.accepting[handle] = FakeTimer(done)
        return self.accepting[handle]

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(callback, delay))
        return self.timers[-1]

    def connected(self, handle: PipeHandle, peer: Peer) -> None:
        self.clients.append((handle, peer))
        self.instances_when_connected.append(len(self.accepting))

    def arrive(self, error: OSError | None = None) -> None:
        handle = next(iter(self.accepting))
        self.accepting.pop(handle).callback(error)

    def listener(self, api: WinAPI) -> Instances:
        return Instances(
            PATH,
            api,
            accept=self.accept,
            call_later=self.call_later,
            connected=self.connected,
            trouble=self.troubles.append,
        )


def test_only_the_very_first_instance_claims_the_name(windows: FakeWindows, api: WinAPI) -> None:
    waiting = Waiting()
    listener = waiting.listener(api)
    waiting.arrive()
    modes = [call[1] for call in windows.named("create_named_pipe")]
    assert [bool(mode & 0x00080000) for mode in modes] == [True] + [False] * INSTANCES_READY
    listener.close()
    waiting.clients[0][0].close()
    assert not windows.open


def test_a_name_in_use_leaves_nothing_behind(windows: FakeWindows, api: WinAPI) -> None:
    windows.failures["create_named_pipe"] = [windows_error(5, PermissionError)]
    waiting = Waiting()
    with pytest.raises(AddressInUse):
        waiting.listener(api)
    assert not windows.open and not waiting.accepting and not waiting.timers


def test_the_next_instance_is_there_before_a_client_is_handed_over(windows: FakeWindows, api: WinAPI) -> None:
    waiting = Waiting()
    listener = waiting.listener(api)
    for _ in range(20):
        waiting.arrive()
    assert waiting.instances_when_connected == [INSTANCES_READY] * 20
    assert {peer for _, peer in waiting.clients} == {Peer("pipe", pid=41)}
    listener.close()
    assert len(windows.open) == 20
    for handle, _ in waiting.clients:
        handle.close()


def test_a_client_that_left_is_dropped(windows: FakeWindows, api: WinAPI) -> None:
    waiting = Waiting()
    listener = waiting.listener(api)
    waiting.arrive(windows_error(232, BrokenPipeError))
    assert waiting.clients == [] and waiting.troubles == []
    assert len(windows.open) == len(waiting.accepting) == INSTANCES_READY
    listener.close()
    assert not windows.open


def test_instances_that_cannot_be_made_are_tried_again_ever_later(windows: FakeWindows, api: WinAPI) -> None:
    waiting = Waiting()
    listener = waiting.listener(api)
    windows.failures["create_named_pipe"] = [windows_error(8) for _ in range(9)]
    waiting.arrive()
    for _ in range(8):
        waiting.timers[-1].callback()
    assert [round(timer.delay, 2) for timer in waiting.timers] == [
        0.01,
        0.02,
        0.04,
        0.08,
        0.16,
        0.32,
        0.64,
        1.0,
        1.0,
    ]
    assert len(waiting.troubles) == 9
    waiting.arrive()
    assert len(waiting.timers) == 9, "one that is connected meanwhile starts no second series"
    waiting.timers[-1].callback()
    assert len(waiting.accepting) == INSTANCES_READY
    windows.failures["create_named_pipe"] = [windows_error(8)]
    waiting.arrive()
    assert waiting.timers[-1].delay == 0.01
    listener.close()
    assert waiting.timers[-1].cancelled
    for handle, _ in waiting.clients:
        handle.close()
    assert not windows.open


def test_close_ends_the_waiting(windows: FakeWindows, api: WinAPI) -> None:
    waiting = Waiting()
    listener = waiting.listener(api)
    operations = list(waiting.accepting.values())
    listener.close()
    listener.close()
    assert all(operation.cancelled for operation in operations)
    assert not windows.open
    waiting.arrive()
    assert waiting.clients == [] and not windows.open


# --- the event loop --------------------------------------------------------------


class FakeProactorLoop:
    """The little of a Proactor loop that accepting needs; turns are taken by the test."""

    def __init__(self) -> None:
        self._proactor = self
        self.soon: list[Callable[[], None]] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.failures: list[OSError] = []
        self.transports: list[tuple[PipeHandle, Any]] = []

    def accept_pipe(self, handle: PipeHandle) -> asyncio.Future[Any]:
        if self.failures:
            raise self.failures.pop(0)
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> FakeTimer:
        self.soon.append(lambda: callback(*arguments))
        return FakeTimer(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        raise AssertionError("nothing had to be tried again")

    def _make_duplex_pipe_transport(self, handle: PipeHandle, protocol: Any) -> None:
        self.transports.append((handle, protocol))


async def test_accepting_in_the_loop(windows: FakeWindows, api: WinAPI) -> None:
    loop, refuse, peers = FakeProactorLoop(), [False, True], list[Peer]()

    def accepted_as(peer: Peer) -> asyncio.Protocol | None:
        peers.append(peer)
        return None if refuse.pop(0) else protocol

    # The first instance's client came and left before anybody looked.
    loop.failures.append(windows_error(232, BrokenPipeError))
    protocol = asyncio.Protocol()
    listener = listen_pipe(
        cast(asyncio.AbstractEventLoop, loop),
        PATH,
        accepted_as,
        print,
        api=api,
    )
    assert len(windows.open) == INSTANCES_READY
    loop.soon.pop()()
    assert len(windows.open) == INSTANCES_READY and not loop.transports

    for future in loop.futures[:2]:
        future.set_result(None)
    loop.futures[2].set_exception(windows_error(232, BrokenPipeError))
    for _ in range(2):
        await asyncio.sleep(0)
    [(handle, accepted)] = loop.transports
    assert accepted is protocol and Peer("pipe", pid=41) in peers
    assert len(windows.open) == INSTANCES_READY + 1
    listener.close()
    assert windows.open == {handle.fileno()}
    assert all(future.done() for future in loop.futures)
    for _ in range(2):
        await asyncio.sleep(0)
    assert len(loop.transports) == 1
    handle.close()


def test_a_loop_without_pipes_is_named_and_keeps_no_handle(windows: FakeWindows, api: WinAPI) -> None:
    loop = asyncio.SelectorEventLoop()
    with pytest.raises(AddressError, match="SelectorEventLoop"):
        listen_pipe(loop, PATH, lambda peer: None, print, api=api)
    assert not windows.open
    handle = create_instance(PATH, api, first=True)
    with pytest.raises(AddressError, match="ProactorEventLoop"):
        carry_pipe(loop, handle, asyncio.Protocol())
    with pytest.raises(AddressError, match="ProactorEventLoop"):
        accept_pipe(loop, handle, print)
    handle.close()
    loop.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has them")
def test_where_there_are_no_pipes_it_is_said() -> None:
    with pytest.raises(AddressError, match="named pipes are Windows' own"):
        WinAPI()
