"""The gate: handshakes under way and begun are limited, and who cannot come in yet waits."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest

from aeraki_xds.xds.wire import gate as gates
from aeraki_xds.xds.wire.counts import ConnectionRefusal, Counts
from aeraki_xds.xds.wire.gate import Entrant, Exit, Gate, Share
from aeraki_xds.xds.wire.limits import Limits

PATIENCE: Final = 10.0
LIMITS: Final = Limits(handshake_timeout=0.3)


class Silent(Entrant):
    """A client that was let in and says nothing."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()


class Speaking(Silent):
    """One that has spoken at once."""

    def __init__(self) -> None:
        super().__init__()
        self.entered.set()


class Noting(Gate):
    """Notes how many handshakes are under way, and when each began."""

    under_way = 0
    most = 0

    def __init__(self, *, limits: Limits, entrant: type[Silent] = Silent) -> None:
        self.counts = Counts()
        super().__init__(limits=limits, counts=self.counts, connection=entrant)
        self.began: list[float] = []
        self.ended = 0

    async def _let_in(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.began.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await super()._let_in(accepted, tls)
        finally:
            self.under_way -= 1
            self.ended += 1


@asynccontextmanager
async def accepting(gate: Gate, *, tls: bool) -> AsyncIterator[tuple[str, int]]:
    """An open port. Nobody gets so far in a handshake that a certificate would be needed."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    listening.setblocking(False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
    task = asyncio.create_task(gate.accept(listening, context))
    try:
        yield listening.getsockname()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        listening.close()


async def connect(address: tuple[str, int], count: int) -> list[asyncio.StreamWriter]:
    return [(await asyncio.open_connection(*address))[1] for _ in range(count)]


async def close(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def until(gate: Noting, ended: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while gate.ended < ended:
            await asyncio.sleep(0.005)


async def test_only_so_many_handshakes_are_under_way_and_the_others_wait_their_turn() -> None:
    gate = Noting(limits=replace(LIMITS, handshakes=3, handshakes_per_second=1e6))
    async with accepting(gate, tls=True) as address:
        silent = await connect(address, 7)  # the kernel has taken them all
        await until(gate, 7)  # each is given up in the end
        assert gate.most == 3
        assert gate.counts.connections_refused[ConnectionRefusal.HANDSHAKE] == 7
        await close(silent)


async def test_handshakes_begin_no_faster_than_they_may() -> None:
    gate = Noting(limits=replace(LIMITS, handshakes_per_second=50.0))
    async with accepting(gate, tls=True) as address:
        await close(await connect(address, 6))
        await until(gate, 6)
        first, *_, last = gate.began
        assert last - first >= 5 / 50 * 0.9


@pytest.mark.parametrize(
    ("turns", "waited"),
    [
        ([0.001], 1),
        ([0.012, 0.03, 0.001], 3),
        ([0.04] * 9, 3),
    ],
    ids=["idle", "busy", "busy for long"],
)
async def test_a_handshake_waits_for_a_short_turn_of_the_loop_but_not_for_long(
    turns: list[float], waited: int
) -> None:
    now, lasting = 0.0, iter(turns)
    taken: list[float] = []

    def turn() -> None:
        nonlocal now
        for seconds in lasting:
            now += seconds
            taken.append(seconds)
            loop.call_soon(turn)
            return

    gate = Gate(
        limits=replace(LIMITS, handshakes_per_second=1e9),
        counts=Counts(),
        connection=Silent,
        clock=lambda: now,
    )
    loop = asyncio.get_running_loop()
    loop.call_soon(turn)
    await gate._pace()
    assert taken == turns[:waited]


async def test_plaintext_connections_need_not_be_paced() -> None:
    gate = Noting(limits=replace(LIMITS, handshakes_per_second=0.001))
    async with accepting(gate, tls=False) as address:
        writers = await connect(address, 20)
        await until(gate, 20)
        assert gate.counts == Counts()
        await close(writers)


async def test_only_so_many_say_their_first_words_at_once_and_who_is_silent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gates, "_MOMENT", 0.2)
    gate = Noting(limits=replace(LIMITS, handshakes=3))
    async with accepting(gate, tls=False) as address:
        writers = await connect(address, 7)
        await until(gate, 7)
        assert gate.most == 3
        first, *_, last = gate.began
        assert last - first >= 0.4 * 0.9  # three moments for seven, three at a time
        assert gate.counts == Counts()
        await close(writers)


async def test_who_has_spoken_makes_room_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_MOMENT", 600.0)
    gate = Noting(limits=replace(LIMITS, handshakes=3), entrant=Speaking)
    async with accepting(gate, tls=False) as address:
        writers = await connect(address, 20)
        await until(gate, 20)
        await close(writers)


async def test_one_connection_that_cannot_be_made_keeps_nobody_out() -> None:
    gate = Noting(limits=LIMITS, entrant=Speaking)
    make, faults = gate._connection, iter([True])

    def connection() -> Entrant:
        made = make()
        for _ in faults:
            del made.entered
        return made

    gate._connection = connection
    async with accepting(gate, tls=False) as address:
        writers = await connect(address, 3)
        await until(gate, 3)
        assert gate.counts.connections_refused[ConnectionRefusal.HANDSHAKE] == 1
        await close(writers)


async def test_of_each_turn_h2_has_a_share_and_the_rest_waits() -> None:
    now = 0.0
    share = Share(loop=asyncio.get_running_loop(), clock=lambda: now)
    done = []
    for _ in range(4):
        done.append(0)
        while not share.is_used_up():
            now += gates._H2 * 0.4
            done[-1] += 1
        await asyncio.sleep(0)
    assert done == [3, 3, 3, 3]


async def test_however_many_are_gone_at_once_the_loop_has_its_turn() -> None:
    now = 0.0
    log: list[str] = []

    def forgotten(number: int) -> None:
        nonlocal now
        now += gates._OUT * 0.6
        log.append(str(number))

    loop = asyncio.get_running_loop()
    leaving = Exit(loop=loop, clock=lambda: now)
    for number in range(5):
        leaving.add(partial(forgotten, number))
    while len(log) < 7:
        await asyncio.sleep(0)
        log.append("turn")
    assert log[:7] == ["0", "1", "turn", "2", "3", "turn", "4"]


async def test_one_that_cannot_be_forgotten_keeps_no_other_from_it() -> None:
    log: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: log.append("said"))
    leaving = Exit(loop=loop)

    def fails() -> None:
        raise RuntimeError

    leaving.add(fails)
    leaving.add(partial(log.append, "forgotten"))
    async with asyncio.timeout(PATIENCE):
        while "forgotten" not in log:
            await asyncio.sleep(0)
    assert log == ["said", "forgotten"]


async def test_running_out_of_sockets_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, iter((errno.EMFILE, errno.ENFILE))

    async def sock_accept(listening: socket.socket) -> Any:
        for number in failures:
            raise OSError(number, "no more")
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", sock_accept)
    gate = Noting(limits=replace(LIMITS, handshakes=1))
    async with accepting(gate, tls=False) as address:
        writers = await connect(address, 2)
        await until(gate, 2)
        await close(writers)
