"""A message in hand meets what it would meet on a consumer, whoever wrote it, and says so."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest

from busauth import (
    Caller,
    CallerError,
    ConfigurationError,
    DeadLetter,
    Grace,
    GuardOptions,
    OnError,
    Park,
)
from busauth.caller import caller_in_scope, current_lease
from busauth.letters import Redrive
from busauth.messages import (
    Accepted,
    Copy,
    Held,
    InProcessReplay,
    Judge,
    NotNow,
    Outcome,
    Received,
    Refusal,
    ReplayKey,
    Standing,
)
from busauth.testing import Broker
from busauth.tokens import Decryption, TokenEncryption, shared_encryption_key
from tests.parties import DAY, Scene
from tests.security.stage import ORDERS, Message, Stage, stranger

BY_OTHERS = "settled by who had it in hand"
KEY = shared_encryption_key(bytes(range(32)), key_id="redrive")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Only the judging counts here: the brokers have their turn with the page's example."""
    async with Broker() as broker:
        yield broker.url


class Revocations:
    """Knows who was revoked, unless it is out of reach."""

    def __init__(self) -> None:
        self.is_away = False
        self.subjects: set[str] = set()
        self.confusing: set[str] = set()

    def revoked(self, caller: Caller, now: float) -> bool:
        if self.is_away:
            raise ConnectionError("away")
        if caller.subject in self.confusing:
            raise RuntimeError("a mistake")
        return caller.subject in self.subjects


def judge_of(stage: Stage, **rules: Any) -> Judge:
    return stage.bus.guard.judge(queue=stage.queue, scopes={"orders:write"}, **rules)


def received(message: Message, judge: Judge, **changes: Any) -> Received:
    """Return a message as a client has received it from its queue."""
    whole: dict[str, Any] = {
        "body": message.body,
        "exchange": "",
        "routing_key": judge.queue,
        "redelivered": False,
        "headers": message.headers,
        **message.properties,
    }
    return Received(**{**whole, **changes})


async def outcome(judge: Judge, message: Message, **changes: Any) -> Outcome:
    async with judge(received(message, judge, **changes)) as judged:
        return judged


async def one(stage: Stage, body: bytes = b"one", **named: Any) -> Message:
    """Have an honest message published, and take it."""
    await stage.bus.declare()
    await stage.publish(body, **named)
    return await stage.take()


async def at_broker(stage: Stage, copy: Copy | None) -> None:
    """Publish a copy."""
    assert copy is not None
    said = {name: value for name, value in copy.properties.items() if name != "timestamp"}
    await stage.scene.broker.publish(copy.queue, copy.body, headers=dict(copy.headers), **said)


async def test_the_caller_is_there_for_as_long_as_the_block(scene: Scene) -> None:
    """Publishing in the block carries the caller, one hop on; after it the lease has ended."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    further = await scene.broker.declare("further")
    async with scene.publishing(ORDERS) as bus, judge(received(message, judge)) as judged:
        assert isinstance(judged, Accepted)
        assert judged.proven is not None
        assert judged.proven.publisher == "web"
        lease = current_lease()
        await bus.publish(further, b"reserve")
        assert judged.caller.bearer() == message.token
    assert not caller_in_scope()
    sent = (await scene.broker.one(further)).headers
    assert (sent["authorization"], sent["busauth-hop"]) == (f"Bearer {message.token}", 1)
    with pytest.raises(CallerError, match="ended"):
        lease.token()
    with pytest.raises(CallerError, match="ended"):
        judged.caller.bearer()
    kinds = [
        (event.kind, event.detail) for event in scene.trail.events if event.queue == stage.queue
    ]
    assert kinds[-2:] == [("accepted", None), ("handled", BY_OTHERS)]


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (lambda it, _: it.having(authorization="Bearer " + "x" * 100_000), "token.too_large"),
        (
            lambda it, _: it.having(authorization=f"Bearer {stranger().token('ann')}"),
            "token.issuer",
        ),
        (lambda it, _: it.having(authorization=None), "header.missing"),
        (lambda it, _: Message(b"other", it.headers, it.properties), "proof.body"),
        (lambda it, _: it.having(busauth_proof=None), "proof.missing"),
        (lambda it, _: it.having(tenant="b"), "proof.header"),
        (lambda it, _: it.being(message_id="other"), "proof.message_id"),
        (
            lambda it, _: it.having(busauth_purpose="parked", busauth_seal="2026.x"),
            "seal.malformed",
        ),
        (lambda it, _: it.being(type=b"\xff"), "message.unreadable"),
    ],
)
async def test_what_is_forged_is_refused(scene: Scene, attack: Any, code: str) -> None:
    """A stranger's token, no token, another body, no proof, a made up seal: each has its code."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    judged = await outcome(judge, attack(message, stage))
    assert isinstance(judged, Refusal)
    assert judged.copy is not None
    assert (judged.code, judged.copy.headers["busauth-refusal"]) == (code, code)
    assert isinstance(await outcome(judge, message), Accepted)


async def test_a_replay_is_a_copy_and_a_redelivery_a_duplicate(scene: Scene) -> None:
    """What was done is refused as the copy of a stranger's, and nothing is to be done once more."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    assert isinstance(await outcome(judge, message), Accepted)
    again = await outcome(judge, message, redelivered=True)
    assert isinstance(again, Refusal)
    assert (again.code, again.copy) == ("replay.duplicate", None)
    copied = await outcome(judge, message)
    assert isinstance(copied, Refusal)
    assert copied.code == "replay.copy"
    assert copied.copy is not None
    assert "busauth-seal" not in copied.copy.headers  # it can never be sent again


async def test_two_blocks_at_once_are_two_deliveries(scene: Scene) -> None:
    """A second one is its copy; a redelivery may be it, and waits until the first block is over."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    async with judge(received(message, judge)) as first:
        assert isinstance(first, Accepted)
        second = await outcome(judge, message)
        assert isinstance(second, Refusal)
        assert second.code == "replay.copy"
        again = await outcome(judge, message, redelivered=True)
        assert isinstance(again, NotNow)
        assert "still in hand" in again.reason
    done = await outcome(judge, message, redelivered=True)
    assert isinstance(done, Refusal)
    assert done.code == "replay.duplicate"


async def test_what_raises_in_its_block_may_come_again(scene: Scene) -> None:
    """Its error goes on, its memory is forgotten, and what is told has the error's code."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    with pytest.raises(KeyError, match="stock"):
        async with judge(received(message, judge)):
            raise KeyError("stock")
    told = scene.trail.events[-1]
    assert (told.kind, told.code) == ("settled-by-handler", "handler.failed")
    assert isinstance(await outcome(judge, message), Accepted)


async def test_what_is_cancelled_in_its_block_comes_again_as_a_redelivery(scene: Scene) -> None:
    """It stays in flight, so that no copy of it slips in, and the redelivery is accepted."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    entered = asyncio.Event()

    async def work() -> None:
        async with judge(received(message, judge)):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.trail.kinds(stage.queue)[-1] == "abandoned"
    assert isinstance(await outcome(judge, message), Refusal)
    assert isinstance(await outcome(judge, message, redelivered=True), Accepted)


class Mute(InProcessReplay):
    """A memory that does not answer for a while."""

    is_mute = True

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        if self.is_mute:
            await asyncio.Event().wait()
        return await super().begin(key, holder=holder, redelivered=redelivered)


async def test_what_is_cancelled_as_it_is_judged_leaves_nothing_behind(scene: Scene) -> None:
    """Its slot is free, nobody acts for anybody, and it comes again."""
    memory = Mute(keep_for=2 * DAY)
    options = GuardOptions(concurrency=1)
    stage = Stage.set(scene, replay=memory, guarded={"options": options})
    judge, message = judge_of(stage), await one(stage)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await outcome(judge, message)
    assert not caller_in_scope()
    assert scene.trail.kinds(stage.queue)[-1] == "abandoned"
    memory.is_mute = False
    assert isinstance(await outcome(judge, message, redelivered=True), Accepted)


async def test_a_block_limited_by_a_timeout_raises_it(scene: Scene) -> None:
    """`asyncio.timeout` works in a block and around one."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    with pytest.raises(TimeoutError):
        async with judge(received(message, judge)), asyncio.timeout(0):
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), judge(received(message, judge, redelivered=True)):
            await asyncio.Event().wait()
    assert isinstance(await outcome(judge, message, redelivered=True), Accepted)


async def test_an_unconfirmed_copy_is_not_done(scene: Scene) -> None:
    """Where publishing the copy raises, nothing is noted: it comes again, and is judged."""
    stage = Stage.set(scene)
    judge = judge_of(stage)
    message = await one(stage, token=stage.token(scope="orders:read"))
    with pytest.raises(ConnectionError):
        async with judge(received(message, judge)):
            raise ConnectionError("cut")
    assert "refused" not in scene.trail.kinds(stage.queue)
    again = await outcome(judge, message, redelivered=True)
    assert isinstance(again, Refusal)
    assert again.code == "caller.scope"
    assert isinstance(await outcome(judge, message, redelivered=True), Refusal)


async def test_what_cannot_be_decided_waits_longer_each_time(scene: Scene) -> None:
    """Nobody is guilty: it is told as deferred, and comes again once all is there."""
    known = Revocations()
    stage = Stage.set(scene, guarded={"revocations": known})
    judge, message = judge_of(stage), await one(stage)
    known.is_away = True
    waits = []
    for redelivered in (False, True, True, True):
        judged = await outcome(judge, message, redelivered=redelivered)
        assert isinstance(judged, NotNow)
        waits.append(judged.seconds)
    assert waits[0] < waits[2] < 60
    assert waits[1] < waits[3] < 60
    assert scene.trail.kinds(stage.queue)[-1] == "deferred"
    known.is_away = False
    assert isinstance(await outcome(judge, message, redelivered=True), Accepted)


async def test_what_is_accepted_ends_a_row_of_pauses(scene: Scene) -> None:
    """After a message that could be decided, the next pause is as short as a first one."""
    known = Revocations()
    stage = Stage.set(scene, guarded={"revocations": known})
    judge, message = judge_of(stage), await one(stage)
    known.is_away = True
    for _ in range(8):
        away = await outcome(judge, message, redelivered=True)
    assert isinstance(away, NotNow)
    assert away.seconds > 2
    known.is_away = False
    assert isinstance(await outcome(judge, message, redelivered=True), Accepted)
    known.is_away = True
    again = await outcome(judge, await one(stage), redelivered=True)
    assert isinstance(again, NotNow)
    assert again.seconds <= 1


async def test_what_alone_fails_a_program_is_refused_with_its_code(scene: Scene) -> None:
    """Others are handled in between: it is a letter then, and the outcome says as which."""
    known = Revocations()
    known.confusing.add("eve")
    stage = Stage.set(scene, guarded={"revocations": known})
    judge = judge_of(stage)
    confusing = await one(stage, token=stage.token("eve"))
    for _ in range(3):
        assert isinstance(await outcome(judge, confusing, redelivered=True), NotNow)
        assert isinstance(await outcome(judge, await one(stage)), Accepted)
    refused = await outcome(judge, confusing, redelivered=True)
    assert isinstance(refused, Refusal)
    assert refused.copy is not None
    assert refused.code == refused.copy.headers["busauth-refusal"] == "check.failed"


async def test_the_revoked_and_the_stale_are_refused(scene: Scene) -> None:
    """Revoked is revoked, however late it may be; and what is too late is a dead letter."""
    known = Revocations()
    stage = Stage.set(scene, on_expired=Grace(minutes=20), guarded={"revocations": known})
    judge = judge_of(stage)
    message, second = await one(stage), await one(stage, b"second")
    await scene.clock.advance(900)
    async with judge(received(message, judge)) as judged:
        assert isinstance(judged, Accepted)
        assert judged.caller.late is not None
    known.subjects.add("ann")
    revoked = await outcome(judge, second)
    assert isinstance(revoked, Refusal)
    assert revoked.code == "token.revoked"
    known.subjects.clear()
    await scene.clock.advance(900)
    third = await outcome(judge, second, redelivered=True)
    assert isinstance(third, Refusal)
    assert third.code in ("token.expired", "replay.duplicate")


async def test_what_is_parked_is_released_to_its_judge(scene: Scene) -> None:
    """Parked under the consumer's seal, released for its caller, judged again, and narrowed."""
    stage = Stage.set(scene, on_expired=Park())
    judge, message = judge_of(stage), await one(stage)
    await scene.clock.advance(600)
    async with judge(received(message, judge)) as judged:
        assert isinstance(judged, Held)
        await at_broker(stage, judged.copy)
    assert scene.trail.kinds(stage.queue)[-1] == "parked"
    moved = await outcome(judge, Message(message.body, judged.copy.headers, taken(judged.copy)))
    assert isinstance(moved, Refusal)  # without a token it goes back where it was
    assert moved.copy is not None
    assert moved.copy.queue == f"{stage.queue}.parked"
    released = await stage.bus.release(stage.queue, stage.token(scope="orders:write orders:refund"))
    assert len(released.sent) == 1
    back = await stage.take()
    unsealed = await outcome(judge, back.having(busauth_seal=None))
    assert isinstance(unsealed, Refusal)
    assert unsealed.code == "seal.missing"
    async with judge(received(back, judge)) as again:
        assert isinstance(again, Accepted)
        assert again.caller.scopes == {"orders:write"}
        with pytest.raises(CallerError, match="more than the token"):
            again.caller.bearer()


async def test_a_letter_is_redriven_to_its_judge(scene: Scene) -> None:
    """What keeps its token goes back with it, and is judged by rules that are others by now."""
    keeping = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))
    stage = Stage.set(scene, on_expired=keeping)
    judge, message = judge_of(stage), await one(stage)
    await scene.clock.advance(600)
    async with judge(received(message, judge)) as judged:
        assert isinstance(judged, Refusal)
        await at_broker(stage, judged.copy)
    guard = stage.bus.guard
    redrive = Redrive(scene.broker.url, guard=guard, queue=stage.queue, keys=Decryption([KEY]))
    assert len((await redrive.letters()).sent) == 1
    back = await stage.take()
    lenient = judge_of(stage, on_expired=Grace(minutes=20))
    assert isinstance(await outcome(lenient, back), Accepted)


async def test_what_failed_is_tried_again_under_its_seal(scene: Scene) -> None:
    """A copy counts the attempt, ends as a dead letter after the last, and no caller acts on."""
    stage = Stage.set(scene, guarded={"options": GuardOptions(retries=1)})
    judge, message = judge_of(stage, on_error=OnError.RETRY), await one(stage)
    places = []
    for attempt in (1, 2):
        async with judge(received(message, judge)) as judged:
            assert isinstance(judged, Accepted)
            assert judged.attempt == attempt
            ticking = asyncio.create_task(
                scene.clock.advance(60)
            )  # a consumer holds it for a while
            failed = await judged.failed(ValueError("no stock"))
            await ticking
            assert not caller_in_scope()
            with pytest.raises(ConfigurationError, match="once"):
                await judged.failed(ValueError("twice"))
        assert failed.copy is not None
        places.append(failed.copy.queue)
        message = Message(failed.copy.body, failed.copy.headers, taken(failed.copy))
    assert places == [stage.queue, f"{stage.queue}.dead"]
    assert scene.trail.kinds(stage.queue)[-3:] == ["retried", "accepted", "refused"]


def taken(copy: Copy) -> dict[str, Any]:
    """Return the properties that a copy has as it is received."""
    return {name: value for name, value in copy.properties.items() if name != "delivery_mode"}


@pytest.mark.parametrize("error", [None, "out of stock", ValueError])
async def test_what_failed_is_said_by_an_exception(scene: Scene, error: Any) -> None:
    """Anything else is refused in a sentence, and nothing is noted as done for it."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)

    async def block() -> None:
        async with judge(received(message, judge)) as judged:
            assert isinstance(judged, Accepted)
            await judged.failed(error)

    with pytest.raises(ConfigurationError, match="expected the exception"):
        await block()
    assert isinstance(await outcome(judge, message, redelivered=True), Accepted)


async def test_aio_pikas_message_is_taken_as_it_is(scene: Scene) -> None:
    """It is left unsettled; one that is settled, or of another queue, is refused in a sentence."""
    stage = Stage.set(scene)
    judge = judge_of(stage)
    await stage.bus.declare()
    await stage.publish(b"one")
    queue = await scene.broker.channel.get_queue(stage.queue)
    message = await queue.get()
    async with judge(message) as judged:
        assert isinstance(judged, Accepted)
    await message.ack()  # nobody has
    with pytest.raises(ConfigurationError, match="settled already"):
        judge(message)
    with pytest.raises(ConfigurationError, match="'other', expected one of"):
        judge(Received(body=b"", exchange="", routing_key="", redelivered=False, queue="other"))
    odd: Any = aio_pika.Message(b"")
    with pytest.raises(ConfigurationError, match="expected a message of aio-pika's"):
        judge(odd)


async def test_a_block_is_one_tasks_and_entered_once(scene: Scene) -> None:
    """Its caller is in the context of one task: elsewhere nobody could take them out again."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    block = judge(received(message, judge))
    async with block as judged:
        assert isinstance(judged, Accepted)
        with pytest.raises(ConfigurationError, match="one block for each"):
            await block.__aenter__()
        with pytest.raises(ConfigurationError, match="task"):
            await asyncio.create_task(_failed(judged))


async def _failed(judged: Accepted) -> Outcome:
    return await judged.failed(ValueError("elsewhere"))


async def test_blocks_take_turns_by_the_queues_concurrency(scene: Scene) -> None:
    """A block has a slot while its work goes on; a refusal's copy needs none."""
    stage = Stage.set(scene, guarded={"options": GuardOptions(concurrency=1)})
    judge, message, other = judge_of(stage), await one(stage), await one(stage, b"other")
    async with judge(received(message.having(tenant="b"), judge)) as refused:
        assert isinstance(refused, Refusal)
        async with judge(received(message, judge)):
            waiting = asyncio.create_task(outcome(judge, other))
            await asyncio.sleep(0)
            assert not waiting.done()
        assert isinstance(await waiting, Accepted)


async def test_a_guard_judges_in_one_event_loop_at_a_time(scene: Scene) -> None:
    """Another thread's loop is refused while this one goes on, and is not left with a slot."""
    stage = Stage.set(scene)
    judge, message = judge_of(stage), await one(stage)
    assert isinstance(await outcome(judge, message.having(tenant="b")), Refusal)

    def elsewhere() -> None:
        with pytest.raises(ConfigurationError, match="another thread"):
            asyncio.run(outcome(judge, message))

    await asyncio.to_thread(elsewhere)
    assert isinstance(await outcome(judge, message), Accepted)


async def test_what_cannot_work_is_found_where_it_is_made(scene: Scene) -> None:
    """A policy that can never be reached, a frame too small, a queue without a name."""
    guard = Stage.set(scene).bus.guard
    for wrong in ({"on_expired": [DeadLetter(), Park()]}, {"frame_max": 10}, {"queue": "q.dead"}):
        rules: Any = {"queue": "q", **wrong}
        with pytest.raises(ConfigurationError):
            guard.judge(**rules)
