"""What the documents claim is translated: every manifest in them, and what they say it becomes."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import translate
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, everything
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.xds.resource import HTTP_ROUTES
from tests.test_cli import _logs_as_before, run  # noqa: F401 (a fixture for every test)

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
BLOCK = re.compile(r"^```yaml( result)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`(?:golden/([\w-]+)|([\w/]+\.py)::(\w+))`")
"""How pages name golden cases and tests."""


FIELDS = """
hosts gateways routes localRateLimit globalRateLimit exportTo name match attributes route
destination weight host subset port number mirror mirrorPercentage value requestMutation
responseMutation key exact prefix regex tokenBucket conditions maxTokens tokensPerFill
fillInterval domain requestTimeout denyOnFail rateLimitService descriptors property descriptorKey
"""


def examples() -> tuple[str, list[tuple[str, str]]]:
    """The mesh at the head of docs/metarouter.md, and each router with what it becomes."""
    blocks = BLOCK.findall((DOCS / "metarouter.md").read_text(encoding="utf-8"))
    kinds = [bool(kind) for kind, _ in blocks]
    assert kinds == [False] + [False, True] * (len(blocks) // 2), "a router without a result"
    texts = [text for _, text in blocks]
    return texts[0], list(zip(texts[1::2], texts[2::2], strict=True))


MESH, PAIRS = examples()


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: str(yaml.safe_load(pair[1])[0]["name"]))
def test_a_router_of_the_document_becomes_what_the_document_says(pair: tuple[str, str]) -> None:
    router, result = pair
    documents = [*yaml.safe_load_all(MESH), yaml.safe_load(router)]
    events = [decode(document, origin="metarouter.md") for document in documents]
    assert all(isinstance(event, Upsert) for event in events), events
    offline = translate(
        [event for event in events if isinstance(event, Upsert)],
        [GLOBAL_SPEC, everything()],
        tenancy=Tenancy(),
    )
    assert [str(entry) for entry in offline.entries if entry.is_error] == []
    served = offline.scopes[0][HTTP_ROUTES]["orders.shop.svc.cluster.local_9090"]
    virtual_hosts = served["virtualHosts"]
    assert isinstance(virtual_hosts, list)
    assert [host["routes"] for host in virtual_hosts] == [yaml.safe_load(result)]


def test_every_field_of_a_metarouter_is_in_the_document() -> None:
    """A field that nobody explains does not exist for its users."""
    text = "\n".join(router for router, _ in PAIRS)
    missing = [field for field in FIELDS.split() if not re.search(rf"\b{field}:", text)]
    assert missing == []


def test_every_rule_of_the_webhook_has_a_row_in_the_tables_of_validation() -> None:
    tables = (TESTS / "mesh" / "test_validation.py", TESTS / "ingest" / "test_decode.py")
    text = "".join(table.read_text(encoding="utf-8") for table in tables)
    rows = set(re.findall(r"\bV\d+\b", text))
    assert {f"V{n}" for n in range(1, 19)} - rows == set()


@pytest.mark.parametrize(
    "page",
    [
        "coverage.md",
        "differences-from-aeraki.md",
        "features.md",
        "reliability.md",
        "xds-protocol.md",
    ],
)
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    named = NAMED.findall((DOCS / page).read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [each for each in named if not exists(*each)] == []


def exists(case: str, path: str, test: str) -> bool:
    if case:
        return (TESTS / "golden" / case).is_dir()
    file = TESTS / path
    defined = re.compile(rf"^(async )?def {test}\(", re.MULTILINE)
    return file.exists() and defined.search(file.read_text(encoding="utf-8")) is not None


def test_a_feature_that_works_names_the_test_that_shows_it() -> None:
    """Every cell is an answer, and who says yes shows it."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (DOCS / "features.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    assert len(rows) > 50
    works = [row for row in rows if any(re.search(r"\byes\b", cell) for cell in row[1:-1])]
    assert [row[0] for row in works if not NAMED.search(row[-1])] == []
    assert [row[0] for row in rows if not all(row[:-1])] == []


DEFECTS = {"P": 16, "M": 30, "G": 6, "D": 8, "E": 12, "X": 11, "R": 15, "C": 5, "V": 8}
"""Of Aeraki's defects, how many each letter numbers."""


def differences() -> list[list[str]]:
    """The rows of docs/differences-from-aeraki.md that are about a defect or a switch."""
    lines = (DOCS / "differences-from-aeraki.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    switches = {f"`{mend}`" for mend in Mend}
    return [row for row in rows if row and (row[0] in switches or re.match(r"[A-Z]-\d", row[0]))]


def docstrings() -> dict[Mend, str]:
    """What is written below each switch."""
    (definition,) = ast.parse(inspect.getsource(Mend)).body
    assert isinstance(definition, ast.ClassDef)
    _, *body = definition.body
    found = {}
    for name, text in zip(body[::2], body[1::2], strict=True):
        assert isinstance(name, ast.Assign)
        found[Mend[ast.unparse(name.targets[0])]] = ast.unparse(text)
    return found


def test_every_defect_of_aeraki_has_one_row() -> None:
    ids = [row[0] for row in differences() if not row[0].startswith("`")]
    wanted = [f"{letter}-{n}" for letter, count in DEFECTS.items() for n in range(1, count + 1)]
    assert ids == wanted


def test_a_row_about_a_defect_names_the_test_that_shows_it_or_is_not_there_yet() -> None:
    rows = differences()
    assert [row[0] for row in rows if not all(row)] == []
    shown = [row for row in rows if NAMED.search(row[-1])]
    assert [row[0] for row in rows if row not in shown and row[-1] != "not yet"] == []
    assert [row[0] for row in rows if row[-1] == "not yet" and "not yet" not in row[2]] == []


@pytest.mark.parametrize("mend", Mend)
def test_a_switch_is_in_the_rows_of_what_it_mends_and_in_no_other(mend: Mend) -> None:
    """Of the defects that its docstring names in brackets; without any it has a row of its own."""
    mended = set(re.findall(r"\(([A-Z]-\d+)\)", docstrings()[mend])) or {f"`{mend}`"}
    assert {row[0] for row in differences() if any(f"`{mend}`" in cell for cell in row)} == mended


def test_what_a_switch_would_touch_is_what_the_page_prints() -> None:
    page = (DOCS / "differences-from-aeraki.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^    \$ aeraki-xds (.*)\n((?:    .*\n)+?)    …$", page, re.MULTILINE)
    command, printed = example
    arguments = [DOCS.parent / each if "/" in each else each for each in command.split()]
    assert run(*arguments).out.startswith(textwrap.dedent(printed))
