"""What clients of a token endpoint have in common: one course from a subject to a token.

Before anybody is asked: depth and `may_act`. Then what is at hand, or the server's answer, which is
proven genuine, held to what was asked for, and only then remembered. Whoever shares an answer with
others has it held to their own subject once more.
"""

from abc import abstractmethod
from collections.abc import Hashable, Iterable
from functools import partial
from typing import ClassVar

from busauth._delegation.exchange.answer import Granted
from busauth._delegation.exchange.held import (
    Acting,
    broken,
    check_authority,
    check_kind,
    check_time,
)
from busauth._delegation.exchange.kinds import profile_for
from busauth._delegation.exchange.options import ExchangeOptions
from busauth._delegation.exchange.permission import check_depth, check_issuer, check_may_act
from busauth._delegation.exchange.results import Had, Results
from busauth._delegation.exchange.server import Reach, Reaching, TokenEndpoint
from busauth._delegation.exchanging import EXCHANGE_GRANT, JWT, VOUCHER, Exchanged, ExchangeRequest
from busauth._tokens.asking.client_auth import ClientAuthentication
from busauth._tokens.evidence import Verified
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.keys.key import KeySource, allow_list
from busauth._tokens.keys.waiting import found
from busauth._tokens.profiles.profile import Profile
from busauth._tokens.profiles.providers import profile_of
from busauth._tokens.verifier import Verifier, Verifiers, fingerprint
from busauth.caller import Caller, Subject, had_for
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, Deferred, NotGenuine

_MAX_BYTES = 64 * 1024  # of an answer: several times what a token can say


class TokenClient(Reaching):
    """Has tokens from one authorization server, for tokens.

    Its arguments are those of `TokenExchange`, but for `takes`: all issuers whose tokens it takes.
    """

    _grant: ClassVar[str] = EXCHANGE_GRANT

    def __init__(
        self,
        issuer: str,
        *,
        client: ClientAuthentication,
        endpoint: str | None,
        keys: KeySource | None,
        algorithms: Iterable[str],
        profile: Profile | str,
        acts: bool | str,
        takes: Iterable[str],
        options: ExchangeOptions | None,
        fetcher: Fetcher | None,
        clock: Clock | None,
    ) -> None:
        if not issuer or acts == "":
            raise ConfigurationError(f"issuer={issuer!r}, acts={acts!r}: expected names, not empty")
        self.options = options or ExchangeOptions()
        self._algorithms = allow_list(algorithms)
        self._profile = profile_of(profile)
        name = acts if isinstance(acts, str) else client.client_id
        self._takes = frozenset(takes)
        self._acting = Acting(issuer, client.client_id, name, bool(acts))
        clock = clock or SystemClock()
        found_keys = keys or JWKS.discover(
            issuer, algorithms=self._algorithms, fetcher=fetcher, clock=clock
        )
        self._issuer = issuer
        self._ask_by(
            Reach(
                client=client,
                endpoint=endpoint,
                keys=found_keys,
                fetcher=fetcher or Fetcher(max_bytes=_MAX_BYTES),
                clock=clock,
            )
        )

    def _ask_by(self, reach: Reach) -> None:
        self._reach, self._keys, self._clock = reach, reach.keys, reach.clock
        self._results = Results(options=self.options, clock=reach.clock)
        self._server = TokenEndpoint(self._issuer, reach, grant=self._grant, options=self.options)

    async def exchange(self, subject: Subject, request: ExchangeRequest) -> Exchanged:
        """Return a token for the subject's, held to what was asked for.

        Nobody asks here whether the subject was revoked: `token_for` does so.

        Raises:
            Forbidden: ``exchange.refused``, ``exchange.answer``, ``exchange.may_act``,
                ``exchange.depth``.
            Deferred: there is no answer to be had now.
        """
        self._check(subject.caller)
        ask = partial(self._had, subject, request)
        # A grant is new each time: the other domain's server may take it but once.
        is_grant = request.token_type == JWT
        had = await (ask() if is_grant else self._results.get(key_of(subject, request), ask))
        # It may be somebody else's question that was answered: whoever shares it shares no more.
        self._hold(had.verified.caller, subject, request)
        return Exchanged(had.verified.caller, had.token, request.token_type)

    def _check(self, holder: Caller) -> None:
        """Refuse before anybody is asked."""
        check_issuer(holder, self._takes)
        check_depth(len(holder.actors) + self._acting.said, self.options.max_depth)
        check_may_act(holder, self._acting)

    async def token_for(
        self,
        caller: Caller,
        audience: str | Iterable[str] = (),
        *,
        resource: str | Iterable[str] = (),
        scopes: str | Iterable[str] | None = None,
    ) -> Exchanged:
        """Return a token for a handler's caller, to call another service in their name.

        Whether the caller was revoked meanwhile is asked first, and once more when it has come.

        Args:
            caller: a handler's, while it runs.
            audience: whom the token is for, each by its name.
            resource: the same, by absolute URIs.
            scopes: what it may allow at most; None for what the caller's token allows.

        Raises:
            CallerError: the handler has ended, or the caller carries no token.
            Refused, Deferred: as `exchange`; or the caller was revoked.
        """
        request = ExchangeRequest.of(audience, resource=resource, scopes=scopes)
        what = f"a token for {' '.join(sorted(request.audience | request.resource))}"
        return await had_for(caller, lambda subject: self.exchange(subject, request), what)

    @abstractmethod
    async def _granted(self, subject: Subject, request: ExchangeRequest) -> Granted:
        """Ask the server.

        Raises:
            Forbidden, Deferred: as of `TokenEndpoint.ask`.
        """

    async def _had(self, subject: Subject, request: ExchangeRequest) -> Had:
        began = self._clock.now()
        given = await self._granted(subject, request)
        check_kind(given, request)
        verified = await self._proven(given.token, request)
        check_time(verified, self._clock.now())
        self._hold(verified.caller, subject, request)
        ends_at = min(verified.caller.expires_at, began + given.seconds)
        if request.token_type == VOUCHER:
            # Each message waits for as long as its own may: a day-old one would be no use to it.
            ends_at = min(ends_at, subject.caller.expires_at)
        return Had(verified, given.token, ends_at)

    async def _proven(self, token: str, request: ExchangeRequest) -> Verified:
        verifier = Verifier(
            self._keys,
            issuer=self.issuer,
            audience=request.audience | request.resource,
            algorithms=self._algorithms,
            profile=profile_for(request.token_type, self._profile),
        )
        proves = Verifiers(verifier, max_token_bytes=self.options.max_token_bytes, cache_size=0)
        try:
            return await found(lambda: proves.recall(token))
        except NotGenuine as odd:
            raise broken(odd.detail, f"a token of {self.issuer} for whom was asked") from None
        except Deferred as deferred:
            probe = deferred.probe or self._keys.refresh
            raise Deferred(deferred.reason, probe=probe) from deferred

    def _hold(self, given: Caller, subject: Subject, request: ExchangeRequest) -> None:
        check_authority(given, subject, request, self._acting)
        check_depth(len(given.actors), self.options.max_depth)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.issuer} as {self.client_id}>"


def key_of(subject: Subject, request: ExchangeRequest) -> Hashable:
    """Return what an answer is kept by: the token, what was asked, and what it is held to.

    Who may less with the same token has a question of their own: its no is nobody else's.
    """
    holder = subject.caller
    authority = (holder.issuer, holder.subject, holder.scopes, holder.roles, holder.actors)
    return (fingerprint(subject.token), authority, request)
