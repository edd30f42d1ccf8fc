"""Asking issuers before the first token comes: who answers, who does not, and who contradicts."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from busauth._tokens.asking.introspection import Introspection
from busauth._tokens.fetch import Unusable
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.verifier import Verifier
from busauth.errors import ConfigurationError, Deferred


async def check_issuers(trusted: Iterable[object], *, introspects: bool) -> dict[str, Deferred]:
    """Have each issuer's keys at hand, and return who is out of reach, and why, by issuer.

    Keys that are at hand already are not fetched again. Whoever holds keys of another kind than
    `JWKS` is not asked.

    Args:
        trusted: verifiers, introspection and others.
        introspects: whether issuers will be asked about JWTs.

    Raises:
        ConfigurationError: an issuer answers, and not as it is configured.
    """
    asked = tuple(trusted)
    named = {each.issuer for each in asked if isinstance(each, Verifier)} if introspects else set()
    found = await asyncio.gather(*(_away(each, named) for each in asked))
    return {issuer: away for issuer, away in found if away is not None}


async def _away(each: object, introspected: set[str]) -> tuple[str, Deferred | None]:
    issuer = each.issuer if isinstance(each, Verifier | Introspection) else ""
    try:
        if isinstance(each, Verifier) and isinstance(each.keys, JWKS):
            await each.keys.check(each.algorithms)
        elif isinstance(each, Introspection) and issuer in introspected:
            await each.check_jwts()
    except Unusable as error:
        raise ConfigurationError(f"issuer {issuer!r} contradicts its settings: {error}") from error
    except Deferred as deferred:
        return issuer, deferred
    return issuer, None


def any_of(away: Mapping[str, Deferred]) -> Deferred:
    """Return what waits until one of those who are out of reach is back."""
    probes = [each.probe for each in away.values() if each.probe is not None]
    told = "; ".join(deferred.reason for deferred in away.values())

    async def probe() -> None:
        for each in probes[:-1]:
            with suppress(Deferred):
                await each()
                return
        await probes[-1]()

    return Deferred(told, probe=probe if probes else None)
