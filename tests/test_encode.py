"""Our encoding against the official classes, for every message that the slice can say."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import betterproto2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aeraki_xds import encode
from aeraki_xds._proto.envoy.config.core.v3 import (
    ConfigSource,
    HeaderValue,
    Metadata,
    SocketAddress,
)
from aeraki_xds._proto.envoy.config.endpoint.v3 import LbEndpoint
from aeraki_xds._proto.envoy.config.listener.v3 import Filter, Listener
from aeraki_xds._proto.envoy.config.route.v3 import HeaderMatcher
from aeraki_xds._proto.google.protobuf import Any as AnyMessage
from aeraki_xds._proto.google.protobuf import Struct, Value
from tests.official import (
    assert_agrees,
    message_classes,
    normal,
    official_json,
    official_message,
)

SLICE = {
    name: cls for name, cls in message_classes().items() if not name.startswith("google.protobuf.")
}
DEPTH = 4  # messages inside messages, as deep as a weighted cluster inside a route table
UINT32 = st.integers(min_value=0, max_value=2**32 - 1)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    betterproto2.TYPE_STRING: TEXT,
    betterproto2.TYPE_BOOL: st.booleans(),
    betterproto2.TYPE_UINT32: UINT32,
    betterproto2.TYPE_INT32: st.integers(min_value=-(2**31), max_value=2**31 - 1),
}

PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.just(0.5) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)

WELL_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    # Never negative: betterproto2 0.10 gets a negative fraction wrong, and we send none.
    "Duration": st.timedeltas(timedelta(0), timedelta(days=36_500)),
    "BoolValue": st.booleans(),
    "UInt32Value": UINT32,
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
            values[name] = draw(st.dictionaries(TEXT, value, max_size=2))
        else:
            value = field_values(meta, shape.cls_by_field[name], depth)
            values[name] = draw(st.lists(value, max_size=2)) if meta.repeated else draw(value)
    return cls(**values)


def field_values(meta: betterproto2.FieldMetadata, cls: Any, depth: int) -> st.SearchStrategy[Any]:
    if meta.proto_type == betterproto2.TYPE_ENUM:
        return st.sampled_from(list(cls))
    if meta.proto_type != betterproto2.TYPE_MESSAGE:
        return SCALARS[meta.proto_type]
    meant = meta.unwrap() if meta.unwrap is not None else cls
    if meant.__module__.endswith(".google.protobuf"):
        return WELL_KNOWN[meant.__name__]
    return messages(meant, depth - 1) if depth else st.builds(meant)


@pytest.mark.parametrize("name", SLICE)
@settings(
    max_examples=15,
    deadline=None,
    # Large messages on a busy machine; neither says anything about the message.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_message_reads_the_same_to_the_official_classes(name: str, data: st.DataObject) -> None:
    message = data.draw(messages(SLICE[name]))
    plain = assert_agrees(message)
    url, body = encode.type_url(message), encode.encode(message)
    theirs = official_message(url, body)
    assert json.loads(json.dumps(plain)) == plain
    # And back: their bytes, whatever their order of fields, are the same message to us.
    again = SLICE[name].parse(theirs.SerializeToString())
    assert normal(again.to_dict()) == normal(plain)
    assert official_json(url, encode.encode(again)) == plain


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
