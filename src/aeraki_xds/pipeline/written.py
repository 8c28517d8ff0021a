"""What became of what Istio is to be given: how the writing into a cluster goes.

Said by the writer, shown by the admin pages, which do not see each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Counts:
    """What was done since the start."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    conflicts: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteState:
    """What operators want to know; no content of any object, for there may be passwords.

    `pending` objects are to be written or deleted and not are yet; `waiting` deletions have to be
    confirmed, by `digest`; `conflicts` have the name of a wanted object and are not ours;
    `unclaimed` are Aeraki's, and may be another installation's. `failures` and `errors` give
    reasons, by object and by kind.
    """

    leads: bool
    complete: bool
    pending: int
    waiting: tuple[str, ...]
    digest: str
    conflicts: tuple[str, ...]
    unclaimed: tuple[str, ...]
    failures: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
