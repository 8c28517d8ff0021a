"""Response bodies that streams share: everything of a message but its nonce, encoded once.

In: responses. Out: gRPC prefix and body in one byte string, and the nonce field that each stream
appends. The nonce is of a fixed width, so one length prefix is right for all, and a protobuf field
may come last whatever its number. Equal responses get the same bytes object while it is in the
cache, which forgets the oldest first; and so do equal nonces, of which a fleet has a few.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from aeraki_xds.xds.field import LENGTH
from aeraki_xds.xds.message import Response
from aeraki_xds.xds.resource import Name, Resource, TypeUrl
from aeraki_xds.xds.session import NONCE_WIDTH, Dialect
from aeraki_xds.xds.wire.envelope import delta_body, sotw_body

_NONCE_HEAD: Final = bytes((5 << 3 | LENGTH, NONCE_WIDTH))
"""Field 5 of DiscoveryResponse and of DeltaDiscoveryResponse."""

_NONCE_SIZE: Final = len(_NONCE_HEAD) + NONCE_WIDTH

_LARGEST: Final = 32 << 20
"""Bytes of bodies to remember."""

_Key = tuple[Dialect, TypeUrl, str, tuple[Resource, ...], tuple[Name, ...]]


@lru_cache(maxsize=1 << 12)
def nonce_tail(nonce: str) -> bytes:
    """The nonce field, to come behind a body. Nonces are of one width."""
    assert len(nonce) == NONCE_WIDTH
    return _NONCE_HEAD + nonce.encode("ascii")


class Bodies:
    """A cache by content: resources are compared by identity, for equal ones are shared.
    `encoded` is how many were not in it.
    """

    def __init__(self, *, largest: int = _LARGEST) -> None:
        self.encoded = 0
        self._largest = largest
        self._size = 0
        self._known: dict[_Key, bytes] = {}
        self._last_key: _Key | None = None
        self._last = b""

    def of(self, dialect: Dialect, response: Response) -> bytes:
        """gRPC prefix and body; the message is complete with `nonce_tail` of the same nonce."""
        type_url, version, _, resources, removed = response
        key = (dialect, type_url, version, resources, removed)
        if key == self._last_key:  # a change for a fleet is one response again and again
            return self._last
        self._last = made = self._made(key, response)
        self._last_key = key
        return made

    def _made(self, key: _Key, response: Response) -> bytes:
        dialect, *_ = key
        known = self._known.get(key)
        if known is not None:
            return known
        self.encoded += 1
        body = sotw_body(response) if dialect is Dialect.SOTW else delta_body(response)
        made = self._known[key] = (len(body) + _NONCE_SIZE).to_bytes(5, "big") + body
        self._size += len(made)
        while self._size > self._largest and len(self._known) > 1:
            oldest = next(iter(self._known))
            self._size -= len(self._known.pop(oldest))
        return made
