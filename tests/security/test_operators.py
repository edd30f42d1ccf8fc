"""An operator has a dead letter sent again whose token is gone: what does not suffice for that.

Who carries these out can write into every queue. They have no seal's key and no desk's.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage
from cryptography.hazmat.primitives.asymmetric import ed25519
from starlette.applications import Starlette

from busauth import Caller, CallerError, DeadLetter, Deferred, Park, StaticKeys
from busauth._amqp import headers
from busauth._messages.first import HEADER as FIRST
from busauth._messages.first import read, written
from busauth._tokens.verifier import fingerprint
from busauth.delegation import Actors
from busauth.expiry import Policies
from busauth.integrations.desk import statements
from busauth.letters import (
    Desk,
    FreshToken,
    Operators,
    OperatorToken,
    Redrive,
    StatedLetter,
    StatementSigner,
    TrustedDesk,
)
from busauth.messages import Accepted, Received
from busauth.testing import Issuer
from busauth.tokens import Key, KeyMissing, TokenEncryption, shared_encryption_key
from tests.integration.test_served_edges import served
from tests.parties import DAY, Scene
from tests.security.stage import Message, Stage, attack
from tests.security.test_letters import LETTERS, redrive
from tests.support import guard_for

DESK, OTHER = (
    StatementSigner("ops-desk", ed25519.Ed25519PrivateKey.generate(), algorithm="EdDSA")
    for _ in range(2)
)
KEY = shared_encryption_key(bytes(range(32)), key_id="redrive")
KEEPING = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))
OPERATORS = Operators(
    desks=[TrustedDesk(name="ops-desk", keys=StaticKeys(DESK.verification_jwk()))],
    issuers={"https://ops.example"},
)


class Revoked:
    """Knows tokens that were revoked, by their digests."""

    def __init__(self) -> None:
        self.digests: set[str] = set()
        self.is_away = False

    def revoked(self, caller: Caller, now: float) -> bool:
        if self.is_away:
            raise Deferred("who knows of revocations is away")
        return caller.token_sha256 in self.digests


class Away:
    """Keys that are out of reach until they are there."""

    def __init__(self, keys: StaticKeys) -> None:
        self._keys = keys
        self.is_there = self.is_removed = False
        self.epoch = 0

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        if self.is_removed:
            return ()
        if not self.is_there:
            raise KeyMissing("none yet")
        return self._keys.candidates(key_id, algorithm)

    async def refresh(self) -> bool:
        if not self.is_there:
            raise Deferred("the desk is out of reach")
        return True


@dataclass
class Office:
    """A stage with a desk beside it.

    Attributes:
        stage: the consumer's.
        ops: issues operators' tokens.
        desk: who verifies them.
        revoked: whom nobody believes any more.
        failing: how often the handler fails before it does its work.
        callers, seen: as whom the handler ran, and on which messages.
        refused: why it could not publish in their name.
    """

    stage: Stage
    ops: Issuer
    desk: Desk
    revoked: Revoked
    failing: int
    callers: list[Caller] = field(default_factory=list)
    seen: list[Message] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        scene: Scene,
        *,
        signer: StatementSigner = DESK,
        operators: Operators | None = OPERATORS,
        failing: int = 0,
        on_expired: Policies | None = None,
        allow: Callable[[Caller], bool] | None = None,
        actors: Actors | None = None,
        **guarding: Any,
    ) -> "Office":
        revoked = Revoked()
        guarded: Mapping[str, Any] = {"revocations": revoked, **guarding}
        stage = Stage.set(scene, on_expired=on_expired or DeadLetter(), guarded=guarded)
        ops = Issuer("https://ops.example", audience="desk", clock=scene.clock)
        desk = Desk(guard_for(ops, scene.trail, clock=scene.clock, revocations=revoked), signer)
        office = cls(stage, ops, desk, revoked, failing)
        office._consume(operators, allow, actors)
        return office

    def _consume(
        self,
        operators: Operators | None,
        allow: Callable[[Caller], bool] | None,
        actors: Actors | None,
    ) -> None:
        self.stage.queue = self.stage.scene.broker.name("letters")
        asked: dict[str, Any] = {"allow": allow, "actors": actors, "on_redrive": operators}

        @self.stage.bus.consumer(self.stage.queue, scopes={"orders:write"}, **asked)
        async def place(message: AbstractIncomingMessage, caller: Caller) -> None:
            self.callers.append(caller)
            self.seen.append(Message.of(message))
            if caller.late is not None:
                with pytest.raises(CallerError) as caught:
                    await self.stage.bus.publish("elsewhere", b"")
                self.refused.append(str(caught.value).split(", and")[0])
            if len(self.callers) <= self.failing:
                raise LookupError
            self.stage.handled.append((caller.subject, message.body))

    def token(self, scope: str = "letters:redrive", **claims: Any) -> str:
        return self.ops.token("olga", scope=scope, **claims)

    async def letters(self, *bodies: bytes, token: str | None = None) -> list[Message]:
        """Have late messages dead-lettered, and take their letters out."""
        await self.stage.bus.declare()
        for body in bodies:
            await self.stage.publish(body, token=token)
        await self.stage.scene.clock.advance(600)
        dead = f"{self.stage.queue}.dead"
        async with self.stage.bus:
            await self.stage.scene.broker.settles_at(dead, len(bodies))
        self.stage.scene.trail.events.clear()
        return [Message.of(each) for each in await self.stage.scene.broker.take(dead)]

    async def state(self, letter: Message, *, queue: str | None = None, **claims: Any) -> Message:
        """Return a letter as an operator has it sent again: what a redrive publishes."""
        said = StatedLetter.of(letter.headers, letter.body, queue or self.stage.queue)
        (statement,) = await self.desk.state(self.token(**claims), [said])
        return letter.having(**{headers.STATEMENT: statement})

    async def consume(self, *messages: Message, until: str, code: str | None = None) -> None:
        """Have messages consumed, and see what has become of the last one."""
        for message in messages:
            await self.stage.put(message)
        async with self.stage.bus:
            (*_, event) = await self.stage.scene.trail.until(until)
            await self.stage.scene.broker.settles_at(self.stage.queue, 0)
        assert event.code == code

    async def goes_home(self, letter: Message, code: str) -> None:
        """It is not handled, and lies where it was, unchanged but for how often it came back."""
        await self.consume(letter, until="returned", code=code)
        assert self.stage.handled == []
        home = await self.stage.take(f"{self.stage.queue}.dead")
        assert told(home) == told(letter)
        assert home.headers[headers.RETURNED] == 1
        assert (home.body, home.properties) == (letter.body, letter.properties)


def told(message: Message) -> dict[str, Any]:
    changing = (headers.RETURNED, headers.SEAL, headers.STATEMENT)
    return {name: value for name, value in message.headers.items() if name not in changing}


@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_an_operator_has_a_letter_sent_again(scene: Scene) -> None:
    """The handler sees the caller, by whom, and since when; and their token goes nowhere."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    stage = office.stage
    await stage.put(letter, f"{stage.queue}.dead")
    await scene.broker.settles_at(f"{stage.queue}.dead", 1)
    async with served(Starlette(routes=[statements(office.desk)])) as address:
        operator = OperatorToken(office.token(), desk=f"http://{address}")
        guard, url = stage.bus.guard, scene.broker.url
        redrive = Redrive(url, guard=guard, queue=stage.queue, authority=operator)
        assert len((await redrive.letters()).sent) == 1
    await office.consume(until="handled")
    (caller,) = office.callers
    assert (caller.issuer, caller.subject) == (scene.issuer.url, "ann")
    assert caller.scopes == {"orders:write"}
    assert [actor.subject for actor in caller.actors] == ["olga"]
    assert caller.late is not None
    assert caller.late.policy == "Operators"
    assert office.refused == [
        "the caller's token cannot be used: an operator had this message sent again"
    ]
    accepted = next(each for each in scene.trail.events if each.kind == "accepted-late")
    assert accepted.detail == "by operator olga of https://ops.example"
    stated = next(each for each in scene.trail.events if each.kind == "stated")
    assert (stated.queue, stated.subject) == (stage.queue, "olga")


@attack("redrive-unsaid")
async def test_a_consumer_that_takes_no_operators(scene: Scene) -> None:
    """A statement is nothing to who has not said that it takes one: the letter goes back."""
    office = Office.open(scene, operators=None)
    (letter,) = await office.letters(b"one")
    await office.goes_home(await office.state(letter), "redrive.not_taken")


@attack("redrive-record")
async def test_a_record_that_was_forged(scene: Scene) -> None:
    """Another caller in the record is no letter of this consumer's any more."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    record = read(letter.headers[FIRST])
    assert record is not None
    forged = letter.having(**{FIRST: written(record).replace('"ann"', '"eve"')})
    await office.consume(await office.state(forged), until="refused", code="header.missing")
    assert office.stage.handled == []


@attack("redrive-edited")
async def test_a_letter_that_was_edited(scene: Scene) -> None:
    """Another body under a statement for that body: its seal does not hold."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    edited = Message(b"another", letter.headers, letter.properties)
    await office.consume(await office.state(edited), until="refused", code="header.missing")
    assert office.stage.handled == []


@attack("redrive-alone")
async def test_a_statement_on_a_message_that_was_never_here(scene: Scene) -> None:
    """An operator's word alone makes nobody's message anybody's."""
    office = Office.open(scene)
    letter, _ = await office.letters(b"one", b"two")
    stated = await office.state(letter)
    alone = Message(b"new", {headers.STATEMENT: stated.headers[headers.STATEMENT]})
    await office.consume(alone, until="refused", code="header.missing")
    assert office.stage.handled == []


@attack("redrive-moved")
async def test_a_statement_of_another_letter(scene: Scene) -> None:
    """It names one letter, by its seal."""
    office = Office.open(scene)
    one, other = await office.letters(b"one", b"one")
    stated = (await office.state(one)).headers[headers.STATEMENT]
    await office.goes_home(other.having(**{headers.STATEMENT: stated}), "redrive.letter")


@attack("redrive-queue")
async def test_a_statement_for_another_queue(scene: Scene) -> None:
    """It names the consumer's queue."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    await office.goes_home(await office.state(letter, queue="another"), "redrive.queue")


async def test_what_went_home_can_be_sent_again(scene: Scene) -> None:
    """A memory that was asked for nothing has forgotten it: with a new statement, it is handled."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    wide = await office.state(letter, queue="another")
    await office.consume(wide, until="returned", code="redrive.queue")
    home = await office.stage.take(f"{office.stage.queue}.dead")
    await office.consume(await office.state(home), until="handled")
    assert office.stage.handled == [("ann", b"one")]
    story = json.loads(home.headers[headers.STORY])
    assert [(each["code"], each["attempt"]) for each in story] == [("token.expired", 1)]


def malformed(statement: str) -> str:
    return statement.replace(".", "", 1)


def altered(statement: str) -> str:
    return statement[:-4] + "AAAA"


@pytest.mark.parametrize(
    ("change", "code"), [(malformed, "redrive.statement"), (altered, "redrive.desk")]
)
@attack("redrive-desk")
async def test_a_statement_of_no_desk(
    change: Callable[[str], str], code: str, scene: Scene
) -> None:
    """What no trusted desk has signed says nothing."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    stated = (await office.state(letter)).headers[headers.STATEMENT]
    await office.goes_home(letter.having(**{headers.STATEMENT: change(stated)}), code)


@attack("redrive-stranger")
async def test_a_desk_that_the_consumer_does_not_trust(scene: Scene) -> None:
    """Its name alone is nothing: the key is another one's."""
    office = Office.open(scene, signer=OTHER)
    (letter,) = await office.letters(b"one")
    await office.goes_home(await office.state(letter), "redrive.desk")


@attack("redrive-scope")
async def test_an_operator_without_the_scope(scene: Scene) -> None:
    """The consumer asks for it as well, whatever the desk let pass."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    office.desk = Desk(office.desk._guard, DESK, scopes=())
    await office.goes_home(await office.state(letter, scope="letters:read"), "redrive.scope")


@attack("redrive-issuer")
async def test_an_operator_of_another_issuer(scene: Scene) -> None:
    """Whose operators count, the consumer says."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    guard = guard_for(scene.issuer, scene.trail, clock=scene.clock)
    said = StatedLetter.of(letter.headers, letter.body, office.stage.queue)
    theirs = scene.issuer.token("olga", scope="letters:redrive")
    (statement,) = await Desk(guard, DESK).state(theirs, [said])
    await office.goes_home(letter.having(**{headers.STATEMENT: statement}), "redrive.issuer")


@attack("redrive-expired")
@pytest.mark.parametrize("seconds", [900 + 31, 2 * DAY])
async def test_a_statement_that_is_old(seconds: float, scene: Scene) -> None:
    """It counts for a while: a letter that was taken out of a queue comes too late."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    stated = await office.state(letter)
    await scene.clock.advance(seconds)
    await office.goes_home(stated, "redrive.expired")


@attack("redrive-ancient")
async def test_work_that_is_too_old(scene: Scene) -> None:
    """Seven days after the first token's end, no operator has it sent."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    await scene.clock.advance(8 * DAY)
    await office.goes_home(await office.state(letter), "redrive.expired")


@attack("redrive-revoked-caller")
async def test_a_caller_who_was_revoked(scene: Scene) -> None:
    """An operator acts for nobody whose token was revoked."""
    office = Office.open(scene)
    token = office.stage.token()
    (letter,) = await office.letters(b"one", token=token)
    stated = await office.state(letter)
    office.revoked.digests.add(fingerprint(token))
    await office.goes_home(stated, "token.revoked")


@attack("redrive-revoked")
async def test_an_operator_who_was_revoked(scene: Scene) -> None:
    """Between the statement and the message, their token was revoked."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    token = office.token()
    said = StatedLetter.of(letter.headers, letter.body, office.stage.queue)
    (statement,) = await office.desk.state(token, [said])
    office.revoked.digests.add(fingerprint(token))
    await office.goes_home(letter.having(**{headers.STATEMENT: statement}), "token.revoked")


@attack("redrive-unauthorized")
async def test_what_the_caller_may_not_do(scene: Scene) -> None:
    """An operator adds nothing to what the first token allowed."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one", token=office.stage.token(scope="orders:read"))
    wide = "letters:redrive orders:write"
    await office.goes_home(await office.state(letter, scope=wide), "caller.scope")


@attack("redrive-unauthorized")
@pytest.mark.parametrize(
    "allow",
    [
        lambda caller: any(actor.subject == "olga" for actor in caller.actors),
        lambda caller: not caller.claims.get("guest"),
        lambda caller: "guest" not in caller.claims,
        lambda caller: dict(caller.claims) is not None,
    ],
    ids=["an-actor", "a-claim-that-is-not-there", "a-name-that-is-not-there", "all-claims"],
)
async def test_a_predicate_is_asked_about_the_first_token_alone(
    allow: Callable[[Caller], bool], scene: Scene
) -> None:
    """The operator is no actor of the caller's, and of claims that are gone nothing is known."""
    office = Office.open(scene, allow=allow)
    (letter,) = await office.letters(b"one")
    await office.goes_home(await office.state(letter), "caller.predicate")


async def test_a_predicate_may_look_at_the_session(scene: Scene) -> None:
    """It is in the record; and who looks for the operator, sees them as well."""
    sessions: list[object] = []

    def allow(caller: Caller) -> bool:
        sessions.append(caller.claims.get("sid"))
        return caller.late is None or caller.actors[0].subject == "olga"

    office = Office.open(scene, allow=allow)
    (letter,) = await office.letters(b"one", token=office.stage.token(sid="s-1"))
    sessions.clear()
    await office.consume(await office.state(letter), until="handled")
    assert set(sessions) == {"s-1"}


@attack("redrive-replayed")
@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_a_statement_that_is_replayed(scene: Scene) -> None:
    """A second copy of what was handled on it is known, and runs nothing."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    stated = await office.state(letter)
    await office.consume(stated, until="handled")
    await office.consume(stated, until="refused", code="replay.copy")
    assert len(office.stage.handled) == 1
    home = await office.state(letter)  # and bought anew, it is no newer
    await office.stage.put(home)
    async with office.stage.bus:
        await scene.trail.until("refused", count=2)
    assert len(office.stage.handled) == 1


async def test_its_handler_may_fail(scene: Scene) -> None:
    """A retry is judged again, by the statement that it was accepted on; it may wait."""
    office = Office.open(scene, failing=1)
    (letter,) = await office.letters(b"one")
    await office.stage.put(await office.state(letter))
    async with office.stage.bus:
        await scene.trail.until("retried")
        await scene.clock.advance(2000)  # twice as long as a statement counts for a letter
        await scene.trail.until("handled")
    assert [caller.actors[0].subject for caller in office.callers] == ["olga", "olga"]
    assert office.stage.handled == [("ann", b"one")]


async def test_each_attempt_is_told_alike(scene: Scene) -> None:
    """That an operator had it sent is told of the retry's failure, as of the first one's."""
    office = Office.open(scene, failing=2)
    (letter,) = await office.letters(b"one")
    await office.stage.put(await office.state(letter))
    async with office.stage.bus:
        for count in (1, 2):
            await scene.trail.until("retried", count=count)
            await scene.clock.advance(60)
        await scene.trail.until("handled")
    told = [each for each in scene.trail.events if each.kind in ("retried", "handled")]
    assert [each.policy for each in told] == ["Operators"] * 3


@attack("redrive-retried")
async def test_a_retry_under_another_statement(scene: Scene) -> None:
    """What was accepted on one statement is nobody else's errand."""
    office = Office.open(scene, failing=1)
    (letter,) = await office.letters(b"one")
    stated = await office.state(letter)
    await office.stage.put(stated)
    async with office.stage.bus:
        await scene.trail.until("handled")
    another = await office.state(letter)
    swapped = office.seen[-1].having(**{headers.STATEMENT: another.headers[headers.STATEMENT]})
    await office.consume(swapped, until="refused", code="header.missing")
    assert len(office.callers) == 2


@attack("redrive-revoked-meanwhile")
async def test_a_retry_of_a_caller_who_was_revoked(scene: Scene) -> None:
    """Revocation is asked for each attempt; the letter that is made then can be sent again."""
    office = Office.open(scene, failing=1)
    token = office.stage.token()
    (letter,) = await office.letters(b"one", token=token)
    await office.stage.put(await office.state(letter))
    async with office.stage.bus:
        await scene.trail.until("retried")
        office.revoked.digests.add(fingerprint(token))
        await scene.clock.advance(60)
        await scene.trail.until("refused")
    assert scene.codes() == ["token.revoked"]
    office.revoked.digests.clear()
    again = await office.stage.take(f"{office.stage.queue}.dead")
    await office.consume(await office.state(again), until="handled")
    assert office.stage.handled == [("ann", b"one")]


async def test_what_failed_for_good_is_a_letter_again(scene: Scene) -> None:
    """It has its caller's record and what it kept, and an operator may try once more."""
    office = Office.open(scene, failing=99, on_expired=KEEPING)
    (letter,) = await office.letters(b"one")
    kept = letter.headers[headers.TOKEN]
    await office.stage.put(await office.state(letter))
    async with office.stage.bus:
        for _ in range(6):
            await scene.clock.advance(120)
        await scene.trail.until("refused")
    again = await office.stage.take(f"{office.stage.queue}.dead")
    assert (again.headers[headers.TOKEN], again.headers[FIRST]) == (kept, letter.headers[FIRST])
    assert headers.STATEMENT not in again.headers
    assert again.headers[headers.LETTER] == letter.headers[headers.LETTER]
    *_, latest = json.loads(again.headers[headers.STORY])
    assert (latest["code"], latest["by"], latest["authority"]) == (
        "handler.failed",
        "olga",
        "operator",
    )
    office.failing = 0
    await office.consume(await office.state(again), until="handled")


async def test_what_a_letter_kept_is_still_what_its_seal_names(scene: Scene) -> None:
    """It kept a fresh token, and an operator's attempt failed: it still goes by what it kept."""
    office = Office.open(scene, failing=4, letters=LETTERS)
    stage = office.stage
    dead = f"{stage.queue}.dead"
    (letter,) = await office.letters(b"one")
    await stage.put(letter, dead)
    fresh = stage.token(exp=scene.clock.now() + DAY)
    assert len((await redrive(stage, authority=FreshToken(fresh)).letters()).sent) == 1
    office.revoked.digests.add(fingerprint(fresh))
    await office.consume(until="refused", code="token.revoked")
    office.revoked.digests.clear()
    await stage.put(await office.state(await stage.take(dead)))
    async with stage.bus:
        for attempt in (1, 2, 3):
            await scene.trail.until("retried", count=attempt)
            await scene.clock.advance(60)
        await scene.trail.until("refused", count=2)
    assert len((await redrive(stage).letters()).sent) == 1
    await office.consume(until="handled")
    assert stage.handled == [("ann", b"one")]


async def test_an_operators_letter_says_nothing_of_the_settings(scene: Scene) -> None:
    """No token of it was for this consumer: a run of those that are not still makes it pause."""
    office = Office.open(scene)
    stage = office.stage
    (letter,) = await office.letters(b"one")
    await stage.put(await office.state(letter))
    for _ in range(8):
        await stage.publish(b"two", token=stage.token(aud="bank"))
    async with stage.bus:
        await scene.trail.until("deferred")
        await scene.broker.settles_at(f"{stage.queue}.rejected", 5)
    assert stage.handled == [("ann", b"one")]


async def test_a_desk_out_of_reach(scene: Scene) -> None:
    """Nobody is guilty of that: the consumer waits for the desk's keys."""
    away = Away(StaticKeys(DESK.verification_jwk()))
    operators = Operators(desks=TrustedDesk(name="ops-desk", keys=away))
    office = Office.open(scene, operators=operators)
    (letter,) = await office.letters(b"one")
    await office.stage.put(await office.state(letter))
    async with office.stage.bus:
        await scene.trail.until("deferred")
        away.is_there = True
        await scene.clock.advance(120)
        await scene.trail.until("handled")
    assert office.stage.handled == [("ann", b"one")]


async def test_who_knows_of_revocations_is_away(scene: Scene) -> None:
    """What waits for that as a copy is no copy of anybody's: it is handled once, and later."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    await office.stage.put(await office.state(letter))
    office.revoked.is_away = True
    async with office.stage.bus:
        for count in (1, 2, 3, 4):
            await scene.trail.until("deferred", count=count)
            await scene.clock.advance(60)
        office.revoked.is_away = False
        await scene.clock.advance(120)
        await scene.trail.until("handled")
    assert office.stage.handled == [("ann", b"one")]


@attack("redrive-removed")
async def test_a_retry_whose_desk_is_trusted_no_more(scene: Scene) -> None:
    """What was accepted on its word is a letter again, for another one's."""
    away = Away(StaticKeys(DESK.verification_jwk()))
    away.is_there = True
    operators = Operators(desks=TrustedDesk(name="ops-desk", keys=away))
    office = Office.open(scene, operators=operators, failing=1)
    (letter,) = await office.letters(b"one")
    await office.stage.put(await office.state(letter))
    async with office.stage.bus:
        await scene.trail.until("retried")
        away.is_removed, away.epoch = True, 1
        await scene.clock.advance(60)
        await scene.trail.until("refused")
    assert scene.codes() == ["redrive.desk"]
    away.is_removed, away.epoch = False, 2
    again = await office.stage.take(f"{office.stage.queue}.dead")
    await office.consume(await office.state(again), until="handled")
    assert office.stage.handled == [("ann", b"one")]


async def test_an_operator_sends_parked_work_to_nobody(scene: Scene) -> None:
    """What is parked waits for its caller, and goes by their fresh token alone."""
    office = Office.open(scene, on_expired=Park())
    await office.stage.bus.declare()
    await office.stage.publish(b"one")
    await scene.clock.advance(600)
    parked = f"{office.stage.queue}.parked"
    async with office.stage.bus:
        await scene.broker.settles_at(parked, 1)
    message = await office.state(await office.stage.take(parked))
    await office.consume(message, until="returned", code="redrive.letter")
    await scene.broker.settles_at(parked, 1)


async def test_a_judge_takes_an_operators_word(scene: Scene) -> None:
    """Who has the message in hand is told what a consumer would do."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    stated = await office.state(letter)
    judge = office.stage.bus.guard.judge(queue=office.stage.queue, on_redrive=OPERATORS)
    received = Received(
        body=stated.body,
        exchange="",
        routing_key=office.stage.queue,
        redelivered=False,
        headers=stated.headers,
        message_id=stated.properties["message_id"],
        content_type=stated.properties["content_type"],
    )
    async with judge(received) as judged:
        assert isinstance(judged, Accepted)
        assert (judged.caller.subject, judged.caller.actors[0].subject) == ("ann", "olga")
