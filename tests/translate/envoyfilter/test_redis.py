"""Redis: what a RedisService becomes, and what Aeraki made of it; which objects are in force."""

from __future__ import annotations

from typing import Any, Final

import pytest
import yaml

from aeraki_xds.mesh.change import Rejected
from aeraki_xds.mesh.objects import (
    Metadata,
    RedisDestination,
    RedisDestinationSpec,
    RedisService,
    RedisServiceSpec,
)
from aeraki_xds.mesh.objects import redis as objects
from aeraki_xds.mesh.objects.redis import (
    PlainAuth,
    RedisConnectionPool,
    RedisPool,
    RedisRoute,
    RedisSettings,
    RedisTrafficPolicy,
)
from aeraki_xds.mesh.problems import has_errors
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from tests.translate.envoyfilter.kit import LIKE_AERAKI, MENDED, only
from tests.translate.envoyfilter.redis_kit import (
    PROFILES,
    SESSIONS,
    SUFFIX,
    blamed,
    cluster,
    entry,
    made,
    offered,
    outbound,
    plain,
    reached,
    said,
    service,
)
from tests.translate.golden import events_of


@PROFILES
def test_a_service_of_which_nothing_is_said_has_plain_filters(delivery: EnvoyFilters) -> None:
    found = made(service("sessions"), delivery=delivery)
    assert found.outbound is not None
    assert found.inbound is not None
    assert found.outbound.config == plain(SESSIONS, "60s")
    assert found.inbound.config == plain("inbound|6380||", "3600s")
    assert said(found) == []


# --- which object is in force -----------------------------------------------------------------


def test_of_several_objects_for_a_host_the_oldest_counts_and_the_others_are_conflicts() -> None:
    mesh = (
        service("sessions"),
        offered("settings: {opTimeout: 2s}", name="b"),
        offered("settings: {opTimeout: 1s}", name="a"),
        reached("tcp: {maxConnections: 2}", name="b"),
        reached("tcp: {maxConnections: 1}", name="a"),
    )
    assert outbound(*mesh)["settings"] == {"opTimeout": "1s"}
    assert cluster(*mesh)["circuitBreakers"]["thresholds"][0]["maxConnections"] == 1
    conflicts = [each for each in made(*mesh).findings if "conflict" in each.problem.message]
    assert [(str(each.key), each.problem.field) for each in conflicts] == [
        ("RedisService/cache/b", "spec.host[0]"),
        ("RedisDestination/cache/b", "spec.host"),
    ]


def test_aeraki_takes_the_first_host_of_an_entry_that_has_an_object() -> None:
    """And names the filter after it, while the cluster is that of the first host."""
    mesh = entry("a.example", "b.example"), offered("", host="b.example")
    of: dict[str, Any] = {"host": "a.example", "delivery": LIKE_AERAKI}
    assert outbound(*mesh, **of) == plain("outbound|6379||b.example", "60s")
    assert cluster(*mesh, **of)["name"] == "outbound|6379||a.example"
    assert outbound(*mesh, host="a.example") == plain("outbound|6379||a.example", "60s")


@pytest.mark.parametrize("kind", [offered, reached])
def test_objects_of_other_namespaces_count_where_they_may(kind: Any) -> None:
    """E-7; the root namespace may speak about any host."""
    text = "settings: {opTimeout: 1s}" if kind is offered else "tcp: {connectTimeout: 1s}"
    mesh = service("sessions"), kind(text, ns="istio-system")
    ignored = made(*mesh, delivery=LIKE_AERAKI)
    assert ignored.outbound is not None
    assert ignored.outbound.config == plain(SESSIONS, "60s")
    assert "(--with redis-anywhere)" in "".join(said(ignored))
    found = made(*mesh)
    assert found.outbound is not None
    assert "1s" in str(found.outbound.config) + str(found.patches)
    assert not any("ignored" in each for each in said(found))


def test_short_names_are_understood_where_full_names_are_asked_for() -> None:
    """M-27."""
    mesh = service("sessions"), offered("settings: {opTimeout: 1s}", host="sessions")
    assert outbound(*mesh, delivery=LIKE_AERAKI) == plain(SESSIONS, "60s")
    assert "(--with full-hosts)" in said(made(*mesh, delivery=LIKE_AERAKI))[0]
    assert outbound(*mesh) == plain(SESSIONS, "1s")


@PROFILES
@pytest.mark.parametrize(
    "broken",
    [
        offered("faults: [{type: ERROR}]"),  # P-4
        offered("redis: [{match: {key: {prefix: a}}}]"),  # P-6
        offered(f"redis: [{{route: {{host: sessions.{SUFFIX}}}, mirror: [{{}}]}}]"),  # P-6
        reached('redis: {mode: CLUSTER, discoveryEndpoints: ["fd00::1"]}'),  # E-10
        reached('redis: {mode: CLUSTER, discoveryEndpoints: ["redis:many"]}'),  # E-10
    ],
)
def test_an_object_that_aeraki_crashes_on_holds_its_host(
    broken: str, delivery: EnvoyFilters
) -> None:
    assert isinstance(events_of(yaml.safe_load_all(broken))[0], Rejected)
    found = made(service("sessions"), broken, delivery=delivery)
    assert found.held
    assert found.outbound is found.inbound is None
    assert found.patches == ()


@PROFILES
def test_an_object_that_cannot_be_read_does_not_matter_beside_one_in_force(
    delivery: EnvoyFilters,
) -> None:
    mesh = service("sessions"), offered(""), offered("faults: [{type: ERROR}]", name="younger")
    assert not made(*mesh, delivery=delivery).held


def test_an_unreadable_object_of_an_earlier_host_holds_what_a_later_one_has() -> None:
    broken = offered("faults: [{type: ERROR}]", host="a.example", name="a")
    mesh = entry("a.example", "b.example"), broken, offered("", host="b.example", name="b")
    assert made(*mesh, host="a.example", delivery=LIKE_AERAKI).held


HERE_TOO: Final = Metadata(name="sessions", namespace="cache")
UNVALIDATED: Final[dict[str, RedisService | RedisDestination]] = {
    "no-target": RedisService(
        metadata=HERE_TOO,
        spec=RedisServiceSpec(host=(f"sessions.{SUFFIX}",), redis=(RedisRoute(),)),
    ),
    "no-credentials": RedisService(
        metadata=HERE_TOO,
        spec=RedisServiceSpec(
            host=(f"sessions.{SUFFIX}",), settings=RedisSettings(auth=objects.RedisAuth())
        ),
    ),
    "no-password": RedisService(
        metadata=HERE_TOO,
        spec=RedisServiceSpec(
            host=(f"sessions.{SUFFIX}",),
            settings=RedisSettings(auth=objects.RedisAuth(plain=PlainAuth(username="ali"))),
        ),
    ),
    "no-port": RedisDestination(
        metadata=HERE_TOO,
        spec=RedisDestinationSpec(
            host=f"sessions.{SUFFIX}",
            traffic_policy=RedisTrafficPolicy(
                connection_pool=RedisConnectionPool(
                    redis=RedisPool(mode="CLUSTER", discovery_endpoints=("redis:many",))
                )
            ),
        ),
    ),
}


@PROFILES
@pytest.mark.parametrize("what", sorted(UNVALIDATED))
def test_what_validation_refuses_holds_its_host_here_as_well(
    what: str, delivery: EnvoyFilters
) -> None:
    found = made(service("sessions"), items=(UNVALIDATED[what],), delivery=delivery)
    assert found.held
    assert has_errors([each.problem for each in found.findings])


# --- settings ---------------------------------------------------------------------------------


@PROFILES
def test_settings_are_copied(delivery: EnvoyFilters) -> None:
    text = """settings: {opTimeout: 1500ms, enableHashtagging: true, enableRedirection: true,
        enableCommandStats: true, maxBufferSizeBeforeFlush: 1024, bufferFlushTimeout: 0s,
        readPolicy: ANY}"""
    assert outbound(service("sessions"), offered(text), delivery=delivery)["settings"] == {
        "opTimeout": "1.500s",
        "enableHashtagging": True,
        "enableRedirection": True,
        "enableCommandStats": True,
        "maxBufferSizeBeforeFlush": 1024,
        "bufferFlushTimeout": "0s",
        "readPolicy": "ANY",
    }


def test_prefer_replica_is_not_turned_into_prefer_master() -> None:
    """E-1."""
    mesh = service("sessions"), offered("settings: {readPolicy: PREFER_REPLICA}")
    assert outbound(*mesh)["settings"]["readPolicy"] == "PREFER_REPLICA"
    assert outbound(*mesh, delivery=LIKE_AERAKI)["settings"]["readPolicy"] == "PREFER_MASTER"
    assert blamed(made(*mesh, delivery=LIKE_AERAKI)) == ["spec.settings.readPolicy"]


def test_settings_that_aeraki_ignores_are_honoured() -> None:
    """E-5; 0 is a number of connections that one can want."""
    text = "settings: {caseInsensitive: true, maxUpstreamUnknownConnections: 0}"
    mesh = service("sessions"), offered(text)
    config = outbound(*mesh)
    assert config["settings"] == {"opTimeout": "60s", "maxUpstreamUnknownConnections": 0}
    assert config["prefixRoutes"]["caseInsensitive"] is True
    assert outbound(*mesh, delivery=LIKE_AERAKI) == plain(SESSIONS, "60s")
    assert blamed(made(*mesh, delivery=LIKE_AERAKI)) == [
        "spec.settings.maxUpstreamUnknownConnections",
        "spec.settings.caseInsensitive",
    ]


@PROFILES
def test_faults_are_copied(delivery: EnvoyFilters) -> None:
    text = """faults: [{percentage: {value: 10}, delay: 100ms},
        {type: ERROR, percentage: {value: 1}, commands: [GET, SET]}]"""
    assert outbound(service("sessions"), offered(text), delivery=delivery)["faults"] == [
        {
            "faultEnabled": {"defaultValue": {"numerator": 100_000, "denominator": "MILLION"}},
            "delay": "0.100s",
        },
        {
            "faultType": "ERROR",
            "faultEnabled": {"defaultValue": {"numerator": 10_000, "denominator": "MILLION"}},
            "commands": ["GET", "SET"],
        },
    ]


# --- routes -----------------------------------------------------------------------------------


def routed(*routes: str) -> str:
    return offered(f"redis: [{', '.join(routes)}]")


def to(host: str, more: str = "") -> str:
    return f"route: {{host: {host}.{SUFFIX}{more}}}"


def test_routes_go_by_prefix_and_the_last_without_one_takes_the_rest() -> None:
    mesh = (
        service("sessions"),
        service("carts"),
        routed(
            f"{{match: {{key: {{prefix: a, removePrefix: true}}}}, {to('carts')}}}",
            f"{{match: {{key: {{}}}}, {to('carts')}}}",
            f"{{match: {{}}, {to('carts')}}}",
            f"{{{to('sessions')}}}",
        ),
    )
    carts = f"outbound|6379||carts.{SUFFIX}"
    assert outbound(*mesh)["prefixRoutes"] == {
        "routes": [{"prefix": "a", "removePrefix": True, "cluster": carts}, {"cluster": carts}],
        "catchAllRoute": {"cluster": SESSIONS},
    }


@PROFILES
def test_keys_without_a_route_go_nowhere(delivery: EnvoyFilters) -> None:
    route = routed(f"{{match: {{key: {{prefix: a}}}}, {to('sessions')}}}")
    assert outbound(service("sessions"), route, delivery=delivery)["prefixRoutes"] == {
        "routes": [{"prefix": "a", "cluster": SESSIONS}]
    }


def test_a_route_may_have_a_short_name_where_full_names_are_understood() -> None:
    """M-27. The cluster has the name that Istio gives it."""
    mesh = (
        service("sessions"),
        service("carts", "[{port: 7000, name: tcp-x}]"),
        offered("redis: [{route: {host: carts}}]"),
    )

    def route(delivery: EnvoyFilters) -> Any:
        return outbound(*mesh, delivery=delivery)["prefixRoutes"]["catchAllRoute"]

    assert route(LIKE_AERAKI) == {"cluster": "outbound|6379||carts"}
    assert route(only(Mend.FULL_HOSTS)) == {"cluster": f"outbound|7000||carts.{SUFFIX}"}
    assert route(MENDED) == {"cluster": f"outbound|7000||carts.{SUFFIX}"}


@PROFILES
@pytest.mark.parametrize(
    ("ports", "more", "number"),
    [
        ("[{port: 7000, name: tcp-x}]", "", 7000),
        ("[{port: 7000, name: tcp-x}, {port: 6379, name: tcp-y}]", "", 6379),
        ("[{port: 7000, name: tcp-redis}, {port: 6379, name: tcp-y}]", "", 7000),
        ("[{port: 7000, name: tcp-x}, {port: 7001, name: tcp-y}]", ", port: 7001", 7001),
    ],
    ids=["the-only-one", "same-number", "same-name-first", "as-written"],
)
def test_the_port_of_a_route_is_found_out(
    ports: str, more: str, number: int, delivery: EnvoyFilters
) -> None:
    mesh = service("sessions"), service("carts", ports), routed(f"{{{to('carts', more)}}}")
    route = outbound(*mesh, delivery=delivery)["prefixRoutes"]["catchAllRoute"]
    assert route == {"cluster": f"outbound|{number}||carts.{SUFFIX}"}


@pytest.mark.parametrize(
    ("ports", "more", "field"),
    [
        (None, "", "host"),
        (None, ", port: 7000", "host"),
        ("[{port: 7000, name: tcp-x}]", ", port: 7001", "port"),
        ("[{port: 7000, name: tcp-x}, {port: 7001, name: tcp-y}]", "", "port"),
    ],
    ids=["no-host", "no-host-but-port", "no-such-port", "no-port-alike"],
)
def test_a_route_to_what_nobody_declares_holds_the_host(
    ports: str | None, more: str, field: str
) -> None:
    carts = [service("carts", ports)] if ports else []
    mirror = f"{{{to('carts', more)}, percentage: {{value: 1}}}}"
    mesh = service("sessions"), *carts, routed(f"{{{to('sessions')}, mirror: [{mirror}]}}")
    found = made(*mesh)
    assert found.held
    assert blamed(found) == [f"spec.redis[0].mirror[0].route.{field}"]
    assert not made(*mesh, delivery=LIKE_AERAKI).held


def test_aeraki_assumes_the_port_of_the_listener_for_a_host_that_it_does_not_know() -> None:
    mesh = service("sessions"), service("far", ns="far"), offered("redis: [{route: {host: FAR}}]")
    mesh = *mesh[:2], mesh[2].replace("FAR", "far.far.svc.cluster.local")
    mesh = mesh[0], mesh[1].replace("6379", "7000"), mesh[2]
    found = made(*mesh, delivery=LIKE_AERAKI)
    assert outbound(*mesh, delivery=LIKE_AERAKI) == {
        **plain(SESSIONS, "60s"),
        "prefixRoutes": {"catchAllRoute": {"cluster": "outbound|6379||far.far.svc.cluster.local"}},
    }
    assert "port 6379 is assumed (--with redis-anywhere)" in said(found)[0]
    route = outbound(*mesh)["prefixRoutes"]["catchAllRoute"]
    assert route == {"cluster": "outbound|7000||far.far.svc.cluster.local"}


def test_the_port_of_a_mirror_is_its_own() -> None:
    """E-3."""
    mirror = f"{{{to('carts')}, percentage: {{value: 0.0003}}, excludeReadCommands: true}}"
    mesh = (
        service("sessions"),
        service("carts", "[{port: 7000, name: tcp-x}]"),
        routed(f"{{{to('sessions')}, mirror: [{mirror}]}}"),
    )

    def policy(delivery: EnvoyFilters) -> Any:
        route = outbound(*mesh, delivery=delivery)["prefixRoutes"]["catchAllRoute"]
        return route["requestMirrorPolicy"]

    def expected(port: int, numerator: int) -> Any:
        share = {"numerator": numerator, "denominator": "MILLION"}
        return [
            {
                "cluster": f"outbound|{port}||carts.{SUFFIX}",
                "runtimeFraction": {"defaultValue": share},
                "excludeReadCommands": True,
            }
        ]

    assert policy(MENDED) == expected(7000, 3)
    assert policy(LIKE_AERAKI) == expected(6379, 2)
    assert blamed(made(*mesh, delivery=LIKE_AERAKI)) == ["spec.redis[0].mirror[0].route.port"]


@PROFILES
def test_a_mirror_without_a_percentage_gets_everything(delivery: EnvoyFilters) -> None:
    """P-5."""
    mesh = service("sessions"), routed(f"{{{to('sessions')}, mirror: [{{{to('sessions')}}}]}}")
    route = outbound(*mesh, delivery=delivery)["prefixRoutes"]["catchAllRoute"]
    share = route["requestMirrorPolicy"][0]["runtimeFraction"]["defaultValue"]
    assert share == {"numerator": 1_000_000, "denominator": "MILLION"}


# --- each switch by itself --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mend", "objects"),
    [
        (Mend.PREFER_REPLICA, offered("settings: {readPolicy: PREFER_REPLICA}")),
        (Mend.REDIS_SETTINGS, offered("settings: {caseInsensitive: true}")),
        (Mend.REDIS_ANYWHERE, offered("settings: {opTimeout: 1s}", ns="istio-system")),
        (Mend.FULL_HOSTS, offered("settings: {opTimeout: 1s}", host="sessions")),
        (Mend.ASKED_CLUSTERS, ""),
        (Mend.CURRENT_FIELDS, reached("tcp: {maxConnections: 1}")),
    ],
)
def test_a_switch_changes_what_its_warning_promises(mend: Mend, objects: str) -> None:
    mesh = (service("sessions"), objects) if objects else (service("sessions"),)
    before, after = made(*mesh, delivery=LIKE_AERAKI), made(*mesh, delivery=only(mend))
    assert (before.outbound, before.patches) != (after.outbound, after.patches)
    assert not any(str(mend) in each for each in said(after))
