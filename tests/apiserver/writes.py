"""What a write means: creation, optimistic concurrency, merge patch, server-side apply, deletion.

In: a body and who writes it. Out: the new state, or a Refusal; what changes nothing is no change.
Rules: Kubernetes, "API Concepts", "API Conventions" and "Server-Side Apply".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from tests.apiserver import refusal
from tests.apiserver.kinds import JsonObject, Kind
from tests.apiserver.ownership import (
    Manager,
    Path,
    conflicts,
    fields_of,
    managers_of,
    owned_by,
    put,
    remove,
    replaced,
)
from tests.apiserver.storage import Key, State, Storage

EVERYTHING = "*"  # a part: the object with its status, which no request can write at once
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Who writes what, and through which part of the API: "", "status" or EVERYTHING."""

    kind: Kind
    version: str
    key: Key
    manager: str
    part: str = ""

    def as_manager(self, operation: str) -> Manager:
        return Manager(
            name=self.manager,
            operation=operation,
            subresource="" if self.part == EVERYTHING else self.part,
            api_version=self.kind.api_version(self.version),
            time=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )


class Writes:
    """The operations."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def create(self, write: Write, body: JsonObject) -> State:
        """POST."""
        if self._storage.get(write.kind, write.key):
            raise refusal.already_exists(write.kind, write.key[1])
        if body["metadata"].get("resourceVersion"):
            message = "resourceVersion should not be set on objects to be created"
            raise refusal.Refusal(500, "", message)
        if not _NAME.fullmatch(write.key[1]):
            why = f'Invalid value: "{write.key[1]}": a lowercase RFC 1123 subdomain is needed'
            raise refusal.invalid(write.kind.id, write.key[1], "metadata.name", why)
        return self._save(write, None, body)

    def put(self, write: Write, body: JsonObject) -> State:
        """What no request can do: create or replace, whatever there was."""
        return self._save(write, self._storage.get(write.kind, write.key), body)

    def update(self, write: Write, body: JsonObject) -> State:
        """PUT."""
        live = self.live(write)
        if write.kind.unconditional is False and not body["metadata"].get("resourceVersion"):
            field = "metadata.resourceVersion"
            why = "Invalid value: 0: must be specified for an update"
            raise refusal.invalid(write.kind.id, write.key[1], field, why)
        return self._save(write, live, body)

    def merge(self, write: Write, patch: JsonObject) -> State:
        """PATCH with a merge patch (RFC 7396)."""
        live = self.live(write)
        merged: JsonObject = _merged(live.value, patch)
        return self._save(write, live, merged)

    def apply(self, write: Write, body: JsonObject, *, force: bool) -> tuple[State, bool]:
        """PATCH with what the manager wants to be so; and whether that made the object."""
        live = self._storage.get(write.kind, write.key)
        if live is None and write.part == "status":
            raise refusal.not_found(write.kind, write.key[1])
        if body.get("metadata", {}).get("managedFields"):
            raise refusal.bad_request("metadata.managedFields must be nil")
        before: JsonObject = live.value if live else {"metadata": {}}
        wanted = {path: value for path, value in fields_of(body).items() if _in(write, path)}
        me = replace(write.as_manager("Apply"), owns=frozenset(wanted))
        managers, there = managers_of(before), fields_of(before)
        found = conflicts(managers, me, there, wanted)
        if found and not force:
            raise _apply_failed(found)
        shared = frozenset[Path]().union(*(o.owns for o in managers if not me.is_same(o)))
        after: JsonObject = orjson.loads(orjson.dumps(before))
        for path in owned_by(managers, me) - me.owns - shared:
            remove(after, path)
        for path, value in wanted.items():
            put(after, path, value)
        after["metadata"]["resourceVersion"] = body["metadata"].get("resourceVersion")
        entries = replaced(managers, me, lost=frozenset(path for _, path in found))
        return self._save(write, live, after, managers=entries), live is None

    def delete(self, kind: Kind, key: Key, preconditions: Mapping[str, str]) -> State:
        """DELETE. Answers the last state."""
        live = self._storage.get(kind, key)
        if live is None:
            raise refusal.not_found(kind, key[1])
        for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted = preconditions.get(field)
            if wanted is not None and wanted != live.metadata[field]:
                why = (
                    f"Precondition failed: {name} in precondition: {wanted}, "
                    f"{name} in object meta: {live.metadata[field]}"
                )
                raise refusal.conflict(kind, key[1], why)
        self._storage.commit(kind, key, None)
        return live

    def live(self, write: Write) -> State:
        """What there is."""
        state = self._storage.get(write.kind, write.key)
        if state is None:
            raise refusal.not_found(write.kind, write.key[1])
        return state

    def _save(
        self,
        write: Write,
        live: State | None,
        body: JsonObject,
        managers: list[Manager] | None = None,
    ) -> State:
        """Write what the part of the body says, if it says anything new."""
        before: JsonObject = live.value if live else {"metadata": {}}
        _check_identity(write, live, body["metadata"])
        after = _parts(write, before, body)
        spec_changed = _spec(write.kind, before) != _spec(write.kind, after)
        if managers is None:
            managers = _updated(write, before, after)
        after["metadata"] |= _kept(write, live, spec_changed=spec_changed)
        after["metadata"]["managedFields"] = [manager.written() for manager in managers]
        if live and after == live.value:
            return live
        state = self._storage.commit(write.kind, write.key, after)
        assert state is not None
        return state


def _updated(write: Write, before: JsonObject, after: JsonObject) -> list[Manager]:
    """Who owns what after an update: the writer has what changed, and what it had."""
    managers, was, now = managers_of(before), fields_of(before), fields_of(after)
    mine = {path for path, value in now.items() if path not in was or was[path] != value}
    gone = was.keys() - now.keys()
    me = write.as_manager("Update")
    me = replace(me, owns=(owned_by(managers, me) - gone) | mine)
    return replaced(managers, me, lost=frozenset(mine | gone))


def _in(write: Write, path: Path) -> bool:
    """Whether a field belongs to the part that is written."""
    if write.part == EVERYTHING or not write.kind.status:
        return True
    return (path[0] == "status") == (write.part == "status")


def _parts(write: Write, before: JsonObject, body: JsonObject) -> JsonObject:
    """The body where the part may write, what there was elsewhere."""
    body = {name: value for name, value in body.items() if name not in {"apiVersion", "kind"}}
    if write.part == EVERYTHING or not write.kind.status:
        chosen = body
    elif write.part == "status":
        status = {"status": body["status"]} if "status" in body else {}
        chosen = {name: value for name, value in before.items() if name != "status"} | status
    else:
        status = {"status": before["status"]} if "status" in before else {}
        chosen = {name: value for name, value in body.items() if name != "status"} | status
    return {**chosen, "metadata": dict(chosen["metadata"])}


def _spec(kind: Kind, value: JsonObject) -> JsonObject:
    """What a generation counts the changes of."""
    return {name: v for name, v in value.items() if name not in {"metadata", "status"}}


def _kept(write: Write, live: State | None, *, spec_changed: bool) -> JsonObject:
    """The metadata that nobody but the server writes."""
    namespace, name = write.key
    metadata: JsonObject = {"name": name} | ({"namespace": namespace} if namespace else {})
    if live is None:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
        return metadata | ({"generation": 1} if write.kind.generations else {})
    names = ("uid", "creationTimestamp", "resourceVersion")
    metadata |= {field: live.metadata[field] for field in names}
    if write.kind.generations:
        metadata["generation"] = live.metadata["generation"] + spec_changed
    return metadata


def _check_identity(write: Write, live: State | None, metadata: Mapping[str, Any]) -> None:
    """That the writer means this object, as it is now."""
    uid, revision = metadata.get("uid"), metadata.get("resourceVersion")
    name = write.key[1]
    if live is None:
        if uid and write.part != EVERYTHING:
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object"
            raise refusal.conflict(write.kind, name, f"{why} was found")
        return
    if write.part == EVERYTHING:
        return
    if uid and uid != live.metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
        raise refusal.conflict(write.kind, name, why + live.metadata["uid"])
    if revision and revision != live.metadata["resourceVersion"]:
        raise refusal.conflict(write.kind, name, _MODIFIED)


def _apply_failed(found: list[tuple[Manager, Path]]) -> refusal.Refusal:
    plural = "s" if len(found) > 1 else ""
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {manager}",
            "field": "." + ".".join(path),
        }
        for manager, path in found
    ]
    said = "\n".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    message = f"Apply failed with {len(found)} conflict{plural}: {said}"
    return refusal.Refusal(409, "Conflict", message, details={"causes": causes})


def _merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, content in patch.items():
        if content is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), content)
    return merged
