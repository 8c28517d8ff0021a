"""Envelopes against the official classes: what we write they read, what they write we read."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, json_format
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds.admission import Node
from aeraki_xds.xds.field import MalformedError, length_delimited, read_varint, scan, varint
from aeraki_xds.xds.message import DeltaRequest, Response, SotwRequest
from aeraki_xds.xds.resource import HTTP_ROUTES, Name, Resource, TypeUrl
from aeraki_xds.xds.session import NONCE_WIDTH
from aeraki_xds.xds.wire.bodies import nonce_tail
from aeraki_xds.xds.wire.envelope import delta_body, read_delta, read_sotw, sotw_body
from aeraki_xds.xds.wire.node import read_node

words = st.text(max_size=40)
type_urls = words.map(TypeUrl)
names = words.map(Name)
resources = st.builds(
    Resource.of, type_urls, st.text(min_size=1, max_size=200).map(Name), st.binary(max_size=300)
)
nonces = st.text("0123456789abcdef", min_size=NONCE_WIDTH, max_size=NONCE_WIDTH)
responses = st.builds(
    Response,
    type_url=type_urls,
    version=words,
    nonce=nonces,
    resources=st.lists(resources, max_size=4).map(tuple),
    removed=st.lists(names, max_size=4).map(tuple),
)


# --- varints and fields -----------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_a_varint_comes_back_as_it_went(value: int) -> None:
    encoded = varint(value)
    assert read_varint(encoded + b"rest", 0) == (value, len(encoded))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9, b"\xff" * 11])
def test_a_varint_that_does_not_end_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_varint(data, 0)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x07", id="a wire type that does not exist"),
        pytest.param(b"\x02\x00", id="field number 0"),
        pytest.param(b"\x0a\x05abc", id="a length past the end"),
        pytest.param(b"\x09\x00\x00", id="a cut double"),
        pytest.param(b"\x0d\x00", id="a cut float"),
        pytest.param(b"\x08", id="no value"),
    ],
)
def test_bytes_that_are_no_message_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        list(scan(data))


# --- responses --------------------------------------------------------------------------------


def write_sotw(response: Response) -> bytes:
    """What goes out on a stream."""
    return sotw_body(response) + nonce_tail(response.nonce)


def write_delta(response: Response) -> bytes:
    """What goes out on a stream."""
    return delta_body(response) + nonce_tail(response.nonce)


@given(responses)
def test_a_sotw_response_reads_the_same_in_the_official_class(response: Response) -> None:
    official = discovery_pb2.DiscoveryResponse.FromString(write_sotw(response))
    assert official.version_info == response.version
    assert official.type_url == response.type_url
    assert official.nonce == response.nonce
    assert list(official.resources) == [unpacked(each) for each in response.resources]
    assert {each.type_url for each in official.resources} == {
        each.id.type_url for each in response.resources
    }
    assert unknown_free(official)


@given(responses)
def test_19_a_delta_response_reads_the_same_in_the_official_class(response: Response) -> None:
    official = discovery_pb2.DeltaDiscoveryResponse.FromString(write_delta(response))
    assert official.system_version_info == response.version
    assert official.type_url == response.type_url
    assert official.nonce == response.nonce
    assert list(official.removed_resources) == list(response.removed)
    assert [(each.name, each.version, each.resource) for each in official.resources] == [
        (each.name, each.version, unpacked(each)) for each in response.resources
    ]
    assert unknown_free(official)


@given(responses, nonces)
def test_06_the_nonce_is_the_tail_of_a_response_so_that_the_rest_can_be_shared(
    response: Response, nonce: str
) -> None:
    other = response._replace(nonce=nonce)
    assert sotw_body(response) == sotw_body(other)
    assert delta_body(response) == delta_body(other)
    assert nonce_tail(nonce) == length_delimited(5, nonce.encode())


def test_a_resource_carries_the_message_that_it_was_made_from() -> None:
    node = base_pb2.Node(id="anything will do")
    made = Resource.of(HTTP_ROUTES, Name("r"), node.SerializeToString())
    response = Response(type_url=HTTP_ROUTES, version="v", nonce="00000001", resources=(made,))
    (packed,) = discovery_pb2.DiscoveryResponse.FromString(write_sotw(response)).resources
    assert packed.type_url == HTTP_ROUTES
    assert base_pb2.Node.FromString(packed.value) == node


def unpacked(resource: Resource) -> Any:
    """The official Any of a resource."""
    return any_pb2.Any.FromString(resource.packed)


def unknown_free(message: Any) -> bool:
    """Whether the official class knew every field that it was given."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return bool(message.ByteSize() == size)


# --- requests ---------------------------------------------------------------------------------


@given(version=words, asked=st.lists(words, max_size=5), url=words, nonce=words)
def test_a_sotw_request_of_the_official_class_reads_the_same(
    version: str, asked: list[str], url: str, nonce: str
) -> None:
    official = discovery_pb2.DiscoveryRequest(
        version_info=version, resource_names=asked, type_url=url, response_nonce=nonce
    )
    request, node = read_sotw(official.SerializeToString())
    assert node is None
    assert request == SotwRequest(
        type_url=TypeUrl(url),
        names=tuple(Name(name) for name in asked),
        nonce=nonce,
        version=version,
    )


@given(
    url=words,
    subscribe=st.lists(words, max_size=4),
    unsubscribe=st.lists(words, max_size=4),
    versions=st.dictionaries(words, words, max_size=4),
    nonce=words,
)
def test_40_a_delta_request_of_the_official_class_reads_the_same(
    url: str, subscribe: list[str], unsubscribe: list[str], versions: dict[str, str], nonce: str
) -> None:
    official = discovery_pb2.DeltaDiscoveryRequest(
        type_url=url,
        resource_names_subscribe=subscribe,
        resource_names_unsubscribe=unsubscribe,
        initial_resource_versions=versions,
        response_nonce=nonce,
    )
    request, node = read_delta(official.SerializeToString())
    assert node is None
    assert request == DeltaRequest(
        type_url=TypeUrl(url),
        subscribe=tuple(Name(name) for name in subscribe),
        unsubscribe=tuple(Name(name) for name in unsubscribe),
        initial_versions={Name(name): version for name, version in versions.items()},
        nonce=nonce,
    )


@pytest.mark.parametrize("message", ["", "no filter of that name", "ungültig"])
def test_09_an_error_is_read_with_its_message_and_an_empty_one_is_an_error_too(
    message: str,
) -> None:
    sotw = discovery_pb2.DiscoveryRequest(response_nonce="n", error_detail={"message": message})
    sotw.error_detail.code = 13
    delta = discovery_pb2.DeltaDiscoveryRequest(
        response_nonce="n", error_detail={"message": message}
    )
    assert read_sotw(sotw.SerializeToString())[0].error == message
    assert read_delta(delta.SerializeToString())[0].error == message


def test_09_an_error_without_any_content_is_an_error_all_the_same() -> None:
    request = discovery_pb2.DiscoveryRequest()
    request.error_detail.SetInParent()
    assert read_sotw(request.SerializeToString())[0].error == ""
    assert read_sotw(b"")[0].error is None
    assert read_delta(b"")[0].error is None


def test_02_the_node_is_handed_out_raw() -> None:
    node = base_pb2.Node(id="sidecar~10.0.0.1~a.b~b.svc.cluster.local", cluster="a.b")
    for request, read in (
        (discovery_pb2.DiscoveryRequest(node=node, type_url="t"), read_sotw),
        (discovery_pb2.DeltaDiscoveryRequest(node=node, type_url="t"), read_delta),
    ):
        decode: Callable[[bytes], tuple[Any, memoryview | None]] = read
        decoded, raw = decode(request.SerializeToString())
        assert decoded.type_url == "t"
        assert raw is not None
        assert bytes(raw) == node.SerializeToString()


def test_52_unknown_fields_and_resource_locators_are_skipped() -> None:
    unknown = (
        length_delimited(777, b"new in the next version")
        + varint(778 << 3)
        + varint(7)
        + varint(779 << 3 | 1)
        + b"\0" * 8
        + varint(780 << 3 | 5)
        + b"\0" * 4
    )
    sotw = discovery_pb2.DiscoveryRequest(type_url="t", resource_names=["a"])
    sotw.resource_locators.add(name="b")
    delta = discovery_pb2.DeltaDiscoveryRequest(type_url="t", resource_names_subscribe=["a"])
    delta.resource_locators_subscribe.add(name="b")
    assert read_sotw(unknown + sotw.SerializeToString() + unknown)[0].names == ("a",)
    assert read_delta(unknown + delta.SerializeToString() + unknown)[0].subscribe == ("a",)


def test_52_a_known_field_of_another_wire_type_is_skipped_as_an_unknown_one() -> None:
    numbers = b"".join(varint(number << 3) + varint(1) for number in range(1, 8))
    assert read_sotw(numbers) == (SotwRequest(type_url=TypeUrl("")), None)
    assert read_delta(numbers) == (DeltaRequest(type_url=TypeUrl("")), None)


@pytest.mark.parametrize("number", [1, 3, 4, 5])
def test_a_string_that_is_not_utf8_is_malformed(number: int) -> None:
    with pytest.raises(MalformedError, match="not UTF-8"):
        read_sotw(length_delimited(number, b"\xff"))


# --- nodes ------------------------------------------------------------------------------------


json_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(words, json_values, max_size=4))
def test_the_metadata_of_a_node_is_plain_json(metadata: dict[str, object]) -> None:
    official = base_pb2.Node(id="n")
    official.metadata.update(metadata)
    node = read_node(memoryview(official.SerializeToString()))
    assert node.metadata == metadata


def test_a_node_as_envoy_sends_it() -> None:
    official = base_pb2.Node(
        id="sidecar~10.0.0.1~a.b~b.svc.cluster.local",
        cluster="a.b",
        user_agent_name="envoy",
        client_features=["envoy.lb.does_not_support_overprovisioning"],
    )
    official.locality.zone = "z"
    official.user_agent_build_version.version.major_number = 1
    official.metadata.update({"NAMESPACE": "b", "LABELS": {"app": "a"}, "PORTS": [80, None]})
    for name in ("envoy.filters.network.thrift_proxy", "envoy.filters.network.generic_proxy"):
        official.extensions.add(name=name, category="envoy.filters.network")
    node = read_node(memoryview(official.SerializeToString()))
    assert (node.id, node.cluster, node.user_agent) == (official.id, "a.b", "envoy")
    assert node.metadata == json_format.MessageToDict(official.metadata)
    assert base_pb2.Node.FromString(node.extensions).extensions == official.extensions


def test_a_build_is_known_by_the_digest_of_its_extensions() -> None:
    def digest(node: str, *extensions: str) -> str:
        official = base_pb2.Node(id=node)
        for name in extensions:
            official.extensions.add(name=name)
        return read_node(memoryview(official.SerializeToString())).extensions_digest

    assert digest("a", "x", "y") == digest("b", "x", "y") != ""
    assert digest("a", "x") != digest("a", "y")
    assert digest("a") == ""


def test_an_empty_node_is_a_node_without_a_name() -> None:
    assert read_node(memoryview(b"")) == Node(id="")


def test_metadata_that_is_not_a_number_stays_so() -> None:
    official = base_pb2.Node()
    official.metadata.fields["x"].number_value = math.nan
    (value,) = read_node(memoryview(official.SerializeToString())).metadata.values()
    assert isinstance(value, float)
    assert math.isnan(value)


def test_52_metadata_values_of_no_kind_or_of_several_are_read_leniently() -> None:
    none, several = b"", varint(4 << 3) + varint(1) + length_delimited(3, b"last")
    entries = (
        length_delimited(1, length_delimited(1, key) + length_delimited(2, value))
        for key, value in ((b"none", none), (b"several", several))
    )
    unknown = length_delimited(9, b"x")
    struct = b"".join((*entries, unknown, length_delimited(1, unknown)))
    node = read_node(memoryview(length_delimited(3, struct)))
    assert node.metadata == {"none": None, "several": "last", "": None}


def test_metadata_that_nests_without_end_is_malformed() -> None:
    value = b""
    for _ in range(5000):
        value = length_delimited(6, length_delimited(1, value))
    entry = length_delimited(1, length_delimited(2, value))
    with pytest.raises(MalformedError, match="nests deeper than 100"):
        read_node(memoryview(length_delimited(3, entry)))


# --- malformed bytes --------------------------------------------------------------------------


READERS: list[Callable[[bytes], object]] = [
    read_sotw,
    read_delta,
    lambda data: read_node(memoryview(data)),
    lambda data: read_node(memoryview(length_delimited(3, data))),
]


def _example() -> list[bytes]:
    node = base_pb2.Node(id="n", cluster="c")
    node.metadata.update({"A": "x", "n": 1.5, "b": True, "z": None, "l": [1, {"q": "ä"}]})
    node.extensions.add(name="envoy.filters.network.thrift_proxy")
    sotw = discovery_pb2.DiscoveryRequest(
        node=node, version_info="v", resource_names=["a", "b"], type_url="t", response_nonce="n"
    )
    sotw.error_detail.message = "no"
    delta = discovery_pb2.DeltaDiscoveryRequest(
        node=node,
        type_url="t",
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"a": "1"},
        response_nonce="n",
        error_detail={"message": "no"},
    )
    return [each.SerializeToString() for each in (sotw, delta, node, node.metadata)]


def only_malformed(read: Callable[[bytes], object], data: bytes) -> None:
    with suppress(MalformedError):
        read(data)


@given(st.sampled_from(READERS), st.binary(max_size=64))
def test_random_bytes_raise_malformed_error_and_nothing_else(
    read: Callable[[bytes], object], data: bytes
) -> None:
    only_malformed(read, data)


@pytest.mark.parametrize("place", range(4))
def test_a_message_cut_anywhere_raises_malformed_error_and_nothing_else(place: int) -> None:
    data = _example()[place]
    for end in range(len(data)):
        only_malformed(READERS[place], data[:end])


@given(st.integers(0, 3), st.data())
def test_a_message_with_flipped_bytes_raises_malformed_error_and_nothing_else(
    place: int, draw: st.DataObject
) -> None:
    data = bytearray(_example()[place])
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    only_malformed(READERS[place], bytes(data))
