"""What patches put into Envoy is the canonical JSON of Envoy's own messages.

Every value of every case and example is read by the official classes of its type and written by
them again: a misspelt field, a default that is spelled out or a number out of range would show.
MetaProtocol's messages are in no package (`fields` holds their list); what is Envoy's in them is.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from aeraki_xds.translate.envoyfilter.profile import PROFILES
from tests.official import normal
from tests.translate.envoyfilter.cases import Patch, patches

MODULES = (
    "envoy.extensions.access_loggers.file.v3.file_pb2",
    "envoy.extensions.filters.network.dubbo_proxy.v3.dubbo_proxy_pb2",
    "envoy.extensions.filters.network.dubbo_proxy.router.v3.router_pb2",
    "envoy.extensions.filters.network.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.network.redis_proxy.v3.redis_proxy_pb2",
    "envoy.extensions.filters.network.thrift_proxy.v3.thrift_proxy_pb2",
    "envoy.extensions.filters.network.thrift_proxy.router.v3.router_pb2",
    "envoy.extensions.filters.network.zookeeper_proxy.v3.zookeeper_proxy_pb2",
    "envoy.config.cluster.v3.cluster_pb2",
    "envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2",
)
FOREIGN = (
    "aeraki.",
    "envoy.tcp.metadataexchange.",
    "envoy.extensions.filters.network.kafka_broker.",
)
"""Types that no package has: Aeraki's, Istio's, and what Envoy has in contrib only."""


def official(full_name: str) -> Any:
    """An empty message of Envoy's."""
    from google.protobuf import descriptor_pool, message_factory

    for module in MODULES:
        importlib.import_module(module)
    descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    return message_factory.GetMessageClass(descriptor)()


def assert_canonical(full_name: str, value: dict[str, Any]) -> None:
    from google.protobuf import json_format

    message = json_format.ParseDict(value, official(full_name))
    assert normal(json_format.MessageToDict(message)) == normal(value)


def known(value: Any) -> Any:
    """A value without the messages that nobody here knows."""
    match value:
        case dict() if is_foreign(value):
            return None
        case dict():
            return {name: kept for name, of in value.items() if (kept := known(of)) is not None}
        case list():
            return [kept for of in value if (kept := known(of)) is not None]
        case _:
            return value


def is_foreign(value: dict[str, Any]) -> bool:
    return str(value.get("@type", "")).removeprefix("type.googleapis.com/").startswith(FOREIGN)


def anys(value: Any) -> Iterator[dict[str, Any]]:
    """Every message inside an Any."""
    if isinstance(value, dict):
        if "@type" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from anys(each)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_patch_is_the_canonical_json_of_its_message(profile: str) -> None:
    seen: set[str] = set()
    for patch in patches(profile):
        if not patch.message.startswith(FOREIGN):
            assert_canonical(patch.message, known(patch.value))
            seen.add(patch.message.rpartition(".")[2])
    assert seen == {
        "Cluster",
        "DubboProxy",
        "RedisProxy",
        "ThriftProxy",
        "ZooKeeperProxy",
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_what_of_envoy_is_inside_a_metaprotocol_filter_is_canonical_too(profile: str) -> None:
    logs = [
        each
        for patch in patches(profile)
        if patch.message.startswith(FOREIGN)
        for each in anys(patch.value)
        if not is_foreign(each)
    ]
    assert logs
    for each in logs:
        full_name = each["@type"].removeprefix("type.googleapis.com/")
        assert_canonical(full_name, {key: of for key, of in each.items() if key != "@type"})


def test_a_value_that_is_not_canonical_is_noticed() -> None:
    message = "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy"
    (good, *_) = (patch for patch in patches("aeraki-1.4") if patch.message == message)
    assert isinstance(good, Patch)
    for broken in ({**good.value, "transport": "AUTO_TRANSPORT"}, {"stat_prefix": "x"}):
        with pytest.raises(AssertionError):
            assert_canonical(message, broken)
