"""The shop's front door: an HTTP request with a bearer token becomes a message that carries it.

The gateway asks who is calling, and no more. Whether they may place an order is judged where orders
are taken, so that a message from elsewhere meets the same question.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import uvicorn
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers import edge, shop
from workers.shop import Order

PORT = 8000

guard = shop.make_guard()
bus = shop.make_bus("gateway", guard)


class NewOrder(BaseModel):
    """What a customer sends."""

    item: str
    quantity: int = 1


async def place_order(request: Request) -> Response:
    """Take an order: 202 once the broker has confirmed that it holds it."""
    caller = await edge.authenticate(guard, request)
    wanted = NewOrder.model_validate_json(await request.body())
    order = Order(id=uuid4(), item=wanted.item, quantity=wanted.quantity)
    await bus.publish(shop.ORDERS_PLACED, order, token=caller.bearer())
    return JSONResponse({"order": str(order.id)}, 202)


@asynccontextmanager
async def connected(_: Starlette) -> AsyncIterator[None]:
    """Connect at start-up, when no caller is in scope."""
    async with bus:
        yield


app = Starlette(
    routes=[
        Route("/orders", place_order, methods=["POST"]),
        Route("/healthz", edge.healthz),
    ],
    exception_handlers=edge.ANSWERS,
    lifespan=connected,
)


if __name__ == "__main__":
    shop.log_to_stderr()
    uvicorn.run(app, host=shop.settings.host, port=shop.settings.port or PORT, log_level="warning")
