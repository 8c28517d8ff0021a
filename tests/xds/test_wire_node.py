"""Streams that say the same node share it, and nothing else about it changes."""

from __future__ import annotations

import gc
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds.field import length_delimited
from aeraki_xds.xds.wire.node import Nodes, read_node

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
