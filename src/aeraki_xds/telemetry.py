"""Logs: structlog, one event a line, for people on a terminal and as JSON elsewhere; and `shown`,
what text of others has to pass before anybody sees it.

Called once by the command line; everything else asks structlog for a logger by name. Guaranteed:
a log line is one line and of bounded length, whatever a peer calls itself.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from itertools import islice
from typing import Any, Final, Literal

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


def configure_logging(*, level: str = "info", log_format: LogFormat = "auto") -> None:
    """Send log lines to standard error. `auto` is text on a terminal, else JSON."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        bounded,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    if text:
        structlog.configure(
            processors=[*shared, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
    else:
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=orjson.dumps),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        )
