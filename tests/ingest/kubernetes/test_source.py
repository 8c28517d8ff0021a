"""A whole cluster as a source: every kind, the mesh config, and the Secrets that are in use."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from aeraki_xds.ingest.event import Delete, Event, SourceLost, Synced, Upsert
from aeraki_xds.ingest.kubernetes.client import Cluster
from aeraki_xds.ingest.kubernetes.reflector import Pace
from aeraki_xds.ingest.kubernetes.source import ON_REQUEST, SECRETS, KubernetesSource, _Secrets
from aeraki_xds.mesh.names import Key, Kind, Namespace
from aeraki_xds.mesh.objects import Metadata, Secret
from tests.apiserver.faults import Faults
from tests.apiserver.kinds import KINDS, Call
from tests.apiserver.server import ApiServer
from tests.ingest.kubernetes.kit import Heard, hurried, rule, until

ROOT = "istio-system"
EXAMPLES = Path(__file__).parents[3] / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """A source at work, and what it said."""

    source: KubernetesSource
    heard: Heard

    def last(self, name: str) -> Synced | SourceLost | None:
        """What was last said of one of its names."""
        return next((s for s in reversed(self.heard.states) if s.source == name), None)

    def are_synced(self, *names: str) -> Callable[[], bool]:
        """A condition: that all of these are."""
        return lambda: all(isinstance(self.last(name), Synced) for name in names)

    def password(self, name: str) -> str | None:
        """What the Secret of shop is known to hold."""
        said = self.heard.objects.get(secret_key(name))
        assert said is None or isinstance(said, Upsert)
        if said is None:
            return None
        assert isinstance(said.item, Secret)
        return said.item.data["password"].reveal()


@asynccontextmanager
async def following(
    api: ApiServer, folder: Path, *, url: str = "", long_waits: bool = False
) -> AsyncIterator[Following]:
    """The source of a cluster; with `long_waits` each look at the clock is 5 seconds later."""
    path = folder / "kubeconfig"
    api.kubeconfig(path, url=url or api.url)
    ticks = iter(range(0, 10**9, 5))
    pace = Pace(sleep=hurried, random=Random(1))
    if long_waits:
        pace = replace(pace, clock=lambda: float(next(ticks)))
    async with Cluster.of_kubeconfig(path) as cluster:
        source = KubernetesSource(
            connection=cluster, root_namespace=ROOT, mesh_config_name="istio", pace=pace
        )
        heard = Heard()
        task = asyncio.create_task(source.run(heard))
        try:
            yield Following(source=source, heard=heard)
        finally:
            assert not task.done(), task
            task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled()


def secret_key(name: str) -> Key:
    """The key of the Secret that `secret` writes down."""
    return Key(Kind.SECRET, Namespace("shop"), name)


def secret(name: str, password: str = "pw") -> dict[str, Any]:
    """A Secret of namespace `shop`."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "shop"},
        "data": {"password": b64encode(password.encode()).decode()},
    }


def config_map(name: str, namespace: str = ROOT) -> dict[str, Any]:
    """A ConfigMap with a mesh config in it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"mesh": "rootNamespace: istio-system\n"},
    }


def secret_calls(api: ApiServer) -> list[Call]:
    """Everything that was asked about Secrets."""
    return [call for call in api.calls if call.resource == "secrets"]


async def test_every_kind_of_the_examples_is_read_from_a_cluster(tmp_path: Path) -> None:
    manifests = [
        document
        for path in sorted(EXAMPLES.rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document and document.get("kind") in {kind.kind for kind in KINDS}
    ]
    keys = set()
    async with ApiServer.started() as api:
        for manifest in manifests:
            kind, metadata = Kind(manifest["kind"]), manifest["metadata"]
            if kind in (Kind.SECRET, Kind.CONFIG_MAP):
                continue
            api.put(manifest)
            namespace = metadata.get("namespace", "default")
            if kind is Kind.APPLICATION_PROTOCOL:
                namespace = ""
            keys.add(Key(kind, Namespace(namespace), metadata["name"]))
        async with following(api, tmp_path) as it:
            it.source.want_secrets(frozenset())
            it.source.want_endpoints(True)
            await it.heard.until(it.are_synced(*it.source.names))
            assert it.heard.objects.keys() == keys
            assert len({key.kind for key in keys}) >= 8
            assert len(it.heard.states) == len(it.source.names) == 15


async def test_of_config_maps_only_the_one_with_the_mesh_config_is_asked_for(
    tmp_path: Path,
) -> None:
    async with ApiServer.started() as api:
        api.put(config_map("istio"))
        api.put(config_map("other"))
        api.put(config_map("istio", "shop"))
        async with following(api, tmp_path) as it:
            await it.heard.until(it.are_synced("kubernetes/ConfigMap"))
            mesh = Key(Kind.CONFIG_MAP, Namespace(ROOT), "istio")
            assert list(it.heard.objects) == [mesh]
            api.delete("ConfigMap", ROOT, "istio")
            await it.heard.until(lambda: it.heard.deleted == [mesh])
    asked = {(c.namespace, c.name) for c in api.calls if c.resource == "configmaps"}
    assert asked == {(ROOT, "istio")}


async def test_one_kind_that_may_not_be_read_is_lost_and_the_others_are_not(
    tmp_path: Path,
) -> None:
    def allowed(_verb: str, _group: str, resource: str, *_: str) -> bool:
        return resource != "gateways"

    async with (
        ApiServer.started(allowed=allowed) as api,
        following(api, tmp_path, long_waits=True) as it,
    ):
        it.source.want_secrets(frozenset())
        it.source.want_endpoints(True)
        others = set(it.source.names) - {"kubernetes/Gateway"}
        await it.heard.until(it.are_synced(*others))
        await it.heard.until(lambda: it.last("kubernetes/Gateway") is not None)
        lost = it.last("kubernetes/Gateway")
        assert isinstance(lost, SourceLost)
        assert "403" in lost.reason


async def test_a_cluster_without_any_of_our_kinds_is_synced_and_empty(tmp_path: Path) -> None:
    core = [kind for kind in KINDS if kind.group == ""]
    async with ApiServer.started(kinds=core) as api, following(api, tmp_path) as it:
        it.source.want_secrets(frozenset())
        it.source.want_endpoints(True)
        await it.heard.until(it.are_synced(*it.source.names))
        assert it.heard.objects == {}


# --- Secrets ------------------------------------------------------------------------------------


async def test_secrets_are_not_synced_before_somebody_said_which_are_wanted(
    tmp_path: Path,
) -> None:
    async with ApiServer.started() as api, following(api, tmp_path) as it:
        await it.heard.until(it.are_synced(*(n for n in it.source.names if n not in ON_REQUEST)))
        assert it.last(SECRETS) is None
        it.source.want_secrets(frozenset())
        await it.heard.until(it.are_synced(SECRETS))
        assert secret_calls(api) == []


async def test_secrets_are_synced_when_each_was_looked_for_whether_it_is_there_or_not(
    tmp_path: Path,
) -> None:
    def allowed(_verb: str, _group: str, resource: str, _namespace: str, name: str) -> bool:
        return resource != "secrets" or name in {"there", "missing"}

    async with ApiServer.started(allowed=allowed) as api, following(api, tmp_path) as it:
        api.put(secret("there"))
        api.put(secret("forbidden"))
        api.put(secret("not-wanted"))
        wanted = {("shop", "there"), ("shop", "missing"), ("shop", "forbidden")}
        it.source.want_secrets(wanted)
        await it.heard.until(it.are_synced(SECRETS))
        assert it.password("there") == "pw"
        assert set(it.heard.deleted) == {secret_key("missing"), secret_key("forbidden")}
        assert {(call.namespace, call.name) for call in secret_calls(api)} == wanted
        before = position(it, lambda e: isinstance(e, Upsert) and e.key == secret_key("there"))
        assert before < position(it, lambda e: e == Synced(source=SECRETS))
        api.allowed = lambda *_: True
        await it.heard.until(lambda: it.password("forbidden") == "pw")


def position(it: Following, what: Callable[[Event], bool]) -> int:
    """How much was said before this."""
    events = [event for batch in it.heard.batches for event in batch]
    return next(at for at, event in enumerate(events) if what(event))


async def test_a_secret_that_changes_comes_or_goes_is_said(tmp_path: Path) -> None:
    async with ApiServer.started() as api, following(api, tmp_path) as it:
        api.put(secret("one"))
        it.source.want_secrets({("shop", "one"), ("shop", "two")})
        await it.heard.until(it.are_synced(SECRETS))
        await until(lambda: api.watches("Secret") == 2)
        api.put(secret("one", "new"))
        api.put(secret("two", "late"))
        await it.heard.until(lambda: it.password("one") == "new")
        await it.heard.until(lambda: it.password("two") == "late")
        api.delete("Secret", "shop", "one")
        await it.heard.until(lambda: it.password("one") is None)


async def test_a_secret_that_nobody_wants_any_more_is_forgotten_and_not_asked_for(
    tmp_path: Path,
) -> None:
    async with ApiServer.started() as api, following(api, tmp_path) as it:
        api.put(secret("one"))
        api.put(secret("two"))
        it.source.want_secrets({("shop", "one"), ("shop", "two")})
        await it.heard.until(it.are_synced(SECRETS))
        await until(lambda: api.watches("Secret") == 2)
        asked = len(secret_calls(api))
        it.source.want_secrets({("shop", "two")})
        await it.heard.until(lambda: it.heard.deleted == [secret_key("one")])
        await until(lambda: api.watches("Secret") == 1)
        assert len(secret_calls(api)) == asked
        it.source.want_secrets({("shop", "two"), ("shop", "one")})
        await it.heard.until(lambda: it.password("one") == "pw")


def test_what_a_reflector_says_while_it_is_being_ended_is_not_heard() -> None:
    heard = Heard()
    secrets = _Secrets(heard)
    secrets.want({secret_key("one")})
    watch = secrets.begin(secret_key("one"))
    item = Secret(metadata=Metadata(name="one", namespace="shop"), data={})
    secrets.want(frozenset())
    secrets.hear(watch, [Upsert(key=secret_key("one"), item=item, origin="kubernetes")])
    assert heard.objects == {}


async def test_secrets_that_cannot_be_read_any_more_are_a_lost_source_and_stay(
    tmp_path: Path,
) -> None:
    async with ApiServer.started() as api, Faults.started(api.url) as faults:
        api.put(secret("one"))
        async with following(api, tmp_path, url=faults.url, long_waits=True) as it:
            it.source.want_secrets({("shop", "one")})
            it.source.want_endpoints(False)
            await it.heard.until(it.are_synced(*it.source.names))
            await until(lambda: api.watches("Secret") == 1)
            await faults.refuse()
            faults.cut_all()
            await it.heard.until(lambda: isinstance(it.last(SECRETS), SourceLost))
            lost = it.last(SECRETS)
            assert isinstance(lost, SourceLost)
            assert lost.reason.startswith("Secret/shop/one: ")
            assert it.password("one") == "pw"
            await faults.accept()
            await it.heard.until(it.are_synced(*it.source.names))
            assert it.heard.deleted == []


async def test_a_lost_secret_that_nobody_wants_any_more_is_no_loss(tmp_path: Path) -> None:
    def allowed(_verb: str, _group: str, resource: str, *_: str) -> bool:
        return resource != "secrets" or not is_locked

    is_locked = False
    async with ApiServer.started(allowed=allowed) as api:
        api.put(secret("one"))
        async with following(api, tmp_path, long_waits=True) as it:
            it.source.want_secrets({("shop", "one")})
            await it.heard.until(it.are_synced(SECRETS))
            await until(lambda: api.watches("Secret") == 1)
            is_locked = True
            api.end_watches()
            await it.heard.until(lambda: isinstance(it.last(SECRETS), SourceLost))
            it.source.want_secrets(frozenset())
            await it.heard.until(it.are_synced(SECRETS))
            assert it.heard.deleted == [secret_key("one")]


async def test_a_cluster_of_ten_thousand_services_is_read_in_pages(tmp_path: Path) -> None:
    async with ApiServer.started() as api:
        for number in range(10_000):
            api.put(rule(f"r{number}"))
        async with following(api, tmp_path) as it:
            await it.heard.until(it.are_synced("kubernetes/DestinationRule"))
            assert len(it.heard.hosts) == 10_000
        lists = [c for c in api.calls if c.verb == "list" and c.resource == "destinationrules"]
        assert len(lists) == 20


@pytest.mark.parametrize("namespaced", [False, True])
async def test_application_protocols_are_read_whatever_their_scope(
    tmp_path: Path, namespaced: bool
) -> None:
    protocol = next(kind for kind in KINDS if kind.kind == "ApplicationProtocol")
    kinds = [*(k for k in KINDS if k is not protocol), replace(protocol, namespaced=namespaced)]
    async with ApiServer.started(kinds=kinds) as api, following(api, tmp_path) as it:
        api.put(
            {
                "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
                "kind": "ApplicationProtocol",
                "metadata": {"name": "mine"},
                "spec": {"protocol": "mine", "codec": "aeraki.meta_protocol.codec.dubbo"},
            }
        )
        key = Key(Kind.APPLICATION_PROTOCOL, Namespace(""), "mine")
        await it.heard.until(lambda: isinstance(it.heard.objects.get(key), Upsert))
        await until(lambda: api.watches("ApplicationProtocol") == 1)
        if namespaced:
            other = api.get("ApplicationProtocol", "default", "mine")
            assert other is not None
            metadata = {"name": "mine", "namespace": "a"}
            api.put({**other, "metadata": metadata, "spec": {**other["spec"], "protocol": "first"}})
            await it.heard.until(lambda: "first" in str(it.heard.objects[key]))
            api.delete("ApplicationProtocol", "a", "mine")
            await it.heard.until(lambda: "first" not in str(it.heard.objects[key]))
            await until(lambda: api.watches("ApplicationProtocol") == 1)
        api.delete("ApplicationProtocol", "default" if namespaced else None, "mine")
        await it.heard.until(lambda: Delete(key=key) in it.heard.batches[-1])
