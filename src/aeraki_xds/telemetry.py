"""Logs: structlog, one event a line, for people on a terminal and as JSON elsewhere; and `shown`,
what text of others has to pass before anybody sees it.

Called once by the command line; everything else asks structlog for a logger by name. Guaranteed:
a log line is one line and of bounded length, whatever a peer calls itself; to log never fails. What
cannot be written (a full disk, a reader that is gone) is counted, and said when it can be again.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from itertools import islice
from threading import RLock
from typing import Any, Final, Literal, TextIO

import orjson
import structlog

LogFormat = Literal["auto", "text", "json"]

LONGEST: Final = 1024
"""Characters of a text in a log line."""

_MOST: Final = 50
"""Entries of a list in a log line."""


def shown(text: str, limit: int) -> str:
    """Text that somebody else chose, for eyes, terminals and JSON.

    At most `limit` characters (32 or more), with the length of what was cut off; whatever does not
    print (line ends, escape sequences, reversed writing, halves of surrogate pairs) as its escape.
    To show what was shown already changes nothing.
    """
    safe = text if len(text) <= limit else text[:limit]
    if not safe.isprintable():
        safe = "".join(c if c.isprintable() else _escape(c) for c in safe)
    if len(text) <= limit and len(safe) <= limit:
        return safe
    ending = f"… ({len(text)} characters)"
    return safe[: limit - len(ending)] + ending


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def bounded(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: every text of an event as `shown`."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = shown(value, LONGEST)
        elif isinstance(value, list | tuple):
            event[key] = [
                shown(each, LONGEST) if isinstance(each, str) else each
                for each in islice(value, _MOST)
            ]
            if len(value) > _MOST:
                event[key].append(f"… ({len(value)} in all)")
    return event


class Lines:
    """A file to which lines can be written, or cannot: that is never an error. Without a file (the
    process was started with it closed) none can.
    """

    def __init__(self, file: TextIO | None) -> None:
        buffer: Any = file.buffer if file is not None else None
        # Past the buffer, which keeps what it could not write: the end of the process would fail.
        self._raw = getattr(buffer, "raw", buffer)
        self._encoding = file.encoding if file is not None else "utf-8"
        self._torn = False

    def write(self, line: str | bytes) -> bool:
        """Write a line, of which the end is not given: whether all of it was written.

        A line that was written in part is ended before the next.
        """
        if isinstance(line, str):
            line = line.encode(self._encoding, "backslashreplace")
        rest = memoryview(b"\n" * self._torn + line + b"\n")
        try:
            while rest and self._raw is not None:
                written = self._raw.write(rest)
                if not written:  # it would have to be waited for
                    break
                rest = rest[written:]
                self._torn = bool(rest)
        except (OSError, ValueError):  # ValueError: it is closed
            pass
        return not rest


class _Logger:
    """Where structlog's rendered lines go; one for all names, for they share one file."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._lost = 0
        self._lock = RLock()  # saying that lines were lost is logging, too

    def write(self, line: str | bytes) -> None:
        """Write a line, and before it how many were lost."""
        with self._lock:
            if self._lost:
                self._say_lost()
            if not self._lines.write(line):
                self._lost += 1

    debug = info = warning = error = critical = write

    def _say_lost(self) -> None:
        lost, self._lost = self._lost, 0
        # An error, so that no --log-level leaves it out.
        structlog.get_logger("aeraki_xds.telemetry").error("log lines lost", lines=lost)
        if self._lost:  # and this one, too, which does not count
            self._lost = lost


def configure_logging(*, level: str = "info", log_format: LogFormat = "auto") -> None:
    """Send log lines to standard error. `auto` is text on a terminal, else JSON."""
    logger = _Logger(Lines(sys.stderr))
    terminal = sys.stderr is not None and sys.stderr.isatty()
    text = log_format == "text" or (log_format == "auto" and terminal)
    rendering: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=terminal)]
        if text
        else [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            bounded,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=lambda *_name: logger,
    )
