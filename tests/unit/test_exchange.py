"""A token for a token: what is asked, what is taken for an answer, and what is kept of it."""

import asyncio
import json
import traceback
from base64 import b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from busauth.caller import Actor, lease_for
from busauth.delegation import (
    Exchanged,
    ExchangeOptions,
    ExchangeRequest,
    JwtGrant,
    Subject,
    TokenExchange,
)
from busauth.errors import (
    BusauthError,
    CallerError,
    ConfigurationError,
    Deferred,
    Forbidden,
    Refused,
)
from busauth.testing import Issuer, IssuerServer
from busauth.testing.issuer import Request, Response
from busauth.tokens import (
    JWKS,
    ClientSecretBasic,
    ClientSecretPost,
    Fetcher,
    MutualTls,
    PrivateKeyJwt,
    RetiredKeys,
)
from tests.unit.exchange_world import PAYMENTS, Members, World, code_of, make_world
from tests.unit.support import Signer

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
VOUCHER = "urn:busauth:params:oauth:token-type:voucher"
ALL = ExchangeRequest.of("payments")


# --- what is asked ------------------------------------------------------------------------------


async def test_a_token_is_had_for_one_service_with_less() -> None:
    """The new token is the subject's, for whom was asked, and allows what was asked."""
    world = make_world()
    subject = await world.subject()
    given = await world.idp.exchange(subject, PAYMENTS)
    assert given.caller.subject == "alice"
    assert given.caller.audience == ("payments",)
    assert given.caller.scopes == {"payments:take"}
    (form,) = world.forms()
    assert form == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": [subject.token],
        "subject_token_type": [ACCESS_TOKEN],
        "requested_token_type": [ACCESS_TOKEN],
        "audience": ["payments"],
        "scope": ["payments:take"],
    }


async def test_several_may_be_named() -> None:
    """Audiences and resources are sent one by one, and the token is for all of them alone."""
    world = make_world()
    request = ExchangeRequest.of(["payments", "stock"], resource="https://stock.test/api")
    given = await world.idp.exchange(await world.subject(), request)
    assert set(given.caller.audience) == request.audience | request.resource
    assert given.caller.scopes == {"orders:write", "payments:take"}


async def test_a_service_that_acts_is_named_in_front() -> None:
    """Its own token, had once, is the actor token, and whoever acted before is behind it."""
    world = make_world(acts=True)
    me = Actor("orders", world.issuer.url, "orders")
    given = await world.idp.exchange(await world.subject(act={"sub": "gateway"}), PAYMENTS)
    assert given.caller.actors == (me, Actor("gateway"))
    assert (await world.idp.exchange(await world.subject(), PAYMENTS)).caller.actors == (me,)
    grants = [form["grant_type"][0].rpartition(":")[2] for form in world.forms()]
    assert grants == ["client_credentials", "token-exchange", "token-exchange"]


async def test_an_own_token_that_is_taken_no_more_is_had_anew() -> None:
    """A server that forgot this service's token refuses nobody's work for it."""
    world = make_world(acts=True)
    await world.idp.exchange(await world.subject(), PAYMENTS)
    own = world.forms()[1]["actor_token"][0]
    world.issuer.revoke(own)
    await world.clock.advance(5)
    assert isinstance(await code_of(world.idp, await world.subject()), Exchanged)
    assert world.forms()[-1]["actor_token"] != [own]


async def test_who_is_refused_has_no_own_token_had_anew_each_time() -> None:
    """Many whose tokens count no more cost a request each, and one or two more in all."""
    world = make_world(acts=True)
    refused = [await world.subject() for _ in range(20)]
    for subject in refused:
        world.issuer.revoke(subject.token)
    for subject in refused:
        assert await code_of(world.idp, subject) == "exchange.refused"
    grants = [form["grant_type"][0].rpartition(":")[2] for form in world.forms()]
    assert (grants.count("client_credentials"), grants.count("token-exchange")) == (1, 20)


async def test_an_own_token_without_an_end_is_used_once() -> None:
    """It may be opaque; and a no to what was shown a new one is a no."""
    world = make_world(acts=True)
    own = world.issuer.reference("orders", client_id="orders")
    world.answering(
        lambda given: {**given, "access_token": own, "expires_in": None}, grant="client_credentials"
    )
    for _ in range(2):
        assert isinstance(await code_of(world.idp, await world.subject()), Exchanged)
    assert len(world.forms()) == 4
    revoked = await world.subject()
    world.issuer.revoke(revoked.token)
    assert await code_of(world.idp, revoked) == "exchange.refused"
    assert len(world.forms()) == 6


@pytest.mark.parametrize("method", ["post", "assertion", "certificate"])
async def test_a_client_says_who_it_is_in_the_form(method: str) -> None:
    """Secret, assertion and certificate: what the form has of each is the standard's."""
    key = Signer("ES256").private
    client, name = {
        "post": (ClientSecretPost("orders", "s"), "client_secret"),
        "assertion": (PrivateKeyJwt("orders", key, algorithm="ES256"), "client_assertion"),
        "certificate": (MutualTls("orders", certificate="c.pem"), "client_id"),
    }[method]
    world = make_world(client=client)
    await code_of(world.idp, await world.subject())
    request = world.transport.received[-1]
    assert name in world.forms()[-1]
    assert "authorization" not in request.headers


# --- before anybody is asked --------------------------------------------------------------------


async def test_a_chain_that_would_be_too_long_is_not_asked_for() -> None:
    """The service itself counts, where it acts."""
    act = {"sub": "a", "act": {"sub": "b"}}
    two = ExchangeOptions(max_depth=2)
    world = make_world(acts=True, options=two)
    assert await code_of(world.idp, await world.subject(act=act)) == "exchange.depth"
    assert world.transport.received == []
    world = make_world(options=two)
    assert isinstance(await code_of(world.idp, await world.subject(act=act)), Exchanged)


async def test_a_chain_that_the_server_makes_too_long_is_not_taken() -> None:
    """A client that is named unasked counts as one more."""
    act = {"sub": "a", "act": {"sub": "b"}}
    world = make_world(options=ExchangeOptions(max_depth=2))
    world.answering(with_claims(world, act={"sub": "orders", "act": act}))
    assert await code_of(world.idp, await world.subject(act=act)) == "exchange.depth"


@pytest.mark.parametrize(
    ("may_act", "code"),
    [
        ({"sub": "orders"}, None),
        ({"client_id": "orders", "iss": "https://issuer.test"}, None),
        ({"sub": "stock"}, "exchange.may_act"),
        ({"sub": "orders", "client_id": "stock"}, "exchange.may_act"),
        ({"sub": "orders", "iss": "https://else.test"}, "exchange.may_act"),
        ({"sub": "orders", "x": 1}, "exchange.may_act"),
        ({"iss": "https://issuer.test"}, "exchange.may_act"),
        ({"sub": ["orders"]}, "exchange.may_act"),
        (["orders"], "exchange.may_act"),
        (None, "exchange.may_act"),
    ],
)
async def test_whom_a_token_does_not_let_act_asks_nobody(may_act: Any, code: str | None) -> None:
    """Every member of `may_act` is this service's, or nothing is asked (RFC 8693, section 4.4)."""
    world = make_world()
    token = world.issuer.sign({**world.issuer.claims(scope="payments:take"), "may_act": may_act})
    found = await code_of(world.idp, await world.of(token))
    assert found == code or (code is None and isinstance(found, Exchanged))
    assert bool(world.transport.received) is (code is None)


# --- what an answer is held to ------------------------------------------------------------------


def with_claims(world: World, **changes: Any) -> Any:
    """Return a change by which the server's token says something else."""

    def change(members: Members) -> Members:
        claims = {**world.claims_of(members), **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        return {**members, "access_token": world.issuer.sign(claims)}

    return change


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "bob"},
        {"sub": None},
        {"scope": "payments:take orders:write"},
        {"scope": "payments:refund"},
        {"roles": ["admin"]},
        {"aud": ["payments", "bank"]},
        {"aud": "bank"},
        {"aud": "shop"},
        {"act": {"sub": "stock"}},
        {"act": {"sub": "orders", "iss": "https://else.test"}},
        {"act": {"sub": "orders", "act": {"sub": "stock"}}},
        {"exp": 1_750_000_000},
        {"exp": 1_749_999_000},
        {"iat": 1_750_000_100},
        {"nbf": 1_750_000_100},
        {"iss": "https://else.test"},
        {"cnf": {"jkt": "x"}},
        {"exp": "soon"},
    ],
)
async def test_a_token_that_is_another_than_was_asked_for_is_refused(
    claims: dict[str, Any],
) -> None:
    """Wider, for others, of others, over or not begun: refused, told, and remembered by nobody."""
    world = make_world()
    world.answering(with_claims(world, **claims))
    subject = await world.subject()
    with pytest.raises(Forbidden) as refused:
        await world.idp.exchange(subject, PAYMENTS)
    assert refused.value.code == "exchange.answer"
    assert refused.value.found
    assert refused.value.expected
    assert subject.token not in str(refused.value)
    world.transport.rewrite = None
    assert isinstance(await code_of(world.idp, subject), Exchanged)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"issued_token_type": JWT}, "exchange.answer"),
        ({"token_type": "DPoP"}, "exchange.answer"),
        ({"token_type": "N_A"}, "exchange.answer"),
        ({"expires_in": -300}, "exchange.answer"),
        ({"expires_in": 0}, "exchange.answer"),
        ({"access_token": "opaque"}, "exchange.answer"),
        ({"access_token": "a.b.c"}, "exchange.answer"),
        ({"access_token": None}, "deferred"),
        ({"access_token": ""}, "deferred"),
        ({"access_token": ["a"]}, "deferred"),
        ({"issued_token_type": None}, "deferred"),
        ({"issued_token_type": 5}, "deferred"),
        ({"token_type": None}, "deferred"),
        ({"expires_in": "300"}, "deferred"),
        ({"expires_in": True}, "deferred"),
        ({"expires_in": 10**400}, "deferred"),
        ({"pad": "x" * 300_000}, "deferred"),
        ({"scope": None, "refresh_token": None, "expires_in": None}, None),
        ({"token_type": "bearer"}, None),
    ],
)
async def test_an_answer_has_the_shape_of_one(members: Members, code: str | None) -> None:
    """What has its shape and is another is refused; what has not is no answer, and waits."""
    world = make_world()
    world.answering(lambda given: {**given, **members})
    found = await code_of(world.idp, await world.subject())
    assert found == code or (code is None and isinstance(found, Exchanged))


async def test_a_subject_without_a_name_gets_nobodys_token() -> None:
    """An opaque token may name nobody (RFC 7662): what comes for it cannot be held to anybody."""
    world = make_world()
    nameless = replace((await world.subject()).caller, subject="")
    subject = Subject(nameless, world.issuer.reference("alice", scope="payments:take"))
    with pytest.raises(Forbidden, match="names nobody"):
        await world.idp.exchange(subject, PAYMENTS)


async def test_a_removed_key_proves_no_new_token() -> None:
    """What is remembered of a retired key is for messages of before, and a new token is none."""
    world = make_world()
    fetcher = Fetcher(transport=world.transport)
    remembers = RetiredKeys(keep_for=3600.0, sources=["proof"])
    keys = JWKS(
        "https://issuer.test/jwks.json", fetcher=fetcher, clock=world.clock, retired=remembers
    )
    await keys.refresh()
    old = world.issuer.signing
    world.issuer.rotate(retire=True)
    await world.clock.advance(60)
    await keys.refresh()
    signed = world.issuer.token(key=old, aud="payments", scope="payments:take")
    world.answering(lambda given: {**given, "access_token": signed})
    idp = TokenExchange(
        "https://issuer.test",
        client=ClientSecretBasic("orders", world.issuer.register("orders").secret),
        keys=keys,
        fetcher=fetcher,
        clock=world.clock,
    )
    with pytest.raises(Forbidden, match="a key that was removed"):
        await idp.exchange(await world.subject(), PAYMENTS)


async def test_a_server_may_name_its_client_unasked() -> None:
    """Many do: that is who has acted, and widens nothing."""
    world = make_world()
    world.answering(with_claims(world, act={"sub": "orders"}))
    given = await world.idp.exchange(await world.subject(), PAYMENTS)
    assert given.caller.actors == (Actor("orders"),)


# --- a no, and no answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, "invalid_request", "exchange.refused"),
        (400, "invalid_grant", "exchange.refused"),
        (400, "invalid_target", "exchange.refused"),
        (403, "scope_escalation", "exchange.refused"),
        (400, "invalid_client", "deferred"),
        (400, "unauthorized_client", "deferred"),
        (400, "unsupported_grant_type", "deferred"),
        (400, "temporarily_unavailable", "deferred"),
        (400, "server_error", "deferred"),
        (400, "slow_down", "deferred"),
        (401, "invalid_request", "deferred"),
        (401, "token_revoked", "exchange.refused"),
        (404, "not_found", "deferred"),
        (405, "method_not_allowed", "deferred"),
        (407, "invalid_request", "deferred"),
        (408, "invalid_request", "deferred"),
        (421, "invalid_request", "deferred"),
        (425, "invalid_request", "deferred"),
        (429, "invalid_request", "deferred"),
        (503, "invalid_request", "deferred"),
        (302, "invalid_request", "deferred"),
        (400, "Bad Request", "deferred"),
        (400, None, "deferred"),
        (400, {"a": 1}, "deferred"),
        (400, "x" * 65, "deferred"),
    ],
)
async def test_a_no_is_told_from_what_is_nobodys_fault(
    status: int, error: object, code: str
) -> None:
    """A code about the question refuses; whatever blames client or server is waited out."""
    world = make_world()
    world.transport.replies["/token"] = (status, json.dumps({"error": error}).encode())
    assert await code_of(world.idp, await world.subject()) == code


async def test_a_refusal_tells_the_servers_error_and_no_token() -> None:
    """The evidence is the code; a server that hands a token back in it has said nothing."""
    world = make_world()
    subject = Subject((await world.subject()).caller, "opaque-token-of-alices")
    with pytest.raises(Forbidden) as refused:
        await world.idp.exchange(subject, PAYMENTS)
    assert (refused.value.code, refused.value.found) == ("exchange.refused", "invalid_request")
    world.transport.replies["/token"] = (400, json.dumps({"error": subject.token}).encode())
    with pytest.raises(Deferred) as deferred:
        await world.idp.exchange(subject, ALL)
    assert subject.token not in str(deferred.value)


@pytest.mark.parametrize("place", ["error", "token_type", "issued_token_type"])
@pytest.mark.parametrize("what", ["token", "part", "secret", "header", "new"])
async def test_no_name_in_an_answer_is_a_secret(place: str, what: str) -> None:
    """What was handed in, a part of it, and what came: no answer that names it is told."""
    opaque, secret = "opaque-token-of-alices", "swordfish-of-orders"
    world = make_world(client=ClientSecretBasic("orders", secret))
    header = b64encode(f"orders:{secret}".encode()).decode().strip("=")
    new = "another-opaque-token"
    told = {"token": opaque, "part": f"bad.{opaque[:-2]}", "secret": secret, "header": header}
    named = {"access_token": new, "token_type": "Bearer", "issued_token_type": ACCESS_TOKEN}
    answer = {**named, place: told.get(what, new)}
    status = 400 if place == "error" and what != "new" else 200
    world.transport.replies["/token"] = (status, json.dumps(answer).encode())
    subject = Subject((await world.subject()).caller, opaque)
    with pytest.raises(BusauthError) as raised:
        await world.idp.exchange(subject, PAYMENTS)
    said = "".join(traceback.format_exception(raised.value))
    assert not [each for each in (*told.values(), new) if each in said]


ECHOES = [b"%b\r\n\r\n", b"HTTP/1.1 5 %b\r\n\r\n", b"HTTP/1.1 200 OK\r\nx y: %b\r\n\r\n"]


@pytest.mark.parametrize("echo", ECHOES)
async def test_what_hands_a_request_back_has_not_it_told(echo: bytes) -> None:
    """Another thing on that port: neither what is raised nor its traceback has what was sent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        basic = next(line for line in head.split(b"\r\n") if b"Basic" in line)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        form = dict(parse_qsl((await reader.readexactly(length)).decode()))
        writer.write(echo % (basic + b" " + form["subject_token"].encode()))
        await writer.drain()
        writer.close()

    client = ClientSecretBasic("orders", "swordfish")
    subject = Subject((await make_world().subject()).caller, "opaque-token-of-alices")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        idp = TokenExchange("https://issuer.test", client=client, endpoint=url)
        with pytest.raises(Deferred, match=r"illegal (status|header) line") as deferred:
            await idp.exchange(subject, PAYMENTS)
    said = "".join(traceback.format_exception(deferred.value))
    assert subject.token not in said
    assert "Basic" not in said


@pytest.mark.parametrize("fault", ["down", "broken", "slow", "huge", "nonsense", "list", "nan"])
async def test_no_answer_is_waited_out_and_the_probe_says_when_it_is_over(fault: str) -> None:
    """Whatever is no answer defers, with a probe that fails as long and returns afterwards."""
    world = make_world()
    subject = await world.subject()
    bodies = {"huge": b" " * 300_000, "nonsense": b"<html>", "list": b"[]", "nan": b'{"a": NaN}'}
    transport = world.transport
    transport.down, transport.broken = fault == "down", fault == "broken"
    transport.delay = 6.0 if fault == "slow" else 0.0
    transport.replies = {"/token": (200, bodies[fault])} if fault in bodies else {}
    asking = asyncio.ensure_future(world.idp.exchange(subject, PAYMENTS))
    await world.clock.advance(30)
    with pytest.raises(Deferred) as deferred:
        await asking
    assert deferred.value.probe is not None
    transport.down = transport.broken = False
    transport.delay, transport.replies = 0.0, {}
    await deferred.value.probe()
    assert isinstance(await code_of(world.idp, subject), Exchanged)


async def test_a_probe_fails_while_the_client_is_not_taken() -> None:
    """A client whose secret is wrong is no message's fault, and is not back before it is right."""
    world = make_world(client=ClientSecretBasic("orders", "wrong"))
    with pytest.raises(Deferred, match="invalid_client") as deferred:
        await world.idp.exchange(await world.subject(), PAYMENTS)
    assert deferred.value.probe is not None
    with pytest.raises(Deferred, match="invalid_client"):
        await deferred.value.probe()


async def test_an_own_token_that_is_refused_is_no_messages_fault() -> None:
    """The service may not act, whoever its work is for: that is waited out."""
    world = make_world(acts=True)
    no = {"error": "invalid_scope"}
    world.answering(lambda _: no, grant="client_credentials", status=400)
    with pytest.raises(Deferred, match="invalid_scope") as deferred:
        await world.idp.exchange(await world.subject(), PAYMENTS)
    assert deferred.value.probe is not None
    with pytest.raises(Deferred, match="invalid_scope"):
        await deferred.value.probe()
    world.transport.rewrite = None
    await deferred.value.probe()


async def test_keys_out_of_reach_are_waited_for() -> None:
    """A token that cannot be proven now is no answer, and the probe asks for the keys."""
    world = make_world(endpoint="https://issuer.test/token")
    world.transport.replies["/jwks.json"] = (503, b"{}")
    with pytest.raises(Deferred, match="jwks") as deferred:
        await world.idp.exchange(await world.subject(), PAYMENTS)
    assert deferred.value.probe is not None
    del world.transport.replies["/jwks.json"]
    await world.clock.advance(30)
    await deferred.value.probe()
    assert isinstance(await code_of(world.idp, await world.subject()), Exchanged)


async def test_who_does_not_answer_is_left_alone() -> None:
    """After failures in a row nobody is asked for a while, then one question is let through."""
    options = ExchangeOptions(failures=4, open_for=10, retries=1)
    world = make_world(options=options, endpoint="https://issuer.test/token")
    world.transport.down = True
    for _ in range(6):
        assert await code_of(world.idp, await world.subject()) == "deferred"
    assert world.transport.requests.count("/token") == 4
    world.transport.down = False
    await world.clock.advance(11)
    assert isinstance(await code_of(world.idp, await world.subject()), Exchanged)


async def test_so_many_are_asked_at_once_and_no_more() -> None:
    """Requests wait for their turn; beyond the limit of what may wait, a question defers."""
    options = ExchangeOptions(requests=2, in_flight=5)
    world = make_world(options=options, endpoint="https://issuer.test/token")
    world.transport.delay = 1.0
    subjects = [await world.subject(f"user-{number}") for number in range(8)]
    asking = [asyncio.ensure_future(code_of(world.idp, subject)) for subject in subjects]
    await _asked(world)
    assert len(world.forms()) == 2
    world.transport.delay = 0.0
    await world.clock.advance(1)
    found = await asyncio.gather(*asking)
    assert [each for each in found if isinstance(each, str)] == ["deferred"] * 3


async def test_a_request_that_is_lost_is_made_again() -> None:
    """A connection that breaks costs another request, and no message."""
    world = make_world(options=ExchangeOptions(retries=2), endpoint="https://issuer.test/token")
    subject = await world.subject()
    world.transport.broken = True
    assert await code_of(world.idp, subject) == "deferred"
    assert world.transport.requests == ["/token"] * 3


# --- what is kept -------------------------------------------------------------------------------


async def test_a_token_is_had_once_and_used_until_shortly_before_its_end() -> None:
    """Callers who wait together share one request, and so do those after, for a while."""
    world = make_world()
    subject = await world.subject()
    together = await asyncio.gather(*(world.idp.exchange(subject, PAYMENTS) for _ in range(50)))
    assert len({each.token for each in together}) == 1
    assert len(world.forms()) == 1
    await world.clock.advance(269)
    assert await world.idp.exchange(subject, PAYMENTS) == together[0]
    assert len(world.forms()) == 1
    await world.clock.advance(2)
    fresh = await world.idp.exchange(subject, PAYMENTS)
    assert fresh.token != together[0].token
    assert len(world.forms()) == 2


async def test_an_exchange_is_one_request_once_the_server_is_known() -> None:
    """Its metadata and keys are fetched with the first one, and no more with the next."""
    world = make_world()
    await world.idp.exchange(await world.subject("alice"), PAYMENTS)
    metadata = "/.well-known/openid-configuration"
    assert world.transport.requests == [metadata, "/token", metadata, "/jwks.json"]
    await world.idp.exchange(await world.subject("bob"), PAYMENTS)
    assert world.transport.requests[4:] == ["/token"]


async def test_each_token_and_each_request_has_its_own() -> None:
    """Another token of the same caller's, and another request, is asked about by itself."""
    world = make_world()
    weak, strong = await world.subject(scope="payments:take"), await world.subject()
    for subject in (weak, strong):
        for request in (ALL, PAYMENTS, ExchangeRequest.of("stock")):
            await world.idp.exchange(subject, request)
    assert len(world.forms()) == 6


async def test_what_one_may_not_have_is_nobody_elses_no() -> None:
    """Two handlers with one token, of which one may less: each is held to their own."""
    world = make_world()
    subject = await world.subject()
    less = Subject(replace(subject.caller, scopes=frozenset()), subject.token)
    asked = (code_of(world.idp, each, ALL) for each in (less, subject, less))
    found = await asyncio.gather(*asked)
    assert found[0] == found[2] == "exchange.answer"
    assert isinstance(found[1], Exchanged)


async def test_a_no_is_remembered_for_seconds() -> None:
    """The same question is not asked again at once, and each refusal is one of its own."""
    world = make_world()
    subject = await world.subject()
    world.issuer.revoke(subject.token)
    told = []
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await world.idp.exchange(subject, PAYMENTS)
        told.append(refused.value)
    assert len({id(each) for each in told}) == 3
    assert len(world.forms()) == 1
    await world.clock.advance(6)
    assert await code_of(world.idp, subject) == "exchange.refused"
    assert len(world.forms()) == 2


async def test_what_is_kept_is_bounded() -> None:
    """Tokens beyond the bound push the oldest out, and refusals push no token out."""
    world = make_world(options=ExchangeOptions(remembered=2))
    subjects = [await world.subject(f"user-{number}") for number in range(3)]
    for subject in subjects:
        await world.idp.exchange(subject, PAYMENTS)
    for number in range(3):
        await code_of(world.idp, Subject(subjects[2].caller, f"unknown-{number}"))
    asked = len(world.forms())
    await world.idp.exchange(subjects[2], PAYMENTS)
    assert len(world.forms()) == asked
    await world.idp.exchange(subjects[0], PAYMENTS)
    assert len(world.forms()) == asked + 1


async def test_who_gives_up_ends_nobody_elses_exchange() -> None:
    """One of two who wait is cancelled, and the other has the token of the same request."""
    world = make_world(endpoint="https://issuer.test/token")
    subject = await world.subject()
    world.transport.delay = 1.0
    first = asyncio.ensure_future(world.idp.exchange(subject, PAYMENTS))
    second = asyncio.ensure_future(world.idp.exchange(subject, PAYMENTS))
    await _asked(world)
    world.transport.delay = 0.0  # the keys come at once
    first.cancel()
    await world.clock.advance(1)
    assert (await second).caller.subject == "alice"
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(world.forms()) == 1


async def _asked(world: World) -> None:
    while not world.transport.received:
        await asyncio.sleep(0)


async def test_a_key_that_counts_no_more_takes_what_it_signed_along() -> None:
    """A remembered token whose key was retired is had anew."""
    world = make_world()
    subject = await world.subject()
    first = await world.idp.exchange(subject, PAYMENTS)
    world.issuer.rotate(retire=True)
    await world.clock.advance(30)
    again = await world.subject()
    await world.idp.exchange(again, PAYMENTS)
    assert not isinstance(await code_of(world.idp, subject), Exchanged)
    assert first.token not in repr(first) + repr(world.idp) + repr(world.idp._results.__dict__)


# --- for handlers -------------------------------------------------------------------------------


async def test_a_handler_has_a_token_for_its_caller() -> None:
    """Whether they were revoked is asked first, and a handler that has ended has none."""
    world = make_world()
    subject = await world.subject()
    revoked: list[str] = []

    def standing(caller: object) -> None:
        if revoked:
            raise Forbidden("token.revoked", found="revoked", expected="a caller who counts")

    lease = lease_for(subject.caller, subject.token, standing=standing)
    caller = replace(subject.caller, _lease=lease)
    given = await world.idp.token_for(caller, "payments", scopes="payments:take")
    assert given.caller.audience == ("payments",)
    revoked.append("alice")
    with pytest.raises(Forbidden, match=r"token\.revoked"):
        await world.idp.token_for(caller, "payments", scopes="payments:take")
    lease.end()
    with pytest.raises(CallerError):
        await world.idp.token_for(caller, "payments", scopes="payments:take")
    with pytest.raises(CallerError):
        await world.idp.token_for(subject.caller, audience="payments")
    assert len(world.forms()) == 1


@pytest.mark.parametrize("over", ["revoked", "ended"])
async def test_what_ends_in_flight_brings_no_token(over: str) -> None:
    """Who is revoked while the server thinks, and whose handler is over by then, has none."""
    world = make_world()
    subject = await world.subject()
    revoked: list[str] = []

    def standing(caller: object) -> None:
        if revoked:
            raise Forbidden("token.revoked", found="revoked", expected="a caller who counts")

    lease = lease_for(subject.caller, subject.token, standing=standing)
    caller = replace(subject.caller, _lease=lease)

    def meanwhile(given: Members) -> Members:
        if over == "revoked":
            revoked.append("alice")
        else:
            lease.end()
        return given

    world.answering(meanwhile)
    with pytest.raises(Forbidden if over == "revoked" else CallerError):
        await world.idp.token_for(caller, "payments", scopes="payments:take")
    assert len(world.forms()) == 1


# --- vouchers, at the issuer --------------------------------------------------------------------


async def voucher_of(world: World, subject: Subject) -> Exchanged:
    request = ExchangeRequest.of("later:stock", scopes="payments:take", token_type=VOUCHER)
    return await world.idp.exchange(subject, request)


def receiver(world: World, name: str = "stock") -> TokenExchange:
    client = world.issuer.register(name)
    return TokenExchange(
        world.issuer.url,
        client=ClientSecretBasic(name, client.secret),
        fetcher=Fetcher(transport=world.transport),
        clock=world.clock,
    )


async def test_a_voucher_outlives_the_token_and_buys_one_for_its_receiver_alone() -> None:
    """It is no access token anywhere, and 20 hours later its receiver has a fresh, narrow one."""
    world = make_world()
    world.issuer.receivers = {"later:stock": "stock"}
    voucher = await voucher_of(world, await world.subject())
    stock, bank = receiver(world), receiver(world, "bank")
    held = Subject(voucher.caller, voucher.token)
    assert world.issuer.introspect(voucher.token) == {"active": False}
    await world.clock.advance(20 * 3600)
    assert await code_of(bank, held) == "exchange.may_act"
    pasted = Subject(replace(voucher.caller, claims={}), voucher.token)
    assert await code_of(bank, pasted) == "exchange.refused"
    fresh = await stock.exchange(held, PAYMENTS)
    assert fresh.caller.subject == "alice"
    assert fresh.caller.scopes == {"payments:take"}
    assert fresh.caller.expires_at == world.clock.now() + 300
    assert world.forms()[-1]["subject_token_type"] == [VOUCHER]
    await world.clock.advance(5 * 3600)
    assert await code_of(stock, held) == "exchange.refused"


async def test_a_voucher_is_kept_no_longer_than_the_token_that_it_was_had_for() -> None:
    """Work that is published later waits as long as any other: an old voucher would end before."""
    world = make_world()
    subject = await world.subject(exp=int(world.clock.now()) + 600)
    first = await voucher_of(world, subject)
    await world.clock.advance(569)
    assert await voucher_of(world, subject) == first
    await world.clock.advance(2)
    later = await voucher_of(world, subject)
    assert later.caller.expires_at == first.caller.expires_at + 571


@pytest.mark.parametrize("by", ["token", "subject", "voucher"])
async def test_a_revoked_callers_voucher_buys_nothing(by: str) -> None:
    """Whoever takes the token back, the caller's everything, or the voucher, takes it all along."""
    world = make_world()
    subject = await world.subject()
    voucher = await voucher_of(world, subject)
    if by == "subject":
        world.issuer.revoke_subject("alice")
    else:
        world.issuer.revoke(subject.token if by == "token" else voucher.token)
    held = Subject(voucher.caller, voucher.token)
    assert await code_of(receiver(world), held) == "exchange.refused"


async def test_a_chain_of_vouchers_ends() -> None:
    """A voucher for what a voucher bought ends with the first one's total, and has no successor."""
    world = make_world()
    world.issuer.voucher_total, world.issuer.voucher_depth = 30 * 3600.0, 2
    first = await voucher_of(world, await world.subject())
    await world.clock.advance(20 * 3600)
    bought = await receiver(world).exchange(
        Subject(first.caller, first.token), ExchangeRequest.of("shop", scopes="payments:take")
    )
    second = await voucher_of(world, Subject(bought.caller, bought.token))
    assert second.caller.expires_at == first.caller.issued_at + 30 * 3600.0  # type: ignore[operator]  # it has one
    third = Subject(second.caller, second.token)
    request = ExchangeRequest.of("later:stock", scopes="payments:take", token_type=VOUCHER)
    assert await code_of(receiver(world), third, request) == "exchange.refused"


async def test_a_voucher_is_asked_for_and_never_taken_for_an_access_token() -> None:
    """An access token in place of a voucher, and the other way round, is another kind of token."""
    world = make_world()
    subject = await world.subject()
    world.answering(with_claims(world))
    with pytest.raises(Refused, match=r"exchange\.answer"):
        await voucher_of(world, subject)
    world.transport.rewrite = None
    voucher = await voucher_of(world, subject)
    world.answering(lambda given: {**given, "access_token": voucher.token})
    request = ExchangeRequest.of("later:stock", scopes="payments:take")
    assert await code_of(world.idp, subject, request) == "exchange.answer"


# --- another domain -----------------------------------------------------------------------------


async def test_a_token_of_another_domain_is_had_through_ones_own() -> None:
    """One's own server gives a JWT for the other, which takes it as a grant; both are held."""
    world = make_world()
    other = Issuer("https://bank.test", algorithm="ES256", clock=world.clock)
    other.trust(world.issuer)
    there = other.transport()
    bank = JwtGrant(
        other.url,
        through=world.idp,
        client=ClientSecretBasic("orders", other.register("orders").secret),
        fetcher=Fetcher(transport=there),
        clock=world.clock,
    )
    subject = await world.subject()
    given = await bank.exchange(subject, PAYMENTS)
    assert (given.caller.issuer, given.caller.subject) == (other.url, "alice")
    assert given.caller.audience == ("payments",)
    assert given.caller.scopes == {"payments:take"}
    assert await bank.exchange(subject, PAYMENTS) == given
    assert (len(world.forms()), there.requests.count("/token")) == (1, 1)
    assert world.forms()[0]["requested_token_type"] == [JWT]
    there.replies["/token"] = (400, b'{"error": "invalid_grant"}')
    assert await code_of(bank, await world.subject()) == "exchange.refused"
    world.transport.down = True
    assert await code_of(bank, await world.subject()) == "deferred"


async def test_no_grant_is_shown_twice() -> None:
    """A server may take each but once: at the same time, too, and where its answer got lost."""
    world = make_world()
    other = Issuer("https://bank.test", algorithm="ES256", clock=world.clock)
    other.trust(world.issuer)
    there = other.transport()
    bank = JwtGrant(
        other.url,
        through=world.idp,
        client=ClientSecretBasic("orders", other.register("orders").secret),
        fetcher=Fetcher(transport=there),
        clock=world.clock,
    )
    subject = await world.subject()
    others = ExchangeRequest.of("accounts", scopes="payments:take")
    await asyncio.gather(bank.exchange(subject, PAYMENTS), bank.exchange(subject, others))
    there.broken = True
    with pytest.raises(Deferred):
        await bank.exchange(await world.subject(), PAYMENTS)
    there.broken = False
    await bank.exchange(subject, ExchangeRequest.of("third", scopes="payments:take"))
    forms = [dict(parse_qsl(each.body.decode())) for each in there.received]
    shown = [form["assertion"] for form in forms if "assertion" in form]
    assert len(shown) == len(set(shown)) == 4


async def test_a_server_that_takes_grants_alone_comes_back() -> None:
    """It is asked for what it has: one that exchanges nothing would never be back."""
    world = make_world()
    other = Issuer("https://bank.test", algorithm="ES256", clock=world.clock)
    other.trust(world.issuer)
    there = other.transport()

    def takes_grants(request: Request, response: Response) -> Response:
        if b"token-exchange" not in request.body:
            return response
        return Response(400, response.headers, b'{"error": "unsupported_grant_type"}')

    there.rewrite = takes_grants
    secret = other.register("orders").secret
    bank = JwtGrant(
        other.url,
        through=world.idp,
        client=ClientSecretBasic("orders", secret),
        fetcher=Fetcher(transport=there),
        clock=world.clock,
    )
    subject = await world.subject()
    there.down = True
    with pytest.raises(Deferred) as deferred:
        await bank.exchange(subject, PAYMENTS)
    assert deferred.value.probe is not None
    there.down = False
    await deferred.value.probe()
    assert isinstance(await code_of(bank, subject), Exchanged)


# --- where the server is ------------------------------------------------------------------------


async def test_over_http_it_is_the_same() -> None:
    """A real server on a socket, found by its metadata, gives a token that its keys prove."""
    world = make_world()
    with IssuerServer(world.issuer) as server:
        secret = world.issuer.register("orders").secret
        idp = TokenExchange(
            world.issuer.url,
            client=ClientSecretBasic("orders", secret),
            acts=True,
            clock=world.clock,
        )
        given = await idp.exchange(await world.subject(), PAYMENTS)
        assert [each.subject for each in given.caller.actors] == ["orders"]
        server.down = True
        assert await code_of(idp, await world.subject()) == "deferred"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"token_endpoint": "http://issuer.test/token"}, "deferred"),
        ({"token_endpoint": None}, "deferred"),
        ({"issuer": "https://issuer.test/"}, "deferred"),
    ],
)
async def test_metadata_that_leads_astray_is_not_followed(members: Members, code: str) -> None:
    """Another issuer's, one over plain http, or one without an endpoint: nobody has answered."""
    world = make_world()
    body = json.dumps({**world.issuer.metadata(), **members}).encode()
    for place in ("openid-configuration", "oauth-authorization-server"):
        world.transport.replies[f"/.well-known/{place}"] = (200, body)
    assert await code_of(world.idp, await world.subject()) == code
    assert world.forms() == []


async def test_a_client_with_a_certificate_asks_where_certificates_are_taken() -> None:
    """An alias for mutual TLS is preferred (RFC 8705, section 5)."""
    client = MutualTls("orders", certificate="c.pem")
    world = make_world(client=client)
    body = {**world.issuer.metadata(), "mtls_endpoint_aliases": {"token_endpoint": ALIAS}}
    replies = world.transport.replies
    replies["/.well-known/openid-configuration"] = (200, json.dumps(body).encode())
    replies["/mtls/token"] = (400, b'{"error": "invalid_target"}')
    assert await code_of(world.idp, await world.subject()) == "exchange.refused"
    assert "/token" not in world.transport.requests


ALIAS = "https://issuer.test/mtls/token"


@pytest.mark.parametrize(
    "wrong", [{"acts": ""}, {"issuer": "idp"}, {"endpoint": "http://idp.test/token"}]
)
def test_what_cannot_work_is_told_at_once(wrong: dict[str, Any]) -> None:
    """An issuer that is no URL, an endpoint over plain http, an actor without a name."""
    with pytest.raises(ConfigurationError):
        TokenExchange(
            wrong.pop("issuer", "https://issuer.test"),
            client=ClientSecretBasic("orders", "s"),
            **wrong,
        )
