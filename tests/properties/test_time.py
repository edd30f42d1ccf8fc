"""When exactly the outcome changes."""

import math
from datetime import timedelta
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from busauth import Grace, Restrict, ValidWhenPublished, Verifiers
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth.errors import Untimely
from busauth.expiry import Accept, LateToken, Policies, Verdict
from busauth.messages import Provenance
from busauth.tokens import Verified
from tests.properties.strategies import run
from tests.unit.support import Signer, caller, proven_by, token, verifier

BINARY = 64
"""Seconds are drawn in 64ths: sums of them are exact as floats, and whole microseconds."""

HS256 = Signer("HS256")

exps = st.integers(0, 2**33 * BINARY).map(lambda ticks: ticks / BINARY) | st.integers(0, 2**40)
leeways = st.integers(0, 300 * BINARY).map(lambda ticks: ticks / BINARY)
windows = st.integers(1, 2**20 * BINARY).map(lambda ticks: ticks / BINARY)


def outcome(exp: float, leeway: float, window: float, now: float) -> str:
    """Say what becomes of a genuine token at an instant."""
    policies = PolicyChain(Grace(window=timedelta(seconds=window)), hard_max_age=1e18)
    verified = Verified(caller(expires_at=float(exp), issued_at=None), None, leeway)
    try:
        decided = run(decide(verified, Rules(policies=policies), now))
    except Untimely:
        return "refused"
    return "late" if decided.late else "in time"


@given(exp=exps, leeway=leeways, window=windows)
def test_the_outcome_flips_exactly_at_its_boundaries(
    exp: float, leeway: float, window: float
) -> None:
    """One float before `exp` + leeway is in time, there it is late; so too the end of the grace."""
    late_from = float(exp + leeway)
    over_from = float(exp + leeway + window)
    expected = [
        (0.0 if late_from else None, "in time"),
        (math.nextafter(late_from, -math.inf), "in time"),
        (late_from, "late"),
        (math.nextafter(late_from, math.inf), "late"),
        (math.nextafter(over_from, -math.inf), "late"),
        (over_from, "refused"),
        (math.nextafter(over_from, math.inf), "refused"),
        (1e300, "refused"),
    ]
    for now, said in expected:
        if now is not None:
            assert outcome(exp, leeway, window, now) == said, now


@given(exp=exps, leeway=leeways, window=windows, now=exps)
def test_at_any_instant_the_outcome_is_what_arithmetic_says(
    exp: float, leeway: float, window: float, now: float
) -> None:
    """For any instant, exact arithmetic and the decision agree."""
    exact = Fraction(exp) + Fraction(leeway)
    said = "in time" if now < exact else "late" if now < exact + Fraction(window) else "refused"
    assert outcome(exp, leeway, window, now) == said


finite = st.floats(0, 1e12, allow_nan=False)


@given(
    exp=finite,
    leeway=st.floats(0, 300),
    window=st.timedeltas(timedelta(microseconds=1), timedelta(days=1000)),
    nows=st.lists(finite, min_size=2, max_size=5),
)
def test_an_outcome_never_gets_better_with_time(
    exp: float, leeway: float, window: timedelta, nows: list[float]
) -> None:
    """For any floats, a later instant is never kinder, and each boundary is where it should be."""
    seconds = window.total_seconds()
    rank = ["in time", "late", "refused"]
    ordered = [rank.index(outcome(exp, leeway, seconds, now)) for now in sorted(nows)]
    assert ordered == sorted(ordered)
    end = Fraction(exp) + Fraction(leeway) + Fraction(seconds)
    slack = 4 * math.ulp(float(end))  # what adding three floats may round
    assert outcome(exp, leeway, seconds, float(end) + slack) == "refused"
    assert outcome(exp, leeway, seconds, max(0.0, float(end) - slack)) != "refused"


def refusal_at(verified: Verified, now: float) -> str | None:
    """Return why a token has not started, None where it has."""
    try:
        verified.check_started(now)
    except Untimely as refused:
        return refused.code
    return None


@given(
    not_before=st.none() | exps, issued_at=st.none() | exps, leeway=leeways, lasts=windows, now=exps
)
def test_when_a_token_counts_is_said_once(
    not_before: float | None, issued_at: float | None, leeway: float, lasts: float, now: float
) -> None:
    """It counts from the later of `nbf` and `iat` on, less the leeway, and up to `exp` and that."""
    begins = max(not_before or 0.0, issued_at or 0.0)
    known = caller(expires_at=begins + lasts, issued_at=issued_at)
    verified = Verified(known, not_before, leeway)
    named = [each for each in (not_before, issued_at) if each is not None]
    assert verified.starts_at == (max(named) - leeway if named else -math.inf)
    assert verified.ends_at == begins + lasts + leeway
    edges = (verified.starts_at, verified.ends_at)
    for at in (now, *edges, *(math.nextafter(edge, -math.inf) for edge in edges)):
        assert (verified.lateness(at) is None) is (at < verified.ends_at)
        code = None
        if at < verified.starts_at:
            held_up = not_before is not None and at < not_before - leeway
            code = "token.not_yet_valid" if held_up else "token.issued_in_future"
        assert refusal_at(verified, at) == code


@given(exp=st.integers(0, 2**53) | st.floats(0, 2**53), ahead=st.integers(0, 10**6))
def test_exp_arrives_from_the_token_unchanged(exp: float, ahead: int) -> None:
    """Between the token and the decision, `exp` loses nothing."""
    assume(math.isfinite(exp))
    raw = token(HS256, exp=exp, iat=...)
    verified = run(proven_by(Verifiers(verifier(HS256)), raw))
    assert verified.caller.expires_at == exp
    assert verified.lateness(math.nextafter(float(exp), -math.inf)) is None
    assert verified.lateness(float(exp)) == 0
    assert verified.lateness(float(exp) + ahead) == float(exp) + ahead - float(exp)


spans = st.integers(1, 2**22 * BINARY).map(lambda ticks: ticks / BINARY)


def chain_of(policy: str, window: float, ends: float, hard_max_age: float) -> PolicyChain:
    """Return a chain of one policy, be it a function that accepts until an instant."""
    span = timedelta(seconds=window)

    async def own(late: LateToken) -> Verdict:
        return Accept(until=ends)

    made: dict[str, Policies] = {
        "grace": Grace(window=min(span, timedelta(seconds=hard_max_age))),
        "published": ValidWhenPublished(max_age=span, sources={"web"}),
        "restrict": Restrict(),
        "own": own,
    }
    return PolicyChain(made[policy], hard_max_age=hard_max_age, trusted=frozenset({"web"}))


@given(
    policy=st.sampled_from(["grace", "published", "restrict", "own"]),
    exp=st.integers(2**20, 2**32),
    leeway=leeways,
    window=windows,
    hard_max_age=spans,
    before=st.integers(1, 2**12),
    ahead=st.just(0.0) | spans,
)
def test_what_is_accepted_holds_exactly_until_it_says(
    policy: str,
    exp: int,
    leeway: float,
    window: float,
    hard_max_age: float,
    before: int,
    ahead: float,
) -> None:
    """Asked again before `until`, it is accepted until then; from that instant on it is not."""
    chain = chain_of(policy, window, exp + leeway + window, hard_max_age)
    verified = Verified(caller(expires_at=float(exp), issued_at=None), None, leeway)
    provenance = Provenance(None, {"web": float(exp - before)})

    def until(now: float) -> float | None:
        try:
            decided = run(decide(verified, Rules(policies=chain), now, provenance))
        except Untimely:
            return None
        return decided.late.until if decided.late else None

    now = exp + leeway + ahead
    ends = until(now)
    if ends is None:
        return
    assert now < ends <= exp + leeway + hard_max_age
    assert until(math.nextafter(ends, -math.inf)) == ends
    assert until(ends) is None
    assert until(math.nextafter(ends, math.inf)) is None
