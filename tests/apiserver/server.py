"""A Kubernetes API server for tests: real HTTP, real rules, objects in memory.

    async with ApiServer.started() as api:
        api.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {}})
        …                        # a client at api.url, or with the file of api.kubeconfig(path)
        assert Call(…) in api.calls

In: requests of any client, and what the test does to the world behind it. Out: what kube-apiserver
would answer, to the status code, the reason and the form of a Status.
Guaranteed: one counter of revisions; a list is of one revision, a watch tells each later change
once, in order. Left out: admission, schemas and defaults, strategic merge patches, JSON patches,
deletecollection, dry runs, finalizers, tables and protobuf.
The parts: kinds (what is served, discovery), handler (HTTP), query (selectors), storage (revisions,
watchers), writes (what a write means), ownership (server-side apply), refusal (Status), and faults
(a proxy in front of it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml
from aiohttp import web

from tests.apiserver.handler import Handler
from tests.apiserver.kinds import KINDS, JsonObject, Kind
from tests.apiserver.query import Allowed
from tests.apiserver.storage import Signal, State, Watcher
from tests.apiserver.writes import EVERYTHING, Write


class ApiServer(Handler):
    """The server, and the hand of the test in it.

    `tokens`: who may come in; None is everybody. `allowed`: what they may do. Both may be replaced
    at any time. `bookmark_every`: seconds of silence. `gone_as_event`: whether a watch from a
    compacted revision is answered in the stream (as a cache does) or with HTTP 410.
    """

    def __init__(
        self,
        *,
        kinds: Iterable[Kind] = KINDS,
        tokens: set[str] | None = None,
        allowed: Allowed = lambda *_: True,
        strict_namespaces: bool = False,
        bookmark_every: float = 60,
        gone_as_event: bool = True,
    ) -> None:
        super().__init__(
            kinds=kinds,
            tokens=tokens,
            allowed=allowed,
            strict_namespaces=strict_namespaces,
            bookmark_every=bookmark_every,
            gone_as_event=gone_as_event,
        )
        self.url = ""
        self.put({"kind": "Namespace", "metadata": {"name": "default"}})

    # --- the hand of the test -------------------------------------------------------------------

    @classmethod
    @asynccontextmanager
    async def started(cls, **options: Any) -> AsyncIterator[ApiServer]:
        """One that listens on a free port of loopback; the options are those of the class."""
        api = cls(**options)
        application = web.Application(client_max_size=16 << 20)
        application.router.add_route("*", "/{path:.*}", api.answer)
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=1
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        api.url = f"http://{host}:{port}"
        try:
            yield api
        finally:
            api._signal(Signal.END)
            await runner.cleanup()

    @property
    def revision(self) -> int:
        """The newest resourceVersion."""
        return self._storage.revision

    def put(self, manifest: JsonObject, *, manager: str = "kubectl") -> JsonObject:
        """Create or replace an object, with its status; answers it as it is then."""
        kind = self._kind(manifest["kind"])
        manifest = orjson.loads(orjson.dumps(manifest))
        namespace = manifest["metadata"].get("namespace", "default") if kind.namespaced else ""
        version = manifest.get("apiVersion", kind.versions[0]).rpartition("/")[2]
        key = (namespace, manifest["metadata"]["name"])
        self.ensure_namespace(namespace)
        write = Write(kind=kind, version=version, key=key, manager=manager, part=EVERYTHING)
        return _shown(kind, self._writes.put(write, manifest))

    def get(self, kind: str, namespace: str | None, name: str) -> JsonObject | None:
        """An object as it is now; cluster-scoped ones have no namespace."""
        found = self._kind(kind)
        state = self._storage.get(found, (namespace or "", name))
        return None if state is None else _shown(found, state)

    def objects(self, kind: str) -> list[JsonObject]:
        """All of a kind, by namespace and name."""
        found = self._kind(kind)
        return [_shown(found, s) for _, s in self._storage.snapshot(found, self.revision)]

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        """Remove an object; a namespace with all that is in it. Refusal if it is not there."""
        self.remove(self._kind(kind), (namespace or "", name), {})

    def register(self, kind: Kind) -> None:
        """Serve a kind, or other versions of it; watches of versions that are gone end."""
        self._kinds[kind.id] = kind
        self._signal(Signal.END, lambda w: w.kind == kind.id and w.version not in kind.versions)

    def unregister(self, kind: str) -> None:
        """Remove a kind with its objects, as when its CRD is deleted."""
        found = self._kind(kind)
        self._clear(found)
        del self._kinds[found.id]
        self._signal(Signal.END, lambda watcher: watcher.kind == found.id)

    def compact(self, *, before: int | None = None) -> None:
        """Forget the revisions before this one, or all but the newest."""
        self._storage.compact(self.revision if before is None else before)

    def bookmark(self) -> None:
        """Send a bookmark to every watch that allows them, now."""
        self._signal(Signal.BOOKMARK)

    def expire_watches(self) -> None:
        """End every watch with an ERROR event of 410."""
        self._signal(Signal.EXPIRED)

    def end_watches(self) -> None:
        """End every watch, as a server that goes down in order."""
        self._signal(Signal.END)

    def watches(self, kind: str) -> int:
        """How many watches of a kind are open."""
        return sum(watcher.kind == self._kind(kind).id for watcher in self._storage.watchers)

    def kubeconfig(self, path: Path, *, token: str | None = None, url: str | None = None) -> Path:
        """Write a kubeconfig: for this server, or for the proxy at another URL."""
        named = {"name": "test"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [named | {"cluster": {"server": url or self.url}}],
            "users": [named | {"user": {"token": token} if token else {}}],
            "contexts": [named | {"context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def _kind(self, name: str) -> Kind:
        return next(kind for kind in self._kinds.values() if kind.kind == name)

    def _signal(self, signal: Signal, to: Callable[[Watcher], bool] = lambda _: True) -> None:
        for watcher in filter(to, self._storage.watchers):
            watcher.queue.put_nowait(signal)


def _shown(kind: Kind, state: State) -> JsonObject:
    """A copy for the test, at the preferred version."""
    shown: JsonObject = orjson.loads(state.json(kind, kind.versions[0]))
    return shown
