"""What is known here of a kind's objects, and what to ask the server next. Pure: no I/O, no clock.

In: each answer, or how there was none. Out: events, the next thing to ask (`ask`) and after how
many seconds (`delay`). The way is discovery, then a list in pages, then a watch from the list's
revision on, and back to the list where the server has forgotten that revision.

Guaranteed, whatever the answers are: an object is said to be gone only by the watch, or by a list
that came to its end; `Synced` is said only after such a list, or for a kind that the cluster never
served; no older version of an object follows a newer one. Of an object only its resourceVersion
is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import structlog

from aeraki_xds.ingest.decode import Unidentified, decode
from aeraki_xds.ingest.event import Delete, Event, Rejected, SourceLost, Synced, Upsert
from aeraki_xds.ingest.kubernetes.answers import Bookmark, Changed, Gone, Told
from aeraki_xds.ingest.kubernetes.client import ApiError, ClusterError
from aeraki_xds.ingest.kubernetes.kinds import Watched
from aeraki_xds.mesh.names import Key, Namespace
from aeraki_xds.mesh.objects import CLUSTER_SCOPED
from aeraki_xds.mesh.problems import error

ORIGIN: Final = "kubernetes"

FIRST: Final = 0.25
"""Seconds after the first failure in a row; doubled with each."""

CAP: Final = 30.0
"""Seconds, at the most, between two tries, unless the server itself asks for more."""

LONGEST_WISH: Final = 300.0
"""Seconds of a Retry-After that are believed."""

POLL: Final = 30.0
"""Seconds between two looks for a kind that the cluster does not serve."""

GRACE: Final = 15.0
"""Seconds without success after which a failure makes the source a lost one."""

STEADY: Final = 5.0
"""Seconds for which a watch that says nothing has to last to count as a success."""

FRUITLESS: Final = 4
"""Watches in a row that came to nothing, after which a list is a better question."""

_GRAVES: Final = 1_000
"""Deletions that are remembered, in case an older event comes after them."""


@dataclass(frozen=True, slots=True)
class Discover:
    """Find out which version is served."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """List, from the beginning or from where `token` says."""

    version: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch what happens after a revision."""

    version: str
    since: str


Ask = Discover | ListPage | Watch
_Name = tuple[str, str]
"""Namespace and name, as the server has them."""


class Replica:
    """One kind, or one object. `source` is the name under which it is synced or lost.

    `may_be_forbidden`: an object that may not be read (403) is not there, if it never was.
    """

    def __init__(
        self, watched: Watched, *, source: str, random: Random, may_be_forbidden: bool = False
    ) -> None:
        self.watched: Final = watched
        self.delay = 0.0
        self._source = source
        self._random = random
        self._may_be_forbidden = may_be_forbidden
        self._version = watched.certain
        self._revision = ""  # of the watch; empty before the list is complete
        self._token = ""
        self._list_revision = ""
        self._listed: set[_Name] = set()
        self._known: dict[_Name, str] = {}
        self._graves: dict[_Name, str] = {}
        self._was_read = False
        self._is_synced: bool | None = None  # as last said
        self._is_absent = False
        self._failures = 0
        self._failing_since: float | None = None
        self._fruitless = 0
        self._relists = 0  # that the watch made necessary
        self._log = structlog.get_logger("aeraki_xds.ingest.kubernetes")

    @property
    def ask(self) -> Ask:
        """What to ask next."""
        if not self._version:
            return Discover()
        if not self._revision:
            return ListPage(self._version, self._token)
        return Watch(self._version, self._revision)

    def found(self, version: str) -> None:
        """The kind is served in a version."""
        self._version, self.delay = version, 0.0

    def absent(self, reason: str, now: float) -> list[Event]:
        """The kind is not served. That is how it is if it never was, and else a loss."""
        if self._was_read:
            return self.failed(ClusterError(reason), now)
        self._well()
        self._version, self.delay = "", POLL
        if not self._is_absent:
            self._log.warning("cluster lacks", what=str(self.watched), reason=reason)
        self._is_absent = True
        return self._synced()

    def listed(self, document: Mapping[str, Any]) -> Event | None:
        """An item of a list. A list is right, whatever was known before it."""
        name = _name(document)
        self._listed.add(name)
        revision = document["metadata"]["resourceVersion"]
        if self._known.get(name) == revision:
            return None
        self._known[name] = revision
        return self._said(name, document)

    def page_ended(self, revision: str, token: str) -> list[Event]:
        """A page was listed; the list is complete if there is no token for another."""
        self._well()
        self.delay = 0.0
        # The first page's: what the others may be newer by, the watch says once more.
        self._list_revision = self._list_revision or revision
        self._token = token
        if token:
            return []
        gone = [name for name in self._known if name not in self._listed]
        position = self._list_revision
        self._list_anew()
        self._graves.clear()
        self._revision = position
        self._was_read, self._is_absent = True, False
        deletes = [said for said in map(self._forget, gone) if said is not None]
        return [*deletes, *self._synced()]

    def heard(self, told: Told) -> Event | None:
        """What a watch tells. It may be left when `ask` is for a list after that."""
        self._go_on()
        match told:
            case Bookmark(revision):
                self._advance(revision)
            case Changed(document):
                name, revision = _name(document), document["metadata"]["resourceVersion"]
                self._advance(revision)
                latest = self._known.get(name) or self._graves.get(name, "")
                if revision != latest and not _precedes(revision, latest):
                    self._known[name] = revision
                    return self._said(name, document)
            case Gone(document):
                name, revision = _name(document), document["metadata"]["resourceVersion"]
                self._advance(revision)
                if not _precedes(revision, self._known.get(name, "")):
                    self._bury(name, revision)
                    return self._forget(name) if name in self._known else None
        return None

    def ended(self, now: float, *, lasted: float) -> list[Event]:
        """A watch came to its end, as it does every few minutes."""
        if lasted >= STEADY:
            self._go_on()
        elif self._fruitless:
            return self.failed(ClusterError("the watch ends at once"), now)
        else:
            self._fruitless = 1
        self.delay = 0.0
        return []

    def failed(self, reason: ClusterError, now: float, *, lasted: float = 0.0) -> list[Event]:
        """A question came to nothing; `lasted` is for how many seconds a watch went well."""
        if lasted >= STEADY:
            self._go_on()
        status = reason.status if isinstance(reason, ApiError) else 0
        wish = reason.retry_after if isinstance(reason, ApiError) else None
        if status == 403 and self._may_be_forbidden:
            return self.absent(str(reason), now)
        self._turn_back(status)
        if status == 410 and self._relists == 1:
            self.delay = 0.0  # that happens; again and again it is a failure
            return []
        self._failures += 1
        backoff = min(CAP, FIRST * 2 ** min(self._failures - 1, 10)) * self._random.uniform(0.5, 1)
        self.delay = max(backoff, min(wish or 0.0, LONGEST_WISH))
        if self._failing_since is None:
            self._failing_since = now
            self._log.info("cluster failing", what=str(self.watched), reason=str(reason))
        if now - self._failing_since < GRACE or self._is_synced is False:
            return []
        self._is_synced = False
        self._list_anew()
        return [SourceLost(source=self._source, reason=str(reason))]

    def _turn_back(self, status: int) -> None:
        """As far as the answer makes it necessary."""
        if isinstance(self.ask, Watch):
            self._fruitless += 1
        match status:
            case 404:
                self._version = ""
                return
            case 410:
                pass
            case 400 if self._token:
                pass
            case _ if self._fruitless >= FRUITLESS:
                self._fruitless = 0
            case _:
                return
        self._relists += 1
        self._list_anew()

    def _list_anew(self) -> None:
        self._revision = self._token = self._list_revision = ""
        self._listed = set()

    def _well(self) -> None:
        self._failures = self._relists
        self._failing_since = None

    def _go_on(self) -> None:
        """A watch came to something."""
        self._fruitless = self._relists = 0
        self._well()

    def _synced(self) -> list[Event]:
        if self._is_synced:
            return []
        self._is_synced = True
        return [Synced(source=self._source)]

    def _advance(self, revision: str) -> None:
        if self._revision and not _precedes(revision, self._revision):
            self._revision = revision

    def _said(self, name: _Name, document: Mapping[str, Any]) -> Upsert | Rejected | None:
        """What an object says. Items of a list do not say of which kind they are."""
        if any(other < name for other in self._namesakes(name)):
            self._log.warning("has a namesake", object=str(self._key(name)), namespace=name[0])
            return None
        kind, version = self.watched.kind, self.watched.api_version(self._version)
        said = decode({**document, "apiVersion": version, "kind": kind.value}, origin=ORIGIN)
        match said:
            case Upsert() | Rejected():
                return said
            case Unidentified():
                self._log.error("unidentified", what=str(self.watched), object="/".join(name))
                return None
            case None:  # a ConfigMap with something else in it
                problem = error("data.mesh", "is missing")
                return Rejected(key=self._key(name), origin=ORIGIN, problems=(problem,))

    def _forget(self, name: _Name) -> Delete | None:
        """An object is gone, and with it its key, unless a namesake takes its place."""
        del self._known[name]
        heirs = self._namesakes(name)
        if not heirs:
            return Delete(key=self._key(name))
        if all(name < heir for heir in heirs):
            for heir in heirs:  # what they say is not known any more: a list will tell
                self._known[heir] = ""
            self._list_anew()
        return None

    def _bury(self, name: _Name, revision: str) -> None:
        self._graves.pop(name, None)
        self._graves[name] = revision
        if len(self._graves) > _GRAVES:
            del self._graves[next(iter(self._graves))]

    def _key(self, name: _Name) -> Key:
        namespace = "" if self.watched.kind in CLUSTER_SCOPED else name[0]
        return Key(self.watched.kind, Namespace(namespace), name[1])

    def _namesakes(self, name: _Name) -> list[_Name]:
        """Other objects with its key, where a kind whose namespace means nothing has them. The
        first namespace in the alphabet has the word: as good as any, and the same everywhere.
        """
        if self.watched.kind not in CLUSTER_SCOPED:
            return []
        return [other for other in self._known if other[1] == name[1] and other != name]


def _name(document: Mapping[str, Any]) -> _Name:
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _precedes(revision: str, other: str) -> bool:
    """Whether a revision is surely the older one: those of a kind count up (Kubernetes API
    concepts, "Resource versions"). Of other ones nothing is known.
    """
    return revision.isdecimal() and other.isdecimal() and int(revision) < int(other)
