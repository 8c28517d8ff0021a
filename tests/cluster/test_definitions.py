"""The definitions in deploy/crds at a real API server: it takes them, and judges by them as the
tests of deploy/ say that it does.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.kit import DEFINED, Hand, path_of
from tests.deploy.admission import DEFINITIONS
from tests.deploy.test_crd_rules import BROKEN, MISSHAPEN, Row, named
from tests.deploy.test_crds import OURS
from tests.manifests import (
    APPLICATION_PROTOCOL,
    DUBBO_POLICY,
    META_ROUTER,
    REDIS_DESTINATION,
    REDIS_SERVICE,
    edited,
)

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

FULL = [META_ROUTER, APPLICATION_PROTOCOL, REDIS_SERVICE, REDIS_DESTINATION, DUBBO_POLICY]


async def tried(hand: Hand, manifest: dict[str, Any]) -> tuple[int, Any]:
    """What a creation would be answered; a field that is not in the schema is an error."""
    metadata = {**manifest["metadata"], "name": "tried"}
    if manifest["kind"] != "ApplicationProtocol":
        metadata["namespace"] = "shop"
    manifest = {**manifest, "metadata": metadata}
    folder = path_of(manifest).rpartition("/")[0]
    options = {"dryRun": "All", "fieldValidation": "Strict"}
    return await hand.client.ask("POST", folder, manifest, **options)


@pytest.mark.parametrize("kind", DEFINITIONS)
async def test_a_definition_is_established_and_its_schema_is_structural(
    hand: Hand, kind: str
) -> None:
    _, found = await hand.client.get(f"{DEFINED}/{DEFINITIONS[kind]['metadata']['name']}")
    conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


async def test_what_validation_accepts_is_accepted_whole(hand: Hand) -> None:
    documents = [*FULL, *(document for _, document in OURS)]
    answers = [await tried(hand, each) for each in documents]
    assert [answer for answer in answers if answer[0] != 201] == []


@pytest.mark.parametrize("row", BROKEN, ids=named)
async def test_an_object_that_breaks_a_rule_is_told_which(hand: Hand, row: Row) -> None:
    manifest, changes, message = row
    status, answer = await tried(hand, edited(manifest, changes))
    assert (status, answer["reason"]) == (422, "Invalid")
    assert message in answer["message"]
    assert len(answer["details"]["causes"]) == 1, answer["details"]["causes"]


async def test_a_null_that_may_not_be_is_dropped_and_not_refused(hand: Hand) -> None:
    """Where it is a field or in a map; the schema is asked of what is left."""
    without = edited(META_ROUTER, {"spec.routes[0].match.attributes.method": None})
    status, answer = await tried(hand, without)
    assert status == 201
    assert "method" not in answer["spec"]["routes"][0]["match"]["attributes"]


@pytest.mark.parametrize("row", MISSHAPEN, ids=named)
async def test_a_value_that_cannot_be_is_refused(
    hand: Hand, row: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    status, answer = await tried(hand, edited(*row))
    assert (status, answer["reason"]) == (422, "Invalid"), answer
