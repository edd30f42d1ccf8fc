"""Local first, then asked: for handlers where a live answer matters."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from busauth import Grace, Verifier, Verifiers
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth._tokens.asking.confirmed import Confirmed
from busauth.errors import Deferred, Refused, Untimely
from busauth.testing.trust import IssuerKeys
from busauth.tokens import Authenticator, Authenticators, Fetcher, NotAtHand
from tests.unit.introspecting import Asked, Scripted, active, asked, asks, outcome
from tests.unit.support import AUDIENCE, NOW, proven_by

GRACE = Rules(policies=PolicyChain(Grace(hours=1), hard_max_age=86_400))


def trusted(world: Asked) -> Authenticators:
    local = Verifier(
        IssuerKeys(world.issuer),
        issuer=world.issuer.url,
        audience=AUDIENCE,
        algorithms=("ES256",),
        leeway=0,
    )
    return Authenticators(local, world.introspection)


def confirming(world: Asked) -> Authenticator:
    return trusted(world).confirmed()


async def refusal(asking: Authenticator, token: str) -> Refused:
    with pytest.raises(Refused) as caught:
        await proven_by(asking, token)
    return caught.value


async def test_a_token_is_proven_and_confirmed() -> None:
    """The caller is the token's own, and the issuer was asked once."""
    world = asked()
    both = trusted(world)
    token = world.issuer.token(scope="a b", roles=["clerk"])
    confirmed = await proven_by(both.confirmed(), token)
    assert confirmed.caller == (await proven_by(both, token)).caller
    assert len(world.transport.received) == 1


async def test_handlers_that_do_not_ask_do_not_ask() -> None:
    """The same guard verifies locally where nobody said otherwise."""
    world = asked()
    assert await outcome(trusted(world), world.issuer.token()) == "alice"
    assert world.transport.received == []


async def test_a_token_that_is_not_genuine_is_not_asked_about() -> None:
    """Genuine comes first."""
    world = asked()
    asking = confirming(world)
    for token in (world.issuer.forged(), world.issuer.token(aud="bank")):
        assert not (await refusal(asking, token)).genuine
    assert world.transport.received == []


async def test_a_revoked_token_is_refused_as_genuine() -> None:
    """It is known whose it is, so that its message is kept; and it is refused at once."""
    world = asked()
    token = world.issuer.token()
    world.issuer.revoke(token)
    refused = await refusal(confirming(world), token)
    assert isinstance(refused, Untimely)
    assert (refused.code, refused.genuine) == ("token.inactive", True)


async def test_an_expired_token_is_not_confirmed_and_no_policy_is_asked() -> None:
    """Of a token that is not active nobody can tell whether it was revoked."""
    world = asked(options={"fresh_for": 300.0})
    token = world.issuer.token()
    asking = confirming(world)
    assert await outcome(asking, token) == "alice"
    await world.clock.advance(300)
    assert (await refusal(asking, token)).code == "token.inactive"


async def test_an_issuer_that_confirms_a_late_token_lets_the_policy_decide() -> None:
    """Where it still counts for its issuer, it is late like any other."""
    world = asked()
    world.answers({"active": True})
    verified = await proven_by(confirming(world), world.issuer.token(exp=NOW - 60))
    assert (await decide(verified, GRACE, NOW)).late is not None


_NULLS = dict.fromkeys(("iss", "sub", "client_id", "jti", "aud", "exp", "token_type", "cnf"))


@pytest.mark.parametrize("said", [{}, _NULLS])
async def test_a_short_answer_confirms(said: dict[str, Any]) -> None:
    """The token says everything itself; a bare yes is enough, and null says nothing."""
    world = asked()
    world.answers({"active": True, **said})
    verified = await proven_by(confirming(world), world.issuer.token(scope="a"))
    assert (verified.caller.subject, verified.caller.scopes) == ("alice", frozenset("a"))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"sub": "mallory"}, "token.mismatch"),
        ({"sub": 5}, "token.mismatch"),
        ({"iss": "https://evil.test"}, "token.mismatch"),
        ({"client_id": "another"}, "token.mismatch"),
        ({"jti": "another"}, "token.mismatch"),
        ({"aud": "bank"}, "token.audience"),
        ({"aud": 5}, "token.claim_invalid"),
        ({"exp": "soon"}, "token.claim_invalid"),
        ({"exp": 10**400}, "token.claim_invalid"),
        ({"token_type": "DPoP"}, "token.type"),
        ({"token_use": "refresh_token"}, "token.type"),
    ],
)
async def test_an_answer_about_something_else_confirms_nothing(
    said: dict[str, Any], code: str
) -> None:
    """What an answer says must be what the token says; the message is kept all the same."""
    world = asked()
    world.answers({"active": True, **said})
    refused = await refusal(confirming(world), world.issuer.token(jti="t-1"))
    assert (type(refused), refused.code) == (Untimely, code)


@pytest.mark.parametrize(
    ("said", "scopes", "expires_at"),
    [
        ({"scope": "a"}, {"a"}, NOW + 300),
        ({"scope": "a b c"}, {"a", "b"}, NOW + 300),
        ({"scope": ""}, set(), NOW + 300),
        ({"scope": None}, set(), NOW + 300),
        ({"scp": ["b"]}, {"b"}, NOW + 300),
        ({"exp": NOW + 10}, {"a", "b"}, NOW + 10),
        ({"exp": NOW + 9000}, {"a", "b"}, NOW + 300),
    ],
)
async def test_an_answer_narrows_and_never_widens(
    said: dict[str, Any], scopes: set[str], expires_at: float
) -> None:
    """An earlier end and fewer scopes count; a later end and more scopes do not."""
    world = asked()
    world.answers({"active": True, **said})
    found = (await proven_by(confirming(world), world.issuer.token(scope="a b"))).caller
    assert (found.scopes, found.expires_at) == (frozenset(scopes), expires_at)


def _picky(refuses: Callable[[str], bool]) -> tuple[Asked, Confirmed]:
    """Return who confirms at an endpoint that answers 400 to some tokens, and what it asks for."""
    world = asked()

    async def respond(request: httpx.Request) -> httpx.Response:
        (token,) = parse_qs((await request.aread()).decode())["token"]
        if refuses(token):
            return httpx.Response(400, stream=httpx.ByteStream(b'{"error": "invalid_request"}'))
        return httpx.Response(200, stream=httpx.ByteStream(b'{"active": false}'))

    asking = asks(world.issuer, Fetcher(transport=Scripted(respond)))
    local = Verifiers(Verifier(IssuerKeys(world.issuer), issuer=world.issuer.url, audience="shop"))
    return world, Confirmed(local, {world.issuer.url: asking})


async def test_an_endpoint_that_refuses_every_jwt_refuses_no_message() -> None:
    """Some answer about opaque tokens alone: the messages wait, and the reason says what to do."""
    jwts_refused = True
    world, confirmed = _picky(lambda token: jwts_refused and token.count(".") == 2)
    token = world.issuer.token()
    for _ in range(2):  # also when the answer is at hand
        with pytest.raises(NotAtHand):
            confirmed.recall(token)
        with pytest.raises(
            Deferred, match=r"status 400 about JWTs: introspect=True.*without"
        ) as no:
            await proven_by(confirmed, token)
    assert no.value.probe is not None
    with pytest.raises(Deferred):
        await no.value.probe()
    jwts_refused = False
    await no.value.probe()


async def test_an_endpoint_that_refuses_one_jwt_refuses_that_one() -> None:
    """Where others are answered it is the token's fault, and stops nobody else's message."""
    refused_token = ""
    world, confirmed = _picky(lambda token: token == refused_token)
    refused_token = world.issuer.token()
    assert (await refusal(confirmed, refused_token)).code == "token.unanswered"
    assert (await refusal(confirmed, world.issuer.token("bob"))).code == "token.inactive"


async def test_an_endpoint_out_of_reach_confirms_nothing() -> None:
    """The message waits; that the token is genuine is not enough here."""
    world = asked()
    world.transport.down = True
    assert await outcome(confirming(world), world.issuer.token()) == "deferred"


async def test_a_confirmation_holds_as_long_as_proof_and_answer_do() -> None:
    """A stale answer, or a retired key, ends it; until then it is recalled without waiting."""
    world = asked(options={"fresh_for": 10.0})
    asking, token = confirming(world), world.issuer.token()
    with pytest.raises(NotAtHand):
        asking.recall(token)
    confirmed = await proven_by(asking, token)
    assert confirmed.holds()
    assert asking.recall(token) == confirmed
    await world.clock.advance(10)
    assert not confirmed.holds()
    with pytest.raises(NotAtHand):
        asking.recall(token)
    again = await proven_by(asking, token)
    world.issuer.rotate(retire=True)
    assert not again.holds()


async def test_a_bare_yes_from_before_exp_says_nothing_of_the_time_after() -> None:
    """However fresh it is, a token that ended since is asked about anew."""
    world = asked(options={"fresh_for": 300.0, "refused_for": 300.0})
    asking, token = confirming(world), world.issuer.token(exp=NOW + 5)
    world.answers({"active": True})
    confirmed = await proven_by(asking, token)
    await world.clock.advance(5)
    assert not confirmed.holds()
    world.answers({"active": False})
    assert (await refusal(asking, token)).code == "token.inactive"


async def test_what_is_no_jws_is_judged_as_before() -> None:
    """An opaque token is asked about anyway, once."""
    world = asked()
    assert await outcome(confirming(world), world.issuer.reference()) == "alice"
    assert await outcome(confirming(world), "unknown") == "token.inactive"
    assert len(world.transport.received) == 2


async def test_a_newer_no_takes_the_place_of_a_yes() -> None:
    """What one handler learned counts for those that share its answers."""
    world = asked(options={"fresh_for": 300.0})
    asking, token = confirming(world), world.issuer.token(exp=NOW + 5)
    world.answers(active(exp=NOW + 9000))
    await proven_by(asking, token)
    assert world.introspection.recall(token)
    await world.clock.advance(5)
    world.answers({"active": False})
    assert (await refusal(asking, token)).code == "token.inactive"
    with pytest.raises(Refused, match="inactive"):
        world.introspection.recall(token)
