"""RedisService and RedisDestination: the rules, one row each, as in `test_validation`."""

from __future__ import annotations

import pytest

from aeraki_xds.mesh.problems import Severity
from tests.manifests import DROP, REDIS_DESTINATION, REDIS_SERVICE
from tests.mesh.judged import Changes, Expected, Row, assert_problems

AUTH = "spec.settings.auth"
KEY = "spec.redis[0].match.key"
MIRROR = "spec.redis[0].mirror[0]"
TCP = "spec.trafficPolicy.connectionPool.tcp"
POOL = "spec.trafficPolicy.connectionPool.redis"
TO_CARTS = {"host": "carts"}


def keyed(prefix: str) -> dict[str, object]:
    return {"match": {"key": {"prefix": prefix}}, "route": TO_CARTS}


SERVICE_ERRORS: dict[str, Row] = {
    "no host": ({"spec.host": []}, [("spec.host", "is empty")]),
    "hosts absent": ({"spec.host": DROP}, [("spec.host", "is empty")]),
    "V3 a wildcard": ({"spec.host[1]": "*.a"}, [("spec.host[1]", "is a wildcard")]),
    "one host twice": ({"spec.host[2]": "sessions."}, [("spec.host[2]", "is spec.host[1] too")]),
    "P-6 no route": (
        {"spec.redis[1].route": DROP},
        [("spec.redis[1].route", "is missing: say where")],
    ),
    "V3 a route to no host": (
        {"spec.redis[1].route": {}},
        [("spec.redis[1].route.host", "is empty")],
    ),
    "a port of -1": ({"spec.redis[0].route.port": -1}, [("spec.redis[0].route.port", "is -1")]),
    "a port of 65536": (
        {"spec.redis[0].route.port": 65536},
        [("spec.redis[0].route.port", "is 65536")],
    ),
    "P-6 a mirror without a route": (
        {f"{MIRROR}.route": DROP},
        [(f"{MIRROR}.route", "is missing")],
    ),
    "a mirror to an address": (
        {f"{MIRROR}.route.host": "10.0.0.1"},
        [(f"{MIRROR}.route.host", "'10.0.0.1' ends in a number")],
    ),
    "a mirror's port": ({f"{MIRROR}.route.port": 65536}, [(f"{MIRROR}.route.port", "is 65536")]),
    "a mirror of nothing": (
        {f"{MIRROR}.percentage.value": 0},
        [(f"{MIRROR}.percentage.value", "more than 0 and at most 100, is 0")],
    ),
    "a mirror of more than everything": (
        {f"{MIRROR}.percentage.value": 100.5},
        [(f"{MIRROR}.percentage.value", "is 100.5")],
    ),
    "a mirror of NaN": (
        {f"{MIRROR}.percentage.value": float("nan")},
        [(f"{MIRROR}.percentage.value", "is nan")],
    ),
    "P-4 a fault without a percentage": (
        {"spec.faults[0].percentage": DROP},
        [("spec.faults[0].percentage", "is missing")],
    ),
    "a fault of nothing": (
        {"spec.faults[0].percentage": {}},
        [("spec.faults[0].percentage.value", "is 0")],
    ),
    "a fault of 101": (
        {"spec.faults[0].percentage.value": 101},
        [("spec.faults[0].percentage.value", "is 101")],
    ),
    "a delay of unknown length": (
        {"spec.faults[1].delay": DROP},
        [("spec.faults[1].delay", "is missing: say how long")],
    ),
    "a delay of 0": ({"spec.faults[1].delay": "0s"}, [("spec.faults[1].delay", "is 0ms")]),
    "a negative delay": ({"spec.faults[1].delay": "-1s"}, [("spec.faults[1].delay", "is -1000ms")]),
    "a negative delay of an error": (
        {"spec.faults[0].delay": "-1s"},
        [("spec.faults[0].delay", "must not be less than 0")],
    ),
    "an empty command": (
        {"spec.faults[0].commands[1]": ""},
        [("spec.faults[0].commands[1]", "is empty")],
    ),
    "no time to operate": (
        {"spec.settings.opTimeout": "0s"},
        [("spec.settings.opTimeout", "at least 1ms, is 0ms")],
    ),
    "less time than Envoy counts": (
        {"spec.settings.opTimeout": "999us"},
        [("spec.settings.opTimeout", "at least 1ms, is 0.999ms")],
    ),
    "a flush in the past": (
        {"spec.settings.bufferFlushTimeout": "-1ns"},
        [("spec.settings.bufferFlushTimeout", "less than 0")],
    ),
    "a buffer beyond uint32": (
        {"spec.settings.maxBufferSizeBeforeFlush": 2**32},
        [("spec.settings.maxBufferSizeBeforeFlush", "is 4294967296")],
    ),
    "less than no connections": (
        {"spec.settings.maxUpstreamUnknownConnections": -1},
        [("spec.settings.maxUpstreamUnknownConnections", "is -1")],
    ),
    "a prefix twice": (
        {"spec.redis[2]": keyed("cart:")},
        [("spec.redis[2].match.key.prefix", "'cart:' is that of spec.redis[0] too")],
    ),
    "a prefix twice but for its case, which does not count": (
        {"spec.redis[2]": keyed("CART:"), "spec.settings.caseInsensitive": True},
        [("spec.redis[2].match.key.prefix", "'CART:' is that of spec.redis[0] too")],
    ),
    "a prefix of 1001 bytes": (
        {f"{KEY}.prefix": "ü" * 500 + "x"},
        [(f"{KEY}.prefix", "has 1001 bytes, the limit is 1000")],
    ),
    "auth that says nothing": ({AUTH: {}}, [(AUTH, "write plain or secret")]),
    "auth of both kinds": (
        {f"{AUTH}.secret": {"name": "s"}},
        [(AUTH, "has plain and secret")],
    ),
    "a user without a password": (
        {f"{AUTH}.plain.password": DROP},
        [(f"{AUTH}.plain.password", "is empty")],
    ),
    "an empty password": (
        {f"{AUTH}.plain.password": ""},
        [(f"{AUTH}.plain.password", "is empty")],
    ),
    "no Secret": ({AUTH: {"secret": {}}}, [(f"{AUTH}.secret.name", "'' is not a name")]),
    "no Secret's name": (
        {AUTH: {"secret": {"name": "A/b"}}},
        [(f"{AUTH}.secret.name", "'A/b' is not a name")],
    ),
}

SERVICE_WARNINGS: dict[str, Row] = {
    "an empty prefix": (
        {"spec.redis[0].match.key": {"removePrefix": True}},
        [(f"{KEY}.prefix", "every key begins with it")],
    ),
    "two for all other keys": (
        {"spec.redis[2]": {"route": TO_CARTS}, "spec.redis[3]": {"match": {}, "route": TO_CARTS}},
        [
            ("spec.redis[1]", "is not used: spec.redis[3]"),
            ("spec.redis[2]", "is not used: spec.redis[3]"),
        ],
    ),
    "a fault of a part of one per cent": (
        {"spec.faults[0].percentage.value": 0.9},
        [("spec.faults[0].percentage.value", "whole per cent: 0 is used")],
    ),
}

SERVICE_BOUNDARIES: dict[str, Changes] = {
    "nothing but a host": {"spec": {"host": ["sessions"]}},
    "port 0": {"spec.redis[0].route.port": 0},
    "port 65535": {"spec.redis[0].route.port": 65535},
    "a mirror of everything": {f"{MIRROR}.percentage": DROP},
    "a mirror of 100": {f"{MIRROR}.percentage.value": 100},
    "an error of all commands, at once": {"spec.faults[0].commands": []},
    "a flush at once": {"spec.settings.bufferFlushTimeout": "0s"},
    "1ms to operate": {"spec.settings.opTimeout": "1ms"},
    "a buffer without a time to flush": {"spec.settings.bufferFlushTimeout": DROP},
    "a prefix that differs in case": {"spec.redis[2]": keyed("CART:")},
    "a prefix of 1000 bytes": {f"{KEY}.prefix": "ü" * 500},
    "a prefix that begins another": {"spec.redis[2]": keyed("cart")},
    "a Secret": {AUTH: {"secret": {"name": "s.t"}}},
    "a password without a user": {f"{AUTH}.plain.username": DROP},
}

DESTINATION_ERRORS: dict[str, Row] = {
    "no host": ({"spec.host": DROP}, [("spec.host", "is empty")]),
    "no time to connect": ({f"{TCP}.connectTimeout": "0s"}, [(f"{TCP}.connectTimeout", "is 0ms")]),
    "less than no connections": ({f"{TCP}.maxConnections": -1}, [(f"{TCP}.maxConnections", "-1")]),
    "less than no probes": (
        {f"{TCP}.tcpKeepalive.probes": -1},
        [(f"{TCP}.tcpKeepalive.probes", "is -1")],
    ),
    "no time to be silent": (
        {f"{TCP}.tcpKeepalive.time": "0s", f"{TCP}.tcpKeepalive.interval": "-500ms"},
        [
            (f"{TCP}.tcpKeepalive.time", "must be more than 0"),
            (f"{TCP}.tcpKeepalive.interval", "must be more than 0"),
        ],
    ),
    "longer than Envoy can count": (
        {f"{TCP}.tcpKeepalive.time": "4294967296s"},
        [(f"{TCP}.tcpKeepalive.time", "at most 4294967295s")],
    ),
    "auth of no kind": ({f"{POOL}.auth": {}}, [(f"{POOL}.auth", "write plain or secret")]),
    "E-10 an endpoint that is none": (
        {f"{POOL}.discoveryEndpoints": ["redis:6379", "fd00::1", "redis:port", ""]},
        [
            (f"{POOL}.discoveryEndpoints[1]", "'fd00::1' is an IPv6 address"),
            (f"{POOL}.discoveryEndpoints[2]", "'redis:port' its port must be"),
            (f"{POOL}.discoveryEndpoints[3]", "'' names no host"),
        ],
    ),
    "an endpoint of no name": (
        {f"{POOL}.discoveryEndpoints[0]": "a_b:6379"},
        [(f"{POOL}.discoveryEndpoints[0]", "the label 'a_b'")],
    ),
}

DESTINATION_WARNINGS: dict[str, Row] = {
    "endpoints that nobody asks": (
        {f"{POOL}.mode": "PROXY"},
        [(f"{POOL}.discoveryEndpoints", "is ignored, as the mode is PROXY")],
    ),
    "a part of a second": (
        {f"{TCP}.tcpKeepalive.time": "1001ms", f"{TCP}.tcpKeepalive.interval": "1ns"},
        [
            (f"{TCP}.tcpKeepalive.time", "2s is used"),
            (f"{TCP}.tcpKeepalive.interval", "1s is used"),
        ],
    ),
}

DESTINATION_BOUNDARIES: dict[str, Changes] = {
    "nothing but a host": {"spec": {"host": "sessions"}},
    "no connection pool": {"spec.trafficPolicy": {}},
    "no layer": {"spec.trafficPolicy.connectionPool": {}},
    "1ms to connect": {f"{TCP}.connectTimeout": "1ms"},
    "keepalive as the system has it": {f"{TCP}.tcpKeepalive": {}},
    "CLUSTER without endpoints": {f"{POOL}.discoveryEndpoints": DROP},
    "no endpoints in PROXY mode": {f"{POOL}.discoveryEndpoints": [], f"{POOL}.mode": DROP},
}


@pytest.mark.parametrize(("changes", "expected"), SERVICE_ERRORS.values(), ids=SERVICE_ERRORS)
def test_a_redis_service_that_cannot_work_is_refused(changes: Changes, expected: Expected) -> None:
    assert_problems(REDIS_SERVICE, changes, expected, Severity.ERROR)


@pytest.mark.parametrize(("changes", "expected"), SERVICE_WARNINGS.values(), ids=SERVICE_WARNINGS)
def test_a_redis_service_that_works_otherwise_is_warned_about(
    changes: Changes, expected: Expected
) -> None:
    assert_problems(REDIS_SERVICE, changes, expected, Severity.WARNING)


@pytest.mark.parametrize("changes", SERVICE_BOUNDARIES.values(), ids=list(SERVICE_BOUNDARIES))
def test_a_redis_service_at_the_boundary_of_a_rule_is_fine(changes: Changes) -> None:
    assert_problems(REDIS_SERVICE, changes, [], Severity.ERROR)


@pytest.mark.parametrize(
    ("changes", "expected"), DESTINATION_ERRORS.values(), ids=DESTINATION_ERRORS
)
def test_a_redis_destination_that_cannot_work_is_refused(
    changes: Changes, expected: Expected
) -> None:
    assert_problems(REDIS_DESTINATION, changes, expected, Severity.ERROR)


@pytest.mark.parametrize(
    ("changes", "expected"), DESTINATION_WARNINGS.values(), ids=DESTINATION_WARNINGS
)
def test_a_redis_destination_that_works_otherwise_is_warned_about(
    changes: Changes, expected: Expected
) -> None:
    assert_problems(REDIS_DESTINATION, changes, expected, Severity.WARNING)


@pytest.mark.parametrize(
    "changes", DESTINATION_BOUNDARIES.values(), ids=list(DESTINATION_BOUNDARIES)
)
def test_a_redis_destination_at_the_boundary_of_a_rule_is_fine(changes: Changes) -> None:
    assert_problems(REDIS_DESTINATION, changes, [], Severity.ERROR)
