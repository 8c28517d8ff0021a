"""What tests with real parts use: a relay whose recording has to be without fault at the end.

    async with recorded(plane.xds) as relay:
        … clients connect to relay.address …
        await relay.settled()

`settled` waits until the server owes no answer any more, for that is a question of time; all else
is checked when the block ends without an error. A violation fails the test with the lines of the
conversation around it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aeraki_xds.demo.http import Address
from tests.recording.checker import NOTHING_SPECIAL, check, unanswered
from tests.recording.recording import StreamRecord
from tests.recording.relay import Relay
from tests.recording.rules import Expectation, Violation

LIMIT_S: Final = 30.0
_POLL_S: Final = 0.02
_SHOWN: Final = 3


class CheckedRelay(Relay):
    """A relay that knows what to expect; made by `recorded`."""

    expected: Expectation = NOTHING_SPECIAL

    @property
    def streams(self) -> list[StreamRecord]:
        """What was recorded, in the order in which the streams began."""
        return self.recording.streams

    async def settled(self) -> None:
        """Wait until nothing is owed. Raises AssertionError with what was never said."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LIMIT_S
        while owed := unanswered(self.recording, self.expected):
            assert loop.time() < deadline, _report(owed)
            await asyncio.sleep(_POLL_S)

    def assert_sound(self) -> None:
        """Nothing was said wrongly."""
        violations = check(self.recording, self.expected)
        assert not violations, _report(violations)


@contextlib.asynccontextmanager
async def recorded(
    server: Address, expected: Expectation = NOTHING_SPECIAL
) -> AsyncIterator[CheckedRelay]:
    """Relay to a server, and check what was said. At least one conversation has to take place."""
    async with CheckedRelay.run(server) as relay:
        relay.expected = expected
        yield relay
    assert relay.streams, "nobody spoke: the clients do not use the relay"
    relay.assert_sound()


def _report(violations: Sequence[Violation]) -> str:
    shown = [str(each) for each in violations[:_SHOWN]]
    return "\n\n".join((f"{len(violations)} violations, the first {len(shown)}:", *shown))
