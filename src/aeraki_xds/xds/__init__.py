"""4. A generic xDS management server: it serves named, versioned bytes and knows no mesh.

In: publications (`Hub.publish`: which resources of a scope changed) and requests of proxies.
Out: responses, in make-before-break order, only to who asked for what changed. The protocol is
sans-IO: `Session` takes requests and marks and yields responses, synchronously; `wire/` alone
touches sockets. Usable as a library: nothing here imports the rest of aeraki_xds.
"""

from __future__ import annotations

from aeraki_xds.xds.admission import Admit, Node, Peer, Refusal
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.identity import SpiffeId
from aeraki_xds.xds.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION_CONFIG,
    HTTP_ROUTES,
    LISTENER,
    RUNTIME,
    SECRET,
    THRIFT_ROUTES,
    Name,
    Resource,
    ResourceId,
    Scope,
    TypeUrl,
)
from aeraki_xds.xds.session import Dialect, Session
from aeraki_xds.xds.snapshot import Snapshot

__all__ = [
    "CLUSTER",
    "ENDPOINTS",
    "EXTENSION_CONFIG",
    "HTTP_ROUTES",
    "LISTENER",
    "RUNTIME",
    "SECRET",
    "THRIFT_ROUTES",
    "Admit",
    "Dialect",
    "Hub",
    "Name",
    "Node",
    "Peer",
    "Refusal",
    "Resource",
    "ResourceId",
    "Scope",
    "Session",
    "Snapshot",
    "SpiffeId",
    "TypeUrl",
]
