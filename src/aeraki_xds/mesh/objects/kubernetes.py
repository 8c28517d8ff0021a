"""Kubernetes' own kinds that we read: Service, with the EndpointSlices and Pods behind it, Secret,
and the ConfigMap with Istio's mesh config.

Further fields are skipped: these objects are about much that is not ours.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from aeraki_xds.mesh.objects.base import Metadata, Password


class _Kubernetes(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of Kubernetes' types: further fields are skipped."""


class KubernetesPort(_Kubernetes, frozen=True):
    """A port of a Service. `target_port` is a number, or the name of a container's port."""

    port: int
    name: str = ""
    protocol: str = ""
    app_protocol: str = ""
    target_port: object = None


class KubernetesServiceSpec(_Kubernetes, frozen=True):
    """Where a service is reached and which pods serve it."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] = msgspec.field(name="clusterIPs", default=())
    external_name: str = ""
    selector: dict[str, str] = {}
    ports: tuple[KubernetesPort, ...] = ()


class KubernetesService(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """v1 Service. It means what `mesh.synthetic` makes of it: a ServiceEntry."""

    metadata: Metadata
    spec: KubernetesServiceSpec = KubernetesServiceSpec()


class EndpointConditions(_Kubernetes, frozen=True):
    """How an endpoint is. That nothing is said of it means that it is ready."""

    ready: bool = True


class TargetRef(_Kubernetes, frozen=True):
    """The object behind an endpoint, mostly a Pod; of the slice's namespace if it names none."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class SliceEndpoint(_Kubernetes, frozen=True):
    """One that serves. Of several addresses only the first means something (Kubernetes API)."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    target_ref: TargetRef = TargetRef()
    zone: str = ""


class SlicePort(_Kubernetes, frozen=True):
    """Where the endpoints of a slice serve the port of that name; 0 is wherever they are asked."""

    name: str = ""
    port: int = 0


class EndpointSlice(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """discovery.k8s.io EndpointSlice: some of those who serve a Service, at the same ports."""

    metadata: Metadata
    address_type: str = ""
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[SlicePort, ...] = ()


class Pod(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """v1 Pod: its labels. Whether it is ready and where, EndpointSlices say."""

    metadata: Metadata


class Secret(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """v1 Secret, its values decoded from base64. None of them is ever printed."""

    metadata: Metadata
    data: dict[str, Password] = {}


class Tracing(_Kubernetes, frozen=True):
    """How much is traced, in per cent; None where it is not said."""

    sampling: float | None = None


class ProxyDefaults(_Kubernetes, frozen=True):
    """What proxies are told where nothing else tells them."""

    tracing: Tracing | None = Tracing()


class MeshConfigSpec(_Kubernetes, frozen=True):
    """The part of Istio's MeshConfig that we read, with Istio's defaults (specification §2.7)."""

    access_log_file: str = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    access_log_format: str = ""
    enable_tracing: bool = True
    default_config: ProxyDefaults | None = ProxyDefaults()
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()


class MeshConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """v1 ConfigMap whose key `mesh` holds Istio's mesh config as YAML, read."""

    metadata: Metadata
    spec: MeshConfigSpec = msgspec.field(name="data.mesh", default=MeshConfigSpec())
