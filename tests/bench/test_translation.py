"""The benchmark of translation can be run; of what it finds, only counts are judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TRANSLATION = Path(__file__).parents[2] / "benchmarks" / "translation.py"


def test_one_change_composes_one_host_for_each_way_of_delivery_and_publishes_what_differs() -> None:
    done = subprocess.run(
        [sys.executable, str(TRANSLATION), "--services", "30", "60", "--runs", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for found in json.loads(done.stdout):
        assert set(found["starts"]) == {"500 a file", "one a file"}
        assert all(run["ready_s"] > 0 for runs in found["starts"].values() for run in runs)
        counts = {
            served: (of["hosts"], of["encoded"], of["published"])
            for served, of in found["changes"].items()
        }
        # To Envoy: three clusters with their endpoints, a listener and the routes, which differ.
        assert counts == {"MetaRDS": (1, 1, 1), "MetaRDS and ADS": (2, 9, 2)}
