"""One kind followed through real HTTP, with every fault of networks and servers in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from aeraki_xds import turns
from aeraki_xds.ingest.event import Rejected, SourceLost, Synced
from aeraki_xds.ingest.kubernetes.client import ApiError, ClusterError, Unreachable
from aeraki_xds.ingest.kubernetes.kinds import Watched
from aeraki_xds.ingest.kubernetes.reflector import IDLE, LASTING, PAGE, Pace, Reflector
from aeraki_xds.ingest.kubernetes.replica import POLL, Replica
from aeraki_xds.mesh.names import Kind
from tests.apiserver.faults import Answer, Cut, Duplicate, Fault, Faults, Hang, Reorder, Truncate
from tests.apiserver.kinds import KINDS
from tests.apiserver.server import ApiServer
from tests.ingest.kubernetes.kit import (
    RULES,
    SOURCE,
    Heard,
    following,
    hurried,
    key,
    rule,
    until,
)
from tests.virtual_time import time_of, virtual_time

DESTINATION_RULE = next(kind for kind in KINDS if kind.kind == "DestinationRule")
SMALL = Pace(sleep=hurried, random=Random(1), page=2)
"""Two objects a page."""


async def settle(heard: Heard, api: ApiServer) -> None:
    """Until what was heard is what there is."""

    def there_is() -> dict[str, str]:
        return {o["metadata"]["name"]: o["spec"]["host"] for o in api.objects("DestinationRule")}

    await heard.until(lambda: heard.is_synced and heard.hosts == there_is())


async def make_changes(heard: Heard, api: ApiServer) -> None:
    """Something new, something changed and something gone, and wait until all of it was heard."""
    await until(lambda: api.watches("DestinationRule") > 0)
    api.put(rule("three"))
    api.put(rule("one", "b"))
    api.delete("DestinationRule", "shop", "two")
    await settle(heard, api)


async def test_what_is_there_is_said_and_every_change_after_it(tmp_path: Path) -> None:
    async with ApiServer.started() as api:
        api.put(rule("one"))
        api.put(rule("two"))
        async with following(api, tmp_path, api=api) as heard:
            await heard.until(lambda: heard.is_synced)
            assert len(heard.batches) == 1
            assert heard.hosts == {"one": "a", "two": "a"}
            assert {each.origin for each in heard.objects.values()} == {"kubernetes"}
            await make_changes(heard, api)
            assert heard.hosts == {"one": "b", "three": "a"}
            assert heard.deleted == [key("two")]
            wrong = rule("one")
            wrong["spec"]["host"] = 5
            api.put(wrong)
            await heard.until(lambda: isinstance(heard.objects[key("one")], Rejected))


CUTS: list[Fault] = [
    Cut(at="request"),
    Cut(at="headers"),
    *(Cut(at="body", bytes=after) for after in (0, 1, 100, 400)),
]
REFUSALS: list[Fault] = [Answer(status=status) for status in (429, 500, 503, 504)]


@pytest.mark.parametrize("fault", [*CUTS, *REFUSALS], ids=str)
@pytest.mark.parametrize("verb", ["get", "list"])
async def test_a_start_through_a_fault_in_discovery_or_list_holds_everything(
    tmp_path: Path, fault: Fault, verb: str
) -> None:
    async with ApiServer.started() as api, Faults.started(api.url) as faults:
        for name in ("one", "two", "four", "five", "six"):
            api.put(rule(name))
        faults.next(fault, verb=verb, times=2)
        async with following(faults, tmp_path, api=api, pace=SMALL) as heard:
            await heard.until(lambda: heard.is_synced)
            assert faults.pending == 0
            assert len(heard.hosts) == 5
            await make_changes(heard, api)
            assert heard.deleted == [key("two")]
            assert len(heard.states) == 1


SPOILT: list[Fault] = [
    *(Truncate(events=events, torn=torn) for events in (0, 1, 2) for torn in (False, True)),
    *(Duplicate(event=event) for event in (1, 2, 3)),
    *(Reorder(event=event) for event in (1, 2)),
]


CUT_WATCHES = [fault for fault in CUTS if fault != Cut(at="headers")]  # that is a hang, for these


@pytest.mark.parametrize("fault", [*CUT_WATCHES, *REFUSALS, *SPOILT], ids=str)
async def test_a_watch_with_a_fault_anywhere_misses_nothing_and_removes_nothing(
    tmp_path: Path, fault: Fault
) -> None:
    async with ApiServer.started() as api, Faults.started(api.url) as faults:
        api.put(rule("one"))
        api.put(rule("two"))
        faults.next(fault, verb="watch")
        async with following(faults, tmp_path, api=api) as heard:
            await make_changes(heard, api)
            api.put(rule("four"))
            api.put(rule("two", "again"))
            await settle(heard, api)
            assert faults.pending == 0
            assert heard.deleted == [key("two")]
            assert len([call for call in api.calls if call.verb == "list"]) == 1


@pytest.mark.parametrize("gone_as_event", [True, False], ids=["event", "HTTP"])
async def test_a_watch_whose_revision_is_forgotten_is_followed_by_a_list(
    tmp_path: Path, gone_as_event: bool
) -> None:
    """Also between list and watch: the watch is cut before the server hears of it."""
    async with (
        ApiServer.started(gone_as_event=gone_as_event) as api,
        Faults.started(api.url) as faults,
    ):
        api.put(rule("one"))
        api.put(rule("two"))
        faults.next(Hang(), verb="watch")
        async with following(faults, tmp_path, api=api) as heard:
            await heard.until(lambda: heard.is_synced)
            await until(lambda: faults.pending == 0)
            api.delete("DestinationRule", "shop", "two")
            api.put(rule("one", "b"))
            api.compact()
            faults.cut_all()
            await settle(heard, api)
            assert heard.deleted == [key("two")]
            assert heard.states == [Synced(source=SOURCE)]


async def test_watches_that_expire_or_end_are_taken_up_again(tmp_path: Path) -> None:
    async with ApiServer.started() as api:
        api.put(rule("one"))
        api.put(rule("two"))
        async with following(api, tmp_path, api=api) as heard:
            await until(lambda: api.watches("DestinationRule") == 1)
            api.expire_watches()
            await make_changes(heard, api)
            api.end_watches()
            api.put(rule("five"))
            await settle(heard, api)
            assert heard.deleted == [key("two")]


async def test_a_list_in_pages_with_changes_in_its_middle_is_complete(tmp_path: Path) -> None:
    async with ApiServer.started() as api, Faults.started(api.url) as faults:
        for name in ("a", "b", "c", "d", "e"):
            api.put(rule(name))

        def meanwhile(_call: Any) -> bool:
            lists = [call for call in api.calls if call.verb == "list"]
            if len(lists) == 1 and api.get("DestinationRule", "shop", "e"):
                api.delete("DestinationRule", "shop", "e")
                api.put(rule("a", "changed"))
                api.put(rule("z"))
            return False

        faults.next(Hang(), when=meanwhile)
        async with following(faults, tmp_path, api=api, pace=SMALL) as heard:
            await settle(heard, api)
            assert heard.hosts == {"a": "changed", "b": "a", "c": "a", "d": "a", "z": "a"}
            lists = [call for call in api.calls if call.verb == "list"]
            assert len(lists) == 3


async def test_a_list_whose_token_expires_begins_anew(tmp_path: Path) -> None:
    async with ApiServer.started() as api, Faults.started(api.url) as faults:
        for name in ("a", "b", "c", "d", "e"):
            api.put(rule(name))

        def meanwhile(_call: Any) -> bool:
            lists = [call for call in api.calls if call.verb == "list"]
            if len(lists) == 1 and api.get("DestinationRule", "shop", "a"):
                api.delete("DestinationRule", "shop", "a")
                api.compact()
            return False

        faults.next(Hang(), when=meanwhile)
        async with following(faults, tmp_path, api=api, pace=SMALL) as heard:
            await settle(heard, api)
            assert sorted(heard.hosts) == ["b", "c", "d", "e"]
            assert [c.status for c in api.calls if c.verb == "list"] == [200, 410, 200, 200]


# --- kinds and versions that come and go --------------------------------------------------------


async def test_the_newest_version_that_is_served_is_read(tmp_path: Path) -> None:
    for versions in ("v1alpha3 v1beta1 v1", "v1alpha3 v1beta1", "v1alpha3"):
        kind = replace(DESTINATION_RULE, versions=tuple(versions.split()))
        async with ApiServer.started(
            kinds=[*(k for k in KINDS if k.kind == "Namespace"), kind]
        ) as api:
            api.put({**rule("one"), "apiVersion": f"networking.istio.io/{kind.versions[-1]}"})
            async with following(api, tmp_path, api=api) as heard:
                await heard.until(lambda: heard.is_synced)
                assert heard.hosts == {"one": "a"}
            assert {c.version for c in api.calls if c.verb == "list"} == {kind.versions[-1]}


async def test_a_version_that_is_taken_away_is_left_for_the_next(tmp_path: Path) -> None:
    async with ApiServer.started() as api:
        api.put(rule("one"))
        api.put(rule("two"))
        async with following(api, tmp_path, api=api) as heard:
            await until(lambda: api.watches("DestinationRule") == 1)
            api.register(replace(DESTINATION_RULE, versions=("v1beta1", "v1alpha3")))
            await until(lambda: [c for c in api.calls if c.version == "v1beta1"] != [])
            await until(lambda: api.watches("DestinationRule") == 1)
            api.delete("DestinationRule", "shop", "two")
            await settle(heard, api)
            assert heard.states == [Synced(source=SOURCE)]


async def test_a_kind_that_comes_late_is_picked_up_and_one_that_goes_keeps_its_objects(
    tmp_path: Path,
) -> None:
    ticks = iter(range(0, 10**9, 5))
    pace = Pace(sleep=hurried, clock=lambda: float(next(ticks)))
    async with ApiServer.started() as api:
        api.unregister("DestinationRule")
        async with following(api, tmp_path, api=api, pace=pace) as heard:
            await heard.until(lambda: heard.is_synced)
            assert heard.objects == {}
            api.register(DESTINATION_RULE)
            api.put(rule("one"))
            await settle(heard, api)
            await until(lambda: api.watches("DestinationRule") == 1)
            api._kinds.pop(DESTINATION_RULE.id)  # as a group that its server no longer answers for
            api.end_watches()
            await heard.until(lambda: heard.is_lost)
            assert heard.hosts == {"one": "a"}
            api.register(DESTINATION_RULE)
            await settle(heard, api)
            assert heard.deleted == []


# --- a server that is not there, or does not want to ----------------------------------------------


async def test_a_server_that_is_gone_takes_nothing_away_and_is_found_when_it_is_back(
    tmp_path: Path,
) -> None:
    ticks = iter(range(0, 10**9, 5))
    pace = Pace(sleep=hurried, clock=lambda: float(next(ticks)))
    async with ApiServer.started() as api, Faults.started(api.url) as faults:
        await faults.refuse()
        async with following(faults, tmp_path, api=api, pace=pace) as heard:
            await heard.until(lambda: heard.is_lost)
            assert heard.objects == {}
            api.put(rule("one"))
            api.put(rule("two"))
            await faults.accept()
            await settle(heard, api)
            await faults.refuse()
            faults.cut_all()
            await heard.until(lambda: heard.is_lost)
            assert len(heard.hosts) == 2
            api.delete("DestinationRule", "shop", "two")
            await faults.accept()
            await settle(heard, api)
            assert heard.deleted == [key("two")]
            kinds = [type(state) for state in heard.states]
            assert kinds == [SourceLost, Synced, SourceLost, Synced]


async def test_a_kind_that_may_not_be_read_is_lost_with_the_reason_and_no_empty_one(
    tmp_path: Path,
) -> None:
    ticks = iter(range(0, 10**9, 5))
    pace = Pace(sleep=hurried, clock=lambda: float(next(ticks)))
    async with ApiServer.started(allowed=lambda verb, *_: verb == "get") as api:
        api.put(rule("one"))
        async with following(api, tmp_path, api=api, pace=pace) as heard:
            await heard.until(lambda: heard.is_lost)
            (lost,) = heard.states
            assert isinstance(lost, SourceLost)
            assert lost.reason.startswith("403 Forbidden: destinationrules")
            api.allowed = lambda *_: True
            await settle(heard, api)


async def test_a_watch_that_hangs_is_given_up(tmp_path: Path) -> None:
    pace = Pace(sleep=hurried, random=Random(1), idle=0.3)
    async with ApiServer.started() as api, Faults.started(api.url) as faults:
        faults.next(Hang(), verb="watch", times=2)
        async with following(faults, tmp_path, api=api, pace=pace) as heard:
            await heard.until(lambda: heard.is_synced)
            api.put(rule("one"))
            await settle(heard, api)
            assert faults.pending == 0


# --- time, which passes only when nothing else happens --------------------------------------------


class Scripted:
    """A connection that gives the answers of a script, and then none any more."""

    def __init__(self, *answers: bytes | ClusterError | list[bytes | ClusterError]) -> None:
        self._answers = iter(answers)
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        self.idle: list[float] = []
        self.is_over = asyncio.Event()

    def _next(self, path: str, query: Mapping[str, str]) -> Any:
        now = round(asyncio.get_running_loop().time(), 3)
        self.asked.append((now, path, dict(query)))
        answer = next(self._answers, None)
        if answer is None:
            self.is_over.set()
            raise asyncio.CancelledError
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    async def get(self, path: str, query: Mapping[str, str] = {}) -> bytes:
        answer = self._next(path, query)
        assert isinstance(answer, bytes)
        return answer

    @contextlib.asynccontextmanager
    async def bursts(
        self, path: str, query: Mapping[str, str] = {}, *, idle: float
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        self.idle.append(idle)
        yield self._told(self._next(path, query))

    async def _told(self, lines: list[bytes | ClusterError]) -> AsyncIterator[list[bytes]]:
        for line in lines:
            if isinstance(line, ClusterError):
                raise line
            yield [line]


SERVED = orjson.dumps({"resources": [{"name": "destinationrules", "verbs": ["list", "watch"]}]})
WITHOUT = orjson.dumps(
    {
        "resources": [
            {"name": "destinationrules", "verbs": ["get"]},  # and no watch
            {"name": "gateways", "verbs": ["list", "watch"]},
        ]
    }
)
EMPTY = orjson.dumps({"kind": "List", "metadata": {"resourceVersion": "7"}, "items": None})


async def follow(script: Scripted, watched: Watched = RULES) -> Heard:
    """Play a script to its end."""
    heard = Heard()
    it = Replica(watched, source=SOURCE, random=Random(0))
    reflector = Reflector(connection=script, replica=it, emit=heard, pace=Pace(random=Random(0)))
    with contextlib.suppress(asyncio.CancelledError):
        await reflector.run()
    assert script.is_over.is_set()
    return heard


@virtual_time
async def test_what_is_asked_has_its_limits_and_selectors() -> None:
    script = Scripted(SERVED, EMPTY, [])
    await follow(script)
    (_, discovery, _), (_, listed, query), (_, watched, watch), *_ = script.asked
    assert discovery == "/apis/networking.istio.io/v1"
    assert listed == watched == "/apis/networking.istio.io/v1/destinationrules"
    assert query == {"limit": str(PAGE)}
    seconds = int(watch.pop("timeoutSeconds"))
    assert LASTING[0] <= seconds <= LASTING[1]
    assert watch == {"watch": "1", "resourceVersion": "7", "allowWatchBookmarks": "true"}
    assert set(script.idle) == {IDLE}


@virtual_time
async def test_one_object_is_asked_for_by_its_name_in_its_namespace() -> None:
    watched = Watched(kind=Kind.CONFIG_MAP, namespace="istio-system", name="istio")
    script = Scripted(EMPTY, [], ApiError(status=404, reason="NotFound", message=""))
    await follow(script, watched)
    paths = [path for _, path, _ in script.asked]
    where = "/api/v1/namespaces/istio-system/configmaps"
    assert paths == [where, where, where, "/api/v1"]  # discovery only if that is not there
    assert all(q["fieldSelector"] == "metadata.name=istio" for _, _, q in script.asked[:3])


@virtual_time
async def test_a_kind_that_is_not_served_is_asked_for_every_half_minute_in_each_version() -> None:
    heard = await follow(Scripted(*[WITHOUT] * 3, *[WITHOUT] * 3))
    assert heard.states == [Synced(source=SOURCE)]
    assert await time_of(asyncio.sleep(0)) == 2 * POLL


@virtual_time
async def test_a_server_that_cannot_say_what_it_serves_is_not_one_without_the_kind() -> None:
    trouble = ApiError(status=503, reason="ServiceUnavailable", message="")
    missing = ApiError(status=404, reason="NotFound", message="")
    assert (await follow(Scripted(missing, trouble, missing, missing, trouble))).states == []
    assert (await follow(Scripted(missing, missing, missing))).states == [Synced(source=SOURCE)]


@virtual_time
async def test_waits_are_waited_for_and_the_loss_is_said_when_the_grace_is_over() -> None:
    script = Scripted(*[Unreachable("refused")] * 9)
    heard = await follow(script)
    times = [when for when, _, _ in script.asked]
    gaps = [after - before for before, after in pairwise(times)]
    for doubling, gap in enumerate(gaps):
        most = min(30.0, 0.25 * 2**doubling)
        assert most / 2 - 0.001 <= gap <= most + 0.001
    assert heard.states == [SourceLost(source=SOURCE, reason="refused")]


@virtual_time
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>a proxy's page</html>",
        b"{}",
        b"[]",
        orjson.dumps({"kind": "Status", "metadata": {"resourceVersion": "7"}, "items": []}),
        orjson.dumps({"kind": "List", "metadata": {}, "items": []}),
        orjson.dumps({"kind": "List", "metadata": {"resourceVersion": "7"}}),
        orjson.dumps({"kind": "List", "metadata": {"resourceVersion": "7"}, "items": [{}]}),
        orjson.dumps({"kind": "List", "metadata": {"resourceVersion": "7"}, "items": [None]}),
        EMPTY[:-1],
    ],
    ids=str,
)
async def test_what_is_no_list_is_not_taken_for_an_empty_one(body: bytes) -> None:
    one_rule = {**rule("one", resourceVersion="3")}
    page = {"kind": "List", "metadata": {"resourceVersion": "7"}, "items": [one_rule]}
    gone = {"kind": "Status", "code": 410, "reason": "Expired"}
    expired = orjson.dumps({"type": "ERROR", "object": gone})
    heard = await follow(Scripted(SERVED, orjson.dumps(page), [expired], body, body))
    assert heard.hosts == {"one": "a"}
    assert heard.deleted == []


@virtual_time
@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"{}",
        b"null",
        orjson.dumps({"type": "DELETED", "object": {}}),
        orjson.dumps({"type": "DELETED", "object": {"metadata": {"name": "one"}}}),
        orjson.dumps({"type": "BOOKMARK", "object": {"metadata": None}}),
        orjson.dumps({"type": "NEWS", "object": rule("one", resourceVersion="9")}),
    ],
    ids=str,
)
async def test_a_line_that_is_no_event_ends_the_watch_and_what_came_before_it_counts(
    line: bytes,
) -> None:
    added = {"type": "ADDED", "object": rule("one", resourceVersion="8")}
    script = Scripted(SERVED, EMPTY, [orjson.dumps(added), line], [])
    heard = await follow(script)
    assert heard.hosts == {"one": "a"}
    assert script.asked[3][2]["resourceVersion"] == "8"


@virtual_time
async def test_a_long_list_is_taken_in_turns() -> None:
    """Counted, not timed: where every step takes long, others have their turn after each."""
    items = [rule(f"r{number}", resourceVersion=str(number)) for number in range(1_000)]
    page = {"kind": "List", "metadata": {"resourceVersion": "99999"}, "items": items}
    had = 0

    async def count() -> None:
        nonlocal had
        while True:
            await asyncio.sleep(0)
            had += 1

    counting = asyncio.ensure_future(count())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(turns, "SLICE", -1.0)
        heard = await follow(Scripted(SERVED, orjson.dumps(page)))
    counting.cancel()
    assert len(heard.hosts) == 1_000
    assert had > 900
