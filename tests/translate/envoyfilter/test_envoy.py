"""A real Envoy accepts what patches put into it.

Filters and clusters of all cases are put into static bootstraps, the filters as TypedStruct as they
are. Of what a stock Envoy does not have, the name is listed here, and the rest is held against it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from aeraki_xds.translate.envoyfilter.profile import PROFILES
from tests.translate.envoyfilter.cases import Patch, patches
from tests.translate.test_envoy import refusal

pytestmark = pytest.mark.e2e

Json = dict[str, Any]
NETWORK = "envoy.filters.network."
TYPES = "type.googleapis.com/"


def bootstrap(found: Iterable[Patch]) -> Json:
    """Every patch in a place of its own."""
    listeners, clusters, named = [], [], set()
    for n, patch in enumerate(found):
        named |= clusters_of(patch.value)
        if patch.message == "envoy.config.cluster.v3.Cluster":
            clusters.append(cluster_of(n, patch))
        else:
            listeners.append(listener(n, filters_of(patch)))
    static = [{"name": each, "type": "STATIC", "connect_timeout": "1s"} for each in sorted(named)]
    return {
        "node": {"id": "x", "cluster": "x"},
        "dynamic_resources": {"ads_config": ADS},
        "static_resources": {"listeners": listeners, "clusters": [XDS, *clusters, *static]},
    }


XDS: Json = {
    "name": "aeraki-xds",
    "type": "STATIC",
    "connect_timeout": "1s",
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    },
}
ADS: Json = {
    "api_type": "GRPC",
    "transport_api_version": "V3",
    "grpc_services": [{"envoy_grpc": {"cluster_name": "aeraki-xds"}}],
}


def listener(n: int, filters: list[Json]) -> Json:
    return {
        "name": str(n),
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1000 + n}},
        "filter_chains": [{"filters": filters}],
    }


def tcp_proxy(**of: object) -> Json:
    proxy = f"{TYPES}envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    config = {"@type": proxy, "stat_prefix": "x", "cluster": "aeraki-xds", **of}
    return {"name": f"{NETWORK}tcp_proxy", "typed_config": config}


FOREIGN = {
    "envoy.filters.network.meta_protocol_proxy": "Aeraki's data plane",
    "envoy.filters.network.kafka_broker": "contrib",
    "envoy.filters.dubbo.rbac": "a build of its own (D-8)",
    "istio.metadata_exchange": "Istio's proxy",
}
"""Extensions that a stock Envoy does not have, and who does."""

UNTYPED = {
    "envoy.filters.thrift.router": (
        f"{TYPES}envoy.extensions.filters.network.thrift_proxy.router.v3.Router"
    ),
    "envoy.transport_sockets.raw_buffer": (
        f"{TYPES}envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    ),
}
"""What Aeraki names without a type, as old Envoys took it; `current-fields` gives the type."""


def filters_of(patch: Patch) -> list[Json]:
    """A patch's filter as far as a stock Envoy has it, before a TCP proxy where it needs one."""
    whole = copy.deepcopy(patch.whole)
    config = whole["typed_config"]["value"]
    if whole["name"] in FOREIGN:
        return [tcp_proxy(access_log=config.get("accessLog", []))]
    checked = [
        {"name": f"{NETWORK}rbac", "typed_config": each["config"]}
        for each in config.get("dubboFilters", ())
        if each["name"] in FOREIGN
    ]
    if "dubboFilters" in config:
        config["dubboFilters"] = [e for e in config["dubboFilters"] if e["name"] not in FOREIGN]
    for each in config.get("thriftFilters", ()):
        each.setdefault("typedConfig", {"@type": UNTYPED[each["name"]]})
    last = [tcp_proxy()] if patch.operation == "INSERT_BEFORE" else []
    return [*checked, whole, *last]


def cluster_of(n: int, patch: Patch) -> Json:
    value = copy.deepcopy(patch.value)
    value["filters"] = [e for e in value.get("filters", ()) if e["name"] not in FOREIGN]
    for each in value.get("transportSocketMatches", ()):
        socket = each["transportSocket"]
        socket.setdefault("typedConfig", {"@type": UNTYPED[socket["name"]]})
    return {**value, "name": f"{n} {value['name']}"}


def with_files(config: Any, folder: Path) -> Any:
    """Passwords from files that exist, for Envoy reads them at once."""
    match config:
        case {"filename": str(name)}:
            file = folder / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("secret", encoding="utf-8")
            return {"filename": str(file)}
        case dict():
            return {key: with_files(of, folder) for key, of in config.items()}
        case list():
            return [with_files(each, folder) for each in config]
        case _:
            return config


def clusters_of(value: object) -> set[str]:
    """The clusters that a filter sends to."""
    found: set[str] = set()
    if isinstance(value, dict):
        found |= {of for key, of in value.items() if key == "cluster" and isinstance(of, str)}
        weighted = value.get("weightedClusters")
        found |= {of["name"] for of in weighted["clusters"]} if weighted else set()
        value = list(value.values())
    if isinstance(value, list):
        found.update(*(clusters_of(each) for each in value))
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_envoy_takes_every_patch_as_far_as_it_has_the_extensions(
    profile: str, tmp_path: Path
) -> None:
    found = patches(profile)
    assert len(found) > 50
    assert refusal(with_files(bootstrap(found), tmp_path), tmp_path) == ""


@pytest.mark.parametrize("profile", PROFILES)
def test_only_the_extensions_that_are_listed_are_foreign(profile: str) -> None:
    """Each of them does occur, so the list says what a user needs."""
    named = {name for patch in patches(profile) for name in extensions(patch.whole)}
    assert named - STOCK == set(FOREIGN)


STOCK = {
    "envoy.access_loggers.file",
    "envoy.clusters.redis",
    "envoy.filters.dubbo.router",
    "envoy.filters.network.dubbo_proxy",
    "envoy.filters.network.redis_proxy",
    "envoy.filters.network.thrift_proxy",
    "envoy.filters.network.zookeeper_proxy",
    "envoy.filters.thrift.router",
    "envoy.transport_sockets.raw_buffer",
}


def extensions(value: object) -> set[str]:
    """The names of Envoy's and Istio's extensions; Aeraki's own are within its filter."""
    found: set[str] = set()
    if isinstance(value, dict):
        name = value.get("name")
        if isinstance(name, str) and name.startswith(("envoy.", "istio.")):
            found.add(name)
        value = list(value.values())
    if isinstance(value, list):
        found.update(*(extensions(each) for each in value))
    return found


def test_envoy_refuses_a_value_that_is_broken(tmp_path: Path) -> None:
    good = next(each for each in patches("current") if each.message.endswith("RedisProxy"))
    broken = copy.deepcopy(bootstrap([good]))
    config = broken["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    config["typed_config"]["value"]["statPrefix"] = ""
    assert "StatPrefix" in refusal(broken, tmp_path)


def test_envoy_refuses_thrifts_router_without_a_type(tmp_path: Path) -> None:
    """So what Aeraki writes for Thrift no Envoy of today takes: the profile stays equal to it."""
    found = [each for each in patches("aeraki-1.4") if each.message.endswith("ThriftProxy")][:1]
    config = bootstrap(found)
    config["static_resources"]["listeners"] = [listener(0, [found[0].whole])]
    assert "envoy.filters.thrift.router" in refusal(config, tmp_path)
