"""A Thrift client that keeps calling: what a change is judged by.

ONE connection kept for as long as it lives, a call right after the other, and for every call the
moment of its answer and who gave it. So "when did the first call reach v2" and "was anything
dropped" are questions about recorded facts.

The caller is a thread because thriftpy2 blocks and because it must not wait for the event loop,
which is often the thing under test. The two still share one interpreter: a loop that computes
for 5 ms can make an answer look that much later.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from thriftpy2.rpc import make_client
from thriftpy2.thrift import TApplicationException, TClient, TException
from thriftpy2.transport import TFramedTransportFactory

from aeraki_xds.demo.thrift_app import hello_service

CALL_LIMIT_S: Final = 5.0  # for one call; also the longest that stopping a caller can take
RETRY_PAUSE_S: Final = 0.01  # before a broken connection is opened again
HISTORY_CALLS: Final = 1 << 18  # two minutes at 2,000 calls/s, about 25 MB; the oldest are dropped
HISTORY_ERRORS: Final = 1 << 14  # apart from the calls, so that no number of calls hides an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One finished call: `version` is who answered, or `error` is why nobody did."""

    at: float  # time.perf_counter() when the answer was read
    method: str
    version: str | None = None
    error: str | None = None


class CallerEnded(RuntimeError):
    """The caller makes no more calls, so what was waited for cannot come."""


@dataclass(slots=True, kw_only=True)
class _Waiter:
    """Somebody waits for the `missing`-th answer of a kind."""

    missing: int
    after: float
    version: str | None
    method: str | None
    done: asyncio.Future[float]

    def completed_by(self, call: Call) -> bool:
        wanted = call.at > self.after and call.version is not None
        wanted = wanted and self.version in (None, call.version)
        wanted = wanted and self.method in (None, call.method)
        self.missing -= wanted
        return wanted and self.missing == 0


class Caller:
    """A Thrift client in a thread that calls in a loop on one connection it keeps.

    `methods` are called in turn, again and again: `("sayHello",) * 9 + ("sayBye",)` is one sayBye
    in ten; it may be set while running. `rate` is calls per second, None as fast as answers come.
    A call that fails is an error and the loop goes on; a connection that breaks is an error too,
    and then the loop ends, unless `reconnect`. An error answer of a proxy that hangs up after it
    is therefore two errors: the answer, and the next call on the dead connection.

    Properties and methods are safe to use from the event loop while the thread runs.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        methods: Sequence[str] = ("sayHello",),
        rate: float | None = None,
        reconnect: bool = False,
        name: str = "aeraki",
    ) -> None:
        self._target = (host, port)
        self._pause = 1 / rate if rate else 0.0
        self._reconnect = reconnect
        self._name = name
        self.methods = methods
        self._stopping = threading.Event()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="thrift-caller")
        self._thread: asyncio.Future[None] | None = None
        self._lock = threading.Lock()  # guards all below; held for the length of a few lines
        self._history: deque[Call] = deque(maxlen=HISTORY_CALLS)
        self._errors: deque[str] = deque(maxlen=HISTORY_ERRORS)
        self._answered = 0
        self._connections = 0
        self._waiters: list[_Waiter] = []
        self._ended = False

    # --- life

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = self._loop.run_in_executor(self._executor, self._run)

    async def stop(self) -> None:
        """Let the call under way finish, close the connection, end the thread."""
        self._stopping.set()
        self._executor.shutdown(wait=False)
        if self._thread is not None:
            await self._thread

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- questions

    @property
    def methods(self) -> tuple[str, ...]:
        return self._methods

    @methods.setter
    def methods(self, methods: Sequence[str]) -> None:
        if unknown := set(methods) - set(hello_service().thrift_services):
            raise ValueError(f"service Hello has no method {', '.join(sorted(unknown))}")
        if not methods:
            raise ValueError("methods: at least one must be called")
        self._methods = tuple(methods)

    @property
    def calls(self) -> int:
        """How many calls were answered by a service, ever."""
        return self._answered

    @property
    def connections(self) -> int:
        """How many connections were opened, ever."""
        return self._connections

    @property
    def errors(self) -> list[str]:
        """What went wrong, oldest first."""
        with self._lock:
            return list(self._errors)

    def history(self, since: float = 0.0) -> list[Call]:
        """The calls that finished after `since`, oldest first."""
        with self._lock:
            return self._recent(since)

    def split(
        self, since: float, method: str | None = None, *, until: float = float("inf")
    ) -> dict[str, float]:
        """Which share of the answers in (since, until] each version gave; {} without answers."""
        counts = Counter(
            call.version
            for call in self.history(since)
            if call.version is not None and call.at <= until and method in (None, call.method)
        )
        return {version: counts[version] / counts.total() for version in sorted(counts)}

    async def first(
        self,
        version: str,
        *,
        after: float,
        method: str | None = None,
        timeout: float,  # noqa: ASYNC109 (as `answers`)
    ) -> float:
        """When this version first answered after `after`; waits for it if it has not yet."""
        return await self.answers(1, after=after, version=version, method=method, timeout=timeout)

    async def answers(
        self,
        count: int,
        *,
        after: float,
        version: str | None = None,
        method: str | None = None,
        timeout: float,  # noqa: ASYNC109 (it says what was missing)
    ) -> float:
        """When the `count`-th such answer after `after` came; waits for it if it has not yet."""
        done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(missing=count, after=after, version=version, method=method, done=done)
        with self._lock:
            for call in self._recent(after):
                if waiter.completed_by(call):
                    return call.at
            if self._ended:
                raise self._ended_error()
            self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await done
        except TimeoutError:
            what = f"{waiter.missing} of {count} answers of {version or 'any version'} missing"
            seen = f"since then {self.split(after)}, last errors {self.errors[-3:]}"
            raise TimeoutError(f"{what} after {timeout} s; {seen}") from None
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    # --- the thread

    def _run(self) -> None:
        turns = itertools.count()
        try:
            while not self._stopping.is_set():
                with self._connected() as client:
                    if client is not None:
                        self._call_until_broken(client, turns)
                if not self._reconnect:
                    return
                self._stopping.wait(RETRY_PAUSE_S)
        finally:
            self._end()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[TClient | None]:
        try:
            client = make_client(
                hello_service(),
                *self._target,
                trans_factory=TFramedTransportFactory(),
                timeout=int(CALL_LIMIT_S * 1000),
            )
        except (TException, OSError) as error:
            self._record(Call(at=time.perf_counter(), method="connect", error=_describe(error)))
            yield None
            return
        with self._lock:
            self._connections += 1
        try:
            yield client
        finally:
            client.close()

    def _call_until_broken(self, client: TClient, turns: Iterator[int]) -> None:
        due = time.perf_counter()
        while not self._stopping.is_set():
            methods = self._methods
            if not self._call(client, methods[next(turns) % len(methods)]):
                return
            if self._pause:
                due = max(due + self._pause, time.perf_counter())  # no burst after a slow call
                self._stopping.wait(due - time.perf_counter())

    def _call(self, client: TClient, method: str) -> bool:
        """Whether the connection can be used again."""
        try:
            answer: str = getattr(client, method)(self._name)
        except TApplicationException as error:  # an answer, even if not the one hoped for
            self._record(Call(at=time.perf_counter(), method=method, error=_describe(error)))
            return True
        except (TException, OSError, EOFError) as error:
            self._record(Call(at=time.perf_counter(), method=method, error=_describe(error)))
            return False
        at, version = time.perf_counter(), sys.intern(answer.partition(":")[0])
        self._record(Call(at=at, method=method, version=version))
        return True

    def _record(self, call: Call) -> None:
        with self._lock:
            self._history.append(call)
            if call.error is None:
                self._answered += 1
            else:
                self._errors.append(f"{call.method}: {call.error}")
            for waiter in self._waiters:
                if waiter.completed_by(call):
                    self._loop.call_soon_threadsafe(_resolve, waiter.done, call.at)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            for waiter in self._waiters:
                self._loop.call_soon_threadsafe(_reject, waiter.done, self._ended_error())

    def _ended_error(self) -> CallerEnded:
        return CallerEnded(f"the Thrift caller has ended; last errors {list(self._errors)[-3:]}")

    def _recent(self, since: float) -> list[Call]:
        newest_first = itertools.takewhile(lambda call: call.at > since, reversed(self._history))
        return list(newest_first)[::-1]


def _resolve(done: asyncio.Future[float], at: float) -> None:
    if not done.done():
        done.set_result(at)


def _reject(done: asyncio.Future[float], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
