"""Which token goes along with a publication: the caller's own, or one that was had for it.

A bus that declares where callers' tokens go has each go as declared, and nowhere else: it fails
closed. Where nothing is declared or said, the caller's own token goes along, and nobody is asked.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from aio_pika.message import Message

from busauth._amqp.connecting.within import Within
from busauth._amqp.publishing.outbox import ANONYMOUS, Body, Token
from busauth._arguments import closest
from busauth._delegation.exchanging import OnwardToken
from busauth._delegation.onward import FORWARDED, token_of, told
from busauth._messages.proof import Route
from busauth.audit import Event, exchanged
from busauth.caller import Caller, Subject, current_lease
from busauth.clock import Clock
from busauth.errors import (
    ConfigurationError,
    Forbidden,
    Refused,
    Transient,
    evidence,
    told_to_handlers,
)

if TYPE_CHECKING:

    class Declared(Protocol):
        """A mapping, as checkers know it: theirs has keys of one exact type, and this of either."""

        def items(self) -> Iterable[tuple[str | Route, OnwardToken]]:
            """Return each route, with what goes there."""

else:
    Declared = Mapping[str | Route, OnwardToken]


_COPIED_TO: Final = frozenset({"cc", "bcc"})
"""Headers by which a broker sends a message to further queues, token included."""


class OnwardRoutes:
    """Where a bus has callers' tokens go, and as what.

    Args:
        declared: by routing key on the default exchange, or by `Route`, the first that covers a
            publication counts; None where nothing is declared.
    """

    def __init__(self, declared: Declared | None) -> None:
        routes = None if declared is None else declared.items()
        self._declared = None if routes is None else [(_route(key), each) for key, each in routes]

    def of(
        self,
        said: OnwardToken | None,
        token: Token,
        exchange: str,
        routing_key: str,
        *,
        body: Body,
    ) -> OnwardToken | None:
        """Return what goes along with a publication; None for the caller's own token.

        Args:
            said: with this publication, which counts first.
            token: on whose behalf; nobody's message has no token that could go on.
            exchange: where it goes.
            routing_key: with which key.
            body: what is published; a message may name further queues.

        Raises:
            ConfigurationError: the bus declares routes, and not this one, or it goes elsewhere as
                well.
        """
        if token is ANONYMOUS or said is FORWARDED:
            return None
        chosen = said
        if chosen is None and self._declared is not None:
            _check_alone(body)
            chosen = self._declared_for(self._declared, exchange, routing_key)
        return None if chosen is FORWARDED else chosen

    def _declared_for(
        self, declared: list[tuple[Route, OnwardToken]], exchange: str, routing_key: str
    ) -> OnwardToken:
        for route, onward in declared:
            if route.covers(exchange, routing_key):
                return onward
        key = repr(routing_key) if not exchange else f"Route({exchange!r}, {routing_key!r})"
        near = closest(routing_key, [route.key for route, _ in declared])
        meant = f" (declared is {near!r})" if near else ""
        raise ConfigurationError(
            f"{Route(exchange, routing_key)}{meant}: no caller's token goes there, and nothing was "
            f"sent: expected it declared, Bus(onward={{{key}: Onward(...)}}), or FORWARDED in its "
            "place for the caller's own token; or said with the publication, onward=..."
        )


def _route(key: str | Route) -> Route:
    return key if isinstance(key, Route) else Route("", key)


def _check_alone(body: Body) -> None:
    """Refuse a message that its sender has sent to further queues, for which nothing is declared.

    Raises:
        ConfigurationError: names the header.
    """
    if not isinstance(body, Message):
        return
    if more := [name for name in body.headers if name.lower() in _COPIED_TO]:
        raise ConfigurationError(
            f"the header {more[0]!r} takes the token to queues that this bus declares nothing for: "
            "nothing was sent; expected one publication for each queue, or onward=... said with it"
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
                had = await self._had(onward, subject)
                await self._subject(token)  # once more: who counted before may be revoked by now
        at, detail = self._clock.now(), evidence(told(onward))
        self._tell(exchanged(subject.caller, queue=routing_key, at=at, detail=detail))
        return had

    async def _had(self, onward: OnwardToken, subject: Subject) -> str:
        """Return what is had for a token; of one that has ended, a server's no tells too little."""
        try:
            return await token_of(onward, subject)
        except Refused as refused:
            late = self._clock.now() - subject.caller.expires_at
            if refused.code != "exchange.refused" or late < 0:
                raise
            raise Forbidden(
                refused.code,
                found=f"{refused.found}, for a token {late:.0f} s past exp",
                expected="one that counts: on_expired=Exchange(...) at the consumer, or a voucher",
            ) from refused

    async def _subject(self, token: Token) -> Subject:
        if not isinstance(token, str):
            return await current_lease().subject()
        return Subject(await self._authenticate(token), token)
