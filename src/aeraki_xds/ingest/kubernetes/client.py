"""One connection to one API server: raw bodies in and out, credentials kept fresh.

In: where the credentials are (the pod's own, a kubeconfig). Out: bytes, or one of two errors:
`ApiError`, the server's word, or `Unreachable`, whatever kept it from being heard. Guaranteed:
after a 401 the credentials are read again, and the request is made once more if they have changed;
no message quotes a credential. kubernetes_asyncio finds out who we are (files, plugins, TLS); its
models are not used, because they cost too much for thousands of objects.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
import yaml
from aiohttp import ClientError, ClientResponse, ClientTimeout
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import (
    ConfigException,
    load_incluster_config,
    load_kube_config,
    load_kube_config_from_dict,
)

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.telemetry import shown

CONNECT: Final = 10.0
"""Seconds for a connection to be made, TLS included."""

ANSWER: Final = 30.0
"""Seconds for an answer to begin, and between two pieces of one that is not a watch."""

_LONGEST: Final = 300
"""Characters of a server's message that are of use to anybody."""

_UNAUTHORIZED: Final = 401
_SUCCESS: Final = range(200, 300)
_BEARER: Final = "BearerToken"  # kubernetes_asyncio's name for what goes into `Authorization`

_Load = Callable[[Configuration], Awaitable[None]]


class ClusterError(Exception):
    """A request that came to nothing."""


class ApiError(ClusterError):
    """The server refused (a Status object, or what a proxy before it says); `retry_after` is the
    time in seconds for which it wants to be left alone.
    """

    def __init__(
        self, *, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if message else f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Unreachable(ClusterError):
    """No answer, or one that breaks off."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Session:
    """Connections under one set of credentials, of which `identity` is all that makes a
    difference. When there are newer ones it ends with the last request that it carries.
    """

    def __init__(self, configuration: Configuration, identity: object) -> None:
        self.identity: Final = identity
        self.configuration: Final[Any] = configuration
        self._api: Final = ApiClient(configuration)
        self._users = 0
        self._is_old = False

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncIterator[Any]:
        """What makes requests."""
        self._users += 1
        try:
            yield self._api.rest_client
        finally:
            self._users -= 1
            if self._is_old and not self._users:
                await self._api.close()

    async def retire(self) -> None:
        """Nobody begins another request."""
        self._is_old = True
        if not self._users:
            await self._api.close()

    async def close(self) -> None:
        """Cut off what is under way."""
        await self._api.close()


class Cluster:
    """One API server. To be entered before use; what is under way when it is left is cut off."""

    def __init__(self, load: _Load) -> None:
        """`load` fills in address and credentials; it raises ConfigurationError."""
        self._load = load
        self._session: _Session | None = None
        self._loading = asyncio.Lock()

    @classmethod
    def in_cluster(cls) -> Self:
        """The cluster that this pod runs in, as its service account."""

        async def load(configuration: Configuration) -> None:
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]

        return cls(_named("the pod's service account", load))

    @classmethod
    def of_kubeconfig(cls, path: Path, context: str | None = None) -> Self:
        """As a kubeconfig file says; its current context, if none is given."""

        async def load(configuration: Configuration) -> None:
            await load_kube_config(
                config_file=str(path),
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )

        return cls(_named(str(path), load))

    @classmethod
    def of_kubeconfig_text(cls, text: bytes) -> Self:
        """As the text of a kubeconfig says (Aeraki's config-store Secret)."""

        async def load(configuration: Configuration) -> None:
            await load_kube_config_from_dict(
                yaml.safe_load(text), client_configuration=configuration
            )

        return cls(_named("kubeconfig", load))

    async def __aenter__(self) -> Self:
        """Read the credentials. Raises ConfigurationError; the server is not asked yet."""
        try:
            await self._renew()
        except (OSError, ValueError) as reason:
            message = f"certificates of the API server: {shown(str(reason), _LONGEST)}"
            raise ConfigurationError(message) from reason
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] = {}) -> bytes:
        """The body at a path. Raises ApiError and Unreachable."""
        return await self.send("GET", path, query=query)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] = {},
    ) -> bytes:
        """Make a request with a body of JSON and return the answer's. Raises ApiError and
        Unreachable, after which a request that writes may or may not have been carried out.
        """
        with _reasons():
            asked = self._asked(method, path, query, ANSWER, body, content_type)
            async with asked as response:
                return await response.read()

    @contextlib.asynccontextmanager
    async def bursts(
        self, path: str, query: Mapping[str, str] = {}, *, idle: float
    ) -> AsyncIterator[AsyncIterator[list[bytes]]]:
        """A body of lines (a watch) as it comes: each time all whole lines that have come.

        Lines may be of any length. Raises ApiError and Unreachable: on entering, and while it is
        read, when it breaks off or nothing comes for `idle` seconds.
        """
        async with contextlib.AsyncExitStack() as stack:
            with _reasons():
                async with asyncio.timeout(CONNECT + ANSWER):
                    asked = self._asked("GET", path, query, idle)
                    response = await stack.enter_async_context(asked)
            yield _bursts(response)

    @contextlib.asynccontextmanager
    async def lines(
        self, path: str, query: Mapping[str, str] = {}, *, idle: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As `bursts`, one line at a time."""
        async with self.bursts(path, query, idle=idle) as bursts:
            yield (line async for burst in bursts for line in burst)

    @contextlib.asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        silence: float,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> AsyncIterator[ClientResponse]:
        """A response of success. If the credentials are old, once more with new ones."""
        for is_last in (False, True):
            session = self._session
            assert session is not None, "the cluster was not entered"
            headers = {"Content-Type": content_type, "Accept": "application/json"}
            headers |= await _authorization(session.configuration)
            async with session.used() as client:
                response: ClientResponse = await client.request(
                    method,
                    session.configuration.host + path,
                    query_params=list(query.items()),
                    headers=headers,
                    body=orjson.loads(body) if body is not None else None,
                    _preload_content=False,
                    _request_timeout=ClientTimeout(
                        connect=CONNECT, sock_connect=CONNECT, sock_read=silence
                    ),
                )
                try:
                    if response.status in _SUCCESS:
                        yield response
                        return
                    refusal = _refusal(response, await response.read())
                finally:
                    response.close()  # which keeps the connection, if all of it was read
            if response.status != _UNAUTHORIZED or is_last or not await self._renew(session):
                break
        raise refusal

    async def _renew(self, used: _Session | None = None) -> bool:
        """Read the credentials again: whether there are others now than those that were `used`."""
        async with self._loading:
            if self._session is not used:
                return True  # somebody else just did
            configuration = Configuration()
            configuration.connection_pool_maxsize = 0  # no limit: each watch takes a connection
            await self._load(configuration)
            identity = await _identity(configuration)
            if used is not None and identity == used.identity:
                return False
            self._session = _Session(configuration, identity)
            if used is not None:
                await used.retire()
            return True


def _named(name: str, load: _Load) -> _Load:
    """The same, with every way in which credentials cannot be had as one error."""

    async def named(configuration: Configuration) -> None:
        try:
            await load(configuration)
        except yaml.YAMLError:
            raise ConfigurationError(f"{name}: not YAML") from None  # it would quote the text
        except (AssertionError, AttributeError, KeyError, TypeError) as reason:
            # What kubernetes_asyncio makes of a kubeconfig in which something is missing.
            raise ConfigurationError(f"{name}: not a kubeconfig that can be read") from reason
        except (ConfigException, OSError, ValueError) as reason:
            raise ConfigurationError(f"{name}: {shown(str(reason), _LONGEST)}") from reason

    return named


async def _authorization(configuration: Any) -> dict[str, str]:
    """The header, if there is one. Files end with a line end, which a header may not have."""
    bearer = (await configuration.auth_settings()).get(_BEARER)
    return {"Authorization": bearer["value"].strip()} if bearer else {}


async def _identity(configuration: Any) -> object:
    """All that makes a difference to the server: files by what they hold."""
    files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    authorization = await _authorization(configuration)
    return (configuration.host, authorization, *map(_held_by, files))


def _held_by(file: str | None) -> bytes | None:
    return Path(file).read_bytes() if file else None


async def _bursts(response: ClientResponse) -> AsyncIterator[list[bytes]]:
    rest: list[bytes] = []  # of a line that has no end yet
    with _reasons():
        async for chunk in response.content.iter_any():
            *ended, begun = chunk.split(b"\n")
            if ended:
                ended[0] = b"".join((*rest, ended[0]))
                rest.clear()
                lines = [line for line in ended if line]
                if lines:
                    yield lines
            if begun:
                rest.append(begun)
    if rest:
        raise Unreachable("the answer ends in the middle of a line")


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Everything that can come between us and the server, as Unreachable."""
    try:
        yield
    except TimeoutError as reason:
        raise Unreachable("no answer in time") from reason
    except (ClientError, ConfigException, ConfigurationError, OSError, ValueError) as reason:
        words = shown(str(reason), _LONGEST) or type(reason).__name__
        raise Unreachable(words) from reason


def _refusal(response: ClientResponse, body: bytes) -> ApiError:
    status: Any
    try:
        status = orjson.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        status = {"message": body.decode(errors="replace")}
    return refusal_of(status, code=response.status, after=response.headers.get("Retry-After"))


def refusal_of(status: Mapping[str, Any], *, code: int = 0, after: str | None = None) -> ApiError:
    """What a Status object says; in a watch it stands in for HTTP's own."""
    details = status.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if after is not None and after.isdecimal():
        seconds = int(after)
    said = status.get("code")
    return ApiError(
        status=code or (said if isinstance(said, int) else 0),
        reason=shown(str(status.get("reason") or "refused"), _LONGEST),
        message=shown(str(status.get("message") or ""), _LONGEST),
        retry_after=float(seconds) if isinstance(seconds, int | float) and seconds else None,
    )
