"""What a message shows by itself, or beside those before it, whatever the server had read.

In: a recording. Out: violations of nonces, types, names and emptied lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.recording.content import decoded, inner_name
from tests.recording.kinds import FULL_STATE
from tests.recording.recording import Asked, Recording, StreamRecord, Told
from tests.recording.rules import Expectation, Fault, Rule, Violation


def check_plain(recording: Recording, expected: Expectation) -> Iterator[Violation]:
    """Every message of every stream, streams in the order in which they began."""
    filled: set[tuple[str, str]] = set()
    for stream in recording.streams:
        yield from _requests(stream)
        nonces: set[str] = set()
        for index, entry in enumerate(stream.entries):
            if isinstance(entry, Told):
                faults = [*_nonce(entry, nonces), *_types(entry, stream), *_names(entry, stream)]
                key = (stream.node, entry.type_url)
                if entry.items:
                    filled.add(key)
                elif _empties(stream, entry, expected) and key in filled:
                    faults.append((Rule.NEVER_EMPTY, f"everything of {entry.type_url} is gone"))
                yield from (Violation(rule, stream, index, what) for rule, what in faults)


def _empties(stream: StreamRecord, told: Told, expected: Expectation) -> bool:
    """26: in SotW an empty list of listeners or clusters takes everything away."""
    full = not stream.delta and told.type_url in FULL_STATE
    return full and told.type_url not in expected.emptied


def _requests(stream: StreamRecord) -> Iterator[Violation]:
    """2: node; 8, 9, 15: nonces. A first request of a type may carry an earlier stream's (16)."""
    told: set[tuple[str, str]] = set()
    first = True
    for index, entry in enumerate(stream.entries):
        if isinstance(entry, Told):
            told.add((entry.type_url, entry.nonce))
        if isinstance(entry, Asked):
            if first and not entry.node:
                yield Violation(Rule.NODE, stream, index, "no node.id")
            first = False
            if entry.nonce and (entry.type_url, entry.nonce) not in told:
                what = f"nobody said {entry.nonce!r}"
                yield Violation(Rule.OUR_NONCE, stream, index, what)


def _nonce(told: Told, seen: set[str]) -> Iterator[Fault]:
    """6: not empty, unique on the stream."""
    if not told.nonce:
        yield Rule.NONCE, "it is empty"
    elif told.nonce in seen:
        yield Rule.NONCE, f"{told.nonce!r} came before"
    seen.add(told.nonce)


def _types(told: Told, stream: StreamRecord) -> Iterator[Fault]:
    """1, 3: a response says its type, that of the service where there is only one."""
    if not told.type_url or stream.implied not in ("", told.type_url):
        yield Rule.TYPE, f"its type is {told.type_url!r}"
    others = {item.type_url for item in told.items} - {told.type_url}
    if others:
        yield Rule.TYPE, f"it holds resources of {sorted(others)}"


def _names(told: Told, stream: StreamRecord) -> Iterator[Fault]:
    """29, 30, 37: names are the resources' own, and occur once."""
    for item in told.items:
        if decoded(item.type_url, item.body) is None:
            yield Rule.DECODES, f"{item.name!r} is not a {item.type_url}"
        elif not item.name or inner_name(item.type_url, item.body) != item.name:
            inner = inner_name(item.type_url, item.body)
            yield Rule.DECODES, f"{item.name!r} calls itself {inner!r}"
        if stream.delta and not item.version:
            yield Rule.VERSION, f"{item.name!r} has no version"
    names = [item.name for item in told.items]
    for kind in (names, told.removed):
        twice = sorted(name for name, times in Counter(kind).items() if times > 1)
        if twice:
            yield Rule.UNIQUE, f"more than once: {twice}"
    both = set(names) & set(told.removed)
    if both:
        yield Rule.DISJOINT, f"sent and removed: {sorted(both)}"
