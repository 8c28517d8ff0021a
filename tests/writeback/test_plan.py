"""What would be written, from what is wanted and what is there: without a cluster."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.mesh.names import Host
from aeraki_xds.writeback.compare import differences
from aeraki_xds.writeback.objects import Existing, Install, ObjectId
from aeraki_xds.writeback.plan import MANY, Inputs, Plan, compared, digest_of, plan_of
from tests.writeback.kit import (
    OURS,
    ROOT,
    STRICT,
    Json,
    a_manifest,
    envoy_filter,
    existing,
    id_of,
    matching,
    of_instance,
    virtual_service,
    wanted,
    worked_examples,
)


def planned(want: list[Json], there: list[Json], install: Install = OURS, **more: Any) -> Plan:
    inputs = Inputs(wanted=wanted(*want), existing=existing(*there), install=install, **more)
    return plan_of(inputs, functools.partial(compared, any_order=install.adopts))


def named(objects: Any) -> list[str]:
    return [each.id.name if isinstance(each, Existing) else each.wanted.id.name for each in objects]


# --- what differs -------------------------------------------------------------------------------


def test_what_a_running_aeraki_wrote_is_not_written_again() -> None:
    objects = worked_examples()
    assert len(objects) > 10
    assert planned(objects, objects) == Plan()


def test_what_is_not_there_is_new() -> None:
    [step] = planned([envoy_filter()], []).applies
    assert step.found is None


@pytest.mark.parametrize(
    ("was", "path"),
    [
        ({"configPatches": [], "priority": 1}, "spec.priority"),
        ({}, "spec.configPatches"),
        ({"configPatches": [{"applyTo": "CLUSTER"}]}, "spec.configPatches[0]"),
        ({"configPatches": None}, "spec.configPatches"),
    ],
)
def test_a_difference_is_named_by_its_field(was: Json, path: str) -> None:
    [step] = planned([envoy_filter()], [envoy_filter(spec=was)]).applies
    assert step.differ == (path,)


@pytest.mark.parametrize(
    ("one", "other", "paths"),
    [
        (5, 5.0, []),
        (1, True, [""]),
        (0, False, [""]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["a.b[1]"]),
        ({"a": [1]}, {"a": [1, 2, 3]}, ["a[1]", "a[2]"]),
        ({"statPrefix": "x"}, {"stat_prefix": "x"}, ["statPrefix", "stat_prefix"]),
        ({"a": {}}, {"a": []}, ["a"]),
        ({"a": ""}, {}, ["a"]),
    ],
)
def test_values_are_compared_as_json_means_them(
    one: object, other: object, paths: list[str]
) -> None:
    assert list(differences(one, other)) == paths


def test_the_order_of_matchers_is_no_difference_to_aeraki() -> None:
    there = [envoy_filter(spec=matching("b", "a"))]
    assert not planned([envoy_filter(spec=matching("a", "b"))], there).applies


def test_the_order_of_matchers_is_a_difference_to_others() -> None:
    there = [envoy_filter(spec=matching("b", "a"), labels=of_instance("ours"))]
    assert planned([envoy_filter(spec=matching("a", "b"))], there, STRICT).applies


def test_another_matcher_is_a_difference_in_any_order() -> None:
    there = [envoy_filter(spec=matching("b", "c"))]
    assert planned([envoy_filter(spec=matching("a", "b"))], there).applies


def test_the_order_of_anything_else_is_a_difference() -> None:
    def of(*names: str) -> Json:
        return envoy_filter(spec={"httpFilters": [{"name": name} for name in names]})

    assert planned([of("a", "b")], [of("b", "a")]).applies


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("ab"), below, max_size=3),
)


@given(_JSON, _JSON)
def test_nothing_differs_from_itself_and_whatever_is_not_equal_differs(
    a: object, b: object
) -> None:
    assert not list(differences(a, a))
    if a != b:
        assert list(differences(a, b))
        assert list(differences(a, b)) == list(differences(b, a))


# --- whose it is --------------------------------------------------------------------------------


def test_a_label_of_ours_is_added_only_with_another_change() -> None:
    assert planned([envoy_filter()], [envoy_filter(labels={"manager": "Aeraki"})]) == Plan()


@pytest.mark.parametrize("labels", [{}, {"manager": "me"}, of_instance("theirs")])
@pytest.mark.parametrize("install", [OURS, STRICT])
def test_an_object_of_somebody_elses_is_a_conflict(
    labels: dict[str, str], install: Install
) -> None:
    there = envoy_filter(spec={"priority": 1}, labels=labels)
    plan = planned([envoy_filter()], [there], install)
    assert plan == Plan(conflicts=(id_of(there),))


@pytest.mark.parametrize("labels", [{}, {"manager": "me"}, of_instance("theirs")])
def test_an_object_of_somebody_elses_is_never_deleted(labels: dict[str, str]) -> None:
    assert planned([], [envoy_filter(labels=labels)]) == Plan()


def test_an_object_that_no_aeraki_would_name_so_is_not_ours() -> None:
    there = a_manifest("EnvoyFilter", "by-hand", ROOT, {}, {"manager": "Aeraki"})
    assert planned([], [there]) == Plan()


def test_what_an_aeraki_left_in_our_root_namespace_is_ours() -> None:
    assert named(planned([], [envoy_filter()]).deletes) == ["aeraki-outbound-orders-10.0.0.1-80"]


def test_what_an_aeraki_left_elsewhere_is_ours_where_we_want_it_too() -> None:
    there = envoy_filter(namespace="shop", spec={"priority": 1})
    assert named(planned([envoy_filter(namespace="shop")], [there]).applies)
    assert named(planned([], [there], was_wanted={id_of(there)}).deletes)


def test_what_an_aeraki_left_elsewhere_may_be_another_installations() -> None:
    there = envoy_filter(namespace="shop")
    assert planned([], [there]) == Plan(unclaimed=(id_of(there),))


def test_who_does_not_adopt_touches_nothing_without_its_label() -> None:
    there = envoy_filter(spec={"priority": 1})
    assert planned([envoy_filter()], [there], STRICT).conflicts == (id_of(there),)
    assert planned([], [there], STRICT) == Plan()


def test_what_bears_our_label_is_ours_wherever_it_is() -> None:
    there = envoy_filter(namespace="shop", labels=of_instance("ours"))
    assert planned([], [there], STRICT).deletes


# --- what goes ----------------------------------------------------------------------------------


def test_nothing_is_decided_before_everything_is_known() -> None:
    assert planned([envoy_filter("new")], [envoy_filter("old")], complete=False) == Plan()


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.shop.svc.cluster.local", "aeraki-outbound-a.shop.svc.cluster.local-10.0.0.1-80"),
        ("a.shop.svc.cluster.local", "aeraki-inbound-a.shop.svc.cluster.local-80"),
        ("a.shop.svc.cluster.local", "aeraki-outbound-a-10.0.0.1-80"),
        ("Orders.example", "aeraki-outbound-orders.example-10.0.0.1-80-1a2b3c4d"),
        ("*.example", "aeraki-outbound--.example-10.0.0.1-80-1a2b3c4d"),
        ("x" * 230 + ".example", "aeraki-outbound-" + "x" * 228 + "-1a2b3c4d"),
        ("a.example", "aeraki-gateway-outbound-edge.istio-ingress-80"),
        ("a.example", "aeraki-vs-istio-ingress.edge-80"),
    ],
)
def test_a_host_on_its_last_good_output_loses_nothing(host: str, name: str) -> None:
    there = a_manifest("EnvoyFilter", name, ROOT, {}, None)
    assert planned([], [there], standing=frozenset({Host(host)})) == Plan()
    assert planned([], [there], standing=frozenset()).deletes


def test_another_host_that_stands_saves_nobody() -> None:
    plan = planned([], [envoy_filter("a.example")], standing=frozenset({Host("b.example")}))
    assert plan.deletes


def many(count: int) -> list[Json]:
    return [envoy_filter(f"host-{n:03}") for n in range(count)]


def test_a_few_deletions_go_on() -> None:
    plan = planned([], many(MANY))
    assert (len(plan.deletes), plan.waiting, plan.digest) == (MANY, (), "")


def test_a_small_part_may_go_however_many_that_are() -> None:
    assert len(planned(many(100)[20:], many(100)).deletes) == 20


def test_of_a_mass_deletion_nothing_goes_on() -> None:
    plan = planned(many(100)[21:], many(100))
    assert (len(plan.deletes), len(plan.waiting)) == (0, 21)


def test_a_mass_deletion_stops_nothing_but_deletions() -> None:
    plan = planned([envoy_filter("new")], many(50))
    assert (len(plan.applies), len(plan.deletes)) == (1, 0)


def test_a_mass_deletion_may_come_in_small_parts() -> None:
    assert planned(many(14)[4:], many(14)).deletes
    plan = planned(many(14)[4:], many(14), lately=8)
    assert (len(plan.deletes), len(plan.waiting)) == (0, 4)


def test_what_is_confirmed_goes_on_and_what_came_since_does_not_count_as_confirmed() -> None:
    waiting = frozenset(planned([], many(30)).waiting)
    assert len(planned([], many(30), confirmed=waiting).deletes) == 30
    later = planned([], many(45), confirmed=waiting)
    assert (len(later.deletes), len(later.waiting)) == (30, 15)


@given(st.permutations(range(12)))
def test_a_digest_names_the_list_and_not_its_order(order: list[int]) -> None:
    ids = [ObjectId("EnvoyFilter", ROOT, str(n)) for n in range(12)]
    assert digest_of(ids[n] for n in order) == digest_of(ids)
    assert digest_of(ids[1:]) != digest_of(ids)


def test_listeners_are_made_before_their_filters_and_go_after_them() -> None:
    objects = [envoy_filter("a"), virtual_service(), envoy_filter("b")]
    first = [step.wanted.id.kind for step in planned(objects, []).applies]
    last = [found.id.kind for found in planned([], objects).deletes]
    assert first == ["VirtualService", "EnvoyFilter", "EnvoyFilter"] == last[::-1]
