"""The decisions about a kind: dialogues without I/O, and a server that does whatever it may."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.ingest.event import Delete, Event, Rejected, SourceLost, Synced, Upsert
from aeraki_xds.ingest.kubernetes.answers import Bookmark, Changed, Garbled, Gone, Told
from aeraki_xds.ingest.kubernetes.client import ApiError, ClusterError, Unreachable
from aeraki_xds.ingest.kubernetes.kinds import Watched, one
from aeraki_xds.ingest.kubernetes.replica import (
    CAP,
    FIRST,
    FRUITLESS,
    GRACE,
    POLL,
    STEADY,
    Ask,
    Discover,
    ListPage,
    Replica,
    Watch,
)
from aeraki_xds.mesh.names import Key, Kind, Namespace
from aeraki_xds.mesh.objects import ApplicationProtocol, DestinationRule
from tests.ingest.kubernetes.kit import RULES, SOURCE, key, rule

SYNCED = Synced(source=SOURCE)


def replica(watched: Watched = RULES, *, may_be_forbidden: bool = False) -> Replica:
    """One that has asked nothing yet."""
    return Replica(watched, source=SOURCE, random=Random(0), may_be_forbidden=may_be_forbidden)


def asks(it: Replica) -> Ask:
    """What it asks now: a call, because it may ask something else the next time."""
    return it.ask


def at(revision: int, name: str, host: str = "a") -> dict[str, Any]:
    """An object as it is at a revision."""
    return rule(name, host, resourceVersion=str(revision))


def watching(*documents: dict[str, Any], revision: int = 10) -> Replica:
    """One that has listed these, at a revision."""
    it = replica()
    it.found("v1")
    for document in documents:
        it.listed(document)
    assert it.page_ended(str(revision), "") == [SYNCED]
    return it


def refused(status: int, *, retry_after: float | None = None) -> ApiError:
    """What the server says when it does not want to."""
    return ApiError(status=status, reason="Because", message="", retry_after=retry_after)


def names(events: Iterable[Event | None]) -> list[str]:
    """Of what was said, which objects it is about."""
    return [e.key.name for e in events if isinstance(e, Upsert | Delete | Rejected)]


# --- the way ------------------------------------------------------------------------------------


def test_first_the_version_is_found_then_the_kind_listed_in_pages_then_watched() -> None:
    it = replica()
    assert asks(it) == Discover()
    it.found("v1beta1")
    assert asks(it) == ListPage("v1beta1")
    assert isinstance(it.listed(at(3, "one")), Upsert)
    assert it.page_ended("7", "more") == []
    assert asks(it) == ListPage("v1beta1", "more")
    assert isinstance(it.listed(at(5, "two")), Upsert)
    assert it.page_ended("7", "") == [SYNCED]
    assert asks(it) == Watch("v1beta1", "7")


def test_a_list_of_pages_of_several_revisions_is_watched_from_the_oldest() -> None:
    it = replica()
    it.found("v1")
    it.page_ended("7", "more")
    it.page_ended("9", "")
    assert asks(it) == Watch("v1", "7")


def test_what_a_complete_list_does_not_hold_is_gone_and_what_did_not_change_is_not_said() -> None:
    it = watching(at(1, "same"), at(2, "gone"), at(3, "changed"))
    it.failed(refused(410), 0.0)
    said = [it.listed(at(1, "same")), it.listed(at(12, "changed", "b"))]
    assert names(said) == ["changed"]
    assert it.page_ended("12", "") == [Delete(key=key("gone"))]


def test_a_list_that_breaks_off_removes_nothing_and_begins_anew_when_its_token_is_expired() -> None:
    it = watching(at(1, "one"), at(2, "two"))
    it.failed(refused(410), 0.0)
    it.listed(at(1, "one"))
    it.page_ended("12", "more")
    assert it.failed(Unreachable("cut"), 0.0) == []
    assert asks(it) == ListPage("v1", "more")
    assert it.failed(refused(410), 0.0) == []
    assert asks(it) == ListPage("v1")
    it.listed(at(2, "two"))
    assert it.page_ended("13", "") == [Delete(key=key("one"))]  # it was in the other list only


# --- a watch ------------------------------------------------------------------------------------


def test_a_watch_goes_on_where_it_was_cut() -> None:
    it = watching(at(1, "one"))
    it.heard(Changed(at(11, "two")))
    it.failed(Unreachable("cut"), 0.0)
    assert asks(it) == Watch("v1", "11")
    it.heard(Bookmark("20"))
    it.failed(Garbled("half a line"), 0.0)
    assert asks(it) == Watch("v1", "20")


def test_what_comes_twice_is_said_once_and_an_older_version_never_follows_a_newer_one() -> None:
    it = watching(at(1, "one"))
    assert isinstance(it.heard(Changed(at(12, "one", "c"))), Upsert)
    assert it.heard(Changed(at(12, "one", "c"))) is None
    assert it.heard(Changed(at(11, "one", "b"))) is None
    assert asks(it) == Watch("v1", "12")


def test_an_object_that_is_gone_does_not_come_back_by_an_event_from_before() -> None:
    it = watching(at(1, "one"))
    assert it.heard(Gone(at(12, "one"))) == Delete(key=key("one"))
    assert it.heard(Changed(at(11, "one", "b"))) is None
    assert it.heard(Gone(at(12, "one"))) is None
    assert isinstance(it.heard(Changed(at(13, "one"))), Upsert)


def test_an_object_that_came_back_is_not_taken_away_by_its_old_end() -> None:
    it = watching(at(1, "one"))
    assert isinstance(it.heard(Changed(at(12, "one", "new"))), Upsert)
    assert it.heard(Gone(at(11, "one"))) is None


def test_an_event_that_comes_late_is_news_if_its_object_has_none_later() -> None:
    it = watching()
    it.heard(Changed(at(12, "one")))
    assert isinstance(it.heard(Changed(at(11, "two"))), Upsert)


def test_revisions_are_numbers_and_no_words() -> None:
    it = watching()
    it.heard(Changed(at(99, "one")))
    assert isinstance(it.heard(Changed(at(100, "one", "b"))), Upsert)
    assert asks(it) == Watch("v1", "100")


def test_revisions_that_are_no_numbers_are_only_told_apart() -> None:
    it = watching()
    document = rule("one", resourceVersion="beta")
    assert isinstance(it.heard(Changed(document)), Upsert)
    assert it.heard(Changed(document)) is None
    assert isinstance(it.heard(Changed(rule("one", "b", resourceVersion="alpha"))), Upsert)
    assert isinstance(it.heard(Gone(rule("one", resourceVersion="gamma"))), Delete)
    assert asks(it) == Watch("v1", "gamma")


def test_a_list_is_believed_even_if_its_revisions_are_lower_as_after_a_restored_backup() -> None:
    it = watching(at(99, "two"), at(100, "one"), revision=100)
    it.heard(Gone(at(101, "two")))
    it.failed(refused(410), 0.0)
    assert isinstance(it.listed(at(50, "one", "b")), Upsert)
    it.page_ended("60", "")
    assert asks(it) == Watch("v1", "60")
    assert isinstance(it.heard(Changed(at(61, "one", "c"))), Upsert)
    assert isinstance(it.heard(Changed(at(62, "two"))), Upsert)


def test_the_graves_that_are_kept_are_bounded() -> None:
    it = watching()
    for number in range(20, 5_000):
        it.heard(Changed(at(number, f"o{number}")))
        it.heard(Gone(at(number, f"o{number}")))
    assert len(it._graves) == 1_000
    assert it._known == {}


# --- failures -----------------------------------------------------------------------------------


def test_a_revision_that_is_forgotten_leads_to_a_list_at_once_and_again_only_after_a_while() -> (
    None
):
    it = watching()
    waits = []
    for _ in range(12):
        it.failed(refused(410), 0.0)
        assert asks(it) == ListPage("v1")
        waits.append(it.delay)
        it.page_ended("10", "")
    assert waits[0] == 0
    assert all(FIRST / 2 <= wait <= CAP for wait in waits[1:])
    assert waits[-1] > 10
    it.heard(Bookmark("11"))
    it.failed(refused(410), 0.0)
    assert it.delay == 0


def test_the_waits_double_with_a_jitter_up_to_a_cap_and_begin_anew_after_a_success() -> None:
    it = watching()
    for doubling in range(20):
        it.failed(Unreachable("refused"), 0.0)
        most = min(CAP, FIRST * 2**doubling)
        assert most / 2 <= it.delay <= most
    it.heard(Bookmark("11"))
    it.failed(Unreachable("refused"), 0.0)
    assert it.delay <= FIRST


def test_two_that_fail_together_do_not_come_back_together() -> None:
    waits = set()
    for seed in range(10):
        it = Replica(RULES, source=SOURCE, random=Random(seed))
        it.failed(Unreachable("refused"), 0.0)
        waits.add(it.delay)
    assert len(waits) == 10


def test_a_server_that_wants_to_be_left_alone_is() -> None:
    it = watching()
    it.failed(refused(429, retry_after=42), 0.0)
    assert it.delay == 42
    it.failed(refused(429, retry_after=10**9), 0.0)
    assert it.delay == 300


def test_a_watch_that_ends_is_asked_for_again_at_once_unless_it_ends_so_again() -> None:
    it = watching()
    it.ended(400.0, lasted=400.0)
    assert (asks(it), it.delay) == (Watch("v1", "10"), 0)
    it.ended(400.0, lasted=0.0)
    assert it.delay == 0
    it.ended(400.0, lasted=0.0)
    assert it.delay > 0


def test_watches_that_come_to_nothing_again_and_again_lead_to_a_list() -> None:
    it = watching()
    for _ in range(FRUITLESS):
        assert asks(it) == Watch("v1", "10")
        it.failed(Garbled("an event that nobody can read"), 0.0)
    assert asks(it) == ListPage("v1")


def test_watches_that_are_cut_after_a_while_never_add_up_to_a_loss() -> None:
    it = watching()
    for minute in range(100):
        assert it.failed(Unreachable("cut"), minute * 60.0, lasted=STEADY) == []
        assert asks(it) == Watch("v1", "10")


@pytest.mark.parametrize("reason", [Unreachable("refused"), refused(403), refused(401)], ids=str)
def test_a_source_is_lost_after_a_grace_and_back_after_a_complete_list(
    reason: ClusterError,
) -> None:
    it = watching(at(1, "one"), at(2, "two"))
    assert it.failed(reason, 100.0) == []
    assert it.failed(reason, 100.0 + GRACE - 0.1) == []
    lost = SourceLost(source=SOURCE, reason=str(reason))
    assert it.failed(reason, 100.0 + GRACE) == [lost]
    assert it.failed(reason, 200.0) == []
    assert asks(it) == ListPage("v1")
    it.listed(at(1, "one"))
    assert it.page_ended("30", "more") == []
    assert it.page_ended("30", "") == [Delete(key=key("two")), SYNCED]


def test_a_server_that_is_not_there_at_start_is_a_lost_source_and_no_empty_one() -> None:
    it = replica()
    assert it.failed(Unreachable("refused"), 0.0) == []
    assert it.failed(Unreachable("refused"), GRACE) == [SourceLost(source=SOURCE, reason="refused")]
    assert asks(it) == Discover()


# --- kinds that are not served --------------------------------------------------------------------


def test_a_kind_that_never_was_served_is_empty_and_looked_for_now_and_then() -> None:
    it = replica()
    assert it.absent("no", 0.0) == [SYNCED]
    assert (asks(it), it.delay) == (Discover(), POLL)
    assert it.absent("no", POLL) == []
    it.found("v1")
    assert isinstance(it.listed(at(3, "one")), Upsert)
    assert it.page_ended("5", "") == []  # as synced as before


def test_a_kind_that_is_served_no_more_is_lost_and_keeps_its_objects() -> None:
    it = watching(at(1, "one"))
    assert it.failed(refused(404), 0.0) == []
    assert asks(it) == Discover()
    assert it.absent("no", 1.0) == []
    assert it.absent("no", GRACE + 1) == [SourceLost(source=SOURCE, reason="no")]
    it.found("v1beta1")
    assert asks(it) == ListPage("v1beta1")
    it.listed(at(1, "one"))
    assert it.page_ended("9", "") == [SYNCED]


def test_a_version_that_is_served_no_more_is_left_for_another_without_a_list() -> None:
    it = watching(at(1, "one"))
    it.failed(refused(404), 0.0)
    it.found("v1beta1")
    assert asks(it) == Watch("v1beta1", "10")


def test_a_kind_that_is_discovered_and_cannot_be_listed_is_not_asked_for_without_rest() -> None:
    it = replica()
    for _ in range(8):
        it.found("v1")
        it.failed(refused(404), 0.0)
    assert it.delay > 10


def test_a_secret_that_may_not_be_read_is_absent_and_one_that_was_read_stays() -> None:
    secret = one(Key(Kind.SECRET, Namespace("shop"), "pw"))
    it = replica(secret, may_be_forbidden=True)
    it.found("v1")
    assert it.failed(refused(403), 0.0) == [SYNCED]
    assert it.delay == POLL
    it.found("v1")
    it.listed({"metadata": {"namespace": "shop", "name": "pw", "resourceVersion": "1"}})
    it.page_ended("1", "")
    assert it.failed(refused(403), 100.0) == []
    assert isinstance(it.failed(refused(403), 100.0 + GRACE)[0], SourceLost)


# --- objects ------------------------------------------------------------------------------------


def test_an_object_that_is_wrong_is_rejected_and_one_without_a_mesh_config_too() -> None:
    it = watching()
    wrong = rule("one", resourceVersion="11")
    wrong["spec"]["host"] = 5
    assert isinstance(it.heard(Changed(wrong)), Rejected)

    mesh = Key(Kind.CONFIG_MAP, Namespace("istio-system"), "istio")
    it = replica(one(mesh))
    it.found("v1")
    metadata = {"namespace": "istio-system", "name": "istio", "resourceVersion": "1"}
    said = it.listed({"metadata": metadata, "data": {"meshNetworks": "{}"}})
    assert isinstance(said, Rejected)
    assert said.key == mesh
    assert [str(problem) for problem in said.problems] == ["data.mesh: is missing"]


def protocol(revision: int, namespace: str, name: str = "mine") -> dict[str, Any]:
    """A namespaced ApplicationProtocol, as Aeraki's Helm chart would have it."""
    return {
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": str(revision)},
        "spec": {"protocol": f"of_{namespace}", "codec": "aeraki.meta_protocol.codec.dubbo"},
    }


def test_of_namesakes_in_a_kind_whose_namespace_means_nothing_one_has_the_word() -> None:
    it = replica(Watched(kind=Kind.APPLICATION_PROTOCOL))

    def word(event: Event | None) -> str:
        assert isinstance(event, Upsert), event
        assert isinstance(event.item, ApplicationProtocol)
        assert event.key == Key(Kind.APPLICATION_PROTOCOL, Namespace(""), "mine")
        return event.item.spec.protocol

    it.found("v1alpha1")
    assert word(it.listed(protocol(1, "b"))) == "of_b"
    it.page_ended("1", "")
    assert it.heard(Changed(protocol(2, "c"))) is None
    assert word(it.heard(Changed(protocol(3, "a")))) == "of_a"
    assert it.heard(Gone(protocol(4, "c"))) is None
    assert it.heard(Gone(protocol(5, "a"))) is None
    it.heard(Bookmark("6"))
    assert asks(it) == ListPage("v1alpha1")  # nobody knows any more what b says
    assert word(it.listed(protocol(1, "b"))) == "of_b"
    assert it.page_ended("5", "") == []
    assert isinstance(it.heard(Gone(protocol(6, "b"))), Delete)


# --- whatever the answers are ---------------------------------------------------------------------


@dataclass
class Server:
    """What is true: objects and their history, and how much of it is still known."""

    revision: int = 10
    objects: dict[str, int] = field(default_factory=dict)
    log: list[tuple[int, str, bool]] = field(default_factory=list)
    compacted: int = 0
    is_served: bool = True
    lists: dict[str, tuple[int, list[tuple[str, int]]]] = field(default_factory=dict)
    tokens: Any = field(default_factory=itertools.count)

    def change(self, name: str, *, is_there: bool) -> None:
        if not is_there and name not in self.objects:
            return
        self.revision += 1
        self.log.append((self.revision, name, is_there))
        if is_there:
            self.objects[name] = self.revision
        else:
            del self.objects[name]

    def was_deleted(self, name: str, *, after: int) -> bool:
        return any(n == name and r > after and not there for r, n, there in self.log)

    def page(self, token: str) -> tuple[int, list[tuple[str, int]], str]:
        """Two objects of a consistent list, and the token for the rest."""
        at, rest = self.lists.pop(token) if token else (self.revision, sorted(self.objects.items()))
        if at < self.compacted:
            raise refused(410)
        if len(rest) <= 2:
            return at, rest, ""
        token = str(next(self.tokens))
        self.lists[token] = (at, rest[2:])
        return at, rest[:2], token

    def events(self, since: str) -> list[Told]:
        if int(since) < self.compacted:
            raise refused(410)
        return [
            (Changed if there else Gone)(at(revision, name, f"h{revision}"))
            for revision, name, there in self.log
            if revision > int(since)
        ]


class Consumer:
    """Holds what was said, and does not take everything."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.objects: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self.is_synced: bool | None = None

    def take(self, events: Iterable[Event | None], *, by_error: bool = False) -> None:
        for event in events:
            match event:
                case Upsert(key=key, item=DestinationRule() as item):
                    revision = int(item.spec.host.removeprefix("h"))
                    assert revision >= self.objects.get(key.name, 0), "an older version"
                    assert revision > self._ended.get(key.name, 0), "back from the dead"
                    self.objects[key.name] = revision
                case Delete(key=key):
                    assert not by_error, "an error removes nothing"
                    had = self.objects.pop(key.name)
                    assert self._server.was_deleted(key.name, after=had), "it was never deleted"
                    self._ended[key.name] = had
                case Synced():
                    self.is_synced = True
                case SourceLost():
                    self.is_synced = False
                case None:
                    pass
                case _:
                    raise AssertionError(event)


ERRORS = [Unreachable("cut"), Garbled("?"), *map(refused, (400, 401, 403, 404, 410, 429, 500, 504))]
NAMES = st.sampled_from("abcde")
MOVES = st.one_of(
    st.tuples(st.just("change"), NAMES, st.booleans()),
    st.tuples(st.just("compact"), st.integers(0, 5)),
    st.tuples(st.just("serve"), st.booleans()),
    st.tuples(
        st.just("answer"), st.integers(0, 6), st.sampled_from(["as it is", "twice", "mixed"])
    ),
    st.tuples(st.just("fail"), st.sampled_from(ERRORS)),
    st.tuples(st.just("end"), st.sampled_from([0.0, 60.0])),
)


def answer(
    it: Replica, server: Server, consumer: Consumer, now: float, some: int, how: str
) -> None:
    """Answer the question: a watch with `some` of the events that are due."""
    try:
        match it.ask:
            case Discover() if server.is_served:
                it.found("v1")
            case Discover():
                consumer.take(it.absent("not served", now), by_error=True)
            case _ if not server.is_served:
                raise refused(404)
            case ListPage(token=token):
                if token and token not in server.lists:
                    raise refused(410)
                revision, items, token = server.page(token)
                consumer.take([it.listed(at(r, name, f"h{r}")) for name, r in items])
                consumer.take(it.page_ended(str(revision), token))
            case Watch(since=since):
                events = server.events(since)[:some]
                if how == "twice":
                    events = [event for event in events for _ in range(2)]
                elif how == "mixed":  # each with its neighbour
                    pairs = (events[start : start + 2] for start in range(0, len(events), 2))
                    events = [event for pair in pairs for event in reversed(pair)]
                consumer.take([it.heard(event) for event in events])
    except ApiError as refusal:
        consumer.take(it.failed(refusal, now), by_error=True)


@settings(max_examples=400, deadline=None)
@given(moves=st.lists(MOVES, max_size=80))
def test_whatever_the_answers_are_nothing_is_lost_and_in_the_end_everything_is_right(
    moves: list[tuple[Any, ...]],
) -> None:
    server, it = Server(), replica()
    consumer = Consumer(server)
    now = 0.0
    for move in moves:
        now += 4.0
        match move:
            case ("change", name, is_there):
                server.change(name, is_there=is_there)
            case ("compact", back):
                server.compacted = max(server.compacted, server.revision - back)
            case ("serve", is_served):
                server.is_served = is_served
            case ("answer", some, how):
                answer(it, server, consumer, now, some, how)
            case ("fail", reason):
                consumer.take(it.failed(reason, now), by_error=True)
            case ("end", lasted) if isinstance(it.ask, Watch):
                consumer.take(it.ended(now, lasted=lasted), by_error=True)
            case _:
                pass
        if consumer.is_synced is None:
            assert isinstance(it.ask, Discover | ListPage)
    server.is_served = True
    for _ in range(20):
        answer(it, server, consumer, now, len(server.log), "as it is")
    assert consumer.is_synced
    assert consumer.objects == server.objects
