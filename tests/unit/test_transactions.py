"""What a transaction token is, where it travels, and what is never taken for one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Annotated, Any

import httpx
import pytest
from aio_pika import Message
from fastapi import FastAPI, Security
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from busauth import Caller, CallerError, ConfigurationError, Guard, GuardOptions, Verifiers
from busauth._amqp.headers import BEARER, TRANSACTIONS, kept_in, token_in
from busauth._amqp.publishing.outbox import Outbox
from busauth._tokens.compact import split
from busauth.caller import Transaction, acting, holding, lease_for
from busauth.delegation import Exchange
from busauth.errors import Forbidden, NotGenuine, PublishError, Untimely
from busauth.expiry import LateToken, Renewed, Verdict
from busauth.integrations.console import console
from busauth.integrations.fastapi import CallerBearer
from busauth.integrations.fastapi import problems as fastapi_problems
from busauth.integrations.httpx import CallerAuth
from busauth.integrations.starlette import authenticated, problems
from busauth.letters import Desk, StatementSigner
from busauth.messages import ProofSigner
from busauth.testing import Issuer, ManualClock
from busauth.tokens import LENIENT, TRANSACTION, ClientSecretBasic, Introspection
from scripts.looking import Shown
from tests.exchanging import Exchanging
from tests.unit.support import (
    AUDIENCE,
    ISSUER,
    NOW,
    SECRET,
    authenticate,
    private_key,
    refusal,
    token,
    verifier,
)

TYP = "txntoken+jwt"
NESTED = {"action": "BUY", "customer": {"geo": ["US", "CA"]}}


def transaction_token(typ: Any = TYP, **changes: Any) -> str:
    """Return a signed transaction token; `...` takes a claim away."""
    usual: dict[str, Any] = {
        "txn": "97053963-771d",
        "req_wl": "gateway",
        "scope": "orders:read",
        "tctx": NESTED,
        "rctx": {"req_ip": "192.0.2.7"},
        "jti": ...,
        "client_id": ...,
    }
    return token(typ=typ, **(usual | changes))


def guard(**settings: Any) -> Guard:
    return Guard(verifier(profile=TRANSACTION), clock=ManualClock(NOW), **settings)


def outbox(*, is_transactions: bool = True, **more: Any) -> Outbox:
    profile, header = (TRANSACTION, TRANSACTIONS) if is_transactions else (LENIENT, BEARER)
    trusted = Verifiers(verifier(profile=profile))
    return Outbox(header=header, verifiers=trusted, clock=ManualClock(NOW), **more)


@contextmanager
def in_scope(raw: str, **settings: Any) -> Iterator[Caller]:
    """Have the caller of a token in scope, as their handler has."""
    caller = asyncio.run(authenticate(raw, **settings)).caller
    lease = lease_for(caller, raw)
    with acting(lease):
        yield holding(caller, lease)


# --- what it says ---------------------------------------------------------------------------------


async def test_a_transaction_is_on_its_caller() -> None:
    """What the token says of it can be read in every service, and changed in none."""
    caller = (await authenticate(transaction_token(), profile=TRANSACTION)).caller
    transaction = caller.transaction
    assert isinstance(transaction, Transaction)
    assert (transaction.txn, transaction.req_wl) == ("97053963-771d", ("gateway",))
    assert (transaction.scope, caller.scopes) == ("orders:read", frozenset({"orders:read"}))
    assert (caller.client, caller.audience) == ("gateway", (AUDIENCE,))
    assert transaction.tctx["customer"]["geo"] == ("US", "CA")
    assert dict(transaction.rctx) == {"req_ip": "192.0.2.7"}
    with pytest.raises(TypeError):
        transaction.tctx["customer"]["geo"] = ()
    assert "BUY" not in repr(caller)


async def test_an_access_token_has_no_transaction() -> None:
    """Nor does one that has the claims of one."""
    assert (await authenticate(token(txn="t-1"))).caller.transaction is None


async def test_a_token_without_issuer_is_of_its_trust_domains_service() -> None:
    """One that names an issuer is that issuer's, to the letter."""
    raw = transaction_token(iss=...)
    assert (await authenticate(raw, profile=TRANSACTION)).caller.issuer == ISSUER
    assert (await authenticate(raw, profile="transaction")).caller.subject == "alice"
    for wrong in ("https://another.test", f"{ISSUER}/", None, ["x"]):
        refused = await refusal(transaction_token(iss=wrong), profile=TRANSACTION)
        assert refused.code == "token.issuer"
    elsewhere = await refusal(transaction_token(iss=..., aud="bank"), profile=TRANSACTION)
    assert elsewhere.code == "token.issuer"
    assert (await refusal(token(iss=...))).code == "token.issuer"


async def test_replacements_name_all_workloads() -> None:
    """The list of them is kept in order; the first one is who began."""
    raw = transaction_token(req_wl=["gateway", "orders"])
    transaction = (await authenticate(raw, profile=TRANSACTION)).caller.transaction
    assert transaction is not None
    assert transaction.req_wl == ("gateway", "orders")


@pytest.mark.parametrize("typ", ["at+jwt", "JWT", None, "voucher+jwt", "wpt+jwt", "secevent+jwt"])
async def test_no_other_kind_is_a_transaction_token(typ: str | None) -> None:
    """Whatever it says: an access token, a voucher or a proof is refused by its type."""
    assert (await refusal(transaction_token(typ), profile=TRANSACTION)).code == "token.type"


@pytest.mark.parametrize("profile", ["lenient", "at+jwt", "auth0", "entra", "okta", "zitadel"])
async def test_a_transaction_token_is_no_access_token(profile: str) -> None:
    """Under no profile, and with all that an access token has."""
    raw = transaction_token(client_id="shop-web", jti="t-1", tid="t", cid="c")
    assert (await refusal(raw, profile=profile)).code == "token.type"


@pytest.mark.parametrize("claim", ["iat", "exp", "aud", "txn", "sub", "scope", "req_wl"])
async def test_what_a_transaction_token_must_have(claim: str) -> None:
    """Without one of these it is none."""
    refused = await refusal(transaction_token(**{claim: ...}), profile=TRANSACTION)
    assert refused.code == "token.claim_missing"


ODD: list[dict[str, Any]] = [
    {"txn": ""},
    {"txn": 7},
    {"txn": "a\nb"},
    {"txn": "x" * 256},
    {"sub": ""},
    {"sub": 7},
    {"aud": [AUDIENCE, "bank"]},
    {"scope": ["orders:read"]},
    {"tctx": []},
    {"tctx": None},
    {"rctx": "192.0.2.7"},
    {"req_wl": []},
    {"req_wl": {"a": 1}},
    {"req_wl": ["a", 1]},
    {"req_wl": ["a"] * 17},
]


@pytest.mark.parametrize("claims", ODD)
async def test_claims_of_another_shape(claims: dict[str, Any]) -> None:
    """What is there is what the draft says that it is, or the token is refused."""
    refused = await refusal(transaction_token(**claims), profile=TRANSACTION)
    assert refused.code == "token.claim_invalid"


@pytest.mark.parametrize(
    "claims",
    [
        {"tctx": {"note": [{"auth": f"Bearer {token()}"}]}},
        {"rctx": {"access_token": "opaque"}},
        {"rctx": {"deep": [{"Refresh_Token": 1}]}},
        {"subject_token": "x"},
        {"tctx": {token(): 1}},
        {"scope": token()},
        {"txn": token(scope=..., roles=...)[:200]},
    ],
)
async def test_no_token_is_inside(claims: dict[str, Any]) -> None:
    """An access token inside would outlive it: where one can be seen, it is refused."""
    refused = await refusal(transaction_token(**claims), profile=TRANSACTION)
    assert refused.code == "token.embedded"
    assert "eyJ" not in refused.detail


# --- who trusts it --------------------------------------------------------------------------------


def test_a_guard_takes_one_kind() -> None:
    """Two kinds of token travel in two headers: a guard that mixes them is told so."""
    other = verifier(issuer="https://idp.test", profile=LENIENT)
    with pytest.raises(ConfigurationError, match="a guard for each"):
        Guard(verifier(profile=TRANSACTION), other)
    client = ClientSecretBasic("shop", "secret")
    asked = Introspection(
        "https://idp.test/at", issuer="https://idp.test", audience="shop", client=client
    )
    with pytest.raises(ConfigurationError, match="alone"):
        Guard(verifier(profile=TRANSACTION), asked)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"audience": ["a", "b"]}, "one trust domain"),
        ({"issuer": "https://x/{tenantid}", "tenants": "any"}, "one trust domain"),
    ],
)
def test_a_service_has_one_trust_domain(settings: dict[str, Any], told: str) -> None:
    """Subjects are unique inside of it, and nowhere else."""
    with pytest.raises(ConfigurationError, match=told):
        verifier(profile=TRANSACTION, **settings)


def test_a_trust_domain_has_one_service() -> None:
    """Of two, a token without `iss` could be either's."""
    both = (verifier(profile=TRANSACTION, issuer=issuer) for issuer in ("https://a", "https://b"))
    with pytest.raises(ConfigurationError, match="one service"):
        Guard(*both)


def test_a_profile_takes_transaction_tokens_alone() -> None:
    """One that takes other types as well would make them access tokens."""
    with pytest.raises(ConfigurationError, match="a profile for each"):
        replace(TRANSACTION, types=TRANSACTION.types | LENIENT.types)
    with pytest.raises(ConfigurationError, match="without iat, req_wl, scope, txn"):
        replace(LENIENT, types=TRANSACTION.types)


def test_transaction_tokens_have_a_header_of_their_own() -> None:
    """It needs no option, takes no other, and no access token travels in it."""
    assert guard().core.header == TRANSACTIONS
    for name in ("x-token", "proxy-authorization"):
        with pytest.raises(ConfigurationError, match="nowhere else"):
            guard(options=GuardOptions(header=name))
    with pytest.raises(ConfigurationError, match="profile=TRANSACTION"):
        Guard(verifier(), options=GuardOptions(header="Txn-Token"))


def test_nobody_signs_in_by_a_transaction_token() -> None:
    """Neither an operator at a desk nor whoever opens the console: it is no credential."""
    signer = StatementSigner("desk", private_key("ES256"), algorithm="ES256")
    with pytest.raises(ConfigurationError, match="nobody signs in"):
        Desk(guard(), signer)
    with pytest.raises(ConfigurationError, match="nobody signs in"):
        console(Shown(), queues=[], hosts=["127.0.0.1"], guard=guard())


# --- on a message ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "header.missing"),
        ("", "token.empty"),
        (" ", "token.empty"),
        ("Bearer a.b.c", "header.scheme"),
        ("a.b.c, d.e.f", "header.scheme"),
        ("a.b.c,d.e.f", "header.scheme"),
        ("a.b.c ", "header.scheme"),
        (["a.b.c"], "header.not_text"),
        (7, "header.not_text"),
    ],
)
def test_one_bare_token(value: object, code: str) -> None:
    """Exactly one, without a scheme; nothing else is read into it."""
    with pytest.raises(NotGenuine) as refused:
        token_in({"txn-token": value, "authorization": "Bearer a.b.c"}, TRANSACTIONS)
    assert refused.value.code == code


def test_a_transaction_token_in_ascii_bytes() -> None:
    """Some clients write bytes where others write text."""
    assert token_in({"txn-token": b"a.b.c"}, TRANSACTIONS) == "a.b.c"
    assert kept_in({"txn-token": "a.b.c"}, TRANSACTIONS) is None


def test_a_transaction_token_goes_on_as_it_came() -> None:
    """In the same header, bare and unmodified, and in no other one."""
    raw = transaction_token()
    with in_scope(raw, profile=TRANSACTION):
        headers = outbox().prepare(b"", None).properties.headers
    assert headers == {"txn-token": raw, "busauth-hop": 1}
    handed_in = outbox().prepare(b"", raw).properties.headers
    assert handed_in == {"txn-token": raw}


def test_no_kind_travels_as_the_other() -> None:
    """Neither from a caller in scope nor handed in: nothing is published."""
    with in_scope(token()), pytest.raises(CallerError, match="a transaction token travels here"):
        outbox().prepare(b"", None)
    with (
        in_scope(transaction_token(), profile=TRANSACTION),
        pytest.raises(CallerError, match="an access token travels here"),
    ):
        outbox(is_transactions=False).prepare(b"", None)
    for is_transactions, raw in ((True, token()), (False, transaction_token())):
        with pytest.raises(NotGenuine) as refused:
            outbox(is_transactions=is_transactions).prepare(b"", raw)
        assert refused.value.code == "token.type"
    with pytest.raises(Untimely):
        outbox().prepare(b"", transaction_token(exp=NOW - 1))


@pytest.mark.parametrize("name", ["txn-token", "Txn-Token", "authorization", "Authorization"])
def test_no_other_token_is_put_beside_it(name: str) -> None:
    """A live access token beside it would undo what it is for."""
    with pytest.raises(PublishError, match="busauth's"):
        outbox().prepare(Message(b"", headers={name: "x"}), transaction_token())


@pytest.mark.parametrize("issuer", [ISSUER, ...])
def test_a_proof_binds_it_by_tth(issuer: Any) -> None:
    """It names whose it is, too, where the token itself names no issuer."""
    signer = ProofSigner("gateway", SECRET, algorithm="HS256")
    raw = transaction_token(iss=issuer)
    headers = outbox(signer=signer).prepare(b"{}", raw).properties.headers
    assert headers is not None
    claims = split(str(headers["busauth-proof"]), max_bytes=8192).payload
    assert "tth" in claims
    assert "ath" not in claims
    assert (claims["token_iss"], claims["token_sub"]) == (ISSUER, "alice")


# --- over HTTP ------------------------------------------------------------------------------------


async def test_no_policy_has_another_token_for_a_transaction() -> None:
    """Another token is another transaction, and an expired one is never replaced."""

    async def bringing(late: LateToken) -> Verdict | None:
        return Renewed(transaction_token(exp=int(NOW) + 900, txn="another"))

    late = Guard(verifier(profile=TRANSACTION), clock=ManualClock(NOW + 600))
    with pytest.raises(Forbidden, match=r"exchange\.answer.*transaction"):
        await late.authenticate(transaction_token(), on_expired=bringing)
    policy = Exchange(Exchanging(Issuer()), late=True, audience="shop.example")
    with pytest.raises(ConfigurationError, match=r"TransactionTokens\.replace"):
        await late.authenticate(transaction_token(), on_expired=policy)
    with pytest.raises(ConfigurationError, match=r"TransactionTokens\.replace"):
        late.judge(queue="orders", on_expired=policy)


async def test_a_guard_reads_txn_token() -> None:
    """What `authenticate` is given is that header's value, bare."""
    raw = transaction_token()
    caller = await guard().authenticate(raw)
    assert (caller.bearer(), caller.transaction is not None) == (raw, True)
    for wrong, code in ((f"Bearer {raw}", "header.scheme"), (token(), "token.type")):
        with pytest.raises(NotGenuine) as refused:
            await guard().authenticate(wrong)
        assert refused.value.code == code


async def answered(app: Any, *headers: tuple[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        return await client.get("/", headers=list(headers))


def starlette() -> Starlette:
    own = guard()

    async def show(request: Request) -> Response:
        async with authenticated(own, request) as caller:
            return JSONResponse(caller.transaction.txn if caller.transaction else None)

    return Starlette(routes=[Route("/", show)], exception_handlers=problems())


def fastapi() -> FastAPI:
    app = FastAPI(exception_handlers=fastapi_problems())
    bearer = CallerBearer(guard())

    @app.get("/")
    async def show(caller: Annotated[Caller, Security(bearer)]) -> str | None:
        return caller.transaction.txn if caller.transaction else None

    return app


@pytest.mark.parametrize("make", [starlette, fastapi])
async def test_an_edge_behind_the_edge_reads_txn_token(make: Any) -> None:
    """One such header, and no challenge where there is none: no client can ask for one."""
    app, raw = make(), transaction_token()
    good = await answered(app, ("Txn-Token", raw))
    assert (good.status_code, good.json()) == (200, "97053963-771d")
    for wrong in (
        [],
        [("Authorization", f"Bearer {raw}")],
        [("Txn-Token", raw), ("Txn-Token", raw)],
        [("Txn-Token", f"Bearer {raw}")],
        [("Txn-Token", token())],
    ):
        refused = await answered(app, *wrong)
        assert refused.status_code == 401
        assert "www-authenticate" not in refused.headers


def test_openapi_shows_the_header() -> None:
    """As a key in a header, which is how OpenAPI can say it."""
    schemes = fastapi().openapi()["components"]["securitySchemes"]
    assert schemes == {"bearer": {"type": "apiKey", "in": "header", "name": "txn-token"}}


@pytest.fixture
def sites() -> Iterator[list[tuple[str, list[dict[str, str]]]]]:
    """Two real servers with what they saw; the first sends on to the second, and to itself."""
    found: list[tuple[str, list[dict[str, str]]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            port, at = self.connection.getsockname()[1], self.path
            seen = next(seen for url, seen in found if url.endswith(f":{port}"))
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(302 if at in ("/away", "/here") else 200)
            self.send_header("location", f"{found[1][0]}/" if at == "/away" else "/")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    found += [(f"http://127.0.0.1:{each.server_port}", []) for each in servers]
    threads = [Thread(target=each.serve_forever, args=(0.01,)) for each in servers]
    for thread in threads:
        thread.start()
    yield found
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("path", ["/", "/away", "/here"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_transaction_token_goes_to_declared_hosts_in_its_own_header(
    sites: list[tuple[str, list[dict[str, str]]]], path: str, is_async: bool
) -> None:
    """Bare, once, never in Authorization, and along with no redirect."""
    (url, seen), (_, elsewhere) = sites
    auth, raw = CallerAuth([url]), transaction_token()
    usual: dict[str, Any] = {
        "auth": auth,
        "follow_redirects": True,
        "trust_env": False,
        "headers": {"Txn-Token": "another", "X-Own": "1"},
    }

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(**usual) as client:
            return await client.get(f"{url}{path}")

    with in_scope(raw, profile=TRANSACTION):
        if is_async:
            response = asyncio.run(asked())
        else:
            with httpx.Client(**usual) as client:
                response = client.get(f"{url}{path}")
    first, *redirected = [*seen, *elsewhere]
    assert (first["txn-token"], first["x-own"]) == (raw, "1")
    assert "authorization" not in first
    assert len(redirected) == (path != "/")
    for each in (response.request, *(past.request for past in response.history)):
        assert raw not in str(each.headers.raw)
    for later in redirected:
        assert raw not in str(later)
