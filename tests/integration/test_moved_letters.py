"""What waited beside a queue and was moved into it, as a management page or a shovel does."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import ConsumerOptions, DeadLetter, GuardOptions, Park
from busauth._amqp import headers
from busauth._messages.seal import HEADER as SEAL_HEADER
from busauth.letters import Letter, Redrive
from busauth.tokens import Decryption, TokenEncryption, shared_encryption_key
from tests.parties import SEAL, Scene
from tests.security.stage import Message, Stage

KEY = shared_encryption_key(bytes(range(32)), key_id="redrive")
KEEPING = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))


async def waiting(stage: Stage, place: str) -> Message:
    """Have a late message put away, and take it out again."""
    await stage.bus.declare()
    await stage.publish(b"one")
    await stage.scene.clock.advance(600)
    async with stage.bus:
        await stage.scene.broker.settles_at(f"{stage.queue}.{place}", 1)
    return await stage.take(f"{stage.queue}.{place}")


async def moved(stage: Stage, message: Message, *, times: int = 1) -> None:
    """Move a message into the consumer's queue, and have the consumer see it."""
    await stage.put(message)
    async with stage.bus:
        await stage.scene.trail.until("returned", count=times)
        await stage.scene.broker.settles_at(stage.queue, 0)


def told(message: Message) -> dict[str, Any]:
    """Return all that a copy says, but for how often it came back and what vouches for it."""
    changing = (headers.RETURNED, SEAL_HEADER)
    return {name: value for name, value in message.headers.items() if name not in changing}


@pytest.mark.parametrize(
    ("policy", "place"), [(DeadLetter(), "dead"), (KEEPING, "dead"), (Park(), "parked")]
)
async def test_it_goes_back_where_it_was(policy: Any, place: str, scene: Scene) -> None:
    """It stays one, with its history, however often it is moved; its handler never runs by it."""
    stage = Stage.set(scene, on_expired=policy)
    first = last = await waiting(stage, place)
    for times in (1, 2, 3):
        await moved(stage, last.having(x_shovelled="yes"), times=times)
        last = await stage.take(f"{stage.queue}.{place}")
        assert last.headers[headers.RETURNED] == times
    assert told(last) == told(first)
    assert (last.body, last.properties) == (first.body, first.properties)
    assert stage.handled == []
    await scene.broker.settles_at(f"{stage.queue}.rejected", 0)


async def test_what_came_back_can_still_be_released(scene: Scene) -> None:
    """What was parked waits for its caller as before."""
    stage = Stage.set(scene, on_expired=Park())
    await moved(stage, await waiting(stage, "parked"))
    released = await stage.bus.release(stage.queue, stage.token())
    assert len(released.sent) == 1
    await stage.consume(handled=1, refused=0)
    assert stage.handled == [("ann", b"one")]


async def test_what_came_back_can_still_be_redriven(scene: Scene) -> None:
    """The token that a letter kept is for it as before, and the policies of that day decide."""
    stage = Stage.set(scene, on_expired=KEEPING)
    await moved(stage, await waiting(stage, "dead"))
    guard = stage.bus.guard
    redrive = Redrive(scene.broker.url, guard=guard, queue=stage.queue, keys=Decryption([KEY]))
    assert len((await redrive.letters()).sent) == 1
    async with stage.bus:
        await scene.trail.until("refused", count=2)
    assert scene.codes() == ["token.expired", "token.expired"]
    again = await stage.take(f"{stage.queue}.dead")
    assert headers.RETURNED not in again.headers  # this letter did not


async def test_one_under_a_former_name_or_an_older_key(scene: Scene) -> None:
    """A queue that was renamed, with a newer key, knows its letters, and seals them anew."""
    before = Stage.set(scene, on_expired=DeadLetter())
    letter = await waiting(before, "dead")
    renamed = scene.broker.name("renamed")
    keys = {"2027": bytes(range(1, 33)), **SEAL}
    options = GuardOptions(consumers={renamed: ConsumerOptions(formerly=(before.queue,))})
    guarded = {"options": options}
    stage = Stage.set(scene, queue=renamed, on_expired=DeadLetter(), seal=keys, guarded=guarded)
    await stage.bus.declare()
    await moved(stage, letter)
    home = await stage.take(f"{renamed}.dead")
    assert home.headers[SEAL_HEADER].startswith("2.2027.")
    assert home.headers[headers.QUEUE] == before.queue
    await moved(stage, home, times=2)


async def test_a_letter_whose_place_is_gone_waits(scene: Scene) -> None:
    """It is no retry and no rejected message: it goes back once there is a queue to go to."""
    stage = Stage.set(scene, on_expired=DeadLetter())
    letter, dead = await waiting(stage, "dead"), f"{stage.queue}.dead"
    async with stage.bus:
        await scene.broker.channel.queue_delete(dead)
        await stage.put(letter)
        await scene.trail.until("deferred")
    await stage.bus.declare()
    async with stage.bus:
        await scene.trail.until("returned")
    assert told(await stage.take(dead)) == told(letter)


@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_what_was_parked_is_a_dead_letter_where_nothing_parks(scene: Scene) -> None:
    """It holds nobody up, says why it was parked, and can be released once it is again."""
    stage = Stage.set(scene, on_expired=Park())
    message = await waiting(stage, "parked")
    await scene.broker.channel.queue_delete(f"{stage.queue}.parked")
    plain = Stage.set(scene, queue=stage.queue)
    await moved(plain, message)
    assert "deferred" not in scene.trail.kinds()
    letter = await stage.take(f"{stage.queue}.dead")
    assert told(letter) == told(message)
    await stage.bus.declare()
    await moved(stage, letter, times=2)
    assert len((await stage.bus.release(stage.queue, stage.token())).sent) == 1
    await stage.consume(handled=1, refused=0)
    assert stage.handled == [("ann", b"one")]


@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_a_letter_without_a_place_holds_nobody_up(scene: Scene) -> None:
    """Like each message that cannot be decided it waits behind the others, and stays a letter."""
    options = GuardOptions(pause_first=0.02, pause_longest=0.05)
    stage = Stage.set(scene, on_expired=DeadLetter(), guarded={"options": options})
    letter, dead, seen = await waiting(stage, "dead"), f"{stage.queue}.dead", list[bytes]()

    @stage.bus.guard(queue=stage.queue)  # a plain one: a bus declares what is gone
    async def place(message: AbstractIncomingMessage) -> None:
        seen.append(message.body)

    async def passing(reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not reached():
                await scene.clock.advance(options.pause_longest)
                await scene.broker.count(stage.queue)

    await stage.publish(b"first")
    channel = await scene.broker.connection.channel()
    await channel.set_qos(prefetch_count=1)
    await (await channel.get_queue(stage.queue)).consume(place)
    await passing(lambda: seen == [b"first"])
    await scene.broker.channel.queue_delete(dead)
    await stage.put(letter)
    await stage.publish(b"other")
    await passing(lambda: seen == [b"first", b"other"])
    await stage.bus.declare()
    await passing(lambda: "returned" in scene.trail.kinds())
    assert told(await stage.take(dead)) == told(letter)


async def test_how_often_it_came_back_is_read(scene: Scene) -> None:
    """Whoever looks at letters sees it, and what they were refused for at first."""
    stage = Stage.set(scene, on_expired=DeadLetter())
    await moved(stage, await waiting(stage, "dead"))
    (message,) = await scene.broker.take(f"{stage.queue}.dead")
    letter = Letter.of(message)
    assert (letter.returned, letter.code, letter.subject) == (1, "token.expired", "ann")
