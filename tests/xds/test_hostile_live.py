"""A live port against conversations that go wrong somewhere: frames lost, doubled, moved, damaged.

Bytes at random seldom get past the first frame; these get far, for most of what they say is right.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aeraki_xds.bench import frames
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES
from tests.fuzz.targets import DELTA_ADS, SOTW_ADS, requests
from tests.xds.hostile import Hosts, among_friends
from tests.xds.test_wire_limits import Peer

NODE: Final = length_delimited(2, text(1, "attacker"))
_, *SAID = requests()

CONVERSATION: Final = (
    frames.greeting()[:24],
    *(frames.greeting()[at:to] for at, to in ((24, 39), (39, 52))),
    frames.frame(frames.SETTINGS, frames.ACK, 0, b""),
    frames.call(1, SOTW_ADS, "server"),
    frames.message(1, NODE + text(3, "r") + text(4, HTTP_ROUTES)),
    frames.call(3, DELTA_ADS, "server"),
    *(frames.message(3, each) for each in SAID[4:]),
    frames.frame(frames.PING, 0, 0, b"12345678"),
    *(frames.message(1, each) for each in SAID[:4]),
    frames.frame(frames.DATA, 0x8, 1, b"\3" + frames.message(1, SAID[1])[9:] + b"\0\0\0"),
    frames.opened(0, 1000),
    frames.opened(1, 1000),
    frames.frame(0x77, 0, 1, b"who knows"),
    frames.frame(frames.SETTINGS, 0, 0, b"\0\4\0\0\0\0\0\4\0\1\0\0"),
    frames.frame(frames.HEADERS, 0, 5, b"\x83\x86"),
    frames.frame(9, 0x4, 5, frames.call(5, SOTW_ADS, "server")[11:]),
    frames.message(5, NODE + text(4, CLUSTER)),
    frames.frame(frames.RST_STREAM, 0, 5, bytes(4)),
    frames.frame(frames.DATA, frames.END_STREAM, 3, b""),
)
"""Everything that a client may say, frame by frame: the preface is the first, then SETTINGS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What is done to one frame. `at` is a place in it, taken modulo."""

    frame: int
    how: str
    at: int
    byte: int

    def done_to(self, said: list[bytes]) -> None:
        """Change the conversation."""
        if not said:
            return
        index = self.frame % len(said)
        data = said[index]
        at = self.at % len(data) if data else 0
        match self.how:
            case "lost":
                del said[index]
            case "doubled":
                said.insert(index, data)
            case "moved":
                said.insert(at % len(said), said.pop(index))
            case "cut":
                said[index] = data[:at]
            case "flipped":
                said[index] = data[:at] + bytes((self.byte,)) + data[at + 1 :]
            case "grown":
                said[index] = data[:at] + bytes((self.byte,)) * 9 + data[at:]


damages = st.builds(
    Damage,
    frame=st.integers(0, 40),
    how=st.sampled_from(("lost", "doubled", "moved", "cut", "flipped", "grown")),
    at=st.integers(0, 300),
    byte=st.integers(0, 255),
)


def test_a_conversation_that_is_whole_is_served() -> None:
    async def play() -> None:
        async with among_friends() as site, site.neighbours():
            peer = await site.peer()
            await peer.says(*CONVERSATION)
            assert await peer.hears(frames.DATA, 1)
            assert await peer.hears(frames.PING) == b"12345678"
            assert (await peer.is_ended(3))["grpc-status"] == "0"
            peer.writer.close()

    asyncio.run(play())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_whatever_goes_wrong_in_a_conversation_the_others_are_served(*, tls: bool) -> None:
    attacked = 0

    async def attack(site: Hosts, neighbour: Peer, said: list[bytes], size: int) -> None:
        async with site.neighbours(neighbour, count=0):
            peer = await site.peer()
            data = b"".join(said)
            for at in range(0, len(data), size):
                if not peer.writer.is_closing():
                    await peer.says(data[at : at + size])
            await site.serves(neighbour)
            peer.writer.close()

    with asyncio.Runner() as runner:
        friends = among_friends(tls=tls)
        site = runner.run(friends.__aenter__())
        neighbour = runner.run(site.served())

        # A finding is not made smaller: each attempt would wait its time out.
        @settings(max_examples=150, deadline=None, phases=(Phase.explicit, Phase.generate))
        @given(
            damage=st.lists(damages, min_size=1, max_size=5),
            size=st.sampled_from((20, 300, 100_000)),
        )
        def play(damage: list[Damage], size: int) -> None:
            nonlocal attacked
            said = list(CONVERSATION)
            for each in damage:
                each.done_to(said)
            runner.run(attack(site, neighbour, said, size))
            attacked += 1

        try:
            play()
        finally:
            runner.run(friends.__aexit__(None, None, None))
    assert attacked >= 150
