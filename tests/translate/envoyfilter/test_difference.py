"""How many listeners a switch would touch."""

from __future__ import annotations

from aeraki_xds.translate.envoyfilter.difference import Difference, difference
from aeraki_xds.translate.envoyfilter.profile import Mend
from tests.translate.envoyfilter.kit import LIKE_AERAKI, entry, istio, only, router, service

NOTHING = Difference(listeners=0, clusters=0, created=0, changed=0, deleted=0)
OTHER = service("other", address="10.0.0.2", selector="{app: other}", target=80)
TWO = f"{service()}---{OTHER}"
LIMIT = "localRateLimit: {tokenBucket: {maxTokens: 1, tokensPerFill: 1, fillInterval: 1s}}"


def touched(manifests: str, *mends: Mend) -> Difference:
    return difference(
        istio(manifests, delivery=LIKE_AERAKI).filters,
        istio(manifests, delivery=only(*mends)).filters,
    )


def test_a_switch_without_effect_touches_nothing() -> None:
    assert touched(TWO, Mend.LOG_NEWLINE) == NOTHING
    assert not touched(TWO, Mend.LOG_NEWLINE)


def test_what_changes_in_a_filter_touches_its_listener() -> None:
    assert touched(TWO, Mend.DEFAULT_SAMPLING) == Difference(
        listeners=4, clusters=0, created=0, changed=4, deleted=0
    )


def test_a_filter_at_another_port_touches_both_ports() -> None:
    assert touched(TWO, Mend.TARGET_PORT) == Difference(
        listeners=2, clusters=0, created=0, changed=1, deleted=0
    )


def test_an_object_in_another_namespace_touches_its_listener_once() -> None:
    exported = service() + "---" + router(f"{LIMIT}\n  exportTo: [.]")
    assert touched(exported, Mend.OUTBOUND_EXPORT) == Difference(
        listeners=1, clusters=0, created=1, changed=0, deleted=1
    )


def test_an_object_that_goes_touches_its_listener() -> None:
    assert touched(entry(spec=""), Mend.OWN_SELECTOR) == Difference(
        listeners=1, clusters=0, created=0, changed=0, deleted=1
    )


def test_a_cluster_that_is_replaced_no_more_is_counted_as_one() -> None:
    redis = service("cache", "tcp-redis")
    found = touched(redis, Mend.ASKED_CLUSTERS)
    assert (found.listeners, found.clusters, found.changed) == (0, 1, 1)
