"""Telling the sender of a refused request, where it asked for an answer (RFC 9457).

A `reply_to` is the sender's choice and would make a guard publish anywhere it likes. So answers go
only to direct reply-to, or to patterns that the operator declared; they carry no identity, tell the
code and not the evidence, and are limited in number.

They leave on a connection of their own: RabbitMQ closes the whole connection over a direct reply-to
that it cannot decode, and nobody's deliveries or dead letters may hang on that.
"""

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from pamqp.commands import Basic

from busauth._amqp.connecting.connect import connected_like
from busauth._amqp.connecting.own import OwnConnection
from busauth._amqp.connecting.patience import left
from busauth._amqp.delivery import Delivery
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import Outlet, Publisher
from busauth.audit import LOGGER
from busauth.clock import Clock
from busauth.errors import Refused, evidence

# what RabbitMQ puts in the place of amq.rabbitmq.reply-to: nobody else's queue is called that
_DIRECT = re.compile(r"amq\.rabbitmq\.reply-to\.[A-Za-z0-9+/=_.-]+", re.ASCII)


class Replies:
    """Answers to refused requests, on a connection that carries nothing else.

    Args:
        patterns: reply queues that may be answered, as `fnmatch` patterns.
        per_second: answers sent at most, on average; bursts are as large as one second's.
        clock: what the limit is measured on.
        publisher: the channel for answers, of no other use.
    """

    def __init__(
        self, patterns: Iterable[str], *, per_second: float, clock: Clock, publisher: Publisher
    ) -> None:
        self._own = OwnConnection()
        self._patterns = tuple(patterns)
        self._per_second = per_second
        self._clock = clock
        self._publisher = publisher
        self._tokens = max(1.0, per_second)
        self._counted = clock.monotonic()

    async def answer(self, outlet: Outlet, message: Delivery, refused: Refused) -> None:
        """Send the answer, if there is one to be sent; a failure is logged and goes no further."""
        reply_to = message.raw.reply_to
        if not reply_to or not self._may_answer(reply_to) or not self._within_limit():
            return
        try:
            like = await outlet(message)
            connection = await self._own.get(lambda: connected_like(like))
            properties = Basic.Properties(
                content_type="application/problem+json",  # RFC 9457, section 3
                correlation_id=message.raw.correlation_id,  # tells the asker which request it was
            )
            problem = Outgoing(json.dumps(refused.problem()).encode(), properties)
            await self._publisher.publish(connection, problem, exchange="", routing_key=reply_to)
        except Exception as error:  # the message is settled, and nobody waits for this
            LOGGER.info(
                "an answer was not delivered: %s", evidence(f"{type(error).__name__}: {error}")
            )

    async def close(self) -> None:
        """Close the connection for answers; the next answer opens another."""
        connection = self._own.leave()
        if connection is not None:
            await left(connection)

    def _may_answer(self, reply_to: str) -> bool:
        return _DIRECT.fullmatch(reply_to) is not None or any(
            fnmatchcase(reply_to, pattern) for pattern in self._patterns
        )

    def _within_limit(self) -> bool:
        now = self._clock.monotonic()
        earned = (now - self._counted) * self._per_second
        # at least one: a rate below one a second would else never earn an answer
        self._tokens = min(max(1.0, self._per_second), self._tokens + earned)
        self._counted = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
