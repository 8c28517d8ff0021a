"""Our encoding against betterproto2's and the official classes', for all that the slice can say.

And for what it cannot say yet: `Everything` has each kind of field in each way that proto3 knows.
Speed is not tested here; benchmarks/encoding.py measures it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import struct
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

import betterproto2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aeraki_xds import encode
from aeraki_xds._proto.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    Extension,
    HeaderValue,
    HeaderValueOption,
    Metadata,
    SocketAddress,
)
from aeraki_xds._proto.envoy.config.endpoint.v3 import LbEndpoint
from aeraki_xds._proto.envoy.config.listener.v3 import Filter, Listener
from aeraki_xds._proto.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from aeraki_xds._proto.google.protobuf import Any as AnyMessage
from aeraki_xds._proto.google.protobuf import (
    BoolValue,
    DoubleValue,
    Duration,
    FloatValue,
    ListValue,
    StringValue,
    Struct,
    UInt32Value,
    Value,
)
from tests.official import (
    assert_agrees,
    message_classes,
    normal,
    official_json,
    official_message,
)

GOOGLE = "google.protobuf."
ALL = message_classes()
SLICE = {name: cls for name, cls in ALL.items() if not name.startswith(GOOGLE)}
DEPTH = 4  # messages inside messages, as deep as a weighted cluster inside a route table
UINT32 = st.integers(min_value=0, max_value=2**32 - 1)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    betterproto2.TYPE_STRING: TEXT,
    betterproto2.TYPE_BYTES: st.binary(max_size=8),
    betterproto2.TYPE_BOOL: st.booleans(),
    # Never -0.0: to betterproto2 it is the default. Tested by itself below.
    betterproto2.TYPE_FLOAT: st.floats(width=32, allow_nan=False).map(lambda number: number + 0.0),
    betterproto2.TYPE_DOUBLE: st.floats(allow_nan=False).map(lambda number: number + 0.0),
} | {
    kind: st.integers(min_value=low, max_value=high) | st.sampled_from([low, high])
    for low, high, kinds in (
        (0, 2**32 - 1, (betterproto2.TYPE_UINT32, betterproto2.TYPE_FIXED32)),
        (0, 2**64 - 1, (betterproto2.TYPE_UINT64, betterproto2.TYPE_FIXED64)),
        (
            -(2**31),
            2**31 - 1,
            (betterproto2.TYPE_INT32, betterproto2.TYPE_SINT32, betterproto2.TYPE_SFIXED32),
        ),
        (
            -(2**63),
            2**63 - 1,
            (betterproto2.TYPE_INT64, betterproto2.TYPE_SINT64, betterproto2.TYPE_SFIXED64),
        ),
    )
    for kind in kinds
}

PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.just(0.5) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)

WELL_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    # Never negative: betterproto2 0.10 gets a negative fraction wrong. Tested by itself below.
    "Duration": st.timedeltas(timedelta(0), timedelta(days=36_500)),
    "BoolValue": st.booleans(),
    "UInt32Value": UINT32,
    "StringValue": TEXT,
    "DoubleValue": SCALARS[betterproto2.TYPE_DOUBLE],
    "Value": PLAIN_JSON.map(Value.from_dict),
    "ListValue": st.lists(PLAIN_JSON, max_size=2).map(ListValue.from_dict),
    "Struct": st.dictionaries(TEXT, PLAIN_JSON, max_size=2).map(Struct.from_dict),
    "Any": st.builds(HeaderValue, key=TEXT, value=TEXT).map(encode.pack),
}


@st.composite
def messages(draw: st.DrawFn, cls: type[encode.Message], depth: int = DEPTH) -> encode.Message:
    """A message with any of its fields set, at most one of each oneof."""
    shape: betterproto2.ProtoClassMetadata = cls._betterproto  # type: ignore[arg-type]
    alone = [name for name, meta in shape.meta_by_field_name.items() if meta.group is None]
    chosen = [name for name in alone if draw(st.booleans())]
    for group in sorted(shape.oneof_field_by_group):
        members = sorted(field.name for field in shape.oneof_field_by_group[group])
        chosen += draw(st.lists(st.sampled_from(members), max_size=1))
    values: dict[str, Any] = {}
    for name in chosen:
        meta = shape.meta_by_field_name[name]
        if meta.map_meta is not None:
            inner = shape.cls_by_field[f"{name}.value"]
            value = field_values(meta.map_meta[1], inner, depth)
            key = SCALARS[meta.map_meta[0].proto_type]
            values[name] = draw(st.dictionaries(key, value, max_size=2))
        else:
            value = field_values(meta, shape.cls_by_field[name], depth)
            values[name] = draw(st.lists(value, max_size=2)) if meta.repeated else draw(value)
    return cls(**values)


def field_values(meta: betterproto2.FieldMetadata, cls: Any, depth: int) -> st.SearchStrategy[Any]:
    if meta.proto_type == betterproto2.TYPE_ENUM:
        return st.sampled_from(list(cls)) | st.builds(
            cls, st.sampled_from([-1, 127, 128, 2**31 - 1])
        )
    if meta.proto_type != betterproto2.TYPE_MESSAGE:
        return SCALARS[meta.proto_type]
    meant = meta.unwrap() if meta.unwrap is not None else cls
    if meant.__module__.endswith(".google.protobuf"):
        return WELL_KNOWN[meant.__name__]
    return messages(meant, depth - 1) if depth else st.builds(meant)


GENEROUS = settings(
    max_examples=15,
    deadline=None,
    # Large messages on a busy machine; neither says anything about the message.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("name", SLICE)
@GENEROUS
@given(data=st.data())
def test_any_message_reads_the_same_to_the_official_classes(name: str, data: st.DataObject) -> None:
    message = data.draw(messages(SLICE[name]))
    plain = assert_agrees(message)
    url, body = encode.type_url(message), assert_bytes(message)
    theirs = official_message(url, body)
    assert json.loads(json.dumps(plain)) == plain
    # And back: their bytes, whatever their order of fields, are the same message to us.
    again = SLICE[name].parse(theirs.SerializeToString())
    assert normal(again.to_dict()) == normal(plain)
    assert official_json(url, encode.encode(again)) == plain


@pytest.mark.parametrize("name", sorted(ALL.keys() - SLICE.keys()))
@GENEROUS
@given(data=st.data())
def test_any_well_known_message_has_the_official_bytes(name: str, data: st.DataObject) -> None:
    assert_bytes(data.draw(messages(ALL[name])))


def assert_bytes(message: encode.Message) -> bytes:
    """Our bytes are those of betterproto2 and of the official classes."""
    body = encode.encode(message)
    assert body == bytes(message)
    theirs = official_message(encode.type_url(message), body)
    # Fields are sorted by number there and by declaration here: the same bytes, moved.
    assert sorted(body) == sorted(theirs.SerializeToString(deterministic=True))
    return body


def test_what_is_said_although_it_is_the_default_is_written() -> None:
    timeout = ConfigSource(initial_fetch_timeout=timedelta(0))
    assert assert_agrees(timeout) == {"initialFetchTimeout": "0s"}
    assert assert_agrees(HeaderMatcher(exact_match="")) == {"exactMatch": ""}
    assert assert_agrees(LbEndpoint(load_balancing_weight=0)) == {"loadBalancingWeight": 0}
    assert assert_agrees(Listener(freebind=False)) == {"freebind": False}
    assert assert_agrees(SocketAddress(port_value=0)) == {"portValue": 0}


def test_a_duration_is_spelt_as_officially() -> None:
    for seconds, spelling in ((1.5, "1.500s"), (10, "10s"), (0.000_001, "0.000001s")):
        source = ConfigSource(initial_fetch_timeout=timedelta(seconds=seconds))
        assert assert_agrees(source) == {"initialFetchTimeout": spelling}


def test_a_packed_message_is_unpacked_in_json_with_its_type() -> None:
    value = HeaderValue(key="lane", value="gold")
    url = "type.googleapis.com/envoy.config.core.v3.HeaderValue"
    plain = {"@type": url, "key": "lane", "value": "gold"}
    packed = encode.pack(value)
    assert (packed.type_url, packed.value) == (url, encode.encode(value))
    assert encode.packed_to_json(encode.encode(packed)) == plain
    assert assert_agrees(Filter(name="f", typed_config=packed)) == {
        "name": "f",
        "typedConfig": plain,
    }


def test_a_struct_keeps_every_kind_of_json() -> None:
    plain: dict[str, object] = {
        "null": None,
        "yes": True,
        "number": 1.5,
        "text": "",
        "list": [1, "a"],
        "map": {},
    }
    metadata = Metadata(filter_metadata={"aeraki": Struct.from_dict(plain)})
    assert assert_agrees(metadata) == {"filterMetadata": {"aeraki": plain}}
    assert Value.from_dict(None).to_dict() is None


def test_an_any_of_an_unknown_type_is_refused_rather_than_guessed() -> None:
    with pytest.raises(TypeError, match=r"no\.Such"):
        encode.packed_to_json(encode.encode(AnyMessage(type_url="type.googleapis.com/no.Such")))


# --- What the slice does not say yet --------------------------------------------------------------


class Colour(betterproto2.Enum):
    """An enum with a negative value."""

    NONE = 0
    RED = 1
    PAST = -1


SCALAR_TYPES: MappingProxyType[str, Any] = MappingProxyType(
    {
        betterproto2.TYPE_BOOL: bool,
        betterproto2.TYPE_BYTES: bytes,
        betterproto2.TYPE_DOUBLE: float,
        betterproto2.TYPE_ENUM: Colour,
        betterproto2.TYPE_FIXED32: int,
        betterproto2.TYPE_FIXED64: int,
        betterproto2.TYPE_FLOAT: float,
        betterproto2.TYPE_INT32: int,
        betterproto2.TYPE_INT64: int,
        betterproto2.TYPE_SFIXED32: int,
        betterproto2.TYPE_SFIXED64: int,
        betterproto2.TYPE_SINT32: int,
        betterproto2.TYPE_SINT64: int,
        betterproto2.TYPE_STRING: str,
        betterproto2.TYPE_UINT32: int,
        betterproto2.TYPE_UINT64: int,
    }
)
WRAPPED_TYPES: MappingProxyType[type[encode.Message], type] = MappingProxyType(
    {BoolValue: bool, Duration: timedelta, StringValue: str, UInt32Value: int}
)


class Spec(NamedTuple):
    """A field of `Everything`: its kind, how it occurs, and what it is a message or map of."""

    name: str
    kind: str
    way: str  # plain, optional, repeated, oneof or map
    of: Any
    wraps: type[encode.Message] | None = None
    key: str = ""


def specs() -> list[Spec]:
    """Each kind in each way. The numbers from 16 on have tags of two bytes."""
    found = [
        Spec(f"{way}_{kind}", kind, way, meant)
        for way in ("plain", "optional", "repeated", "oneof")
        for kind, meant in SCALAR_TYPES.items()
    ]
    message = betterproto2.TYPE_MESSAGE
    for way in ("optional", "repeated", "oneof"):
        found.append(Spec(f"{way}_again", message, way, "Everything"))
        found += (
            Spec(f"{way}_{cls.__name__.lower()}", message, way, meant, cls)
            for cls, meant in WRAPPED_TYPES.items()
        )
    for kind, meant in SCALAR_TYPES.items():
        found.append(Spec(f"to_{kind}", kind, "map", meant, key=betterproto2.TYPE_STRING))
    for key in (betterproto2.TYPE_SINT64, betterproto2.TYPE_BOOL, betterproto2.TYPE_INT32):
        found.append(Spec(f"from_{key}", message, "map", "Everything", key=key))
    found.append(Spec("to_weight", message, "map", int, UInt32Value, betterproto2.TYPE_STRING))
    return found


SPECS = specs()


def declared(number: int, spec: Spec) -> tuple[str, Any, Any]:
    """The field as betterproto2's compiler would declare it."""
    name = spec.of if isinstance(spec.of, str) else spec.of.__name__
    wraps = spec.wraps
    unwrap = None if wraps is None else lambda: wraps
    if spec.way == "map":
        hint = f"dict[{SCALAR_TYPES[spec.key].__name__}, {name}]"
        parts = betterproto2.map_meta(spec.key, spec.kind, unwrap_2=unwrap)
        return spec.name, hint, betterproto2.field(number, betterproto2.TYPE_MAP, map_meta=parts)
    hint = {"plain": name, "repeated": f"list[{name}]"}.get(spec.way, f"{name} | None")
    plain_enum = spec.way == "plain" and spec.kind == betterproto2.TYPE_ENUM
    made = betterproto2.field(
        number,
        spec.kind,
        default_factory=(lambda: Colour(0)) if plain_enum else None,
        group="choice" if spec.way == "oneof" else None,
        unwrap=unwrap,
        optional=spec.way in ("optional", "oneof"),
        repeated=spec.way == "repeated",
    )
    return spec.name, hint, made


Everything: Any = dataclasses.make_dataclass(
    "Everything",
    [declared(number, spec) for number, spec in enumerate(SPECS, 1)],
    bases=(betterproto2.Message,),
    eq=False,
    repr=False,
    namespace={"__module__": __name__},
)


@functools.cache
def official_everything() -> Any:
    """The official class of the same fields."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="everything.proto", package="t", syntax="proto3")
    file.dependency.extend(["google/protobuf/duration.proto", "google/protobuf/wrappers.proto"])
    colour = file.enum_type.add(name="Colour")
    for member in Colour:
        colour.value.add(name=member.name, number=member.value)
    everything = file.message_type.add(name="Everything")
    everything.oneof_decl.add(name="choice")
    for number, spec in enumerate(SPECS, 1):
        field = everything.field.add(name=spec.name, number=number, label=1)
        if spec.way == "map":
            # Named as protoc names it: the official classes insist.
            camel = "".join(part.capitalize() for part in spec.name.split("_"))
            entry = everything.nested_type.add(name=f"{camel}Entry")
            entry.options.map_entry = True
            described(entry.field.add(name="key", number=1, label=1), spec.key, None)
            described(entry.field.add(name="value", number=2, label=1), spec.kind, spec.wraps)
            field.type, field.type_name = 11, f".t.Everything.{entry.name}"
        else:
            described(field, spec.kind, spec.wraps)
        if spec.way in ("repeated", "map"):
            field.label = 3
        elif spec.way == "oneof":
            field.oneof_index = 0
    for field, spec in zip(everything.field, SPECS, strict=True):
        if spec.way == "optional" and spec.kind != betterproto2.TYPE_MESSAGE:
            field.proto3_optional = True
            field.oneof_index = len(everything.oneof_decl)
            everything.oneof_decl.add(name=f"_{spec.name}")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Everything"))


def described(field: Any, kind: str, wraps: type[encode.Message] | None) -> None:
    """Fill in the type of an official field."""
    field.type = getattr(field, f"TYPE_{kind.upper()}")
    if wraps is not None:
        field.type_name = f".{GOOGLE}{wraps.__name__}"
    elif kind in (betterproto2.TYPE_ENUM, betterproto2.TYPE_MESSAGE):
        field.type_name = ".t.Colour" if kind == betterproto2.TYPE_ENUM else ".t.Everything"


def official_bytes(body: bytes) -> bytes:
    """The bytes of an `Everything` as the official class writes what it reads in them."""
    theirs = official_everything()()
    assert theirs.ParseFromString(body) == len(body)
    again: bytes = theirs.SerializeToString(deterministic=True)
    return again


@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
@GENEROUS
@given(data=st.data())
def test_any_kind_of_field_has_the_official_bytes(spec: Spec, data: st.DataObject) -> None:
    meta = Everything._betterproto.meta_by_field_name[spec.name]
    part = meta if meta.map_meta is None else meta.map_meta[1]
    value = (
        st.sampled_from([Everything(), Everything(plain_sint32=-1), Everything(oneof_again=None)])
        if spec.of == "Everything"
        else field_values(part, spec.of, depth=0)
    )
    if spec.way == "repeated":
        value = st.lists(value, max_size=3)
    elif spec.way == "map":
        value = st.dictionaries(SCALARS[spec.key], value, max_size=3)
    drawn = data.draw(value)
    body = encode.encode(Everything(**{spec.name: drawn}))
    assert body == bytes(Everything(**{spec.name: drawn}))
    theirs = official_everything()()
    assert theirs.ParseFromString(body) == len(body)
    again = theirs.SerializeToString(deterministic=True)
    assert again == body if spec.way != "map" else sorted(again) == sorted(body)  # in any order
    if spec.kind != betterproto2.TYPE_MESSAGE:
        assert official_everything()(**{spec.name: drawn}) == theirs


@GENEROUS
@given(data=st.data())
def test_all_kinds_of_field_go_together(data: st.DataObject) -> None:
    message = data.draw(messages(Everything, depth=1))
    assert encode.encode(message) == bytes(message)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2**21])
def test_lengths_are_written_in_as_many_bytes_as_they_need(size: int) -> None:
    text = "a" * size
    message = Everything(plain_string=text, repeated_again=[Everything(plain_bytes=text.encode())])
    assert encode.encode(message) == bytes(message)
    assert len(encode.encode(HeaderValue(value=text))) >= size


@pytest.mark.parametrize("number", [0, 1, 127, 128, 2**14 - 1, 2**14, 2**31, 2**32 - 1])
def test_numbers_are_written_in_as_many_bytes_as_they_need(number: int) -> None:
    message = WeightedCluster(total_weight=number)
    assert encode.encode(message) == bytes(message)
    assert encode.encode(SocketAddress(port_value=number)) == bytes(
        SocketAddress(port_value=number)
    )


def test_a_value_that_an_enum_does_not_know_is_written_all_the_same() -> None:
    for number in (77, 128, -1, 2**31 - 1, -(2**31)):
        source = ConfigSource(resource_api_version=ApiVersion(number))
        body = encode.encode(source)
        assert body == bytes(source)
        theirs = official_message(encode.type_url(source), body)
        assert theirs.resource_api_version == number


def test_what_parsing_did_not_know_is_kept() -> None:
    unknown = b"\x9a\x06\x03new"  # field 99
    body = encode.encode(HeaderValue(key="lane")) + unknown
    value = HeaderValue.parse(body)
    assert encode.encode(value) == body
    assert encode.encode(HeaderValueOption(header=value)) == bytes(HeaderValueOption(header=value))
    assert encode.encode(HeaderValueOption(header=value)).endswith(unknown)


def test_messages_inside_their_own_kind_are_written_to_the_depth_they_have() -> None:
    value = Value.from_dict([[[[{"a": [1.5, None, {"b": []}]}]]]])
    assert encode.encode(value) == bytes(value)
    chain = Everything()
    for _ in range(50):
        chain = Everything(optional_again=chain)
    assert encode.encode(chain) == bytes(chain)


def test_a_map_is_written_in_the_order_it_was_filled() -> None:
    forwards = Struct.from_dict({"a": 1, "b": 2})
    backwards = Struct.from_dict({"b": 2, "a": 1})
    assert encode.encode(forwards) == bytes(forwards)
    assert encode.encode(backwards) == bytes(backwards) != encode.encode(forwards)


# --- Where betterproto2 is wrong, the official classes are right ---------------------------------

TEN_THOUSAND_YEARS = timedelta(seconds=315_576_000_000)


@GENEROUS
@given(st.timedeltas(-TEN_THOUSAND_YEARS, TEN_THOUSAND_YEARS))
def test_any_duration_is_the_official_one(delta: timedelta) -> None:
    from google.protobuf.duration_pb2 import Duration as OfficialDuration

    official = OfficialDuration()
    official.FromTimedelta(delta)
    body = encode.encode(ConfigSource(initial_fetch_timeout=delta))
    url = encode.type_url(ConfigSource())
    assert official_message(url, body).initial_fetch_timeout == official


def test_a_negative_zero_is_not_the_default() -> None:
    assert bytes(DoubleValue(-0.0)) == b""
    for message in (DoubleValue(-0.0), FloatValue(-0.0)):
        body = encode.encode(message)
        assert body
        assert official_message(encode.type_url(message), body).SerializeToString() == body
    assert encode.encode(DoubleValue(0.0)) == b""


# --- What cannot be written ----------------------------------------------------------------------

REFUSED: dict[str, tuple[encode.Message, str]] = {
    "bytes for text": (HeaderValue(key=b"lane"), "HeaderValue.key: "),  # type: ignore[arg-type]
    "an empty list for text": (HeaderValue(value=[]), "HeaderValue.value: "),  # type: ignore[arg-type]
    "half a character": (HeaderValue(value="\ud800"), "HeaderValue.value: "),
    "text for bytes": (AnyMessage(value="x"), "Any.value: "),  # type: ignore[arg-type]
    "a number for bytes": (AnyMessage(value=5), "Any.value: "),  # type: ignore[arg-type]
    "text for a number": (SocketAddress(port_value="80"), "SocketAddress.port_value: "),  # type: ignore[arg-type]
    "a fraction for a number": (SocketAddress(port_value=1.5), "SocketAddress.port_value: "),  # type: ignore[arg-type]
    "a large fraction": (SocketAddress(port_value=1e3), "SocketAddress.port_value: "),  # type: ignore[arg-type]
    "a negative number": (SocketAddress(port_value=-1), "-1 is not between 0 and 4294967295"),
    "a large number": (WeightedCluster(total_weight=2**32), "WeightedCluster.total_weight: "),
    "a number for yes": (Extension(disabled=2), "Extension.disabled: 2 is not between 0 and 1"),  # type: ignore[arg-type]
    "a large float": (FloatValue(1e300), "FloatValue.value: "),
    "text for a float": (DoubleValue("1"), "DoubleValue.value: "),  # type: ignore[arg-type]
    "seconds for a duration": (
        ConfigSource(initial_fetch_timeout=5),  # type: ignore[arg-type]
        "ConfigSource.initial_fetch_timeout: ",
    ),
    "a message of another class": (
        Route(match=HeaderValue()),  # type: ignore[arg-type]
        "Route.match: expected RouteMatch, not HeaderValue",
    ),
    "nothing in a list": (
        RouteMatch(headers=[None]),  # type: ignore[list-item]
        "RouteMatch.headers: expected HeaderMatcher, not NoneType",
    ),
    "no list": (RouteMatch(headers=7), "RouteMatch.headers: "),  # type: ignore[arg-type]
    "no map": (Metadata(filter_metadata=[1]), "Metadata.filter_metadata: "),  # type: ignore[arg-type]
    "the wrong key": (
        Metadata(filter_metadata={1: Struct()}),  # type: ignore[dict-item]
        "Metadata.filter_metadata: ",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_field_cannot_hold_is_refused_by_name(what: str) -> None:
    message, place = REFUSED[what]
    with pytest.raises(encode.NotEncodableError, match=re.escape(place)):
        encode.encode(message)


def test_a_refusal_names_the_whole_way_to_the_field() -> None:
    bad: Any = b"lane"
    route = Route(match=RouteMatch(headers=[HeaderMatcher(name="a"), HeaderMatcher(name=bad)]))
    table = RouteConfiguration(virtual_hosts=[VirtualHost(routes=[route])])
    way = (
        "RouteConfiguration.virtual_hosts > VirtualHost.routes > Route.match > "
        "RouteMatch.headers > HeaderMatcher.name: "
    )
    with pytest.raises(encode.NotEncodableError, match=f"^{re.escape(way)}"):
        encode.encode(table)


@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
def test_no_kind_of_field_takes_just_anything(spec: Spec) -> None:
    for wrong in (object(), 1j, {object(): object()}, [object()]):
        message = Everything(**{spec.name: wrong})
        with pytest.raises((TypeError, AttributeError, ValueError, struct.error)):
            bytes(message)
        with pytest.raises(encode.NotEncodableError, match=rf"^Everything\.{spec.name}: "):
            encode.encode(message)
