"""Which file claims what, and what a change of a file means."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aeraki_xds.ingest.contents import Contents, read_contents, unreadable
from aeraki_xds.ingest.event import Delete, Event, Rejected, Unreadable, Upsert
from aeraki_xds.ingest.tree import Tree
from aeraki_xds.mesh.names import Key
from aeraki_xds.mesh.problems import error
from tests.ingest.folders import Said, decode, documents, entry, key


class Trunk(Said):
    """A tree that is written to as one writes files."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self._contents: dict[str, Contents] = {}

    def write(self, path: str, *texts: str) -> list[Event]:
        contents = read_contents(
            documents(*texts).encode(),
            origin=path,
            decode=decode,
            earlier=self._contents.get(path),
        )
        self._contents[path] = contents
        return self._keep(self.tree.put(path, contents))

    def remove(self, path: str) -> list[Event]:
        return self._keep(self.tree.remove(path))

    def settle(self, keys: frozenset[Key] | None = None) -> list[Event]:
        return self._keep(self.tree.settle(keys))

    def _keep(self, events: list[Event]) -> list[Event]:
        self.batches.append(events)
        return events


def kinds(events: list[Event]) -> list[str]:
    """What kinds of events there are."""
    return [type(event).__name__ for event in events]


def test_additions_and_changes_are_said_at_once() -> None:
    trunk = Trunk()

    assert kinds(trunk.write("a.yaml", entry("x"), entry("y"))) == ["Upsert", "Upsert"]
    [changed] = trunk.write("a.yaml", entry("x"), entry("y", "b"))

    assert isinstance(changed, Upsert)
    assert (changed.key, changed.origin) == (key("y"), "a.yaml")
    assert trunk.hosts == {"x": "a", "y": "b"}


def test_what_has_not_changed_is_not_said_again() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x"), entry("y"))

    assert trunk.write("a.yaml", entry("x"), entry("y")) == []
    assert trunk.write("a.yaml", entry("y"), "# moved\n" + entry("x")) == []
    assert trunk.settle() == []


def test_an_unchanged_document_is_not_decoded_again() -> None:
    decoded: list[object] = []

    def counting(document: object, *, origin: str) -> None:
        decoded.append(document)

    text = documents(entry("x"), entry("y"))
    before = read_contents(text.encode(), origin="a.yaml", decode=counting)
    read_contents(
        (text + "---\n" + entry("z")).encode(), origin="a.yaml", decode=counting, earlier=before
    )

    assert len(decoded) == 3


def test_what_vanishes_is_deleted_only_at_rest() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x"), entry("y"))

    assert trunk.write("a.yaml", entry("x")) == []
    assert trunk.remove("a.yaml") == []
    assert trunk.tree.waiting() == {key("x"), key("y")}
    assert trunk.settle() == [Delete(key=key("y")), Delete(key=key("x"))]
    assert trunk.settle() == []


def test_what_comes_back_in_time_was_never_gone() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x"))

    trunk.remove("a.yaml")

    assert trunk.write("a.yaml", entry("x")) == []
    assert trunk.tree.waiting() == frozenset()
    assert trunk.settle() == []


def test_only_the_named_keys_are_settled() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x"), entry("y"))
    trunk.remove("a.yaml")

    assert trunk.settle(frozenset({key("x"), key("other")})) == [Delete(key=key("x"))]
    assert trunk.tree.waiting() == {key("y")}


def test_an_object_that_moves_between_files_is_never_deleted() -> None:
    trunk = Trunk()
    trunk.write("b.yaml", entry("x"))

    trunk.remove("b.yaml")
    [moved] = trunk.write("c.yaml", entry("x", "b"))

    assert isinstance(moved, Upsert)
    assert moved.origin == "c.yaml"
    assert trunk.settle() == []


def test_a_rejected_object_is_said_with_its_key_and_deleted_like_any_other() -> None:
    trunk = Trunk()

    [said] = trunk.write("a.yaml", entry("x", "bad"))

    assert isinstance(said, Rejected)
    assert said.key == key("x")
    assert trunk.write("a.yaml", entry("x", "bad")) == []
    assert kinds(trunk.write("a.yaml", entry("x"))) == ["Upsert"]
    assert kinds(trunk.write("a.yaml", entry("x", "bad"))) == ["Rejected"]
    trunk.remove("a.yaml")
    assert trunk.settle() == [Delete(key=key("x"))]


def test_an_illegible_file_keeps_what_it_held_and_is_taken_whole_or_not_at_all() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x"), entry("y"))

    [said] = trunk.write("a.yaml", entry("x", "b"), "a: [\n", "kind: ServiceEntry\n")

    assert isinstance(said, Unreadable)
    assert [str(problem) for problem in said.problems] == [
        "line 6, column 1: while parsing a flow node: did not find expected node content",
        "kind: no name (in the document that begins on line 6)",
    ]
    assert trunk.settle() == []
    assert trunk.hosts == {"x": "a", "y": "a"}


def test_healing_a_file_withdraws_what_was_said_of_it() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x"), entry("y"))
    trunk.write("a.yaml", "a: [")

    healed = trunk.write("a.yaml", entry("x", "b"))

    assert kinds(healed) == ["Upsert", "Unreadable"]
    assert trunk.complaints == {}
    assert trunk.settle() == [Delete(key=key("y"))]


def test_removing_an_illegible_file_deletes_what_it_held() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x"))
    trunk.tree.put("a.yaml", unreadable(error("", "cannot be read")))

    assert trunk.remove("a.yaml") == [Unreadable(origin="a.yaml", problems=())]
    assert trunk.settle() == [Delete(key=key("x"))]
    assert trunk.remove("a.yaml") == []


def test_a_warning_about_a_file_does_not_keep_it_from_being_taken() -> None:
    trunk = Trunk()

    said = trunk.write("a.yaml", entry("x"), "kind: Later\n", "kind: ConfigMap\n")

    assert kinds(said) == ["Upsert", "Unreadable"]
    assert "not supported yet" in trunk.complaints["a.yaml"]


def test_a_file_that_becomes_empty_keeps_what_it_held() -> None:
    trunk = Trunk()

    assert trunk.write("a.yaml", "") == []
    trunk.write("a.yaml", entry("x"))

    assert kinds(trunk.write("a.yaml", " \n")) == ["Unreadable"]
    assert "has become empty" in trunk.complaints["a.yaml"]
    assert trunk.settle() == []
    trunk.write("a.yaml", "# nothing here on purpose")
    assert trunk.settle() == [Delete(key=key("x"))]


def test_of_two_files_the_first_is_in_force_and_the_other_says_so() -> None:
    trunk = Trunk()
    trunk.write("b.yaml", entry("x", "of-b"))

    trunk.write("a.yaml", entry("x", "of-a"))

    assert trunk.hosts == {"x": "of-a"}
    assert trunk.complaints == {
        "b.yaml": "ServiceEntry/shop/x is also defined in a.yaml; this copy is not used"
    }
    assert trunk.write("b.yaml", entry("x", "changed")) == []
    assert trunk.settle() == []


def test_of_two_documents_in_a_file_the_first_is_in_force() -> None:
    trunk = Trunk()

    trunk.write("a.yaml", entry("x", "first"), entry("x", "second"))

    assert trunk.hosts == {"x": "first"}
    assert "also defined in a.yaml" in trunk.complaints["a.yaml"]


def test_when_the_first_goes_the_second_takes_over_at_rest() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x", "of-a"))
    trunk.write("b.yaml", entry("x", "of-b"))
    trunk.write("c.yaml", entry("x", "of-c"))

    assert trunk.remove("a.yaml") == []
    assert trunk.hosts == {"x": "of-a"}
    settled = trunk.settle()

    assert kinds(settled) == ["Upsert", "Unreadable", "Unreadable"]
    assert trunk.hosts == {"x": "of-b"}
    assert trunk.complaints == {
        "c.yaml": "ServiceEntry/shop/x is also defined in b.yaml; this copy is not used"
    }


def test_the_second_does_not_take_over_while_the_first_is_rewritten() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x", "of-a"))
    trunk.write("b.yaml", entry("x", "of-b"))

    trunk.remove("a.yaml")
    trunk.write("a.yaml", entry("x", "new"))
    trunk.settle()

    assert trunk.hosts == {"x": "new"}
    assert [trunk.host_of(event) for event in trunk.events if isinstance(event, Upsert)] == [
        "of-a",
        "new",
    ]


def test_a_copy_that_is_written_once_the_first_is_gone_goes_at_once() -> None:
    trunk = Trunk()
    trunk.write("a.yaml", entry("x", "of-a"))

    trunk.remove("a.yaml")
    trunk.write("b.yaml", entry("x", "of-b"))

    assert trunk.hosts == {"x": "of-b"}
    assert trunk.complaints == {}


NAMES = st.sampled_from("xyz")
FILES = st.dictionaries(NAMES, st.sampled_from(["h1", "h2", "bad"]), max_size=3)
STEPS = st.lists(
    st.tuples(st.sampled_from(["a.yaml", "b.yaml", "c/d.yaml"]), st.none() | st.just("[") | FILES)
    | st.just("settle"),
    max_size=15,
)


@settings(deadline=None)
@given(STEPS)
def test_any_sequence_of_changes_ends_in_what_the_files_say(
    steps: list[str | tuple[str, str | dict[str, str] | None]],
) -> None:
    trunk = Trunk()
    files: dict[str, dict[str, str]] = {}
    broken: set[str] = set()
    for step in steps:
        if isinstance(step, str):
            trunk.settle()
            continue
        path, change = step
        broken.discard(path)
        if change is None:
            trunk.remove(path)
            files.pop(path, None)
        elif isinstance(change, str):
            trunk.write(path, change)
            files.setdefault(path, {})
            broken.add(path)
        elif change:
            trunk.write(path, *(entry(name, host) for name, host in change.items()))
            files[path] = change
        else:
            trunk.write(path, "# none")
            files[path] = {}
    trunk.settle()

    expected: dict[str, tuple[str, str]] = {}
    for path in sorted(files):
        for name, host in files[path].items():
            expected.setdefault(name, (path, host))
    assert said_last(trunk) == expected
    copies = {path for path in files for name in files[path] if expected[name][0] != path}
    assert trunk.complaints.keys() == copies | broken
    assert not trunk.tree.waiting()


def said_last(trunk: Trunk) -> dict[str, tuple[str, str]]:
    """The last word on each object: its file, and its host or that it is bad."""
    found: dict[str, tuple[str, str]] = {}
    for event in trunk.events:
        match event:
            case Delete():
                del found[event.key.name]  # whatever is deleted was there
            case Rejected():
                found[event.key.name] = (event.origin, "bad")
            case Upsert():
                found[event.key.name] = (event.origin, trunk.host_of(event))
            case _:
                pass
    return found
