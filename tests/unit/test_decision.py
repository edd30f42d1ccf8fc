"""One decision: genuine, then in time, then allowed."""

from dataclasses import dataclass, field, replace
from functools import partial
from inspect import CORO_CLOSED, getcoroutinestate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import DeadLetter, Discard, Grace, Restrict
from busauth._decision import DeadLettered, Discarded, Rules, decide
from busauth._demand import Demand, Predicate
from busauth._expiry import PolicyChain
from busauth.caller import Caller
from busauth.errors import ConfigurationError, Deferred, Forbidden, Refused, Transient, Untimely
from busauth.expiry import Accept, LateToken, Policies, Verdict
from busauth.revocation import Revocations
from busauth.tokens import Verified
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
    transient: Transient = (),
    **changes: Any,
) -> Caller:
    """Decide about a caller whose token is so many seconds past `exp`."""
    chain = PolicyChain(policies, hard_max_age=86400)
    rules = Rules(policies=chain, demand=demand, transient=transient)
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


def test_a_token_in_time_waits_for_nothing() -> None:
    """It is decided about in one step, without a limit of time, which would need an event loop."""
    with pytest.raises(StopIteration) as done:
        decided(Grace(minutes=1), WRITE, late=-1).send(None)
    assert done.value.value == caller()


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
        (DeadLetter(), DeadLettered, "60 s past exp, no policy accepts it"),
        (Grace(seconds=60), DeadLettered, "60 s past exp, no policy accepts it"),
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
    """What a policy takes away, a demand for it then misses."""
    assert await refused_code(decided(leaving(scopes="orders:read"), WRITE)) == "caller.scope"
    clerk = Demand.of(roles="clerk")
    assert await refused_code(decided(leaving(scopes="orders:read"), clerk)) == "caller.role"
    found = await decided(Restrict(["orders:read", "admin"]), Demand.of(scopes="orders:read"))
    assert found.scopes == {"orders:read"}
    assert found.late is not None
    assert found.late.restricted


async def test_restricting_never_adds_authority() -> None:
    """What the token did not allow no policy gives."""
    found = await decided(Restrict(["admin"], roles=["boss"]))
    assert (found.scopes, found.roles) == (frozenset(), frozenset())


def leaving(**left: Any) -> Policies:
    """Return a user's function that accepts, and leaves this."""

    async def leave(token: LateToken) -> Verdict | None:
        return Accept(**left)

    return leave


READ, WRITING, CLERK = "orders:read", "orders:write", "clerk"


@pytest.mark.parametrize(
    ("policy", "scopes", "roles"),
    [
        (Restrict(), set(), set()),
        (Restrict(READ), {READ}, set()),
        (Restrict(roles=CLERK), set(), {CLERK}),
        (Restrict({READ, "x"}, roles={CLERK, "boss"}), {READ}, {CLERK}),
        ([Grace(seconds=1), Restrict(READ)], {READ}, set()),
        (leaving(scopes=READ), {READ}, set()),
        (leaving(roles=[CLERK]), set(), {CLERK}),
        (leaving(scopes=(), roles=()), set(), set()),
        (leaving(scopes=[READ, WRITING], roles=[CLERK]), {READ, WRITING}, {CLERK}),
    ],
)
async def test_what_is_not_named_is_taken_away(
    policy: Policies, scopes: set[str], roles: set[str]
) -> None:
    """Whoever restricts says which scopes and roles stay; nothing said means none."""
    found = await decided(policy)
    assert (set(found.scopes), set(found.roles)) == (scopes, roles)
    assert found.late is not None
    assert found.late.restricted


@pytest.mark.parametrize("policy", [Grace(hours=1), leaving()])
async def test_who_does_not_restrict_leaves_everything(policy: Policies) -> None:
    """An acceptance that names neither scopes nor roles takes nothing away."""
    found = await decided(policy)
    assert (found.scopes, found.roles) == (caller().scopes, caller().roles)
    assert found.late is not None
    assert not found.late.restricted


@pytest.mark.parametrize(
    ("restrict", "demand", "told"),
    [
        (Restrict(), WRITE, r"takes away the scopes \['orders:write'\] that"),
        (Restrict(READ), WRITE, "scopes"),
        (Restrict(READ), Demand.of(READ, CLERK), r"takes away the roles \['clerk'\] that"),
        (Restrict(roles="boss"), Demand.of(READ, CLERK), r"orders:read'\] and roles \['clerk'\]"),
        ([Grace(hours=1), Restrict(READ)], Demand.of([READ, WRITING]), "orders:write"),
    ],
)
def test_a_demand_that_a_restriction_never_meets_is_an_error_at_once(
    restrict: Policies, demand: Demand, told: str
) -> None:
    """What nobody could hold after a `Restrict` is refused when the rules are made, and named."""
    chain = PolicyChain(restrict, hard_max_age=86400)
    with pytest.raises(ConfigurationError, match=told) as caught:
        Rules(policies=chain, demand=demand)
    assert "name them in Restrict(scopes=..., roles=...)" in str(caught.value)


@given(
    restrict=st.builds(Restrict, st.sets(st.sampled_from("abc")), roles=st.sets(st.just("r"))),
    demand=st.builds(Demand.of, st.sets(st.sampled_from("abc")), st.sets(st.just("r"))),
)
async def test_rules_that_are_made_can_be_met(restrict: Restrict, demand: Demand) -> None:
    """Rules that are taken let somebody with all authority pass; those that are not, nobody."""
    everything: dict[str, Any] = {"scopes": frozenset("abc"), "roles": frozenset("r")}
    accept = leaving(scopes=restrict.scopes, roles=restrict.roles)  # the same, as nobody foresees
    try:
        found = await decided(restrict, demand, **everything)
    except ConfigurationError:
        code = await refused_code(decided(accept, demand, **everything))
        assert code in ("caller.scope", "caller.role")
    else:
        foreseen = await decided(accept, demand, **everything)
        assert (found.scopes, found.roles) == (foreseen.scopes, foreseen.roles)


@pytest.mark.parametrize("given", ["orders:read", ["orders:read"], {"orders:read"}])
async def test_a_function_may_name_scopes_in_any_form(given: Any) -> None:
    """A verdict's scopes are names, however a user's function hands them over."""
    found = await decided(leaving(scopes=given))
    assert found.scopes == {"orders:read"}
    assert found.late is not None
    assert found.late.restricted


@pytest.mark.parametrize("until", [None, "soon", [], object()])
async def test_an_instant_that_is_none_fails_closed(until: Any) -> None:
    """A verdict that ends at something else than an instant is an error, and refuses."""
    assert await refused_code(decided(leaving(until=until))) == "token.expired"


@pytest.mark.parametrize("given", [5, [["x"]], object()])
async def test_scopes_and_roles_that_are_none_fail_closed(given: Any) -> None:
    """A verdict whose scopes or roles make no sense is an error in the policy, and refuses."""
    for left in ({"scopes": given}, {"roles": given}):
        assert await refused_code(decided(leaving(**left))) == "token.expired"


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (True, "a bool"),
        ("accept", "a str"),
        (Accept, "the class Accept, and no instance of it"),
        (Accept(until="soon"), "Accept(until=a str)"),  # type: ignore[arg-type]
        (Accept(roles=5), "Accept(roles=an int)"),  # type: ignore[arg-type]
    ],
)
async def test_a_wrong_verdict_fails_closed(returned: Any, told: str) -> None:
    """What is not a verdict refuses, and says what it was and whose."""

    async def wrong(token: LateToken) -> Verdict | None:
        return returned  # type: ignore[no-any-return]  # that is the point

    with pytest.raises(Untimely) as caught:
        await decided([wrong, Grace(hours=1)])
    assert caught.value.found == f"{told} from wrong"


@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), KeyError("x"), ExceptionGroup("", [KeyError()]), TypeError()]
)
async def test_an_error_in_a_policy_fails_closed(error: Exception) -> None:
    """A policy that breaks refuses; the kind of the error is told, and whose it is."""

    async def failing(token: LateToken) -> Verdict | None:
        raise error

    with pytest.raises(Untimely) as caught:
        await decided([failing, Grace(hours=1)])
    assert caught.value.code == "token.expired"
    assert caught.value.found == f"{type(error).__name__} in failing"
    assert caught.value.mistake is error


class DriverError(Exception):
    """An error of a library's that is no `OSError`."""


OUT_OF_REACH = [
    OSError("down"),
    ConnectionResetError(),
    TimeoutError(),
    DriverError(),
    ExceptionGroup("", [TimeoutError(), ExceptionGroup("", [DriverError(), Deferred("down")])]),
]
MISTAKES = [KeyError("x"), ExceptionGroup("", [TimeoutError(), KeyError("x")]), RuntimeError()]


@pytest.mark.parametrize("error", OUT_OF_REACH)
async def test_a_policy_that_is_out_of_reach_defers(error: Exception) -> None:
    """Whom a policy asks may be out of reach, and nobody is guilty of it."""

    async def asks(token: LateToken) -> Verdict | None:
        raise error

    with pytest.raises(Deferred, match="policy is out of reach") as caught:
        await decided([asks, Grace(hours=1)], transient=(DriverError,))
    assert caught.value.__cause__ is error


async def test_what_was_not_declared_is_a_mistake() -> None:
    """A library's own error is nobody's fault only where somebody has said so."""

    async def asks(token: LateToken) -> Verdict | None:
        raise DriverError

    assert await refused_code(decided([asks, Grace(hours=1)])) == "token.expired"


@pytest.mark.parametrize("error", [*OUT_OF_REACH, Deferred("down")])
async def test_a_predicate_asks_nobody(error: Exception) -> None:
    """A predicate must not block: whatever it raises, it refuses."""

    def asks(one: Caller) -> bool:
        raise error

    demand = Demand.of(allow=asks)
    code = await refused_code(decided(demand=demand, late=-1, transient=(DriverError,)))
    assert code == "caller.predicate"


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


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("yes", ", which returned a str, expected True, which alone allows"),
        (None, ", which returned None, expected True"),
        (False, "by <lambda>, expected allowed"),
    ],
)
async def test_what_a_predicate_returned_is_told_by_its_type(answer: Any, told: str) -> None:
    """What is neither True nor False is a mistake, most likely."""
    with pytest.raises(Forbidden) as caught:
        await decided(demand=Demand.of(allow=lambda one: answer), late=-1)
    assert told in caught.value.detail


async def test_an_answer_that_nobody_awaits_is_an_error_of_the_program() -> None:
    """It is no verdict about a caller, and what was to be awaited is closed."""
    made: list[Any] = []

    async def later(one: Caller) -> bool:
        raise AssertionError

    def asks(one: Caller) -> Any:
        made.append(later(one))
        return made[0]

    with pytest.raises(TypeError, match=r"allow=.*asks returned a coroutine: expected a plain"):
        await decided(demand=Demand.of(allow=asks), late=-1)
    assert getcoroutinestate(made[0]) == CORO_CLOSED


async def test_an_error_in_a_predicate_refuses() -> None:
    """A predicate that breaks refuses, and tells its name and the kind of its error only."""

    def broken(one: Caller) -> bool:
        raise KeyError("secret")

    with pytest.raises(Forbidden) as caught:
        await decided(demand=Demand.of(allow=broken), late=-1)
    assert (caught.value.code, caught.value.found) == (
        "caller.predicate",
        "KeyError in broken",
    )
    assert isinstance(caught.value.mistake, KeyError)


async def test_an_asynchronous_predicate_is_an_error_at_once() -> None:
    """A predicate that would never be awaited is refused when it is given."""

    async def later(one: Caller) -> bool:
        return True

    with pytest.raises(ConfigurationError, match="later"):
        Demand.of(allow=later)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigurationError, match=r"allow=.*\.later: expected a plain function"):
        Demand.of(allow=partial(later))  # type: ignore[arg-type]  # and this


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
    decision = decided(leaving(scopes="x"), WRITE, late=60, revocations=known)
    assert await refused_code(decision) == "caller.scope"
    ((asked, now),) = known.asked
    assert asked.late is not None
    assert now == NOW + 60


@pytest.mark.parametrize("late", [-1, 60])
@pytest.mark.parametrize("error", [*OUT_OF_REACH, Deferred("the feed is down")])
async def test_a_revocation_feed_out_of_reach_defers(error: Exception, late: float) -> None:
    """Nobody is guilty of a feed that cannot tell."""
    with pytest.raises(Deferred):
        await decided(Grace(hours=1), late=late, revocations=Known(error), transient=(DriverError,))


@pytest.mark.parametrize("error", [*MISTAKES, DriverError()])
async def test_a_mistake_in_revocations_is_no_fault_of_the_line(error: Exception) -> None:
    """What was not declared is told as it is, so that whoever asked refuses."""
    with pytest.raises(type(error)):
        await decided(late=-1, revocations=Known(error))


def test_a_lone_name_is_demanded_whole() -> None:
    """A string is one scope, not its letters."""
    predicate: Predicate | None = None
    assert Demand.of("orders:read", "clerk", predicate) == Demand(
        scopes=frozenset({"orders:read"}), roles=frozenset({"clerk"})
    )
