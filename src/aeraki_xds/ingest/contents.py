"""One file → what it claims: bytes in, decoded objects or the reasons against the file out. Pure.

Outcomes are kept per document text: reading a file again decodes only the documents that changed,
and those that did not are the very same values, which makes comparing them free.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from aeraki_xds.ingest.decode import Unidentified
from aeraki_xds.ingest.event import Rejected, Upsert
from aeraki_xds.ingest.fault import Fault
from aeraki_xds.ingest.manifest import Piece, cut, parse
from aeraki_xds.mesh.problems import Problem, has_errors

Claim = Upsert | Rejected
Outcome = Claim | Unidentified | None


class Decode(Protocol):
    """Makes of a plain document what it says; None for a kind that is not ours."""

    def __call__(self, document: Mapping[str, object], *, origin: str) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a file says: the objects that it claims, and what is wrong with the file as such."""

    claims: tuple[Claim, ...] = ()
    problems: tuple[Problem, ...] = ()
    is_blank: bool = False
    """Nothing but whitespace: more likely a write that failed than a wish."""
    outcomes: Mapping[bytes, tuple[Outcome, ...] | Fault] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def is_legible(self) -> bool:
        """Whether `claims` are all that the file says; a file is taken whole or not at all."""
        return not has_errors(self.problems)


def unreadable(problem: Problem) -> Contents:
    """The contents of a file whose bytes cannot be had."""
    return Contents(problems=(problem,))


def read_contents(
    data: bytes, *, origin: str, decode: Decode, earlier: Contents | None = None
) -> Contents:
    """Read a file whose path is `origin`; `earlier` is what it said the last time."""
    pieces = cut(data, is_json=origin.endswith(".json"))
    if isinstance(pieces, Fault):
        return unreadable(pieces.problem())
    known = earlier.outcomes if earlier else {}
    outcomes: dict[bytes, tuple[Outcome, ...] | Fault] = {}
    claims: list[Claim] = []
    problems: list[Problem] = []
    for piece in pieces:
        digest = hashlib.blake2b(piece.text.encode(), digest_size=16).digest()
        said = known.get(digest)
        if said is None:
            said = _decoded(piece, origin, decode)
        outcomes[digest] = said
        if isinstance(said, Fault):
            problems.append(said.problem(first_line=piece.line))
            continue
        claims += (one for one in said if isinstance(one, Upsert | Rejected))
        problems += _unidentified(said, piece)
    return Contents(
        claims=tuple(claims),
        problems=tuple(problems),
        is_blank=not data.strip(),
        outcomes=outcomes,
    )


def _decoded(piece: Piece, origin: str, decode: Decode) -> tuple[Outcome, ...] | Fault:
    documents = parse(piece)
    if isinstance(documents, Fault):
        return documents
    return tuple(decode(document, origin=origin) for document in documents)


def _unidentified(said: tuple[Outcome, ...], piece: Piece) -> list[Problem]:
    where = f" (in the document that begins on line {piece.line + 1})"
    return [
        replace(problem, message=problem.message + where)
        for one in said
        if isinstance(one, Unidentified)
        for problem in one.problems
    ]
