"""A load generator: a process of its own that runs a share of a load, and does as it is told.

In: one line of JSON on stdin per command. Out: one line of JSON per answer. It ends with its stdin.

    {"do": "connect", "load": …, "first": n, "streams": n, "deaf": n} → {}  begin to connect
    {"do": "progress"}           → {"responses", "refused", "done"}
    {"do": "begin", "name": …}   → {"expected"}  a round, for whoever asks for this name, or all
    {"do": "hold"}, {"do": "release"} → {}  keep ACKs back from now on; send them
    {"do": "delivered", "within_s": s} → what `_share` has, when the round is over
    {"do": "count"}              → what it has of the round so far
    {"do": "ages"}               → {"ages_ns"}  of stamped responses since this was last asked

What goes wrong is answered with {"error"}: a stream that the server ended, a refused connection.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import orjson

from aeraki_xds.bench.client import Clients, LostError
from aeraki_xds.bench.load import Load, tls_context
from aeraki_xds.garbage import no_full_collections


class Generator:
    """The clients of this process, and what came of the round."""

    def __init__(self) -> None:
        self._clients = Clients(host="", port=0)
        self._names: list[tuple[str, ...]] = []
        self._connecting: asyncio.Task[None] | None = None
        self._began_ns = 0
        self._busy_s = 0.0
        self._before = (0, 0)

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do as one is told. Raises OSError."""
        match command["do"]:
            case "connect":
                self._connect(msgspec.convert(command["load"], Load, dec_hook=_path), command)
            case "progress":
                return self._progress()
            case "begin":
                return {"expected": self._begin(command["name"])}
            case "hold":
                self._clients.hold_acks = True
            case "release":
                self._clients.hold_acks = False
                self._clients.release_acks()
            case "delivered":
                await self._delivered(command["within_s"])
                return self._share()
            case "count":
                return self._share()
            case "ages":
                ages, self._clients.ages_ns = self._clients.ages_ns or [], []
                return {"ages_ns": ages}
            case unknown:
                message = f"no such command: {unknown}"
                raise ValueError(message)
        return {}

    def _connect(self, load: Load, command: dict[str, Any]) -> None:
        asks = load.asks(command["first"], command["streams"])
        tls = tls_context(load.tls) if load.tls is not None else None
        self._clients = Clients(host=load.host, port=load.port, tls=tls, retry=load.retry)
        self._names = [ask.names for ask in asks[command["deaf"] * load.per_connection :]]
        self._mark()
        self._connecting = asyncio.create_task(
            self._clients.connect(
                asks,
                at_once=load.at_once or len(asks),
                per_connection=load.per_connection,
                deaf=command["deaf"],
            )
        )

    def _progress(self) -> dict[str, Any]:
        clients, connecting = self._clients, self._connecting
        done = connecting is not None and connecting.done()
        return {"responses": clients.responses, "refused": clients.refused, "done": done}

    def _begin(self, name: str | None) -> int:
        self._connecting = None
        asking = self._names if name is None else [each for each in self._names if name in each]
        self._clients.begin_round(expected=len(asking))
        self._mark()
        return len(asking)

    async def _delivered(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await (self._connecting or self._clients.delivered())
        except TimeoutError:
            came = len(self._clients.deliveries_ns)
            raise LostError(f"{came} responses have come in {within_s:g} s, and not all") from None

    def _mark(self) -> None:
        self._began_ns = time.monotonic_ns()
        self._busy_s = time.process_time()
        self._before = (self._clients.responses, self._clients.bytes_received)

    def _share(self) -> dict[str, Any]:
        responses, size = self._before
        return {
            "began_ns": self._began_ns,
            "deliveries_ns": self._clients.deliveries_ns,
            "last_ack_ns": self._clients.last_ack_ns,
            "responses": self._clients.responses - responses,
            "bytes": self._clients.bytes_received - size,
            "busy_s": time.process_time() - self._busy_s,
        }


def _path(of: type[Path], value: str) -> Path:
    """What is no JSON."""
    return of(value)


async def work() -> None:
    """Read commands until there are none."""
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    generator = Generator()
    async for line in reader:
        try:
            answer = await generator.obey(orjson.loads(line))
        except OSError as failure:
            answer = {"error": str(failure) or type(failure).__name__}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


def main() -> None:
    """Run until stdin ends."""
    import uvloop  # there is none on Windows

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with no_full_collections(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


if __name__ == "__main__":
    main()
