"""What is served, and what is wrong with what it is made of.

In: the hub's snapshots and the pipeline's report, which are only read. Out: pages as plain data.
The names of scopes hold what proxies say of themselves, so they are escaped and bounded too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

from aeraki_xds.admin.query import MESSAGE, TEXT, PageError, Query
from aeraki_xds.encode import packed_to_json
from aeraki_xds.pipeline import Pipeline
from aeraki_xds.pipeline.written import WriteState
from aeraki_xds.state import State
from aeraki_xds.telemetry import shown
from aeraki_xds.turns import in_turns
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import Resource, Scope


class Configuration:
    """The pages about configuration."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        hub: Hub,
        state: State | None = None,
        written: Callable[[], WriteState | None] = lambda: None,
    ) -> None:
        self._written = written
        self._pipeline = pipeline
        self._state = state
        self._hub = hub

    def sources(self) -> dict[str, object]:
        """Where configuration comes from, and whether it still does."""
        return {
            name: {"synced": state.synced, "stale": shown(state.stale, MESSAGE)}
            for name, state in self._pipeline.sources.items()
        }

    def kept(self) -> dict[str, object]:
        """Whether the state folder is as new as what is in force; nothing without one."""
        if self._state is None:
            return {}
        return {"state": {"stale": shown(self._state.error, MESSAGE)}}

    async def resources(self, query: Query) -> object:
        """What scopes hold, narrowed down by scope, type and name, one page of it in JSON."""
        scopes = self._scopes(query.scope)
        found: dict[str, dict[str, dict[str, object]]] = {}
        total = 0
        shown_here = 0
        for scope in scopes:
            of_scope = found.setdefault(shown(scope, TEXT), {})
            async for resource in in_turns(self._held(scope, query)):
                if query.offset <= total < query.offset + query.limit:
                    of_type = of_scope.setdefault(resource.id.type_url, {})
                    of_type[resource.name] = {
                        "version": resource.version,
                        "resource": packed_to_json(resource.packed),
                    }
                    shown_here += 1
                total += 1
        return {
            "scopes": found,
            "total": total,
            "offset": query.offset,
            "truncated": query.offset + shown_here < total,
        }

    async def rejections(self, query: Query) -> object:
        """Everything that is wrong with the configuration."""
        report = self._pipeline.report
        entries = [
            {
                "file": shown(entry.origin, MESSAGE),
                "object": shown(str(entry.key), MESSAGE) if entry.key else None,
                "field": shown(entry.problem.field, MESSAGE),
                "severity": entry.problem.severity,
                "message": shown(entry.problem.message, MESSAGE),
                "inForce": entry.in_force,
            }
            async for entry in in_turns(query.page(report))
        ]
        return {**query.paged("rejections", entries, len(report)), **self._writing()}

    def _writing(self) -> dict[str, object]:
        """How the writing of EnvoyFilters goes; nothing where nobody writes."""
        state = self._written()
        if state is None:
            return {}
        texts = {
            "failures": {name: shown(why, MESSAGE) for name, why in state.failures.items()},
            "errors": {kind: shown(why, MESSAGE) for kind, why in state.errors.items()},
        }
        return {"writing": {**asdict(state), **texts}}

    def _scopes(self, wanted: str) -> list[Scope]:
        published = self._hub.published
        if not wanted:
            return published
        found = [scope for scope in published if wanted in (scope, shown(scope, TEXT))]
        if not found:
            known = ", ".join(shown(scope, TEXT) for scope in published[:20])
            more = ", …" if len(published) > 20 else ""
            message = f"there is no scope {shown(wanted, TEXT)!r}; there are: {known}{more}"
            raise PageError(404, message)
        return found

    def _held(self, scope: Scope, query: Query) -> Iterator[Resource]:
        snapshot = self._hub.snapshot(scope)
        if snapshot is None:
            return
        for type_url, collection in sorted(snapshot.collections.items()):
            if query.type in type_url:
                for name in sorted(collection.resources):
                    if query.name in name:
                        yield collection.resources[name]
