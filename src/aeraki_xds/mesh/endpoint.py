"""Where a server is, as one word: `host`, `host:port`, `[ipv6]` or `[ipv6]:port`, read. Pure.

Here because validation refuses what translation could not use: both read it the same way.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_MAX_PORT: Final = 65_535
_PORT: Final = re.compile(r"[0-9]{1,5}")
_FORMS: Final = "write host, host:port or [ipv6]:port"


def parse_endpoint(text: str) -> tuple[str, int | None]:
    """The host, without brackets, and the port if there is one.

    Whether a host that is no IPv6 address is a name that can exist is not asked here. Raises
    ValueError that says what is wrong with the text.
    """
    if text.startswith("["):
        inner, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(inner):
            message = f"has no IPv6 address in its brackets: {_FORMS}"
            raise ValueError(message)
        host, colon, port = inner, rest[:1], rest[1:]
        if colon not in ("", ":"):
            message = f"goes on after its brackets with no port: {_FORMS}"
            raise ValueError(message)
    else:
        host, colon, port = text.partition(":")
        if _is_ipv6(text):
            message = f"is an IPv6 address, whose colons could begin a port: write [{text}]"
            raise ValueError(message)
    if not host:
        message = f"names no host: {_FORMS}"
        raise ValueError(message)
    return host, _port(port) if colon else None


def _is_ipv6(text: str) -> bool:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return address.scope_id is None  # a scope means something to one machine only


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= _MAX_PORT:
        message = f"its port must be from 1 to {_MAX_PORT}: {_FORMS}"
        raise ValueError(message)
    return int(text)
