"""Whom a guard trusts for tokens."""

from collections.abc import Iterable, Mapping

from busauth._amqp.headers import AUTHORIZATION, TRANSACTIONS, TXN_TOKEN, TokenHeader
from busauth._amqp.options import GuardOptions
from busauth._expiry import Renewing
from busauth._tokens.asking.introspection import Introspection
from busauth._tokens.authenticators import Authenticator, Authenticators
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.verifier import Verifier, Verifiers
from busauth.clock import Clock
from busauth.errors import ConfigurationError, evidence


def trust(
    verifiers: tuple[Verifier | Authenticator, ...], options: GuardOptions
) -> Verifiers | Authenticators:
    """Return who judges tokens; JWTs alone need no choice of who does.

    Raises:
        ConfigurationError: they do not go together.
    """
    own = [each for each in verifiers if isinstance(each, Verifier)]
    limits: dict[str, int] = {
        "max_token_bytes": options.max_token_bytes,
        "cache_size": options.cached_tokens,
    }
    if len(own) == len(verifiers):  # the usual case, on every message's way
        return Verifiers(*own, **limits)
    if any(each.profile.is_transaction for each in own):
        raise ConfigurationError(
            "transaction tokens are verified by their service's keys, and nobody is asked about "
            "them: expected a guard of their own, of a Verifier(profile=TRANSACTION) alone"
        )
    return Authenticators(*verifiers, **limits)


def header_of(trusted: Verifiers | Authenticators, options: GuardOptions) -> TokenHeader:
    """Return where the tokens of a guard travel.

    Raises:
        ConfigurationError: another header than `txn-token` for transaction tokens, or that one for
            access tokens.
    """
    is_transactions = isinstance(trusted, Verifiers) and trusted.is_for_transactions
    named = options.header.lower()
    if is_transactions and named not in (AUTHORIZATION, TXN_TOKEN):  # the first is the default
        found = f"GuardOptions(header={options.header!r})"
        raise ConfigurationError(
            f"{found}: transaction tokens travel in {TXN_TOKEN}, and nowhere else"
        )
    if named == TXN_TOKEN and not is_transactions:
        raise ConfigurationError(
            f"GuardOptions(header={options.header!r}): access tokens do not travel there; expected "
            "a Verifier(..., profile=TRANSACTION), which needs no header=..."
        )
    return TRANSACTIONS if is_transactions else TokenHeader(options.header)


def audiences_of(
    verifiers: tuple[Verifier | Authenticator, ...],
) -> Mapping[str, frozenset[str]]:
    """Return for whom each issuer's access tokens are, as far as that is known."""
    own = (each for each in verifiers if isinstance(each, Verifier | Introspection))
    standing_in = {issuer: each.audience for issuer, each in _standing_in(verifiers).items()}
    return standing_in | {each.issuer: each.audience for each in own}


def _standing_in(verifiers: tuple[Verifier | Authenticator, ...]) -> dict[str, Verifier]:
    """Return verifiers by the issuers whose place theirs takes, which policies name."""
    own = [each for each in verifiers if isinstance(each, Verifier)]
    return {issuer: each for each in own for issuer in each.stands_for}


def with_vouchers(
    trusted: Authenticator,
    verifiers: tuple[Verifier | Authenticator, ...],
    renewing: Iterable[Renewing],
    options: GuardOptions,
) -> Authenticator:
    """Return who judges a consumer's tokens, with the vouchers that it admits.

    Args:
        trusted: judges access tokens.
        verifiers: the guard's.
        renewing: the consumer's policies that have tokens anew.
        options: the guard's.

    Raises:
        ConfigurationError: vouchers of an issuer whose keys nobody has, or for an audience that
            access tokens are for.
    """
    own = {each.issuer: each for each in verifiers if isinstance(each, Verifier)}
    own = _standing_in(verifiers) | own
    admitted = [(each.vouchers, each.issuer) for each in renewing if each.vouchers is not None]
    if not admitted:
        return trusted
    if lacking := {issuer for _, issuer in admitted} - own.keys():
        raise ConfigurationError(
            f"on_expired: vouchers of {' and '.join(sorted(lacking))}: expected a Verifier of that "
            "issuer among the guard's, as its keys alone say what is a voucher"
        )
    from busauth._tokens.vouchers import WithVouchers  # noqa: PLC0415 -- rarely needed

    return WithVouchers(
        trusted,
        [(audience, own[issuer]) for audience, issuer in admitted],
        max_token_bytes=options.max_token_bytes,
        cache_size=options.cached_tokens,
    )


def check_renewing(renewing: Iterable[Renewing], header: TokenHeader) -> None:
    """Refuse to have anything anew in a transaction token's place.

    Raises:
        ConfigurationError: a policy would.
    """
    if header.is_transactions and any(renewing):
        raise ConfigurationError(
            "on_expired: Exchange: no policy has another token in place of a transaction token: "
            "TransactionTokens.replace(...) does, in a handler with a reason, while it counts; "
            "work that waits for longer begins its transaction when it gets to it"
        )


def check_verifiers(verifiers: tuple[object, ...], *, named: bool) -> None:
    """Take one way of saying whom a guard trusts, and only what can verify.

    Raises:
        ConfigurationError: both ways, or something else.
    """
    for verifier in verifiers:
        if not isinstance(verifier, Verifier) and not hasattr(verifier, "recall"):
            raise ConfigurationError(
                f"got {evidence(verifier)}: expected Guard(issuer=..., audience=...) or "
                "Guard(Verifier(...), ...)"
            )
    if verifiers and named:
        raise ConfigurationError("give Guard verifiers, or issuer and audience: not both")


def check_retired_sources(verifiers: tuple[object, ...], sources: frozenset[str]) -> None:
    """Refuse a memory of removed keys that could never let one count.

    Args:
        verifiers: the guard's.
        sources: whose word for a published instant can be had.

    Raises:
        ConfigurationError: says whose word is missing.
    """
    for verifier in verifiers:
        keys = getattr(verifier, "keys", None)  # an authenticator of a user's own has none
        wanted: frozenset[str] = getattr(keys, "retired_sources", frozenset())
        if wanted and not wanted & sources:
            raise ConfigurationError(
                f"RetiredKeys(sources={sorted(wanted)}): expected whose word for a published "
                f"instant the guard can have: {' or '.join(sorted(sources)) or 'nobody'}; see "
                "MessageSecurity(proofs=...) and GuardOptions(broker_stamps=True), or "
                "[messages.proofs] and guard.broker_stamps = true in a settings file"
            )


def discovered(issuer: str | None, audience: str | Iterable[str] | None, clock: Clock) -> Verifier:
    """Return the verifier of an issuer whose keys are found by discovery.

    Raises:
        ConfigurationError: nobody said who issues the tokens, or for whom.
    """
    if not issuer or not audience:
        raise ConfigurationError(
            "expected Guard(issuer=..., audience=...) or Guard(Verifier(...)): who issues the "
            "tokens, and for whom?"
        )
    return Verifier(JWKS.discover(issuer, clock=clock), issuer=issuer, audience=audience)
