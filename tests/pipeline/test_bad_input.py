"""The file source under fire: whatever happens to a folder, no call goes where nobody sent it.

A real folder, watched; a pipeline; a hub that remembers every route table that was ever in force.
Each case spoils the folder in one way. What stays in force, what is reported (log, /debug/
rejections, `validate`), and that mending it needs no restart, is asked of every case alike.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from aeraki_xds.encode import packed_to_json
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.files import FileSource, read_paths
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline, Scopes
from aeraki_xds.pipeline.offline import translate
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC
from aeraki_xds.xds.hub import Hub, Published
from aeraki_xds.xds.resource import HTTP_ROUTES, Name, ResourceId, Scope
from aeraki_xds.xds.snapshot import Changed, Snapshot
from aeraki_xds.xds.tally import Change

LIMIT_S = 20.0
EXAMPLE = Path(__file__).parents[2] / "examples" / "thrift-canary"
ROUTE = ResourceId(HTTP_ROUTES, Name("hello.demo.svc.cluster.local_9090"))
ROUTER = yaml.safe_load((EXAMPLE / "router.yaml").read_text())
TEXT = (EXAMPLE / "router.yaml").read_text()


class RememberingHub(Hub):
    """Remembers where the route sent, after every publication; None while there is no route."""

    def __init__(self) -> None:
        super().__init__(clock=time.time)
        self.sent_to: list[str | None] = []
        self.published_once = asyncio.Event()

    def put(
        self, scope: Scope, snapshot: Snapshot, changed: Changed, change: Change | None = None
    ) -> Published:
        published = super().put(scope, snapshot, changed, change)
        resource = snapshot.get(ROUTE)
        self.sent_to.append(_subset(packed_to_json(resource.packed)) if resource else None)
        self.published_once.set()
        return published


def _subset(table: Any) -> str:
    cluster: str = table["virtualHosts"][0]["routes"][0]["route"]["cluster"]
    return cluster.split("|")[2] or "default"


@dataclass(slots=True, kw_only=True)
class Folder:
    """A watched folder and what became of it."""

    root: Path
    hub: RememberingHub
    pipeline: Pipeline
    log: list[Any] = field(default_factory=list)

    def write(self, text: str, name: str = "router.yaml") -> None:
        (self.root / name).write_text(text, encoding="utf-8")

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not holds():
                await asyncio.sleep(0.005)

    async def sends_to(self, subset: str) -> None:
        await self.until(lambda: self.hub.sent_to[-1] == subset)

    def reported(self, *words: str) -> bool:
        return any(all(word in str(entry) for word in words) for entry in self.pipeline.report)


@asynccontextmanager
async def following(root: Path) -> AsyncIterator[Folder]:
    """A folder as it is, followed from now on."""
    hub = RememberingHub()
    source = FileSource(root=root, decode=decode)
    clock = asyncio.get_running_loop().time
    pipeline = Pipeline(
        hub=hub, scopes=Scopes(), sources=[source.name], clock=clock, tenancy=Tenancy()
    )
    with structlog.testing.capture_logs() as log:
        running = [
            asyncio.ensure_future(pipeline.run()),
            asyncio.ensure_future(source.run(pipeline.inbox.put)),
        ]
        try:
            yield Folder(root=root, hub=hub, pipeline=pipeline, log=log)
            assert not any(task.done() for task in running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def watched(root: Path) -> AsyncIterator[Folder]:
    """The example, followed, with everything going to v1."""
    shutil.copytree(EXAMPLE, root, dirs_exist_ok=True)
    async with following(root) as folder:
        await folder.until(lambda: bool(folder.hub.sent_to))
        await folder.sends_to("v1")
        yield folder


def to(subset: str) -> str:
    """The router with everything to a subset."""
    route = {"route": [{"destination": {"host": "hello", "subset": subset}}]}
    return yaml.safe_dump({**ROUTER, "spec": {"hosts": ROUTER["spec"]["hosts"], "routes": [route]}})


def changed(old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        assert old in TEXT
        (root / "router.yaml").write_text(TEXT.replace(old, new), encoding="utf-8")

    return spoil


def text(content: str | bytes, name: str = "router.yaml") -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (root / name).write_bytes(data)

    return spoil


def link_out_of_the_root(root: Path) -> None:
    outside = root.parent / "outside.yaml"
    outside.write_text(to("v2"))
    (root / "link.yaml").symlink_to(outside)


def fifo(root: Path) -> None:
    os.mkfifo(root / "pipe.yaml")


def hundred_megabytes(root: Path) -> None:
    with (root / "big.yaml").open("wb") as file:
        file.truncate(100 << 20)


def without_permission(root: Path) -> None:
    (root / "router.yaml").write_text(to("v2"))
    (root / "router.yaml").chmod(0)


LAUGHS = "\n".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9) if n else 'lol'}]" for n in range(12)
)

# name → (how the folder is spoilt, what the report says, the file that mending removes)
CASES: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "not YAML": (text("spec: [unclosed"), ("router.yaml",), ""),
    "not text": (text(b"\xff\xfe\x00spec"), ("router.yaml",), ""),
    "an unknown kind": (changed("kind: MetaRouter", "kind: MetaRoute"), ("MetaRoute",), ""),
    "an unknown version": (changed("v1alpha1", "v9"), ("router.yaml", "v9"), ""),
    "a wrong type": (
        changed("subset: v1}", "subset: v1}\n      weight: eighty"),
        ("MetaRouter/demo/hello", "spec.routes[0].route[0].weight"),
        "",
    ),
    "a misspelt field": (
        changed("destination:", "destinatoin:"),
        ("spec.routes[0].route[0].destinatoin", "destination"),
        "",
    ),
    "a duplicate key": (
        changed("  hosts:", "  routes: []\n  hosts:"),
        ("routes", "router.yaml"),
        "",
    ),
    "an alias bomb": (text(f"{TEXT}\n---\n{LAUGHS}\n"), ("router.yaml",), ""),
    "deep nesting": (text("a: " + "[" * 100_000), ("router.yaml",), ""),
    "NaN": (changed("subset: v1}", "subset: v1}\n      weight: .nan"), ("router.yaml",), ""),
    "an empty file": (text(""), ("router.yaml",), ""),
    "an unknown subset": (
        text(to("v9")),
        ("spec.routes[0].route[0].destination.subset", "v9"),
        "",
    ),
    "an unknown host": (
        changed("host: hello,", "host: helo,"),
        ("spec.routes[0].route[0].destination.host", "helo.demo"),
        "",
    ),
    "the same object in another file": (
        text(to("v2"), "second.yaml"),
        ("second.yaml", "router.yaml"),
        "second.yaml",
    ),
    "a router of somebody else": (
        text(to("v2").replace("namespace: demo", "namespace: evil"), "evil.yaml"),
        ("MetaRouter/evil/hello", "spec.hosts[0]", "tenancy"),
        "evil.yaml",
    ),
    "a link out of the root": (link_out_of_the_root, ("link.yaml",), "link.yaml"),
    "a FIFO": (fifo, ("pipe.yaml",), "pipe.yaml"),
    "a file of 100 MB": (hundred_megabytes, ("big.yaml",), "big.yaml"),
    "no permission": (without_permission, ("router.yaml",), ""),
}


FINE_BY_ITSELF = {"an empty file"}
"""What is suspicious only because the file held something before."""


@pytest.mark.usefixtures("permissions_count")
@pytest.mark.parametrize("case", CASES)
async def test_bad_input_is_reported_changes_nothing_and_is_mended_without_a_restart(
    case: str, tmp_path: Path
) -> None:
    spoil, words, removed = CASES[case]
    async with watched(tmp_path / "mesh") as folder:
        spoil(folder.root)
        await folder.until(lambda: folder.reported(*words))
        assert set(folder.hub.sent_to) == {"v1"}
        assert any(each["log_level"] == "warning" for each in folder.log), folder.log
        if case not in FINE_BY_ITSELF:
            offline = translate(read_paths([folder.root], decode), [GLOBAL_SPEC], tenancy=Tenancy())
            assert any(all(word in str(e) for word in words) for e in offline.entries)
            assert not offline.is_valid
        if removed:
            (folder.root / removed).unlink()
        (folder.root / "router.yaml").unlink(missing_ok=True)
        folder.write(to("v2"))
        await folder.sends_to("v2")
        await folder.until(lambda: not folder.pipeline.report)
        assert set(folder.hub.sent_to) == {"v1", "v2"}


async def test_a_file_that_never_was_valid_holds_its_host_until_it_is(tmp_path: Path) -> None:
    """Not even the default route: nobody knows yet what the router wants."""
    root = tmp_path / "mesh"
    shutil.copytree(EXAMPLE, root)
    (root / "router.yaml").write_text(TEXT.replace("subset: v1", "subset: 1"))
    async with following(root) as folder:
        hub = folder.hub
        await folder.until(lambda: folder.reported("MetaRouter/demo/hello") and bool(hub.sent_to))
        assert set(hub.sent_to) == {None}
        folder.write(to("v2"))
        await folder.sends_to("v2")
    assert "default" not in hub.sent_to


async def test_a_file_that_never_could_be_read_holds_every_host_without_a_router(
    tmp_path: Path,
) -> None:
    """It may hold the router of any of them, so nobody gets a new default route."""
    root = tmp_path / "mesh"
    shutil.copytree(EXAMPLE, root)
    (root / "router.yaml").write_text("spec: [unclosed")
    offline = translate(read_paths([root], decode), [GLOBAL_SPEC], tenancy=Tenancy())
    assert offline.scopes == ({},)
    async with following(root) as folder:
        await folder.until(lambda: bool(folder.hub.sent_to))
        assert set(folder.hub.sent_to) == {None}
        folder.write(to("v2"))
        await folder.sends_to("v2")
        await folder.until(lambda: not folder.pipeline.report)
    assert "default" not in folder.hub.sent_to


async def test_a_file_that_cannot_be_read_leaves_default_routes_in_force_as_they_are(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path / "mesh") as folder:
        (folder.root / "router.yaml").unlink()
        await folder.sends_to("default")
        folder.write("spec: [unclosed", "new.yaml")
        await folder.until(lambda: folder.reported("new.yaml"))
        assert folder.hub.sent_to[-1] == "default"
        (folder.root / "new.yaml").unlink()
        await folder.until(lambda: not folder.pipeline.report)


async def test_a_slow_writer_is_waited_for(tmp_path: Path) -> None:
    """Half of the file is a valid router, too: one that sends everything elsewhere."""
    whole = to("v2") + "---\n" + to("v1").replace("name: hello", "name: other", 1)
    async with watched(tmp_path / "mesh") as folder:
        with (folder.root / "router.yaml").open("w") as file:
            file.write("# nothing yet\n")
            file.flush()
            folder.write("# a change elsewhere that is taken at once\n", "note.yaml")
            folder.write((EXAMPLE / "subsets.yaml").read_text() + "\n", "subsets.yaml")
            await asyncio.sleep(0.3)  # longer than the quiet after which removals go
            assert set(folder.hub.sent_to) == {"v1"}
            file.write(whole)
        await folder.sends_to("v2")
        assert set(folder.hub.sent_to) == {"v1", "v2"}


def rename_dance(root: Path) -> None:
    (root / "router.yaml").rename(root / "router.yaml~")
    (root / "4913").write_text("")
    (root / "4913").unlink()
    (root / "router.yaml").write_text(to("v2"))
    (root / "router.yaml~").unlink()


def checkout(root: Path) -> None:
    """What `git checkout` does: every file that differs is unlinked and written anew."""
    for path in sorted(root.iterdir()):
        content = to("v2") if path.name == "router.yaml" else path.read_text() + "# branch\n"
        path.unlink()
        path.write_text(content)


def replaced(root: Path) -> None:
    new = root.with_name("new")
    shutil.copytree(root, new)
    (new / "router.yaml").write_text(to("v2"))
    shutil.rmtree(root)
    new.rename(root)


def removed_and_made_again(root: Path) -> None:
    files = {path.name: path.read_text() for path in root.iterdir()}
    shutil.rmtree(root)
    root.mkdir()
    for name, content in files.items():
        (root / name).write_text(to("v2") if name == "router.yaml" else content)


@pytest.mark.parametrize("dance", [rename_dance, checkout, replaced, removed_and_made_again])
async def test_however_a_file_is_replaced_the_route_only_moves_from_the_old_to_the_new(
    dance: Callable[[Path], None], tmp_path: Path
) -> None:
    async with watched(tmp_path / "mesh") as folder:
        dance(folder.root)
        await folder.sends_to("v2")
        await folder.until(lambda: not folder.pipeline.report)
        assert set(folder.hub.sent_to) == {"v1", "v2"}


async def test_a_config_map_moves_all_its_files_at_once(tmp_path: Path) -> None:
    """`..data` is a link that is swapped; the visible names are links through it."""
    root = tmp_path / "mesh"
    one, two = root / "..one", root / "..two"
    for version, content in ((one, TEXT), (two, to("v2"))):
        shutil.copytree(EXAMPLE, version)
        (version / "router.yaml").write_text(content)
    (root / "..data").symlink_to("..one")
    for path in one.iterdir():
        (root / path.name).symlink_to(Path("..data") / path.name)
    async with following(root) as folder:
        await folder.until(lambda: bool(folder.hub.sent_to))
        await folder.sends_to("v1")
        (root / "..data_tmp").symlink_to("..two")
        (root / "..data_tmp").rename(root / "..data")
        shutil.rmtree(one)
        await folder.sends_to("v2")
    assert set(folder.hub.sent_to) == {"v1", "v2"}


async def test_a_folder_that_is_gone_is_stale_and_everything_stays(tmp_path: Path) -> None:
    async with watched(tmp_path / "mesh") as folder:
        shutil.rmtree(folder.root)
        (state,) = folder.pipeline.sources.values()
        await folder.until(lambda: bool(state.stale))
        assert folder.hub.sent_to[-1] == "v1"
        assert set(folder.hub.sent_to) == {"v1"}
