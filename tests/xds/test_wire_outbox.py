"""The way past h2 on the way out: the bytes and windows are those that h2 would have made.

The same messages are written to a client twice: by an outbox, and by h2 itself as grpclib uses it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.xds.wire.outbox import Outbox
from aeraki_xds.xds.wire.windows import Windows

HEADERS: Final = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
FIRST_WINDOW: Final = 65_535


class Transport:
    """Collects what is written, and asks for a pause after so many bytes."""

    def __init__(self, writable: asyncio.Event, high_water: int = 1 << 30) -> None:
        self.written = b""
        self.high_water = high_water
        self.writable = writable

    def write(self, data: bytes) -> None:
        self.written += data
        if len(self.written) > self.high_water:
            self.writable.clear()

    def writelines(self, data: tuple[bytes, ...]) -> None:
        self.write(b"".join(data))


class Talk:
    """A client's h2, a server's h2 that it has opened two streams on, and what is to be written."""

    def __init__(self, *, stream_window: int = FIRST_WINDOW, frame_size: int = 16_384) -> None:
        self.client = H2Connection(H2Configuration(client_side=True))
        self.client.initiate_connection()
        self.server = H2Connection(H2Configuration(client_side=False))
        self.server.initiate_connection()
        wanted: dict[SettingCodes | int, int] = {
            SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
            SettingCodes.MAX_FRAME_SIZE: frame_size,
        }
        self.client.update_settings(wanted)
        self.hears()
        self.client.receive_data(self.server.data_to_send())
        for stream_id in (1, 3):
            self.client.send_headers(stream_id, HEADERS)
        self.hears()
        for stream_id in (1, 3):
            self.server.send_headers(stream_id, [(":status", "200")])
        self.client.receive_data(self.server.data_to_send())
        self.received: dict[int, bytes] = {1: b"", 3: b""}

    def hears(self) -> None:
        """The server reads what the client has said."""
        self.server.receive_data(self.client.data_to_send())

    def reads(self, data: bytes) -> None:
        """The client reads; its h2 fails if a window or a frame size is not kept to."""
        for event in self.client.receive_data(data):
            if isinstance(event, DataReceived):
                self.received[event.stream_id] += event.data

    def opens(self, stream_id: int | None, size: int) -> None:
        self.client.increment_flow_control_window(size, stream_id)
        self.hears()

    def counters(self) -> tuple[int, dict[int, int]]:
        streams = self.server.streams
        return (
            self.server.outbound_flow_control_window,
            {number: stream.outbound_flow_control_window for number, stream in streams.items()},
        )


class Past(Talk):
    """Written to by outboxes."""

    def __init__(self, *, high_water: int = 1 << 30, **settings: int) -> None:
        super().__init__(**settings)
        writable = asyncio.Event()
        writable.set()
        self.writable = writable
        self.transport = Transport(writable, high_water)
        windows = Windows(self.server)
        self.boxes = {
            stream_id: Outbox(
                windows=windows,
                stream=self.server.streams[stream_id],
                transport=cast("asyncio.Transport", self.transport),
                writable=writable,
            )
            for stream_id in (1, 3)
        }

    def puts(self, stream_id: int, body: bytes, tail: bytes) -> bool:
        return self.boxes[stream_id].put(body, tail)

    def flushes(self, stream_id: int) -> None:
        if not self.boxes[stream_id].empty:
            self.boxes[stream_id].flush()

    def written(self) -> bytes:
        data, self.transport.written = self.transport.written, b""
        return data


class Through(Talk):
    """Written to by h2, as grpclib does it: as much at a time as windows and frame size allow."""

    def __init__(self, **settings: int) -> None:
        super().__init__(**settings)
        self.rest = {1: b"", 3: b""}

    def puts(self, stream_id: int, body: bytes, tail: bytes) -> None:
        self.rest[stream_id] = body + tail
        self.flushes(stream_id)

    def flushes(self, stream_id: int) -> None:
        rest = self.rest[stream_id]
        while rest:
            window = self.server.local_flow_control_window(stream_id)
            if window <= 0:
                break
            size = min(window, self.server.max_outbound_frame_size)
            self.server.send_data(stream_id, rest[:size])
            rest = rest[size:]
        self.rest[stream_id] = rest

    def written(self) -> bytes:
        return self.server.data_to_send()


SIZES = st.sampled_from((0, 1, 100, 4_095, 4_096, 16_374, 16_384, 20_000, 70_000))
STEPS = st.lists(
    st.tuples(st.just("put"), st.sampled_from((1, 3)), SIZES, st.integers(1, 20))
    | st.tuples(
        st.just("open"),
        st.sampled_from((None, 1, 3)),
        st.sampled_from((1, 50, 5_000, 70_000)),
    )
    | st.tuples(st.just("settings"), st.sampled_from((0, 10, 30_000, 100_000))),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(
    steps=STEPS,
    stream_window=st.sampled_from((0, 20, FIRST_WINDOW, 1 << 20)),
    frame_size=st.sampled_from((16_384, 65_536)),
)
def test_what_an_outbox_writes_is_what_h2_would_have_written(
    steps: list[Any], stream_window: int, frame_size: int
) -> None:
    past = Past(stream_window=stream_window, frame_size=frame_size)
    through = Through(stream_window=stream_window, frame_size=frame_size)
    wanted = {1: b"", 3: b""}
    for step in steps:
        match step:
            case ("put", stream_id, size, tail) if past.boxes[stream_id].empty:
                body, own = bytes([size % 251]) * size, b"t" * tail
                wanted[stream_id] += body + own
                past.puts(stream_id, body, own)
                through.puts(stream_id, body, own)
            case ("open", stream_id, size):
                past.opens(stream_id, size)
                through.opens(stream_id, size)
            case ("settings", size):
                for talk in (past, through):
                    talk.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: size})
                    talk.hears()
        acknowledged = past.server.data_to_send()  # SETTINGS
        past.reads(acknowledged)
        for stream_id in (1, 3):
            past.flushes(stream_id)
            through.flushes(stream_id)
        data = past.written()
        assert acknowledged + data == through.written()
        assert past.counters() == through.counters()
        past.reads(data)
    for stream_id in (1, 3):
        unwritten = through.rest[stream_id]
        assert past.boxes[stream_id].empty == (not unwritten)
        assert past.received[stream_id] + unwritten == wanted[stream_id]


def test_nothing_more_is_written_while_the_transport_is_full() -> None:
    talk = Past(stream_window=1 << 20, high_water=20_000)
    talk.opens(None, 1 << 20)
    assert not talk.puts(1, b"x" * 100_000, b"tail")
    assert 20_000 < len(talk.transport.written) < 20_000 + 16_384 + 100
    assert not talk.puts(3, b"small", b"tail"), "another stream of the connection waits as well"
    talk.reads(talk.written())
    for stream_id in (1, 3):
        while not talk.boxes[stream_id].empty:
            talk.writable.set()
            talk.boxes[stream_id].flush()
            talk.reads(talk.written())
    assert talk.received == {1: b"x" * 100_000 + b"tail", 3: b"smalltail"}


@pytest.mark.parametrize("size", [10, 10_000])
def test_nothing_is_written_to_a_stream_that_is_closed(size: int) -> None:
    talk = Past()
    talk.server.reset_stream(1)
    assert not talk.puts(1, b"x" * size, b"tail")
    assert talk.transport.written == b""


def test_a_client_that_has_ended_its_side_is_still_written_to() -> None:
    talk = Past()
    talk.client.end_stream(1)
    talk.hears()
    assert talk.puts(1, b"body", b"tail")
    talk.reads(talk.written())
    assert talk.received[1] == b"bodytail"
