"""Client status (CSDS): what each connected node was sent and what it said to it.

In: the hub's streams. Out: a ClientConfig for each node id, with a GenericXdsConfig for each
resource that it holds or asks for. Guaranteed: only who is allowed is answered; bodies are never
given, of secrets or of anything else, as if `exclude_resource_contents` were set always, and of
the node only its id and cluster; an answer is bounded, and the loop gets a turn after each node.

`config_status` of a resource: SYNCED when the client holds what we sent, STALE while its answer is
due, NOT_SENT when it asked and there is nothing to send yet, ERROR when it refused what is in
force; then `error_state` says which version and, of the newest refusal of that type, why. Of
several streams of one node the worst is shown, for a good stream must not hide a bad one.
`version_info` is the resource's own version, in both dialects. What no server knows is left out.
Source: envoy/service/status/v3/csds.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Final

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from aeraki_xds.xds.delta import DeltaWatch
from aeraki_xds.xds.field import LENGTH, length_delimited, scan, text, to_text
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.resource import Name, TypeUrl, version_of
from aeraki_xds.xds.sotw import SotwWatch
from aeraki_xds.xds.stream import Stream
from aeraki_xds.xds.wire.calls import Allowed, Call, integer, rpc
from aeraki_xds.xds.wire.inbox import LARGEST_MESSAGE

CLIENT_STATUS: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"

MOST_MATCHERS: Final = 1000
LONGEST_DETAILS: Final = 1024
"""Bytes of a client's error that are repeated."""

_PATTERNS: Final[dict[int, Callable[[str, str], bool]]] = {
    1: str.__eq__,
    2: str.startswith,
    3: str.endswith,
    7: str.__contains__,
}
_UNSUPPORTED: Final = {4: "regex", 5: "safe_regex", 6: "ignore_case", 8: "custom"}
"""Fields of a StringMatcher."""

Matcher = Callable[[str], bool]


class ConfigStatus(IntEnum):
    """`envoy.service.status.v3.ConfigStatus`; what is worse is greater."""

    SYNCED = 1
    NOT_SENT = 2
    STALE = 3
    ERROR = 4


class ClientStatus:
    """The service. `largest` bounds an answer, in bytes."""

    def __init__(self, *, hub: Hub, allowed: Allowed, largest: int = LARGEST_MESSAGE) -> None:
        self._hub = hub
        self._allowed = allowed
        self._largest = largest

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/{CLIENT_STATUS}/StreamClientStatus": rpc(
                self._stream, Cardinality.STREAM_STREAM, allowed=self._allowed
            ),
            f"/{CLIENT_STATUS}/FetchClientStatus": rpc(
                self._fetch, Cardinality.UNARY_UNARY, allowed=self._allowed
            ),
        }

    async def _stream(self, call: Call) -> None:
        async for request in call.requests():
            await call.answer(await self._respond(request))

    async def _fetch(self, call: Call) -> None:
        await call.answer(await self._respond(await call.request()))

    async def _respond(self, request: bytes) -> bytes:
        """A ClientStatusResponse."""
        matchers = _matchers(request)
        nodes: dict[str, list[Stream]] = {}
        for stream in self._hub.streams:
            nodes.setdefault(stream.node.id, []).append(stream)
        room = _Room(self._largest)
        configs: list[bytes] = []
        for node_id, streams in nodes.items():
            if not matchers or any(matches(node_id) for matches in matchers):
                configs.append(length_delimited(1, _client_config(streams, room)))
            await asyncio.sleep(0)
        return b"".join(configs)


class _Room:
    """What may still be said in an answer."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, said: bytes) -> None:
        self._left -= len(said)
        if self._left < 0:
            message = "there is too much to say in one answer: ask with node_matchers"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, message)


def _client_config(streams: list[Stream], room: _Room) -> bytes:
    """A ClientConfig: node 1, generic_xds_configs 3. `streams` are one node's, oldest first."""
    newest = streams[-1].node
    node = length_delimited(1, text(1, newest.id) + text(2, newest.cluster))
    room.take(node)
    worst: dict[tuple[TypeUrl, Name], tuple[ConfigStatus, bytes]] = {}
    for stream in streams:
        for watch in stream.session.watches.values():
            error = stream.status_of(watch.type_url).last_error
            for name, status, version in _statuses(watch):
                before = worst.get((watch.type_url, name))
                if before is not None and before[0] > status:
                    continue
                config = _generic_config(watch, name, status, version, error)
                room.take(config)
                worst[watch.type_url, name] = status, config
    return node + b"".join(config for _, (_, config) in sorted(worst.items()))


def _statuses(watch: SotwWatch | DeltaWatch) -> Iterator[tuple[Name, ConfigStatus, str]]:
    """Each resource that a stream holds or asks for, how it is, and the version last sent."""
    for name, held in watch.sent.items():
        version = held if isinstance(held, str) else held.version
        if name in watch.parked:
            yield name, ConfigStatus.ERROR, version
        elif _is_answer_due(watch, name):
            yield name, ConfigStatus.STALE, version
        else:
            yield name, ConfigStatus.SYNCED, version
    for name in watch.subscription.names:
        if name not in watch.sent:
            refused = name in watch.parked
            yield name, ConfigStatus.ERROR if refused else ConfigStatus.NOT_SENT, ""


def _is_answer_due(watch: SotwWatch | DeltaWatch, name: Name) -> bool:
    """Whether the newest response is unanswered and about that resource: in a full state only what
    the client has not accepted before.
    """
    in_flight = watch._in_flight
    if in_flight is None or name not in in_flight:
        return False
    if isinstance(watch, DeltaWatch):
        return True
    accepted = watch.acked.get(name)
    return accepted is None or accepted.digest != watch.sent[name].digest


def _generic_config(
    watch: SotwWatch | DeltaWatch, name: Name, status: ConfigStatus, version: str, error: str
) -> bytes:
    """A GenericXdsConfig as a field of its ClientConfig: type_url 1, name 2, version_info 3,
    config_status 6, error_state 8 (an UpdateFailureState: details 3, version_info 4).
    """
    config = text(1, watch.type_url) + text(2, name) + text(3, version) + integer(6, status)
    if status is ConfigStatus.ERROR:
        refused = watch.parked[name]
        refused_version = refused if isinstance(refused, str) else version_of(refused)
        config += length_delimited(8, text(3, _bounded(error)) + text(4, refused_version))
    return length_delimited(3, config)


def _bounded(error: str) -> str:
    return error.encode()[:LONGEST_DETAILS].decode(errors="ignore")


# --- who is meant -------------------------------------------------------------------------------


def _matchers(request: bytes) -> list[Matcher]:
    """The node_matchers (1) of a ClientStatusRequest, any of which is enough. Raises GRPCError for
    what we cannot match by, MalformedError.
    """
    raw = [value for number, kind, value in scan(request) if (number, kind) == (1, LENGTH)]
    if len(raw) > MOST_MATCHERS:
        raise _invalid("node_matchers", f"has {len(raw)} entries: {MOST_MATCHERS} are the most")
    return [_node_matcher(value, f"node_matchers[{at}]") for at, value in enumerate(raw)]


def _node_matcher(matcher: memoryview, field: str) -> Matcher:
    """A NodeMatcher: node_id 1, node_metadatas 2."""
    node_id: memoryview | None = None
    for number, wire_type, value in scan(matcher):
        if number != 1 or wire_type != LENGTH:
            raise _invalid(f"{field}.node_metadatas", "is not supported")
        node_id = value
    if node_id is None:
        raise _invalid(f"{field}.node_id", "is needed")
    return _string_matcher(scan(node_id), f"{field}.node_id")


def _string_matcher(fields: Iterable[tuple[int, int, memoryview]], field: str) -> Matcher:
    matches: Matcher | None = None
    for number, wire_type, value in fields:
        pattern = _PATTERNS.get(number)
        if pattern is None or wire_type != LENGTH:
            unsupported = _UNSUPPORTED.get(number, f"field {number}")
            raise _invalid(f"{field}.{unsupported}", "is not supported")
        matches = _by(pattern, to_text(value))
    if matches is None:
        raise _invalid(field, "has no pattern")
    return matches


def _by(pattern: Callable[[str, str], bool], wanted: str) -> Matcher:
    return lambda node_id: pattern(node_id, wanted)


def _invalid(field: str, what: str) -> GRPCError:
    return GRPCError(Status.INVALID_ARGUMENT, f"{field} {what}")
