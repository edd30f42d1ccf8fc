"""Answers to refused requests: where asked for, where allowed, and not more than that."""

import asyncio
import json
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Guard, GuardOptions
from busauth.testing import Issuer
from tests.support import Broker, Order, Trail, consuming, guard_for

DIRECT = "amq.rabbitmq.reply-to"


def guarded(guard: Guard, queue: str) -> Any:
    @guard(queue=queue, scopes={"w"})
    async def handle(order: Order) -> None:
        pass

    return handle


@pytest.mark.parametrize(
    ("claims", "status", "code", "title"),
    [
        ({"aud": "bank"}, 401, "token.audience", "Unauthorized"),
        ({"scope": "r"}, 403, "caller.scope", "Forbidden"),
    ],
)
async def test_direct_reply_to_gets_a_problem(
    claims: dict[str, Any], status: int, code: str, title: str,
    broker: Broker, issuer: Issuer, trail: Trail,
) -> None:  # fmt: skip
    """The requester learns status and code, with its correlation id, and nothing of identity."""
    queue = await broker.declare("rpc")
    guard = guard_for(issuer, trail)
    answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    channel = await broker.connection.channel()
    await (await channel.get_queue(DIRECT, ensure=False)).consume(answers.put, no_ack=True)
    token = issuer.token(**claims)
    async with consuming(broker, queue, guarded(guard, queue)):
        request = aio_pika.Message(
            b'{"id": 1}', reply_to=DIRECT, correlation_id="c1",
            headers={"authorization": f"Bearer {token}"},
        )  # fmt: skip
        await channel.default_exchange.publish(request, queue)
        answer = await asyncio.wait_for(answers.get(), 10)
    await channel.close()
    assert answer.content_type == "application/problem+json"
    assert answer.correlation_id == "c1"
    assert answer.headers == {}
    assert json.loads(answer.body) == {
        "type": f"urn:busauth:refusal:{code}", "title": title, "status": status, "code": code,
    }  # fmt: skip
    await broker.settles_at(f"{queue}.dead" if status == 403 else f"{queue}.rejected", 1)


async def test_only_declared_queues_are_answered(
    broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """A reply_to that no pattern allows, or that does not exist, gets nothing and harms nothing."""
    queue, mine = await broker.declare("rpc"), broker.name("answers")
    await broker.channel.declare_queue(mine, durable=True)
    other = await broker.declare("other")
    options = GuardOptions(reply_to=(f"{broker.prefix}.answer*",))
    guard = guard_for(issuer, trail, options=options)
    async with consuming(broker, queue, guarded(guard, queue)):
        for reply_to in (other, f"{broker.prefix}.answers-gone", f"{DIRECT}.garbage", "", mine):
            await broker.publish(queue, reply_to=reply_to)
        await trail.until("refused", count=5)
        await broker.settles_at(mine, 1)
    assert await broker.count(other) == 0


async def test_answers_are_limited(broker: Broker, issuer: Issuer, trail: Trail) -> None:
    """A flood of refused requests is not turned into a flood of answers."""
    queue, mine = await broker.declare("rpc"), broker.name("answers")
    await broker.channel.declare_queue(mine, durable=True)
    options = GuardOptions(reply_to=(mine,), replies_per_second=0.001)
    guard = guard_for(issuer, trail, options=options)
    async with consuming(broker, queue, guarded(guard, queue)):
        for _ in range(10):
            await broker.publish(queue, reply_to=mine)
        await trail.until("refused", count=10)
        await broker.settles_at(mine, 1)
    await broker.settles_at(f"{queue}.rejected", 10)


@pytest.mark.parametrize("key", ["g2c=.k", "g2dk.x", "!!!.x", "\u00fc.x", "x" * 200])
async def test_a_reply_to_that_breaks_its_connection_breaks_no_other(
    key: str, broker: Broker, issuer: Issuer, trail: Trail
) -> None:
    """A handler that is at work when a hostile reply_to is answered is not disturbed."""
    queue = await broker.declare("rpc")
    guard = guard_for(issuer, trail)
    started, go_on = asyncio.Event(), asyncio.Event()

    @guard(queue=queue)
    async def handle(order: Order) -> None:
        started.set()
        await go_on.wait()

    async with consuming(broker, queue, handle):
        await broker.publish(queue, token=issuer.token())
        await started.wait()
        for _ in range(3):
            await broker.publish(queue, reply_to=f"{DIRECT}.{key}")
        await trail.until("refused", count=3)
        await asyncio.sleep(0.2)
        go_on.set()
        await trail.until("handled")
    await guard.close()
    assert trail.kinds().count("accepted") == 1
