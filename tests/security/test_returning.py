"""What comes back: parked and released, dead-lettered and sent again, moved, copied, made up.

Who carries these out can write into every queue, and has the public keys. They have no seal's key.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from busauth import (
    Bus,
    BusOptions,
    Caller,
    CallerError,
    ConsumerOptions,
    DeadLetter,
    Deferred,
    Grace,
    Guard,
    GuardOptions,
    Park,
    StaticKeys,
)
from busauth._amqp.headers import PROOF, TOKEN
from busauth._messages.first import HEADER as FIRST
from busauth._messages.first import read, written
from busauth._messages.seal import PURPOSE
from busauth._tokens.verifier import fingerprint
from busauth.caller import FirstToken
from busauth.letters import Redrive
from busauth.messages import (
    InProcessReplay,
    MessageSecurity,
    Original,
    OutgoingMessage,
    Properties,
    Standing,
    TrustedPublisher,
)
from busauth.tokens import (
    Decryption,
    KeptFor,
    KeyMissing,
    Session,
    Sessions,
    TokenEncryption,
    shared_encryption_key,
)
from tests.parties import DAY, SEAL, Scene
from tests.security.stage import ORDERS, WEB, Message, Stage, attack
from tests.support import LADDERS

KEY = shared_encryption_key(bytes(range(32)), key_id="redrive")
KEEPING = TokenEncryption({"redrive": KEY})
WIDE = "orders:write orders:refund"


class Revoked:
    """Knows tokens that were revoked, by their digests."""

    def __init__(self) -> None:
        self.digests: set[str] = set()

    def revoked(self, caller: Caller, now: float) -> bool:
        return caller.token_sha256 in self.digests


def parking(scene: Scene, **settings: Any) -> Stage:
    return Stage.set(scene, on_expired=Park(), **settings)


def redriving(stage: Stage) -> Redrive:
    guard = stage.bus.guard
    return Redrive(stage.scene.broker.url, guard=guard, queue=stage.queue, keys=Decryption([KEY]))


async def park(stage: Stage, *bodies: bytes, token: str | None = None) -> list[Message]:
    """Have messages parked, and take them out again, as who can read the queue may."""
    await stage.bus.declare()
    for body in bodies:
        await stage.publish(body, token=token or stage.token())
    await stage.scene.clock.advance(600)
    parked = f"{stage.queue}.parked"
    async with stage.bus:
        await stage.scene.broker.settles_at(parked, len(bodies))
    return [Message.of(each) for each in await stage.scene.broker.take(parked)]


async def release(stage: Stage, *messages: Message, **claims: Any) -> tuple[int, list[str]]:
    """Lay messages among the parked, and have them released; return how many went, and codes."""
    parked = f"{stage.queue}.parked"
    for message in messages:
        await stage.put(message, parked)
    await stage.scene.broker.settles_at(parked, len(messages))
    released = await stage.bus.release(stage.queue, stage.token(**claims))
    return len(released.sent), list(released.refused.values())


async def test_what_was_released_and_waited_goes_home(scene: Scene) -> None:
    """Its release's proof is stale by then: it is parked again, whole, and can be released anew."""
    stage = parking(scene)
    (waits,) = await park(stage, b"one")
    for count in (1, 2):
        assert await release(stage, waits, exp=scene.clock.now() + 9 * DAY) == (1, [])
        await scene.clock.advance(2 * DAY)
        async with stage.bus:
            *_, event = await scene.trail.until("returned", count=count)
        assert event.code == "proof.stale"
        waits = await stage.take(f"{stage.queue}.parked")
    assert await release(stage, waits) == (1, [])
    await stage.consume(handled=1, refused=0)


async def handled_once(stage: Stage, untampered: Message, *codes: str) -> None:
    """Consume what was released: the untampered message is handled, the others are refused."""
    await stage.consume(handled=1, refused=len(codes))
    assert stage.scene.codes() == list(codes)
    assert [body for _, body in stage.handled] == [untampered.body]


@attack("return-unauthorized")
async def test_what_a_token_may_not_do_is_not_parked(scene: Scene) -> None:
    """A late token without the scope waits for nobody: its message is a dead letter."""
    stage = parking(scene)
    await stage.bus.declare()
    narrow = scene.issuer.token("ann", scope="orders:read", client_id="kiosk")
    await stage.publish(b"not theirs to ask for", token=narrow)
    await scene.clock.advance(600)
    async with stage.bus:
        await scene.trail.until("refused")
    assert scene.codes() == ["caller.scope"]
    await scene.broker.settles_at(f"{stage.queue}.parked", 0)


@pytest.mark.parametrize(
    ("first", "fresh", "may_go_on"),
    [
        ({}, {}, True),
        ({"scope": WIDE}, {"scope": "orders:write"}, True),
        ({}, {"scope": WIDE}, False),
        ({}, {"client_id": "backoffice"}, False),
        ({}, {"act": {"sub": "robot"}}, False),
        ({}, {"aud": ["shop", "bank"]}, False),
    ],
)
@attack("return-wider")
async def test_a_fresh_token_widens_nothing(
    first: dict[str, Any], fresh: dict[str, Any], *, may_go_on: bool, scene: Scene
) -> None:
    """What is released may do what the first token allowed; a wider one cannot be sent on."""
    stage = parking(scene)
    seen: list[tuple[Caller, str]] = []
    queue = scene.broker.name("wider")

    @stage.bus.consumer(queue, scopes={"orders:write"})
    async def place(caller: Caller) -> None:
        try:
            seen.append((caller, caller.bearer()))
        except CallerError:
            seen.append((caller, ""))

    stage.queue = queue
    (parked,) = await park(stage, b"one", token=stage.token(**first))
    assert await release(stage, parked, **fresh) == (1, [])
    await stage.consume(handled=1, refused=0)
    ((caller, token),) = seen
    assert caller.scopes == {"orders:write"}
    assert bool(token) is may_go_on
    assert isinstance(caller.first, FirstToken)
    assert (caller.first.subject, caller.first.client) == (caller.subject, "shop-web")


@attack("return-retried")
async def test_a_retry_of_what_was_released_stays_narrow(scene: Scene) -> None:
    """The record of the first token travels on: a failed handler does not make it forgotten."""
    stage = parking(scene)
    seen: list[Caller] = []
    queue = scene.broker.name("failing")

    @stage.bus.consumer(queue, scopes={"orders:write"})
    async def place(caller: Caller) -> None:
        seen.append(caller)
        if len(seen) == 1:
            raise LookupError

    stage.queue = queue
    (parked,) = await park(stage, b"one")
    assert await release(stage, parked, scope=WIDE) == (1, [])
    async with stage.bus:
        await scene.trail.until("retried")
        await scene.clock.advance(60)
        await scene.trail.until("handled")
    assert [caller.scopes for caller in seen] == [{"orders:write"}] * 2
    assert seen[0].first == seen[1].first


@attack("return-revoked")
async def test_a_first_token_that_was_revoked(scene: Scene) -> None:
    """It is asked about at the release, and again when the message is handled."""
    revoked = Revoked()
    stage = parking(scene, guarded={"revocations": revoked})
    first = stage.token("ann")
    (parked,) = await park(stage, b"one", token=first)
    revoked.digests.add(fingerprint(first))
    assert await release(stage, parked) == (0, ["token.revoked"])
    revoked.digests.clear()
    await stage.bus.release(stage.queue, stage.token())
    revoked.digests.add(fingerprint(first))
    await stage.consume(handled=0, refused=1)
    assert scene.codes()[-1] == "token.revoked"
    assert stage.handled == []


@attack("return-handled")
async def test_a_handled_message_among_the_parked(scene: Scene) -> None:
    """Nothing shows that its consumer parked it: it stays there, and forwarded it is refused."""
    stage = parking(scene)
    tapped, _ = await stage.pair()
    await stage.put(tapped)
    await stage.consume(handled=1, refused=0)
    stage.handled.clear()
    named = tapped.having(
        authorization=None,
        busauth_issuer=scene.issuer.url,
        busauth_subject="ann",
        busauth_token_sha256=fingerprint(tapped.token),
    )
    (untampered,) = await park(stage, b"late")
    assert await release(stage, named, untampered) == (1, ["seal.missing"])
    names = ("busauth-seal", PURPOSE, FIRST, "busauth-redrive", "busauth-attempt")
    sealed = {name: untampered.headers[name] for name in names}
    record = read(untampered.headers[FIRST])
    assert record is not None
    claimed = written(record).replace(record.token_sha256, fingerprint(tapped.token))
    forged = Message(named.body, {**named.headers, **sealed, FIRST: claimed}, named.properties)
    await scene.broker.take(f"{stage.queue}.parked")
    assert await release(stage, forged) == (1, [])
    await handled_once(stage, untampered, "seal.missing", "seal.mac")


@attack("return-record")
async def test_a_record_that_was_widened(scene: Scene) -> None:
    """A parked message with more in its record than its first token allowed is refused."""
    stage = parking(scene)
    one, other = await park(stage, b"one", b"other")
    record = read(one.headers[FIRST])
    assert record is not None
    wider = written(record).replace('"orders:write"', '"orders:refund","orders:write"')
    tampered = Message(one.body, {**one.headers, FIRST: wider}, one.properties)
    assert await release(stage, tampered, other, scope=WIDE) == (2, [])
    await handled_once(stage, other, "seal.mac")


@attack("return-header")
async def test_a_parked_message_with_another_header(scene: Scene) -> None:
    """Its sender's headers are sealed, those too that no proof binds."""
    stage = parking(scene)
    one, other = await park(stage, b"one", b"other")
    assert await release(stage, one.having(priority_lane="yes"), other) == (2, [])
    await handled_once(stage, other, "seal.mac")


@attack("return-added")
@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_what_was_added_to_a_parked_message(scene: Scene) -> None:
    """Nobody's `x-...` header gets to the handler, nor under the seal of a copy."""
    got: list[set[str]] = []
    stage = parking(scene, handler=lambda message: got.append(set(message.headers)))
    (one,) = await park(stage, b"one")
    await stage.put(one.having(x_tenant="evil"))  # moved back by hand, it is sealed anew
    async with stage.bus:
        await scene.trail.until("returned")
    (home,) = await scene.broker.take(f"{stage.queue}.parked")
    assert "x-tenant" not in home.headers
    assert await release(stage, Message.of(home).having(X_Role="admin")) == (1, [])
    released = await stage.take()
    assert "X-Role" not in released.headers
    await stage.put(released.having(x_tenant="evil"))
    await stage.consume(handled=1, refused=0)
    assert {"x-tenant", "X-Role"}.isdisjoint(*got)


@attack("return-stripped")
async def test_a_released_message_without_its_seal(scene: Scene) -> None:
    """What a proof releases needs the seal that says what was parked."""
    stage = parking(scene)
    one, other = await park(stage, b"one", b"other")
    assert await release(stage, one, other) == (2, [])
    back = {each.body: Message.of(each) for each in await scene.broker.take(stage.queue)}
    kept = ("authorization", PROOF, "tenant")
    bare = {name: value for name, value in back[b"one"].headers.items() if name in kept}
    await stage.put(Message(b"one", bare, back[b"one"].properties))
    await stage.put(back[b"other"])
    await handled_once(stage, other, "seal.missing")


@attack("return-unreleased")
async def test_a_parked_message_with_a_fresh_token_and_no_release(scene: Scene) -> None:
    """A caller's own token on a parked message releases nothing: a release is signed."""
    stage = parking(scene)
    one, other = await park(stage, b"one", b"other")
    fresh = stage.token()
    forged = WEB.signer.sign(binding(stage, one, fresh, "ann"), scene.clock.now())
    await stage.put(one.having(authorization=f"Bearer {fresh}", **{PROOF: forged}))
    assert await release(stage, other) == (1, [])
    await handled_once(stage, other, "seal.purpose")


@attack("return-twice")
async def test_a_parked_message_that_was_doubled(scene: Scene) -> None:
    """One parking comes back once."""
    stage = parking(scene)
    one, other = await park(stage, b"one", b"other")
    assert await release(stage, one, one, other) == (3, [])
    await stage.consume(handled=2, refused=1)
    assert scene.codes() == ["replay.copy"]
    assert sorted(body for _, body in stage.handled) == [b"one", b"other"]


@attack("return-copied-late")
async def test_a_late_message_published_once_more(scene: Scene) -> None:
    """What is parked is known: a copy of it is not parked next to it."""
    stage = parking(scene)
    message, untampered = await stage.pair()
    await scene.clock.advance(600)
    await stage.put(message)
    await stage.put(message)
    async with stage.bus:
        await scene.trail.until("parked")
        await scene.trail.until("refused")
    assert scene.codes() == ["replay.copy"]
    await scene.broker.settles_at(f"{stage.queue}.parked", 1)
    await stage.bus.release(stage.queue, stage.token())
    await stage.put(untampered)
    async with stage.bus:
        await scene.trail.until("handled")
        await scene.trail.until("parked", count=2)
    assert [body for _, body in stage.handled] == [message.body]


@attack("return-settled")
@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_what_was_settled_is_put_away_no_more(scene: Scene) -> None:
    """Laid there again without its token, a released message is acknowledged and told."""
    stage = parking(scene)
    (one,) = await park(stage, b"one")
    assert await release(stage, one) == (1, [])
    released = await stage.take()
    await stage.put(released)
    await stage.consume(handled=1, refused=0)
    await stage.put(released.having(authorization=None))
    await stage.put(one)
    async with stage.bus:
        await scene.trail.until("duplicate", count=2)
    assert scene.codes("duplicate") == ["replay.duplicate"] * 2
    for place in ("", ".parked", ".dead", ".rejected"):
        await scene.broker.settles_at(f"{stage.queue}{place}", 0)


@attack("return-settled")
async def test_a_redriven_letter_is_put_away_no_more(scene: Scene) -> None:
    """What became of it since is the one letter that there is."""
    stage = Stage.set(scene, on_expired=DeadLetter(keep_token=KEEPING))
    await stage.bus.declare()
    await stage.publish(b"one")
    await scene.clock.advance(600)
    await stage.consume(handled=0, refused=1)
    assert len((await redriving(stage).letters()).sent) == 1
    redriven = await stage.take()
    await stage.put(redriven)
    await stage.consume(handled=0, refused=2)
    await stage.put(redriven.having(authorization=None))
    async with stage.bus:
        await scene.trail.until("duplicate")
    await scene.broker.settles_at(f"{stage.queue}.dead", 1)


@attack("return-letter-parked")
async def test_a_letter_among_the_parked(scene: Scene) -> None:
    """What was refused does not wait for its caller: it stays, and forged it is refused."""
    stage = parking(scene)
    (untampered,) = await park(stage, b"late")
    await stage.publish(b"refused", token=scene.issuer.token("ann", scope="orders:read"))
    await stage.consume(handled=0, refused=1)
    letter = Message.of(await scene.broker.one(f"{stage.queue}.dead"))
    assert await release(stage, letter, untampered, scope=WIDE) == (1, ["seal.purpose"])
    await scene.broker.take(f"{stage.queue}.parked")
    assert await release(stage, letter.having(**{PURPOSE: "parked"}), scope=WIDE) == (1, [])
    await handled_once(stage, untampered, "caller.scope", "seal.purpose", "seal.mac")


@attack("return-letter-made")
async def test_a_letter_made_of_a_handled_message(scene: Scene) -> None:
    """The key of kept tokens is public: a letter needs its consumer's seal all the same."""
    stage = Stage.set(scene, on_expired=DeadLetter(keep_token=KEEPING))
    tapped, untampered = await stage.pair()
    await stage.put(tapped)
    await stage.consume(handled=1, refused=0)
    stage.handled.clear()
    said = tapped.properties["message_id"]
    about = KeptFor(queue=stage.queue, message_id=said, body=tapped.body)
    kept = KEEPING.seal_for_redrive(tapped.token, about)
    made = tapped.having(authorization=None, **{TOKEN: kept})
    await stage.put(made, f"{stage.queue}.dead")
    await scene.broker.settles_at(f"{stage.queue}.dead", 1)
    redriven = await redriving(stage).letters()
    assert (redriven.sent, list(redriven.refused.values())) == ((), ["seal.missing"])
    forged = tapped.having(**{PURPOSE: "letter"}, busauth_redrive=1)
    await stage.put(forged)
    await stage.put(untampered)
    await handled_once(stage, untampered, "seal.missing", "seal.missing")


@attack("return-laundered")
async def test_a_copy_that_was_refused_is_not_sent_again(scene: Scene) -> None:
    """A handled message, published again once it is late, makes no letter that could come back."""
    stage = Stage.set(scene, on_expired=DeadLetter(keep_token=KEEPING))
    tapped, late = await stage.pair()
    await stage.put(tapped)
    await stage.consume(handled=1, refused=0)
    await scene.clock.advance(600)
    await stage.put(tapped)
    await stage.put(late)
    await stage.consume(handled=0, refused=2)
    assert sorted(filter(None, scene.codes())) == ["replay.copy", "token.expired"]
    await scene.broker.settles_at(f"{stage.queue}.dead", 2)
    redriven = await redriving(stage).letters()
    assert (len(redriven.sent), redriven.others, dict(redriven.refused)) == (1, 1, {})
    patient = Stage.set(
        scene,
        on_expired=Grace(hours=1),
        queue=stage.queue,
        replay=stage.bus.guard.messages.replay,
    )
    async with patient.bus:
        await scene.trail.until("handled", count=2)
    assert [body for _, body in patient.handled] == [late.body]


@attack("return-original")
async def test_a_release_under_the_proof_of_another_first_token(scene: Scene) -> None:
    """A service that may release cannot put one message's record on another's first proof."""
    stage = parking(scene)
    one, other = await park(stage, b"same", b"same")
    assert one.headers[FIRST] != other.headers[FIRST]
    fresh = stage.token()
    original = Original.of(other.headers[PROOF], other.headers["busauth-token-sha256"])
    said = binding(stage, one, fresh, "ann")
    proof = ORDERS.signer.sign(said, scene.clock.now(), original=original)
    await stage.put(one.having(authorization=f"Bearer {fresh}", **{PROOF: proof}))
    assert await release(stage, other) == (1, [])
    await handled_once(stage, other, "proof.original")


class Keys(StaticKeys):
    """A publisher's keys, which are out of reach for a while."""

    are_there = True

    def candidates(self, key_id: str | None, algorithm: str) -> Any:
        if not self.are_there:
            raise KeyMissing
        return super().candidates(key_id, algorithm)

    async def refresh(self) -> bool:
        if not self.are_there:
            raise Deferred("the keys are out of reach")
        return True


@attack("return-postponed")
async def test_a_parked_message_about_which_nothing_could_be_decided(scene: Scene) -> None:
    """Postponed while keys are out of reach, it stays what it was: no retry of its own."""
    keys = Keys(WEB.jwk)
    stage = parking(
        scene,
        publishers=(TrustedPublisher("web", keys), ORDERS.publisher(relays=True)),
        guarded={"options": GuardOptions(pause_first=1, pause_longest=2)},
    )
    one, other = await park(stage, b"one", b"other")
    fresh = stage.token("mallory")
    forged = WEB.signer.sign(binding(stage, one, fresh, "mallory"), scene.clock.now())
    keys.are_there = False
    await stage.put(one.having(authorization=f"Bearer {fresh}", **{PROOF: forged}))
    async with stage.bus:
        for count in range(1, 7):  # after some returns a copy waits instead
            await scene.trail.until("deferred", count=count)
            await scene.clock.advance(3)
        keys.are_there = True
        while not scene.codes():
            await scene.clock.advance(3)
            await asyncio.sleep(0)
    assert scene.codes() == ["seal.purpose"]
    assert await release(stage, other) == (1, [])
    await stage.consume(handled=1, refused=1)
    assert [body for _, body in stage.handled] == [other.body]


@pytest.mark.parametrize(
    ("later", "code"),
    [
        ({"sub": "guest", "scope": "read refund"}, None),
        ({"sub": "admin", "scope": "read refund"}, "seal.caller"),
    ],
)
@attack("return-reference")
async def test_a_reference_that_has_come_to_mean_more(
    later: dict[str, Any], code: str | None, scene: Scene
) -> None:
    """A session that grew, or became somebody else's, between a first try and its retry."""
    sessions = {"s.1": Session(claims={"sub": "guest", "scope": "read"}, ends_at=1e12)}

    class Store:
        async def find(self, session_id: str) -> Session | None:
            return sessions.get(session_id)

    trusted = Sessions(Store(), issuer="sessions", audience="shop", prefix="s.", clock=scene.clock)
    guard = Guard(
        trusted, clock=scene.clock, auditor=scene.trail, messages=MessageSecurity(seal=SEAL)
    )
    bus = Bus(scene.broker.url, guard=guard, service="t", options=BusOptions(retry=LADDERS[1]))
    queue = scene.broker.name("orders")
    seen: list[Caller] = []

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        seen.append(caller)
        if len(seen) == 1:
            sessions["s.1"] = Session(claims=later, ends_at=1e12)
            raise LookupError

    async with bus:
        await scene.broker.publish(queue, token="s.1")
        await scene.trail.until("retried")
        await scene.clock.advance(60)
        await scene.trail.until("handled" if code is None else "refused")
    assert scene.codes() == ([] if code is None else [code])
    assert {caller.subject for caller in seen} == {"guest"}
    assert all(caller.scopes == {"read"} for caller in seen)


@attack("return-renamed")
async def test_a_handled_message_under_the_queues_new_name(scene: Scene) -> None:
    """A queue that names its former ones knows what was handled under them."""
    stage = Stage.set(scene)
    tapped, _ = await stage.pair()
    await stage.put(tapped)
    await stage.consume(handled=1, refused=0)
    renamed = scene.broker.name("renamed")
    options = GuardOptions(consumers={renamed: ConsumerOptions(formerly=(stage.queue,))})
    memory = stage.bus.guard.messages.replay
    later = Stage.set(scene, queue=renamed, replay=memory, guarded={"options": options})
    await later.bus.declare()
    await later.put(tapped)
    await later.consume(handled=0, refused=1)
    assert (scene.codes(), later.handled) == (["replay.copy"], [])


@attack("return-unknown")
async def test_a_copy_about_which_the_memory_gave_no_answer(scene: Scene) -> None:
    """What could not be told from a copy makes no letter that comes back as new."""

    class Broken(InProcessReplay):
        is_broken = False

        async def begin(self, *args: Any, **named: Any) -> Standing:
            if self.is_broken:
                raise ValueError("out of order")
            return await super().begin(*args, **named)

    memory = Broken(keep_for=2 * DAY)
    stage = Stage.set(scene, replay=memory)
    tapped, _ = await stage.pair()
    await stage.put(tapped)
    await stage.consume(handled=1, refused=0)
    memory.is_broken = True
    await stage.put(tapped)
    await stage.consume(handled=1, refused=1)
    letter = Message.of(await scene.broker.one(f"{stage.queue}.dead"))
    assert "busauth-seal" not in letter.headers
    memory.is_broken = False
    await stage.put(letter.having(authorization=tapped.headers["authorization"]))
    await stage.consume(handled=1, refused=2)
    assert scene.codes() == ["check.failed", "replay.copy"]
    assert [body for _, body in stage.handled] == [tapped.body]


@attack("return-unasked")
async def test_a_released_message_to_a_consumer_that_asks_nothing(scene: Scene) -> None:
    """Whoever cannot narrow what comes back does not take it: a replica without a seal, say."""
    stage = parking(scene)
    (parked,) = await park(stage, b"one")
    assert await release(stage, parked, scope=WIDE) == (1, [])
    replica = scene.bus(MessageSecurity())
    handled: list[str] = []

    @replica.consumer(stage.queue)
    async def place(caller: Caller) -> None:
        handled.append(caller.subject)

    async with replica:
        await scene.trail.until("refused")
    assert (scene.codes(), handled) == (["seal.missing"], [])


def binding(stage: Stage, message: Message, token: str, subject: str) -> OutgoingMessage:
    """Return what a publisher says of a message, when it says that it is this caller's."""
    said = message.properties
    return OutgoingMessage(
        token=token,
        body=message.body,
        message_id=said["message_id"],
        properties=Properties(content_type=said.get("content_type")),
        headers={"tenant": "a"},
        issuer=stage.scene.issuer.url,
        subject=subject,
        exchange="",
        routing_key=stage.queue,
    )


async def letters(stage: Stage, *bodies: bytes) -> list[Message]:
    """Have messages dead-lettered, and take the letters out, as who can read them may."""
    await stage.bus.declare()
    for body in bodies:
        await stage.publish(body)
    await stage.scene.clock.advance(600)
    dead = f"{stage.queue}.dead"
    async with stage.bus:
        await stage.scene.broker.settles_at(dead, len(bodies))
    taken = [Message.of(each) for each in await stage.scene.broker.take(dead)]
    stage.scene.trail.events.clear()
    return taken


EDITS: dict[str, Callable[[Message, Message], Message]] = {
    "another body": lambda letter, other: replace(letter, body=other.body),
    "another reason": lambda letter, _: letter.having(busauth_refusal="caller.scope"),
    "another instant": lambda letter, _: letter.having(busauth_at="2020-01-01T00:00:00.000Z"),
    "another subject": lambda letter, _: letter.having(busauth_subject="eve"),
    "another first token": lambda letter, _: letter.having(busauth_first="{}"),
    "another digest": lambda letter, _: letter.having(busauth_token_sha256="0" * 64),
    "no digest": lambda letter, _: letter.having(busauth_token_sha256=None),
    "a count of returns": lambda letter, _: letter.having(busauth_returned=7),
    "parked": lambda letter, _: letter.having(busauth_purpose="parked"),
    "a retry": lambda letter, _: letter.having(busauth_purpose="retry"),
    "another's seal": lambda letter, o: letter.having(busauth_seal=o.headers["busauth-seal"]),
    "no seal": lambda letter, _: letter.having(busauth_seal=None),
    "an odd seal": lambda letter, _: letter.having(busauth_seal=7),
    "another id": lambda letter, _: letter.being(message_id="other"),
    "a header more": lambda letter, _: letter.having(tenant="b"),
}
"""What may be done to a letter, given another one."""


@attack("return-moved-edited")
async def test_a_letter_that_was_edited_is_no_letter(scene: Scene) -> None:
    """Whatever of it is another than the consumer wrote, it is a message without a token."""
    stage = Stage.set(scene)
    letter, other = await letters(stage, b"one", b"other")
    async with stage.bus:
        for edit in EDITS.values():
            await stage.put(edit(letter, other))
        await scene.trail.until("refused", count=len(EDITS))
    assert set(scene.trail.kinds()) == {"refused"}
    assert set(scene.codes()) == {"header.missing"}
    await scene.broker.settles_at(f"{stage.queue}.dead", 0)
    await scene.broker.settles_at(f"{stage.queue}.rejected", len(EDITS))


@attack("return-moved-elsewhere")
@pytest.mark.parametrize(
    "settings", [{}, {"seal": None, "replay": None}, {"seal": {"2026": bytes(range(9, 41))}}]
)
async def test_a_letter_of_another_consumers_is_no_letter(
    settings: dict[str, Any], scene: Scene
) -> None:
    """A queue of another name, a consumer without a key, and one with another, refuse it."""
    one = Stage.set(scene)
    (letter,) = await letters(one, b"one")
    queue = one.queue if settings else scene.broker.name("another")
    another = Stage.set(scene, queue=queue, **settings)
    await another.bus.declare()
    await another.put(letter)
    await another.consume(handled=0, refused=1)
    assert scene.codes() == ["header.missing"]
    await scene.broker.settles_at(f"{another.queue}.dead", 0)


@attack("return-moved-made")
async def test_who_may_only_write_fills_no_dead_letters(scene: Scene) -> None:
    """What is made up to look like letters goes where the oldest are dropped, each of it."""
    stage = parking(scene)
    await stage.bus.declare()
    made = {
        "busauth-refusal": "token.expired",
        "busauth-purpose": "letter",
        "busauth-redrive": 1,
        "busauth-seal": f"2.2026.{'A' * 43}",
    }
    async with stage.bus:
        for purpose in 10 * ("letter", "parked"):
            await stage.put(Message(b"x", {**made, "busauth-purpose": purpose}))
        await scene.trail.until("refused", count=20)
    assert set(scene.codes()) == {"header.missing"}
    for place, count in {"dead": 0, "parked": 0, "rejected": 20}.items():
        await scene.broker.settles_at(f"{stage.queue}.{place}", count)


@attack("return-moved-copied")
async def test_a_letter_that_was_copied_hides_and_runs_nothing(scene: Scene) -> None:
    """Copies of a letter lie beside it, unchanged but for their count; no handler runs by them."""
    stage = Stage.set(scene)
    (letter,) = await letters(stage, b"one")
    await stage.put(letter, f"{stage.queue}.dead")
    async with stage.bus:
        for _ in range(3):
            await stage.put(letter)
        await scene.trail.until("returned", count=3)
    found = [Message.of(each) for each in await scene.broker.take(f"{stage.queue}.dead")]
    assert sorted(each.headers.get("busauth-returned", 0) for each in found) == [0, 1, 1, 1]
    assert {each.headers["busauth-subject"] for each in found} == {"ann"}
    assert stage.handled == []
