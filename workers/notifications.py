"""Tells customers. Here a role is asked for instead of a scope: who they are, not what they allow.

News that comes late is better than none, so the grace is a long one.
"""

import asyncio

from busauth import Caller, Grace
from workers import shop
from workers.shop import Notice

bus = shop.make_bus("notifications")


@bus.consumer(shop.NOTIFICATIONS_DUE, roles={"customer"}, on_expired=Grace(hours=2))
async def tell(notice: Notice, caller: Caller) -> None:
    """Tell the caller; whose notice this is needs no field in the message."""
    print(f"{caller.subject} is told: order {str(notice.order)[:8]} is {notice.text}", flush=True)


if __name__ == "__main__":
    shop.log_to_stderr()
    asyncio.run(bus.run())
