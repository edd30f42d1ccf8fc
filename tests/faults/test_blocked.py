"""A broker that takes no publications for a while: what was given up is never written."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import aio_pika
import pytest

from busauth import (
    Bus,
    BusOptions,
    Caller,
    GuardOptions,
    NotAllPublished,
    Publication,
    PublishError,
    Reject,
    RetryOptions,
)
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer
from busauth.testing.broker.model.limits import Limits
from scripts.broker import PrivateNode
from scripts.broker.settings import environment
from tests.support import Order, Trail, connected, guard_for

pytestmark = pytest.mark.processes

BRIEF = GuardOptions(publish_timeout=0.8, pause_first=0.01, pause_longest=0.05)
MEMORY = 1_000_000
UNKNOWN, UNSENT = "is unknown", "it was not sent"

Switch = Callable[[], Awaitable[None]]


@dataclass
class Alarming:
    """A broker whose memory can be short."""

    url: str
    short: Switch
    enough: Switch


@pytest.fixture(scope="module")
def node() -> Iterator[PrivateNode]:
    with PrivateNode() as node:
        yield node


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.reference)])
async def alarming(request: pytest.FixtureRequest) -> AsyncIterator[Alarming]:
    """A broker of the test's own: others would be blocked with it."""
    if request.param == "embedded":
        async with (
            EmbeddedBroker(limits=Limits(memory=MEMORY)) as server,
            await aio_pika.connect(server.url) as connection,
        ):
            yield await _embedded(server.url, connection)
        return
    node: PrivateNode = request.getfixturevalue("node")
    yield Alarming(node.url, *(_watermark(node, size) for size in ("1", "4GB")))


async def _embedded(url: str, connection: aio_pika.abc.AbstractConnection) -> Alarming:
    channel = await connection.channel()
    queue = await channel.declare_queue("filler", exclusive=True)

    async def short() -> None:
        await channel.default_exchange.publish(aio_pika.Message(b"x" * 2 * MEMORY), "filler")

    async def enough() -> None:
        await queue.purge()

    return Alarming(url, short, enough)


def _watermark(node: PrivateNode, size: str) -> Switch:
    """Return what sets how much memory a node of one's own may take, as its operator would."""
    assert node._reaper is not None
    env = environment(node._reaper.folder, node.port, node._dist_port, node._epmd_port)
    command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-n", env["RABBITMQ_NODENAME"]]

    async def switch() -> None:
        words = [*command, "set_vm_memory_high_watermark", "absolute", size]
        await asyncio.to_thread(subprocess.run, words, env=env, check=True, capture_output=True)

    return switch


async def given_up(bus: Bus, queue: str, order: Order, token: str) -> str | None:
    """Publish, and return why that was given up; None where it was not."""
    try:
        await bus.publish(queue, order, token=token)
    except PublishError as error:
        return str(error)
    return None


async def run_into(bus: Bus, queue: str, token: str) -> None:
    """Publish what makes a broker say that it takes no more: it may have taken this one."""
    why = await given_up(bus, queue, Order(id=0), token)
    assert why is None or UNKNOWN in why


async def check_unsent(bus: Bus, queue: str, token: str, count: int) -> None:
    """Publish one after the other what is given up each time."""
    for number in range(count):
        with pytest.raises(PublishError, match=UNSENT):
            await bus.publish(queue, Order(id=number + 1), token=token)


async def test_2_publications_under_an_alarm(
    alarming: Alarming, issuer: Issuer, trail: Trail
) -> None:
    """But for the one that ran into the alarm, nothing that was given up takes effect."""
    token = issuer.token()
    async with connected(alarming.url) as broker:
        queue = await broker.declare("later")
        bus = Bus(alarming.url, guard=guard_for(issuer, trail, options=BRIEF), service="edge")
        async with bus:
            await alarming.short()
            await run_into(bus, queue, token)
            await check_unsent(bus, queue, token, 3)
            with pytest.raises(NotAllPublished, match=UNSENT):
                await bus.publish_many(Publication(queue, Order(id=9), token=token) for _ in "ab")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await bus.publish(queue, Order(id=10), token=token)
            await alarming.enough()
            await until_published(bus, queue, token)
        bodies = [Order.model_validate_json(each.body).id for each in await broker.take(queue)]
        assert bodies == [0, 77]


async def until_published(bus: Bus, queue: str, token: str) -> None:
    """Publish the last one, as soon as that is possible."""
    async with asyncio.timeout(30):
        while (why := await given_up(bus, queue, Order(id=77), token)) is not None:
            assert UNSENT in why


async def failing(
    alarming: Alarming, issuer: Issuer, trail: Trail, *, blocked_before: bool
) -> tuple[int, int]:
    """Have a handler fail under an alarm; return how often it ran, and the letters it left."""
    async with connected(alarming.url) as broker:
        queue, other = broker.name("orders"), await broker.declare("other")
        options = BusOptions(retry=RetryOptions(limit=3, first=0.05))
        guard, token = guard_for(issuer, trail, options=BRIEF), issuer.token()
        bus = Bus(alarming.url, guard=guard, service="orders", options=options)
        started, alarmed, runs = asyncio.Event(), asyncio.Event(), list[int]()

        @bus.consumer(queue)
        async def handle(order: Order, caller: Caller) -> None:
            runs.append(order.id)
            started.set()
            await alarmed.wait()
            raise Reject("never")

        async with bus:
            await broker.publish(queue, token=token, message_id="m-1")
            await started.wait()
            await alarming.short()
            if blocked_before:
                await run_into(bus, other, token)
            alarmed.set()
            (deferred,) = await trail.until("deferred")
            assert (UNSENT if blocked_before else UNKNOWN) in (deferred.detail or "")
            await check_unsent(bus, other, token, 4)
            assert runs == [1]
            await alarming.enough()
            await trail.until("refused")
            await broker.settles_at(queue, 0)
        assert await broker.count(other) == int(blocked_before)
        return len(runs), await broker.count(f"{queue}.dead")


async def test_2_a_failing_message_under_an_alarm(
    alarming: Alarming, issuer: Issuer, trail: Trail
) -> None:
    """Its handler does not run again before the alarm is over, and one letter is left."""
    assert await failing(alarming, issuer, trail, blocked_before=True) == (2, 1)


@pytest.mark.parametrize("alarming", ["rabbitmq"], indirect=True)
async def test_2_a_letter_that_runs_into_an_alarm(
    alarming: Alarming, issuer: Issuer, trail: Trail
) -> None:
    """What was written before the broker said that it is blocked is there once more, not often."""
    assert await failing(alarming, issuer, trail, blocked_before=False) == (2, 2)
