"""What a connection may make h2 do: frames that carry little, so many at once and in the long run.

In: the bytes that are about to be given to h2. Out: whether they may be. Guaranteed: a flood is
over after some tens of milliseconds, whatever it is made of (pings, resets, settings, their ACKs,
windows opened by a byte, unknown frames, empty or padded data): h2 takes ten to a hundred
microseconds for any frame, and of many it says nothing that one could count. Large DATA is free,
for flow control limits it; and so is what answers to what we send, for a client may open its window
for each response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aeraki_xds.xds.wire.limits import Limits
from aeraki_xds.xds.wire.windows import HEADER_SIZE

_PREFACE: Final = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_DATA: Final = 0

_LARGE: Final = 256
"""Bytes of a DATA frame that may be more than padding (RFC 9113, section 6.1)."""

_ANSWERED: Final = 128
"""Bytes that we send for each frame that a client may answer with beyond its share."""


class Budget:
    """One connection's. `clock` gives monotonic seconds."""

    __slots__ = ("_at", "_clock", "_head", "_left", "_limits", "_rest", "_sent")

    def __init__(self, *, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._left = float(limits.frames)
        self._at = clock()
        self._sent = 0
        self._rest = _PREFACE
        self._head = b""

    def allows(self, data: bytes, *, sent: int) -> bool:
        """Whether h2 may be given `data`. `sent` are the bytes of DATA that we have sent so far."""
        now = self._clock()
        refilled = (now - self._at) * self._limits.frames_per_second
        refilled += (sent - self._sent) / _ANSWERED
        self._at, self._sent = now, sent
        self._left = min(self._left + refilled, self._limits.frames) - self._frames(data)
        return self._left >= 0

    def _frames(self, data: bytes) -> int:
        """How many frames begin in `data` that count."""
        count = 0
        data, self._head = self._head + data, b""
        at, end = self._rest, len(data)
        while end - at >= HEADER_SIZE:
            length = int.from_bytes(data[at : at + 3], "big")
            count += data[at + 3] != _DATA or length < _LARGE
            at += HEADER_SIZE + length
        if at < end:
            self._head = data[at:]
        self._rest = max(at - end, 0)
        return count
