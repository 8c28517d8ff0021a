"""A real Thrift service in its own process.

`python -m aeraki_xds.demo.thrift_app --answer v1` serves `hello.thrift` (framed, binary) and says
`listening HOST:PORT` once it does; it ends on SIGTERM and, on Linux, with its parent.
`ThriftServer.run` does this for the length of an `async with` block.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import thriftpy2
from thriftpy2.server import TThreadedServer
from thriftpy2.thrift import TProcessor
from thriftpy2.transport import TFramedTransportFactory, TSocket

from aeraki_xds.demo.process import python_module, stop_process

LOOPBACK: Final = "127.0.0.1"


@functools.cache
def hello_service() -> Any:
    """The service class that thriftpy2 makes of the IDL."""
    idl = Path(__file__).with_name("hello.thrift")
    return thriftpy2.load(str(idl), module_name="aeraki_xds_demo_hello_thrift").Hello


# --- the service, in its own process


class _Handler:
    def __init__(self, answer: str) -> None:
        self._answer = answer

    def sayHello(self, name: str) -> str:
        return f"{self._answer}: hello {name}"

    def sayBye(self, name: str) -> str:
        return f"{self._answer}: bye {name}"


class _Listener:
    """The server socket that `TThreadedServer` accepts from.

    thriftpy2's own binds only when it begins to serve, so a port of 0 would never be known; it
    leaves Nagle on; and it hangs up on a peer idle for three seconds, which a proxy with a pooled
    connection reports as an error of ours.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_server((host, port))
        self.port: int = self._socket.getsockname()[1]

    def listen(self) -> None:
        """Nothing to do: it has listened since it was made."""

    def accept(self) -> object:
        connection, _ = self._socket.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wrap: Callable[..., object] = TSocket
        return wrap(sock=connection)


def serve(answer: str, host: str, port: int) -> None:
    """Answer calls until the process is ended; every connection has a thread."""
    listener = _Listener(host, port)
    server = TThreadedServer(  # the binary protocol is the default, here and in make_client
        TProcessor(hello_service(), _Handler(answer)),
        listener,
        itrans_factory=TFramedTransportFactory(),
        daemon=True,
    )
    print(f"listening {host}:{listener.port}", flush=True)
    server.serve()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A Thrift service that says who answers.")
    parser.add_argument("--answer", required=True, help="what every answer begins with, say v1")
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=0, help="0: any free one (default)")
    options = parser.parse_args(arguments)
    serve(options.answer, options.host, options.port)


# --- starting and stopping it


class ThriftServer:
    """A running Thrift service; made by `ThriftServer.run` only."""

    def __init__(self, process: Process, *, host: str, port: int) -> None:
        self._process = process
        self.host = host
        self.port = port

    @classmethod
    @contextlib.asynccontextmanager
    async def run(cls, *, answer: str, host: str = LOOPBACK, port: int = 0) -> AsyncIterator[Self]:
        """Start a service that listens when the block begins and is gone when it ends."""
        arguments = ("--answer", answer, "--host", host, "--port", str(port))
        async with python_module(__name__, *arguments, announces="listening ") as (process, line):
            yield cls(process, host=host, port=int(line.rpartition(":")[2]))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stop(self) -> None:
        """End the service before the block does; its connections are reset."""
        await stop_process(self._process)


if __name__ == "__main__":
    main()
