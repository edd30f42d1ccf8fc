"""An operator has a dead letter sent again whose token is gone: what does not suffice for that.

Who carries these out can write into every queue. They have no seal's key and no desk's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from busauth import Caller, CallerError, DeadLetter, StaticKeys
from busauth._amqp import headers
from busauth._messages.first import HEADER as FIRST
from busauth._messages.first import read, written
from busauth._tokens.verifier import fingerprint
from busauth.letters import (
    Desk,
    Operators,
    OperatorToken,
    Redrive,
    StatedLetter,
    StatementSigner,
    TrustedDesk,
)
from busauth.testing import Issuer
from tests.parties import DAY, Scene
from tests.security.stage import Message, Stage, attack
from tests.support import guard_for

DESK, OTHER = (
    StatementSigner("ops-desk", ed25519.Ed25519PrivateKey.generate(), algorithm="EdDSA")
    for _ in range(2)
)
OPERATORS = Operators(
    desks=[TrustedDesk(name="ops-desk", keys=StaticKeys(DESK.verification_jwk()))],
    issuers={"https://ops.example"},
)


class Revoked:
    """Knows tokens that were revoked, by their digests."""

    def __init__(self) -> None:
        self.digests: set[str] = set()

    def revoked(self, caller: Caller, now: float) -> bool:
        return caller.token_sha256 in self.digests


@dataclass
class Office:
    """A stage with a desk beside it.

    Attributes:
        stage: the consumer's.
        ops: issues operators' tokens.
        desk: who verifies them.
        revoked: whom nobody believes any more.
        callers: as whom the handler ran.
    """

    stage: Stage
    ops: Issuer
    desk: Desk
    revoked: Revoked
    callers: list[Caller] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        scene: Scene,
        *,
        signer: StatementSigner = DESK,
        operators: Operators | None = OPERATORS,
        **said: Any,
    ) -> "Office":
        revoked = Revoked()
        guarded: Mapping[str, Any] = {"revocations": revoked}
        stage = Stage.set(scene, on_expired=DeadLetter(), guarded=guarded, **said)
        ops = Issuer("https://ops.example", audience="desk", clock=scene.clock)
        desk = Desk(guard_for(ops, scene.trail, clock=scene.clock, revocations=revoked), signer)
        office = cls(stage, ops, desk, revoked)
        office._consume(operators)
        return office

    def _consume(self, operators: Operators | None) -> None:
        self.stage.queue = self.stage.scene.broker.name("letters")

        @self.stage.bus.consumer(self.stage.queue, scopes={"orders:write"}, on_redrive=operators)
        async def place(body: bytes, caller: Caller) -> None:
            self.callers.append(caller)
            self.stage.handled.append((caller.subject, body))

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
    redrive = Redrive(
        scene.broker.url,
        guard=stage.bus.guard,
        queue=stage.queue,
        authority=OperatorToken(office.token(), desk=office.desk),
    )
    assert len((await redrive.letters()).sent) == 1
    await office.consume(until="handled")
    (caller,) = office.callers
    assert (caller.issuer, caller.subject) == (scene.issuer.url, "ann")
    assert caller.scopes == {"orders:write"}
    assert [actor.subject for actor in caller.actors] == ["olga"]
    assert caller.late is not None
    assert caller.late.policy == "Operators"
    with pytest.raises(CallerError, match="an operator had this message sent again"):
        caller.bearer()
    accepted = next(each for each in scene.trail.events if each.kind == "accepted-late")
    assert accepted.detail == "by operator olga of https://ops.example"
    stated = next(each for each in scene.trail.events if each.kind == "stated")
    assert (stated.queue, stated.subject) == (stage.queue, "olga")


@attack("operator-unsaid")
async def test_a_consumer_that_takes_no_operators(scene: Scene) -> None:
    """A statement is nothing to who has not said that it takes one: the letter goes back."""
    office = Office.open(scene, operators=None)
    (letter,) = await office.letters(b"one")
    await office.goes_home(await office.state(letter), "redrive.not_taken")


@attack("operator-record")
async def test_a_record_that_was_forged(scene: Scene) -> None:
    """Another caller in the record is no letter of this consumer's any more."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    record = read(letter.headers[FIRST])
    assert record is not None
    forged = letter.having(**{FIRST: written(record).replace('"ann"', '"eve"')})
    await office.consume(await office.state(forged), until="refused", code="header.missing")
    assert office.stage.handled == []


@attack("operator-edited")
async def test_a_letter_that_was_edited(scene: Scene) -> None:
    """Another body under a statement for that body: its seal does not hold."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    edited = Message(b"another", letter.headers, letter.properties)
    await office.consume(await office.state(edited), until="refused", code="header.missing")
    assert office.stage.handled == []


@attack("operator-alone")
async def test_a_statement_on_a_message_that_was_never_here(scene: Scene) -> None:
    """An operator's word alone makes nobody's message anybody's."""
    office = Office.open(scene)
    letter, _ = await office.letters(b"one", b"two")
    stated = await office.state(letter)
    alone = Message(b"new", {headers.STATEMENT: stated.headers[headers.STATEMENT]})
    await office.consume(alone, until="refused", code="header.missing")
    assert office.stage.handled == []


@attack("operator-moved")
async def test_a_statement_of_another_letter(scene: Scene) -> None:
    """It names one letter, by its seal."""
    office = Office.open(scene)
    one, other = await office.letters(b"one", b"one")
    stated = (await office.state(one)).headers[headers.STATEMENT]
    await office.goes_home(other.having(**{headers.STATEMENT: stated}), "redrive.letter")


@attack("operator-queue")
async def test_a_statement_for_another_queue(scene: Scene) -> None:
    """It names the consumer's queue."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    await office.goes_home(await office.state(letter, queue="another"), "redrive.queue")


def malformed(statement: str) -> str:
    return statement.replace(".", "", 1)


def altered(statement: str) -> str:
    return statement[:-4] + "AAAA"


@pytest.mark.parametrize(
    ("change", "code"), [(malformed, "redrive.statement"), (altered, "redrive.desk")]
)
@attack("operator-desk")
async def test_a_statement_of_no_desk(
    change: Callable[[str], str], code: str, scene: Scene
) -> None:
    """What no trusted desk has signed says nothing."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    stated = (await office.state(letter)).headers[headers.STATEMENT]
    await office.goes_home(letter.having(**{headers.STATEMENT: change(stated)}), code)


@attack("operator-stranger")
async def test_a_desk_that_the_consumer_does_not_trust(scene: Scene) -> None:
    """Its name alone is nothing: the key is another one's."""
    office = Office.open(scene, signer=OTHER)
    (letter,) = await office.letters(b"one")
    await office.goes_home(await office.state(letter), "redrive.desk")


@attack("operator-scope")
async def test_an_operator_without_the_scope(scene: Scene) -> None:
    """The consumer asks for it as well, whatever the desk let pass."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    office.desk = Desk(office.desk._guard, DESK, scopes=())
    await office.goes_home(await office.state(letter, scope="letters:read"), "redrive.scope")


@attack("operator-issuer")
async def test_an_operator_of_another_issuer(scene: Scene) -> None:
    """Whose operators count, the consumer says."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    guard = guard_for(scene.issuer, scene.trail, clock=scene.clock)
    said = StatedLetter.of(letter.headers, letter.body, office.stage.queue)
    theirs = scene.issuer.token("olga", scope="letters:redrive")
    (statement,) = await Desk(guard, DESK).state(theirs, [said])
    await office.goes_home(letter.having(**{headers.STATEMENT: statement}), "redrive.issuer")


@attack("operator-expired")
@pytest.mark.parametrize("seconds", [900 + 31, 2 * DAY])
async def test_a_statement_that_is_old(seconds: float, scene: Scene) -> None:
    """It counts for a while: a letter that was taken out of a queue comes too late."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    stated = await office.state(letter)
    await scene.clock.advance(seconds)
    await office.goes_home(stated, "redrive.expired")


@attack("operator-ancient")
async def test_work_that_is_too_old(scene: Scene) -> None:
    """Seven days after the first token's end, no operator has it sent."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    await scene.clock.advance(8 * DAY)
    await office.goes_home(await office.state(letter), "redrive.expired")


@attack("operator-revoked-caller")
async def test_a_caller_who_was_revoked(scene: Scene) -> None:
    """An operator acts for nobody whose token was revoked."""
    office = Office.open(scene)
    token = office.stage.token()
    (letter,) = await office.letters(b"one", token=token)
    stated = await office.state(letter)
    office.revoked.digests.add(fingerprint(token))
    await office.goes_home(stated, "token.revoked")


@attack("operator-revoked")
async def test_an_operator_who_was_revoked(scene: Scene) -> None:
    """Between the statement and the message, their token was revoked."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one")
    token = office.token()
    said = StatedLetter.of(letter.headers, letter.body, office.stage.queue)
    (statement,) = await office.desk.state(token, [said])
    office.revoked.digests.add(fingerprint(token))
    await office.goes_home(letter.having(**{headers.STATEMENT: statement}), "token.revoked")


@attack("operator-unauthorized")
async def test_what_the_caller_may_not_do(scene: Scene) -> None:
    """An operator adds nothing to what the first token allowed."""
    office = Office.open(scene)
    (letter,) = await office.letters(b"one", token=office.stage.token(scope="orders:read"))
    wide = "letters:redrive orders:write"
    await office.goes_home(await office.state(letter, scope=wide), "caller.scope")


@attack("operator-replayed")
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
