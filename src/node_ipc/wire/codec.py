"""Messages to bytes and bytes to messages: the profiles, and a codec of one's own.

``choose`` gives an endpoint its codec once, when it is made; no message asks again which profile is on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..config.foreign import PASSING, shown, text_of
from ..errors import ConfigError, InvalidPayload, ProtocolError
from .attached import Delivery
from .costs import is_too_deep
from .framed import FramedCodec
from .json import Envelope, nested_too_deeply
from .raw import RawCodec

if TYPE_CHECKING:
    from ..config.config import Config

__all__ = ["Codec", "CustomCodec", "Splits", "UserCodec", "choose", "logged", "shallow", "without_attachments"]


class Splits(Protocol):
    """Cuts one stream into frames (``framing.Splitter`` explains the rules)."""

    fault: ProtocolError | None

    @property
    def rest(self) -> bytes | bytearray:
        """What came of the frame that is not complete."""

    def split(self, chunk: bytes) -> list[Any]: ...

    def hopeless(self, begun: bytes | bytearray) -> ProtocolError | None:
        """Why ``rest`` can never become a frame; None where it can."""


class Codec(Protocol):
    """What a session needs of a profile."""

    @property
    def raw(self) -> bool:
        """Whether bytes pass without events and frames."""

    @property
    def attaches(self) -> bool:
        """Whether bytes may travel beside the JSON; then ``encode`` may give a :class:`~.parcel.Parcel` for a frame."""

    def encode(self, type: str, data: Any = ...) -> bytes:
        """One whole frame, its delimiter included; raises a :class:`ProtocolError` where it cannot be sent."""

    def check_name(self, name: str) -> None:
        """Raise an :class:`InvalidEvent` for a name that this profile lets neither in nor out."""

    def splitter(self) -> Splits: ...

    @property
    def gives_raw(self) -> bool:
        """Whether ``decode_raw`` leaves payloads undecoded."""

    @property
    def decode(self) -> Callable[[Any], Any]:
        """A frame to an object with ``type`` and ``data``, the payload decoded."""

    @property
    def decode_raw(self) -> Callable[[Any], Any]:
        """The same with the payload left as ``Raw``."""

    @property
    def decode_large(self) -> Callable[[Any], Any]:
        """``decode`` for frames of any size, at a bounded cost; see ``costs.py``."""

    def salvage(self, frame: Any) -> Envelope | InvalidPayload:
        """A second, slower look at a frame that ``decode`` refused; see ``json.salvage``."""


class UserCodec(Protocol):
    """A codec of the user's own, for ``config.parser``: another format than JSON, with framing of its own."""

    def encode(self, type: str, data: Any) -> bytes:
        """The whole frame as it goes over the wire."""

    def decode(self, data: bytes) -> tuple[Iterable[tuple[str, Any]], int]:
        """Read whole messages from the start of ``data``.

        Returns the messages as ``(type, payload)`` and how many bytes they took; the rest comes again in front
        of what arrives next. Raise ``ValueError`` for bytes that can never become a message.
        """


class CustomCodec:
    """Fits a :class:`UserCodec` into a session, under the same limits as the guarded profile."""

    raw = False
    gives_raw = False
    attaches = False

    def __init__(self, codec: UserCodec, settings: Config) -> None:
        from .framed import name_check

        self._codec = codec
        self._limit = settings.max_message_size
        self.check_name = name_check(settings)
        self.decode: Callable[[Any], Envelope] = _envelope
        self.decode_raw = self.decode_large = self.decode

    def encode(self, type: str, data: Any = {}) -> bytes:  # noqa: B006 - never changed: data left out is {}
        from .framed import too_large_to_emit

        self.check_name(type)
        frame = self._codec.encode(type, data)
        if not isinstance(frame, bytes):
            raise InvalidPayload(f"the codec's encode must return bytes, not {frame.__class__.__name__}", event=type)
        if len(frame) > self._limit:
            raise too_large_to_emit(type, len(frame), self._limit)
        return frame

    def splitter(self) -> Splits:
        return _CustomSplitter(self._codec, self._limit)

    def salvage(self, frame: Any) -> Envelope | InvalidPayload:  # pragma: no cover - ``_envelope`` says it all
        raise AssertionError(frame)


def _envelope(message: Any) -> Envelope:
    """One message of a user's ``decode``; what it gives may come from a peer, so its shape is checked."""
    if not (isinstance(message, (tuple, list)) and len(message) == 2 and isinstance(message[0], str)):
        raise ProtocolError(f"the codec's decode must give pairs of event name and payload, not {message!r:.80}")
    return Envelope(message[0], message[1])


class _CustomSplitter:
    def __init__(self, codec: UserCodec, limit: int) -> None:
        self._codec = codec
        self._limit = limit
        self.rest = b""
        self.fault: ProtocolError | None = None

    def hopeless(self, begun: bytes | bytearray) -> None:
        """Only the codec knows what its frames look like."""

    def split(self, chunk: bytes) -> list[Any]:
        from ..errors import FrameTooLarge

        data = self.rest + chunk
        try:
            messages, taken = self._codec.decode(data)
            whole = list(messages)
            if not 0 <= taken <= len(data):
                raise ValueError(f"decode says that it took {taken!r} of {len(data)} bytes")
        except PASSING:
            raise
        except BaseException as error:  # a codec of somebody else's, fed by a peer: whatever it raises is the frame's
            self.fault = (
                error if isinstance(error, ProtocolError) else ProtocolError(f"the codec refused it: {text_of(error)}")
            )
            self.fault.__cause__ = error.__cause__ if error is self.fault else error
            self.rest = b""
            return []
        self.rest = data[taken:]
        if len(self.rest) > self._limit:
            self.fault = FrameTooLarge(
                f"a message of more than {self._limit} bytes: raise max_message_size if it is meant to come"
            )
            self.rest = b""
        return whole


def choose(settings: Config) -> Codec:
    """The codec of an endpoint with these settings."""
    if settings.profile == "raw":
        return RawCodec(settings.encoding)
    if settings.profile != "custom":
        return FramedCodec(settings)
    parser: Any = settings.parser
    codec = _made(parser, settings) if isinstance(parser, type) else parser
    for verb in ("encode", "decode"):
        if not callable(getattr(codec, verb, None)):
            raise ConfigError(f"the option parser is an object without a method {verb}: {codec!r:.80}")
    return CustomCodec(codec, settings)


def _made(parser: type, settings: Config) -> Any:
    try:
        return parser(settings)
    except Exception as error:
        raise ConfigError(f"the option parser is a class that cannot be made: {shown(error)}") from error


class _Logged:
    """A codec that tells of each event that goes out."""

    def __init__(self, codec: Codec, log: Callable[..., Any]) -> None:
        self._codec = codec
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def encode(self, type: Any, data: Any = {}) -> bytes:  # noqa: B006 - never changed: data left out is {}
        if self._codec.raw:
            self._log("dispatching", type)
            return self._codec.encode(type)
        self._log("dispatching event", type, data)
        return self._codec.encode(type, data)


def logged(codec: Codec, log: Callable[..., Any]) -> Codec:
    """``codec``, with a line in the log for each event that is encoded."""
    return cast("Codec", _Logged(codec, log))  # what it has not itself it takes from the codec


class _Shallow:
    """A codec that looks how deep a frame goes before it decodes it."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.decode = _unless_deep(codec.decode)
        self.decode_raw = _unless_deep(codec.decode_raw)
        self.decode_large = _unless_deep(codec.decode_large)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def salvage(self, frame: Any) -> Envelope | InvalidPayload:
        looked_at = frame.head if isinstance(frame, Delivery) else frame
        return nested_too_deeply(looked_at) if is_too_deep(looked_at) else self._codec.salvage(frame)


def _unless_deep(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decoded(frame: bytes) -> Any:
        if is_too_deep(frame):
            raise RecursionError
        return decode(frame)

    return decoded


def shallow(codec: Codec) -> Codec:
    """``codec`` for a thread with little stack: what is nested too deeply is an ``InvalidPayload``, as elsewhere."""
    if isinstance(codec, _Shallow) or not codec.gives_raw:  # raw mode decodes nothing; other formats know themselves
        return codec
    return cast(Codec, _Shallow(codec))  # what it has not itself it takes from the codec


def without_attachments(codec: Codec) -> Codec:
    """``codec`` for where there are no links: what it encodes is always one frame."""
    if isinstance(codec, FramedCodec):
        codec.attaches = False
    return codec
