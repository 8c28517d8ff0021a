"""ACKs that are known before they come: looking for them makes no difference but in time.

Two real connections, with real conversations behind them, are told the same bytes; one of them
expects nothing and reads everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, cast

import pytest
from h2.windows import WindowManager
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aeraki_xds.bench import frames
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import HTTP_ROUTES, Resource
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.connection import Connection
from aeraki_xds.xds.wire.expected import Expected
from aeraki_xds.xds.wire.inbox import Inbox
from aeraki_xds.xds.wire.windows import consumed
from tests.xds.dialogue import GLOBAL, routes
from tests.xds.test_wire_acks import told
from tests.xds.test_wire_connection import Transport, window

PATHS: Final = (
    "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
    "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes",
)
LARGE: Final = text(6, "x" * 5_000)
"""An unknown field that makes a request wait for its turn."""


class Blind(Expected):
    """Finds nothing."""

    def heard(self, frame: bytes) -> None:
        return None


class Side:
    """A server with one connection, on which the client has opened two streams."""

    def __init__(self, path: str, *, blind: bool) -> None:
        self.hub = Hub(clock=lambda: 0.0)
        self.publish("0")
        self.server = XdsServer(hub=self.hub, admit=lambda node, peer, *, only: (GLOBAL,))
        # No turn is cut short because the machine is busy with something else.
        self.server._server._share._clock = self.server._exchange.drain._clock = lambda: 0.0
        self.transport = Transport()
        self.connection: Connection = self.server._server.connection()
        self.connection.connection_made(cast("asyncio.Transport", self.transport))
        if blind:
            self.connection._expected = Blind(self.connection._windows)
        self.reads(frames.greeting())
        for stream_id in (1, 3):
            self.reads(frames.call(stream_id, path, "server"))

    def publish(self, content: str) -> None:
        made = _routes(content)
        self.hub.publish(GLOBAL, {made.id: made})

    def reads(self, data: bytes) -> None:
        if not self.transport.closed:
            self.connection.data_received(data)

    def responses(self) -> list[tuple[int, bytes, bytes]]:
        """Stream, version and nonce of each that was written."""
        found = []
        for kind, _, stream_id, start, stop in frames.read(bytes(self.transport.written)):
            if kind == frames.DATA:
                message = bytes(self.transport.written[start + 5 : stop])
                found.append((stream_id, message[2:18], message[-8:]))
        return found

    def state(self) -> dict[str, Any]:
        h2 = self.connection._windows._h2
        written = bytes(self.transport.written)
        return {
            "streams": [
                {type_url: told(status) for type_url, status in stream.status.items()}
                for stream in self.hub.streams
            ],
            "watches": [
                (watch.sent, watch.subscription.names, watch.nonce, getattr(watch, "acked", None))
                for stream in self.hub.streams
                for watch in stream.session.watches.values()
            ],
            # Which of two streams has its turn first is not said.
            "written": sorted(
                written[start - frames.HEAD_SIZE : stop]
                for _, _, _, start, stop in frames.read(written)
            ),
            "closed": self.transport.closed,
            "window": window(h2._inbound_flow_control_window_manager),
            "windows": {
                n: (window(each._inbound_window_manager), each.state_machine.state)
                for n, each in h2.streams.items()
            },
        }


@lru_cache
def _routes(content: str) -> Resource:
    """The same to both sides."""
    return routes("r", content)


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


@asynccontextmanager
async def side(path: str, *, blind: bool = False) -> AsyncIterator[Side]:
    made = Side(path, blind=blind)
    await turns()
    for stream_id in (1, 3):
        made.reads(frames.message(stream_id, request(path, node=b"\x0a\1n", names=("r",))))
        await turns()
    try:
        yield made
    finally:
        made.connection.connection_lost(None)
        await made.server.close()


def request(
    path: str,
    *,
    version: bytes = b"",
    nonce: bytes = b"",
    node: bytes = b"",
    names: tuple[str, ...] = (),
    more: bytes = b"",
) -> bytes:
    listed = b"".join(text(3, name) for name in names)
    if path == PATHS[0]:
        raw = length_delimited(1, version) if version else b""
        raw += length_delimited(2, node) if node else b""
        raw += listed + text(4, HTTP_ROUTES)
        return raw + (length_delimited(5, nonce) if nonce else b"") + more
    raw = (length_delimited(1, node) if node else b"") + text(2, HTTP_ROUTES) + listed
    return raw + (length_delimited(6, nonce) if nonce else b"") + more


def ack(path: str, version: bytes, nonce: bytes, **more: Any) -> bytes:
    names = ("r",) if path == PATHS[0] else ()
    return request(path, version=version, nonce=nonce, **{"names": names, **more})


STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("publish")),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("answer all")),
        st.tuples(st.just("cut"), st.integers(0, 3), st.integers(1, 120)),
        st.tuples(st.just("within"), st.integers(0, 3)),
        st.tuples(st.just("within a frame"), st.integers(0, 3)),
        st.tuples(st.just("refuse"), st.integers(0, 3)),
        st.tuples(st.just("rename"), st.integers(0, 3)),
        st.tuples(st.just("retire")),
        st.tuples(st.just("ask"), st.sampled_from((1, 3)), st.booleans()),
        st.tuples(st.just("ping")),
        st.tuples(st.just("end"), st.sampled_from((1, 3)), st.booleans()),
    ),
    max_size=10,
)


def said(step: Any, path: str, responses: list[tuple[int, bytes, bytes]]) -> list[bytes]:
    """What the client says, read by read."""
    match step:
        case (
            "answer" | "cut" | "within" | "within a frame" | "refuse" | "rename" as how,
            which,
            *more,
        ):
            stream_id, version, nonce = responses[-1 - which % len(responses)]
            frame = frames.message(stream_id, ack(path, version, nonce))
            match how:
                case "answer":
                    return [frame]
                case "cut":
                    return [frame[: more[0]], frame[more[0] :]]
                case "within":  # a message of which one payload looks like the answer
                    size = (len(frame) - frames.HEAD_SIZE).to_bytes(5, "big")
                    return [frames.frame(frames.DATA, 0, stream_id, size), frame]
                case "within a frame":
                    outer = frames.frame(0x77, 0, 0, frame)
                    return [outer[: frames.HEAD_SIZE], frame]
                case "rename":
                    names = ("r", "another")
                    return [frames.message(stream_id, ack(path, version, nonce, names=names))]
                case _:
                    error = length_delimited(6 if path == PATHS[0] else 7, text(2, "no"))
                    return [frames.message(stream_id, ack(path, version, nonce, more=error))]
        case ("answer all",):
            newest = {each[0]: each for each in responses}
            both = (frames.message(n, ack(path, v, nonce)) for n, v, nonce in newest.values())
            return [b"".join(both)]
        case ("ask", stream_id, large):
            names = ("r", "another")
            more_bytes = LARGE if large else b""
            return [frames.message(stream_id, request(path, names=names, more=more_bytes))]
        case ("ping",):
            return [frames.frame(frames.PING, 0, 0, b"12345678")]
        case ("end", stream_id, True):
            return [frames.frame(frames.RST_STREAM, 0, stream_id, b"\0\0\0\x08")]
        case ("end", stream_id, _):
            return [frames.frame(frames.DATA, frames.END_STREAM, stream_id, b"")]
    return []


@pytest.mark.parametrize("path", PATHS, ids=["sotw", "delta"])
@settings(max_examples=150, deadline=None)
@given(steps=STEPS, hasty=st.booleans())
@example(steps=[("retire",), ("answer", 0)], hasty=True)
@example(steps=[("rename", 0), ("answer", 0)], hasty=False)
def test_what_is_expected_is_heard_as_if_it_had_been_read(
    path: str, steps: list[Any], hasty: bool
) -> None:
    async def compare() -> None:
        async with side(path) as quick, side(path, blind=True) as thorough:
            for number, step in enumerate(steps, 1):
                if step == ("publish",):
                    quick.publish(str(number))
                    thorough.publish(str(number))
                if step == ("retire",):
                    quick.connection.retire()
                    thorough.connection.retire()
                for read in said(step, path, thorough.responses()):
                    quick.reads(read)
                    thorough.reads(read)
                if not hasty:
                    await turns()
                assert quick.state() == thorough.state()
            await turns()
            assert quick.state() == thorough.state()

    asyncio.run(compare())


@pytest.mark.parametrize("path", PATHS, ids=["sotw", "delta"])
async def test_the_acks_of_a_change_are_not_read(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with side(path) as server:
        monkeypatch.delattr(Inbox, "feed")
        for number in range(3):
            server.publish(f"v{number}")
            await turns()
            one, other = (
                frames.message(n, ack(path, version, nonce))
                for n, version, nonce in server.responses()[-2:]
            )
            for read in (one + other,) if number == 0 else (one, other):
                server.reads(read)
            for stream in server.hub.streams:
                status = stream.status[HTTP_ROUTES]
                assert status.acked_nonce == status.sent_nonce
        assert not server.connection._expected.frames


@pytest.mark.parametrize("reset", [True, False])
async def test_nothing_is_expected_of_a_stream_that_is_over(reset: bool) -> None:
    async with side(PATHS[0]) as server:
        for read in said(("end", 1, reset), PATHS[0], []):
            server.reads(read)
        server.publish("for the other one")
        await turns()
        assert len(server.connection._expected.frames) == 1


async def test_of_a_client_that_answers_nothing_one_answer_is_expected_for_each_stream() -> None:
    async with side(PATHS[0]) as server:
        for number in range(5):
            server.publish(f"v{number}")
            await turns()
        assert len(server.connection._expected.frames) == 2


async def test_what_looks_like_an_answer_within_another_frame_is_none() -> None:
    async with side(PATHS[0]) as server:
        for acknowledged in (False, True):
            before = server.responses()[-1]
            size = len(frames.message(before[0], ack(PATHS[0], *before[1:])))
            if not acknowledged:
                server.reads(frames.frame(0x77, 0, 0, b"x" * size)[: frames.HEAD_SIZE])
            server.publish(f"acknowledged: {acknowledged}")
            await turns()
            stream_id, version, nonce = server.responses()[-1]
            server.reads(frames.message(stream_id, ack(PATHS[0], version, nonce)))
            heard = [each.status[HTTP_ROUTES].acked_nonce for each in server.hub.streams]
            assert any(heard) == acknowledged


@given(
    largest=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    steps=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=20),
)
def test_windows_are_consumed_as_h2_does_it(
    largest: tuple[int, int], steps: list[tuple[int, int]]
) -> None:
    ours, theirs = ([WindowManager(size) for size in largest] for _ in range(2))
    for size, opened in steps:
        if opened:  # by a change of settings
            for each in (ours[1], theirs[1]):
                each.window_opened(opened)
        fits = all(size <= each.current_window_size for each in theirs)
        updates = consumed(ours[0], ours[1], size, 7)
        assert (updates is not None) == fits
        if fits:
            for each in theirs:
                each.window_consumed(size)
            wanted = [each.process_bytes(size) or 0 for each in theirs]
            assert updates == b"".join(
                frames.opened(stream_id, grown)
                for stream_id, grown in zip((0, 7), wanted, strict=True)
                if grown
            )
        assert [window(each) for each in ours] == [window(each) for each in theirs]
