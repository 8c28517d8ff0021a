"""What the tests of folders share: tiny manifests, a decoder for them, and a source that is heard.

Every wait is for a condition and bounded; nothing sleeps and hopes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aeraki_xds.ingest.contents import Outcome
from aeraki_xds.ingest.decode import Unidentified
from aeraki_xds.ingest.event import (
    Delete,
    Event,
    Rejected,
    SourceLost,
    Synced,
    Unreadable,
    Upsert,
)
from aeraki_xds.ingest.files import FileSource
from aeraki_xds.mesh.names import Key, Kind, Namespace
from aeraki_xds.mesh.objects import Metadata, ServiceEntry, ServiceEntrySpec
from aeraki_xds.mesh.problems import error, warning

QUIET = 0.05
MARKER = "marker"
"""The host of the objects that only tell how far a source has come."""
PATIENCE = 10.0
"""Seconds that a condition may take to come true on a machine that is busy with other tests."""


def key(name: str) -> Key:
    """The key of the object that `entry` writes down."""
    return Key(Kind.SERVICE_ENTRY, Namespace("shop"), name)


def entry(name: str, host: str = "a") -> str:
    """A document that the decoder below understands; host `bad` is rejected."""
    return f"kind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: [{host}]}}\n"


def documents(*texts: str) -> str:
    """One file of several documents."""
    return "---\n".join(texts)


def decode(document: Mapping[str, Any], *, origin: str) -> Outcome:
    """As much of a decoder as folders need."""
    kind, name = document.get("kind"), document.get("metadata", {}).get("name")
    if kind == "ConfigMap":
        return None
    if kind == "Later":
        return Unidentified((warning("kind", "not supported yet"),))
    if kind != "ServiceEntry" or name is None:
        return Unidentified((error("kind", "no name"),))
    hosts = tuple(document["spec"]["hosts"])
    if hosts == ("bad",):
        return Rejected(key=key(name), origin=origin, problems=(error("spec", "bad"),))
    item = ServiceEntry(metadata=Metadata(name=name), spec=ServiceEntrySpec(hosts=hosts))
    return Upsert(key=key(name), item=item, origin=origin)


class Said:
    """What a source has said so far."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self._news = asyncio.Event()

    def emit(self, batch: Sequence[Event]) -> None:
        """Take a batch."""
        assert batch, "an empty batch says nothing"
        self.batches.append(list(batch))
        self._news.set()

    @property
    def events(self) -> list[Event]:
        """All of it, in order."""
        return [event for batch in self.batches for event in batch]

    @property
    def hosts(self) -> dict[str, str]:
        """The objects in force, markers left out: name → host."""
        return {name: host for name, host in self.in_force().items() if host != MARKER}

    def in_force(self) -> dict[str, str]:
        """The objects in force: name → host."""
        found: dict[str, str] = {}
        for event in self.events:
            if isinstance(event, Upsert):
                found[event.key.name] = self.host_of(event)
            elif isinstance(event, Delete):
                found.pop(event.key.name, None)
        return found

    def has(self, name: str, host: str) -> bool:
        """Whether an object is in force with this host."""
        return self.in_force().get(name) == host

    @staticmethod
    def host_of(event: Upsert) -> str:
        """The one host of an object."""
        assert isinstance(event.item, ServiceEntry)
        return event.item.spec.hosts[0]

    @property
    def deleted(self) -> list[str]:
        """The names that were ever said to be gone, markers left out."""
        names = [event.key.name for event in self.events if isinstance(event, Delete)]
        return [name for name in names if not name.startswith("marker")]

    @property
    def complaints(self) -> dict[str, str]:
        """What is wrong with files: path → all messages."""
        found: dict[str, str] = {}
        for event in self.events:
            if isinstance(event, Unreadable):
                found[event.origin] = "; ".join(problem.message for problem in event.problems)
        return {path: text for path, text in found.items() if text}

    @property
    def state(self) -> str:
        """`synced`, `lost` or, before either was said, empty."""
        for event in reversed(self.events):
            if isinstance(event, Synced | SourceLost):
                return "synced" if isinstance(event, Synced) else "lost"
        return ""

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a condition that a batch brings about."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"did not come true; said: {self.batches}") from None


class Following(Said):
    """A source at work on a folder."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__()
        self.root = root
        settings = {"decode": decode, "quiet": QUIET, "poll": QUIET, **options}
        self._source = FileSource(root=root, **settings)
        self._task: asyncio.Task[None] | None = None
        self._markers = itertools.count()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._source.run(self.emit))
        await self.until(lambda: self.state != "")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        reason: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def about(self, name: str) -> list[str]:
        """What kinds of things were said of an object."""
        return [
            type(event).__name__
            for event in self.events
            if isinstance(event, Upsert | Rejected | Delete) and event.key.name == name
        ]

    async def until_marked(self) -> None:
        """Wait until the source has seen all that was done, though it is not at rest."""
        name = f"marker-{next(self._markers)}"
        (self.root / f"{name}.yaml").write_text(entry(name, MARKER))
        await self.until(lambda: name in self.in_force())

    async def until_rest(self) -> None:
        """Wait until the source has seen all that was done, and has taken stock.

        A marker is written and removed: its deletion is said when the folder is at rest.
        """
        name = f"marker-{next(self._markers)}"
        path = self.root / f"{name}.yaml"
        path.write_text(entry(name, MARKER))
        await self.until(lambda: name in self.in_force())
        path.unlink()
        await self.until(lambda: name not in self.in_force())
