"""A Kubernetes Service and who serves it, in one line each; namespace `demo`, Service `hello`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aeraki_xds.mesh.links import SERVICE_NAME
from aeraki_xds.mesh.objects import (
    EndpointSlice,
    KubernetesPort,
    KubernetesService,
    KubernetesServiceSpec,
    Metadata,
    Pod,
    ServiceEntry,
    ServiceEntrySpec,
    ServicePort,
    WorkloadEndpoint,
    WorkloadEntry,
    WorkloadSelector,
)
from aeraki_xds.mesh.objects.istio import Resolution
from tests.mesh.kit import THRIFT, full


def kubernetes_service(
    name: str = "hello",
    *,
    address: str = "127.20.0.1",
    target: object = None,
    ports: Mapping[int, str] | None = None,
) -> KubernetesService:
    """A Service with one Thrift port, 9090."""
    named = {9090: THRIFT} if ports is None else ports
    return KubernetesService(
        metadata=Metadata(name=name, namespace="demo"),
        spec=KubernetesServiceSpec(
            cluster_ip=address,
            selector={"app": name},
            ports=tuple(
                KubernetesPort(port=number, name=each, target_port=target)
                for number, each in named.items()
            ),
        ),
    )


def pod(name: str, **labels: str) -> Pod:
    """A Pod with labels."""
    return Pod(metadata=Metadata(name=name, namespace="demo", labels=labels))


def endpoint(address: str, pod: str = "", **more: Any) -> dict[str, Any]:
    """An endpoint of a slice, as JSON has it; a Pod's if one is named."""
    ref = {"targetRef": {"kind": "Pod", "name": pod}} if pod else {}
    return {"addresses": [address], **ref, **more}


def endpoint_slice(
    *endpoints: dict[str, Any],
    service: str = "hello",
    name: str = "",
    ports: Mapping[str, int] | None = None,
    family: str = "IPv4",
) -> EndpointSlice:
    """A slice of a Service, whose Pods listen on 8080 if not told otherwise."""
    listed = {THRIFT: 8080} if ports is None else ports
    labels = {SERVICE_NAME: service} if service else {}
    written = {
        "metadata": {"name": name or f"{service}-1", "namespace": "demo", "labels": labels},
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [{"name": each, "port": number} for each, number in listed.items()],
    }
    return msgspec.convert(written, EndpointSlice)


def selecting(resolution: Resolution = "STATIC", **labels: str) -> ServiceEntry:
    """A ServiceEntry that lists nobody and selects workloads."""
    return ServiceEntry(
        metadata=Metadata(name="hello", namespace="demo"),
        spec=ServiceEntrySpec(
            hosts=(full("hello"),),
            addresses=("127.20.0.1",),
            ports=(ServicePort(number=9090, name=THRIFT),),
            resolution=resolution,
            workload_selector=WorkloadSelector(labels=labels),
        ),
    )


def workload(name: str, address: str, **labels: str) -> WorkloadEntry:
    """A WorkloadEntry with labels in its spec."""
    return WorkloadEntry(
        metadata=Metadata(name=name, namespace="demo"),
        spec=WorkloadEndpoint(address=address, labels=labels, ports={THRIFT: 7070}),
    )
