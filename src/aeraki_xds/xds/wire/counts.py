"""What was refused and what failed, as plain numbers that others export.

In: an increment where it happens. Out: totals since the process began. Guaranteed: the reasons are
a closed set, known from the start, so that a metric is there before it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class ConnectionRefusal(Enum):
    """Why a connection was not made, or was closed at once."""

    HANDSHAKE = "handshake"
    IDENTITY_CONNECTIONS = "identity_connections"


class StreamRefusal(Enum):
    """Why a stream was not served, or not served on. Those of an identity are its caps."""

    STREAMS = "streams"
    NAMES = "names"
    INVALID = "invalid"
    DENIED = "denied"
    OVERLOADED = "overloaded"
    IDENTITY_STREAMS = "identity_streams"
    IDENTITY_NAMES = "identity_names"
    IDENTITY_BYTES = "identity_bytes"


@dataclass(slots=True, kw_only=True)
class Counts:
    """One server's. `write_failures` are faults of ours, each of which cost a stream."""

    connections_refused: dict[ConnectionRefusal, int] = field(
        default_factory=lambda: dict.fromkeys(ConnectionRefusal, 0)
    )
    streams_refused: dict[StreamRefusal, int] = field(
        default_factory=lambda: dict.fromkeys(StreamRefusal, 0)
    )
    write_failures: int = 0
