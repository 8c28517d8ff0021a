"""The admin endpoint: JSON over aiohttp, read-only, on loopback by default.

In: the pipeline and the hub, which it only reads. Out: `/healthz` (the process answers), `/readyz`
(every source was synced once, and the server is not about to stop), `/metrics`, and the pages that
`/debug` lists, named as istiod names them. Every page takes `?pretty`; lists are paged (`?limit=`,
`?offset=`) and say so. The first three, and `/ready` as Aeraki calls it, can also be had on an
address of their own, which all may reach.
Guaranteed: text of others is escaped and bounded before it is here, and no browser takes it for
HTML; an error is JSON too, and says what to write instead; a long page holds no stream up.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from aeraki_xds.admin.configuration import Configuration
from aeraki_xds.admin.lag import LagMeter
from aeraki_xds.admin.metrics import Metrics
from aeraki_xds.admin.proxies import Proxies
from aeraki_xds.admin.query import TEXT, PageError, Query
from aeraki_xds.admin.tasks import tasks
from aeraki_xds.pipeline import Pipeline
from aeraki_xds.pipeline.written import WriteState
from aeraki_xds.state import State
from aeraki_xds.telemetry import shown
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.wire import XdsServer
from aeraki_xds.xds.wire.health import Readiness

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Page:
    """What a path answers, and what it is for."""

    made_by: Callable[[Query], Awaitable[object]]
    about: str


class AdminServer:
    """Serves the pages above, and measures the loop's lag while it is open."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        hub: Hub,
        xds: XdsServer,
        readiness: Readiness,
        state: State | None = None,
        written: Callable[[], WriteState | None] = lambda: None,
    ) -> None:
        self._readiness = readiness
        self._configuration = configuration = Configuration(
            pipeline=pipeline, hub=hub, state=state, written=written
        )
        proxies = Proxies(hub)
        self._lag = LagMeter(clock=time.monotonic)
        self._metrics = Metrics(
            pipeline=pipeline, hub=hub, xds=xds, lag=self._lag, state=state, written=written
        )
        self._pages = {
            "/debug/adsz": _Page(proxies.adsz, "connected clients and what they watch"),
            "/debug/connections": _Page(proxies.connections, "TCP connections and their streams"),
            "/debug/list": _Page(self._list, "this list"),
            "/debug/rejections": _Page(configuration.rejections, "what is wrong, file by file"),
            "/debug/resources": _Page(configuration.resources, "what is served, by scope and type"),
            "/debug/syncz": _Page(proxies.syncz, "what each proxy was sent, ACKed and NACKed"),
            "/debug/tasks": _Page(tasks, "asyncio tasks and where they wait"),
        }
        probes = [
            web.get("/healthz", self._healthz),
            web.get("/metrics", self._exposed),
            web.get("/ready", self._readyz),
            web.get("/readyz", self._readyz),
        ]
        pages = [web.get(path, _answering(page)) for path, page in self._pages.items()]
        index = [web.get("/", self._index), web.get("/debug", self._index)]
        self._runner = _runner([*index, *probes, *pages])
        self._probes = _runner(probes)
        self._measuring: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Bind and listen; port 0 picks one. Returns the real address. Raises OSError."""
        bound = await _listen(self._runner, host, port)
        self._measuring = asyncio.create_task(self._lag.run(), name="event loop lag")
        return bound

    async def start_probes(self, host: str, port: int) -> tuple[str, int]:
        """Listen for what may be asked by everyone, likewise. It stays open as long."""
        return await _listen(self._probes, host, port)

    async def close(self) -> None:
        """Stop serving."""
        await self._probes.cleanup()
        if self._measuring is not None:
            self._measuring.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._measuring
        await self._runner.cleanup()

    async def _list(self, _query: Query) -> object:
        listed = {path: page.about for path, page in self._pages.items()}
        listed |= {
            "/healthz": "the process answers",
            "/metrics": "what was counted, for Prometheus",
            "/ready": "the same as /readyz",
            "/readyz": "every source was synced once, and the server is not about to stop",
        }
        return {"paths": dict(sorted(listed.items()))}

    async def _index(self, request: web.Request) -> web.Response:
        page = await self._list(Query())
        if "text/html" not in request.headers.get("Accept", ""):
            return _json(page, pretty=True)
        assert isinstance(page, dict)
        rows = "".join(
            f'<li><a href="{html.escape(path)}">{html.escape(path)}</a> {html.escape(about)}</li>'
            for path, about in page["paths"].items()
        )
        text = f"<!DOCTYPE html><title>aeraki-xds</title><h1>aeraki-xds</h1><ul>{rows}</ul>"
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        readiness = self._readiness
        stage = "draining" if readiness.draining else "not synced"
        said = {
            "status": "ready" if readiness.serving else stage,
            "sources": self._configuration.sources(),
            **self._configuration.kept(),
        }
        return _json(said, status=200 if readiness.serving else 503)

    async def _exposed(self, _request: web.Request) -> web.Response:
        headers = {**_HEADERS, "Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=self._metrics.text(), headers=headers)


def _runner(routes: Iterable[web.RouteDef]) -> web.AppRunner:
    application = web.Application(middlewares=[_explained])
    application.add_routes(routes)
    return web.AppRunner(application, access_log=None)


async def _listen(runner: web.AppRunner, host: str, port: int) -> tuple[str, int]:
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    name = runner.addresses[0]
    return str(name[0]), int(name[1])


def _answering(page: _Page) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        query = Query.parse(request.query)
        return _json(await page.made_by(query), pretty=query.pretty)

    return answer


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in the form of everything else."""
    try:
        return await handler(request)
    except PageError as failure:
        return _json({"error": str(failure)}, status=failure.status)
    except web.HTTPNotFound:
        path = shown(request.path, TEXT)
        return _json({"error": f"there is no page {path!r}; see /debug/list"}, status=404)


def _json(value: object, *, status: int = 200, pretty: bool = False) -> web.Response:
    """`<` is escaped too: it is what a browser would look for that takes JSON for HTML."""
    option = orjson.OPT_SORT_KEYS | (orjson.OPT_INDENT_2 if pretty else 0)
    body = orjson.dumps(value, option=option).replace(b"<", b"\\u003c") + b"\n"
    return web.Response(body=body, status=status, content_type="application/json", headers=_HEADERS)
