"""docs/xds-protocol.md and the tests, held against each other.

The page has a row for each statement of the protocol; a test carries the numbers of its statements
in front of its name. Neither may say what the other does not know.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
PAGE: Final = TESTS.parent / "docs" / "xds-protocol.md"
STATEMENTS: Final = range(1, 55)
DIALECTS: Final = {"SotW": {"sotw"}, "delta": {"delta"}, "both": {"sotw", "delta"}, "–": set()}
RULINGS: Final = (
    "when a response is due",
    "stale nonce",
    "first request",
    "absent names",
    "NACK",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the page says of a statement."""

    number: int
    about: str
    tests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Test:
    """A test function: the statements that its name carries, the dialects that it speaks."""

    __test__ = False

    numbers: frozenset[int]
    speaks: frozenset[str]


def cells(page: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without those that say what the columns are."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def named(text: str) -> tuple[str, ...]:
    """The tests that a text names as `file.py::test_name`."""
    return tuple(re.findall(r"`([\w/]+\.py::\w+)`", text))


def statements(page: str) -> list[Row]:
    """The rows of the statements."""
    return [
        Row(number=int(number), about=about, tests=named(tests))
        for number, _, about, _, tests in cells(page, "The statements")
    ]


def declared(file: Path) -> dict[str, Test]:
    """The tests of a file, by the name that the page gives them."""
    found = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_":
            prefix = re.match(r"test_((?:\d+_)*)", node.name)
            assert prefix is not None
            found[f"{file.relative_to(TESTS).as_posix()}::{node.name}"] = Test(
                numbers=frozenset(int(number) for number in prefix[1].split("_") if number),
                speaks=_speaks(file.stem, node),
            )
    return found


def _speaks(file: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    if "dialect" in {argument.arg for argument in node.args.args}:
        return frozenset({"sotw", "delta"})
    words = {file.rpartition("_")[2], node.name.rpartition("_")[2]}
    return frozenset(words & {"sotw", "delta"})


def every_test() -> dict[str, Test]:
    """All tests of the xDS server."""
    found: dict[str, Test] = {}
    for file in sorted((TESTS / "xds").glob("test_*.py")):
        found.update(declared(file))
    return found


def complaints(page: str, tests: Mapping[str, Test]) -> list[str]:
    """All that is wrong between the page and the tests."""
    rows = statements(page)
    found = [] if [row.number for row in rows] == list(STATEMENTS) else ["rows are not 1 to 54"]
    listed = {(row.number, name) for row in rows for name in row.tests}
    found += [f"{number} has no test" for number in STATEMENTS if number not in dict(listed)]
    for number, name in sorted(listed):
        if name not in tests:
            found.append(f"{number} names {name}, which is not there")
        elif number not in tests[name].numbers:
            found.append(f"{number} names {name}, which does not carry it")
    for name, test in tests.items():
        found += [
            f"{number} does not list {name}"
            for number in sorted(test.numbers)
            if (number, name) not in listed
        ]
    for row in rows:
        spoken = {word for name in row.tests if name in tests for word in tests[name].speaks}
        if row.about not in DIALECTS or not DIALECTS[row.about] <= spoken:
            found.append(f"{row.number} is about {row.about} and proven in {sorted(spoken)}")
    return found


def test_every_statement_has_its_row_and_every_row_the_tests_that_carry_its_number() -> None:
    assert complaints(PAGE.read_text(encoding="utf-8"), every_test()) == []


def test_every_ruling_has_its_row_with_tests_that_are_there() -> None:
    tests = every_test()
    rows = cells(PAGE.read_text(encoding="utf-8"), "The rulings")
    assert tuple(name for name, _, _ in rows) == RULINGS
    for _, _, proof in rows:
        assert len(named(proof)) > 1
        assert [name for name in named(proof) if name not in tests] == []


def test_every_other_test_that_the_page_names_is_there() -> None:
    names = set(named(PAGE.read_text(encoding="utf-8")))
    files = {name.partition("::")[0] for name in names}
    there = {name for file in files for name in declared(TESTS / file)}
    assert names - there == set()


def test_a_number_in_front_of_a_name_has_two_digits() -> None:
    odd = [name for name in every_test() if not re.search(r"::test_(?:\d\d_)*[a-z]\w*$", name)]
    assert odd == []


SOTW, DELTA = "xds/test_sotw.py::test_07_so", "xds/test_delta.py::test_07_so"


def _page(rows: Mapping[int, str]) -> str:
    head = "\n## The statements\n\n| | statement | about | here | tests |\n|---|---|---|---|---|\n"
    return head + "\n".join(f"| {number} | so | {rest} |" for number, rest in rows.items())


def _rows(about: str = "both", *names: str) -> dict[int, str]:
    proof = ", ".join(f"`{name}`" for name in names or (SOTW, DELTA))
    return dict.fromkeys(STATEMENTS, f"{about} | so | {proof}")


def _tests(*numbers: int) -> dict[str, Test]:
    carried = frozenset(numbers or STATEMENTS)
    return {
        SOTW: Test(numbers=carried, speaks=frozenset({"sotw"})),
        DELTA: Test(numbers=carried, speaks=frozenset({"delta"})),
    }


def test_the_check_has_no_complaint_where_there_is_none() -> None:
    assert complaints(_page(_rows()), _tests()) == []


@pytest.mark.parametrize(
    ("rows", "tests", "complaint"),
    [
        ({n: _rows()[n] for n in range(1, 54)}, _tests(*range(1, 54)), "rows are not 1 to 54"),
        (_rows() | {7: "– | so | nothing"}, _tests(), "7 has no test"),
        (_rows("both", SOTW, DELTA + "on"), _tests(), f"7 names {DELTA}on, which is not there"),
        (_rows(), _tests(*range(8, 55)), f"7 names {SOTW}, which does not carry it"),
        (_rows("both", SOTW), _tests(), f"7 does not list {DELTA}"),
        (_rows(), _tests(*range(1, 56)), f"55 does not list {SOTW}"),
        (_rows("both", DELTA), _tests(), "7 is about both and proven in ['delta']"),
        (_rows("SotW", DELTA), _tests(), "7 is about SotW and proven in ['delta']"),
        (_rows("neither"), _tests(), "7 is about neither and proven in ['delta', 'sotw']"),
    ],
)
def test_the_check_notices(rows: dict[int, str], tests: dict[str, Test], complaint: str) -> None:
    assert complaint in complaints(_page(rows), tests)
