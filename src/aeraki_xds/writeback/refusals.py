"""What an API server says of an object that it refuses, without what is secret in that object.

In: its words, and the object. Out: the words; it may have quoted the field that it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

_HIDDEN: Final = "…"
_SECRET: Final = frozenset({"inlinestring", "password", "inlinebytes"})
"""Names under which passwords are, without regard to case and underscores."""


def without_secrets(words: str, body: bytes) -> str:
    """The words with every secret of the object left out, however it is quoted."""
    for secret in sorted(_secrets(orjson.loads(body)), key=len, reverse=True):
        for spelled in {secret, orjson.dumps(secret).decode()[1:-1]}:
            words = words.replace(spelled, _HIDDEN)
    return words


def _secrets(value: object) -> Iterator[str]:
    match value:
        case dict():
            for name, below in value.items():
                if isinstance(below, str) and name.replace("_", "").lower() in _SECRET:
                    yield from filter(None, [below])
                else:
                    yield from _secrets(below)
        case list():
            for below in value:
                yield from _secrets(below)
