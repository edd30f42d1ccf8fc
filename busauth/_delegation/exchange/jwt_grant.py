"""A token of another domain's server, for a token that one's own gives for it (RFC 7523).

Identity chaining across domains: the own server gives a JWT for the other one, which takes it as an
authorization grant. Each of the two is held to what was asked of it.
"""

from collections.abc import Iterable

from busauth._arguments import checked
from busauth._delegation.exchange.answer import Granted
from busauth._delegation.exchange.client import TokenClient, key_of
from busauth._delegation.exchange.options import ExchangeOptions
from busauth._delegation.exchange.results import Had
from busauth._delegation.exchanging import (
    JWT,
    JWT_GRANT,
    Exchanged,
    Exchanger,
    ExchangeRequest,
)
from busauth._tokens.asking.client_auth import ClientAuthentication
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.key import ASYMMETRIC, KeySource
from busauth._tokens.profiles.profile import Profile
from busauth._tokens.profiles.providers import LENIENT
from busauth.caller import Subject
from busauth.clock import Clock


class JwtGrant(TokenClient):
    """Has tokens of another domain's server, which takes what one's own gives for it (RFC 7523).

    Args:
        issuer: the other domain's server, by its exact `iss`.
        through: has tokens for it from one's own server, such as a `TokenExchange`; they name
            `issuer` as their audience.
        client: how this service proves who it is, there.
        endpoint, keys, algorithms, profile: the other server's; see `TokenExchange`.
        options, fetcher, clock: as of `TokenExchange`.

    Raises:
        ConfigurationError: with the argument, what was found and what was expected.
    """

    _grant = JWT_GRANT

    @checked
    def __init__(
        self,
        issuer: str,
        *,
        through: Exchanger,
        client: ClientAuthentication,
        endpoint: str | None = None,
        keys: KeySource | None = None,
        algorithms: Iterable[str] = ASYMMETRIC,
        profile: Profile | str = LENIENT,
        options: ExchangeOptions | None = None,
        fetcher: Fetcher | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._through = through
        super().__init__(
            issuer,
            client=client,
            endpoint=endpoint,
            keys=keys,
            algorithms=algorithms,
            profile=profile,
            acts=False,
            takes=(through.issuer,),
            options=options,
            fetcher=fetcher,
            clock=clock,
        )

    async def exchange(self, subject: Subject, request: ExchangeRequest) -> Exchanged:
        """Return a token of the other domain's, held to what was asked for.

        Raises:
            Forbidden, Deferred: as of `TokenExchange.exchange`, by either server.
        """
        for_there = ExchangeRequest.of(self.issuer, scopes=request.scopes, token_type=JWT)

        async def ask() -> Had:
            grant = await self._through.exchange(subject, for_there)
            self._check(grant.caller)
            return await self._had(Subject(grant.caller, grant.token), request)

        had = await self._results.get(key_of(subject, request), ask)
        return Exchanged(had.verified.caller, had.token, request.token_type)

    async def _granted(self, subject: Subject, request: ExchangeRequest) -> Granted:
        form = {
            "grant_type": JWT_GRANT,
            "assertion": subject.token,
            "audience": sorted(request.audience),
            "resource": sorted(request.resource),
        }
        if request.scopes is not None:
            form["scope"] = " ".join(sorted(request.scopes))
        return await self._server.ask(form)
