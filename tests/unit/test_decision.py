"""One decision: genuine, then in time, then allowed."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from busauth.caller import Caller
from busauth.decision import Demand, Discarded, Expired, Predicate, Rules, decide
from busauth.errors import ConfigurationError, Deferred, Forbidden, Refused, Untimely
from busauth.late.expiry import (
    Accept,
    DeadLetter,
    Discard,
    Grace,
    LateToken,
    Policies,
    PolicyChain,
    Restrict,
    Verdict,
)
from busauth.late.revocation import Revocations
from busauth.tokens.verifier import Verified
from tests.unit.support import NOW, caller, refused_code

WRITE = Demand.of(scopes={"orders:write"})
NOTHING = Demand()


async def decided(
    policies: Policies = DeadLetter(),  # noqa: B008 -- frozen
    demand: Demand = NOTHING,
    *,
    late: float = 60,
    leeway: float = 0,
    not_before: float | None = None,
    revocations: Revocations | None = None,
    **changes: Any,
) -> Caller:
    """Decide about a caller whose token is so many seconds past `exp`."""
    rules = Rules(policies=PolicyChain(policies, hard_max_age=86400), demand=demand)
    if revocations is not None:
        rules = replace(rules, revocations=revocations)
    return await decide(Verified(caller(**changes), not_before, leeway), rules, NOW + late)


async def test_a_token_in_time_asks_no_policy() -> None:
    """Before `exp` the caller is taken as verified, and is not late."""

    async def never(token: LateToken) -> Verdict | None:
        raise AssertionError

    found = await decided(never, WRITE, late=-1)
    assert found == caller()
    assert found.late is None


@pytest.mark.parametrize("leeway", [0, 30])
async def test_a_token_is_late_from_exp_on(leeway: float) -> None:
    """On or after `exp` plus leeway the policies are asked (RFC 7519, section 4.1.4)."""
    assert (await decided(Grace(minutes=1), late=leeway - 0.001, leeway=leeway)).late is None
    found = (await decided(Grace(minutes=1), late=leeway, leeway=leeway)).late
    assert found is not None
    assert (found.expired_at, found.seconds, found.policy) == (NOW, leeway, "Grace")
    assert found.until == NOW + leeway + 60
    assert not found.restricted


@pytest.mark.parametrize(
    ("policies", "error", "evidence"),
    [
        (DeadLetter(), Expired, "60 s past exp, refused by policy"),
        (Grace(seconds=60), Expired, "60 s past exp, no policy accepts it"),
        (Discard(), Discarded, "60 s past exp"),
    ],
)
async def test_a_late_token_meets_its_policy(
    policies: Policies, error: type[Refused], evidence: str
) -> None:
    """What no policy accepts is refused as expired, with how late it is."""
    with pytest.raises(error) as caught:
        await decided(policies)
    assert type(caught.value) is error
    assert (caught.value.code, caught.value.found) == ("token.expired", evidence)


async def test_time_comes_before_authority() -> None:
    """A caller who is late and may not do this is told that they are late."""
    code = await refused_code(decided(DeadLetter(), Demand.of(scopes={"none"})))
    assert code == "token.expired"


async def test_the_future_comes_before_everything() -> None:
    """A token that is not yet valid is refused, be it expired as well."""
    code = await refused_code(decided(Grace(hours=1), not_before=NOW + 61))
    assert code == "token.not_yet_valid"
    assert await refused_code(decided(issued_at=NOW + 61)) == "token.issued_in_future"


async def test_authority_is_judged_on_what_the_policy_left() -> None:
    """`Restrict` takes scopes away, and a demand for one of them then fails."""
    assert await refused_code(decided(Restrict("orders:read"), WRITE)) == "caller.scope"
    found = await decided(Restrict(["orders:read", "admin"]), Demand.of(scopes="orders:read"))
    assert found.scopes == {"orders:read"}
    assert found.late is not None
    assert found.late.restricted


async def test_restricting_never_adds_a_scope() -> None:
    """What the token did not allow no policy gives."""
    assert (await decided(Restrict(["admin"]))).scopes == frozenset()


@pytest.mark.parametrize("given", ["orders:read", ["orders:read"], {"orders:read"}])
async def test_a_function_may_name_scopes_in_any_form(given: Any) -> None:
    """A verdict's scopes are names, however a user's function hands them over."""

    async def restrict(token: LateToken) -> Verdict | None:
        return Accept(scopes=given)

    found = await decided(restrict)
    assert found.scopes == {"orders:read"}
    assert found.late is not None
    assert found.late.restricted


@pytest.mark.parametrize("until", [None, "soon", [], object()])
async def test_an_instant_that_is_none_fails_closed(until: Any) -> None:
    """A verdict that ends at something else than an instant is an error, and refuses."""

    async def until_then(token: LateToken) -> Verdict | None:
        return Accept(until=until)

    assert await refused_code(decided(until_then)) == "token.expired"


@pytest.mark.parametrize("given", [5, [["x"]], object()])
async def test_scopes_that_are_none_fail_closed(given: Any) -> None:
    """A verdict whose scopes make no sense is an error in the policy, and refuses."""

    async def restrict(token: LateToken) -> Verdict | None:
        return Accept(scopes=given)

    assert await refused_code(decided(restrict)) == "token.expired"


@pytest.mark.parametrize("returned", [True, "accept", 1, Accept, object()])
async def test_a_wrong_verdict_fails_closed(returned: Any) -> None:
    """What is not a verdict refuses."""

    async def wrong(token: LateToken) -> Verdict | None:
        return returned  # type: ignore[no-any-return]  # that is the point

    with pytest.raises(Untimely) as caught:
        await decided([wrong, Grace(hours=1)])
    assert caught.value.found == "TypeError in an expiry policy"


@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), KeyError("x"), TimeoutError(), TypeError()]
)
async def test_an_error_in_a_policy_fails_closed(error: Exception) -> None:
    """A policy that breaks refuses; only the kind of the error is told."""

    async def failing(token: LateToken) -> Verdict | None:
        raise error

    with pytest.raises(Untimely) as caught:
        await decided([failing, Grace(hours=1)])
    assert caught.value.code == "token.expired"
    assert caught.value.found == f"{type(error).__name__} in an expiry policy"


@pytest.mark.parametrize("error", [Deferred("the service is down"), Forbidden("caller.revoked")])
async def test_a_policy_may_defer_or_refuse_outright(error: Exception) -> None:
    """A transient fault stays one, and an authoritative no keeps its code."""

    async def says(token: LateToken) -> Verdict | None:
        raise error

    with pytest.raises(type(error)) as caught:
        await decided([says, Grace(hours=1)])
    assert caught.value is error


@pytest.mark.parametrize(
    ("demand", "code", "found", "expected"),
    [
        (Demand.of(scopes="a"), "caller.scope", "scopes orders:read orders:write", "a"),
        (Demand.of(scopes=["orders:read", "b", "a"]), "caller.scope", None, "a b orders:read"),
        (Demand.of(scopes="ORDERS:READ"), "caller.scope", None, "ORDERS:READ"),
        (Demand.of(roles="boss"), "caller.role", "roles clerk", "boss"),
        (Demand.of(scopes="a", roles="boss"), "caller.scope", None, "a"),
        (Demand.of(allow=lambda one: False), "caller.predicate", None, "allowed"),
    ],
)
async def test_what_is_demanded_must_be_held(
    demand: Demand, code: str, found: str | None, expected: str
) -> None:
    """A missing scope, role or permission refuses, with what was held and what was wanted."""
    with pytest.raises(Forbidden) as caught:
        await decided(demand=demand, late=-1)
    assert (caught.value.code, caught.value.expected) == (code, expected)
    assert found is None or caught.value.found == found
    assert caught.value.status == 403


async def test_an_empty_handed_caller_is_told_so() -> None:
    """Somebody without any scope holds none."""
    with pytest.raises(Forbidden) as caught:
        await decided(demand=WRITE, late=-1, scopes=frozenset())
    assert caught.value.found == "scopes none"


@pytest.mark.parametrize(
    "demand",
    [
        Demand.of(),
        Demand.of(scopes=["orders:read", "orders:write"], roles="clerk"),
        Demand.of(allow=lambda one: one.subject == "alice"),
    ],
)
async def test_who_holds_everything_may(demand: Demand) -> None:
    """All that is demanded is held."""
    assert (await decided(demand=demand, late=-1)).subject == "alice"


@pytest.mark.parametrize("answer", [1, "yes", None, [True], object(), False, 0])
async def test_only_true_allows(answer: Any) -> None:
    """A predicate that does not say exactly True refuses."""
    demand = Demand.of(allow=lambda one: answer)
    assert await refused_code(decided(demand=demand, late=-1)) == "caller.predicate"


async def test_an_error_in_a_predicate_refuses() -> None:
    """A predicate that breaks refuses, and tells the kind of its error only."""

    def broken(one: Caller) -> bool:
        raise KeyError("secret")

    with pytest.raises(Forbidden) as caught:
        await decided(demand=Demand.of(allow=broken), late=-1)
    assert (caught.value.code, caught.value.found) == (
        "caller.predicate",
        "KeyError in the predicate",
    )


async def test_an_asynchronous_predicate_is_an_error_at_once() -> None:
    """A predicate that would never be awaited is refused when it is given."""

    async def later(one: Caller) -> bool:
        return True

    with pytest.raises(ConfigurationError, match="later"):
        Demand.of(allow=later)  # type: ignore[arg-type]  # that is the point


async def test_a_predicate_sees_a_late_caller_as_late() -> None:
    """Who was accepted late can be told apart."""
    demand = Demand.of(allow=lambda one: one.late is None)
    assert await decided(Grace(hours=1), demand, late=-1)
    assert await refused_code(decided(Grace(hours=1), demand)) == "caller.predicate"


@dataclass
class Known:
    """Answers about revocation as it is told, and remembers what it was asked."""

    answer: Any
    asked: list[tuple[Caller, float]] = field(default_factory=list)

    def revoked(self, caller: Caller, now: float) -> bool:
        self.asked.append((caller, now))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]  # wrong answers are the point


@pytest.mark.parametrize("late", [-1, 60])
@pytest.mark.parametrize("answer", [True, None, 1, "no", 0, []])
async def test_a_revoked_token_is_refused_whatever_the_policy_said(
    late: float, answer: Any
) -> None:
    """Revocation is judged now, for tokens in time and late ones; only a plain False passes."""
    decision = decided(Grace(hours=1), late=late, revocations=Known(answer))
    assert await refused_code(decision) == "token.revoked"


async def test_revocation_is_asked_after_the_policy_and_before_authority() -> None:
    """What is asked about is the caller as the policy left them, at the decision's instant."""
    known = Known(answer=False)
    decision = decided(Restrict("x"), WRITE, late=60, revocations=known)
    assert await refused_code(decision) == "caller.scope"
    ((asked, now),) = known.asked
    assert asked.late is not None
    assert now == NOW + 60


async def test_a_revocation_feed_out_of_reach_defers() -> None:
    """Nobody is guilty of a feed that cannot tell."""
    with pytest.raises(Deferred):
        await decided(late=-1, revocations=Known(Deferred("the feed is down")))


def test_a_lone_name_is_demanded_whole() -> None:
    """A string is one scope, not its letters."""
    predicate: Predicate | None = None
    assert Demand.of("orders:read", "clerk", predicate) == Demand(
        scopes=frozenset({"orders:read"}), roles=frozenset({"clerk"})
    )
