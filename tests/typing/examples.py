"""What checkers should make of handlers; a line that ends with `# bad` is one they must refuse."""

from typing import assert_type

from aio_pika.abc import AbstractIncomingMessage
from pydantic import BaseModel

from busauth import Bus, Caller, Guard, GuardedConsumer
from busauth.messages import Proven


class Order(BaseModel):
    id: int


guard = Guard(issuer="https://idp.example", audience="shop")
bus = Bus("amqp://localhost/", guard=guard, service="orders")


@bus.consumer("orders.placed", scopes={"orders:write"})
async def place(order: Order, caller: Caller) -> None:
    await bus.publish("stock.reserve", order)
    await bus.publish("stock.reserve", {"id": order.id})  # bad
    await bus.publish("stock.reserve", order, token=3)  # bad


@guard(queue="orders.placed")
async def count(caller: Caller, proven: Proven | None, *, by: int = 1) -> int:
    return by + len(caller.scopes)


@bus.consumer("orders.placed", roles=3)  # bad
async def wrong_roles(caller: Caller) -> None:
    """It is asked for roles that are none."""


@bus.consumer("orders.placed")  # bad
def not_async(caller: Caller) -> None:
    """It returns nothing that could be awaited."""


async def in_a_unit_test(order: Order, caller: Caller, message: AbstractIncomingMessage) -> None:
    await place.handler(order, caller)
    await place.handler("nonsense", caller)  # bad
    await place.handler(order, 3)  # bad
    await place.handler(order)  # bad
    await place(message)
    assert_type(await count.handler(caller, None, by=2), int)
    await count.handler(caller, None, by="two")  # bad


guarded: GuardedConsumer[[Order, Caller], None] = place
other: GuardedConsumer[[str], None] = place  # bad
