"""When the state is written: at once, off the loop, and again until it succeeds.

In: what the pipeline says has changed. Out: a file that is as new as the disk allows, and since
when it is not. What comes while the disk is busy goes with the next transaction. Guaranteed: no
failure to write reaches the pipeline or a proxy, and nothing that is due is forgotten.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from aeraki_xds.pipeline.last_good import Changes, LastGood
from aeraki_xds.state.database import Database
from aeraki_xds.state.records import Found, restored

RETRY: Final = 5.0
"""Seconds between two attempts to write what could not be written."""


class State:
    """What is kept in one folder; made by `opened`. `clock` gives seconds since the epoch.

    `error` says why the file is behind, empty while it is not; `failing_since` since when, 0 then.
    """

    def __init__(
        self, database: Database, found: Found, *, clock: Callable[[], float], retry: float
    ) -> None:
        self.error = ""
        self.failing_since = 0.0
        self._database = database
        self._last_good = found.last_good
        self._written_at = database.written_at
        self._mended = found.mended
        self._garbage = found.garbage
        self._clock = clock
        self._retry = retry
        self._due = Changes()
        self._filled = asyncio.Event()
        self._writing = asyncio.Lock()
        self._log = structlog.get_logger("aeraki_xds.state")

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, folder: Path, *, clock: Callable[[], float] = time.time, retry: float = RETRY
    ) -> AsyncIterator[State]:
        """Open a folder and read what it holds; at the end, write what is due, once.

        Raises ConfigurationError naming the folder.
        """
        database = await asyncio.to_thread(Database.open, folder)
        try:
            state = cls(
                database, await asyncio.to_thread(_taken, database), clock=clock, retry=retry
            )
            try:
                yield state
            finally:
                await state._write()
        finally:
            database.close()

    def take(self) -> LastGood:
        """What the folder held. It is given away, for it may be large."""
        last_good, self._last_good = self._last_good, LastGood()
        if last_good.objects or last_good.files or last_good.kept:
            written = datetime.fromtimestamp(self._written_at, UTC).isoformat(timespec="seconds")
            self._log.info(
                "state restored",
                objects=len(last_good.objects),
                written=written,
                whole=last_good.whole,
            )
        return last_good

    def note(self, changes: Changes) -> None:
        """Something changed; it will be written."""
        self._due = self._due.then(changes)
        self._filled.set()

    async def run(self) -> None:
        """Write what is due until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._due:
                await self._write()
                if self.error:
                    await asyncio.sleep(self._retry)

    async def _write(self) -> None:
        """Try to write what is due. When this is cancelled the thread has ended nevertheless."""
        async with self._writing:
            if not self._due:
                return
            due, self._due = self._mended.then(self._due), Changes()
            write = asyncio.to_thread(self._database.write, due, tuple(self._garbage))
            written = asyncio.ensure_future(write)
            try:
                await asyncio.wait((written,))
            finally:
                await asyncio.wait((written,))
                self._heed(written.exception(), due)

    def _heed(self, failure: BaseException | None, due: Changes) -> None:
        match failure:
            case None:
                self._mended = Changes()
                self._garbage = []
                if self.error:
                    self._log.info("state is written again")
                self.error, self.failing_since = "", 0.0
            case sqlite3.Error() | OSError():
                self._due = due.then(self._due)
                if str(failure) != self.error:
                    self._log.error("state cannot be written", reason=str(failure))
                self.error = str(failure)
                self.failing_since = self.failing_since or self._clock()
            case _:
                raise failure


def _taken(database: Database) -> Found:
    """What the database held, which it need not remember."""
    found, database.found = database.found, []
    return restored(found)
