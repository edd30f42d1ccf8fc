"""Sending messages back to a consumer's queue from a queue beside it.

Who holds the message: the queue beside, until the broker has confirmed that the copy was routed.
Cut off in between, it is in both; a replay memory tells the copy from what is sent once more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelLockedResource
from yarl import URL

from busauth._amqp import headers
from busauth._amqp.connecting.connect import below, connected
from busauth._amqp.connecting.patience import answered, leaving, left
from busauth._amqp.connecting.rights import TURN, permitted
from busauth._amqp.connecting.sieve.tolerant import TolerantConnection
from busauth._amqp.guard import Guard
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import frame_max
from busauth._amqp.resending.letters import Waiting, looked_at, taken
from busauth.audit import Event, EventKind, told_actors
from busauth.caller import Actor, Caller
from busauth.errors import Deferred, PublishError, Refused, evidence

# 20 s in all: who has just ended a turn gives back within that, and who is at work takes longer
_TURNS, _BETWEEN = 200, 0.1
"""How often, and how many seconds apart, it is tried to have the queue alone."""


@dataclass(frozen=True, slots=True)
class Released:
    """What became of the messages of a queue beside a consumer's.

    Attributes:
        sent: the ids of those that were sent back.
        refused: the codes of those that stay although they were asked for, by their ids.
        others: how many stay because nobody asked for them.
    """

    sent: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    others: int = 0


Renewal = Callable[[AbstractIncomingMessage, int], Awaitable[Outgoing | None]]
"""Returns the copy of a message that goes back, within a frame; None for one that stays. What it
refuses stays, too, and is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Sends back to one queue.

    Attributes:
        url: the broker; each time has a connection of its own.
        guard: who publishes, and tells.
        queue: the consumer's queue.
        source: the queue beside it.
        told: as what the auditor is told of what went.
        caller: on whose behalf, where that is one.
        publisher: who signs, where somebody does.
    """

    url: str | URL
    guard: Guard
    queue: str
    source: str
    told: EventKind
    caller: Caller | None = None
    publisher: str | None = None

    async def run(self, renew: Renewal) -> Released:
        """Send back what is renewed, one by one, each confirmed before it is taken away.

        Raises:
            Deferred: keys are out of reach, somebody else takes from the queue beside, or the
                broker took back what was held, after its consumer timeout.
            PublishError: the broker did not confirm one; it and all after it stay.
            ConfigurationError: there is no such queue, the URL could never connect, or a right is
                missing.
            ConnectionError: the broker is out of reach.
        """
        async with leaving(await connected(self.url)) as connection:
            waiting = await alone(connection, self.source)
            sent, refused, others = list[str](), dict[str, str](), 0
            async for message in waiting:
                message_id = evidence(message.message_id) or ""
                try:
                    was_sent = await self._sent(connection, message, renew)
                except Refused as refusal:  # it stays; the others are no worse for it
                    refused[message_id] = refusal.code
                    self.tell(EventKind.REFUSED, message, refusal)
                    continue
                if was_sent:
                    # told before it is taken away: cut off in between, it is in both, and was sent
                    sent.append(message_id)
                    self.tell(self.told, message)
                    waiting.check()  # only while it was held, it is gone from there
                    await answered(below(connection), message.ack())
                else:
                    others += 1
            return Released(tuple(sent), refused, others)

    async def _sent(
        self, connection: AbstractConnection, message: AbstractIncomingMessage, renew: Renewal
    ) -> bool:
        if connection.transport is None:
            raise PublishError("the connection was closed: try again")
        outlet = connection.transport.connection
        outgoing = await renew(message, frame_max(outlet))
        if outgoing is None:
            return False
        await self.guard.core.send(outlet, outgoing, "", self.queue)
        return True

    def tell(
        self, kind: EventKind, message: AbstractIncomingMessage, refused: Refused | None = None
    ) -> None:
        """Tell whose it is: who asked for it, else who the message says."""
        caller, said = self.caller, message.headers
        self.guard.core.tell(
            Event(
                kind=kind,
                queue=self.source,
                at=self.guard.clock.now(),
                message_id=evidence(message.message_id) or "",
                issuer=caller.issuer if caller else evidence(said.get(headers.ISSUER)),
                subject=evidence(caller.subject if caller else said.get(headers.SUBJECT)),
                actors=told_actors(caller) if caller else _acted(said),
                code=refused.code if refused else None,
                detail=refused.detail if refused else f"-> {self.queue}",
                publisher=self.publisher,
            )
        )


def _acted(said: Mapping[str, Any]) -> tuple[Actor, ...]:
    """Return who acted, by the word of a letter."""
    actor = evidence(said.get(headers.ACTOR))
    return () if actor is None else (Actor(actor),)


async def alone(connection: TolerantConnection, source: str) -> Waiting:
    """Take alone: two that share a queue would each see a part of it.

    A queue of the connection's own is the turn, as quorum queues know no exclusive consumer. Who
    has ended a turn may not have given everything back while a consumer of theirs is there.

    Args:
        connection: of no other use; whoever closes it ends the turn, and gives everything back.
        source: the queue beside the consumer's.

    Raises:
        Deferred: somebody else has it.
        ConfigurationError: there is no such queue, or a right is missing.
    """
    for _ in range(_TURNS):
        if await answered(below(connection), _has_turn(connection, source)):
            return await taken(connection, source)
        await asyncio.sleep(_BETWEEN)
    raise Deferred(f"{source} is in somebody else's hands: try again later")


async def _has_turn(connection: AbstractConnection, source: str) -> bool:
    channel = await connection.channel()
    with suppress(ChannelLockedResource):  # somebody else's turn: ask again later
        # the turn before the look: who has it alone knows that a consumer there is an old one
        with permitted(TURN):
            await channel.declare_queue(f"{source}.turn", exclusive=True)
        declared = await looked_at(channel, source)
        if not declared.declaration_result.consumer_count:
            return True
    await left(channel)  # the next attempt opens another: the answer may have closed this one
    return False
