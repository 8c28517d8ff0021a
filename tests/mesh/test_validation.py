"""The rules, one row each: what is changed in a valid object, and which problems that makes.

A row names every problem that `check` reports, by field and a few words of its message, so a rule
that fires twice or elsewhere fails too. Rows without problems are the boundaries of the rules.
"""

from __future__ import annotations

from typing import Any

import pytest

from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Rejected
from aeraki_xds.mesh.problems import Severity
from aeraki_xds.mesh.validation import check
from tests.manifests import (
    ALL,
    APPLICATION_PROTOCOL,
    DESTINATION_RULE,
    DROP,
    META_ROUTER,
    SERVICE_ENTRY,
    VIRTUAL_SERVICE,
    edited,
)
from tests.mesh.judged import Changes, Expected, Row, assert_problems, item_of

ROUTE = "spec.routes[0].route"
MATCH = "spec.routes[0].match"
LIMIT = "spec.localRateLimit"
BUCKET = "spec.localRateLimit.tokenBucket"
SHARED = "spec.globalRateLimit"
LONG_LABEL = "a" * 64
HOST_255 = ".".join(["a" * 63] * 3 + ["a" * 63])

META_ROUTER_ERRORS: dict[str, Row] = {
    "V1 no host": ({"spec.hosts": []}, [("spec.hosts", "is empty")]),
    "V1 hosts absent": ({"spec.hosts": DROP}, [("spec.hosts", "is empty")]),
    "V2 two hosts": ({"spec.hosts[1]": "b.c"}, [("spec.hosts", "has 2 hosts")]),
    "V2 and V3 together": (
        {"spec.hosts[1]": "b_c"},
        [("spec.hosts", "has 2 hosts"), ("spec.hosts[1]", "'b_c'")],
    ),
    "V3 empty host": ({"spec.hosts[0]": ""}, [("spec.hosts[0]", "is empty")]),
    "V3 only a dot": ({"spec.hosts[0]": "."}, [("spec.hosts[0]", "is empty")]),
    "V3 two trailing dots": ({"spec.hosts[0]": "a.."}, [("spec.hosts[0]", "label ''")]),
    "V3 256 characters": (
        {"spec.hosts[0]": HOST_255 + "."},
        [("spec.hosts[0]", "has 256 characters")],
    ),
    "V3 an address": ({"spec.hosts[0]": "10.0.0.1"}, [("spec.hosts[0]", "'10.0.0.1' ends in")]),
    "V3 a label of 64": ({"spec.hosts[0]": LONG_LABEL}, [("spec.hosts[0]", "at most 63")]),
    "V3 a label with a dash at its end": (
        {"spec.hosts[0]": "a.b-.c"},
        [("spec.hosts[0]", "the label 'b-' in 'a.b-.c'")],
    ),
    "V3 a line break": ({"spec.hosts[0]": "a\n"}, [("spec.hosts[0]", "'a\\n'")]),
    "V3 a wildcard": ({"spec.hosts[0]": "*.a.b"}, [("spec.hosts[0]", "wildcard")]),
    "V4 nothing said": (
        {"spec.routes": [], LIMIT: DROP, SHARED: DROP},
        [("spec", "says nothing")],
    ),
    "V6 empty attribute name": (
        {f"{MATCH}.attributes": {"": {"exact": "x"}}},
        [(f"{MATCH}.attributes[]", "name of the attribute is empty")],
    ),
    "V6 an attribute name that Envoy refuses": (
        {f"{MATCH}.attributes": {"a\rb": {}}},
        [(f"{MATCH}.attributes[a\rb]", "line break")],
    ),
    "V7 empty regex": (
        {f"{MATCH}.attributes[group].regex": ""},
        [(f"{MATCH}.attributes[group].regex", "write `{}`")],
    ),
    "V7 the documented presence match": (
        {f"{MATCH}.attributes[group].regex": "*"},
        [(f"{MATCH}.attributes[group].regex", "write `{}`")],
    ),
    "V7 a look-ahead, which Python has and RE2 has not": (
        {f"{MATCH}.attributes[group].regex": "(?=a)b"},
        [
            (
                f"{MATCH}.attributes[group].regex",
                "'(?=a)b' is no regular expression: invalid perl operator: (?= (RE2 syntax: http",
            )
        ],
    ),
    "V7 a lone surrogate": (
        {f"{MATCH}.attributes[group].regex": "\ud800"},
        [(f"{MATCH}.attributes[group].regex", "is no regular expression")],
    ),
    "empty prefix": (
        {f"{MATCH}.attributes[user].prefix": ""},
        [(f"{MATCH}.attributes[user].prefix", "is empty")],
    ),
    "two conditions in one": (
        {f"{MATCH}.attributes[method].regex": "x"},
        [(f"{MATCH}.attributes[method]", "has exact and regex")],
    ),
    "V8 empty key": (
        {"spec.routes[0].requestMutation[0].key": ""},
        [("spec.routes[0].requestMutation[0].key", "is empty")],
    ),
    "V8 value absent": (
        {"spec.routes[0].responseMutation[0].value": DROP},
        [("spec.routes[0].responseMutation[0].value", "is empty")],
    ),
    "V9 a share of no mirror": (
        {"spec.routes[0].mirror": DROP},
        [("spec.routes[0].mirrorPercentage", "no mirror")],
    ),
    "V10 nothing": (
        {"spec.routes[0].mirrorPercentage": {}},
        [("spec.routes[0].mirrorPercentage.value", "more than 0 and at most 100, is 0")],
    ),
    "V10 below nothing": (
        {"spec.routes[0].mirrorPercentage.value": -0.1},
        [("spec.routes[0].mirrorPercentage.value", "is -0.1")],
    ),
    "V10 more than all": (
        {"spec.routes[0].mirrorPercentage.value": 100.01},
        [("spec.routes[0].mirrorPercentage.value", "is 100.01")],
    ),
    "V10 not a number": (
        {"spec.routes[0].mirrorPercentage.value": float("nan")},
        [("spec.routes[0].mirrorPercentage.value", "is nan")],
    ),
    "V11 mirror without a host": (
        {"spec.routes[0].mirror.host": DROP},
        [("spec.routes[0].mirror.host", "is empty")],
    ),
    "V11 mirror at a bad port": (
        {"spec.routes[0].mirror.port": {"number": 65536}},
        [("spec.routes[0].mirror.port.number", "from 1 to 65535, is 65536")],
    ),
    "V11 an address as destination": (
        {f"{ROUTE}[0].destination.host": "10.0.0.1"},
        [(f"{ROUTE}[0].destination.host", "'10.0.0.1'")],
    ),
    "V11 subset with an underscore": (
        {f"{ROUTE}[0].destination.subset": "v_1"},
        [(f"{ROUTE}[0].destination.subset", "'v_1' is not a subset's name")],
    ),
    "V11 an empty port": (
        {f"{ROUTE}[0].destination.port": {}},
        [(f"{ROUTE}[0].destination.port.number", "is 0")],
    ),
    "V12 no destination at all": ({ROUTE: []}, [(ROUTE, "at least one destination")]),
    "V13 an entry without destination": (
        {f"{ROUTE}[0].destination": DROP},
        [(f"{ROUTE}[0].destination", "is missing")],
    ),
    "V14 101 per cent": (
        {ROUTE: [{"destination": {"host": "a"}, "weight": 101}]},
        [(f"{ROUTE}[0].weight", "from 0 to 100, is 101")],
    ),
    "V14 a negative weight, although the sum is right": (
        {
            ROUTE: [
                {"destination": {"host": "a"}, "weight": -1},
                {"destination": {"host": "a"}, "weight": 100},
                {"destination": {"host": "a"}, "weight": 1},
            ]
        },
        [(f"{ROUTE}[0].weight", "is -1")],
    ),
    "V15 99 per cent": ({f"{ROUTE}[1].weight": 39}, [(ROUTE, "add up to 99")]),
    "V15 101 per cent": ({f"{ROUTE}[1].weight": 41}, [(ROUTE, "add up to 101")]),
    "V16 twice the same": (
        {"spec.exportTo": ["a", "a"]},
        [("spec.exportTo[1]", "'a' says the same as spec.exportTo[0]: remove one")],
    ),
    "V16 twice the own namespace": (
        {"spec.exportTo": [".", "shop"]},
        [("spec.exportTo[1]", "same as spec.exportTo[0] ('.' is shop)")],
    ),
    "V16 twice the own namespace, the other way round": (
        {"spec.exportTo": ["shop", "."]},
        [("spec.exportTo[1]", "same as spec.exportTo[0] ('.' is shop)")],
    ),
    "V16 nobody": ({"spec.exportTo": ["~"]}, [("spec.exportTo[0]", "'~' (nobody)")]),
    "V16 no namespace": ({"spec.exportTo": ["a.b"]}, [("spec.exportTo[0]", "'a.b'")]),
    "V16 everyone and someone": (
        {"spec.exportTo": ["*", "a"]},
        [("spec.exportTo", "write it alone")],
    ),
    "V17 nothing said": (
        {SHARED: {}},
        [
            (f"{SHARED}.domain", "is empty"),
            (f"{SHARED}.rateLimitService", "is empty"),
            (f"{SHARED}.descriptors", "is empty"),
        ],
    ),
    "V17 an empty descriptor": (
        {f"{SHARED}.descriptors": [{}]},
        [
            (f"{SHARED}.descriptors[0].property", "is empty"),
            (f"{SHARED}.descriptors[0].descriptorKey", "is empty"),
        ],
    ),
    "V17 its match obeys V7": (
        {f"{SHARED}.match.attributes[method]": {"regex": "("}},
        [(f"{SHARED}.match.attributes[method].regex", "'('")],
    ),
    "V17 no time to answer": (
        {f"{SHARED}.requestTimeout": "0s"},
        [(f"{SHARED}.requestTimeout", "more than 0")],
    ),
    "V17 a negative time to answer": (
        {f"{SHARED}.requestTimeout": "-1s"},
        [(f"{SHARED}.requestTimeout", "more than 0")],
    ),
    "V18 neither bucket nor conditions": ({LIMIT: {}}, [(LIMIT, "limits nothing")]),
    "V18 an empty bucket": (
        {BUCKET: {}},
        [
            (f"{BUCKET}.fillInterval", "is missing"),
            (f"{BUCKET}.tokensPerFill", "is missing"),
            (f"{BUCKET}.maxTokens", "is 0"),
        ],
    ),
    "V18 numbers below 1": (
        {f"{BUCKET}.tokensPerFill": 0, f"{BUCKET}.maxTokens": -1},
        [(f"{BUCKET}.tokensPerFill", "is 0"), (f"{BUCKET}.maxTokens", "is -1")],
    ),
    "V18 a number that protobuf cannot hold": (
        {f"{BUCKET}.maxTokens": 2**32},
        [(f"{BUCKET}.maxTokens", "to 4294967295")],
    ),
    "V18 filled too often": (
        {f"{BUCKET}.fillInterval": "49.9ms"},
        [(f"{BUCKET}.fillInterval", "at least 50ms, is 49.9ms")],
    ),
    "V18 filled before it began": (
        {f"{BUCKET}.fillInterval": "-1s"},
        [(f"{BUCKET}.fillInterval", "is -1000ms")],
    ),
    "V18 an empty condition": (
        {f"{LIMIT}.conditions": [{}]},
        [
            (f"{LIMIT}.conditions[0].match", "is missing"),
            (f"{LIMIT}.conditions[0].tokenBucket", "is missing"),
        ],
    ),
    "V18 the bucket and the match of a condition": (
        {
            f"{LIMIT}.conditions[0].match.attributes[method]": {"prefix": ""},
            f"{LIMIT}.conditions[0].tokenBucket.maxTokens": 0,
        },
        [
            (f"{LIMIT}.conditions[0].match.attributes[method].prefix", "is empty"),
            (f"{LIMIT}.conditions[0].tokenBucket.maxTokens", "is 0"),
        ],
    ),
    "gateway with two slashes": ({"spec.gateways": ["a/b/c"]}, [("spec.gateways[0]", "'a/b/c'")]),
    "gateway without a name": ({"spec.gateways": ["a/"]}, [("spec.gateways[0]", "'a/'")]),
    "gateway of no namespace": ({"spec.gateways": ["/a"]}, [("spec.gateways[0]", "'/a'")]),
    "empty gateway": ({"spec.gateways": ["a", ""]}, [("spec.gateways[1]", "''")]),
    "object's name": ({"metadata.name": "My_Router"}, [("metadata.name", "'My_Router'")]),
    "object's name of 254": ({"metadata.name": "a" * 254}, [("metadata.name", "at most 253")]),
    "object's namespace of 64": (
        {"metadata.namespace": "a" * 64},
        [("metadata.namespace", "at most 63")],
    ),
    "object's namespace": ({"metadata.namespace": "a.b"}, [("metadata.namespace", "'a.b'")]),
}

META_ROUTER_BOUNDARIES: dict[str, Changes] = {
    "V3 a single label": {"spec.hosts[0]": "reviews"},
    "V3 a trailing dot": {"spec.hosts[0]": "a.b."},
    "V3 upper case": {"spec.hosts[0]": "Reviews.Shop"},
    "V3 255 characters": {"spec.hosts[0]": HOST_255},
    "V3 a label of 63": {"spec.hosts[0]": "a" * 63},
    "V3 a number that is not the last label": {"spec.hosts[0]": "10.0.0.a"},
    "V4 routes are enough": {LIMIT: DROP, SHARED: DROP},
    "V4 a local limit is enough": {"spec.routes": DROP, SHARED: DROP},
    "V4 a global limit is enough": {"spec.routes": DROP, LIMIT: DROP},
    "V7 one of RE2's own": {f"{MATCH}.attributes[group].regex": r"\Qa.b\E|\z"},
    "V10 all": {"spec.routes[0].mirrorPercentage.value": 100},
    "V10 hardly any": {"spec.routes[0].mirrorPercentage.value": 0.0001},
    "V10 a mirror without a share": {"spec.routes[0].mirrorPercentage": DROP},
    "V11 lowest port": {f"{ROUTE}[0].destination.port": {"number": 1}},
    "V11 highest port": {f"{ROUTE}[0].destination.port": {"number": 65535}},
    "V14 all and nothing": {f"{ROUTE}[0].weight": 100, f"{ROUTE}[1].weight": 0},
    "V15 one destination needs no weight": {f"{ROUTE}": [{"destination": {"host": "a"}}]},
    "V16 everyone": {"spec.exportTo": ["*"]},
    "V16 own and another": {"spec.exportTo": [".", "a"]},
    "V17 no time-out": {f"{SHARED}.requestTimeout": DROP},
    "V17 hardly a time-out": {f"{SHARED}.requestTimeout": "1ns"},
    "V17 no match": {f"{SHARED}.match": DROP},
    "V18 only conditions": {BUCKET: DROP},
    "V18 only a bucket": {f"{LIMIT}.conditions": DROP},
    "V18 smallest": {f"{BUCKET}.maxTokens": 1, f"{BUCKET}.fillInterval": "50ms"},
    "V18 largest": {f"{BUCKET}.maxTokens": 2**32 - 1},
    "a regex that a stock Envoy takes (100 steps)": {f"{MATCH}.attributes[group].regex": "a{96}"},
    "an exact match of nothing": {f"{MATCH}.attributes[method].exact": ""},
    "object's name of 253": {"metadata.name": "a" * 253},
    "object's namespace of 63": {"metadata.namespace": "a" * 63},
    "object's name with dots": {"metadata.name": "a.b-c.1"},
}

META_ROUTER_WARNINGS: dict[str, Row] = {
    "behind a rule without a match": (
        {"spec.routes[0].match": DROP},
        [("spec.routes[1]", "spec.routes[0] matches everything")],
    ),
    "behind an empty match": (
        {"spec.routes[0].match": {}},
        [("spec.routes[1]", "spec.routes[0] matches everything")],
    ),
    "behind empty attributes": (
        {"spec.routes[0].match.attributes": {}},
        [("spec.routes[1]", "spec.routes[0] matches everything")],
    ),
    "behind a match of everything, although it has a match": (
        {"spec.routes[2]": META_ROUTER["spec"]["routes"][0]},
        [("spec.routes[2]", "spec.routes[1] matches everything")],
    ),
    "behind the same match": (
        {
            "spec.routes[1].match": {"attributes": {"a": {"exact": "b"}}},
            "spec.routes[2]": {
                "match": {"attributes": {"a": {"exact": "b"}}},
                "route": [{"destination": {"host": "reviews"}}],
            },
        },
        [("spec.routes[2]", "spec.routes[1] matches the same")],
    ),
    "an attribute that is no header name": (
        {f"{MATCH}.attributes": {"my method": {}}},
        [(f"{MATCH}.attributes[my method]", "no valid header name")],
    ),
    "a regex that a stock Envoy refuses (101 steps)": (
        {f"{MATCH}.attributes[group].regex": "a{97}"},
        [(f"{MATCH}.attributes[group].regex", "re2.max_program_size.error_level")],
    ),
}

SERVICE_ENTRY_ERRORS: dict[str, Row] = {
    "no host": ({"spec.hosts": []}, [("spec.hosts", "is empty")]),
    "a bad host": ({"spec.hosts[0]": "a_b.c"}, [("spec.hosts[0]", "'a_b'")]),
    "every host": ({"spec.hosts[0]": "*"}, [("spec.hosts[0]", "wildcard")]),
    "a bad address": ({"spec.addresses[0]": "reviews"}, [("spec.addresses[0]", "'reviews'")]),
    "a bad CIDR": ({"spec.addresses[0]": "10.0.0.0/33"}, [("spec.addresses[0]", "/33")]),
    "port 0": ({"spec.ports[0].number": 0}, [("spec.ports[0].number", "is 0")]),
    "port 65536": ({"spec.ports[0].number": 65536}, [("spec.ports[0].number", "is 65536")]),
    "a bad target port": (
        {"spec.ports[0].targetPort": -1},
        [("spec.ports[0].targetPort", "is -1")],
    ),
    "a name given twice": (
        {"spec.ports[1].name": "tcp-thrift"},
        [("spec.ports[1].name", "name of spec.ports[0] too")],
    ),
    "an endpoint's port that is not declared": (
        {"spec.endpoints[0].ports": {"tcp-thirft": 1}},
        [("spec.endpoints[0].ports[tcp-thirft]", "known: tcp-dubbo, tcp-thrift")],
    ),
    "an endpoint's bad port": (
        {"spec.endpoints[0].ports": {"tcp-thrift": 0}},
        [("spec.endpoints[0].ports[tcp-thrift]", "is 0")],
    ),
    "a static endpoint by name": (
        {"spec.endpoints[0].address": "reviews"},
        [("spec.endpoints[0].address", "'reviews'")],
    ),
    "an endpoint without an address": (
        {"spec.resolution": "DNS", "spec.endpoints[0].address": DROP},
        [("spec.endpoints[0].address", "is empty")],
    ),
    "a negative weight": (
        {"spec.endpoints[0].weight": -1},
        [("spec.endpoints[0].weight", "is -1")],
    ),
    "a weight that protobuf cannot hold": (
        {"spec.endpoints[0].weight": 2**32},
        [("spec.endpoints[0].weight", "to 4294967295")],
    ),
}

SERVICE_ENTRY_WARNINGS: dict[str, Row] = {
    "a wildcard host": ({"spec.hosts[0]": "*.a.b"}, [("spec.hosts[0]", "not translated")]),
    "a number given twice (#91)": (
        {"spec.ports[1].number": 9090},
        [("spec.ports[1].number", "number of spec.ports[0] too")],
    ),
    "ports without a name": (
        {"spec.ports[0].name": "", "spec.ports[1].name": "", "spec.endpoints": DROP},
        [("spec.ports[0].name", "is empty"), ("spec.ports[1].name", "is empty")],
    ),
}

SERVICE_ENTRY_BOUNDARIES: dict[str, Changes] = {
    "DNS endpoint by name": {
        "spec.resolution": "DNS",
        "spec.endpoints[0].address": "reviews.example.com",
    },
    "DNS endpoint by address": {"spec.resolution": "DNS"},
    "the lightest endpoint": {"spec.endpoints[0].weight": 0},
    "the heaviest endpoint": {"spec.endpoints[0].weight": 2**32 - 1},
    "an IPv6 endpoint": {"spec.endpoints[0].address": "fd00::7"},
    "no ports, no addresses": {"spec.ports": [], "spec.addresses": [], "spec.endpoints": []},
    "ports 1 and 65535": {"spec.ports[0].number": 1, "spec.ports[1].number": 65535},
}

ISTIO_ERRORS: dict[str, tuple[dict[str, Any], Changes, Expected]] = {
    "rule without a host": (DESTINATION_RULE, {"spec.host": ""}, [("spec.host", "is empty")]),
    "subset without a name": (
        DESTINATION_RULE,
        {"spec.subsets[0].name": DROP},
        [("spec.subsets[0].name", "''")],
    ),
    "subset with a bad name": (
        DESTINATION_RULE,
        {"spec.subsets[0].name": "v.1"},
        [("spec.subsets[0].name", "'v.1'")],
    ),
    "subset given twice": (
        DESTINATION_RULE,
        {"spec.subsets[1].name": "v1"},
        [("spec.subsets[1].name", "name of spec.subsets[0] too")],
    ),
    "no time to connect": (
        DESTINATION_RULE,
        {"spec.trafficPolicy.connectionPool.tcp.connectTimeout": "0.9ms"},
        [("spec.trafficPolicy.connectionPool.tcp.connectTimeout", "at least 1ms, is 0.9ms")],
    ),
    "no time to connect to a subset": (
        DESTINATION_RULE,
        {
            "spec.subsets[0].trafficPolicy": {
                "connectionPool": {"tcp": {"connectTimeout": "-1s"}},
            }
        },
        [("spec.subsets[0].trafficPolicy.connectionPool.tcp.connectTimeout", "is -1000ms")],
    ),
    "an empty host": (VIRTUAL_SERVICE, {"spec.hosts[0]": ""}, [("spec.hosts[0]", "is empty")]),
    "no destination": (
        VIRTUAL_SERVICE,
        {"spec.http[0].route[0].destination": DROP},
        [("spec.http[0].route[0].destination.host", "is missing")],
    ),
    "no destination's host": (
        VIRTUAL_SERVICE,
        {"spec.http[0].route[1].destination.host": ""},
        [("spec.http[0].route[1].destination.host", "is missing")],
    ),
    "a destination's bad port": (
        VIRTUAL_SERVICE,
        {"spec.http[0].route[0].destination.port.number": 0},
        [("spec.http[0].route[0].destination.port.number", "is 0")],
    ),
    "no weight at all": (
        VIRTUAL_SERVICE,
        {"spec.http[0].route[0].weight": 0, "spec.http[0].route[1].weight": 0},
        [("spec.http[0].route", "every weight is 0")],
    ),
    "a negative weight": (
        VIRTUAL_SERVICE,
        {"spec.http[0].route[0].weight": -1},
        [("spec.http[0].route[0].weight", "is -1")],
    ),
    "a mirror without a host": (
        VIRTUAL_SERVICE,
        {"spec.http[0].mirror": {}},
        [("spec.http[0].mirror.host", "is missing")],
    ),
    "no protocol": (
        APPLICATION_PROTOCOL,
        {"spec.protocol": ""},
        [("spec.protocol", "is empty")],
    ),
    "a protocol that no port can name": (
        APPLICATION_PROTOCOL,
        {"spec.protocol": "my-rpc"},
        [("spec.protocol", "'my-rpc' contains '-'")],
    ),
    "no codec": (APPLICATION_PROTOCOL, {"spec.codec": DROP}, [("spec.codec", "is empty")]),
    "nothing said": (
        APPLICATION_PROTOCOL,
        {"spec": {}},
        [("spec.protocol", "is empty"), ("spec.codec", "is empty")],
    ),
    "another codec for dubbo": (
        APPLICATION_PROTOCOL,
        {"spec.protocol": "dubbo"},
        [("spec.codec", "built in with the codec aeraki.meta_protocol.codec.dubbo")],
    ),
    "another codec for thrift": (
        APPLICATION_PROTOCOL,
        {"spec.protocol": "thrift"},
        [("spec.codec", "built in with the codec aeraki.meta_protocol.codec.thrift")],
    ),
}

ISTIO_BOUNDARIES: dict[str, tuple[dict[str, Any], Changes]] = {
    "one destination without a weight": (
        VIRTUAL_SERVICE,
        {"spec.http[0].route": [{"destination": {"host": "a"}}]},
    ),
    "a wildcard host is Istio's affair": (VIRTUAL_SERVICE, {"spec.hosts": ["*", "*.a.b"]}),
    "hardly a time to connect": (
        DESTINATION_RULE,
        {"spec.trafficPolicy.connectionPool.tcp.connectTimeout": "1ms"},
    ),
    "a rule for a wildcard too": (DESTINATION_RULE, {"spec.host": "*.local"}),
    "a built-in codec said again": (
        APPLICATION_PROTOCOL,
        {"spec.protocol": "dubbo", "spec.codec": "aeraki.meta_protocol.codec.dubbo"},
    ),
}


@pytest.mark.parametrize("manifest", ALL, ids=lambda manifest: manifest["kind"])
def test_a_valid_object_has_no_problems(manifest: dict[str, Any]) -> None:
    assert check(item_of(manifest)) == ()


@pytest.mark.parametrize(
    ("changes", "expected"), META_ROUTER_ERRORS.values(), ids=META_ROUTER_ERRORS
)
def test_a_meta_router_that_cannot_work_is_refused(changes: Changes, expected: Expected) -> None:
    assert_problems(META_ROUTER, changes, expected, Severity.ERROR)


@pytest.mark.parametrize(
    "changes", META_ROUTER_BOUNDARIES.values(), ids=list(META_ROUTER_BOUNDARIES)
)
def test_a_meta_router_at_the_boundary_of_a_rule_is_fine(changes: Changes) -> None:
    assert_problems(META_ROUTER, changes, [], Severity.ERROR)


@pytest.mark.parametrize(
    ("changes", "expected"), META_ROUTER_WARNINGS.values(), ids=META_ROUTER_WARNINGS
)
def test_a_meta_router_that_works_in_part_is_warned_about(
    changes: Changes, expected: Expected
) -> None:
    assert_problems(META_ROUTER, changes, expected, Severity.WARNING)


@pytest.mark.parametrize(
    ("changes", "expected"), SERVICE_ENTRY_ERRORS.values(), ids=SERVICE_ENTRY_ERRORS
)
def test_a_service_entry_that_cannot_work_is_refused(changes: Changes, expected: Expected) -> None:
    assert_problems(SERVICE_ENTRY, changes, expected, Severity.ERROR)


@pytest.mark.parametrize(
    ("changes", "expected"), SERVICE_ENTRY_WARNINGS.values(), ids=SERVICE_ENTRY_WARNINGS
)
def test_a_blemish_does_not_hide_a_service(changes: Changes, expected: Expected) -> None:
    assert_problems(SERVICE_ENTRY, changes, expected, Severity.WARNING)


@pytest.mark.parametrize(
    "changes", SERVICE_ENTRY_BOUNDARIES.values(), ids=list(SERVICE_ENTRY_BOUNDARIES)
)
def test_a_service_entry_at_the_boundary_of_a_rule_is_fine(changes: Changes) -> None:
    assert_problems(SERVICE_ENTRY, changes, [], Severity.ERROR)


@pytest.mark.parametrize(
    ("manifest", "changes", "expected"), ISTIO_ERRORS.values(), ids=ISTIO_ERRORS
)
def test_the_other_kinds_are_refused_where_we_rely_on_them(
    manifest: dict[str, Any], changes: Changes, expected: Expected
) -> None:
    assert_problems(manifest, changes, expected, Severity.ERROR)


@pytest.mark.parametrize(
    ("manifest", "changes"), ISTIO_BOUNDARIES.values(), ids=list(ISTIO_BOUNDARIES)
)
def test_the_other_kinds_are_left_to_istio_elsewhere(
    manifest: dict[str, Any], changes: Changes
) -> None:
    assert_problems(manifest, changes, [], Severity.ERROR)


def test_a_wildcard_of_no_valid_host_is_refused_as_well() -> None:
    problems = check(item_of(edited(SERVICE_ENTRY, {"spec.hosts[0]": "*.a_b"})))
    assert [(problem.field, problem.severity) for problem in problems] == [
        ("spec.hosts[0]", Severity.WARNING),
        ("spec.hosts[0]", Severity.ERROR),
    ]


def test_a_virtual_service_without_hosts_is_a_delegate_which_is_not_followed() -> None:
    changes, expected = {"spec.hosts": DROP}, [("spec.hosts", "delegates are not followed")]
    assert_problems(VIRTUAL_SERVICE, changes, expected, Severity.WARNING)


def test_every_problem_of_an_object_is_reported_at_once() -> None:
    changes = {
        "metadata.name": "Reviews",
        "spec.hosts[0]": "10.0.0.1",
        "spec.routes[0].route[0].weight": 61,
        "spec.routes[0].match.attributes[group].regex": "*",
        "spec.exportTo": ["~"],
    }
    problems = check(item_of(edited(META_ROUTER, changes)))
    assert [problem.field for problem in problems] == [
        "metadata.name",
        "spec.hosts[0]",
        "spec.routes[0].match.attributes[group].regex",
        "spec.routes[0].route",
        "spec.exportTo[0]",
    ]


def test_a_bad_regex_is_not_printed_by_the_engine(capfd: pytest.CaptureFixture[str]) -> None:
    check(item_of(edited(META_ROUTER, {f"{MATCH}.attributes[group].regex": "a("})))
    assert capfd.readouterr() == ("", "")


def test_a_message_quotes_the_first_80_characters_of_a_value() -> None:
    for length, shown in ((80, "(" * 80), (81, "(" * 80 + "…")):
        changes = {f"{MATCH}.attributes[group].regex": "(" * length}
        (problem,) = check(item_of(edited(META_ROUTER, changes)))
        assert problem.message.startswith(f"'{shown}' is no")


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("spec.routes", [{"route": [{"destination": {"host": "reviews"}}]}] * 5001, "spec.routes"),
        (
            "spec.routes[0].match.attributes",
            {f"a{n}": {} for n in range(101)},
            "spec.routes[0].match.attributes",
        ),
        (
            "spec.routes[0].requestMutation",
            [{"key": "k", "value": "v"}] * 1001,
            "spec.routes[0].requestMutation",
        ),
        (
            "spec.routes[0].responseMutation",
            [{"key": "k", "value": "v" * 16385}],
            "spec.routes[0].responseMutation[0].value",
        ),
    ],
    ids=["routes", "attributes", "mutations", "bytes"],
)
def test_a_router_beyond_its_limits_is_refused(field: str, value: object, where: str) -> None:
    """Each limit is named in the message, so that one knows how much to take away."""
    said = decode(edited(META_ROUTER, {field: value}), origin="large.yaml")
    assert isinstance(said, Rejected)
    (problem,) = [p for p in said.problems if p.severity is Severity.ERROR]
    assert problem.field == where
    assert "the limit is" in problem.message


def test_a_regex_that_no_data_plane_takes_is_refused() -> None:
    changes = {"spec.routes[0].match.attributes": {"method": {"regex": "((a{30}){30}){30}"}}}
    said = decode(edited(META_ROUTER, changes), origin="large.yaml")
    assert isinstance(said, Rejected)
    assert [p.field for p in said.problems if p.severity is Severity.ERROR] == [
        "spec.routes[0].match.attributes[method].regex"
    ]
