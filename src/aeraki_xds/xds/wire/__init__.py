"""The transport: grpclib and h2 live here and nowhere else.

In: gRPC streams of proxies. Out: decoded requests to the hub, encoded responses to the proxies.
"""

from __future__ import annotations

from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.server import XdsServer
from aeraki_xds.xds.wire.tls import ServerTls

__all__ = ["Limits", "ServerTls", "XdsServer"]
