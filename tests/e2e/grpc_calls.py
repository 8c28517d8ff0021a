"""A gRPC client that finds its service by xDS: `python grpc_calls.py xds:///greeter`.

A program of its own, for gRPC reads where its management server is (`GRPC_XDS_BOOTSTRAP_CONFIG`)
once, when it is first imported. It calls over one channel, again and again, until its standard
input ends. Out: a line for each answer or error that differs from the one before it.
"""

from __future__ import annotations

import sys
import threading
import time

import grpc

METHOD = "/test.Greeter/Greet"
LIMIT_S = 10.0
PAUSE_S = 0.002


def main(target: str) -> None:
    """Call until there is nobody left who listens."""
    ended = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    before = ""
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(METHOD)
        while not ended.is_set():
            now = _outcome(call)
            if now != before:
                print(now, flush=True)
                before = now
            time.sleep(PAUSE_S)


def _outcome(call: grpc.UnaryUnaryMultiCallable) -> str:
    try:
        answer: bytes = call(b"", timeout=LIMIT_S)
    except grpc.RpcError as error:
        return f"error {error.code().name} {error.details()}"
    return f"answer {answer.decode()}"


if __name__ == "__main__":
    main(sys.argv[1])
