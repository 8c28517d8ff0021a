"""Routing rules in one shape, whatever kind of object wrote them.

In: a MetaRouter or a VirtualService. Out: ordered `Rule`s with full host names and sorted
attributes, each with the path of the field it came from, so that translation is written once and
its findings still name the user's own field.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from aeraki_xds.mesh.names import Host, Namespace, Subset
from aeraki_xds.mesh.objects import (
    Destination,
    HttpMatch,
    HttpRoute,
    MetaRoute,
    MetaRouter,
    StringMatch,
    VirtualService,
)
from aeraki_xds.mesh.objects.istio import IstioDestination
from aeraki_xds.mesh.problems import Finding, Problem, warning


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where calls go. `port` None means the port that the route is made for; weight in per cent."""

    host: Host
    subset: Subset
    port: int | None
    weight: int
    field: str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: all attributes must match, the first rule that matches decides.

    An attribute's empty StringMatch means that it is present. `mirror_percent` is 0 < p ≤ 100.
    """

    field: str
    name: str = ""
    attributes: tuple[tuple[str, StringMatch], ...] = ()
    targets: tuple[Target, ...] = ()
    mirror: Target | None = None
    mirror_percent: float = 100.0
    request_mutation: tuple[tuple[str, str], ...] = ()
    response_mutation: tuple[tuple[str, str], ...] = ()


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """How calls to a host are routed.

    `held`: a router of the host cannot be understood and none was ever in force, so nothing may
    be decided, least of all the default route. `by_default`: nobody wrote a rule, so everything
    goes to the service itself. No rules otherwise means that none could be read: calls match
    nothing, for leaving rules out must not widen any.
    """

    router: MetaRouter | VirtualService | None = None
    rules: tuple[Rule, ...] = ()
    by_default: bool = False
    held: bool = False
    findings: tuple[Finding, ...] = ()


class Namer(Protocol):
    """Expands a host name as seen from the namespace of the object that wrote it."""

    def __call__(self, name: str, namespace: Namespace) -> Host:
        """The full name."""


def rules_of(item: MetaRouter | VirtualService, name_of: Namer) -> tuple[Rule, ...]:
    """The rules of an object, in its order."""
    match item:
        case MetaRouter():
            routes = enumerate(item.spec.routes)
            return tuple(_meta_rule(item, n, route, name_of) for n, route in routes)
        case VirtualService():
            return tuple(
                rule
                for n, route in enumerate(item.spec.http)
                for rule in _http_rules(item, n, route, name_of)
            )


def applies_to_mesh(item: VirtualService) -> bool:
    """Whether it is for sidecars: where gateways are named, `mesh` must be one of them."""
    return not item.spec.gateways or "mesh" in item.spec.gateways


def targets_of(item: MetaRouter | VirtualService, name_of: Namer) -> frozenset[Host]:
    """Every host that the rules of an object send to, mirrors included."""
    match item:
        case MetaRouter():
            namespace = Namespace(item.metadata.namespace)
            sends = [each.destination for route in item.spec.routes for each in route.route]
            sends += (route.mirror for route in item.spec.routes)
            named = {destination.host for destination in sends if destination is not None}
            return frozenset([name_of(name, namespace) for name in named])
        case VirtualService():
            return frozenset(
                target.host
                for rule in rules_of(item, name_of)
                for target in (*rule.targets, *([rule.mirror] if rule.mirror else ()))
            )


_HTTP_ONLY: Final = (
    "cors_policy",
    "delegate",
    "direct_response",
    "fault",
    "headers",
    "mirrors",
    "redirect",
    "retries",
    "rewrite",
    "timeout",
)


def unread(item: VirtualService) -> tuple[Problem, ...]:
    """What a VirtualService says that no native protocol can mean.

    A condition that cannot be read leaves its rule out; anything else has no effect.
    """
    problems = [
        warning(f"spec.{name}", "only http rules are read for this protocol; it has no effect")
        for name in ("tcp", "tls")
        if getattr(item.spec, name) is not None
    ]
    for n, route in enumerate(item.spec.http):
        problems += (
            warning(
                f"spec.http[{n}].{_camel(name)}",
                "is not followed: write the rules here"
                if name == "delegate"
                else "is for HTTP only; it has no effect here",
            )
            for name in _HTTP_ONLY
            if getattr(route, name) is not None
        )
        for m, raw in enumerate(route.match):
            if _http_match(raw) is None:
                field = f"spec.http[{n}].match[{m}]"
                message = "only method.exact and headers can be matched here; the rule is left out"
                problems.append(warning(field, message))
    return tuple(problems)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _meta_rule(item: MetaRouter, n: int, route: MetaRoute, name_of: Namer) -> Rule:
    field = f"spec.routes[{n}]"
    percent = route.mirror_percentage.value if route.mirror_percentage else 0.0

    def target(destination: Destination, weight: int, path: str) -> Target:
        port = destination.port.number if destination.port else None
        return _target(item.metadata.namespace, destination, port, weight, path, name_of)

    return Rule(
        field=field,
        name=route.name,
        attributes=tuple(sorted(route.match.attributes.items())) if route.match else (),
        targets=tuple(
            [
                target(each.destination, each.weight, f"{field}.route[{m}].destination")
                for m, each in enumerate(route.route)
                if each.destination is not None
            ]
        ),
        mirror=target(route.mirror, 0, f"{field}.mirror") if route.mirror else None,
        mirror_percent=percent or 100.0,
        request_mutation=tuple([(each.key, each.value) for each in route.request_mutation]),
        response_mutation=tuple([(each.key, each.value) for each in route.response_mutation]),
    )


def _http_rules(item: VirtualService, n: int, route: HttpRoute, name_of: Namer) -> tuple[Rule, ...]:
    """One rule per alternative match; an alternative that cannot be read is left out, not widened.

    `match.method.exact` is the attribute `method`, a header the attribute of its name.
    """
    field = f"spec.http[{n}]"
    percent = route.mirror_percentage.value if route.mirror_percentage else 0.0

    def target(destination: IstioDestination, weight: int, path: str) -> Target:
        port = destination.port.number if destination.port else None
        return _target(item.metadata.namespace, destination, port, weight, path, name_of)

    targets = tuple(
        target(each.destination, each.weight, f"{field}.route[{m}].destination")
        for m, each in enumerate(route.route)
        if each.destination is not None
    )
    # Istio mirrors everything where no share is said, and nothing where it is said to be 0.
    is_mirrored = route.mirror_percentage is None or percent > 0
    mirror = target(route.mirror, 0, f"{field}.mirror") if route.mirror and is_mirrored else None
    found: list[Rule] = []
    for raw in route.match or ({},):
        match = _http_match(raw)
        if match is not None:
            found.append(
                Rule(
                    field=field,
                    name=route.name,
                    attributes=_http_attributes(match),
                    targets=targets,
                    mirror=mirror,
                    mirror_percent=percent or 100.0,
                )
            )
    return tuple(found)


def _http_match(raw: dict[str, object]) -> HttpMatch | None:
    """None for what cannot be matched, `method` and a header of that name at once included."""
    try:
        match = msgspec.convert(raw, HttpMatch)
    except msgspec.ValidationError:
        return None
    return None if match.method is not None and "method" in match.headers else match


def _http_attributes(match: HttpMatch) -> tuple[tuple[str, StringMatch], ...]:
    matchers = dict(match.headers)
    if match.method is not None:
        matchers["method"] = match.method
    return tuple(
        (name, StringMatch(exact=each.exact, prefix=each.prefix, regex=each.regex))
        for name, each in sorted(matchers.items())
    )


def _target(
    namespace: str,
    destination: Destination | IstioDestination,
    port: int | None,
    weight: int,
    field: str,
    name_of: Namer,
) -> Target:
    return Target(
        host=name_of(destination.host, Namespace(namespace)),
        subset=Subset(destination.subset),
        port=port or None,
        weight=weight,
        field=field,
    )
