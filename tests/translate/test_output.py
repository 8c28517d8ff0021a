"""What translation hands on: manifests as bytes, and outputs put together."""

from __future__ import annotations

import pytest

from aeraki_xds.translate.output import Draft, Manifest, Output


def manifest(**spec: object) -> Manifest:
    return Manifest(kind="EnvoyFilter", namespace="shop", name="orders", spec=spec)


def test_equal_manifests_are_equal_bytes_whatever_the_order_of_their_fields() -> None:
    one = manifest(a=1, b={"c": 2, "d": 3})
    other = manifest(b={"d": 3, "c": 2}, a=1)
    assert one.encoded() == other.encoded()
    assert one.encoded() != manifest(a=2, b={"c": 2, "d": 3}).encoded()


def test_what_a_manifest_says_is_not_printed() -> None:
    """There may be passwords in it."""
    secret = manifest(password="open-sesame")
    assert "open-sesame" not in repr(Draft.to_write(secret))
    assert b"open-sesame" in secret.encoded()


def test_a_manifest_is_named_by_kind_namespace_and_name_and_says_who_manages_it() -> None:
    draft = Draft.to_write(manifest())
    assert draft.id == ("networking.istio.io/v1alpha3/EnvoyFilter", "shop/orders")
    assert b'"labels":{"manager":"Aeraki"}' in draft.encoded()


@pytest.mark.parametrize(
    ("parts", "age"),
    [
        ([Output(age=("1",)), Output(age=("2",))], ("1",)),
        ([Output(age=("1",)), Output()], ("1",)),
        ([Output(), Output(age=("2",))], ("2",)),
    ],
)
def test_outputs_together_are_as_old_as_the_first_that_has_an_age(
    parts: list[Output], age: tuple[str, ...]
) -> None:
    assert sum(parts, Output()).age == age


@pytest.mark.parametrize("held", [(True, False), (False, True)])
def test_outputs_together_are_held_if_one_is(held: tuple[bool, bool]) -> None:
    one, other = (Output(held=each) for each in held)
    assert (one + other).held
    assert not (Output() + Output()).held
