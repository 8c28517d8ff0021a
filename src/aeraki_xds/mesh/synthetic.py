"""A Kubernetes Service as Istio sees it: as a ServiceEntry.

In: a Service and the cluster's DNS suffix. Out: the entry that istiod makes of it (specification
§2.1), with what Istio leaves out and we need: target ports and annotations. It keeps the name of
the Service, so that whoever is told of a problem finds the object.
"""

from __future__ import annotations

from typing import Final

from aeraki_xds.mesh.names import Namespace, full_host
from aeraki_xds.mesh.objects import KubernetesService, SyntheticServiceEntry
from aeraki_xds.mesh.objects.istio import (
    Resolution,
    ServiceEntrySpec,
    ServicePort,
    WorkloadSelector,
)

HEADLESS: Final = "None"
EXPORT_TO: Final = "networking.istio.io/exportTo"
"""Annotation of a Service: what `exportTo` is to a ServiceEntry."""


def service_entry(service: KubernetesService, domain: str) -> SyntheticServiceEntry:
    """The entry of a Service. Its pods are found by other means, so it has no endpoints."""
    spec, meta = service.spec, service.metadata
    exported = meta.annotations.get(EXPORT_TO, "")
    return SyntheticServiceEntry(
        metadata=meta,
        spec=ServiceEntrySpec(
            hosts=(full_host(meta.name, Namespace(meta.namespace), domain),),
            addresses=_addresses(service),
            ports=tuple(
                ServicePort(
                    number=port.port,
                    name=port.name,
                    protocol=port.protocol,
                    target_port=port.target_port if isinstance(port.target_port, int) else 0,
                )
                for port in spec.ports
            ),
            resolution=_resolution(service),
            workload_selector=WorkloadSelector(labels=spec.selector) if spec.selector else None,
            export_to=tuple(name.strip() for name in exported.split(",") if name.strip()),
        ),
        target_names={
            port.port: port.target_port for port in spec.ports if isinstance(port.target_port, str)
        },
    )


def _addresses(service: KubernetesService) -> tuple[str, ...]:
    """All cluster IPs; a headless Service has the one that stands for any."""
    spec = service.spec
    found = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    if HEADLESS in found:
        return ("0.0.0.0",)  # a name for it, nobody listens there
    return found


def _resolution(service: KubernetesService) -> Resolution:
    if service.spec.type == "ExternalName":
        return "DNS"
    return "NONE" if _addresses(service) == ("0.0.0.0",) else "STATIC"
