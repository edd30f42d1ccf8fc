"""What to do about a token that is genuine and late."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from busauth import DeadLetter, Discard, Grace, Restrict
from busauth._expiry import PolicyChain, PolicyFailed, names
from busauth._expiry.policies import DeclaredPolicy
from busauth.errors import ConfigurationError, Deferred, Forbidden
from busauth.expiry import Accept, ExpiryPolicy, LateToken, Policies, Verdict
from busauth.tokens import TokenEncryption, shared_encryption_key
from tests.unit.support import NOW, caller

DAY = 24 * 3600.0
declared_policy: TypeAdapter[Any] = TypeAdapter(DeclaredPolicy)


def late(seconds: float, *, leeway: float = 0.0) -> LateToken:
    """Return a token that is so many seconds past `exp`."""
    return LateToken(caller(expires_at=NOW), NOW + seconds, leeway)


async def decided(
    policies: Policies, seconds: float, *, leeway: float = 0.0, hard_max_age: float = DAY
) -> tuple[Verdict, str]:
    return await PolicyChain(policies, hard_max_age=hard_max_age).decide(
        late(seconds, leeway=leeway)
    )


async def passes(token: LateToken) -> Verdict | None:
    """A policy that never decides."""


async def accepts(token: LateToken) -> Verdict | None:
    """A policy that always accepts."""
    return Accept()


@dataclass(frozen=True)
class Patient:
    """A policy of a user's own, as an object."""

    seconds: float

    async def decide(self, late: LateToken) -> Verdict | None:
        return Accept() if late.seconds < self.seconds else None


def left(scopes: Iterable[str] = (), roles: Iterable[str] = ()) -> Accept:
    """Return the verdict that leaves these scopes and roles, for as long as may be."""
    return Accept(scopes=frozenset(scopes), roles=frozenset(roles), until=NOW + DAY)


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (Grace(minutes=10), Accept(until=NOW + 600)),
        (Restrict(["orders:read"]), left({"orders:read"})),
        (Restrict("orders:read"), left({"orders:read"})),
        (Restrict("orders:read", roles="clerk"), left({"orders:read"}, {"clerk"})),
        (Restrict(roles=["clerk", "boss"]), left(roles={"clerk", "boss"})),
        (Restrict(), left()),
        (DeadLetter(), DeadLetter(reason="no policy accepts it")),
        (Discard(), Discard()),
        (Patient(100), Accept(until=NOW + DAY)),
    ],
)
async def test_each_policy_has_its_verdict(policy: ExpiryPolicy, verdict: Verdict) -> None:
    """Alone, a policy decides as its name says, and is named in the decision."""
    assert await decided(policy, 60) == (verdict, type(policy).__name__)


@pytest.mark.parametrize("leeway", [0.0, 30.0])
@pytest.mark.parametrize(
    ("beyond", "accepted"),
    [(-600.0, True), (-1.0, True), (-0.001, True), (0.0, False), (0.001, False), (1e9, False)],
)
async def test_grace_ends_exactly(leeway: float, beyond: float, accepted: bool) -> None:
    """Grace lasts until `exp` + leeway + window, that instant excluded."""
    verdict, name = await decided(
        Grace(minutes=10), 600 + leeway + beyond, leeway=leeway, hard_max_age=math.inf
    )
    assert (verdict, name) == (
        (Accept(until=NOW + leeway + 600), "Grace")
        if accepted
        else (DeadLetter(reason="no policy accepts it"), "default")
    )


@pytest.mark.parametrize(
    "policy", [Restrict("a"), accepts, Patient(math.inf), [Grace(hours=1), accepts]]
)
@pytest.mark.parametrize(("seconds", "accepted"), [(3599.999, True), (3600, False), (1e12, False)])
async def test_the_hard_maximum_age_is_above_all(
    policy: Policies, seconds: float, accepted: bool
) -> None:
    """However willing a policy is, nothing is accepted at or beyond the maximum age."""
    verdict, name = await decided(policy, seconds, hard_max_age=3600)
    assert isinstance(verdict, Accept) is accepted
    if not accepted:
        assert name == "hard_max_age"
        assert verdict == DeadLetter(reason="beyond the hard maximum age of 3600 s")


@pytest.mark.parametrize("seconds", [3600, 1e12])
async def test_beyond_the_maximum_age_other_verdicts_stand(seconds: float) -> None:
    """The maximum takes acceptance away, not the right to discard or to refuse."""
    assert (await decided(Discard(), seconds, hard_max_age=3600))[0] == Discard()
    assert (await decided(Grace(hours=1), seconds, hard_max_age=3600))[1] == "default"


@pytest.mark.parametrize("until", [NOW + 60, NOW, -math.inf, math.nan])
async def test_what_a_function_accepts_until_now_it_accepts_no_longer(until: float) -> None:
    """An acceptance that has ended when it is given, or ends at no instant, is none."""

    async def ended(token: LateToken) -> Verdict | None:
        return Accept(until=until)

    assert await decided(ended, 60) == (DeadLetter(reason="accepted no longer"), "ended")


async def test_a_function_cannot_accept_beyond_the_maximum_age() -> None:
    """Until when it accepts counts as far as the maximum age lets it."""

    async def patient(token: LateToken) -> Verdict | None:
        return Accept(until=token.now + 2 * DAY)

    assert await decided(patient, 60, leeway=5) == (Accept(until=NOW + DAY + 5), "patient")


async def test_a_maximum_age_of_nothing_accepts_nothing() -> None:
    """With 0 seconds no late token is accepted."""
    assert (await decided(accepts, 0, hard_max_age=0))[1] == "hard_max_age"


@pytest.mark.parametrize(
    ("seconds", "verdict", "name"),
    [
        (60, Accept(until=NOW + 600), "Grace"),
        (600, left({"a"}), "Restrict"),
    ],
)
async def test_the_first_policy_that_decides_wins(
    seconds: float, verdict: Verdict, name: str
) -> None:
    """Policies in a list are asked in order."""
    assert await decided([Grace(minutes=10), Restrict("a")], seconds) == (verdict, name)


async def test_what_no_policy_decides_is_refused() -> None:
    """The end of the list is the dead letters."""
    found = await decided([passes, Grace(seconds=1)], 60)
    assert found == (DeadLetter(reason="no policy accepts it"), "default")


async def test_functions_are_named_by_their_name() -> None:
    """The audit shows which function accepted."""
    accepted = Accept(until=NOW + DAY)
    assert await decided([passes, accepts], 60) == (accepted, "accepts")
    assert await decided(partial(accepts), 60) == (accepted, "accepts")


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ([], "empty"),
        ((), "empty"),
        ([DeadLetter(), Grace(minutes=1)], "Grace is never reached after DeadLetter"),
        ([Discard(), DeadLetter()], "DeadLetter is never reached after Discard"),
        ([Restrict("a"), accepts], "accepts is never reached after Restrict"),
        ([Grace(minutes=1), Restrict("a"), Discard()], "Discard is never reached"),
        ([Restrict("a"), Restrict(["a", "b"])], "Restrict is never reached after Restrict"),
        ([Grace(minutes=10), Grace(minutes=5)], "Grace of 300 s is never reached"),
        ([Grace(minutes=10), Grace(minutes=10)], "Grace of 600 s is never reached"),
        ([Grace(minutes=10), passes, Grace(minutes=5)], "Grace of 300 s is never reached"),
        (Grace(hours=25), "lasts longer than hard_max_age=86400 s"),
        ([Grace(hours=1), Grace(hours=25)], "lasts longer than hard_max_age"),
    ],
)
def test_a_policy_that_is_never_reached_is_an_error(policies: Policies, told: str) -> None:
    """A chain whose parts cannot all matter is refused when it is made."""
    with pytest.raises(ConfigurationError, match=told):
        PolicyChain(policies, hard_max_age=DAY)


@pytest.mark.parametrize(
    "policies",
    [
        [Grace(minutes=5), Grace(minutes=10)],
        [Grace(minutes=5), passes, Grace(minutes=10), DeadLetter()],
        [passes, DeadLetter()],
        [accepts, Grace(minutes=5)],
        [Grace(hours=24)],
        (Grace(minutes=1), Discard()),
    ],
)
def test_chains_that_make_sense_are_taken(policies: Policies) -> None:
    """A longer grace after a shorter, and a verdict for all at the end."""
    assert PolicyChain(policies, hard_max_age=DAY)


def plain(token: LateToken) -> Verdict | None:
    return Accept()


class Synchronous:
    def __call__(self, token: LateToken) -> Verdict:
        return Accept()


@pytest.mark.parametrize(
    "policy",
    [
        plain,
        lambda token: accepts(token),  # noqa: PLW0108 -- a function that is not `async def`
        Synchronous(),
        Grace,
        Patient,
        "grace",
        {"policy": "grace", "minutes": 10},
        None,
        True,
        600,
        Accept(),
        [plain],
        [None],
        {accepts},
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_what_is_no_policy_is_refused(policy: Any) -> None:
    """Only policy objects and `async def` functions are taken, and the error says so."""
    with pytest.raises(ConfigurationError, match="async def"):
        PolicyChain(policy, hard_max_age=DAY)


@pytest.mark.parametrize(
    "returned",
    [True, False, "accept", 1, 0, Accept, DeadLetter, object(), (), [Accept()], Grace(hours=1)],
)
async def test_a_wrong_return_value_never_accepts(returned: Any) -> None:
    """What is not a verdict is an error, and a policy after it is not asked."""

    async def wrong(token: LateToken) -> Verdict | None:
        return returned  # type: ignore[no-any-return]  # that is the point

    with pytest.raises(PolicyFailed, match="from wrong: expected a verdict or None"):
        await decided([wrong, accepts], 60)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("x"), PolicyFailed),
        (Deferred("down"), Deferred),
        (Forbidden("revoked"), Forbidden),
    ],
)
async def test_an_error_in_a_policy_ends_the_chain(error: Exception, kind: type) -> None:
    """No later policy makes up for one that could not tell."""

    async def failing(token: LateToken) -> Verdict | None:
        raise error

    with pytest.raises(kind):
        await decided([failing, accepts], 60)


async def test_a_policy_sees_the_caller_and_the_one_instant() -> None:
    """A function is told who is late, by how much, and when it is now."""
    seen: list[LateToken] = []

    async def curious(token: LateToken) -> Verdict | None:
        seen.append(token)
        return DeadLetter(reason="no")

    assert await decided(curious, 12.5, leeway=5) == (DeadLetter(reason="no"), "curious")
    (token,) = seen
    assert (token.seconds, token.now, token.leeway) == (12.5, NOW + 12.5, 5)
    assert token.caller.subject == "alice"
    assert token.within(8)
    assert not token.within(7.5)


# What stands in a settings file


FORMS: list[tuple[dict[str, Any], Any]] = [
    ({"policy": "grace", "minutes": 10}, Grace(minutes=10)),
    ({"policy": "grace", "window": 600}, Grace(minutes=10)),
    ({"policy": "grace", "window": "PT10M"}, Grace(window=timedelta(minutes=10))),
    ({"policy": "grace", "hours": 1, "minutes": 1, "seconds": 1.5}, Grace(seconds=3661.5)),
    ({"policy": "restrict", "scopes": ["a", "b"]}, Restrict({"a", "b"})),
    ({"policy": "restrict", "scopes": "a:b"}, Restrict(["a:b"])),
    ({"policy": "restrict", "roles": ["clerk"]}, Restrict(roles="clerk")),
    ({"policy": "restrict", "scopes": "a", "roles": "b"}, Restrict("a", roles="b")),
    ({"policy": "restrict"}, Restrict()),
    ({"policy": "dead-letter"}, DeadLetter()),
    ({"policy": "dead-letter", "reason": "too late"}, DeadLetter(reason="too late")),
    ({"policy": "discard"}, Discard()),
]


@pytest.mark.parametrize(("form", "policy"), FORMS)
def test_a_table_is_the_object_in_code(form: dict[str, Any], policy: Any) -> None:
    """A policy in a file and the object in code are one thing."""
    assert declared_policy.validate_python(form) == policy


@pytest.mark.parametrize("policy", [policy for _, policy in FORMS])
def test_a_policy_survives_json(policy: Any) -> None:
    """Written as JSON and read again, a policy is the same."""
    assert declared_policy.validate_json(declared_policy.dump_json(policy)) == policy
    assert type(policy)(**policy.model_dump()) == policy


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"policy": "Grace", "minutes": 1},
        {"policy": "grase"},
        {"policy": None},
        {"minutes": 1},
        {"policy": "grace"},
        {"policy": "grace", "minutes": 0},
        {"policy": "grace", "minutes": -1},
        {"policy": "grace", "minutes": "ten"},
        {"policy": "grace", "minutes": None},
        {"policy": "grace", "minutes": [1]},
        {"policy": "grace", "minutes": 1e300},
        {"policy": "grace", "minutes": math.nan},
        {"policy": "grace", "minutes": math.inf},
        {"policy": "grace", "window": "soon"},
        {"policy": "grace", "window": 600, "minutes": 1},
        {"policy": "grace", "minuts": 1},
        {"policy": "restrict", "scopes": 5},
        {"policy": "restrict", "scopes": [5]},
        {"policy": "restrict", "scopes": [{}]},
        {"policy": "restrict", "scopes": None},
        {"policy": "restrict", "roles": 5},
        {"policy": "restrict", "roles": None},
        {"policy": "restrict", "role": ["clerk"]},
        {"policy": "restrict", "minutes": 1},
        {"policy": "dead-letter", "minutes": 1},
        {"policy": "discard", "x": 1},
        [],
        "grace",
    ],
    ids=repr,
)
def test_a_wrong_table_is_a_validation_error(form: Any) -> None:
    """Whatever is wrong in a table, pydantic says where; no other error comes out."""
    with pytest.raises(ValidationError):
        declared_policy.validate_python(form)


@pytest.mark.parametrize(
    "make",
    [
        Grace,
        lambda: Grace(minutes=-1),
        lambda: Grace(minutes="ten"),  # type: ignore[arg-type]  # that is the point
        lambda: Grace(window=timedelta(minutes=1), minutes=1),
        lambda: Restrict(5),  # type: ignore[arg-type]  # that is the point
        lambda: Restrict(roles=5),  # type: ignore[arg-type]  # that is the point
    ],
)
def test_a_wrong_policy_in_code_is_a_value_error(make: Callable[[], object]) -> None:
    """In code the same mistakes are found when the policy is made."""
    with pytest.raises(ValueError):  # noqa: PT011 -- pydantic's and busauth's own alike
        make()


def test_policies_are_frozen() -> None:
    """A policy that is in use does not change."""
    with pytest.raises(ValidationError):
        Grace(minutes=1).window = timedelta(days=1)  # type: ignore[misc]  # that is the point


def test_a_lone_name_is_one_name() -> None:
    """A string where names are expected is not its letters."""
    assert names("orders:read") == {"orders:read"}
    assert names(["a", "b", "a"]) == {"a", "b"}
    assert names(()) == frozenset()


def test_a_letter_keeps_its_token_for_one_recipient() -> None:
    """Nobody could say for whom, once a message is late: it is found where the policy is made."""
    two = {name: shared_encryption_key(bytes(32), key_id=name) for name in ("r", "s")}
    with pytest.raises(ValueError, match="keep_token for r and s"):
        DeadLetter(keep_token=TokenEncryption(two))
