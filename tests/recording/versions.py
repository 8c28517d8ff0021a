"""Versions (statement 7): they come from content alone, on every stream and after every restart.

In: a recording. Out: violations. What is asserted, for it holds however requests and responses
cross:

- delta: of one name, a version stands for one content and a content has one version;
- SotW, full state: the contents of two lists are equal if and only if their versions are;
- SotW, types that are sent in part: under one version a name has one content. Names of a response
  that was refused are left out: there the server may stand in what the client accepted before.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.recording.kinds import FULL_STATE
from tests.recording.recording import Asked, Recording, StreamRecord, Told
from tests.recording.rules import Rule, Violation

Place = tuple[str, ...]


def check_versions(recording: Recording) -> Iterator[Violation]:
    """All streams together."""
    book = _Book()
    for stream in recording.streams:
        for index, told in enumerate(stream.entries):
            if isinstance(told, Told):
                faults = list(_of(book, stream, index, told))
                if not told.version and not stream.delta:
                    faults.append("it is empty")
                yield from (Violation(Rule.VERSION, stream, index, what) for what in faults)


class _Book:
    """Which version stands for which content, and the other way round."""

    def __init__(self) -> None:
        self._contents: dict[tuple[Place, str], object] = {}
        self._versions: dict[tuple[Place, object], str] = {}

    def one_content(self, place: Place, version: str, content: object) -> bool:
        """Whether the version never stood for something else."""
        return self._contents.setdefault((place, version), content) == content

    def one_version(self, place: Place, version: str, content: object) -> bool:
        """Whether the content never had another version."""
        return self._versions.setdefault((place, content), version) == version


def _of(book: _Book, stream: StreamRecord, index: int, told: Told) -> Iterator[str]:
    if stream.delta:
        for item in told.items:
            place: Place = ("delta", told.type_url, item.name)
            if not book.one_content(place, item.version, item.body):
                yield f"{item.name!r} was something else at {item.version}"
            if not book.one_version(place, item.version, item.body):
                yield f"{item.name!r} had another version and the same content"
    elif told.type_url not in FULL_STATE:
        refused = _refused(stream, index, told.type_url)
        for item in told.items:
            place = ("sotw", stream.path, stream.node, told.type_url, item.name)
            if item.name not in refused and not book.one_content(place, told.version, item.body):
                yield f"{item.name!r} was something else at {told.version}"
    else:
        place = ("full", told.type_url)
        content = frozenset((item.name, item.body) for item in told.items)
        if not book.one_content(place, told.version, content):
            yield f"another list had the version {told.version}"
        if not book.one_version(place, told.version, content):
            yield "this list had another version before"


def _refused(stream: StreamRecord, index: int, type_url: str) -> set[str]:
    """The names of all responses that were refused so far."""
    nonces = {
        entry.nonce
        for entry in stream.entries[:index]
        if isinstance(entry, Asked) and entry.error is not None
    }
    return {
        item.name
        for entry in stream.entries[:index]
        if isinstance(entry, Told) and entry.type_url == type_url and entry.nonce in nonces
        for item in entry.items
    }
