"""What a reader of queues and dead letters, and a curious operator, can try."""

import secrets
from typing import Any

import pytest

from busauth import JWKS, Bus, BusOptions, Caller, DeadLetter, Guard, Park, Verifier
from busauth._amqp.headers import TOKEN
from busauth.letters import Redrive, dead_letters
from busauth.testing import Issuer, IssuerServer
from busauth.testing.issuer.endpoints.documents import JWKS_PATH
from busauth.tokens import Decryption, RetiredKeys, TokenEncryption, shared_encryption_key
from tests.parties import Scene, security
from tests.security.stage import WEB, Message, Stage, attack
from tests.support import LADDERS

KEY = shared_encryption_key(secrets.token_bytes(32), key_id="shop")
OTHER = shared_encryption_key(secrets.token_bytes(32), key_id="bank")


def encrypting(scene: Scene, **settings: Any) -> Stage:
    return Stage.set(
        scene, encryption=TokenEncryption({"shop": KEY}), decryption=Decryption([KEY]), **settings
    )


async def enveloped(stage: Stage) -> tuple[Message, Message]:
    """Have two messages with encrypted tokens published, and take both."""
    await stage.bus.declare()
    taken = []
    for body in (b"one", b"other"):
        async with stage.scene.publishing(
            WEB, encryption=TokenEncryption({"shop": KEY})
        ) as publishing:
            await publishing.publish(stage.queue, body, token=stage.token())
        taken.append(await stage.take())
    return taken[0], taken[1]


async def keeping(scene: Scene) -> tuple[Stage, Message]:
    """Return a consumer, and a dead letter of its that kept its token."""
    policy = DeadLetter(keep_token=TokenEncryption({"shop": KEY}))
    stage = encrypting(scene, on_expired=policy)
    message, _ = await enveloped(stage)
    await stage.put(message)
    await scene.clock.advance(600)
    await stage.consume(handled=0, refused=1)
    return stage, await stage.take(f"{stage.queue}.dead")


@pytest.fixture
def plain_web(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bind no headers: what is published here carries none."""
    monkeypatch.setattr(WEB, "headers", ())


pytestmark = pytest.mark.usefixtures("plain_web")


@attack("operator-reads")
async def test_a_token_that_is_read_in_a_queue(scene: Scene) -> None:
    """What the broker and its management see is of no use without the consumer's key."""
    stage = encrypting(scene)
    message, untampered = await enveloped(stage)
    assert message.token.count(".") == 4
    await stage.refuses(
        message.having(authorization=f"Bearer {'.'.join(['e30'] * 5)}"),
        "token.encryption_algorithm",
        untampered=untampered,
    )


@attack("operator-alters")
async def test_an_envelope_that_was_altered(scene: Scene) -> None:
    """It does not open."""
    stage = encrypting(scene)
    message, untampered = await enveloped(stage)
    head, key, iv, text, tag = message.token.split(".")
    flipped = ".".join((head, key, iv, ("A" if text[0] != "A" else "B") + text[1:], tag))
    altered = message.having(authorization=f"Bearer {flipped}")
    await stage.refuses(altered, "token.decryption", untampered=untampered)


@attack("operator-plain")
async def test_a_plain_token_where_an_envelope_is_demanded(scene: Scene) -> None:
    """Nobody can be made to do without."""
    stage = encrypting(scene)
    message, untampered = await enveloped(stage)
    plain = message.having(authorization=f"Bearer {stage.token()}")
    await stage.refuses(plain, "token.not_encrypted", untampered=untampered)


@attack("operator-key")
async def test_an_envelope_for_somebody_else(scene: Scene) -> None:
    """A token that was encrypted for another consumer is of no use here."""
    stage = encrypting(scene)
    message, untampered = await enveloped(stage)
    other = TokenEncryption({"bank": OTHER}).encrypt(stage.token())
    await stage.refuses(
        message.having(authorization=f"Bearer {other}"),
        "token.encryption_key",
        untampered=untampered,
    )


@attack("operator-keyless")
async def test_an_envelope_to_who_has_no_key(scene: Scene) -> None:
    """A consumer without keys says what it was given, and takes plain tokens."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    envelope = TokenEncryption({"shop": KEY}).encrypt(message.token)
    await stage.refuses(
        message.having(authorization=f"Bearer {envelope}"),
        "token.encrypted",
        untampered=untampered,
    )


@attack("reader-letters")
async def test_the_dead_letters_hold_no_token(scene: Scene) -> None:
    """Whatever a message was refused for, wherever it put its token: none is left in its letter."""
    stage = Stage.set(scene, on_expired=Park())
    message, _ = await stage.pair()
    raw = message.token
    hidden = {"copy": raw, "Authorization": f"Bearer {raw}", "nested": {"deep": [raw]}}
    for attempt in (
        message.having(**hidden).being(correlation_id=raw[:200]),
        message.having(busauth_hop=99),
        message.having(authorization=f"Bearer {scene.issuer.forged()}"),
        Message(b"evil", {"authorization": f"Bearer {raw}"}),
    ):
        await stage.put(attempt)
    await scene.clock.advance(600)
    await stage.publish(b"parked", token=stage.token("bob"))
    await scene.clock.advance(600)
    await stage.publish(b"fresh")
    async with stage.bus:
        await scene.trail.until("handled")
        await scene.trail.until("parked")
        await scene.trail.until("refused", count=4)
    parts = raw.split(".")
    for name in ("dead", "rejected", "parked"):
        for letter in await dead_letters(scene.broker.url, f"{stage.queue}.{name}"):
            shown = f"{dict(letter.headers)!r} {letter.message_id}"
            assert raw not in shown
            assert parts[2] not in shown


@attack("reader-kept")
async def test_a_kept_token_moved_to_another_letter(scene: Scene) -> None:
    """What one letter keeps is of no use in another, nor on a message."""
    stage, letter = await keeping(scene)
    moved = Message(b"pay mallory", letter.headers, letter.properties)
    await stage.put(moved, f"{stage.queue}.dead")
    await stage.put(letter, f"{stage.queue}.dead")
    await scene.broker.settles_at(f"{stage.queue}.dead", 2)
    redrive = Redrive(
        scene.broker.url, guard=stage.bus.guard, queue=stage.queue, keys=Decryption([KEY])
    )
    released = await redrive.letters()
    assert list(released.refused.values()) == ["token.encryption_moved"]
    assert len(released.sent) == 1


@attack("reader-kept-travels")
async def test_a_kept_token_on_a_message(scene: Scene) -> None:
    """It is another type of token than one that travels."""
    stage, letter = await keeping(scene)
    fresh, untampered = await enveloped(stage)
    forged = fresh.having(authorization=f"Bearer {letter.headers[TOKEN]}")
    await stage.put(forged)
    await stage.put(untampered)
    await stage.consume(handled=1, refused=2)
    assert scene.codes() == ["token.expired", "token.encryption_type"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"body": b"pay"}, "proof.body", marks=attack("parked-body")),
        pytest.param({"subject": "bob"}, "proof.caller", marks=attack("parked-caller")),
        pytest.param({"proof": None}, "proof.missing", marks=attack("parked-unproven")),
    ],
)
async def test_a_parked_message_that_was_tampered_with(
    change: dict[str, Any], code: str, scene: Scene
) -> None:
    """It stays parked, whoever's fresh token comes; what is untampered is released and handled."""
    stage = Stage.set(scene, on_expired=Park())
    await stage.bus.declare()
    await stage.publish(b"one")
    await stage.publish(b"other")
    await scene.clock.advance(600)
    async with stage.bus:
        await scene.trail.until("parked", count=2)
    await scene.broker.settles_at(f"{stage.queue}.parked", 2)
    one, other = map(Message.of, await scene.broker.take(f"{stage.queue}.parked"))
    tampered = Message(change.get("body", one.body), one.headers, one.properties)
    if "subject" in change:
        tampered = tampered.having(busauth_subject=change["subject"])
    if "proof" in change:
        tampered = tampered.having(busauth_proof=None)
    await stage.put(tampered, f"{stage.queue}.parked")
    await stage.put(other, f"{stage.queue}.parked")
    await scene.broker.settles_at(f"{stage.queue}.parked", 2)
    released = await stage.bus.release(stage.queue, stage.token(change.get("subject", "ann")))
    assert list(released.refused.values()) == [code]
    if "subject" in change:
        await stage.bus.release(stage.queue, stage.token("ann"))
    async with stage.bus:
        await scene.trail.until("handled")
    assert [body for _, body in stage.handled] == [other.body]
    await scene.broker.settles_at(f"{stage.queue}.parked", 1)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("removed", "token.key_retired", marks=attack("issuer-key-removed")),
        pytest.param(
            "compromised", "token.key_compromised", marks=attack("issuer-key-compromised")
        ),
    ],
)
async def test_an_issuers_key_in_other_hands(name: str, code: str, scene: Scene) -> None:
    """A removed key signs nothing new, a compromised one nothing at all."""
    issuer = Issuer(algorithm="ES256", clock=scene.clock)
    with IssuerServer(issuer):
        retired = RetiredKeys(keep_for=24 * 3600, sources={"web"})
        jwks = JWKS(f"{issuer.url}{JWKS_PATH}", clock=scene.clock, retired=retired)
        verifier = Verifier(jwks, issuer=issuer.url, audience=issuer.audience, leeway=0)
        guard = Guard(
            verifier,
            clock=scene.clock,
            auditor=scene.trail,
            messages=security(WEB.publisher(), signer=WEB.signer),
        )
        bus = Bus(
            scene.broker.url, guard=guard, service="test", options=BusOptions(retry=LADDERS[1])
        )
        queue, seen = scene.broker.name("orders"), list[str]()

        @bus.consumer(queue)
        async def place(caller: Caller) -> None:
            seen.append(caller.subject)

        await jwks.refresh()
        await bus.declare()
        stolen = issuer.signing
        issuer.rotate(retire=name == "removed")
        await scene.clock.advance(60)
        await jwks.refresh()
        if name == "compromised":
            jwks.distrust(str(stolen.key_id))
        claims = issuer.claims("mallory")
        forged = stolen.sign(claims, {"typ": "at+jwt"})
        async with bus:
            await bus.publish(queue, b"{}", token=forged)
            await bus.publish(queue, b"{}", token=issuer.token("ann"))
            await scene.trail.until("refused")
            await scene.trail.until("handled")
        assert (scene.codes(), seen) == ([code], ["ann"])
