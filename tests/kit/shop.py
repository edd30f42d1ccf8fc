"""A service as a user would have it: a module with a guard, a bus and handlers."""

from pydantic import BaseModel

from busauth import Bus, Caller, Grace, Guard


class Order(BaseModel):
    id: int


guard = Guard(issuer="https://idp.example", audience="shop", on_expired=Grace(minutes=10))
bus = Bus("amqp://nowhere.example/", guard=guard, service="orders")
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
