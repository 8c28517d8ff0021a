"""The credentials of Redis: where they are found, and that an error never removes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, RedisAuth
from aeraki_xds.translate.envoyfilter.redis_auth import SECRETS
from tests.translate.envoyfilter.kit import LIKE_AERAKI, MENDED
from tests.translate.envoyfilter.redis_kit import (
    PROFILE_NAMES,
    PROFILES,
    cluster,
    made,
    offered,
    outbound,
    reached,
    said,
    secret,
    service,
)

AUTH: Final = {
    "RedisService": lambda auth: offered(f"settings: {{auth: {auth}}}"),
    "RedisDestination": lambda auth: reached(f"redis: {{auth: {auth}}}"),
}
BOTH_KINDS: Final = pytest.mark.parametrize("kind", sorted(AUTH))
INLINE: Final = replace(MENDED, redis_auth=RedisAuth.INLINE)
HERE: Final = f"{SECRETS}/cache/redis"


def read(kind: str, auth: str, *manifests: str, delivery: EnvoyFilters) -> tuple[Any, Any]:
    """The password and the username that an `auth` becomes."""
    mesh = service("sessions"), AUTH[kind](auth), *manifests
    if kind == "RedisService":
        config = outbound(*mesh, delivery=delivery)
        return config["downstreamAuthPassword"], config.get("downstreamAuthUsername")
    options = cluster(*mesh, delivery=delivery)["typedExtensionProtocolOptions"]
    ((name, value),) = options.items()
    assert name == "envoy.filters.network.redis_proxy"
    assert value["@type"].endswith(".redis_proxy.v3.RedisProtocolOptions")
    return value["authPassword"], value.get("authUsername")


@BOTH_KINDS
@pytest.mark.parametrize(
    ("auth", "data", "expected"),
    [
        ("{secret: {name: redis}}", '{password: "p\\n", token: t}', ("p", None)),
        ("{secret: {name: redis}}", '{token: " t "}', ("t", None)),
        ("{secret: {name: redis, passwordField: p}}", "{p: q, password: x}", ("q", None)),
        ("{secret: {name: redis, usernameField: u}}", '{password: p, u: "v\\n"}', ("p", "v")),
        ('{plain: {password: " p", username: "u"}}', "{}", (" p", "u")),
    ],
    ids=["password", "token", "password-field", "username-field", "plain-as-it-is"],
)
@pytest.mark.parametrize("delivery", [LIKE_AERAKI, INLINE], ids=PROFILE_NAMES)
def test_credentials_are_found(
    kind: str, auth: str, data: str, expected: tuple[str, str | None], delivery: EnvoyFilters
) -> None:
    found = read(kind, auth, secret(data), delivery=delivery)
    assert found == tuple({"inlineString": word} if word else None for word in expected)


@BOTH_KINDS
def test_the_username_has_a_default_key(kind: str) -> None:
    """E-2."""
    auth, data = "{secret: {name: redis}}", secret("{password: p, username: u}")
    found = read(kind, auth, data, delivery=INLINE)
    assert found == ({"inlineString": "p"}, {"inlineString": "u"})
    assert read(kind, auth, data, delivery=LIKE_AERAKI) == ({"inlineString": "p"}, None)
    mesh = service("sessions"), AUTH[kind](auth), data
    assert any(
        each.endswith("(--with default-username)")
        for each in said(made(*mesh, delivery=LIKE_AERAKI))
    )


@BOTH_KINDS
def test_passwords_are_read_from_files_where_they_may_not_be_in_the_object(kind: str) -> None:
    """E-9."""
    data = secret("{password: open-sesame, username: ali}")
    found = read(kind, "{secret: {name: redis}}", data, delivery=MENDED)
    assert found == ({"filename": f"{HERE}/password"}, {"filename": f"{HERE}/username"})
    whole = made(service("sessions"), AUTH[kind]("{secret: {name: redis}}"), data)
    assert said(whole) == []
    assert "open-sesame" not in repr(whole)


@BOTH_KINDS
@pytest.mark.parametrize("auth", ["{plain: {password: open-sesame}}", "{secret: {name: redis}}"])
def test_a_password_in_clear_is_warned_of(kind: str, auth: str) -> None:
    """E-9."""
    mesh = service("sessions"), AUTH[kind](auth), secret("{password: open-sesame}")
    found = made(*mesh, delivery=INLINE)
    assert [each.problem.message for each in found.findings] == [
        "the password is in clear in the EnvoyFilter; --redis-auth file"
    ]


HELD: Final = {
    "no-secret": ("{secret: {name: other}}", "{password: p}", "secret.name"),
    "no-key": ("{secret: {name: redis}}", "{pass: p}", "secret.passwordField"),
    "empty": ("{secret: {name: redis}}", '{password: " \\n"}', "secret.passwordField"),
    "no-named-key": (
        "{secret: {name: redis, passwordField: x}}",
        "{password: p}",
        "secret.passwordField",
    ),
    "no-username": (
        "{secret: {name: redis, usernameField: x}}",
        "{password: p, username: u}",
        "secret.usernameField",
    ),
}


@PROFILES
@BOTH_KINDS
@pytest.mark.parametrize("why", sorted(HELD))
def test_an_error_about_a_secret_never_removes_authentication(
    kind: str, why: str, delivery: EnvoyFilters
) -> None:
    """E-4: what the host has stays as it is."""
    auth, data, field = HELD[why]
    found = made(service("sessions"), AUTH[kind](auth), secret(data), delivery=delivery)
    assert found.held
    assert found.outbound is found.inbound is None
    assert found.patches == ()
    (error,) = [each for each in said(found) if "warning" not in each]
    assert error.startswith(f"{kind}/cache/sessions ")
    assert f".auth.{field}: " in error


@PROFILES
@BOTH_KINDS
def test_a_secret_that_cannot_be_read_holds_its_host(kind: str, delivery: EnvoyFilters) -> None:
    broken = secret("{password: [p]}")
    found = made(
        service("sessions"), AUTH[kind]("{secret: {name: redis}}"), broken, delivery=delivery
    )
    assert found.held
    assert "the Secret cache/redis cannot be read" in "".join(said(found))


@BOTH_KINDS
def test_a_plain_password_is_refused_where_it_may_not_be_in_the_object(kind: str) -> None:
    found = made(service("sessions"), AUTH[kind]("{plain: {password: open-sesame}}"))
    assert found.held
    assert "write it into a Secret, or choose --redis-auth inline" in said(found)[0]
    assert "open-sesame" not in repr(found)


@BOTH_KINDS
def test_white_space_that_envoy_would_take_for_a_part_of_the_password_is_refused(
    kind: str,
) -> None:
    mesh = service("sessions"), AUTH[kind]("{secret: {name: redis}}")
    found = made(*mesh, secret('{password: "open-sesame\\n"}'))
    assert found.held
    assert "white space" in said(found)[0]
    assert "open-sesame" not in repr(found)
