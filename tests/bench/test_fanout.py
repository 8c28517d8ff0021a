"""The benchmark that docs/performance.md quotes can be run; what it finds is not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FANOUT = Path(__file__).parents[2] / "benchmarks" / "fanout.py"


def test_the_fanout_benchmark_prints_a_row_for_each_thing_that_it_measures() -> None:
    done = subprocess.run(
        [sys.executable, str(FANOUT), "--streams", "20", "--rounds", "1", "--routes", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = {line[:28].strip() for line in done.stdout.splitlines()}
    assert rows >= {
        "send, µs CPU a stream",
        "ACK, µs CPU a stream",
        "change → last delivery, ms",
        "change → last ACK, ms",
        "memory, KB a stream",
    }
    assert "ours" in done.stdout
    assert "grpclib" in done.stdout
    assert "µs per route" in done.stdout
