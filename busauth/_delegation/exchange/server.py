"""One authorization server's token endpoint: found, asked in turn, left alone when it is silent.

What is no answer is `Deferred`, with a probe that asks for a token in exchange for one that nobody
ever had: as soon as that is refused, the server is back.
"""

import asyncio
import secrets
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote_plus

from busauth._delegation.exchange.answer import Granted, granted, object_of
from busauth._delegation.exchange.options import ExchangeOptions
from busauth._delegation.exchanging import ACCESS_TOKEN, EXCHANGE_GRANT, JWT_GRANT
from busauth._loops import PerLoop
from busauth._tokens.asking.breaker import Breaker
from busauth._tokens.asking.client_auth import ClientAuthentication, MutualTls, presenting
from busauth._tokens.asking.flights import Flights
from busauth._tokens.fetch import Fetcher, Reply, Unusable, shown
from busauth._tokens.keys.discovery import discover, metadata_urls
from busauth._tokens.keys.key import KeySource
from busauth.clock import Clock
from busauth.errors import BusauthError, ConfigurationError, Deferred, Forbidden, Refused, evidence

Form = Mapping[str, str | Sequence[str]]
Making = Callable[[], Form]
"""Makes a form for each request: one that is made again has no assertion that was there before."""

_SECRET = ("subject_token", "actor_token", "assertion", "client_assertion", "client_secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How a server is reached, and by whom.

    Attributes:
        client: how this service proves who it is.
        endpoint: where tokens are had; None for where the issuer's metadata says.
        keys: the issuer's.
        fetcher: time and size limits, and what carries the requests.
        clock: where instants come from.
    """

    client: ClientAuthentication
    endpoint: str | None
    keys: KeySource
    fetcher: Fetcher
    clock: Clock


class Reaching(ABC):
    """Whoever asks one server for tokens, and can be pointed at another one of the same name."""

    _issuer: str
    _reach: Reach

    @property
    def issuer(self) -> str:
        """Return whose tokens it gives."""
        return self._issuer

    @property
    def client_id(self) -> str:
        """Return by which name this service is known there."""
        return self._reach.client.client_id

    @property
    def clock(self) -> Clock:
        """Return where instants come from."""
        return self._reach.clock

    @contextmanager
    def overridden(self, reach: Reach) -> Iterator[None]:
        """Ask elsewhere while inside, with nothing remembered, and promise the same: for tests."""
        before = self._reach
        self._ask_by(reach)
        try:
            yield
        finally:
            self._ask_by(before)

    @abstractmethod
    def _ask_by(self, reach: Reach) -> None:
        """Ask there from now on."""


def check_asked(name: str, onward: object) -> None:
    """Refuse who is asked for tokens where it has to be said for what: both have a `token_for`.

    Raises:
        ConfigurationError: names the argument.
    """
    if isinstance(onward, Reaching):
        raise ConfigurationError(
            f"{name}: got {onward!r}, who is asked for tokens: expected what is asked for, such as "
            "Onward(idp, audience='payments')"
        )


class _SilenceError(Deferred):
    """Nobody answered: the one fault after which the same request is made again."""


class TokenEndpoint:
    """Asks one token endpoint.

    Args:
        issuer: whose it is.
        reach: how it is reached, and by whom.
        grant: the grant that it is asked for, to see whether it is back: not all servers have all.
        options: how often it is asked, and when it is left alone.

    Raises:
        ConfigurationError: the URL may not be asked, or the issuer is none that can be looked up.
    """

    def __init__(
        self,
        issuer: str,
        reach: Reach,
        *,
        grant: str = EXCHANGE_GRANT,
        options: ExchangeOptions,
    ) -> None:
        client, url, fetcher, clock = reach.client, reach.endpoint, reach.fetcher, reach.clock
        self.issuer = issuer
        self.client_id = client.client_id
        self._client = client
        self._grant = grant
        fetcher.check_url(metadata_urls(issuer)[0] if url is None else url)
        self._configured = self._url = url
        # a grant may be taken but once, also where its answer got lost
        self._retries = 0 if grant == JWT_GRANT else options.retries
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

    async def ask(self, form: Form | Making) -> Granted:
        """Return what is answered to a form, not held to anything yet.

        Args:
            form: what is asked; or what makes it, where two requests may not have the same.

        Raises:
            Forbidden: ``exchange.refused``.
            Deferred: there is no answer to be had now.
        """
        try:
            async with self._room.here:
                return await self._tried(form)
        except Refused as refused:
            raise Forbidden(
                refused.code,
                found=refused.found,
                expected=_asked(form() if callable(form) else form),
            ) from None
        except asyncio.CancelledError:
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
        if self._grant == JWT_GRANT:
            asked = {"assertion": nobodys}
        try:
            await self.ask({"grant_type": self._grant, **asked})
        except Refused:
            return

    async def _tried(self, form: Form | Making) -> Granted:
        for _ in range(self._retries):
            try:
                return await self._through_the_breaker(form)
            except _SilenceError:
                continue
        return await self._through_the_breaker(form)

    async def _through_the_breaker(self, form: Form | Making) -> Granted:
        with self._breaker.asking(Refused):
            try:
                return await self._answer(form)
            except Refused:
                raise
            except BaseException:
                self._url = self._configured  # it may have moved
                raise

    async def _answer(self, form: Form | Making) -> Granted:
        url = self._url or await self._finding.get("", self._find)
        credentials = self._client.credentials(self.issuer, self._clock.now())
        whole = {**(form() if callable(form) else form), **credentials.form}
        reply = await self._post(url, whole, credentials.headers)
        told = [value for name in _SECRET if isinstance(value := whole.get(name), str)]
        told.extend(_told_in(credentials.headers))
        return granted(object_of(reply, told), told)

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


def _asked(form: Form) -> str:
    """Say what was asked for: a server's no says of that a code alone."""
    audience, resource = form.get("audience", ()), form.get("resource", ())
    whom = " ".join([*_texts(audience), *_texts(resource)])
    said = (("for", whom), ("with", form.get("scope")))
    return " ".join(["a token", *(f"{name} {value}" for name, value in said if value)])


def _texts(given: str | Sequence[str]) -> Sequence[str]:
    return (given,) if isinstance(given, str) else given


def _told_in(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield what a client proves itself by in its headers, as it is there and as it was."""
    for value in headers.values():
        yield value
        scheme, _, pair = value.partition(" ")
        if scheme == "Basic":  # as `ClientSecretBasic` has written it
            yield unquote_plus(b64decode(pair).decode(errors="replace").partition(":")[2])
