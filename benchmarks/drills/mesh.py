"""What most drills play on: two Thrift services behind an Envoy, and one client that calls on.

The client keeps one connection and never stops calling, so that whatever a drill does to the
control plane would show as a failed call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aeraki_xds.demo.caller import Caller
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.http import Address
from aeraki_xds.demo.mesh import HelloMesh, rule, to
from aeraki_xds.demo.thrift_app import ThriftServer
from aeraki_xds.translate.bootstrap import BootstrapSettings, MutualTls, bootstrap
from drills.verdict import Fact

LIMIT_S = 60.0
"""For each single thing that is waited for."""

_CALLS_A_SECOND = 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Everything but the control plane; calls are answered."""

    files: HelloMesh
    envoy: Envoy
    caller: Caller

    async def moves_to(self, version: str) -> float:
        """Change the route; seconds until the new service answers. Raises TimeoutError."""
        changed = self.files.route(rule(to(version)))
        return await self.caller.first(version, after=changed, timeout=LIMIT_S) - changed

    async def reloads(self) -> dict[str, int | str]:
        """Counters that move when Envoy takes something new."""
        return await self.envoy.stats(
            "config_reload$|listener_manager.listener_modified|cluster_manager.cluster_modified"
        )

    async def next_change(self, version: str) -> Fact:
        """A change still arrives, and soon."""
        took = await self.moves_to(version)
        return Fact(told=f"next change in {took * 1000:.0f} ms", good=took < 2.0)


@asynccontextmanager
async def services(work: Path) -> AsyncIterator[HelloMesh]:
    """The services, and the folder that says where they are; calls go to v1."""
    async with AsyncExitStack() as stack:
        endpoints = {
            version: (await stack.enter_async_context(ThriftServer.run(answer=version))).port
            for version in ("v1", "v2")
        }
        yield HelloMesh(work / "mesh", vip="127.20.1.9", endpoints=endpoints)


@asynccontextmanager
async def calling(
    files: HelloMesh, xds: Address, work: Path, *, tls: MutualTls | None = None
) -> AsyncIterator[Mesh]:
    """An Envoy of this control plane, and the client; it is answered when the block begins."""
    async with (
        proxy(xds, log=work / "envoy.log", tls=tls) as envoy,
        Caller(files.vip, files.port, rate=_CALLS_A_SECOND) as caller,
    ):
        await caller.answers(100, after=0.0, version="v1", timeout=LIMIT_S)
        yield Mesh(files=files, envoy=envoy, caller=caller)


@asynccontextmanager
async def proxy(
    xds: Address,
    *,
    log: Path,
    tls: MutualTls | None = None,
    namespace: str = "default",
    live: bool = True,
) -> AsyncIterator[Envoy]:
    """An Envoy that takes everything from this control plane; `live`: when it has all of it."""
    settings = BootstrapSettings(
        node_id="drill", cluster="drill", metadata={"NAMESPACE": namespace},
        xds_host=xds.host, xds_port=xds.port, admin_port=0, tls=tls,
    )  # fmt: skip
    async with Envoy.run(bootstrap(settings), log=log) as envoy:
        if live:
            await envoy.wait_live(LIMIT_S)
        yield envoy
