"""What the tests of the admin pages may use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.admin.desk import Desk, opened


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """An operator's desk."""
    async with opened() as made:
        yield made
