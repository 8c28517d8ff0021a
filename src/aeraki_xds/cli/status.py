"""`status`: how the proxies stand, for people.

In: `/debug/syncz` of a running server, page by page. Out: a table, then why something was refused;
or with `--json` the pages as one. Exit status 0 when every proxy is in sync, 1 when one of them
refused something or owes an answer, 2 when the server cannot be asked. Text of proxies is escaped
and bounded here too: the command may be pointed at anything.
"""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

import click
import msgspec
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.settings import DEFAULT_ADMIN_ADDRESS
from aeraki_xds.telemetry import shown
from aeraki_xds.xds.tally import OTHER, SHORT_NAMES, short_name

_PATIENCE_S: Final = 10.0
_LARGEST: Final = 64 << 20
"""Bytes of one page; the server's own bounds are far below."""

_WIDTH: Final = 160
"""Columns where there is no terminal to ask: a table in a file does not need to be narrow."""

_STYLES: Final = {"SYNCED": "green", "STALE": "yellow", "NOT_SENT": "dim", "ERROR": "bold red"}
_AMISS: Final = frozenset({"STALE", "ERROR"})
_MESSAGE: Final = 300
_NAME: Final = 60


class _Said(msgspec.Struct):
    version: str


class _Type(msgspec.Struct):
    state: str
    sent: _Said
    nacks: int
    parked: list[str]
    lastError: str


class _Stream(msgspec.Struct):
    stream: int
    node: str
    peer: str
    dialect: str
    service: str
    connectedAt: str
    types: dict[str, _Type]


class _Page(msgspec.Struct):
    streams: list[_Stream]
    total: int
    truncated: bool


@click.command()
@click.option(
    "--admin",
    default=f"http://{DEFAULT_ADMIN_ADDRESS}",
    show_default=True,
    help="The server's admin address, as a URL or HOST:PORT.",
)
@click.option("--json", "as_json", is_flag=True, help="Print /debug/syncz as it is.")
def status(*, admin: str, as_json: bool) -> None:
    """Show what each proxy was sent and said to it; exit 1 if one refused or owes an answer."""
    raw, streams = _ask(_base(admin))
    if as_json:
        click.echo(orjson.dumps(raw, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode())
    else:
        _print(streams)
    if any(_states(stream) & _AMISS for stream in streams):
        sys.exit(1)


def _base(admin: str) -> str:
    url = admin if "://" in admin else f"http://{admin}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        message = f"--admin {shown(admin, _NAME)!r}: write http://HOST:PORT"
        raise ConfigurationError(message)
    return url.rstrip("/")


def _ask(base: str) -> tuple[dict[str, object], Sequence[_Stream]]:
    """All pages, as they came and as they are read."""
    entries: list[object] = []
    streams: list[_Stream] = []
    for body in _pages(base):
        try:
            page = msgspec.json.decode(body, type=_Page)
        except (msgspec.DecodeError, RecursionError) as failure:
            message = f"{base} does not answer as aeraki-xds does: {shown(str(failure), _MESSAGE)}"
            raise ConfigurationError(message) from failure
        entries += orjson.loads(body)["streams"]
        streams += page.streams
        if not (page.truncated and page.streams):
            break
    return {"streams": entries, "total": len(entries)}, streams


def _pages(base: str) -> Iterator[bytes]:
    """Pages until nobody wants more. The shell's proxies are not asked: this is our own server."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    limit = 500
    offset = 0
    while True:
        url = f"{base}/debug/syncz?{urlencode({'limit': limit, 'offset': offset})}"
        try:
            with opener.open(url, timeout=_PATIENCE_S) as answer:
                body = answer.read(_LARGEST)
        except (OSError, http.client.HTTPException, ValueError) as failure:
            if isinstance(failure, urllib.error.HTTPError):
                failure.close()
            reason = getattr(failure, "reason", None) or failure
            said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            message = f"cannot ask {shown(base, _MESSAGE)}: {shown(str(said), _MESSAGE)}"
            raise ConfigurationError(message) from failure
        yield body
        offset += limit


def _states(stream: _Stream) -> set[str]:
    return {each.state for each in stream.types.values()}


def _print(streams: Sequence[_Stream]) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH
    if streams:
        console.print(_table(streams))
    for stream in streams:
        for type_url, each in stream.types.items():
            if each.state == "ERROR":
                console.print(_refusal(stream, type_url, each), soft_wrap=True)
    console.print(_summary(streams))


def _table(streams: Sequence[_Stream]) -> Table:
    used = {short_name(type_url) for stream in streams for type_url in stream.types}
    columns = [name for name in (*SHORT_NAMES.values(), OTHER) if name in used]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("#", "PROXY", "ADDRESS", "VIA", "SINCE", *map(str.upper, columns)):
        table.add_column(heading, overflow="fold")
    for stream in streams:
        by_column: dict[str, _Type] = {}
        for type_url, each in stream.types.items():  # of several others, the one to look at
            column = short_name(type_url)
            if column not in by_column or each.state in _AMISS:
                by_column[column] = each
        table.add_row(
            Text(str(stream.stream)),
            Text(shown(stream.node, _NAME)),
            Text(shown(stream.peer, _NAME)),
            Text(shown(f"{stream.service}/{stream.dialect}", _NAME)),
            Text(shown(stream.connectedAt, _NAME)),
            *(_cell(by_column.get(column)) for column in columns),
        )
    return table


def _cell(each: _Type | None) -> Text:
    if each is None:
        return Text("-", style="dim")
    state = shown(each.state, _NAME)
    version = f" {shown(each.sent.version, _NAME)[:8]}" if each.sent.version else ""
    return Text(state, style=_STYLES.get(state, "")) + Text(version, style="dim")


def _refusal(stream: _Stream, type_url: str, each: _Type) -> Text:
    parked = ", ".join(shown(name, _NAME) for name in each.parked[:3])
    more = f" and {len(each.parked) - 3} more" if len(each.parked) > 3 else ""
    what = f"{parked}{more}" if parked else "its last response"
    return Text(
        f"#{stream.stream} {shown(stream.node, _NAME)} refuses {what} ({short_name(type_url)}): "
        f"{shown(each.lastError, _MESSAGE)}"
    )


def _summary(streams: Sequence[_Stream]) -> Text:
    refusing = sum("ERROR" in _states(stream) for stream in streams)
    behind = sum(_states(stream) & _AMISS == {"STALE"} for stream in streams)
    synced = len(streams) - refusing - behind
    return Text(f"{len(streams)} connected: {synced} in sync, {behind} behind, {refusing} refusing")
