"""Any bytes, read by us and by the official classes: both say the same.

What the same means, and which differences are meant, is written down in tests/fuzz/agreement.py.
For others `make test-long` looks for minutes, guided by coverage.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aeraki_xds.xds.admission import Node
from aeraki_xds.xds.field import MalformedError, length_delimited, scan, text, varint
from aeraki_xds.xds.message import DeltaRequest, SotwRequest
from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES, Name, TypeUrl
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.wire.acks import Acks
from aeraki_xds.xds.wire.envelope import read_delta, read_sotw
from aeraki_xds.xds.wire.node import read_node
from tests.fuzz.agreement import (
    READERS,
    agree_on_delta,
    agree_on_fields,
    agree_on_node,
    agree_on_sotw,
)
from tests.fuzz.targets import TARGETS, messages_of, requests
from tests.virtual_time import VirtualLoop
from tests.xds.test_wire_inbox import made

VERSION: Final = "0123456789abcdef"
NONCE: Final = "0000002a"


# --- bytes that are nearly messages -------------------------------------------------------------


def spelt(value: int, extra: int) -> bytes:
    """A varint in more bytes than it needs."""
    plain = varint(value)
    return (
        plain[:-1] + bytes((plain[-1] | 0x80,)) + b"\x80" * (extra - 1) + b"\0" if extra else plain
    )


varints = st.builds(
    spelt, st.integers(0, 12) | st.integers(0, 2**64 - 1), st.integers(0, 4)
) | st.sampled_from([b"\x80" * 9 + b"\x02", b"\xff" * 9 + b"\x7f", b"\xff" * 10])
words = st.text(max_size=6).map(str.encode) | st.binary(max_size=6)


def fields(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A field of any number and kind, its tag and length spelt in any way, right or a bit wrong."""
    numbers = st.integers(0, 10) | st.sampled_from([15, 16, 2**29 - 1, 2**29])
    extra = st.sampled_from([0, 0, 0, 1, 3, 5])
    tags = st.builds(
        lambda n, kind, more: spelt(n << 3 | kind, more), numbers, st.integers(0, 7), extra
    )
    sized = st.builds(
        lambda body, off, more: spelt(max(len(body) + off, 0), more) + body,
        inner,
        st.sampled_from([0] * 9 + [-1, 1]),
        extra,
    )
    strings = st.builds(length_delimited, st.integers(1, 9), inner)
    return strings | st.builds(
        bytes.__add__, tags, varints | sized | st.binary(min_size=4, max_size=8)
    )


messages = st.recursive(
    words,
    lambda inner: st.lists(fields(inner), max_size=4).map(b"".join),
    max_leaves=12,
)


@pytest.mark.parametrize("agree", READERS)
@settings(max_examples=400, deadline=None)
@given(data=messages)
@example(data=b"\x88\x80\x80\x80\x80\x00\x05")
@example(data=b"\x0a\x81\x80\x80\x80\x80\x00a")
@example(data=b"\x88\x80\x80\x80\x10\x05")
@example(data=b"\x08" + b"\x80" * 9 + b"\x02")
@example(data=b"\x00\x5c")
@example(data=b"\x0b\x0c")
def test_whatever_is_nearly_a_message_reads_as_the_official_class_reads_it(
    agree: Callable[[bytes], None], data: bytes
) -> None:
    agree(data)


@settings(max_examples=300, deadline=None)
@given(seed=st.sampled_from(requests()), draw=st.data())
def test_a_request_with_some_bytes_changed_reads_as_the_official_class_reads_it(
    seed: bytes, draw: st.DataObject
) -> None:
    data = changed(seed, draw)
    for agree in READERS:
        agree(data)


def changed(seed: bytes, draw: st.DataObject) -> bytes:
    """Some bytes of it flipped, dropped, doubled or moved."""
    data = bytearray(seed)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, max(len(data) - 1, 0)))
        match draw.draw(st.sampled_from(("flip", "drop", "double", "move"))):
            case "flip":
                data[at : at + 1] = bytes((draw.draw(st.integers(0, 255)),))
            case "drop":
                del data[at : at + draw.draw(st.integers(1, 9))]
            case "double":
                data[at:at] = data[at : at + draw.draw(st.integers(1, 40))]
            case "move":
                data = data[at:] + data[:at]
    return bytes(data)


def test_the_last_message_of_a_status_counts_and_all_of_it_is_read() -> None:
    twice = length_delimited(6, text(2, "first") + text(2, "last"))
    agree_on_sotw(twice)
    assert read_sotw(twice)[0].error == "last"
    with pytest.raises(MalformedError):
        read_sotw(length_delimited(6, text(2, "read") + b"\xff"))
    agree_on_sotw(length_delimited(6, text(2, "read") + b"\xff"))
    agree_on_delta(length_delimited(7, text(2, "first") + text(2, "last")))


def test_a_bool_of_which_only_bits_beyond_the_64th_are_set_is_false() -> None:
    value = b"\x20" + b"\x80" * 9 + b"\x02"
    entry = text(1, "k") + length_delimited(2, value)
    node = length_delimited(3, length_delimited(1, entry))
    agree_on_node(node)
    assert read_node(memoryview(node)).metadata == {"k": False}


@pytest.mark.parametrize("part", ["a list", "entries", "a value", "structs", "extensions", "junk"])
def test_a_node_of_more_fields_than_can_be_decoded_in_one_go_is_refused(part: str) -> None:
    made_of: dict[str, Callable[[int], bytes]] = {
        "a list": values,
        "entries": lambda n: field(3, field(1) * n),
        "a value": lambda n: field(3, field(1, field(2, b"\x08\x00" * n))),
        "structs": lambda n: field(3) * n,
        "extensions": lambda n: field(9) * n,
        "junk": lambda n: field(10) * n,
    }
    most, too_many = made_of[part](9_990), made_of[part](10_001)
    for node in (most, too_many):
        agree_on_node(node)
    node_of(most)
    with pytest.raises(MalformedError, match="a node of more than 10000 fields"):
        node_of(too_many)


def test_a_reader_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "scan": (agree_on_fields, b"\x08\x05", iter(())),
        "read_sotw": (agree_on_sotw, text(4, CLUSTER), (SotwRequest(type_url=TypeUrl("")), None)),
        "read_delta": (agree_on_delta, text(2, "t"), (DeltaRequest(type_url=TypeUrl("")), None)),
        "read_node": (agree_on_node, text(1, "n"), Node(id="")),
    }
    for name, (agree, data, said) in wrong.items():
        agree(data)
        with monkeypatch.context() as patch:
            patch.setattr(f"tests.fuzz.agreement.{name}", lambda _data, said=said: said)
            with pytest.raises(AssertionError):
                agree(data)


# --- ACKs ---------------------------------------------------------------------------------------


def acks(dialect: Dialect) -> tuple[Acks, list[bytes]]:
    """What has learned two types, and ACKs of both."""
    made = Acks(dialect)
    names = (Name("a"), Name("b"))
    if dialect is Dialect.SOTW:
        for type_url in (CLUSTER, HTTP_ROUTES):
            made.learn(type_url, SotwRequest(type_url=type_url, names=names))
        middles = (text(3, "a") + text(3, "b") + text(4, of) for of in (CLUSTER, HTTP_ROUTES))
        heads, nonce = (text(1, VERSION), text(1, VERSION) + length_delimited(2, text(1, "n"))), 5
    else:
        for type_url in (CLUSTER, HTTP_ROUTES):
            made.learn(type_url, DeltaRequest(type_url=type_url, subscribe=names))
        middles = (text(2, of) for of in (CLUSTER, HTTP_ROUTES))
        heads, nonce = (b"", length_delimited(1, text(1, "n"))), 6
    return made, [head + middle + text(nonce, NONCE) for middle in middles for head in heads]


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=400, deadline=None)
@given(draw=st.data())
def test_what_is_taken_for_an_ack_is_one_to_the_official_class(
    dialect: Dialect, draw: st.DataObject
) -> None:
    known, examples = acks(dialect)
    for seed in examples:
        assert known.read(seed) is not None
    data = changed(draw.draw(st.sampled_from(examples)), draw)
    found = known.read(data)
    if found is None:
        return
    request: Any
    if dialect is Dialect.SOTW:
        agree_on_sotw(data)
        request, _ = read_sotw(data)
        assert request.names == ("a", "b")
    else:
        agree_on_delta(data)
        request, _ = read_delta(data)
        assert (request.subscribe, request.unsubscribe, request.initial_versions) == ((), (), {})
    assert (request.type_url, request.nonce) == found
    assert request.error is None


# --- messages out of payloads -------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    data=st.lists(
        st.builds(lambda n, b: n.to_bytes(5, "big") + b, st.integers(0, 9), st.binary(max_size=12))
        | st.binary(max_size=20)
    ).map(b"".join),
    cuts=st.lists(st.integers(1, 12), max_size=20),
)
def test_an_inbox_hears_what_the_bytes_say_however_they_are_cut(
    data: bytes, cuts: list[int]
) -> None:
    inbox, heard, _ = made()
    rest = data
    for size in cuts:
        inbox.feed(rest[:size])
        rest = rest[size:]
    inbox.feed(rest)
    assert (heard.messages, heard.ends) == messages_of(data)


# --- what fuzzing plays, played a little --------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_stands_its_own_seeds(name: str) -> None:
    target, loop = TARGETS[name], VirtualLoop()
    for seed in target.seeds():
        loop.run_until_complete(target.play(seed))
    loop.close()


@pytest.mark.parametrize("name", ["stream", "shortcut"])
@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_every_target_stands_what_is_near_its_seeds(name: str, draw: st.DataObject) -> None:
    target = TARGETS[name]
    asyncio.run(target.play(changed(draw.draw(st.sampled_from(target.seeds())), draw)))


# --- the work that bytes make -------------------------------------------------------------------


@contextmanager
def steps() -> Iterator[list[int]]:
    """Counts the lines that run in the module under test: work, whatever else the machine does."""
    count = [0]
    before = sys.gettrace()

    def line(frame: FrameType, event: str, _argument: object) -> Any:
        count[0] += event == "line"
        return line

    sys.settrace(lambda frame, *_: line if "aeraki_xds" in frame.f_code.co_filename else None)
    try:
        yield count
    finally:
        sys.settrace(before)


def fed(data: bytes, size: int = 7) -> None:
    inbox, *_ = made()
    for at in range(0, len(data), size):
        inbox.feed(data[at : at + size])


def node_of(data: bytes) -> Node:
    return read_node(memoryview(data))


def field(number: int, *parts: bytes) -> bytes:
    return length_delimited(number, b"".join(parts))


def values(count: int) -> bytes:
    """A node whose metadata is one list."""
    return field(3, field(1, field(2, field(6, field(1, b"") * count))))


def ack(count: int) -> bytes:
    """Long, and not of what is subscribed to."""
    return text(1, VERSION) + field(2, b"n" * count) + text(3, "a") * count + text(5, NONCE)


WORK: Final[dict[str, tuple[Callable[[bytes], object], Callable[[int], bytes]]]] = {
    "fields": (lambda data: list(scan(data)), lambda n: b"\x08\x01" * n),
    "long varints": (lambda data: list(scan(data)), lambda n: spelt(8, 4) + b"\xff" * 9 * n),
    "names": (read_sotw, lambda n: text(3, "name") * n),
    "a string again and again": (read_sotw, lambda n: text(4, "type") * n),
    "errors": (read_sotw, lambda n: field(6, text(2, "no")) * n),
    "nodes": (read_sotw, lambda n: field(2, b"node") * n),
    "versions": (read_delta, lambda n: field(5, text(1, "a"), text(2, "b")) * n),
    "one entry of many parts": (read_delta, lambda n: field(5, text(1, "a") * n)),
    "extensions": (node_of, lambda n: field(9, b"x") * n),
    "metadata": (node_of, lambda n: field(3, field(1, text(1, "a"))) * n),
    "a list": (node_of, values),
    "small messages": (fed, lambda n: bytes(5) * n),
    "one large message": (fed, lambda n: n.to_bytes(5, "big") + bytes(n)),
    "no ACK": (lambda data: acks(Dialect.SOTW)[0].read(data), ack),
}
"""What takes bytes, and bytes of which there can be any number."""


@pytest.mark.parametrize("what", WORK)
def test_twice_the_bytes_are_twice_the_work(what: str) -> None:
    read, data = WORK[what]
    counts = []
    for size in (400, 800):
        with steps() as count, suppress(MalformedError):
            read(data(size))
        counts.append(count[0])
    assert 0 < counts[1] <= 2.1 * counts[0] + 50
