"""Where a proxy listens for a service when nothing redirects traffic (INTERCEPTION_MODE NONE).

In: a service, a port and the proxy's bind mode. Out: a listener, or a finding that says why there
is none. Addresses: the service's VIP if it is a loopback address, else what the proxy was told to
bind, `vip` meaning the VIP itself with freebind (design §2, "Listener addresses").
"""

from __future__ import annotations

from dataclasses import dataclass

from aeraki_xds._proto.envoy.config.core.v3 import Address, SocketAddress, TrafficDirection
from aeraki_xds._proto.envoy.config.listener.v3 import Filter, FilterChain, Listener
from aeraki_xds._proto.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from aeraki_xds.encode import pack
from aeraki_xds.mesh.addresses import is_loopback
from aeraki_xds.mesh.names import Host, cluster_name
from aeraki_xds.mesh.objects import key_of
from aeraki_xds.mesh.ports import PortProtocol
from aeraki_xds.mesh.problems import Finding, Problem, warning
from aeraki_xds.mesh.service import Port, Service
from aeraki_xds.translate import thrift
from aeraki_xds.translate.output import Draft, Output

BIND_VIP = "vip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What differs between proxies of one namespace.

    `bind` is `""`, an IP address or `vip` (node metadata AERAKI_BIND); `extensions` the names of
    the proxy's network filters, None for a stock build.
    """

    bind: str = ""
    extensions: frozenset[str] | None = None

    def has(self, extension: str) -> bool:
        """Whether the proxy has a network filter."""
        return self.extensions is None or extension in self.extensions


def listener_of(
    service: Service, port: Port, protocol: PortProtocol, *, is_thrift: bool, variant: Variant
) -> Output:
    """The listener of a port that names a protocol of ours.

    Two services may claim one socket; who gets it is settled where all hosts meet, by age.
    """
    where = _address(service, variant.bind)
    if isinstance(where, Problem):
        return _noted(port, where)
    address, freebind = where
    name = f"{address}_{port.number}"
    output = Output()
    if is_thrift and variant.has(thrift.FILTER):
        chain = thrift.filter_of(service, port.number)
        needs = [thrift.route_id(service, port.number)]
    else:
        chain = _tcp_filter(service.spelled, port.number)
        needs = []
        message = (
            f"no filter of the proxy speaks {protocol.application or protocol.protocol}: "
            "connections pass through as TCP, and no rule about it has any effect"
        )
        output = _noted(port, warning(f"{port.field}.name", message))
    listener = Listener(
        name=name,
        address=Address(socket_address=SocketAddress(address=address, port_value=port.number)),
        filter_chains=[FilterChain(filters=[chain])],
        traffic_direction=TrafficDirection.OUTBOUND,
        freebind=freebind or None,
    )
    return output + Output(drafts=(Draft.of(name, listener, needs),))


def _address(service: Service, bind: str) -> tuple[str, bool] | Problem:
    """Where to listen and whether the address may be foreign (freebind)."""
    loopback = next((a for a in service.addresses if is_loopback(a)), None)
    if loopback is not None:
        return loopback, False
    if bind == BIND_VIP and service.addresses:
        return service.addresses[0], True
    if bind and bind != BIND_VIP:
        return bind, False
    vip, choices = "no IP address", "an address"
    if service.addresses:
        vip, choices = f"{service.addresses[0]}, which the proxy does not own", "an address or vip"
    message = (
        f"no listener: {service.host} has {vip}; use a 127.x address, or set AERAKI_BIND in the "
        f"proxy's node metadata to {choices}"
    )
    return warning("spec.addresses", message)


def _tcp_filter(host: Host, port: int) -> Filter:
    """The filter of last resort: bytes through to the service as a whole."""
    name = cluster_name(host, port)
    proxy = TcpProxy(stat_prefix=name, cluster=name)
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(proxy))


def _noted(port: Port, problem: Problem) -> Output:
    return Output(findings=(Finding(key=key_of(port.entry), problem=problem),))
