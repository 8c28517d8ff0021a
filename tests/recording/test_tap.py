"""The tap reads what a real HTTP/2 stack writes, in any pieces; the relay changes nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from h2.config import H2Configuration
from h2.connection import H2Connection
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame

from aeraki_xds.demo.http import Address
from tests.recording.kinds import CLUSTER
from tests.recording.kit import ADS, cluster
from tests.recording.recording import Asked, Closed, Recording, Told
from tests.recording.relay import Relay
from tests.recording.tap import Tap

PATH = f"{ADS}StreamAggregatedResources"
REQUEST = discovery_pb2.DiscoveryRequest(type_url=CLUSTER, resource_names=["a"], node={"id": "n"})


def framed(message: object) -> bytes:
    """A message as gRPC puts it into DATA frames."""
    body = discovery_message(message)
    return b"\0" + len(body).to_bytes(4, "big") + body


def discovery_message(message: object) -> bytes:
    assert isinstance(message, discovery_pb2.DiscoveryRequest | discovery_pb2.DiscoveryResponse)
    encoded: bytes = message.SerializeToString()
    return encoded


def from_client() -> bytes:
    """A stream's beginning, its request in two DATA frames."""
    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    headers = [(":method", "POST"), (":path", PATH), (":scheme", "http"), (":authority", "x")]
    connection.send_headers(1, headers)
    data = framed(REQUEST)
    connection.send_data(1, data[:9])
    connection.send_data(1, data[9:])
    return connection.data_to_send()


def from_server() -> bytes:
    """Headers in two frames, a padded response, and a status at the end."""
    item = cluster("a")
    response = discovery_pb2.DiscoveryResponse(version_info="1", nonce="7", type_url=CLUSTER)
    response.resources.add(type_url=item.type_url, value=item.body)
    encoder = Encoder()
    block = encoder.encode([(":status", "200"), ("content-type", "application/grpc")])
    head = HeadersFrame(1, block[:2])
    rest = ContinuationFrame(1, block[2:], flags=["END_HEADERS"])
    padded = DataFrame(1, framed(response), pad_length=5, flags=["PADDED"])
    trailers = encoder.encode([("grpc-status", "14"), ("grpc-message", "bye")])
    end = HeadersFrame(1, trailers, flags=["END_HEADERS", "END_STREAM"])
    return b"".join(frame.serialize() for frame in (head, rest, padded, end))


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_messages_and_ends_are_read_whatever_the_pieces(size: int) -> None:
    recording = Recording()
    tap = Tap(recording=recording, connection=1)
    for by, data in (("client", from_client()), ("server", from_server())):
        for at in range(0, len(data), size):
            tap.sent(by, data[at : at + size])
    (stream,) = recording.streams
    assert stream.path == PATH
    item = cluster("a")
    asked, told, closed = stream.entries
    assert asked == Asked(type_url=CLUSTER, node="n", names=("a",))
    assert isinstance(told, Told)
    assert [(each.name, each.body) for each in told.items] == [("a", item.body)]
    assert (told.version, told.nonce) == ("1", "7")
    assert closed == Closed(by="server", status="14 bye")


def test_a_connection_that_breaks_ends_its_streams() -> None:
    recording = Recording()
    tap = Tap(recording=recording, connection=1)
    tap.sent("client", from_client())
    tap.hung_up("client")
    assert recording.streams[0].entries[-1] == Closed(by="client")


async def test_the_relay_forwards_every_byte_and_what_it_records_is_recorded_before() -> None:
    seen = bytearray()
    recorded_by_then: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            seen.extend(await reader.readexactly(len(from_client())))
            recorded_by_then.append(len(relay.recording.streams[0].entries))
            writer.write(from_server())
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Relay.run(Address(*server.sockets[0].getsockname()[:2])) as relay:
        reader, writer = await asyncio.open_connection(*relay.address)
        writer.write(from_client())
        answer = await reader.readexactly(len(from_server()))
        writer.close()
        await writer.wait_closed()
    assert seen == from_client()
    assert answer == from_server()
    assert recorded_by_then == [1]


def test_bytes_that_are_no_http2_are_an_error() -> None:
    tap = Tap(recording=Recording(), connection=1)
    with pytest.raises(AssertionError, match="not HTTP/2"):
        tap.sent("client", b"GET / HTTP/1.1\r\nhost: nobody\r\n\r\n")
