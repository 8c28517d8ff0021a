"""What is written for Istio as the mesh changes: nothing is lost over a late or broken object, and
a change regenerates what it is about.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import yaml

from aeraki_xds.mesh.change import Delete, ObjectEvent
from aeraki_xds.mesh.graph import Graph
from aeraki_xds.mesh.names import Host
from aeraki_xds.mesh.store import Store
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import composer as composing
from aeraki_xds.pipeline.composer import Composer
from aeraki_xds.pipeline.ledger import Ledger
from aeraki_xds.pipeline.scopes import for_istio
from aeraki_xds.translate.compose import Recipe, compose
from aeraki_xds.translate.output import Output
from aeraki_xds.xds.resource import Resource
from tests.translate.envoyfilter.kit import LIKE_AERAKI, entry, mesh_config, router, service
from tests.translate.golden import events_of

SPEC = for_istio(LIKE_AERAKI)
PROTOCOL = """
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: ApplicationProtocol
metadata: {name: qza}
spec: {protocol: qza, codec: com.example.codec.qza}
"""
QZA = service(port="tcp-metaprotocol-qza")
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: cache, namespace: shop}
stringData: {password: open-sesame}
"""
CACHE = """
apiVersion: redis.aeraki.io/v1alpha1
kind: RedisService
metadata: {name: cache, namespace: shop}
spec:
  host: [cache.shop.svc.cluster.local]
  settings: {auth: {secret: {name: cache}}}
"""
POLICY = """
apiVersion: dubbo.aeraki.io/v1alpha1
kind: DubboAuthorizationPolicy
metadata: {name: nobody, namespace: shop}
spec: {action: ALLOW}
"""
LIMIT = "localRateLimit: {tokenBucket: {maxTokens: 1, tokensPerFill: 1, fillInterval: 1s}}"


class Istio:
    """A mesh, and what is in force of its EnvoyFilters."""

    def __init__(self) -> None:
        self.graph = Graph(tenancy=Tenancy())
        self._store = Store()
        self._composer = Composer(graph=self.graph, recipe=SPEC.recipe)
        self._ledger = Ledger()

    def hear(self, *manifests: str) -> dict[str, bytes]:
        """Take what is said; returns the objects that are in force then."""
        documents = [each for text in manifests for each in yaml.safe_load_all(text)]
        return self.take(events_of(documents))

    def lose(self, *manifests: str) -> dict[str, bytes]:
        """The objects are there no more."""
        documents = [each for text in manifests for each in yaml.safe_load_all(text)]
        return self.take([Delete(key=event.key) for event in events_of(documents)])

    def take(self, events: Iterable[ObjectEvent]) -> dict[str, bytes]:
        touched = self.graph.update(self._store.apply(events))
        for host in sorted(touched | self._look()):
            self._composer.compose(host)
        for host in self._composer.settle():
            self._composer.hand_over(host, SPEC, self._ledger)
        self._ledger.settle()
        return {each.name: each.packed for each in self.resources()}

    def _look(self) -> frozenset[Host]:
        hidden = self._store.hidden_kinds()
        differs, self.graph.blind = hidden != self.graph.blind, hidden
        return self.graph.hosts if differs else frozenset()

    def kept(self) -> dict[Host, set[str]]:
        """What is to be kept for after a restart, by host, where it is not what it was."""
        return {host: {r.name for r in kept} for host, kept in self._composer.news().items()}

    def said(self) -> list[str]:
        """What is wrong with the hosts."""
        return [f"{each.key} {each.problem}" for each in self._composer.findings]

    def resources(self) -> list[Resource]:
        return list(self._ledger.in_force.values())


RULES = pytest.mark.parametrize(
    ("manifest", "about"),
    [
        (router(LIMIT), service()),
        (CACHE, service("cache", "tcp-redis")),
        (POLICY, service("greet", "tcp-dubbo")),
        (mesh_config("{accessLogFile: /x}"), service()),
    ],
    ids=["router", "redis", "policy", "mesh-config"],
)
"""Objects that say something about the filters of a service, and the service."""


def broken(manifest: str) -> str:
    """The object with something that cannot be read."""
    document = yaml.safe_load(manifest)
    if document["kind"] == "ConfigMap":
        document["data"]["mesh"] = "{"
    else:
        document["spec"]["nonsense"] = True
    return yaml.safe_dump(document)


def test_a_protocol_that_is_declared_no_more_leaves_what_was_written() -> None:
    """Deleting a declaration must not cut every connection of a protocol (M-8, M-9)."""
    mesh = Istio()
    written = mesh.hear(QZA, PROTOCOL)
    assert len(written) == 2
    assert mesh.lose(PROTOCOL) == written
    other = service("later", port="tcp-metaprotocol-qza", address="10.0.0.2")
    assert mesh.hear(other) == written
    declared_again = mesh.hear(PROTOCOL.replace("com.example.codec.qza", "com.example.codec.two"))
    assert len(declared_again) == 4
    assert not declared_again.items() & written.items()


def test_what_stands_while_nothing_can_be_decided_is_kept_for_after_a_restart() -> None:
    mesh = Istio()
    written = mesh.hear(QZA, PROTOCOL)
    assert (mesh.kept(), mesh.said()) == ({}, [])
    mesh.lose(PROTOCOL)
    host = Host("orders.shop.svc.cluster.local")
    assert mesh.kept() == {host: set(written)}
    assert any("no ApplicationProtocol declares" in line for line in mesh.said())
    assert mesh.kept() == {}
    mesh.hear(PROTOCOL)
    assert mesh.kept() == {host: set()}
    assert mesh.said() == []


def test_a_service_that_goes_takes_its_filters_with_it() -> None:
    mesh = Istio()
    assert len(mesh.hear(service())) == 2
    assert mesh.lose(service()) == {}


def test_a_secret_that_goes_never_takes_authentication_with_it() -> None:
    """Aeraki writes a filter without a password (E-4)."""
    mesh = Istio()
    cache = service("cache", "tcp-redis", number=6379)
    assert mesh.hear(cache, CACHE) == {}
    written = mesh.hear(SECRET)
    assert any(b"open-sesame" in each for each in written.values())
    assert mesh.lose(SECRET) == written
    changed = mesh.hear(SECRET.replace("open-sesame", "other"))
    assert changed.keys() == written.keys()
    assert any(b"other" in each for each in changed.values())


@RULES
def test_an_object_that_breaks_leaves_what_it_said_in_force(manifest: str, about: str) -> None:
    mesh = Istio()
    written = mesh.hear(about, SECRET, manifest)
    assert written
    assert mesh.hear(broken(manifest)) == written


@RULES
def test_an_object_that_never_could_be_read_holds_what_it_is_about(
    manifest: str, about: str
) -> None:
    """Nothing is written that would be wrong as soon as the object can be read; nothing is
    deleted either, and other hosts do not suffer."""
    mesh = Istio()
    assert mesh.hear(broken(manifest), about) == {}
    untouched = mesh.hear(service("other", "tcp-kafka", address="10.0.0.9"))
    assert len(untouched) == (0 if "ConfigMap" in manifest else 2)
    assert mesh.hear(SECRET, manifest).keys() > untouched.keys()


def test_an_object_whose_hosts_nobody_can_read_holds_every_host_that_it_may_be_about() -> None:
    mesh = Istio()
    nameless = CACHE.replace("host: [cache.shop.svc.cluster.local]", "host: 7")
    redis, thrift = (
        service("cache", "tcp-redis"),
        service("calls", "tcp-thrift", address="10.0.0.2"),
    )
    assert all("calls" in name for name in mesh.hear(nameless, redis, thrift))
    assert len(mesh.lose(nameless)) == 4


def test_what_the_annotation_of_an_entry_says_counts_at_once() -> None:
    """Aeraki compares specs only (M-6)."""
    mesh = Istio()
    before = mesh.hear(entry(spec="", annotations="{workloadSelector: a}"))
    after = mesh.hear(entry(spec="", annotations="{workloadSelector: b}"))
    assert before != after


def test_one_changed_object_among_ten_thousand_services_regenerates_one_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    composed: list[Host] = []

    def counting(graph: Graph, host: Host, recipe: Recipe) -> Output:
        composed.append(host)
        return compose(graph, host, recipe)

    monkeypatch.setattr(composing, "compose", counting)
    mesh = Istio()
    services = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"s{n}", "namespace": "shop"},
            "spec": {
                "clusterIP": f"10.0.{n // 250}.{n % 250}",
                "selector": {"app": f"s{n}"},
                "ports": [{"port": 9090, "name": "tcp-metaprotocol-thrift"}],
            },
        }
        for n in range(10_000)
    ]
    before = mesh.take(events_of(services))
    assert len(before) == 20_000
    assert len(composed) == 10_000
    composed.clear()
    after = mesh.hear(router(LIMIT, host="s7.shop.svc.cluster.local"))
    assert composed == ["s7.shop.svc.cluster.local"]
    changed = [name for name, packed in after.items() if before[name] is not packed]
    assert changed == ["istio-system/aeraki-inbound-s7.shop.svc.cluster.local-9090"]


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {app: edge}
  servers: [{hosts: ["*"], port: {number: 9091, name: tcp-metaprotocol-qza}}]
"""


def test_a_protocol_of_a_gateways_port_that_is_declared_late_opens_it() -> None:
    """The host of the router depends on it by way of the gateway."""
    mesh = Istio()
    to_gateway = """gateways: [edge]
  routes: [{route: [{destination: {host: orders, port: {number: 9091}}}]}]"""
    two = QZA.replace("port: 9090", "port: 9091").replace(
        "tcp-metaprotocol-qza", "tcp-metaprotocol-thrift"
    )
    assert mesh.hear(two, GATEWAY, router(to_gateway)) == {}
    opened = mesh.hear(PROTOCOL)
    assert "shop/aeraki-gateway-outbound-edge.shop-9091" in opened
    assert mesh.lose(PROTOCOL) == opened
