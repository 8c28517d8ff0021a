"""One client in a hundred never reads: what the others notice."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from aeraki_xds.bench.load import Load
from scenarios.bars import grid
from scenarios.bench import GO, OURS, Bench, cells, ratio
from scenarios.servers import loaded, serving

ROUTES: Final = 100
ROUNDS: Final = 40
"""Of 16 KB each: the kernel takes the first few hundred kilobytes for who does not read."""

COUNTED: Final = 20
"""The last ones."""


async def stalled(bench: Bench) -> None:
    """The same load twice, one of them with clients that never read, in turns."""
    names = bench.peers(OURS, GO)
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    streams = bench.streams // 4
    deaf = max(streams // 100, 1)
    for run in range(bench.runs):
        for name in names:
            bench.say(f"stalled: run {run + 1} of {bench.runs}, {name}")
            for count, value in (await _run(bench, name, streams, (0, deaf))).items():
                found[name, count].append(value)
    rows = [
        [name, cells(found[name, 0]), cells(found[name, deaf]),
         f"{ratio(found[name, deaf], found[name, 0]):.2f}"]
        for name in names
    ]  # fmt: skip
    header = ["99 % of those who read have a change after, ms", "all read", "1 % do not", "ratio"]
    bench.show(f"{streams:,} streams, 16 KB a change, plaintext", grid(header, rows))
    found_ratio = ratio(found[OURS, deaf], found[OURS, 0])
    bench.bar("1 % stalled readers: p99 of the others / without", found_ratio, 1.2)


async def _run(bench: Bench, name: str, streams: int, deaf: Sequence[int]) -> dict[int, float]:
    """The 99th percentile, by the number of the deaf."""
    waited: dict[int, list[float]] = defaultdict(list)
    async with AsyncExitStack() as stack:
        rounds = {}
        for count in deaf:
            served = await stack.enter_async_context(serving(name, routes=ROUTES))
            load = replace(Load(host="", port=0, streams=streams), deaf=count)
            rounds[count], _ = await stack.enter_async_context(loaded(served, load))
            await rounds[count].connect()
        for number in range(ROUNDS):
            for count, each in rounds.items():
                timed = await each.time()
                if number >= ROUNDS - COUNTED:
                    waited[count].append(timed.p99)
        await bench.watch("stalled", served)
    return {count: statistics.median(values) for count, values in waited.items()}
