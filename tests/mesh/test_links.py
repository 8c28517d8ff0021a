"""What depends on what: an object that changes touches the hosts that depend on it, and no other.

Besides hosts, objects speak of topics: a gateway, a Secret, the policies of a namespace, the mesh
config, a protocol, the workloads that several entries share.
"""

from __future__ import annotations

import pytest
import yaml

from aeraki_xds.mesh.change import Delete, ObjectEvent, Rejected, Upsert
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.links import MESH, Subject, Topic, links_of, secret_topic
from aeraki_xds.mesh.names import Host, Kind
from aeraki_xds.mesh.objects import KubernetesService, Metadata
from aeraki_xds.mesh.problems import error
from aeraki_xds.mesh.store import Store
from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from tests.translate.golden import events_of


class Mesh:
    """A store and its graph; what is said to it returns the short names of the affected hosts."""

    def __init__(self, *manifests: str, mode: TenancyMode = TenancyMode.STRICT) -> None:
        self.store, self.graph = Store(), Graph(tenancy=Tenancy(mode=mode))
        self.hear(*manifests)

    def hear(self, *manifests: str) -> set[str]:
        """The objects are there."""
        return self._take(upserts(*manifests))

    def lose(self, *manifests: str) -> set[str]:
        """The objects are there no more."""
        return self._take([Delete(key=each.key) for each in upserts(*manifests)])

    def refuse(self, *manifests: str, hosts: frozenset[str] = frozenset()) -> set[str]:
        """What is now in the place of the objects cannot be read."""
        problems = (error("spec", "cannot be read"),)
        return self._take(
            [
                Rejected(key=each.key, origin="test", problems=problems, hosts=hosts)
                for each in upserts(*manifests)
            ]
        )

    def _take(self, events: list[ObjectEvent]) -> set[str]:
        touched = self.graph.update(self.store.apply(events))
        return {host.partition(".")[0] for host in touched}


def upserts(*manifests: str) -> list[ObjectEvent]:
    documents = [each for text in manifests for each in yaml.safe_load_all(text)]
    events = events_of(documents)
    assert all(isinstance(each, Upsert) for each in events), events
    return list(events)


def service(
    name: str, port: str, *, namespace: str = "shop", number: int = 9090, selector: str = "{}"
) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{clusterIP: 10.0.0.1, selector: {selector}, ports: [{{port: {number}, name: {port}}}]}}
"""


def entry(*hosts: str, name: str = "both", namespace: str = "shop", created: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}
spec:
  hosts: [{", ".join(hosts)}]
  addresses: [240.240.0.1]
  ports: [{{number: 9090, name: tcp-metaprotocol-thrift}}]
  resolution: STATIC
"""


LIMIT = "localRateLimit: {tokenBucket: {maxTokens: 1, tokensPerFill: 1, fillInterval: 1s}}"


def router(host: str, spec: str = LIMIT, *, namespace: str = "shop") -> str:
    return f"""
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {{name: {host.partition(".")[0]}, namespace: {namespace}}}
spec: {{hosts: [{host}], {spec}}}
"""


def offered(host: str, spec: str, *, namespace: str = "shop") -> str:
    return f"""
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisService
metadata: {{name: {host}, namespace: {namespace}}}
spec: {{host: [{host}], {spec}}}
"""


def reached(host: str, pool: str) -> str:
    return f"""
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisDestination
metadata: {{name: {host}, namespace: shop}}
spec: {{host: {host}, trafficPolicy: {{connectionPool: {{redis: {{{pool}}}}}}}}}
"""


def gateway(name: str, namespace: str = "shop") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: {name}}}, servers: []}}
"""


def policy(namespace: str) -> str:
    return f"""
apiVersion: dubbo.aeraki.io/v1alpha1
kind: DubboAuthorizationPolicy
metadata: {{name: closed, namespace: {namespace}}}
spec: {{action: ALLOW}}
"""


def secret(name: str, namespace: str = "shop") -> str:
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
stringData: {{password: open-sesame}}
"""


def mesh_config(name: str = "istio", namespace: str = "istio-system") -> str:
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: {namespace}}}
data: {{mesh: '{{enableTracing: false}}'}}
"""


QZA = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: ApplicationProtocol
metadata: {name: qza}
spec: {protocol: qza, codec: com.example.codec.qza}
"""

EVERYTHING = (
    service("orders", "tcp-metaprotocol-thrift"),
    service("qza", "tls-metaprotocol-qza"),
    service("greet", "tcp-dubbo"),
    service("meta", "tcp-metaprotocol-dubbo"),
    service("far", "tcp-dubbo", namespace="bank"),
    service("cache", "tcp-redis"),
    service("store", "tcp-redis"),
    service("thrift", "tcp-thrift"),
    service("kafka", "tcp-kafka"),
    service("web", "http"),
    router("orders", f"gateways: [edge], {LIMIT}"),
    router("qza", f"gateways: [edges/edge], {LIMIT}"),
    offered("cache", "settings: {auth: {secret: {name: offered}}}"),
    reached("store", "auth: {secret: {name: reached}}"),
)

SPEAKING_META = {"orders", "qza", "meta"}
DUBBO_OF_SHOP = {"greet", "meta"}

DEPENDENTS: dict[str, tuple[str, set[str]]] = {
    "a gateway": (gateway("edge"), {"orders"}),
    "a gateway of another namespace": (gateway("edge", "edges"), {"qza"}),
    "a gateway that nobody names": (gateway("other"), set()),
    "the Secret of a RedisService": (secret("offered"), {"cache"}),
    "the Secret of a RedisDestination": (secret("reached"), {"store"}),
    "a Secret of the same name elsewhere": (secret("offered", "bank"), set()),
    "a Secret that nobody names": (secret("other"), set()),
    "a policy": (policy("shop"), DUBBO_OF_SHOP),
    "a policy of another namespace": (policy("bank"), {"far"}),
    "a policy of the root namespace": (policy("istio-system"), {*DUBBO_OF_SHOP, "far"}),
    "the mesh config": (mesh_config(), {*SPEAKING_META, *DUBBO_OF_SHOP, "far"}),
    "a mesh config of another namespace": (mesh_config(namespace="shop"), set()),
    "a mesh config of another name": (mesh_config("istio-canary"), set()),
    "an application protocol": (QZA, {"qza"}),
}


@pytest.mark.parametrize("what", DEPENDENTS)
def test_what_comes_changes_and_goes_touches_the_hosts_that_depend_on_it(what: str) -> None:
    manifest, touched = DEPENDENTS[what]
    changed = yaml.safe_load(manifest)
    changed["metadata"]["labels"] = {"changed": "yes"}
    mesh = Mesh(*EVERYTHING)
    assert mesh.hear(manifest) == touched
    assert mesh.hear(manifest) == set()
    assert mesh.hear(yaml.safe_dump(changed)) == touched
    assert mesh.lose(manifest) == touched


@pytest.mark.parametrize("what", [each for each in DEPENDENTS if "protocol" not in each])
def test_what_never_could_be_read_touches_them_too_as_it_comes_and_as_it_goes(what: str) -> None:
    manifest, touched = DEPENDENTS[what]
    mesh = Mesh(*EVERYTHING)
    assert mesh.refuse(manifest) == touched
    assert mesh.refuse(manifest) == set()
    assert mesh.lose(manifest) == touched
    mesh.refuse(manifest)
    assert mesh.hear(manifest) == touched


@pytest.mark.parametrize("what", DEPENDENTS)
def test_what_breaks_touches_nobody_for_its_last_good_version_stays(what: str) -> None:
    manifest, _ = DEPENDENTS[what]
    mesh = Mesh(*EVERYTHING, manifest)
    assert mesh.refuse(manifest) == set()


@pytest.mark.parametrize("what", DEPENDENTS)
def test_who_depends_no_more_is_not_touched_any_more(what: str) -> None:
    manifest, _ = DEPENDENTS[what]
    mesh = Mesh(*EVERYTHING)
    mesh.lose(*EVERYTHING)
    assert mesh.hear(manifest) == set()


# --- hosts that depend on hosts ---------------------------------------------------------------


@pytest.mark.parametrize(
    "route",
    ["route: {host: back}", "route: {host: cache}, mirror: [{route: {host: back}}]"],
    ids=["route", "mirror"],
)
def test_the_ports_of_a_service_touch_the_redis_hosts_that_send_to_it(route: str) -> None:
    """Where no port is said it is the target's own."""
    mesh = Mesh(
        *EVERYTHING, service("back", "tcp-redis"), offered("cache", f"redis: [{{{route}}}]")
    )
    assert mesh.hear(service("back", "tcp-redis", number=6379)) == {"back", "cache"}
    assert mesh.lose(service("back", "tcp-redis")) == {"back", "cache"}


def test_the_service_of_rate_limits_touches_the_hosts_that_ask_it() -> None:
    """Tenancy depends on whose it is."""
    limit = (
        "globalRateLimit: {domain: d, rateLimitService: "
        "outbound|8081||limits.shop.svc.cluster.local, match: {attributes: {a: {exact: b}}}, "
        "descriptors: [{property: a, descriptorKey: a}]}"
    )
    mesh = Mesh(*EVERYTHING, router("orders", limit))
    assert mesh.hear(service("limits", "grpc", number=8081)) == {"limits", "orders"}


def test_consent_of_who_owns_the_rate_limit_service_is_judged_when_it_is_given() -> None:
    limit = (
        "globalRateLimit: {domain: d, rateLimitService: outbound|9090||limits.example, "
        "match: {attributes: {a: {exact: b}}}, descriptors: [{property: a, descriptorKey: a}]}"
    )
    limits = entry("limits.example", name="limits", namespace="bank")
    mesh = Mesh(service("orders", "tcp-metaprotocol-thrift"), router("orders", limit), limits)
    (said,) = mesh.graph.verdicts.values()
    assert [each.problem.field for each in said] == ["spec.globalRateLimit.rateLimitService"]
    consent = "name: limits, annotations: {aeraki.io/allow-from: shop}"
    mesh.hear(limits.replace("name: limits,", f"{consent},"))
    assert mesh.graph.verdicts == {}


def test_a_virtual_service_for_gateways_sends_nowhere() -> None:
    rules = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: thrift, namespace: shop}
spec: {hosts: [thrift], gateways: [GATEWAY], http: [{route: [{destination: {host: web}}]}]}
"""
    for gateways, touched in (("edge", {"web"}), ("mesh", {"web", "thrift"})):
        mesh = Mesh(*EVERYTHING, rules.replace("GATEWAY", gateways))
        assert mesh.hear(service("web", "http", number=80)) == touched


RULES = {
    "MetaRouter": router("first"),
    "RedisService": offered("first", "redis: []"),
    "RedisDestination": reached("first", "mode: PROXY"),
}


@pytest.mark.parametrize("kind", RULES)
def test_a_rule_for_one_host_of_an_entry_touches_the_entrys_other_hosts(kind: str) -> None:
    """They share its listeners, and the one with rules may own them."""
    both = entry("first", "second")
    mesh = Mesh(*EVERYTHING, both)
    for said in (mesh.hear, mesh.lose):
        assert said(RULES[kind]) == {"first", "second"}
    assert mesh.refuse(RULES[kind], hosts=frozenset({"first"})) == {"first", "second"}


# --- workloads that several entries share -----------------------------------------------------


def test_an_entry_touches_those_with_limits_at_the_same_workloads() -> None:
    """Of two inbound filters for one port Istio puts in only one, so a limit may have no effect."""
    same = "{app: a, version: v1}"
    reordered = "{version: v1, app: a}"
    mesh = Mesh(
        service("limited", "tcp-metaprotocol-thrift", selector=same),
        router("limited"),
        service("plain", "tcp-metaprotocol-thrift", selector=same),
        service("apart", "tcp-metaprotocol-thrift", selector="{app: b, version: v1}"),
        router("apart"),
        service("web", "http", selector=same),
        router("web"),
        service("elsewhere", "tcp-metaprotocol-thrift", selector=same, namespace="bank"),
        router("elsewhere", namespace="bank"),
    )
    new = service("new", "tls-kafka", selector=reordered)
    assert mesh.hear(new) == {"new", "limited"}
    assert mesh.hear(service("new", "tls-kafka", selector=reordered, number=1)) == {
        "new",
        "limited",
    }
    assert mesh.lose(new) == {"new", "limited"}


def test_entries_without_a_selector_share_no_workloads() -> None:
    mesh = Mesh(service("limited", "tcp-thrift", selector="{}"), router("limited"))
    assert mesh.hear(service("new", "tcp-thrift", selector="{}")) == {"new"}
    said = entry("one", name="one") + "  workloadSelector: {labels: {}}\n"
    mesh.hear(said, router("one"))
    assert mesh.hear(said.replace("one", "two")) == {"two"}


# --- what is unsettled ------------------------------------------------------------------------

POLICIES = Topic(Subject.POLICIES, "shop")
OFFERED = secret_topic("offered", "shop")


@pytest.mark.parametrize(
    ("topic", "manifest"),
    [(POLICIES, policy("shop")), (OFFERED, secret("offered")), (MESH, mesh_config())],
)
def test_a_topic_is_unsettled_while_something_about_it_never_could_be_read(
    topic: Topic, manifest: str
) -> None:
    mesh = Mesh()
    assert not mesh.graph.is_unsettled(topic)
    mesh.refuse(manifest)
    assert mesh.graph.is_unsettled(topic)
    assert not mesh.graph.is_unsettled(Topic(topic.subject, "other"))
    mesh.lose(manifest)
    assert not mesh.graph.is_unsettled(topic)
    mesh.refuse(manifest)
    mesh.hear(manifest)
    assert not mesh.graph.is_unsettled(topic)
    mesh.refuse(manifest)
    assert not mesh.graph.is_unsettled(topic)


@pytest.mark.parametrize(
    ("topic", "manifest", "kind"),
    [
        (OFFERED, secret("offered"), Kind.SECRET),
        (MESH, mesh_config(), Kind.CONFIG_MAP),
    ],
)
def test_where_nobody_could_look_a_topic_is_unsettled_until_its_object_is_found(
    topic: Topic, manifest: str, kind: Kind
) -> None:
    mesh = Mesh()
    mesh.graph.blind = frozenset(Kind) - {kind}
    assert not mesh.graph.is_unsettled(topic)
    mesh.graph.blind = frozenset({kind})
    assert mesh.graph.is_unsettled(topic)
    mesh.hear(manifest)
    assert not mesh.graph.is_unsettled(topic)


def test_where_nobody_could_look_there_may_always_be_one_more_policy() -> None:
    mesh = Mesh(policy("shop"))
    mesh.graph.blind = frozenset({Kind.DUBBO_AUTHORIZATION_POLICY})
    assert mesh.graph.is_unsettled(POLICIES)


def test_an_object_that_cannot_be_read_holds_what_it_names_for_its_own_kind_alone() -> None:
    mesh = Mesh(*EVERYTHING)
    mesh.refuse(
        offered("cache", "redis: []").replace("name: cache", "name: more"),
        hosts=frozenset({"store"}),
    )
    store = Host("store.shop.svc.cluster.local")
    assert mesh.graph.is_held(Kind.REDIS_SERVICE, store)
    assert not mesh.graph.is_held(Kind.META_ROUTER, store)
    assert not mesh.graph.is_held(Kind.REDIS_SERVICE, Host("cache.shop.svc.cluster.local"))
    mesh.graph.blind = frozenset({Kind.META_ROUTER})
    assert mesh.graph.is_held(Kind.META_ROUTER, store)


# --- spelling ---------------------------------------------------------------------------------


def test_a_host_is_spelled_as_its_oldest_entry_that_counts_writes_it() -> None:
    """Istio's clusters bear that name, short or not."""
    full = Host("orders.shop.svc.cluster.local")
    mesh = Mesh(entry("other", "orders", created="2024-01-01T00:00:00Z"))
    assert spelled(mesh, full) == "orders"
    mesh.hear(entry(f"{full}.", name="younger", created="2025-01-01T00:00:00Z"))
    assert spelled(mesh, full) == "orders"
    mesh.lose(entry("orders"))
    assert spelled(mesh, full) == full
    mesh.hear(entry("orders", created="2024-06-01T00:00:00Z"))
    foreign = entry(full, name="evil", namespace="evil", created="2020-01-01T00:00:00Z")
    mesh.hear(foreign)
    assert spelled(mesh, full) == "orders"


def spelled(mesh: Mesh, host: Host) -> str:
    declared = mesh.graph.service(host)
    assert declared is not None
    return declared[0].spelled


def test_redis_objects_for_hosts_that_nobody_declares_are_told_that_they_have_no_effect() -> None:
    mesh = Mesh(offered("nowhere", "redis: []"), reached("nowhere", "mode: PROXY"))
    for kind, field in (
        (Kind.REDIS_SERVICE, "spec.host[0]"),
        (Kind.REDIS_DESTINATION, "spec.host"),
    ):
        (said,) = (found for key, found in mesh.graph.verdicts.items() if key.kind is kind)
        assert [each.problem.field for each in said] == [field]
        assert "the object has no effect" in said[0].problem.message
    mesh.hear(service("nowhere", "tcp-redis"))
    assert mesh.graph.verdicts == {}


def test_the_host_of_anothers_redis_is_not_spoken_about_and_in_warn_mode_it_may_be() -> None:
    evil = offered("cache.shop.svc.cluster.local", "redis: []", namespace="evil").replace(
        "name: cache.shop.svc.cluster.local", "name: evil"
    )
    cache = Host("cache.shop.svc.cluster.local")
    for mode, count in ((TenancyMode.STRICT, 1), (TenancyMode.WARN, 2)):
        mesh = Mesh(*EVERYTHING, evil, mode=mode)
        assert len(mesh.graph.in_force(Kind.REDIS_SERVICE, cache)) == count
        assert mesh.graph.is_foreign(cache, "evil") is (mode is TenancyMode.STRICT)
        assert not mesh.graph.is_foreign(cache, "shop")
        (said,) = (found for key, found in mesh.graph.verdicts.items() if key.name == "evil")
        assert [each.problem.field for each in said] == ["spec.host[0]"]


def test_a_redis_host_is_sent_to_by_no_router() -> None:
    """ADS has clusters for whom routers send to, and Redis is Istio's."""
    mesh = Mesh(*EVERYTHING, offered("cache", "redis: [{route: {host: back}}]"))
    back = Host("back.shop.svc.cluster.local")
    assert not mesh.graph.is_target(back)
    mesh.hear(router("orders", "routes: [{route: [{destination: {host: back}}]}]"))
    assert mesh.graph.is_target(back)


def test_a_service_is_linked_as_the_entry_that_it_stands_for() -> None:
    with pytest.raises(TypeError, match="as the ServiceEntry"):
        links_of(KubernetesService(metadata=Metadata(name="orders", namespace="shop")), Tenancy())
