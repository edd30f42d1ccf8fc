"""An order is two parcels, and there is one packer: the second parcel waits seven seconds."""

import asyncio

from pydantic import BaseModel

from busauth import Bus, BusOptions, Caller, Guard, GuardOptions


class Order(BaseModel):
    item: str


guard = Guard(issuer="https://idp.example", audience="shop", options=GuardOptions(concurrency=1))
bus = Bus("amqp://localhost/", guard=guard, service="shop", options=BusOptions(prefetch=1))


@bus.consumer("orders.placed", scopes={"orders:write"})
async def place(order: Order) -> None:
    for _ in range(2):  # two parcels; the token of whoever ordered rides along
        await bus.publish("parcels.due", order)


@bus.consumer("parcels.due", scopes={"orders:write"})
async def pack(order: Order, caller: Caller) -> None:
    await asyncio.sleep(7)  # one at a time: longer than a token of five seconds lives
    print(f"packed a {order.item} for {caller.subject}")
