"""What an outsider who can publish, and the holder of a stolen token, can try."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from busauth import Bus, Caller, Grace, Guard, Park, Restrict
from busauth._amqp.headers import PROOF, TXN_TOKEN
from busauth.messages import OutgoingMessage, ProofDemand
from tests.parties import Party, Scene, security
from tests.security.stage import WEB, Message, Stage, attack, stranger
from tests.support import guard_for


@dataclass(frozen=True)
class Forgery:
    """A token that is not the issuer's word for this service."""

    made: Callable[[Stage], str]
    code: str


FORGERIES = {
    "outsider-forged": Forgery(lambda s: s.scene.issuer.forged("ann"), "token.signature"),
    "outsider-unsigned": Forgery(
        lambda s: s.scene.issuer.sign(s.scene.issuer.claims("ann"), algorithm="none") + "AAAA",
        "token.algorithm",
    ),
    "outsider-confused": Forgery(
        lambda s: s.scene.issuer.sign(s.scene.issuer.claims("ann"), algorithm="HS256"),
        "token.algorithm",
    ),
    "outsider-issuer": Forgery(lambda _: stranger().token("ann"), "token.issuer"),
    "outsider-huge": Forgery(lambda _: "e" * 60_000, "token.too_large"),
    "stolen-audience": Forgery(lambda s: s.token(aud="bank"), "token.audience"),
    "stolen-type": Forgery(
        lambda s: s.scene.issuer.token("ann", header={"typ": "secevent+jwt"}), "token.type"
    ),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=attack(n)) for n in FORGERIES])
async def test_a_token_that_is_not_genuine(name: str, scene: Scene) -> None:
    """Whatever is put in a token's place is refused before anything else is asked."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    forgery = FORGERIES[name]
    forged = message.having(authorization=f"Bearer {forgery.made(stage)}")
    await stage.refuses(forged, forgery.code, untampered=untampered)
    await scene.broker.settles_at(f"{stage.queue}.rejected", 1)


@attack("outsider-no-token")
async def test_no_token(scene: Scene) -> None:
    """A message that is nobody's is not handled, whatever proof is on it."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    await stage.refuses(message.having(authorization=None), "header.missing", untampered=untampered)


@attack("outsider-proof")
async def test_a_proof_by_a_stranger(scene: Scene) -> None:
    """Whoever signs a proof of their own is nobody whom the consumer trusts."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    mallory = Party("mallory")
    proof = mallory.signer.sign(binding(stage, message), scene.clock.now())
    forged = message.having(**{PROOF: proof})
    await stage.refuses(forged, "proof.publisher", untampered=untampered)


@attack("outsider-name")
async def test_a_proof_in_the_name_of_a_publisher(scene: Scene) -> None:
    """A name alone proves nothing."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    proof = Party("web").signer.sign(binding(stage, message), scene.clock.now())
    forged = message.having(**{PROOF: proof})
    await stage.refuses(forged, "proof.signature", untampered=untampered)


@attack("outsider-headers")
async def test_headers_that_look_like_ours(scene: Scene) -> None:
    """What busauth writes on copies widens nothing when a sender writes it."""
    stage = Stage.set(scene)
    await stage.bus.declare()
    await stage.publish(b"powerless", token=stage.token(scope="orders:read"))
    message = await stage.take()
    await stage.publish(b"other")
    untampered = await stage.take()
    forged = message.having(
        busauth_attempt=-5,
        busauth_redrive=3,
        busauth_published=f"{scene.clock.now():.6f}",
        busauth_seal=f"1.2026.{'A' * 43}",
        busauth_subject="root",
        busauth_refusal="none",
        x_death=[{"count": 99, "queue": stage.queue, "reason": "expired"}],
        x_delivery_count=-1,
    )
    await stage.refuses(forged, "caller.scope", untampered=untampered)
    letter = await stage.take(f"{stage.queue}.dead")
    assert (letter.headers["busauth-subject"], letter.headers["busauth-attempt"]) == ("ann", 0)


@attack("outsider-routing")
async def test_properties_that_a_broker_acts_on(scene: Scene) -> None:
    """A refused message's CC, BCC, expiration and user act on no copy of it."""
    stage = Stage.set(scene)
    target = await scene.broker.declare("target")
    message, untampered = await stage.pair()
    forged = message.having(authorization=f"Bearer {scene.issuer.forged()}", CC=[target])
    forged = forged.having(BCC=[target]).being(expiration=3600, user_id="guest")
    await stage.refuses(forged, "token.signature", untampered=untampered)
    await scene.broker.settles_at(target, 1)  # the broker's own doing, when it was published
    letter = await scene.broker.one(f"{stage.queue}.rejected")
    assert (letter.expiration, letter.user_id) == (None, None)
    assert not {"CC", "BCC"} & set(letter.headers)
    await scene.broker.settles_at(target, 1)


@attack("outsider-loop")
async def test_a_message_that_has_come_far(scene: Scene) -> None:
    """A loop of services ends; a sender can only make its own way shorter."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    await stage.refuses(message.having(busauth_hop=33), "message.hops", untampered=untampered)


@attack("outsider-flood")
async def test_headers_that_fill_a_frame(scene: Scene) -> None:
    """A letter that would not fit is cut, told, and not lost."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    forged = f"Bearer {scene.issuer.forged()}"
    flood = message.having(authorization=forged, flood="x" * 130_000, **{PROOF: None})
    await stage.refuses(flood, "token.signature", untampered=untampered)
    letter = await stage.take(f"{stage.queue}.rejected")
    assert "flood" in letter.headers["busauth-cut"]


@attack("stolen-fresh")
async def test_a_stolen_token_on_a_message_of_ones_own(scene: Scene) -> None:
    """A bearer token without its publisher's proof moves nothing."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    forged = Message(b"pay mallory", {"authorization": message.headers["authorization"]})
    await stage.refuses(forged, "proof.missing", untampered=untampered)
    await scene.broker.settles_at(f"{stage.queue}.dead", 1)


@attack("stolen-pasted")
async def test_a_stolen_token_under_anothers_proof(scene: Scene) -> None:
    """The proof of one message does not cover a token that was cut from another."""
    stage = Stage.set(scene)
    await stage.bus.declare()
    await stage.publish(b"one", token=stage.token("ann"))
    one = await stage.take()
    await stage.publish(b"other", token=stage.token("bob"))
    other = await stage.take()
    pasted = one.having(authorization=other.headers["authorization"])
    await stage.refuses(pasted, "proof.token", untampered=other)


@attack("stolen-second")
async def test_a_second_token_next_to_the_first(scene: Scene) -> None:
    """A transaction token that the publisher did not send cannot be added."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    added = message.having(**{TXN_TOKEN: stage.token("mallory")})
    await stage.refuses(added, "proof.token", untampered=untampered)


@attack("stolen-late")
async def test_an_expired_token_passed_off_as_fresh(scene: Scene) -> None:
    """What a sender says of the time, in properties and headers, makes a token no younger."""
    stage = Stage.set(scene, on_expired=Grace(minutes=1))
    await stage.bus.declare()
    await stage.publish(b"late", token=stage.token("ann"))
    late = await stage.take()
    await scene.clock.advance(600)
    await stage.publish(b"other")
    untampered = await stage.take()
    forged = late.having(timestamp_in_ms=int(scene.clock.now() * 1000), iat=scene.clock.now())
    forged = forged.being(timestamp=int(scene.clock.now()))
    await stage.refuses(forged, "token.expired", untampered=untampered)


@attack("stolen-parked")
async def test_an_old_stolen_token_is_not_laundered_by_parking(scene: Scene) -> None:
    """A new body under an old token is not parked: nobody proves that it is the caller's."""
    stage = Stage.set(scene, on_expired=Park(), demand=ProofDemand.IF_PRESENT)
    message, _ = await stage.pair()
    await scene.clock.advance(600)
    await stage.publish(b"other")
    untampered = await stage.take()
    forged = Message(b"pay mallory", {"authorization": message.headers["authorization"]})
    await stage.refuses(forged, "token.expired", untampered=untampered)
    await scene.broker.settles_at(f"{stage.queue}.dead", 1)
    await scene.broker.settles_at(f"{stage.queue}.parked", 0)


@attack("outsider-noise")
async def test_a_flood_of_refusals_does_not_fill_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is refused, and counted; the log gets ten lines of them, and how many there were."""
    queue = scene.broker.name("orders")
    trusted = guard_for(scene.issuer, scene.trail).verifiers
    guard = Guard(*trusted, clock=scene.clock)
    bus, handled = Bus(scene.broker.url, guard=guard, service="orders"), list[str]()

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        handled.append(caller.subject)

    await bus.declare()
    for _ in range(100):
        await scene.broker.publish(queue)
    await scene.broker.publish(queue, token=scene.issuer.token("ann"))
    async with bus:
        await scene.broker.settles_at(f"{queue}.rejected", 100)
        await bus.idle()
    told = [line for line in caplog.messages if "header.missing" in line]
    assert len(told) == 12
    assert told[-1] == f"refused queue={queue} code=header.missing: 90 more"
    assert handled == ["ann"]


@attack("stolen-restricted")
async def test_a_late_token_whose_roles_were_taken_away(scene: Scene) -> None:
    """Where a policy says which scope stays, the token's roles count no more, and it stays put."""
    queue = scene.broker.name("orders")
    policy = Restrict("orders:write")
    stage = Stage(scene, queue, scene.bus(security(WEB.publisher()), on_expired=policy))

    @stage.bus.consumer(queue, scopes="orders:write", allow=lambda one: "boss" in one.roles)
    async def place(caller: Caller) -> None:
        stage.handled.append((caller.subject, b"other"))

    await stage.bus.declare()
    await stage.publish(b"one", token=stage.token("mallory", roles=["boss"]))
    await scene.clock.advance(600)
    await stage.publish(b"other", token=stage.token("ann", roles=["boss"]))
    await stage.consume(handled=1, refused=1)
    assert scene.codes() == ["caller.predicate"]
    assert stage.handled == [("ann", b"other")]
    await scene.broker.settles_at(f"{queue}.dead", 1)


class _Revoked:
    def revoked(self, caller: Caller, _now: float) -> bool:
        return caller.subject == "mallory"


@pytest.mark.parametrize(
    ("name", "late"),
    [
        pytest.param("stolen-revoked", 0, marks=attack("stolen-revoked")),
        pytest.param("stolen-revoked-late", 600, marks=attack("stolen-revoked-late")),
    ],
)
async def test_a_revoked_token(name: str, late: int, scene: Scene) -> None:
    """It counts no more, in time or late, and does not wait for better days either."""
    queue = scene.broker.name("orders")
    guard = guard_for(
        scene.issuer,
        scene.trail,
        clock=scene.clock,
        on_expired=[Grace(minutes=1), Park()],
        revocations=_Revoked(),
        messages=security(WEB.publisher()),
    )
    stage = Stage(scene, queue, scene.bus(security(WEB.publisher())))
    stage.bus.guard = guard

    @stage.bus.consumer(queue)
    async def place(caller: Caller) -> None:
        stage.handled.append((caller.subject, b"other"))

    await stage.bus.declare()
    await stage.publish(b"one", token=stage.token("mallory"))
    await scene.clock.advance(late)
    await stage.publish(b"other", token=stage.token("ann"))
    await stage.consume(handled=1, refused=1)
    assert scene.codes() == ["token.revoked"]
    await scene.broker.settles_at(f"{queue}.dead", 1)
    await scene.broker.settles_at(f"{queue}.parked", 0)


def binding(stage: Stage, message: Message) -> OutgoingMessage:
    """Return what an honest publisher would sign of a message."""
    return OutgoingMessage(
        token=message.token,
        body=message.body,
        message_id=message.properties["message_id"],
        headers=message.headers,
        issuer=stage.scene.issuer.url,
        subject="ann",
        exchange="",
        routing_key=stage.queue,
    )
