"""Rate limits of a MetaRouter: V17 and V18.

Stricter than Aeraki's webhook where Envoy refuses the result (a bucket that fills faster than
every 50 ms, C-5) and where the time-out of a question is not positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aeraki_xds.mesh.objects import Duration
from aeraki_xds.mesh.problems import Problem, error
from aeraki_xds.mesh.validation import amounts, matching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aeraki_xds.mesh.objects import GlobalRateLimit, LocalRateLimit, TokenBucket

MIN_FILL_INTERVAL: Final = Duration.parse("50ms")
"""Envoy's local rate limiter refuses less: its timers would do nothing else."""

_ZERO: Final = Duration(0)


def local(limit: LocalRateLimit, field: str) -> Iterator[Problem]:
    """V18."""
    if limit.token_bucket is None and not limit.conditions:
        yield error(field, "limits nothing: write a tokenBucket, conditions, or both")
    if limit.token_bucket is not None:
        yield from _bucket(limit.token_bucket, f"{field}.tokenBucket")
    for i, condition in enumerate(limit.conditions):
        where = f"{field}.conditions[{i}]"
        if condition.match is None:
            yield error(f"{where}.match", "is missing: say which calls this bucket is for")
        yield from matching.attributes(condition.match, f"{where}.match")
        if condition.token_bucket is None:
            yield error(f"{where}.tokenBucket", "is missing: say how many calls are allowed")
        else:
            yield from _bucket(condition.token_bucket, f"{where}.tokenBucket")


def _bucket(bucket: TokenBucket, field: str) -> Iterator[Problem]:
    interval = bucket.fill_interval
    if interval is None:
        yield error(f"{field}.fillInterval", "is missing: say how often it is filled, such as 1s")
    elif interval < MIN_FILL_INTERVAL:
        is_now = f"is {interval.nanoseconds / 1e6:g}ms"
        yield error(f"{field}.fillInterval", f"must be at least 50ms, {is_now}: Envoy refuses less")
    if bucket.tokens_per_fill is None:
        yield error(f"{field}.tokensPerFill", "is missing: say how many calls each filling allows")
    else:
        yield from amounts.count(bucket.tokens_per_fill, f"{field}.tokensPerFill", least=1)
    yield from amounts.count(bucket.max_tokens, f"{field}.maxTokens", least=1)


def shared(limit: GlobalRateLimit, field: str) -> Iterator[Problem]:
    """V17. An absent requestTimeout is 20 ms, as Aeraki's API says (P-2: it crashed instead)."""
    yield from matching.attributes(limit.match, f"{field}.match")
    if not limit.domain:
        yield error(f"{field}.domain", "is empty: name the domain that the service is set up with")
    if limit.request_timeout is not None and limit.request_timeout <= _ZERO:
        yield error(f"{field}.requestTimeout", "must be more than 0, such as 20ms")
    if not limit.rate_limit_service:
        example = "outbound|8081||rate-limit.shop.svc.cluster.local"
        yield error(f"{field}.rateLimitService", f"is empty: name the Envoy cluster, as {example}")
    if not limit.descriptors:
        yield error(f"{field}.descriptors", "is empty: without a descriptor nothing is limited")
    for i, descriptor in enumerate(limit.descriptors):
        where = f"{field}.descriptors[{i}]"
        if not descriptor.property:
            yield error(f"{where}.property", "is empty: name the attribute of the call")
        if not descriptor.descriptor_key:
            yield error(f"{where}.descriptorKey", "is empty: name the key in the service's rules")
