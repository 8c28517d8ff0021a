"""The state folder: what is written is what is read, and what cannot be is never taken for it."""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.ingest.decode import decode
from aeraki_xds.ingest.event import Event, Unreadable
from aeraki_xds.mesh.change import Delete, Rejected, Upsert
from aeraki_xds.mesh.names import Host, Key, Kind, Namespace
from aeraki_xds.mesh.objects import Password, RedisService, key_of
from aeraki_xds.mesh.problems import error, warning
from aeraki_xds.mesh.store import Store
from aeraki_xds.pipeline.last_good import Changes, LastGood, Standing, Touched
from aeraki_xds.state import State
from aeraki_xds.state import database as file
from aeraki_xds.state.database import FILE, Database
from aeraki_xds.state.records import Row, restored, rows
from aeraki_xds.translate.compose import Ads, MetaRds, Recipe
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters
from aeraki_xds.translate.listeners import Variant
from aeraki_xds.xds.resource import CLUSTER, ENDPOINTS, Name, Resource, ResourceId
from tests.manifests import ALL, REDIS_SERVICE, SECRET, VIRTUAL_SERVICE, edited
from tests.mesh.kit import refused, router, said, service, subsets

LIMIT_S: Final = 30.0
CANARY: Final = "kanarienvogel"
STOCK = Ads(variant=Variant())
OTHERS = (
    Ads(variant=Variant(bind="fd00::1", extensions=frozenset())),
    Ads(variant=Variant(bind="vip", extensions=frozenset({"b", "a"}))),
)
KEPT = Resource.of(
    CLUSTER,
    Name("outbound|1||a"),
    b"\x00\xff body",
    (ResourceId(ENDPOINTS, Name("outbound|1||a")),),
)


def of(*standing: Standing) -> Changes:
    """Objects, under their keys."""
    changes = Changes()
    for each in standing:
        event = each.accepted or each.rejected
        assert event
        changes.objects[event.key] = each
    return changes


def accepted(event: Event | object) -> Standing:
    assert isinstance(event, Upsert)
    return Standing(accepted=event)


def written(folder: Path, *batches: Changes) -> LastGood:
    """Write batches, one transaction each, and read them back."""
    database = Database.open(folder)
    for changes in batches:
        database.write(changes)
    database.close()
    return read(folder)


def bytes_of(folder: Path) -> bytes:
    """Every byte of every file of a folder."""
    return b"\n".join(file.read_bytes() for file in folder.iterdir())


def read(folder: Path) -> LastGood:
    database = Database.open(folder)
    try:
        return restored(database.found).last_good
    finally:
        database.close()


def plain(kept: dict[Recipe, dict[Host, tuple[Resource, ...]]] | object) -> object:
    """Resources are compared by identity: what they hold instead."""
    assert isinstance(kept, dict)
    return {
        recipe: {
            host: [(r.id, r.packed, r.digest, r.needs) for r in resources]
            for host, resources in hosts.items()
        }
        for recipe, hosts in kept.items()
    }


# --- what is written is what is read ----------------------------------------------------------


KEPT_KINDS = [manifest for manifest in ALL if manifest is not SECRET]


@pytest.mark.parametrize("manifest", KEPT_KINDS, ids=lambda manifest: str(manifest["kind"]))
def test_an_object_of_every_kind_comes_back_as_it_was(
    tmp_path: Path, manifest: dict[str, object]
) -> None:
    event = decode(manifest, origin="some.yaml")
    standing = accepted(event)
    assert written(tmp_path, of(standing)).objects == {standing.accepted.key: standing}  # type: ignore[union-attr]


def test_fields_that_are_only_passed_on_come_back_too(tmp_path: Path) -> None:
    odd = {"a": [1, 2.5, None, True, {"b": "ü"}], "huge": 10**30}
    manifest = edited(VIRTUAL_SERVICE, {"spec.http[1].timeout": odd, "spec.tls": [odd]})
    standing = accepted(decode(manifest, origin="some.yaml"))
    (found,) = written(tmp_path, of(standing)).objects.values()
    assert found == standing


def test_the_password_of_an_object_comes_back_and_is_in_no_log(tmp_path: Path) -> None:
    manifest = edited(REDIS_SERVICE, {"spec.settings.auth.plain.password": CANARY})
    standing = accepted(decode(manifest, origin="some.yaml"))
    with capture_logs() as logs:
        (found,) = written(tmp_path, of(standing)).objects.values()
    assert found.accepted is not None
    item = found.accepted.item
    assert isinstance(item, RedisService)
    assert item.spec.settings is not None
    assert item.spec.settings.auth is not None
    assert item.spec.settings.auth.plain is not None
    assert item.spec.settings.auth.plain.password == Password(CANARY)
    assert CANARY not in repr((logs, found))
    assert CANARY.encode() in bytes_of(tmp_path)  # so that what follows is looked for in vain


def test_nothing_of_a_secret_is_ever_written(tmp_path: Path) -> None:
    """Neither the Secret that is read, nor one that is refused, nor that there is one."""
    manifest = edited(SECRET, {"stringData": {"password": CANARY}})
    good = decode(manifest, origin="secrets.yaml")
    bad = decode(edited(manifest, {"data": [CANARY]}), origin="secrets.yaml")
    assert isinstance(good, Upsert)
    assert isinstance(bad, Rejected)
    store, touched = Store(), Touched()
    batches = []
    for events in ([good, *said(service())], [bad], [Delete(key=good.key)], [good]):
        for event in events:
            touched.hear(event)
        store.apply(events)
        batch = touched.changes({}, {})
        batch.objects.update(touched.objects(store))
        batches.append(batch)
    assert list(written(tmp_path, *batches).objects) == [key_of(service())]
    content = bytes_of(tmp_path)
    assert b"hello" in content
    for word in (CANARY, base64.b64encode(CANARY.encode()).decode(), "Secret", "secrets.yaml"):
        assert word.encode() not in content


def test_no_envoy_filter_is_written_for_it_may_hold_what_a_secret_says(tmp_path: Path) -> None:
    touched = Touched()
    kept = Resource.of(CLUSTER, Name("shop/redis"), CANARY.encode())
    in_use: dict[Recipe, dict[Host, tuple[Resource, ...]]] = {
        EnvoyFilters(): {Host("a"): (kept,)},
        MetaRds(): {Host("a"): (KEPT,)},
    }
    batches = [touched.changes({}, in_use), touched.changes({}, {MetaRds(): {}})]
    assert list(written(tmp_path, *batches).kept) == [MetaRds()]
    assert CANARY.encode() not in bytes_of(tmp_path)


def test_warnings_rejections_and_their_hosts_come_back(tmp_path: Path) -> None:
    good = Upsert(
        key=key_of(router()), item=router(), origin="ü/r.yaml", problems=(warning("spec", "odd"),)
    )
    beside = Standing(accepted=good, rejected=refused(router(), hosts=("hello", "other"))[0])
    alone = Standing(rejected=refused(router("other"))[0])
    found = written(tmp_path, of(beside, alone))
    assert found.objects == of(beside, alone).objects
    assert found.may_be_served


def test_unreadable_files_come_back(tmp_path: Path) -> None:
    hides = Unreadable(origin="a.yaml", problems=(error("", "no YAML"),), hides=True)
    assert written(tmp_path, Changes(files={"a.yaml": hides})).files == {"a.yaml": hides}
    assert written(tmp_path, Changes(files={"a.yaml": None})).files == {}


def test_what_is_kept_of_a_recipe_comes_back_and_goes_with_it(tmp_path: Path) -> None:
    recipes: list[Recipe] = [MetaRds(), STOCK, *OTHERS]
    changes = Changes(recipes=dict.fromkeys(recipes, True), kept={(STOCK, Host("a")): (KEPT, KEPT)})
    nothing: dict[Recipe, dict[Host, tuple[Resource, ...]]] = {recipe: {} for recipe in recipes}
    expected = nothing | {STOCK: {Host("a"): (KEPT, KEPT)}}
    assert plain(written(tmp_path, changes).kept) == plain(expected)
    without = {recipe: each for recipe, each in nothing.items() if recipe != STOCK}
    assert plain(written(tmp_path, Changes(recipes={STOCK: False})).kept) == without
    assert plain(written(tmp_path, Changes(recipes={STOCK: True})).kept) == nothing


def test_names_that_no_text_encoding_knows_come_back(tmp_path: Path) -> None:
    key = Key(Kind.META_ROUTER, Namespace("a/b"), "half \ud800 and \0")
    standing = Standing(rejected=Rejected(key=key, origin="r.yaml", problems=()))
    assert written(tmp_path, of(standing)).objects == {key: standing}


def test_an_object_that_cannot_be_written_is_held_after_the_restart(tmp_path: Path) -> None:
    item = router("hello", "hello/\ud800")
    changes = of(*(Standing(accepted=each) for each in said(service(), item)))
    with capture_logs() as logs:
        found = written(tmp_path, changes)
    assert [log["event"] for log in logs] == ["cannot be kept for a restart", "cannot be restored"]
    rejected = found.objects[key_of(item)].rejected
    assert rejected is not None
    assert rejected.hosts == {"hello"}
    assert not found.whole


OBJECTS = [
    *said(service(), subsets(), router(), service("other", address="127.0.0.9")),
    *said(router("hello", "hello/v1"), origin="other.yaml"),
    *said(subsets(names=["v9"])),
]
FILES = [
    Unreadable(origin=origin, problems=problems, hides=hides)
    for origin in ("a.yaml", "b/")
    for problems in ((), (error("", "no YAML"),))
    for hides in (False, True)
]
EVENTS: list[Event] = [
    *OBJECTS,
    *refused(router(), subsets(), router("nowhere")),
    *(Delete(key=each.key) for each in OBJECTS),
    *FILES,
]
RECIPES: list[Recipe] = [MetaRds(), STOCK, *OTHERS]


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[list[Event], dict[Recipe, dict[Host, bool]]]]:
    """Batches, each with the recipes in use after it and the hosts that they keep then."""
    hosts = st.dictionaries(st.sampled_from([Host("a"), Host("b")]), st.just(value=True))
    return draw(
        st.lists(
            st.tuples(
                st.lists(st.sampled_from(EVENTS), max_size=6),
                st.dictionaries(st.sampled_from(RECIPES), hosts, max_size=3),
            ),
            max_size=6,
        )
    )


@settings(max_examples=150, deadline=None)
@given(lives=lives(), together=st.booleans())
def test_whatever_was_said_what_is_read_is_what_was_in_force(
    lives: list[tuple[list[Event], dict[Recipe, dict[Host, bool]]]], *, together: bool
) -> None:
    """Batch by batch, or all that was due in one transaction."""
    store, files, touched = Store(), dict[str, Unreadable](), Touched()
    kept: dict[Recipe, dict[Host, bool]] = {}
    batches: list[Changes] = []
    for events, kept_now in lives:
        for event in events:
            touched.hear(event)
            if isinstance(event, Unreadable):
                files[event.origin] = event
                if not event.problems:
                    del files[event.origin]
        store.apply([each for each in events if isinstance(each, Upsert | Delete | Rejected)])
        news = {
            recipe: {
                host: (KEPT,) if hosts.get(host) else ()
                for host in hosts.keys() ^ kept.get(recipe, {}).keys()
            }
            for recipe, hosts in kept_now.items()
        }
        kept = kept_now
        batch = touched.changes(files, news)
        batch.objects.update(touched.objects(store))
        batches.append(batch)
    if together:
        due = Changes()
        for batch in batches:
            due = due.then(batch)
        batches = [due]
    with tempfile.TemporaryDirectory() as folder:
        found = written(Path(folder), *batches)
    in_force = {
        key: Standing(accepted=store.accepted.get(key), rejected=store.rejected.get(key))
        for key in store.accepted.keys() | store.rejected.keys()
    }
    assert found.objects == in_force
    assert found.files == files
    expected = {r: dict.fromkeys(hosts, (KEPT,)) for r, hosts in kept.items()}
    assert plain(found.kept) == plain(expected)
    assert found.whole


# --- what is not what was written -------------------------------------------------------------

GOOD = (
    *(Standing(accepted=each) for each in said(service(), subsets(), router("hello", "hello/v1"))),
)


def good(folder: Path) -> LastGood:
    """A folder with a little of everything."""
    changes = of(*GOOD, *(Standing(rejected=each) for each in refused(router("bad"))))
    changes.files["a.yaml"] = FILES[2]
    changes.recipes[MetaRds()] = True
    changes.kept[MetaRds(), Host("hello")] = (KEPT,)
    return written(folder, changes)


def test_a_file_that_is_no_database_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not what you think" * 1000)
    with capture_logs() as logs:
        assert read(tmp_path) == LastGood()
    (log,) = logs
    assert log["event"] == "state set aside, starting without it"
    assert Path(log["file"]).read_bytes().startswith(b"not what you think")
    assert written(tmp_path, of(*GOOD)).objects.keys() == of(*GOOD).objects.keys()


@pytest.mark.parametrize("size", [100, 4096, 5000])
def test_a_file_that_was_cut_off_is_set_aside(tmp_path: Path, size: int) -> None:
    good(tmp_path)
    os.truncate(tmp_path / FILE, size)
    assert read(tmp_path) == LastGood()
    assert len(list(tmp_path.glob(f"{FILE}.*"))) == 1


@pytest.mark.parametrize("pragma", ["user_version = 999", "application_id = 1"])
def test_a_database_of_another_version_or_of_others_is_set_aside(
    tmp_path: Path, pragma: str
) -> None:
    good(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute(f"PRAGMA {pragma}")
    connection.close()
    assert read(tmp_path) == LastGood()
    (aside,) = tmp_path.glob(f"{FILE}.*")
    assert aside.stat().st_size > 4096


def test_no_byte_can_be_altered_without_notice(tmp_path: Path) -> None:
    """Set aside, less than whole, or the same: never something else that looks right."""
    sound = good(tmp_path)
    pristine = (tmp_path / FILE).read_bytes()
    outcomes = set()
    for n in range(0, len(pristine), 23):
        for flip in (1, 0xFF):
            damaged = bytearray(pristine)
            damaged[n] ^= flip
            (tmp_path / FILE).write_bytes(damaged)
            with capture_logs():
                found = read(tmp_path)
            if found == LastGood():
                outcomes.add("set aside")
            elif not found.whole:
                outcomes.add("less than whole")
            else:
                outcomes.add("the same")
                assert (found.objects, found.files) == (sound.objects, sound.files)
                assert plain(found.kept) == plain(sound.kept)
    assert outcomes == {"set aside", "less than whole", "the same"}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET body = replace(body, 'v1', 'v2') WHERE name LIKE '%MetaRouter%hello%'",
        "UPDATE records SET body = 'text' WHERE name LIKE '%MetaRouter%hello%'",
        "UPDATE records SET about = CAST(about AS TEXT), digest = 7 WHERE name LIKE "
        "'%MetaRouter%hello%'",
        "UPDATE records SET body = x'00', digest = x'00' WHERE name LIKE '%MetaRouter%hello%'",
    ],
)
def test_a_row_that_was_altered_holds_the_hosts_of_its_object(tmp_path: Path, damage: str) -> None:
    good(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute(damage)
    connection.commit()
    connection.close()
    found = read(tmp_path)
    standing = found.objects[key_of(router())]
    assert standing.accepted is None
    assert standing.rejected is not None
    assert standing.rejected.hosts == {"hello"}
    assert standing.origin == "mesh.yaml"
    assert "cannot be read" in standing.rejected.problems[0].message
    assert not found.may_be_served
    assert len(found.objects) == 4


async def test_what_cannot_be_read_is_gone_once_there_is_something_better(tmp_path: Path) -> None:
    good(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("UPDATE records SET digest = x'00' WHERE what NOT LIKE 'object'")
    connection.execute("INSERT INTO records VALUES ('object', 'no key', '', x'', x'01')")
    connection.commit()
    connection.close()
    async with State.opened(tmp_path) as state:
        assert not state.take().whole
        state.note(of(*GOOD[:1]))
    found = read(tmp_path)
    assert found.whole
    assert len(found.objects) == 4
    assert found.files == {}


async def test_an_object_that_is_held_for_its_row_is_held_by_the_next_restart_too(
    tmp_path: Path,
) -> None:
    good(tmp_path)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("UPDATE records SET body = x'00' WHERE name LIKE '%MetaRouter%hello%'")
    connection.commit()
    connection.close()
    held = read(tmp_path).objects[key_of(router())]
    async with State.opened(tmp_path) as state:
        state.note(of(*GOOD[:1]))
    found = read(tmp_path)
    assert found.whole
    assert found.objects[key_of(router())] == held


# --- the folder -------------------------------------------------------------------------------


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    good(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_a_file_that_others_could_read_is_shut_to_them(tmp_path: Path) -> None:
    """As after a copy. The group keeps what it may: it may be how a volume is shared."""
    good(tmp_path)
    (tmp_path / FILE).chmod(0o664)
    assert read(tmp_path).objects
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o660


def test_a_file_of_somebody_else_that_others_can_read_is_used_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(tmp_path)
    (tmp_path / FILE).chmod(0o666)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with capture_logs() as logs:
        assert read(tmp_path).objects
    (log,) = logs
    assert (log["event"], log["file"]) == ("state can be read by others", str(tmp_path / FILE))


def test_a_folder_belongs_to_one_server(tmp_path: Path) -> None:
    first = Database.open(tmp_path)
    with pytest.raises(ConfigurationError, match="in use by another") as refusal:
        Database.open(tmp_path)
    assert str(tmp_path) in str(refusal.value)
    first.close()
    Database.open(tmp_path).close()


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(ConfigurationError, match=f"{path} cannot be used"):
        Database.open(path)


@pytest.mark.usefixtures("permissions_count")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConfigurationError, match=f"{tmp_path} cannot be used"):
            Database.open(tmp_path)
    finally:
        tmp_path.chmod(0o700)


# --- when it is written -----------------------------------------------------------------------


class Opened:
    """The connections that were opened, and how large their files may grow."""

    def __init__(self) -> None:
        self.connections: list[sqlite3.Connection] = []
        self.pages = 2**20

    def connect(self, path: Path, **options: object) -> sqlite3.Connection:
        connection = _connect(path, **options)  # type: ignore[call-overload]
        assert isinstance(connection, sqlite3.Connection)
        self.connections.append(connection)
        self.limit(self.pages)
        return connection

    def limit(self, pages: int) -> None:
        """From here on the disk is as large as that."""
        self.pages = pages
        self.connections[-1].execute(f"PRAGMA max_page_count = {pages}").fetchone()


_connect = sqlite3.connect


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()
    monkeypatch.setattr(sqlite3, "connect", opened.connect)
    return opened


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0.005)


def many(count: int) -> Changes:
    items = [service(f"s{n}", address="127.0.0.9") for n in range(count)]
    return of(*(Standing(accepted=each) for each in said(*items)))


async def test_a_full_disk_is_shown_said_once_and_written_to_again(
    tmp_path: Path, disk: Opened
) -> None:
    moments = iter(range(1000, 10**6))
    with capture_logs() as logs:
        async with State.opened(tmp_path, clock=lambda: next(moments), retry=0.01) as state:
            state.note(of(*GOOD))
            writing = asyncio.create_task(state.run())
            await until(lambda: len(read_beside(tmp_path)) == 3)
            assert (state.error, state.failing_since) == ("", 0)
            disk.limit(3)
            state.note(many(500))
            await until(lambda: bool(state.error))
            assert "full" in state.error
            assert state.failing_since == 1000
            state.note(of(*(Standing(accepted=each) for each in said(service("late")))))
            attempts = disk.connections[-1].total_changes
            await until(lambda: disk.connections[-1].total_changes > attempts)  # tried again
            assert state.failing_since == 1000
            assert len(read_beside(tmp_path)) == 3  # all or none
            disk.limit(2**20)
            await until(lambda: not state.error)
            assert state.failing_since == 0
            writing.cancel()
    assert len(read(tmp_path).objects) == 504
    events = [log["event"] for log in logs if log["log_level"] != "warning"]
    assert events[:2] == ["state cannot be written", "state is written again"]


def read_beside(folder: Path) -> list[object]:
    """What another process sees, without the lock."""
    connection = _connect(folder / FILE)
    try:
        return connection.execute("SELECT name FROM records").fetchall()
    except sqlite3.OperationalError:  # nothing written yet
        return []
    finally:
        connection.close()


async def test_a_full_disk_does_not_keep_a_server_from_starting(
    tmp_path: Path, disk: Opened
) -> None:
    disk.pages = 1
    async with State.opened(tmp_path, retry=0.01) as state:
        state.note(of(*GOOD))
        writing = asyncio.create_task(state.run())
        await until(lambda: bool(state.error))
        writing.cancel()


async def test_what_is_due_is_written_before_the_end(tmp_path: Path) -> None:
    async with State.opened(tmp_path) as state:
        state.note(of(*GOOD))
    assert read(tmp_path).objects == of(*GOOD).objects


async def test_what_is_being_written_when_the_end_comes_is_written(tmp_path: Path) -> None:
    async with State.opened(tmp_path) as state:
        writing = asyncio.create_task(state.run())
        state.note(many(2000))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        writing.cancel()
        state.note(of(*GOOD))
    assert len(read(tmp_path).objects) == 2003


async def test_a_full_disk_at_the_end_delays_nobody(tmp_path: Path, disk: Opened) -> None:
    async with asyncio.timeout(LIMIT_S):
        async with State.opened(tmp_path, retry=1e9) as state:
            disk.limit(1)
            state.note(many(500))
    assert state.error


def test_what_fails_in_the_middle_leaves_nothing_behind_and_the_next_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.open(tmp_path)
    database.write(of(*GOOD[:1]))

    def broken(changes: Changes) -> Iterator[Row]:
        yield next(rows(changes))
        raise OSError("the disk is gone")

    monkeypatch.setattr(file, "rows", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        database.write(many(10))
    assert len(read_beside(tmp_path)) == 1
    monkeypatch.undo()
    database.write(many(10))
    assert len(read_beside(tmp_path)) == 11
    database.close()


async def test_a_folder_that_is_taken_away_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with State.opened(folder, retry=0.01) as state:
        writing = asyncio.create_task(state.run())
        state.note(of(*GOOD))
        await until(lambda: len(read_beside(folder)) == 3)
        folder.rename(tmp_path / "elsewhere")
        state.note(many(1))
        await until(lambda: bool(state.error))
        assert str(folder / FILE) in state.error
        (tmp_path / "elsewhere").rename(folder)
        await until(lambda: not state.error)
        writing.cancel()
    assert len(read(folder).objects) == 4


async def test_a_file_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    async with State.opened(tmp_path, retry=0.01) as state:
        (tmp_path / FILE).rename(tmp_path / "old")
        (tmp_path / FILE).write_bytes(b"")
        state.note(of(*GOOD))
        writing = asyncio.create_task(state.run())
        await until(lambda: "was replaced" in state.error)
        writing.cancel()


async def test_nothing_is_encoded_or_written_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    write = Database.write

    def watched(self: Database, changes: Changes, garbage: tuple[bytes, ...]) -> None:
        threads.append(threading.current_thread())
        write(self, changes, garbage)

    monkeypatch.setattr(Database, "write", watched)
    async with State.opened(tmp_path) as state:
        state.note(of(*GOOD))
    assert threads
    assert threading.main_thread() not in threads


def test_an_object_that_is_said_again_writes_nothing(tmp_path: Path, disk: Opened) -> None:
    database = Database.open(tmp_path)
    database.write(many(100))
    (connection,) = disk.connections
    before = connection.total_changes
    database.write(many(100))
    assert connection.total_changes == before
    database.write(many(1).then(of(*GOOD[:1])))
    assert connection.total_changes == before + 1
    database.close()


async def test_what_was_found_is_said(tmp_path: Path) -> None:
    good(tmp_path)
    os.utime(tmp_path / FILE, (0, 0))
    with capture_logs() as logs:
        async with State.opened(tmp_path) as state:
            assert state.take().objects
            assert not state.take().objects  # memory that nobody needs any more
    (log,) = logs
    assert (log["event"], log["objects"], log["whole"]) == ("state restored", 4, True)
    assert log["written"] == "1970-01-01T00:00:00+00:00"
