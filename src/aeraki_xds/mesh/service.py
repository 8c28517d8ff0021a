"""What the ServiceEntries of one host say together.

In: the entries that declare a host, oldest first. Out: one `Service`, and findings for what a
later entry may not say. The oldest declaration of a port stays in force (design §7, "who owns a
host"); Aeraki let the last, random one win (X-9).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aeraki_xds.mesh.addresses import bindable
from aeraki_xds.mesh.names import Host, Namespace
from aeraki_xds.mesh.objects import ServiceEntry, ServicePort, key_of
from aeraki_xds.mesh.ports import PortProtocol, parse_port_name
from aeraki_xds.mesh.problems import Finding, error


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a service, its protocol where the name says one, and the entry that declares it."""

    spec: ServicePort
    protocol: PortProtocol | None
    entry: ServiceEntry

    @property
    def number(self) -> int:
        """The port that clients connect to."""
        return self.spec.number

    @property
    def field(self) -> str:
        """The path of the port in its entry."""
        return f"spec.ports[{self.entry.spec.ports.index(self.spec)}]"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A host with its ports in declared order and the plain IP addresses that it is reached at.

    `host` is its full name, `spelled` the one that its entry writes, which may be short: Istio's
    clusters bear it, so ours and all names that go with them do too.
    """

    host: Host
    spelled: Host
    namespace: Namespace
    ports: tuple[Port, ...]
    addresses: tuple[str, ...]
    exported_to: frozenset[Namespace] | None

    def port(self, number: int) -> Port | None:
        """The port of that number."""
        return next((port for port in self.ports if port.number == number), None)

    @property
    def is_public(self) -> bool:
        """Whether a proxy of any namespace may see the service."""
        return self.exported_to is None

    def visible_in(self, namespace: Namespace | None) -> bool:
        """Whether a proxy of that namespace may see the service; None sees everything."""
        return namespace is None or self.exported_to is None or namespace in self.exported_to


def service_of(
    host: Host, entries: Sequence[ServiceEntry], *, spelled: Host | None = None
) -> tuple[Service, tuple[Finding, ...]]:
    """Put the entries of a host together; `entries` is not empty and sorted by age."""
    ports: dict[int, Port] = {}
    findings: list[Finding] = []
    for entry in entries:
        for n, spec in enumerate(entry.spec.ports):
            taken = ports.get(spec.number)
            if taken is None:
                protocol = parse_port_name(spec.name)
                ports[spec.number] = Port(spec=spec, protocol=protocol, entry=entry)
            elif taken.entry is not entry:
                problem = error(
                    f"spec.ports[{n}].number",
                    f"conflict: {host} port {spec.number} is declared by the older "
                    f"{key_of(taken.entry)}, which stays in force",
                )
                findings.append(Finding(key=key_of(entry), problem=problem))
    first = entries[0]
    service = Service(
        host=host,
        spelled=spelled or host,
        namespace=Namespace(first.metadata.namespace),
        ports=tuple(ports.values()),
        addresses=plain_addresses(first),
        exported_to=_exported_to(first),
    )
    return service, tuple(findings)


def plain_addresses(entry: ServiceEntry) -> tuple[str, ...]:
    """The entry's addresses that one can listen on: no CIDR block, not 0.0.0.0."""
    return tuple(filter(None, map(bindable, entry.spec.addresses)))


def _exported_to(entry: ServiceEntry) -> frozenset[Namespace] | None:
    exported = entry.spec.export_to
    if not exported or "*" in exported:
        return None
    own = entry.metadata.namespace
    return frozenset(Namespace(own if name == "." else name) for name in exported)
