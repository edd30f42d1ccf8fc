"""From claims that are an issuer's word to the caller, wherever the claims came from."""

from collections.abc import Callable
from typing import Any, NamedTuple

from busauth._tokens import claims as registered
from busauth._tokens.profiles.profile import Profile
from busauth.caller import Caller, Places, Transaction, places, read_only


def itself(value: Any) -> Any:
    """Return the value; one that remembers gives everybody who says the same one copy of it."""
    return value


class Known(NamedTuple):
    """What is known of an issuer's claims beforehand.

    Attributes:
        issuer: whose word they are.
        audience: whom they must be for.
        profile: what they look like.
        shared: returns an equal value; one that remembers saves memory.
        placed: says where names are, for the same reason.
    """

    issuer: str
    audience: frozenset[str]
    profile: Profile
    shared: Callable[[Any], Any] = itself
    placed: Callable[[tuple[str, ...]], Places] = places


def caller_of(claims: dict[str, Any], known: Known, token_sha256: str) -> Caller:
    """Return whom claims are about.

    Raises:
        NotGenuine: with the first rule that they break; see `claims`.
    """
    profile, shared = known.profile, known.shared
    registered.check_profile(claims, profile)
    audience = registered.check_audience(claims, profile, known.audience)
    expires_at = registered.instant(claims, "exp")
    transaction: Transaction | None = None
    if profile.is_transaction:
        from busauth._tokens.transactions import transaction_of  # noqa: PLC0415 -- rarely needed

        transaction = transaction_of(claims)
    return Caller(
        issuer=known.issuer,
        subject=claims.get("sub", ""),
        client=profile.client_in(claims),
        scopes=shared(profile.scopes_in(claims)),
        roles=shared(profile.roles_in(claims)),
        audience=shared(audience),
        expires_at=expires_at or 0.0,
        issued_at=registered.instant(claims, "iat"),
        token_id=claims.get("jti"),
        token_sha256=token_sha256,
        actors=registered.actors_of(claims),
        transaction=transaction,
        claims=read_only(claims, known.placed),
    )
