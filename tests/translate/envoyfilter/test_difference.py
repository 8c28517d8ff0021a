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


def test_the_order_in_which_objects_are_given_makes_no_difference() -> None:
    first = istio(service()).filters
    second = istio(service(port="tcp-kafka")).filters  # other filters at the same listeners
    both = first | {f"{name}-2": each for name, each in second.items()}
    assert difference(both, dict(reversed(both.items()))) == NOTHING


def test_clusters_are_counted_each_by_its_name() -> None:
    two = "---".join(
        service(name, "tcp-redis", address=f"10.0.0.{n}") for n, name in enumerate(("a", "b"), 1)
    )
    found = touched(two, Mend.ASKED_CLUSTERS)
    assert (found.listeners, found.clusters, found.changed) == (0, 2, 2)


def test_two_filters_of_one_listener_are_one_difference_for_each_kind_of_workload() -> None:
    """Inbound listeners are all named alike: selectors and ports tell them apart."""
    before = istio(TWO).filters
    inbound = {name: each for name, each in before.items() if "inbound" in name}
    assert len(inbound) == 2
    assert difference(inbound, {}) == Difference(
        listeners=2, clusters=0, created=0, changed=0, deleted=2
    )
