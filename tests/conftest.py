"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from aeraki_xds.encode import Message
from tests.official import assert_agrees
from tests.permissions import can_be_held_back, held_back


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With AERAKI_REQUIRE_ALL nothing may be skipped: there everything that is needed is there."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("AERAKI_REQUIRE_ALL"):
        report.outcome = "failed"
    return report


@pytest.fixture
def permissions_count() -> Iterator[None]:
    """File permissions hold back whoever runs the test, root too."""
    if not can_be_held_back():
        pytest.skip("needs a user whom permissions hold back")
    with held_back():
        yield


@pytest.fixture
def official() -> Callable[[Message], dict[str, Any]]:
    """Asserts that a message reads the same to the official classes; returns that JSON."""
    return assert_agrees
