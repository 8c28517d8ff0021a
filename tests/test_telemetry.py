"""What text of others looks like once it was made fit to be seen, and that a log line stays one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.telemetry import LogFormat, configure_logging, shown

ANYTHING = st.text(st.characters(), max_size=400)  # halves of surrogate pairs too


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("", ""),
        ("outbound|9090|v1|hello.demo.svc", "outbound|9090|v1|hello.demo.svc"),
        ("größer ✓", "größer ✓"),
        ("a\nb\tc\x1b[31m", "a\\nb\\tc\\x1b[31m"),
        ("a\u202eb\u2028c\u200bd", "a\\u202eb\\u2028c\\u200bd"),
        ("half \ud800", "half \\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_prints_stays_and_the_rest_is_escaped(text: str, safe: str) -> None:
    assert shown(text, 64) == safe


def test_what_is_too_long_is_cut_and_says_how_long_it_was() -> None:
    assert shown("x" * 64, 64) == "x" * 64
    assert shown("x" * 65, 64) == "x" * 47 + "… (65 characters)"
    assert shown("\n" * 64, 64) == "\\n" * 23 + "\\" + "… (64 characters)"


@given(ANYTHING, st.integers(32, 500))
def test_it_prints_keeps_its_limit_and_changes_nothing_the_second_time(
    text: str, limit: int
) -> None:
    safe = shown(text, limit)
    assert safe.isprintable()
    assert len(safe) <= limit
    assert shown(safe, limit) == safe
    safe.encode()


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "node", ["a\nFAKE [error] all is lost", "\x1b[2J", "\ud800", "x" * 100_000, "\x00" * 100_000]
)
def test_a_log_line_is_one_line_whoever_it_is_about(
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    log_format: LogFormat,
    node: str,
) -> None:
    configure_logging(log_format=log_format)
    logger = structlog.get_logger("test").bind(node=node)
    logger.warning("response refused", error=node, resources=[node] * 100, stale=False)
    (line,) = capfdbinary.readouterr().err.decode().splitlines()
    assert line.isprintable()
    assert len(line) < 100_000
    assert "stale" in line
    if log_format == "json":
        assert json.loads(line)["resources"][-1] == "… (100 in all)"


def test_a_log_line_of_ours_is_as_it_was_written(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    configure_logging(log_format="json")
    structlog.get_logger("test").info("done", hosts=3, names=["a", 1], peer="127.0.0.1:1")
    said = json.loads(capfdbinary.readouterr().err)
    del said["timestamp"]
    assert said == {
        "event": "done",
        "hosts": 3,
        "level": "info",
        "names": ["a", 1],
        "peer": "127.0.0.1:1",
    }
