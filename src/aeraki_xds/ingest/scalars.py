"""What a plain YAML scalar means: text → None, bool, int, float or str. Pure.

kubectl is the measure (YAML 1.1 as go-yaml reads it), not PyYAML's resolver: `yes` and `on` are
booleans, `0755` is octal, `1e3` is a number, while `12:30`, `y`, `=` and timestamps stay strings.
So a manifest that a cluster takes is taken from a folder, and with the same meaning. Messages quote
nothing: it may be a password that begins with `!`. They stand beside line and column.
"""

from __future__ import annotations

import math
import re
from typing import Final

Scalar = str | int | float | bool | None

_YAML: Final = "tag:yaml.org,2002:"
STR: Final = f"{_YAML}str"
NULL: Final = f"{_YAML}null"
_YAMLS_OWN: Final = frozenset(
    ("binary", "bool", "float", "int", "map", "null", "omap", "pairs", "seq", "set", "timestamp")
)

_WORDS: Final[dict[str, Scalar]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMERIC_START: Final = frozenset("+-.0123456789")
_INTEGER: Final = re.compile(
    r"(?P<sign>[-+]?)(?:0b(?P<b2>[01_]+)|0o?(?P<b8>[0-7_]+)|0x(?P<b16>[0-9a-fA-F_]+)"
    r"|(?P<b10>0|[1-9][0-9_]*))"
)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASES: Final = {"b2": 2, "b8": 8, "b16": 16, "b10": 10}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    NULL: (type(None),),
    "tag:yaml.org,2002:bool": (bool,),
    "tag:yaml.org,2002:int": (int,),
    "tag:yaml.org,2002:float": (int, float),
}
_TEXTS: Final = frozenset({STR, "tag:yaml.org,2002:timestamp"})
_INT64: Final = range(-(2**63), 2**64)


def plain(text: str) -> Scalar:
    """The meaning of an unquoted scalar. Raises ValueError for a number that is not finite."""
    try:
        return _WORDS[text]
    except KeyError:
        pass
    return _number(text) if text[0] in _NUMERIC_START else text


def meaning(text: str, tag: str | None) -> Scalar:
    """The meaning of a scalar under an explicit tag. Raises ValueError where they do not agree."""
    if tag is None:
        return plain(text)
    if tag in _TEXTS:
        return text
    types = _TYPES.get(tag)
    if types is None:
        raise ValueError(f"{named(tag)} is not supported")
    value = plain(text)
    if type(value) not in types:
        raise ValueError(f"this is no value for {named(tag)}")
    return value


def _number(text: str) -> Scalar:
    if whole := _INTEGER.fullmatch(text):
        return _integer(whole)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("a number must be finite")
    if _FLOAT.fullmatch(text):
        return _finite(text)
    return text


def _integer(match: re.Match[str]) -> Scalar:
    base = match.lastgroup or "b10"
    digits = match[base].replace("_", "")
    if not digits:
        return match[0]
    if len(digits) > 64:  # Python refuses to read thousands of digits
        return _finite(match[0])
    value = int(match["sign"] + digits, _BASES[base])
    # Beyond 64 bits Kubernetes reads a float, and so does orjson.
    return value if value in _INT64 else float(value)


def _finite(text: str) -> float:
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError("this is beyond the range of a number")
    return value


def named(tag: str) -> str:
    """A tag in words: one of YAML's own as it is written in a manifest, no other."""
    name = tag.removeprefix(_YAML)
    return f"the tag !!{name}" if name != tag and name in _YAMLS_OWN else "this tag"
