"""What a list or watch asks for: selectors, revisions, and the tokens of paging.

In: the query of a request. Out: predicates and numbers, or a Refusal. Rules: Kubernetes, "Labels
and Selectors", "Field Selectors" and "API Concepts".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from tests.apiserver import refusal
from tests.apiserver.storage import Key, Selects, State

_NOT_IN: Final = "notin"  # codespell:ignore notin
_TERM: Final = re.compile(
    r"\s*(?P<absent>!)?\s*(?P<key>[\w./-]+)\s*"
    rf"(?:(?P<equal>!=|==?)\s*(?P<value>[\w.-]*)|(?P<set>in|{_NOT_IN})\s*\((?P<values>[^)]*)\))?"
    r"\s*(?:,|$)"
)


def selector(query: Mapping[str, str]) -> Selects:
    """Whether a state is asked for."""
    terms = [*_labels(query.get("labelSelector", "")), *_fields(query.get("fieldSelector", ""))]
    return lambda state: all(term(state) for term in terms)


def _labels(text: str) -> list[Selects]:
    terms: list[Selects] = []
    at = 0
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise refusal.bad_request(f"unable to parse requirement: {text[at:]!r}")
        terms.append(_label(term))
        at = term.end()
    return terms


def _label(term: re.Match[str]) -> Selects:
    key, wanted = term["key"], {value.strip() for value in (term["values"] or "").split(",")}
    if term["equal"]:
        wanted = {term["value"]}

    def has(state: State) -> bool:
        labels = state.metadata.get("labels") or {}
        if not term["equal"] and not term["set"]:
            return key in labels
        return labels.get(key) in wanted

    negated = term["absent"] or term["equal"] == "!=" or term["set"] == _NOT_IN
    return (lambda state: not has(state)) if negated else has


def _fields(text: str) -> list[Selects]:
    return [_field(term) for term in text.split(",") if term]


def _field(term: str) -> Selects:
    field, operator, value = re.split(r"(!=|==?)", term, maxsplit=1)
    if field not in {"metadata.name", "metadata.namespace"}:
        raise refusal.bad_request(f"field label not supported: {field}")
    name = field.removeprefix("metadata.")
    return lambda state: (state.metadata.get(name, "") == value) != (operator == "!=")


def number(query: Mapping[str, str], name: str) -> int | None:
    """A number, if it is given."""
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise refusal.bad_request(f"{name}: Invalid value: {text!r}: not a number")
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """Where a paged list goes on, and of which revision it is; -1 is of no one revision."""

    revision: int
    after: Key

    def token(self) -> str:
        raw = orjson.dumps([self.revision, *self.after])
        return base64.urlsafe_b64encode(raw).decode()

    @classmethod
    def read(cls, token: str) -> Continue:
        try:
            revision, namespace, name = orjson.loads(base64.urlsafe_b64decode(token))
        except (binascii.Error, ValueError) as error:
            raise refusal.bad_request("continue key is not valid") from error
        return cls(revision=revision, after=(namespace, name))


Allowed = Callable[[str, str, str, str, str], bool]
"""Of RBAC: verb, group, resource (`secrets`, `metarouters/status`), namespace, name."""
