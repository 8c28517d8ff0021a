"""The text of a JSON file → a plain object: orjson reads it, a scan finds what orjson lets pass.

orjson is strict about numbers (finite), encoding and surrogates, but the last of two equal keys
wins and a thousand levels are allowed. The scan runs over text that is known to be JSON, so a
token is a string, a bracket, or nothing that matters. Pure.

The scan says what is wrong and where, but takes ten times as long as all the rest: it is left out
where it would find nothing. An object that lost a member has fewer strings than its text, so the
quotes are counted, in the text and in what orjson writes of the value (of 30,000 objects in 23 MB:
1.2 s of scanning, 0.15 s so).
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from aeraki_xds.ingest.fault import Misfit, position
from aeraki_xds.ingest.yaml_text import MAX_DEPTH, TOO_DEEP, Document

_ESCAPED: Final = re.compile(rb"\\.")
_TOKEN: Final = re.compile(rb'(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")(?P<colon>\s*:)?|[][{}]')


def read_json(text: bytes) -> list[Document]:
    """The one document of a text; none if it is blank. Raises Misfit at the first fault."""
    if not text.strip():
        return []
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as reason:
        raise Misfit(reason.lineno - 1, reason.colno - 1, reason.msg) from None
    if not (_has_all(text, value) and _is_shallow(text, value)):
        _scan(text)
    start = len(text) - len(text.lstrip())
    line, column = position(text, start)
    return [Document(value=value, line=line, column=column)]


def _has_all(text: bytes, value: object) -> bool:
    """Whether every string of a text is in its value: no key was there twice."""
    try:
        return _quotes(text) == _quotes(orjson.dumps(value))
    except orjson.JSONEncodeError:  # nested deeper than orjson writes
        return False


def _quotes(text: bytes) -> int:
    """How many there are around strings."""
    return (_ESCAPED.sub(b"", text) if b"\\" in text else text).count(b'"')


def _is_shallow(text: bytes, value: object) -> bool:
    """Whether a value is nested no deeper than is allowed."""
    if text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return True
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return True
    return False


def _scan(text: bytes) -> None:
    seen: list[set[bytes]] = []
    for token in _TOKEN.finditer(text):
        if token["colon"] is not None:
            key = _canonical(token["string"])
            if key in seen[-1]:
                _stop(text, token, f"duplicate key {key.decode()}")
            seen[-1].add(key)
        elif token[0] in b"[{":
            seen.append(set())
            if len(seen) > MAX_DEPTH:
                _stop(text, token, TOO_DEEP)
        elif token[0] in b"]}":
            seen.pop()


def _canonical(string: bytes) -> bytes:
    """One spelling for all: `"\\u0061"` is `"a"`."""
    return orjson.dumps(orjson.loads(string)) if b"\\" in string else string


def _stop(text: bytes, token: re.Match[bytes], message: str) -> None:
    raise Misfit(*position(text, token.start()), message)
