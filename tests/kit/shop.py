"""A service as a user would have it: a module with a guard, a bus and handlers."""

from pydantic import BaseModel

from busauth import Bus, Caller, Grace, Guard
from busauth.integrations.threads import BusThread


class Order(BaseModel):
    id: int


guard = Guard(issuer="https://idp.example", audience="shop", on_expired=Grace(minutes=10))
bus = Bus("amqp://nowhere.example/", guard=guard, service="orders")
parcels = Bus("amqp://nowhere.example/", guard=guard, service="parcels")
out = Bus("amqp://nowhere.example/", guard=guard, service="labels")
publishers = {each: BusThread(each) for each in (parcels, out)}
publisher = publishers[parcels]
handled: list[tuple[int, str]] = []


@bus.consumer("orders.placed", scopes={"orders:write"})
async def reserve(order: Order, caller: Caller) -> None:
    if order.id < 0:
        raise ValueError("no such order")
    handled.append((order.id, caller.subject))
    await bus.publish("stock.reserve", order)


@bus.consumer("stock.reserve")
async def take(order: Order) -> None:
    handled.append((order.id, "stock"))


@parcels.consumer("parcels")
def label(order: Order) -> None:
    publisher.publish("labels", order)
