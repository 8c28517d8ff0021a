"""What every recording must keep, each rule with the protocol statement that it comes from.

Sources: the xDS protocol ("xDS REST and gRPC protocol" of Envoy's documentation) and what Envoy,
gRPC and MetaProtocol Proxy were seen to need.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tests.recording.recording import StreamRecord, transcript


class Rule(Enum):
    """What may be violated."""

    NODE = "the first request of a stream names its node"
    OUR_NONCE = "a request's nonce is one that this stream was sent for that type"
    NONCE = "a nonce is not empty and comes once on a stream"
    TYPE = "a response is of a type that was asked for, and so are its resources"
    DECODES = "a resource is of its type and bears the name that it is sent by"
    UNIQUE = "a name occurs once in a response"
    SUBSCRIBED = "only what is asked for is sent, but for the endpoints of a new cluster"
    VERSION = "a version is not empty; the same content has the same, other content another"
    SILENCE = "nothing is sent again unless it changed, is asked for or its cluster changed"
    PARKED = "what was refused is not sent again until it changed"
    SPARED = "what a reconnecting client has at this version is not sent again"
    NEVER_EMPTY = "a full state does not become empty"
    REMOVED = "removed is only what a client has or asks for, once"
    KEEPS_ROUTES = "HTTP routes are never removed: MetaProtocol Proxy drops the whole response"
    DISJOINT = "no name is sent and removed in one response"
    ENDPOINTS_FOLLOW = "the endpoints of a new or changed cluster follow it, unasked"
    MAKE_FIRST = "a cluster comes before what sends to it"
    BREAK_LAST = "a cluster goes after what sent to it"
    ANSWERED = "what is asked for by name is answered"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule, and the entry of a stream that breaks it."""

    rule: Rule
    stream: StreamRecord
    index: int
    what: str

    def __str__(self) -> str:
        head = f"{self.rule.name}: {self.rule.value}\n{self.what}"
        return f"{head}\n{transcript(self.stream, around=self.index)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a recording cannot show: that something is really gone or was never there.

    `absent` are (type, name) of which no resource exists, so no answer can come; `emptied` are
    types of which a client may be told that nothing is left. `worlds` is how many histories are
    followed at once: of more, those in which the server is furthest behind are given up.
    `there_and_back`: content may change and change back while a request is under way, so a name
    that comes with its version may rightly be answered with that version.
    """

    absent: frozenset[tuple[str, str]] = frozenset()
    emptied: frozenset[str] = frozenset()
    worlds: int = 64
    there_and_back: bool = False


Fault = tuple[Rule, str]
"""A violation before it is known where."""
