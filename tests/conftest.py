"""What every test may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aeraki_xds.encode import Message
from tests.official import assert_agrees


@pytest.fixture
def official() -> Callable[[Message], dict[str, Any]]:
    """Asserts that a message reads the same to the official classes; returns that JSON."""
    return assert_agrees
