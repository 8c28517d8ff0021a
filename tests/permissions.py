"""A user whom file permissions hold back, even where tests run as root.

Root reads everything because of two capabilities. Without them in the effective set of the thread
(and of threads that it starts), the owner's permission bits count, for root as for anyone.
Source: capabilities(7), capget(2).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

_VERSION = 0x20080522
_HEADER = Struct("Ii")  # version, thread
_SETS = Struct("6I")  # effective, permitted, inheritable; twice, for 64 bits
_OVERRIDE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def can_be_held_back() -> bool:
    """Whether permissions hold this user back, or can be made to."""
    return sys.platform == "linux" or os.geteuid() != 0


@contextmanager
def held_back() -> Iterator[None]:
    """Permissions count for this thread, and for those that it starts, until the end."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION, 0))
    sets = ctypes.create_string_buffer(_SETS.size)
    _check(libc.capget(header, sets))
    before = sets.raw[: _SETS.size]
    effective, *rest = _SETS.unpack(before)
    _check(libc.capset(header, _SETS.pack(effective & ~_OVERRIDE, *rest)))
    try:
        yield
    finally:
        _check(libc.capset(header, before))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
