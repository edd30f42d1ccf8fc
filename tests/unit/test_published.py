"""When a message was published, and whose word that is."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import Grace, Park, ValidWhenPublished
from busauth._decision import DeadLettered, Parked, Rules, decide
from busauth._expiry import PolicyChain
from busauth._messages.provenance import UNPROVEN, provenance_of, stamp_in
from busauth.errors import ConfigurationError, Untimely
from busauth.expiry import Accept, LateToken, Verdict
from busauth.messages import BROKER_STAMP, Proven, Provenance
from busauth.tokens import Verified
from tests.unit.support import NOW, caller

SKEW = 30.0


def proven(at: float, *, root: float | None = None, **said: Any) -> Proven:
    """Return what a proof of `web` says."""
    known: dict[str, Any] = {
        "publisher": "web",
        "published_at": at,
        "message_id": "m-1",
        "exchange": "",
        "routing_key": "orders",
        "headers": frozenset(),
        "root_publisher": "web",
        "root_published_at": at if root is None else root,
        "issuer": "https://idp.example",
        "subject": "ann",
    }
    return Proven(**{**known, **said})


def late(published: Mapping[str, float], *, seconds: float = 600, leeway: float = 0) -> LateToken:
    """Return a token of five minutes that ended so many seconds ago."""
    known = caller(expires_at=NOW, issued_at=NOW - 300)
    return LateToken(known, NOW + seconds, leeway, Provenance(None, published))


def test_without_proof_and_stamp_nothing_is_known() -> None:
    """No instant is made up."""
    assert provenance_of(None, None, skew=SKEW) == UNPROVEN
    assert UNPROVEN.published_at is None
    assert not UNPROVEN.names_caller


def test_each_source_speaks_for_itself() -> None:
    """A proof gives its publisher's word, a stamp the broker's."""
    assert provenance_of(proven(NOW), None, skew=SKEW).published == {"web": NOW}
    assert provenance_of(None, NOW, skew=SKEW).published == {BROKER_STAMP: NOW}


async def test_a_token_that_was_had_on_the_way_counts_by_its_own_message() -> None:
    """At the root it was not there yet; one that was is judged by the root, as ever."""
    policy, root = ValidWhenPublished(minutes=15, sources={"web"}), NOW - 600
    for stamp, own in ((None, NOW - 100), (NOW - 90, NOW - 90)):
        for issued_at, at in ((NOW - 120, own), (root - 60, root)):
            sent = proven(NOW - 100, root=root)
            said = provenance_of(sent, stamp, skew=SKEW, starts_at=issued_at)
            known = caller(expires_at=NOW, issued_at=issued_at)
            verdict = await policy.decide(LateToken(known, NOW + 60, 0, said))
            assert verdict == Accept(published_at=at, until=at + 900)


def test_in_a_chain_the_root_counts() -> None:
    """The first message of a chain says when the work was asked for."""
    provenance = provenance_of(proven(NOW, root=NOW - 900), NOW + 1, skew=SKEW)
    assert provenance.published == {"web": NOW - 900, BROKER_STAMP: NOW + 1}
    assert provenance.published_at == NOW - 900


async def test_a_token_that_was_had_on_the_way_counts_from_its_own_message() -> None:
    """It was not there at the root, which is repeated all the same: the work is as old as ever."""
    chain, at = proven(NOW - 60, root=NOW - 900), NOW - 60
    for issued_at, counts in ((NOW - 1000, NOW - 900), (NOW - 871, NOW - 900), (NOW - 869, at)):
        had = Verified(caller(issued_at=issued_at, expires_at=NOW - 35), None, 30.0)
        provenance = provenance_of(chain, None, skew=SKEW, starts_at=had.starts_at)
        assert provenance.published == {"web": counts}
        assert provenance.published_at == provenance.repeated(counts) == NOW - 900
        assert (provenance.repeated(None), provenance.repeated(NOW - 5)) == (None, NOW - 5)
        policy = ValidWhenPublished(hours=1, sources={"web"})
        accepted = await decide(had, rules(policy), NOW, provenance)
        assert accepted.late is not None
        assert accepted.late.published_at == counts
    stamped = provenance_of(chain, at + 1, skew=SKEW, starts_at=NOW - 90)
    assert stamped.published == {"web": at + 1, BROKER_STAMP: at + 1}
    assert stamped.published_at == NOW - 900


def test_a_release_counts_from_its_own_instant() -> None:
    """The fresh token was not there when the first message was published."""
    provenance = provenance_of(proven(NOW, root=NOW - 900, released=True), None, skew=SKEW)
    assert provenance.published == {"web": NOW}


@given(apart=st.floats(min_value=-2 * SKEW, max_value=2 * SKEW))
def test_proof_and_stamp_agree_or_are_refused(apart: float) -> None:
    """Within the skew the later instant counts for both; beyond it, the message is refused."""
    stamp = NOW + apart
    if abs(stamp - NOW) > SKEW:
        with pytest.raises(Untimely) as caught:
            provenance_of(proven(NOW), stamp, skew=SKEW)
        assert caught.value.code == "published.disagreement"
    else:
        later = max(NOW, stamp)
        provenance = provenance_of(proven(NOW), stamp, skew=SKEW)
        assert provenance.published == {"web": later, BROKER_STAMP: later}


@pytest.mark.parametrize("value", [None, True, "1750000000000", 1.75e12, -1, 0, 10**14, b"1", [1]])
def test_an_odd_stamp_is_no_stamp(value: object) -> None:
    """Only a positive number of milliseconds is one."""
    assert stamp_in(value) is None


def test_a_stamp_is_read_as_milliseconds() -> None:
    """It has a fraction of seconds."""
    assert stamp_in(1_750_000_000_250) == 1_750_000_000.25


async def decided(policy: ValidWhenPublished, token: LateToken) -> Verdict | None:
    return await policy.decide(token)


@given(at=st.floats(min_value=NOW - 600, max_value=NOW + 300), leeway=st.sampled_from([0.0, 30.0]))
async def test_a_token_counts_where_it_did_when_its_message_was_published(
    at: float, leeway: float
) -> None:
    """From its `iat` on and before its `exp`, within the leeway, and not a moment else."""
    policy = ValidWhenPublished(hours=1, sources={"web"})
    verdict = await policy.decide(late({"web": at}, leeway=leeway))
    counted = NOW - 300 - leeway <= at < NOW + leeway
    assert verdict == (Accept(published_at=at, until=at + 3600) if counted else None)


@given(age=st.floats(min_value=0, max_value=1000))
async def test_it_lasts_for_its_maximum_age(age: float) -> None:
    """The message counts from its publication on, for less than `max_age`."""
    at = NOW - 1
    token = LateToken(
        caller(expires_at=NOW, issued_at=NOW - 300), at + age, 0.0, Provenance(None, {"web": at})
    )
    verdict = await ValidWhenPublished(seconds=500, sources={"web"}).decide(token)
    assert (verdict is not None) == (at + age < at + 500)


async def test_only_a_word_that_is_named_counts() -> None:
    """Whatever others say of the instant, the policy passes."""
    policy = ValidWhenPublished(hours=1, sources=[BROKER_STAMP])
    assert await policy.decide(late({"web": NOW - 1})) is None
    assert await policy.decide(late({})) is None
    assert await policy.decide(late({"web": NOW + 9, BROKER_STAMP: NOW - 1})) is not None


async def test_not_before_counts_as_well() -> None:
    """A token that began to count after the publication did not count then."""
    token = LateToken(
        caller(expires_at=NOW, issued_at=NOW - 300),
        NOW + 60,
        0.0,
        Provenance(None, {"web": NOW - 200}),
        not_before=NOW - 100,
    )
    assert await ValidWhenPublished(hours=1, sources={"web"}).decide(token) is None


def verified(**said: Any) -> Verified:
    return Verified(caller(expires_at=NOW, issued_at=NOW - 300, **said), None, 0.0)


def rules(*policies: Any, trusted: set[str] | None = None, **more: Any) -> Rules:
    known = frozenset(trusted if trusted is not None else {"web"})
    chain = PolicyChain(policies, hard_max_age=24 * 3600.0, trusted=known)
    return Rules(policies=chain, **more)


async def test_what_is_proven_is_parked() -> None:
    """A late message whose proof names its caller waits for them."""
    with pytest.raises(Parked) as caught:
        await decide(
            verified(), rules(Park()), NOW + 60, provenance_of(proven(NOW), None, skew=SKEW)
        )
    assert caught.value.code == "token.expired"


async def test_a_function_may_park() -> None:
    """What a function of a user's says of a proven message counts as `Park` itself does."""
    provenance = provenance_of(proven(NOW), None, skew=SKEW)

    async def parks(_late: LateToken) -> Verdict | None:
        return Park()

    with pytest.raises(Parked, match="parked by parks"):
        await decide(verified(), rules(parks), NOW + 60, provenance)
    with pytest.raises(Untimely) as caught:
        await decide(verified(), rules(parks, revocations=_Revoked()), NOW + 60, provenance)
    assert caught.value.code == "token.revoked"


@pytest.mark.parametrize("said", [{"issuer": None}, {"subject": None}])
async def test_what_names_no_caller_is_not_parked(said: dict[str, Any]) -> None:
    """A policy passes, and a function that says `Park` all the same is not obeyed."""
    provenance = provenance_of(proven(NOW, **said), None, skew=SKEW)

    async def parks(_late: LateToken) -> Verdict | None:
        return Park()

    with pytest.raises(DeadLettered):
        await decide(verified(), rules(Park()), NOW + 60, provenance)
    with pytest.raises(Untimely, match="no proof of its caller"):
        await decide(verified(), rules(parks), NOW + 60, provenance)


class _Revoked:
    def revoked(self, _caller: object, _now: float) -> bool:
        return True


async def test_what_was_revoked_is_not_parked() -> None:
    """A revoked token's message does not wait for better days."""
    provenance = provenance_of(proven(NOW), None, skew=SKEW)
    with pytest.raises(Untimely) as caught:
        await decide(verified(), rules(Park(), revocations=_Revoked()), NOW + 60, provenance)
    assert caught.value.code == "token.revoked"


@pytest.mark.parametrize(
    "policies",
    [
        (Park(), Park()),
        (
            ValidWhenPublished(hours=2, sources={"web", "shop"}),
            ValidWhenPublished(hours=1, sources={"web"}),
        ),
    ],
)
def test_a_policy_that_says_less_of_the_same_is_never_reached(policies: Any) -> None:
    """A later policy must take another word, or last longer."""
    with pytest.raises(ConfigurationError, match="is never reached after"):
        rules(*policies, trusted={"web", "shop"})


def test_policies_that_say_more_follow_each_other() -> None:
    """First whose word counts longest, then the others, then the caller."""
    rules(
        Grace(minutes=1),
        ValidWhenPublished(hours=1, sources={"web"}),
        ValidWhenPublished(hours=1, sources={"shop"}),
        Park(),
        trusted={"web", "shop"},
    )


@pytest.mark.parametrize("sources", [(), "", [""]])
def test_a_policy_names_whose_word_it_takes(sources: Any) -> None:
    """Nobody's word is no policy."""
    with pytest.raises(ValueError, match="sources"):
        rules(ValidWhenPublished(hours=1, sources=sources))
