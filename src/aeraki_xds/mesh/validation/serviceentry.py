"""ServiceEntry and WorkloadEntry: enough of Istio's rules that clusters and endpoints can be made.

Laxer than Istio's webhook on purpose: a service that Istio delivers must not vanish over a
blemish such as two ports of one number (issues #91, #279), so what can be lived with is a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aeraki_xds.mesh.addresses import is_address, is_network
from aeraki_xds.mesh.problems import Problem, error, warning
from aeraki_xds.mesh.validation import amounts, names
from aeraki_xds.mesh.validation.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.objects import ServiceEntrySpec, ServicePort, WorkloadEndpoint


def check(spec: ServiceEntrySpec) -> Iterator[Problem]:
    """Everything wrong with a ServiceEntry."""
    yield from _hosts(spec.hosts)
    for i, address in enumerate(spec.addresses):
        if not is_network(address):
            message = f"{quoted(address)} is neither an IP address nor a CIDR"
            yield error(f"spec.addresses[{i}]", message)
    yield from _ports(spec.ports)
    declared = {port.name for port in spec.ports}
    for i, endpoint in enumerate(spec.endpoints):
        yield from _endpoint(endpoint, f"spec.endpoints[{i}]", spec.resolution, declared)


def _hosts(hosts: tuple[str, ...]) -> Iterator[Problem]:
    if not hosts:
        yield error("spec.hosts", "is empty: name the host of the service")
    for i, host in enumerate(hosts):
        where = f"spec.hosts[{i}]"
        if host.startswith("*."):
            yield warning(where, f"{quoted(host)} is a wildcard: it is not translated")
            yield from names.host(host.removeprefix("*."), where)
        else:
            yield from names.host(host, where)


def _ports(ports: tuple[ServicePort, ...]) -> Iterator[Problem]:
    numbers: dict[int, int] = {}
    by_name: dict[str, int] = {}
    for i, port in enumerate(ports):
        where = f"spec.ports[{i}]"
        yield from names.port(port.number, f"{where}.number")
        if numbers.setdefault(port.number, i) != i:
            first = f"spec.ports[{numbers[port.number]}]"
            message = f"{port.number} is the number of {first} too: the first one is used"
            yield warning(f"{where}.number", message)
        yield from names.protocol(port.name, f"{where}.name")
        if not port.name:
            message = "is empty: its protocol is told from its name, such as tcp-thrift"
            yield warning(f"{where}.name", message)
        elif by_name.setdefault(port.name, i) != i:
            first = f"spec.ports[{by_name[port.name]}]"
            message = f"{quoted(port.name)} is the name of {first} too: endpoints need it unique"
            yield error(f"{where}.name", message)
        if port.target_port:
            yield from names.port(port.target_port, f"{where}.targetPort")


def workload(spec: WorkloadEndpoint) -> Iterator[Problem]:
    """Everything wrong with a WorkloadEntry. Which ports there are, entries know that select it."""
    if not is_address(spec.address):
        yield from names.host(spec.address, "spec.address")
    for name, number in spec.ports.items():
        yield from names.port(number, f"spec.ports[{name}]")
    yield from amounts.count(spec.weight, "spec.weight")


def _endpoint(
    endpoint: WorkloadEndpoint, field: str, resolution: str, declared: set[str]
) -> Iterator[Problem]:
    address = endpoint.address
    if is_address(address):
        pass
    elif resolution == "STATIC":
        message = f"must be an IP address as the resolution is STATIC, is {quoted(address)}"
        yield error(f"{field}.address", message)
    else:
        yield from names.host(address, f"{field}.address")
    for name, number in endpoint.ports.items():
        where = f"{field}.ports[{name}]"
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            yield error(where, f"no port of the service is named {quoted(name)} (known: {known})")
        yield from names.port(number, where)
    yield from amounts.count(endpoint.weight, f"{field}.weight")
