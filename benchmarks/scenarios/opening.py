"""Everybody comes at once: how long it takes until all are served, and what they cost in memory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

from aeraki_xds.bench.load import Load, Node
from aeraki_xds.bench.rounds import Figures
from scenarios.bars import grid
from scenarios.bench import GO, OURS, Bench, cells, median, ratio
from scenarios.servers import loaded, serving

PATIENCE_S: Final = 180.0
RETRY_S: Final = 0.25
"""After which who was refused asks again, and is counted: grpcio's server refuses some."""

STREAMS: Final = 10
"""Of a sidecar, where each of its listeners asks for a route table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """So many streams of so many sidecars."""

    title: str
    sidecars: int
    streams: int = 1
    own_connections: bool = False
    tls: bool = False
    node: Node = Node.SMALL
    peers: tuple[str, ...] = (OURS, GO)

    def load(self) -> Load:
        """As a load, but for where."""
        return Load(
            host="",
            port=0,
            streams=self.sidecars * self.streams,
            per_connection=1 if self.own_connections else self.streams,
            services=self.streams,
            node=self.node,
            retry=RETRY_S,
        )


async def opening(bench: Bench) -> None:
    """Storms, and memory when they are over."""
    n = bench.streams
    plain = Case(title="plaintext", sidecars=n, peers=(OURS, GO, "go-linear", "grpclib", "grpcio"))
    real = Case(title="plaintext, 61 KB node", sidecars=n, node=Node.ENVOY)
    tls = Case(title="mTLS", sidecars=n, tls=True)
    fleet = Case(title="mTLS, 10 streams on a connection", sidecars=n, streams=STREAMS, tls=True)
    heavy = Case(title="the same, 61 KB node", sidecars=n, streams=STREAMS, tls=True,
                 node=Node.ENVOY)  # fmt: skip
    apart = Case(title="mTLS, 10 connections of one stream", sidecars=n // 4, streams=STREAMS,
                 own_connections=True, tls=True)  # fmt: skip
    found: dict[tuple[Case, str], list[Figures]] = defaultdict(list)
    cases = (plain, real, tls, fleet, heavy, apart)
    for run in range(bench.runs):
        for case in cases:
            if case in (heavy, apart) and run >= 1:
                continue
            for name in bench.peers(*case.peers):
                bench.say(f"opening: run {run + 1} of {bench.runs}, {case.title}, {name}")
                found[case, name].append(await _open(bench, case, name))
    header = ["", "sidecars", "streams", "all served, s", "µs CPU a stream", "KB a connection",
              "refused"]  # fmt: skip
    rows = [
        _row(case, name, found[case, name]) for case in cases for name in bench.peers(*case.peers)
    ]
    bench.show("Everybody connects at once (2 KB node if nothing is said)", grid(header, rows))
    storms = {name: [each.storm_ms for each in found[plain, name]] for name in (OURS, GO)}
    bench.bar(f"connect storm {n:,}, plaintext / {GO}", ratio(storms[OURS], storms[GO]), 4)
    refused = sum(each.refused for each in found[plain, OURS])
    bench.bar(f"connect storm {n:,}, plaintext: refused", refused, 0, "")
    _memory(bench, {each.title: found[each, OURS] for each in cases}, found[plain, GO])
    runs = found[fleet, OURS]
    bench.units["sidecar_kb"] = median([each.kb_per_connection for each in runs])
    bench.units["sidecar_us"] = median([each.storm_cpu_us or 0.0 for each in runs]) * STREAMS
    seconds = median([each.storm_ms / 1e3 for each in found[fleet, OURS]])
    other = median([each.storm_ms / 1e3 for each in found[heavy, OURS]])
    bench.bar(f"{n:,} sidecars × {STREAMS} streams, mTLS: all configured", seconds, 10, "s",
              note=f"{other:.1f} s with the 61 KB node")  # fmt: skip


async def _open(bench: Bench, case: Case, name: str) -> Figures:
    pki = bench.pki if case.tls else None
    load = replace(case.load(), tls=pki.clients if pki else None)
    async with (
        serving(name, pki=pki, services=load.services) as served,
        loaded(served, load, patience=PATIENCE_S) as (rounds, _),
    ):
        await rounds.connect()
        await bench.watch(f"opening, {case.title}", served)
        return rounds.figures


def _row(case: Case, name: str, runs: list[Figures]) -> list[str]:
    return [
        f"{case.title}, {name}",
        f"{case.sidecars:,}",
        f"{runs[0].streams:,}",
        cells([each.storm_ms / 1e3 for each in runs], 2),
        cells([each.storm_cpu_us or 0.0 for each in runs], 0),
        cells([each.kb_per_connection for each in runs]),
        f"{sum(each.refused for each in runs)}",
    ]


def _memory(bench: Bench, ours: dict[str, list[Figures]], go: list[Figures]) -> None:
    """Of a connection with a stream, and of each stream more."""

    def each_kb(runs: list[Figures]) -> list[float]:
        return [run.kb_per_connection for run in runs]

    plain, tls = each_kb(ours["plaintext"]), each_kb(ours["mTLS"])
    ten = each_kb(ours["mTLS, 10 streams on a connection"])
    bench.bar("memory: plaintext connection + stream", median(plain), 42, "KB")
    bench.bar(f"memory: plaintext connection + stream / {GO}", ratio(plain, each_kb(go)), 0.7)
    bench.bar("memory: mTLS connection + stream", median(tls), 80, "KB")
    further = [(many - one) / (STREAMS - 1) for many, one in zip(ten, tls, strict=True)]
    bench.bar("memory: a further stream", median(further), 16, "KB")
