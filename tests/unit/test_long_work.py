"""A handler that takes longer than its token lives."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from busauth import Caller, Grace, Guard, StaticKeys, Verifier
from busauth._amqp.consuming.consumer import Consumer
from busauth._decision import Bare, decide
from busauth._messages.provenance import UNPROVEN
from busauth.caller import subject_of
from busauth.delegation import Exchange
from busauth.errors import CallerError, Deferred, Refused
from busauth.messages import Accepted, ForeseenEnd, Received
from busauth.testing import Issuer
from tests.exchanging import VOUCHERS, Exchanging, voucher
from tests.parties import Party, security
from tests.unit.support import NOW
from tests.unit.test_exchange_policy import Instant, Revoking
from tests.unit.test_remembered import calls_of

LIFE = 300


class Shop:
    """A guard, an issuer and an exchanger, and no broker."""

    def __init__(self, **said: Any) -> None:
        self.clock = Instant()
        self.issuer = Issuer(algorithm="ES256", clock=self.clock)
        self.idp = Exchanging(self.issuer)
        self.revoking = Revoking()
        self.events: list[Any] = []
        keys = StaticKeys(self.issuer.jwks())
        verifier = Verifier(keys, issuer=self.issuer.url, audience=self.issuer.audience, leeway=0)
        self.guard = Guard(
            verifier,
            clock=self.clock,
            revocations=self.revoking,
            auditor=self.events.append,
            on_expired=None if said.pop("without", False) else Exchange(self.idp, **said),
        )
        self.judge = self.guard.judge(queue="orders", scopes={"orders:write"})

    def message(self, subject: str = "ann", **claims: Any) -> Received:
        claims = {"scope": "orders:write", "exp": int(NOW) + LIFE, **claims}
        token = self.issuer.token(subject, **claims)
        headers = {"authorization": f"Bearer {token}"}
        return Received(
            body=b"", exchange="", routing_key="orders", redelivered=False, headers=headers
        )

    @asynccontextmanager
    async def handling(self) -> AsyncIterator[Caller]:
        """Have the only handler run."""
        async with self.judge(self.message()) as judged:
            assert isinstance(judged, Accepted)
            yield judged.caller

    def pass_by(self, seconds: float) -> None:
        self.clock.at += seconds


async def test_a_token_that_counts_is_the_callers_own() -> None:
    """While it counts for some seconds more nobody is asked for another one."""
    shop = Shop()
    async with shop.handling() as caller:
        own = caller.bearer()
        shop.pass_by(LIFE - 11)
        assert await caller.fresh() == own
    assert shop.idp.asked == []


async def test_a_token_that_is_about_to_end_is_had_anew_once() -> None:
    """Whoever asks at once shares one exchange, and what is sent on is the fresh one from then."""
    shop = Shop()
    async with shop.handling() as caller:
        own = caller.bearer()
        shop.pass_by(LIFE - 5)
        several = await asyncio.gather(*(caller.fresh() for _ in range(5)))
        assert len({*several, own}) == 2
        assert (await subject_of(caller)).token == several[0]
        assert caller.bearer() == several[0] == await caller.fresh()
    assert len(shop.idp.asked) == 1
    (told,) = [each for each in shop.events if each.kind == "exchanged"]
    assert (told.subject, told.policy) == ("ann", "Exchange")
    assert several[0] not in repr(shop.events)
    with pytest.raises(CallerError, match="ended"):
        await caller.fresh()


@pytest.mark.parametrize(
    ("said", "after", "why"),
    [
        ({"without": True}, LIFE, "expected on_expired=Exchange"),
        ({}, LIFE, "late=True"),
        ({"late": True, "lifetime": 400.0}, 400, "hard lifetime"),
    ],
    ids=["not declared", "not late", "too long"],
)
async def test_why_none_is_to_be_had(said: dict[str, Any], after: float, why: str) -> None:
    """It is said what to declare."""
    shop = Shop(**said)
    async with shop.handling() as caller:
        shop.pass_by(after)
        with pytest.raises(CallerError, match=why):
            await caller.fresh()
    assert shop.idp.asked == []


async def test_work_that_is_not_authorised_any_more_has_no_token() -> None:
    """Revocation is asked before and after, and what the new token allows is demanded anew."""
    shop = Shop(late=True)
    async with shop.handling() as caller:
        shop.pass_by(LIFE)
        shop.idp.claims = {"scope": "orders:read"}
        with pytest.raises(Refused, match=r"caller\.scope"):
            await caller.fresh()
        shop.idp.claims = {"sub": "eve"}
        with pytest.raises(Refused, match=r"exchange\.answer"):
            await caller.fresh()
        shop.idp.claims = {"scope": "orders:write admin"}
        with pytest.raises(CallerError, match="allows more"):
            await caller.fresh()
        shop.idp.error = Deferred("down")
        with pytest.raises(Deferred):
            await caller.fresh()
        asked = len(shop.idp.asked)
        shop.revoking.names = frozenset({"ann"})
        with pytest.raises(Refused, match=r"token\.revoked"):
            await caller.fresh()
    assert len(shop.idp.asked) == asked


async def test_what_goes_on_is_had_for_a_token_that_gets_there_in_time() -> None:
    """A server would refuse one that ends on its way, and that would be final."""
    shop = Shop()
    async with shop.handling() as caller:
        shop.pass_by(LIFE - 5)
        subject = await subject_of(caller)
        assert subject.caller.expires_at > NOW + LIFE
        assert subject.token == caller.bearer()


async def test_a_handler_that_has_ended_gets_none() -> None:
    """What comes after its end is for nobody, also where it was asked for before."""
    shop = Shop(late=True)
    shop.idp.waits = asyncio.Event()
    async with shop.handling() as caller:
        shop.pass_by(LIFE)
        asking = asyncio.ensure_future(caller.fresh())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    shop.idp.waits.set()
    with pytest.raises(CallerError, match="ended"):
        await asking


async def test_at_an_edge_a_late_token_may_be_exchanged() -> None:
    """Where that is said for it, the request goes on by the fresh token."""
    shop = Shop()
    header = f"Bearer {shop.issuer.token('ann', scope='orders:write', exp=int(NOW) + LIFE)}"
    shop.pass_by(LIFE)
    policy = Exchange(shop.idp, late=True)
    caller = await shop.guard.authenticate(header, scopes={"orders:write"}, on_expired=policy)
    assert caller.late is not None
    assert f"Bearer {caller.bearer()}" != header
    assert await caller.fresh() == caller.bearer()
    (told,) = shop.events
    assert (told.kind, told.queue, told.subject, told.policy) == (
        "exchanged",
        "",
        "ann",
        "Exchange",
    )
    assert (await shop.guard.authenticate(f"Bearer {caller.bearer()}")).subject == "ann"
    with pytest.raises(CallerError, match="no token"):
        await Caller(**{**caller.__dict__, "_lease": None}).fresh()


async def test_a_service_is_tried_with_an_issuer_of_another_name() -> None:
    """Its policies stay, and have nothing exchanged of an issuer that they do not name."""
    shop, tried = Shop(), Issuer("https://tried.test", algorithm="ES256", clock=Instant())
    (verifier,) = shop.guard.verifiers
    assert isinstance(verifier, Verifier)
    guard = Guard(
        verifier,
        on_expired=[Exchange(shop.idp, late=True, vouchers=VOUCHERS), Grace(minutes=10)],
        messages=security(Party("web").publisher()),
    )
    keys, named = StaticKeys(tried.jwks()), [verifier.issuer]
    trusted = verifier.with_keys(keys, issuer=tried.url, stands_for=named)
    replica = guard.replica(trusted, clock=shop.clock, auditor=shop.events.append)

    @replica(queue="orders")
    async def place(caller: Caller) -> None: ...

    assert isinstance(place, Consumer)
    rules = place.rules

    async def decided(token: str) -> Caller:
        verified = rules.trusted.recall(token)
        return await decide(verified, rules.callers, NOW, UNPROVEN, Bare(token))

    late = (await decided(tried.token("ann", exp=int(NOW) - 9))).late
    assert late is not None
    assert late.policy == "Grace"
    with pytest.raises(Refused, match=r"token\.type"):
        await decided(voucher(tried))
    assert shop.idp.asked == []


async def test_who_only_looks_exchanges_nothing() -> None:
    """What would be decided about a late token cannot be foreseen where it would be exchanged."""
    shop = Shop(late=True)

    @shop.guard(queue="orders", scopes={"orders:write"})
    async def place(caller: Caller) -> None: ...

    message = shop.message()
    assert (await shop.guard.foresee(place, message)).end is ForeseenEnd.ACCEPTED
    shop.pass_by(LIFE)
    foreseen = await shop.guard.foresee(place, message)
    assert foreseen.end is ForeseenEnd.UNKNOWN
    assert "Exchange was not run" in (foreseen.detail or "")
    assert shop.idp.asked == []


def test_who_has_no_exchange_pays_for_none() -> None:
    """Trust is what it was, and a lease has nothing that could have a token anew."""
    shop = Shop(without=True)

    @shop.guard(queue="orders", scopes={"orders:write"})
    async def place(caller: Caller) -> None: ...

    assert isinstance(place, Consumer)
    assert place.rules.trusted is shop.guard.core.trusted
    assert not place._pipeline._renews
    raw = shop.issuer.token("ann", scope="orders:write")
    verified, case = place.rules.trusted.recall(raw), Bare(raw)
    decision = partial(decide, verified, place.rules.callers, NOW, UNPROVEN, case)
    assert calls_of(lambda: _ended(decision())) == [
        *("decide", "decide_in_time", "_judged"),
        *("check_standing", "check_revoked", "Demand.check"),
    ]


def _ended(decision: Coroutine[Any, Any, Caller]) -> None:
    with pytest.raises(StopIteration):
        decision.send(None)
