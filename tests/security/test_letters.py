"""What letters keep: opened by their consumer alone, and of use on their own letter alone.

Who attacks can write into every queue, and has the public half of the consumer's key.
"""

import asyncio
import json
from typing import Any

import aio_pika
import pytest

from busauth import Caller, DeadLetter, Grace, GuardOptions, Park, Refused
from busauth._amqp.headers import BY, LETTER, PROOF, STORY, TOKEN
from busauth._messages.story import Story, read
from busauth._tokens.keys.signing import b64url
from busauth.delegation import Exchange
from busauth.letters import FreshToken, KeptToken, Letters, Redrive
from busauth.messages import InProcessReplay, ProofDemand, Proofs, TrustedPublisher
from busauth.tokens import Decryption, KeptFor, TokenEncryption
from tests.exchanging import Exchanging
from tests.parties import DAY, Scene, security
from tests.security.stage import ORDERS, WEB, Message, Stage, attack
from tests.security.test_returning import Keys
from tests.unit.encrypting import private_jwk

KEY = private_jwk("p256", "letters-1")
LETTERS = Letters(keep_token=KEY)


class Failing:
    """A handler that fails so many times.

    Attributes:
        left: how many more.
    """

    def __init__(self, left: int = 1) -> None:
        self.left = left

    def __call__(self, _message: object) -> None:
        if self.left:
            self.left -= 1
            raise LookupError


def stage_of(scene: Scene, **settings: Any) -> Stage:
    """Return a consumer whose letters keep their tokens for it."""
    guarded = {"letters": LETTERS, **settings.pop("guarded", {})}
    return Stage.set(scene, guarded=guarded, **settings)


def unproven(scene: Scene, *, queue: str | None = None, **guarded: Any) -> Stage:
    """Return one that looks at no proofs."""
    queue = queue or scene.broker.name("unproven")
    bus = scene.bus(security(), letters=LETTERS, **guarded)
    stage = Stage(scene, queue, bus)

    @bus.consumer(queue, scopes={"orders:write"})
    async def place(caller: Caller, body: bytes) -> None:
        stage.handled.append((caller.subject, body))

    return stage


def redrive(stage: Stage, **said: Any) -> Redrive:
    """Return who sends again, and holds no key of anybody's."""
    guard = stage.bus.guard
    return Redrive(stage.scene.broker.url, guard=guard, queue=stage.queue, **said)


async def expired(stage: Stage, *bodies: bytes, token: str | None = None) -> list[Message]:
    """Have messages refused as late, and take their letters out."""
    await stage.bus.declare()
    for body in bodies:
        await stage.publish(body, token=token or stage.token())
    await stage.scene.clock.advance(600)
    await stage.consume(handled=0, refused=len(bodies))
    stage.scene.trail.events.clear()
    dead = f"{stage.queue}.dead"
    await stage.scene.broker.settles_at(dead, len(bodies))
    return [Message.of(each) for each in await stage.scene.broker.take(dead)]


def forwarded(letter: Message, kept: str | None = None) -> Message:
    """Return a letter as a redrive forwards it."""
    token = kept or letter.headers[TOKEN]
    return letter.having(authorization=f"Bearer {token}", busauth_token=None)


def told(letter: Message) -> Story:
    return read(letter.headers[STORY])


async def test_a_letter_goes_again_unopened(scene: Scene) -> None:
    """Who redrives holds no key: the consumer opens what was kept, also once that is retried."""
    stage = stage_of(scene, handler=Failing(5))
    await stage.bus.declare()
    token = stage.token()
    await stage.publish(b"one", token=token)
    async with stage.bus:
        for attempt in range(1, 4):
            await scene.trail.until("retried", count=attempt)
            await scene.clock.advance(60)
        await scene.trail.until("refused")
    sent = await redrive(stage, by="ops@shop").letters()
    assert (len(sent.sent), dict(sent.refused)) == (1, {})
    again = await stage.take()
    assert again.token.count(".") == 4
    assert token not in repr(again.headers)
    assert (TOKEN in again.headers, again.headers[BY]) == (False, "ops@shop")
    await stage.put(again)
    async with stage.bus:
        await scene.trail.until("retried", count=4)
        await scene.clock.advance(60)
        await scene.trail.until("handled")
    assert stage.handled == [("ann", b"one")]


async def test_a_letter_again_is_the_same_letter(scene: Scene) -> None:
    """Refused once more it keeps its id and its token, and its story tells who had sent it."""
    stage = stage_of(scene, handler=Failing(5))
    (letter,) = await expired(stage, b"one")
    await stage.put(letter, f"{stage.queue}.dead")
    assert len((await redrive(stage, by="ann@desk").letters()).sent) == 1
    await stage.consume(handled=0, refused=1)
    again = await stage.take(f"{stage.queue}.dead")
    assert again.headers[LETTER] == letter.headers[LETTER]
    assert again.headers[TOKEN] != letter.headers[TOKEN]
    assert [(each.code, each.by, each.authority) for each in told(again)] == [
        ("token.expired", None, None),
        ("token.expired", "ann@desk", "kept"),
    ]
    assert told(again)[0] == told(letter)[0]


async def test_a_retry_does_not_forget_who_sent_it_again(scene: Scene) -> None:
    """What was redriven and fails for good says so in its next chapter, at its last attempt."""
    stage = unproven(scene, on_expired=Grace(hours=1))
    queue = stage.queue = scene.broker.name("failing")

    @stage.bus.consumer(queue)
    async def fail(caller: Caller) -> None:
        raise LookupError

    await stage.bus.declare()
    await stage.publish(b"one")
    for refused in (1, 2):
        async with stage.bus:
            for attempt in range(1, 4):
                await scene.trail.until("retried", count=attempt + 3 * (refused - 1))
                await scene.clock.advance(60)
            await scene.trail.until("refused", count=refused)
        assert len((await redrive(stage, by="ops").letters()).sent) == 1
    chapters = told(await stage.take())
    assert [(each.code, each.attempt, each.by, each.authority) for each in chapters] == [
        ("handler.failed", 4, None, None),
        ("handler.failed", 4, "ops", "kept"),
    ]


async def test_the_rejected_keep_theirs_too(scene: Scene) -> None:
    """What was refused for its audience goes again, and its consumer decides by its settings."""
    stage = stage_of(scene)
    await stage.bus.declare()
    await stage.publish(b"one", token=stage.token(aud="bank"))
    await stage.consume(handled=0, refused=1)
    sent = await redrive(stage, rejected=True).letters()
    assert (len(sent.sent), dict(sent.refused)) == (1, {})
    await stage.consume(handled=0, refused=2)
    again = await stage.take(f"{stage.queue}.rejected")
    assert [each.authority for each in told(again)] == [None, "kept"]


async def test_a_kept_token_counts_as_encrypted(scene: Scene) -> None:
    """Where tokens have to travel encrypted, a letter's does."""
    other = private_jwk("p256", "travelling")
    stage = stage_of(scene, decryption=Decryption(other), on_expired=Grace(minutes=5))
    await stage.bus.declare()
    message = aio_pika.Message(b"one", headers={"tenant": "a"})
    async with scene.publishing(WEB, encryption=TokenEncryption({"shop": other})) as publishing:
        await publishing.publish(stage.queue, message, token=stage.token(scope="none"))
    await stage.consume(handled=0, refused=1)
    assert len((await redrive(stage).letters()).sent) == 1
    await stage.consume(handled=0, refused=2)
    assert scene.codes() == ["caller.scope", "caller.scope"]


async def test_a_letter_whose_key_is_gone_goes_home(scene: Scene) -> None:
    """Its consumer cannot open it any more: it stays a letter, with what it kept."""
    stage = stage_of(scene)
    (letter,) = await expired(stage, b"one")
    rotated = stage_of(
        scene, queue=stage.queue, guarded={"letters": Letters(keep_token=private_jwk("p384"))}
    )
    await stage.put(forwarded(letter))
    async with rotated.bus:
        (event,) = await scene.trail.until("returned")
    home = await stage.take(f"{stage.queue}.dead")
    assert event.code == "token.kept"
    assert (home.headers[TOKEN], "authorization" in home.headers) == (letter.headers[TOKEN], False)
    await stage.put(home, f"{stage.queue}.dead")
    assert len((await redrive(stage).letters()).sent) == 1
    await stage.consume(handled=0, refused=1)
    assert scene.codes() == ["token.expired"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"body": b"pay"}, "token.encryption_moved", marks=attack("kept-edited")),
        pytest.param({"subject": "bob"}, "seal.mac", marks=attack("kept-edited")),
        pytest.param({"story": "[]"}, "seal.mac", marks=attack("story-forged")),
        pytest.param({"letter": "0" * 32}, "seal.mac", marks=attack("story-forged")),
        pytest.param({"purpose": None}, "token.kept", marks=attack("kept-never-waited")),
        pytest.param({"seal": None}, "seal.missing", marks=attack("kept-never-waited")),
    ],
)
async def test_a_letter_that_was_edited(change: dict[str, Any], code: str, scene: Scene) -> None:
    """What was kept opens for its letter alone, and that is its consumer's word alone."""
    stage = unproven(scene)
    one, other = await expired(stage, b"one", b"other")
    edited = forwarded(one)
    for name, value in change.items():
        if name == "body":
            edited = Message(value, edited.headers, edited.properties)
        else:
            edited = edited.having(**{f"busauth_{name}": value})
    await stage.put(edited)
    await stage.put(forwarded(other))
    await stage.consume(handled=0, refused=2)
    assert scene.codes() == [code, "token.expired"]


@attack("kept-other-letter")
async def test_a_kept_token_on_another_letter(scene: Scene) -> None:
    """It is bound to its letter; of two that look alike, the seal tells whose each was."""
    stage = unproven(scene)
    one, other = await expired(stage, b"one", b"other")
    await stage.put(forwarded(one, kept=other.headers[TOKEN]))
    await stage.put(forwarded(other))
    await stage.consume(handled=0, refused=2)
    assert scene.codes() == ["token.encryption_moved", "token.expired"]


@attack("kept-other-letter")
async def test_a_kept_token_that_somebody_made(scene: Scene) -> None:
    """The key is public: with a token that was stolen, a letter is still its consumer's word."""
    stage = unproven(scene)
    one, other = await expired(stage, b"one", b"other")
    message_id = one.properties["message_id"]
    about = KeptFor(queue=stage.queue, message_id=message_id, body=one.body)
    public = TokenEncryption({"letters": KEY})
    for subject in ("ann", "bob"):
        made = public.seal_for_redrive(stage.token(subject), about)
        await stage.put(forwarded(one, kept=made))
    await stage.put(forwarded(other))
    await stage.consume(handled=0, refused=3)
    assert sorted(map(str, scene.codes())) == ["seal.mac", "seal.mac", "token.expired"]


@attack("kept-parked")
async def test_the_kept_token_of_a_parked_message(scene: Scene) -> None:
    """What waits for its caller does not go by what it kept."""
    stage = stage_of(scene, on_expired=Park())
    await stage.bus.declare()
    await stage.publish(b"one")
    await scene.clock.advance(600)
    async with stage.bus:
        await scene.trail.until("parked")
    parked = await stage.take(f"{stage.queue}.parked")
    await stage.put(parked, f"{stage.queue}.dead")
    sent = await redrive(stage).letters()
    assert list(sent.refused.values()) == ["seal.purpose"]
    await stage.put(forwarded(parked))
    await stage.consume(handled=0, refused=1)
    assert scene.codes()[-1] == "seal.purpose"


@attack("redrive-copied")
async def test_a_second_copy_of_one_redrive(scene: Scene) -> None:
    """A memory knows each redrive by its letter, where nobody proved who published it, too."""
    proofs = Proofs([WEB.publisher()], demand=ProofDemand.IF_PRESENT, max_age=DAY)
    replay = InProcessReplay(keep_for=proofs.remember_for)
    stage = stage_of(scene, proofs=proofs, replay=replay, on_expired=DeadLetter())
    await stage.bus.declare()
    message = aio_pika.Message(b"one", message_id="m")
    async with scene.bus(security()) as publishing:
        await publishing.publish(stage.queue, message, token=stage.token(scope="none"))
    await stage.consume(handled=0, refused=1)
    await redrive(stage).letters()
    again = await stage.take()
    assert PROOF not in again.headers
    for _ in range(2):
        await stage.put(again)
    await stage.consume(handled=0, refused=3)
    assert scene.codes() == ["caller.scope", "caller.scope", "replay.copy"]
    left = await scene.broker.take(f"{stage.queue}.dead")
    assert sorted(TOKEN in each.headers for each in left) == [False, True]


@pytest.mark.parametrize("is_proven", [True, False])
async def test_a_letter_goes_again_by_a_fresh_token(scene: Scene, *, is_proven: bool) -> None:
    """It is its caller's, and narrowed to what the first token allowed, as a release is."""
    stage = stage_of(scene) if is_proven else unproven(scene)
    (letter,) = await expired(stage, b"one")
    dead = f"{stage.queue}.dead"
    await stage.put(letter.having(busauth_token=None), dead)
    wide = stage.token(scope="orders:write orders:refund")
    sent = await redrive(stage, authority=FreshToken(wide), by="ann").letters()
    assert (len(sent.sent), dict(sent.refused)) == (1, {})
    await stage.consume(handled=1, refused=0)
    assert stage.handled == [("ann", b"one")]


class Stolen:
    """Knows which tokens were revoked, by `jti`."""

    def __init__(self) -> None:
        self.ids: set[str | None] = set()

    def revoked(self, caller: Caller, now: float) -> bool:
        return caller.token_id in self.ids


async def test_a_fresh_token_that_was_exchanged_and_is_revoked_meanwhile(scene: Scene) -> None:
    """Three tokens are in it by then, and whichever is revoked, the handler's is worth nothing."""
    stolen, codes, fresh = Stolen(), [], scene.issuer.token("ann", scope="orders:write", jti="own")
    queue, policy = scene.broker.name("late"), Exchange(Exchanging(scene.issuer), late=True)
    bus = scene.bus(security(), on_expired=policy, revocations=stolen)
    failing = Failing(4)

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        failing(caller)
        assert await caller.fresh() == caller.bearer()
        assert caller.first is not None
        for token_id in (caller.first.token_id, "own", caller.token_id):
            stolen.ids = {token_id}
            with pytest.raises(Refused) as refused:
                await caller.fresh()
            codes.append(refused.value.code)
        stolen.ids = set()

    await bus.declare()
    await scene.broker.publish(queue, token=scene.issuer.token("ann", scope="orders:write"))
    async with bus:
        for attempt in range(1, 4):
            await scene.trail.until("retried", count=attempt)
            await scene.clock.advance(10)
        await scene.trail.until("refused")
    again = Redrive(scene.broker.url, guard=bus.guard, queue=queue, authority=FreshToken(fresh))
    assert len((await again.letters()).sent) == 1
    await scene.clock.advance(600)
    async with bus:
        await scene.trail.until("handled")
    assert codes == ["token.revoked"] * 3


@pytest.mark.parametrize("is_proven", [True, False])
@attack("fresh-other-caller")
async def test_a_letter_is_nobody_elses(scene: Scene, *, is_proven: bool) -> None:
    """Another caller's fresh token moves no letter, and put on one by hand, it is refused."""
    stage = stage_of(scene) if is_proven else unproven(scene)
    (letter,) = await expired(stage, b"one")
    await stage.put(letter, f"{stage.queue}.dead")
    bob = stage.token("bob")
    sent = await redrive(stage, authority=FreshToken(bob)).letters()
    assert (sent.sent, sent.others) == ((), 1)
    await stage.put(letter.having(authorization=f"Bearer {bob}"))
    await stage.consume(handled=0, refused=1)
    assert scene.codes() == ["proof.token" if is_proven else "seal.caller"]
    await stage.put(letter.having(busauth_subject="bob"), f"{stage.queue}.dead")


@attack("fresh-rejected")
async def test_a_rejected_letter_with_a_fresh_token(scene: Scene) -> None:
    """Nobody knows whose its first token was: it goes by what it kept, or not at all."""
    stage = unproven(scene)
    await stage.bus.declare()
    await stage.publish(b"one", token=stage.token(aud="bank"))
    await stage.consume(handled=0, refused=1)
    letter = await stage.take(f"{stage.queue}.rejected")
    await stage.put(letter.having(authorization=f"Bearer {stage.token()}", busauth_token=None))
    await stage.consume(handled=0, refused=2)
    assert scene.codes() == ["token.audience", "seal.caller"]


async def test_a_letter_for_a_redrives_own_key_goes_as_before(scene: Scene) -> None:
    """A policy's key counts above the consumer's; who has it opens what that policy refused."""
    own = private_jwk("p384", "redrive")
    policy = DeadLetter(keep_token=TokenEncryption({"redrive": own}))
    stage = stage_of(scene, on_expired=policy, publishers=(WEB.publisher(), ORDERS.publisher()))
    (letter,) = await expired(stage, b"one")
    await stage.put(letter, f"{stage.queue}.dead")
    sent = await redrive(stage, authority=KeptToken(Decryption(own))).letters()
    assert len(sent.sent) == 1
    assert (await stage.take()).token.count(".") == 2


async def test_a_kept_token_for_no_key_that_could_be(scene: Scene) -> None:
    """One that somebody laid there, for a key without a name, holds up nobody else's letter."""
    own = private_jwk("p384", "redrive")
    policy = DeadLetter(keep_token=TokenEncryption({"redrive": own}))
    stage = stage_of(scene, on_expired=policy)
    (letter,) = await expired(stage, b"one")
    _, *rest = letter.headers[TOKEN].split(".")
    said = {"alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT", "typ": "busauth-kept+jwt", "kid": []}
    about = KeptFor(queue=stage.queue, message_id=letter.properties["message_id"], body=b"one")
    head = b64url(json.dumps(said | about.members()).encode()).decode("ascii")
    made = letter.having(busauth_token=".".join([head, *rest]), busauth_letter="0" * 32)
    for each in (made, letter):
        await stage.put(each, f"{stage.queue}.dead")
    sent = await redrive(stage, authority=KeptToken(Decryption(own))).letters()
    assert (len(sent.sent), dict(sent.refused)) == (2, {})


@pytest.mark.parametrize("is_fresh", [True, False])
@attack("letter-postponed")
async def test_a_letter_about_which_nothing_could_be_decided(
    scene: Scene, *, is_fresh: bool
) -> None:
    """Postponed while keys are out of reach, it stays the letter that it is, and nobody else's."""
    keys = Keys(WEB.jwk)
    stage = stage_of(
        scene,
        publishers=(TrustedPublisher("web", keys), ORDERS.publisher(relays=True)),
        guarded={"options": GuardOptions(pause_first=1, pause_longest=2)},
    )
    (letter,) = await expired(stage, b"one")
    await stage.put(letter, f"{stage.queue}.dead")
    lasting = stage.token(exp=scene.clock.now() + DAY)
    authority = FreshToken(lasting) if is_fresh else KeptToken()
    assert len((await redrive(stage, authority=authority, by="ops").letters()).sent) == 1
    keys.are_there = False
    async with stage.bus:
        for count in range(1, 7):  # after some returns a copy waits instead
            await scene.trail.until("deferred", count=count)
            await scene.clock.advance(3)
        keys.are_there = True
        while not {"handled", "refused"} & set(scene.trail.kinds()):
            await scene.clock.advance(3)
            await asyncio.sleep(0)
    if is_fresh:
        assert stage.handled == [("ann", b"one")]
        return
    (again,) = await scene.broker.take(f"{stage.queue}.dead")
    assert [(each.by, each.authority) for each in told(Message.of(again))][1:] == [("ops", "kept")]


async def test_a_letter_that_waited_for_longer_than_its_proof_counts(scene: Scene) -> None:
    """Sent again with a proof that is stale by now, it goes home whole, and can go by another."""
    stage = stage_of(scene)
    (letter,) = await expired(stage, b"one")
    await stage.put(letter, f"{stage.queue}.dead")
    await scene.clock.advance(2 * DAY)
    assert len((await redrive(stage).letters()).sent) == 1
    async with stage.bus:
        (event,) = await scene.trail.until("returned")
    assert event.code == "proof.stale"
    home = await stage.take(f"{stage.queue}.dead")
    assert home.headers[TOKEN] == letter.headers[TOKEN]
    await stage.put(home, f"{stage.queue}.dead")
    assert len((await redrive(stage, authority=FreshToken(stage.token())).letters()).sent) == 1
    await stage.consume(handled=1, refused=0)


@pytest.mark.parametrize("is_fresh", [True, False])
async def test_a_letter_whose_issuers_key_is_gone(scene: Scene, *, is_fresh: bool) -> None:
    """Genuine when it was put away, by a token that nothing proves any more: it goes home whole."""
    stage = unproven(scene)
    (letter,) = await expired(stage, b"one")
    await stage.put(letter, f"{stage.queue}.dead")
    authority = FreshToken(stage.token()) if is_fresh else KeptToken()
    assert len((await redrive(stage, authority=authority).letters()).sent) == 1
    scene.issuer.rotate(retire=True)
    rotated = unproven(scene, queue=stage.queue)
    async with rotated.bus:
        (event,) = await scene.trail.until("returned")
    assert event.code == "token.key_unknown"
    home = await stage.take(f"{stage.queue}.dead")
    assert is_fresh or home.headers[TOKEN] == letter.headers[TOKEN]
    await stage.put(home, f"{stage.queue}.dead")
    fresh = FreshToken(rotated.token())
    assert len((await redrive(rotated, authority=fresh).letters()).sent) == 1
    await rotated.consume(handled=1, refused=0)


async def test_a_letter_before_a_consumer_that_expects_another_audience(scene: Scene) -> None:
    """Wrong settings cost no letter that goes by a fresh token: it goes home, and goes again."""
    stage = unproven(scene)
    (letter,) = await expired(stage, b"one")
    await stage.put(letter, f"{stage.queue}.dead")
    fresh = FreshToken(stage.token())
    assert len((await redrive(stage, authority=fresh).letters()).sent) == 1
    audience, scene.issuer.audience = scene.issuer.audience, "bank"
    wrong = unproven(scene, queue=stage.queue)
    scene.issuer.audience = audience
    async with wrong.bus:
        (event,) = await scene.trail.until("returned")
    assert event.code == "token.audience"
    assert len((await redrive(stage, authority=fresh).letters()).sent) == 1
    await stage.consume(handled=1, refused=0)
