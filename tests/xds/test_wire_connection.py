"""The way past h2 on the way in: whatever the bytes and however they are split, it makes no
difference but in time.

A real h2 client writes a conversation with everything that HTTP/2 allows on the way; two server
connections read it, one of which may not take the shortcut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final, cast

import pytest
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError
from grpclib.protocol import AbstractHandler
from grpclib.protocol import Stream as HttpStream
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.bench import frames
from aeraki_xds.xds.resource import TypeUrl
from aeraki_xds.xds.wire import connection as connections
from aeraki_xds.xds.wire.budget import Budget
from aeraki_xds.xds.wire.connection import Connection
from aeraki_xds.xds.wire.counts import Counts
from aeraki_xds.xds.wire.expected import Line
from aeraki_xds.xds.wire.gate import Exit, Share
from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.outbox import Outbox
from aeraki_xds.xds.wire.quotas import Quotas

PATH: Final = "/a.Service/Stream"
OTHER_PATH: Final = "/a.Service/Other"
HEADERS: Final = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "server"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
WINDOW: Final = 200_000
LIMITS: Final = Limits()
"""Small enough for a conversation to need more than one."""


class Transport:
    """What a connection writes."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False
        self.paused = False
        self.pauses = 0

    def pause_reading(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, data: tuple[bytes, ...]) -> None:
        self.written += b"".join(data)

    def get_extra_info(self, _name: str) -> None:
        return None

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@dataclass
class Heard:
    """The reader of one stream."""

    messages: list[bytes] = field(default_factory=list)
    end: list[str] = field(default_factory=list)
    resumed: int = 0
    closed: bool = False
    path: str = PATH

    def receive(self, message: bytes) -> None:
        self.messages.append(message)

    def finish(self, failure: GRPCError | None) -> None:
        self.end.append(f"{failure.status.name}: {failure.message}" if failure else "OK")

    def resume(self) -> None:
        self.resumed += 1

    def close(self) -> None:
        self.closed = True

    def listen(self, line: Line | None) -> None:
        pass

    def accepts(self, type_url: TypeUrl, nonce: str) -> bool:
        return False


class Hub:
    """Serves every stream, which is heard."""

    def __init__(self) -> None:
        self.heard: dict[int, Heard] = {}
        self.begun = 0

    def converse(self, path: str, *, outbox: Outbox, **_rest: object) -> Heard:
        self.begun += 1
        heard = self.heard[outbox._stream.stream_id] = Heard(path=path)
        return heard

    def ended(self) -> None:
        self.begun -= 1


class Handler(AbstractHandler):
    """Has the calls that are no discovery streams, and leaves them unanswered."""

    def __init__(self) -> None:
        self.closed = False

    def accept(self, stream: HttpStream, headers: Any, release_stream: Callable[[], None]) -> None:
        pass

    def cancel(self, stream: HttpStream) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Slow(Connection):
    """A connection that takes everything through h2."""

    def _take(self, data: bytes, at: int) -> int:
        return at


class Server:
    """One side: a connection, what it heard and what it wrote."""

    def __init__(self, kind: type[Connection]) -> None:
        self.handler = Handler()
        self.hub = Hub()
        self.transport = Transport()
        config = Configuration(http2_connection_window_size=WINDOW, http2_stream_window_size=WINDOW)
        self.connection = kind(
            self.handler,
            config.__for_server__(),
            H2Configuration(client_side=False, header_encoding="ascii"),
            paths={PATH, OTHER_PATH},
            host=self.hub,
            limits=LIMITS,
            quotas=Quotas(limits=LIMITS, counts=Counts()),
            share=Share(loop=asyncio.get_running_loop(), clock=lambda: 0.0),
            exit_by=Exit(loop=asyncio.get_running_loop()),
            connections=set(),
        )
        self.connection.connection_made(cast("asyncio.Transport", self.transport))
        self.taken = 0

    @property
    def h2(self) -> H2Connection:
        return self.connection._windows._h2

    def reads(self, data: bytes) -> None:
        """And all the turns that it needs for that."""
        self.connection.data_received(data)
        while self.connection._behind:
            self.connection._read_on()

    def state(self) -> dict[str, Any]:
        """Everything that must not depend on the way that the bytes took."""
        return {
            "heard": {
                n: (each.path, each.messages, each.end) for n, each in self.hub.heard.items()
            },
            "gone": [n for n, each in self.hub.heard.items() if each.closed],
            "closed": (self.handler.closed, self.transport.closed),
            "state": self.h2.state_machine.state,
            "newest stream": self.h2.highest_inbound_stream_id,
            "compression": list(self.h2.decoder.header_table.dynamic_entries),
            "connection window": window(self.h2._inbound_flow_control_window_manager),
            "stream windows": {
                # h2 gives a stream that was reset in the same read nothing back.
                n: window(stream._inbound_window_manager)
                for n, stream in self.h2.streams.items()
                if not stream.closed
            },
            "outbound windows": (
                self.h2.outbound_flow_control_window,
                {n: each.outbound_flow_control_window for n, each in self.h2.streams.items()},
            ),
            "stream states": {n: each.state_machine.state for n, each in self.h2.streams.items()},
            # Frames of one read may leave in another order: a PING may overtake the DATA before it.
            "frames": sorted(
                bytes(self.transport.written[start - frames.HEAD_SIZE : stop])
                for _, _, _, start, stop in frames.read(bytes(self.transport.written))
            ),
        }


def window(manager: Any) -> tuple[int, int, int]:
    return manager.current_window_size, manager.max_window_size, manager._bytes_processed


class Client:
    """A real h2 client whose bytes are collected, cut at every step."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="ascii"))
        self.h2.initiate_connection()
        self.out = bytearray()
        self.open: list[int] = []

    def flush(self) -> bytes:
        data = self.h2.data_to_send()
        self.out += data
        return data

    def opens(self, *more: tuple[str, str], path: str = PATH, table: int | None = None) -> None:
        """With more headers than usual, and a table for their compression of another size."""
        if table is not None:
            self.h2.encoder.header_table_size = table
        stream_id = self.h2.get_next_available_stream_id()
        headers = [(n, path if n == ":path" else value) for n, value in HEADERS]
        self.h2.send_headers(stream_id, [*headers, *more])
        self.open.append(stream_id)
        self.flush()

    def sends(self, which: int, payload: bytes, chunk: int, padding: int | None) -> None:
        """DATA frames of `chunk` bytes, but not very many, as far as the windows go."""
        if not self.open:
            return
        chunk = max(chunk, len(payload) // 20)
        stream_id = self.open[which % len(self.open)]
        overhead = 0 if padding is None else padding + 1
        for start in range(0, len(payload), chunk):
            piece = payload[start : start + chunk]
            if self.h2.local_flow_control_window(stream_id) < len(piece) + overhead:
                return
            self.h2.send_data(stream_id, piece, pad_length=padding)
        self.flush()

    def ends(self, which: int, *, reset: bool) -> None:
        if self.open:
            stream_id = self.open.pop(which % len(self.open))
            if reset:
                self.h2.reset_stream(stream_id)
            else:
                self.h2.end_stream(stream_id)
            self.flush()


def message(body: bytes) -> bytes:
    return len(body).to_bytes(5, "big") + body


MORE: Final[tuple[tuple[tuple[str, str], ...], ...]] = (
    (),
    (("x-forwarded-for", "10.0.0.1"),),
    (("x-forwarded-for", "10.0.0.2"), ("x-envoy-internal", "true")),
    (("authorization", "never indexed"),),
    (("grpc-timeout", "30S"),),
    (("x-large", "x" * 5000),),
)
"""Headers that a call may have beside those that decide something."""

STEPS = st.one_of(
    st.tuples(st.just("open")),
    st.tuples(
        st.just("open"),
        st.sampled_from(MORE),
        st.sampled_from((PATH, OTHER_PATH, "/elsewhere")),
        st.sampled_from((None, None, 0, 60, 4096)),
    ),
    st.tuples(
        st.just("send"),
        st.integers(0, 3),
        st.lists(st.integers(0, 40) | st.just(30_000), min_size=1, max_size=3),
        st.sampled_from((1, 7, 100, 16_000)),
        st.sampled_from((None, None, None, 0, 9)),
    ),
    st.tuples(st.just("garbage"), st.integers(0, 3), st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("end"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("ping")),
    st.tuples(st.just("window"), st.integers(1, 1 << 20)),
    st.tuples(st.just("settings"), st.integers(0, 1 << 20)),
    st.tuples(st.just("unknown")),
)
PATTERN: Final = bytes(range(256)) * 200
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAMES: Final = st.tuples(st.just("frames"), st.integers(1, 4))
CUTS = st.lists(FRAMES | FRAMES | st.tuples(st.just("bytes"), st.integers(1, 400)), max_size=8)


def played(steps: list[Any]) -> bytes:
    """What the client writes."""
    client = Client()
    client.opens()
    for step in steps:
        match step:
            case ("open",) if len(client.open) < 4:
                client.opens()
            case ("open", more, path, table) if len(client.open) < 8:
                client.opens(*more, path=path, table=table)
            case ("send", which, sizes, chunk, padding):
                bodies = (message(PATTERN[:size]) for size in sizes)
                client.sends(which, b"".join(bodies), chunk, padding)
            case ("garbage", which, data):
                client.sends(which, data, 16_000, None)
            case ("end", which, reset):
                client.ends(which, reset=reset)
            case ("ping",):
                client.h2.ping(b"12345678")
            case ("window", size):
                client.h2.increment_flow_control_window(size)
            case ("settings", size):
                client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: size})
            case ("unknown",):
                client.flush()
                client.out += frames.frame(0x77, 0, 0, b"who knows")
        client.flush()
    return bytes(client.out)


def cut(data: bytes, plan: list[tuple[str, int]]) -> list[bytes]:
    """Reads of so many whole frames or so many bytes, as a plan says over and over."""
    borders = [stop for _, _, _, _, stop in frames.read(data, at=len(PREFACE))]
    pieces: list[bytes] = []
    at = 0
    for unit, count in cycle(plan):
        if at >= len(data):
            return pieces
        ahead = [border for border in borders if border > at]
        stop = at + count if unit == "bytes" else ahead[:count][-1] if ahead else len(data)
        pieces.append(data[at:stop])
        at = stop
    return [data]


async def read_by(kind: type[Connection], pieces: list[bytes]) -> dict[str, Any]:
    server = Server(kind)
    for piece in pieces:
        if not server.transport.closed:
            server.reads(piece)
    found = server.state()
    server.connection.connection_lost(None)
    return found


def lasting(state: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the split either: when windows are given back does, so what is still
    to be given back counts as given.
    """
    heard = {n: each for n, each in state["heard"].items() if n in state["stream windows"]}
    windows = {n: now + due for n, (now, _, due) in state["stream windows"].items()}
    kept = ("closed", "state", "newest stream", "compression", "outbound windows")
    return {key: state[key] for key in kept} | {"heard": heard, "windows": windows}


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEPS, max_size=12), cuts=CUTS)
def test_any_split_gives_the_same_messages_and_windows_with_and_without_the_shortcut(
    steps: list[Any], cuts: list[tuple[str, int]]
) -> None:
    written = played(steps)

    async def compare() -> None:
        whole = await read_by(Slow, [written])
        for pieces in ([written], cut(written, cuts)):
            found = await read_by(Connection, pieces)
            assert found == await read_by(Slow, pieces)
            assert lasting(found) == lasting(whole)

    asyncio.run(compare())


@settings(max_examples=100, deadline=None)
@given(
    tails=st.lists(
        st.binary(max_size=30)
        | st.builds(
            frames.frame,
            st.integers(0, 10),
            st.integers(0, 255),
            st.sampled_from((0, 1, 2, 3, 1 << 31 | 1)),
            st.binary(max_size=20) | st.just(b"\0" * 16_385),
        ),
        max_size=4,
    )
)
def test_what_no_client_should_send_is_judged_by_h2_alone(tails: list[bytes]) -> None:
    client = Client()
    client.opens()
    client.sends(0, message(b"well so far"), 100, None)
    pieces = [bytes(client.out), *tails]

    async def compare() -> None:
        assert await read_by(Connection, pieces) == await read_by(Slow, pieces)

    asyncio.run(compare())


# --- what the shortcut takes, and what not ------------------------------------------------------


@pytest.fixture
def h2_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what h2 is given to read."""
    sizes: list[int] = []
    through_h2 = H2Connection.receive_data

    def receive_data(self: H2Connection, data: bytes) -> Any:
        if not self.config.client_side:
            sizes.append(len(data))
        return through_h2(self, data)

    monkeypatch.setattr(H2Connection, "receive_data", receive_data)
    return sizes


async def connected() -> Server:
    """A server that has read the client's greeting and headers."""
    server, client = Server(Connection), Client()
    client.opens()
    server.reads(bytes(client.out))
    return server


async def test_a_whole_data_frame_never_sees_h2(h2_reads: list[int]) -> None:
    server = await connected()
    h2_reads.clear()
    server.reads(frames.message(1, b"ask"))
    server.reads(frames.message(1, b"one") + frames.message(1, b"two"))
    assert server.hub.heard[1].messages == [b"ask", b"one", b"two"]
    assert h2_reads == []
    server.connection.connection_lost(None)


async def test_a_call_in_the_words_of_the_one_before_never_sees_h2(h2_reads: list[int]) -> None:
    server, client = await connected(), Client()
    client.opens()  # the same client said so before
    client.out.clear()
    client.opens()
    server.reads(bytes(client.out))
    h2_reads.clear()
    for _ in range(2):
        client.out.clear()
        client.opens()
        client.sends(-1, message(b"ask"), 100, None)
        server.reads(bytes(client.out))
    assert h2_reads == []
    assert [server.hub.heard[n].messages for n in (5, 7)] == [[b"ask"]] * 2
    server.connection.connection_lost(None)


@pytest.mark.parametrize(
    "between",
    [
        lambda client: client.opens(("x-forwarded-for", "10.0.0.1")),
        lambda client: client.opens(table=60),
        lambda client: client.opens(("content-length", "3")),
        lambda client: client.opens(("grpc-timeout", "30S")),
    ],
    ids=["other headers", "another table", "a length", "a timeout"],
)
async def test_a_call_after_other_words_is_read_anew(
    between: Callable[[Client], None], h2_reads: list[int]
) -> None:
    server, client = Server(Connection), Client()
    for _ in range(3):
        client.opens()
    between(client)
    server.reads(bytes(client.out))
    client.out.clear()
    h2_reads.clear()
    client.opens()
    server.reads(bytes(client.out))
    assert h2_reads == [len(client.out)]
    server.connection.connection_lost(None)


async def test_more_streams_than_may_be_open_are_judged_by_h2(h2_reads: list[int]) -> None:
    server, client = Server(Connection), Client()
    server.h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 3
    server.h2.local_settings.acknowledge()
    for _ in range(4):
        client.opens()
    server.reads(bytes(client.out))
    assert server.transport.closed
    assert len(server.hub.heard) == 3


async def test_what_follows_plain_frames_goes_to_h2_alone(h2_reads: list[int]) -> None:
    server = await connected()
    h2_reads.clear()
    ping = frames.frame(frames.PING, 0, 0, b"12345678")
    server.reads(frames.message(1, b"ask") + ping)
    assert server.hub.heard[1].messages == [b"ask"]
    assert h2_reads == [len(ping)]
    assert frames.frame(frames.PING, frames.ACK, 0, b"12345678") in server.transport.written
    server.connection.connection_lost(None)


@pytest.mark.parametrize(
    "data",
    [
        frames.message(1, b"ask")[:-1],
        frames.message(3, b"ask"),
        frames.frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\3ask"),
        frames.frame(frames.DATA, 0x8, 1, b"\1\0\0\0\0\3ask\0"),
        frames.frame(frames.DATA, 0, 1, b""),
    ],
    ids=["a cut frame", "another stream", "the end", "padding", "an empty frame"],
)
async def test_every_other_shape_is_left_to_h2(data: bytes, h2_reads: list[int]) -> None:
    server = await connected()
    h2_reads.clear()
    server.reads(data)
    assert h2_reads == [len(data)]
    server.connection.connection_lost(None)


async def test_data_in_the_midst_of_a_header_block_is_an_error_of_the_connection() -> None:
    server = await connected()
    server.reads(frames.frame(frames.HEADERS, 0, 3, b"\x83\x86"))  # no END_HEADERS
    server.reads(frames.message(1, b"ask"))
    assert server.transport.closed
    assert server.hub.heard[1].messages == []


async def test_what_looks_like_a_frame_within_a_frame_is_none() -> None:
    server = await connected()
    inner = frames.message(1, b"not asked")
    outer = frames.message(1, inner)
    server.reads(outer[: -len(inner)])
    server.reads(inner)
    assert server.hub.heard[1].messages == [inner]
    server.connection.connection_lost(None)


async def test_data_behind_the_end_of_a_stream_is_not_heard() -> None:
    server = await connected()
    server.reads(frames.frame(frames.DATA, frames.END_STREAM, 1, b""))
    server.reads(frames.message(1, b"ask"))
    assert server.hub.heard[1].messages == []
    server.connection.connection_lost(None)


async def test_nothing_is_taken_on_a_connection_that_we_have_closed() -> None:
    server = await connected()
    server.h2.close_connection()
    assert server.connection._take(frames.message(1, b"ask"), 0) == 0
    server.connection.connection_lost(None)


async def test_more_data_than_the_headers_promised_is_not_heard() -> None:
    server, client = Server(Connection), Client()
    client.h2.send_headers(1, [*HEADERS, ("content-length", "3")])
    client.flush()
    server.reads(bytes(client.out))
    server.reads(frames.message(1, b"ask"))
    assert server.hub.heard[1].messages == []
    assert server.transport.closed


@pytest.mark.parametrize("of_the_connection", [True, False])
async def test_a_client_that_overruns_a_window_is_cut_off(of_the_connection: bool) -> None:
    server = await connected()
    for _ in range(WINDOW // 16_000 + 1):
        server.reads(frames.frame(frames.DATA, 0, 1, (1 << 20).to_bytes(5, "big") + b"x" * 15_995))
    assert not server.transport.closed, "what is received is given back at once"
    stream_window = server.h2.streams[1]._inbound_window_manager
    connection_window = server.h2._inbound_flow_control_window_manager
    (connection_window if of_the_connection else stream_window).current_window_size = 10
    server.reads(frames.frame(frames.DATA, 0, 1, b"x" * 100))
    assert server.transport.closed


async def test_a_frame_of_an_unknown_type_is_ignored() -> None:
    server = await connected()
    server.reads(frames.frame(0x77, 0xFF, 0, b"who knows"))
    server.reads(frames.message(1, b"ask"))
    assert server.hub.heard[1].messages == [b"ask"]
    assert not server.transport.closed
    server.connection.connection_lost(None)


async def test_others_have_their_turn_while_h2_reads_many_frames(h2_reads: list[int]) -> None:
    server = await connected()
    h2_reads.clear()
    server.connection.data_received(frames.opened(0, 1) * 900)  # 11,700 bytes
    turns = [sum(h2_reads)]
    while server.connection._behind:
        await asyncio.sleep(0)
        turns.append(sum(h2_reads))
    assert turns == [4096, 8192, 11_700]
    server.connection.connection_lost(None)


async def test_of_what_waits_for_its_turn_there_is_only_so_much_and_nothing_is_lost(
    h2_reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "allows", lambda _self, _data, *, sent: sent >= 0)
    server = await connected()
    h2_reads.clear()
    read = frames.opened(0, 1) * 5_000  # 65,000 bytes
    for _ in range(20):
        while server.transport.paused:  # as the kernel would
            await asyncio.sleep(0)
        server.connection.data_received(read)
        assert len(server.connection._behind) <= connections._BEHIND + len(read)
    assert server.transport.pauses > 0
    while server.connection._behind:
        await asyncio.sleep(0)
    assert not server.transport.paused
    assert sum(h2_reads) == 20 * len(read)
    server.connection.connection_lost(None)


async def test_whoever_waits_is_told_when_windows_or_the_transport_open() -> None:
    server = await connected()
    heard = server.hub.heard[1]
    for grown in (
        frames.opened(1, 10),
        frames.opened(0, 10),
        frames.frame(frames.SETTINGS, 0, 0, b"\x00\x04\x00\x01\x00\x00"),
    ):
        before = heard.resumed
        server.reads(grown)
        assert heard.resumed == before + 1
    server.connection.pause_writing()
    before = heard.resumed
    server.connection.resume_writing()
    assert heard.resumed == before + 1
    server.connection.connection_lost(None)


async def test_the_internals_that_are_relied_upon_are_where_they_were() -> None:
    """When this fails after an upgrade, read wire/windows.py and wire/connection.py anew."""
    server = await connected()
    h2 = server.h2
    assert h2.state_machine.state in (ConnectionState.CLIENT_OPEN, ConnectionState.SERVER_OPEN)
    assert isinstance(h2.incoming_buffer._data, bytearray)
    assert h2.incoming_buffer._headers_buffer == []
    assert h2.incoming_buffer._preamble_len == 0
    assert isinstance(h2.max_inbound_frame_size, int)
    assert isinstance(h2.max_outbound_frame_size, int)
    assert isinstance(h2.outbound_flow_control_window, int)
    stream = h2.streams[1]
    assert isinstance(stream.outbound_flow_control_window, int)
    assert stream._expected_content_length is None
    for manager in (h2._inbound_flow_control_window_manager, stream._inbound_window_manager):
        before = manager.current_window_size
        manager.window_consumed(1)
        assert manager.current_window_size == before - 1
        assert manager.process_bytes(0) in (None, 0)
    grpc = server.connection
    assert grpc.connection.write_ready.is_set()
    assert cast("object", grpc.connection._transport) is server.transport
    assert stream.state_machine.headers_sent is None
    server.connection.connection_lost(None)
