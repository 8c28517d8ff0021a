"""DestinationRule, VirtualService and Gateway: only what our own translations rely on.

The rest of these objects is Istio's to judge; most of what a cluster holds of them concerns HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aeraki_xds.mesh.problems import Problem, error, warning
from aeraki_xds.mesh.validation import amounts, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.objects import (
        DestinationRuleSpec,
        GatewaySpec,
        HttpRoute,
        TrafficPolicy,
        VirtualServiceSpec,
    )


def destination_rule(spec: DestinationRuleSpec) -> Iterator[Problem]:
    """Everything wrong with a DestinationRule; a host that is a wildcard is Istio's affair."""
    if not spec.host:
        yield error("spec.host", "is empty: name the host whose subsets and policies these are")
    yield from _policy(spec.traffic_policy, "spec.trafficPolicy")
    first_at: dict[str, int] = {}
    for i, subset in enumerate(spec.subsets):
        where = f"spec.subsets[{i}].name"
        yield from names.label(subset.name, where, "subset's name")
        if first_at.setdefault(subset.name, i) != i:
            first = f"spec.subsets[{first_at[subset.name]}]"
            yield error(where, f"{names.quoted(subset.name)} is the name of {first} too")
        yield from _policy(subset.traffic_policy, f"spec.subsets[{i}].trafficPolicy")


def _policy(policy: TrafficPolicy | None, field: str) -> Iterator[Problem]:
    pool = policy.connection_pool if policy else None
    timeout = pool.tcp.connect_timeout if pool and pool.tcp else None
    if timeout is not None:
        yield from amounts.timeout(timeout, f"{field}.connectionPool.tcp.connectTimeout")


def virtual_service(spec: VirtualServiceSpec) -> Iterator[Problem]:
    """Everything wrong with a VirtualService."""
    if not spec.hosts:  # valid in Istio, where another VirtualService may refer to it
        message = "is empty, so it can only be a delegate of another: delegates are not followed"
        yield warning("spec.hosts", message)
    for i, host in enumerate(spec.hosts):
        if not host:
            yield error(f"spec.hosts[{i}]", "is empty: name a host")
    for i, route in enumerate(spec.http):
        yield from _http(route, f"spec.http[{i}]")


def _http(route: HttpRoute, field: str) -> Iterator[Problem]:
    """Weights are shares of their sum here (100 is customary), so only a sum of 0 is wrong."""
    for i, entry in enumerate(route.route):
        where = f"{field}.route[{i}]"
        if entry.destination is None or not entry.destination.host:
            yield error(f"{where}.destination.host", "is missing: say where the calls go")
        elif entry.destination.port is not None:
            yield from names.port(entry.destination.port.number, f"{where}.destination.port.number")
        if entry.weight < 0:
            yield error(f"{where}.weight", f"must not be less than 0, is {entry.weight}")
    if len(route.route) > 1 and sum(entry.weight for entry in route.route) == 0:
        yield error(f"{field}.route", "every weight is 0, so no call could go anywhere")
    if route.mirror is not None and not route.mirror.host:
        yield error(f"{field}.mirror.host", "is missing: say where the copies go")


def gateway(spec: GatewaySpec) -> Iterator[Problem]:
    """What is odd about a Gateway: a server that is none."""
    for i, server in enumerate(spec.servers):
        if server.port is None:
            yield warning(f"spec.servers[{i}].port", "is missing: the server offers nothing")
