"""The test kit's token endpoint: token exchange (RFC 8693), and other grants."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from busauth import StaticKeys, Verifier, Verifiers
from busauth.caller import Actor
from busauth.testing import Issuer, ManualClock
from busauth.testing.issuer import Client
from busauth.tokens import RFC9068
from tests.unit.issuer_fronts import FRONTS, Idp, asking, check_error, make_issuer
from tests.unit.support import NOW, proven_by

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"


@pytest.fixture(params=FRONTS)
async def idp(request: pytest.FixtureRequest) -> AsyncIterator[Idp]:
    async with asking(request.param, make_issuer()) as idp:
        yield idp


async def exchange(
    idp: Idp, subject: str, *, client: Client | None = None, **changes: Any
) -> httpx.Response:
    """Ask for an exchange; `changes` replace parameters, None takes one away."""
    form = {
        "grant_type": GRANT,
        "subject_token": subject,
        "subject_token_type": ACCESS_TOKEN,
        **changes,
    }
    form = {name: value for name, value in form.items() if value is not None}
    return await idp.post("/token", form, client=client)


def with_actor(token: str) -> dict[str, Any]:
    return {"actor_token": token, "actor_token_type": ACCESS_TOKEN}


def claims_of(idp: Idp, answer: httpx.Response) -> dict[str, Any]:
    """Return the claims of the token that was issued, verified by joserfc."""
    assert answer.status_code == 200, answer.text
    (jwk,) = idp.issuer.jwks()["keys"]
    raw = answer.json()["access_token"]
    decoded = joserfc_jwt.decode(raw, import_key(jwk), algorithms=["ES256"])
    assert decoded.header["typ"] == "at+jwt"
    return dict(decoded.claims)


# What is issued


async def test_an_exchange_gives_a_fresh_token(idp: Idp) -> None:
    """The subject stays, client, time and `jti` are new, and the answer is the standard's."""
    clock = idp.issuer.clock
    assert isinstance(clock, ManualClock)
    old = idp.issuer.claims("bob", scope="a b", roles=["clerk"], tenant={"id": 5}, cnf={"jkt": "x"})
    await clock.advance(100)
    orders = idp.issuer.register("orders")
    answer = await exchange(idp, idp.issuer.sign(old), client=orders)
    body = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert {name: value for name, value in body.items() if name != "access_token"} == {
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "a b",
    }
    new = claims_of(idp, answer)
    assert new.pop("jti") != old["jti"]
    assert new == {
        "iss": idp.issuer.url,
        "sub": "bob",
        "aud": "shop",
        "client_id": "orders",
        "scope": "a b",
        "roles": ["clerk"],
        "tenant": {"id": 5},
        "iat": NOW + 100,
        "exp": NOW + 400,
    }


async def test_the_new_token_is_genuine(idp: Idp) -> None:
    """Busauth takes it, and sees who acts for whom."""
    subject, actor = idp.issuer.token("bob", scope="a b"), idp.issuer.token("orders")
    answer = await exchange(idp, subject, audience="stock", scope="a", **with_actor(actor))
    keys = StaticKeys(idp.issuer.jwks())
    verifier = Verifier(keys, issuer=idp.issuer.url, audience="stock", profile=RFC9068)
    caller = (await proven_by(Verifiers(verifier), answer.json()["access_token"])).caller
    assert caller.subject == "bob"
    assert caller.scopes == {"a"}
    assert caller.actors == (Actor("orders", idp.issuer.url, "shop-web"),)


async def test_an_opaque_token_is_exchanged_for_a_jwt(idp: Idp) -> None:
    """References are as good as signed tokens, for subject and actor."""
    actor = with_actor(idp.issuer.reference("orders"))
    new = claims_of(idp, await exchange(idp, idp.issuer.reference("bob"), **actor))
    assert (new["sub"], new["act"]["sub"]) == ("bob", "orders")


async def test_who_acted_before_is_inside(idp: Idp) -> None:
    """Each actor wraps those before; only the outermost is new (section 4.1)."""
    first = await exchange(idp, idp.issuer.token("bob"), **with_actor(idp.issuer.token("gateway")))
    second = await exchange(
        idp, first.json()["access_token"], **with_actor(idp.issuer.token("orders"))
    )
    act = claims_of(idp, second)["act"]
    assert (act["sub"], act["act"]["sub"]) == ("orders", "gateway")
    assert "act" not in act["act"]


async def test_without_an_actor_the_chain_stays(idp: Idp) -> None:
    """Who acted before is not forgotten when a client asks for itself."""
    subject = idp.issuer.token("bob", act={"sub": "gateway"})
    assert claims_of(idp, await exchange(idp, subject))["act"] == {"sub": "gateway"}
    assert "act" not in claims_of(idp, await exchange(idp, idp.issuer.token("bob")))


@pytest.mark.parametrize(("asked", "issued"), [(None, ACCESS_TOKEN), (JWT, JWT)])
async def test_the_issued_type_is_what_was_asked_for(
    asked: str | None, issued: str, idp: Idp
) -> None:
    """An access token unless told otherwise; as a JWT it is one as well."""
    answer = await exchange(idp, idp.issuer.token(), requested_token_type=asked)
    assert answer.json()["issued_token_type"] == issued
    assert claims_of(idp, answer)["sub"] == "alice"


async def test_a_token_may_be_handed_in_as_a_jwt(idp: Idp) -> None:
    """Both token types name what this issuer signs."""
    assert (await exchange(idp, idp.issuer.token(), subject_token_type=JWT)).status_code == 200


# Scope and targets


@pytest.mark.parametrize(("asked", "given"), [(None, "a b"), ("a", "a"), ("b a", "b a")])
async def test_scope_may_be_narrowed(asked: str | None, given: str, idp: Idp) -> None:
    """Some of the scope is given when asked for, all of it when nothing is said."""
    answer = await exchange(idp, idp.issuer.token(scope="a b"), scope=asked)
    assert answer.json()["scope"] == given
    assert claims_of(idp, answer)["scope"] == given


@pytest.mark.parametrize("held", ["a b", "", None, ["c"], 5])
@pytest.mark.parametrize("asked", ["c", "a c", "A"])
async def test_scope_is_never_widened(asked: str, held: Any, idp: Idp) -> None:
    """What the subject token does not allow is refused, whoever acts and whatever they may do."""
    actor = with_actor(idp.issuer.token("orders", scope="a b c A"))
    answer = await exchange(idp, idp.issuer.token(scope=held), scope=asked, **actor)
    check_error(answer, "invalid_scope")


async def test_no_scope_stays_no_scope(idp: Idp) -> None:
    """A token without scope gives one without scope, and the answer has none."""
    answer = await exchange(idp, idp.issuer.token())
    assert "scope" not in answer.json()
    assert "scope" not in claims_of(idp, answer)


@pytest.mark.parametrize(
    ("asked", "audience"),
    [
        ({}, "shop"),
        ({"audience": "stock"}, "stock"),
        ({"resource": "https://stock.test/api"}, "https://stock.test/api"),
        ({"resource": "urn:stock"}, "urn:stock"),
        ({"audience": ["a", "b", "a"]}, ["a", "b"]),
        ({"audience": "a", "resource": ["https://b.test"]}, ["a", "https://b.test"]),
    ],
)
async def test_the_new_token_is_for_whom_was_named(
    asked: dict[str, Any], audience: Any, idp: Idp
) -> None:
    """Audiences and resources become `aud`; nobody named leaves it as it was."""
    assert claims_of(idp, await exchange(idp, idp.issuer.token(), **asked))["aud"] == audience


@pytest.mark.parametrize("resource", ["stock", "/api", "https://stock.test/#x", "https://[", "#"])
async def test_a_resource_is_an_absolute_uri(resource: str, idp: Idp) -> None:
    """A relative one, or one with a fragment, is no target (RFC 8707, section 2)."""
    check_error(await exchange(idp, idp.issuer.token(), resource=resource), "invalid_target")


async def test_an_issuer_may_know_its_targets(idp: Idp) -> None:
    """Where targets are given, others are refused, also next to a good one."""
    idp.issuer.targets = frozenset({"stock", "https://stock.test"})
    good = await exchange(
        idp, idp.issuer.token(), audience="stock", resource=["https://stock.test"]
    )
    assert claims_of(idp, good)["aud"] == ["stock", "https://stock.test"]
    for audience in ("bank", ["stock", "bank"]):
        check_error(await exchange(idp, idp.issuer.token(), audience=audience), "invalid_target")


# Who may act


async def test_may_act_names_who_may(idp: Idp) -> None:
    """The named actor gets the token, without `may_act`; nobody else does."""
    allowed = {"sub": "orders", "iss": idp.issuer.url}
    subject = idp.issuer.token("bob", may_act=allowed)
    good = await exchange(idp, subject, **with_actor(idp.issuer.token("orders")))
    assert claims_of(idp, good)["act"]["sub"] == "orders"
    assert "may_act" not in claims_of(idp, good)
    other = with_actor(idp.issuer.token("stock"))
    check_error(await exchange(idp, subject, **other), "invalid_request")


async def test_without_an_actor_the_client_acts(idp: Idp) -> None:
    """A client may exchange for itself what names it in `may_act`."""
    orders = idp.issuer.register("orders")
    for may_act in ({"sub": "orders"}, {"client_id": "orders", "iss": idp.issuer.url}):
        subject = idp.issuer.token("bob", may_act=may_act)
        assert (await exchange(idp, subject, client=orders)).status_code == 200
        check_error(await exchange(idp, subject), "invalid_request")


@pytest.mark.parametrize("may_act", [[], {}, "orders", {"sub": "orders", "x": 1}])
async def test_a_may_act_that_is_not_understood_allows_nobody(may_act: Any, idp: Idp) -> None:
    """What does not name the actor in every member does not name it."""
    subject = idp.issuer.token("bob", may_act=may_act)
    answer = await exchange(idp, subject, **with_actor(idp.issuer.token("orders")))
    check_error(answer, "invalid_request")


async def test_a_may_act_without_a_name_allows_nobody(idp: Idp) -> None:
    """An issuer alone is everybody of that issuer: it names no actor."""
    subject = idp.issuer.token("bob", may_act={"iss": idp.issuer.url})
    answer = await exchange(idp, subject, **with_actor(idp.issuer.token("orders")))
    check_error(answer, "invalid_request")


# What is refused


@pytest.mark.parametrize("grant", ["password", "authorization_code", "x"])
async def test_other_grants_are_not_supported(grant: str, idp: Idp) -> None:
    """Nobody logs in here: there is nothing for a password, or for a code."""
    answer = await exchange(idp, idp.issuer.token(), grant_type=grant)
    check_error(answer, "unsupported_grant_type")


@pytest.mark.parametrize(
    "changes",
    [
        {"grant_type": None},
        {"subject_token": None},
        {"subject_token_type": None},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"subject_token_type": "access_token"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"actor_token_type": ACCESS_TOKEN},
        {"scope": ["a", "b"]},
        {"grant_type": [GRANT, GRANT]},
    ],
)
async def test_a_request_must_be_whole(changes: dict[str, Any], idp: Idp) -> None:
    """What is missing, unknown, without its counterpart or there twice makes it invalid."""
    check_error(await exchange(idp, idp.issuer.token(), **changes), "invalid_request")


async def test_an_actor_token_needs_its_type(idp: Idp) -> None:
    """`actor_token_type` is required with `actor_token` (section 2.1)."""
    actor = idp.issuer.token("orders")
    check_error(await exchange(idp, idp.issuer.token(), actor_token=actor), "invalid_request")


async def test_tokens_that_do_not_count_are_not_exchanged(idp: Idp) -> None:
    """Late, revoked, forged or unknown: as subject and as actor they are refused."""
    revoked = idp.issuer.token()
    idp.issuer.revoke(revoked)
    for bad in (revoked, idp.issuer.token(exp=int(NOW)), idp.issuer.forged(), "unknown"):
        check_error(await exchange(idp, bad), "invalid_request")
        actor = with_actor(bad)
        check_error(await exchange(idp, idp.issuer.token(), **actor), "invalid_request")


@pytest.mark.parametrize("subject", [None, 5])
async def test_an_actor_has_a_name(subject: Any, idp: Idp) -> None:
    """A token without a subject says nothing about who acts."""
    actor = with_actor(idp.issuer.token(sub=subject))
    check_error(await exchange(idp, idp.issuer.token(), **actor), "invalid_request")


async def test_a_nameless_subject_gets_no_name(idp: Idp) -> None:
    """Where the subject token names nobody, neither does the new one."""
    assert "sub" not in claims_of(idp, await exchange(idp, idp.issuer.token(sub=None)))


async def test_no_error_tells_a_token(idp: Idp) -> None:
    """Nothing that was handed in comes back in an error."""
    token = idp.issuer.forged()
    assert token not in (await exchange(idp, token)).text


# Other grants


async def test_a_client_has_a_token_of_its_own(idp: Idp) -> None:
    """It is the client's, and for the issuer alone unless it names somebody (RFC 6749, 4.4)."""
    orders = idp.issuer.register("orders")
    form = {"grant_type": "client_credentials"}
    own = claims_of(idp, await idp.post("/token", form, client=orders))
    assert (own["sub"], own["client_id"], own["aud"]) == ("orders", "orders", idp.issuer.url)
    for_stock = await idp.post("/token", {**form, "audience": "stock", "scope": "a"}, client=orders)
    named = claims_of(idp, for_stock)
    assert (named["aud"], named["scope"]) == ("stock", "a")
    assert "issued_token_type" not in for_stock.json()


async def test_a_jwt_of_a_trusted_issuer_is_a_grant(idp: Idp) -> None:
    """It is for this issuer, counts now and is whom it names; whatever else is no grant."""
    other = Issuer("https://other.test", algorithm="ES256", clock=idp.issuer.clock)
    here = idp.issuer.url

    async def asked(assertion: str, **more: str) -> httpx.Response:
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
        return await idp.post("/token", {**form, "assertion": assertion, **more})

    check_error(await asked(other.token("bob", aud=here)), "invalid_grant")
    idp.issuer.trust(other)
    good = other.token("bob", aud=here, scope="a b", act={"sub": "gateway"})
    claims = claims_of(idp, await asked(good, audience="stock", scope="a"))
    assert (claims["sub"], claims["iss"], claims["aud"]) == ("bob", here, "stock")
    assert (claims["scope"], claims["act"]) == ("a", {"sub": "gateway"})
    check_error(await asked(good, scope="c"), "invalid_scope")
    for bad in (other.token(aud="shop"), other.token(aud=here, exp=int(NOW)), other.forged()):
        check_error(await asked(bad), "invalid_grant")


async def test_an_answer_may_be_rewritten(idp: Idp) -> None:
    """A test says what is answered instead, whichever way it is asked."""
    idp.front.rewrite = lambda request, answer: replace(answer, body=request.path.encode())
    assert (await idp.get("/jwks.json")).text == "/jwks.json"
    idp.front.rewrite = None
    assert "keys" in (await idp.get("/jwks.json")).json()
