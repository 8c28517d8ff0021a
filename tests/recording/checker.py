"""The passive checker: reads a recording and says which rules of the protocol it breaks.

In: a `Recording` and what it cannot show. Out: violations; none is what every test wants.

A response can only be judged by what the server had read when it wrote it, and the recording shows
bounds of that: at most what passed before. So the checker follows worlds, each with another number
of requests read, and lets a response pass that is right in one of them; the worlds in which it is
wrong are given up, so what a response proves counts from then on. Guaranteed: no false alarm,
unless more histories stay possible at once than are followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.recording.judge import World, judge, owed
from tests.recording.order import check_order
from tests.recording.plain import check_plain
from tests.recording.recording import Asked, Recording, StreamRecord, Told
from tests.recording.rules import Expectation, Fault, Violation
from tests.recording.versions import check_versions

NOTHING_SPECIAL: Final = Expectation()


def check(recording: Recording, expected: Expectation = NOTHING_SPECIAL) -> list[Violation]:
    """What was said wrongly. Silence is not judged: see `unanswered`."""
    found = [*check_versions(recording), *check_plain(recording, expected)]
    for stream in recording.streams:
        found += _follow(stream, expected)[1]
        found += check_order(stream)
    return found


def unanswered(recording: Recording, expected: Expectation = NOTHING_SPECIAL) -> list[Violation]:
    """What was not said yet on streams that are still open: a question of time."""
    return [
        Violation(rule, stream, len(stream.entries) - 1, what)
        for stream in recording.streams
        if stream.open and stream.entries
        for rule, what in _owed(stream, expected)
    ]


def _owed(stream: StreamRecord, expected: Expectation) -> list[Fault]:
    """What is owed in every world in which all has been read."""
    requests = _requests(stream)
    worlds = [_last(world, requests) for world in _follow(stream, expected)[0]]
    return min((list(owed(world, expected)) for world in worlds), key=len)


def _requests(stream: StreamRecord) -> list[Asked]:
    return [entry for entry in stream.entries if isinstance(entry, Asked)]


def _last(world: World, requests: list[Asked]) -> World:
    for request in requests[world.requests :]:
        world = world.read(request)
    return world


def _follow(stream: StreamRecord, expected: Expectation) -> tuple[list[World], list[Violation]]:
    """The worlds that are possible at the end of a stream, and what was wrong in all of them."""
    worlds = [World(delta=stream.delta)]
    requests: list[Asked] = []
    violations: list[Violation] = []
    for index, entry in enumerate(stream.entries):
        if isinstance(entry, Asked):
            requests.append(entry)
        elif isinstance(entry, Told):
            judged = [judge(world, entry, expected) for world in _possible(worlds, requests)]
            least = min(_broken(faults) for faults, _ in judged)
            right = [
                (faults, world.behind(len(requests)))
                for faults, world in judged
                if _broken(faults) == least
            ]
            right.sort(key=lambda each: each[1].lag)
            violations += [Violation(rule, stream, index, what) for rule, what in right[0][0]]
            worlds = [world for _, world in right[: expected.worlds]]
    return worlds, violations


def _broken(faults: list[Fault]) -> int:
    return len({rule for rule, _ in faults})


def _possible(worlds: list[World], requests: list[Asked]) -> list[World]:
    """What these worlds may be when some more requests have been read."""
    found: dict[int, list[World]] = {}
    for start in worlds:
        for world in _futures(start, requests):
            same = found.setdefault(world.requests, [])
            if world in same:
                break  # and from here on it has the same future
            same.append(world)
    return [world for same in found.values() for world in same]


def _futures(world: World, requests: list[Asked]) -> Iterator[World]:
    while True:
        while world.requests < len(requests) and world.idle(requests[world.requests]):
            world = world.read(requests[world.requests])
        yield world
        if world.requests == len(requests):
            return
        world = world.read(requests[world.requests])
