"""What happened to an object: the vocabulary between `ingest`, which makes these, and the store.

A source says for each key what it now holds. The last word per key wins; nothing here depends on
order between keys.
"""

from __future__ import annotations

import msgspec

from aeraki_xds.mesh.names import Key
from aeraki_xds.mesh.objects import MeshObject
from aeraki_xds.mesh.problems import Problem


class Upsert(msgspec.Struct, frozen=True, kw_only=True):
    """The object is there and valid; `problems` holds warnings only. `origin` is a file or URL."""

    key: Key
    item: MeshObject
    origin: str
    problems: tuple[Problem, ...] = ()


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """The object is gone."""

    key: Key


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The object is there and cannot be used: its last good version stays in force.

    `hosts` are those that it names, as written and as far as could be read: without a last good
    version nothing is decided about them (they are held), least of all a default route.
    """

    key: Key
    origin: str
    problems: tuple[Problem, ...]
    hosts: frozenset[str] = frozenset()


ObjectEvent = Upsert | Delete | Rejected
