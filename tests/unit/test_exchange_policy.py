"""What a policy has in a token's place is held to account, whatever that is."""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import DeadLetter, Deferred, Grace, Restrict, StaticKeys, Verifier
from busauth._decision import Bare, Rules, decide, stands
from busauth._demand import Demand
from busauth._expiry import NotRun, PolicyChain, Renewals
from busauth._messages.proof import Proven
from busauth._messages.provenance import UNPROVEN, Provenance
from busauth._tokens.vouchers import WithVouchers
from busauth.caller import Caller
from busauth.delegation import (
    NO_ACTOR,
    Actor,
    Exchange,
    Exchanged,
    ExchangeRequest,
    Subject,
    TokenExchange,
)
from busauth.errors import (
    CallerError,
    ConfigurationError,
    Forbidden,
    NotGenuine,
    Refused,
    Untimely,
)
from busauth.expiry import LateToken, Policies, Renewed, Verdict
from busauth.testing import Issuer
from busauth.tokens import (
    Authenticators,
    ClientSecretBasic,
    Fetcher,
    Introspection,
    Verifiers,
    found,
)
from tests.exchanging import VOUCHERS, Exchanging, voucher
from tests.unit.support import NOW, caller

WRITE = Demand.of(scopes={"orders:write"})
HOUR = 3600.0


@dataclass
class Revoking:
    """Knows whoever was revoked, by subject; counts how often it was asked."""

    names: frozenset[str] = frozenset()
    asked: int = 0

    def revoked(self, caller: Caller, now: float) -> bool:
        self.asked += 1
        return caller.subject in self.names


@dataclass
class Instant:
    """A clock that shows what a test says."""

    at: float = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@dataclass
class World:
    """One issuer, one exchanger, one consumer's rules."""

    clock: Instant
    issuer: Issuer
    idp: Exchanging
    revoking: Revoking

    @classmethod
    def made(cls, **said: Any) -> "World":
        clock = Instant()
        issuer = Issuer(algorithm="ES256", clock=clock)
        return cls(clock, issuer, Exchanging(issuer, **said), Revoking())

    def trusted(self) -> WithVouchers:
        own = Verifier(
            StaticKeys(self.issuer.jwks()),
            issuer=self.issuer.url,
            audience=self.issuer.audience,
            leeway=0,
        )
        limits = {"max_token_bytes": 8192, "cache_size": 10}
        return WithVouchers(Verifiers(own), [(VOUCHERS, own)], **limits)

    def rules(self, policies: Policies, demand: Demand = WRITE) -> Rules:
        audience = frozenset({self.issuer.audience})
        chain = PolicyChain(
            policies,
            hard_max_age=86400,
            trusted=frozenset({"web"}),
            audiences={self.issuer.url: audience},
        )
        trusted = self.trusted()
        renewals = Renewals(trusted=trusted._trusted, audience=audience, clock=self.clock)
        return Rules(policies=chain, demand=demand, revocations=self.revoking, renewals=renewals)

    async def decided(
        self,
        policies: Policies,
        token: str | None = None,
        *,
        after: float = 2 * HOUR,
        provenance: Provenance = UNPROVEN,
        demand: Demand = WRITE,
    ) -> tuple[Caller, Bare]:
        """Decide about a token, some seconds after it was issued."""
        self.clock.at = NOW
        token = token or self.issuer.token("ann", scope="orders:write orders:read")
        self.clock.at = NOW + after
        verified, in_hand = self.trusted().recall(token), Bare(token)
        rules = self.rules(policies, demand)
        return await decide(verified, rules, self.clock.now(), provenance, in_hand), in_hand


def published(at: float = NOW, root: float | None = None) -> Provenance:
    proven = Proven("web", at, "1", "", "orders", frozenset(), "web", at if root is None else root)
    return Provenance(proven, {"web": at})


async def refused(coming: Any) -> Refused:
    with pytest.raises(Refused) as found:
        await coming
    return found.value


@pytest.fixture
def world() -> World:
    return World.made()


# --- late tokens ----------------------------------------------------------------------------------


async def test_a_late_token_is_exchanged_where_that_is_said(world: World) -> None:
    """The handler's caller is the fresh token's, and says by which policy, and until when."""
    caller, in_hand = await world.decided(Exchange(world.idp, late=True))
    ((subject, request),) = world.idp.asked
    assert subject.token == in_hand.token
    assert request == ExchangeRequest.of(world.issuer.audience)
    assert in_hand.fresh is not None
    assert in_hand.fresh.token != in_hand.token
    assert caller.late is not None
    assert caller.late.policy == "Exchange"
    assert caller.late.until == caller.expires_at > world.clock.now()
    assert caller.first is not None
    assert caller.first.token_sha256 == subject.caller.token_sha256 != caller.token_sha256
    assert not caller.restricted


async def test_a_late_token_is_not_exchanged_by_default(world: World) -> None:
    """Most servers take no expired token: nobody is asked, and the next policy is."""
    late = await refused(world.decided(Exchange(world.idp)))
    assert late.code == "token.expired"
    caller, in_hand = await world.decided([Exchange(world.idp), Grace(hours=8)])
    assert caller.late is not None
    assert (caller.late.policy, in_hand.fresh, world.idp.asked) == ("Grace", None, [])


async def test_the_hard_lifetime_ends_what_is_had(world: World) -> None:
    """Past `iat` and the lifetime, or past the root and the lifetime, nobody is asked."""
    policy = Exchange(world.idp, late=True, lifetime=3 * HOUR)
    caller, _ = await world.decided(policy, after=3 * HOUR - 1)
    assert caller.late is not None
    assert caller.late.until == NOW + 3 * HOUR
    assert (await refused(world.decided(policy, after=3 * HOUR))).code == "token.expired"
    root = published(NOW, NOW - 2 * HOUR)
    late = await refused(world.decided(policy, after=2 * HOUR, provenance=root))
    assert late.code == "token.expired"
    assert len(world.idp.asked) == 1


async def test_a_refused_exchange_ends_the_chain(world: World) -> None:
    """An authoritative no is the end: no later policy is asked."""
    world.idp.error = Forbidden("exchange.refused", found="invalid_grant")
    late = await refused(world.decided([Exchange(world.idp, late=True), Grace(hours=8)]))
    assert (late.code, late.found, late.genuine) == ("exchange.refused", "invalid_grant", True)


@pytest.mark.parametrize(
    "error", [Deferred("down"), ConnectionError("down")], ids=["deferred", "unreachable"]
)
async def test_a_server_out_of_reach_is_nobodys_fault(world: World, error: Exception) -> None:
    """Whoever says so, or raises an `OSError`, has the message wait; a probe comes along."""
    world.idp.error = error
    with pytest.raises(Deferred):
        await world.decided([Exchange(world.idp, late=True), Grace(hours=8)])


async def test_who_was_revoked_has_nothing_exchanged(world: World) -> None:
    """Revocation is asked before anybody else."""
    world.revoking.names = frozenset({"ann"})
    late = await refused(world.decided([Exchange(world.idp, late=True), Grace(hours=8)]))
    assert (late.code, world.idp.asked) == ("token.revoked", [])


async def test_who_is_revoked_meanwhile_is_refused(world: World) -> None:
    """Revocation is asked again, once the token is there."""
    world.idp.waits = asyncio.Event()
    waiting = asyncio.ensure_future(world.decided(Exchange(world.idp, late=True)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.idp.asked
    world.revoking.names = frozenset({"ann"})
    world.idp.waits.set()
    assert (await refused(waiting)).code == "token.revoked"


async def test_a_late_token_of_another_issuer_is_passed_on(world: World) -> None:
    """Who exchanges has to do with tokens of their own issuer alone."""
    other = Exchanging(Issuer("https://other.test", clock=world.clock))
    policies: Policies = [Exchange(other, audience="shop", late=True), Grace(hours=8)]
    caller, _ = await world.decided(policies)
    assert (caller.late and caller.late.policy, other.asked) == ("Grace", [])


async def test_a_storm_asks_once_for_each_caller(world: World) -> None:
    """Five thousand late messages of fifty callers make fifty exchanges, and all are accepted."""
    source = world.issuer
    client, transport = source.register("orders"), source.transport()
    client_clock, source.lifetime = Instant(NOW + HOUR), 9 * HOUR  # the server's stands still
    idp = TokenExchange(
        source.url,
        client=ClientSecretBasic("orders", client.secret),
        fetcher=Fetcher(transport=transport),
        clock=client_clock,
    )
    rules = world.rules(Exchange(idp, late=True))
    assert rules.renewals is not None
    rules = replace(rules, renewals=replace(rules.renewals, clock=client_clock))
    claims: dict[str, Any] = {"scope": "orders:write", "exp": int(NOW) + 60}
    tokens = [source.token(f"caller-{number}", **claims) for number in range(50)]
    verified = [world.trusted().recall(token) for token in tokens]

    async def handle(number: int) -> str:
        in_hand = Bare(tokens[number % 50])
        now = client_clock.now()
        return (await decide(verified[number % 50], rules, now, UNPROVEN, in_hand)).subject

    handled = Counter(await asyncio.gather(*map(handle, range(5000))))
    assert set(handled.values()) == {100}
    assert len([each for each in transport.received if each.path == "/token"]) == 50


# --- what came back -------------------------------------------------------------------------------

_ODD: dict[str, dict[str, Any]] = {
    "another subject": {"sub": "eve"},
    "another issuer": {"iss": "https://other.test"},
    "another audience": {"aud": "bank"},
    "expired": {"exp": int(NOW)},
    "not yet": {"nbf": int(NOW + 9 * HOUR)},
    "no exp": {"exp": None},
    "another actor behind": {"act": {"sub": "a", "act": {"sub": "b"}}},
    "a voucher": {"aud": VOUCHERS},
    "sender-constrained": {"cnf": {"jkt": "x"}},
}


@pytest.mark.parametrize("claims", _ODD.values(), ids=_ODD)
async def test_what_breaks_what_was_asked_is_refused(world: World, claims: dict[str, Any]) -> None:
    """Another's token, or none that counts, is the exchange's fault: a letter, and never lost."""
    world.idp.claims = claims
    late = await refused(world.decided(Exchange(world.idp, late=True)))
    assert (late.code, late.genuine, late.status) == ("exchange.answer", True, 403)
    assert "eve" not in late.detail


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
async def test_what_is_no_token_is_refused(world: World, token: str) -> None:
    """Nonsense is held to account like anything else."""
    world.idp.token = token
    late = await refused(world.decided(Exchange(world.idp, late=True)))
    assert late.code == "exchange.answer"


@pytest.mark.parametrize("token", [5, b"x", ["x"]])
async def test_what_is_no_text_accepts_nothing(world: World, token: Any) -> None:
    """A policy's answer that is no verdict is a failed policy's."""
    world.idp.token = token
    assert (await refused(world.decided(Exchange(world.idp, late=True)))).code == "token.expired"


async def test_an_exchangers_doubts_do_not_lose_the_message(world: World) -> None:
    """That what came is not genuine says nothing against the message, which is."""
    world.idp.error = NotGenuine("token.signature", found="nothing")
    late = await refused(world.decided(Exchange(world.idp, late=True)))
    assert (late.code, late.genuine) == ("exchange.answer", True)


async def test_a_wider_token_gives_no_more(world: World) -> None:
    """Scopes and roles are what both allow, and a token that allows more cannot be sent on."""
    world.idp.claims = {"scope": "orders:write admin", "roles": ["boss"]}
    caller, _ = await world.decided(Exchange(world.idp, late=True))
    assert caller.scopes == {"orders:write"}
    assert not caller.roles
    assert caller.restricted


async def test_one_actor_more_is_what_an_exchange_adds(world: World) -> None:
    """The chain is the first token's, or that with one more in front."""
    act = {"sub": "agent"}
    token = world.issuer.token("ann", scope="orders:write", act=act)
    caller, _ = await world.decided(Exchange(world.idp, late=True), token)
    assert [each.subject for each in caller.actors] == ["agent"]
    world.idp.claims = {"act": {"sub": "orders", "act": act}}
    caller, _ = await world.decided(Exchange(world.idp, late=True), token)
    assert [each.subject for each in caller.actors] == ["orders", "agent"]
    world.idp.claims = {"act": {"sub": "orders"}}
    late = await refused(world.decided(Exchange(world.idp, late=True), token))
    assert late.code == "exchange.answer"


async def test_a_demand_is_asked_of_the_fresh_token(world: World) -> None:
    """Who may do less by it may do less."""
    world.idp.claims = {"scope": "orders:read"}
    late = await refused(world.decided(Exchange(world.idp, late=True)))
    assert late.code == "caller.scope"


async def test_a_verdict_of_a_policys_own_is_held_to_the_same(world: World) -> None:
    """Any policy may bring a token, and no policy is believed."""

    async def bringing(late: LateToken) -> Verdict | None:
        assert late.bearer() not in repr(late)
        return Renewed(world.issuer.token(late.caller.subject, scope="orders:write"))

    caller, in_hand = await world.decided(bringing)
    assert caller.late is not None
    assert caller.late.policy == "bringing"
    assert in_hand.fresh is not None
    for text in (repr(in_hand), repr(in_hand.fresh), repr(Renewed(in_hand.fresh.token))):
        assert in_hand.fresh.token not in text
    late = await refused(world.decided(bringing, after=26 * HOUR))
    assert late.found is not None
    assert "hard maximum age" in late.found


async def test_without_who_proves_it_no_token_is_taken() -> None:
    """Where nobody can prove what a policy brings, it is refused."""

    async def bringing(late: LateToken) -> Verdict | None:
        with pytest.raises(CallerError):
            late.bearer()
        return Renewed("a token")

    from busauth.tokens import Verified  # noqa: PLC0415 -- the one test that makes one

    rules = Rules(policies=PolicyChain(bringing, hard_max_age=86400))
    late = await refused(decide(Verified(caller(expires_at=NOW), None, 0), rules, NOW + 1))
    assert late.code == "exchange.answer"


_TEXT = st.text(max_size=4)
_SOME = st.sampled_from(["orders:write", "orders:read", "admin"])
_CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "sub": st.sampled_from(["ann", "eve", ""]),
        "iss": st.sampled_from(["https://other.test", ""]),
        "aud": st.one_of(_TEXT, st.lists(st.sampled_from(["shop", "bank", VOUCHERS]), max_size=2)),
        "scope": st.lists(_SOME, max_size=3).map(" ".join),
        "roles": st.lists(_TEXT, max_size=2),
        "exp": st.one_of(st.integers(-9, 9).map(lambda n: int(NOW + 2 * HOUR) + n), st.none()),
        "act": st.one_of(st.none(), _TEXT, st.fixed_dictionaries({"sub": _TEXT})),
        "typ": _TEXT,
    },
)


@given(claims=_CLAIMS, until=st.one_of(st.floats(), st.integers(), st.none(), _TEXT))
async def test_whatever_a_policy_returns(claims: dict[str, Any], until: Any) -> None:
    """Nobody gets more than their first token allowed, nor another's, nor for longer."""
    world = World.made(claims=claims)

    async def bringing(late: LateToken) -> Any:
        subject = Subject(late.caller, late.bearer())
        request = ExchangeRequest.of(world.issuer.audience)
        return Renewed(world.idp.given(subject, request), until)

    try:
        caller, _ = await world.decided(bringing)
    except (Untimely, Forbidden):
        return
    assert (caller.issuer, caller.subject) == (world.issuer.url, "ann")
    assert caller.scopes <= {"orders:write", "orders:read"}
    assert not caller.roles
    assert len(caller.actors) <= 1
    assert caller.late is not None
    assert world.clock.now() < caller.late.until <= min(caller.expires_at, NOW + 26 * HOUR)


# --- vouchers -------------------------------------------------------------------------------------


def redeeming(world: World, **said: Any) -> Exchange:
    return Exchange(world.idp, vouchers=VOUCHERS, **said)


async def test_a_voucher_buys_a_fresh_token(world: World) -> None:
    """Twenty hours later, by its proof, it is exchanged for what the guard takes."""
    token = voucher(world.issuer)
    caller, in_hand = await world.decided(
        redeeming(world), token, after=20 * HOUR, provenance=published()
    )
    assert [each.token for each, _ in world.idp.asked] == [token]
    assert caller.audience == (world.issuer.audience,)
    assert caller.late is not None
    assert (caller.late.policy, caller.late.seconds) == ("Exchange", 0.0)
    assert not caller.restricted
    assert in_hand.fresh is not None


async def test_a_voucher_needs_the_proof_of_its_message(world: World) -> None:
    """Without a proof it might be anybody's who reads the queue."""
    late = await refused(world.decided(redeeming(world), voucher(world.issuer)))
    assert (late.code, world.idp.asked) == ("voucher.unproven", [])


@pytest.mark.parametrize(
    ("lasts", "root", "after"),
    [(HOUR, 0.0, HOUR), (9 * HOUR, 0.0, 5 * HOUR), (9 * HOUR, -4 * HOUR, HOUR)],
    ids=["exp", "iat and lifetime", "root and lifetime"],
)
async def test_a_voucher_has_a_hard_lifetime(
    world: World, lasts: float, root: float, after: float
) -> None:
    """It ends with its `exp`, or its lifetime, or the work's, whichever comes first."""
    token, policy = voucher(world.issuer, lasts=lasts), redeeming(world, lifetime=5 * HOUR)
    provenance = published(NOW, NOW + root)
    caller, _ = await world.decided(policy, token, after=after - 1, provenance=provenance)
    assert caller.late is not None
    assert caller.late.until == NOW + after
    late = await refused(world.decided(policy, token, after=after, provenance=provenance))
    assert (late.code, late.status, late.genuine) == ("voucher.expired", 401, True)
    assert len(world.idp.asked) == 1


async def test_no_other_policy_accepts_a_voucher(world: World) -> None:
    """A grace in front, or behind, is not asked."""
    policies: Policies = [Grace(hours=8), redeeming(world), Restrict({"orders:write"})]
    world.idp.error = Forbidden("exchange.refused")
    token = voucher(world.issuer, lasts=HOUR)
    for after, code in ((60, "exchange.refused"), (HOUR + 60, "voucher.expired")):
        late = await refused(world.decided(policies, token, after=after, provenance=published()))
        assert late.code == code


async def test_a_voucher_is_never_in_time(world: World) -> None:
    """Whatever is asked of it, it says that it is not: there is no way past the exchange."""
    verified = world.trusted().recall(voucher(world.issuer))
    assert verified.ends_at == -math.inf
    rules = world.rules(Grace(hours=8))
    late = await refused(decide(verified, rules, NOW, published(), Bare("x")))
    assert late.code == "token.type"
    assert not stands(verified, verified.caller, rules, NOW, published())


async def test_which_token_is_a_voucher(world: World) -> None:
    """Its type says so, or its audience; and it is for one service alone."""
    trusted, issuer = world.trusted(), world.issuer
    assert not trusted.recall(issuer.token()).is_voucher
    assert trusted.recall(voucher(issuer)).is_voucher
    assert trusted.recall(voucher(issuer, header={"typ": "at+jwt"})).is_voucher
    odd = {
        "voucher.audience": [voucher(issuer, aud=[VOUCHERS, each]) for each in ("x", "shop")],
        "token.audience": [voucher(issuer, aud=each) for each in ("x", issuer.audience)],
        "token.signature": [issuer.forged("ann", aud=VOUCHERS)],
        "token.type": [voucher(issuer, header={"typ": "secevent+jwt"})],
    }
    for code, tokens in odd.items():
        for token in tokens:
            with pytest.raises(NotGenuine) as found:
                trusted.recall(token)
            assert found.value.code == code


async def test_a_voucher_is_not_remembered_as_an_access_token(world: World) -> None:
    """What was proven a voucher stays unknown to whoever proves access tokens."""
    trusted, token = world.trusted(), voucher(world.issuer)
    assert trusted.recall(token).is_voucher
    assert trusted.recall(token).is_voucher
    with pytest.raises(NotGenuine):
        trusted._trusted.recall(token)


@pytest.mark.parametrize("is_asked", [False, True], ids=["verified and asked", "asked alone"])
async def test_an_introspected_voucher_is_no_access_token(world: World, is_asked: bool) -> None:
    """Neither where an issuer is asked besides, nor where it alone says what a token is worth."""
    client = world.issuer.client
    asking = Introspection(
        f"{world.issuer.url}/introspect",
        issuer=world.issuer.url,
        audience=world.issuer.audience,
        client=ClientSecretBasic(client.client_id, client.secret),
        fetcher=Fetcher(transport=world.issuer.transport()),
        clock=world.clock,
    )
    own = next(iter(world.trusted()._trusted._verifiers))  # type: ignore[attr-defined]
    trusted = asking if is_asked else Authenticators(own, asking).confirmed()
    token = voucher(world.issuer)
    assert (await refused(found(lambda: trusted.recall(token)))).code == "token.type"


# --- said wrong, and only looked at ---------------------------------------------------------------


def test_what_cannot_work_is_found_at_once(world: World) -> None:
    """Whom a token is for must be known; vouchers need proofs, and an audience of their own."""
    two = {world.issuer.url: frozenset({"a", "b"})}
    for audiences, why in (({}, "is not known here"), (two, "is one of")):
        with pytest.raises(ConfigurationError, match=why):
            PolicyChain(Exchange(world.idp), hard_max_age=1, audiences=audiences)
    with pytest.raises(ConfigurationError, match="expected proofs"):
        PolicyChain(redeeming(world), hard_max_age=1)
    several = [Exchange(world.idp, late=True), Exchange(world.idp)]
    with pytest.raises(ConfigurationError, match="never reached"):
        PolicyChain(several, hard_max_age=1)
    own = world.trusted()._trusted
    assert isinstance(own, Verifiers)
    with pytest.raises(ConfigurationError, match="only vouchers are for"):
        next(iter(own._verifiers)).for_vouchers(world.issuer.audience, {"x"})
    with pytest.raises(ConfigurationError, match="names, none empty"):
        Exchange(world.idp, vouchers="")


def test_how_late_a_token_may_be(world: World) -> None:
    """Where late tokens are exchanged, up to the hard maximum age; else not at all."""
    chains = (Exchange(world.idp, late=said) for said in (True, False))
    assert [PolicyChain(each, hard_max_age=9).lateness for each in chains] == [9, 0]


async def test_who_only_looks_exchanges_nothing(world: World) -> None:
    """That it cannot be known is said, of late tokens and of vouchers; the rest is as it is."""
    policies: Policies = [redeeming(world, late=True), DeadLetter()]
    rules = world.rules(policies)
    looking = replace(rules, policies=rules.policies.without_effects())
    for token in (world.issuer.token("ann"), voucher(world.issuer)):
        verified, now = world.trusted().recall(token), NOW + 5 * HOUR
        with pytest.raises(NotRun, match="exchanged"):
            await decide(verified, looking, now, published(), Bare(token))
    rules = world.rules([redeeming(world), DeadLetter()])
    looking = replace(rules, policies=rules.policies.without_effects())
    verified = world.trusted().recall(world.issuer.token("ann"))
    late = await refused(decide(verified, looking, NOW + 5 * HOUR, published(), Bare("x")))
    assert (late.code, world.idp.asked) == ("token.expired", [])


async def test_what_came_back_is_exchanged_within_its_first_token(world: World) -> None:
    """Scopes that the first token did not have are not even asked for."""
    policy = Exchange(world.idp, audience="shop", late=True)
    first = caller(scopes=frozenset({"orders:write"}))
    from busauth.caller import first_token, narrowed  # noqa: PLC0415 -- the one test of it

    held = narrowed(caller(scopes=frozenset({"orders:write", "admin"})), first_token(first, "sid"))
    await policy.renewed(LateToken(held, NOW, 0, _token="x"))
    assert world.idp.asked[0][1].scopes == frozenset({"orders:write"})


def test_an_exchanged_token_is_not_printed() -> None:
    """Not in a repr of what was had, either."""
    assert "secret" not in repr(Exchanged(caller(), "secret"))


@pytest.mark.parametrize(
    ("act", "actors", "is_welcome"),
    [
        ({"sub": "agent"}, {"agent"}, True),
        ({"sub": "agent"}, {"orders"}, False),
        (None, NO_ACTOR, True),
        (None, {"orders"}, False),
    ],
)
async def test_who_acts_is_who_asked_for_the_work(
    act: Any,
    actors: Any,
    is_welcome: bool,
    world: World,
) -> None:
    """Whom the exchange puts in front is this service itself, and no actor that it asks about."""
    said = {} if act is None else {"act": act}
    token = world.issuer.token("ann", scope="orders:write", **said)
    world.idp.claims = {"act": {"sub": "orders", **said}}
    deciding = world.decided(Exchange(world.idp, late=True), token, demand=Demand.of(actors=actors))
    if is_welcome:
        caller, _ = await deciding
        assert caller.actor == Actor("orders")
    else:
        assert (await refused(deciding)).code == "caller.actor"
