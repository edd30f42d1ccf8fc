"""What a handler publishes says which message led to it, and which work it is a part of."""

from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage

from busauth import ANONYMOUS, Guard, as_nobody
from busauth._amqp.headers import PARENT
from busauth.testing import Issuer
from tests.parties import Party, Scene, security
from tests.support import Broker, Trail, guard_for


def handed_on(message: AbstractIncomingMessage) -> tuple[str | None, object]:
    return message.correlation_id, message.headers.get(PARENT)


async def publishing(guard: Guard, broker: Broker, name: str, target: str) -> None:
    """Consume a queue with a handler that publishes in every way that there is."""
    exchange = broker.channel.default_exchange

    @guard(queue=name)
    async def place(message: AbstractIncomingMessage) -> None:
        await guard.publish(exchange, Message(b"{}"), target)
        await guard.publish(exchange, Message(b"{}", correlation_id="own"), target)
        await guard.publish(exchange, Message(b"{}"), target, token=ANONYMOUS)
        with as_nobody():
            await guard.publish(exchange, Message(b"{}"), target, token=ANONYMOUS)

    await (await broker.channel.get_queue(name)).consume(place)


async def test_ids_ride_on(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """The correlation id and the parent's id go along, unless given, and for nobody only asked."""
    guard = guard_for(issuer, trail)
    name, target = await broker.declare("orders"), await broker.declare("stock")
    await publishing(guard, broker, name, target)
    token = issuer.token("ann")
    await broker.publish(name, token=token, message_id="m-1", correlation_id="c-1")
    await trail.until("handled")
    found = [handed_on(message) for message in await broker.take(target)]
    assert found == [("c-1", "m-1"), ("own", "m-1"), ("c-1", "m-1"), (None, None)]


async def test_what_no_id_is_goes_no_further(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """Without a correlation id the message's own id is one; a token in either goes no further."""
    guard = guard_for(issuer, trail)
    name, target = await broker.declare("orders"), await broker.declare("stock")
    await publishing(guard, broker, name, target)
    token = issuer.token("ann")
    for count, (message_id, more) in enumerate((("m-1", None), (token[:200], "a\nb")), 1):
        await broker.publish(name, token=token, message_id=message_id, correlation_id=more)
        await trail.until("handled", count=count)
    found = [handed_on(message) for message in await broker.take(target)]
    assert (found[0], found[4]) == (("m-1", "m-1"), (None, None))


async def test_a_proof_speaks_of_it_and_copies_keep_it(scene: Scene) -> None:
    """Proven, retried and handled, the message still says what led to it."""
    party = Party("orders")
    first, second = scene.broker.name("first"), scene.broker.name("second")
    messages = security(party.publisher(), signer=party.signer)
    bus, seen = scene.bus(messages), list[tuple[str | None, object]]()

    @bus.consumer(first)
    async def place(message: AbstractIncomingMessage) -> None:
        await bus.publish(second, b"{}")

    @bus.consumer(second)
    async def reserve(message: AbstractIncomingMessage) -> None:
        seen.append(handed_on(message))
        if len(seen) == 1:
            raise ValueError

    async with bus:
        body = Message(b"{}", message_id="m-1", correlation_id="c-1")
        await bus.publish(first, body, token=scene.issuer.token("ann"))
        await scene.trail.until("handled", count=2)
    assert seen == [("c-1", "m-1")] * 2
