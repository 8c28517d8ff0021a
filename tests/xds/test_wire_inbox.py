"""gRPC messages out of DATA payloads, however they are cut."""

from __future__ import annotations

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds.resource import TypeUrl
from aeraki_xds.xds.wire.counts import Counts
from aeraki_xds.xds.wire.expected import Line
from aeraki_xds.xds.wire.inbox import LARGEST_MESSAGE, Inbox
from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.quotas import Account, Quotas, Taken


class Heard:
    """A reader."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ends: list[str] = []

    def receive(self, message: bytes) -> None:
        self.messages.append(message)

    def finish(self, failure: GRPCError | None) -> None:
        self.ends.append(f"{failure.status.name}: {failure.message}" if failure else "OK")

    def resume(self) -> None:
        self.ends.append("resumed")

    def close(self) -> None:
        self.ends.append("closed")

    def listen(self, line: Line | None) -> None:
        pass

    def accepts(self, type_url: TypeUrl, nonce: str) -> bool:
        return False


def framed(*messages: bytes) -> bytes:
    return b"".join(len(each).to_bytes(5, "big") + each for each in messages)


def account() -> Account:
    return Quotas(limits=Limits(), counts=Counts()).of("peer")


def made() -> tuple[Inbox, Heard, Account]:
    heard, of = Heard(), account()
    return Inbox(heard, account=of), heard, of


@given(
    messages=st.lists(st.binary(max_size=50), max_size=6),
    cuts=st.lists(st.integers(1, 20), max_size=30),
)
def test_messages_do_not_depend_on_how_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    inbox, heard, of = made()
    data = framed(*messages)
    for size in cuts:
        inbox.feed(data[:size])
        data = data[size:]
    inbox.feed(data)
    inbox.eof()
    assert heard.messages == messages
    assert heard.ends == ["OK"]
    assert of.taken[Taken.BYTES] == 0


def test_a_message_that_is_too_large_is_refused_before_it_has_come() -> None:
    inbox, heard, _ = made()
    inbox.feed(framed(b"first") + (LARGEST_MESSAGE + 1).to_bytes(5, "big"))
    inbox.feed(framed(b"what follows"))
    inbox.eof()
    assert heard.messages == [b"first"]
    (end,) = heard.ends
    assert end == "RESOURCE_EXHAUSTED: a request of 33554433 bytes: 33554432 is the most"


def test_the_largest_message_passes() -> None:
    inbox, heard, _ = made()
    message = b"x" * LARGEST_MESSAGE
    inbox.feed(framed(message)[:1000])
    inbox.feed(framed(message)[1000:])
    assert [len(each) for each in heard.messages] == [LARGEST_MESSAGE]


def test_a_compressed_message_is_refused() -> None:
    inbox, heard, _ = made()
    inbox.feed(b"\1\0\0\0\3zip")
    assert heard.messages == []
    assert heard.ends == ["UNIMPLEMENTED: compressed messages are not supported"]


def test_a_stream_that_ends_in_the_midst_of_a_message_ends_with_an_error() -> None:
    inbox, heard, _ = made()
    inbox.feed(framed(b"whole", b"cut off")[:-1])
    inbox.eof()
    assert heard.messages == [b"whole"]
    assert heard.ends == ["INVALID_ARGUMENT: the last request is cut off"]


def test_a_stream_is_refused_once() -> None:
    inbox, heard, _ = made()
    for message in ("first", "second"):
        inbox.refuse(GRPCError(Status.UNAVAILABLE, message))
    inbox.eof()
    assert heard.ends == ["UNAVAILABLE: first"]


def test_what_is_held_is_on_the_account_for_as_long_as_it_is_held() -> None:
    inbox, heard, of = made()
    inbox.feed(framed(b"whole"))
    assert of.taken[Taken.BYTES] == 0
    inbox.feed(framed(b"comes by the piece")[:9])
    assert of.taken[Taken.BYTES] == 9
    inbox.feed(framed(b"comes by the piece")[9:] + framed(b"cut")[:2])
    assert heard.messages == [b"whole", b"comes by the piece"]
    assert of.taken[Taken.BYTES] == 2
    inbox.close()
    assert of.taken[Taken.BYTES] == 0
    assert heard.ends == ["closed"]
