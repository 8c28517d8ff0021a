"""What the custom resource definitions refuse: each rule is broken by an object, and so are the
schemas in what they say of a value.

The verdicts on these objects are those of a real API server (tests/cluster/test_definitions.py).
"""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Upsert
from tests.deploy.admission import (
    DEFINITIONS,
    RULES,
    Rule,
    broken,
    refusals,
    schema_of,
    schemas,
)
from tests.manifests import (
    APPLICATION_PROTOCOL,
    DROP,
    DUBBO_POLICY,
    META_ROUTER,
    REDIS_DESTINATION,
    REDIS_SERVICE,
    edited,
)

ROUTE: Final = "spec.routes[0]"
LOCAL: Final = "spec.localRateLimit"
GLOBAL: Final = "spec.globalRateLimit"
POOL: Final = "spec.trafficPolicy.connectionPool"
SETTINGS: Final = "spec.settings"
SOURCE: Final = "spec.rules[0].from[0].source"

Row = tuple[dict[str, Any], dict[str, Any], str]

BROKEN: Final[list[Row]] = [
    # --- MetaRouter
    (META_ROUTER, {"spec.hosts": DROP}, "name the host"),  # V1
    (META_ROUTER, {"spec.hosts": []}, "name one host"),  # V1
    (META_ROUTER, {"spec.hosts[1]": "other"}, "name one host"),  # V2
    (META_ROUTER, {"spec.hosts[0]": "*.shop"}, "is no host"),  # V3
    (META_ROUTER, {"spec.hosts[0]": "10.0.0.7"}, "ends in a number"),  # V3
    (META_ROUTER, {"spec.routes": DROP, LOCAL: DROP, GLOBAL: DROP}, "says nothing"),  # V4
    (META_ROUTER, {f"{ROUTE}.match.attributes": {"": {}}}, "attribute is empty"),  # V6
    (META_ROUTER, {f"{ROUTE}.requestMutation[0].key": ""}, "key and value"),  # V8
    (META_ROUTER, {f"{ROUTE}.responseMutation[0].value": DROP}, "key and value"),  # V8
    (META_ROUTER, {f"{ROUTE}.mirror": DROP}, "has no mirror"),  # V9
    (META_ROUTER, {f"{ROUTE}.mirrorPercentage": {}}, "write value"),  # V10
    (META_ROUTER, {f"{ROUTE}.mirror.host": DROP}, "name the host"),  # V11
    (META_ROUTER, {f"{ROUTE}.mirror.port": {}}, "write number"),  # V11
    (META_ROUTER, {f"{ROUTE}.route[0].destination.host": DROP}, "name the host"),  # V11
    (META_ROUTER, {f"{ROUTE}.route[1].destination.port": {}}, "write number"),  # V11
    (META_ROUTER, {f"{ROUTE}.route": DROP}, "at least one destination"),  # V12
    (META_ROUTER, {f"{ROUTE}.route[0].destination": DROP}, "say where"),  # V13
    (META_ROUTER, {f"{ROUTE}.route[0].weight": 61}, "add up to 100"),  # V15
    (META_ROUTER, {f"{ROUTE}.route[0].weight": DROP}, "add up to 100"),  # V15
    (META_ROUTER, {"spec.exportTo": ["a", "b", "a"]}, "named twice"),  # V16
    (META_ROUTER, {"spec.exportTo": ["*", "a"]}, "includes everyone"),  # V16
    (META_ROUTER, {f"{GLOBAL}.match.attributes": {"": {}}}, "attribute is empty"),  # V17
    (META_ROUTER, {f"{GLOBAL}.domain": ""}, "name the domain"),  # V17
    (META_ROUTER, {f"{GLOBAL}.rateLimitService": DROP}, "name the Envoy cluster"),  # V17
    (META_ROUTER, {f"{GLOBAL}.descriptors": []}, "nothing is limited"),  # V17
    (META_ROUTER, {f"{GLOBAL}.descriptors[0].property": ""}, "name the attribute"),  # V17
    (META_ROUTER, {f"{GLOBAL}.descriptors[0].descriptorKey": DROP}, "name the key"),  # V17
    (META_ROUTER, {f"{GLOBAL}.requestTimeout": "0s"}, "must be more than 0"),
    (META_ROUTER, {LOCAL: {}}, "limits nothing"),  # V18
    (META_ROUTER, {LOCAL: {"conditions": []}}, "limits nothing"),  # V18
    (META_ROUTER, {f"{LOCAL}.tokenBucket.fillInterval": DROP}, "how often it is filled"),  # V18
    (META_ROUTER, {f"{LOCAL}.tokenBucket.fillInterval": "49ms"}, "at least 50ms"),
    (META_ROUTER, {f"{LOCAL}.tokenBucket.fillInterval": "soon"}, "at least 50ms"),
    (META_ROUTER, {f"{LOCAL}.tokenBucket.maxTokens": DROP}, "calls it allows at most"),  # V18
    (META_ROUTER, {f"{LOCAL}.tokenBucket.tokensPerFill": DROP}, "each filling allows"),  # V18
    (META_ROUTER, {f"{LOCAL}.tokenBucket.tokensPerFill": None}, "each filling allows"),  # V18
    (META_ROUTER, {f"{LOCAL}.conditions[0].match": DROP}, "which calls"),  # V18
    (META_ROUTER, {f"{LOCAL}.conditions[0].match.attributes": {"": {}}}, "is empty"),  # V18
    (META_ROUTER, {f"{LOCAL}.conditions[0].tokenBucket": DROP}, "how many calls"),  # V18
    (META_ROUTER, {f"{LOCAL}.conditions[0].tokenBucket.fillInterval": DROP}, "how often"),
    (META_ROUTER, {f"{LOCAL}.conditions[0].tokenBucket.fillInterval": "1ms"}, "at least 50ms"),
    (META_ROUTER, {f"{LOCAL}.conditions[0].tokenBucket.maxTokens": DROP}, "at most"),
    (META_ROUTER, {f"{LOCAL}.conditions[0].tokenBucket.tokensPerFill": DROP}, "each filling"),
    # --- ApplicationProtocol
    (APPLICATION_PROTOCOL, {"spec.protocol": ""}, "name that ports use"),
    (APPLICATION_PROTOCOL, {"spec.protocol": "my-rpc"}, "split at -"),
    (APPLICATION_PROTOCOL, {"spec.codec": DROP}, "name the codec"),
    (APPLICATION_PROTOCOL, {"spec.protocol": "dubbo"}, "built in"),
    # --- RedisService
    (REDIS_SERVICE, {"spec.host": []}, "name the hosts"),
    (REDIS_SERVICE, {"spec.host[1]": "sessions.shop.svc.cluster.local"}, "named twice"),
    (REDIS_SERVICE, {f"{SETTINGS}.auth": {}}, "write plain or secret"),
    (REDIS_SERVICE, {f"{SETTINGS}.auth.plain.password": ""}, "nobody is asked"),
    (REDIS_SERVICE, {f"{SETTINGS}.auth": {"secret": {}}}, "name a Secret"),
    (REDIS_SERVICE, {f"{SETTINGS}.opTimeout": "1us"}, "at least 1ms"),
    (REDIS_SERVICE, {f"{SETTINGS}.bufferFlushTimeout": "-1s"}, "less than 0"),
    (REDIS_SERVICE, {"spec.redis[0].route": DROP}, "where the commands go"),
    (REDIS_SERVICE, {"spec.redis[0].route.host": DROP}, "name the host"),
    (REDIS_SERVICE, {"spec.redis[0].mirror[0].route": DROP}, "where the copies go"),
    (REDIS_SERVICE, {"spec.redis[0].mirror[0].route.host": DROP}, "name the host"),
    (REDIS_SERVICE, {"spec.redis[0].mirror[0].percentage": {}}, "write value"),
    (REDIS_SERVICE, {"spec.faults[0].percentage": DROP}, "how many of the commands"),
    (REDIS_SERVICE, {"spec.faults[0].percentage": {}}, "write value"),
    (REDIS_SERVICE, {"spec.faults[1].delay": DROP}, "say how long"),
    (REDIS_SERVICE, {"spec.faults[1].delay": "1us"}, "say how long"),
    (REDIS_SERVICE, {"spec.faults[0].delay": "-1ms"}, "less than 0"),
    # --- RedisDestination
    (REDIS_DESTINATION, {"spec.host": DROP}, "name the host"),
    (REDIS_DESTINATION, {f"{POOL}.redis.auth": {}}, "write plain or secret"),
    (REDIS_DESTINATION, {f"{POOL}.redis.auth": {"plain": {}}}, "nobody is asked"),
    (REDIS_DESTINATION, {f"{POOL}.redis.auth.secret.name": ""}, "name a Secret"),
    (REDIS_DESTINATION, {f"{POOL}.tcp.connectTimeout": "0s"}, "at least 1ms"),
    (REDIS_DESTINATION, {f"{POOL}.tcp.tcpKeepalive.time": "0s"}, "more than 0"),
    (REDIS_DESTINATION, {f"{POOL}.tcp.tcpKeepalive.interval": "-1s"}, "more than 0"),
    # --- DubboAuthorizationPolicy
    (DUBBO_POLICY, {f"{SOURCE}.principals[0]": "spiffe://a/ns/b/sa/c"}, "leave that out"),
    (DUBBO_POLICY, {f"{SOURCE}.notPrincipals": ["spiffe://a/ns/b/sa/c"]}, "leave that out"),
]
"""Objects that break a rule."""

MISSHAPEN: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    (META_ROUTER, {"spec.routes[0]": None}),  # V5
    (META_ROUTER, {f"{ROUTE}.match.attributes.method": {"exact": "a", "prefix": "a"}}),
    (META_ROUTER, {f"{ROUTE}.match.attributes.method": {"regex": ""}}),  # V7
    (META_ROUTER, {f"{ROUTE}.match.attributes.method": {"prefix": ""}}),
    (META_ROUTER, {f"{ROUTE}.mirrorPercentage.value": 0}),  # V10
    (META_ROUTER, {f"{ROUTE}.mirrorPercentage.value": 100.5}),  # V10
    (META_ROUTER, {f"{ROUTE}.route[0].destination.host": "*"}),  # V11
    (META_ROUTER, {f"{ROUTE}.route[0].destination.subset": "-v1"}),  # V11
    (META_ROUTER, {f"{ROUTE}.route[1].destination.port.number": 0}),  # V11
    (META_ROUTER, {f"{ROUTE}.route[1].destination.port.number": 65536}),  # V11
    (META_ROUTER, {f"{ROUTE}.route[0]": None}),  # V13
    (META_ROUTER, {f"{ROUTE}.route[0].weight": 101}),  # V14
    (META_ROUTER, {"spec.exportTo": ["~"]}),  # V16
    (META_ROUTER, {"spec.gateways": ["a/b/c"]}),
    (META_ROUTER, {f"{LOCAL}.tokenBucket.maxTokens": 0}),  # V18
    (META_ROUTER, {f"{LOCAL}.tokenBucket.tokensPerFill": 0}),  # V18
    (META_ROUTER, {f"{LOCAL}.tokenBucket.fillInterval": 1}),
    (REDIS_SERVICE, {"spec.host[0]": "*.shop"}),
    (REDIS_SERVICE, {f"{SETTINGS}.auth.secret": {"name": "a"}}),
    (REDIS_SERVICE, {f"{SETTINGS}.readPolicy": "SLAVE"}),
    (REDIS_SERVICE, {f"{SETTINGS}.maxBufferSizeBeforeFlush": -1}),
    (REDIS_SERVICE, {f"{SETTINGS}.maxUpstreamUnknownConnections": 2**32}),
    (REDIS_SERVICE, {"spec.redis[0].route.port": 65536}),
    (REDIS_SERVICE, {"spec.redis[0].match.key.prefix": "a" * 1001}),
    (REDIS_SERVICE, {"spec.faults[0].percentage.value": 101}),
    (REDIS_SERVICE, {"spec.faults[0].commands": [""]}),
    (REDIS_DESTINATION, {f"{POOL}.redis.auth.secret.name": "No"}),
    (REDIS_DESTINATION, {f"{POOL}.redis.discoveryEndpoints": [""]}),
    (REDIS_DESTINATION, {f"{POOL}.tcp.maxConnections": -1}),
    (DUBBO_POLICY, {"spec.action": "AUDIT"}),
    (DUBBO_POLICY, {f"{SOURCE}.principals[0]": "a*b"}),
    (DUBBO_POLICY, {f"{SOURCE}.principals[0]": "*a*"}),
    (DUBBO_POLICY, {f"{SOURCE}.namespaces[0]": ""}),
    (DUBBO_POLICY, {"spec.rules[0].to[0].operation.methods[0]": "**"}),
]
"""Objects of which the schema refuses a value."""


def named(row: tuple[Any, ...]) -> str:
    changes = ", ".join(f"{path}={value!r}" for path, value in row[1].items())
    return re.sub(r"<object object at \w+>", "gone", f"{row[0]['kind']}: {changes}")[:120]


@pytest.mark.parametrize("row", BROKEN, ids=named)
def test_an_object_that_breaks_a_rule_is_told_which(row: Row) -> None:
    manifest, changes, message = row
    (refusal,) = refusals(edited(manifest, changes))
    assert message in refusal


@pytest.mark.parametrize("row", MISSHAPEN, ids=named)
def test_a_value_that_cannot_be_is_refused(row: tuple[dict[str, Any], dict[str, Any]]) -> None:
    document = edited(*row)
    (place,) = (path.replace("spec", "$.spec", 1) for path in row[1])
    stem = re.split(r"[\[.](?=[^\[.]*$)", place)[0]
    found = refusals(document)
    assert found
    assert all(refusal.startswith(stem) for refusal in found)


@pytest.mark.parametrize("row", [*BROKEN, *MISSHAPEN], ids=named)
def test_the_api_server_refuses_nothing_that_validation_accepts(row: tuple[Any, ...]) -> None:
    """What both see is judged alike, so nothing that works in a folder is refused in a cluster."""
    assert not isinstance(decode(edited(row[0], row[1]), origin="row.yaml"), Upsert)


def test_every_rule_is_broken_by_some_object() -> None:
    rules: set[tuple[str, Rule]] = {
        (kind, (path, rule["rule"]))
        for kind in DEFINITIONS
        for path, schema in schemas(schema_of(kind))
        for rule in schema.get(RULES, ())
    }
    tried = {
        (manifest["kind"], rule)
        for manifest, changes, _ in BROKEN
        for rule, _ in broken(schema_of(manifest["kind"]), edited(manifest, changes))
    }
    assert rules - tried == set()
