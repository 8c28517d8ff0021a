"""An API server for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.apiserver.server import ApiServer


@pytest_asyncio.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer.started() as server:
        yield server
