"""How a server in Python obeys the protocol of `peers`.

In: a server; lines on standard input. Out: lines on standard output. Guaranteed: a command is
carried out when the one before it was answered, and the end of the input is the end, whatever is
waited for.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from aeraki_xds.bench import process
from aeraki_xds.garbage import give_back
from aeraki_xds.xds.field import length_delimited

_LONGEST: Final = 64 << 20
"""Bytes of a line: a command carries a whole resource."""

Command = Mapping[str, Any]
Answer = Mapping[str, Any]


class Acks:
    """Counts ACKs, and knows when as many as were expected had been handled."""

    def __init__(self) -> None:
        self._missing = 0
        self._at_ns = 0
        self._reached = asyncio.Event()
        self.expect(0)

    def expect(self, count: int) -> None:
        """Count from here. Of none, the last one was now."""
        self._missing = count + 1
        self._reached.clear()
        self.count()

    def count(self) -> None:
        """One was handled."""
        self._missing -= 1
        if self._missing == 0:
            self._at_ns = time.monotonic_ns()
            self._reached.set()

    async def reached(self) -> int:
        """When the last one was, as soon as it is."""
        await self._reached.wait()
        return self._at_ns


class Server(Protocol):
    """What is compared."""

    acks: Acks

    def serving(self) -> AbstractAsyncContextManager[int]:
        """Serve for the length of a block, on this port."""

    def fill(self, bodies: Mapping[str, bytes]) -> None:
        """Serve these encoded resources and no others."""

    def change(self, command: Command) -> Callable[[], Answer]:
        """Read a command to publish. What is returned does it, and says what else there is to say
        about it.
        """

    def tell(self) -> Answer:
        """What it knows of itself."""


async def obey(server: Server) -> None:
    """Serve, and carry out commands until there are no more lines."""
    reader = asyncio.StreamReader(limit=_LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    async with server.serving() as port, asyncio.TaskGroup() as tasks:
        _say({"port": port})
        answering = tasks.create_task(_answer(server, lines))
        async for line in reader:
            lines.put_nowait(line)
        answering.cancel()


async def _answer(server: Server, lines: asyncio.Queue[bytes]) -> None:
    while True:
        _say(await _carried_out(server, json.loads(await lines.get())))


async def _carried_out(server: Server, command: Command) -> Answer:
    match command["do"]:
        case "fill":
            rest = b64decode(command["rest"])
            server.fill({name: body(name, rest) for name in names(command["count"])})
            return {}
        case "publish":
            publish = server.change(command)
            server.acks.expect(command["acks"])
            at_ns = time.monotonic_ns()
            return {"at_ns": at_ns, **publish()}
        case "expect":
            server.acks.expect(command["acks"])
            return {}
        case "acked":
            return {"at_ns": await server.acks.reached()}
        case "cpu":
            return {"cpu_s": time.process_time()}
        case "memory":
            found = process.resident_kb(os.getpid())
            gc.collect()
            give_back()
            return {"rss_kb": process.resident_kb(os.getpid()), "found_kb": found}
        case "tell":
            return server.tell()
        case unknown:
            message = f"{unknown!r} is no command"
            raise ValueError(message)


def names(count: int) -> list[str]:
    """Of the resources."""
    return [f"bench-{number}" for number in range(count)]


def resource_of(command: Command) -> tuple[str, bytes]:
    """The name and the encoded resource that a command to publish carries."""
    name = command["name"]
    return name, body(name, b64decode(command["rest"]))


def body(name: str, rest: bytes) -> bytes:
    """An encoded resource: its name, and its other fields."""
    return length_delimited(1, name.encode()) + rest


def _say(answer: Answer) -> None:
    print(json.dumps(dict(answer)), flush=True)
