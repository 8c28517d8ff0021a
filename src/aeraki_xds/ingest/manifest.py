"""The bytes of a YAML or JSON file → its documents as plain dicts, or one fault a document. Pure.

A file is cut at its document markers before anything is parsed. The text of a piece then tells
whether a document has changed since the file was last read, so a change to one of a hundred
documents costs the parsing of one. The cuts are exact: YAML allows a line that begins with `---`
or `...` nowhere but between documents, not even inside a quoted or block scalar.

Guaranteed, whatever the bytes are: the process survives, the work is bounded (depth, what aliases
expand to; the size of a file is bounded where it is read), and nothing ambiguous is taken: no
duplicate key, no number that is not finite, no key that is not a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aeraki_xds.ingest.fault import Fault, Misfit, position
from aeraki_xds.ingest.json_text import read_json
from aeraki_xds.ingest.yaml_text import Document, Value, read_yaml

Plain = dict[str, Value]

_MARKER: Final = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_BOM: Final = "\ufeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The text of one document, its marker and the comments before it included."""

    text: str
    line: int
    """The line of the file on which the piece begins, from 0."""
    is_json: bool = False


def cut(data: bytes, *, is_json: bool = False) -> tuple[Piece, ...] | Fault:
    """The documents of a file as text; a fault if the bytes are no text at all."""
    if (nul := data.find(0)) >= 0:
        line, column = position(data, nul)
        return Fault(line=line, column=column, message="a NUL byte; is this file text in UTF-8?")
    try:
        text = data.decode()
    except UnicodeDecodeError as reason:
        line, column = position(data, reason.start)
        return Fault(line=line, column=column, message="the file is not UTF-8")
    text = text.removeprefix(_BOM)
    return (Piece(text=text, line=0, is_json=True),) if is_json else tuple(_documents(text))


def parse(piece: Piece) -> tuple[Plain, ...] | Fault:
    """The objects of one piece: one as a rule, none if it is empty, many if it is a List."""
    try:
        documents = read_json(piece.text.encode()) if piece.is_json else read_yaml(piece.text)
        return tuple(item for document in documents for item in _objects(document, document.value))
    except Misfit as misfit:
        return misfit.fault


def _documents(text: str) -> Iterator[Piece]:
    start = line = 0
    for end in (*_cuts(text), len(text)):
        part = text[start:end]
        # Directives and comments ahead of a marker belong to the document behind it.
        if end < len(text) and not part.startswith("---") and _is_preamble(part):
            continue
        if part:
            yield Piece(text=part, line=line)
        line += part.count("\n")
        start = end


def _cuts(text: str) -> Iterator[int]:
    """Before each `---`, and behind each line that begins with `...`."""
    for marker in _MARKER.finditer(text):
        if marker[0] == "---":
            yield marker.start()
        else:
            end = text.find("\n", marker.end())
            yield len(text) if end < 0 else end + 1


def _is_preamble(part: str) -> bool:
    return all(
        line.startswith("%") or not line.strip() or line.lstrip().startswith("#")
        for line in part.split("\n")
    )


def _objects(document: Document, value: Value) -> Iterator[Plain]:
    """The value itself, or what a List holds; its nesting is bounded by the readers."""
    if value is None:
        return
    if not isinstance(value, dict):
        shape = "a list" if isinstance(value, list) else "a single value"
        raise _misfit(document, f"a manifest is a map with apiVersion and kind; this is {shape}")
    if not _is_list(value):
        yield value
        return
    items = value.get("items")
    if not isinstance(items, list | None):
        raise _misfit(document, f"the items of a {value['kind']} must be a list")
    for item in items or ():
        yield from _objects(document, item)


def _is_list(value: Plain) -> bool:
    """`kubectl get -o yaml` prints a List; the API server itself, say, a ServiceEntryList."""
    kind = value.get("kind")
    return kind == "List" or (
        isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list)
    )


def _misfit(document: Document, message: str) -> Misfit:
    return Misfit(document.line, document.column, message)
