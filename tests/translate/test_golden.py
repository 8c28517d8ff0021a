"""Manifests become exactly the resources and the problems that the golden files hold."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from aeraki_xds._proto.envoy.config.cluster.v3 import Cluster
from aeraki_xds._proto.envoy.config.endpoint.v3 import ClusterLoadAssignment
from aeraki_xds._proto.envoy.extensions.filters.network.thrift_proxy.v3 import RouteConfiguration
from aeraki_xds._proto.message_pool import default_message_pool
from aeraki_xds.encode import type_url
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import Plain, translate
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, everything
from aeraki_xds.translate.output import Manifest
from tests.official import assert_agrees
from tests.translate.golden import PROBLEMS, Case, cases, events_of
from tests.translate.served import drafts

REGENERATE = bool(os.environ.get("AERAKI_REGENERATE"))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_manifests_become_what_the_golden_files_hold(case: Case) -> None:
    actual = case.actual()
    if REGENERATE:
        for file in {*case.outputs, PROBLEMS} - actual.keys():
            (case.folder / file).unlink(missing_ok=True)
        for file, text in actual.items():
            (case.folder / file).write_text(text, encoding="utf-8")
    for file in (*case.outputs, PROBLEMS):
        expected, got = case.expected(file), actual.get(file, "")
        assert got == expected, f"{case.name}/{file}:\n{difference(expected, got)}"


def difference(expected: str, actual: str) -> str:
    return "\n".join(
        difflib.unified_diff(
            expected.splitlines(), actual.splitlines(), "expected", "actual", n=8, lineterm=""
        )
    )


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_resource_reads_the_same_to_the_official_classes(case: Case) -> None:
    for spec in (GLOBAL_SPEC, everything(), *case.outputs.values()):
        for draft in drafts(case.events(), spec.recipe):
            if not isinstance(draft.message, Manifest):
                assert type_url(draft.message) == draft.id.type_url
                assert_agrees(draft.message)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_resource_bears_the_name_that_it_is_served_under(case: Case) -> None:
    offline = translate(case.events(), (GLOBAL_SPEC, everything()), tenancy=Tenancy())
    for plain in offline.scopes:
        for url, resources in plain.items():
            for name, resource in resources.items():
                assert name == resource.get("name", resource.get("clusterName"))
                assert url in default_message_pool.url_to_type


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_what_is_served_to_a_stock_envoy_names_nothing_that_is_not_there(case: Case) -> None:
    offline = translate(case.events(), (everything(),), tenancy=Tenancy())
    assert dangling(offline.scopes[0]) == set()


@pytest.mark.parametrize("target", ["resolution-none", "no-port-of-ours"])
def test_a_route_to_a_service_that_has_no_cluster_is_not_served(target: str) -> None:
    """Such a call fails with `unknown cluster`, and nobody was told."""
    port = "http" if target == "no-port-of-ours" else "tcp-thrift"
    resolution = "NONE" if target == "resolution-none" else "STATIC"
    hello = Case(name="thrift-default").events()
    other = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "other", "namespace": "shop"},
        "spec": {
            "hosts": ["other.shop.svc.cluster.local"],
            "ports": [{"number": 9090, "name": port}],
            "resolution": resolution,
        },
    }
    router = {
        "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
        "kind": "MetaRouter",
        "metadata": {"name": "hello", "namespace": "shop"},
        "spec": {"hosts": ["hello"], "routes": [{"route": [{"destination": {"host": "other"}}]}]},
    }
    events = [*hello, *events_of([other, router])]
    assert dangling(translate(events, (everything(),), tenancy=Tenancy()).scopes[0]) == set()


def dangling(plain: Plain) -> set[str]:
    """The clusters, endpoints and route tables that are named and not served."""
    clusters = plain.get(type_url(Cluster()), {})
    assignments = plain.get(type_url(ClusterLoadAssignment()), {})
    tables = plain.get(type_url(RouteConfiguration()), {})
    everything_served = list(plain.values())
    named = {each["cluster"] for each in holding("cluster", everything_served)}
    named |= {each["name"] for each in holding("weight", list(tables.values()))}
    wanted = {each["routeConfigName"] for each in holding("routeConfigName", everything_served)}
    by_eds = {name for name, cluster in clusters.items() if cluster.get("type") == "EDS"}
    return (named - clusters.keys()) | (wanted - tables.keys()) | (by_eds ^ assignments.keys())


def holding(key: str, plain: object) -> Iterator[dict[str, Any]]:
    """Every mapping inside plain data that has the key."""
    if isinstance(plain, dict):
        if key in plain:
            yield plain
        plain = list(plain.values())
    if isinstance(plain, list):
        for inner in plain:
            yield from holding(key, inner)
