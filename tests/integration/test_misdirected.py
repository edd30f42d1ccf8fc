"""A configuration error costs no genuine work its token, and strangers hold nobody for good."""

import time
from functools import partial
from typing import Any

import aio_pika
import pytest

from busauth import (
    Bus,
    BusOptions,
    Caller,
    DeadLetter,
    Guard,
    GuardOptions,
    RetryOptions,
    StaticKeys,
    Verifier,
)
from busauth._amqp.consuming.misdirected import _RUN
from busauth._amqp.headers import TOKEN
from busauth.letters import Redrive, dead_letters
from busauth.testing import Issuer
from busauth.tokens import Decryption, TokenEncryption, shared_encryption_key
from tests.parties import Party, Scene, security
from tests.security.stage import Message
from tests.support import Broker, Trail

MORE = 3
KEY = shared_encryption_key(bytes(range(32)), key_id="redrive")
QUICK = GuardOptions(pause_first=0.02, pause_longest=0.05)


def misconfigured(issuer: Issuer, trail: Trail, /, **wrong: str) -> Guard:
    said: dict[str, Any] = {"issuer": issuer.url, "audience": issuer.audience} | wrong
    return Guard(Verifier(StaticKeys(issuer.jwks()), **said), options=QUICK, auditor=trail)


def _bus(url: str, guard: Guard, prefetch: int) -> Bus:
    options = BusOptions(retry=RetryOptions(limit=3, first=0.05), prefetch=prefetch)
    return Bus(url, guard=guard, service="orders", options=options)


def serving(url: str, queue: str, guard: Guard, prefetch: int = 100) -> tuple[Bus, list[str]]:
    """Return a service, and whom it has worked for."""
    bus, seen = _bus(url, guard, prefetch), list[str]()

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        seen.append(caller.subject)

    return bus, seen


@pytest.mark.parametrize("name", ["audience", "issuer"])
async def test_a_wrong_setting_stops_a_consumer_and_empties_nothing(
    name: str,
    broker: Broker,
    url: str,
    issuer: Issuer,
    trail: Trail,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a few it pauses and says once what was found; set right, the rest is handled."""
    queue = broker.name("orders")
    wrong = {name: f"{getattr(issuer, 'url' if name == 'issuer' else name)}/"}
    bus, seen = serving(url, queue, misconfigured(issuer, trail, **wrong))
    await bus.declare()
    for number in range(_RUN + MORE):
        await broker.publish(queue, token=issuer.token(str(number)))
    async with bus:
        (told,) = await trail.until("deferred", count=1)
        await trail.until("resumed", count=3)
    await broker.settles_at(f"{queue}.rejected", _RUN)
    assert not seen
    assert "expected " + next(iter(wrong.values())) in str(told.detail)
    (line,) = [each for each in caplog.records if "is not consumed" in each.getMessage()]
    assert line.levelname == "ERROR"
    right, seen = serving(url, queue, misconfigured(issuer, trail))
    async with right:
        await trail.until("handled", count=MORE)
    assert len({*seen}) == MORE
    await broker.settles_at(f"{queue}.dead", 0)


@pytest.mark.parametrize("claims", [{"aud": "another"}, {"iss": "https://another.example"}])
async def test_what_nobody_signed_never_counts(
    claims: dict[str, str], broker: Broker, url: str, issuer: Issuer, trail: Trail
) -> None:
    """Forged tokens are refused as ever, however many come first."""
    queue = broker.name("orders")
    bus, _ = serving(url, queue, misconfigured(issuer, trail))
    async with bus:
        for _ in range(_RUN + MORE):
            await broker.publish(queue, token=issuer.forged("eve", **claims))
        await trail.until("refused", count=_RUN + MORE)
    assert "deferred" not in trail.kinds()


async def test_strangers_ahead_hold_nobody_for_good(
    broker: Broker, url: str, issuer: Issuer, trail: Trail
) -> None:
    """Work behind theirs is reached; from then on theirs is refused, and never a dead letter."""
    queue, strangers = broker.name("orders"), 4 * _RUN
    bus, seen = serving(url, queue, misconfigured(issuer, trail), prefetch=_RUN)
    await bus.declare()
    for _ in range(strangers):
        await broker.publish(queue, token=issuer.token("mallory", aud="another"))
    await broker.publish(queue, token=issuer.token("ann"))
    async with bus:
        await trail.until("handled")
        await trail.until("refused", count=strangers)
    assert seen == ["ann"]
    await broker.settles_at(f"{queue}.rejected", strangers)
    await broker.settles_at(f"{queue}.dead", 0)


@pytest.mark.parametrize(
    "claims", [{}, {"exp": int(time.time()) - 60, "iat": int(time.time()) - 90}]
)
async def test_one_token_that_fits_shows_that_the_settings_do(
    claims: dict[str, Any], broker: Broker, url: str, issuer: Issuer, trail: Trail
) -> None:
    """Be it late: from then on tokens for others are refused one by one."""
    queue = broker.name("orders")
    bus, _ = serving(url, queue, misconfigured(issuer, trail))
    async with bus:
        await broker.publish(queue, token=issuer.token("ann", **claims))
        await trail.until("refused" if claims else "handled")
        for _ in range(_RUN + MORE):
            await broker.publish(queue, token=issuer.token("mallory", aud="another"))
        await trail.until("refused", count=_RUN + MORE + bool(claims))
    assert "deferred" not in trail.kinds()


def keeping(scene: Scene, queue: str, web: Party, audience: str) -> tuple[Bus, list[str]]:
    """Return a service whose letters keep their tokens, and whom it has worked for."""
    keys = StaticKeys(scene.issuer.jwks())
    guard = Guard(
        Verifier(keys, issuer=scene.issuer.url, audience=audience, leeway=0),
        on_expired=DeadLetter(keep_token=TokenEncryption({"redrive": KEY})),
        messages=security(web.publisher()),
        options=QUICK,
        clock=scene.clock,
        auditor=scene.trail,
    )
    return serving(scene.broker.url, queue, guard)


@pytest.mark.parametrize("url", ["embedded", "rabbitmq"], indirect=True)
async def test_a_rejected_letter_that_is_moved_back_stays_one(scene: Scene) -> None:
    """It goes back to the bounded queue that it was in, and is sent again from there."""
    queue, web, issuer = scene.broker.name("orders"), Party("web"), scene.issuer
    service = partial(keeping, scene, queue, web)
    wrong, _ = service("misspelt")
    await wrong.declare()
    async with scene.publishing(web) as publishing:
        await publishing.publish(queue, b"{}", token=issuer.token("ann"))
    async with wrong:
        await scene.trail.until("refused")
    letter = Message.of(await scene.broker.one(f"{queue}.rejected"))
    right, seen = service(issuer.audience)
    await scene.broker.publish(queue, letter.body, headers={**letter.headers}, **letter.properties)
    async with right:
        (told,) = await scene.trail.until("returned")
        await scene.broker.settles_at(f"{queue}.rejected", 1)
    assert str(told.detail).endswith(f"{queue}.rejected")
    await scene.broker.settles_at(f"{queue}.dead", 0)
    redrive = Redrive(
        scene.broker.url, guard=right.guard, queue=queue, keys=Decryption(KEY), rejected=True
    )
    assert len((await redrive.letters()).sent) == 1
    async with right:
        await scene.trail.until("handled")
    assert seen == ["ann"]


async def test_the_rejected_keep_their_tokens_and_can_be_sent_again(scene: Scene) -> None:
    """Encrypted and sealed, with their proofs; a copy of one that was sent again is refused."""
    queue, web, issuer = scene.broker.name("orders"), Party("web"), scene.issuer
    service = partial(keeping, scene, queue, web)
    wrong, _ = service("misspelt")
    await wrong.declare()
    async with scene.publishing(web) as publishing:
        await publishing.publish(queue, b"{}", token=issuer.token("ann"))
    sent = await scene.broker.one(queue)
    forged: dict[str, Any] = {"authorization": f"Bearer {issuer.forged('eve', aud='else')}"}
    for headers in (dict(sent.headers), forged):
        copy = aio_pika.Message(
            sent.body,
            headers=headers,
            message_id=sent.message_id,
            timestamp=sent.timestamp,
            content_type=sent.content_type,
            delivery_mode=sent.delivery_mode,
            app_id=sent.app_id,
            type=sent.type,
        )
        await scene.broker.channel.default_exchange.publish(copy, queue)
        if headers is not forged:
            original = copy
    async with wrong:
        await scene.trail.until("refused", count=2)
    letters = await dead_letters(scene.broker.url, f"{queue}.rejected")
    (mine,) = [letter for letter in letters if letter.sealed]
    (others,) = [letter for letter in letters if not letter.sealed]
    assert "misspelt" in str(mine.detail)
    assert (TOKEN in mine.headers, TOKEN in others.headers) == (True, False)
    assert str(sent.headers["authorization"]).split()[1] not in str(mine.headers)
    right, seen = service(issuer.audience)
    again = Redrive(
        scene.broker.url, guard=right.guard, queue=queue, keys=Decryption([KEY]), rejected=True
    )
    released = await again.letters()
    assert (len(released.sent), released.refused, released.others) == (1, {}, 1)
    async with right:
        await scene.trail.until("handled")
        await scene.broker.channel.default_exchange.publish(original, queue)
        await scene.trail.until("refused", count=3)
    assert (seen, scene.codes()[-1]) == (["ann"], "replay.copy")


async def test_what_says_falsely_that_it_comes_back_gets_no_seal(scene: Scene) -> None:
    """Whoever writes beside the queue has nothing sealed, be their token genuine."""
    queue = scene.broker.name("orders")
    keeping = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))
    bus = scene.bus(security(), on_expired=keeping)

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        pass

    async with bus:
        token = scene.issuer.token("eve", aud="another")
        await scene.broker.publish(queue, token=token, headers={"busauth-purpose": "letter"})
        await scene.trail.until("refused")
    (letter,) = await dead_letters(scene.broker.url, f"{queue}.rejected")
    assert (letter.sealed, TOKEN in letter.headers) == (False, False)
