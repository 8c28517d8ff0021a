"""Rules: MetaRouters and VirtualServices in one shape."""

from __future__ import annotations

import msgspec
import pytest

from aeraki_xds.mesh.names import full_host
from aeraki_xds.mesh.objects import (
    Destination,
    HttpRoute,
    KeyValue,
    MetaRoute,
    Percent,
    PortSelector,
    StringMatch,
)
from aeraki_xds.mesh.objects.istio import IstioDestination, IstioPercent
from aeraki_xds.mesh.problems import Severity
from aeraki_xds.mesh.rules import Rule, rules_of, targets_of
from aeraki_xds.mesh.rules import unread as what_is_unread
from tests.mesh.kit import full, router, virtual_service


def only_rule(*rules: Rule) -> Rule:
    (rule,) = rules
    return rule


def meta_rule(route: MetaRoute) -> Rule:
    plain = router()
    changed = msgspec.structs.replace(
        plain, spec=msgspec.structs.replace(plain.spec, routes=(route,))
    )
    return only_rule(*rules_of(changed, full_host))


def test_a_target_has_its_full_host_and_the_path_of_the_field_that_names_it() -> None:
    rule = only_rule(*rules_of(router("hello", "hello/v1*60", "b.c*40"), full_host))
    assert [(t.host, t.subset, t.port, t.weight, t.field) for t in rule.targets] == [
        (full("hello"), "v1", None, 60, "spec.routes[0].route[0].destination"),
        ("b.c", "", None, 40, "spec.routes[0].route[1].destination"),
    ]


def test_a_short_host_is_read_in_the_namespace_of_the_router() -> None:
    rule = only_rule(*rules_of(router("hello.demo", "hello", namespace="other"), full_host))
    assert rule.targets[0].host == "hello.other.svc.cluster.local"


def test_attributes_are_sorted_whatever_their_order_in_the_file() -> None:
    one, two = StringMatch(exact="1"), StringMatch(prefix="2")
    forwards = rules_of(router(match={"a": one, "b": two}), full_host)
    backwards = rules_of(router(match={"b": two, "a": one}), full_host)
    assert forwards == backwards
    assert forwards[0].attributes == (("a", one), ("b", two))


def test_a_rule_without_a_match_has_no_attributes() -> None:
    assert only_rule(*rules_of(router(), full_host)).attributes == ()


def test_port_0_means_the_port_that_the_route_is_made_for() -> None:
    rule = meta_rule(MetaRoute(mirror=Destination(host="audit", port=PortSelector(number=0))))
    assert rule.mirror is not None
    assert rule.mirror.port is None


def test_a_mirror_without_a_share_gets_everything() -> None:
    assert meta_rule(MetaRoute(mirror=Destination(host="audit"))).mirror_percent == 100


def test_a_mirror_with_a_share_gets_that_share() -> None:
    route = MetaRoute(mirror=Destination(host="audit"), mirror_percentage=Percent(value=0.5))
    rule = meta_rule(route)
    assert rule.mirror is not None
    assert (rule.mirror.host, rule.mirror.field) == (full("audit"), "spec.routes[0].mirror")
    assert rule.mirror_percent == 0.5


def test_mutations_keep_their_order() -> None:
    pairs = (KeyValue(key="b", value="1"), KeyValue(key="a", value="2"))
    rule = meta_rule(MetaRoute(name="n", request_mutation=pairs, response_mutation=pairs[:1]))
    assert rule.name == "n"
    assert rule.request_mutation == (("b", "1"), ("a", "2"))
    assert rule.response_mutation == (("b", "1"),)


def test_targets_include_mirrors() -> None:
    plain = router("hello", "hello", "b")
    route = msgspec.structs.replace(plain.spec.routes[0], mirror=Destination(host="audit"))
    mirrored = msgspec.structs.replace(
        plain, spec=msgspec.structs.replace(plain.spec, routes=(route,))
    )
    assert targets_of(mirrored, full_host) == {full("hello"), full("b"), full("audit")}


# --- VirtualService ---------------------------------------------------------------------------


def test_each_alternative_match_of_a_virtual_service_is_a_rule_of_its_own() -> None:
    item = virtual_service(
        "hello",
        "hello/v1",
        match=[{"method": {"exact": "list"}}, {"headers": {"service": {"exact": "Shop"}}}],
    )
    first, second = rules_of(item, full_host)
    assert first.attributes == (("method", StringMatch(exact="list")),)
    assert second.attributes == (("service", StringMatch(exact="Shop")),)
    assert first.targets == second.targets
    assert first.field == second.field == "spec.http[0]"


def test_method_and_headers_of_one_match_are_attributes_together_and_sorted() -> None:
    match: dict[str, object] = {
        "method": {"exact": "list"},
        "headers": {"z": {"regex": "r"}, "a": {"prefix": "p"}},
    }
    assert only_rule(*rules_of(virtual_service(match=[match]), full_host)).attributes == (
        ("a", StringMatch(prefix="p")),
        ("method", StringMatch(exact="list")),
        ("z", StringMatch(regex="r")),
    )


def test_a_virtual_service_without_a_match_is_one_rule_for_everything() -> None:
    assert only_rule(*rules_of(virtual_service(), full_host)).attributes == ()


@pytest.mark.parametrize(
    "unread",
    [
        {"uri": {"prefix": "/a"}},
        {"method": {"exact": "list"}, "port": 80},
        {"method": "list"},
        {"headers": {"a": {"exact": 1}}},
    ],
)
def test_a_match_that_cannot_be_read_leaves_out_its_alternative_and_widens_nothing(
    unread: dict[str, object],
) -> None:
    item = virtual_service(match=[unread, {"method": {"exact": "list"}}])
    rule = only_rule(*rules_of(item, full_host))
    assert rule.attributes == (("method", StringMatch(exact="list")),)
    (problem,) = what_is_unread(item)
    assert problem.field == "spec.http[0].match[0]"
    assert problem.severity is Severity.WARNING


def test_a_route_of_which_no_match_can_be_read_is_no_rule_at_all() -> None:
    assert rules_of(virtual_service(match=[{"uri": {"exact": "/"}}]), full_host) == ()


def test_a_virtual_service_mirrors_too() -> None:
    plain = virtual_service()
    route = HttpRoute(
        mirror=IstioDestination(host="audit", subset="v1"),
        mirror_percentage=IstioPercent(value=25),
    )
    item = msgspec.structs.replace(plain, spec=msgspec.structs.replace(plain.spec, http=(route,)))
    rule = only_rule(*rules_of(item, full_host))
    assert rule.mirror is not None
    assert (rule.mirror.host, rule.mirror.subset) == (full("audit"), "v1")
    assert rule.mirror_percent == 25


def test_a_virtual_service_that_mirrors_nothing_has_no_mirror() -> None:
    plain = virtual_service()
    route = HttpRoute(
        mirror=IstioDestination(host="audit"), mirror_percentage=IstioPercent(value=0)
    )
    item = msgspec.structs.replace(plain, spec=msgspec.structs.replace(plain.spec, http=(route,)))
    assert only_rule(*rules_of(item, full_host)).mirror is None
