"""What a run has found, as a table for people and as JSON for programs.

In: figures. Out: text. Medians of the rounds, the best in brackets; where the load generator itself
was as busy as it can be, that is said, for then times are its own as much as the server's.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from aeraki_xds.bench.load import Load
from aeraki_xds.bench.rounds import BUSY, Cost, Figures, Timed

_TIMES = (
    ("change → first delivery", "first"),
    ("change → half of all", "half"),
    ("change → 99 %", "p99"),
    ("change → last delivery", "last"),
    ("change → last ACK", "acked"),
)
_COSTS = (("send, CPU a stream", "send_us"), ("ACK, CPU a stream", "ack_us"))


def title(load: Load) -> str:
    """What was asked of the server, in a line."""
    what = load.type_url.rpartition(".")[2]
    return ", ".join(
        (
            f"{load.host}:{load.port}",
            f"{load.streams:,} streams of {what} on {load.connections:,} connections",
            "delta" if load.delta else "state of the world",
            "mTLS" if load.tls is not None else "plaintext",
            f"node: {load.node}",
            *([f"{load.deaf} connections never read"] if load.deaf else []),
        )
    )


def table(figures: Figures) -> str:
    """A line for each thing that is known."""
    rows = "\n".join(f"{name:30}{value}" for name, value in _rows(figures))
    if not figures.harness_bound:
        return rows
    return (
        f"{rows}\nThe harness took {figures.median('busy'):.0%} of a core from the change to "
        f"the last delivery (above {BUSY:.0%} it may be\nwhat was measured): give it more "
        "--processes, or fewer streams."
    )


def as_json(load: Load, figures: Figures) -> bytes:
    """All of it, every round included."""
    asked = dataclasses.asdict(load)
    found: dict[str, Any] = dataclasses.asdict(figures)
    found["harness_bound"] = figures.harness_bound
    return orjson.dumps({"load": asked, "figures": found}, default=str, option=orjson.OPT_INDENT_2)


def median_and_best(values: Sequence[float], unit: str) -> str:
    """As in `12.3 ms (10.1)`."""
    return f"{statistics.median(values):,.1f} {unit} ({min(values):,.1f})"


def _rows(figures: Figures) -> Iterator[tuple[str, str]]:
    refused = f"; {figures.refused:,} refused at first" if figures.refused else ""
    yield "everybody served after", f"{figures.storm_ms:,.0f} ms{refused}"
    if figures.storm_cpu_us is not None:
        yield "opening, CPU a stream", f"{figures.storm_cpu_us:,.1f} µs"
    if figures.kb_grown is not None:
        yield "memory a stream", f"{figures.kb_grown / figures.streams:,.1f} KB"
        if figures.connections != figures.streams:
            yield "memory a connection", f"{figures.kb_grown / figures.connections:,.1f} KB"
    yield "bytes a response", f"{figures.bytes_per_response:,.0f}"
    yield from _medians(figures.timed, _TIMES, "ms")
    yield from _medians(figures.costs, _COSTS, "µs")


def _medians(
    rounds: Sequence[Timed | Cost], rows: Sequence[tuple[str, str]], unit: str
) -> Iterator[tuple[str, str]]:
    for name, attribute in rows if rounds else ():
        yield name, median_and_best([getattr(each, attribute) for each in rounds], unit)
