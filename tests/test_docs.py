"""What the documents claim is translated: every manifest in them, and what they say it becomes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from aeraki_xds.ingest.decode import decode
from aeraki_xds.mesh.change import Upsert
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import translate
from aeraki_xds.pipeline.scopes import GLOBAL_SPEC, everything
from aeraki_xds.xds.resource import HTTP_ROUTES

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```yaml( result)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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


def test_every_test_that_the_coverage_names_exists() -> None:
    text = (DOCS / "coverage.md").read_text(encoding="utf-8")
    tests = Path(__file__).parent
    golden = set(re.findall(r"`golden/([\w-]+)`", text))
    assert golden
    assert {case for case in golden if not (tests / "golden" / case).is_dir()} == set()
    named = set(re.findall(r"`([\w/]+\.py)::(\w+)`", text))
    assert len(named) > 30
    missing = {
        f"{file}::{test}"
        for file, test in named
        if not re.search(rf"\bdef {test}\(", (tests / file).read_text(encoding="utf-8"))
    }
    assert missing == set()


def test_every_rule_of_the_webhook_has_a_row_in_the_tables_of_validation() -> None:
    tests = Path(__file__).parent
    tables = (tests / "mesh" / "test_validation.py", tests / "ingest" / "test_decode.py")
    text = "".join(table.read_text(encoding="utf-8") for table in tables)
    rows = set(re.findall(r"\bV\d+\b", text))
    assert {f"V{n}" for n in range(1, 19)} - rows == set()


TEST_OF_A_PAGE = re.compile(r"`([\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("page", ["reliability.md", "xds-protocol.md"])
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    named = TEST_OF_A_PAGE.findall((DOCS / page).read_text(encoding="utf-8"))
    assert named
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(
            rf"^(async )?def {name}\(", (DOCS.parent / "tests" / path).read_text(), re.MULTILINE
        )
    ]
    assert missing == []
