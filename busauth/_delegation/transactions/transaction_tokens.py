"""Transaction tokens from the one service of a trust domain, for what comes in and what is begun.

Nothing is remembered: each answer is another transaction. Nobody fetches one by itself, either: a
replacement is asked for by name, by whoever has a reason for it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from busauth._arguments import Range, checked, scope_names
from busauth._delegation.exchange.answer import Granted
from busauth._delegation.exchange.held import Acting, broken, check_actors, check_time
from busauth._delegation.exchange.kinds import kind_of
from busauth._delegation.exchange.options import ExchangeOptions
from busauth._delegation.exchange.permission import check_issuer
from busauth._delegation.exchange.server import Form, Making, Reach, Reaching, TokenEndpoint
from busauth._delegation.exchanging import EXCHANGE_GRANT, TXN_TOKEN, Exchanged
from busauth._delegation.transactions.held import (
    check_kind,
    check_lifetime,
    check_new,
    check_replaced,
    check_replacement,
)
from busauth._delegation.transactions.self_signed import SELF_SIGNED, SelfSigned
from busauth._redaction import redact
from busauth._tokens.asking.client_auth import ClientAuthentication
from busauth._tokens.evidence import Verified
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.keys.key import KeySource
from busauth._tokens.keys.waiting import found
from busauth._tokens.profiles.providers import TRANSACTION
from busauth._tokens.verifier import Verifier, Verifiers
from busauth.caller import Caller, Subject, had_for
from busauth.clock import Clock, SystemClock
from busauth.errors import CallerError, ConfigurationError, Deferred, NotGenuine, told_to_handlers

_MAX_BYTES = 64 * 1024  # of an answer: several times what a token can say
Lifetime = Annotated[float, Range(unit="seconds", above=0, most=3600)]
"""Minutes, by all that is said of them: they are not made for waiting."""

Context = Mapping[str, Any]
"""An object of JSON."""


class TransactionTokens(Reaching):
    """Has transaction tokens from the one service of a trust domain.

    What comes back is proven by the service's keys and held to what was asked for: a transaction
    token of this trust domain, for no more than was asked, of the same subject and by the same who
    act for them, that ends in minutes, and without a refresh token.

    Args:
        issuer: the transaction token service; its metadata says where endpoint and keys are.
        trust_domain: where the tokens count: their `aud`.
        client: how this service proves who it is.
        endpoint: where tokens are had, in place of what the metadata says.
        keys: the service's keys, in place of what the metadata says; `JWKS.discover(issuer,
            algorithms=...)` pins what it signs with.
        starts: signs for transactions that this service starts itself; None where it starts none.
        takes: other issuers whose tokens the service takes, the identity provider as a rule; nobody
            else's are shown to it.
        renames: whether the service gives subjects names of its own, unique in the trust domain;
            else a token is refused that names another subject than the one that was handed in.
        longest: seconds that a token may live, from `iat` to `exp`.
        options: how the service is asked; what it says of tokens that are kept counts for nothing.
        fetcher: time and size limits, hosts that may be asked over plain http.
        clock: where instants and ages come from.

    Raises:
        ConfigurationError: with the argument, what was found and what was expected.
    """

    @checked
    def __init__(
        self,
        issuer: str,
        *,
        trust_domain: str,
        client: ClientAuthentication,
        endpoint: str | None = None,
        keys: KeySource | None = None,
        starts: SelfSigned | None = None,
        takes: str | Iterable[str] = (),
        renames: bool = False,
        longest: Lifetime = 300.0,
        options: ExchangeOptions | None = None,
        fetcher: Fetcher | None = None,
        clock: Clock | None = None,
    ) -> None:
        fetcher, clock = fetcher or Fetcher(max_bytes=_MAX_BYTES), clock or SystemClock()
        self._options, self.trust_domain = options or ExchangeOptions(), trust_domain
        self._starts, self._renames, self._longest = starts, renames, longest
        self._takes = frozenset((issuer, *((takes,) if isinstance(takes, str) else takes)))
        self._issuer = issuer
        keys = keys or JWKS.discover(issuer, fetcher=fetcher, clock=clock)
        self._ask_by(
            Reach(client=client, endpoint=endpoint, keys=keys, fetcher=fetcher, clock=clock)
        )

    def _ask_by(self, reach: Reach) -> None:
        self._reach, self._clock = reach, reach.clock
        verifier = Verifier(
            reach.keys,
            issuer=self._issuer,
            audience=self.trust_domain,
            profile=TRANSACTION,
        )
        longest = self._options.max_token_bytes
        self._trusted = Verifiers(verifier, max_token_bytes=longest, cache_size=0)
        self._server = TokenEndpoint(self._issuer, reach, options=self._options)

    async def token_for(
        self,
        caller: Caller,
        *,
        scopes: str | Iterable[str],
        context: Context | None = None,
        details: Context | None = None,
    ) -> Exchanged:
        """Return the token of a new transaction, for a caller who has come in with another token.

        Whether the caller was revoked meanwhile is asked first, and once more after it was had.

        Args:
            caller: of a request, or of a handler while it runs; whatever their token is.
            scopes: what the transaction is for, as narrow as can be.
            context: of the request, for `rctx` (`request_context`).
            details: of the transaction, for `tctx` (`request_details`).

        Raises:
            CallerError: the handler has ended, or the caller's token is a transaction token.
            Forbidden: ``exchange.refused``, ``exchange.answer``.
            Refused, Deferred: the caller was revoked; there is no answer to be had now.
            ConfigurationError: no scope, or something is no object of JSON, or has a token inside.
        """
        if caller.transaction is not None:
            raise CallerError("this caller is in a transaction already: replace(...), if need be")
        asked, form = self._form(scopes, context, details)

        async def ask(subject: Subject) -> Exchanged:
            check_issuer(subject.caller, self._takes)  # it may be one that was had anew
            shown = {"subject_token": subject.token, "subject_token_type": kind_of(subject.token)}
            verified, token = await self._had({**form, **shown})
            self._check_actors(verified.caller, caller)
            # An opaque token's caller may have no name: then the service finds one.
            named = None if self._renames else caller.subject or None
            check_new(verified.caller, asked, named)
            return Exchanged(verified.caller, token, TXN_TOKEN)

        return await had_for(caller, ask, f"a transaction token for {self.trust_domain}")

    async def start(
        self,
        subject: str,
        *,
        scopes: str | Iterable[str],
        context: Context | None = None,
        details: Context | None = None,
    ) -> Exchanged:
        """Return the token of a transaction that this service starts itself.

        Args:
            subject: for whom.
            scopes: what the transaction is for, as narrow as can be.
            context: of what made it begin, for `rctx`.
            details: of the transaction, for `tctx`.

        Raises:
            Forbidden: ``exchange.refused``, ``exchange.answer``.
            Deferred: there is no answer to be had now.
            ConfigurationError: as of `token_for`; or nobody signs here for a subject, or it has
                no name.
        """
        starts = self._starts
        if starts is None or not subject:
            raise ConfigurationError(
                f"start({subject!r}): expected a subject, and TransactionTokens(starts=SelfSigned("
                "...)), who signs for it"
            )
        asked, form = self._form(scopes, context, details)

        def signed() -> dict[str, str]:
            own = starts.token(subject, self.issuer, self._clock.now())
            return {**form, "subject_token": own, "subject_token_type": SELF_SIGNED}

        verified, token = await self._had(signed)
        check_new(verified.caller, asked, None if self._renames else subject)
        check_actors(verified.caller, (), self.issuer, self._acting(starts.workload))
        return Exchanged(verified.caller, token, TXN_TOKEN)

    async def replace(
        self,
        caller: Caller,
        *,
        scopes: str | Iterable[str] | None = None,
        context: Context | None = None,
        details: Context | None = None,
    ) -> Exchanged:
        """Return another token of the same transaction: with less, or with more said of it.

        It has the same `txn`, `sub`, `aud` and actors, all that `tctx` and `req_wl` said, and no
        more scopes. No expired one is replaced: a
        late transaction is begun anew at its edge, or ends.

        Args:
            caller: of a handler while it runs, who came with a transaction token.
            scopes: what the rest of it is for; None for what the caller may do here.
            context: what is said besides, as of `token_for`.
            details: likewise.

        Raises:
            CallerError: the handler has ended, or the caller has no transaction token.
            Untimely: ``token.expired``; nobody was asked.
            Forbidden: ``exchange.refused``, ``exchange.answer``.
            Refused, Deferred: the caller was revoked; there is no answer to be had now.
            ConfigurationError: as of `token_for`; or a scope that the caller has not.
        """
        with told_to_handlers():
            check_replaced(caller, self._clock.now())
            check_issuer(caller, frozenset((self.issuer,)))
        asked, form = self._form(caller.scopes if scopes is None else scopes, context, details)
        if more := asked - caller.scopes:
            raise ConfigurationError(
                f"scopes={sorted(more)}: expected no more than {sorted(caller.scopes)}, which the "
                "transaction token has"
            )

        async def ask(subject: Subject) -> Exchanged:
            shown = {"subject_token": subject.token, "subject_token_type": TXN_TOKEN}
            verified, token = await self._had({**form, **shown})
            check_replacement(verified.caller, caller, asked)
            check_actors(verified.caller, caller.actors, caller.issuer, self._acting())
            return Exchanged(verified.caller, token, TXN_TOKEN)

        return await had_for(caller, ask, "a transaction token in place of the one in hand")

    def _form(
        self, scopes: str | Iterable[str], context: Context | None, details: Context | None
    ) -> tuple[frozenset[str], dict[str, str]]:
        """Return what is asked for, and the request without its subject (section 7.1)."""
        asked = scope_names("scopes", scopes)
        if not asked:
            raise ConfigurationError("scopes=[]: expected what the transaction is for")
        form = {
            "grant_type": EXCHANGE_GRANT,
            "requested_token_type": TXN_TOKEN,
            "audience": self.trust_domain,
            "scope": " ".join(sorted(asked)),
        }
        for name, said in (("request_context", context), ("request_details", details)):
            if said is not None:
                form[name] = _as_json(name.removeprefix("request_"), said)
        return asked, form

    def _acting(self, name: str | None = None) -> Acting:
        client = self._server.client_id
        return Acting(self.issuer, client, name or client, said=False)

    def _check_actors(self, given: Caller, holder: Caller) -> None:
        """Hold a new transaction to who acts: under names of the service's own, to how many."""
        if not self._renames:
            check_actors(given, holder.actors, holder.issuer, self._acting())
        elif len(given.actors) < len(holder.actors):
            found = f"{len(given.actors)} who act"
            raise broken(found, f"the {len(holder.actors)} who acted before")

    async def _had(self, form: Form | Making) -> tuple[Verified, str]:
        given = await self._server.ask(form)
        if given.issued is None:
            raise self._server.silent(Deferred("an answer without issued_token_type"))
        check_kind(given)
        verified = await self._proven(given)
        check_time(verified, self._clock.now())
        check_lifetime(verified.caller, self._longest)
        return verified, given.token

    async def _proven(self, given: Granted) -> Verified:
        try:
            return await found(lambda: self._trusted.recall(given.token))
        except NotGenuine as odd:
            expected = f"a transaction token of {self.issuer} for {self.trust_domain}"
            raise broken(odd.detail, expected) from None
        except Deferred as deferred:
            raise self._server.silent(deferred) from deferred

    def __repr__(self) -> str:
        return f"<TransactionTokens of {self.trust_domain} by {self.issuer}>"


def _as_json(name: str, said: Context) -> str:
    try:
        text = json.dumps(said, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{name}: {type(error).__name__}, expected an object of JSON"
        ) from None
    if not isinstance(said, Mapping):
        raise ConfigurationError(f"{name}: expected an object of JSON")
    if redact(text) != text:  # it would outlive the transaction, in every service's hands
        raise ConfigurationError(f"{name}: there is a token inside, expected none")
    return text
