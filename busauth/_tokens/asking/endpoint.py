"""One issuer's introspection endpoint: asked in turn, left alone when it does not answer.

- What is no answer (a status but 200, no JSON object, no `active`, a signature that does not hold)
  is a transient fault: `Deferred`, with a probe that asks about a token that nobody ever had.
- After failures in a row the circuit breaker opens; nobody waits for a timeout then.
- Where the endpoint refuses to be asked about a token (400, 413, 422), it is asked about another:
  if it answers that one, it was the token's fault, which would otherwise stop the queue for ever.
"""

import asyncio
import secrets
from typing import Annotated, Any

from busauth._arguments import Count, Range
from busauth._loops import PerLoop
from busauth._tokens.asking.answers import AnswerOptions
from busauth._tokens.asking.breaker import Breaker
from busauth._tokens.asking.client_auth import ClientAuthentication, presenting
from busauth._tokens.asking.signed_answers import JWT_TYPE, SignedAnswers
from busauth._tokens.compact import json_object
from busauth._tokens.fetch import Fetcher, Reply, shown
from busauth.clock import Clock
from busauth.errors import Deferred, NotGenuine, evidence

_OK = 200
_ABOUT_THE_TOKEN = (400, 413, 422)  # statuses that may blame what was asked about

Outage = Annotated[float, Range(unit="seconds", above=0, most=300)]


class IntrospectionOptions(AnswerOptions):
    """How an endpoint is asked; see `AnswerOptions` for how long answers count.

    Attributes:
        requests: how many requests are under way at the same time.
        failures: how many in a row open the circuit breaker.
        open_for: seconds that it stays open before one question is let through.
    """

    requests: Count = 16
    failures: Count = 5
    open_for: Outage = 10.0


class Endpoint:
    """Asks one introspection endpoint.

    Args:
        url: where it is; https, unless `fetcher` says otherwise.
        issuer: whose it is.
        client: how this service proves who it is.
        signed: what reads signed answers; with it, no others count.
        options: how often it is asked, and when it is left alone.
        fetcher: time and size limits.
        clock: where instants come from.

    Raises:
        ConfigurationError: the URL may not be asked.
    """

    def __init__(
        self,
        url: str,
        *,
        issuer: str,
        client: ClientAuthentication,
        signed: SignedAnswers | None,
        options: IntrospectionOptions,
        fetcher: Fetcher,
        clock: Clock,
    ) -> None:
        self._url = fetcher.check_url(url)
        self._issuer = issuer
        self._client = client
        self._signed = signed
        self._fetcher = presenting(fetcher, client)
        self._clock = clock
        self._room = PerLoop(lambda: asyncio.Semaphore(options.requests))
        self._breaker = Breaker(
            url, failures=options.failures, open_for=options.open_for, clock=clock
        )

    async def probe(self) -> None:
        """Return when the endpoint answers, about a token that nobody ever had.

        Raises:
            Deferred: it does not.
        """
        await self.ask(secrets.token_urlsafe(32))

    async def ask(self, token: str) -> dict[str, Any]:
        """Return what is said of a token; whatever goes wrong, no message is guilty of it.

        Raises:
            NotGenuine: ``token.unanswered``.
            Deferred: there is no answer to be had now.
        """
        try:
            async with self._room.here:
                with self._breaker.asking(NotGenuine):  # which is about another token, and answered
                    return await self._answer(token)
        except (NotGenuine, asyncio.CancelledError):
            raise
        except Exception as error:
            reason = error.reason if isinstance(error, Deferred) else type(error).__name__
            raise Deferred(evidence(reason) or "", probe=self.probe) from error

    async def _answer(self, token: str) -> dict[str, Any]:
        reply = await self._post(token)
        if reply.status in _ABOUT_THE_TOKEN:
            # Raises where it does not answer about another token either: then none is guilty.
            await self._read(await self._post(secrets.token_urlsafe(32)))
            found = f"status {reply.status}"
            raise NotGenuine("token.unanswered", found=found, expected="an answer, as for others")
        return await self._read(reply)

    async def _post(self, token: str) -> Reply:
        credentials = self._client.credentials(self._issuer, self._clock.now())
        form = {"token": token, "token_type_hint": "access_token", **credentials.form}
        accept = "application/json" if self._signed is None else JWT_TYPE
        headers = {"Accept": accept, **credentials.headers}
        return await self._fetcher.post_form(self._url, form, headers)

    async def _read(self, reply: Reply) -> dict[str, Any]:
        if reply.status != _OK:
            raise Deferred(f"{shown(self._url)}: status {reply.status}, expected 200")
        said = await self._told(reply.body)
        if not isinstance(said.get("active"), bool):
            raise Deferred(f"{shown(self._url)}: expected `active`, true or false")
        return said

    async def _told(self, body: bytes) -> dict[str, Any]:
        if self._signed is not None:
            return await self._signed.read(body, self._clock.now())
        try:
            return json_object(body, "answer")
        except NotGenuine as refused:
            raise Deferred(f"{shown(self._url)}: {refused.detail}") from None
