"""Where a rule sends, resolved: targets to clusters that exist.

In: the graph, a rule, the port it is made for. Out: cluster names with weights, or problems that
name the field. A target whose host, port or subset nobody declares makes the whole route table
unresolvable: serving the rest of it would send that rule's calls to the next rule.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aeraki_xds._proto.envoy.config.cluster.v3 import Cluster
from aeraki_xds._proto.envoy.config.core.v3 import RuntimeFractionalPercent
from aeraki_xds._proto.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType
from aeraki_xds.encode import type_url
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import ClusterName, cluster_name
from aeraki_xds.mesh.objects import DestinationRule, RuleSubset
from aeraki_xds.mesh.problems import Problem, error
from aeraki_xds.mesh.rules import Rule, Target
from aeraki_xds.translate.output import DraftId

_CLUSTER_TYPE = type_url(Cluster())
_MILLION = 1_000_000


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster and its share in per cent; `rule` is the DestinationRule of its host, and `subset`
    what it says of the target's."""

    cluster: ClusterName
    weight: int
    target: Target
    rule: DestinationRule | None = None
    subset: RuleSubset | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A rule with its targets resolved; `mirror` is a cluster or None."""

    rule: Rule
    destinations: tuple[Destination, ...]
    mirror: ClusterName | None

    @property
    def clusters(self) -> tuple[ClusterName, ...]:
        """Every cluster that the route names."""
        mirror = (self.mirror,) if self.mirror else ()
        return tuple(each.cluster for each in self.destinations) + mirror


def resolve(
    graph: Graph, rules: Iterable[Rule], port: int, *, needs_clusters: bool = False
) -> tuple[tuple[Route, ...], tuple[Problem, ...]]:
    """Resolve every rule for a service port. With problems, the routes must not be served.

    `needs_clusters`: the clusters are ours to serve, so every target must have one.
    """
    routes: list[Route] = []
    problems: list[Problem] = []
    for rule in rules:
        found: list[Destination] = []
        for target in (*rule.targets, *((rule.mirror,) if rule.mirror else ())):
            destination = _destination(graph, target, port, needs_clusters=needs_clusters)
            if isinstance(destination, Problem):
                problems.append(destination)
            else:
                found.append(destination)
        destinations = tuple(found[: len(rule.targets)])
        mirror = found[-1].cluster if found and rule.mirror else None
        routes.append(Route(rule=rule, destinations=destinations, mirror=mirror))
    return tuple(routes), tuple(problems)


def cluster_needs(routes: Iterable[Route]) -> set[DraftId]:
    """The clusters that a route table cannot do without."""
    return {DraftId(_CLUSTER_TYPE, name) for route in routes for name in route.clusters}


def share(percent: float) -> RuntimeFractionalPercent:
    """A percentage in millionths, rounded and clamped (M-17)."""
    numerator = min(max(round(percent * 10_000), 0), _MILLION)
    return RuntimeFractionalPercent(
        default_value=FractionalPercent(
            numerator=numerator, denominator=FractionalPercentDenominatorType.MILLION
        )
    )


def _destination(
    graph: Graph, target: Target, port: int, *, needs_clusters: bool
) -> Destination | Problem:
    """Where a target's share goes, or why there is no such place."""
    found = graph.service(target.host)
    if found is None:
        message = f"no ServiceEntry or Service declares the host {target.host}"
        return error(f"{target.field}.host", message)
    service, _ = found
    number = target.port or port
    declared = service.port(number)
    if declared is None:
        numbers = ", ".join(str(each.number) for each in service.ports) or "none"
        message = f"{target.host} has no port {number}; its ports: {numbers}"
        return error(f"{target.field}.port.number", message)
    if needs_clusters and declared.entry.spec.resolution == "NONE":
        message = f"{target.host} has resolution NONE: it names no endpoints to send to"
        return error(f"{target.field}.host", message)
    rule = graph.destination_rule(target.host)
    subsets = rule.spec.subsets if rule else ()
    subset = next((each for each in subsets if each.name == target.subset), None)
    if target.subset and subset is None:
        known = ", ".join(sorted(each.name for each in subsets)) or "none"
        message = (
            f"no DestinationRule of {target.host} has the subset {target.subset!r}; known: {known}"
        )
        return error(f"{target.field}.subset", message)
    return Destination(
        cluster=cluster_name(service.spelled, number, target.subset),
        weight=target.weight,
        target=target,
        rule=rule,
        subset=subset,
    )
