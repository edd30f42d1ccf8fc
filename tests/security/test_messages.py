"""What somebody who can read and write queues can do to a message, and a compromised service."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import ValidWhenPublished
from busauth._amqp.headers import PROOF
from busauth._tokens.verifier import fingerprint
from busauth.messages import Original, OutgoingMessage, Properties, Route
from tests.parties import Party, Scene
from tests.security.stage import ORDERS, WEB, Message, Stage, attack


@dataclass(frozen=True)
class Tampering:
    """A change to a genuine message."""

    made: Callable[[Message], Message]
    code: str


TAMPERINGS = {
    "tamper-body": Tampering(
        lambda m: Message(b"pay mallory", m.headers, m.properties), "proof.body"
    ),
    "tamper-id": Tampering(lambda m: m.being(message_id="another"), "proof.message_id"),
    "tamper-no-id": Tampering(lambda m: m.being(message_id=None), "proof.message_id"),
    "tamper-reply-to": Tampering(lambda m: m.being(reply_to="mallory"), "proof.property"),
    "tamper-type": Tampering(lambda m: m.being(type="refund"), "proof.property"),
    "tamper-content-type": Tampering(lambda m: m.being(content_type=None), "proof.property"),
    "tamper-header": Tampering(lambda m: m.having(tenant="b"), "proof.header"),
    "tamper-header-gone": Tampering(lambda m: m.having(tenant=None), "proof.header"),
    "tamper-proof": Tampering(
        lambda m: m.having(**{PROOF: m.headers[PROOF][:-4] + "AAAA"}), "proof.signature"
    ),
    "tamper-proof-gone": Tampering(lambda m: m.having(**{PROOF: None}), "proof.missing"),
    "tamper-proof-kind": Tampering(lambda m: m.having(**{PROOF: m.token}), "proof.publisher"),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=attack(n)) for n in TAMPERINGS])
async def test_a_message_that_was_tampered_with(name: str, scene: Scene) -> None:
    """Whatever its publisher signed must be as it was signed."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    tampering = TAMPERINGS[name]
    await stage.refuses(tampering.made(message), tampering.code, untampered=untampered)


@attack("tamper-route")
async def test_a_message_moved_to_another_consumer(scene: Scene) -> None:
    """A genuine message, whole, in a queue that it was not published to."""
    stage, refunds = Stage.set(scene), scene.broker.name("refunds")
    elsewhere = Stage.set(scene)
    elsewhere.queue = refunds
    message, untampered = await stage.pair()
    handled: list[bytes] = []

    @elsewhere.bus.consumer(refunds)
    async def refund(message: AbstractIncomingMessage) -> None:
        handled.append(message.body)

    await elsewhere.bus.declare()
    await stage.put(message, refunds)
    await stage.put(untampered)
    async with elsewhere.bus:
        await scene.trail.until("refused")
    await stage.consume(handled=1, refused=1)
    assert (scene.codes(), handled) == (["proof.route"], [])


@attack("replay-copy")
async def test_a_message_published_once_more(scene: Scene) -> None:
    """The copy of a genuine message is not handled a second time."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    await stage.put(message)
    await stage.put(message)
    await stage.put(untampered)
    await stage.consume(handled=2, refused=1)
    assert scene.codes() == ["replay.copy"]
    assert sorted(body for _, body in stage.handled) == [b"one", b"other"]


@attack("replay-retry")
async def test_the_copy_of_a_retry_published_once_more(scene: Scene) -> None:
    """A retry is a message of its own; a copy of that is a copy."""
    failures: list[bytes] = []
    copies: list[Message] = []

    def fails_once(message: AbstractIncomingMessage) -> None:
        copies.append(Message.of(message))
        if message.body == b"one" and not failures:
            failures.append(message.body)
            raise LookupError

    stage = Stage.set(scene, handler=fails_once)
    message, untampered = await stage.pair()
    await stage.put(message)
    await stage.consume(handled=1, refused=0)
    await stage.put(copies[-1])
    await stage.put(untampered)
    await stage.consume(handled=2, refused=1)
    assert "busauth-seal" in copies[1].headers
    assert scene.codes() == ["replay.copy"]


@attack("replay-attempts")
async def test_a_copy_that_claims_another_attempt(scene: Scene) -> None:
    """The attempt is believed under the seal only: raised by hand, a copy stays a copy."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    await stage.put(message)
    await stage.put(message.having(busauth_attempt=1, busauth_seal=f"2.2026.{'A' * 43}"))
    await stage.put(untampered)
    await stage.consume(handled=2, refused=1)
    assert scene.codes() == ["replay.copy"]
    await scene.trail.until("seal-broken")


def signed(stage: Stage, party: Party, at: float | None = None, **changes: Any) -> Message:
    """Return a message that a party publishes past its own guard, whatever it says."""
    token = changes.pop("token", None) or stage.token()
    said: dict[str, Any] = {
        "token": token,
        "body": b"evil",
        "message_id": "m-evil",
        "properties": Properties(),
        "headers": {"tenant": "a"},
        "exchange": "",
        "routing_key": stage.queue,
    }
    more = {
        name: changes.pop(name) for name in ("root_published_at", "original") if name in changes
    }
    now = stage.scene.clock.now() if at is None else at
    proof = party.signer.sign(OutgoingMessage(**{**said, **changes}), now, **more)
    headers = {"authorization": f"Bearer {token}", "tenant": "a", PROOF: proof}
    return Message(b"evil", headers, {"message_id": "m-evil"})


@attack("service-route")
async def test_a_service_that_publishes_where_it_may_not(scene: Scene) -> None:
    """A publisher can be held to routes of its own."""
    mail = Party("mail")
    publishers = (WEB.publisher(), mail.publisher(routes=[Route("", "mails")]))
    stage = Stage.set(scene, publishers=(*publishers, ORDERS.publisher(relays=True)))
    _, untampered = await stage.pair()
    await stage.refuses(signed(stage, mail), "proof.route", untampered=untampered)


@attack("service-caller")
async def test_a_service_that_names_another_caller(scene: Scene) -> None:
    """A proof that calls the message somebody else's than its token's is refused."""
    stage = Stage.set(scene)
    _, untampered = await stage.pair()
    lying = signed(stage, ORDERS, issuer=scene.issuer.url, subject="bob")
    await stage.refuses(lying, "proof.caller", untampered=untampered)


@attack("service-original")
async def test_a_release_of_another_message(scene: Scene) -> None:
    """A service that may release cannot put a first proof on a body of its own."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    sha = fingerprint(message.token)
    original = Original.of(message.headers[PROOF], sha)
    lying = signed(stage, ORDERS, original=original)
    await stage.refuses(lying, "proof.original", untampered=untampered)


@attack("service-relay")
async def test_a_release_by_who_may_not(scene: Scene) -> None:
    """A service that is trusted for its own messages only releases nothing."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    original = Original.of(message.headers[PROOF], fingerprint(message.token))
    lying = signed(stage, WEB, original=original)
    await stage.refuses(lying, "proof.relay", untampered=untampered)


@attack("service-root")
async def test_a_root_instant_by_who_may_not_relay(scene: Scene) -> None:
    """Its word about an earlier message is not taken: the late token stays late."""
    policy = ValidWhenPublished(hours=6, sources={"web"})
    stage = Stage.set(scene, on_expired=policy)
    token, asked_at = stage.token("mallory"), scene.clock.now()
    await stage.bus.declare()
    await scene.clock.advance(3600)
    await stage.publish(b"other")
    untampered = await stage.take()
    lying = signed(stage, WEB, token=token, root_published_at=asked_at)
    await stage.refuses(lying, "token.expired", untampered=untampered)


@attack("liar-ahead")
async def test_a_proof_dated_ahead(scene: Scene) -> None:
    """Nothing was published in the future."""
    stage = Stage.set(scene)
    _, untampered = await stage.pair()
    lying = signed(stage, WEB, at=scene.clock.now() + 60)
    await stage.refuses(lying, "proof.from_the_future", untampered=untampered)


@attack("liar-kept")
async def test_a_proof_kept_for_later(scene: Scene) -> None:
    """A proof is stale once it is older than the consumer allows."""
    stage = Stage.set(scene, max_age=3600)
    message, _ = await stage.pair()
    await scene.clock.advance(3600 + 30)
    await stage.publish(b"other")
    untampered = await stage.take()
    await stage.refuses(message, "proof.stale", untampered=untampered)


@attack("liar-unnamed")
async def test_a_word_that_no_policy_takes(scene: Scene) -> None:
    """A publisher that is trusted for its messages, and not for the time, cannot date one back."""
    policy = ValidWhenPublished(hours=6, sources={"web"})
    stage = Stage.set(scene, on_expired=policy)
    token, asked_at = stage.token("mallory"), scene.clock.now()
    await stage.bus.declare()
    await stage.publish(b"other")
    untampered = await stage.take()
    await scene.clock.advance(3600)
    lying = signed(stage, ORDERS, token=token, at=asked_at)
    await stage.refuses(lying, "token.expired", untampered=untampered)
