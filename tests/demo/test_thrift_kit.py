"""The kit of real parts, judged with real parts: Envoy's thrift_proxy in front of two services."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aeraki_xds.demo.caller import Caller, CallerEnded
from aeraki_xds.demo.envoy import Envoy, EnvoyFailed
from aeraki_xds.demo.thrift_app import ThriftServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.e2e

LIMIT_S = 20.0  # what takes milliseconds may take this long on a loaded machine
LOOPBACK = "127.0.0.1"
PROXY = "envoy.filters.network.thrift_proxy"
EXTENSIONS = "type.googleapis.com/envoy.extensions.filters.network"

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")


def address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def cluster(name: str, port: int) -> dict[str, object]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]
    assignment = {"cluster_name": name, "endpoints": endpoints}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


def listener() -> dict[str, object]:
    """On any free port; sayBye goes to v2, everything else 30:70 to v1 and v2."""
    shares = [{"name": "v1", "weight": 30}, {"name": "v2", "weight": 70}]
    routes = [
        {"match": {"method_name": "sayBye"}, "route": {"cluster": "v2"}},
        {"match": {"method_name": ""}, "route": {"weighted_clusters": {"clusters": shares}}},
    ]
    router = {"@type": f"{EXTENSIONS}.thrift_proxy.router.v3.Router"}
    proxy = {
        "@type": f"{EXTENSIONS}.thrift_proxy.v3.ThriftProxy",
        "stat_prefix": "hello",
        "transport": "FRAMED",
        "protocol": "BINARY",
        "route_config": {"name": "inline", "routes": routes},
        "thrift_filters": [{"name": "envoy.filters.thrift.router", "typed_config": router}],
    }
    chain = {"filters": [{"name": PROXY, "typed_config": proxy}]}
    return {
        "name": "hello",
        "stat_prefix": "hello",  # the real port is not in the names of the counters of port 0
        "address": address(0),
        "filter_chains": [chain],
    }


def bootstrap(v1: int, v2: int) -> dict[str, object]:
    clusters = [cluster("v1", v1), cluster("v2", v2)]
    return {"static_resources": {"listeners": [listener()], "clusters": clusters}}


class Mesh:
    def __init__(self, v1: ThriftServer, v2: ThriftServer, envoy: Envoy, port: int) -> None:
        self.v1 = v1
        self.v2 = v2
        self.envoy = envoy
        self.port = port

    @property
    def pids(self) -> list[int]:
        return [self.v1.pid, self.v2.pid, self.envoy.pid]


@contextlib.asynccontextmanager
async def running_mesh(directory: Path) -> AsyncIterator[Mesh]:
    async with (
        ThriftServer.run(answer="v1") as v1,
        ThriftServer.run(answer="v2") as v2,
        Envoy.run(bootstrap(v1.port, v2.port), log=directory / "envoy.log") as envoy,
    ):
        await envoy.wait_live(timeout=LIMIT_S)
        port = (await envoy.listeners())["hello"].port
        yield Mesh(v1, v2, envoy, port)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):  # an orphan may wait for an init that reaps late or never
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return sys.platform != "linux"


async def test_calls_flow_over_one_connection_and_are_split_as_routed(tmp_path: Path) -> None:
    """What the caller counts, Envoy counts too."""
    async with running_mesh(tmp_path) as mesh:
        start = time.perf_counter()
        async with Caller(LOOPBACK, mesh.port, methods=("sayHello",) * 4 + ("sayBye",)) as caller:
            await caller.answers(1000, after=start, method="sayHello", timeout=LIMIT_S)
        stats = await mesh.envoy.stats(r"^(listener|thrift)\.hello\.")

    assert caller.errors == []
    assert caller.connections == 1
    assert stats["listener.hello.downstream_cx_total"] == 1
    assert stats["thrift.hello.request_call"] == caller.calls
    hello = caller.split(start, "sayHello")
    assert set(hello) == {"v1", "v2"}
    assert hello["v1"] == pytest.approx(0.3, abs=0.1)  # seven standard deviations
    assert sum(hello.values()) == pytest.approx(1)
    assert caller.split(start, "sayBye") == {"v2": 1.0}
    byes = sum(call.method == "sayBye" for call in caller.history(start))
    assert byes == pytest.approx(caller.calls / 5, abs=1)
    assert caller.split(start, until=start) == {}


async def test_first_is_the_same_moment_whether_awaited_before_or_after(tmp_path: Path) -> None:
    """An answer that is already there is found, one that is not is waited for."""
    async with running_mesh(tmp_path) as mesh, Caller(LOOPBACK, mesh.port) as caller:
        start = time.perf_counter()
        awaited = await caller.first("v1", after=start, timeout=LIMIT_S)
        looked_up = await caller.first("v1", after=start, timeout=LIMIT_S)
        later = await caller.first("v1", after=awaited, timeout=LIMIT_S)

        assert start < awaited == looked_up < later <= time.perf_counter()
        with pytest.raises(TimeoutError, match=r"1 of 1 answers of v3 .* since then \{'v1': 0\."):
            await caller.first("v3", after=start, timeout=0.05)
        with pytest.raises(TimeoutError, match=r"1 of 1 answers of v1 "):
            await caller.first("v1", after=start, method="sayBye", timeout=0.05)


async def test_the_methods_can_be_changed_while_calls_flow() -> None:
    """The mix belongs to the running caller, not to its connection."""
    async with ThriftServer.run(answer="v1") as server, Caller(LOOPBACK, server.port) as caller:
        with pytest.raises(ValueError, match="no method sayNothing"):
            caller.methods = ("sayNothing",)
        changed = time.perf_counter()
        caller.methods = ("sayBye",)
        await caller.first("v1", after=changed, method="sayBye", timeout=LIMIT_S)

        assert caller.connections == 1


async def test_a_rate_is_kept() -> None:
    """A caller with a rate waits between its calls, on the same connection."""
    async with ThriftServer.run(answer="v1") as server:
        start = time.perf_counter()
        async with Caller(LOOPBACK, server.port, rate=200) as caller:
            end = await caller.answers(41, after=start, timeout=LIMIT_S)

    assert end - start >= 40 / 200
    assert caller.connections == 1


async def test_a_caller_whose_connection_breaks_says_so_and_ends() -> None:
    """Whoever waits for an answer that cannot come is told at once, and so is who asks later."""
    async with ThriftServer.run(answer="v1") as server, Caller(LOOPBACK, server.port) as caller:
        await caller.first("v1", after=0.0, timeout=LIMIT_S)
        waiting = asyncio.create_task(caller.first("v2", after=0.0, timeout=LIMIT_S))
        await server.stop()

        with pytest.raises(CallerEnded, match="sayHello"):
            await waiting
        with pytest.raises(CallerEnded, match="sayHello"):
            await caller.first("v2", after=0.0, timeout=LIMIT_S)
        assert len(caller.errors) == 1
        assert caller.connections == 1


async def test_a_caller_that_reconnects_counts_errors_and_connections(tmp_path: Path) -> None:
    """Envoy answers an error for a dead upstream and hangs up; the next connection works."""
    async with (
        running_mesh(tmp_path) as mesh,
        Caller(LOOPBACK, mesh.port, reconnect=True) as caller,
    ):
        await caller.first("v1", after=0.0, timeout=LIMIT_S)
        await mesh.v1.stop()
        now = time.perf_counter()
        settled = await caller.answers(20, after=now, version="v2", timeout=LIMIT_S)
        await caller.answers(50, after=settled, version="v2", timeout=LIMIT_S)

        assert caller.split(settled) == {"v2": 1.0}
        assert any(error.startswith("sayHello: TApplicationException") for error in caller.errors)
        assert caller.connections > 1


async def test_envoy_tells_what_it_was_given_and_counts(tmp_path: Path) -> None:
    """Numbers are int, texts are str, and a part of the dump that is empty is an empty list."""
    given = {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", **listener()}
    lds = tmp_path / "lds.json"
    lds.write_text(json.dumps({"version_info": "seven", "resources": [given]}))
    config = {
        "node": {"id": "kit", "cluster": "kit"},
        "dynamic_resources": {"lds_config": {"path_config_source": {"path": str(lds)}}},
        "static_resources": {"clusters": [cluster("v1", 1), cluster("v2", 1)]},
    }
    async with Envoy.run(config, log=tmp_path / "logs" / "envoy.log") as envoy:
        await envoy.wait_live(timeout=LIMIT_S)
        stats = await envoy.stats(r"^listener_manager\.(lds\.version_text|listener_added)$")
        dump: list[dict[str, Any]] = await envoy.config_dump("dynamic_listeners")

        assert stats == {
            "listener_manager.lds.version_text": "seven",
            "listener_manager.listener_added": 1,
        }
        assert [entry["active_state"]["version_info"] for entry in dump] == ["seven"]
        assert await envoy.config_dump("static_listeners") == []
        with pytest.raises(EnvoyFailed, match="Invalid re2 regex"):
            await envoy.stats("[")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"no_such_field": {}}, r"no\s+such\s+field:\s+'no_such_field'"),
        (
            {"dynamic_resources": {"cds_config": {"ads": {}}}},
            "node 'id' and 'cluster' are required",
        ),
    ],
    ids=["found by the parser", "found when the admin port is open"],
)
async def test_an_envoy_that_cannot_start_names_the_reason(
    tmp_path: Path, bad: dict[str, object], reason: str
) -> None:
    """The reason is in Envoy's log only, so it is in the error."""
    with pytest.raises(EnvoyFailed, match=f"(?s)exit status 1; .*{reason}"):
        async with Envoy.run(bootstrap(1, 1) | bad, log=tmp_path / "envoy.log"):
            pytest.fail("it runs")


async def test_an_envoy_that_is_gone_says_so(tmp_path: Path) -> None:
    """A question to a dead Envoy names its exit status instead of a refused connection."""
    async with Envoy.run({}, log=tmp_path / "envoy.log") as envoy:
        os.kill(envoy.pid, signal.SIGABRT)
        with pytest.raises(EnvoyFailed, match=r"(?s)gone, exit status -6; .*Caught Aborted"):
            await envoy.wait_live(timeout=LIMIT_S)


async def test_an_envoy_that_waits_is_not_live(tmp_path: Path) -> None:
    """The state that it is stuck in is part of the error."""
    source = {"api_type": "GRPC", "transport_api_version": "V3"}
    services = {"grpc_services": [{"envoy_grpc": {"cluster_name": "v1"}}]}  # nobody is there
    config = bootstrap(1, 1) | {
        "node": {"id": "kit", "cluster": "kit"},
        "dynamic_resources": {"cds_config": {"api_config_source": source | services}},
    }
    async with Envoy.run(config, log=tmp_path / "envoy.log") as envoy:
        with pytest.raises(EnvoyFailed, match=r"not live after 0\.1 s, but PRE_INITIALIZING"):
            await envoy.wait_live(timeout=0.1)


async def test_a_service_that_cannot_start_names_the_reason() -> None:
    """A taken port is the usual one."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=r"(?s)did not start.*already in use"):
            async with ThriftServer.run(answer="v1", port=port):
                pytest.fail("it runs")


async def test_no_process_outlives_its_block(tmp_path: Path) -> None:
    """Left by its end."""
    async with running_mesh(tmp_path) as mesh:
        assert all(map(lives, mesh.pids))
    assert not any(map(lives, mesh.pids))


async def test_no_process_outlives_its_cancelled_block(tmp_path: Path) -> None:
    """Left by a cancellation, with calls under way."""
    ready: asyncio.Future[Mesh] = asyncio.get_running_loop().create_future()

    async def run_until_cancelled() -> None:
        async with running_mesh(tmp_path) as mesh, Caller(LOOPBACK, mesh.port) as caller:
            await caller.first("v2", after=0.0, timeout=LIMIT_S)
            ready.set_result(mesh)
            await asyncio.Event().wait()

    task = asyncio.create_task(run_until_cancelled())
    mesh = await asyncio.wait_for(ready, timeout=LIMIT_S)
    assert all(map(lives, mesh.pids))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(map(lives, mesh.pids))


PARENT = """
import asyncio, pathlib, sys
from aeraki_xds.demo.envoy import Envoy
from aeraki_xds.demo.thrift_app import ThriftServer

async def main():
    log = pathlib.Path(sys.argv[1])
    async with ThriftServer.run(answer="v1") as server, Envoy.run({}, log=log) as envoy:
        print(server.pid, envoy.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@needs_linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_no_process_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C runs every `finally`; SIGKILL runs none, and the kernel ends the children."""
    path = os.pathsep.join(filter(None, sys.path))
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path / "envoy.log")),
        env=os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
            assert len(pids) == 2
            assert all(map(lives, pids))
            parent.send_signal(number)
            await parent.wait()
            # The kernel's signal comes a moment after the death, and tells nobody else.
            while any(map(lives, pids)):
                await asyncio.sleep(0.005)
    finally:
        if parent.returncode is None:
            parent.kill()
            await parent.wait()
