"""The text of YAML documents → plain objects, built from libyaml's event stream. Pure.

PyYAML's ready-made composers are not used: the C one recurses, so 100,000 brackets end the
process, and none of them sees duplicate keys. The event stream is flat and several times faster;
objects are assembled here on a stack of our own, and the first thing that does not fit (`Misfit`)
stops before libyaml reads on.

Aliases share the object that they name. What the document would be if they were copied is counted,
because whoever walks the result walks the copies: that count is what makes a bomb explode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

import yaml

from aeraki_xds.ingest import scalars
from aeraki_xds.ingest.fault import Misfit, position
from aeraki_xds.ingest.scalars import Scalar

MAX_DEPTH: Final = 100
"""Nested lists and maps; the deepest manifest that makes sense has about ten."""

MIN_ALIAS_BUDGET: Final = 10_000
"""Nodes that aliases may add to a document; a longer document may have as many as characters."""

TOO_DEEP: Final = f"lists and maps are nested more than {MAX_DEPTH} deep"

Value = Scalar | list["Value"] | dict[str, "Value"]

_MERGE: Final = "<<"
_LIST_TAG: Final = "tag:yaml.org,2002:seq"
_MAP_TAG: Final = "tag:yaml.org,2002:map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The value of one document and where it begins in the text, from 0."""

    value: Value
    line: int
    column: int


def read_yaml(text: str) -> list[Document]:
    """Every document of a text. Raises Misfit at the first fault."""
    builder = _Builder(max(MIN_ALIAS_BUDGET, len(text)))
    parser = yaml.CSafeLoader(text)
    try:
        while (event := parser.get_event()) is not None:
            builder.take(event)
    except yaml.reader.ReaderError as reason:
        raise Misfit(*position(text.encode(), reason.position), str(reason.reason)) from None
    except yaml.MarkedYAMLError as reason:
        raise _located(reason) from None
    finally:
        parser.dispose()
    return builder.documents


class _Open:
    """A list or map that is being filled; `size` and `height` count what is complete in it."""

    __slots__ = ("anchor", "height", "items", "key", "merged", "merging", "pairs", "size", "start")

    def __init__(self, anchor: str | None, event: yaml.Event, *, is_map: bool) -> None:
        self.items: list[Value] = []
        self.pairs: dict[str, Value] | None = {} if is_map else None
        self.key: str | None = None
        self.merged: list[dict[str, Value]] | None = None
        self.merging = False
        self.anchor = anchor
        self.start = event
        self.size = 1
        self.height = 1

    def close(self) -> Value:
        """The finished value; what is merged in gives way to what is written out."""
        if self.pairs is None:
            return self.items
        for source in self.merged or ():
            self.pairs = source | self.pairs
        return self.pairs


class _Builder:
    """Assembles one document after another out of events."""

    def __init__(self, budget: int) -> None:
        self.documents: list[Document] = []
        self._budget = budget
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Value, int, int]] = {}

    def take(self, event: yaml.Event) -> None:
        """Take the next event. Raises Misfit."""
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._open(event, is_map=True)
            case yaml.SequenceStartEvent():
                self._open(event, is_map=False)
            case yaml.CollectionEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._anchors.clear()
            case _:
                pass

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        is_plain, is_text = event.implicit
        if is_plain and event.value == _MERGE and self._wants_key():
            self._start_merge(event)
            return
        value: Scalar
        if is_text and not is_plain:
            value = event.value
        else:
            try:
                tag = None if is_plain else event.tag
                value = scalars.meaning(event.value, tag)
            except ValueError as reason:
                _stop(event, str(reason))
        if not isinstance(value, str) and self._wants_key():
            _stop(event, f"the key {event.value} is not a string; quote it")
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1, 0)
        self._put(value, 1, 0, event)

    def _open(self, event: yaml.CollectionStartEvent, *, is_map: bool) -> None:
        if event.tag not in (None, "!", _MAP_TAG if is_map else _LIST_TAG):
            _stop(event, f"{scalars.named(event.tag)} is not supported here")
        if self._wants_key():
            _stop(event, "a key must be a string")
        if len(self._stack) >= MAX_DEPTH:
            _stop(event, TOO_DEEP)
        self._stack.append(_Open(event.anchor, event, is_map=is_map))

    def _close(self) -> None:
        done = self._stack.pop()
        value = done.close()
        if done.anchor is not None:
            self._anchors[done.anchor] = (value, done.size, done.height)
        self._put(value, done.size, done.height, done.start)

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor or ""
        if any(opened.anchor == name for opened in self._stack):
            _stop(event, "this alias stands inside of what it names")
        if name not in self._anchors:
            _stop(event, "this alias names nothing above it; quote it if it is none")
        value, size, height = self._anchors[name]
        if len(self._stack) + height > MAX_DEPTH:
            _stop(event, TOO_DEEP)
        self._budget -= size
        if self._budget < 0:
            _stop(event, "aliases repeat too much; write the values out")
        self._put(value, size, height, event)

    def _wants_key(self) -> bool:
        if not self._stack:
            return False
        top = self._stack[-1]
        return top.pairs is not None and top.key is None and not top.merging

    def _put(self, value: Value, size: int, height: int, event: yaml.Event) -> None:
        if not self._stack:
            line, column = _start(event)
            self.documents.append(Document(value=value, line=line, column=column))
            return
        top = self._stack[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        if top.pairs is None:
            top.items.append(value)
        elif top.merging:
            _finish_merge(top, value, event)
        elif top.key is None:
            top.key = _checked_key(top.pairs, value, event)
        else:
            top.pairs[top.key] = value
            top.key = None

    def _start_merge(self, event: yaml.Event) -> None:
        top = self._stack[-1]
        if top.merged is not None:
            _stop(event, f"duplicate key {_MERGE!r}")
        top.merging = True


def _finish_merge(top: _Open, value: Value, event: yaml.Event) -> None:
    sources = value if isinstance(value, list) else [value]
    top.merged = [source for source in sources if isinstance(source, dict)]
    if len(top.merged) != len(sources):
        _stop(event, f"only maps can be merged with {_MERGE!r}")
    top.merging = False


def _checked_key(pairs: dict[str, Value], value: Value, event: yaml.Event) -> str:
    if not isinstance(value, str):  # an alias; anything else was caught with its spelling at hand
        _stop(event, "a key must be a string")
    if value in pairs:
        _stop(event, f"duplicate key {value[:80]!r}")
    return value


def _located(reason: yaml.MarkedYAMLError) -> Misfit:
    mark = reason.problem_mark or reason.context_mark
    message = ": ".join(part for part in (reason.context, reason.problem) if part)
    return Misfit(mark.line if mark else 0, mark.column if mark else 0, message)


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line, mark.column) if mark is not None else (0, 0)


def _stop(event: yaml.Event, message: str) -> NoReturn:
    raise Misfit(*_start(event), message)
