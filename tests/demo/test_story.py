"""The demo as a user ends it: Ctrl-C in the middle, and nothing is left running.

The story itself is judged by `make demo`, which also asserts its times.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
]

LIMIT_S = 60.0


def descendants(pid: int) -> set[int]:
    """Every process below this one, by /proc."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= {int(child)} | descendants(int(child))
    return found


def test_ctrl_c_ends_the_demo_and_everything_that_it_started(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "aeraki_xds", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "first answer from v2" in line:
                break
        started = descendants(demo.pid)
        assert len(started) >= 4, "the server, Envoy and two Thrift services"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(LIMIT_S) == 130
    deadline = time.monotonic() + LIMIT_S
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < deadline, f"still running: {started}"
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
