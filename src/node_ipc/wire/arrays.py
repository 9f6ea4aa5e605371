"""Bytes and arrays in payloads: which objects are such, what a peer has to know of them, and how they are made again.

NumPy's arrays are known where a program has imported NumPy; nothing here imports it.
"""

from __future__ import annotations

import array
import base64
import re
import sys
from collections.abc import Callable, Iterable
from math import prod
from typing import TYPE_CHECKING, Any

import msgspec

from .json import hooked, plain, to_bytes

__all__ = [
    "Arrived",
    "Buffer",
    "Bytes",
    "BytesOrArray",
    "Piece",
    "buffer_of",
    "buffer_or_plain",
    "check_array",
    "is_known",
    "item_size",
    "made_by",
    "makes",
]

MOST_DIMENSIONS = 32
ORDER = "<" if sys.byteorder == "little" else ">"
_TYPECODES = dict(zip("bBhHiIlLqQfd", "iuiuiuiuiuff", strict=True))
"""Of ``array.array`` and of memoryviews; the letters that NumPy has for them."""
_DTYPE = re.compile(r"[<>|](?:([biufc])(\d{1,2})|([SUV])(\d{1,9})|[mM]8(?:\[[A-Za-z0-9]+\])?)")
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8, 12, 16), "c": (8, 16, 24, 32)}


# ---- what is annotated


if TYPE_CHECKING:
    Bytes = bytes
else:

    class _AsBytes(type):
        """Arrays may come where bytes may: msgspec takes no union of the two, so they are one type to it."""

        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, bytes)

        def __or__(cls, other: Any) -> Any:
            return BytesOrArray if _is_array_type(other) else type.__or__(cls, other)

        def __ror__(cls, other: Any) -> Any:
            return BytesOrArray if _is_array_type(other) else type.__ror__(cls, other)

    class Bytes(metaclass=_AsBytes):
        """Bytes in a payload, for annotations: what is annotated so arrives as ``bytes``, whichever way it came.

        That is a buffer that nobody changes: ``memoryview(data)`` and ``numpy.frombuffer(data, …)`` look into it
        without a copy. A sender may emit bytes, ``bytearray``, ``memoryview``, an array, or Node's ``Buffer``. Where
        either may come, ``node_ipc.Bytes | numpy.ndarray`` gives an array where one was sent.

        Example:
            >>> @server.on("picture")
            ... def picture(data: node_ipc.Bytes, socket):
            ...     print(len(data))
            >>> client.emit("picture", bytearray(4000))
            True
            >>> driver.run_until_idle()
            4000
        """

        def __new__(cls, data: Any = b"") -> bytes:
            return bytes(data)


class _OrArray(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, bytes) or _is_ndarray(value)


class BytesOrArray(metaclass=_OrArray):
    """What ``Bytes | numpy.ndarray`` is: an array where one was sent, and else bytes."""


def _numpy() -> Any:
    """NumPy, where the program has it."""
    return sys.modules.get("numpy")


def _is_ndarray(value: object) -> bool:
    numpy = _numpy()
    return numpy is not None and isinstance(value, getattr(numpy, "ndarray", ()))


def _is_array_type(type: Any) -> bool:
    numpy = _numpy()
    return numpy is not None and getattr(type, "__origin__", type) is getattr(numpy, "ndarray", None)


def is_known(type: Any) -> bool:
    """Whether values of this class are made here, so that no hook of the user's has to."""
    return type in (Bytes, BytesOrArray, array.array) or _is_array_type(type)


# ---- what is sent


class Buffer(msgspec.Struct, eq=False):
    """The bytes of one object, and what a peer has to know of them."""

    view: memoryview
    """One after the other, as they are to go out."""
    about: dict[str, Any] | None = None
    """An array's dtype, shape and order; None for what is bytes."""

    def in_json(self) -> Any:
        """What stands in the JSON where the bytes do not travel beside it; msgspec makes base64 text of a view."""
        return self.view if self.about is None else {**self.about, "data": self.view}


def buffer_of(value: Any) -> Buffer | None:
    """The bytes of this object; None where it has none. ``TypeError`` for an array that cannot be sent."""
    if _is_ndarray(value):
        return _of_ndarray(value)
    if isinstance(value, array.array):
        return Buffer(memoryview(value).cast("B"), {"dtype": _dtype_of(value), "shape": [len(value)]})
    try:
        view = memoryview(value)
    except (TypeError, BufferError, ValueError):
        return None
    return Buffer(_flat(view))


def _flat(view: memoryview) -> memoryview:
    if not view.c_contiguous:
        return memoryview(view.tobytes())
    return view.cast("B") if view.nbytes else memoryview(b"")


def _dtype_of(value: array.array[Any]) -> str:
    letter = _TYPECODES.get(value.typecode)
    if letter is None:
        raise TypeError(f"an array of characters ({value.typecode!r}) is text: emit its tounicode()")
    return f"{'|' if value.itemsize == 1 else ORDER}{letter}{value.itemsize}"


def _of_ndarray(value: Any) -> Buffer:
    numpy = _numpy()
    if isinstance(value, numpy.ma.MaskedArray):
        raise TypeError("a masked array would lose its mask: emit its data and its mask")
    if value.dtype.hasobject or value.dtype.kind == "T":
        raise TypeError("an array of objects has no bytes that mean anything elsewhere: emit its tolist()")
    given, dtype = value, _packed(value.dtype)
    if dtype is not value.dtype:
        value = value.astype(dtype)
    about: dict[str, Any] = {"dtype": _described(dtype), "shape": list(value.shape)}
    if not value.flags.c_contiguous and value.flags.f_contiguous:
        about["order"] = "F"
        value = value.T
    flat = numpy.ascontiguousarray(value).reshape(-1)
    if not flat.nbytes:
        return Buffer(memoryview(b""), about)
    view = _flat(memoryview(flat.view(numpy.uint8)))
    return Buffer(view if numpy.may_share_memory(flat, given) else view.toreadonly(), about)


def _packed(dtype: Any) -> Any:
    """The same without holes between fields."""
    if dtype.names is None:
        return dtype
    numpy = _numpy()
    packed = numpy.dtype([(name, _packed(dtype.fields[name][0])) for name in dtype.names])
    return dtype if packed == dtype else packed


def _described(dtype: Any) -> Any:
    if dtype.names is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        field = dtype.fields[name][0]
        if field.subdtype is None:
            fields.append([name, _described(field)])
        else:
            fields.append([name, _described(field.subdtype[0]), list(field.subdtype[1])])
    return fields


def buffer_or_plain(value: Any, enc_hook: Callable[[Any], Any] | None) -> Any:
    """What the user's hook makes of a value, else its :class:`Buffer`, else what is plain; or ``TypeError``."""
    return _buffer_or_plain(value) if enc_hook is None else hooked(enc_hook, _buffer_or_plain, value)


def _buffer_or_plain(value: Any) -> Any:
    numpy: Any = _numpy()
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    found: Buffer | None = None if isinstance(value, (str, int, float)) else buffer_of(value)
    return plain(value) if found is None else found


# ---- what has arrived


Piece = bytes | bytearray | memoryview
"""Bytes, or the memory of an array, which whoever has it may write into."""


class Arrived(msgspec.Struct, eq=False):
    """Bytes that came beside the JSON, or an array in it, before it is known what is wanted of them."""

    data: Piece
    about: dict[str, Any] | None

    def in_json(self) -> Any:
        """As it would have come in JSON."""
        text = base64.b64encode(self.data).decode("ascii")
        return text if self.about is None else {**self.about, "data": text}


def item_size(dtype: Any) -> int:
    """The bytes of one item, by what a peer says of it; ``ValueError`` where that is no dtype, or one of objects."""
    if isinstance(dtype, list) and dtype:
        return sum(_field_size(field) for field in dtype)
    found = _DTYPE.fullmatch(dtype) if isinstance(dtype, str) else None
    if found is None:
        raise ValueError(f"{dtype!r:.80} is no dtype of plain values")
    letter, size, sized, count = found.groups()
    if letter is not None:
        if int(size) not in _SIZES[letter]:
            raise ValueError(f"{dtype!r:.80} is no dtype of plain values")
        return int(size)
    return 8 if sized is None else int(count) * (4 if sized == "U" else 1)


def _field_size(field: Any) -> int:
    if not (isinstance(field, list) and 2 <= len(field) <= 3 and isinstance(field[0], str)):
        raise ValueError(f"{field!r:.80} is no field of a dtype")
    return item_size(field[1]) * prod(_shape(field[2]) if len(field) == 3 else ())


def _shape(shape: Any) -> list[int]:
    sound = isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS
    if not sound or any(each.__class__ is not int or each < 0 for each in shape):
        raise ValueError(f"{shape!r:.80} is no shape")
    return list(shape)


def check_array(about: dict[str, Any], size: int) -> None:
    """Raise ``ValueError`` where so many bytes cannot be that array."""
    wanted = item_size(about.get("dtype")) * prod(_shape(about.get("shape")))
    if wanted != size:
        raise ValueError(
            f"an array of dtype {about['dtype']!r:.80} and shape {about['shape']!r:.80} has {wanted} bytes, "
            f"and {size} came"
        )
    if about.get("order", "C") not in ("C", "F"):
        raise ValueError(f"the order {about['order']!r:.80} is neither 'C' nor 'F'")


def makes(dec_hook: Callable[[Any, Any], Any] | None) -> Callable[[Any, Any], Any]:
    """A hook for decoders that makes bytes and arrays, behind the user's own; ``object`` is whatever comes."""

    def hook(type: Any, value: Any) -> Any:
        if type is object:
            return value.in_json() if value.__class__ is Arrived else value
        if dec_hook is None or (value.__class__ is Arrived and is_known(_origin(type))):
            return made_by(type, value)
        try:
            return dec_hook(type, value.in_json() if value.__class__ is Arrived else value)
        except (TypeError, NotImplementedError):
            if not is_known(_origin(type)):
                raise
            return made_by(type, value)

    return hook


def _origin(type: Any) -> Any:
    return getattr(type, "__origin__", type)


def made_by(type: Any, value: Any) -> Any:
    """A value of one of the types that :func:`is_known` names; ``ValueError`` where it cannot be that."""
    arrived = value if value.__class__ is Arrived else _arrived(value)
    if type is Bytes:
        return _as_bytes(arrived.data if arrived else to_bytes(value))
    if type is BytesOrArray:
        if arrived is None or arrived.about is None:
            return _as_bytes(arrived.data if arrived else to_bytes(value))
        return _as_ndarray(arrived)
    if type is array.array:
        return _as_array(arrived) if arrived else _from_numbers(value)
    if _is_array_type(type):
        return _checked_dtype(type, _as_ndarray(arrived) if arrived else _from_list(value))
    raise TypeError(f"nothing here makes {type!r:.80}")


def _arrived(value: Any) -> Arrived | None:
    """An array as it stands in JSON, or bytes."""
    if _is_array_in_json(value):
        data = bytearray(base64.b64decode(value["data"], validate=True))
        check_array(value, len(data))
        return Arrived(data, value)
    if isinstance(value, str) or (isinstance(value, dict) and value.get("type") == "Buffer"):
        return Arrived(to_bytes(value), None)
    return None


def _as_bytes(data: Piece) -> bytes:
    return data if data.__class__ is bytes else bytes(data)


def _as_ndarray(arrived: Arrived) -> Any:
    numpy = _numpy()
    about = arrived.about or {"dtype": "|u1", "shape": [len(arrived.data)]}
    data = bytearray(arrived.data) if isinstance(arrived.data, bytes) else arrived.data
    dtype = numpy.dtype(_tuples(about["dtype"]))
    flat = numpy.frombuffer(data, dtype) if data else numpy.empty(0, dtype)
    if flat.size != prod(about["shape"]):  # items without bytes
        return numpy.zeros(about["shape"], dtype)
    return flat.reshape(about["shape"], order=about.get("order", "C"))


def _tuples(dtype: Any) -> Any:
    """NumPy wants each field as a tuple."""
    if isinstance(dtype, str):
        return dtype
    return [(field[0], _tuples(field[1]), *(tuple(shape) for shape in field[2:])) for field in dtype]


def _from_list(value: Any) -> Any:
    """Numbers in a list, as other languages send them."""
    numpy = _numpy()
    if not isinstance(value, list):
        raise _no_array(value)
    made = numpy.asarray(value)
    if made.dtype.kind not in "biufc":
        raise ValueError("expected an array, and this list is not one of numbers")
    return made


def _no_array(value: Any) -> ValueError:
    """What came where an array was to come; of an object that has one inside, under which name."""
    text = f"expected an array, got {type(value).__name__}"
    if not isinstance(value, dict):
        return ValueError(text)
    inside = (key for key, each in value.items() if each.__class__ is Arrived or _is_array_in_json(each))
    key = next(inside, None)
    if key is None:
        return ValueError(text)
    return ValueError(
        f"{text} with one in its member {key!r:.80}: give the type of the whole, a TypedDict or Struct with that member"
    )


def _is_array_in_json(value: Any) -> bool:
    return isinstance(value, dict) and "dtype" in value and isinstance(value.get("data"), str)


def _checked_dtype(type: Any, made: Any) -> Any:
    """``NDArray[numpy.float32]`` wants that and nothing else."""
    arguments: Any = getattr(type, "__args__", ())
    wanted = getattr(arguments[1], "__args__", (Any,))[0] if len(arguments) == 2 else Any
    if wanted is not Any and isinstance(wanted, _CLASS) and not issubclass(made.dtype.type, wanted):
        raise ValueError(f"expected an array of {wanted.__name__}, got one of {made.dtype}")
    return made


_CLASS = type


def _as_array(arrived: Arrived) -> array.array[Any]:
    about = arrived.about or {"dtype": "|u1", "shape": [len(arrived.data)]}
    dtype, shape = about["dtype"], about["shape"]
    letter, size = (dtype[1], int(dtype[2:])) if isinstance(dtype, str) and dtype[2:].isdigit() else ("", 0)
    codes: Iterable[str] = (code for code, kind in _TYPECODES.items() if kind == letter)
    code = next((code for code in codes if array.array(code).itemsize == size), None)
    if code is None or len(shape) != 1:
        raise ValueError(f"an array of dtype {dtype!r:.80} and shape {shape!r:.80} is no array.array")
    made = array.array(code)
    made.frombytes(arrived.data)
    if dtype[0] not in ("|", ORDER):
        made.byteswap()
    return made


def _from_numbers(value: Any) -> array.array[Any]:
    if not isinstance(value, list):
        raise _no_array(value)
    whole = all(each.__class__ is int for each in value)
    return array.array("q" if whole else "d", value)
