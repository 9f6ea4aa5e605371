"""Overlapped operations on Windows' handles, and the completion port that tells of their ends.

Only documented calls of kernel32, by ``ctypes``; nothing of Windows is touched before the first call of ``kernel32``.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

__all__ = ["CompletionPort", "Overlapped", "kernel32", "windows_error"]

ERROR_BROKEN_PIPE = 109
ERROR_IO_PENDING = 997
ERROR_MORE_DATA = 234
ERROR_NOT_FOUND = 1168
ERROR_PIPE_CONNECTED = 535
STATUS_PENDING = 0x103
WAIT_TIMEOUT = 258

HANDLE = ctypes.c_void_p
DWORD = ctypes.c_uint32
TEXT = ctypes.c_wchar_p
INVALID_HANDLE = HANDLE(-1).value or 0
"""What calls that make a handle return where they fail."""


class _Structure(ctypes.Structure):
    """OVERLAPPED: Windows notes in it how far an operation is."""

    internal: int

    _fields_ = (
        ("internal", ctypes.c_size_t),
        ("internal_high", ctypes.c_size_t),
        ("offset", DWORD),
        ("offset_high", DWORD),
        ("event", HANDLE),
    )


@cache
def kernel32() -> Any:
    """The library, with what its calls take."""
    windows: Any = ctypes
    library = windows.WinDLL("kernel32", use_last_error=True)
    operation, number = ctypes.POINTER(_Structure), ctypes.POINTER(DWORD)
    for name, result, arguments in (
        ("CancelIoEx", ctypes.c_int, (HANDLE, operation)),
        ("CloseHandle", ctypes.c_int, (HANDLE,)),
        ("ConnectNamedPipe", ctypes.c_int, (HANDLE, operation)),
        ("CreateFileW", HANDLE, (TEXT, DWORD, DWORD, HANDLE, DWORD, DWORD, HANDLE)),
        ("CreateNamedPipeW", HANDLE, (TEXT, DWORD, DWORD, DWORD, DWORD, DWORD, DWORD, HANDLE)),
        ("CreateIoCompletionPort", HANDLE, (HANDLE, HANDLE, ctypes.c_size_t, DWORD)),
        ("GetOverlappedResult", ctypes.c_int, (HANDLE, operation, number, ctypes.c_int)),
        (
            "GetQueuedCompletionStatus",
            ctypes.c_int,
            (HANDLE, number, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(HANDLE), DWORD),
        ),
        ("OpenProcess", HANDLE, (DWORD, ctypes.c_int, DWORD)),
        ("PostQueuedCompletionStatus", ctypes.c_int, (HANDLE, DWORD, ctypes.c_size_t, HANDLE)),
        ("ReadFile", ctypes.c_int, (HANDLE, ctypes.c_void_p, DWORD, number, operation)),
        ("WriteFile", ctypes.c_int, (HANDLE, ctypes.c_void_p, DWORD, number, operation)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def windows_error(number: int | None = None) -> OSError:
    """The error of this number, or of the call that failed last."""
    windows: Any = ctypes
    error: OSError = windows.WinError(windows.get_last_error() if number is None else number)
    return error


class Overlapped:
    """One operation, which must not be freed before its end was told: Windows writes into its memory until then."""

    __slots__ = ("_buffer", "_error", "_handle", "_kernel32", "_reads", "_structure", "address")

    def __init__(self) -> None:
        self._kernel32 = kernel32()
        self._structure = _Structure()
        self.address = ctypes.addressof(self._structure)
        """What the completion port calls it."""
        self._handle = 0
        self._buffer: Any = None
        self._reads = False
        self._error = 0

    def connect(self, handle: int) -> bool:
        """Wait for a pipe's client; True when one is there already, and nothing more will be told."""
        self._handle = handle
        return self._begun(self._kernel32.ConnectNamedPipe(handle, self._structure))

    def read(self, handle: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
        """Read into this memory, which nobody else may use until the end."""
        self._handle, self._buffer, self._reads = handle, buffer, True
        self._begun(self._kernel32.ReadFile(handle, buffer, len(buffer), None, self._structure))

    def write(self, handle: int, data: bytes) -> None:
        self._handle, self._buffer = handle, data
        self._begun(self._kernel32.WriteFile(handle, data, len(data), None, self._structure))

    def _begun(self, succeeded: int) -> bool:
        windows: Any = ctypes
        self._error = 0 if succeeded else windows.get_last_error()
        if self._error not in (0, ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_PIPE_CONNECTED):
            raise windows_error(self._error)
        if self._error != ERROR_PIPE_CONNECTED:
            return False
        self._structure.internal = 0  # done, which Windows does not note where it refused to wait
        return True

    def succeeded(self) -> bool:
        """Whether it was done when it was begun, or has been done since without an error being told then."""
        return self._error == 0 and self._structure.internal != STATUS_PENDING

    def result(self) -> bytes:
        """What was read; nothing where the peer has ended, and for other operations. Raises what it failed with."""
        count = DWORD()
        if not self._kernel32.GetOverlappedResult(self._handle, self._structure, count, False):
            windows: Any = ctypes
            error = windows.get_last_error()
            if error != ERROR_MORE_DATA and not (self._reads and error == ERROR_BROKEN_PIPE):
                raise windows_error(error)
        return ctypes.string_at(self._buffer, count.value) if self._reads else b""

    def cancel(self) -> None:
        """Ask for an early end, which is told as any other."""
        if not self._kernel32.CancelIoEx(self._handle, self._structure):
            windows: Any = ctypes
            if (error := windows.get_last_error()) != ERROR_NOT_FOUND:  # it has ended
                raise windows_error(error)


class CompletionPort:
    """Tells which operations have ended, of all handles that were joined."""

    def __init__(self) -> None:
        self._kernel32 = kernel32()
        self._port: int = self._kernel32.CreateIoCompletionPort(INVALID_HANDLE, None, 0, 1) or 0
        if not self._port:
            raise windows_error()
        self._count, self._key, self._ended = DWORD(), ctypes.c_size_t(), HANDLE()
        self._nudge = Overlapped()  # stands for no operation

    def join(self, handle: int) -> None:
        """Have the ends of a handle's operations told here; Windows takes each handle once, and keeps it."""
        if not self._kernel32.CreateIoCompletionPort(handle, self._port, 0, 0):
            raise windows_error()

    def next(self, milliseconds: int) -> int | None:
        """The address of an operation that has ended, or of none after ``wake``; None when the time is over."""
        ended = self._ended
        ended.value = None
        if (
            not self._kernel32.GetQueuedCompletionStatus(self._port, self._count, self._key, ended, milliseconds)
            and ended.value is None
        ):
            windows: Any = ctypes
            if (error := windows.get_last_error()) != WAIT_TIMEOUT:
                raise windows_error(error)
        return ended.value

    def wake(self) -> None:
        """End the ``next`` that waits now, or the one that follows; safe from any thread."""
        if not self._kernel32.PostQueuedCompletionStatus(self._port, 0, 0, self._nudge.address):
            raise windows_error()

    def close(self) -> None:
        self._kernel32.CloseHandle(self._port)
