"""Every switch makes a difference, by itself, to some case; and the profiles are made of them."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import yaml

from aeraki_xds.mesh.tenancy import Tenancy, TenancyMode
from aeraki_xds.translate.envoyfilter.profile import (
    AERAKI_1_4,
    CURRENT,
    PROFILES,
    EnvoyFilters,
    Mend,
    RedisAuth,
)
from tests.translate.envoyfilter.cases import sources
from tests.translate.envoyfilter.kit import LIKE_AERAKI, Json, Written, istio, only

SCOPED = {Mend.OUTBOUND_EVERYWHERE}
"""Switches that only mean something in namespace scope."""


@functools.cache
def documents(name: str) -> list[Json]:
    return [
        each
        for path in sources()[name]
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if each is not None
    ]


@functools.cache
def written(name: str, delivery: EnvoyFilters) -> Written:
    return istio(documents(name), delivery=delivery, tenancy=Tenancy(mode=TenancyMode.WARN))


def differs(name: str, mend: Mend) -> bool:
    scoped = mend in SCOPED
    like_aeraki = written(name, replace(LIKE_AERAKI, namespace_scope=scoped))
    mended = written(name, replace(only(mend), namespace_scope=scoped))
    return like_aeraki.filters != mended.filters


@pytest.mark.parametrize("mend", Mend)
def test_a_switch_by_itself_changes_what_is_written(mend: Mend) -> None:
    assert any(differs(name, mend) for name in sources())


def test_the_profiles_are_no_mend_and_every_mend_that_needs_no_preparation() -> None:
    assert {AERAKI_1_4: set(), CURRENT: set(Mend) - {Mend.OPT_IN}} == PROFILES


def test_passwords_are_inline_only_where_aeraki_is_to_be_equalled() -> None:
    assert EnvoyFilters.of(AERAKI_1_4).redis_auth is RedisAuth.INLINE
    assert EnvoyFilters.of(CURRENT).redis_auth is RedisAuth.FILE
