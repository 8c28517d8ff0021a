"""Recognises a plain ACK by its bytes, without decoding it.

In: requests, and what the slow path made of earlier ones. Out: the type and nonce of a request that
says nothing but "accepted". Guaranteed: a request is recognised only if decoding it would give the
subscription that the type has already, no error, and this nonce; whatever looks otherwise is
decoded. Nine requests in ten are such ACKs, and each repeats the whole list of names.

An ACK of one of our responses has fixed places, as our versions and nonces have fixed widths, and
every serializer writes fields in the order of their numbers:

    SotW   version_info (1) · node (2), maybe · resource_names (3) and type_url (4) · nonce (5)
    delta  node (1), maybe · type_url (2) · nonce (6)

What lies between node and nonce is compared with our own encoding of the type's last request. One
without a node is known in full as soon as the response is written, and expected (`expected`).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from aeraki_xds.xds.field import LENGTH, MalformedError, length_delimited, read_varint, text
from aeraki_xds.xds.message import Request, SotwRequest
from aeraki_xds.xds.resource import VERSION_WIDTH, TypeUrl
from aeraki_xds.xds.session import NONCE_WIDTH, Dialect
from aeraki_xds.xds.wire.expected import Answer, Line, Shape

_NONCE_SIZE: Final = 2 + NONCE_WIDTH
_VERSION_SIZE: Final = 2 + VERSION_WIDTH
_VERSION_HEAD: Final = bytes((1 << 3 | LENGTH, VERSION_WIDTH))
_KEPT: Final = 256
"""Bytes of names and type that are kept as they are; of more a digest is."""


class Acks:
    """What an ACK of each type of one stream looks like. `line` is where it is expected."""

    __slots__ = ("_answers", "_line", "_node_tag", "_nonce_head", "_prefix", "_types")

    def __init__(self, dialect: Dialect, line: Line | None = None) -> None:
        sotw = dialect is Dialect.SOTW
        self._prefix = _VERSION_SIZE if sotw else 0
        self._node_tag = (2 if sotw else 1) << 3 | LENGTH
        self._nonce_head = bytes(((5 if sotw else 6) << 3 | LENGTH, NONCE_WIDTH))
        self._types: dict[bytes, TypeUrl] = {}
        self._line = line
        self._answers: list[Answer] = []

    def learn(self, written_type: str, request: Request) -> None:
        """The type's subscription is now what `request` says; `written_type` is its type_url as
        the client wrote it, which may leave it out where the service implies it.
        """
        for known, type_url in self._types.items():
            if type_url == request.type_url:
                del self._types[known]
                break
        if isinstance(request, SotwRequest):
            names = (length_delimited(3, name.encode()) for name in request.names)
            middle = b"".join(names) + text(4, written_type)
        else:
            middle = text(2, written_type)
        self._types[_brief(middle)] = request.type_url
        self._expect_such(request.type_url, middle)

    def _expect_such(self, type_url: TypeUrl, middle: bytes) -> None:
        """Know what will answer the responses to come."""
        for answer in self._answers:
            if answer.type_url == type_url:
                answer.forget()
                self._answers.remove(answer)
                break
        if self._line is not None and len(middle) <= _KEPT:
            shape = _shape(self._line.stream_id, middle + self._nonce_head, self._prefix > 0)
            self._answers.append(Answer(self._line, type_url, shape))

    def expect(self, type_url: TypeUrl, version: str, nonce: str) -> None:
        """A response was written: its ACK may come."""
        for answer in self._answers:
            if answer.type_url == type_url:
                answer.expect(version, nonce)

    def close(self) -> None:
        """Expect nothing more, and let go of the line."""
        for answer in self._answers:
            answer.forget()
        self._answers.clear()
        self._line = None

    def read(self, data: bytes) -> tuple[TypeUrl, str] | None:
        """The type and nonce that a plain ACK accepts; None for every other request."""
        start, stop = self._prefix, len(data) - _NONCE_SIZE
        if stop < start or data[stop : stop + 2] != self._nonce_head:
            return None
        if start and not (data.startswith(_VERSION_HEAD) and data[2:start].isascii()):
            return None
        if start < stop and data[start] == self._node_tag:
            try:
                size, start = read_varint(data, start + 1)
            except MalformedError:
                return None
            start += size
            if start > stop:
                return None
        nonce = data[stop + 2 :]
        type_url = self._types.get(_brief(data[start:stop]))
        if type_url is None or not nonce.isascii():
            return None
        return type_url, nonce.decode("ascii")


@lru_cache(maxsize=1 << 10)
def _shape(stream_id: int, tail: bytes, sotw: bool) -> Shape:
    if sotw:
        return Shape(stream_id, _VERSION_HEAD, tail, version=VERSION_WIDTH, nonce=NONCE_WIDTH)
    return Shape(stream_id, b"", tail, version=0, nonce=NONCE_WIDTH)


def _brief(middle: bytes) -> bytes:
    """No encoded field starts with a zero byte, so a digest is never taken for one."""
    if len(middle) <= _KEPT:
        return middle
    return b"\0" + blake2b(middle, digest_size=16).digest()
