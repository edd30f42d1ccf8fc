"""One authorization server's token endpoint: found, asked in turn, left alone when it is silent.

What is no answer is `Deferred`, with a probe that asks for a token in exchange for one that nobody
ever had: as soon as that is refused, the server is back.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence

from busauth._delegation.exchange.answer import Granted, granted, object_of
from busauth._delegation.exchange.options import ExchangeOptions
from busauth._delegation.exchanging import ACCESS_TOKEN, EXCHANGE_GRANT
from busauth._loops import PerLoop
from busauth._tokens.asking.breaker import Breaker
from busauth._tokens.asking.client_auth import ClientAuthentication, MutualTls, presenting
from busauth._tokens.asking.flights import Flights
from busauth._tokens.fetch import Fetcher, Reply, Unusable, shown
from busauth._tokens.keys.discovery import discover, metadata_urls
from busauth.clock import Clock
from busauth.errors import BusauthError, Deferred, Refused, evidence

Form = Mapping[str, str | Sequence[str]]

_SECRET = ("subject_token", "actor_token", "assertion", "client_assertion", "client_secret")


class _SilenceError(Deferred):
    """Nobody answered: the one fault after which the same request is made again."""


class TokenEndpoint:
    """Asks one token endpoint.

    Args:
        issuer: whose it is.
        client: how this service proves who it is.
        url: where it is; None for where the issuer's metadata says.
        options: how often it is asked, and when it is left alone.
        fetcher: time and size limits.
        clock: where instants come from.

    Raises:
        ConfigurationError: the URL may not be asked, or the issuer is none that can be looked up.
    """

    def __init__(
        self,
        issuer: str,
        *,
        client: ClientAuthentication,
        url: str | None,
        options: ExchangeOptions,
        fetcher: Fetcher,
        clock: Clock,
    ) -> None:
        self.issuer = issuer
        self.client_id = client.client_id
        self._client = client
        fetcher.check_url(metadata_urls(issuer)[0] if url is None else url)
        self._configured = self._url = url
        self._retries = options.retries
        self._fetcher = presenting(fetcher, client)
        self._clock = clock
        self._finding: Flights[str] = Flights("endpoints", 1)
        self._room = PerLoop(lambda: asyncio.Semaphore(options.requests))
        self._breaker = Breaker(
            f"the token endpoint of {issuer}",
            failures=options.failures,
            open_for=options.open_for,
            clock=clock,
        )

    async def ask(self, form: Form) -> Granted:
        """Return what is answered to a form, not held to anything yet.

        Raises:
            Forbidden: ``exchange.refused``.
            Deferred: there is no answer to be had now.
        """
        try:
            async with self._room.here:
                return await self._tried(form)
        except (Refused, asyncio.CancelledError):
            raise
        except Exception as error:  # whatever went wrong, no message is guilty of it
            raise self.silent(error) from error

    def silent(self, error: Exception) -> Deferred:
        """Return what an error comes to that is nobody's fault."""
        why = str(error) if isinstance(error, BusauthError) else type(error).__name__
        return Deferred(
            evidence(f"the token endpoint of {self.issuer}: {why}") or "", probe=self.probe
        )

    async def probe(self) -> None:
        """Return when the server answers.

        Raises:
            Deferred: it does not.
        """
        nobodys = secrets.token_urlsafe(32)
        asked = {"subject_token": nobodys, "subject_token_type": ACCESS_TOKEN}
        try:
            await self.ask({"grant_type": EXCHANGE_GRANT, **asked})
        except Refused:
            return

    async def _tried(self, form: Form) -> Granted:
        for _ in range(self._retries):
            try:
                return await self._through_the_breaker(form)
            except _SilenceError:
                continue
        return await self._through_the_breaker(form)

    async def _through_the_breaker(self, form: Form) -> Granted:
        with self._breaker.asking(Refused):
            try:
                return await self._answer(form)
            except Refused:
                raise
            except BaseException:
                self._url = self._configured  # it may have moved
                raise

    async def _answer(self, form: Form) -> Granted:
        url = self._url or await self._finding.get("", self._find)
        credentials = self._client.credentials(self.issuer, self._clock.now())
        whole = {**form, **credentials.form}
        reply = await self._post(url, whole, credentials.headers)
        told = [value for name in _SECRET if isinstance(value := whole.get(name), str)]
        return granted(object_of(reply, told))

    async def _post(self, url: str, form: Form, headers: Mapping[str, str]) -> Reply:
        try:
            return await self._fetcher.post_form(
                url, form, {"Accept": "application/json", **headers}
            )
        except Deferred as deferred:
            raise _SilenceError(deferred.reason) from deferred

    async def _find(self) -> str:
        where, metadata = await discover(self.issuer, self._fetcher)
        by_certificate = metadata.get("mtls_endpoint_aliases")  # RFC 8705, section 5
        if isinstance(self._client, MutualTls) and isinstance(by_certificate, Mapping):
            metadata = {**metadata, **by_certificate}
        url = metadata.get("token_endpoint")
        if not isinstance(url, str):
            raise Unusable(f"{shown(where)} names no token_endpoint: say endpoint=...")
        self._url = self._fetcher.check_url(url)
        return url
