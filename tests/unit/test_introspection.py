"""Asking the issuer: what counts, what does not, and who is guilty of it."""

import asyncio
import json
import math
from typing import Any

import httpx
import pytest

from busauth import DeadLetter, Grace, StaticKeys, Verifier, Verifiers
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth._tokens.verifier import fingerprint
from busauth.errors import ConfigurationError, Deferred, NotGenuine
from busauth.testing import IssuerServer
from busauth.tokens import (
    RFC9068,
    ClientSecretBasic,
    Fetcher,
    IntrospectionOptions,
    NotAtHand,
    Verified,
)
from tests.unit.introspecting import OPAQUE, PATH, Scripted, active, asked, asks, outcome
from tests.unit.issuer_fronts import make_issuer
from tests.unit.support import AUDIENCE, NOW, Respond, http, proven_by, raw_server

GRACE = Rules(policies=PolicyChain(Grace(hours=1), hard_max_age=86_400))
STRICT = Rules(policies=PolicyChain(DeadLetter(), hard_max_age=86_400))


def always(answer: bytes) -> Respond:
    return lambda _: answer


@pytest.mark.parametrize("signed", [False, True])
async def test_an_opaque_token_becomes_the_caller_that_a_jwt_would(signed: bool) -> None:
    """Introspection and local verification give the same caller, but for the token's own hash."""
    world = asked(signed=signed)
    claims: dict[str, Any] = {
        "scope": "a b",
        "roles": ["clerk"],
        "jti": "t-1",
        "act": {"sub": "gw"},
    }
    reference, jws = world.issuer.reference(**claims), world.issuer.token(**claims)
    keys = StaticKeys(world.issuer.jwks())
    local = Verifier(
        keys, issuer=world.issuer.url, audience=AUDIENCE, algorithms=("ES256",), leeway=0
    )
    here = (await proven_by(Verifiers(local), jws)).caller
    for token in (reference, jws):
        there = (await proven_by(world.introspection, token)).caller
        assert there.token_sha256 == fingerprint(token)
        assert dict(there.claims) == dict(here.claims)
        for name in ("issuer", "subject", "client", "scopes", "roles", "audience", "actors"):
            assert getattr(there, name) == getattr(here, name)
        assert (there.expires_at, there.issued_at) == (here.expires_at, here.issued_at)


async def test_over_http_it_is_the_same() -> None:
    """A real endpoint on a socket is asked as RFC 7662 has it."""
    issuer = make_issuer()
    with IssuerServer(issuer) as server:
        introspection = asks(issuer, Fetcher())
        assert await outcome(introspection, issuer.reference("bob")) == "bob"
        assert await outcome(introspection, "nobodys") == "token.inactive"
        server.down = True
        assert await outcome(introspection, "another") == "deferred"
    assert await outcome(introspection, "a-third") == "deferred"
    request = server.received[0]
    assert (request.method, request.target) == ("POST", PATH)
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"


async def test_what_is_not_active_is_not_genuine() -> None:
    """Unknown, revoked and expired look alike; nobody is proven to have sent it."""
    world = asked()
    revoked = world.issuer.reference()
    world.issuer.revoke(revoked)
    expired = world.issuer.reference(exp=NOW - 1)
    for token in ("unknown", revoked, expired):
        with pytest.raises(NotGenuine) as caught:
            await proven_by(world.introspection, token)
        assert caught.value.code == "token.inactive"
        assert token not in str(caught.value)


async def test_no_policy_is_asked_about_a_token_that_expired_since() -> None:
    """A token that counted is not accepted late when its issuer calls it inactive, by anybody."""
    world = asked(options={"fresh_for": 300.0})
    token = world.issuer.reference()
    assert await world.code(token) == "alice"
    await world.clock.advance(300)
    assert await world.code(token) == "token.inactive"


async def test_an_active_answer_past_exp_is_late() -> None:
    """Where the answer proves whose token it was, the expiry policies decide, as for a JWT."""
    world = asked()
    world.answers(active(exp=NOW - 60))
    verified = await proven_by(world.introspection, OPAQUE)
    assert verified.lateness(NOW) == 60
    assert (await decide(verified, GRACE, NOW)).late is not None
    with pytest.raises(Exception, match=r"token\.expired"):
        await decide(verified, STRICT, NOW)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://evil.test"}, "token.issuer"),
        ({"iss": ["https://issuer.test"]}, "token.issuer"),
        ({"aud": "bank"}, "token.audience"),
        ({"aud": ["bank"]}, "token.audience"),
        ({"aud": []}, "token.audience"),
        ({"aud": ...}, "token.claim_missing"),
        ({"aud": 5}, "token.claim_invalid"),
        ({"sub": 5}, "token.claim_invalid"),
        ({"exp": ...}, "token.claim_missing"),
        ({"exp": "9999999999"}, "token.claim_invalid"),
        ({"exp": True}, "token.claim_invalid"),
        ({"exp": -1}, "token.claim_invalid"),
        ({"exp": 10**400}, "token.claim_invalid"),
        ({"exp": None}, "token.claim_missing"),
        ({"aud": None}, "token.claim_missing"),
        ({"nbf": "0"}, "token.claim_invalid"),
        ({"iat": []}, "token.claim_invalid"),
        ({"cnf": {"jkt": "x"}}, "token.sender_constrained"),
        ({"token_type": "DPoP"}, "token.type"),
        ({"token_type": "Refresh"}, "token.type"),
        ({"token_use": "refresh_token"}, "token.type"),
        ({"token_use": ["access_token"]}, "token.type"),
        ({"events": {}}, "token.type"),
        ({"act": {"iss": "x"}}, "token.claim_invalid"),
    ],
)
async def test_what_an_answer_says_is_judged_like_claims(
    changes: dict[str, Any], code: str
) -> None:
    """Issuer, audience, instants and kind must be right; the issuer's yes alone is not enough."""
    world = asked()
    world.answers(active(**changes))
    assert await world.code(OPAQUE) == code


_OPTIONAL = ("iss", "jti", "nbf", "iat", "token_type", "cnf", "act", "scope", "client_id", "events")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": ...},
        {"token_type": "bearer"},
        {"aud": [AUDIENCE, "x"]},
        {"client_id": 5},
        *({name: None} for name in _OPTIONAL),
        dict.fromkeys(_OPTIONAL),
    ],
    ids=str,
)
async def test_what_may_be_left_out_may_be_left_out(changes: dict[str, Any]) -> None:
    """An answer without `iss` is the issuer's own, null is absent, and kinds have no case."""
    world = asked()
    world.answers(active(**changes))
    assert await world.code(OPAQUE) == "alice"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"true",
        b"<html>",
        b"{}",
        b'{"active": "true"}',
        b'{"active": 1}',
        b'{"active": null}',
        b'{"active": false, "active": true}',
        b'{"active": true, "exp": Infinity}',
        b'{"active": true, "x": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"active": true, "x": "' + b"x" * 300_000 + b'"}',
        b'{"active": true, "exp": ' + b"9" * 5000 + b"}",
        b'{"active": true, "sub": "\xff"}',
    ],
)
async def test_what_is_no_answer_is_nobodys_fault(body: bytes) -> None:
    """Nonsense, too much of it, or an `active` that is no boolean defers and accepts nothing."""
    world = asked()
    world.answers(body)
    assert await world.code(OPAQUE) == "deferred"


@pytest.mark.parametrize("status", [201, 204, 301, 401, 403, 404, 429, 500, 502, 503])
async def test_a_status_but_200_is_nobodys_fault(status: int) -> None:
    """Not even an active answer counts with another status; nothing is followed."""
    world = asked()
    world.answers(active(), status)
    assert await world.code(OPAQUE) == "deferred"
    assert len(world.transport.received) == 1


async def test_a_wrong_secret_is_nobodys_fault() -> None:
    """The message waits until the operator has corrected the secret."""
    world = asked(client=ClientSecretBasic("shop-web", "wrong"))
    assert await world.code(world.issuer.reference()) == "deferred"


async def test_the_probe_of_a_deferral_ends_with_the_fault() -> None:
    """It raises while the endpoint is down and returns once it answers, whatever it then says."""
    world = asked()
    world.transport.down = True
    with pytest.raises(Deferred) as caught:
        await proven_by(world.introspection, OPAQUE)
    assert OPAQUE not in str(caught.value)
    probe = caught.value.probe
    assert probe is not None
    with pytest.raises(Deferred):
        await probe()
    world.transport.down = False
    await probe()


async def test_a_slow_endpoint_is_out_of_reach() -> None:
    """Nobody waits longer than the timeout."""
    world = asked()
    world.transport.delay = 1000
    waiting = asyncio.ensure_future(world.code(OPAQUE))
    await world.clock.advance(6)
    assert await waiting == "deferred"


async def test_an_endless_answer_over_http_is_cut() -> None:
    """Of an answer that never ends no more than the limit is read."""
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_000_000
    async with raw_server(lambda _: endless) as server:
        issuer = make_issuer(url=server.url)
        assert await outcome(asks(issuer, Fetcher(max_bytes=1000)), OPAQUE) == "deferred"


async def test_an_answer_over_http_that_is_packed_or_elsewhere_is_none() -> None:
    """Compression and redirects are refused on a post as on a get."""
    for answer in (
        http(active(), "Content-Encoding: gzip"),
        http(active(), "Location: https://evil.example/", status="307 T"),
    ):
        async with raw_server(always(answer)) as server:
            issuer = make_issuer(url=server.url)
            assert await outcome(asks(issuer, Fetcher()), OPAQUE) == "deferred"


@pytest.mark.parametrize("missing", [..., None])
async def test_a_token_of_a_client_alone_has_no_subject(missing: object) -> None:
    """`sub` is optional (RFC 7662, section 2.2): the caller is a client, and nobody's name."""
    world = asked()
    world.answers(active(sub=missing))
    caller = (await proven_by(world.introspection, OPAQUE)).caller
    assert (caller.subject, caller.client) == ("", "shop-web")
    assert "sub" not in caller.claims


async def test_null_scopes_are_none_at_all() -> None:
    """An answer that has no scopes to tell gives none."""
    world = asked()
    world.answers(active(scope=None))
    assert (await proven_by(world.introspection, OPAQUE)).caller.scopes == frozenset()


async def test_null_members_are_left_out_of_the_claims() -> None:
    """Predicates over claims see what was said, and nothing that was not."""
    world = asked()
    world.answers(active(jti=None, nbf=None, department=None))
    caller = (await proven_by(world.introspection, OPAQUE)).caller
    assert {"jti", "nbf", "department"}.isdisjoint(caller.claims)


async def test_an_opaque_token_is_never_its_own_id() -> None:
    """Some issuers answer so; ids are told, and a token is not."""
    world = asked()
    world.answers(active(jti=OPAQUE))
    caller = (await proven_by(world.introspection, OPAQUE)).caller
    assert (caller.subject, caller.token_id) == ("alice", None)
    assert OPAQUE not in f"{caller} {caller.claims}"


@pytest.mark.parametrize("name", ["iss", "sub", "token_type", "scope", "client_id"])
async def test_an_answer_that_hands_the_token_back_tells_it_nowhere(name: str) -> None:
    """It is refused, by the member's name alone."""
    world = asked()
    world.answers(active(**{name: OPAQUE}))
    with pytest.raises(NotGenuine, match=f"the token itself as {name}") as refused:
        await proven_by(world.introspection, OPAQUE)
    assert OPAQUE not in repr(refused.value)


async def test_a_token_that_breaks_the_question_is_refused() -> None:
    """Where the endpoint answers about others, the token that it refuses cannot stop the queue."""

    async def respond(request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        if OPAQUE.encode() in body:
            return httpx.Response(400, stream=httpx.ByteStream(b"{}"))
        return httpx.Response(200, stream=httpx.ByteStream(b'{"active": false}'))

    world = asked()
    options = IntrospectionOptions(failures=1)
    picky = asks(world.issuer, Fetcher(transport=Scripted(respond)), options=options)
    assert await outcome(picky, OPAQUE) == "token.unanswered"
    assert await outcome(picky, "another") == "token.inactive"  # the breaker is closed


async def test_an_endpoint_that_refuses_every_question_is_nobodys_fault() -> None:
    """A request that is wrong in itself is the operator's to correct; the messages wait."""
    world = asked()
    world.answers({"error": "invalid_request"}, 400)
    assert await world.code(OPAQUE) == "deferred"


@pytest.mark.parametrize("name", ["jti", "sub", "client_id"])
async def test_an_answer_about_another_token_is_refused(name: str) -> None:
    """Of a token that can be read, the answer must say the same."""
    world = asked()
    world.answers(active(**{name: "another's"}))
    claims = {"jti": "t-1", "sub": "alice", "client_id": "shop-web"}
    assert await world.code(world.issuer.sign(world.issuer.claims(**claims))) == "token.mismatch"


async def test_a_jws_of_another_issuer_is_never_sent() -> None:
    """Nobody learns a token that somebody else issued."""
    world = asked()
    for token in (
        world.issuer.token(iss="https://other.test"),
        world.issuer.token(iss=None),
        world.issuer.token(iss=[world.issuer.url]),
    ):
        assert await world.code(token) == "token.issuer"
    assert world.transport.received == []


async def test_kinds_of_token_stay_apart() -> None:
    """A signed answer, an event or an untyped token is not asked about as an access token."""
    world = asked(profile=RFC9068)
    for typ in ("token-introspection+jwt", "secevent+jwt", "JWT", 5, None):
        assert await world.code(world.issuer.token(header={"typ": typ})) == "token.type"
    assert world.transport.received == []


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "token.empty"),
        ("x" * 8193, "token.too_large"),
        ("a b", "token.characters"),
        ("a\nb", "token.characters"),
        ("ä", "token.characters"),
        ("a&token=b", "token.characters"),
        ("=a", "token.characters"),
        ("\ud800", "token.characters"),
    ],
)
async def test_what_is_no_bearer_token_is_not_sent(token: str, code: str) -> None:
    """Shape comes first; a hostile text never reaches the endpoint."""
    world = asked()
    assert await world.code(token) == code
    assert world.transport.received == []


async def test_hostile_jws_are_never_accepted() -> None:
    """What a verifier refuses is not accepted by way of an endpoint that knows its own tokens."""
    world = asked()
    for name, token in world.issuer.hostile().items():
        code = await world.code(token)
        assert code.startswith("token.") or code == "deferred", name


# --- what is remembered -------------------------------------------------------------------------


async def test_an_answer_is_remembered_for_a_while_and_not_longer() -> None:
    """Within `fresh_for` nobody is asked again; after it, everybody is."""
    world = asked(options={"fresh_for": 10.0})
    token = world.issuer.reference()
    verified = await proven_by(world.introspection, token)
    await world.clock.advance(9.9)
    assert world.introspection.recall(token) == verified
    assert verified.holds()
    await world.clock.advance(0.1)
    assert not verified.holds()
    with pytest.raises(NotAtHand):
        world.introspection.recall(token)
    world.issuer.revoke(token)
    assert await world.code(token) == "token.inactive"
    assert len(world.transport.received) == 2


async def test_nothing_is_remembered_past_exp() -> None:
    """An answer from before `exp` does not count from that instant on, however fresh it is."""
    world = asked(options={"fresh_for": 300.0})
    token = world.issuer.reference(exp=NOW + 5)
    verified = await proven_by(world.introspection, token)
    await world.clock.advance(4.9)
    assert verified.holds()
    await world.clock.advance(0.1)
    assert not verified.holds()
    with pytest.raises(NotAtHand):
        world.introspection.recall(token)


async def test_an_answer_ages_from_the_question() -> None:
    """A slow answer is as old as its question: it may be stale when it comes."""
    world = asked(options={"fresh_for": 2.0})
    world.transport.delay = 2.5
    waiting = asyncio.ensure_future(proven_by(world.introspection, world.issuer.reference()))
    await world.clock.advance(2.5)
    assert not (await waiting).holds()


async def test_a_no_is_remembered_briefly() -> None:
    """An unknown token is asked about once in `refused_for`."""
    world = asked(options={"refused_for": 5.0})
    for _ in range(3):
        assert await world.code(OPAQUE) == "token.inactive"
    assert len(world.transport.received) == 1
    with pytest.raises(NotGenuine, match="inactive"):
        world.introspection.recall(OPAQUE)
    await world.clock.advance(5)
    assert await world.code(OPAQUE) == "token.inactive"
    assert len(world.transport.received) == 2


async def test_a_fault_is_not_remembered() -> None:
    """Once the endpoint answers again, so do we."""
    world = asked()
    token = world.issuer.reference()
    world.transport.down = True
    assert await world.code(token) == "deferred"
    world.transport.down = False
    assert await world.code(token) == "alice"


async def test_zero_seconds_ask_every_time() -> None:
    """Where a live answer matters, none is remembered."""
    world = asked(options={"fresh_for": 0.0})
    token = world.issuer.reference()
    for _ in range(3):
        assert await world.code(token) == "alice"
    assert len(world.transport.received) == 3


async def test_no_raw_token_is_kept() -> None:
    """What is remembered is found by its SHA-256, and holds no token."""
    world = asked()
    token = world.issuer.reference()
    await proven_by(world.introspection, token)
    await world.code(OPAQUE)
    answers = world.introspection._answers
    assert set(answers._counting) == {fingerprint(token)}
    assert set(answers._refused) == {fingerprint(OPAQUE)}
    assert token not in repr(answers._counting)
    assert answers._flights.under_way == 0


# --- many at once -------------------------------------------------------------------------------


async def test_one_question_serves_all_who_wait() -> None:
    """Messages with one token share one request, and a cancelled one takes no other along."""
    world = asked()
    world.transport.delay = 1
    token = world.issuer.reference()
    waiting = [asyncio.ensure_future(world.code(token)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await world.clock.advance(1)
    assert await asyncio.gather(*waiting[1:]) == ["alice"] * 49
    assert len(world.transport.received) == 1


async def test_a_flood_of_unknown_tokens_is_bounded_and_displaces_nobody() -> None:
    """Requests at once, answers kept and tokens waited for have limits; who counts still does."""
    under_way, most = 0, 0

    async def respond(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        body = await request.aread()
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        said = active() if OPAQUE.encode() in body else {"active": False}
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(said).encode()))

    options = IntrospectionOptions(remembered=10, requests=4, in_flight=50, fresh_for=300.0)
    flooded = asks(make_issuer(), Fetcher(transport=Scripted(respond)), options=options)
    assert await outcome(flooded, OPAQUE) == "alice"
    codes = await asyncio.gather(*(outcome(flooded, f"flood-{number}") for number in range(200)))
    assert codes.count("token.inactive") == 50
    assert codes.count("deferred") == 150
    assert most == 4
    assert len(flooded._answers._refused) == 10
    assert flooded._answers._flights.under_way == 0
    assert flooded.recall(OPAQUE).caller.subject == "alice"


async def test_answers_that_count_are_bounded_too() -> None:
    """The oldest that was not used makes room."""
    world = asked(options={"remembered": 3})
    tokens = [world.issuer.reference(str(number)) for number in range(4)]
    for token in tokens[:3]:
        await world.code(token)
    world.introspection.recall(tokens[0])
    await world.code(tokens[3])
    assert len(world.introspection._answers._counting) == 3
    assert world.introspection.recall(tokens[0])
    with pytest.raises(NotAtHand):
        world.introspection.recall(tokens[1])


async def test_the_breaker_opens_and_lets_one_through() -> None:
    """After failures in a row nobody asks for a while; then one does, and the others wait."""
    world = asked(options={"failures": 3, "open_for": 10.0})
    world.transport.down = True
    for number in range(10):
        assert await world.code(f"t-{number}") == "deferred"
    assert len(world.transport.received) == 3
    await world.clock.advance(10)
    codes = await asyncio.gather(*(world.code(f"u-{number}") for number in range(10)))
    assert codes == ["deferred"] * 10
    assert len(world.transport.received) == 4
    world.transport.down = False
    await world.clock.advance(9.9)
    assert await world.code("v") == "deferred"
    await world.clock.advance(0.1)
    token = world.issuer.reference()
    assert await world.code(token) == "alice"
    assert await world.code("w") == "token.inactive"


async def test_a_no_closes_the_breaker_like_a_yes() -> None:
    """Answers are answers: a flood of unknown tokens opens nothing."""
    world = asked(options={"failures": 2})
    for number in range(20):
        world.transport.down = number % 2 == 0
        await world.code(f"t-{number}")
    assert len(world.transport.received) == 20


async def test_who_waits_behind_a_dead_endpoint_does_not_wait_for_each_timeout() -> None:
    """Once the breaker is open, the tokens that waited for their turn are deferred at once."""
    world = asked(options={"requests": 1, "failures": 1})
    world.transport.delay = 1000
    waiting = [asyncio.ensure_future(world.code(f"t-{number}")) for number in range(20)]
    await world.clock.advance(6)
    assert await asyncio.gather(*waiting) == ["deferred"] * 20
    assert len(world.transport.received) == 1


# --- what is configured -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"issuer": ""},
        {"audience": ()},
        {"audience": ""},
        {"leeway": -1},
        {"leeway": 301},
        {"leeway": math.nan},
        {"options": {"fresh_for": -1}},
        {"options": {"fresh_for": math.inf}},
        {"options": {"refused_for": 301}},
        {"options": {"remembered": -1}},
        {"options": {"in_flight": 0}},
        {"options": {"requests": 0}},
        {"options": {"failures": 0}},
        {"options": {"open_for": 0}},
    ],
)
def test_what_cannot_work_is_told_at_once(settings: dict[str, Any]) -> None:
    """Names are there, and numbers within their bounds."""
    with pytest.raises(ConfigurationError):
        asked(**settings)


def test_the_endpoint_is_asked_over_https() -> None:
    """Plain http would show the tokens to whoever sits between."""
    issuer = make_issuer(url="http://idp.example")
    with pytest.raises(ConfigurationError, match="expected https"):
        asks(issuer, Fetcher())


async def test_the_edge_looks_at_the_shape() -> None:
    """A JWS says when it ends; an opaque token does not, and may be published."""
    world = asked()
    assert world.introspection.check_shape(world.issuer.reference()) == math.inf
    assert world.introspection.check_shape(world.issuer.token()) == NOW + 300
    for token in ("a b", world.issuer.token(iss="https://other.test")):
        with pytest.raises(NotGenuine):
            world.introspection.check_shape(token)


async def test_instants_ahead_are_refused_later() -> None:
    """`nbf` and `iat` of an answer are judged like those of a JWT, at the decision."""
    world = asked()
    world.answers(active(nbf=NOW + 60))
    verified = await proven_by(world.introspection, OPAQUE)
    assert isinstance(verified, Verified)
    with pytest.raises(Exception, match="not_yet_valid"):
        await decide(verified, STRICT, NOW)
    assert json.dumps(dict(verified.caller.claims))
