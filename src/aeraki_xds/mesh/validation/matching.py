"""What a call must look like: attributes and their conditions (V6, V7).

Stricter than Aeraki's webhook where every Envoy refuses the result: an empty prefix, a name with
a line break, two conditions in one. Regular expressions are read by RE2, the engine of the data
planes; Python's own accepts expressions that it does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import re2

from aeraki_xds.mesh.problems import Problem, error, warning
from aeraki_xds.mesh.validation.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.objects import MetaRouteMatch, StringMatch

STOCK_PROGRAM_SIZE: Final = 100
"""Envoy's own limit, `re2.max_program_size.error_level`; Istio's bootstrap raises it to 32768."""

LARGEST_PROGRAM_SIZE: Final = 32768
"""What Istio's bootstrap raises it to; matching costs time in proportion."""

_HEADER_NAME: Final = re.compile(r":?[0-9a-zA-Z!#$%&'*+.^_|~`-]+")
_NO_HEADER_NAME: Final = re.compile(r"[\x00\r\n]")  # what Envoy's own validation refuses


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False  # RE2 writes to stderr otherwise; the problem says it already
    return options


_OPTIONS: Final = _quiet()


def attributes(match: MetaRouteMatch | None, field: str) -> Iterator[Problem]:
    """Every condition of a match; an absent one and an empty one match everything."""
    if match is None:
        return
    for name, condition in match.attributes.items():
        where = f"{field}.attributes[{name}]"
        if not name:  # V6
            yield error(where, "the name of the attribute is empty: write for example `method`")
        elif _NO_HEADER_NAME.search(name):
            yield error(where, "a name cannot hold a line break or a zero byte: Envoy refuses it")
        elif not _HEADER_NAME.fullmatch(name):
            yield warning(where, "is no valid header name: proxies may never find the attribute")
        yield from _condition(condition, where)


def _condition(condition: StringMatch, where: str) -> Iterator[Problem]:
    values = {"exact": condition.exact, "prefix": condition.prefix, "regex": condition.regex}
    if list(values.values()).count(None) < 2:
        both = " and ".join(kind for kind, value in values.items() if value is not None)
        yield error(where, f"has {both}: a condition is one of them; split it into two routes")
    if condition.prefix == "":
        yield error(f"{where}.prefix", "is empty: write `{}` to ask only that the attribute is set")
    if condition.regex is not None:
        yield from _regex(condition.regex, f"{where}.regex")


def _regex(expression: str, where: str) -> Iterator[Problem]:
    """V7: must compile, and in a stock Envoy be small too (tried with 1.40: a{200} is refused)."""
    if not expression:
        yield error(where, "is empty: write `{}` to ask only that the attribute is set")
        return
    try:
        size = re2.compile(expression, _OPTIONS).programsize
    except (re2.error, UnicodeEncodeError) as refusal:
        reason = refusal.args[0]
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(refusal)
        hint = "write `{}` instead to ask only that the attribute is set"
        if expression != "*":
            hint = "RE2 syntax: https://github.com/google/re2/wiki/Syntax"
        yield error(where, f"{quoted(expression)} is no regular expression: {said} ({hint})")
        return
    if size > LARGEST_PROGRAM_SIZE:
        limit = f"no data plane takes more than {LARGEST_PROGRAM_SIZE}"
        yield error(where, f"{quoted(expression)} compiles to {size} steps, {limit}: shorten it")
    elif size > STOCK_PROGRAM_SIZE:
        limit = f"a stock Envoy refuses more than {STOCK_PROGRAM_SIZE} (Istio's takes 32768)"
        fix = "write it shorter, or raise re2.max_program_size.error_level"
        yield warning(where, f"{quoted(expression)} compiles to {size} steps, {limit}: {fix}")
