"""Vouchers: tokens that wait in a queue for a day, and are worth one exchange for one message.

Whoever carries these out reads the queue, and has vouchers of others in hand.
"""

from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import Caller, Grace
from busauth.delegation import Exchange
from busauth.errors import ConfigurationError, Forbidden, NotGenuine
from busauth.letters import LetterKeys, Letters, Redrive
from busauth.messages import ProofDemand, Proofs
from busauth.tokens import shared_encryption_key
from tests.exchanging import VOUCHERS, Exchanging, voucher
from tests.parties import DAY, Scene
from tests.security.stage import WEB, Message, Stage, attack
from tests.support import guard_for

HOUR = 3600.0


def redeeming(scene: Scene, idp: Exchanging | None = None, **settings: Any) -> Stage:
    """Return a consumer that admits vouchers; the Grace behind that changes nothing."""
    policy = Exchange(idp or Exchanging(scene.issuer), vouchers=VOUCHERS)
    return Stage.set(scene, on_expired=[policy, Grace(hours=8)], **settings)


@attack("voucher-pasted")
async def test_a_voucher_on_another_message(scene: Scene) -> None:
    """A voucher laid on another body fails by the proof, which names both."""
    stage = redeeming(scene)
    await stage.bus.declare()
    for body, subject in ((b"one", "ann"), (b"other", "bob")):
        await stage.publish(body, token=voucher(scene.issuer, subject))
    first, other = [Message.of(each) for each in await taken(stage, 2)]
    pasted = first.having(authorization=other.headers["authorization"])
    await stage.refuses(pasted, "proof.token", untampered=other)


@attack("voucher-unproven")
async def test_a_voucher_without_a_proof(scene: Scene) -> None:
    """Where proofs are optional for others, a voucher needs one all the same."""
    optional = Proofs([WEB.publisher()], demand=ProofDemand.IF_PRESENT, max_age=DAY)
    idp = Exchanging(scene.issuer)
    stage = redeeming(scene, idp, proofs=optional, replay=None)
    await stage.bus.declare()
    await stage.put(Message(b"mine", {"authorization": f"Bearer {voucher(scene.issuer)}"}))
    await stage.consume(handled=0, refused=1)
    assert (scene.codes(), idp.asked) == (["voucher.unproven"], [])


@attack("voucher-replayed")
async def test_a_voucher_message_again(scene: Scene) -> None:
    """The same message a second time is a copy, as of any token."""
    stage = redeeming(scene)
    await stage.bus.declare()
    await stage.publish(b"one", token=voucher(scene.issuer))
    message = await stage.take()
    async with stage.bus:
        await stage.put(message)
        await scene.trail.until("handled")
        await stage.put(message)
        await scene.trail.until("refused")
    assert scene.codes() == ["replay.copy"]


@attack("voucher-elsewhere")
async def test_a_voucher_at_another_service(scene: Scene) -> None:
    """Whose vouchers have another audience, or who admits none, refuses it as ever."""
    for policy, code in (
        (Exchange(Exchanging(scene.issuer), vouchers="bank-later"), "token.audience"),
        (Exchange(Exchanging(scene.issuer), late=True), "token.type"),
        (Grace(hours=8), "token.type"),
    ):
        stage = Stage.set(scene, on_expired=policy)
        await stage.bus.declare()
        await stage.publish(b"one", token=voucher(scene.issuer))
        await stage.consume(handled=0, refused=1)
        assert scene.codes() == [code]
        scene.trail.events.clear()


@attack("voucher-as-access-token")
async def test_a_voucher_as_an_access_token(scene: Scene) -> None:
    """At an edge it is nobody's, by its type or audience, whatever is done with late ones."""
    guard = guard_for(scene.issuer, scene.trail, clock=scene.clock)
    policy = Exchange(Exchanging(scene.issuer), late=True)
    for header, code in (("voucher+jwt", "token.type"), ("at+jwt", "token.audience")):
        token = voucher(scene.issuer, header={"typ": header})
        for on_expired in (None, policy):
            with pytest.raises(NotGenuine) as found:
                await guard.authenticate(f"Bearer {token}", on_expired=on_expired)
            assert found.value.code == code
    admitting = Exchange(Exchanging(scene.issuer), vouchers=VOUCHERS)
    with pytest.raises(ConfigurationError, match="expected proofs"):
        await guard.authenticate(f"Bearer {token}", on_expired=admitting)


@attack("voucher-downstream")
async def test_a_voucher_goes_nowhere(scene: Scene) -> None:
    """What the handler has, and sends on, is the fresh token; its message shows none."""
    sent: list[str] = []
    stage = redeeming(scene)
    other = scene.broker.name("other")
    await scene.broker.channel.declare_queue(other)

    @stage.bus.consumer(scene.broker.name("second"), scopes={"orders:write"})
    async def place(message: AbstractIncomingMessage, caller: Caller) -> None:
        assert "authorization" not in message.headers
        sent.append(caller.bearer())
        sent.append(await caller.fresh())
        await stage.bus.publish(other, b"next")

    queue = place.queue
    await stage.bus.declare()
    token = voucher(scene.issuer)
    async with scene.publishing(WEB) as publishing:
        await publishing.publish(queue, b"one", token=token)
    await stage.consume(handled=1, refused=0)
    sent.append((await stage.take(other)).token)
    assert len(set(sent)) == 1
    assert token not in sent
    guard = guard_for(scene.issuer, scene.trail, clock=scene.clock)
    assert (await guard.authenticate(f"Bearer {sent[0]}")).subject == "ann"


class Revoked:
    """Knows who was revoked, by subject."""

    def revoked(self, caller: Caller, now: float) -> bool:
        return caller.subject == "eve"


@attack("voucher-revoked")
async def test_a_revoked_callers_voucher(scene: Scene) -> None:
    """It buys nothing: nobody is asked for a token."""
    idp = Exchanging(scene.issuer)
    stage = redeeming(scene, idp, guarded={"revocations": Revoked()})
    await stage.bus.declare()
    await stage.publish(b"one", token=voucher(scene.issuer, "eve"))
    await stage.consume(handled=0, refused=1)
    assert (scene.codes(), idp.asked) == (["token.revoked"], [])


@attack("voucher-over")
async def test_a_voucher_past_its_hard_lifetime(scene: Scene) -> None:
    """However long its `exp` is, what was asked for a day ago is over; its letter has none."""
    idp = Exchanging(scene.issuer)
    policy = Exchange(idp, vouchers=VOUCHERS, lifetime=20 * HOUR)
    stage = Stage.set(scene, on_expired=policy)
    await stage.bus.declare()
    token = voucher(scene.issuer, lasts=9 * DAY)
    await stage.publish(b"one", token=token)
    await scene.clock.advance(20 * HOUR)
    await stage.consume(handled=0, refused=1)
    assert (scene.codes(), idp.asked) == (["voucher.expired"], [])
    letter = await stage.take(f"{stage.queue}.dead")
    assert token not in repr(letter)


async def test_a_letters_voucher_passes_the_same_checks(scene: Scene) -> None:
    """Its letter keeps it encrypted; sent again it is exchanged anew, and not once it is over."""
    idp = Exchanging(scene.issuer, error=Forbidden("exchange.refused", found="access_denied"))
    key = shared_encryption_key(bytes(range(32)), key_id="letters")
    stage = redeeming(scene, idp, guarded={"letters": Letters(keep_token=LetterKeys(key))})
    await stage.bus.declare()
    token = voucher(scene.issuer, lasts=HOUR)
    await stage.publish(b"one", token=token)
    redrive = Redrive(scene.broker.url, guard=stage.bus.guard, queue=stage.queue, keys=None)
    for count, hours in enumerate((0, 0.5, 0.5), 1):
        await scene.clock.advance(hours=hours)
        async with stage.bus:
            await scene.trail.until("refused", count=count)
        letter = await stage.take(f"{stage.queue}.dead")
        assert token not in repr(letter)
        await stage.put(letter, f"{stage.queue}.dead")
        await scene.broker.settles_at(f"{stage.queue}.dead", 1)
        await redrive.letters()
    assert scene.codes() == ["exchange.refused", "exchange.refused", "voucher.expired"]
    assert [each.token for each, _ in idp.asked] == [token] * 2


@attack("exchange-swapped-at-consumer")
async def test_the_answers_of_two_callers_swapped(scene: Scene) -> None:
    """Each of both is refused: neither acts in the other's name."""
    idp = Exchanging(scene.issuer)
    others = {"ann": "bob", "bob": "ann"}
    honest = idp.given
    idp.given = lambda subject, request: scene.issuer.token(  # type: ignore[method-assign]
        others[subject.caller.subject], scope="orders:write", aud=sorted(request.audience)
    )
    stage = redeeming(scene, idp)
    await stage.bus.declare()
    for subject in others:
        await stage.publish(subject.encode(), token=voucher(scene.issuer, subject))
    await stage.consume(handled=0, refused=2)
    assert scene.codes() == ["exchange.answer"] * 2
    idp.given = honest  # type: ignore[method-assign]


async def taken(stage: Stage, count: int) -> list[Any]:
    await stage.scene.broker.settles_at(stage.queue, count)
    return await stage.scene.broker.take(stage.queue)
