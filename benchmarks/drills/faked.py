"""`aeraki_xds` under a wall clock that somebody else sets; monotonic time is as it is.

`python -m drills.faked …` runs `python -m aeraki_xds …` with libfaketime, which reads the offset
from the file that the variable `OFFSET_FILE` names whenever somebody asks for the time. It would
also correct how long threads wait for each other, wrongly: the interpreter stood still for seconds.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

OFFSET_FILE: Final = "FAKETIME_TIMESTAMP_FILE"


def main() -> None:
    found = find_spec("libfaketime")
    if found is None or found.origin is None:
        sys.exit("libfaketime is not installed; it is one of what developers need")
    library = Path(found.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    os.environ |= {
        "LD_PRELOAD": str(library),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
    }
    os.execv(sys.executable, [sys.executable, "-m", "aeraki_xds", *sys.argv[1:]])


if __name__ == "__main__":
    main()
