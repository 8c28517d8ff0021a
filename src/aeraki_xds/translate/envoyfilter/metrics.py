"""Kafka and ZooKeeper: filters that only count, before the TCP proxy, which stays.

In: a site. Out: a filter each way that bears the name of its cluster (specification §3.4, §3.5).
Envoy's Kafka filter is one of its contrib extensions: a proxy without it refuses the listener.
"""

from __future__ import annotations

from aeraki_xds.mesh.names import ClusterName
from aeraki_xds.translate.envoyfilter.native import unused_routers
from aeraki_xds.translate.envoyfilter.site import INSERT_BEFORE, Generated, NetworkFilter, Site

_NETWORK = "envoy.filters.network"
_MESSAGES = "envoy.extensions.filters.network"


def kafka(site: Site) -> Generated:
    """The filters of a Kafka port."""
    return _both_ways(site, "kafka_broker", "KafkaBroker")


def zookeeper(site: Site) -> Generated:
    """The filters of a ZooKeeper port."""
    return _both_ways(site, "zookeeper_proxy", "ZooKeeperProxy")


def _both_ways(site: Site, name: str, message: str) -> Generated:
    def counting(cluster: ClusterName) -> NetworkFilter:
        return NetworkFilter(
            name=f"{_NETWORK}.{name}",
            message=f"{_MESSAGES}.{name}.v3.{message}",
            config={"statPrefix": cluster},
            operation=INSERT_BEFORE,
        )

    return Generated(
        outbound=counting(site.outbound_cluster),
        inbound=counting(site.inbound_cluster),
        findings=unused_routers(site),
    )
