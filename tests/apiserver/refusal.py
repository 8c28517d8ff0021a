"""How an API server says no: a `Status`, with the words of the real one.

Rules: Kubernetes, "API Concepts" and `apimachinery/pkg/api/errors`.
"""

from __future__ import annotations

from typing import Any

import orjson

from tests.apiserver.kinds import Call, JsonObject, Kind


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: JsonObject | None = None,
        metadata: JsonObject | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata or {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            **({"details": details} if details else {}),
            "code": code,
        }

    @property
    def body(self) -> bytes:
        """The Status as JSON."""
        return orjson.dumps(self.status)


def details_of(kind: Kind, name: str, **more: object) -> JsonObject:
    """Which object a Status is about."""
    group = {"group": kind.group} if kind.group else {}
    return {"name": name, **group, "kind": kind.plural, **more}


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", "Unauthorized")


def forbidden(call: Call, verb: str) -> Refusal:
    resource = f"{call.resource}/{call.subresource}".rstrip("/")
    place = f'in the namespace "{call.namespace}"' if call.namespace else "at the cluster scope"
    kind = Kind(group=call.group, plural=call.resource, kind="")
    who = f'{kind.id} "{call.name}"' if call.name else kind.id
    message = (
        f'{who} is forbidden: User "test" cannot {verb} resource "{resource}" '
        f'in API group "{call.group}" {place}'
    )
    return Refusal(403, "Forbidden", message, details=details_of(kind, call.name))


def not_found(kind: Kind, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{kind.id} "{name}" not found', details=details_of(kind, name))


def not_served() -> Refusal:
    return Refusal(404, "NotFound", "the server could not find the requested resource")


def not_allowed() -> Refusal:
    message = "the server does not allow this method on the requested resource"
    return Refusal(405, "MethodNotAllowed", message)


def already_exists(kind: Kind, name: str) -> Refusal:
    message = f'{kind.id} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, details=details_of(kind, name))


def conflict(kind: Kind, name: str, why: str) -> Refusal:
    message = f'Operation cannot be fulfilled on {kind.id} "{name}": {why}'
    return Refusal(409, "Conflict", message, details=details_of(kind, name))


def expired(message: str, *, metadata: JsonObject | None = None) -> Refusal:
    return Refusal(410, "Expired", message, metadata=metadata)


def unsupported(content_type: str) -> Refusal:
    message = (
        f"the body of the request was in an unknown format ({content_type}) - accepted media types "
        "include: application/merge-patch+json, application/apply-patch+yaml"
    )
    return Refusal(415, "UnsupportedMediaType", message)


def invalid(of: str, name: str, field: str, why: str) -> Refusal:
    cause = {"reason": "FieldValueInvalid", "message": why, "field": field}
    message = f'{of} "{name}" is invalid: {field}: {why}'
    return Refusal(422, "Invalid", message, details={"name": name, "causes": [cause]})


def too_new(asked: int, revision: int) -> Refusal:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {asked}, current: {revision}"
    return Refusal(504, "Timeout", message, details={"causes": [cause], "retryAfterSeconds": 1})
