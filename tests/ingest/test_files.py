"""A folder as a source: real files, real watchers, and what editors and Kubernetes do to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.ingest.contents import Outcome
from aeraki_xds.ingest.event import Event, Rejected, SourceLost, Synced, Unreadable, Upsert
from aeraki_xds.ingest.files import INLINE_BYTES, FileSource, read_paths
from aeraki_xds.ingest.folder import Folder
from aeraki_xds.ingest.hint import Hint, Watcher
from aeraki_xds.ingest.inotify import InotifyWatcher
from aeraki_xds.ingest.scan import Fetched, fetch, fetch_outright
from aeraki_xds.ingest.watch import BlindWatcher
from aeraki_xds.mesh.problems import Problem
from tests.ingest.folders import QUIET, Following, decode, documents, entry

NEVER = 3600.0
"""A quiet period that does not end within a test: what is said was said at once."""

RATHER_LONG = 1.0
"""A quiet period that lasts longer than a step of a test, on a busy machine, too."""


def write(path: Path, text: str) -> None:
    """Write a file, and the folders on the way to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder, in a folder of its own."""
    path = tmp_path / "conf"
    path.mkdir()
    return path


# --- the first look ---------------------------------------------------------------------------


async def test_all_that_is_there_is_one_batch_that_ends_with_synced(root: Path) -> None:
    write(root / "b.yaml", documents(entry("x"), entry("y", "bad")))
    write(root / "deep/er/a.yml", entry("z"))
    write(
        root / "c.json",
        '{"kind": "ServiceEntry", "metadata": {"name": "j"}, "spec": {"hosts": ["h"]}}',
    )
    write(root / "broken.yaml", "a: [")
    write(root / "notes.txt", entry("never"))

    async with Following(root) as said:
        [batch] = said.batches

    assert said.hosts == {"x": "a", "z": "a", "j": "h"}
    assert {event.origin for event in batch if isinstance(event, Upsert)} == {
        "b.yaml",
        "c.json",
        "deep/er/a.yml",
    }
    assert [event.key.name for event in batch if isinstance(event, Rejected)] == ["y"]
    assert said.complaints.keys() == {"broken.yaml"}
    assert [isinstance(event, Synced) for event in batch] == [False] * (len(batch) - 1) + [True]


async def test_a_folder_that_never_held_a_manifest_is_synced_with_nothing(root: Path) -> None:
    async with Following(root) as said:
        assert said.events == [Synced(source=str(root))]


@pytest.mark.parametrize("missing", ["conf", "not/there/yet"])
async def test_a_missing_folder_is_a_lost_source_until_it_is_there(
    tmp_path: Path, missing: str
) -> None:
    root = tmp_path / missing
    async with Following(root) as said:
        [lost] = said.events
        assert isinstance(lost, SourceLost)
        assert str(root) in lost.reason

        write(root / "a.yaml", entry("x"))
        await said.until(lambda: said.state == "synced")

        assert said.hosts == {"x": "a"}


async def test_hidden_names_are_skipped(root: Path) -> None:
    write(root / ".git/a.yaml", entry("x"))
    write(root / ".a.yaml", entry("y"))
    write(root / "stays.yaml", entry("stays"))
    async with Following(root) as said:
        write(root / ".b.yaml", entry("z"))
        write(root / ".git/c.yaml", entry("z"))
        await said.until_rest()

        assert said.hosts == {"stays": "a"}
        assert said.complaints == {}


# --- changes ----------------------------------------------------------------------------------


async def test_a_change_is_said_when_the_file_is_closed_without_waiting_for_quiet(
    root: Path,
) -> None:
    write(root / "a.yaml", entry("x"))
    async with Following(root, quiet=NEVER) as said:
        write(root / "a.yaml", entry("x", "b"))
        write(root / "new.yaml", entry("y"))
        await said.until(lambda: said.hosts == {"x": "b", "y": "a"})


async def test_files_that_are_written_in_one_go_are_one_batch(root: Path) -> None:
    async with Following(root) as said:
        for number in range(20):
            write(root / f"{number}.yaml", entry(f"n{number}"))
        await said.until(lambda: len(said.hosts) == 20)

        assert len(said.batches) == 2


async def test_a_file_is_not_read_while_it_is_written(root: Path) -> None:
    write(root / "a.yaml", documents(entry("x"), entry("y")))
    async with Following(root) as said:
        with (root / "a.yaml").open("w") as old, (root / "b.yaml").open("w") as new:
            old.write(entry("x", "half"))
            old.flush()
            new.write(entry("z", "half"))
            new.flush()
            (root / "folder").mkdir()  # everything is looked at again
            write(root / "folder/c.yaml", entry("other"))
            await said.until(lambda: "other" in said.hosts)
            await said.until_rest()
            assert said.hosts == {"x": "a", "y": "a", "other": "a"}
            old.write("---\n" + entry("y", "whole"))
            new.write("---\n" + entry("w", "whole"))
        await said.until(lambda: {"y", "w"} <= said.hosts.keys())
        await said.until_rest()

        assert said.hosts == {"x": "half", "y": "whole", "z": "half", "w": "whole", "other": "a"}
        assert said.deleted == []


async def test_a_file_in_a_new_folder_may_have_a_writer_that_nobody_saw(root: Path) -> None:
    async with Following(root, quiet=NEVER) as said:
        (root / "new").mkdir()
        with (root / "new/a.yaml").open("w") as file:
            file.write(entry("x", "half"))
            file.flush()
            await said.until_marked()  # the folder is watched only from about now
            assert said.hosts == {}
            file.write("---\n" + entry("y", "whole"))
        await said.until(lambda: said.hosts == {"x": "half", "y": "whole"})


async def test_what_was_read_while_somebody_began_to_write_is_not_used(root: Path) -> None:
    class Suspicious(BlindWatcher):
        def unsettled(self) -> AbstractSet[str]:
            return {"a.yaml"}

    write(root / "a.yaml", entry("x"))
    write(root / "b.yaml", entry("y"))
    folder = Folder(root, decode=decode, watcher=Suspicious(), quiet=QUIET, limit=1000)

    events = folder.look(["a.yaml", "b.yaml"])

    assert [event.key.name for event in events if isinstance(event, Upsert)] == ["y"]


@pytest.mark.skipif(not os.path.isfile("/proc/self/limits"), reason="needs Linux's /proc")
def test_a_file_that_holds_more_than_it_says_is_read_to_its_end() -> None:
    """Those of /proc say that they hold nothing, as one that grows meanwhile says too little."""
    path = "/proc/self/limits"
    whole = Path(path).read_bytes()

    found = fetch_outright(path, limit=len(whole))
    assert isinstance(found, Fetched)
    assert found.stamp.size < len(found.data) == len(whole)
    assert isinstance(fetch_outright(path, limit=len(whole) - 1), Problem)


def test_looking_everywhere_reads_only_what_has_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def noting(root: str, path: str, *, limit: int) -> Fetched | Problem | None:
        read.append(path)
        return fetch(root, path, limit=limit)

    monkeypatch.setattr("aeraki_xds.ingest.folder.fetch", noting)
    for name in "abc":
        write(root / f"{name}.yaml", entry(name))
    folder = Folder(root, decode=decode, watcher=BlindWatcher(), quiet=QUIET, limit=1000)

    folder.look_everywhere()
    write(root / "b.yaml", entry("b", "longer"))
    folder.look_everywhere(also=["c.yaml", "gone.yaml"])

    assert read == ["a.yaml", "b.yaml", "c.yaml", "b.yaml", "c.yaml"]


async def test_a_writer_is_known_before_his_first_byte_can_be_read(root: Path) -> None:
    write(root / "old.yaml", entry("x"))
    async with InotifyWatcher(root) as watcher:
        watcher.enter("", str(root))
        with (root / "old.yaml").open("w"), (root / "new.yaml").open("w"):
            assert watcher.unsettled() == {"old.yaml", "new.yaml"}
            os.utime(root / "old.yaml")
            os.utime(root / "new.yaml")
            during = await watcher.hint(1)
        after = await watcher.hint(1)

        assert during == Hint(is_active=True)
        assert after == Hint(is_active=True, ready=frozenset({"old.yaml", "new.yaml"}))
        assert watcher.unsettled() == set()


@pytest.mark.parametrize("name", [".a.yaml.swp", "a.yaml.tmp", "tmp.yaml"])
async def test_writing_beside_and_renaming_over_is_one_change(root: Path, name: str) -> None:
    write(root / "a.yaml", entry("x"))
    async with Following(root) as said:
        write(root / name, entry("x", "b"))
        (root / name).replace(root / "a.yaml")
        await said.until(lambda: said.hosts == {"x": "b"})
        await said.until_rest()

        assert said.deleted == []
        assert said.complaints == {}


async def test_moving_away_and_writing_anew_deletes_nothing(root: Path) -> None:
    write(root / "a.yaml", documents(entry("x"), entry("y")))
    async with Following(root, quiet=RATHER_LONG) as said:
        (root / "a.yaml").rename(root / "a.yaml~")
        await said.until_marked()
        write(root / "a.yaml", documents(entry("x", "b"), entry("y")))
        await said.until_rest()

        assert said.hosts == {"x": "b", "y": "a"}
        assert said.deleted == []


async def test_removing_and_writing_anew_says_nothing_if_nothing_changes(root: Path) -> None:
    write(root / "a.yaml", entry("x"))
    async with Following(root, quiet=RATHER_LONG) as said:
        (root / "a.yaml").unlink()
        await said.until_marked()
        write(root / "a.yaml", entry("x"))
        await said.until_rest()

        assert said.about("x") == ["Upsert"]


async def test_a_removed_file_is_deleted_at_rest(root: Path) -> None:
    write(root / "a.yaml", documents(entry("x"), entry("y")))
    write(root / "b/c.yaml", entry("z"))
    write(root / "d.yaml", entry("stays"))
    async with Following(root) as said:
        write(root / "a.yaml", entry("x"))
        shutil.rmtree(root / "b")
        await said.until(lambda: said.hosts == {"x": "a", "stays": "a"})
        (root / "a.yaml").unlink()
        await said.until(lambda: said.hosts == {"stays": "a"})

        assert said.state == "synced"


async def test_an_object_may_move_between_files(root: Path) -> None:
    write(root / "a.yaml", documents(entry("x"), entry("y")))
    write(root / "b.yaml", entry("z"))
    async with Following(root, quiet=RATHER_LONG) as said:
        write(root / "a.yaml", entry("x"))
        await said.until_marked()
        write(root / "b.yaml", documents(entry("y"), entry("z")))
        (root / "b.yaml").rename(root / "c.yaml")
        await said.until_rest()

        assert said.hosts == {"x": "a", "y": "a", "z": "a"}
        assert said.deleted == []
        assert said.complaints == {}


def watches() -> int:
    """How many folders this process watches."""
    kept = 0
    for info in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            kept += info.read_text().count("inotify wd:")
    return kept


async def test_folders_come_and_go(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "aside/deep/a.yaml", entry("x"))
    write(root / "stays.yaml", entry("stays"))
    async with Following(root) as said:
        (tmp_path / "aside").rename(root / "moved")
        await said.until(lambda: "x" in said.hosts)
        write(root / "moved/deep/a.yaml", entry("x", "b"))
        write(root / "made/here/b.yaml", entry("y"))
        await said.until(lambda: said.hosts == {"stays": "a", "x": "b", "y": "a"})
        (root / "made").rename(root / "renamed")
        await said.until_rest()
        write(root / "renamed/here/b.yaml", entry("y", "b"))
        (root / "moved").rename(tmp_path / "aside")
        write(tmp_path / "aside/deep/a.yaml", entry("x", "not ours any more"))
        await said.until(lambda: said.hosts == {"stays": "a", "y": "b"})

        assert said.deleted == ["x"]
        assert watches() == 4  # above the root, the root, renamed, renamed/here


async def test_a_hard_link_is_read_though_nobody_closes_it(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", entry("x"))
    async with Following(root, quiet=NEVER) as said:
        os.link(tmp_path / "a.yaml", root / "a.yaml")
        await said.until(lambda: said.hosts == {"x": "a"})


async def test_a_file_that_was_linked_into_place_and_unlinked_is_read(
    root: Path, tmp_path: Path
) -> None:
    write(tmp_path / "a.yaml", entry("x"))
    async with Following(root) as said:
        os.link(tmp_path / "a.yaml", root / "a.yaml")
        (tmp_path / "a.yaml").unlink()  # now it looks like a file that somebody has just created
        await said.until(lambda: said.hosts == {"x": "a"})


async def test_a_folder_that_never_rests_does_not_keep_deletions_waiting_for_ever(
    root: Path,
) -> None:
    class Restless(BlindWatcher):
        async def hint(self, seconds: float | None) -> Hint | None:
            await asyncio.sleep(0)
            return Hint(ready=frozenset({"a.yaml"}), is_active=True)

    write(root / "a.yaml", documents(entry("x"), entry("y")))
    async with Following(root, quiet=0.02, watch=lambda _root: Restless()) as said:
        write(root / "a.yaml", entry("y"))
        await said.until(lambda: said.hosts == {"y": "a"})


def queue_length() -> int:
    """How many events the kernel keeps for us."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


async def test_lost_hints_are_made_good(root: Path) -> None:
    limit = queue_length()
    write(root / "a.yaml", entry("x"))
    write(root / "b.yaml", entry("y"))
    write(root / "c.yaml", entry("z"))
    async with Following(root) as said:
        for _ in range(limit // 2 + 1):  # nothing is awaited: the queue runs over
            os.utime(root / "b.yaml")
            os.utime(root / "c.yaml")
        write(root / "a.yaml", entry("x", "b"))
        await said.until(lambda: said.hosts == {"x": "b", "y": "a", "z": "a"})


# --- what cannot be read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (entry("x") + "kind: Twice\n", "line 4, column 1: duplicate key 'kind'"),
        ("[" * 100_000, "nested more than 100 deep"),
        ("a: &a [x,x,x,x]\n" + "b: [" + "*a," * 100_000 + "]", "aliases repeat too much"),
        ("a: \x00", "a NUL byte"),
        ("kind: ServiceEntry", "no name"),
        ("x" * 20_000, "a manifest is a map"),
        ("# " + "x" * 10**6, "is larger than 500,000 bytes"),
    ],
)
async def test_a_file_that_breaks_keeps_its_objects_until_it_heals(
    root: Path, text: str, reason: str
) -> None:
    write(root / "a.yaml", documents(entry("x"), entry("y")))
    async with Following(root, limit=500_000) as said:
        write(root / "a.yaml", text)
        await said.until(lambda: reason in said.complaints.get("a.yaml", ""))
        await said.until_rest()
        assert said.hosts == {"x": "a", "y": "a"}

        write(root / "a.yaml", entry("x", "b"))
        await said.until(lambda: said.hosts == {"x": "b"})

        assert said.complaints == {}


@pytest.mark.usefixtures("permissions_count")
async def test_a_file_that_may_not_be_read_keeps_its_objects_and_heals_by_itself(
    root: Path,
) -> None:
    write(root / "a.yaml", entry("x"))
    write(root / "deep/b.yaml", entry("y"))
    async with Following(root) as said:
        (root / "a.yaml").chmod(0)
        (root / "deep").chmod(0)
        await said.until(lambda: said.complaints.keys() == {"a.yaml", "deep/"})
        await said.until_rest()
        assert "Permission denied" in said.complaints["a.yaml"]
        assert said.hosts == {"x": "a", "y": "a"}

        (root / "a.yaml").chmod(0o600)
        (root / "deep").chmod(0o700)
        await said.until(lambda: said.complaints == {})
        write(root / "deep/b.yaml", entry("y", "b"))
        await said.until(lambda: said.hosts == {"x": "a", "y": "b"})

        assert said.deleted == []


async def test_nothing_but_files_within_the_folder_is_opened(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret/a.yaml", entry("secret"))
    write(root / "folder.yaml/b.yaml", entry("x"))
    (root / "out.yaml").symlink_to(tmp_path / "secret/a.yaml")
    (root / "outdir").symlink_to(tmp_path / "secret")
    (root / "dangling.yaml").symlink_to("nowhere")
    (root / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(root / "fifo.yaml")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)  # the path of a socket is short
        try:
            listener.bind("socket.yaml")
        finally:
            os.chdir(here)
        async with Following(root) as said:
            (root / "later.yaml").symlink_to("../secret/a.yaml")
            os.mkfifo(root / "later-fifo.yaml")
            await said.until(lambda: "later-fifo.yaml" in said.complaints)

    assert said.hosts == {"x": "a"}
    outside, special = "out of the folder", "not a regular file"
    expected = {
        "out.yaml": outside,
        "outdir": outside,
        "later.yaml": outside,
        "fifo.yaml": special,
        "later-fifo.yaml": special,
        "socket.yaml": special,
        "dangling.yaml": "to nothing",
        "loop.yaml": "cannot be read",
    }
    assert said.complaints.keys() == expected.keys()
    assert all(part in said.complaints[path] for path, part in expected.items())


async def test_a_name_that_is_no_text_is_refused(root: Path) -> None:
    write(root / os.fsdecode(b"\xff.yaml"), entry("x"))
    async with Following(root) as said:
        assert said.hosts == {}
        assert said.complaints == {"?.yaml": "has a name that is not UTF-8"}


async def test_of_two_files_that_define_one_object_the_other_is_reported(root: Path) -> None:
    write(root / "b.yaml", entry("x", "b"))
    async with Following(root) as said:
        write(root / "a.yaml", entry("x", "a"))
        await said.until(lambda: said.hosts == {"x": "a"})
        assert "also defined in a.yaml" in said.complaints["b.yaml"]

        (root / "a.yaml").unlink()
        await said.until(lambda: said.hosts == {"x": "b"})

        assert said.complaints == {}
        assert said.deleted == []


# --- links ------------------------------------------------------------------------------------


def mount(root: Path, version: str, files: dict[str, str]) -> None:
    """What kubelet does to a ConfigMap volume: a new folder, and one link that is swapped."""
    for name, text in files.items():
        write(root / f"..{version}/{name}", text)
    (root / "..data_tmp").symlink_to(f"..{version}")
    data = root / "..data"
    old = data.resolve() if data.is_symlink() else None
    (root / "..data_tmp").replace(data)
    for top in {name.partition("/")[0] for name in files}:
        if not (root / top).is_symlink():
            (root / top).symlink_to(f"..data/{top}")
    for link in root.iterdir():
        if not link.name.startswith("..") and not link.exists():
            link.unlink()
    if old is not None:
        shutil.rmtree(old)


async def test_a_config_map_is_followed_through_its_links(root: Path) -> None:
    mount(root, "1", {"a.yaml": entry("x"), "b.yaml": entry("y"), "sub/c.yaml": entry("z")})
    async with Following(root) as said:
        assert said.hosts == {"x": "a", "y": "a", "z": "a"}

        texts = [entry(name, "b") for name in "xyz"]
        mount(root, "2", dict(zip(("a.yaml", "b.yaml", "sub/c.yaml"), texts, strict=True)))
        await said.until(lambda: said.hosts == {"x": "b", "y": "b", "z": "b"})
        assert len(said.batches) == 2
        mount(root, "3", {"a.yaml": entry("x", "b"), "d.yaml": entry("w")})
        await said.until(lambda: said.hosts == {"x": "b", "w": "a"})
        assert said.complaints == {}
        (root / "..data").unlink()
        await said.until(lambda: said.complaints.keys() == {"a.yaml", "d.yaml"})

        assert said.hosts == {"x": "b", "w": "a"}
        assert {event.origin for event in said.events if isinstance(event, Upsert)} == {
            "a.yaml",
            "b.yaml",
            "d.yaml",
            "sub/c.yaml",
        }


async def test_a_root_that_is_a_link_may_be_swapped(tmp_path: Path) -> None:
    write(tmp_path / ".worktrees/1/a.yaml", documents(entry("x"), entry("y")))
    write(tmp_path / ".worktrees/2/a.yaml", entry("x", "b"))
    root = tmp_path / "current"
    root.symlink_to(".worktrees/1")
    async with Following(root) as said:
        (tmp_path / "next").symlink_to(".worktrees/2")
        (tmp_path / "next").replace(root)
        await said.until(lambda: said.hosts == {"x": "b"})
        write(tmp_path / ".worktrees/2/a.yaml", entry("x", "c"))
        await said.until(lambda: said.hosts == {"x": "c"})

        assert said.state == "synced"


async def test_a_file_behind_a_link_is_watched_where_it_is(root: Path) -> None:
    write(root / ".store/deep/real.yaml", entry("x"))
    async with Following(root) as said:
        (root / "a.yaml").symlink_to(".store/deep/real.yaml")
        await said.until(lambda: said.hosts == {"x": "a"})
        write(root / ".store/deep/real.yaml", entry("x", "b"))
        await said.until(lambda: said.hosts == {"x": "b"})
        (root / ".store/deep").rename(root / ".store/gone")
        await said.until(lambda: "to nothing" in said.complaints.get("a.yaml", ""))
        (root / ".store/gone").rename(root / ".store/deep")
        await said.until(lambda: said.complaints == {})
        (root / ".store/deep/real.yaml").rename(root / ".store/deep/aside")
        await said.until(lambda: "to nothing" in said.complaints.get("a.yaml", ""))
        (root / ".store/deep/aside").rename(root / ".store/deep/real.yaml")
        await said.until(lambda: said.complaints == {})

        assert said.hosts == {"x": "b"}


async def test_a_link_into_a_hidden_folder_waits_for_the_folder(root: Path) -> None:
    write(root / ".aside/real.yaml", entry("x"))
    (root / "a.yaml").symlink_to(".store/real.yaml")
    async with Following(root) as said:
        assert "to nothing" in said.complaints["a.yaml"]
        (root / ".aside").rename(root / ".store")
        await said.until(lambda: said.hosts == {"x": "a"})

        assert said.complaints == {}


async def test_a_folder_behind_a_link_comes_and_goes_with_the_link(root: Path) -> None:
    write(root / "stays.yaml", entry("stays"))
    write(root / ".store/1/a.yaml", documents(entry("x"), entry("y")))
    write(root / ".store/2/a.yaml", entry("x", "b"))
    async with Following(root) as said:
        (root / "current").symlink_to(".store/1")
        await said.until(lambda: said.hosts == {"stays": "a", "x": "a", "y": "a"})
        (root / "next").symlink_to(".store/2")
        (root / "next").replace(root / "current")
        await said.until(lambda: said.hosts == {"stays": "a", "x": "b"})
        (root / "current").unlink()
        await said.until(lambda: said.hosts == {"stays": "a"})


async def test_a_folder_that_is_reached_twice_is_read_once(root: Path) -> None:
    write(root / "real/a.yaml", entry("x"))
    (root / "alias").symlink_to("real")
    (root / "real/up").symlink_to("..")
    async with Following(root) as said:
        assert said.complaints == {}
        assert [event.origin for event in said.events if isinstance(event, Upsert)] == [
            "real/a.yaml"
        ]


# --- a source that is lost --------------------------------------------------------------------


async def test_a_root_that_is_removed_is_lost_and_deletes_nothing_until_it_is_back(
    root: Path,
) -> None:
    write(root / "a.yaml", documents(entry("x"), entry("y")))
    write(root / "deep/b.yaml", entry("z"))
    async with Following(root) as said:
        shutil.rmtree(root)
        await said.until(lambda: said.state == "lost")
        assert said.hosts == {"x": "a", "y": "a", "z": "a"}

        write(root / "a.yaml", documents(entry("x", "b"), entry("y")))
        await said.until(lambda: said.state == "synced")

        assert said.hosts == {"x": "b", "y": "a"}
        write(root / "a.yaml", entry("x", "c"))
        await said.until(lambda: said.hosts == {"x": "c"})


async def test_a_root_that_is_replaced_in_one_go_is_not_lost(root: Path, tmp_path: Path) -> None:
    write(root / "a.yaml", documents(entry("x"), entry("y")))
    write(tmp_path / "new/a.yaml", entry("x", "b"))
    async with Following(root) as said:
        os.rename(root, tmp_path / "old")
        os.rename(tmp_path / "new", root)
        await said.until(lambda: said.hosts == {"x": "b"})
        write(root / "a.yaml", entry("x", "c"))
        await said.until(lambda: said.hosts == {"x": "c"})

        assert not [event for event in said.events if isinstance(event, SourceLost)]


async def test_a_root_that_is_emptied_is_lost_and_deletes_nothing_until_it_is_filled(
    root: Path,
) -> None:
    write(root / "a.yaml", entry("x"))
    write(root / "b.yaml", entry("y"))
    async with Following(root) as said:
        (root / "a.yaml").unlink()
        (root / "b.yaml").unlink()
        await said.until(lambda: said.state == "lost")
        assert "no manifest is left" in str(said.events[-1])
        assert said.hosts == {"x": "a", "y": "a"}

        write(root / "c.yaml", entry("z"))
        await said.until(lambda: said.state == "synced")

        assert said.hosts == {"z": "a"}
        assert [type(event) for event in said.events if isinstance(event, Synced | SourceLost)] == [
            Synced,
            SourceLost,
            Synced,
        ]


async def test_a_root_that_becomes_a_file_is_lost(root: Path) -> None:
    write(root / "a.yaml", entry("x"))
    async with Following(root) as said:
        shutil.rmtree(root)
        write(root, entry("y"))
        await said.until(lambda: said.state == "lost")

        assert said.hosts == {"x": "a"}


# --- other watchers ---------------------------------------------------------------------------


def watchfiles(root: Path) -> Watcher:
    """The watcher of other machines, which works here, too."""
    pytest.importorskip("watchfiles")
    from aeraki_xds.ingest.notify import NotifyWatcher

    return NotifyWatcher(root)


def blind(_root: Path) -> Watcher:
    """The watcher of a machine that has run out of everything."""
    return BlindWatcher()


@pytest.mark.parametrize("watch", [watchfiles, blind])
async def test_without_inotify_changes_are_found_all_the_same(root: Path, watch: Any) -> None:
    write(root / "a.yaml", documents(entry("x"), entry("y")))
    async with Following(root, watch=watch) as said:
        write(root / "a.yaml", entry("x", "b"))
        write(root / "new/b.yaml", entry("z"))
        await said.until(lambda: said.hosts == {"x": "b", "z": "a"})
        (root / "new/b.yaml").unlink()
        await said.until(lambda: said.hosts == {"x": "b"})
        shutil.rmtree(root)
        await said.until(lambda: said.state == "lost")
        write(root / "a.yaml", entry("x", "c"))
        await said.until(lambda: said.state == "synced")

        assert said.hosts == {"x": "c"}


# --- threads and endings ----------------------------------------------------------------------


async def test_small_files_are_read_on_the_loop_and_large_ones_beside_it(root: Path) -> None:
    threads: dict[str, int] = {}

    def noting(document: Mapping[str, Any], *, origin: str) -> Outcome:
        threads[document["metadata"]["name"]] = threading.get_ident()
        return decode(document, origin=origin)

    async with Following(root, decode=noting) as said:
        write(root / "a.yaml", entry("small"))
        write_large = entry("large") + "# " + "x" * INLINE_BYTES
        await said.until(lambda: "small" in said.hosts)
        write(root / "b.yaml", write_large)
        await said.until(lambda: "large" in said.hosts)

    assert threads["small"] == threading.get_ident()
    assert threads["large"] != threading.get_ident()


def test_cancellation_leaves_no_descriptor_and_no_work_behind(root: Path) -> None:
    for number in range(50):
        write(root / f"{number}.yaml", entry(f"n{number}"))
    is_reading, may_read = threading.Event(), threading.Event()
    decoded: list[str] = []

    def slowly(document: Mapping[str, Any], *, origin: str) -> Outcome:
        is_reading.set()
        may_read.wait(10)
        decoded.append(origin)
        return decode(document, origin=origin)

    async def cancel_in_the_middle() -> None:
        source = FileSource(root=root, decode=slowly)
        said: list[Sequence[Event]] = []
        task = asyncio.create_task(source.run(said.append))
        await asyncio.to_thread(is_reading.wait, 10)
        task.cancel()
        asyncio.get_running_loop().call_soon(may_read.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert said == []
        assert len(decoded) == 1

    async def cancel_at_rest() -> None:
        async with Following(root, watch=open_and_keep):
            pass

    def open_and_keep(root: Path) -> Watcher:
        watchers.append(InotifyWatcher(root))  # or else collecting the garbage closes it
        return watchers[-1]

    watchers: list[Watcher] = []
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    asyncio.run(cancel_in_the_middle())
    asyncio.run(cancel_at_rest())
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


async def test_without_an_inotify_instance_the_folder_is_polled(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, root: Path) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(InotifyWatcher, "__init__", refuse)
    async with Following(root) as said:
        write(root / "a.yaml", entry("x"))
        await said.until(lambda: said.hosts == {"x": "a"})


# --- read_paths -------------------------------------------------------------------------------


def test_paths_are_read_once_with_everything_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("conf/a.yaml"), documents(entry("x"), entry("y", "bad")))
    write(
        Path("conf/broken.yaml"),
        documents(entry("z", "bad"), "a: {a: 1, a: 2}\n", "kind: ServiceEntry"),
    )
    write(Path("conf/sub/copy.yaml"), entry("x", "copy"))
    write(Path("single.txt"), entry("s"))
    os.mkfifo("conf/fifo.yaml")

    events = read_paths([Path("single.txt"), Path("conf"), Path("conf/sub/../a.yaml")], decode)

    assert [(event.key.name, event.origin) for event in events if isinstance(event, Upsert)] == [
        ("x", "conf/a.yaml"),
        ("s", "single.txt"),
    ]
    assert [event.key.name for event in events if isinstance(event, Rejected)] == ["y", "z"]
    said = {event.origin: event.problems for event in events if isinstance(event, Unreadable)}
    assert said.keys() == {"conf/broken.yaml", "conf/fifo.yaml", "conf/sub/copy.yaml"}
    assert len(said["conf/broken.yaml"]) == 2
    assert "also defined in conf/a.yaml" in said["conf/sub/copy.yaml"][0].message


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: no such file or folder"):
        read_paths([tmp_path / "nowhere.yaml"], decode)


def test_a_path_that_is_named_may_be_a_link_to_anywhere(tmp_path: Path) -> None:
    write(tmp_path / "real/a.yaml", entry("x"))
    (tmp_path / "link.yaml").symlink_to("real/a.yaml")

    [event] = read_paths([tmp_path / "link.yaml"], decode)

    assert isinstance(event, Upsert)
    assert event.origin == str(tmp_path / "link.yaml")


# --- after a restart --------------------------------------------------------------------------


async def test_a_file_that_held_objects_before_a_restart_is_not_believed_to_be_empty(
    root: Path,
) -> None:
    write(root / "a.yaml", "")
    write(root / "b.yaml", "")
    write(root / "c.yaml", entry("x"))
    async with Following(root, remembered=["a.yaml"]) as said:
        await said.until(lambda: said.state == "synced")
        (unreadable,) = [event for event in said.events if isinstance(event, Unreadable)]
        assert (unreadable.origin, unreadable.hides) == ("a.yaml", True)
        write(root / "a.yaml", entry("y"))
        await said.until(lambda: said.hosts == {"x": "a", "y": "a"})
        assert Unreadable(origin="a.yaml", problems=()) in said.events


async def test_a_folder_that_held_manifests_before_a_restart_is_lost_when_it_is_empty(
    root: Path,
) -> None:
    async with Following(root, remembered=["a.yaml"]) as said:
        await said.until(lambda: said.state == "lost")
        assert "no manifest is left" in str(said.events[-1])
        write(root / "b.yaml", entry("x"))
        await said.until(lambda: said.state == "synced")
