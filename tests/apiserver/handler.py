"""The HTTP side of the API server: from a request to its answer.

In: requests. Out: objects, lists, watches, discovery, and Status for all else; each call is noted.
Rule: Kubernetes, "API Concepts".
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import yaml
from aiohttp import web

from tests.apiserver import refusal
from tests.apiserver.kinds import Call, JsonObject, Kind, call_of, discovery, flag
from tests.apiserver.query import Allowed, Continue, number, selector
from tests.apiserver.refusal import Refusal
from tests.apiserver.storage import Change, Compacted, Selects, Signal, State, Storage
from tests.apiserver.writes import Write, Writes

NAMESPACE: Final = Kind(plural="namespaces", kind="Namespace", namespaced=False, status=True)
_MERGE: Final = "application/merge-patch+json"
_PATCHES: Final = {_MERGE, "application/apply-patch+yaml"}
_BODIES: Final = {"application/json", "application/yaml"}
_EXPIRED: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start "
    "a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A call for a kind that is served."""

    call: Call
    kind: Kind
    query: Mapping[str, str]

    @property
    def key(self) -> tuple[str, str]:
        return self.call.namespace, self.call.name

    def json(self, state: State) -> bytes:
        return state.json(self.kind, self.call.version)

    def listed(self, state: State) -> bytes:
        """As an item: only custom resources say there what they are."""
        return self.json(state) if self.kind.custom else b"{" + state.encoded


class Handler:
    """Answers requests. ApiServer says what the settings mean."""

    def __init__(
        self,
        *,
        kinds: Iterable[Kind],
        tokens: set[str] | None,
        allowed: Allowed,
        strict_namespaces: bool,
        bookmark_every: float,
        gone_as_event: bool,
    ) -> None:
        self.tokens = tokens
        self.allowed = allowed
        self.strict_namespaces = strict_namespaces
        self.bookmark_every = bookmark_every
        self.gone_as_event = gone_as_event
        self.calls: list[Call] = []
        self._kinds = {kind.id: kind for kind in kinds}
        self._storage = Storage()
        self._writes = Writes(self._storage)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request, and note it. A watch is noted when it is accepted."""
        call = call_of(request.method, request.path, request.query)
        try:
            self._authenticate(request)
            answer = await self._dispatch(request, call)
        except Refusal as no:
            answer = _json(no.body, status=no.code)
        if call.verb != "watch" or answer.status != 200:
            self._note(call, answer.status)
        return answer

    async def _dispatch(self, request: web.Request, call: Call) -> web.StreamResponse:
        if call.resource == "" and (found := discovery(request.path, self._kinds.values())):
            return _json(orjson.dumps(found))
        asked = self._asked(request, call)
        if asked is None and self._is_built_in(call):
            raise refusal.not_served()
        if asked is None:
            return web.Response(status=404, text="404 page not found\n")
        self._authorize(call, call.verb)
        if "dryRun" in request.query:
            raise refusal.bad_request("this server cannot do a dry run")
        match call.verb:
            case "get":
                return _json(asked.json(self._writes.live(self._write(asked, request))))
            case "list":
                return _json(self._list(asked))
            case "watch":
                return await self._watch(asked, request)
            case "delete":
                return await self._delete(asked, request)
            case "create" | "update" | "patch":
                return await self._change(asked, request)
        raise refusal.not_allowed()

    def _asked(self, request: web.Request, call: Call) -> _Asked | None:
        kind = self._kinds.get(Kind(group=call.group, plural=call.resource, kind="").id)
        if kind is None or call.version not in kind.versions:
            return None
        if call.subresource and not (call.subresource == "status" and kind.status):
            return None
        one = call.verb not in {"list", "watch", "deletecollection"}
        if (call.namespace and not kind.namespaced) or (
            one and kind.namespaced and not call.namespace
        ):
            return None
        return _Asked(call=call, kind=kind, query=request.query)

    def _is_built_in(self, call: Call) -> bool:
        """Whether the group is one that answers for itself: who serves custom resources leaves what
        it does not know to the router behind it."""
        group = [kind for kind in self._kinds.values() if kind.group == call.group]
        return bool(call.resource) and any(
            call.version in kind.versions and not kind.custom for kind in group
        )

    def _authenticate(self, request: web.Request) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens is not None and token not in self.tokens:
            raise refusal.unauthorized()

    def _authorize(self, call: Call, verb: str) -> None:
        resource = f"{call.resource}/{call.subresource}".rstrip("/")
        if not self.allowed(verb, call.group, resource, call.namespace, call.name):
            raise refusal.forbidden(call, verb)

    def _note(self, call: Call, status: int) -> None:
        self.calls.append(replace(call, status=status))

    # --- reading --------------------------------------------------------------------------------

    def _list(self, asked: _Asked) -> bytes:
        query, limit = asked.query, number(asked.query, "limit") or 0
        wanted, current = number(query, "resourceVersion"), self._storage.revision
        start = Continue.read(query["continue"]) if query.get("continue") else None
        if start and wanted:
            message = "specifying resource version is not allowed when using continue"
            raise refusal.bad_request(message)
        if wanted and wanted > current:
            raise refusal.too_new(wanted, current)
        exact = query.get("resourceVersionMatch") == "Exact" and wanted
        revision = start.revision if start and start.revision >= 0 else exact or current
        try:
            found = self._storage.snapshot(asked.kind, revision)
        except Compacted as error:
            if start is None:
                raise refusal.expired(self._too_old(revision)) from error
            again = replace(start, revision=-1).token()
            raise refusal.expired(_EXPIRED, metadata={"continue": again}) from error
        if start:
            found = found[bisect_right(found, start.after, key=lambda one: one[0]) :]
        selects = _within(asked)
        found = [(key, state) for key, state in found if selects(state)]
        metadata: JsonObject = {"resourceVersion": str(revision)}
        if 0 < limit < len(found):
            metadata["continue"] = Continue(revision=revision, after=found[limit - 1][0]).token()
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        head = {
            "kind": f"{asked.kind.kind}List",
            "apiVersion": asked.kind.api_version(asked.call.version),
            "metadata": metadata,
        }
        items = b",".join(asked.listed(state) for _, state in found)
        return orjson.dumps(head)[:-1] + b',"items":[' + items + b"]}"

    def _too_old(self, revision: int) -> str:
        return f"too old resource version: {revision} ({self._storage.compacted})"

    async def _watch(self, asked: _Asked, request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in asked.query:
            field, why = "sendInitialEvents", "Forbidden: the WatchList feature gate is not enabled"
            raise refusal.invalid("ListOptions.meta.k8s.io", "", field, why)
        selects = _within(asked)
        start = number(asked.query, "resourceVersion") or 0
        timeout = number(asked.query, "timeoutSeconds") or 1800
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        with self._storage.watching(asked.kind, asked.call.version) as watcher:
            lines: list[bytes] = []
            try:
                lines = self._first(asked, start, selects)
            except Compacted as error:
                gone = refusal.expired(self._too_old(start))
                if not self.gone_as_event:
                    raise gone from error
                lines = [_error(gone)]
                watcher.queue.put_nowait(Signal.END)
            self._note(asked.call, 200)
            await response.prepare(request)
            # Headers go at once: a client waits for them before it believes that it watches.
            await response.write(b"".join(lines))
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._follow(asked, watcher.queue, selects, response)
        return response

    def _first(self, asked: _Asked, start: int, selects: Selects) -> list[bytes]:
        """What a watch says first: what there is, or what changed since a revision."""
        if start:
            changes = self._storage.since(asked.kind, start)
            return [line for change in changes for line in _lines(asked, change, selects)]
        found = self._storage.snapshot(asked.kind, self._storage.revision)
        return [_event("ADDED", asked.json(state)) for _, state in found if selects(state)]

    async def _follow(
        self,
        asked: _Asked,
        queue: asyncio.Queue[Change | Signal],
        selects: Selects,
        response: web.StreamResponse,
    ) -> None:
        """Pass on what happens until the watch ends; what happened at once is written at once."""
        bookmarks = flag(asked.query, "allowWatchBookmarks")
        while True:
            told: list[Change | Signal] = [await self._next(queue)]
            while not queue.empty():
                told.append(queue.get_nowait())
            changes = [one for one in told if isinstance(one, Change)]
            lines = [line for change in changes for line in _lines(asked, change, selects)]
            if bookmarks and Signal.BOOKMARK in told:
                # Last, for it says that all before its revision was told.
                lines.append(self._bookmark(asked))
            if Signal.EXPIRED in told:
                lines.append(_error(refusal.expired(self._too_old(self._storage.compacted))))
            if lines:
                await response.write(b"".join(lines))
            if Signal.EXPIRED in told or Signal.END in told:
                return

    async def _next(self, queue: asyncio.Queue[Change | Signal]) -> Change | Signal:
        try:
            async with asyncio.timeout(self.bookmark_every):
                return await queue.get()
        except TimeoutError:
            return Signal.BOOKMARK

    def _bookmark(self, asked: _Asked) -> bytes:
        bookmark = {
            "kind": asked.kind.kind,
            "apiVersion": asked.kind.api_version(asked.call.version),
            "metadata": {"resourceVersion": str(self._storage.revision)},
        }
        return _event("BOOKMARK", orjson.dumps(bookmark))

    # --- writing --------------------------------------------------------------------------------

    def _write(self, asked: _Asked, request: web.Request) -> Write:
        agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
        return Write(
            kind=asked.kind,
            version=asked.call.version,
            key=asked.key,
            manager=asked.call.manager or agent,
            part=asked.call.subresource,
        )

    async def _change(self, asked: _Asked, request: web.Request) -> web.Response:
        call, verb = asked.call, asked.call.verb
        media = request.content_type
        if media not in (_PATCHES if verb == "patch" else _BODIES):
            raise refusal.unsupported(media)
        body = _parsed(await request.read())
        if verb == "create":
            if call.name:
                raise refusal.not_allowed()
            call = replace(call, name=body.get("metadata", {}).get("name", ""))
            asked = replace(asked, call=call)
            if not call.name:
                field, why = "metadata.name", "Required value: name is required"
                raise refusal.invalid(asked.kind.id, "", field, why)
        write = self._write(asked, request)
        if verb == "patch" and media == _MERGE:
            return _json(asked.json(self._writes.merge(write, body)))
        _check_names(asked, body)
        if verb == "update":
            return _json(asked.json(self._writes.update(write, body)))
        if verb == "create":
            self.ensure_namespace(call.namespace)
            return _json(asked.json(self._writes.create(write, body)), status=201)
        if not call.manager:
            field, why = "fieldManager", "Required value: is required for apply patch"
            raise refusal.invalid("PatchOptions.meta.k8s.io", "", field, why)
        if self._storage.get(asked.kind, asked.key) is None:
            self._authorize(call, "create")  # an apply that creates needs both verbs
            self.ensure_namespace(call.namespace)
        force = flag(asked.query, "force")
        state, created = self._writes.apply(write, body, force=force)
        return _json(asked.json(state), status=201 if created else 200)

    async def _delete(self, asked: _Asked, request: web.Request) -> web.Response:
        options = _parsed(await request.read()) if request.can_read_body else {}
        preconditions = options.get("preconditions") or {}
        state = self.remove(asked.kind, asked.key, preconditions)
        details = refusal.details_of(asked.kind, asked.call.name, uid=state.metadata["uid"])
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return _json(orjson.dumps(success | {"details": details}))

    def remove(self, kind: Kind, key: tuple[str, str], preconditions: Mapping[str, str]) -> State:
        """Delete an object; a namespace goes with all that is in it."""
        state = self._writes.delete(kind, key, preconditions)
        if kind.id == NAMESPACE.id:
            for inside in [kind for kind in self._kinds.values() if kind.namespaced]:
                self._clear(inside, namespace=key[1])
        return state

    def _clear(self, kind: Kind, namespace: str | None = None) -> None:
        for key, _ in self._storage.snapshot(kind, self._storage.revision):
            if namespace is None or key[0] == namespace:
                self._storage.commit(kind, key, None)

    def ensure_namespace(self, namespace: str) -> None:
        """Make a namespace that is written to, or refuse if it must be there."""
        if not namespace or self._storage.get(NAMESPACE, ("", namespace)):
            return
        if self.strict_namespaces:
            raise refusal.not_found(NAMESPACE, namespace)
        write = Write(kind=NAMESPACE, version="v1", key=("", namespace), manager="kubectl")
        self._writes.put(write, {"metadata": {}, "status": {"phase": "Active"}})


def _json(body: bytes, *, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _parsed(body: bytes) -> JsonObject:
    """A body, of JSON or of YAML."""
    try:
        parsed: Any = orjson.loads(body) if body.lstrip()[:1] == b"{" else yaml.safe_load(body)
    except (ValueError, yaml.YAMLError) as error:
        raise refusal.bad_request(f"error decoding the body: {error}") from error
    if not isinstance(parsed, dict):
        raise refusal.bad_request("the body is not an object")
    return parsed


def _check_names(asked: _Asked, body: JsonObject) -> None:
    """That the body is about the object that the URL names."""
    wanted = asked.kind.api_version(asked.call.version), asked.kind.kind
    given = body.get("apiVersion"), body.get("kind")
    if given != wanted:
        message = f"{given} in the body does not match {wanted} of the URL"
        raise refusal.bad_request(message)
    metadata = body.setdefault("metadata", {})
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if name and name != asked.call.name:
        message = (
            f"the name of the object ({name}) does not match the name on the URL "
            f"({asked.call.name})"
        )
        raise refusal.bad_request(message)
    if namespace and namespace != asked.call.namespace:
        message = (
            "the namespace of the provided object does not match the namespace sent on the request"
        )
        raise refusal.bad_request(message)


def _within(asked: _Asked) -> Selects:
    """What the selectors and the namespace of a call admit."""
    selects, namespace = selector(asked.query), asked.call.namespace
    if not namespace:
        return selects
    return lambda state: state.metadata["namespace"] == namespace and selects(state)


def _lines(asked: _Asked, change: Change, selects: Selects) -> list[bytes]:
    event = change.seen(selects)
    return [] if event is None else [_event(event[0], asked.json(event[1]))]


def _event(what: str, body: bytes) -> bytes:
    return b'{"type":"' + what.encode() + b'","object":' + body + b"}\n"


def _error(no: Refusal) -> bytes:
    return _event("ERROR", no.body)
