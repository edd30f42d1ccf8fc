"""A service in a process of its own, to be killed: prints a line for each order it has handled.

Arguments: the queue, then the issuer's URL and its keys as JSON.
"""

import asyncio
import json
import os
import sys

from busauth import Bus, Caller, Guard, StaticKeys, Verifier
from tests.support import Order


async def main(queue: str, issuer: str, keys: str) -> None:
    verifier = Verifier(StaticKeys(json.loads(keys)), issuer=issuer, audience="shop")
    bus = Bus(os.environ["BUSAUTH_AMQP_URL"], guard=Guard(verifier), service="worker")

    @bus.consumer(queue)
    async def handle(order: Order, caller: Caller) -> None:
        await asyncio.sleep(0.01)
        sys.stdout.write(f"{order.id}\n")
        sys.stdout.flush()

    await bus.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
