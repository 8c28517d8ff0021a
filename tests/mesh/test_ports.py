"""The grammar of port names, as a table (specification §2.4)."""

from __future__ import annotations

import pytest

from aeraki_xds.mesh.ports import PortProtocol, Protocol, parse_port_name

RECOGNISED = {
    "tcp-dubbo": Protocol.DUBBO,
    "tcp-Dubbo": Protocol.DUBBO,
    "TCP-dubbo": Protocol.DUBBO,
    "tcp-Dubbo-28001": Protocol.DUBBO,
    "tcp-thrift": Protocol.THRIFT,
    "tcp-thrift-": Protocol.THRIFT,
    "tcp-thrift-hello-server": Protocol.THRIFT,
    "tcp-mongo": Protocol.MONGO,
    "tcp-redis": Protocol.REDIS,
    "tcp-mysql": Protocol.MYSQL,
    "tcp-kafka": Protocol.KAFKA,
    "tcp-zookeeper": Protocol.ZOOKEEPER,
}

APPLICATIONS = {
    "tcp-metaprotocol-dubbo": "dubbo",
    "tcp-metaprotocol-thrift": "thrift",
    "tcp-metaprotocol-tRPC": "tRPC",
    "tcp-metaprotocol-trpc-main-2": "trpc",
    "TCP-MetaProtocol-trpc": "trpc",
}

NOT_OURS = [
    "",
    "-",
    "tcp",
    "tcp-",
    "tcp--dubbo",
    "http",
    "Dubbo",
    "dubbo",
    "tcp-dubbox",
    "tcp-http",
    "tcpdubbo",
    "http-kafka-ui",
    "udp-redis",
    "tcp_dubbo",
    "tcp-metaprotocol",
    "tcp-metaprotocol-",
    "http-metaprotocol-dubbo",
]


@pytest.mark.parametrize(("name", "protocol"), RECOGNISED.items())
def test_a_tcp_port_says_its_protocol_in_any_case_and_with_any_suffix(
    name: str, protocol: Protocol
) -> None:
    assert parse_port_name(name) == PortProtocol(protocol=protocol)


@pytest.mark.parametrize(("name", "application"), APPLICATIONS.items())
def test_a_metaprotocol_port_says_its_application_protocol_and_case_counts(
    name: str, application: str
) -> None:
    expected = PortProtocol(protocol=Protocol.METAPROTOCOL, application=application)
    assert parse_port_name(name) == expected


@pytest.mark.parametrize("name", NOT_OURS)
def test_every_other_port_is_left_alone(name: str) -> None:
    assert parse_port_name(name) is None
