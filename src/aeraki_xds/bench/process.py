"""What a process costs, seen from outside: CPU to the nanosecond, and memory.

In: the id of any process of this machine. Out: numbers. Linux only: /proc says how long each thread
was on a processor, where the clock ticks of `times` are as long as a thousand pushes.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Seconds on a processor of all threads that there are. Raises OSError."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # it has just ended
            total += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def resident_kb(pid: int) -> float:
    """Resident memory in KiB. Raises OSError."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
