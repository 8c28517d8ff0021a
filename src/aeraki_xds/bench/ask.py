"""What the streams of a load ask for, and who they say that they are.

In: a type, names, a dialect, a node. Out: the requests, but for what a response brings. Two nodes
are at hand: that of a sidecar, two kilobytes, and that of a stock Envoy 1.40, 61 KB of which nearly
all is the list of its extensions (recorded by `benchmarks/record_node.py`).
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from aeraki_xds.bench import frames
from aeraki_xds.xds import TypeUrl
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.session import Dialect
from aeraki_xds.xds.tally import SHORT_NAMES
from aeraki_xds.xds.wire.methods import METHODS

TYPES: Final = {short: type_url for type_url, short in SHORT_NAMES.items()}
"""The types that have a short name."""

_RECORDED: Final = "envoy-1.40-node.binpb.gz"


def path_of(type_url: str, dialect: Dialect, *, aggregated: bool = False) -> str:
    """The RPC to ask for a type: that of its own service, unless it has none or `aggregated`."""
    of = {method.only: path for path, method in METHODS.items() if method.dialect is dialect}
    own = of.get(TypeUrl(type_url))
    return of[None] if aggregated or own is None else own


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What one stream asks for: its RPC, its type and its names. `node_id` is who asks, one of
    ours if that is not said; `node` are the other fields of the node, encoded.
    """

    path: str
    type_url: str
    names: tuple[str, ...]
    node_id: str = ""
    node: bytes = b""

    @property
    def dialect(self) -> Dialect:
        """The one of its RPC."""
        return METHODS[self.path].dialect

    def first(self, node_id: str) -> bytes:
        """The first request of the stream: who asks, and for what."""
        sotw = self.dialect is Dialect.SOTW
        node = length_delimited(2 if sotw else 1, text(1, node_id) + self.node)
        if sotw:
            return node + self._subscription()
        names = (length_delimited(3, name.encode()) for name in self.names)
        return node + text(2, self.type_url) + b"".join(names)

    def opening(self, node_id: str, authority: str = "xds") -> bytes:
        """All that a client writes to open a connection and ask; for a node that fits a frame."""
        call = frames.call(1, self.path, authority)
        return frames.greeting() + call + frames.message(1, self.first(node_id))

    def _subscription(self) -> bytes:
        """Fields 3 and 4 of every request of a state-of-the-world stream."""
        names = (length_delimited(3, name.encode()) for name in self.names)
        return b"".join(names) + text(4, self.type_url)

    def ack(self) -> tuple[bytes, bytes]:
        """What of an ACK stands before the version, if it has one, and before the nonce: both are
        to be followed by a length and bytes.
        """
        if self.dialect is Dialect.SOTW:
            return b"\x0a", self._subscription() + b"\x2a"
        return b"", text(2, self.type_url) + b"\x32"


def node_id(number: int, namespace: str) -> str:
    """The id of a client, as sidecars have them."""
    return f"sidecar~10.0.0.1~bench-{number}.{namespace}~{namespace}.svc.cluster.local"


@cache
def small(namespace: str) -> bytes:
    """What a sidecar of a mesh says of itself beside its id: two kilobytes."""
    labels = {f"label-{number}.example.com/part-of": f"value-{number:04}" for number in range(37)}
    known = {
        "NAMESPACE": namespace,
        "CLUSTER_ID": "Kubernetes",
        "INTERCEPTION_MODE": "REDIRECT",
        "ISTIO_VERSION": "1.24.0",
        "MESH_ID": "cluster.local",
        "WORKLOAD_NAME": "orders-v1",
    }
    return text(2, "orders.shop") + _metadata({**known, **labels}) + text(6, "envoy")


@cache
def envoy(namespace: str) -> bytes:
    """What a stock Envoy says of itself beside its id: 61 KB."""
    packed = resources.files("aeraki_xds.bench").joinpath(_RECORDED).read_bytes()
    return _metadata({"NAMESPACE": namespace}) + gzip.decompress(packed)


def _metadata(values: dict[str, str]) -> bytes:
    """Field 3 of a node, a `google.protobuf.Struct` of strings."""
    entries = (
        length_delimited(1, text(1, key) + length_delimited(2, text(3, value)))
        for key, value in values.items()
    )
    return length_delimited(3, b"".join(entries))
