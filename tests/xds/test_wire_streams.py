"""How a discovery stream begins and ends on the wire: the frames and states are h2's own."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from grpclib.const import Status
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, ResponseReceived, StreamReset, TrailersReceived
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.bench import frames
from aeraki_xds.xds.wire.streams import called, known
from aeraki_xds.xds.wire.windows import Windows
from tests.xds.test_wire_limits import PATH, serving

CALL: Final = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "server"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
ANSWER: Final = [(":status", "200"), ("content-type", "application/grpc+proto")]


class Pair:
    """A client that has called, and the server's h2."""

    def __init__(self) -> None:
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding="ascii"))
        self.server = H2Connection(H2Configuration(client_side=False))
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.client.send_headers(1, CALL)
        self.server.receive_data(self.client.data_to_send())
        self.windows = Windows(self.server)
        self.stream = self.server.streams[1]

    def heard(self, data: bytes = b"") -> list[Event]:
        return self.client.receive_data(self.server.data_to_send() + data)

    def states(self) -> list[Any]:
        return [self.server.state_machine.state, vars(self.stream.state_machine)]


def test_the_answer_is_what_h2_would_have_said_and_leaves_it_as_it_would_be() -> None:
    past, through = Pair(), Pair()
    through.server.send_headers(1, ANSWER)
    *_, by_h2 = through.heard()
    past.heard()
    (answer,) = past.heard(past.windows.answer(past.stream))
    assert isinstance(answer, ResponseReceived)
    assert isinstance(by_h2, ResponseReceived)
    assert list(answer.headers) == list(by_h2.headers)
    assert past.states() == through.states()


@given(
    status=st.sampled_from(Status), message=st.none() | st.text(max_size=20), begun=st.booleans()
)
def test_an_end_says_the_status_and_resets_a_stream_that_did_not_go_well(
    status: Status, message: str | None, begun: bool
) -> None:
    pair = Pair()
    answer = pair.windows.answer(pair.stream) if begun else b""
    pair.heard(answer)
    pair.windows.end(pair.stream, status, message)
    events = pair.heard()
    said = next(each for each in events if isinstance(each, TrailersReceived | ResponseReceived))
    assert isinstance(said, TrailersReceived) == begun
    headers: Any = dict(said.headers)
    assert headers["grpc-status"] == str(status.value)
    assert ("grpc-message" in headers) == (message is not None)
    assert any(isinstance(each, StreamReset) for each in events) == (status is not Status.OK)


@pytest.mark.parametrize(
    ("headers", "call"),
    [
        (CALL, (PATH, None)),
        ([*CALL, ("x-envoy-internal", "true")], (PATH, None)),
        ([*CALL[:4], ("content-type", "application/grpc+proto"), ("te", "trailers")], (PATH, None)),
        ([*CALL, ("grpc-timeout", "soon")], None),
        ([*CALL, ("grpc-timeout", "1" * 9 + "S")], (PATH, None)),
        ([(":method", "GET"), *CALL[1:]], None),
        ([*CALL[:2], (":path", "/elsewhere"), *CALL[3:]], None),
        ([*CALL[:4], ("te", "trailers")], None),
        ([*CALL[:4], ("content-type", "application/json"), ("te", "trailers")], None),
        (CALL[:5], None),
    ],
)
def test_a_call_is_taken_if_nothing_is_to_be_said_against_it(
    headers: list[tuple[str, str]], call: tuple[str, float | None] | None
) -> None:
    assert called(known(headers), {PATH}) == call


def test_a_call_has_the_shortest_of_the_times_that_it_is_given() -> None:
    headers = [*CALL, ("grpc-timeout", "30S"), ("grpc-timeout", "20S")]
    call = called(known(headers), {PATH})
    assert call is not None
    _, seconds = call
    assert seconds == pytest.approx(20, abs=1)


async def test_a_client_hears_that_it_is_served_before_it_asks() -> None:
    async with serving() as site:
        peer = await site.peer()
        await peer.greets()
        await peer.says(frames.call(1, PATH, "server"))
        assert b"200" in await peer.hears(frames.HEADERS, 1)


def timed(stream_id: int, timeout: str) -> bytes:
    """A call with a timeout."""
    call = frames.call(stream_id, PATH, "server")[frames.HEAD_SIZE :]
    name = b"grpc-timeout"
    field = b"\0" + bytes((len(name),)) + name + bytes((len(timeout),)) + timeout.encode()
    return frames.frame(frames.HEADERS, 0x4, stream_id, call + field)


async def test_a_stream_ends_when_the_time_that_its_client_gave_it_is_up() -> None:
    async with serving() as site, site.good_clients(1):
        peer = await site.peer()
        await peer.greets()
        await peer.says(timed(1, "50m"))
        status = await peer.is_ended(1)
        assert status["grpc-status"] == str(Status.DEADLINE_EXCEEDED.value)


async def test_a_stream_that_is_gone_has_no_timer_left() -> None:
    async with serving() as site:
        peer = await site.peer()
        await peer.greets()
        await peer.says(timed(1, "99999999H"))
        await peer.hears(frames.HEADERS, 1)
        (connection,) = site.server._server.connections
        (timer,) = connection._streams._timers.values()
        await peer.says(frames.frame(frames.RST_STREAM, 0, 1, bytes(4)))
        await site.until(lambda: site.server._streams == 0)
        assert timer.cancelled()
        assert not connection._streams._timers
        await asyncio.sleep(0)
