"""MetaRouter: the rules V1 to V16 of Aeraki's webhook, and rules that can never be reached.

Stricter than the webhook in the syntax of gateways (C-5). V17 and V18 are in `ratelimit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aeraki_xds.mesh.problems import Problem, error, warning
from aeraki_xds.mesh.validation import amounts, matching, names, ratelimit
from aeraki_xds.mesh.validation.amounts import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aeraki_xds.mesh.objects import Destination, KeyValue, MetaRoute, MetaRouterSpec, Percent

MAX_ROUTES: Final = 5000
"""Rules of one router. They are tried one after the other, for every call."""

MAX_ATTRIBUTES: Final = 100
"""Conditions of one rule."""

MAX_MUTATIONS: Final = 1000
"""Envoy's own limit on a route's header mutations (PGV, route_components.proto)."""

MAX_MUTATION_BYTES: Final = 16384
"""Envoy's own limit on a mutation's key and on its value (PGV, base.proto)."""


def check(spec: MetaRouterSpec, namespace: str) -> Iterator[Problem]:
    """Everything wrong with a MetaRouter of this namespace."""
    yield from _hosts(spec.hosts)
    yield from _gateways(spec.gateways)
    limits = (spec.local_rate_limit, spec.global_rate_limit)
    if not spec.routes and limits == (None, None):  # V4
        yield error("spec", "says nothing: write routes, localRateLimit or globalRateLimit")
    yield from _at_most(MAX_ROUTES, len(spec.routes), "routes", "spec.routes")
    for i, route in enumerate(spec.routes[:MAX_ROUTES]):
        yield from _route(route, f"spec.routes[{i}]")
    yield from _unreachable(spec.routes)
    if spec.local_rate_limit is not None:
        yield from ratelimit.local(spec.local_rate_limit, "spec.localRateLimit")
    if spec.global_rate_limit is not None:
        yield from ratelimit.shared(spec.global_rate_limit, "spec.globalRateLimit")
    yield from names.export_to(spec.export_to, namespace, "spec.exportTo")


def _hosts(hosts: tuple[str, ...]) -> Iterator[Problem]:
    """V1, V2, V3."""
    if not hosts:
        yield error("spec.hosts", "is empty: name the host whose calls this router decides")
    if len(hosts) > 1:
        yield error(
            "spec.hosts", f"has {len(hosts)} hosts, one is allowed: write a router for each"
        )
    for i, host in enumerate(hosts):
        yield from names.host(host, f"spec.hosts[{i}]")


def _gateways(gateways: tuple[str, ...]) -> Iterator[Problem]:
    for i, gateway in enumerate(gateways):
        namespace, slash, name = gateway.rpartition("/")
        if not names.is_object_name(name) or (slash and not names.is_namespace(namespace)):
            message = f"{names.quoted(gateway)} is no gateway: write name or namespace/name"
            yield error(f"spec.gateways[{i}]", message)


def _route(route: MetaRoute, field: str) -> Iterator[Problem]:
    """Part by part, those that are there: most routes have few."""
    if route.match is not None:
        count, where = len(route.match.attributes), f"{field}.match.attributes"
        yield from _at_most(MAX_ATTRIBUTES, count, "attributes", where)
        yield from matching.attributes(route.match, f"{field}.match")
    yield from _destinations(route, f"{field}.route")
    if route.mirror is not None:
        yield from _destination(route.mirror, f"{field}.mirror")
    if route.mirror_percentage is not None:
        yield from _mirror_percentage(route, route.mirror_percentage, f"{field}.mirrorPercentage")
    if route.request_mutation:
        yield from _mutations(route.request_mutation, f"{field}.requestMutation")
    if route.response_mutation:
        yield from _mutations(route.response_mutation, f"{field}.responseMutation")


def _destinations(route: MetaRoute, field: str) -> Iterator[Problem]:
    """V12 to V15. A single destination gets every call, whatever its weight says."""
    if not route.route:  # V12
        yield error(field, "is empty: name at least one destination")
    for i, entry in enumerate(route.route):
        where = f"{field}[{i}]"
        if entry.destination is None:  # V13
            yield error(f"{where}.destination", "is missing: say where the calls go")
        else:
            yield from _destination(entry.destination, f"{where}.destination")
        if not 0 <= entry.weight <= WHOLE:  # V14
            yield error(f"{where}.weight", f"must be from 0 to {WHOLE}, is {entry.weight}")
    if len(route.route) > 1:
        total = sum([entry.weight for entry in route.route])
        if total != WHOLE:  # V15
            yield error(field, f"the weights add up to {total}, they must add up to {WHOLE}")


def _destination(destination: Destination, field: str) -> Iterator[Problem]:
    """V11."""
    yield from names.host(destination.host, f"{field}.host")
    if destination.subset:
        yield from names.label(destination.subset, f"{field}.subset", "subset's name")
    if destination.port is not None:
        yield from names.port(destination.port.number, f"{field}.port.number")


def _mirror_percentage(route: MetaRoute, share: Percent, field: str) -> Iterator[Problem]:
    if route.mirror is None:  # V9
        yield error(field, "has no mirror to apply to: write mirror, or remove this")
    yield from amounts.percentage(share.value, f"{field}.value")  # V10


def _mutations(mutations: tuple[KeyValue, ...], field: str) -> Iterator[Problem]:
    """V8, and what Envoy refuses."""
    yield from _at_most(MAX_MUTATIONS, len(mutations), "mutations", field)
    for i, mutation in enumerate(mutations):
        if not mutation.key:
            yield error(f"{field}[{i}].key", "is empty: name what is to be set")
        if not mutation.value:
            yield error(f"{field}[{i}].value", "is empty: write the value to be set")
        for part in ("key", "value"):
            size = len(getattr(mutation, part).encode())
            yield from _at_most(MAX_MUTATION_BYTES, size, "bytes", f"{field}[{i}].{part}")


def _at_most(limit: int, size: int, what: str, field: str) -> Sequence[Problem]:
    if size <= limit:
        return ()
    return (error(field, f"has {size} {what}, the limit is {limit}: split it up"),)


def _unreachable(routes: tuple[MetaRoute, ...]) -> Iterator[Problem]:
    """Rules behind one that takes every call that they could match (C-4).

    Two cases that are certain and cheap to see: an earlier rule matches everything, or exactly the
    same. Overlaps in part are how rules are meant to be written.
    """
    seen: dict[frozenset[object], int] = {}
    for i, route in enumerate(routes):
        conditions = frozenset(route.match.attributes.items()) if route.match else frozenset()
        for earlier, why in ((frozenset(), "matches everything"), (conditions, "matches the same")):
            if earlier in seen:
                blame = f"spec.routes[{seen[earlier]}] {why} and comes first"
                yield warning(f"spec.routes[{i}]", f"is never reached: {blame}")
                break
        seen.setdefault(conditions, i)
