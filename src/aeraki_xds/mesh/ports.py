"""What a port's name says about its protocol (specification §2.4).

`<transport>-<protocol>[-<rest>…]`; for MetaProtocol the third token is the application protocol.
One parser for every place that asks: Aeraki had three that disagreed (M-26).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

THRIFT_CODEC: Final = "aeraki.meta_protocol.codec.thrift"

BUILT_IN_CODECS: Final = {"dubbo": "aeraki.meta_protocol.codec.dubbo", "thrift": THRIFT_CODEC}
"""Application protocols that exist without an ApplicationProtocol, and that none may override."""


class Protocol(StrEnum):
    """The layer-7 protocols that port names can name."""

    DUBBO = "dubbo"
    THRIFT = "thrift"
    MONGO = "mongo"
    REDIS = "redis"
    MYSQL = "mysql"
    KAFKA = "kafka"
    ZOOKEEPER = "zookeeper"
    METAPROTOCOL = "metaprotocol"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortProtocol:
    """A recognised port name. `application` is set for MetaProtocol only, case-sensitive."""

    protocol: Protocol
    application: str = ""


HTTP_TRANSPORTS: Final = frozenset({"grpc", "http", "http2", "http3", "https", "ws", "wss"})
"""First tokens for which Istio builds listeners without a TCP filter: nothing to replace there."""


@lru_cache(maxsize=1024)  # a mesh has few, and each is asked for many times
def parse_port_name(name: str, *, any_transport: bool = False) -> PortProtocol | None:
    """Read a port name; None when it names no protocol of ours, so the port stays untouched.

    The transport must be `tcp`: Istio builds no TCP listener otherwise, and `http-kafka-ui` is a
    web page (M-26). `any_transport` takes all but those that say HTTP, as Aeraki does where it has
    an effect. `tcp-metaprotocol` without an application protocol is not recognised either.
    """
    transport, _, rest = name.partition("-")
    tokens = rest.split("-")
    try:
        protocol = Protocol(tokens[0].lower())
    except ValueError:
        return None
    if transport.lower() != "tcp" and (not any_transport or transport.lower() in HTTP_TRANSPORTS):
        return None
    if protocol is not Protocol.METAPROTOCOL:
        return PortProtocol(protocol=protocol)
    if len(tokens) < 2 or not tokens[1]:
        return None
    return PortProtocol(protocol=protocol, application=tokens[1])
