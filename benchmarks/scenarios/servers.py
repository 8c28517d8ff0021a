"""Servers under a load: a peer's process, load generators of its own, and rounds of both.

In: the name of a peer, a load. Out: `Rounds` whose target is that peer. The server is asked what
only it can know (when a change began, when the last ACK was handled); what it costs is seen from
outside, alike for every language.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from drills.verdict import Lag
from peers.catalogue import peer
from peers.table import rest

from aeraki_xds.bench import process
from aeraki_xds.bench.child import Child
from aeraki_xds.bench.client import LostError
from aeraki_xds.bench.fleet import Fleet, fleet
from aeraki_xds.bench.load import Load
from aeraki_xds.bench.rounds import Rounds
from aeraki_xds.settings import TlsFiles

NAME = "bench-{n}"
FIRST = "bench-0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Files of the server's side and of the clients'."""

    server: TlsFiles
    clients: TlsFiles


class Peer:
    """A server, as `Rounds` sees it: each publication changes the resource `name`, of so many
    routes.
    """

    def __init__(
        self, server: str, child: Child, *, port: int, routes: int = 10, name: str = FIRST
    ) -> None:
        self.server = server
        self.child = child
        self.port = port
        self.name = name
        self._routes = routes
        self._round = 0
        self._filled: Lag | None = None

    async def fill(self, services: int) -> None:
        """Serve so many resources: all in one go, which no mesh of ours does."""
        await self.child.ask("fill", count=services, rest=rest(self._routes, "first"))
        self._filled = await self._lag()

    async def expect(self, *, acks: int) -> None:
        await self.child.ask("expect", acks=acks)

    async def publish(self, *, acks: int) -> int:
        self._round += 1
        return await self.change(self.name, f"round-{self._round}", acks=acks)

    async def change(self, name: str, answer: str, *, acks: int) -> int:
        """Change one resource, to say something else."""
        at_ns: int = (
            await self.child.ask("publish", name=name, rest=rest(self._routes, answer), acks=acks)
        )["at_ns"]
        return at_ns

    async def acked(self) -> int | None:
        at_ns: int = (await self.child.ask("acked"))["at_ns"]
        return at_ns

    async def cpu_s(self) -> float:
        return process.cpu_s(self.child.pid)

    async def memory_kb(self) -> float:
        """As it stands: what a collection would give back is the server's to give, and to ask for
        one would hold it up.
        """
        return process.resident_kb(self.child.pid)

    async def tell(self) -> dict[str, Any]:
        """What it knows of itself."""
        return await self.child.ask("tell")

    async def lag(self) -> Lag | None:
        """How late its loop was since it was filled; None if it does not say."""
        lag = await self._lag()
        return lag - self._filled if lag is not None and self._filled is not None else lag

    async def _lag(self) -> Lag | None:
        told = (await self.tell()).get("lag")
        if told is None:
            return None
        return Lag.of([float(bound) for bound in told["bounds"]], told["counts"])


@asynccontextmanager
async def serving(
    name: str, *, pki: Pki | None = None, routes: int = 10, services: int = 1
) -> AsyncIterator[Peer]:
    """A peer that serves so many resources of so many routes."""
    async with peer(name, tls=pki.server if pki else None) as child:
        served = Peer(name, child, port=(await child.answer())["port"], routes=routes)
        await served.fill(services)
        yield served


@asynccontextmanager
async def loaded(
    served: Peer, load: Load, *, name: str | None = None, processes: int = 1, patience: float = 90.0
) -> AsyncIterator[tuple[Rounds, Fleet]]:
    """Load generators for it, not connected yet."""
    load = replace(load, host="127.0.0.1", port=served.port, name=load.name or NAME)
    async with fleet(load, processes=processes, patience=patience) as generators:
        try:
            yield Rounds(fleet=generators, target=served, name=name), generators
        except LostError as failure:
            failure.add_note(f"{served.server} under {load}")
            raise


@asynccontextmanager
async def side_by_side(
    names: Sequence[str], load: Load, *, pki: Pki | None = None, routes: int = 10
) -> AsyncIterator[dict[str, tuple[Peer, Rounds]]]:
    """The same load for several peers, not connected yet."""
    load = replace(load, tls=pki.clients if pki else None)
    async with AsyncExitStack() as stack:
        found: dict[str, tuple[Peer, Rounds]] = {}
        for name in names:
            served = await stack.enter_async_context(serving(name, pki=pki, routes=routes))
            rounds, _ = await stack.enter_async_context(loaded(served, load))
            found[name] = (served, rounds)
        yield found
