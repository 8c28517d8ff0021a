"""A Kubernetes Service is the ServiceEntry that istiod would make of it (specification §2.1)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aeraki_xds.mesh.names import Kind
from aeraki_xds.mesh.objects import (
    KubernetesService,
    Metadata,
    SyntheticServiceEntry,
    WorkloadSelector,
    key_of,
)
from aeraki_xds.mesh.objects.istio import ServicePort
from aeraki_xds.mesh.synthetic import service_entry


def entry(domain: str = "cluster.local", **spec: Any) -> SyntheticServiceEntry:
    """What the Service `orders` of `shop` becomes."""
    said = {"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec}
    return service_entry(msgspec.convert(said, KubernetesService), domain)


@pytest.mark.parametrize("domain", ["cluster.local", "mesh.test"])
def test_its_host_is_its_full_name_in_the_domain_of_the_cluster(domain: str) -> None:
    assert entry(domain).spec.hosts == (f"orders.shop.svc.{domain}",)


def test_it_keeps_key_annotations_and_age_of_the_service() -> None:
    """Istio renames it and drops the annotations; whoever is told of a problem has the Service."""
    metadata = Metadata(
        name="orders",
        namespace="shop",
        labels={"a": "b"},
        annotations={"interface": "org.example.Orders"},
        creation_timestamp="2024-01-01T00:00:00Z",
    )
    made = service_entry(KubernetesService(metadata=metadata), "cluster.local")
    assert made.metadata == metadata
    assert key_of(made) == (Kind.SERVICE, "shop", "orders")


@pytest.mark.parametrize(
    ("said", "addresses"),
    [
        ({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"]}, "10.96.0.7 fd00::7"),
        ({"clusterIP": "10.96.0.7"}, "10.96.0.7"),
        ({"clusterIP": "None", "clusterIPs": ["None"]}, "0.0.0.0"),
        ({"clusterIP": "None"}, "0.0.0.0"),
        ({}, ""),
    ],
)
def test_its_addresses_are_all_cluster_ips_and_for_a_headless_service_any(
    said: dict[str, Any], addresses: str
) -> None:
    assert entry(**said).spec.addresses == tuple(addresses.split())


@pytest.mark.parametrize(
    ("said", "resolution"),
    [
        ({"clusterIP": "10.96.0.7"}, "STATIC"),
        ({"clusterIP": "None"}, "NONE"),
        ({"type": "ExternalName", "externalName": "orders.example"}, "DNS"),
        ({"type": "ExternalName", "clusterIP": "None"}, "DNS"),
        ({"type": "NodePort", "clusterIP": "10.96.0.7"}, "STATIC"),
    ],
)
def test_how_its_pods_are_found_depends_on_its_type_and_on_whether_it_is_headless(
    said: dict[str, Any], resolution: str
) -> None:
    assert entry(**said).spec.resolution == resolution


def test_its_ports_have_numbers_names_protocols_and_the_targets_that_are_numbers() -> None:
    made = entry(
        ports=[
            {"port": 80, "name": "tcp-thrift", "protocol": "TCP", "targetPort": 8080},
            {"port": 81, "name": "tcp-dubbo", "targetPort": "dubbo"},
            {"port": 82},
        ]
    )
    assert made.spec.ports == (
        ServicePort(number=80, name="tcp-thrift", protocol="TCP", target_port=8080),
        ServicePort(number=81, name="tcp-dubbo"),
        ServicePort(number=82),
    )
    assert made.target_names == {81: "dubbo"}


def test_its_workloads_are_those_that_the_service_selects() -> None:
    assert entry(selector={"app": "o"}).spec.workload_selector == WorkloadSelector(
        labels={"app": "o"}
    )
    assert entry(selector={}).spec.workload_selector is None


def test_it_has_no_endpoints_of_its_own() -> None:
    assert entry(selector={"app": "o"}, clusterIP="10.96.0.7").spec.endpoints == ()


@pytest.mark.parametrize(
    ("annotation", "exported"),
    [
        ({}, ()),
        ({"networking.istio.io/exportTo": "."}, (".",)),
        ({"networking.istio.io/exportTo": " web, ., "}, ("web", ".")),
        ({"networking.istio.io/exportTo": ""}, ()),
    ],
)
def test_an_annotation_says_to_whom_it_is_exported(
    annotation: dict[str, str], exported: tuple[str, ...]
) -> None:
    metadata = Metadata(name="orders", namespace="shop", annotations=annotation)
    made = service_entry(KubernetesService(metadata=metadata), "cluster.local")
    assert made.spec.export_to == exported
