"""A change for everybody: what it takes until all have it, and what it costs the server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from aeraki_xds.bench.load import Load, Node
from aeraki_xds.bench.rounds import WARM_UP, Figures
from scenarios.bars import grid
from scenarios.bench import GO, OURS, Bench, cells, median, ratio
from scenarios.floor import Floor
from scenarios.servers import loaded, serving, side_by_side

ROUNDS: Final = 6
AT_ONCE: Final = 100
"""Connections that are opened together: this is no storm."""

RETRY_S: Final = 0.25
"""After which who was refused asks again: grpcio refuses some nodes of 61 KB all the same."""

ONE_CORE: Final = (
    "one core sends, and hears the ACKs of those who have it already in between, where the peer "
    "has two; of a send\n         a third is the kernel's (the floor). Longer turns of sending "
    "were tried: it takes 40 ms, and so much loop lag, to gain a fifth"
)
OTHERS: Final = {True: ("go-linear",), False: ("go-linear", "grpclib", "grpcio")}
"""With TLS and without: what is compared beside the two that bars are about."""
ROWS: Final = (
    ("all connected, 100 at a time, ms", "storm_ms", 0),
    ("change → first delivery, ms", "first", 1),
    ("change → half, ms", "half", 1),
    ("change → 99 %, ms", "p99", 1),
    ("change → last delivery, ms", "last", 1),
    ("change → all ACKed, ms", "acked", 1),
    ("send, µs CPU a stream", "send_us", 1),
    ("ACK, µs CPU a stream", "ack_us", 1),
    ("opening, µs CPU a stream", "storm_cpu_us", 0),
    ("memory, KB a stream", "kb", 1),
    ("harness busy, share of a core", "busy", 2),
)

TIMES: Final = ("first", "half", "p99", "last", "acked", "busy")
COSTS: Final = ("send_us", "ack_us")

Found = dict[str, dict[str, list[float]]]
"""By server and row, a value for each run."""


async def fanout(bench: Bench) -> None:
    """With certificates and Envoy's real node, then in plaintext."""
    few, many = bench.streams // 4, bench.streams * 5 // 2
    for tls in (True, False):
        how = "mTLS, 61 KB node" if tls else "plaintext, 61 KB node"
        for streams in (few, bench.streams, many):
            exact = streams == bench.streams
            names = bench.peers(OURS, GO, *(OTHERS[tls] if exact else ()))
            runs = bench.runs if exact else 1
            found = await compare(bench, names, streams, tls=tls, runs=runs)
            title = f"A change of one route table for {streams:,} streams, one a connection; {how}"
            bench.show(f"{title}; {runs} runs", _table(names, found))
            if exact:
                _bars(bench, found, tls=tls)
    await _beside_the_floor(bench)


async def compare(
    bench: Bench, names: Sequence[str], streams: int, *, tls: bool, runs: int
) -> Found:
    """Each run has all servers, which take turns."""
    load = Load(host="", port=0, streams=streams, node=Node.ENVOY, at_once=AT_ONCE, retry=RETRY_S)
    pki = bench.pki if tls else None
    what = f"fan-out, {streams:,} streams, {'mTLS' if tls else 'plaintext'}"
    found: Found = defaultdict(lambda: defaultdict(list))
    for run in range(runs):
        async with side_by_side(names, load, pki=pki) as servers:
            for name, (_, rounds) in servers.items():
                bench.say(f"{what}: run {run + 1} of {runs}, connecting to {name}")
                await rounds.connect()
            for number in range(-WARM_UP, ROUNDS):
                bench.say(f"{what}: run {run + 1} of {runs}, round {number + 1} of {ROUNDS}")
                for _, rounds in servers.values():
                    await rounds.both(counts=number >= 0)
            for name, (served, rounds) in servers.items():
                _note(found[name], rounds.figures)
                await bench.watch(what, served)
    return found


def _note(found: dict[str, list[float]], figures: Figures) -> None:
    """What a run says of a server, a value for each row."""
    values = {key: figures.median(key) for key in (*TIMES, *COSTS)}
    values["storm_ms"] = figures.storm_ms
    values["storm_cpu_us"] = figures.storm_cpu_us or 0.0
    values["kb"] = (figures.kb_grown or 0.0) / figures.streams
    for key, value in values.items():
        found[key].append(value)


def _table(names: Sequence[str], found: Found) -> str:
    rows = [
        [title, *(cells(found[name][key], digits) for name in names)] for title, key, digits in ROWS
    ]
    return grid(["", *names], rows)


def _bars(bench: Bench, found: Found, *, tls: bool) -> None:
    how = "mTLS" if tls else "plaintext"
    ours, theirs = found[OURS], found[GO]
    last, acked = (0.7, 1.0) if tls else (0.5, 0.7)
    what = f"fan-out {bench.streams:,}, {how}"
    bench.bar(
        f"{what}: last delivery / {GO}", ratio(ours["last"], theirs["last"]), last, left=ONE_CORE
    )
    bench.bar(f"{what}: all ACKed / {GO}", ratio(ours["acked"], theirs["acked"]), acked)
    if tls:
        bench.units["push_us"] = median(ours["send_us"]) + median(ours["ack_us"])
    else:
        bench.bar(f"{what}: CPU per ACK", median(ours["ack_us"]), 15, "µs")


async def _beside_the_floor(bench: Bench) -> None:
    """What sending takes, beside plain sends of as many bytes to as many sockets."""
    load = Load(host="", port=0, streams=bench.streams)
    ours: list[float] = []
    floor: list[float] = []
    for run in range(bench.runs):
        bench.say(f"the floor: run {run + 1} of {bench.runs}")
        async with serving(OURS) as served, loaded(served, load) as (rounds, _):
            await rounds.connect()
            async with Floor.under(bench.streams) as beside:
                for number in range(-WARM_UP, ROUNDS):
                    cost = await rounds.cost()
                    plain = await beside.send_us(round(rounds.figures.bytes_per_response))
                    if number >= 0 and cost is not None:
                        ours.append(cost.send_us)
                        floor.append(plain)
    text = grid(["", "ours", "the floor"], [["send, µs CPU a stream", cells(ours), cells(floor)]])
    bench.show(f"Plain sends to {bench.streams:,} sockets beside ours", text)
    bench.bar("send path, CPU / the floor", ratio(ours, floor), 3)
