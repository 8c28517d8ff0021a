"""What an API server's answers say: bytes in, values out, or `Garbled`. Pure.

Guaranteed: what is not a whole answer of the kind that was asked for is never taken for an empty
one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from aeraki_xds.ingest.kubernetes.client import ClusterError, refusal_of

Document = Mapping[str, Any]


class Garbled(ClusterError):
    """An answer that is not what was asked for. It is not quoted, because it may be a Secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a list. `token` asks for the next; empty with the last."""

    items: tuple[Document, ...]
    revision: str
    token: str


@dataclass(frozen=True, slots=True)
class Changed:
    """An object is there, and as follows."""

    document: Document


@dataclass(frozen=True, slots=True)
class Gone:
    """An object is not there any more; this is how it was."""

    document: Document


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to a revision has been told."""

    revision: str


Told = Changed | Gone | Bookmark


def serves(body: bytes, plural: str) -> bool:
    """Whether a kind is among the resources of a version, and may be watched. Raises Garbled."""
    found = _read(body).get("resources")
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Garbled("a discovery document without resources")
    return any(each.get("name") == plural and "watch" in each.get("verbs", ()) for each in found)


def page_of(body: bytes) -> Page:
    """A page of a list. Raises Garbled."""
    document = _read(body)
    metadata, items = document.get("metadata"), document.get("items", ...)
    if not str(document.get("kind")).endswith("List") or not isinstance(metadata, dict):
        raise Garbled("not a list")
    revision, token = metadata.get("resourceVersion"), metadata.get("continue") or ""
    if items is None:  # as Go writes a list without anything in it
        items = []
    if not isinstance(items, list) or not _is_word(revision) or not isinstance(token, str):
        raise Garbled("not a list")
    return Page(items=tuple(map(_object, items)), revision=revision, token=token)


def told_by(line: bytes) -> Told:
    """A line of a watch. Raises Garbled, and ApiError if the server says that it is over."""
    document = _read(line)
    about = document.get("object")
    if not isinstance(about, dict):
        raise Garbled("not an event of a watch")
    match document.get("type"):
        case "ADDED" | "MODIFIED":
            return Changed(_object(about))
        case "DELETED":
            return Gone(_object(about))
        case "BOOKMARK":
            revision = (about.get("metadata") or {}).get("resourceVersion")
            if _is_word(revision):
                return Bookmark(revision)
        case "ERROR":
            raise refusal_of(about)
        case _:
            pass
    raise Garbled("not an event of a watch")


def _object(item: object) -> Document:
    """An object that says which one it is, and when: otherwise it could not be missed later."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if (
        not isinstance(item, dict)
        or not isinstance(metadata, dict)
        or not _is_word(metadata.get("name"))
        or not _is_word(metadata.get("resourceVersion"))
        or not isinstance(metadata.get("namespace", ""), str)
    ):
        raise Garbled("an object without metadata.name or metadata.resourceVersion")
    return item


def _is_word(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _read(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Garbled(f"{len(body)} bytes that are not a JSON object")
    return document
