"""The test kit's introspection endpoint, its clients, and revocation."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from busauth.errors import NotGenuine
from busauth.testing import ManualClock, SigningKey
from busauth.testing.issuer import Client
from busauth.tokens.keys import StaticKeys
from busauth.tokens.verifier import Verifier, Verifiers
from tests.unit.issuer_fronts import FRONTS, Idp, asking, check_error, make_issuer
from tests.unit.support import NOW

INACTIVE = {"active": False}
JWT_TYPE = "application/token-introspection+jwt"
PATHS = ["/introspect", "/revoke", "/token"]


@pytest.fixture(params=FRONTS)
async def idp(request: pytest.FixtureRequest) -> AsyncIterator[Idp]:
    async with asking(request.param, make_issuer()) as idp:
        yield idp


async def introspected(idp: Idp, token: str, client: Client | None = None) -> dict[str, Any]:
    answer = await idp.post("/introspect", {"token": token}, client=client)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    found: dict[str, Any] = answer.json()
    return found


# What a token is worth


async def test_an_active_token_is_told_whole(idp: Idp) -> None:
    """Every claim of a token that counts is there, of a JWT and of an opaque one alike."""
    for token in (
        idp.issuer.token("bob", scope="a b", jti="t-1"),
        idp.issuer.reference("bob", scope="a b", jti="t-1"),
    ):
        assert await introspected(idp, token) == {
            "active": True,
            "token_type": "Bearer",
            "iss": idp.issuer.url,
            "sub": "bob",
            "aud": "shop",
            "client_id": "shop-web",
            "scope": "a b",
            "iat": NOW,
            "exp": NOW + 300,
            "jti": "t-1",
        }
        assert idp.issuer.introspect(token) == await introspected(idp, token)


@pytest.mark.parametrize("token", ["x", "a.b.c", "a.b", "é.é.é", ".", "e30.e30.e30"])
async def test_what_is_no_token_is_inactive(token: str, idp: Idp) -> None:
    """Of any other text nothing is said but that it does not count."""
    assert await introspected(idp, token) == INACTIVE


async def test_hostile_tokens_are_not_vouched_for(idp: Idp) -> None:
    """Active are those alone that this issuer signed for this audience, however odd inside."""
    shop = idp.issuer.register("shop", audiences=["shop"])
    hostile = {name: token for name, token in idp.issuer.hostile().items() if token}
    active = {
        name for name, token in hostile.items() if (await introspected(idp, token, shop))["active"]
    }
    assert active == {
        "act without sub",
        "a security event",
        "crit",
        "crit with b64",
        "deep JSON",
        "iat a list",
        "jti a list",
        "sender-constrained",
        "sub a number",
        "sub missing",
        "sub twice",
        "too long",
    }


@pytest.mark.parametrize("kind", ["token", "reference"])
async def test_a_token_ends_at_its_exp(kind: str) -> None:
    """Until `exp` it is active, at `exp` it is not (RFC 7519, section 4.1.4)."""
    clock = ManualClock(NOW)
    async with asking("in process", make_issuer(clock=clock, lifetime=60)) as idp:
        token = getattr(idp.issuer, kind)()
        await clock.advance(59.9)
        assert (await introspected(idp, token))["active"]
        await clock.advance(0.1)
        assert await introspected(idp, token) == INACTIVE


@pytest.mark.parametrize(
    "changes",
    [
        {"nbf": NOW + 1},
        {"nbf": "0"},
        {"exp": NOW},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": float("inf")},
        {"iss": "https://elsewhere.test"},
    ],
)
async def test_a_token_that_does_not_count_now_is_inactive(
    changes: dict[str, Any], idp: Idp
) -> None:
    """Early, late, endless, or somebody else's: it is not active, signed or opaque."""
    assert await introspected(idp, idp.issuer.token(**changes)) == INACTIVE
    assert await introspected(idp, idp.issuer.reference(**changes)) == INACTIVE


async def test_a_begun_token_is_active(idp: Idp) -> None:
    """From `nbf` on it counts."""
    assert (await introspected(idp, idp.issuer.token(nbf=NOW)))["active"]


async def test_another_spelling_of_a_token_is_another_token(idp: Idp) -> None:
    """Base64 is read strictly: junk that a lenient reader would skip is not skipped."""
    token = idp.issuer.token()
    assert await introspected(idp, f"{token}\n") == INACTIVE
    assert await introspected(idp, f"{token}==") == INACTIVE


async def test_another_kind_of_token_is_inactive(idp: Idp) -> None:
    """What the issuer signed for another purpose is no access token."""
    token = idp.issuer.token(header={"typ": "secevent+jwt"})
    assert await introspected(idp, token) == INACTIVE


async def test_a_resource_server_sees_what_is_meant_for_it(idp: Idp) -> None:
    """A client with audiences is told of tokens for those, and of no others."""
    mine = idp.issuer.register("orders", audiences="orders")
    for audience, seen in (("orders", True), (["x", "orders"], True), ("x", False), (5, False)):
        token = idp.issuer.reference(aud=audience)
        assert (await introspected(idp, token, mine))["active"] is seen
        assert (await introspected(idp, token))["active"]


async def test_a_question_needs_a_token(idp: Idp) -> None:
    """Without `token`, with an empty one or with two, the request is invalid."""
    check_error(await idp.post("/introspect", {}), "invalid_request")
    check_error(await idp.post("/introspect", {"token": ""}), "invalid_request")
    check_error(await idp.post("/introspect", {"token": ["a", "b"]}), "invalid_request")


# RFC 9701


@pytest.mark.parametrize("accept", [JWT_TYPE, f"application/json;q=0.5, {JWT_TYPE.upper()};q=1"])
async def test_an_answer_may_be_signed(accept: str, idp: Idp) -> None:
    """A JWT is given to who accepts one: addressed to the client, the facts inside."""
    token = idp.issuer.reference("bob")
    client = idp.issuer.register("orders")
    answer = await idp.post("/introspect", {"token": token}, client=client, Accept=accept)
    assert answer.headers["content-type"] == JWT_TYPE
    (jwk,) = idp.issuer.jwks()["keys"]
    decoded = joserfc_jwt.decode(answer.text, import_key(jwk), algorithms=["ES256"])
    assert decoded.header["typ"] == "token-introspection+jwt"
    assert decoded.claims == {
        "iss": idp.issuer.url,
        "aud": "orders",
        "iat": NOW,
        "token_introspection": idp.issuer.introspect(token),
    }


async def test_a_signed_no_says_nothing_else(idp: Idp) -> None:
    """Of a token that does not count, the signed answer says just that."""
    answer = await idp.post("/introspect", {"token": "x"}, Accept=JWT_TYPE)
    (jwk,) = idp.issuer.jwks()["keys"]
    decoded = joserfc_jwt.decode(answer.text, import_key(jwk), algorithms=["ES256"])
    assert decoded.claims["token_introspection"] == INACTIVE


async def test_a_signed_answer_is_no_access_token(idp: Idp) -> None:
    """Busauth refuses it by its type, and introspection does not vouch for it."""
    form = {"token": idp.issuer.token()}
    answer = (await idp.post("/introspect", form, Accept=JWT_TYPE)).text
    keys = StaticKeys(idp.issuer.jwks())
    verifiers = Verifiers(Verifier(keys, issuer=idp.issuer.url, audience="shop-web"))
    with pytest.raises(NotGenuine) as caught:
        await verifiers.authenticate(answer)
    assert caught.value.code == "token.type"
    assert await introspected(idp, answer) == INACTIVE


# Clients


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_asks_without_a_secret(path: str, idp: Idp) -> None:
    """No proof, a wrong one or an unreadable one is a 401 with a challenge."""
    url = f"{idp.issuer.url}{path}"
    stranger, impostor = Client("nobody", "x"), Client("shop-web", "guessed")
    basics = [stranger.basic(), impostor.basic(), "Basic ???", "Basic", "Bearer x", "Basic 4pyT"]
    for header in [{}, *({"Authorization": basic} for basic in basics)]:
        answer = await idp.http.post(url, data={"token": "x"}, headers=header)
        check_error(answer, "invalid_client", 401)
        assert answer.headers["www-authenticate"].startswith("Basic ")
    for client in (stranger, impostor, Client("", "")):
        answer = await idp.http.post(url, data={"token": "x", **client.post()})
        check_error(answer, "invalid_client", 401)


async def test_a_secret_may_stand_in_the_form(idp: Idp) -> None:
    """client_secret_post is as good as client_secret_basic."""
    form = {"token": idp.issuer.token(), **idp.issuer.client.post()}
    answer = await idp.http.post(f"{idp.issuer.url}/introspect", data=form)
    assert answer.json()["active"]


async def test_two_proofs_are_one_too_many(idp: Idp) -> None:
    """A client that uses both ways at once makes an invalid request."""
    form = {"token": "x", **idp.issuer.client.post()}
    check_error(await idp.post("/introspect", form), "invalid_request")


async def test_names_and_secrets_may_hold_anything(idp: Idp) -> None:
    """Colons, blanks, percent signs and other letters survive both ways."""
    client = idp.issuer.register("a:b c", "s:e%c+r é/t")
    assert (await introspected(idp, idp.issuer.token(), client))["active"]
    form = {"token": idp.issuer.token(), **client.post()}
    answer = await idp.http.post(f"{idp.issuer.url}/introspect", data=form)
    assert answer.json()["active"]


async def test_registering_anew_replaces_the_secret(idp: Idp) -> None:
    """The old secret is of no use any more."""
    old, new = idp.issuer.register("orders"), idp.issuer.register("orders")
    check_error(await idp.post("/introspect", {"token": "x"}, client=old), "invalid_client", 401)
    assert await introspected(idp, "x", new) == INACTIVE


def test_a_client_prints_no_secret() -> None:
    """Its text has its name."""
    assert repr(Client("orders", "s3cret")) == "Client(client_id='orders', audiences=None)"


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_is_no_form_is_invalid(path: str, idp: Idp) -> None:
    """JSON, bytes that are no text and a missing type are refused."""
    url = f"{idp.issuer.url}{path}"
    headers = {"Authorization": idp.issuer.client.basic()}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    check_error(await idp.http.post(url, json={"token": "x"}, headers=headers), "invalid_request")
    check_error(await idp.http.post(url, content=b"token=x", headers=headers), "invalid_request")
    for content in (b"token=\xff", b"token=%ff"):
        answer = await idp.http.post(url, content=content, headers={**headers, **form})
        check_error(answer, "invalid_request")


def test_the_basic_header_is_the_standards() -> None:
    """Name and secret are form-encoded, then joined, then base64 (RFC 6749, section 2.3.1)."""
    encoded = Client("a:b", "c d").basic().removeprefix("Basic ")
    assert base64.b64decode(encoded) == b"a%3Ab:c+d"


# Revocation


@pytest.mark.parametrize("kind", ["token", "reference"])
async def test_a_revoked_token_is_inactive(kind: str, idp: Idp) -> None:
    """After its revocation it does not count, and others still do."""
    token, other = getattr(idp.issuer, kind)(), idp.issuer.token()
    answer = await idp.post("/revoke", {"token": token, "token_type_hint": "anything"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert await introspected(idp, token) == INACTIVE
    assert (await introspected(idp, other))["active"]


async def test_revoking_twice_is_revoking(idp: Idp) -> None:
    """Done is done, and so it is for a token that nobody knows."""
    token = idp.issuer.token()
    for each in (token, token, "unknown", idp.issuer.forged()):
        assert (await idp.post("/revoke", {"token": each})).status_code == 200
    assert await introspected(idp, token) == INACTIVE


async def test_a_forged_token_revokes_nothing(idp: Idp) -> None:
    """Who knows a `jti` and no key cannot take its token back."""
    genuine = idp.issuer.token(jti="t-1")
    await idp.post("/revoke", {"token": idp.issuer.forged(jti="t-1")})
    assert (await introspected(idp, genuine))["active"]


async def test_a_client_revokes_its_own_tokens_only(idp: Idp) -> None:
    """Another client's token is refused, and still counts."""
    token = idp.issuer.token()
    other = idp.issuer.register("orders")
    answer = await idp.post("/revoke", {"token": token}, client=other)
    check_error(answer, "unauthorized_client")
    assert (await introspected(idp, token))["active"]


async def test_revoking_needs_a_token(idp: Idp) -> None:
    """Without `token` the request is invalid."""
    check_error(await idp.post("/revoke", {}), "invalid_request")


def test_a_token_without_a_name_is_revoked_by_its_text() -> None:
    """Where there is no `jti`, the token itself is remembered."""
    issuer = make_issuer()
    token, other = issuer.token("alice", jti=None), issuer.token("bob", jti=None)
    issuer.revoke(token)
    assert issuer.introspect(token) == INACTIVE
    assert issuer.introspect(other)["active"]


def test_two_signatures_of_a_token_are_revoked_together() -> None:
    """A token is known by its `jti`: signed again it is still revoked."""
    issuer = make_issuer()
    claims = issuer.claims()
    issuer.revoke(issuer.sign(claims))
    issuer.rotate(SigningKey("EdDSA"))
    assert issuer.introspect(issuer.sign(claims)) == INACTIVE
