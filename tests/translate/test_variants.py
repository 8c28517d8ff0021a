"""What translation makes depends on what the proxy can do."""

from __future__ import annotations

import pytest

from aeraki_xds._proto.envoy.config.listener.v3 import Listener
from aeraki_xds.translate import thrift
from aeraki_xds.translate.compose import Ads
from aeraki_xds.translate.listeners import Variant
from tests.official import assert_agrees
from tests.translate.golden import Case
from tests.translate.served import outputs

HELLO = "hello.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("extensions", "filter_name"),
    [
        (None, "envoy.filters.network.thrift_proxy"),
        (frozenset({thrift.FILTER}), "envoy.filters.network.thrift_proxy"),
        (frozenset[str](), "envoy.filters.network.tcp_proxy"),
        (frozenset({"envoy.filters.network.redis_proxy"}), "envoy.filters.network.tcp_proxy"),
    ],
)
def test_a_proxy_without_the_thrift_filter_passes_bytes_through_and_says_so(
    extensions: frozenset[str] | None, filter_name: str
) -> None:
    recipe = Ads(variant=Variant(extensions=extensions))
    composed = outputs(Case(name="thrift-default").events(), recipe)
    output = next(each for host, each in composed.items() if host == HELLO)
    ((listener, message),) = (
        (each, each.message) for each in output.drafts if isinstance(each.message, Listener)
    )
    (chain,) = assert_agrees(message)["filterChains"]
    assert [each["name"] for each in chain["filters"]] == [filter_name]
    has_filter = filter_name == thrift.FILTER
    assert bool(listener.needs) == has_filter  # a listener waits for its route table
    said = [str(finding.problem) for finding in output.findings]
    passes = (
        "spec.ports[0].name: warning: no filter of the proxy speaks thrift: connections pass "
        "through as TCP, and no rule about it has any effect"
    )
    assert said == ([] if has_filter else [passes])
