"""Having transaction tokens: what is asked, what is taken for an answer, and what is replaced."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from busauth import Caller, Guard, StaticKeys, Verifier
from busauth.delegation import Exchanged, SelfSigned, TokenExchange, TransactionTokens
from busauth.errors import (
    CallerError,
    ConfigurationError,
    Deferred,
    Refused,
)
from busauth.testing import Issuer, IssuerTransport, ManualClock
from busauth.testing.issuer import Request, Response
from busauth.tokens import TRANSACTION, ClientSecretBasic, Fetcher, Introspection, PrivateKeyJwt
from tests.unit.support import NOW, private_key

DOMAIN = "shop.example"
DETAILS, CONTEXT = {"cart": 7}, {"req_ip": "192.0.2.7"}
Members = dict[str, Any]


class Revoked:
    """A store of who was revoked."""

    def __init__(self) -> None:
        self.subjects: set[str] = set()

    def revoked(self, caller: Caller, now: float) -> bool:
        del now
        return caller.subject in self.subjects


@dataclass
class Domain:
    """A trust domain: its service, its edge, and what stands behind the edge."""

    issuer: Issuer
    clock: ManualClock
    transport: IssuerTransport
    tokens: TransactionTokens
    revoked: Revoked
    edge: Guard
    inner: Guard

    async def caller(self, name: str = "alice", **claims: Any) -> Caller:
        """Return who came to the edge."""
        usual = {"scope": "orders:write orders:read payments:take"}
        token = self.issuer.token(name, **(usual | claims))
        return await self.edge.authenticate(f"Bearer {token}")

    async def behind(self, given: Exchanged) -> Caller:
        """Return who a service behind the edge sees."""
        return await self.inner.authenticate(given.token)

    def forms(self) -> list[dict[str, list[str]]]:
        posted = (each for each in self.transport.received if each.path == "/token")
        return [parse_qs(each.body.decode()) for each in posted]

    def answering(self, change: Callable[[Members], Members | bytes]) -> None:
        """Have what the service gives changed."""

        def rewrite(request: Request, response: Response) -> Response:
            if request.path != "/token":
                return response
            changed = change(json.loads(response.body))
            body = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
            return Response(response.status, response.headers, body)

        self.transport.rewrite = rewrite

    def giving(self, subject: str = "alice", **claims: Any) -> None:
        """Have the service give a token with these claims in place of what was asked for."""
        told = {"aud": DOMAIN, "scope": "orders:write", **claims}
        self.answering(
            lambda said: {**said, "access_token": self.issuer.transaction_token(subject, **told)}
        )


def domain(**settings: Any) -> Domain:
    clock = ManualClock(NOW)
    issuer = Issuer(algorithm="ES256", clock=clock)
    issuer.trust_domain = DOMAIN
    gateway, transport = issuer.register("gateway"), issuer.transport()
    keys, revoked = StaticKeys(issuer.jwks()), Revoked()
    tokens = TransactionTokens(
        issuer.url,
        trust_domain=DOMAIN,
        clock=clock,
        **{
            "client": ClientSecretBasic("gateway", gateway.secret),
            "fetcher": Fetcher(transport=transport),
            **settings,
        },
    )
    usual: dict[str, Any] = {"clock": clock, "revocations": revoked}
    outer = Verifier(keys, issuer=issuer.url, audience="shop")
    inner = Verifier(keys, issuer=issuer.url, audience=DOMAIN, profile=TRANSACTION)
    edge, behind = Guard(outer, **usual), Guard(inner, **usual)
    return Domain(issuer, clock, transport, tokens, revoked, edge, behind)


def starting() -> SelfSigned:
    return SelfSigned("reports", private_key("ES256"), algorithm="ES256", key_id="r-1")


async def code_of(asked: Any) -> str:
    try:
        await asked
    except Refused as refused:
        return refused.code
    except Deferred:
        return "deferred"
    return "given"


# --- new transactions -----------------------------------------------------------------------------


async def test_a_caller_gets_a_transaction() -> None:
    """For what was asked and no more, with its context; their own token stays at the edge."""
    world = domain()
    caller = await world.caller()
    given = await world.tokens.token_for(
        caller, scopes="orders:write", context=CONTEXT, details=DETAILS
    )
    transaction = given.caller.transaction
    assert transaction is not None
    assert (dict(transaction.tctx), dict(transaction.rctx)) == (DETAILS, CONTEXT)
    assert transaction.req_wl == ("gateway",)
    assert given.caller.scopes == {"orders:write"}
    assert (await world.behind(given)).transaction == transaction
    (form,) = world.forms()
    assert {name: form[name][0].rpartition(":")[2] for name in form if "type" in name} == {
        "grant_type": "token-exchange",
        "requested_token_type": "txn_token",
        "subject_token_type": "access_token",
    }
    assert (form["audience"], form["scope"]) == ([DOMAIN], ["orders:write"])
    assert json.loads(form["request_details"][0]) == DETAILS
    assert given.token not in repr(given) + repr(world.tokens)


async def test_each_is_another_transaction() -> None:
    """Two that are asked for the same at the same time are two, and none is remembered."""
    world = domain()
    caller = await world.caller()
    asked = (world.tokens.token_for(caller, scopes="orders:write") for _ in range(3))
    given = await asyncio.gather(*asked)
    named = {each.caller.transaction.txn for each in given if each.caller.transaction}
    assert (len(named), len(world.forms())) == (3, 3)


async def test_an_opaque_token_becomes_one() -> None:
    """Whatever the guard has verified: the service knows whose it is."""
    world = domain()
    own = world.issuer.client
    asked = Introspection(
        f"{world.issuer.url}/introspect",
        issuer=world.issuer.url,
        audience="shop",
        client=ClientSecretBasic(own.client_id, own.secret),
        fetcher=Fetcher(transport=world.transport),
        clock=world.clock,
    )
    reference = world.issuer.reference("alice", scope="orders:write")
    caller = await Guard(asked, clock=world.clock).authenticate(f"Bearer {reference}")
    given = await world.tokens.token_for(caller, scopes="orders:write")
    assert given.caller.subject == "alice"


WHO_ACTS: list[tuple[Any, str]] = [
    ({"sub": "agent-x"}, "given"),
    ({"sub": "agent-x", "iss": "https://issuer.test"}, "given"),
    ({"sub": "gateway", "act": {"sub": "agent-x"}}, "given"),
    (None, "exchange.answer"),
    ({"sub": "agent-y"}, "exchange.answer"),
    ({"sub": "agent-x", "iss": "https://else.test"}, "exchange.answer"),
    ({"sub": "gateway"}, "exchange.answer"),
    ({"sub": "agent-y", "act": {"sub": "agent-x"}}, "exchange.answer"),
]


@pytest.mark.parametrize(("act", "code"), WHO_ACTS, ids=str)
async def test_who_acts_is_never_cut_off(act: Any, code: str) -> None:
    """A transaction of an agent's is no transaction of the caller's alone."""
    world = domain()
    caller = await world.caller(act={"sub": "agent-x"})
    given = await world.tokens.token_for(caller, scopes="orders:write")
    assert [actor.subject for actor in (await world.behind(given)).actors] == ["agent-x"]
    world.giving(act=act)
    assert await code_of(world.tokens.token_for(caller, scopes="orders:write")) == code
    renaming = domain(renames=True)
    caller = await renaming.caller(act={"sub": "agent-x"})
    renaming.giving(subject="s-17", act=act and {"sub": "a-4"})
    assert await code_of(renaming.tokens.token_for(caller, scopes="orders:write")) == (
        "given" if act else "exchange.answer"
    )


async def test_nobody_acts_in_what_a_service_starts_but_itself() -> None:
    """The service of the trust domain may name it, and nobody else."""
    own = starting()
    for act, code in (("reports", "given"), ("gateway", "given"), ("agent-x", "exchange.answer")):
        world = domain(starts=own)
        world.issuer.employ("reports", own.jwk, scopes=["reports:write"])
        world.giving(subject="carol", scope="reports:write", act={"sub": act})
        assert await code_of(world.tokens.start("carol", scopes="reports:write")) == code


async def test_no_other_issuers_token_is_shown() -> None:
    """Whoever is shown a token can use it: which issuers' the service takes is said."""
    world, other = domain(), Issuer("https://idp.test", algorithm="ES256", clock=ManualClock(NOW))
    verifier = Verifier(StaticKeys(other.jwks()), issuer=other.url, audience="shop")
    token = other.token("alice", scope="orders:write")
    caller = await Guard(verifier, clock=world.clock).authenticate(f"Bearer {token}")
    assert (
        await code_of(world.tokens.token_for(caller, scopes="orders:write")) == "exchange.refused"
    )
    assert world.forms() == []
    world = domain(takes=other.url)
    with pytest.raises(Refused, match="invalid_request"):  # it is asked, and knows no such token
        await world.tokens.token_for(caller, scopes="orders:write")
    assert len(world.forms()) == 1
    given = await world.tokens.token_for(await world.caller(), scopes="orders:write")
    behind = replace(await world.behind(given), issuer="https://another.test")
    assert await code_of(world.tokens.replace(behind)) == "exchange.refused"
    assert len(world.forms()) == 2


async def test_a_service_starts_its_own() -> None:
    """It signs for whom; the key is all that the service of the trust domain knows of it."""
    own = starting()
    world = domain(starts=own)
    world.issuer.employ("reports", own.jwk, scopes=["reports:write"])
    given = await world.tokens.start("carol", scopes="reports:write", details={"day": 1})
    assert given.caller.subject == "carol"
    assert given.caller.scopes == {"reports:write"}
    (form,) = world.forms()
    assert form["subject_token_type"][0].endswith(":self_signed")
    for wider in ("orders:write", ["reports:write", "root"]):
        assert await code_of(world.tokens.start("carol", scopes=wider)) == "exchange.refused"


async def test_a_request_that_is_made_again_is_signed_again() -> None:
    """No assertion is there twice: whoever has seen one takes the second for a replay."""
    client = PrivateKeyJwt("gateway", private_key("ES256"), algorithm="ES256")
    world = domain(starts=starting(), client=client, endpoint="https://issuer.test/token")
    world.transport.broken = True
    assert await code_of(world.tokens.start("carol", scopes="reports:write")) == "deferred"
    first, second = world.forms()
    assert first["subject_token"] != second["subject_token"]
    assert first["client_assertion"] != second["client_assertion"]


async def test_nobody_else_signs_for_a_subject() -> None:
    """Another key, another name or another audience starts nothing."""
    other = SelfSigned("reports", private_key("ES256", "other"), algorithm="ES256")
    world = domain(starts=other)
    world.issuer.employ("reports", starting().jwk, scopes=["reports:write"])
    assert await code_of(world.tokens.start("carol", scopes="reports:write")) == "exchange.refused"
    strange = SelfSigned("payments", private_key("ES256"), algorithm="ES256")
    world = domain(starts=strange)
    world.issuer.employ("reports", starting().jwk, scopes=["reports:write"])
    assert await code_of(world.tokens.start("carol", scopes="reports:write")) == "exchange.refused"


async def test_a_revoked_caller_gets_none() -> None:
    """Nobody is asked, neither for a new transaction nor for another token of one."""
    world = domain()
    caller = await world.caller()
    given = await world.tokens.token_for(caller, scopes="orders:write")
    behind = await world.behind(given)
    world.revoked.subjects.add("alice")
    assert await code_of(world.tokens.token_for(caller, scopes="orders:read")) == "token.revoked"
    assert await code_of(world.tokens.replace(behind)) == "token.revoked"
    assert len(world.forms()) == 1


async def test_who_is_revoked_in_flight_gets_none() -> None:
    """What the service gives by then goes nowhere."""
    world = domain()
    caller = await world.caller()
    behind = await world.behind(await world.tokens.token_for(caller, scopes="orders:write"))

    def meanwhile(said: Members) -> Members:
        world.revoked.subjects.add("alice")
        return said

    world.answering(meanwhile)
    asked = world.tokens.token_for(caller, scopes="orders:write")
    assert await code_of(asked) == "token.revoked"
    world.revoked.subjects.clear()
    assert await code_of(world.tokens.replace(behind)) == "token.revoked"
    assert len(world.forms()) == 3


ODD: dict[str, Callable[[Members], Members]] = {
    "usage": lambda said: {**said, "token_type": "Bearer"},
    "issued": lambda said: {**said, "issued_token_type": "urn:x"},
    "refresh": lambda said: {**said, "refresh_token": "r"},
    "late": lambda said: {**said, "expires_in": -5},
    "at once": lambda said: {**said, "expires_in": 0},
    "opaque": lambda said: {**said, "access_token": "opaque"},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
async def test_an_answer_of_another_kind(change: Callable[[Members], Members]) -> None:
    """It is refused, and never sent on."""
    world = domain()
    caller = await world.caller()
    world.answering(change)
    assert await code_of(world.tokens.token_for(caller, scopes="orders:write")) == "exchange.answer"


CLAIMS: list[Members] = [
    {"subject": "bob"},
    {"scope": "orders:write root"},
    {"aud": "bank"},
    {"aud": [DOMAIN, "bank"]},
    {"iss": "https://another.test"},
    {"exp": NOW - 1},
    {"exp": NOW + 301},
    {"iat": NOW - 400, "exp": NOW + 10},
    {"iat": NOW + 100, "exp": NOW + 200},
    {"txn": None},
    {"req_wl": None},
    {"tctx": []},
    {"tctx": {"access_token": "x"}},
]


@pytest.mark.parametrize("claims", CLAIMS, ids=str)
async def test_a_token_that_breaks_what_was_asked(claims: Members) -> None:
    """Another subject or audience, more scope, too late or too long: none is sent on."""
    world = domain()
    caller = await world.caller()
    world.giving(**claims)
    assert await code_of(world.tokens.token_for(caller, scopes="orders:write")) == "exchange.answer"


async def test_a_token_without_issuer_is_the_services() -> None:
    """Its keys have signed it, and it names the trust domain."""
    world = domain()
    caller = await world.caller()
    world.giving(iss=None)
    given = await world.tokens.token_for(caller, scopes="orders:write")
    assert given.caller.issuer == world.issuer.url


async def test_a_service_that_names_subjects_itself() -> None:
    """Another subject is taken where that was said, and by nobody else."""
    world = domain(renames=True)
    caller = await world.caller()
    world.giving("pairwise-7")
    given = await world.tokens.token_for(caller, scopes="orders:write")
    assert given.caller.subject == "pairwise-7"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"<html>", b"[]", b'{"access_token": null}', b"x" * 100_000]
)
async def test_what_is_no_answer_is_nobodys_fault(body: bytes) -> None:
    """The message waits."""
    world = domain()
    caller = await world.caller()
    world.answering(lambda _: body)
    assert await code_of(world.tokens.token_for(caller, scopes="orders:write")) == "deferred"


async def test_more_than_the_subject_has_is_refused_by_the_service() -> None:
    """Its error is the evidence."""
    world = domain()
    caller = await world.caller(scope="orders:read")
    with pytest.raises(Refused, match="invalid_scope") as refused:
        await world.tokens.token_for(caller, scopes="orders:write")
    assert refused.value.code == "exchange.refused"


# --- replacing ------------------------------------------------------------------------------------


async def test_a_replacement_has_less_of_the_same_transaction() -> None:
    """The same `txn`, subject and trust domain; no more scope; what was said stays."""
    world = domain()
    first = await world.tokens.token_for(
        await world.caller(), scopes=["orders:write", "payments:take"], details=DETAILS
    )
    behind = await world.behind(first)
    given = await world.tokens.replace(behind, scopes="payments:take", details={"paid": False})
    before, after = first.caller.transaction, given.caller.transaction
    assert before is not None
    assert after is not None
    assert after.txn == before.txn
    assert dict(after.tctx) == {"cart": 7, "paid": False}
    assert given.caller.subject == "alice"
    assert given.caller.scopes == {"payments:take"}
    assert after.req_wl == ("gateway", "gateway")


async def test_no_expired_one_is_replaced() -> None:
    """Nobody is asked; from the very instant of `exp` on, whatever a policy has accepted."""
    world = domain()
    given = await world.tokens.token_for(await world.caller(), scopes="orders:write")
    behind = await world.behind(given)
    await world.clock.advance(given.caller.expires_at - world.clock.now())
    assert await code_of(world.tokens.replace(behind)) == "token.expired"
    assert len(world.forms()) == 1


CHANGED: list[Members] = [
    {"txn": "another"},
    {"subject": "bob"},
    {"aud": "bank"},
    {"scope": "orders:write root"},
    {"scope": "orders:read"},
    {"tctx": {"cart": 8}},
    {"tctx": {"limit": 5}},
    {"req_wl": "payments"},
    {"req_wl": ["payments", "gateway"]},
    {"req_wl": "gateway2"},
    {"act": None},
    {"act": {"sub": "agent-y"}},
    {"act": {"sub": "agent-y", "act": {"sub": "agent-x"}}},
]
KEPT: list[Members] = [
    {},
    {"tctx": {"cart": 7, "paid": False}},
    {"req_wl": "gateway,stock"},
    {"req_wl": ["gateway", "stock"]},
    {"act": {"sub": "gateway", "act": {"sub": "agent-x"}}},
]


@pytest.mark.parametrize(
    ("claims", "code"),
    [*((claims, "exchange.answer") for claims in CHANGED), *((claims, "given") for claims in KEPT)],
    ids=str,
)
async def test_what_a_replacement_may_change(claims: Members, code: str) -> None:
    """Neither whose it is nor who acts, no detail and no workload: some may be added to these."""
    world = domain()
    caller = await world.caller(act={"sub": "agent-x"})
    given = await world.tokens.token_for(caller, scopes=["orders:write"], details=DETAILS)
    behind = await world.behind(given)
    usual = {"tctx": DETAILS, "req_wl": "gateway", "act": {"sub": "agent-x"}}
    world.giving(**{"txn": behind.transaction.txn if behind.transaction else "", **usual, **claims})
    assert await code_of(world.tokens.replace(behind)) == code


async def test_who_replaces_what() -> None:
    """A caller has one kind of token or the other, and scopes that they have."""
    world = domain()
    caller = await world.caller()
    given = await world.tokens.token_for(caller, scopes="orders:write")
    behind = await world.behind(given)
    with pytest.raises(CallerError, match="in a transaction already"):
        await world.tokens.token_for(behind, scopes="orders:write")
    with pytest.raises(CallerError, match="no transaction token"):
        await world.tokens.replace(caller)
    with pytest.raises(ConfigurationError, match="no more than"):
        await world.tokens.replace(behind, scopes="payments:take")


async def test_a_transaction_token_buys_no_access_token() -> None:
    """The exchange of access tokens takes none for a subject: it is no credential."""
    world = domain()
    given = await world.tokens.token_for(await world.caller(), scopes="orders:write")
    gateway = world.issuer.register("gateway")
    idp = TokenExchange(
        world.issuer.url,
        client=ClientSecretBasic("gateway", gateway.secret),
        fetcher=Fetcher(transport=world.transport),
        clock=world.clock,
    )
    asked = idp.token_for(await world.behind(given), "payments")
    assert await code_of(asked) == "exchange.refused"


# --- what is asked wrongly ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"scopes": []}, "what the transaction is for"),
        ({"scopes": "a", "details": {"x": float("nan")}}, "details"),
        ({"scopes": "a", "details": {"x": object()}}, "details"),
        ({"scopes": "a", "context": ["x"]}, "context"),
        ({"scopes": "a", "context": {"x": "\ud800"}}, "context"),
    ],
)
async def test_what_no_request_can_say(asked: dict[str, Any], told: str) -> None:
    """It is told before anybody is asked."""
    world = domain()
    caller = await world.caller()
    with pytest.raises(ConfigurationError, match=told):
        await world.tokens.token_for(caller, **asked)
    assert world.forms() == []


async def test_no_token_goes_into_the_details() -> None:
    """The caller's own, for instance, which every service would have then."""
    world = domain()
    caller = await world.caller()
    with pytest.raises(ConfigurationError, match="a token inside") as told:
        await world.tokens.token_for(caller, scopes="a", details={"auth": caller.bearer()})
    assert "eyJ" not in str(told.value)


@pytest.mark.parametrize(("starts", "subject"), [(None, "carol"), (starting(), "")])
async def test_who_starts_for_whom(starts: SelfSigned | None, subject: str) -> None:
    """A key that signs, and a subject with a name."""
    with pytest.raises(ConfigurationError, match="starts=SelfSigned"):
        await domain(starts=starts).tokens.start(subject, scopes="a")


def test_shared_secrets_sign_for_nobody() -> None:
    """Whoever verifies could sign, too."""
    with pytest.raises(ConfigurationError, match="expected a private key"):
        SelfSigned("reports", bytes(64), algorithm="HS256")
