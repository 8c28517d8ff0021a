"""The checker catches each mistake, by its name and alone, and raises no alarm at what is right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest

from tests.recording import cases_of_content, cases_of_time
from tests.recording.cases import Made, Talks, has_routes
from tests.recording.checker import check, unanswered
from tests.recording.kinds import CLUSTER, ENDPOINTS, HTTP_ROUTES
from tests.recording.kit import Delta, Sotw, cluster, recording, routes
from tests.recording.recording import Closed
from tests.recording.rules import Expectation, Rule

WRONG: Final = [*cases_of_content.cases.wrong, *cases_of_time.cases.wrong]
RIGHT: Final = [*cases_of_content.cases.right, *cases_of_time.cases.right]


def told_by(talks: Talks) -> set[Rule]:
    made = recording(*(talks if isinstance(talks, tuple) else (talks,)))
    return {violation.rule for violation in check(made)}


def names(made: Iterable[Made]) -> list[str]:
    return [getattr(each, "__name__", "").replace("_", " ") for each in made]


@pytest.mark.parametrize(("rule", "made"), WRONG, ids=names(made for _, made in WRONG))
def test_a_mistake_is_caught_by_its_rule_and_no_other(rule: Rule, made: Made) -> None:
    assert told_by(made()) == {rule}


@pytest.mark.parametrize("made", RIGHT, ids=names(RIGHT))
def test_what_is_right_raises_no_alarm(made: Made) -> None:
    assert told_by(made()) == set()


def test_every_rule_can_fail() -> None:
    assert {rule for rule, _ in WRONG} | {Rule.ANSWERED} == set(Rule)


@pytest.mark.parametrize("dialect", [Sotw, Delta])
def test_a_name_that_was_asked_for_is_owed_an_answer(dialect: type[Sotw]) -> None:
    talk = dialect()
    talk.asks(HTTP_ROUTES, "r", "s")
    talk.tells(HTTP_ROUTES, routes("r"))
    (violation,) = unanswered(recording(talk))
    assert violation.rule is Rule.ANSWERED
    assert "['s']" in violation.what
    assert unanswered(recording(talk), Expectation(absent=frozenset({(HTTP_ROUTES, "s")}))) == []
    talk.stream.entries.append(Closed(by="client"))
    assert unanswered(recording(talk)) == []


def test_the_first_wildcard_of_a_delta_stream_is_owed_an_answer_even_an_empty_one() -> None:
    talk = Delta()
    talk.asks(CLUSTER)
    assert [each.rule for each in unanswered(recording(talk))] == [Rule.ANSWERED]
    talk.tells(CLUSTER)
    assert unanswered(recording(talk)) == []


def test_endpoints_of_a_new_cluster_are_owed() -> None:
    talk = Sotw()
    talk.asks(CLUSTER)
    talk.tells(CLUSTER, cluster("a", eds=True))
    assert [each.rule for each in unanswered(recording(talk))] == [Rule.ENDPOINTS_FOLLOW]
    absent = Expectation(absent=frozenset({(ENDPOINTS, "a")}))
    assert unanswered(recording(talk), absent) == []


def test_a_violation_shows_the_conversation_around_it() -> None:
    talk = has_routes()
    talk.nacks(HTTP_ROUTES, "no such thing")
    talk.tells(HTTP_ROUTES, routes("s"))
    (violation,) = check(recording(talk))
    text = str(violation)
    assert "SUBSCRIBED" in text
    assert "> RDS NACK #0001 r 'no such thing'" in text
    assert "!!   4 < RDS" in text


def test_a_type_may_be_emptied_when_that_is_expected() -> None:
    made = cases_of_time.all_clusters_are_gone()
    assert isinstance(made, Sotw)
    assert check(recording(made), Expectation(emptied=frozenset({CLUSTER}))) == []
