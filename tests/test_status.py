"""`aeraki-xds status`: what people and scripts are told about the proxies."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from aeraki_xds.cli import cli, main
from aeraki_xds.xds.resource import CLUSTER, HTTP_ROUTES, LISTENER
from tests.admin.desk import Desk, opened
from tests.xds.dialogue import DeltaEnvoy, SotwEnvoy, listener, resource, routes

HOSTILE: Final = "<script>[bold red]x[/]\n\x1b[2J\u202e\ud800" + "y" * 100_000


def status(url: str, *arguments: str) -> Result:
    """The command, in this process."""
    result = CliRunner().invoke(cli, ["status", "--admin", url, *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def asked(desk: Desk, *arguments: str) -> Result:
    """The command, asking a real server of this loop."""
    return await asyncio.to_thread(status, str(desk.client._base_url), *arguments)


@contextmanager
def answering(answer: Callable[[dict[str, str]], tuple[int, bytes]]) -> Iterator[str]:
    """A server that is not ours; yields its URL."""

    class _Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {key: said[0] for key, said in parse_qs(urlsplit(self.path).query).items()}
            code, body = answer(query)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def stream(number: int = 1, *, state: str = "SYNCED", node: str = "envoy", **more: Any) -> Any:
    """A stream as /debug/syncz shows it."""
    of_type = {
        "state": state,
        "sent": {"version": "0123456789abcdef", "nonce": "1", "at": None},
        "nacks": 0,
        "parked": [],
        "lastError": "",
    }
    return {
        "stream": number,
        "node": node,
        "peer": "127.0.0.1:1",
        "dialect": "sotw",
        "service": "ads",
        "connectedAt": "2026-01-01T00:00:00.000Z",
        "types": {LISTENER: of_type | more},
    }


def page(*streams: Any) -> bytes:
    return json.dumps({"streams": streams, "total": len(streams), "truncated": False}).encode()


# --- a real server ----------------------------------------------------------------------------


async def test_a_server_without_proxies_is_in_sync() -> None:
    async with opened() as desk:
        result = await asked(desk)
    assert (result.exit_code, result.stdout) == (
        0,
        "0 connected: 0 in sync, 0 behind, 0 refusing\n",
    )


async def test_proxies_in_sync_are_a_table_and_success() -> None:
    async with opened() as desk:
        desk.server.publishes(listener("l"), resource(CLUSTER, "a"))
        for dialect, node in ((SotwEnvoy, "sidecar~1"), (DeltaEnvoy, "sidecar~2")):
            envoy = dialect(desk.server, node=node)
            envoy.asks(LISTENER)
            envoy.asks(CLUSTER)
            sent = desk.server.says(envoy)
            for response in sent:
                envoy.acks(response)
        result = await asked(desk)
    heading, first, second, summary = result.stdout.splitlines()
    assert result.exit_code == 0
    assert heading.split() == ["#", "PROXY", "ADDRESS", "VIA", "SINCE", "CDS", "LDS"]
    versions = {response.type_url: response.version[:8] for response in sent}
    assert first.split() == [
        *("1", "sidecar~1", "127.0.0.1:40000", "ads/sotw", "1970-01-01T00:16:40.000Z"),
        *("SYNCED", versions[CLUSTER], "SYNCED", versions[LISTENER]),
    ]
    assert second.split()[1:4] == ["sidecar~2", "127.0.0.1:40000", "ads/delta"]
    assert summary == "2 connected: 2 in sync, 0 behind, 0 refusing"


async def test_a_refusal_is_told_with_its_reason_and_ends_with_1() -> None:
    async with opened() as desk:
        desk.server.publishes(routes("r"), listener("l"))
        envoy = SotwEnvoy(desk.server)
        envoy.asks(HTTP_ROUTES, "r")
        envoy.nacks(desk.server.says_next(envoy), "unknown cluster 'v9'")
        result = await asked(desk)
    assert result.exit_code == 1
    _, row, refusal, summary = result.stdout.splitlines()
    assert "ERROR" in row
    assert refusal == "#1 envoy refuses r (rds): unknown cluster 'v9'"
    assert summary == "1 connected: 0 in sync, 0 behind, 1 refusing"


async def test_a_proxy_that_owes_an_answer_ends_with_1() -> None:
    async with opened() as desk:
        desk.server.publishes(routes("r"))
        envoy = SotwEnvoy(desk.server)
        envoy.asks(HTTP_ROUTES, "r")
        desk.server.says(envoy)
        result = await asked(desk)
    assert result.exit_code == 1
    assert "STALE" in result.stdout
    assert result.stdout.endswith("1 connected: 0 in sync, 1 behind, 0 refusing\n")


async def test_a_proxy_that_waits_for_what_there_is_not_is_in_sync() -> None:
    async with opened() as desk:
        desk.server.publishes()
        SotwEnvoy(desk.server).asks(HTTP_ROUTES, "absent")
        result = await asked(desk)
    assert result.exit_code == 0
    assert "NOT_SENT" in result.stdout


async def test_as_json_it_is_what_syncz_says_with_the_same_exit_status() -> None:
    async with opened() as desk:
        desk.server.publishes(routes("r"))
        envoy = SotwEnvoy(desk.server)
        envoy.asks(HTTP_ROUTES, "r")
        desk.server.says(envoy)
        result = await asked(desk, "--json")
        streams = (await desk.get("/debug/syncz"))["streams"]
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"streams": streams, "total": 1}


async def test_a_fleet_larger_than_a_page_is_told_whole() -> None:
    async with opened() as desk:
        for number in range(501):
            SotwEnvoy(desk.server, node=f"n{number}.")
        result = await asked(desk)
    assert "501 connected" in result.stdout
    assert all(f" n{number}." in result.stdout for number in range(501))


async def test_a_hostile_proxy_changes_neither_the_table_nor_the_terminal() -> None:
    async with opened() as desk:
        desk.server.publishes(routes("r"))
        envoy = SotwEnvoy(desk.server, node=HOSTILE)
        envoy.asks(HTTP_ROUTES, "r")
        envoy.nacks(desk.server.says_next(envoy), HOSTILE)
        for arguments in ((), ("--json",)):
            result = await asked(desk, *arguments)
            assert result.exit_code == 1
            assert result.stdout.replace("\n", "").isprintable()
            assert len(result.stdout) < 5000
            assert "<script>[bold red]x[/]\\" in result.stdout


# --- a server that is not ours ----------------------------------------------------------------


def test_what_a_server_says_is_not_trusted_either() -> None:
    text = HOSTILE.replace("\ud800", "")  # it would not be JSON
    hostile = stream(node=text, state="ERROR", lastError=text, parked=[text] * 5)
    hostile |= dict.fromkeys(("peer", "dialect", "service", "connectedAt"), text)
    hostile["types"][text] = hostile["types"][LISTENER] | {"state": text}
    with answering(lambda _: (200, page(hostile))) as url:
        result = status(url)
    assert result.exit_code == 1
    assert result.stdout.replace("\n", "").isprintable()
    assert len(result.stdout) < 5000
    assert "and 2 more (lds)" in result.stdout


@pytest.mark.parametrize(
    ("code", "body", "words"),
    [
        (404, b"", "Not Found"),
        (500, b"", "Internal Server Error"),
        (200, b"<html>", "does not answer as aeraki-xds does"),
        (200, b"[]", "does not answer as aeraki-xds does"),
        (200, b'{"streams": [{}], "total": 1, "truncated": false}', "missing required field"),
        (200, b"[" * 100_000, "does not answer as aeraki-xds does"),
    ],
)
def test_an_answer_that_is_none_is_one_line_and_exit_2(
    fail: Callable[..., str], code: int, body: bytes, words: str
) -> None:
    with answering(lambda _: (code, body)) as url:
        line = fail(url)
    assert words in line
    assert url in line


def test_a_server_that_never_comes_to_an_end_is_not_followed_for_ever() -> None:
    asked_for: list[str] = []

    def answer(query: dict[str, str]) -> tuple[int, bytes]:
        asked_for.append(query["offset"])
        return 200, b'{"streams": [], "total": 9, "truncated": true}'

    with answering(answer) as url:
        assert status(url).exit_code == 0
    assert asked_for == ["0"]


def test_the_worst_of_the_types_without_a_name_is_shown() -> None:
    one = stream()
    good, bad = one["types"][LISTENER], one["types"][LISTENER] | {"state": "STALE"}
    one["types"] = {"a": good, "b": bad, "c": good}
    with answering(lambda _: (200, page(one))) as url:
        result = status(url)
    assert result.stdout.splitlines()[0].split()[-1] == "OTHER"
    assert "STALE" in result.stdout
    assert "1 behind" in result.stdout


# --- no server --------------------------------------------------------------------------------


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the entry point, which has to end with status 2; returns the one line that it says."""

    def failed(url: str) -> str:
        monkeypatch.setattr(sys, "argv", ["aeraki-xds", "status", "--admin", url])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        return line

    return failed


def test_a_server_that_cannot_be_reached_is_one_line_and_exit_2(fail: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"):
        line = fail(url)
        assert line == f"aeraki-xds: cannot ask http://127.0.0.1:{port}: Connection refused"


def test_a_server_that_hangs_up_is_one_line_and_exit_2(fail: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        line = fail(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert line.startswith("aeraki-xds: cannot ask http://127.0.0.1:")


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1:21", "http://", "http://a:99999", "", "http://[x"],
)
def test_an_address_that_is_none_is_one_line_and_exit_2(fail: Callable[..., str], url: str) -> None:
    assert fail(url) == f"aeraki-xds: --admin {url!r}: write http://HOST:PORT"


def test_the_shell_s_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(lambda _: (200, page(stream()))) as url:
        assert status(url).exit_code == 0
