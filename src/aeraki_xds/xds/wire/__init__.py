"""The transport: grpclib and h2 live here and nowhere else.

In: gRPC streams of proxies. Out: decoded requests to the hub, encoded responses to the proxies.
"""

from __future__ import annotations

from aeraki_xds.xds.wire.server import XdsServer

__all__ = ["XdsServer"]
