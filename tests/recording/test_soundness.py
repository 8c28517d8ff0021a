"""No false alarm: sessions of the real server, however what is said crosses, are without fault.

Between a client and its session everything may be late: a request that was recorded and not read
yet, a response that was written and not recorded yet, or not read by the client. The checker sees
only the recording. What it must not know is what the server had read.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import pytest
from google.protobuf import any_pb2
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aeraki_xds.xds.admission import Node
from aeraki_xds.xds.hub import Hub
from aeraki_xds.xds.message import DeltaRequest, Request, Response, SotwRequest
from aeraki_xds.xds.resource import Name, Resource, ResourceId, TypeUrl
from aeraki_xds.xds.session import Dialect
from tests.recording.checker import check, unanswered
from tests.recording.kinds import CLUSTER, ENDPOINTS, FULL_STATE, HTTP_ROUTES, LISTENER
from tests.recording.kit import ADS, cluster, endpoints, listener, routes
from tests.recording.recording import Asked, Item, Recording, Told
from tests.recording.rules import Expectation
from tests.xds.dialogue import GLOBAL, PEER

NAMES: Final = ("n1", "n2", "n3")
PHASES: Final = tuple(phase for phase in Phase if phase is not Phase.shrink)
"""A case that fails is short enough; to make it shorter would take minutes."""

BAD: Final = 13
"""The content that clients refuse."""

MOVES: Final = ("server reads", "server writes", "relay records", "client reads")
TYPES: Final = (CLUSTER, LISTENER, HTTP_ROUTES)
OPEN: Final = Expectation(emptied=FULL_STATE, worlds=2000, there_and_back=True)


def made(type_url: str, name: str, content: int) -> Resource:
    """A resource that the official classes read, as the hub serves it."""
    needs: tuple[ResourceId, ...] = ()
    if type_url == CLUSTER:
        item = cluster(name, content, eds=True)
        needs = (ResourceId(TypeUrl(ENDPOINTS), Name(name)),)
    elif type_url == ENDPOINTS:
        item = endpoints(name, content)
    elif type_url == LISTENER:
        item = listener(name, prefix=str(content))
    else:
        item = routes(name, to=f"elsewhere-{content}")
    return Resource.of(TypeUrl(type_url), Name(name), item.body, needs)


def told(response: Response, *, delta: bool) -> Told:
    items = []
    for each in response.resources:
        packed = any_pb2.Any.FromString(each.packed)
        version = each.version if delta else ""
        items.append(
            Item(type_url=packed.type_url, body=packed.value, name=each.name, version=version)
        )
    return Told(
        type_url=response.type_url,
        nonce=response.nonce,
        version=response.version,
        items=tuple(items),
        removed=response.removed,
    )


class Wire:
    """One stream: the hub's end, the recording in the middle, and what is under way."""

    def __init__(self, hub: Hub, recording: Recording, dialect: Dialect) -> None:
        self.hub = hub
        self.delta = dialect is Dialect.DELTA
        self.end = hub.open(
            node=Node(id="n"), peer=PEER, scopes=(GLOBAL,), dialect=dialect, wake=lambda: None
        )
        word = "Delta" if self.delta else "Stream"
        self.record = recording.stream(1, f"{ADS}{word}AggregatedResources")
        self.requests: deque[Request] = deque()
        self.written: deque[Told] = deque()
        self.arrived: deque[Told] = deque()

    def says(self, asked: Asked) -> None:
        """The client sends: the relay records at once, the server reads later."""
        self.record.entries.append(asked)
        type_url = TypeUrl(asked.type_url)
        if self.delta:
            self.requests.append(
                DeltaRequest(
                    type_url=type_url,
                    subscribe=tuple(map(Name, asked.subscribe)),
                    unsubscribe=tuple(map(Name, asked.unsubscribe)),
                    initial_versions={Name(n): version for n, version in asked.initial.items()},
                    nonce=asked.nonce,
                    error=asked.error,
                )
            )
            return
        names = tuple(map(Name, asked.names))
        self.requests.append(
            SotwRequest(type_url=type_url, names=names, nonce=asked.nonce, error=asked.error)
        )

    def server_reads(self) -> bool:
        if self.requests:
            self.hub.receive(self.end, self.requests.popleft())
            return True
        return False

    def server_writes(self) -> bool:
        response = self.hub.next(self.end)
        if response is not None:
            self.written.append(told(response, delta=self.delta))
        return response is not None

    def relay_records(self) -> bool:
        if self.written:
            self.record.entries.append(self.written[0])
            self.arrived.append(self.written.popleft())
            return True
        return False


class Client:
    """Asks for the endpoints of its clusters, refuses what is bad, brings along what it holds."""

    def __init__(self, hub: Hub, recording: Recording, dialect: Dialect) -> None:
        self.hub = hub
        self.recording = recording
        self.dialect = dialect
        self.names: dict[str, set[str]] = {}
        self.held: dict[str, dict[str, str]] = {}
        self.connects()

    def connects(self) -> None:
        self.wire = Wire(self.hub, self.recording, self.dialect)
        self.nonces: dict[str, str] = {}
        before, self.names = self.names, {}
        for type_url, names in before.items():
            if names or type_url in FULL_STATE:
                self.asks(type_url, names, has=self.held.get(type_url, {}))

    def leaves(self) -> None:
        self.hub.close(self.wire.end)
        self.wire.record.closed("client")

    def asks(
        self,
        type_url: str,
        names: set[str],
        *,
        has: dict[str, str] | None = None,
        again: bool = False,
    ) -> None:
        """Subscribe to exactly these names; `again` names in delta also what was asked before."""
        before = self.names.get(type_url, set())
        self.names[type_url] = set(names)
        if self.wire.delta:
            adds = names if again else names - before
            asked = Asked(
                type_url=type_url,
                node="n",
                subscribe=tuple(sorted(adds)),
                unsubscribe=tuple(sorted(before - names)),
                initial=dict(has or {}),
            )
        else:
            nonce = self.nonces.get(type_url, "")
            asked = Asked(type_url=type_url, node="n", nonce=nonce, names=tuple(sorted(names)))
        self.wire.says(asked)

    def reads(self) -> bool:
        if not self.wire.arrived:
            return False
        response = self.wire.arrived.popleft()
        type_url = response.type_url
        self.nonces[type_url] = response.nonce
        held = self.held.setdefault(type_url, {})
        bad = {item.name for item in response.items if is_bad(item)}
        if not self.wire.delta and type_url in FULL_STATE and not bad:
            held.clear()
        held.update({item.name: item.version for item in response.items if item.name not in bad})
        for name in response.removed:
            held.pop(name, None)
        names = () if self.wire.delta else tuple(sorted(self.names.get(type_url, ())))
        error = f"refused: {', '.join(sorted(bad))}" if bad else None
        self.wire.says(
            Asked(type_url=type_url, node="n", nonce=response.nonce, names=names, error=error)
        )
        if type_url == CLUSTER and set(held) != self.names.get(ENDPOINTS, set()):
            self.asks(ENDPOINTS, set(held))
        return True


def is_bad(item: Item) -> bool:
    return any(
        item.body == made_item.body
        for made_item in (cluster(item.name, BAD, eds=True), listener(item.name, prefix=str(BAD)))
    )


publications = st.tuples(
    st.just("publish"),
    st.dictionaries(
        st.tuples(st.sampled_from((*TYPES, ENDPOINTS)), st.sampled_from(NAMES)),
        st.sampled_from((1, 2, BAD, None)),
        min_size=1,
        max_size=4,
    ),
)
subscriptions = st.tuples(
    st.sampled_from(("ask", "ask again")),
    st.tuples(st.sampled_from(TYPES), st.sets(st.sampled_from((*NAMES, "*")))),
)
moves = st.tuples(
    st.sampled_from((*MOVES, "all move")),
    st.integers(1, 3),
)
rare = st.tuples(st.just("reconnect"), st.none())
steps = st.lists(
    st.one_of(publications, subscriptions, moves, moves, moves, moves, rare),
    min_size=25,
    max_size=60,
)


class World:
    """A hub, a client, and what happens between them."""

    def __init__(self, dialect: Dialect) -> None:
        self.hub = Hub(clock=lambda: 0.0)
        self.present: dict[tuple[str, str], Resource] = {}
        self.publish({(type_url, name): 1 for type_url in (*TYPES, ENDPOINTS) for name in NAMES})
        self.recording = Recording()
        self.client = Client(self.hub, self.recording, dialect)
        self.client.asks(CLUSTER, set())

    def publish(self, contents: dict[tuple[str, str], int | None]) -> None:
        """Endpoints are always there, so that they can be due."""
        changes: dict[ResourceId, Resource | None] = {}
        for (type_url, name), content in contents.items():
            place = ResourceId(TypeUrl(type_url), Name(name))
            if content is None and type_url != ENDPOINTS:
                changes[place] = None
                self.present.pop((type_url, name), None)
            else:
                changes[place] = made(type_url, name, content or 3)
                self.present[type_url, name] = made(type_url, name, content or 3)
        self.hub.publish(GLOBAL, changes)

    def move(self, what: str) -> bool:
        wire = self.client.wire
        match what:
            case "server reads":
                return wire.server_reads()
            case "server writes":
                return wire.server_writes()
            case "relay records":
                return wire.relay_records()
            case "client reads":
                return self.client.reads()
        moved = [self.move(each) for each in MOVES for _ in range(3)]
        return any(moved)

    def settle(self) -> None:
        for _ in range(200):
            if not self.move("all move"):
                return
        message = "the conversation does not end"
        raise AssertionError(message)

    def absent(self) -> frozenset[tuple[str, str]]:
        """What no answer can be given for: in delta that is only said of routes."""
        types = (HTTP_ROUTES,) if self.client.wire.delta else TYPES
        places = {(type_url, name) for type_url in types for name in NAMES}
        return frozenset(places - set(self.present))


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=120, deadline=None, derandomize=True, phases=PHASES, print_blob=False)
@given(steps=steps)
def test_however_messages_cross_no_alarm_is_raised(
    dialect: Dialect, steps: list[tuple[str, object]]
) -> None:
    world = World(dialect)
    for what, argument in steps:
        match what, argument:
            case "publish", dict() as contents:
                world.publish(contents)
            case (("ask" | "ask again"), (str() as type_url, set() as names)):
                world.client.asks(type_url, set(names), again=what == "ask again")
            case "reconnect", _:
                world.client.leaves()
                world.client.connects()
            case _, int() as times:
                for _ in range(times):
                    world.move(what)
    assert check(world.recording, OPEN) == []
    world.settle()
    assert check(world.recording, OPEN) == []
    assert unanswered(world.recording, Expectation(absent=world.absent(), worlds=2000)) == []
