"""Scopes: what a node says of itself, and what it sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.config.core.v3 import base_pb2

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.mesh.names import Namespace
from aeraki_xds.pipeline.scopes import (
    GLOBAL,
    GLOBAL_SPEC,
    MOST_BUILDS,
    MOST_SCOPES,
    PUBLIC,
    PUBLIC_SPEC,
    Scopes,
    ScopeSpec,
    Share,
    everything,
    namespace_of,
    spec_of_node,
)
from aeraki_xds.translate.compose import Ads, MetaRds
from aeraki_xds.translate.listeners import Variant
from aeraki_xds.xds.admission import Node, Peer, Refusal, RefusalReason
from aeraki_xds.xds.field import length_delimited, text
from aeraki_xds.xds.identity import SpiffeId
from aeraki_xds.xds.resource import HTTP_ROUTES, Scope, TypeUrl
from aeraki_xds.xds.wire.node import read_node

PEER = Peer(address="127.0.0.1:4000")
AT_FIRST = {GLOBAL: GLOBAL_SPEC, PUBLIC: PUBLIC_SPEC}
THRIFT_FILTER = "envoy.filters.network.thrift_proxy"


def spec(scopes: Scopes, node: Node) -> ScopeSpec:
    admitted = scopes.admit(node, PEER, only=None)
    assert not isinstance(admitted, Refusal)
    own, shared = admitted
    assert shared == GLOBAL
    return scopes.specs[own]


def variant(scopes: Scopes, node: Node) -> Variant:
    recipe = spec(scopes, node).recipe
    assert isinstance(recipe, Ads)
    return recipe.variant


def with_filters(*names: str) -> Node:
    """A node as it arrives, with a list of extensions."""
    message = base_pb2.Node(id="envoy")
    for name in names:
        message.extensions.add(name=name, category="envoy.filters.network")
    return read_node(memoryview(message.SerializeToString()))


# --- namespace --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "namespace"),
    [
        (Node(id="any", metadata={"NAMESPACE": "shop"}), "shop"),
        (Node(id="sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"), "shop"),
        (Node(id="sidecar~10.0.0.1~web.1.shop~shop.svc.cluster.local"), "shop"),
        (Node(id="sidecar~10.0.0.1~web.a~d", metadata={"NAMESPACE": "b"}), "b"),
        (Node(id="sidecar~10.0.0.1~web~d"), "default"),
        (Node(id="sidecar~10.0.0.1~web.a"), "default"),
        (Node(id="envoy.shop"), "default"),
        (Node(id="envoy", metadata={"NAMESPACE": ""}), "default"),
        (Node(id="envoy", metadata={"NAMESPACE": 7.0}), "default"),
    ],
)
def test_the_namespace_is_what_metadata_says_else_istios_node_id_else_default(
    node: Node, namespace: str
) -> None:
    assert namespace_of(node) == namespace
    assert spec(Scopes(), node).namespace == namespace


# --- bind -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bind", ["", "vip", "127.0.0.1", "0.0.0.0", "::1"])
def test_a_proxy_may_be_told_to_bind_an_address_or_the_vip(bind: str) -> None:
    node = Node(id="envoy", metadata={"AERAKI_BIND": bind})
    assert variant(Scopes(), node).bind == bind


@pytest.mark.parametrize("bind", ["VIP", "localhost", "10.0.0.0/8", 7.0, None, True, {}, []])
def test_any_other_bind_is_refused_and_quoted(bind: object) -> None:
    node = Node(id="envoy", metadata={"AERAKI_BIND": bind})
    refusal = Scopes().admit(node, PEER, only=None)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.INVALID
    assert refusal.message == (f"node metadata AERAKI_BIND is {bind!r}: write an IP address or vip")


def test_a_proxy_with_another_interception_mode_is_served_all_the_same() -> None:
    node = Node(id="envoy", metadata={"INTERCEPTION_MODE": "REDIRECT"})
    assert variant(Scopes(), node) == Variant()


# --- extensions -------------------------------------------------------------------------------


def test_a_node_that_lists_no_extensions_counts_as_a_stock_build() -> None:
    assert variant(Scopes(), Node(id="envoy")).extensions is None


def test_a_build_with_every_filter_that_matters_counts_as_a_stock_build() -> None:
    node = with_filters(THRIFT_FILTER, "envoy.filters.network.tcp_proxy")
    assert variant(Scopes(), node).extensions is None


def test_a_build_without_the_thrift_filter_has_a_variant_of_its_own() -> None:
    scopes = Scopes()
    lean = with_filters("envoy.filters.network.tcp_proxy")
    assert variant(scopes, lean).extensions == frozenset()
    assert not variant(scopes, lean).has(THRIFT_FILTER)
    assert scopes.admit(lean, PEER, only=None) != scopes.admit(Node(id="envoy"), PEER, only=None)


def test_builds_that_differ_in_filters_without_meaning_share_a_scope() -> None:
    scopes = Scopes()
    one, other = with_filters("one"), with_filters("other", "another")
    assert one.extensions_digest != other.extensions_digest
    assert scopes.admit(one, PEER, only=None) == scopes.admit(other, PEER, only=None)


def test_a_build_is_known_by_its_digest_and_not_decoded_again() -> None:
    scopes = Scopes()
    lean = with_filters("envoy.filters.network.tcp_proxy")
    first = variant(scopes, lean)
    garbled = Node(
        id="envoy", extensions=b"\xff not decoded", extensions_digest=lean.extensions_digest
    )
    assert variant(scopes, garbled) == first


@pytest.mark.parametrize(
    "raw", [b"\xff", b"\x4a\xff", b"\x4a\x03\x0a\x05a", b"\x4a\x03\x0a\x01\xff"]
)
def test_extensions_that_cannot_be_decoded_are_a_refusal_not_an_accident(raw: bytes) -> None:
    node = Node(id="envoy", extensions=raw, extensions_digest="d")
    refusal = Scopes().admit(node, PEER, only=None)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.INVALID
    assert "extensions" in refusal.message


def test_a_list_of_extensions_that_takes_long_to_decode_is_a_refusal() -> None:
    many = length_delimited(9, text(1, "a") * 10_001)
    refusal = Scopes().admit(
        Node(id="envoy", extensions=many, extensions_digest="d"), PEER, only=None
    )
    assert refusal == Refusal(
        reason=RefusalReason.INVALID,
        message="node extensions cannot be read: more than 10000 fields",
    )


def test_builds_are_remembered_up_to_a_number_and_those_in_use_longest() -> None:
    scopes = Scopes()
    lean = with_filters("envoy.filters.network.tcp_proxy")
    known = replace(lean, extensions=b"\xff not decoded")
    first = variant(scopes, lean)
    for number in range(2 * MOST_BUILDS):
        spec(scopes, replace(lean, extensions_digest=f"build {number}"))
        if number % (MOST_BUILDS - 1) == 0:
            assert variant(scopes, known) == first
    spec(scopes, replace(known, extensions_digest=f"build {number}"))
    forgotten = scopes.admit(replace(known, extensions_digest="build 1"), PEER, only=None)
    assert isinstance(forgotten, Refusal)
    assert variant(scopes, Node(id="envoy")).extensions is None


# --- identity ---------------------------------------------------------------------------------

WEB = SpiffeId(trust_domain="cluster.local", namespace="shop", service_account="web")
OF_WEB = "the certificate is of spiffe://cluster.local/ns/shop/sa/web"


def proven(identity: SpiffeId = WEB) -> Peer:
    return Peer(address="10.0.0.1:4000", identity=identity, expires_at=0.0)


@pytest.mark.parametrize("only", [None, HTTP_ROUTES])
@pytest.mark.parametrize(
    "node",
    [
        Node(id="any", metadata={"NAMESPACE": "shop"}),
        Node(id="sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"),
        Node(id="any", metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web"}),
        Node(id="any", metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": ""}),
        Node(id="sidecar~10.0.0.1~web-1.b~b", metadata={"NAMESPACE": "shop"}),
    ],
)
def test_a_node_that_is_where_its_certificate_says_sees_its_namespace_and_what_is_public(
    node: Node, only: TypeUrl | None
) -> None:
    scopes = Scopes()
    own = () if only == HTTP_ROUTES else ("ads/shop/stock/-",)
    assert scopes.admit(node, proven(), only=only) == (*own, "restricted/shop", PUBLIC)
    assert scopes.specs[Scope("restricted/shop")] == ScopeSpec(
        recipe=MetaRds(), namespace=Namespace("shop"), share=Share.RESTRICTED
    )


@pytest.mark.parametrize("only", [None, HTTP_ROUTES])
@pytest.mark.parametrize(
    ("node", "claim"),
    [
        (Node(id="any", metadata={"NAMESPACE": "lab"}), "namespace lab"),
        (Node(id="sidecar~10.0.0.1~web-1.lab~lab.svc.cluster.local"), "namespace lab"),
        (Node(id="sidecar~10.0.0.1~web-1.shop~shop", metadata={"NAMESPACE": "b"}), "namespace b"),
        (Node(id="any", metadata={"NAMESPACE": "Shop"}), "namespace Shop"),
        (
            Node(id="any", metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": "db"}),
            "service account db",
        ),
        (
            Node(id="any", metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": 7.0}),
            "service account 7.0",
        ),
        (Node(id="any"), "nothing of a namespace, which means default"),
        (
            Node(id="any", metadata={"NAMESPACE": 7.0}),
            "nothing of a namespace, which means default",
        ),
    ],
)
def test_a_node_that_claims_what_its_certificate_does_not_is_denied_and_told_both(
    node: Node, claim: str, only: TypeUrl | None
) -> None:
    scopes = Scopes()
    refusal = scopes.admit(node, proven(), only=only)
    assert refusal == Refusal(
        reason=RefusalReason.DENIED, message=f"{OF_WEB}, the node says {claim}"
    )
    assert scopes.specs == AT_FIRST


def test_a_node_of_the_default_namespace_need_not_say_so() -> None:
    default = SpiffeId(trust_domain="cluster.local", namespace="default", service_account="web")
    admitted = Scopes().admit(Node(id="any"), proven(default), only=None)
    assert admitted == ("ads/default/stock/-", "restricted/default", PUBLIC)


@pytest.mark.parametrize("domain", ["other", "cluster.local.evil", "evil.cluster.local"])
def test_a_certificate_of_another_trust_domain_is_denied_whatever_the_node_says(
    domain: str,
) -> None:
    stranger = SpiffeId(trust_domain=domain, namespace="shop", service_account="web")
    node = Node(id="any", metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web"})
    assert Scopes().admit(node, proven(stranger), only=None) == Refusal(
        reason=RefusalReason.DENIED,
        message=f"the certificate is of spiffe://{domain}/ns/shop/sa/web, "
        "the trust domain here is cluster.local",
    )


def test_a_mesh_may_have_several_trust_domains_and_then_the_default_is_none_of_them() -> None:
    scopes = Scopes(trust_domains=["old.org", "new.org"])
    node = Node(id="any", metadata={"NAMESPACE": "shop"})
    for domain in ("old.org", "new.org"):
        known = SpiffeId(trust_domain=domain, namespace="shop", service_account="web")
        assert not isinstance(scopes.admit(node, proven(known), only=None), Refusal)
    refusal = scopes.admit(node, proven(), only=None)
    assert refusal == Refusal(
        reason=RefusalReason.DENIED,
        message=f"{OF_WEB}, the trust domain here is new.org or old.org",
    )


# --- scopes -----------------------------------------------------------------------------------


def test_a_stream_of_the_route_service_sees_only_what_is_global() -> None:
    scopes = Scopes()
    node = Node(id="envoy", metadata={"NAMESPACE": "shop", "AERAKI_BIND": "nonsense"})
    assert scopes.admit(node, PEER, only=HTTP_ROUTES) == (GLOBAL,)
    assert scopes.specs == AT_FIRST


def test_an_aggregated_stream_sees_its_own_scope_first_and_then_what_is_global() -> None:
    admitted = Scopes().admit(Node(id="envoy"), PEER, only=None)
    assert admitted == ("ads/default/stock/-", GLOBAL)


def test_proxies_that_are_alike_share_a_scope() -> None:
    scopes = Scopes()
    one = scopes.admit(Node(id="one", metadata={"NAMESPACE": "a"}), PEER, only=None)
    two = scopes.admit(Node(id="two~x~web.a~d"), PEER, only=None)
    assert one == two
    assert len(scopes.specs) == len(AT_FIRST) + 1


def test_proxies_that_differ_in_anything_do_not() -> None:
    scopes = Scopes()
    nodes = [
        Node(id="envoy"),
        Node(id="envoy", metadata={"NAMESPACE": "a"}),
        Node(id="envoy", metadata={"AERAKI_BIND": "vip"}),
        Node(id="envoy", metadata={"AERAKI_BIND": "127.0.0.1"}),
        with_filters("other"),
    ]
    assert len({scopes.admit(node, PEER, only=None) for node in nodes}) == len(nodes)


def test_of_what_nodes_claim_there_are_so_many_scopes_and_no_more_until_one_is_forgotten() -> None:
    scopes = Scopes()
    for number in range(MOST_SCOPES):
        spec(scopes, Node(id="envoy", metadata={"NAMESPACE": f"n{number}"}))
    one_more = Node(id="envoy", metadata={"NAMESPACE": "one-more"})
    assert scopes.admit(one_more, PEER, only=None) == Refusal(
        reason=RefusalReason.OVERLOADED,
        message="no room for another scope: 1000 that nodes claim are the most",
    )
    assert len(scopes.specs) == len(AT_FIRST) + MOST_SCOPES
    # Who sees a scope that is there already, or claims nothing, is served as ever.
    assert spec(scopes, Node(id="envoy", metadata={"NAMESPACE": "n7"})).namespace == "n7"
    assert scopes.admit(one_more, PEER, only=HTTP_ROUTES) == (GLOBAL,)
    shop = Node(id="any", metadata={"NAMESPACE": "shop"})
    assert scopes.admit(shop, proven(), only=HTTP_ROUTES) == ("restricted/shop", PUBLIC)
    scopes.forget(Scope("ads/n7/stock/-"))
    assert spec(scopes, one_more).namespace == "one-more"


@pytest.mark.parametrize(
    "metadata", [{"NAMESPACE": "n" * 510}, {"AERAKI_BIND": "fe80::1%" + "n" * 500}]
)
def test_what_a_node_claims_is_not_kept_when_it_is_long(metadata: dict[str, object]) -> None:
    scopes = Scopes()
    refusal = scopes.admit(Node(id="envoy", metadata=metadata), PEER, only=None)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is RefusalReason.INVALID
    assert "namespace and AERAKI_BIND make a scope of 5" in refusal.message
    assert scopes.specs == AT_FIRST


def test_what_everybody_sees_is_never_forgotten() -> None:
    scopes = Scopes()
    for scope in (GLOBAL, PUBLIC, Scope("never handed out")):
        scopes.forget(scope)
    assert scopes.specs == AT_FIRST


def test_the_recipes_of_a_namespace_and_of_another_are_one() -> None:
    scopes = Scopes()
    one = spec(scopes, Node(id="envoy", metadata={"NAMESPACE": "a"}))
    two = spec(scopes, Node(id="envoy", metadata={"NAMESPACE": "b"}))
    assert one.recipe == two.recipe
    assert one != two


def test_global_is_meta_rds_of_everything() -> None:
    assert ScopeSpec(recipe=MetaRds(), namespace=None) == GLOBAL_SPEC
    assert everything() == ScopeSpec(recipe=Ads(variant=Variant()), namespace=None)


# --- a node from a file -----------------------------------------------------------------------


def test_a_node_of_a_file_sees_what_the_same_proxy_would_see() -> None:
    found = spec_of_node({"id": "e", "metadata": {"NAMESPACE": "shop", "AERAKI_BIND": "vip"}})
    assert found == ScopeSpec(recipe=Ads(variant=Variant(bind="vip")), namespace=found.namespace)
    assert found.namespace == "shop"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"metadata": []}, "node.metadata must be a mapping"),
        ({"metadata": {"AERAKI_BIND": "x"}}, "AERAKI_BIND is 'x'"),
    ],
)
def test_a_node_of_a_file_that_cannot_be_served_is_an_error_that_names_the_field(
    node: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        spec_of_node(node)
