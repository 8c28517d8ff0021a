"""A proxy in front of the API server that does what networks and busy servers do.

    async with Faults.started(api.url) as faults:
        faults.next(Answer(status=429, retry_after=1), times=2, verb="list")
        faults.next(Truncate(events=3, torn=True), verb="watch", resource="services")

In: requests, and what shall go wrong with which. Out: the server's answers, or what is left of
them. Guaranteed: a fault strikes the next calls that it matches, as often as was said, oldest fault
first; whatever matches none passes unchanged, piece by piece.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

import aiohttp
import orjson
from yarl import URL

from tests.apiserver.kinds import Call, call_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The connection breaks: before the server hears of it, after it answered, or in the body."""

    at: Literal["request", "headers", "body"]
    bytes: int = 0  # of the body that still come


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """The request takes so many seconds longer."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate:
    """A watch ends after so many events: in order, or torn in the midst of the next line."""

    events: int
    torn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The proxy answers itself: 429, 500, 503, 504."""

    status: int
    retry_after: int | None = None  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """An event of a watch comes twice. Events count from 1."""

    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder:
    """An event of a watch comes after the next one."""

    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """No answer, ever."""


Fault = Cut | Delay | Truncate | Answer | Duplicate | Reorder | Hang


@dataclass(slots=True, kw_only=True)
class _Rule:
    fault: Fault
    matches: Callable[[Call], bool]
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    url: URL
    headers: dict[str, str]
    body: bytes

    @property
    def call(self) -> Call:
        return call_of(self.method, self.url.path, self.url.query)


class _Broken(Exception):
    """The connection shall break here."""


class Faults:
    """The proxy. `url` is where clients go."""

    def __init__(self, *, upstream: str, client: aiohttp.ClientSession) -> None:
        self._upstream = URL(upstream)
        self._client = client
        self._rules: list[_Rule] = []
        self._connections: dict[asyncio.Task[None], asyncio.WriteTransport] = {}
        self._server: asyncio.Server | None = None
        # Bound and never listening: it keeps the port ours while connections are refused.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._place.getsockname()[1]}"

    @classmethod
    @asynccontextmanager
    async def started(
        cls, upstream: str, *, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Faults]:
        """A proxy that listens on a free port of loopback, in plaintext; behind it is TLS, where
        the upstream is https.
        """
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            timeout=timeout,
            auto_decompress=False,
            read_bufsize=16 << 20,
            connector=aiohttp.TCPConnector(ssl=True if tls is None else tls),
        ) as client:
            faults = cls(upstream=upstream, client=client)
            try:
                await faults.accept()
                yield faults
            finally:
                await faults.refuse()
                tasks = list(faults._connections)
                faults.cut_all()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                faults._place.close()

    def next(
        self,
        fault: Fault,
        *,
        times: int = 1,
        verb: str | None = None,
        resource: str | None = None,
        when: Callable[[Call], bool] = lambda _: True,
    ) -> None:
        """Let this go wrong with the next calls of a verb, of a resource (plural), or as `when`."""

        def matches(call: Call) -> bool:
            return verb in {None, call.verb} and resource in {None, call.resource} and when(call)

        self._rules.append(_Rule(fault=fault, matches=matches, left=times))

    @property
    def pending(self) -> int:
        """How many faults have not struck yet."""
        return sum(rule.left for rule in self._rules)

    @property
    def connections(self) -> int:
        """How many connections of clients are open."""
        return len(self._connections)

    def cut_all(self) -> None:
        """Break every connection that is open."""
        for transport in self._connections.values():
            transport.abort()

    async def refuse(self) -> None:
        """Accept no connection any more. Those that are open stay."""
        if self._server:
            self._server.close()
            self._server = None

    async def accept(self) -> None:
        """Accept connections, at the same place."""
        loop = asyncio.get_running_loop()
        port = self._place.getsockname()[1]
        self._server = await loop.create_server(
            self._connected, "127.0.0.1", port, reuse_port=True, backlog=512
        )

    def _connected(self) -> asyncio.StreamReaderProtocol:
        reader = _Reader(limit=16 << 20)
        return asyncio.StreamReaderProtocol(reader, self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for as long as the client keeps it."""
        task = asyncio.current_task()
        assert task is not None
        assert isinstance(reader, _Reader)
        reader.when_gone = task.cancel
        self._connections[task] = writer.transport
        try:
            ends = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
            with suppress(_Broken, aiohttp.ClientError, *ends):
                kept = True
                while kept:
                    request = await _read(reader)
                    await self._exchange(request, writer)
                    kept = request.headers.get("Connection", "").lower() != "close"
        finally:
            writer.close()  # what was written before a break still arrives
            del self._connections[task]

    async def _exchange(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        fault = self._fault(request.call)
        match fault:
            case Cut(at="request"):
                raise _Broken
            case Hang():
                await asyncio.Event().wait()
            case Answer():
                writer.write(_answer(fault))
                return
            case Delay():
                await asyncio.sleep(fault.seconds)
        async with self._client.request(
            request.method,
            self._upstream.join(request.url),
            headers=request.headers,
            data=request.body or None,
            allow_redirects=False,
        ) as response:
            if isinstance(fault, Cut) and fault.at == "headers":
                raise _Broken
            chunked = "Content-Length" not in response.headers
            writer.write(_head(response))
            watch = request.call.verb == "watch"
            body = response.content if watch else response.content.iter_any()
            async for piece in _spoilt(body, fault):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
            writer.write(b"0\r\n\r\n" if chunked else b"")

    def _fault(self, call: Call) -> Fault | None:
        for rule in self._rules:
            if rule.left and rule.matches(call):
                rule.left -= 1
                return rule.fault
        return None


class _Reader(asyncio.StreamReader):
    """Tells when the client has left, also while nobody reads."""

    when_gone: Callable[[], object] = staticmethod(lambda: None)

    def feed_eof(self) -> None:
        super().feed_eof()
        self.when_gone()

    def set_exception(self, exc: Exception) -> None:
        """Instead of an end, where the client reset the connection."""
        super().set_exception(exc)
        self.when_gone()


async def _read(reader: asyncio.StreamReader) -> _Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {
        name: value.strip() for name, _, value in (h.partition(":") for h in head[1:]) if name
    }
    length = next((int(v) for name, v in headers.items() if name.lower() == "content-length"), 0)
    return _Request(
        method=method,
        url=URL(target, encoded=True),
        headers={n: v for n, v in headers.items() if n.lower() not in {"host", "content-length"}},
        body=await reader.readexactly(length),
    )


def _head(response: aiohttp.ClientResponse) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _answer(fault: Answer) -> bytes:
    """As the real server words it: a Status."""
    phrase = HTTPStatus(fault.status).phrase
    reason = {429: "TooManyRequests", 503: "ServiceUnavailable", 504: "Timeout"}
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": phrase,
        "reason": reason.get(fault.status, "InternalError"),
        "code": fault.status,
    }
    body = orjson.dumps(status)
    head = f"HTTP/1.1 {fault.status} {phrase}\r\nContent-Type: application/json\r\n"
    if fault.retry_after is not None:
        head += f"Retry-After: {fault.retry_after}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def _spoilt(body: AsyncIterable[bytes], fault: Fault | None) -> AsyncIterator[bytes]:
    """The pieces of a body with its fault. A piece of a watch is one event."""
    passed, count, held = 0, 0, b""
    async for piece in body:
        count += 1
        match fault:
            case Cut(bytes=limit) if passed + len(piece) >= limit:
                yield piece[: limit - passed]
                raise _Broken
            case Truncate(events=last, torn=torn) if count > last:
                if not torn:
                    return
                yield piece[: len(piece) // 2]
                raise _Broken
            case Truncate(events=last, torn=False) if count == last:
                yield piece
                return
            case Duplicate(event=one) if count == one:
                yield piece
                yield piece
            case Reorder(event=one) if count == one:
                held = piece
                continue
            case _:
                yield piece
        if held:
            yield held
            held = b""
        passed += len(piece)
