"""Who serves a port, and whom it touches when that changes."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import msgspec
import pytest

from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.objects import MeshObject
from aeraki_xds.mesh.store import Store
from aeraki_xds.mesh.workloads import members_of, target_numbers
from tests.mesh.kit import THRIFT, full, gone, router, said, service
from tests.mesh.pods import (
    endpoint,
    endpoint_slice,
    kubernetes_service,
    pod,
    selecting,
    workload,
)
from tests.mesh.test_graph import Mesh


def served(*items: MeshObject) -> set[tuple[str, int]]:
    """Address and number of those who serve port 9090 of hello."""
    return {(each.address, each.number) for each in found(*items)}


def found(*items: MeshObject, number: int = 9090) -> list[Any]:
    mesh = Mesh(*items)
    declared = mesh.graph.service(full("hello"))
    assert declared is not None
    port = declared[0].port(number)
    assert port is not None
    return sorted(members_of(mesh.graph, port), key=lambda each: (each.address, each.number))


# --- who serves a Service -----------------------------------------------------------------------


def test_of_a_slice_those_serve_who_are_ready_or_do_not_say() -> None:
    ready = endpoint("10.0.0.1", conditions={"ready": True})
    silent = endpoint("10.0.0.2", conditions={})
    starting = endpoint("10.0.0.3", conditions={"ready": False})
    ending = endpoint("10.0.0.4", conditions={"ready": False, "serving": True, "terminating": True})
    both = endpoint_slice(ready, silent, starting, ending)
    assert served(kubernetes_service(), both) == {("10.0.0.1", 8080), ("10.0.0.2", 8080)}


def test_the_number_is_that_of_the_slices_port_of_the_same_name() -> None:
    """Pods of one Service may listen on different ports, and some on none of that name."""
    slices = (
        endpoint_slice(endpoint("10.0.0.1"), name="a", ports={"http": 80, THRIFT: 8081}),
        endpoint_slice(endpoint("10.0.0.2"), name="b", ports={THRIFT: 8082}),
        endpoint_slice(endpoint("10.0.0.3"), name="c", ports={"http": 80}),
    )
    assert served(kubernetes_service(), *slices) == {("10.0.0.1", 8081), ("10.0.0.2", 8082)}


def test_a_slices_port_without_a_number_is_the_target_port() -> None:
    item = endpoint_slice(endpoint("10.0.0.1"), ports={THRIFT: 0})
    assert served(kubernetes_service(target=7000), item) == {("10.0.0.1", 7000)}
    assert served(kubernetes_service(), item) == {("10.0.0.1", 9090)}


def test_who_is_in_two_slices_at_once_counts_once() -> None:
    slices = [endpoint_slice(endpoint("10.0.0.1"), name=name) for name in ("a", "b")]
    assert len(found(kubernetes_service(), *slices)) == 1


@pytest.mark.parametrize(
    ("address", "expected"), [("127.20.0.1", "10.0.0.1"), ("fd00::7", "fd00::1")]
)
def test_of_two_families_the_one_of_the_services_first_address_counts(
    address: str, expected: str
) -> None:
    slices = (
        endpoint_slice(endpoint("10.0.0.1"), name="four"),
        endpoint_slice(endpoint("fd00::1"), name="six", family="IPv6"),
        endpoint_slice(endpoint("a.example.com"), name="names", family="FQDN"),
    )
    assert served(kubernetes_service(address=address), *slices) == {(expected, 8080)}


def test_of_several_addresses_of_an_endpoint_the_first_counts() -> None:
    item = endpoint_slice({"addresses": ["10.0.0.1", "10.0.0.2"]}, {"addresses": []})
    assert served(kubernetes_service(), item) == {("10.0.0.1", 8080)}


def test_a_member_has_its_pods_labels_and_its_zone() -> None:
    slices = endpoint_slice(endpoint("10.0.0.1", "a", zone="eu-1"), endpoint("10.0.0.2"))
    (first, second) = found(kubernetes_service(), slices, pod("a", version="v1"))
    assert (first.labels, first.locality) == ({"version": "v1"}, "/eu-1")
    assert (second.labels, second.locality) == ({}, "")


def test_nobody_knows_the_labels_of_a_pod_that_was_not_told_of() -> None:
    slices = endpoint_slice(endpoint("10.0.0.1", "a"))
    assert [each.labels for each in found(kubernetes_service(), slices)] == [None]


def test_a_pod_of_another_namespace_is_another_pod() -> None:
    ref = {"kind": "Pod", "name": "a", "namespace": "other"}
    slices = endpoint_slice(endpoint("10.0.0.1", targetRef=ref))
    (member,) = found(kubernetes_service(), slices, pod("a", version="v1"))
    assert member.labels is None


def test_slices_of_other_services_and_of_none_do_not_count() -> None:
    slices = (
        endpoint_slice(endpoint("10.0.0.1"), service="other"),
        endpoint_slice(endpoint("10.0.0.2"), service="", name="x"),
    )
    assert served(kubernetes_service(), *slices) == set()


def test_the_numbers_of_a_named_port_are_those_of_all_slices_ready_or_not() -> None:
    starting = endpoint("10.0.0.1", conditions={"ready": False})
    slices = (
        endpoint_slice(starting, name="a", ports={THRIFT: 8081, "http": 80}),
        endpoint_slice(name="b", ports={THRIFT: 0}),
    )
    mesh = Mesh(kubernetes_service(target="rpc"), *slices)
    declared = mesh.graph.service(full("hello"))
    assert declared is not None
    entry: Any = declared[0].ports[0].entry
    assert target_numbers(mesh.graph, entry, THRIFT) == {8081}


# --- who serves a ServiceEntry ------------------------------------------------------------------


def test_an_entry_without_endpoints_is_served_by_the_workloads_that_it_selects() -> None:
    workloads = (
        workload("a", "10.0.0.1", app="hello", version="v1", extra="x"),
        workload("b", "10.0.0.2", app="hello"),
        workload("c", "10.0.0.3", app="other", version="v1"),
        workload("d", "name.example.com", app="hello", version="v1"),
    )
    assert served(selecting(app="hello", version="v1"), *workloads) == {("10.0.0.1", 7070)}
    by_name = selecting("DNS", app="hello", version="v1")
    assert {name for name, _ in served(by_name, *workloads)} == {"10.0.0.1", "name.example.com"}


def test_the_labels_of_a_workloads_metadata_go_before_those_of_its_spec() -> None:
    item = workload("a", "10.0.0.1", app="hello", version="v1")
    item = msgspec.structs.replace(
        item, metadata=msgspec.structs.replace(item.metadata, labels={"version": "v2"})
    )
    (member,) = found(selecting(app="hello", version="v2"), item)
    assert member.labels == {"app": "hello", "version": "v2"}


def test_an_entry_with_endpoints_is_served_by_these_alone() -> None:
    entry = service()
    selector = selecting(app="hello").spec.workload_selector
    spec = msgspec.structs.replace(entry.spec, workload_selector=selector)
    entry = msgspec.structs.replace(entry, spec=spec)
    serving = served(entry, workload("a", "10.0.0.1", app="hello"))
    assert serving == {("127.0.0.1", 9090), ("127.0.0.2", 9090)}


# --- who is touched -----------------------------------------------------------------------------


def test_a_slice_touches_the_host_of_its_service_and_no_sender() -> None:
    mesh = Mesh(kubernetes_service(), kubernetes_service("other"), router("other", "hello"))
    slices = endpoint_slice(endpoint("10.0.0.1"))
    assert mesh.say(said(slices)) == {"hello"}
    assert mesh.say(said(endpoint_slice(endpoint("10.0.0.2")))) == {"hello"}
    assert mesh.say(gone(slices)) == {"hello"}


def test_a_slice_that_is_another_services_now_touches_both() -> None:
    mesh = Mesh(kubernetes_service(), kubernetes_service("other"), endpoint_slice(name="x"))
    assert mesh.say(said(endpoint_slice(name="x", service="other"))) == {"hello", "other"}


def test_a_pod_touches_the_hosts_whose_slices_refer_to_it() -> None:
    mesh = Mesh(
        *(kubernetes_service(name) for name in ("one", "two", "three")),
        endpoint_slice(endpoint("10.0.0.1", "a"), service="one"),
        endpoint_slice(endpoint("10.0.0.1", "a"), endpoint("10.0.0.2", "b"), service="two"),
        endpoint_slice(endpoint("10.0.0.2", "b"), service="three"),
    )
    assert mesh.say(said(pod("a"))) == {"one", "two"}
    assert mesh.say(said(pod("b"))) == {"two", "three"}
    assert mesh.say(said(pod("a", version="v2"))) == {"one", "two"}
    assert mesh.say(said(pod("nobody's"))) == set()
    assert mesh.say(gone(pod("a"))) == {"one", "two"}


def test_a_workload_touches_the_entries_that_may_select_it() -> None:
    mesh = Mesh(selecting(app="hello", version="v1"), kubernetes_service("other"))
    assert mesh.say(said(workload("a", "10.0.0.1", app="hello", version="v1"))) == {"hello"}
    assert mesh.say(said(workload("b", "10.0.0.2", app="other", version="v1"))) == set()
    assert mesh.say(said(workload("a", "10.0.0.1", app="other", version="v1"))) == {"hello"}


def calls_of(others: int, change: MeshObject) -> int:
    """How many functions are called for a change, among so many other Services with a Pod each."""
    store, graph = Store(), Graph()
    objects: list[MeshObject] = [
        each
        for n in range(others)
        for each in (
            kubernetes_service(f"s{n}"),
            endpoint_slice(endpoint(f"10.1.{n // 250}.{n % 250}", f"p{n}"), service=f"s{n}"),
            pod(f"p{n}", version="v1"),
        )
    ]
    slices = endpoint_slice(endpoint("10.0.0.1", "a"))
    objects += [kubernetes_service(), slices, pod("a", version="v1")]
    graph.update(store.apply(said(*objects)))
    count = 0

    def counted(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    events = said(change)
    sys.setprofile(counted)
    try:
        touched = graph.update(store.apply(events))
    finally:
        sys.setprofile(None)
    assert touched == {full("hello")}
    return count


@pytest.mark.parametrize(
    "change",
    [pod("a", version="v2"), endpoint_slice(endpoint("10.0.0.9", "a"))],
    ids=["pod", "slice"],
)
def test_that_costs_as_much_among_ten_thousand_services_as_alone(change: MeshObject) -> None:
    alone = calls_of(1, change)
    assert calls_of(10_000, change) < alone * 1.1
