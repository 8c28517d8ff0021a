"""One real API server for all tests, emptied before each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.cluster.kit import Hand, all_definitions, namespace, until_closed
from tests.cluster.real import Real


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    with Real.started(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest_asyncio.fixture
async def hand(real: Real) -> AsyncIterator[Hand]:
    """An administrator's, in a cluster with all kinds and none of their objects."""
    async with real.client() as client:
        made = Hand(client=client)
        await made.define(*all_definitions())
        for name in ("istio-system", "shop"):
            await made.put(namespace(name))
        await made.clear()
        yield made
    await until_closed()
