"""gRPC messages out of DATA payloads, however they are cut."""

from __future__ import annotations

from grpclib.exceptions import GRPCError
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds.wire.counts import Counts
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


def framed(*messages: bytes) -> bytes:
    return b"".join(len(each).to_bytes(5, "big") + each for each in messages)


def account() -> Account:
    return Quotas(limits=Limits(), counts=Counts()).of("peer")


def made() -> tuple[Inbox, Heard, list[int]]:
    given_back: list[int] = []
    return Inbox(given_back.append, account=account()), Heard(), given_back


@given(
    messages=st.lists(st.binary(max_size=50), max_size=6),
    cuts=st.lists(st.integers(1, 20), max_size=30),
    late=st.booleans(),
)
def test_messages_do_not_depend_on_how_they_are_cut(
    messages: list[bytes], cuts: list[int], late: bool
) -> None:
    inbox, heard, given_back = made()
    if not late:
        inbox.read_by(heard)
    data = framed(*messages)
    total = len(data)
    for size in cuts:
        inbox.feed(data[:size])
        data = data[size:]
    inbox.add(data, len(data) + 3)
    inbox.eof()
    if late:
        inbox.read_by(heard)
    assert heard.messages == messages
    assert heard.ends == ["OK"]
    assert given_back == [len(data) + 3], "what h2 parsed is given back with its padding"
    assert inbox.unacked_size() == 0
    assert total == len(framed(*messages))


def test_a_message_that_is_too_large_is_refused_before_it_has_come() -> None:
    inbox, heard, _ = made()
    inbox.read_by(heard)
    inbox.feed(framed(b"first") + (LARGEST_MESSAGE + 1).to_bytes(5, "big"))
    inbox.feed(framed(b"what follows"))
    inbox.eof()
    assert heard.messages == [b"first"]
    (end,) = heard.ends
    assert end == "RESOURCE_EXHAUSTED: a request of 33554433 bytes: 33554432 is the most"


def test_the_largest_message_passes() -> None:
    inbox, heard, _ = made()
    inbox.read_by(heard)
    message = b"x" * LARGEST_MESSAGE
    inbox.feed(framed(message)[:1000])
    inbox.feed(framed(message)[1000:])
    assert [len(each) for each in heard.messages] == [LARGEST_MESSAGE]


def test_a_compressed_message_is_refused() -> None:
    inbox, heard, _ = made()
    inbox.read_by(heard)
    inbox.feed(b"\1\0\0\0\3zip")
    assert heard.messages == []
    assert heard.ends == ["UNIMPLEMENTED: compressed messages are not supported"]


def test_a_stream_that_ends_in_the_midst_of_a_message_ends_with_an_error() -> None:
    inbox, heard, _ = made()
    inbox.read_by(heard)
    inbox.feed(framed(b"whole", b"cut off")[:-1])
    inbox.eof()
    assert heard.messages == [b"whole"]
    assert heard.ends == ["INVALID_ARGUMENT: the last request is cut off"]


def test_a_failure_that_came_before_the_reader_is_told_to_it() -> None:
    inbox, heard, _ = made()
    inbox.feed(framed(b"ask") + b"\1\0\0\0\3zip")
    inbox.read_by(heard)
    assert heard.messages == [b"ask"]
    assert heard.ends == ["UNIMPLEMENTED: compressed messages are not supported"]


def test_who_does_not_read_yet_need_not_be_told_that_it_may_write() -> None:
    inbox, heard, _ = made()
    inbox.resume()
    inbox.read_by(heard)
    inbox.resume()
    assert heard.ends == ["resumed"]


def test_what_is_held_is_on_the_account_for_as_long_as_it_is_held() -> None:
    inbox, heard, _ = made()
    held = inbox.account.taken
    inbox.feed(framed(b"waits"))
    inbox.feed(framed(b"comes by the piece")[:9])
    assert held[Taken.BYTES] == len(b"waits") + 9
    inbox.read_by(heard)
    assert held[Taken.BYTES] == 9
    inbox.feed(framed(b"comes by the piece")[9:] + framed(b"cut")[:2])
    assert heard.messages == [b"waits", b"comes by the piece"]
    assert held[Taken.BYTES] == 2
    inbox.eof()
    assert held[Taken.BYTES] == 0
    inbox.close()
    assert held[Taken.BYTES] == 0
