"""Streams that say the same node share it, and nothing else about it changes."""

from __future__ import annotations

import gc
from typing import Any, Final

import pytest
from envoy.config.core.v3 import base_pb2
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds.field import MalformedError, length_delimited
from aeraki_xds.xds.wire.node import Nodes, _short_entry, read_node

NAMES: Final = st.text(max_size=8)


@st.composite
def nodes(draw: st.DrawFn) -> bytes:
    """Encoded nodes, of which some have their extensions in several places."""
    node: Any = base_pb2.Node(id=draw(NAMES), cluster=draw(NAMES))
    node.metadata.update(draw(st.dictionaries(NAMES, NAMES, max_size=3)))
    for name in draw(st.lists(NAMES, max_size=3)):
        node.extensions.add(name=name)
    encoded: bytes = node.SerializeToString()
    return encoded + draw(st.sampled_from((b"", length_delimited(9, b"\x0a\1x"))))


@given(data=nodes())
def test_a_node_is_read_the_same_the_first_time_and_when_it_is_known(data: bytes) -> None:
    known = Nodes()
    first = known.read(memoryview(data))
    again = known.read(memoryview(bytes(bytearray(data))))
    assert again is first
    assert again.whole(memoryview(data)) == read_node(memoryview(data))
    assert again.extensions == b""


@given(one=nodes(), other=nodes())
def test_nodes_that_differ_are_not_shared(one: bytes, other: bytes) -> None:
    known = Nodes()
    first, second = known.read(memoryview(one)), known.read(memoryview(other))
    assert (first is second) == (one == other)


def test_a_node_that_nobody_has_is_forgotten() -> None:
    known = Nodes()
    node = known.read(memoryview(base_pb2.Node(id="envoy").SerializeToString()))
    assert list(known._known.values()) == [node]
    del node
    gc.collect()
    assert not list(known._known.values())


@given(values=st.lists(st.text(max_size=6) | st.text(min_size=500, max_size=600), max_size=4))
def test_metadata_that_was_said_before_is_read_the_same(values: list[str]) -> None:
    node: Any = base_pb2.Node(id="envoy")
    said: dict[str, Any] = {f"key-{at}": [value, {"in": value}] for at, value in enumerate(values)}
    node.metadata.update(said)
    data = memoryview(node.SerializeToString())
    _short_entry.cache_clear()
    assert read_node(data).metadata == said
    assert read_node(data).metadata == said


def test_metadata_that_was_said_before_counts_as_much() -> None:
    entry = length_delimited(1, length_delimited(1, b"key") + length_delimited(2, b"\x1a\0"))
    node = length_delimited(1, b"envoy") + length_delimited(3, entry * 2499)
    read_node(memoryview(node))  # 9,998 fields: with the id and the metadata themselves
    with pytest.raises(MalformedError, match="more than 10000 fields"):
        read_node(memoryview(node + length_delimited(3, entry)))
