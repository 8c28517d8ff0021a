"""Names: how a host is expanded, and the spellings that data planes know."""

from __future__ import annotations

import pytest

from aeraki_xds.mesh.names import (
    Host,
    Key,
    Kind,
    Namespace,
    Subset,
    cluster_name,
    full_host,
    route_name,
)

HOST = Host("hello.demo.svc.cluster.local")


@pytest.mark.parametrize(
    ("written", "expanded"),
    [
        ("hello", "hello.demo.svc.cluster.local"),
        ("hello.other", "hello.other"),
        ("hello.demo.svc.cluster.local", "hello.demo.svc.cluster.local"),
        ("hello.example.com.", "hello.example.com"),
        ("hello.", "hello"),
        ("", ""),
    ],
)
def test_a_host_without_a_dot_is_short_and_any_other_is_full(written: str, expanded: str) -> None:
    assert full_host(written, Namespace("demo")) == expanded


def test_a_short_host_is_expanded_with_the_domain_of_the_cluster() -> None:
    assert full_host("hello", Namespace("demo"), "mesh.test") == "hello.demo.svc.mesh.test"


def test_clusters_are_named_as_istio_names_them() -> None:
    assert cluster_name(HOST, 9090) == "outbound|9090||hello.demo.svc.cluster.local"
    subset = Subset("v1")
    assert cluster_name(HOST, 9090, subset) == "outbound|9090|v1|hello.demo.svc.cluster.local"


def test_routes_are_named_by_host_and_port() -> None:
    assert route_name(HOST, 9090) == "hello.demo.svc.cluster.local_9090"


def test_a_key_reads_as_kind_namespace_name() -> None:
    assert str(Key(Kind.META_ROUTER, Namespace("demo"), "hello")) == "MetaRouter/demo/hello"


def test_the_key_of_a_cluster_scoped_object_has_an_empty_namespace() -> None:
    key = Key(Kind.APPLICATION_PROTOCOL, Namespace(""), "trpc")
    assert str(key) == "ApplicationProtocol//trpc"
