"""A consumer in shadow: nobody becomes somebody, and no message brings a shadow about.

Who carries these out can publish what they like, and read what lies in queues.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from busauth import ANONYMOUS, Bus, Caller, CallerError, ConsumerOptions, Event, GuardOptions, Park
from busauth._messages.seal import PURPOSE
from busauth.settings import Shadow
from tests.parties import DAY, Scene, security
from tests.security.stage import ORDERS, WEB, Message, Stage, attack


class _Revoked:
    def revoked(self, caller: Caller, _now: float) -> bool:
        return caller.subject == "mallory"


@dataclass
class Shadowed(Stage):
    """A stage whose consumer is in shadow: `handled` has no subject where it ran as nobody.

    Attributes:
        goes_on: whether its handler publishes, to a consumer that is strict.
        errors: what publishing in the caller's name has raised.
    """

    goes_on: bool = False
    errors: list[str] = field(default_factory=list)

    @classmethod
    def begun(cls, scene: Scene, *, days: float = 1, proofs: bool = False, **guarded: Any) -> Any:
        queue, onward = scene.broker.name("orders"), scene.broker.name("onward")
        until = datetime.fromtimestamp(scene.clock.now() + days * DAY, UTC)
        said = {queue: ConsumerOptions(shadow=Shadow(until=until))} if days else {}
        trusted = (WEB.publisher(), ORDERS.publisher(relays=True)) if proofs else ()
        messages = security(*trusted, signer=ORDERS.signer)
        bus = scene.bus(messages, options=GuardOptions(consumers=said), **guarded)
        stage = cls(scene, queue, bus)

        @bus.consumer(queue, scopes={"orders:write"})
        async def place(message: AbstractIncomingMessage, caller: Caller | None) -> None:
            stage.handled.append((caller.subject if caller else "", message.body))
            if stage.goes_on:
                await stage.go_on(bus, onward)

        @bus.consumer(onward)
        async def end() -> None:
            """Be where it may be published to."""

        return stage

    async def go_on(self, bus: Bus, onward: str) -> None:
        try:
            await bus.publish(onward, b"more")
        except CallerError as error:
            self.errors.append(str(error))
            await bus.publish(onward, b"more", token=ANONYMOUS)

    def told(self, kind: str = "shadowed") -> list[Event]:
        found = [event for event in self.scene.trail.events if event.queue == self.queue]
        return [event for event in found if event.kind == kind]

    async def beside(self, token: str) -> Event:
        """Have a message with a token handled next to an honest one; return what was told."""
        await self.bus.declare()
        await self.scene.broker.publish(self.queue, b"one", token=token)
        await self.scene.broker.publish(self.queue, b"other", token=self.token("ann"))
        async with self.bus:
            await self.scene.trail.until("shadowed")
            await self.scene.trail.until("accepted")
            await self.bus.idle()
        assert sorted(self.handled, key=lambda each: each[1]) == [("", b"one"), ("ann", b"other")]
        (told,) = self.told()
        return told


REFUSED: dict[str, tuple[Callable[[Stage], str], str, bool]] = {
    "shadow-forged": (lambda s: s.scene.issuer.forged("ann"), "token.signature", False),
    "shadow-expired": (
        lambda s: s.token("ann", exp=int(s.scene.clock.now()) - 60),
        "token.expired",
        True,
    ),
    "shadow-revoked": (lambda s: s.token("mallory"), "token.revoked", True),
    "shadow-audience": (lambda s: s.token("ann", aud="bank"), "token.audience", False),
}


async def _refused(scene: Scene, name: str) -> None:
    made, code, is_genuine = REFUSED[name]
    stage = Shadowed.begun(scene, revocations=_Revoked())
    told = await stage.beside(made(stage))
    assert (told.code, told.subject is not None) == (code, is_genuine)


@attack("shadow-forged")
async def test_a_forged_token_in_shadow(scene: Scene) -> None:
    """What nobody has signed names nobody, to the handler and in the record."""
    await _refused(scene, "shadow-forged")


@attack("shadow-expired")
async def test_an_expired_token_in_shadow(scene: Scene) -> None:
    """The record has whose it was; the handler has nobody."""
    await _refused(scene, "shadow-expired")


@attack("shadow-revoked")
async def test_a_revoked_token_in_shadow(scene: Scene) -> None:
    """What was revoked is nobody's, although it is genuine and in time."""
    await _refused(scene, "shadow-revoked")


@attack("shadow-audience")
async def test_a_token_for_somebody_else_in_shadow(scene: Scene) -> None:
    """A token for another service says nothing here."""
    await _refused(scene, "shadow-audience")


@attack("shadow-onward")
async def test_nothing_goes_on_in_a_refused_tokens_name(scene: Scene) -> None:
    """What is published has no token of the message's, and saying nothing is an error."""
    stage = Shadowed.begun(scene)
    stage.goes_on = True
    await stage.bus.declare()
    await scene.broker.publish(stage.queue, b"one", token=scene.issuer.forged("ann"))
    async with stage.bus:
        await scene.trail.until("refused")
    assert stage.handled == [("", b"one")]
    (error,) = stage.errors
    assert "runs as nobody" in error
    assert scene.codes() == ["header.missing"]  # the next consumer is strict, and there is no token


ASKING: dict[str, Any] = {
    **dict.fromkeys(("busauth-shadow", "x-busauth-shadow", "shadow"), "2099-01-01T00:00:00Z"),
    "busauth-shadowed": True,
    "busauth-codes": ["header.*"],
}


@attack("shadow-asked")
async def test_a_message_that_asks_for_a_shadow(scene: Scene) -> None:
    """Whatever a message says, a strict consumer is strict."""
    stage = Shadowed.begun(scene, days=0)
    await stage.bus.declare()
    await scene.broker.publish(stage.queue, b"one", headers=ASKING, type="shadow", app_id="shadow")
    async with stage.bus:
        await scene.trail.until("refused")
    assert (scene.codes(), stage.handled, stage.told()) == (["header.missing"], [], [])


@attack("shadow-ended")
async def test_a_message_that_comes_when_a_shadow_has_ended(scene: Scene) -> None:
    """The end is by the guard's clock, whatever a message says of its own time."""
    stage = Shadowed.begun(scene)
    await stage.bus.declare()
    earlier = datetime.fromtimestamp(scene.clock.now() - 60, UTC)
    async with stage.bus:
        await scene.broker.publish(stage.queue, b"before")
        await scene.trail.until("shadowed")
        await stage.bus.idle()
        await scene.clock.advance(DAY)
        await scene.broker.publish(
            stage.queue, b"after", timestamp=earlier, headers={"timestamp_in_ms": 1}
        )
        await scene.trail.until("refused")
    assert (scene.codes(), stage.handled) == (["header.missing"], [("", b"before")])


@attack("shadow-letter")
async def test_what_was_put_away_gets_no_new_way_in(scene: Scene) -> None:
    """Parked, with a token, or made to look like a retry: refused; as it is, it goes home."""
    stage = Shadowed.begun(scene, proofs=True, on_expired=Park())
    await stage.bus.declare()
    await stage.publish(b"one", token=stage.token("ann"))
    await scene.clock.advance(600)
    async with stage.bus:
        await scene.trail.until("parked")
    letter = Message.of(await scene.broker.one(f"{stage.queue}.parked"))
    forged = f"Bearer {scene.issuer.forged('ann')}"
    for made in (
        letter.having(authorization=forged),
        letter.having(authorization=forged, busauth_seal=None),
        letter.having(authorization=f"Bearer {stage.token('ann')}", busauth_seal=None),
        letter.having(authorization=forged, **{PURPOSE: None}),
        letter.having(authorization=forged, **{PURPOSE: "retry"}),
    ):
        await stage.put(made)
    await stage.put(letter)
    async with stage.bus:
        await scene.trail.until("refused", count=5)
        await scene.trail.until("returned")
    assert (stage.handled, stage.told()) == ([], [])


@attack("shadow-copy")
async def test_a_copy_of_what_was_handed_over(scene: Scene) -> None:
    """What has a key was handled, in whose name ever: its copy is a copy."""
    stage = Shadowed.begun(scene, proofs=True)
    await stage.bus.declare()
    await stage.publish(b"one", token=stage.token("ann", scope="orders:read"))
    message = await stage.take()
    async with stage.bus:
        for kind in ("shadowed", "refused"):
            await stage.put(message)
            await scene.trail.until(kind)
            await stage.bus.idle()
    assert stage.handled == [("", b"one")]
    assert [event.code for event in stage.told("refused")] == ["replay.copy"]
