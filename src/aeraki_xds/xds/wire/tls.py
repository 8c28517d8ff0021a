"""Mutual TLS from files that are replaced while we serve, and what a peer's certificate means.

In: the paths of our certificate, its key and the mesh's roots; certificates of verified peers. Out:
a context to serve with; peers with an identity and its end. Guaranteed: the next handshake after
any of the files has changed is made with all of them as they are now, if they can be used together,
and else with the last ones that could; connections that are there go on. No key and no part of one
is logged.

Every handshake reads the files, some forty microseconds of a handshake of a thousand: times of
change are too coarse to tell two writes apart, and Kubernetes, Istio and people replace files in
different ways. A context cannot forget a root, so each change makes a new one. `asyncio` and uvloop
both take one context for good, and ask it for an object at each handshake (`wrap_bio`): there ours
hands over to the newest. A callback for SNI would not be called by a client that sends none.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.admission import Peer
from aeraki_xds.xds.identity import IdentityError, expiry_of, identity_of

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2, which Envoy speaks as a client unless told otherwise: forward secret and AEAD."""

_LOOK: Final = 60.0
"""Seconds between two looks at the wall clock, which may be set while a timer runs."""

_ENDED: Final = "the client's certificate has ended: connect again with a new one"

Certificate = Mapping[str, object]
"""As `getpeercert()` has it; empty if the peer has none or it was not verified."""


class UnusableFilesError(Exception):
    """Certificate, key and roots that one cannot serve with; the message names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What the files hold. The key is there to be compared, and never shown."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    roots: bytes = field(repr=False)


class ServerTls:
    """Serves with the files as they are. Raises UnusableFilesError if they are unusable now."""

    def __init__(self, *, certificate: Path, key: Path, roots: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._roots = roots
        self._log = structlog.get_logger("aeraki_xds.tls")
        self._seen = self._read()
        self._newest = self._load(self._seen)
        self._complaint = ""
        self.context: ssl.SSLContext = _Delegating(self.newest)

    def newest(self) -> ssl.SSLContext:
        """The context for the next handshake. What is wrong with new files is said once."""
        try:
            self._refresh()
        except UnusableFilesError as failure:
            complaint = str(failure)
            if complaint != self._complaint:
                self._complaint = complaint
                self._log.warning(
                    "new certificates cannot be used, the last good ones are", error=complaint
                )
        return self._newest

    def _refresh(self) -> None:
        """Load the files if they have changed. Raises UnusableFilesError: always if they cannot be
        read, once if they cannot be used.
        """
        seen = self._read()
        self._complaint = ""
        if seen == self._seen:
            return
        self._seen = seen
        self._newest = self._load(seen)
        self._log.info("certificates loaded", certificate=str(self._certificate))

    def _read(self) -> _Contents:
        return _Contents(
            certificate=_bytes_of(self._certificate),
            key=_bytes_of(self._key),
            roots=_bytes_of(self._roots),
        )

    def _load(self, contents: _Contents) -> ssl.SSLContext:
        context = _empty_context()
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as failure:  # of OpenSSL too: ssl.SSLError is an OSError
            message = f"{self._certificate} and {self._key} cannot be used: {_reason(failure)}"
            raise UnusableFilesError(message) from failure
        try:
            # Comments in a bundle may be in any language; Python wants ASCII.
            context.load_verify_locations(cadata=contents.roots.decode("ascii", errors="ignore"))
        except (OSError, ValueError) as failure:
            message = f"{self._roots} cannot be used: {_reason(failure)}"
            raise UnusableFilesError(message) from failure
        return context


class _Delegating(ssl.SSLContext):
    """What the loop is given: each handshake is made by the context that is newest then."""

    def __new__(cls, newest: Callable[[], ssl.SSLContext]) -> _Delegating:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, newest: Callable[[], ssl.SSLContext]) -> None:
        self._of_next = newest

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a handshake."""
        return self._of_next().wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def peer_of(
    certificate: Certificate | None, *, address: str, clock: Callable[[], float] = time.time
) -> Peer:
    """The other end of a connection; `certificate` is None in plaintext. Raises GRPCError if the
    certificate does not say who its holder is, or has ended.
    """
    if certificate is None:
        return Peer(address=address)
    try:
        identity, expires_at = identity_of(certificate), expiry_of(certificate)
    except IdentityError as failure:
        raise GRPCError(Status.PERMISSION_DENIED, str(failure)) from failure
    peer = Peer(address=address, identity=identity, expires_at=expires_at)
    _has_not_ended(peer, clock)
    return peer


def _has_not_ended(peer: Peer, clock: Callable[[], float]) -> None:
    if peer.expires_at is not None and peer.expires_at <= clock():
        raise GRPCError(Status.UNAUTHENTICATED, _ENDED)


def address_of(name: object) -> str:
    """A socket's name for its other end, as people write it."""
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name or "unix")


class OtherEnd:
    """Who is at the other end of a connection, for each stream of it. The certificate is read once:
    that takes some 50 µs, and its streams can share what it says.
    """

    __slots__ = ("_clock", "_peer", "_transport")

    def __init__(
        self, transport: asyncio.BaseTransport, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._peer: Peer | None = None

    def peer(self) -> Peer:
        """As `peer_of` has it, now. Raises GRPCError."""
        if self._peer is None:
            address = address_of(self._transport.get_extra_info("peername"))
            certificate = self._transport.get_extra_info("peercert")
            self._peer = peer_of(certificate, address=address, clock=self._clock)
        _has_not_ended(self._peer, self._clock)
        return self._peer


class Expiry:
    """Ends a connection at its peer certificate's notAfter, by the wall clock; `end` is told why.

    TLS looks at a certificate once, and not even that when a session of TLS 1.2 is resumed, which
    Python cannot forbid and Envoy does.
    """

    def __init__(
        self,
        transport: asyncio.BaseTransport,
        end: Callable[[str], object],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._end = end
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        certificate: Certificate | None = transport.get_extra_info("peercert")
        if certificate is not None:
            try:
                self._at = expiry_of(certificate)
            except IdentityError:
                return  # `peer_of` refuses each stream
            self._look_at(0.0)

    def cancel(self) -> None:
        """The connection is gone. It is not referred to any more."""
        self._end = _ignore
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        left = self._at - self._clock()
        if left <= 0:
            self._end(_ENDED)
        else:
            self._look_at(min(left, _LOOK))

    def _look_at(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)


def _ignore(_reason: str) -> None:
    pass


def _empty_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # A file of roots says whom to trust; an intermediate in it needs nobody above it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    context.set_ciphers(_CIPHERS)
    # No tickets: proxies connect for hours, and each ticket would outlive what was verified.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    return context


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failure:
        message = f"{path} cannot be read: {failure.strerror or failure}"
        raise UnusableFilesError(message) from failure


def _no_password() -> str:
    """Without it OpenSSL would ask for one on the terminal, and wait."""
    message = "the key is encrypted"
    raise ValueError(message)


def _reason(failure: Exception) -> str:
    if isinstance(failure, ssl.SSLError) and failure.reason:
        return failure.reason.replace("_", " ").lower()
    return str(failure)
