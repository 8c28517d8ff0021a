"""Bad days rehearsed with real processes: what they did to calls, to proxies and to the server.

In: nothing. Out: a table, a drill a row: what happened, what was measured, whether that was good
enough; exit status 1 if one was not. The server is the one that `aeraki-xds serve` runs, or its
xDS server alone where hundreds of clients are measured, always in a process of its own; most
drills have a real Envoy that carries Thrift calls on one kept connection throughout. Each says how
late the server's event loop was.

    python benchmarks/rehearse.py            # all of them
    python benchmarks/rehearse.py kill stop  # some
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys

import uvloop
from drills.away import dead, kill, stop
from drills.beside import hostile, stalled
from drills.certificates import rotation
from drills.clock import clock
from drills.start import start
from drills.state import disk, source
from drills.storm import refused, storm, tls_storm
from drills.table import Drill, rehearse

from aeraki_xds.telemetry import configure_logging

DRILLS: dict[str, Drill] = {
    "kill": kill,
    "stop": stop,
    "source": source,
    "disk": disk,
    "clock": clock,
    "rotation": rotation,
    "dead": dead,
    "storm": storm,
    "tls-storm": tls_storm,
    "refused": refused,
    "stalled": stalled,
    "hostile": hostile,
    "start": start,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("drills", nargs="*", metavar="DRILL", help=", ".join(DRILLS))
    given = parser.parse_args()
    for name in given.drills:
        if name not in DRILLS:
            parser.error(f"there is no drill {name!r}; there are {', '.join(DRILLS)}")
    configure_logging(level="error")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        good = runner.run(rehearse(DRILLS, given.drills or list(DRILLS)))
    sys.exit(not good)


if __name__ == "__main__":
    main()
