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
from functools import cache
from typing import Final

import orjson

from aeraki_xds.ingest.fault import Misfit, position
from aeraki_xds.ingest.yaml_text import MAX_DEPTH, TOO_DEEP, Document

_PROBED: Final = 1_000
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
    if not _is_sound(text, value):
        _scan(text)
    start = len(text) - len(text.lstrip())
    line, column = position(text, start)
    return [Document(value=value, line=line, column=column)]


def _is_sound(text: bytes, value: object) -> bool:
    """Whether every string of a text is in its value, so that no key was there twice, and nothing
    is nested too deep: in so many lists as leave room for what is allowed, orjson writes no more.
    """
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH:
        for _ in range(_deepest() - MAX_DEPTH):
            value = [value]
    try:
        return _quotes(text) == _quotes(orjson.dumps(value))
    except orjson.JSONEncodeError:
        return False


@cache
def _deepest() -> int:
    """How deep orjson writes: 254 lists in version 3."""
    value: list[object] = []
    for depth in range(_PROBED):
        try:
            orjson.dumps(value)
        except orjson.JSONEncodeError:
            return depth
        value = [value]
    message = "orjson writes whatever is nested: see how deep in another way"
    raise AssertionError(message)


def _quotes(text: bytes) -> int:
    """How many there are around strings."""
    return (_ESCAPED.sub(b"", text) if b"\\" in text else text).count(b'"')


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
