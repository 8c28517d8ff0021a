"""Record what a stock Envoy says of itself: the node that the load harness may send.

In: a real Envoy, which asks somebody for its configuration who only listens. Out: the node of its
first request without its id and its metadata, written to the harness's package.

    python benchmarks/record_node.py
"""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from pathlib import Path
from typing import Final

from drills.mesh import proxy

from aeraki_xds import bench
from aeraki_xds.bench import frames
from aeraki_xds.demo.http import Address
from aeraki_xds.xds.field import length_delimited, scan

TO: Final = Path(bench.__file__).parent / "envoy-1.40-node.binpb.gz"
WITHIN_S: Final = 30.0
_PREFACE: Final = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_PREFIX: Final = 5
_NODE: Final = 2
_OWN: Final = (1, 3)
"""Its id and its metadata."""


async def first_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The first message of whoever has connected."""
    writer.write(frames.frame(frames.SETTINGS, 0, 0, b""))
    await reader.readexactly(_PREFACE)
    said = b""
    while True:
        said += await reader.read(1 << 16)
        heard = [
            said[start:stop] for kind, _, _, start, stop in frames.read(said) if kind == frames.DATA
        ]
        message = b"".join(heard)
        size = int.from_bytes(message[1:_PREFIX], "big")
        if len(message) >= _PREFIX + size > _PREFIX:
            return message[_PREFIX : _PREFIX + size]


async def record() -> bytes:
    """The fields of the node, but for what is of this one proxy."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await first_request(reader, writer))

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory() as work:
        log = Path(work) / "envoy.log"
        async with (
            asyncio.timeout(WITHIN_S),
            proxy(Address("127.0.0.1", port), log=log, live=False),
        ):
            request = await heard
    nodes = [value for number, _, value in scan(request) if number == _NODE]
    fields = (length_delimited(number, bytes(value)) for number, _, value in scan(nodes[0])
              if number not in _OWN)  # fmt: skip
    return b"".join(fields)


def main() -> None:
    node = asyncio.run(record())
    packed = gzip.compress(node, mtime=0)
    TO.write_bytes(packed)
    print(f"{TO}: {len(node)} bytes, packed {len(packed)}")


if __name__ == "__main__":
    main()
