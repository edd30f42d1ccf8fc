"""Which token goes along with a publication: the caller's own, or one that was had for it.

A bus that declares where callers' tokens go has each go as declared, and nowhere else: it fails
closed. Where nothing is declared or said, the caller's own token goes along, and nobody is asked.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from busauth._amqp.connecting.within import Within
from busauth._amqp.publishing.outbox import ANONYMOUS, Token
from busauth._delegation.exchanging import OnwardToken
from busauth._delegation.onward import FORWARDED
from busauth._messages.proof import Route
from busauth.audit import Event, exchanged
from busauth.caller import Caller, Subject, current_lease
from busauth.clock import Clock
from busauth.errors import ConfigurationError, Transient, evidence, told_to_handlers

Declared = (
    Mapping[str, OnwardToken] | Mapping[Route, OnwardToken] | Mapping[str | Route, OnwardToken]
)
"""Where callers' tokens go, and as what; a mapping's keys are of one type, for whoever types."""


class OnwardRoutes:
    """Where a bus has callers' tokens go, and as what.

    Args:
        declared: by routing key on the default exchange, or by `Route`, the first that covers a
            publication counts; None where nothing is declared.
    """

    def __init__(self, declared: Declared | None) -> None:
        given: Mapping[Any, OnwardToken] | None = declared
        self._declared = None if given is None else dict(given)

    def of(
        self, said: OnwardToken | None, token: Token, exchange: str, routing_key: str
    ) -> OnwardToken | None:
        """Return what goes along with a publication; None for the caller's own token.

        Args:
            said: with this publication, which counts first.
            token: on whose behalf; nobody's message has no token that could go on.
            exchange: where it goes.
            routing_key: with which key.

        Raises:
            ConfigurationError: the bus declares routes, and not this one.
        """
        if token is ANONYMOUS or said is FORWARDED:
            return None
        chosen = said
        if chosen is None and self._declared is not None:
            chosen = self._declared_for(self._declared, exchange, routing_key)
        return None if chosen is FORWARDED else chosen

    def _declared_for(
        self, declared: Mapping[Any, OnwardToken], exchange: str, routing_key: str
    ) -> OnwardToken:
        if not exchange and routing_key in declared:
            return declared[routing_key]
        for route, onward in declared.items():
            if isinstance(route, Route) and route.covers(exchange, routing_key):
                return onward
        key = repr(routing_key) if not exchange else f"Route({exchange!r}, {routing_key!r})"
        raise ConfigurationError(
            f"{Route(exchange, routing_key)}: no caller's token goes there, nothing was sent: "
            f"expected it declared, Bus(onward={{{key}: Onward(...)}}), or FORWARDED in its place "
            "for the caller's own token; or said with the publication, onward=..."
        )


class Onwards:
    """Has the tokens that go on in place of callers' own.

    Args:
        authenticate: proves a raw token that was handed in.
        tell: is told of each token that was had.
        clock: when that was.
        transient: kinds of errors that are nobody's fault, next to `OSError`.
    """

    def __init__(
        self,
        authenticate: Callable[[str], Awaitable[Caller]],
        tell: Callable[[Event], None],
        clock: Clock,
        transient: Transient,
    ) -> None:
        self._authenticate = authenticate
        self._tell = tell
        self._clock = clock
        self._transient = transient

    async def instead(
        self, onward: OnwardToken | None, token: Token, routing_key: str, within: Within
    ) -> str | None:
        """Return the raw token that goes on in place of the caller's; None for the caller's own.

        Args:
            onward: has it; None where none is to be had.
            token: on whose behalf.
            routing_key: where it goes, which is told.
            within: how long it may take.

        Raises:
            CallerError: no caller is in scope, or the handler has ended.
            Refused: they were revoked, or whoever gives tokens gives none.
            Deferred: that cannot be told, or no token be had, now or in time.
        """
        if onward is None:
            return None
        with told_to_handlers(self._transient):
            async with within.limit():
                subject = await self._subject(token)
                had = await onward.token_for(subject)
                await self._subject(token)  # once more: who counted before may be revoked by now
        at, detail = self._clock.now(), evidence(f"{onward}")
        self._tell(exchanged(subject.caller, queue=routing_key, at=at, detail=detail))
        return had

    async def _subject(self, token: Token) -> Subject:
        if not isinstance(token, str):
            return await current_lease().subject()
        return Subject(await self._authenticate(token), token)
