"""Kubernetes' Service and EndpointSlice and Istio's mesh config: what our translations rely on.

The API server has judged them already; a folder has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aeraki_xds.mesh.addresses import is_address
from aeraki_xds.mesh.ports import Protocol, parse_port_name
from aeraki_xds.mesh.problems import Problem, error, warning
from aeraki_xds.mesh.validation import names
from aeraki_xds.mesh.validation.amounts import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.objects import EndpointSlice, KubernetesServiceSpec, MeshConfigSpec


def service(spec: KubernetesServiceSpec) -> Iterator[Problem]:
    """Everything wrong with a Service."""
    for i, port in enumerate(spec.ports):
        yield from names.port(port.port, f"spec.ports[{i}].port")
        yield from names.protocol(port.name, f"spec.ports[{i}].name")
        if port.app_protocol in set(Protocol) and parse_port_name(port.name) is None:
            message = f"is not read: the protocol is told from the name, tcp-{port.app_protocol}"
            yield warning(f"spec.ports[{i}].appProtocol", message)
        yield from _target_port(port.target_port, f"spec.ports[{i}].targetPort")


def _target_port(target: object, field: str) -> Iterator[Problem]:
    match target:
        case None:
            pass
        case int() if not isinstance(target, bool):
            yield from names.port(target, field)
        case str() if target:
            pass
        case _:
            yield error(field, f"must be from 1 to {names.MAX_PORT}, or the name of a port")


def endpoint_slice(item: EndpointSlice) -> Iterator[Problem]:
    """Everything wrong with an EndpointSlice, as far as it is read: names to look up are not."""
    for i, endpoint in enumerate(item.endpoints if item.address_type != "FQDN" else ()):
        for address in endpoint.addresses[:1]:
            if not is_address(address):
                message = f"is no IP address: {names.quoted(address)}"
                yield error(f"endpoints[{i}].addresses[0]", message)
    for i, port in enumerate(item.ports):
        if port.port:
            yield from names.port(port.port, f"ports[{i}].port")


def mesh_config(spec: MeshConfigSpec) -> Iterator[Problem]:
    """Everything wrong with a mesh config, under its place in the ConfigMap."""
    tracing = spec.default_config.tracing if spec.default_config else None
    share = tracing.sampling if tracing else None
    if share is not None and not 0 <= share <= WHOLE:  # written so that NaN fails
        field = "data.mesh.defaultConfig.tracing.sampling"
        yield error(field, f"must be from 0 to {WHOLE}, is {share:g}")
