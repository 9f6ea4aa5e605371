r"""Named pipes on Windows: what is asked of the kernel, and what a Windows error means here.

This module knows handles and paths (``\\.\pipe\tmp-app.world``, from ``address.py``); it knows no event loop
and no protocol. Every call to Windows is a method of ``WinAPI``, so that a test on any system can look at the
exact flags, and so that this module can be imported anywhere: nothing of Windows is touched before the first
pipe.

What keeps a pipe to its owner:

- the first instance is made with FILE_FLAG_FIRST_PIPE_INSTANCE: a name that exists already is an error, where
  Windows would otherwise add our instance to a stranger's pipe;
- its security descriptor lets in the user and SYSTEM, and clients on other machines are rejected;
- a client lets the server identify it but not act in its name (SECURITY_IDENTIFICATION), and looks at the
  owner of the pipe before it sends a byte. The owner is asked of the handle rather than of the server's
  process: a process identifier can belong to another process by then, and not everybody may open the
  processes of SYSTEM.

A pipe has no half-close: who closes a handle ends both directions. What the kernel has taken by then can
still be read by the other end.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Callable
from typing import Any

from ..core.seam import Peer, Timer
from ..errors import AddressError, AddressInUse, ConnectError, ConnectTimeout, PeerRefused
from .keeping import closed_on_failure
from .win32 import INVALID_HANDLE, kernel32, windows_error

__all__ = [
    "Accept",
    "Instances",
    "PipeHandle",
    "WinAPI",
    "client_of",
    "create_instance",
    "open_instance",
    "security_descriptor",
    "server_of",
    "still_busy",
]

PIPE_ACCESS_DUPLEX = 0x00000003
FILE_FLAG_FIRST_PIPE_INSTANCE = 0x00080000
FILE_FLAG_OVERLAPPED = 0x40000000

PIPE_TYPE_BYTE = PIPE_READMODE_BYTE = PIPE_WAIT = 0x00000000
PIPE_REJECT_REMOTE_CLIENTS = 0x00000008
PIPE_UNLIMITED_INSTANCES = 255

GENERIC_READ = 0x80000000
GENERIC_WRITE = 0x40000000
FILE_READ_ATTRIBUTES = 0x00000080
FILE_WRITE_ATTRIBUTES = 0x00000100
OPEN_EXISTING = 3
SECURITY_SQOS_PRESENT = 0x00100000
SECURITY_IDENTIFICATION = 0x00010000

ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_PIPE_BUSY = 231

SYSTEM_SID = "S-1-5-18"
ADMINISTRATORS_SID = "S-1-5-32-544"

BUFFER_BYTES = 65536
"""What the kernel holds each way before a write has to wait; Node's pipes have the same."""

INSTANCES_READY = 8
"""How many clients can connect in one turn of the loop; libuv keeps 4 ready."""

_BACKOFF = (0.01, 1.0)
"""Seconds: the first and the longest pause after an instance could not be made."""


class WinAPI:
    """The calls to Windows, one method each. Failing calls raise ``OSError`` with ``winerror``."""

    _kernel32: Any
    _advapi32: Any

    def __init__(self) -> None:
        if sys.platform != "win32":
            raise AddressError("named pipes are Windows' own: give an id, or the path of a Unix socket")
        windows: Any = ctypes
        self._kernel32 = kernel32()
        self._advapi32 = windows.WinDLL("advapi32", use_last_error=True)

    def create_named_pipe(
        self, path: str, open_mode: int, pipe_mode: int, instances: int, buffer_bytes: int, sddl: str
    ) -> int:
        """One more instance of a pipe; ``sddl`` is its security descriptor as text."""
        descriptor = self._descriptor(sddl)
        try:
            attributes = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, 0)
            return self._made(
                self._kernel32.CreateNamedPipeW(
                    path, open_mode, pipe_mode, instances, buffer_bytes, buffer_bytes, 0, ctypes.addressof(attributes)
                )
            )
        finally:
            self._kernel32.LocalFree(descriptor)

    def create_file(self, path: str, access: int, flags: int) -> int:
        """Open the client's end, shared with nobody and not inherited."""
        return self._made(self._kernel32.CreateFileW(path, access, 0, None, OPEN_EXISTING, flags, None))

    def close_handle(self, handle: int) -> None:
        self._check(self._kernel32.CloseHandle(handle))

    def user_sid(self) -> str:
        """The user this process runs as, as ``S-1-5-…``."""
        return self._token_user(ctypes.c_void_p(-1))  # Windows' name for "this process"

    def process_user_sid(self, process: int) -> str:
        """The user that a process runs as."""
        query_limited_information = 0x1000
        handle = self._kernel32.OpenProcess(query_limited_information, 0, process)
        self._check(handle)
        try:
            return self._token_user(ctypes.c_void_p(handle))
        finally:
            self._kernel32.CloseHandle(handle)

    def owner_sid(self, handle: int) -> str | None:
        """Who owns the pipe behind a handle of either end; ``None``: nobody, as under wine."""
        kernel_object, owner_information = 6, 0x00000001
        owner, descriptor = ctypes.c_void_p(), ctypes.c_void_p()
        error = self._advapi32.GetSecurityInfo(
            ctypes.c_void_p(handle),
            kernel_object,
            owner_information,
            ctypes.byref(owner),
            None,
            None,
            None,
            ctypes.byref(descriptor),
        )
        if error:
            raise windows_error(error)
        try:
            return self._sid_text(owner) if owner.value else None
        finally:
            self._kernel32.LocalFree(descriptor)

    def client_process(self, handle: int) -> int:
        """The identifier of the process that opened the client's end."""
        return self._process(self._kernel32.GetNamedPipeClientProcessId, handle)

    def server_process(self, handle: int) -> int:
        """The identifier of the process that made the pipe."""
        return self._process(self._kernel32.GetNamedPipeServerProcessId, handle)

    def _process(self, ask: Any, handle: int) -> int:
        process = ctypes.c_uint32()
        self._check(ask(ctypes.c_void_p(handle), ctypes.byref(process)))
        return process.value

    def _token_user(self, process: ctypes.c_void_p) -> str:
        token_query, token_user = 0x0008, 1
        token = ctypes.c_void_p()
        self._check(self._advapi32.OpenProcessToken(process, token_query, ctypes.byref(token)))
        try:
            size = ctypes.c_uint32()
            self._advapi32.GetTokenInformation(token, token_user, None, 0, ctypes.byref(size))
            buffer = ctypes.create_string_buffer(size.value)
            self._check(self._advapi32.GetTokenInformation(token, token_user, buffer, size, ctypes.byref(size)))
            # TOKEN_USER begins with the address of the SID.
            return self._sid_text(ctypes.c_void_p.from_buffer(buffer))
        finally:
            self._kernel32.CloseHandle(token)

    def _descriptor(self, sddl: str) -> ctypes.c_void_p:
        descriptor = ctypes.c_void_p()
        self._check(
            self._advapi32.ConvertStringSecurityDescriptorToSecurityDescriptorW(
                ctypes.c_wchar_p(sddl), 1, ctypes.byref(descriptor), None
            ),
        )
        return descriptor

    def _sid_text(self, sid: ctypes.c_void_p) -> str:
        text = ctypes.c_void_p()
        self._check(self._advapi32.ConvertSidToStringSidW(sid, ctypes.byref(text)))
        try:
            return ctypes.wstring_at(text.value or 0)
        finally:
            self._kernel32.LocalFree(text)

    def _made(self, handle: int | None) -> int:
        if handle is None or handle == INVALID_HANDLE:
            raise windows_error()
        return handle

    def _check(self, succeeded: int) -> None:
        if not succeeded:
            raise windows_error()


class _SecurityAttributes(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_uint32),
        ("descriptor", ctypes.c_void_p),
        ("inherit", ctypes.c_int),
    )


def _number(error: OSError) -> int | None:
    """Windows' number of an error; the attribute exists on Windows only."""
    return getattr(error, "winerror", None)


class PipeHandle:
    """One end of a pipe; closed once, whoever closes it."""

    def __init__(self, handle: int, api: WinAPI) -> None:
        self._handle: int | None = handle
        self._api = api

    def fileno(self) -> int:
        """The handle as a number; ``ValueError`` once it is closed."""
        if self._handle is None:
            raise ValueError("this pipe is closed")
        return self._handle

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self._api.close_handle(handle)

    def __del__(self) -> None:
        if self._handle is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"<PipeHandle {'closed' if self._handle is None else self._handle}>"


def security_descriptor(user: str, *, readable_all: bool = False, writable_all: bool = False) -> str:
    """Who may use a pipe, in Windows' text form: the owner and SYSTEM, and with the options everybody.

    The user stands there by SID and not as "the owner": what an elevated process makes is otherwise owned by
    the group of administrators, and the same user's ordinary processes would be shut out. "Everybody" has the
    rights that Node gives them, as Node's clients ask for no less; with ``writable_all`` that includes making
    further instances of the pipe.
    """
    everybody = 0
    if readable_all:
        everybody |= GENERIC_READ | FILE_WRITE_ATTRIBUTES
    if writable_all:
        everybody |= GENERIC_WRITE | FILE_READ_ATTRIBUTES
    world = f"(A;;{everybody:#x};;;WD)" if everybody else ""
    return f"O:{user}D:P(A;;GA;;;{user})(A;;GA;;;SY){world}"


def create_instance(
    path: str, api: WinAPI, *, first: bool, readable_all: bool = False, writable_all: bool = False
) -> PipeHandle:
    """Make an instance of the pipe that one client can connect to.

    Raises:
        AddressInUse: for the first instance, when the name exists already.
        AddressError: when Windows does not take the name, or has no room for a pipe.
    """
    first_only = FILE_FLAG_FIRST_PIPE_INSTANCE if first else 0
    try:
        handle = api.create_named_pipe(
            path,
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | first_only,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            PIPE_UNLIMITED_INSTANCES,
            BUFFER_BYTES,
            security_descriptor(api.user_sid(), readable_all=readable_all, writable_all=writable_all),
        )
    except OSError as error:
        if _number(error) in (ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY):
            raise AddressInUse(f"another server listens on {path}: stop it, or choose another id") from error
        raise AddressError(f"cannot listen on {path}: {error}") from error
    return PipeHandle(handle, api)


def open_instance(path: str, api: WinAPI) -> PipeHandle | None:
    """Connect to a server whose owner may be trusted; ``None`` when all its instances are taken.

    Raises:
        ConnectError: when there is no such pipe (its cause is a ``FileNotFoundError``) or Windows refuses.
        PeerRefused: when the pipe belongs to another user; nothing was sent.
    """
    flags = FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION
    try:
        handle = PipeHandle(api.create_file(path, GENERIC_READ | GENERIC_WRITE, flags), api)
    except OSError as error:
        if _number(error) == ERROR_PIPE_BUSY:
            return None
        raise _cannot_connect(path, error) from error
    with closed_on_failure(handle):
        _check_owner(path, handle, api)
    return handle


def still_busy(path: str, timeout: float) -> ConnectTimeout:
    """The error for a pipe that had no free instance for ``timeout`` seconds."""
    return ConnectTimeout(f"every instance of {path} was busy for {timeout:g} s: the server accepts nobody")


def _cannot_connect(path: str, error: OSError) -> ConnectError:
    if _number(error) == ERROR_FILE_NOT_FOUND:
        return ConnectError(f"no server listens on {path}")
    if _number(error) == ERROR_ACCESS_DENIED:
        return ConnectError(f"the server on {path} does not let this user in: it runs as another user")
    return ConnectError(f"cannot connect to {path}: {error}")


def _check_owner(path: str, handle: PipeHandle, api: WinAPI) -> None:
    try:
        owner = _owner(handle.fileno(), api)
    except OSError as error:
        raise PeerRefused(f"the owner of {path} cannot be told, and nothing was sent: {error}") from error
    if owner not in (api.user_sid(), SYSTEM_SID, ADMINISTRATORS_SID):
        raise PeerRefused(
            f"{path} belongs to {owner}, who is neither this user nor SYSTEM nor an administrator; nothing was sent"
        )


def _owner(handle: int, api: WinAPI) -> str:
    """The owner of the pipe; where pipes have none (wine), the user of the server's process."""
    return api.owner_sid(handle) or api.process_user_sid(api.server_process(handle))


def server_of(handle: PipeHandle, api: WinAPI) -> Peer:
    """The server at the other end of a connected client's handle."""
    return _peer(api.server_process, handle)


def client_of(handle: PipeHandle, api: WinAPI) -> Peer:
    """The client at the other end of a connected server's handle."""
    return _peer(api.client_process, handle)


def _peer(process: Callable[[int], int], handle: PipeHandle) -> Peer:
    try:
        return Peer("pipe", pid=process(handle.fileno()))
    except OSError:
        # The other end has gone already; reading from the pipe will tell.
        return Peer("pipe")


Accept = Callable[[PipeHandle, Callable[[OSError | None], None]], Timer]
"""Waits for the client of an instance: ``accept(handle, done)`` tells ``done``, in a later turn, that one is
there (``None``) or why none can come; cancelling what it returns tells nothing."""


class Instances:
    """Keeps instances of a pipe ready for the next clients.

    A new instance is made before the connected one is handed over: the name never ceases to exist, so nobody
    else can take it. Several are ready at once because a client that finds none has to try again later.
    """

    def __init__(
        self,
        path: str,
        api: WinAPI,
        *,
        accept: Accept,
        call_later: Callable[[float, Callable[[], None]], Timer],
        connected: Callable[[PipeHandle, Peer], None],
        trouble: Callable[[Exception], None],
        readable_all: bool = False,
        writable_all: bool = False,
    ) -> None:
        """Listen at once.

        ``accept`` and ``call_later`` do the waiting; ``connected`` gets each client; ``trouble`` hears why no
        further client can be accepted for the moment (it is tried again).

        Raises:
            AddressInUse, AddressError: as ``create_instance``.
        """
        self._path = path
        self._api = api
        self._accept = accept
        self._call_later = call_later
        self._connected = connected
        self._trouble = trouble
        self._rights = {"readable_all": readable_all, "writable_all": writable_all}
        self._waiting: dict[PipeHandle, Timer] = {}
        self._pause = _BACKOFF[0]
        self._next_try: Timer | None = None
        self._closed = False
        self._offer(first=True)
        self._refill()

    def close(self) -> None:
        """Accept nobody any more; connected clients stay."""
        self._closed = True
        if self._next_try is not None:
            self._next_try.cancel()
        waiting, self._waiting = self._waiting, {}
        for handle, operation in waiting.items():
            operation.cancel()
            handle.close()

    def _offer(self, *, first: bool = False) -> None:
        with closed_on_failure(create_instance(self._path, self._api, first=first, **self._rights)) as handle:
            self._waiting[handle] = self._accept(handle, lambda error: self._accepted(handle, error))

    def _accepted(self, handle: PipeHandle, error: OSError | None) -> None:
        if self._waiting.pop(handle, None) is None:
            return
        if self._next_try is None:
            self._refill()
        if error is None:
            self._connected(handle, client_of(handle, self._api))
        else:
            # The client left before anybody looked; a new instance is in place already.
            handle.close()

    def _refill(self) -> None:
        self._next_try = None
        try:
            while len(self._waiting) < INSTANCES_READY and not self._closed:
                self._offer()
        except (AddressError, AddressInUse) as error:
            self._next_try = self._call_later(self._pause, self._refill)
            self._pause = min(self._pause * 2, _BACKOFF[1])
            self._trouble(error)
        else:
            self._pause = _BACKOFF[0]
