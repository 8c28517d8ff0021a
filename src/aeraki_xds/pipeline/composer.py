"""Hosts composed and encoded, each once per recipe whatever the number of scopes.

In: the graph and a host that may have changed. Out: its `Composed` claims and its findings, kept
until the host is composed again. A host that cannot be composed keeps its last good output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
from msgspec import structs

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host, Kind
from aeraki_xds.mesh.objects import key_of
from aeraki_xds.mesh.problems import Finding, error
from aeraki_xds.pipeline.last_good import Kept
from aeraki_xds.pipeline.ledger import NOTHING, Collision, Composed, Ledger
from aeraki_xds.pipeline.scopes import ScopeSpec
from aeraki_xds.translate.compose import Recipe, compose
from aeraki_xds.translate.output import ISTIO, DraftId, Output
from aeraki_xds.xds.resource import LISTENER, Name, Resource, ResourceId, TypeUrl

V = TypeVar("V")


@dataclass(slots=True, kw_only=True)
class Work:
    """How much was done since the process began: a change is cheap because it is little."""

    hosts: int = 0
    """Composed, once for each recipe."""
    encoded: int = 0
    """Resources."""


class Composer:
    """The composed hosts of one recipe. `compose` prepares, `settle` puts in place.

    `kept` is what was in force before a restart of hosts that could not be composed; what is done
    is counted in `work`.
    """

    def __init__(
        self,
        *,
        graph: Graph,
        recipe: Recipe,
        kept: Mapping[Host, Kept] | None = None,
        work: Work | None = None,
    ) -> None:
        self._graph: Final = graph
        self._recipe: Final = recipe
        self._work: Final = work or Work()
        self._told: dict[Host, Kept] = dict(kept or {})
        self._composed = {host: Composed(kept=each) for host, each in self._told.items()}
        self._standing: set[Host] = set()  # on their last good output, undecided or failed
        self._findings: dict[Host, tuple[Finding, ...]] = {}
        self._prepared: dict[Host, tuple[Composed, frozenset[ResourceId]]] = {}
        self._withheld: dict[Host, frozenset[ResourceId]] = {}
        self._by_id: dict[ResourceId, Resource] = {}
        self._log = structlog.get_logger("aeraki_xds.compose")

    @property
    def findings(self) -> Iterable[Finding]:
        """What is wrong with the hosts as they were last composed."""
        return (finding for found in self._findings.values() for finding in found)

    @property
    def standing(self) -> frozenset[Host]:
        """The hosts on their last good output, if they have any."""
        return frozenset(self._standing)

    def compose(self, host: Host) -> None:
        """Compose a host anew."""
        self._work.hosts += 1
        try:
            output = compose(self._graph, host, self._recipe)
            findings = output.findings
            if output.held:
                self._standing.add(host)
            else:
                self._prepared[host] = _encoded(output, self._composed.get(host, NOTHING))
                self._work.encoded += len(output.drafts)
                self._standing.discard(host)
        except Exception:  # noqa: BLE001
            # The border of one object: its failure must not cost another host its routes.
            self._log.exception("composing failed, the last good output stays", host=host)
            findings = self._failed(host)
            self._standing.add(host)
        for finding in findings:
            if finding not in self._findings.get(host, ()):
                self._log.warning("found", object=str(finding.key), problem=str(finding.problem))
        _set_or_drop(self._findings, host, findings)

    def settle(self) -> frozenset[Host]:
        """Put in place what was composed; returns the hosts whose claims may differ."""
        return frozenset(self.steps())

    def steps(self) -> Iterator[Host]:
        """Settle host by host; until the last step nothing that is in place may be used.

        A host that withholds a name keeps its last good version and everything that this needs,
        as it was before this pass, whoever owned it: its cluster may just have been dropped.
        """
        prepared, self._prepared = self._prepared, {}
        for host, (_, withheld) in prepared.items():
            _set_or_drop(self._withheld, host, withheld)
        kept = {host: self._last_good(host, withheld) for host, withheld in self._withheld.items()}
        for host in prepared:
            for resource in self._composed.get(host, NOTHING).resources:
                self._by_id.pop(resource.id, None)
        for host in prepared.keys() | kept.keys():
            made = prepared[host][0] if host in prepared else self._composed.get(host, NOTHING)
            composed = structs.replace(made, kept=kept.get(host, ()))
            self._by_id.update((resource.id, resource) for resource in composed.resources)
            _set_or_drop(self._composed, host, composed if composed != NOTHING else None)
            yield host

    def news(self) -> dict[Host, Kept]:
        """What stays in force of hosts that cannot be composed, where it is not what it was when
        this was last asked."""
        kept = {
            host: composed.kept + (composed.resources if host in self._standing else ())
            for host in self._withheld.keys() | self._standing
            if (composed := self._composed.get(host, NOTHING)) != NOTHING
        }
        before, self._told = self._told, kept
        either = {host: kept.get(host, ()) for host in kept.keys() | before.keys()}
        return {host: each for host, each in either.items() if each != before.get(host, ())}

    def _last_good(self, host: Host, withheld: frozenset[ResourceId]) -> tuple[Resource, ...]:
        before = self._composed.get(host, NOTHING)
        known = {resource.id: resource for resource in (*before.kept, *before.resources)}
        found: dict[ResourceId, Resource] = {}
        waiting = list(withheld)
        while waiting:
            identity = waiting.pop()
            resource = known.get(identity) if identity in withheld else None
            resource = resource or self._by_id.get(identity) or known.get(identity)
            if resource is not None and identity not in found:
                found[identity] = resource
                waiting += resource.needs
        return tuple(found.values())

    def _failed(self, host: Host) -> tuple[Finding, ...]:
        declared = self._graph.service(host)
        if declared is None:
            return ()
        message = f"internal error while composing {host}; its last good output stays, see the log"
        key = key_of(declared[0].ports[0].entry) if declared[0].ports else None
        return (Finding(key=key, problem=error("", message)),) if key else ()

    def hand_over(self, host: Host, spec: ScopeSpec, ledger: Ledger) -> None:
        """Put a host's claims into a scope's ledger, or none where the scope may not see it."""
        declared = self._graph.service(host)
        held = declared is not None and spec.holds(declared[0])
        ledger.replace(host, self._composed.get(host, NOTHING) if held else NOTHING)


def conflicts(graph: Graph, ledger: Ledger) -> Iterable[Finding]:
    """The claims that a ledger turned down, as findings about the younger object."""
    for collision in ledger.collisions():
        routers = graph.in_force(Kind.META_ROUTER, collision.loser)
        declared = graph.service(collision.loser)
        if collision.id.type_url.startswith(ISTIO) and routers:
            message = (
                f"conflict: {collision.id.name} is for the older router of {collision.owner}; "
                "a gateway's port serves one host"
            )
            yield Finding(key=key_of(routers[0]), problem=error("spec.gateways", message))
        elif declared is not None:
            message = _collision_message(collision)
            key = key_of(declared[0].ports[0].entry)
            yield Finding(key=key, problem=error("spec.addresses", message))


def _collision_message(collision: Collision) -> str:
    what = "socket" if collision.id.type_url == LISTENER else "name"
    return (
        f"conflict: the {what} {collision.id.name} of {collision.loser} belongs to the older "
        f"{collision.owner}; give the service an address of its own"
    )


def _encoded(output: Output, before: Composed) -> tuple[Composed, frozenset[ResourceId]]:
    """Encode the drafts, and say which names are withheld.

    A resource with the same bytes stays the same object.
    """
    known = {resource.id: resource for resource in before.resources}
    resources: list[Resource] = []
    for draft in output.drafts:
        identity = _resource_id(draft.id)
        needs = tuple(_resource_id(need) for need in draft.needs)
        made = Resource.of(identity.type_url, identity.name, draft.encoded(), needs)
        old = known.get(identity)
        same = old is not None and old.digest == made.digest and old.needs == made.needs
        resources.append(old if same and old is not None else made)
    withheld = frozenset(_resource_id(identity) for identity in output.withheld)
    return Composed(age=output.age, resources=tuple(resources)), withheld


def _resource_id(identity: DraftId) -> ResourceId:
    return ResourceId(TypeUrl(identity.type_url), Name(identity.name))


def _set_or_drop(index: dict[Host, V], host: Host, value: V | None) -> None:
    if value:
        index[host] = value
    else:
        index.pop(host, None)
