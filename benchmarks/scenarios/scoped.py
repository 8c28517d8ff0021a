"""A change that concerns ten streams of thousands: what it costs, and what others hear of it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from aeraki_xds.bench.fleet import Fleet
from aeraki_xds.bench.load import Load
from aeraki_xds.bench.rounds import WARM_UP, Rounds
from scenarios.bars import grid
from scenarios.bench import GO, OURS, Bench, cells, median
from scenarios.servers import Peer, loaded, serving

CONCERNED: Final = 10
ROUNDS: Final = 20
SIZES: Final = (100, 1_000, 10_000)
SERVERS: Final = (OURS, "go-linear", GO)
"""The last one answers every stream of the type, and so is asked at the smallest size only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Medians of a run: the server's CPU for one change, ACKs included, how long the ten waited,
    and what the others were sent in all rounds together.
    """

    cpu_us: float
    last_ms: float
    others: int


async def scoped(bench: Bench) -> None:
    """N streams over S services, of which one changes."""
    names = bench.peers(*SERVERS)
    cases = [(name, size) for size in SIZES for name in names if name != GO or size == SIZES[0]]
    found: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in range(bench.runs):
        for name, size in cases:
            bench.say(f"scoped: run {run + 1} of {bench.runs}, {size:,} services, {name}")
            found[name, size].append(await _run(bench, name, size))
    rows = [
        [
            f"{name}, S = {size:,}",
            cells([run.cpu_us for run in found[name, size]], 0),
            cells([run.last_ms for run in found[name, size]], 2),
            f"{max(run.others for run in found[name, size]):,}",
        ]
        for name, size in sorted(cases, key=lambda case: names.index(case[0]))
    ]
    header = ["", "µs CPU a change", "change → last, ms", "bytes to the others"]
    title = f"One of S routes changes, for {CONCERNED} of {bench.streams:,} streams; plaintext"
    bench.show(title, grid(header, rows))
    cost = [[run.cpu_us for run in found[OURS, size]] for size in (SIZES[-1], SIZES[0])]
    pairs = [large / small for large, small in zip(*cost, strict=True)]
    bench.bar(f"scoped: cost at S = {SIZES[-1]:,} / S = {SIZES[0]}", median(pairs), 1.3)
    others = max(run.others for size in SIZES for run in found[OURS, size])
    bench.bar("scoped: bytes to streams not concerned", others, 0, "B")


async def _run(bench: Bench, name: str, services: int) -> Run:
    own = f"bench-{services}"  # one more than the others ask for
    concerned = Load(host="", port=0, streams=CONCERNED, name=own)
    others = Load(host="", port=0, streams=bench.streams - CONCERNED, services=services)
    async with (
        serving(name, services=services + 1) as served,
        loaded(served, concerned) as (rounds, _),
        loaded(served, others) as (crowd, crowded),
    ):
        served.name = own
        return await _rounds(bench, served, rounds, crowd, crowded)


async def _rounds(bench: Bench, served: Peer, rounds: Rounds, crowd: Rounds, crowded: Fleet) -> Run:
    await crowd.connect()
    await rounds.connect()
    await crowded.begin()
    cpu: list[float] = []
    last: list[float] = []
    for number in range(-WARM_UP, ROUNDS):
        before = await served.cpu_s()
        timed = await rounds.time()
        if number >= 0:
            cpu.append((await served.cpu_s() - before) * 1e6)
            last.append(timed.last)
    await bench.watch("scoped", served)
    heard = await crowded.count()
    return Run(
        cpu_us=statistics.median(cpu),
        last_ms=statistics.median(last),
        others=heard.bytes_received,
    )
