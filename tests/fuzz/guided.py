"""One target, fuzzed by what its code does: bytes that reach new code are mutated further.

In: a target's name, then libFuzzer's own arguments. Out: its log; exit status 0 when the time was
up and nothing was found. libFuzzer ends the process whatever happens, so it has one of its own:
`python -m tests.fuzz.guided stream FOLDER -max_total_time=600`. With a file in place of the folder
it plays only that, which is how a finding is reproduced.
"""

from __future__ import annotations

import sys

import atheris

from tests.virtual_time import VirtualLoop

with atheris.instrument_imports(include=["aeraki_xds.xds", "h2", "hyperframe", "hpack"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer has enough."""
    name, *arguments = sys.argv[1:]
    play = TARGETS[name].play
    loop = VirtualLoop()
    atheris.Setup(
        [sys.argv[0], *arguments], lambda data: loop.run_until_complete(play(bytes(data)))
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
