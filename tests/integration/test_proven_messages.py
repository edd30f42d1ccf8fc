"""Messages under proof, seal and replay memory, on the way through a guard."""

from typing import Any

import aio_pika
import pytest

from busauth import Caller, ConfigurationError, Grace, Park, ValidWhenPublished
from busauth._messages.proof import HEADER
from busauth.messages import (
    BROKER_STAMP,
    InProcessReplay,
    MessageSecurity,
    ProofDemand,
    Proofs,
    Proven,
    ReplayKey,
)
from busauth.testing import Issuer
from tests.parties import DAY, SEAL, Party, Scene, security
from tests.support import Trail, guard_for


async def test_a_handler_learns_who_published_and_when(scene: Scene) -> None:
    """What is proven of a message is injected; without a proof no handler runs."""
    queue, web = scene.broker.name("orders"), Party("web")
    bus = scene.bus(security(web.publisher()))
    seen: list[Proven] = []

    @bus.consumer(queue)
    async def place(proven: Proven) -> None:
        seen.append(proven)

    async with bus, scene.publishing(web) as publishing:
        await publishing.publish(queue, b"{}", token=scene.issuer.token("ann"))
        await scene.trail.until("handled")
        await scene.broker.publish(queue, token=scene.issuer.token("ann"))
        await scene.trail.until("refused")
    (proven,) = seen
    assert (proven.publisher, proven.published_at) == ("web", scene.clock.now())
    assert (proven.issuer, proven.subject) == (scene.issuer.url, "ann")
    assert scene.codes() == ["proof.missing"]
    (handled,) = await scene.trail.until("handled")
    assert (handled.publisher, handled.published_at) == ("web", scene.clock.now())
    await scene.broker.settles_at(f"{queue}.dead", 1)


async def test_a_chain_repeats_when_its_work_was_asked_for(scene: Scene) -> None:
    """Two hops on, hours late, the token is judged at the instant of the first message."""
    first, second = scene.broker.name("first"), scene.broker.name("second")
    web, orders = Party("web"), Party("orders")
    policy = ValidWhenPublished(hours=6, sources={"web"})
    bus = scene.bus(security(web.publisher(), signer=orders.signer), on_expired=policy)
    other = scene.bus(
        security(orders.publisher(relays=True)),
        on_expired=ValidWhenPublished(hours=6, sources={"orders"}),
    )
    seen: list[tuple[Caller, Proven]] = []

    @bus.consumer(first)
    async def place(caller: Caller) -> None:
        await bus.publish(second, b"onward")

    @other.consumer(second)
    async def reserve(caller: Caller, proven: Proven) -> None:
        seen.append((caller, proven))

    await bus.declare()
    asked_at = scene.clock.now()
    async with scene.publishing(web) as publishing:
        await publishing.publish(first, b"{}", token=scene.issuer.token("ann"))
    await scene.clock.advance(5 * 3600)
    async with other, bus:
        await scene.trail.until("handled", count=2)
    ((caller, proven),) = seen
    assert (proven.root_published_at, proven.published_at) == (asked_at, scene.clock.now())
    assert caller.late is not None
    assert (caller.late.policy, caller.late.published_at) == ("ValidWhenPublished", asked_at)


async def test_grace_does_not_make_anothers_word_our_own(scene: Scene) -> None:
    """What a consumer accepted for another reason, it does not repeat to the next one."""
    first, second = scene.broker.name("first"), scene.broker.name("second")
    web, orders = Party("web"), Party("orders")
    bus = scene.bus(security(web.publisher(), signer=orders.signer), on_expired=Grace(hours=1))
    other = scene.bus(
        security(orders.publisher(relays=True)),
        on_expired=ValidWhenPublished(hours=6, sources={"orders"}),
    )

    @bus.consumer(first)
    async def place(caller: Caller) -> None:
        await bus.publish(second, b"onward")

    @other.consumer(second)
    async def reserve(proven: Proven) -> None:
        raise AssertionError

    await bus.declare()
    async with scene.publishing(web) as publishing:
        await publishing.publish(first, b"{}", token=scene.issuer.token("ann"))
    await scene.clock.advance(600)
    async with other, bus:
        await scene.trail.until("refused")
    assert scene.codes() == ["token.expired"]


async def test_retries_keep_proof_and_count_under_a_seal(scene: Scene) -> None:
    """A message that fails comes back proven, its attempts counted, and ends after its ladder."""
    queue, web = scene.broker.name("orders"), Party("web")
    bus = scene.bus(security(web.publisher()))
    seen: list[str] = []

    @bus.consumer(queue)
    async def place(message: aio_pika.abc.AbstractIncomingMessage, proven: Proven) -> None:
        seen.append(str(message.headers.get("busauth-attempt", 0)))
        raise LookupError

    async with bus, scene.publishing(web) as publishing:
        await publishing.publish(queue, b"{}", token=scene.issuer.token("ann"))
        await scene.trail.until("refused")
    assert seen == ["0", "1", "2", "3"]
    assert scene.codes() == ["handler.failed"]
    letter = await scene.broker.one(f"{queue}.dead")
    assert HEADER in letter.headers


async def test_a_seal_that_does_not_hold_is_told_and_not_believed(scene: Scene) -> None:
    """A sender who writes that all attempts are used up takes no attempt away."""
    queue, web = scene.broker.name("orders"), Party("web")
    bus = scene.bus(security(web.publisher(), demand=ProofDemand.IF_PRESENT, replay=None))

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        raise LookupError

    forged = {"busauth-attempt": 99, "busauth-seal": f"2.2026.{'A' * 43}"}
    async with bus:
        await scene.broker.publish(queue, token=scene.issuer.token("ann"), headers=forged)
        await scene.trail.until("refused")
    assert scene.trail.kinds().count("retried") == 3
    (broken,) = await scene.trail.until("seal-broken")
    assert broken.detail == "seal.mac"


async def test_a_copy_is_refused_and_a_redelivery_is_not(scene: Scene) -> None:
    """Of a message that somebody publishes twice one is handled; one that was cut off is, again."""
    queue, web = scene.broker.name("orders"), Party("web")
    bus = scene.bus(security(web.publisher()))
    handled: list[str] = []

    @bus.consumer(queue)
    async def place(message: aio_pika.abc.AbstractIncomingMessage, proven: Proven) -> None:
        handled.append(proven.message_id)

    await bus.declare()
    async with scene.publishing(web) as publishing:
        await publishing.publish(queue, b"{}", token=scene.issuer.token("ann"))
    message = await scene.broker.one(queue)
    for _ in range(2):
        await scene.broker.publish(
            queue,
            b"{}",
            headers=dict(message.headers),
            message_id=message.message_id,
            content_type=message.content_type,
        )
    async with bus:
        await scene.trail.until("refused")
    assert len(handled) == 1
    assert scene.codes() == ["replay.copy"]
    await scene.broker.settles_at(f"{queue}.dead", 1)


async def test_a_redelivery_of_something_done_is_acknowledged(scene: Scene) -> None:
    """A message whose acknowledgement got lost comes again, and is told as a duplicate."""
    queue, web = scene.broker.name("orders"), Party("web")
    memory = InProcessReplay(keep_for=2 * DAY)
    bus = scene.bus(security(web.publisher(), replay=memory))
    handled: list[str] = []

    @bus.consumer(queue)
    async def place(proven: Proven) -> None:
        handled.append(proven.message_id)

    await bus.declare()
    async with scene.publishing(web) as publishing:
        await publishing.publish(queue, b"{}", token=scene.issuer.token("ann"))
    async with await scene.broker.connection.channel() as channel:
        message = await (await channel.get_queue(queue)).get()
        assert message is not None
        key = ReplayKey(group=queue, publisher="web", message_id=str(message.message_id))
        await memory.begin(key, holder="gone", redelivered=False)
        await memory.done(key)  # as a worker that is cut off before its ack
        await message.nack(requeue=True)
    async with bus:
        (event,) = await scene.trail.until("duplicate")
    assert not handled
    assert event.code == "replay.duplicate"
    await scene.broker.settles_at(queue, 0)


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ({"replay": InProcessReplay(keep_for=2 * DAY), "seal": SEAL}, "expected proofs"),
        ({"replay": InProcessReplay(keep_for=2 * DAY), "proofs": True}, "expected seal"),
        ({"replay": InProcessReplay(keep_for=60), "proofs": True, "seal": SEAL}, "keep_for=60"),
    ],
)
def test_a_replay_memory_needs_what_it_goes_by(messages: dict[str, Any], found: str) -> None:
    """Without proofs, without a seal, or with less time than a proof counts, it is an error."""
    if messages.get("proofs"):
        messages = {**messages, "proofs": Proofs([Party("web").publisher()], max_age=DAY)}
    with pytest.raises(ConfigurationError, match=found):
        MessageSecurity(**messages)


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        (ValidWhenPublished(hours=1, sources={"nobody"}), "expected whose word can be had"),
        (ValidWhenPublished(hours=1, sources={BROKER_STAMP}), "needs GuardOptions"),
    ],
)
def test_a_policy_needs_whose_word_it_takes(
    policy: ValidWhenPublished, found: str, issuer: Issuer, trail: Trail
) -> None:
    """A published instant that nobody can tell is an error before anything runs."""
    with pytest.raises(ConfigurationError, match=found):
        guard_for(issuer, trail, on_expired=policy, messages=security(Party("web").publisher()))


def test_parking_needs_proof(issuer: Issuer, trail: Trail) -> None:
    """Without publishers to trust, or where proofs are ignored, nothing can be parked."""
    for messages in (None, security(Party("web").publisher(), demand=ProofDemand.IGNORED)):
        with pytest.raises(ConfigurationError, match="Park needs to know who published"):
            guard_for(issuer, trail, on_expired=Park(), messages=messages)


def test_a_handler_that_needs_a_proof_says_so_where_none_is_demanded(
    issuer: Issuer, trail: Trail
) -> None:
    """`Proven` without proofs is an error at its decorator; `Proven | None` is not."""
    guard = guard_for(issuer, trail)

    async def needs(proven: Proven) -> None: ...

    async def takes(proven: Proven | None) -> None: ...

    with pytest.raises(ConfigurationError, match=r"`Proven \| None`"):
        guard(queue="orders")(needs)
    assert guard(queue="orders")(takes).handler is takes
