"""Messages to bytes, to `Any` and to JSON: the one place that knows the protobuf library's ways.

In: messages of `_proto`. Out: their encoding, deterministic as long as maps are filled in sorted
order; or `NotEncodableError`, which names message class and field. Translation calls this once per
changed resource, never per stream.

Guaranteed: the bytes are those of `bytes(message)`, in a twentieth of the time (see
benchmarks/encoding.py), for betterproto2 looks up every field's description anew for every value.
Here each message class gets a function of its own, generated from the same descriptions when it is
first needed. Where betterproto2 0.10 is wrong, the bytes are those of the official classes: a
negative duration, one of more than 285 years, and -0.0. Like those classes, and unlike
betterproto2, it refuses a number that the field cannot hold and a message of another class.
"""

from __future__ import annotations

import functools
import operator
import struct
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import chain
from typing import Final, NoReturn

import betterproto2

from aeraki_xds._proto.google.protobuf import Any, Duration
from aeraki_xds._proto.message_pool import default_message_pool

Message = betterproto2.Message
FieldMetadata = betterproto2.FieldMetadata
Encoder = Callable[[Message], bytes]


class NotEncodableError(Exception):
    """A message holds what its field cannot: another type, or a number out of range."""


def encode(message: Message) -> bytes:
    """The wire format of a message."""
    encoder = _encoders.get(type(message)) or _build(type(message))
    try:
        return encoder(message)
    except (ArithmeticError, AttributeError, TypeError, ValueError, struct.error) as error:
        raise NotEncodableError(f"{_place(error) or type(message).__name__}: {error}") from error


def type_url(message: Message) -> str:
    """`type.googleapis.com/<full name>` of a message's type."""
    return default_message_pool.type_to_url[type(message)]


def pack(message: Message) -> Any:
    """The message inside an Any, as a filter's `typed_config` wants it."""
    return Any(type_url=type_url(message), value=encode(message))


def packed_to_json(packed: bytes) -> dict[str, object]:
    """proto3 JSON of an encoded Any, with its `@type`: lowerCamelCase names, each Any unpacked."""
    plain: dict[str, object] = Any.parse(packed).to_dict()
    return plain


def unpacked(packed: bytes) -> bytes:
    """What an encoded Any holds."""
    return Any.parse(packed).value


# --- The functions per message class ------------------------------------------------------------
#
# For HeaderValue, say, this is generated; `heads_12[n]` is the tag 0x12 followed by the varint n.
# One list of pieces and one join: measured faster than adding up bytes, or than fewer appends.
#
#     def encode(m):
#         if m.__class__ is not CLASS: refuse(CLASS, m)
#         p = []
#         v = m.key
#         if v is not None and v != '':
#             b = v.encode()
#             n = len(b)
#             p.append(heads_0a[n] if n < 128 else far(b'\n', n))
#             p.append(b)
#         v = m.value
#         …
#         return join(p) + m._unknown_fields

_FILE: Final = "<encoder of>"  # as profiles and tracebacks show it
_encoders: Final[dict[type[Message], Encoder]] = {}

_RANGES: Final = {
    betterproto2.TYPE_BOOL: (0, 1),
    betterproto2.TYPE_ENUM: (-(2**31), 2**31 - 1),
    betterproto2.TYPE_INT32: (-(2**31), 2**31 - 1),
    betterproto2.TYPE_INT64: (-(2**63), 2**63 - 1),
    betterproto2.TYPE_UINT32: (0, 2**32 - 1),
    betterproto2.TYPE_UINT64: (0, 2**64 - 1),
    # Of the zigzag form.
    betterproto2.TYPE_SINT32: (0, 2**32 - 1),
    betterproto2.TYPE_SINT64: (0, 2**64 - 1),
}
_FIXED: Final = {
    betterproto2.TYPE_FLOAT: struct.Struct("<f"),
    betterproto2.TYPE_DOUBLE: struct.Struct("<d"),
    betterproto2.TYPE_FIXED32: struct.Struct("<I"),
    betterproto2.TYPE_SFIXED32: struct.Struct("<i"),
    betterproto2.TYPE_FIXED64: struct.Struct("<Q"),
    betterproto2.TYPE_SFIXED64: struct.Struct("<q"),
}
_EMPTY: Final = {betterproto2.TYPE_STRING: "", betterproto2.TYPE_BYTES: b""}


def _build(cls: type[Message]) -> Encoder:
    """The encoder of a class; made with those of all classes inside it, and only then published."""
    sources = {cls: _Source(cls)}
    pending = [cls]
    while pending:
        for inner in sources[pending.pop()].inner.values():
            if inner not in sources and inner not in _encoders:
                sources[inner] = _Source(inner)
                pending.append(inner)
    made = {each: source.compiled() for each, source in sources.items()}
    for source in sources.values():  # Messages may contain each other, so they meet only here.
        for name, inner in source.inner.items():
            source.names[name] = made.get(inner) or _encoders[inner]
    _encoders.update(made)
    return made[cls]


class _Source:
    """The text of one encoder, line by line, and what its names mean."""

    def __init__(self, cls: type[Message]) -> None:
        self.cls = cls
        self.inner: dict[str, type[Message]] = {}  # the names of other encoders, and of what
        self.lines = ["def encode(m):", " if m.__class__ is not CLASS: refuse(CLASS, m)", " p = []"]
        fields = ["", *("" for _ in self.lines)]  # which field a line is about; lines count from 1
        self.names: dict[str, object] = {
            "CLASS": cls,
            "FIELDS": fields,
            "far": _far,
            "join": b"".join,
            "refuse": _refuse,
        }
        shape = _shape(cls)
        # As betterproto2 does: in the order of declaration, not of numbers.
        for name, meta in shape.meta_by_field_name.items():
            inner = shape.cls_by_field.get(f"{name}.value", shape.cls_by_field[name])
            own = [f"v = m.{name}", *self._field(meta, inner, "p")]
            self.lines += _indented(own)
            fields += [name for _ in own]
        self.lines.append(" return join(p) + m._unknown_fields")
        fields.append("")

    def compiled(self) -> Encoder:
        """The function. It must not be called before `names` has the encoders in `inner`."""
        file = f"{_FILE} {self.cls.__name__}"
        exec(compile("\n".join(self.lines), file, "exec", dont_inherit=True), self.names)
        encoder: Encoder = self.names["encode"]  # type: ignore[assignment]
        return encoder

    def _field(self, meta: FieldMetadata, inner: type, out: str) -> Iterator[str]:
        """Append the field `v` to the list `out`, unless it is not set."""
        kind = meta.proto_type
        condition = "v is not None"
        if meta.map_meta is not None:
            lines = self._map(meta.number, meta.map_meta, inner, out)
        elif meta.repeated and kind in betterproto2.PACKED_TYPES:
            lines = self._packed(meta, inner, out)
        elif meta.repeated:
            lines = chain(["for v in v:"], _indented(self._value(meta, inner, out)))
        else:
            lines = self._value(meta, inner, out)
            if not (meta.optional or meta.group or kind == betterproto2.TYPE_MESSAGE):
                condition += f" and {self._differs(kind)}"
        yield f"if {condition}:"
        yield from _indented(lines)

    def _differs(self, kind: str) -> str:
        """That `v` is not its kind's default."""
        if kind in _FIXED:  # as bytes: -0.0 equals 0.0, and is not the default
            return f"{self._pack(kind)}(v) != {_FIXED[kind].pack(0)!r}"
        return f"v != {_EMPTY.get(kind, 0)!r}"

    def _map(
        self, number: int, parts: tuple[FieldMetadata, FieldMetadata], inner: type, out: str
    ) -> Iterator[str]:
        entry = f"{out}e"
        yield "for k, x in v.items():"
        yield f" {entry} = []"
        for variable, part in zip("kx", parts, strict=True):  # an entry always says both
            yield f" v = {variable}"
            yield from _indented(self._value(part, inner, entry))
        yield f" b = join({entry})"
        yield from _indented(self._sized(number, out))

    def _packed(self, meta: FieldMetadata, inner: type, out: str) -> Iterator[str]:
        items = f"{out}i"
        yield f"{items} = []"
        yield "for v in v:"
        yield from _indented(self._value(meta, inner, items, tagged=False))
        yield f"b = join({items})"
        yield "if b:"
        yield from _indented(self._sized(meta.number, out))

    def _value(
        self, meta: FieldMetadata, inner: type, out: str, *, tagged: bool = True
    ) -> Iterator[str]:
        """Append the one value `v` to the list `out`, without its tag where it is packed."""
        kind, number = meta.proto_type, meta.number
        if kind in _RANGES:
            low, high = _RANGES[kind]
            tag = _tag(number, betterproto2.WIRE_VARINT) if tagged else b""
            if kind in (betterproto2.TYPE_SINT32, betterproto2.TYPE_SINT64):
                yield "v = v << 1 if v >= 0 else ~(v << 1)"
            short = f"{self._heads(tag)}[v] if 0 <= v < {min(128, high + 1)}"
            yield f"{out}.append({short} else far({tag!r}, v, {low}, {high}))"
        elif kind in _FIXED:
            wire = (
                betterproto2.WIRE_FIXED_32 if _FIXED[kind].size == 4 else betterproto2.WIRE_FIXED_64
            )
            tag = _tag(number, wire) if tagged else b""
            yield f"{out}.append({tag!r} + {self._pack(kind)}(v))"
        else:
            if kind == betterproto2.TYPE_STRING:
                yield "b = v.encode()"
            elif kind == betterproto2.TYPE_BYTES:
                yield "b = b'' + v"  # refuses what is not bytes
            elif meta.unwrap is not None:
                yield from self._wrapped(meta.unwrap(), out)
            else:
                yield f"b = {self._encoder(inner)}(v)"
            yield from self._sized(number, out)

    def _wrapped(self, cls: type[Message], out: str) -> Iterator[str]:
        """Let `b` be the message that the plain value `v` stands for."""
        shape = _shape(cls)
        if (only := shape.meta_by_field_name.get("value")) and len(shape.meta_by_field_name) == 1:
            # BoolValue and the like: making them would take a third of the time of a route.
            yield f"{out}w = []"
            yield from self._field(only, shape.cls_by_field["value"], f"{out}w")
            yield f"b = join({out}w)"
        else:
            encoder = self._encoder(cls)
            wrap = _duration if cls is Duration else cls.from_wrapped  # type: ignore[attr-defined]
            self.names[f"wrap_{encoder}"] = wrap
            yield f"b = {encoder}(wrap_{encoder}(v))"

    def _sized(self, number: int, out: str) -> Iterator[str]:
        """Append the bytes `b` to the list `out`, after tag and length."""
        tag = _tag(number, betterproto2.WIRE_LEN_DELIM)
        yield "n = len(b)"
        yield f"{out}.append({self._heads(tag)}[n] if n < 128 else far({tag!r}, n))"
        yield f"{out}.append(b)"

    def _encoder(self, cls: type[Message]) -> str:
        name = f"encode_{len(self.inner)}"
        self.inner[name] = cls
        return name

    def _heads(self, tag: bytes) -> str:
        name = f"heads_{tag.hex()}"
        self.names[name] = _heads(tag)
        return name

    def _pack(self, kind: str) -> str:
        name = f"pack_{kind}"
        self.names[name] = _FIXED[kind].pack
        return name


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f" {line}" for line in lines)


def _shape(cls: type[Message]) -> betterproto2.ProtoClassMetadata:
    shape: betterproto2.ProtoClassMetadata = cls._betterproto  # type: ignore[arg-type]
    return shape


def _tag(number: int, wire: int) -> bytes:
    return _far(b"", number << 3 | wire)


@functools.cache
def _heads(tag: bytes) -> tuple[bytes, ...]:
    """The tag and each varint of one byte: most lengths and numbers are that small."""
    return tuple(tag + bytes((number,)) for number in range(128))


def _far(tag: bytes, number: int, low: int = 0, high: int = 2**64 - 1) -> bytes:
    """The tag and any varint; a negative number is 64 bits wide."""
    number = operator.index(number)
    if not low <= number <= high:
        raise ValueError(f"{number} is not between {low} and {high}")
    number &= 2**64 - 1
    head = bytearray(tag)
    while number > 0x7F:
        head.append(number & 0x7F | 0x80)
        number >>= 7
    head.append(number)
    return bytes(head)


def _duration(delta: timedelta) -> Duration:
    """In whole numbers, and with the sign on both parts: betterproto2 0.10 does neither."""
    total = delta // timedelta(microseconds=1)
    seconds, microseconds = divmod(abs(total), 1_000_000)
    sign = -1 if total < 0 else 1
    return Duration(seconds=sign * seconds, nanos=sign * microseconds * 1000)


def _refuse(cls: type[Message], value: object) -> NoReturn:
    raise TypeError(f"expected {cls.__name__}, not {type(value).__name__}")


def _place(error: Exception) -> str:
    """The fields that lead to where an encoder failed: generated lines know theirs."""
    steps = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(_FILE):
            name, field = frame.f_globals["CLASS"].__name__, frame.f_globals["FIELDS"][line]
            steps += [f"{name}.{field}"] if field else []
    return " > ".join(steps)
