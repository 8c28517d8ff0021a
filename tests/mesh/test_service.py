"""Services: what the ServiceEntries of one host say together."""

from __future__ import annotations

import msgspec
import pytest

from aeraki_xds.mesh.names import Namespace
from aeraki_xds.mesh.objects import ServiceEntry, ServicePort
from aeraki_xds.mesh.ports import PortProtocol, Protocol
from aeraki_xds.mesh.problems import error
from aeraki_xds.mesh.service import plain_addresses, service_of
from tests.mesh.kit import full, service

HELLO = full("hello")


def with_addresses(*addresses: str) -> ServiceEntry:
    plain = service()
    return msgspec.structs.replace(
        plain, spec=msgspec.structs.replace(plain.spec, addresses=addresses)
    )


def test_a_service_has_the_ports_of_its_entry_in_their_order_with_their_protocols() -> None:
    entry = service(ports={9092: "tcp-thrift", 80: "http"})
    found, findings = service_of(HELLO, [entry])
    assert [(port.number, port.protocol) for port in found.ports] == [
        (9092, PortProtocol(protocol=Protocol.THRIFT)),
        (80, None),
    ]
    assert findings == ()


def test_a_port_knows_its_path_in_its_entry() -> None:
    found, _ = service_of(
        HELLO, [service(ports={1: "a"}), service(name="y", ports={3: "c", 2: "b"})]
    )
    assert [port.field for port in found.ports] == [
        "spec.ports[0]",
        "spec.ports[0]",
        "spec.ports[1]",
    ]


def test_entries_add_their_ports() -> None:
    older, younger = service(ports={1: "a"}), service(name="younger", ports={2: "b"})
    found, findings = service_of(HELLO, [older, younger])
    assert [(port.number, port.entry) for port in found.ports] == [(1, older), (2, younger)]
    assert findings == ()


def test_a_port_belongs_to_the_older_entry_and_the_younger_is_told() -> None:
    older = service(ports={9090: "tcp-thrift"})
    younger = service(name="younger", ports={9091: "tcp-dubbo", 9090: "tcp-dubbo"})
    found, (finding,) = service_of(HELLO, [older, younger])
    port = found.port(9090)
    assert port is not None
    assert port.entry is older
    assert finding.key.name == "younger"
    assert finding.problem == error(
        "spec.ports[1].number",
        "conflict: hello.demo.svc.cluster.local port 9090 is declared by the older "
        "ServiceEntry/demo/hello, which stays in force",
    )


def test_of_two_ports_with_one_number_in_one_entry_the_first_is_used() -> None:
    plain = service()
    twice = (ServicePort(number=1, name="a"), ServicePort(number=1, name="b"))
    entry = msgspec.structs.replace(plain, spec=msgspec.structs.replace(plain.spec, ports=twice))
    found, findings = service_of(HELLO, [entry])
    assert [port.spec.name for port in found.ports] == ["a"]
    assert findings == ()  # validation has warned already


def test_namespace_and_addresses_are_those_of_the_oldest_entry() -> None:
    older = service(address="127.0.0.9", namespace="one")
    younger = service(address="127.0.0.8", namespace="two")
    found, _ = service_of(HELLO, [older, younger])
    assert found.namespace == "one"
    assert found.addresses == ("127.0.0.9",)


def test_addresses_are_those_that_one_can_listen_on() -> None:
    entry = with_addresses("10.0.0.0/24", "0.0.0.0", "::", "not an address", "10.1.2.3", "FD00::01")
    assert plain_addresses(entry) == ("10.1.2.3", "fd00::1")


def test_there_is_no_port_of_another_number() -> None:
    found, _ = service_of(HELLO, [service()])
    assert found.port(1) is None


@pytest.mark.parametrize(
    ("export_to", "own", "other"),
    [
        ((), True, True),
        (("*",), True, True),
        ((".",), True, False),
        (("other",), False, True),
        ((".", "other"), True, True),
        (("third",), False, False),
    ],
)
def test_a_service_is_visible_where_it_is_exported_to(
    export_to: tuple[str, ...], own: bool, other: bool
) -> None:
    found, _ = service_of(HELLO, [service(export_to=export_to)])
    assert found.visible_in(Namespace("demo")) is own
    assert found.visible_in(Namespace("other")) is other
    assert found.visible_in(None)
