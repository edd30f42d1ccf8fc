"""A token for a token, of the same authorization server (RFC 8693)."""

from collections.abc import Iterable

from busauth._arguments import checked
from busauth._delegation.exchange.answer import Granted
from busauth._delegation.exchange.client import TokenClient
from busauth._delegation.exchange.kinds import kind_of
from busauth._delegation.exchange.options import ExchangeOptions
from busauth._delegation.exchange.own import OwnToken
from busauth._delegation.exchange.server import Form, Reach
from busauth._delegation.exchanging import ACCESS_TOKEN, EXCHANGE_GRANT, ExchangeRequest
from busauth._tokens.asking.client_auth import ClientAuthentication
from busauth._tokens.fetch import Fetcher
from busauth._tokens.keys.key import ASYMMETRIC, KeySource
from busauth._tokens.profiles.profile import Profile
from busauth._tokens.profiles.providers import LENIENT
from busauth.caller import Subject
from busauth.clock import Clock
from busauth.errors import Deferred, Forbidden


class TokenExchange(TokenClient):
    """Has tokens for tokens from one authorization server (RFC 8693).

    What comes back is proven by the server's keys and held to what was asked for: the same subject,
    for whom was asked and nobody else, no scope or role beyond the subject's or what was asked, and
    a chain of actors that is the subject's, or that grown by this service.

    Args:
        issuer: the server, by its exact `iss`; its metadata says where endpoint and keys are.
        client: how this service proves who it is.
        endpoint: where tokens are exchanged, in place of what the metadata says.
        keys: the issuer's keys, in place of what the metadata says.
        algorithms: what the issuer signs with.
        profile: what its access tokens look like.
        acts: whether the service acts in its own name: its own token is sent as `actor_token`, and
            the answer must name it. Where the server does not call it by its client's name, the
            `sub` by which it does.
        takes: other issuers whose tokens the server takes; nobody else's are shown to it.
        options: how the server is asked, and how long tokens are kept.
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
        client: ClientAuthentication,
        endpoint: str | None = None,
        keys: KeySource | None = None,
        algorithms: Iterable[str] = ASYMMETRIC,
        profile: Profile | str = LENIENT,
        acts: bool | str = False,
        takes: str | Iterable[str] = (),
        options: ExchangeOptions | None = None,
        fetcher: Fetcher | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            issuer,
            client=client,
            endpoint=endpoint,
            keys=keys,
            algorithms=algorithms,
            profile=profile,
            acts=acts,
            takes=(issuer, *((takes,) if isinstance(takes, str) else takes)),
            options=options,
            fetcher=fetcher,
            clock=clock,
        )

    def _ask_by(self, reach: Reach) -> None:
        super()._ask_by(reach)
        self._own = OwnToken(self._server, options=self.options, clock=reach.clock)

    async def _granted(self, subject: Subject, request: ExchangeRequest) -> Granted:
        form = _form(subject, request)
        given = await (self._as_actor(form) if self._acting.said else self._server.ask(form))
        if given.issued is None:
            raise self._server.silent(Deferred("an answer without issued_token_type"))
        return given

    async def _as_actor(self, form: Form) -> Granted:
        remembered = self._own.at_hand()
        try:
            return await self._asked_by(remembered or await self._own.get(), form)
        except Forbidden:
            # It may be this service's own that the server takes no more, and no message's fault.
            if remembered is None or not self._own.is_doubted(remembered):
                raise
        return await self._asked_by(await self._own.get(), form)

    async def _asked_by(self, own: str, form: Form) -> Granted:
        actor = {"actor_token": own, "actor_token_type": ACCESS_TOKEN}
        return await self._server.ask({**form, **actor})


def _form(subject: Subject, request: ExchangeRequest) -> Form:
    form: dict[str, str | list[str]] = {
        "grant_type": EXCHANGE_GRANT,
        "subject_token": subject.token,
        "subject_token_type": kind_of(subject.token),
        "requested_token_type": request.token_type,
        "audience": sorted(request.audience),
        "resource": sorted(request.resource),
    }
    if request.scopes is not None:
        form["scope"] = " ".join(sorted(request.scopes))
    return form
