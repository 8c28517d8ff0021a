"""Credentials of Redis: from what an object says to what a proxy reads.

In: an `auth` and the Secrets. Out: Envoy's DataSources, or errors on exact fields. Guaranteed: an
error never removes authentication (E-4), for without credentials there is no filter; no message
quotes a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aeraki_xds.mesh.links import secret_topic
from aeraki_xds.mesh.objects import Password, RedisDestination, RedisService, Secret
from aeraki_xds.mesh.objects.redis import PlainAuth, RedisAuth, SecretAuth
from aeraki_xds.mesh.problems import Problem, error, warning
from aeraki_xds.translate.envoyfilter import profile
from aeraki_xds.translate.envoyfilter.profile import Mend
from aeraki_xds.translate.envoyfilter.site import Site
from aeraki_xds.translate.envoyfilter.values import Json

SECRETS: Final = "/var/run/secrets/aeraki.io/redis"
"""Where a proxy finds the keys of a Secret: `<here>/<namespace>/<name>/<key>`."""

_PASSWORD: Final = "password"
_TOKEN: Final = "token"
_USERNAME: Final = "username"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """DataSources; without a username it is Redis' default user."""

    password: Json = field(repr=False)
    username: Json | None = None


Result = tuple[Credentials | None, tuple[Problem, ...]]
"""None: there are errors, and nothing may be decided."""


def credentials(
    site: Site, owner: RedisService | RedisDestination, auth: RedisAuth, field: str
) -> Result:
    """What an object's `auth`, at a field, means."""
    if auth.plain is not None:
        return _plain(site, auth.plain, f"{field}.plain")
    if auth.secret is not None:
        return _referenced(site, owner.metadata.namespace, auth.secret, f"{field}.secret")
    return None, (error(field, "says nothing: write plain or secret"),)


def _is_inline(site: Site) -> bool:
    return site.delivery.redis_auth is profile.RedisAuth.INLINE


def _in_clear(field: str) -> Problem:
    return warning(field, "the password is in clear in the EnvoyFilter; --redis-auth file")


def _plain(site: Site, auth: PlainAuth, field: str) -> Result:
    where = f"{field}.password"
    password = auth.password.reveal() if auth.password is not None else ""
    if not password:
        return None, (error(where, "is empty: nobody would be asked for a password"),)
    if not _is_inline(site):
        message = (
            "would be in clear in the EnvoyFilter: write it into a Secret, or choose "
            "--redis-auth inline"
        )
        return None, (error(where, message),)
    username: Json | None = {"inlineString": auth.username} if auth.username else None
    found = Credentials(password={"inlineString": password}, username=username)
    return found, (_in_clear(where),)


def _referenced(site: Site, namespace: str, auth: SecretAuth, field: str) -> Result:
    """What a Secret says; which keys are read: specification §3.6."""
    topic = secret_topic(auth.name, namespace)
    secret = next((each for each in site.graph.settles(topic) if isinstance(each, Secret)), None)
    if secret is None:
        unread = site.graph.is_unsettled(topic)
        why = "cannot be read" if unread else "does not exist"
        return None, (error(f"{field}.name", f"the Secret {topic.name} {why}"),)
    keys = _Keys(site=site, name=topic.name, data=secret.data)
    key = auth.password_field or (_PASSWORD if _PASSWORD in secret.data else _TOKEN)
    password = keys.source(key, f"{field}.passwordField")
    user_key = auth.username_field or keys.default_username()
    username = keys.source(user_key, f"{field}.usernameField") if user_key else None
    problems = tuple(each for each in (password, username) if isinstance(each, Problem))
    if isinstance(password, Problem) or isinstance(username, Problem):
        return None, problems
    if _is_inline(site):
        problems = (_in_clear(f"{field}.name"),)
    if not user_key and keys.has(_USERNAME):
        message = f"unset: the key {_USERNAME!r} of {topic.name} is ignored"
        problems += (warning(f"{field}.usernameField", f"{message} (--with default-username)"),)
    return Credentials(password=password, username=username), problems


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """The values of a Secret, whose name is `namespace/name`."""

    site: Site
    name: str
    data: Mapping[str, Password]

    def has(self, key: str) -> bool:
        """Whether there is anything under a key."""
        return key in self.data and bool(self.data[key].reveal().strip())

    def default_username(self) -> str:
        """The key that is read where none is named; "" for none (E-2)."""
        return _USERNAME if self.site.has(Mend.DEFAULT_USERNAME) and self.has(_USERNAME) else ""

    def source(self, key: str, field: str) -> Json | Problem:
        """Where a proxy reads the value of a key, or why it could not."""
        if not self.has(key):
            why = "is empty" if key in self.data else "does not exist"
            return error(field, f"the key {key!r} of the Secret {self.name} {why}")
        value = self.data[key].reveal()
        if _is_inline(self.site):
            return {"inlineString": value.strip()}
        if value != value.strip():
            # Envoy takes a file as it is: `secret\n` would be the password.
            message = (
                f"the key {key!r} of the Secret {self.name} begins or ends with white space, which "
                "Envoy takes for a part of it: remove it, or choose --redis-auth inline"
            )
            return error(field, message)
        return {"filename": f"{SECRETS}/{self.name}/{key}"}
