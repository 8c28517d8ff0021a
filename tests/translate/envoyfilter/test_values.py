"""Plain JSON as Go's protojson would print it."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration as ProtobufDuration
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.mesh.objects import Duration, StringMatch
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.translate.envoyfilter.values import (
    duration,
    fraction,
    header_matchers,
    message,
    string_match,
)
from tests.translate.envoyfilter.kit import LIKE_AERAKI, Json, only


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (90_000_000_000, "90s"),
        (50_000_000, "0.050s"),
        (1_500_000_000, "1.500s"),
        (20_500_000, "0.020500s"),
        (1_000, "0.000001s"),
        (1, "0.000000001s"),
        (2_000_000_010, "2.000000010s"),
        (-1_000_000_000, "-1s"),
        (-1_500_000_000, "-1.500s"),
        (-1, "-0.000000001s"),
    ],
)
def test_a_duration_has_0_3_6_or_9_digits_after_the_point(nanoseconds: int, text: str) -> None:
    assert duration(Duration(nanoseconds)) == text


@given(
    seconds=st.integers(min_value=-(10**9), max_value=10**9),
    unit=st.sampled_from([1, 1_000, 1_000_000, 1_000_000_000]),
)
def test_a_duration_is_spelled_as_protobuf_spells_it(seconds: int, unit: int) -> None:
    expected = ProtobufDuration()
    expected.FromNanoseconds(seconds * unit)
    assert duration(Duration(seconds * unit)) == expected.ToJsonString()


def test_a_message_has_no_field_that_holds_nothing() -> None:
    assert message(a=None, b="", c=0, d=False, e=(), f=[], g={}, h=0.0) == {}


def test_a_message_has_every_other_field() -> None:
    fields: Json = {"a": "0", "b": 0.5, "c": True, "d": [0], "e": {"f": {}}, "g": -1}
    assert message(**fields) == fields


@pytest.mark.parametrize(
    ("percent", "cut", "rounded"),
    [(12.5, 125_000, 125_000), (0.57, 5_699, 5_700), (0.00019, 1, 2), (100.0, 10**6, 10**6)],
)
def test_a_share_is_cut_to_millionths_as_aeraki_does_and_rounded_by_the_mend(
    percent: float, cut: int, rounded: int
) -> None:
    for delivery, numerator in ((LIKE_AERAKI, cut), (only(Mend.EXACT_PERCENT), rounded)):
        assert fraction(percent, delivery) == {
            "defaultValue": {"numerator": numerator, "denominator": "MILLION"}
        }


def test_a_share_of_nothing_has_no_numerator() -> None:
    assert fraction(0.0, LIKE_AERAKI) == {"defaultValue": {"denominator": "MILLION"}}


REGEX: Json = {"googleRe2": {}, "regex": "a|b"}


@pytest.mark.parametrize(
    ("match", "matcher"),
    [
        (StringMatch(exact="buy"), {"exact": "buy"}),
        (StringMatch(exact=""), {"exact": ""}),
        (StringMatch(prefix="b"), {"prefix": "b"}),
        (StringMatch(prefix=""), {"prefix": ""}),
        (StringMatch(regex="a|b"), {"safeRegex": REGEX}),
        (StringMatch(regex=""), {"safeRegex": {"googleRe2": {}, "regex": ""}}),
        (StringMatch(), None),
    ],
)
def test_the_one_that_is_said_of_exact_prefix_and_regex_is_matched_even_if_it_is_empty(
    match: StringMatch, matcher: Json | None
) -> None:
    assert string_match(match) == matcher


ATTRIBUTES = (
    ("z", StringMatch(regex="a|b")),
    ("there", StringMatch()),
    ("a", StringMatch(exact="")),
    ("p", StringMatch(prefix="b")),
)


def test_headers_are_matched_in_the_order_of_their_names_in_aerakis_fields() -> None:
    assert header_matchers(ATTRIBUTES, LIKE_AERAKI) == [
        {"name": "a", "exactMatch": ""},
        {"name": "p", "prefixMatch": "b"},
        {"name": "z", "safeRegexMatch": REGEX},
    ]


def test_the_mends_match_headers_in_current_fields_and_ask_for_presence() -> None:
    assert header_matchers(ATTRIBUTES, only(Mend.CURRENT_FIELDS, Mend.PRESENCE_MATCH)) == [
        {"name": "a", "stringMatch": {"exact": ""}},
        {"name": "p", "stringMatch": {"prefix": "b"}},
        {"name": "there", "presentMatch": True},
        {"name": "z", "stringMatch": {"safeRegex": REGEX}},
    ]
