"""From the bytes of a file to documents, or to where and why it is none."""

from __future__ import annotations

import json
import string
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aeraki_xds.ingest.fault import Fault
from aeraki_xds.ingest.manifest import Plain, cut, parse
from aeraki_xds.ingest.yaml_text import MAX_DEPTH, MIN_ALIAS_BUDGET

MANY = 100_000


def read(data: str | bytes, *, is_json: bool = False) -> list[Plain]:
    """All objects of a file that is in order."""
    pieces = cut(data.encode() if isinstance(data, str) else data, is_json=is_json)
    assert not isinstance(pieces, Fault), pieces
    objects: list[Plain] = []
    for piece in pieces:
        said = parse(piece)
        assert not isinstance(said, Fault), said
        objects += said
    return objects


def refusal(data: str | bytes, *, is_json: bool = False) -> str:
    """The first problem of a file that is not, as it is reported."""
    pieces = cut(data.encode() if isinstance(data, str) else data, is_json=is_json)
    if isinstance(pieces, Fault):
        return str(pieces.problem())
    for piece in pieces:
        said = parse(piece)
        if isinstance(said, Fault):
            return str(said.problem(first_line=piece.line))
    raise AssertionError(f"was taken: {data[:100]!r}")


# --- documents --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("---\na: 1\n--- # comment\nb: 2", [{"a": 1}, {"b": 2}]),
        ("--- {a: 1}\n--- {b: 2}\n", [{"a": 1}, {"b": 2}]),
        ("# head\n---\n---\n\n# nothing\n---\na: 1\n...\n", [{"a": 1}]),
        ("%YAML 1.1\n# head\n---\na: 1\n...\n%YAML 1.1\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("a: 1\n...\nb: 2\n", [{"a": 1}, {"b": 2}]),
        (
            "a: |\n  x\n  ---\n  y\nb: ----\n----: c\n",
            [{"a": "x\n---\ny\n", "b": "----", "----": "c"}],
        ),
        ("a: 1\r\n---\r\nb: 2\r\n", [{"a": 1}, {"b": 2}]),
        ("a: 1\x85---\x85b: 2", [{"a": 1}, {"b": 2}]),
        ("\ufeffa: ü", [{"a": "ü"}]),
        ("", []),
        ("# only a comment", []),
    ],
)
def test_a_file_is_cut_where_yaml_lets_a_document_begin(text: str, expected: list[Plain]) -> None:
    assert read(text) == expected


def test_a_piece_keeps_its_text_when_the_documents_around_it_change() -> None:
    before = cut(b"a: 1\n---\nb: 2\n---\nc: 3\n")
    after = cut(b"# new\na: [1,\n  2]\n---\nb: 2\n---\nc: 4\n")

    assert not isinstance(before, Fault)
    assert not isinstance(after, Fault)
    assert before[1].text == after[1].text
    assert (before[1].line, after[1].line) == (1, 3)


def test_a_list_is_the_objects_that_it_holds() -> None:
    nested = "kind: List\nitems:\n- {kind: A}\n- {kind: List, items: [{kind: B}]}\n- null\n"

    assert read(nested) == [{"kind": "A"}, {"kind": "B"}]
    assert read("kind: MetaRouterList\nitems: [{kind: A}]") == [{"kind": "A"}]
    assert read("kind: List\nitems: null") == []
    assert read("kind: AllowList\nspec: {}") == [{"kind": "AllowList", "spec": {}}]
    assert read(b'{"kind": "List", "items": [{"kind": "A"}]}', is_json=True) == [{"kind": "A"}]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\n--- \n- b\n", "line 3, column 1: a manifest is a map"),
        ("word", "line 1, column 1: a manifest is a map"),
        ("kind: List\nitems: 3", "the items of a List must be a list"),
        ("kind: List\nitems: [3]", "a manifest is a map"),
    ],
)
def test_a_document_that_is_no_object_is_refused(text: str, problem: str) -> None:
    assert problem in refusal(text)


# --- scalars ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-7", -7),
        ("0755", 493),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("18446744073709551616", 18446744073709551616.0),
        ("1" * 100, float("1" * 100)),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        ("089", 89.0),
        ("yes", True),
        ("Off", False),
        ("~", None),
        ("", None),
        ("y", "y"),
        ("=", "="),
        ("0x", "0x"),
        ("0b_", "0b_"),
        ("+", "+"),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("127.0.0.1", "127.0.0.1"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("'12'", "12"),
        ('"null"', "null"),
        ("!!str 12", "12"),
        ("!!str", ""),
        ("!!timestamp 2026-01-01", "2026-01-01"),
        ('!!int "12"', 12),
        ("!!float 1", 1),
        ('!!bool "on"', True),
        ('!!null ""', None),
    ],
)
def test_a_scalar_means_what_it_means_to_kubectl(text: str, value: object) -> None:
    [found] = read(f"a: {text}")

    assert found == {"a": value}
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (".nan", "a number must be finite"),
        ("-.inf", "a number must be finite"),
        ("1e999", "this is beyond the range of a number"),
        ("9" * 5000, "is beyond the range of a number"),
        ("0b" + "1" * 5000, "is beyond the range of a number"),
        ("!!binary aGk=", "the tag !!binary is not supported"),
        ("!!python/object:os.system x", "this tag is not supported"),
        ("!mine {}", "this tag is not supported"),
        ("!!set {a}", "the tag !!set is not supported"),
        ("!!int word", "this is no value for the tag !!int"),
    ],
)
def test_a_value_that_json_does_not_have_is_refused(text: str, problem: str) -> None:
    said = refusal(f"a:\n  b: {text}")

    assert said.startswith("line 2, column 6: ")
    assert problem in said


# --- keys, aliases, depth ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2", "line 2, column 1: duplicate key 'a'"),
        ("x:\n- {b: {c: 1, 'c': 2}}", "line 2, column 14: duplicate key 'c'"),
        ("a: &m {x: 1}\nb: {<<: *m, <<: *m}", "line 2, column 13: duplicate key '<<'"),
        ("8080: x", "line 1, column 1: the key 8080 is not a string; quote it"),
        ("a: {on: x}", "line 1, column 5: the key on is not a string; quote it"),
        ("? [a]\n: b", "a key must be a string"),
        ("a: &n 8080\nb: {*n : x}", "a key must be a string"),
        ("a: *nowhere", "line 1, column 4: this alias names nothing above it"),
        ("a: &a {b: [*a]}", "line 1, column 12: this alias stands inside of what it names"),
        ("a: &a 1\n---\nb: *a", "line 3, column 4: this alias names nothing above it"),
        ("a: &a 1\x85---\x85b: *a", "this alias names nothing above it"),
        ("b: {<<: 3}", "only maps can be merged"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_where_it_stands(text: str, problem: str) -> None:
    assert problem in refusal(text)


def test_ordinary_anchors_and_merges_are_fine() -> None:
    text = """
    base: &base {a: 1, b: 1}
    more: &more {b: 2, c: 2}
    copy: *base
    one: {<<: *base, b: 9}
    both: {b: 9, <<: [*more, *base]}
    quoted: {"<<": kept}
    name: &name word
    *name : last
    """

    [found] = read(text)

    assert found["copy"] == {"a": 1, "b": 1}
    assert found["one"] == {"a": 1, "b": 9}
    assert found["both"] == {"a": 1, "b": 9, "c": 2}
    assert found["quoted"] == {"<<": "kept"}
    assert found["word"] == "last"


def test_what_aliases_expand_to_is_bounded() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 9))
    fair = "a: &a [" + "x, " * 99 + "x]\n" + "b: [" + "*a, " * 90 + "*a]\n"

    assert "aliases repeat too much" in refusal("l0: &l0 [x, x, x, x, x, x, x, x, x]\n" + levels)
    assert len(read(fair)[0]["b"]) == 91  # type: ignore[arg-type]
    assert "aliases repeat too much" in refusal(fair.replace("[*a", "[" + "*a, " * 9 + "*a"))


def test_a_long_document_may_repeat_itself_as_often_as_it_has_characters() -> None:
    count = MIN_ALIAS_BUDGET + 1

    assert len(read("a: &a x\nb: [" + "*a, " * count + "]")[0]["b"]) == count  # type: ignore[arg-type]


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "- - ", "? ", "[{a: ", "!!seq [", "&a ["])
def test_deep_nesting_is_refused_at_once_and_does_not_end_the_process(opening: str) -> None:
    assert "line 1, column" in refusal("a: [" + opening * MANY)
    assert "line 1, column" in refusal(opening * MANY)


def test_nesting_is_counted_through_aliases() -> None:
    half = MAX_DEPTH // 2
    deep = "a: &a " + "[" * half + "]" * half + "\nb: "

    assert read(deep + "[" * (half - 1) + "*a" + "]" * (half - 1))
    assert "more than 100 deep" in refusal(deep + "[" * half + "*a" + "]" * half)


def test_nesting_up_to_the_limit_is_read() -> None:
    lists = MAX_DEPTH - 1

    assert read('{"a": ' + "[" * lists + "]" * lists + "}")
    assert read('{"a": ' + "[" * lists + "]" * lists + "}", is_json=True)
    for is_json in (False, True):
        said = refusal('{"a": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", is_json=is_json)
        assert said == "line 1, column 106: lists and maps are nested more than 100 deep"


# --- bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a: 1\nb: \xff\n", "line 2, column 4: the file is not UTF-8"),
        ("a: 1".encode("utf-16"), "line 1, column 4: a NUL byte"),
        (b"\xfe\xff", "line 1, column 1: the file is not UTF-8"),
        (b"a: \x00", "line 1, column 4: a NUL byte"),
        (b"a: 1\nb: '\x01'", "line 2, column 5: control characters are not allowed"),
        (b'a: "\\ud800"', "line 1, column 7: while parsing a quoted scalar"),
        (b"a: 1\n---\nb:\n\t- c\n", "line 4, column 1: while scanning for the next token"),
        (b"a: [1", "did not find expected ',' or ']'"),
        (b"a: 'x\n---\nb: 1", "line 2, column 1: while scanning a quoted scalar"),
        (b"%YAML 3.0\n--- a", "found incompatible YAML document"),
    ],
)
def test_bytes_that_are_no_yaml_are_refused_where_they_stop_being_it(
    data: bytes, problem: str
) -> None:
    assert problem in refusal(data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a": 1,\n "a": 2}', 'line 2, column 2: duplicate key "a"'),
        (b'{"x": [{"a": 1, "\\u0061" : 2}]}', 'line 1, column 17: duplicate key "a"'),
        (b'{"a": NaN}', "line 1, column 7: "),
        (b'{"a": 1e999}', "line 1, column 7: number is infinity"),
        (b'{"a": "\\ud800"}', "no low surrogate"),
        (b'{"a": 1} {"b": 2}', "unexpected content after document"),
        (b'{"a": 1,\n"b": }', "line 2, column 6: "),
        (b"[" * MANY, "depth limit exceeded"),
        (b"[1]", "line 1, column 1: a manifest is a map"),
        (b"\xff", "the file is not UTF-8"),
    ],
)
def test_json_is_judged_like_yaml(data: bytes, problem: str) -> None:
    assert problem in refusal(data, is_json=True)


def test_json_keys_are_told_from_strings_that_look_like_them() -> None:
    text = b' {"a": "a", "b": ["a", "a", {"a": "{\\"a\\":1,"}], "c": {"a": 1, "b\\"": 1, "b": 1}} '

    assert read(text, is_json=True) == [orjson.loads(text)]
    assert read(b"\xef\xbb\xbf{}", is_json=True) == [{}]
    assert read(b" \n", is_json=True) == []


WORDS = st.text('ab"\\{[:,]}\u00e9', max_size=3)
MEMBERS = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(WORDS, inner), max_size=3).map(tuple)
    ),
    max_leaves=12,
)
"""A map is a tuple of its members, so that a key may be there twice."""


def written(value: Any) -> str:
    """As JSON, whose strings are escaped or not as it comes."""
    match value:
        case tuple():
            members = " ,".join(f"{written(key)}: {written(of)}" for key, of in value)
            return f"{{{members}}}"
        case list():
            return f"[{', '.join(map(written, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=len(value) == 1)


def repeats(value: Any) -> bool:
    """Whether a key is there twice."""
    match value:
        case tuple():
            keys = [key for key, _ in value]
            return len(set(keys)) < len(keys) or any(repeats(of) for _, of in value)
        case list():
            return any(map(repeats, value))
        case _:
            return False


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(WORDS, MEMBERS), max_size=4).map(tuple))
def test_a_key_that_is_there_twice_is_found_in_any_json(value: tuple[Any, ...]) -> None:
    text = written(value)

    if repeats(value):
        assert "duplicate key" in refusal(text, is_json=True)
    else:
        assert read(text, is_json=True) == [orjson.loads(text)]


# --- against PyYAML, and against anything at all ----------------------------------------------

PLAIN_VALUES = st.recursive(
    # PyYAML leaves some numbers of ours unquoted (0E0): no string begins with a digit here.
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(string.printable, max_size=20).map("s{}".format),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abyn~_0 :#-", max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
UNHURRIED = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
"""For a machine that is busy with other tests."""


@UNHURRIED
@given(st.dictionaries(st.text("abcyn0", max_size=5), PLAIN_VALUES, max_size=4), st.booleans())
def test_what_pyyaml_writes_is_read_back(value: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)

    assert read(text) == [value]
    assert read(orjson.dumps(value), is_json=True) == [value]


@UNHURRIED
@given(st.text(alphabet=":-?{}[]&*!|>'\"%@`# \n\tab1.~<,\\") | st.text(), st.booleans())
def test_no_text_at_all_makes_it_raise(text: str, is_json: bool) -> None:
    pieces = cut(text.encode(errors="surrogatepass"), is_json=is_json)

    if not isinstance(pieces, Fault):
        assert "".join(piece.text for piece in pieces) == text.removeprefix("\ufeff")
        for piece in pieces:
            parse(piece)


@UNHURRIED
@given(st.binary())
def test_no_bytes_at_all_make_it_raise(data: bytes) -> None:
    pieces = cut(data)

    if not isinstance(pieces, Fault):
        for piece in pieces:
            parse(piece)
