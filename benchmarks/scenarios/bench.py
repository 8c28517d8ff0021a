"""One run of the whole: how often, with which certificates, and what came of it so far.

In: numbers of the command line. Out: a `Bench` that scenarios share. It says on standard error what
it is at, and on standard output what it found.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from drills.pki import Authority
from drills.verdict import Lag
from peers.catalogue import available

from aeraki_xds.settings import TlsFiles
from scenarios.bars import Bar
from scenarios.servers import Peer, Pki

OURS: Final = "ours"
GO: Final = "go-snapshot"
LATE_MS: Final = 50.0


@dataclass(slots=True, kw_only=True)
class Bench:
    """`runs` of everything; `streams` where a bar names 2,000; `minutes` is for how long the server
    is kept changing. `units` are the costs that sizes are computed from, by `sizing.Units`.
    """

    runs: int
    streams: int
    minutes: float
    work: Path
    pki: Pki
    bars: list[Bar] = field(default_factory=list)
    lags: dict[str, Lag] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, *, runs: int, streams: int, minutes: float, work: Path) -> Bench:
        """Make the certificates: ECDSA keys, one identity for the whole fleet."""
        authority = Authority("bench")
        for who in ("server", "clients"):
            uri = f"spiffe://cluster.local/ns/default/sa/{who}"
            authority.issue(work / who, uri, lifetime=timedelta(days=1))
        server, clients = (TlsFiles.within(work / who) for who in ("server", "clients"))
        pki = Pki(server=server, clients=clients)
        return cls(runs=runs, streams=streams, minutes=minutes, work=work, pki=pki)

    def peers(self, *names: str) -> tuple[str, ...]:
        """Those of them that can be had here."""
        return tuple(name for name in names if available(name) is None)

    def say(self, what: str) -> None:
        """What is done now, on the line of the terminal where the last was."""
        if sys.stderr.isatty():
            print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)

    def show(self, title: str, text: str) -> None:
        """A table."""
        self.say("")
        print(f"## {title}\n\n{text}\n", flush=True)

    def bar(
        self,
        what: str,
        found: float | None,
        most: float,
        unit: str = "×",
        *,
        note: str = "",
        left: str = "",
    ) -> None:
        """Something to reach."""
        self.bars.append(Bar(what=what, found=found, most=most, unit=unit, note=note, left=left))

    async def watch(self, scenario: str, served: Peer) -> None:
        """Note how late the loop of a server of ours was in all its life."""
        lag = await served.lag()
        if lag is not None:
            before = self.lags.get(scenario)
            self.lags[scenario] = lag if before is None else before + lag


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the runs' ratios; None without a peer."""
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=False)]
    return statistics.median(pairs) if pairs else None


def median(values: Sequence[float]) -> float:
    """Of all runs."""
    return statistics.median(values)


def cells(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the best in brackets; a dash without any."""
    if not values:
        return "—"
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f})"
