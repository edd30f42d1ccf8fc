"""What checkers make of handlers and options; a line that ends with `# bad` they must refuse."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict, assert_type

import httpx
from aio_pika.abc import AbstractIncomingMessage
from fastapi import FastAPI, Security
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from busauth import (
    Bus,
    BusOptions,
    Caller,
    ConsumerOptions,
    DeadLetter,
    Discard,
    Grace,
    Guard,
    GuardedConsumer,
    GuardOptions,
    Park,
    Restrict,
    RetryOptions,
    ValidWhenPublished,
)
from busauth.delegation import (
    FORWARDED,
    NO_ACTOR,
    Actor,
    Actors,
    Exchange,
    Onward,
    TokenExchange,
    Voucher,
)
from busauth.expiry import ParkedFor
from busauth.integrations.fastapi import CallerBearer
from busauth.integrations.httpx import CallerAuth
from busauth.integrations.starlette import authenticated, lifespan, problems, readiness
from busauth.integrations.threads import BusThread
from busauth.messages import Accepted, Copy, Held, NotNow, ProofDemand, Proven, Received, Refusal
from busauth.messages import Route as MessageRoute
from busauth.revocation import FeedOptions
from busauth.settings import IssuerSettings, SignerSettings
from busauth.tokens import ClientSecretBasic


class Order(BaseModel):
    id: int


@dataclass
class Line:
    order: int


class Place(TypedDict):
    name: str


guard = Guard(issuer="https://idp.example", audience="shop")
bus = Bus("amqp://localhost/", guard=guard, service="orders")

idp = TokenExchange("https://idp.example", client=ClientSecretBasic("orders", "a secret"))
reserving = Onward(idp, audience="stock", scopes={"stock:write"})
later = Voucher(idp, audience="stock-later", hours=20)
of_stock = {"stock.reserve": reserving}
Bus("amqp://localhost/", guard=guard, service="orders", onward=of_stock)
Bus(
    "amqp://localhost/",
    guard=guard,
    service="orders",
    onward={MessageRoute("", "stock.*"): later, "stock.reserve": reserving, "audit": FORWARDED},
)
Bus("amqp://localhost/", guard=guard, service="orders", onward={"stock.reserve": idp})  # bad
Guard(issuer="https://idp.example", audience="shop", on_expired=Exchange(idp, late=True))
Exchange("https://idp.example")  # bad
Voucher(idp, audience="stock-later", hours="20")  # bad


@bus.consumer("orders.placed", scopes={"orders:write"})
async def place(order: Order, caller: Caller) -> None:
    await bus.publish("stock.reserve", order)
    await bus.publish("stock.reserve", {"id": order.id})
    await bus.publish("stock.reserve", [order], body_type=list[Order])
    await bus.publish("stock.reserve", Line(1))
    await bus.publish("stock.reserve", Place(name="here"), body_type=Place)
    await bus.publish("stock.reserve", "text")
    await bus.publish("stock.reserve", order.id)  # bad
    await bus.publish("stock.reserve", order, token=3)  # bad
    await bus.publish("stock.reserve", order, onward=reserving, delay=3600)
    await bus.publish("stock.reserve", order, onward="stock")  # bad
    await bus.publish("stock.reserve", order, delay="tomorrow")  # bad


@guard(queue="orders.placed")
async def count(caller: Caller, proven: Proven | None, *, by: int = 1) -> int:
    return by + len(caller.scopes)


@guard(queue="orders.acted", actors={"agent-x"})
async def acted_by_one(caller: Caller) -> None:
    assert_type(await caller.fresh(), str)


@bus.consumer("orders.acted", actors=3)  # bad
async def acted_by_none(caller: Caller) -> None:
    """It says who may act by a number."""


@guard(queue="orders.acted", actors=NO_ACTOR)
async def acted(caller: Caller) -> Actor | None:
    return caller.actor


async def come_back(parked: ParkedFor) -> None:
    assert_type(parked.actor, Actor | None)


Park(ask=come_back)
Park(ask=lambda parked: None)  # bad
Actors({"agent-x"}, issuer="https://agents.example", or_nobody=True, at_most=2)
Actors({"agent-x"}, at_most="2")  # bad


@bus.consumer("orders.placed", roles=3)  # bad
async def wrong_roles(caller: Caller) -> None:
    """It is asked for roles that are none."""


@bus.consumer("orders.counted")
def block(orders: list[Order], caller: Caller) -> int:
    return len(orders)


@guard(queue="orders.counted")
def block_too(body: bytes) -> None:
    """It runs in a thread."""


async def in_a_unit_test(order: Order, caller: Caller, message: AbstractIncomingMessage) -> None:
    await place.handler(order, caller)
    await place.handler("nonsense", caller)  # bad
    await place.handler(order, 3)  # bad
    await place.handler(order)  # bad
    await place(message)
    assert_type(await count.handler(caller, None, by=2), int)
    await count.handler(caller, None, by="two")  # bad
    assert_type(await asyncio.create_task(count.handler(caller, None)), int)
    assert_type(block.handler([order], caller), int)
    block.handler([3], caller)  # bad
    await block.handler([order], caller)  # bad


guarded: GuardedConsumer[[Order, Caller], Coroutine[Any, Any, None]] = place
blocking: GuardedConsumer[[list[Order], Caller], int] = block
other: GuardedConsumer[[str], Coroutine[Any, Any, None]] = place  # bad


async def ask(request: Request) -> Response:
    async with authenticated(guard, request, scopes=["orders:write"]) as caller:
        assert_type(caller, Caller)
    async with authenticated(bus, request, scopes=3) as caller:  # bad
        return Response(caller.subject)


routes = [Route("/orders", ask), Route("/ready", readiness(bus))]
Starlette(routes=routes, exception_handlers=problems(), lifespan=lifespan(bus))
api = FastAPI(exception_handlers=problems(realm="shop"), lifespan=lifespan(bus))
api.get("/ready")(readiness(bus))
bearer = CallerBearer(guard)
CallerBearer("guard")  # bad
lifespan(guard)  # bad


@api.post("/orders")
async def order(caller: Annotated[Caller, Security(bearer, scopes=["orders:write"])]) -> str:
    return caller.subject


stock = httpx.AsyncClient(auth=CallerAuth(hosts=["https://stock.example"]))
CallerAuth(hosts=3)  # bad

GuardOptions(retries=3, deadline=60, transient=(KeyError,), consumers={"q": ConsumerOptions()})
GuardOptions(retrys=3)  # bad
GuardOptions(retries=[3])  # bad
GuardOptions(3)  # bad
RetryOptions(limt=3)  # bad
BusOptions(prefetch="a lot")  # bad
BusOptions(retry=RetryOptions(limit=0), prefetch=200)
ConsumerOptions(on_expired=Grace(minutes=3), proof=ProofDemand.REQUIRED)
ConsumerOptions(on_expired=(Grace(minutes=3), Discard()), formerly=("orders",))
ConsumerOptions(on_expird=Grace(minutes=3))  # bad
Grace(minuts=3)  # bad
Grace(minutes="three")  # bad
Grace(window=timedelta(minutes=3))
ValidWhenPublished(hours=6, sources={"web"})
ValidWhenPublished(hours=6, source={"web"})  # bad
Restrict("orders:read", roles={"clerk"})
Restrict(scope="orders:read")  # bad
DeadLetter(reason="too late", keep_token="redrive.jwk")
DeadLetter(raeson="too late")  # bad
Discard(reason="too late")  # bad
FeedOptions(on_stale="stop")  # bad
IssuerSettings(issuer="https://idp.example", audience=("shop", "till"), leeway=5)
IssuerSettings(issuer="https://idp.example", audience="shop", leway=5)  # bad
SignerSettings(name="web", key_file=Path("web.pem"), algorithm="ES256")
SignerSettings(name="web", algorithm="ES256")  # bad


judge = guard.judge(queue="orders.placed", scopes={"orders:write"})
guard.judge(queue="orders.placed", frame_max="large")  # bad


async def in_hand(message: AbstractIncomingMessage | Received) -> None:
    async with judge(message) as judged:
        match judged:
            case Accepted(caller=caller):
                assert_type(caller, Caller)
            case Refusal(code=code, copy=copy):
                assert_type(code, str)
                assert_type(copy, Copy | None)
            case Held(copy=copy):
                assert_type(copy.queue, str)
            case NotNow(seconds=seconds):
                assert_type(seconds, float)
        _ = judged.caller  # bad
    judge(b"a body alone")  # bad


with BusThread(bus) as publisher:
    publisher.publish("orders.placed", Order(id=1), token="t", timeout=5)
    publisher.publish("orders.placed", Order(id=1), token=3)  # bad
    assert_type(publisher.authenticate(None), Caller)
