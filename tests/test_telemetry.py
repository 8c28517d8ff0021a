"""What text of others looks like once it was made fit to be seen, that a log line stays one, and
that to log never fails.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import BytesIO, FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.telemetry import Lines, LogFormat, configure_logging, shown

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


# --- lines that cannot be written -------------------------------------------------------------


@contextmanager
def full() -> Iterator[TextIO]:
    """A real full disk."""
    with Path("/dev/full").open("w", encoding="utf-8") as file:
        yield file


@contextmanager
def unread() -> Iterator[TextIO]:
    """A pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        yield file


@contextmanager
def crammed() -> Iterator[TextIO]:
    """A pipe that nobody empties, and that is not waited for."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    with os.fdopen(writing, "w") as file:
        yield file
    os.close(reading)


def errors(count: int) -> None:
    """Log so often."""
    for number in range(count):
        structlog.get_logger("test").error("said", number=number)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is one of Linux")
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("broken", [full, unread, crammed])
def test_lines_that_cannot_be_written_are_counted_and_said_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    log_format: LogFormat,
    broken: Callable[[], AbstractContextManager[TextIO]],
) -> None:
    log = tmp_path / "log"
    with broken() as file, log.open("w") as room:
        monkeypatch.setattr(sys, "stderr", file)
        configure_logging(level="error", log_format=log_format)
        errors(3)
        os.dup2(room.fileno(), file.fileno())
        errors(2)
    lines = log.read_text().splitlines()
    assert ["log lines lost" in line for line in lines] == [True, False, False]
    if log_format == "json":
        lost, *others = map(json.loads, lines)
        assert (lost["lines"], [each["number"] for each in others]) == (3, [0, 1])
    else:
        assert "lines=3" in lines[0]


def test_a_log_that_is_closed_is_nobody_s_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        configure_logging()
    errors(2)
    monkeypatch.setattr(sys, "stderr", None)  # what it is where a process begins without
    configure_logging()
    errors(2)


def test_a_line_that_was_written_in_part_is_ended_before_the_next(tmp_path: Path) -> None:
    class Small(FileIO):
        """A disk that is full within a line."""

        room = 4

        def write(self, data: Any) -> int:
            if not self.room:
                raise OSError(28, "No space left on device")
            written = super().write(bytes(data)[: self.room])
            self.room -= written
            return written

    path = tmp_path / "log"
    with TextIOWrapper(disk := Small(path, "w"), encoding="utf-8") as file:
        lines = Lines(file)
        assert not lines.write("torn apart")
        assert not lines.write("lost")
        disk.room = 100
        assert lines.write("whole")
        assert lines.write("too")
        assert path.read_text() == "torn\nwhole\ntoo\n"


def test_a_line_says_what_the_encoding_of_its_file_has_no_letter_for() -> None:
    with TextIOWrapper(output := BytesIO(), encoding="ascii") as file:
        assert Lines(file).write("größer")
        assert output.getvalue() == b"gr\\xf6\\xdfer\n"


def test_a_limit_on_the_size_of_files_ends_no_process(tmp_path: Path) -> None:
    """The kernel's signal for it, SIGXFSZ, would."""
    program = (
        "import structlog; from aeraki_xds.telemetry import configure_logging\n"
        "configure_logging(); structlog.get_logger().error('lost'); print('alive')"
    )
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert (tmp_path / "log").read_text() == ""
