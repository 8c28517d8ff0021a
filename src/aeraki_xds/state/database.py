"""The file in the state folder: SQLite, one table, one writer.

In: a folder, and changes. Out: rows, written whole or not at all, and on the disk when `write`
returns. Guaranteed: one process to a folder; a file that cannot be understood is set aside, never
overwritten; opening writes nothing, so that a full disk does not keep a server from its start.

A rollback journal and not a write-ahead log: changes are rare and small, it works on every file
system, and at rest there is one file. `synchronous=EXTRA` also has the journal's end on the disk.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.pipeline.last_good import Changes
from aeraki_xds.state.records import VERSION, Row, removals, rows

FILE: Final = "state.db"
LOCK: Final = "lock"
APPLICATION: Final = 0x61786473
"""`axds`: what SQLite's header says whose file it is."""

_UNUSABLE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CREATE: Final = """
CREATE TABLE records (
    what TEXT NOT NULL, name TEXT NOT NULL, about TEXT NOT NULL, body BLOB NOT NULL,
    digest BLOB NOT NULL, PRIMARY KEY (what, name)
) WITHOUT ROWID
"""
_PUT: Final = """
INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT (what, name) DO UPDATE
SET about = excluded.about, body = excluded.body, digest = excluded.digest
WHERE digest <> excluded.digest
"""
_REMOVE: Final = "DELETE FROM records WHERE what = ?1 AND (name = ?2 OR ?2 IS NULL)"
_DISCARD: Final = "DELETE FROM records WHERE digest = ?"

_log = structlog.get_logger("aeraki_xds.state")


class _UnusableError(Exception):
    """The file is not one of ours, or is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    connection: sqlite3.Connection
    rows: list[Row]


class Database:
    """An open folder. Used by one thread at a time; its methods block.

    `found` is what it held.
    """

    def __init__(self, path: Path, opened: _Opened, lock: int) -> None:
        self.path = path
        self.found = opened.rows
        self._connection = opened.connection
        self._lock = lock
        self._inode = path.stat().st_ino

    @classmethod
    def open(cls, folder: Path) -> Database:
        """Open a folder, made if it is not there. Raises ConfigurationError naming it."""
        path = folder / FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _locked(folder)
            try:
                return cls(path, _opened_or_set_aside(path), lock)
            except BaseException:
                os.close(lock)
                raise
        except OSError as reason:
            message = f"the state folder {folder} cannot be used: {reason.strerror or reason}"
            raise ConfigurationError(message) from reason
        except sqlite3.Error as reason:
            message = f"the state folder {folder} cannot be used: {path}: {reason}"
            raise ConfigurationError(message) from reason

    @property
    def written_at(self) -> float:
        """When it was last written, in seconds since the epoch."""
        return self.path.stat().st_mtime

    def write(self, changes: Changes, garbage: Iterable[bytes] = ()) -> None:
        """Bring the file up to the changes, all or none. Raises sqlite3.Error and OSError."""
        self._still_there()
        with self._transaction() as connection:
            if not _is_made(connection):
                connection.execute(_CREATE)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.executemany(_DISCARD, ((digest,) for digest in garbage))
            connection.executemany(_REMOVE, removals(changes))
            connection.executemany(_PUT, rows(changes))

    def close(self) -> None:
        """Let go of the folder."""
        self._connection.close()
        os.close(self._lock)

    def _still_there(self) -> None:
        """Writing to a file that was removed would succeed, and be in vain."""
        if self.path.stat().st_ino != self._inode:
            message = f"{self.path} was replaced"
            raise OSError(message)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk has rolled back already
                self._connection.execute("ROLLBACK")
            raise


def _locked(folder: Path) -> int:
    """A lock that ends with the process."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            message = f"the state folder {folder} is in use by another aeraki-xds"
            raise ConfigurationError(message) from None
    return lock


def _opened_or_set_aside(path: Path) -> _Opened:
    try:
        return _opened(path)
    except _UnusableError as reason:
        aside = str(_set_aside(path))
        _log.warning("state set aside, starting without it", file=aside, reason=str(reason))
        return _opened(path)


def _opened(path: Path) -> _Opened:
    """Raises _UnusableError, sqlite3.Error and OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    _shut_to_others(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    try:
        connection.execute("PRAGMA synchronous = EXTRA")
        return _Opened(connection=connection, rows=_read(connection))
    except UnicodeDecodeError as reason:  # Python cannot tell what SQLite says of a damaged schema
        connection.close()
        raise _UnusableError(str(reason)) from reason
    except sqlite3.DatabaseError as reason:
        connection.close()
        if reason.sqlite_errorcode & 0xFF in _UNUSABLE:
            raise _UnusableError(str(reason)) from reason
        raise
    except BaseException:
        connection.close()
        raise


def _shut_to_others(path: Path) -> None:
    """It may hold passwords, and a copy of it may have come with other permissions."""
    mode = path.stat().st_mode
    if mode & stat.S_IRWXO:
        try:
            path.chmod(stat.S_IMODE(mode) & ~stat.S_IRWXO)
        except PermissionError as reason:  # a file of somebody else: a group may share a volume
            _log.warning("state can be read by others", file=str(path), reason=reason.strerror)


def _read(connection: sqlite3.Connection) -> list[Row]:
    """Every row. Raises _UnusableError and sqlite3.Error."""
    if not _is_made(connection):
        return []
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        message = "it is not ours"
        raise _UnusableError(message)
    if version != VERSION:
        message = f"it is of version {version}; this is version {VERSION}"
        raise _UnusableError(message)
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise _UnusableError(state)
    found = connection.execute("SELECT what, name, about, body, digest FROM records")
    return [Row(*each) for each in found]


def _is_made(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return bool(tables)


def _set_aside(path: Path) -> Path:
    """With its journal, which a new file must not be mended with."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.{moment}-{os.getpid()}")
    path.rename(aside)
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists():
        journal.rename(aside.with_name(f"{aside.name}-journal"))
    return aside
