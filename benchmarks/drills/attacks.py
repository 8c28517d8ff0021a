"""Peers that send what no client should, again and again, from a process of their own.

In: the server's port; one line of JSON on stdin per command. Out: one line of JSON per answer.

    {"do": "attack", "kind": …}  → {}         begin, at the rate of that kind
    {"do": "rest"}               → {"count"}  stop, and hang up; how many connections attacked

The bytes are made once, so that little of a processor goes into attacking.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aeraki_xds.bench import frames
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES

_RDS: Final = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"
_ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService"
_FRAME: Final = 16_384
_CONTINUATION: Final = 9
_PATIENCE_S: Final = 2.0
"""For how long an attacker waits to be cut off before it hangs up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What each connection sends, in pieces; so many connections a second. A patient one sends no
    more than the server's windows allow, as a client library would.
    """

    pieces: Callable[[int], Iterator[bytes]]
    rate: float
    patient: bool = False


def _call(path: str = _RDS) -> bytes:
    return frames.greeting() + frames.call(1, path, "server")


def _flood(count: int, made: Callable[[int], bytes]) -> Callable[[int], Iterator[bytes]]:
    """A good stream, and then so many frames."""
    first = _call() + frames.message(1, text(3, "bench") + text(4, HTTP_ROUTES))
    rest = b"".join(made(number) for number in range(1, count))
    return lambda _number: iter((first, rest))


def _once(data: bytes) -> Callable[[int], Iterator[bytes]]:
    return lambda _number: iter((data,))


def _large(path: str, body: bytes) -> tuple[bytes, ...]:
    """A call, and one message in as many frames as it takes."""
    data = len(body).to_bytes(5, "big") + body
    chunks = (data[at : at + _FRAME] for at in range(0, len(data), _FRAME))
    return (_call(path), *(frames.frame(frames.DATA, 0, 1, chunk) for chunk in chunks))


def _rapid_reset(number: int) -> bytes:
    stream_id = 2 * number + 1
    reset = frames.frame(frames.RST_STREAM, 0, stream_id, bytes(4))
    return frames.call(stream_id, _RDS, "server") + reset


def _endless_headers() -> bytes:
    begun = frames.frame(frames.HEADERS, 0, 1, b"\x83")
    return frames.greeting() + begun + frames.frame(_CONTINUATION, 0, 1, b"\0\1x\1y" * 200) * 200


def _wrong_methods() -> bytes:
    """A GET of a service that there is, and a call of one that there is not."""
    get = frames.call(1, _RDS, "server").replace(b"\x83\x86", b"\x82\x86", 1)
    return frames.greeting() + get + frames.call(3, "/no.such.Service/Method", "server")


def _node(number: int) -> Iterator[bytes]:
    """A first request as large as a stock Envoy's, of a build that nobody has seen before."""
    names = (f"envoy.filters.network.number_{number}_{index:04}" for index in range(1_200))
    extensions = b"".join(length_delimited(9, text(1, name)) for name in names)
    node = length_delimited(2, text(1, f"node-{number}") + extensions)
    yield from _large(f"{_ADS}/StreamAggregatedResources", node + text(4, CLUSTER))


def _first_delta() -> tuple[bytes, ...]:
    """16 MB of resources that the client says it has: nearly as many names as are allowed."""
    versions = b"".join(
        length_delimited(5, text(1, f"outbound|9090||{n:0130}") + text(2, f"{n:016x}"))
        for n in range(95_000)
    )
    node = length_delimited(1, text(1, "delta"))
    return _large(f"{_ADS}/DeltaAggregatedResources", node + text(2, CLUSTER) + versions)


def attacks() -> dict[str, Attack]:
    """Every kind, by name."""
    oversized = _large(_RDS, bytes(33 << 20))
    delta = _first_delta()
    ping = frames.frame(frames.PING, 0, 0, bytes(8))
    settings = frames.frame(frames.SETTINGS, 0, 0, b"")
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 500
    return {
        "HTTP/1": Attack(pieces=_once(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), rate=20),
        "TLS on the plain port": Attack(pieces=_once(hello), rate=20),
        "random bytes": Attack(pieces=lambda _: iter((os.urandom(4_096),)), rate=20),
        "ping flood": Attack(pieces=_flood(2_000, lambda _: ping), rate=5),
        "settings flood": Attack(pieces=_flood(2_000, lambda _: settings), rate=5),
        "endless headers": Attack(pieces=_once(_endless_headers()), rate=10),
        "rapid reset": Attack(pieces=_flood(2_000, _rapid_reset), rate=5),
        "unknown frames": Attack(
            pieces=_flood(2_000, lambda _: frames.frame(0x77, 0, 0, b"")), rate=5
        ),
        "malformed protobuf": Attack(
            pieces=_once(_call() + frames.message(1, b"\xff" * 100)), rate=20
        ),
        "33 MiB message": Attack(pieces=lambda _: iter(oversized), rate=4, patient=True),
        "wrong method": Attack(pieces=_once(_wrong_methods()), rate=20),
        "61 KB nodes": Attack(pieces=_node, rate=5, patient=True),
        "16 MB first deltas": Attack(pieces=lambda _: iter(delta), rate=2, patient=True),
    }


class _Attacker:
    """One connection. `_window` is what the server lets it send, of connection and stream."""

    def __init__(self, attack: Attack, number: int) -> None:
        self._attack = attack
        self._number = number
        self._windows = {0: 65_535, 1: 65_535}
        self._opened = asyncio.Event()

    async def run(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        listening = asyncio.ensure_future(self._listen(reader))
        try:
            with suppress(ConnectionError):
                for piece in self._attack.pieces(self._number):
                    if self._attack.patient and not await self._may_send(piece, listening):
                        return
                    writer.write(piece)
                    await writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await asyncio.shield(listening)
        finally:
            listening.cancel()
            writer.transport.abort()

    async def _may_send(self, piece: bytes, listening: asyncio.Future[None]) -> bool:
        """Wait for room for a DATA frame; False when the server has ended the stream."""
        size = len(piece) - frames.HEAD_SIZE
        if piece[3:4] != bytes((frames.DATA,)):
            return True
        while min(self._windows.values()) < size:
            if listening.done():
                return False
            self._opened.clear()
            await self._opened.wait()
        for of in self._windows:
            self._windows[of] -= size
        return True

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Until the server ends the stream or the connection."""
        rest = b""
        try:
            with suppress(ConnectionError):
                while data := await reader.read(1 << 16):
                    rest += data
                    taken = 0
                    for kind, flags, stream_id, start, stop in frames.read(rest):
                        taken = stop
                        self._note(kind, stream_id, rest[start:stop])
                        if stream_id == 1 and (
                            kind == frames.RST_STREAM
                            or (kind == frames.HEADERS and flags & frames.END_STREAM)
                        ):
                            return
                    rest = rest[taken:]
        finally:
            self._opened.set()

    def _note(self, kind: int, stream_id: int, payload: bytes) -> None:
        if kind == frames.WINDOW_UPDATE and stream_id in self._windows:
            self._windows[stream_id] += int.from_bytes(payload, "big")
        elif kind == frames.SETTINGS:
            for at in range(0, len(payload), 6):
                if payload[at : at + 2] == b"\0\4":
                    self._windows[1] += int.from_bytes(payload[at + 2 : at + 6], "big") - 65_535
        self._opened.set()


async def _attack(kind: Attack, port: int, count: list[int]) -> None:
    """Until cancelled."""
    async with asyncio.TaskGroup() as attackers:
        while True:
            count[0] += 1
            attackers.create_task(_Attacker(kind, count[0]).run(port))
            await asyncio.sleep(1 / kind.rate)


async def obey(port: int) -> None:
    """Read commands until there are none."""
    kinds = attacks()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running: asyncio.Task[None] | None = None
    count = [0]
    _say({"kinds": list(kinds)})
    async for line in reader:
        command = json.loads(line)
        if command["do"] == "attack":
            count[0] = 0
            running = asyncio.create_task(_attack(kinds[command["kind"]], port, count))
            _say({})
        elif running is not None:
            running.cancel()
            await asyncio.wait((running,))
            if not running.cancelled():
                running.result()
            _say({"count": count[0]})


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(obey(int(sys.argv[1])))
