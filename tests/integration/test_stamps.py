"""Brokers that write on each message when it came, and policies that take their word.

On a RabbitMQ this needs 3.12 or later with its timestamp interceptor; `stamping_url` says how.
"""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Caller, ConfigurationError, GuardOptions, ValidWhenPublished
from busauth._amqp.headers import PROOF
from busauth.messages import BROKER_STAMP, OutgoingMessage, Proven
from busauth.testing import Broker as EmbeddedBroker
from busauth.testing import Issuer, ManualClock
from tests.parties import SEAL, Party, Scene, security
from tests.security.stage import attack
from tests.support import Trail, connected, guard_for

STAMPED = GuardOptions(broker_stamps=True)
BY_STAMP = ValidWhenPublished(hours=6, sources={BROKER_STAMP})


@pytest.fixture
async def scene(stamping_url: str, now: ManualClock, trail: Trail) -> AsyncIterator[Scene]:
    async with connected(stamping_url) as broker:
        yield Scene(broker, Issuer(clock=now), now, trail)


async def test_what_a_sender_wrote_is_overwritten(scene: Scene) -> None:
    """Header and timestamp are the broker's, in milliseconds and in seconds; others stay."""
    queue = await scene.broker.declare("orders")
    await scene.broker.publish(queue, headers={BROKER_STAMP: 1, "tenant": "a"}, timestamp=7)
    message = await scene.broker.one(queue)
    stamp = message.headers[BROKER_STAMP]
    assert isinstance(stamp, int)
    assert abs(stamp / 1000 - time.time()) < 60
    assert message.timestamp is not None
    assert int(message.timestamp.timestamp()) == stamp // 1000
    assert message.headers["tenant"] == "a"


async def test_a_dead_letter_is_not_stamped_anew(scene: Scene) -> None:
    """What the broker itself moves keeps the instant of its publication."""
    target = await scene.broker.declare("target")
    arguments = {"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": ""}
    arguments["x-dead-letter-routing-key"] = target
    queue = await scene.broker.declare("waiting", **arguments)
    await scene.broker.publish(queue)
    before = scene.clock.now()
    await scene.clock.advance(60)
    message = await scene.broker.one(target)
    stamp = message.headers[BROKER_STAMP]
    assert isinstance(stamp, int)
    assert stamp / 1000 < before + 30


@pytest.mark.parametrize(("issued", "outcome"), [(0, "handled"), (-600, "refused")])
async def test_a_token_is_judged_at_the_stamp(issued: int, outcome: str, scene: Scene) -> None:
    """Late, it is handled if it counted when the broker got it, and refused if it did not."""
    queue = scene.broker.name("orders")
    bus = scene.bus(security(), on_expired=BY_STAMP, options=STAMPED)
    seen: list[Caller] = []

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        seen.append(caller)

    await bus.declare()
    start = scene.clock.now() + issued - 10
    token = scene.issuer.token("ann", iat=start, exp=start + 300)
    forged = {BROKER_STAMP: int((start + 1) * 1000)}  # what a sender writes counts nothing
    await scene.broker.publish(queue, token=token, headers=forged)
    await scene.clock.advance(3600)
    async with bus:
        (event,) = await scene.trail.until(outcome)
    if outcome == "handled":
        assert seen[0].late is not None
        assert seen[0].late.policy == "ValidWhenPublished"
    else:
        assert event.code == "token.expired"


async def test_a_retry_keeps_the_first_stamp(scene: Scene) -> None:
    """Stamped anew hours later, it is still judged by its first publication, under the seal."""
    queue = scene.broker.name("orders")
    bus = scene.bus(security(), on_expired=BY_STAMP, options=STAMPED)
    stamps: list[tuple[Any, Any]] = []

    @bus.consumer(queue)
    async def place(message: AbstractIncomingMessage, caller: Caller) -> None:
        stamps.append((message.headers[BROKER_STAMP], message.headers.get("busauth-published")))
        if len(stamps) == 1:
            await scene.clock.advance(3600)
            raise LookupError

    async with bus:
        await scene.broker.publish(queue, token=scene.issuer.token("ann"))
        await scene.trail.until("retried")
        await scene.clock.advance(60)
        await scene.trail.until("handled")
    (first, unsealed), (_, sealed) = stamps
    assert unsealed is None
    assert float(sealed) == pytest.approx(first / 1000, abs=0.001)


async def test_a_sealed_copy_lends_its_stamp_to_no_other_token(
    now: ManualClock, trail: Trail
) -> None:
    """A stolen token on the copy of a retry: its seal is broken, and the copy's own stamp counts.

    On the embedded broker, whose time can be moved to where the stolen token has expired.
    """
    async with (
        EmbeddedBroker(clock=now, stamps=True) as embedded,
        connected(embedded.url) as broker,
    ):
        scene = Scene(broker, Issuer(clock=now), now, trail)
        queue = broker.name("orders")
        bus = scene.bus(security(), on_expired=BY_STAMP, options=STAMPED)
        tapped: list[AbstractIncomingMessage] = []

        @bus.consumer(queue)
        async def place(message: AbstractIncomingMessage, caller: Caller) -> None:
            tapped.append(message)
            if len(tapped) == 1:
                raise LookupError

        stolen = scene.issuer.token("mallory")
        async with bus:
            await broker.publish(queue, token=scene.issuer.token("ann"))
            await trail.until("retried")
            await now.advance(60)
            await trail.until("handled")
            await now.advance(3600)
            sealed = tapped[1]
            headers = {**sealed.headers, "authorization": f"Bearer {stolen}"}
            await broker.publish(queue, sealed.body, headers=headers, message_id=sealed.message_id)
            (refused,) = await trail.until("refused")
            (broken,) = await trail.until("seal-broken")
        assert (refused.code, refused.subject) == ("token.expired", "mallory")
        assert broken.detail == "seal.mac"


@attack("liar-backdated")
@pytest.mark.parametrize("backdated", [0.0, 600.0])
async def test_a_publisher_cannot_backdate_what_is_stamped(backdated: float, scene: Scene) -> None:
    """Proof and stamp must agree: a lying publisher is refused, an honest one is handled."""
    queue, web = scene.broker.name("orders"), Party("web")
    policy = ValidWhenPublished(hours=6, sources={"web"})
    bus = scene.bus(security(web.publisher()), on_expired=policy, options=STAMPED)
    seen: list[Proven] = []

    @bus.consumer(queue)
    async def place(proven: Proven) -> None:
        seen.append(proven)

    await bus.declare()
    token = scene.issuer.token("ann", iat=scene.clock.now() - 1000)
    binding = OutgoingMessage(
        token=token, body=b"{}", message_id="m-1", exchange="", routing_key=queue
    )
    proof = web.signer.sign(binding, scene.clock.now() - backdated)
    await scene.broker.publish(queue, b"{}", token=token, headers={PROOF: proof}, message_id="m-1")
    await scene.clock.advance(3600)
    async with bus:
        await scene.trail.until("refused" if backdated else "handled")
    assert scene.codes() == (["published.disagreement"] if backdated else [])
    assert len(seen) == (0 if backdated else 1)


def test_stamps_need_a_seal(trail: Trail) -> None:
    """Without one a retry would be judged by the instant of its copy: an error before it runs."""
    with pytest.raises(ConfigurationError, match="only a seal keeps the first stamp"):
        guard_for(Issuer(), trail, options=STAMPED)
    guard_for(Issuer(), trail, options=STAMPED, messages=security(seal=SEAL))


def test_no_publisher_goes_by_the_name_of_the_stamp(trail: Trail) -> None:
    """Whoever is named so would be taken for the broker."""
    messages = security(Party(BROKER_STAMP).publisher())
    with pytest.raises(ConfigurationError, match="expected another name"):
        guard_for(Issuer(), trail, options=STAMPED, messages=messages)
