"""SPIFFE identities: read from a certificate, strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeraki_xds.xds.identity import IdentityError, SpiffeId, expiry_of, identity_of

WEB = SpiffeId(trust_domain="cluster.local", namespace="shop", service_account="web")
URI = "spiffe://cluster.local/ns/shop/sa/web"


# --- the name ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        (URI, WEB),
        (
            "spiffe://my_mesh.example-1.org/ns/a-1/sa/web.v1_2",
            SpiffeId(
                trust_domain="my_mesh.example-1.org", namespace="a-1", service_account="web.v1_2"
            ),
        ),
        (
            "spiffe://td/ns/Shop/sa/...",
            SpiffeId(trust_domain="td", namespace="Shop", service_account="..."),
        ),
    ],
)
def test_a_workloads_name_says_domain_namespace_and_account(uri: str, identity: SpiffeId) -> None:
    assert SpiffeId.parse(uri) == identity
    assert str(identity) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "spiffe://cluster.local",
        "spiffe://cluster.local/",
        "spiffe://cluster.local/workload",
        "spiffe:///ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop",
        "spiffe://cluster.local/ns/shop/sa/",
        "spiffe://cluster.local/ns//sa/web",
        "spiffe://cluster.local//ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web/",
        "spiffe://cluster.local/ns/shop/sa/web/more",
        "spiffe://cluster.local/sa/web/ns/shop",
        "spiffe://cluster.local/NS/shop/SA/web",
        "spiffe://cluster.local/ns/./sa/web",
        "spiffe://cluster.local/ns/../sa/web",
        "spiffe://cluster.local/ns/shop/sa/..",
        "spiffe://../ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web?query",
        "spiffe://cluster.local/ns/shop/sa/web#fragment",
        "spiffe://cluster.local/ns/sh%6fp/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web\n",
        "spiffe://cluster.local/ns/shop\0/sa/web",
        "spiffe://cluster.local/ns/shop /sa/web",
        "spiffe://cluster.local/ns/schöp/sa/web",
        "spiffe://cluster.local/ns/shop/sa/\u0661",
        "spiffe://cluster.local:443/ns/shop/sa/web",
        "spiffe://user@cluster.local/ns/shop/sa/web",
        "spiffe://Cluster.Local/ns/shop/sa/web",
        "SPIFFE://cluster.local/ns/shop/sa/web",
        "https://cluster.local/ns/shop/sa/web",
        " spiffe://cluster.local/ns/shop/sa/web",
        f"spiffe://{'d' * 256}/ns/shop/sa/web",
        f"spiffe://cluster.local/ns/shop/sa/{'w' * 2048}",
    ],
)
def test_whatever_only_resembles_one_is_refused_and_quoted(uri: str) -> None:
    with pytest.raises(IdentityError) as refused:
        SpiffeId.parse(uri)
    assert str(refused.value).startswith(repr(uri[:2048]))


def test_the_longest_name_is_2048_bytes() -> None:
    head = "spiffe://cluster.local/ns/shop/sa/"
    longest = head + "w" * (2048 - len(head))
    assert str(SpiffeId.parse(longest)) == longest
    with pytest.raises(IdentityError):
        SpiffeId.parse(longest + "w")


@given(st.text(alphabet="spifens:/.wt-_%?#@A\n\0é", max_size=40))
def test_a_name_that_is_read_is_written_the_same_again(tail: str) -> None:
    for uri in (tail, f"spiffe://td/ns/{tail}", f"spiffe://{tail}/ns/a/sa/b"):
        try:
            read = SpiffeId.parse(uri)
        except IdentityError:
            continue
        assert str(read) == uri
        assert "/" not in read.trust_domain + read.namespace + read.service_account


# --- the certificate --------------------------------------------------------------------------


def test_other_kinds_of_names_beside_the_identity_do_no_harm() -> None:
    names = (("DNS", "web.shop"), ("URI", URI), ("IP Address", "10.0.0.1"), ("DNS", "spiffe://x"))
    assert identity_of({"subjectAltName": names}) == WEB


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({}, "names no URIs"),
        ({"subjectAltName": ()}, "names no URIs"),
        ({"subjectAltName": (("DNS", URI),)}, "names no URIs"),
        ({"subject": (((("commonName", URI)),),)}, "names no URIs"),
        ({"subjectAltName": (("URI", URI), ("URI", URI))}, "names 2 URIs"),
        ({"subjectAltName": (("URI", URI), ("URI", "https://shop.example"))}, "names 2 URIs"),
        ({"subjectAltName": (("URI", "https://shop.example"),)}, "'https://shop.example' is not"),
    ],
)
def test_a_certificate_has_one_uri_and_that_is_its_identity(
    certificate: dict[str, object], words: str
) -> None:
    with pytest.raises(IdentityError, match=words):
        identity_of(certificate)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("Jan  1 00:00:00 1970 GMT", 0.0),
        ("Jan  5 09:34:43 2018 GMT", 1515144883.0),
        ("Dec 31 23:59:59 9999 GMT", 253402300799.0),
    ],
)
def test_a_certificate_ends_at_its_not_after(written: str, seconds: float) -> None:
    assert expiry_of({"notAfter": written}) == seconds


@pytest.mark.parametrize("certificate", [{}, {"notAfter": "tomorrow"}, {"notAfter": None}])
def test_a_certificate_whose_end_is_no_time_is_refused(certificate: dict[str, object]) -> None:
    with pytest.raises(IdentityError, match="which is no time"):
        expiry_of(certificate)
