"""Takes orders, from callers who may write them, and asks for the money.

The caller is injected because the parameter says `Caller`. The payment request needs no token in
its hand: `bus.publish` sends the caller's on.
"""

import asyncio
from collections.abc import Mapping

from busauth import Caller, Reject
from workers import shop
from workers.shop import Order, PaymentRequest

PRICES: Mapping[str, int] = {"teapot": 2900, "cup": 600, "spoon": 250}

bus = shop.make_bus("orders")


@bus.consumer(shop.ORDERS_PLACED, scopes={"orders:write"})
async def place(order: Order, caller: Caller) -> None:
    """Price the order. An item that we do not sell will not be sold on a retry either."""
    if order.item not in PRICES:
        raise Reject("no such item")
    shop.LOG.info("%s orders %d x %s", caller.subject, order.quantity, order.item)
    amount = PRICES[order.item] * order.quantity
    await bus.publish(shop.PAYMENTS_REQUESTED, PaymentRequest(order=order.id, amount=amount))


if __name__ == "__main__":
    shop.log_to_stderr()
    asyncio.run(bus.run())
