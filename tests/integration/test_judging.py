"""The page's consumer with pika does what it must for each outcome, on both brokers."""

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aio_pika
import pika  # type: ignore[import-untyped]

from busauth import Caller, Park
from busauth.caller import current_lease
from tests.parties import Scene
from tests.security.stage import Stage

PAGE = Path(__file__).parents[2] / "docs" / "other-frameworks.md"
EXAMPLE = re.findall(r"```python\n(import asyncio\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]


class Revocations:
    """Out of reach until somebody has waited."""

    is_away = False

    def revoked(self, caller: Caller, now: float) -> bool:
        if self.is_away:
            raise ConnectionError("away")
        return False


def example() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "worker"}
    exec(compile(EXAMPLE, PAGE.name, "exec"), names)  # the document's own code
    return names


@contextlib.contextmanager
def connected(url: str) -> Any:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection
    finally:
        with contextlib.suppress(Exception):
            connection.close()


async def consume(
    stage: Stage, work: Callable[[bytes, Caller], None], *, count: int, **rules: Any
) -> float:
    """Let the page's consumer take so many messages; return how long it would wait."""
    names, judge = (
        example(),
        stage.bus.guard.judge(queue=stage.queue, scopes={"orders:write"}, **rules),
    )
    taken: list[object] = []

    def counting() -> float:
        with connected(stage.scene.broker.url) as connection:
            channel = connection.channel()
            acknowledge = channel.basic_ack

            def acknowledged(tag: int) -> None:
                acknowledge(tag)
                taken.append(tag)
                if len(taken) == count:
                    channel.cancel()

            channel.basic_ack = acknowledged
            seconds: float = names["consume"](channel, judge, work)
            return seconds

    return await asyncio.to_thread(counting)


async def test_all_four_outcomes(scene: Scene) -> None:
    """Handled, refused, parked, given back: each message is where a consumer would have put it."""
    known = Revocations()
    stage = Stage.set(scene, on_expired=Park(), guarded={"revocations": known})
    handled: list[tuple[str, bytes, str]] = []

    def work(body: bytes, caller: Caller) -> None:
        if body == b"bad":
            raise ValueError("out of stock")
        handled.append((caller.subject, body, current_lease().token()[:2]))

    await stage.bus.declare()
    await stage.publish(b"late")
    await scene.clock.advance(600)
    for body, token in ((b"good", stage.token()), (b"bad", stage.token())):
        await stage.publish(body, token=token)
    await stage.publish(b"forbidden", token=stage.token(scope="orders:read"))
    await scene.broker.publish(stage.queue, b"forged", token="x.y.z")
    await consume(stage, work, count=5)
    assert handled == [("ann", b"good", "ey")]
    queue, broker = stage.queue, scene.broker
    await broker.settles_at(f"{queue}.parked", 1)
    assert (await broker.one(f"{queue}.rejected")).body == b"forged"
    dead = {
        each.body: each.headers["busauth-refusal"] for each in await broker.take(f"{queue}.dead")
    }
    assert dead == {b"bad": "handler.failed", b"forbidden": "caller.scope"}

    # What pika has parked is released, and the seal holds over what it has written and reads.
    assert len((await stage.bus.release(queue, stage.token())).sent) == 1
    await consume(stage, work, count=1)
    assert handled.pop()[:2] == ("ann", b"late")

    known.is_away = True
    await stage.publish(b"later")
    assert await consume(stage, work, count=1) > 0
    known.is_away = False
    await consume(stage, work, count=1)
    assert [body for _, body, _ in handled] == [b"good", b"later"]
    await broker.settles_at(queue, 0)


AIO_PIKA = re.findall(r"```python\n(from collections.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]


async def test_all_outcomes_with_aio_pika(scene: Scene) -> None:
    """The page's consumer with aio-pika: failed, forged, parked, released under seal, handled."""
    names: dict[str, Any] = {"Caller": Caller}
    exec(compile(AIO_PIKA, PAGE.name, "exec"), names)  # the document's own code
    known = Revocations()
    stage = Stage.set(scene, on_expired=Park(), guarded={"revocations": known})
    judge = stage.bus.guard.judge(queue=stage.queue, scopes={"orders:write"})
    handled: list[bytes] = []

    async def work(body: bytes, _caller: Caller) -> None:
        if body == b"bad":
            raise ValueError("out of stock")
        handled.append(body)

    async def consume() -> float:
        """Take what is there; the last one comes to where nothing can be decided."""
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel(on_return_raises=True)
            await channel.set_qos(prefetch_count=1)
            taken = await channel.get_queue(stage.queue)
            seconds: float = await names["consume"](channel, taken, judge, work)
            return seconds

    broker, queue = scene.broker, stage.queue
    await stage.bus.declare()
    await stage.publish(b"late")
    await scene.clock.advance(600)
    await stage.publish(b"bad", token=stage.token())
    await broker.publish(queue, b"forged", token="x.y.z")
    async with asyncio.timeout(30):
        consuming = asyncio.create_task(consume())
        await broker.settles_at(f"{queue}.parked", 1)
        assert (await broker.one(f"{queue}.rejected")).body == b"forged"
        assert (await broker.one(f"{queue}.dead")).body == b"bad"
        assert len((await stage.bus.release(queue, stage.token())).sent) == 1
        while handled != [b"late"]:
            await asyncio.sleep(0.01)
        known.is_away = True
        await stage.publish(b"later")
        assert await consuming > 0
    assert (await broker.one(queue)).body == b"later"


async def test_nothing_is_acknowledged_without_its_copy(scene: Scene) -> None:
    """Where the queue for a copy is not there, the program ends, and the message comes again."""
    stage = Stage.set(scene)
    await stage.bus.declare()
    await scene.broker.channel.queue_delete(f"{stage.queue}.rejected")
    await scene.broker.publish(stage.queue, b"forged", token="x.y.z")
    with contextlib.suppress(pika.exceptions.UnroutableError):
        await consume(stage, lambda _body, _caller: None, count=1)
    assert (await scene.broker.one(stage.queue)).redelivered
