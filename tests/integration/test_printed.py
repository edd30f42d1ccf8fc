"""What a handler is handed can be printed: no token is in it."""

from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from busauth import Bus, BusOptions, Caller
from busauth.testing import Issuer
from tests.support import LADDERS, Broker, Trail, consuming, guard_for


def printed(*handed: Any) -> str:
    return "\n".join(f"{each!r} {each!s} {each}" for each in handed)


async def test_what_a_handler_is_handed_prints_no_token(
    broker: Broker, issuer: Issuer, trail: Trail, url: str
) -> None:
    """Neither on a bus nor on a plain consumer, for the first delivery and for later ones."""
    queue, other, token = broker.name("orders"), await broker.declare("plain"), issuer.token()
    guard, texts = guard_for(issuer, trail), list[str]()
    bus = Bus(url, guard=guard, service="orders", options=BusOptions(retry=LADDERS[1]))

    async def handle(message: AbstractIncomingMessage, caller: Caller) -> None:
        texts.append(printed(message, caller, [message]))

    bus.consumer(queue)(handle)
    async with bus, consuming(broker, other, guard(queue=other)(handle)):
        for name in (queue, other, queue, other):
            await broker.publish(name, token=token)
        await trail.until("handled", count=4)
    assert len(texts) == 4
    assert not any(token in text or token.split(".")[1] in text for text in texts)
    assert all("authorization" in text for text in texts)
