"""Late messages that wait for their callers, and dead letters that are sent again."""

import asyncio
import secrets
from typing import Any, cast

import aio_pika
import pytest
from aiormq.channel import Channel

from busauth import (
    Bus,
    Caller,
    ConfigurationError,
    DeadLetter,
    Deferred,
    EventKind,
    Grace,
    Park,
    Refused,
)
from busauth._amqp import headers
from busauth._amqp.delivery import Delivery
from busauth._amqp.publishing import copies
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.resending import again
from busauth._amqp.resending import letters as waiting_letters
from busauth.letters import Redrive, Release, dead_letters
from busauth.messages import ProofDemand, Proven
from busauth.testing import Issuer
from busauth.tokens import Decryption, KeptFor, TokenEncryption, shared_encryption_key
from tests.parties import Party, Scene, security
from tests.support import Broker, guard_for

WEB, ORDERS = Party("web"), Party("orders")


def parking(scene: Scene, **settings: Any) -> Bus:
    """Return a service that parks, and that may release what it parked."""
    messages = security(
        WEB.publisher(), ORDERS.publisher(relays=True), signer=ORDERS.signer, **settings
    )
    return scene.bus(messages, on_expired=Park())


async def consuming(scene: Scene) -> tuple[str, Bus]:
    """Return a queue and its consumer, which parks, and does nothing with what is in time."""
    queue = scene.broker.name("orders")
    bus = parking(scene)

    @bus.consumer(queue)
    async def place(caller: Caller) -> None: ...

    await bus.declare()
    return queue, bus


async def park(scene: Scene, bus: Bus, queue: str, *subjects: str) -> None:
    """Have a message of each subject's parked."""
    async with scene.publishing(WEB) as publishing:
        for subject in subjects:
            token = scene.issuer.token(subject)
            await publishing.publish(queue, subject.encode(), token=token)
    await scene.clock.advance(600)
    async with bus:
        await scene.trail.until("parked", count=len(subjects))


async def test_a_parked_message_waits_for_its_caller(scene: Scene) -> None:
    """It is handled for the caller who brings a fresh token, and for nobody else."""
    queue = scene.broker.name("orders")
    bus = parking(scene)
    seen: list[tuple[str, Caller, Proven]] = []

    @bus.consumer(queue)
    async def place(
        message: aio_pika.abc.AbstractIncomingMessage, caller: Caller, proven: Proven
    ) -> None:
        seen.append((message.body.decode(), caller, proven))

    await bus.declare()
    asked_at = scene.clock.now()
    await park(scene, bus, queue, "ann", "bob", "ann")
    assert not seen
    released = await bus.release(queue, scene.issuer.token("ann"))
    assert (len(released.sent), dict(released.refused), released.others) == (2, {}, 1)
    async with bus:
        await scene.trail.until("handled", count=2)
    for body, caller, proven in seen:
        assert (body, caller.subject, caller.late) == ("ann", "ann", None)
        assert (proven.publisher, proven.root_publisher) == ("orders", "web")
        assert (proven.released, proven.root_published_at) == (True, asked_at)
    told = await scene.trail.until("released", count=2)
    assert {(event.subject, event.publisher) for event in told} == {("ann", "orders")}
    await scene.broker.settles_at(f"{queue}.parked", 1)


async def test_nothing_of_a_token_is_in_a_parked_message(scene: Scene) -> None:
    """What waits has its proof, and no token."""
    queue, token = scene.broker.name("orders"), scene.issuer.token("ann")
    bus = parking(scene)

    @bus.consumer(queue)
    async def place(caller: Caller) -> None: ...

    await bus.declare()
    async with scene.publishing(WEB) as publishing:
        await publishing.publish(queue, b"{}", token=token)
    await scene.clock.advance(600)
    async with bus:
        await scene.trail.until("parked")
    (letter,) = await dead_letters(scene.broker.url, f"{queue}.parked")
    assert (letter.code, letter.subject) == ("token.expired", "ann")
    assert letter.sealed
    assert token not in repr(dict(letter.headers))
    assert "authorization" not in letter.headers


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"body": b"another"}, "proof.body"),
        ({"message_id": "another"}, "proof.message_id"),
        ({"reply_to": "mallory"}, "proof.property"),
        ({"headers": {"busauth-subject": "bob"}}, "proof.caller"),
        ({"headers": {"busauth-token-sha256": "0" * 64}}, "proof.token"),
        ({"headers": {"busauth-proof": "e30.e30.e30"}}, "proof.publisher"),
        ({"headers": {"busauth-proof": None}}, "proof.missing"),
    ],
)
async def test_a_parked_message_that_was_tampered_with_stays(
    change: dict[str, Any], code: str, scene: Scene
) -> None:
    """Who can write into the parking queue gets nothing released that a proof does not say."""
    queue, bus = await consuming(scene)
    await park(scene, bus, queue, "ann")
    parked = await scene.broker.one(f"{queue}.parked")
    headers = {**parked.headers, **change.get("headers", {})}
    tampered = aio_pika.Message(
        change.get("body", parked.body),
        headers={name: value for name, value in headers.items() if name != "x-delivery-count"},
        message_id=change.get("message_id", parked.message_id),
        reply_to=change.get("reply_to"),
        content_type=parked.content_type,
    )
    await scene.broker.channel.default_exchange.publish(tampered, f"{queue}.parked")
    await scene.broker.settles_at(f"{queue}.parked", 1)
    released = await bus.release(queue, scene.issuer.token(str(headers["busauth-subject"])))
    assert released.sent == ()
    assert list(released.refused.values()) == [code]
    await scene.broker.settles_at(f"{queue}.parked", 1)
    await scene.broker.settles_at(queue, 0)


async def test_two_callers_who_come_at_once_both_get_theirs(scene: Scene) -> None:
    """Releases of one queue take turns: neither sees only a part of what waits."""
    queue, bus = await consuming(scene)
    subjects = ["ann", "bob"] * 5
    await park(scene, bus, queue, *subjects)
    releases = await asyncio.gather(
        bus.release(queue, scene.issuer.token("ann")), bus.release(queue, scene.issuer.token("bob"))
    )
    assert [len(released.sent) for released in releases] == [5, 5]
    async with bus:
        await scene.trail.until("handled", count=10)
    await scene.broker.settles_at(f"{queue}.parked", 0)


@pytest.mark.parametrize("holds", ["the turn", "the messages"])
async def test_a_release_waits_for_whoever_is_at_it(
    holds: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not take a part of what waits: it says so after a while, and can be tried again."""
    monkeypatch.setattr(again, "_TURNS", 2)
    queue, bus = await consuming(scene)
    await park(scene, bus, queue, "ann")
    async with await aio_pika.connect(scene.broker.url) as other:
        channel = await other.channel()
        if holds == "the turn":
            await channel.declare_queue(f"{queue}.parked.turn", exclusive=True)
        else:
            waiting = await channel.get_queue(f"{queue}.parked")
            held = asyncio.Queue[aio_pika.abc.AbstractIncomingMessage]()
            await waiting.consume(held.put)
        with pytest.raises(Deferred, match="in somebody else's hands"):
            await bus.release(queue, scene.issuer.token("ann"))
    released = await bus.release(queue, scene.issuer.token("ann"))
    assert len(released.sent) == 1


async def test_a_token_that_is_not_fresh_releases_nothing(scene: Scene) -> None:
    """A late, a forged and another issuer's token are refused before anything is looked at."""
    queue, bus = await consuming(scene)
    await park(scene, bus, queue, "ann")
    other = Issuer("https://other.example", clock=scene.clock)
    late = scene.issuer.token("ann", exp=scene.clock.now() - 1)
    for token, code in (
        (late, "token.expired"),
        (other.token("ann"), "token.issuer"),
        (other.token("ann", iss=scene.issuer.url), "token.key_unknown"),
        (f"Bearer {scene.issuer.token('ann')}", "header.scheme"),
    ):
        with pytest.raises(Refused) as caught:
            await bus.release(queue, token)
        assert caught.value.code == code
    await scene.broker.settles_at(f"{queue}.parked", 1)


async def test_a_message_that_names_no_caller_is_not_parked(scene: Scene) -> None:
    """Without a proof that names whose it is, a late message goes to the dead letters."""
    queue = scene.broker.name("orders")
    bus = parking(scene, demand=ProofDemand.IF_PRESENT)

    @bus.consumer(queue)
    async def place(caller: Caller) -> None: ...

    await bus.declare()
    await scene.broker.publish(queue, token=scene.issuer.token("ann"))
    await scene.clock.advance(600)
    async with bus:
        await scene.trail.until("refused")
    assert scene.codes() == ["token.expired"]
    await scene.broker.settles_at(f"{queue}.dead", 1)


async def test_a_released_message_can_be_parked_again(scene: Scene) -> None:
    """A caller who was too slow once more brings another token; the first proof still counts."""
    queue = scene.broker.name("orders")
    bus = parking(scene)
    seen: list[Proven] = []

    @bus.consumer(queue)
    async def place(proven: Proven) -> None:
        seen.append(proven)

    await bus.declare()
    await park(scene, bus, queue, "ann")
    await bus.release(queue, scene.issuer.token("ann"))
    await scene.clock.advance(600)
    async with bus:
        await scene.trail.until("parked", count=2)
    released = await bus.release(queue, scene.issuer.token("ann"))
    assert len(released.sent) == 1
    async with bus:
        await scene.trail.until("handled")
    assert (seen[0].root_publisher, seen[0].released) == ("web", True)


async def test_a_release_needs_who_signs_and_who_parks(scene: Scene) -> None:
    """Without a signer, one that is trusted to relay, or a queue that parks, it is an error."""
    trusting = security(WEB.publisher(), ORDERS.publisher())
    for messages, found in (
        (trusting, "expected Guard"),
        (security(WEB.publisher(), signer=ORDERS.signer), "not trusted to relay"),
    ):
        guard = guard_for(scene.issuer, scene.trail, clock=scene.clock, messages=messages)
        with pytest.raises(ConfigurationError, match=found):
            Release(scene.broker.url, guard=guard, queue="orders")
    bus = parking(scene)
    with pytest.raises(ConfigurationError, match="has no consumer here"):
        await bus.release("orders", "token")
    release = Release(scene.broker.url, guard=bus.guard, queue=scene.broker.name("none"))
    with pytest.raises(ConfigurationError, match=r"queue '.*none\.parked' is not there"):
        await release.for_caller(scene.issuer.token("ann"))


async def test_a_dead_letter_keeps_its_token_for_a_redrive(scene: Scene) -> None:
    """Encrypted, of use in that letter only, and judged again when it was sent again."""
    queue, token = scene.broker.name("orders"), scene.issuer.token("ann")
    key = shared_encryption_key(secrets.token_bytes(32), key_id="redrive")
    messages = security(WEB.publisher())
    policy = DeadLetter(keep_token=TokenEncryption({"redrive": key}))
    bus = scene.bus(messages, on_expired=policy)

    @bus.consumer(queue)
    async def place(caller: Caller) -> None: ...

    await bus.declare()
    async with scene.publishing(WEB) as publishing:
        await publishing.publish(queue, b"{}", token=token)
    await scene.clock.advance(600)
    async with bus:
        await scene.trail.until("refused")
    (letter,) = await dead_letters(scene.broker.url, f"{queue}.dead")
    assert token not in repr(dict(letter.headers))
    assert "busauth-token" in letter.headers

    patient = scene.bus(messages, on_expired=Grace(hours=1))

    @patient.consumer(queue)
    async def place_late(caller: Caller, proven: Proven) -> None:
        assert caller.late is not None

    redrive = Redrive(scene.broker.url, guard=patient.guard, queue=queue, keys=Decryption([key]))
    assert (await redrive.letters(lambda letter: letter.subject == "bob")).others == 1
    assert len((await redrive.letters()).sent) == 1
    (told,) = await scene.trail.until("redriven")
    assert (told.issuer, told.subject) == (scene.issuer.url, "ann")
    async with patient:
        await scene.trail.until("handled")
    await scene.broker.settles_at(f"{queue}.dead", 0)


async def test_a_kept_token_is_of_no_use_in_another_letter(scene: Scene) -> None:
    """Moved under another body, it stays where it is, and is told."""
    queue = scene.broker.name("orders")
    key = shared_encryption_key(secrets.token_bytes(32), key_id="redrive")
    policy = DeadLetter(keep_token=TokenEncryption({"redrive": key}))
    bus = scene.bus(security(), on_expired=policy)

    @bus.consumer(queue)
    async def place(caller: Caller) -> None: ...

    await bus.declare()
    await scene.broker.publish(queue, token=scene.issuer.token("ann"))
    await scene.clock.advance(600)
    async with bus:
        await scene.trail.until("refused")
    letter = await scene.broker.one(f"{queue}.dead")
    moved = aio_pika.Message(
        b"pay mallory",
        headers={"busauth-token": letter.headers["busauth-token"]},
        message_id=letter.message_id,
    )
    await scene.broker.channel.default_exchange.publish(moved, f"{queue}.dead")
    await scene.broker.settles_at(f"{queue}.dead", 1)
    redrive = Redrive(scene.broker.url, guard=bus.guard, queue=queue, keys=Decryption([key]))
    released = await redrive.letters()
    assert list(released.refused.values()) == ["token.encryption_moved"]
    await scene.broker.settles_at(f"{queue}.dead", 1)


async def test_a_token_travels_encrypted(scene: Scene) -> None:
    """Broker and tap see an envelope; the consumer and its own publications know the token."""
    first, second = scene.broker.name("first"), scene.broker.name("second")
    key = shared_encryption_key(secrets.token_bytes(32), key_id="shop")
    messages = security(
        WEB.publisher(),
        signer=WEB.signer,
        encryption=TokenEncryption({"shop": key}),
        decryption=Decryption([key]),
    )
    bus = scene.bus(messages)
    seen: list[str] = []

    @bus.consumer(first)
    async def place(message: aio_pika.abc.AbstractIncomingMessage, caller: Caller) -> None:
        seen.append(str(message.headers["authorization"]))
        await bus.publish(second, b"onward")

    @bus.consumer(second)
    async def reserve(caller: Caller) -> None:
        seen.append(caller.subject)

    token = scene.issuer.token("ann")
    async with bus:
        await bus.publish(first, b"{}", token=token)
        await scene.trail.until("handled", count=2)
        await scene.broker.publish(first, token=token)
        await scene.trail.until("refused")
    assert seen[0].count(".") == 4
    assert token not in seen[0]
    assert seen[1] == "ann"
    assert scene.codes() == ["token.not_encrypted"]


async def test_who_has_no_key_refuses_an_envelope(scene: Scene) -> None:
    """A consumer without keys says what it was given."""
    queue = scene.broker.name("orders")
    key = shared_encryption_key(secrets.token_bytes(32), key_id="shop")
    bus = scene.bus(security(WEB.publisher()))

    @bus.consumer(queue)
    async def place(caller: Caller) -> None: ...

    async with bus, scene.publishing(WEB, encryption=TokenEncryption({"shop": key})) as publishing:
        await publishing.publish(queue, b"{}", token=scene.issuer.token("ann"))
        await scene.trail.until("refused")
    assert scene.codes() == ["token.encrypted"]


async def test_a_look_sees_more_than_a_quorum_queue_hands_out_by_itself(broker: Broker) -> None:
    """Without a number, it hands out 2,000 to a consumer; a look asks for all that are there."""
    queue = await broker.declare("orders")
    many = 2_500
    message = aio_pika.Message(b"x", delivery_mode=2)
    publications = [
        broker.channel.default_exchange.publish(message, f"{queue}.dead") for _ in range(many)
    ]
    await asyncio.gather(*publications)
    letters = await dead_letters(broker.url, f"{queue}.dead", limit=many)
    assert len(letters) == many
    await broker.settles_at(f"{queue}.dead", many)


async def test_what_a_consumer_can_hold_is_no_limit_of_a_look(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where more are there than one consumer can hold, there are several."""
    monkeypatch.setattr(waiting_letters, "_WINDOW", 3)
    queue = await broker.declare("orders")
    for number in range(8):
        await broker.publish(f"{queue}.dead", str(number).encode())
    letters = await dead_letters(broker.url, f"{queue}.dead")
    assert sorted(letter.body for letter in letters) == [str(n).encode() for n in range(8)]
    await broker.settles_at(f"{queue}.dead", 8)


async def test_a_release_whose_messages_were_taken_back_says_so(scene: Scene) -> None:
    """After the consumer timeout, or as the queue is gone: nothing is told as gone that stays."""
    queue, bus = await consuming(scene)
    await park(scene, bus, queue, "ann", "ann")
    sending = again.Sending(
        url=scene.broker.url,
        guard=bus.guard,
        queue=queue,
        source=f"{queue}.parked",
        told=EventKind.RELEASED,
    )

    async def renew(message: aio_pika.abc.AbstractIncomingMessage, _limit: int) -> Outgoing:
        async with await aio_pika.connect(scene.broker.url) as other, other.channel() as channel:
            await channel.queue_delete(f"{queue}.parked")
        while cast("Channel", message.channel).consumers:  # until the broker has told
            await asyncio.sleep(0)
        return copies.again(Delivery.of(message), {})

    with pytest.raises(Deferred, match="has taken the messages"):
        await sending.run(renew)
    assert len(await scene.trail.until("released")) == 1


async def test_a_long_first_proof_can_be_released(scene: Scene) -> None:
    """What embeds a proof may be longer than a proof."""
    queue = scene.broker.name("orders")
    names = tuple(f"declared-{number}-{'n' * 100}" for number in range(32))
    web = Party("web", headers=names)
    messages = security(web.publisher(), ORDERS.publisher(relays=True), signer=ORDERS.signer)
    bus = scene.bus(messages, on_expired=Park())

    @bus.consumer(queue)
    async def place(caller: Caller) -> None: ...

    await bus.declare()
    async with scene.publishing(web) as publishing:
        headers: dict[str, Any] = dict.fromkeys(names, "value")
        message = aio_pika.Message(b"long", headers=headers)
        await publishing.publish(queue, message, token=scene.issuer.token("ann"))
    await scene.clock.advance(600)
    async with bus:
        await scene.trail.until("parked")
    (parked,) = await dead_letters(scene.broker.url, f"{queue}.parked")
    assert 7_000 < len(parked.headers["busauth-proof"]) <= 8_192
    released = await bus.release(queue, scene.issuer.token("ann"))
    assert len(released.sent) == 1
    async with bus:
        await scene.trail.until("handled")


async def test_what_cannot_be_released_holds_up_nobody(scene: Scene) -> None:
    """One that would not fit a frame with its fresh token stays, and is told; the others go."""
    queue, bus = await consuming(scene)
    await park(scene, bus, queue, "ann", "ann")
    one, other = await scene.broker.take(f"{queue}.parked")
    filling = "v" * (131_072 - headers.header_frame_size(Delivery.of(one).raw) - 600)
    full = {name: value for name, value in one.headers.items() if not name.startswith("x-")}
    await scene.broker.publish(
        f"{queue}.parked",
        one.body,
        headers={**full, "filling": filling},
        message_id=one.message_id,
        content_type=one.content_type,
    )
    await scene.broker.publish(
        f"{queue}.parked",
        other.body,
        headers={name: v for name, v in other.headers.items() if not name.startswith("x-")},
        message_id=other.message_id,
        content_type=other.content_type,
    )
    released = await bus.release(queue, scene.issuer.token("ann"))
    assert released.sent == (other.message_id,)
    assert list(released.refused.values()) == ["message.too_large"]


async def test_what_cannot_wait_whole_is_a_dead_letter(scene: Scene) -> None:
    """With something cut off, nobody could release it; it does not wait for ever."""
    queue, bus = await consuming(scene)
    async with scene.publishing(WEB) as publishing:
        large: dict[str, Any] = {f"large-{number}": "v" * 40_000 for number in range(3)}
        message = aio_pika.Message(b"{}", headers={**large, "rest": "v" * 9_500})
        await publishing.publish(queue, message, token=scene.issuer.token("ann"))
    await scene.clock.advance(600)
    async with bus:
        (refused,) = await scene.trail.until("refused")
    assert refused.code == "token.expired"
    assert "cannot wait whole" in str(refused.detail)
    (letter,) = await dead_letters(scene.broker.url, f"{queue}.dead")
    assert letter.headers["busauth-cut"].startswith("1: large-")


async def test_an_earlier_version_s_letter_says_what_it_cannot_prove(scene: Scene) -> None:
    """It can be read; without a seal over all of it, it is not sent again, and that is told."""
    queue, bus = await consuming(scene)
    key = shared_encryption_key(secrets.token_bytes(32), key_id="redrive")
    token = scene.issuer.token("ann")
    about = KeptFor(queue=queue, message_id="m-1", body=b"{}")
    headers = {
        "busauth-refusal": "token.expired",
        "busauth-queue": queue,
        "busauth-subject": "ann",
        "busauth-attempt": 0,
        "busauth-redrive": 0,
        "busauth-seal": f"1.2026.{'A' * 43}",
        "busauth-token": TokenEncryption({"redrive": key}).seal_for_redrive(token, about),
    }
    await scene.broker.publish(f"{queue}.dead", b"{}", headers=headers, message_id="m-1")
    (letter,) = await dead_letters(scene.broker.url, f"{queue}.dead")
    assert (letter.code, letter.subject, letter.sealed) == ("token.expired", "ann", False)
    redrive = Redrive(scene.broker.url, guard=bus.guard, queue=queue, keys=Decryption([key]))
    assert dict((await redrive.letters()).refused) == {"m-1": "seal.missing"}
