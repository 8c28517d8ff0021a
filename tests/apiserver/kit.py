"""A client that shows everything, and manifests: what the tests of the API server share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import orjson

from tests.apiserver.kinds import JsonObject

SERVICES: Final = "/api/v1/services"
SHOP: Final = "/api/v1/namespaces/shop/services"
ROUTERS: Final = "/apis/metaprotocol.aeraki.io/v1alpha1/namespaces/shop/metarouters"
MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
PATIENCE: Final = 30.0  # seconds; a test that is right never waits so long


def service(name: str = "cart", *, port: int = 80, **metadata: Any) -> JsonObject:
    """A Service in the namespace shop."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {"ports": [{"port": port}]},
    }


def router(name: str = "cart", *, hosts: tuple[str, ...] = ("cart",), **more: Any) -> JsonObject:
    """A MetaRouter in the namespace shop."""
    return {
        "apiVersion": "metaprotocol.aeraki.io/v1alpha1",
        "kind": "MetaRouter",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"hosts": list(hosts)},
        **more,
    }


class Watch:
    """An open watch, event by event."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Any:
        """The next event; None when the stream has ended in order."""
        async with asyncio.timeout(PATIENCE):
            line = await self._response.content.readline()
        return orjson.loads(line) if line else None

    async def names(self, count: int) -> list[str]:
        """Of so many events: the type, and the name of the object."""
        events = [await self.next() for _ in range(count)]
        return [f"{event['type']} {event['object']['metadata']['name']}" for event in events]


class Client:
    """Asks; answers the status and the body."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        media: str = "application/json",
        **query: object,
    ) -> tuple[int, Any]:
        headers = {} if body is None else {"Content-Type": media}
        params = {name: str(value) for name, value in query.items()}
        content = None if body is None else orjson.dumps(body)
        async with (
            asyncio.timeout(PATIENCE),
            self.session.request(
                method, path, data=content, headers=headers, params=params
            ) as response,
        ):
            raw = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, orjson.loads(raw) if is_json else raw.decode()

    async def get(self, path: str, **query: object) -> tuple[int, Any]:
        return await self.ask("GET", path, None, media="", **query)

    async def names(self, path: str, **query: object) -> list[str]:
        """The names in a list."""
        status, found = await self.get(path, **query)
        assert status == 200, found
        return [item["metadata"]["name"] for item in found["items"]]

    async def apply(
        self, path: str, body: object, manager: str, **query: object
    ) -> tuple[int, Any]:
        return await self.ask("PATCH", path, body, media=APPLY, fieldManager=manager, **query)

    @asynccontextmanager
    async def watch(self, path: str, **query: object) -> AsyncIterator[Watch]:
        params = {"watch": "1"} | {name: str(value) for name, value in query.items()}
        async with self.session.get(path, params=params) as response:
            assert response.status == 200, await response.text()
            yield Watch(response)


@asynccontextmanager
async def client_of(url: str, *, token: str | None = None) -> AsyncIterator[Client]:
    """A client that keeps its connections, as real ones do."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(url, headers=headers, read_bufsize=16 << 20) as session:
        yield Client(session)


async def until(true: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


def reason_of(answer: tuple[int, Any]) -> tuple[int, str]:
    """The code and reason of a Status that is a failure."""
    code, status = answer
    assert status["kind"] == "Status"
    assert status["status"] == "Failure"
    assert status["code"] == code
    return code, status["reason"]
