"""The server starts with ten thousand services, and everybody is there already."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from aeraki_xds.bench.ask import Ask
from aeraki_xds.bench.client import Clients
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy, EnvoyFailed
from aeraki_xds.xds import CLUSTER, HTTP_ROUTES, LISTENER
from drills import server
from drills.mesh import proxy
from drills.verdict import Fact, Finding

SERVICES: Final = 10_000
STREAMS: Final = 100

PUBLIC: Final = 1_000
"""So many are for every namespace; Envoy itself takes minutes for ten thousand listeners."""

LIMIT_S: Final = 60.0

_PER_FILE: Final = 500
_POLL_S: Final = 0.05
_RETRY_S: Final = 0.1
_PATH: Final = "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"
_ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_NAMESPACE: Final = "shop"

_SERVICE: Final = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{n}, namespace: shop}}
spec:
  exportTo: ["{export}"]
  hosts: [s{n}.shop.svc.cluster.local]
  addresses: [127.30.{high}.{low}]
  ports: [{{number: 9090, name: tcp-metaprotocol-thrift}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tcp-metaprotocol-thrift: 9090}}}}]
---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: s{n}, namespace: shop}}
spec:
  hosts: [s{n}]
  routes: [{{name: first, route: [{{destination: {{host: s{n}}}}}]}}]
"""


async def start(work: Path) -> Finding:
    """The server starts with 10,000 services while 102 streams and an Envoy ask for them."""
    folder = work / "mesh"
    folder.mkdir()
    for first in range(0, SERVICES, _PER_FILE):
        (folder / f"{first:05}.yaml").write_text(_manifests(first), encoding="utf-8")
    began = time.monotonic()
    async with ControlPlane.run(folder) as plane:
        clients = Clients(host=plane.xds.host, port=plane.xds.port, retry=_RETRY_S)
        log = work / "envoy.log"
        try:
            async with proxy(plane.xds, log=log, live=False) as envoy:
                facts = await asyncio.gather(
                    _within("ready", _ready(plane), began),
                    _within(
                        f"{STREAMS} route streams and 2 of ADS served", _served(clients), began
                    ),
                    _within(f"{PUBLIC:,} listeners in Envoy", _has_all(envoy), began),
                )
        finally:
            clients.close()
        late = await server.lag(plane)
        memory = Fact(told=f"{server.resident_mb(plane.pid):.0f} MiB resident")
        lags = Fact(told=f"loop lag by upper bound: {late}")
        return Finding(facts=(*facts, memory, late.fact(), lags))


async def _within(what: str, waited_for: Awaitable[None], began: float) -> Fact:
    """How long it took, or that it did not happen."""
    try:
        async with asyncio.timeout(LIMIT_S):
            await waited_for
    except TimeoutError:
        return Fact(told=f"not {what} within {LIMIT_S:g} s", good=False)
    return Fact(told=f"{what} after {time.monotonic() - began:.1f} s")


async def _served(clients: Clients) -> None:
    """Wait until every stream has its route, and a proxy of the namespace all of it."""
    step = SERVICES // STREAMS
    asks = [
        Ask(path=_PATH, type_url=HTTP_ROUTES, names=(f"s{n}.shop.svc.cluster.local_9090",))
        for n in range(0, SERVICES, step)
    ]
    asks += [
        Ask(path=_ADS, type_url=type_url, names=(), node_id=f"sidecar~10.0.0.1~a.{_NAMESPACE}~-")
        for type_url in (CLUSTER, LISTENER)
    ]
    await clients.connect(asks)


async def _ready(plane: ControlPlane) -> None:
    """Wait until `/readyz` says so."""
    while (await plane.get("/readyz"))["status"] != "ready":
        await asyncio.sleep(_POLL_S)


async def _has_all(envoy: Envoy) -> None:
    """Wait until Envoy listens for every service that it may see."""
    counter = "listener_manager.total_listeners_active"
    while True:
        with contextlib.suppress(EnvoyFailed):  # it is too busy to answer
            if (await envoy.stats(f"^{counter}$"))[counter] == PUBLIC:
                return
        await asyncio.sleep(0.5)


def _manifests(first: int) -> str:
    numbers = range(first, first + _PER_FILE)
    return "---\n".join(
        _SERVICE.format(
            n=n, high=n // 250, low=n % 250 + 1, export="." if n % (SERVICES // PUBLIC) else "*"
        )
        for n in numbers
    )
