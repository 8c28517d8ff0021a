"""The admin endpoint: plain JSON over aiohttp, read-only, on loopback by default.

In: the pipeline and the hub, which it only reads. Out:

- `/healthz` the process answers; `/readyz` every source was synced once (it latches);
- `/debug/syncz` each stream: what it was sent, ACKed and NACKed, by type;
- `/debug/resources` what a scope holds (`?scope=`, `?type=`, `?name=` narrow it down);
- `/debug/rejections` everything that is wrong with the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from aiohttp import web

from aeraki_xds.encode import packed_to_json
from aeraki_xds.pipeline import Pipeline
from aeraki_xds.xds.hub import Hub, Stream
from aeraki_xds.xds.resource import Resource, Scope, TypeUrl


class AdminServer:
    """Serves the pages above."""

    def __init__(self, *, pipeline: Pipeline, hub: Hub) -> None:
        self._pipeline = pipeline
        self._hub = hub
        application = web.Application()
        application.add_routes(
            [
                web.get("/", self._index),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/debug/syncz", self._syncz),
                web.get("/debug/resources", self._resources),
                web.get("/debug/rejections", self._rejections),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Bind and listen; port 0 picks one. Returns the real address. Raises OSError."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        name = self._runner.addresses[0]
        return str(name[0]), int(name[1])

    async def close(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()

    async def _index(self, _request: web.Request) -> web.Response:
        paths = ["/healthz", "/readyz", "/debug/syncz", "/debug/resources", "/debug/rejections"]
        return _json({"paths": paths})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        sources = {
            name: {"synced": state.synced, "stale": state.stale}
            for name, state in self._pipeline.sources.items()
        }
        ready = self._hub.serving
        status = "ready" if ready else "not synced"
        return _json({"status": status, "sources": sources}, status=200 if ready else 503)

    async def _syncz(self, _request: web.Request) -> web.Response:
        return _json({"streams": [_stream(stream) for stream in self._hub.streams]})

    async def _resources(self, request: web.Request) -> web.Response:
        wanted_type = request.query.get("type", "")
        wanted_name = request.query.get("name", "")
        scopes = [Scope(request.query["scope"])] if "scope" in request.query else self._scopes()
        found: dict[str, dict[str, dict[str, object]]] = {}
        for scope in scopes:
            snapshot = self._hub.snapshot(scope)
            if snapshot is None:
                message = f"there is no scope {scope!r}; there are: {', '.join(self._scopes())}"
                return _json({"error": message}, status=404)
            found[scope] = {
                type_url: _collection(collection.resources.values(), wanted_name)
                for type_url, collection in sorted(snapshot.collections.items())
                if wanted_type in type_url
            }
        return _json({"scopes": found})

    async def _rejections(self, _request: web.Request) -> web.Response:
        entries = [
            {
                "file": entry.origin,
                "object": str(entry.key) if entry.key else None,
                "field": entry.problem.field,
                "severity": entry.problem.severity,
                "message": entry.problem.message,
                "inForce": entry.in_force,
            }
            for entry in self._pipeline.report
        ]
        return _json({"rejections": entries})

    def _scopes(self) -> list[Scope]:
        return self._hub.published


def _collection(resources: Iterable[Resource], wanted_name: str) -> dict[str, object]:
    return {
        resource.name: {"version": resource.version, "resource": packed_to_json(resource.packed)}
        for resource in sorted(resources, key=lambda each: each.name)
        if wanted_name in resource.name
    }


def _stream(stream: Stream) -> dict[str, object]:
    return {
        "stream": stream.number,
        "node": stream.node.id,
        "userAgent": stream.node.user_agent,
        "peer": stream.peer.address,
        "dialect": stream.session.dialect.value,
        "scopes": list(stream.scopes),
        "connectedAt": stream.connected_at,
        "types": {type_url: _type(stream, type_url) for type_url in sorted(stream.session.watches)},
    }


def _type(stream: Stream, type_url: TypeUrl) -> dict[str, object]:
    watch = stream.session.watches[type_url]
    status = stream.status_of(type_url)
    return {
        "subscribed": sorted(watch.subscription.names),
        "wildcard": watch.subscription.wildcard,
        "held": len(watch.sent),
        "parked": sorted(watch.parked),
        "sent": {
            "nonce": status.sent_nonce,
            "version": status.sent_version,
            "at": status.sent_at,
        },
        "acked": {"nonce": status.acked_nonce, "version": status.acked_version},
        "nacks": status.nacks,
        "stale": status.stale,
        "lastError": status.last_error,
    }


def _json(value: object, *, status: int = 200) -> web.Response:
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    return web.Response(body=body + b"\n", status=status, content_type="application/json")
