"""What a peer may take before it is cut off, so that no one is hurt by a slow or hostile one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds. The defaults suit thousands of sidecars, some of them far away."""

    send_deadline: float = 30.0
    """A client that reads nothing of a waiting response for so long has its stream ended."""

    keepalive_time: float = 25.0
    keepalive_timeout: float = 15.0
    """A peer that is silent is pinged every `time`, and dropped if the answer takes `timeout`."""

    max_age: float = 8 * 3600.0
    age_jitter: float = 0.1
    """After so long, give or take a share, a connection is retired, so that load spreads over
    replicas; its client connects anew."""

    retirement: float = 5.0
    """What a retired connection has to end before it is closed."""

    first_stream: float = 15.0
    """A connection on which no stream was opened for so long is closed."""

    streams: int = 50_000
    """Of all connections; more are refused, with RESOURCE_EXHAUSTED."""

    streams_per_connection: int = 256
    """Clients are told by HTTP/2's own setting; one that opens more all the same is cut off."""

    names: int = 50_000
    """Of one type on one stream; who subscribes to more is refused, with RESOURCE_EXHAUSTED. They
    become a subscription in one go, which takes some ten milliseconds."""

    types: int = 100
    """On one stream, likewise; proxies ask for a dozen."""

    initial_versions: int = 250_000
    """That a delta client may bring along for one type, likewise; they are 20 MB then."""

    connections_per_identity: int = 10_000
    streams_per_identity: int = 20_000
    names_per_identity: int = 5_000_000
    bytes_per_identity: int = 256 << 20
    """What one identity may take together: the SPIFFE id of a certificate, or without one a host.
    Bytes are those of requests that have begun to come and are not handled yet. A connection above
    is closed, a stream is refused or ended, with RESOURCE_EXHAUSTED."""

    handshakes: int = 64
    handshakes_per_second: float = 1000.0
    handshake_timeout: float = 10.0
    """TLS handshakes under way, and begun at most: fewer where the loop is busy with them. Further
    connections wait unaccepted."""

    frames: int = 1_000
    frames_per_second: float = 100.0
    """Frames that carry little (pings, resets, settings, …) which a connection may send at once and
    in the long run. Who sends more is cut off: rapid reset and floods are made of them."""


DEFAULT_LIMITS: Final = Limits()
