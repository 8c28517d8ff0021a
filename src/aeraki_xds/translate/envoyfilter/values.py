"""Plain JSON as protobuf's canonical form spells it: what is default is not there.

In: what our objects hold. Out: values that Go's protojson would print of the same message, so that
an object is compared with one that Aeraki wrote (specification §3.0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aeraki_xds.mesh.objects import Duration, StringMatch
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend

Json = dict[str, object]

_TYPES = "type.googleapis.com/"


def message(**fields: object) -> Json:
    """A message without the fields that hold nothing: None, "", 0, False, no elements.

    What is there although it is empty (a set oneof, a set sub-message) is put in afterwards.
    """
    return {name: value for name, value in fields.items() if not _is_default(value)}


def _is_default(value: object) -> bool:
    return value is None or value is False or value in ("", 0, (), [], {})


def any_of(full_name: str, value: Mapping[str, object]) -> Json:
    """A message inside an Any."""
    return {"@type": _TYPES + full_name, **value}


def typed_struct(full_name: str, value: Mapping[str, object]) -> Json:
    """A filter's config in the form in which istiod passes on types that it does not know."""
    return {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": _TYPES + full_name,
        "value": dict(value),
    }


def duration(span: Duration) -> str:
    """Seconds, with 0, 3, 6 or 9 digits after the point."""
    sign = "-" if span.nanoseconds < 0 else ""
    seconds, rest = divmod(abs(span.nanoseconds), 1_000_000_000)
    digits = f"{rest:09d}"
    for width in (0, 3, 6, 9):
        if not digits[width:].strip("0"):
            return f"{sign}{seconds}{'.' * bool(width)}{digits[:width]}s"
    raise AssertionError(digits)


def fraction(percent: float, delivery: EnvoyFilters) -> Json:
    """A share of calls in millionths, as a runtime fraction."""
    exact = percent * 10_000
    numerator = round(exact) if delivery.has(Mend.EXACT_PERCENT) else int(exact)
    # Without a numerator, none: the default is left out as everywhere.
    return {"defaultValue": {**message(numerator=numerator), "denominator": "MILLION"}}


def regex(expression: str) -> Json:
    """A regular expression of RE2."""
    return {"googleRe2": {}, "regex": expression}


def string_match(match: StringMatch) -> Json | None:
    """A StringMatcher; None for the empty match."""
    if match.exact is not None:
        return {"exact": match.exact}
    if match.prefix is not None:
        return {"prefix": match.prefix}
    if match.regex is not None:
        return {"safeRegex": regex(match.regex)}
    return None


def header_matchers(
    attributes: Iterable[tuple[str, StringMatch]], delivery: EnvoyFilters
) -> list[Json]:
    """HeaderMatchers, sorted by name: Aeraki's order is random (M-13)."""
    found = (_header(name, match, delivery) for name, match in sorted(attributes, key=_name))
    return [each for each in found if each is not None]


def _name(attribute: tuple[str, StringMatch]) -> str:
    return attribute[0]


def _header(name: str, match: StringMatch, delivery: EnvoyFilters) -> Json | None:
    matcher = string_match(match)
    if matcher is None:
        # Aeraki drops it, so that the rest of the match decides alone.
        return {"name": name, "presentMatch": True} if delivery.has(Mend.PRESENCE_MATCH) else None
    if delivery.has(Mend.CURRENT_FIELDS):
        return {"name": name, "stringMatch": matcher}
    ((kind, value),) = matcher.items()
    return {"name": name, f"{kind}Match": value}
