"""What goes on in place of a caller's token, as an issuer gives it: narrower, or for later."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from busauth import ConfigurationError, Refused
from busauth._amqp.publishing.onwards import OnwardRoutes
from busauth.delegation import (
    FORWARDED,
    Exchanged,
    ExchangeRequest,
    Onward,
    OnwardToken,
    Subject,
    Voucher,
)
from busauth.messages import Route
from tests.unit.exchange_world import World, make_world

DAY = 24 * 3600.0


@pytest.fixture
def world() -> World:
    return make_world()


def said(world: World, token: str) -> dict[str, Any]:
    """Return what a token of the issuer's says, whatever its kind."""
    claims = world.issuer.read(token) or world.issuer.read(token, ("voucher+jwt",))
    assert claims is not None
    return claims


def voucher(world: World, **named: Any) -> Voucher:
    return Voucher(world.idp, audience="later", clock=world.clock, **named)


async def code_of(onward: OnwardToken, subject: Subject) -> str:
    with pytest.raises(Refused) as refused:
        await onward.token_for(subject)
    return refused.value.detail


async def test_a_narrower_token_goes_on(world: World) -> None:
    """For the next service alone, with the scopes that were named; and the token in hand, as is."""
    subject = await world.subject()
    onward = Onward(world.idp, audience="payments", scopes="payments:take")
    claims = said(world, await onward.token_for(subject))
    assert (claims["aud"], claims["scope"], claims["sub"]) == ("payments", "payments:take", "alice")
    assert await FORWARDED.token_for(subject) == subject.token
    assert f"{onward} {FORWARDED!r}" == "<Onward to payments, with payments:take> FORWARDED"


async def test_many_messages_of_one_caller_take_one_exchange(world: World) -> None:
    """However many are published at a time, one after the other, or by another route alike."""
    subject = await world.subject()
    onward, alike = (Onward(world.idp, audience="payments") for _ in range(2))
    for _ in range(3):
        tokens = await asyncio.gather(*(onward.token_for(subject) for _ in range(100)))
        assert set(tokens) == {await alike.token_for(subject)}
    assert len(world.forms()) == 1


def test_the_first_that_covers_a_publication_counts(world: World) -> None:
    """Whether a route or a routing key says it; patterns cover as a binding would."""
    first, second = (Onward(world.idp, audience=name) for name in ("first", "second"))
    declared: dict[str | Route, OnwardToken] = {
        Route("", "orders"): first,
        "orders": second,
        Route("events", "order.*"): first,
        Route("events", "#"): second,
    }
    routes = OnwardRoutes(declared)

    def of(exchange: str, key: str) -> OnwardToken | None:
        return routes.of(None, None, exchange, key, body=b"")

    assert of("", "orders") is of("events", "order.placed") is first
    assert of("events", "stock") is second
    with pytest.raises(ConfigurationError, match="no caller's token goes there"):
        of("", "order.placed")


async def test_a_chain_ends_at_its_depth(world: World) -> None:
    """Nobody is asked for a caller for whom as many act already as may."""
    subject = await world.subject(act={"sub": "a", "act": {"sub": "b"}})
    assert "exchange.depth: got 2" in await code_of(
        Onward(world.idp, audience="payments", max_depth=1), subject
    )
    assert not world.forms()
    await Onward(world.idp, audience="payments", max_depth=2).token_for(subject)


async def test_a_voucher_outlives_the_token_that_it_is_had_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that it is one, for whom, and what may be had for it; nothing is warned of."""
    subject = await world.subject()
    token = await voucher(world, scopes="payments:take", hours=24).token_for(subject)
    claims = said(world, token)
    assert (claims["aud"], claims["scope"]) == ("later", "payments:take")
    assert claims["exp"] - subject.caller.expires_at > DAY - 1000
    assert not caplog.records


async def test_a_voucher_that_lives_too_long_does_not_go_on(world: World) -> None:
    """What was said is the most, by more than clocks differ; without a word the server's holds."""
    subject = await world.subject()
    for named in ({"hours": 23}, {"lifetime": timedelta(minutes=5)}):
        assert "got a voucher for 86400 s" in await code_of(voucher(world, **named), subject)
    for named in ({"hours": 23, "minutes": 59, "seconds": 30}, {}):
        await voucher(world, **named).token_for(subject)


@pytest.mark.parametrize("lifetime", [600.0, 120.0], ids=["with the token", "before it"])
async def test_a_server_that_caps_vouchers_is_told_once(
    world: World, caplog: pytest.LogCaptureFixture, lifetime: float
) -> None:
    """One that ends them with the subject's token, or earlier, leaves waiting work without any."""
    world.issuer.voucher_lifetime = lifetime
    subject = await world.subject(exp=int(world.clock.now() + 600))
    onward = voucher(world, hours=20)
    with caplog.at_level(logging.WARNING, "busauth"):
        for _ in range(3):
            await onward.token_for(subject)
    (line,) = caplog.messages
    assert "<Voucher to later>" in line
    assert f"this one counts for {lifetime:.0f} s" in line


async def test_a_short_voucher_for_a_longer_token_is_no_cap(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it lives as long as was said, its end before the token's is what was wanted."""
    world.issuer.voucher_lifetime = 120.0
    subject = await world.subject(exp=int(world.clock.now() + 600))
    await voucher(world, minutes=2).token_for(subject)
    assert not caplog.records


async def test_an_access_token_is_no_voucher(world: World) -> None:
    """Whatever an exchanger of one's own gives in its place is left behind."""

    class Kind:
        issuer = "https://idp.example"

        async def exchange(self, subject: Subject, _request: ExchangeRequest) -> Exchanged:
            return Exchanged(replace(subject.caller), subject.token)

    onward = Voucher(Kind(), audience="later", clock=world.clock)
    assert "exchange.answer: got urn:" in await code_of(onward, await world.subject())


@pytest.mark.parametrize(
    "named",
    [
        {"lifetime": timedelta(0)},
        {"lifetime": timedelta(hours=1), "hours": 1},
        {"hours": -1},
        {"audience": ""},
        {"max_depth": 0},
        {"scopes": "a b"},
        {"scopes": ()},
    ],
    ids=str,
)
def test_a_voucher_that_could_not_be_is_found_at_once(world: World, named: dict[str, Any]) -> None:
    """A span in two ways or of nothing, nobody, no depth, and no name of a scope."""
    with pytest.raises(ConfigurationError):
        Voucher(world.idp, **{"audience": "later", **named})
