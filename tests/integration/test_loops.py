"""What outlives its event loop works in the next one; an error of the program judges no message."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import JWKS, Bus, Caller, ConfigurationError, Guard, GuardOptions, Verifier
from busauth._amqp.consuming.consumer import Consumer
from busauth.testing import Issuer, IssuerServer
from busauth.tokens import ClientSecretBasic, Introspection, IntrospectionOptions, JWKSOptions
from tests.parties import Party, security
from tests.support import Broker, Trail, consuming, guard_for

_AT_ONCE = 3


async def elsewhere(work: Coroutine[Any, Any, Any]) -> Any:
    """Run something in a loop of its own, in a thread of its own, and wait for that."""
    return await asyncio.to_thread(asyncio.run, work)


async def test_a_bus_of_a_module_works_in_one_loop_after_another(broker: Broker, url: str) -> None:
    """Slots, keys, introspection, replay memory and draining are waited for anew in each loop."""
    kinds: list[str] = []
    queue, web = broker.name("orders"), Party("web")
    with IssuerServer(Issuer()) as server:
        idp = server.issuer
        verifier = Verifier(
            JWKS(f"{idp.url}/jwks.json", options=JWKSOptions(min_interval=0)),
            issuer=idp.url,
            audience=idp.audience,
        )
        introspection = Introspection(
            f"{idp.url}/introspect",
            issuer=idp.url,
            audience=idp.audience,
            client=ClientSecretBasic(idp.client.client_id, idp.client.secret),
            options=IntrospectionOptions(requests=1),
        )
        guard = Guard(
            verifier,
            introspection,
            messages=security(web.publisher(), signer=web.signer),
            options=GuardOptions(concurrency=1),
            auditor=lambda event: kinds.append(event.kind),
        )
        bus = Bus(url, guard=guard, service="orders")

        @bus.consumer(queue, introspect=True)
        async def handle(caller: Caller) -> None:
            await asyncio.sleep(0.01)

        async def once() -> None:
            async with bus:
                publishing = (
                    bus.publish(queue, b"{}", token=idp.token(str(number)))
                    for number in range(_AT_ONCE)
                )
                await asyncio.gather(*publishing)
                await bus.idle()

        for handled in (_AT_ONCE, 2 * _AT_ONCE):
            await elsewhere(once())
            idp.rotate()
            assert (kinds.count("handled"), kinds.count("refused")) == (handled, 0), kinds


@pytest.mark.parametrize("error", [RuntimeError("a bug"), TypeError("a bug")])
async def test_an_error_of_the_program_judges_no_message(
    error: Exception,
    broker: Broker,
    issuer: Issuer,
    trail: Trail,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told as a fault, the message is given back, and handled once the fault is gone."""
    queue, seen = await broker.declare("orders"), list[str]()
    options = GuardOptions(pause_first=0.05, pause_longest=0.05)

    @guard_for(issuer, trail, options=options)(queue=queue)
    async def handle(caller: Caller) -> None:
        seen.append(caller.subject)

    def unexpected(*_: object) -> int:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr("busauth._amqp.consuming.pipeline.token_in", unexpected)
        async with consuming(broker, queue, handle):
            await broker.publish(queue, token=issuer.token("ann"))
            (fault,) = await trail.until("fault", count=1)
            broken.undo()
            await trail.until("handled")
    assert type(error).__name__ in str(fault.detail)
    assert (seen, trail.kinds().count("refused")) == (["ann"], 0)


async def test_a_guard_runs_in_one_loop_at_a_time(
    broker: Broker, url: str, issuer: Issuer, trail: Trail
) -> None:
    """A second thread's bus does not start, and says what to do; the first one goes on."""
    queue, guard = broker.name("orders"), guard_for(issuer, trail)
    bus, other = (Bus(url, guard=guard, service="orders") for _ in range(2))
    for each in (bus, other):

        @each.consumer(queue)
        async def handle(caller: Caller) -> None:
            pass

    async def start() -> None:
        async with other:
            pass

    async with bus:
        with pytest.raises(ConfigurationError, match=r"another thread.*each thread a Guard"):
            await elsewhere(start())
        await bus.publish(queue, b"{}", token=issuer.token())
        await trail.until("handled")


async def test_what_a_second_threads_consumer_is_given_comes_back(
    broker: Broker, url: str, issuer: Issuer, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    """It is ended and said so once; all goes to the first one, and nothing is held."""
    queue, seen = await broker.declare("orders"), list[bytes]()

    @guard_for(issuer, trail)(queue=queue)
    async def handle(message: AbstractIncomingMessage, caller: Caller) -> None:
        seen.append(message.body)

    consumes, over = threading.Event(), threading.Event()

    async def other() -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=5)
            await (await channel.get_queue(queue)).consume(handle)
            consumes.set()
            await asyncio.to_thread(over.wait, 30)

    async with consuming(broker, queue, handle):
        await broker.publish(queue, b"first", token=issuer.token())
        await trail.until("handled")
        running = asyncio.create_task(elsewhere(other()))
        assert await asyncio.to_thread(consumes.wait, 10)
        for number in range(10):
            await broker.publish(queue, b"%d" % number, token=issuer.token())
        await trail.until("handled", count=11)
        over.set()
        await running
    assert sorted(seen) == sorted([b"first", *(b"%d" % number for number in range(10))])
    told = [each for each in caplog.records if "is consumed twice" in each.getMessage()]
    assert len(told) == 1
    await broker.settles_at(queue, 0)


def test_loops_that_take_turns_keep_their_slots(issuer: Issuer) -> None:
    """A handler that waits in a loop which comes back still holds its slot there."""

    @guard_for(issuer, Trail())(queue="orders")
    async def handle(caller: Caller) -> None: ...

    pipeline = cast("Consumer[..., None]", handle)._pipeline

    async def slots() -> asyncio.Semaphore:
        pipeline.begin()
        return pipeline._slots

    with asyncio.Runner() as first, asyncio.Runner() as second:
        one, other, again = (each.run(slots()) for each in (first, second, first))
    assert one is again
    assert one is not other


def test_the_edge_may_be_asked_from_many_loops_at_once() -> None:
    """Threads with a loop each authenticate with one guard, while keys are being fetched."""
    with IssuerServer(Issuer()) as server:
        server.delay, url = 0.05, server.issuer.url
        keys = JWKS.discover(url, options=JWKSOptions(min_interval=0.1))  # each loop fetches them
        guard = Guard(Verifier(keys, issuer=url, audience=server.issuer.audience))
        bearer, found = f"Bearer {server.issuer.token('ann')}", list[str]()

        def ask() -> None:
            found.append(asyncio.run(guard.authenticate(bearer)).subject)

        with ThreadPoolExecutor() as threads:
            for _ in range(4):
                threads.submit(ask)
    assert found == ["ann"] * 4
