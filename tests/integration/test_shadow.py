"""A consumer in shadow: what strict would refuse is handed over as nobody, and recorded."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from busauth import (
    ANONYMOUS,
    Bus,
    Caller,
    CallerError,
    ConsumerOptions,
    Discard,
    Event,
    GuardOptions,
    Reject,
    load_settings,
)
from busauth.expiry import Policies
from busauth.messages import InProcessReplay, MessageSecurity, Proven, ReplayKey, Standing
from busauth.settings import Shadow
from busauth.testing import Issuer, IssuerServer
from tests.parties import DAY, SEAL, Party, Scene, security
from tests.support import Order

WEB = Party("web")


def shadow(scene: Scene, *codes: str, days: float = 1) -> Shadow:
    """Return a shadow that ends after so many days, by the scene's clock."""
    until = datetime.fromtimestamp(scene.clock.now() + days * DAY, UTC)
    return Shadow(until=until, codes=codes) if codes else Shadow(until=until)


class Service:
    """A bus in shadow, and what its handler was called with: subject, body, publisher."""

    def __init__(
        self,
        scene: Scene,
        *codes: str,
        messages: MessageSecurity | None = None,
        on_expired: Policies | None = None,
        days: float = 1,
    ) -> None:
        self.scene, self.queue = scene, scene.broker.name("orders")
        self.seen: list[tuple[str | None, int, str | None]] = []
        said = ConsumerOptions(shadow=shadow(scene, *codes, days=days))
        options = GuardOptions(consumers={self.queue: said})
        self.bus = scene.bus(
            messages or security(seal=SEAL), options=options, on_expired=on_expired
        )
        self.fails: list[Exception] = []

        @self.bus.consumer(self.queue, scopes={"orders:write"})
        async def place(order: Order, caller: Caller | None, proven: Proven | None) -> None:
            subject = caller.subject if caller else None
            self.seen.append((subject, order.id, proven.publisher if proven else None))
            if self.fails:
                raise self.fails.pop()

    def token(self, **claims: Any) -> str:
        return self.scene.issuer.token("ann", **{"scope": "orders:write", **claims})

    async def publish(self, order: int, **said: Any) -> None:
        await self.scene.broker.publish(self.queue, b'{"id": %d}' % order, **said)

    def told(self, kind: str) -> list[Event]:
        return [event for event in self.scene.trail.events if event.kind == kind]


async def test_what_strict_would_refuse_is_nobodys(scene: Scene) -> None:
    """A message without a token is handled as nobody; one with a token has its caller as ever."""
    service = Service(scene)
    async with service.bus:
        await service.publish(1, app_id="legacy", message_id="one")
        await service.publish(2, token=service.token())
        await scene.trail.until("handled", count=2)
    assert sorted(service.seen, key=lambda each: each[1]) == [(None, 1, None), ("ann", 2, None)]
    (told,) = service.told("shadowed")
    assert (told.code, told.sender, told.message_id) == ("header.missing", "said legacy", "one")
    assert (told.issuer, told.subject, told.attempt) == (None, None, 1)
    details = {event.message_id: event.detail for event in service.told("handled")}
    assert details["one"] == "as nobody, despite header.missing"
    assert len(service.told("accepted")) == 1
    assert [
        await scene.broker.count(f"{service.queue}.{each}") for each in ("dead", "rejected")
    ] == [
        0,
        0,
    ]


async def test_a_genuine_caller_who_may_not_is_told_and_not_handed_over(scene: Scene) -> None:
    """The record names whose token it was and its client; the handler gets nobody."""
    service = Service(scene)
    async with service.bus:
        await service.publish(1, token=service.token(scope="orders:read", client_id="shop"))
        await scene.trail.until("handled")
    assert service.seen == [(None, 1, None)]
    (told,) = service.told("shadowed")
    assert (told.code, told.subject, told.sender) == ("caller.scope", "ann", "client shop")


async def test_only_the_codes_that_were_said_are_handed_over(scene: Scene) -> None:
    """What an operator has not named is refused, as strict does."""
    service = Service(scene, "header.missing")
    async with service.bus:
        await service.publish(1)
        await service.publish(2, token=service.token(aud="another"))
        await scene.trail.until("handled")
        await scene.trail.until("refused")
    assert service.seen == [(None, 1, None)]
    assert scene.codes() == ["token.audience"]


async def test_what_a_policy_discards_is_discarded(scene: Scene) -> None:
    """Shadow takes nothing away from a policy that has a place for what is late."""
    service = Service(scene, on_expired=Discard())
    async with service.bus:
        await service.publish(1, token=service.token(exp=int(scene.clock.now()) - 60))
        await scene.trail.until("discarded")
    assert service.seen == []


async def test_a_body_that_nobody_can_use_is_refused_as_strict_would(scene: Scene) -> None:
    """It goes to the bounded queue of what is not genuine, and not among the dead letters."""
    service = Service(scene)
    async with service.bus:
        await scene.broker.publish(service.queue, b"no order")
        (told,) = await scene.trail.until("refused")
    assert told.code == "header.missing"
    assert "then body.not_json" in (told.detail or "")
    letter = await scene.broker.one(f"{service.queue}.rejected")
    assert letter.headers["busauth-refusal"] == "header.missing"


async def test_a_failed_run_is_tried_again_and_judged_again(scene: Scene) -> None:
    """Its retry is nobody's again; after the last one it is put away as strict would have."""
    service = Service(scene)
    service.fails = [Reject("no stock"), LookupError("twice"), LookupError("once")]
    async with service.bus:
        await service.publish(1)
        (told,) = await scene.trail.until("refused")
    assert [subject for subject, _, _ in service.seen] == [None, None, None]
    assert [event.attempt for event in service.told("shadowed")] == [1, 2, 3]
    assert told.code == "header.missing"
    assert "then handler.rejected" in (told.detail or "")
    assert await scene.broker.count(f"{service.queue}.dead") == 0


async def test_nothing_is_published_in_a_callers_name_by_nobody(scene: Scene) -> None:
    """Without a caller it is an error that says why; said to be nobody's, it goes out."""
    queue, onward = scene.broker.name("orders"), scene.broker.name("stock")
    said = {queue: ConsumerOptions(shadow=shadow(scene))}
    bus = scene.bus(security(), options=GuardOptions(consumers=said))
    await scene.broker.channel.declare_queue(onward, durable=True)
    errors: list[str] = []

    @bus.consumer(queue)
    async def place(order: Order) -> None:
        try:
            await bus.publish(onward, order)
        except CallerError as error:
            errors.append(str(error))
        await bus.publish(onward, order, token=ANONYMOUS)

    async with bus:
        await scene.broker.publish(queue, message_id="first")
        await scene.trail.until("handled")
    sent = await scene.broker.one(onward)
    assert "authorization" not in sent.headers
    assert sent.headers["busauth-parent"] == "first"
    (told,) = errors
    assert "runs as nobody" in told
    assert "token=ANONYMOUS" in told


async def test_a_proven_publisher_is_told_and_handed_over(scene: Scene) -> None:
    """Nobody's message may have a publisher: that is proven apart, and names the sender."""
    service = Service(scene, messages=security(WEB.publisher()))
    token = service.token(scope="orders:read")
    async with service.bus, scene.publishing(WEB) as publishing:
        await publishing.publish(service.queue, Order(id=1), token=token)
        await scene.trail.until("handled")
    assert service.seen == [(None, 1, "web")]
    (told,) = service.told("shadowed")
    assert (told.code, told.publisher, told.sender) == ("caller.scope", "web", "proven web")


async def test_a_proof_that_has_become_stale_proves_nobody(scene: Scene) -> None:
    """Strict refuses what it says, and a handler is not told it: it was good when it was read."""

    class Slow(InProcessReplay):
        async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
            await scene.clock.advance(DAY + 60)
            return await super().begin(key, holder=holder, redelivered=redelivered)

    slow = Slow(keep_for=3 * DAY)
    service = Service(scene, messages=security(WEB.publisher(), replay=slow), days=3)
    token = service.token(exp=int(scene.clock.now() + 2 * DAY))
    async with service.bus, scene.publishing(WEB) as publishing:
        await publishing.publish(service.queue, Order(id=1), token=token)
        await scene.trail.until("handled")
    (told,) = service.told("shadowed")
    assert (told.code, service.seen) == ("proof.stale", [(None, 1, None)])


async def test_a_handler_that_demands_a_caller_stays_strict(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told as it is registered, with what to do; nothing reaches it as nobody."""
    queue = scene.broker.name("orders")
    said = {queue: ConsumerOptions(shadow=shadow(scene))}
    bus = scene.bus(security(), options=GuardOptions(consumers=said))

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        pytest.fail("it has no caller")

    async with bus:
        await scene.broker.publish(queue)
        await scene.trail.until("refused")
    assert scene.codes() == ["header.missing"]
    (line,) = [each for each in caplog.messages if "and yet strict" in each]
    assert "annotate it as `Caller | None`" in line


async def test_a_handler_that_demands_a_proof_stays_strict(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """What is annotated as `Proven` is never None: nobody's message may have no publisher."""
    queue = scene.broker.name("orders")
    said = {queue: ConsumerOptions(shadow=shadow(scene))}
    bus = scene.bus(security(WEB.publisher()), options=GuardOptions(consumers=said))

    @bus.consumer(queue)
    async def place(proven: Proven) -> None:
        pytest.fail(f"its publisher is {proven}")

    async with bus:
        await scene.broker.publish(queue)
        await scene.broker.publish(queue, token=scene.issuer.token("ann"))
        await scene.trail.until("refused", count=2)
    assert scene.codes() == ["header.missing", "proof.missing"]
    (line,) = [each for each in caplog.messages if "and yet strict" in each]
    assert "takes a Proven, and nobody has one; annotate it as `Proven | None`" in line


FILE = 'issuer = "{issuer}"\naudience = "shop"\n'
SAID = '[consumers."{queue}".shadow]\nuntil = {until}\n'


async def test_an_operator_switches_it_while_a_service_runs(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file's shadows alone are taken; what cannot be read changes nothing; its end is kept."""
    file, queue = tmp_path / "busauth.toml", scene.broker.name("orders")
    idp = IssuerServer(Issuer(audience="shop"))
    strict = FILE.format(issuer=idp.issuer.url)
    until = datetime.fromtimestamp(int(scene.clock.now()) + 3600, UTC).isoformat()
    on = strict + SAID.format(queue=queue, until=until)
    file.write_text(strict)
    guard = load_settings(file).make_guard(clock=scene.clock, auditor=scene.trail)
    bus = Bus(scene.broker.url, guard=guard, service="test", options=scene.bus(security()).options)
    seen: list[bytes] = []

    @bus.consumer(queue)
    async def place(message: AbstractIncomingMessage) -> None:
        seen.append(message.body)

    async def put(body: bytes, text: str | None, kind: str, count: int) -> None:
        if text is not None:
            file.write_text(text)
        await scene.clock.advance(6)
        await scene.broker.publish(queue, body)
        await scene.trail.until(kind, count=count)

    with idp:
        async with bus:
            await put(b"strict", None, "refused", 1)
            await put(b"on", on, "handled", 1)
            await put(b"still", "no TOML", "handled", 2)
            await put(b"more", on + "[guard]\nmax_hops = 3\n", "handled", 3)
            await put(b"off", strict, "refused", 2)
            await put(b"again", on, "handled", 4)
            await scene.clock.advance(3600)
            await put(b"ended", None, "refused", 3)
    assert seen == [b"on", b"still", b"more", b"again"]
    log = "\n".join(caplog.messages)
    for line in (
        "in shadow until",
        "cannot be used, so that shadows stay as they were",
        "what is said otherwise now under guard counts after a restart",
        "in shadow no more",
        "its shadow has ended",
    ):
        assert line in log


async def test_a_bus_that_runs_looks_at_the_file_by_itself(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What an operator says is told before any message comes; a blocking handler takes nobody."""
    file, queue = tmp_path / "busauth.toml", scene.broker.name("orders")
    with IssuerServer(Issuer(audience="shop")) as idp:
        file.write_text(FILE.format(issuer=idp.issuer.url))
        guard = load_settings(file).make_guard(clock=scene.clock, auditor=scene.trail)
        options = scene.bus(security()).options
        bus = Bus(scene.broker.url, guard=guard, service="test", options=options)
        seen: list[Caller | None] = []

        @bus.consumer(queue)
        def place(caller: Caller | None) -> None:
            seen.append(caller)

        until = datetime.fromtimestamp(int(scene.clock.now()) + 3600, UTC).isoformat()
        with file.open("a") as written:
            written.write(SAID.format(queue=queue, until=until))
        running = asyncio.create_task(bus.run(signals=False))
        async with asyncio.timeout(20):
            while "in shadow until" not in caplog.text:
                await asyncio.sleep(0.01)
        await scene.broker.publish(queue)
        await scene.trail.until("handled")
        bus.stop()
        await running
    assert seen == [None]
