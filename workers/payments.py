"""Takes payments, for a while also with a token that expired while the request was waiting.

The customer asked in time; that we were slow is not their fault. The ledger is asked over HTTP with
the same token, and applies the same grace. `caller.late` tells when it was needed.
"""

import asyncio
from http import HTTPStatus

import httpx

from busauth import Caller, Grace, Reject
from workers import shop
from workers.shop import Notice, PaymentRequest

bus = shop.make_bus("payments")
ledger = httpx.AsyncClient(base_url=shop.settings.ledger, timeout=5, trust_env=False)


@bus.consumer(
    shop.PAYMENTS_REQUESTED,
    scopes={"payments:take"},
    on_expired=Grace(seconds=shop.settings.grace),
)
async def take(payment: PaymentRequest, caller: Caller) -> None:
    """Take the money, write it down, and let the customer know."""
    await write_down(payment, caller)
    text = "paid, later than you asked" if caller.late else "paid"
    await bus.publish(shop.NOTIFICATIONS_DUE, Notice(order=payment.order, text=text))


async def write_down(payment: PaymentRequest, caller: Caller) -> None:
    """Ask the ledger, on the caller's behalf; PUT, because a message may come twice."""
    answer = await ledger.put(
        f"/entries/{payment.order}",
        json={"amount": payment.amount},
        headers={"authorization": f"Bearer {caller.bearer()}"},
    )
    if answer.status_code == HTTPStatus.FORBIDDEN:
        raise Reject("the ledger does not take this caller's entries")
    answer.raise_for_status()  # anything else is retried, and the policy asked again


async def main() -> None:
    """Consume until a signal comes."""
    async with ledger:
        await bus.run()


if __name__ == "__main__":
    shop.log_to_stderr()
    asyncio.run(main())
