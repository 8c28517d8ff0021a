"""Kafka and ZooKeeper ports: filters that count, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aeraki_xds.translate.envoyfilter import metrics
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.translate.envoyfilter.site import INSERT_BEFORE, Generated, Site
from tests.translate.envoyfilter.kit import LIKE_AERAKI, MENDED
from tests.translate.envoyfilter.sites import site_of, text_about

BROKER = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: broker, namespace: mq}
spec:
  hosts: [broker.mq.svc.cluster.local]
  addresses: [240.240.0.1]
  ports: [{number: 9092, name: tcp-kafka}]
  resolution: STATIC
---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: broker, namespace: mq}
spec:
  hosts: [broker.mq.svc.cluster.local]
  routes: [{route: [{destination: {host: broker}}]}]
"""
HOST = "broker.mq.svc.cluster.local"


@pytest.mark.parametrize("delivery", [LIKE_AERAKI, MENDED])
@pytest.mark.parametrize(
    ("generate", "name", "message"),
    [
        (metrics.kafka, "kafka_broker", "KafkaBroker"),
        (metrics.zookeeper, "zookeeper_proxy", "ZooKeeperProxy"),
    ],
)
def test_a_filter_that_counts_goes_before_the_tcp_proxy_each_way(
    generate: Callable[[Site], Generated], name: str, message: str, delivery: EnvoyFilters
) -> None:
    made = generate(site_of(BROKER, HOST, delivery))
    for filter_, cluster in (
        (made.outbound, f"outbound|9092||{HOST}"),
        (made.inbound, "inbound|9092||"),
    ):
        assert filter_ is not None
        assert filter_.name == f"envoy.filters.network.{name}"
        assert filter_.message == f"envoy.extensions.filters.network.{name}.v3.{message}"
        assert filter_.config == {"statPrefix": cluster}
        assert filter_.operation == INSERT_BEFORE


def test_a_router_that_such_a_filter_cannot_follow_is_told_so() -> None:
    made = metrics.kafka(site_of(BROKER, HOST, MENDED))
    assert "no effect" in text_about(made, "MetaRouter/mq/broker spec.routes")
