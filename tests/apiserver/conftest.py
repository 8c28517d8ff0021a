"""A server, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.apiserver.kit import Client, client_of
from tests.apiserver.server import ApiServer


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer.started() as started:
        yield started


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[Client]:
    async with client_of(api.url) as made:
        yield made
