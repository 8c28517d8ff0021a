"""Whether the harness works, and whether a change still costs what it should: in counts, not time.

In: nothing. Out: a row for each count and the exit status, 1 if one is not as it should be. Small
loads against real processes; what is counted does not depend on how busy the machine is: bytes,
pushes, responses that were encoded, hosts that were composed.

    python benchmarks/smoke.py
"""

from __future__ import annotations

import asyncio
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import translation
import uvloop
from peers.table import rest
from scenarios.servers import Peer, loaded, serving

from aeraki_xds.bench.load import Load
from aeraki_xds.telemetry import configure_logging

OURS: Final = "ours"
STREAMS: Final = 60
SERVICES: Final = 20
NAMES: Final = 1_000
HOSTS: Final = 200
ROUTES: Final = 10

_AROUND: Final = 220
"""Bytes that may be around a route table: frames, the envelope with type, version and nonce, the
Any and the name in it, in delta the name and version once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """`what` is to be at least `least` and at most `most`."""

    what: str
    found: float
    least: float
    most: float

    @property
    def good(self) -> bool:
        """Whether it is."""
        return self.least <= self.found <= self.most

    def row(self) -> str:
        """A line."""
        wanted = f"{self.least:g}" if self.least == self.most else f"{self.least:g} … {self.most:g}"
        return f"{'ok' if self.good else 'BAD':4}{self.what:70}{self.found:>9,.0f}  ({wanted})"


def exactly(what: str, found: float, wanted: float) -> Count:
    """Neither more nor less."""
    return Count(what=what, found=found, least=wanted, most=wanted)


def table(what: str, found: float, *, tables: int = 1) -> Count:
    """The bytes of so many route tables, and of little around them."""
    size = len(b64decode(rest(ROUTES, "round-1"))) * tables
    return Count(what=what, found=found, least=size, most=size + _AROUND * tables)


async def counts() -> AsyncIterator[Count]:
    """All there are."""
    for delta in (False, True):
        async for count in _fan_out(delta=delta):
            yield count
        yield await _one_of_many(delta=delta)
    async for count in _scoped():
        yield count
    async for count in _translation():
        yield count


async def _fan_out(*, delta: bool) -> AsyncIterator[Count]:
    what = f"a change for {STREAMS} streams, {'delta' if delta else 'state of the world'}"
    load = Load(host="", port=0, streams=STREAMS, per_connection=4, delta=delta)
    async with serving(OURS) as served, loaded(served, load, processes=2) as (rounds, generators):
        await rounds.connect()
        before = await served.tell()
        timed = await rounds.time()
        after = await served.tell()
        heard = await generators.count()
        yield exactly(f"{what}: responses", heard.responses, STREAMS)
        yield exactly(f"{what}: pushes", after["pushes"] - before["pushes"], STREAMS)
        yield exactly(f"{what}: encoded", after["encoded"] - before["encoded"], 1)
        yield table(f"{what}: bytes each", heard.bytes_received / STREAMS)
        yield exactly(f"{what}: timed in order", timed.first <= timed.last <= timed.acked, True)


async def _one_of_many(*, delta: bool) -> Count:
    load = Load(host="", port=0, streams=1, services=NAMES, names_each=NAMES, delta=delta)
    async with serving(OURS, services=NAMES) as served, loaded(served, load) as (rounds, fleet):
        await rounds.connect()
        await rounds.time()
        dialect = "delta" if delta else "state of the world"
        heard = (await fleet.count()).bytes_received
        return table(f"one of {NAMES:,} named routes changes, {dialect}: bytes", heard)


async def _scoped() -> AsyncIterator[Count]:
    load = Load(host="", port=0, streams=STREAMS, services=SERVICES)
    async with serving(OURS, services=SERVICES) as served, loaded(served, load) as (crowd, fleet):
        await crowd.connect()
        await fleet.begin()
        concerned = STREAMS // SERVICES
        before = await served.tell()
        await served.change("bench-3", "changed", acks=concerned)
        await served.acked()
        after = await served.tell()
        pushes = after["pushes"] - before["pushes"]
        yield exactly("one of 20 routes changes: pushes", pushes, concerned)
        heard = await fleet.count()
        yield exactly("one of 20 routes changes: responses", heard.responses, concerned)
        yield table(
            "one of 20 routes changes: bytes for all", heard.bytes_received, tables=concerned
        )
        yield await _nothing(served)


async def _nothing(served: Peer) -> Count:
    """The same once more is no change."""
    before = await served.tell()
    await served.change("bench-3", "changed", acks=0)
    async with loaded(served, Load(host="", port=0, streams=1)) as (another, _):
        await another.connect()  # by then it would have been sent
    pushes = (await served.tell())["pushes"] - before["pushes"]
    return exactly("the same content is published again: pushes", pushes, 1)


async def _translation() -> AsyncIterator[Count]:
    for proxy, hosts, encoded, published in ((False, 1, 1, 1), (True, 2, 9, 2)):
        what = f"one of {HOSTS} routers changes, {'MetaRDS and ADS' if proxy else 'MetaRDS'}"
        found = await translation.change(HOSTS, proxy=proxy)
        yield exactly(f"{what}: hosts composed", found.hosts, hosts)
        yield exactly(f"{what}: resources encoded", found.encoded, encoded)
        yield exactly(f"{what}: resources published", found.published, published)


async def smoke() -> bool:
    """Print every row; whether all are good."""
    good = True
    async for count in counts():
        print(count.row(), flush=True)
        good = good and count.good
    return good


def main() -> None:
    configure_logging(level="error", log_format="text")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(not runner.run(smoke()))


if __name__ == "__main__":
    main()
