"""Real parts for every test here: the server in its own process, a real Envoy, Thrift services.

Between server and clients there is a relay; what was said is checked when a test ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.control_plane import ControlPlane
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address
from aeraki_xds.demo.mesh import HOST, HelloMesh
from aeraki_xds.demo.thrift_app import ThriftServer
from aeraki_xds.translate.bootstrap import BootstrapSettings, bootstrap
from tests.recording.relayed import CheckedRelay, recorded

LIMIT_S = 30.0  # what takes milliseconds may take this long on a loaded machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A mesh under load: one client, one kept connection, through a real Envoy.

    `ports` are the Thrift services by answer, `in_use` the endpoints by subset.
    """

    mesh: HelloMesh
    plane: ControlPlane
    relay: CheckedRelay
    envoy: Envoy
    caller: Caller
    ports: Mapping[str, int]
    in_use: dict[str, int]

    @property
    def trds(self) -> str:
        """The prefix of the counters of the route subscription."""
        return f"thrift.{self.mesh.cluster}.trds.{HOST}_{self.mesh.port}"

    async def assert_nothing_was_cut(self) -> None:
        """No error, no second connection, no listener touched, nothing refused."""
        stats = await self.envoy.stats("listener|update_rejected|downstream_cx")
        listener = f"listener.{self.mesh.vip}_{self.mesh.port}"
        assert self.caller.errors == []
        assert self.caller.connections == 1
        assert stats[f"{listener}.downstream_cx_total"] == 1
        assert stats[f"{listener}.downstream_cx_destroy"] == 0
        assert stats["listener_manager.listener_modified"] == 0
        assert stats["listener_manager.listener_added"] == 1
        assert stats["listener_manager.total_filter_chains_draining"] == 0
        refused = {n: v for n, v in stats.items() if n.endswith("update_rejected") and v}
        assert refused == {}


def proxy_bootstrap(xds: Address, *, delta: bool) -> dict[str, object]:
    """What `aeraki-xds bootstrap` prints, with a free admin port."""
    settings = BootstrapSettings(
        node_id="sidecar~127.0.0.1~client-1.demo~demo.svc.cluster.local",
        cluster="client",
        xds_host=xds.host,
        xds_port=xds.port,
        admin_port=0,
        delta=delta,
    )
    return bootstrap(settings)


@asynccontextmanager
async def running(
    work: Path, *, delta: bool, versions: tuple[str, ...] = ("v1", "v2")
) -> AsyncIterator[Running]:
    """Everything up, and the first calls answered by the first version."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(ThriftServer.run(answer=version))
            for version in versions
        ]
        ports = {version: server.port for version, server in zip(versions, servers, strict=True)}
        mesh = HelloMesh(work / "mesh", vip="127.20.1.1", endpoints=ports)
        plane = await stack.enter_async_context(ControlPlane.run(mesh.root))
        relay = await stack.enter_async_context(recorded(plane.xds))
        proxy = proxy_bootstrap(relay.address, delta=delta)
        envoy = await stack.enter_async_context(Envoy.run(proxy, log=work / "envoy.log"))
        await envoy.wait_live(LIMIT_S)
        caller = await stack.enter_async_context(Caller(mesh.vip, mesh.port))
        await caller.answers(100, after=0.0, version=versions[0], timeout=LIMIT_S)
        yield Running(
            mesh=mesh,
            plane=plane,
            relay=relay,
            envoy=envoy,
            caller=caller,
            ports=ports,
            in_use=dict(ports),
        )
        await relay.settled()


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def delta(request: pytest.FixtureRequest) -> bool:
    """Both dialects."""
    chosen: bool = request.param
    return chosen
