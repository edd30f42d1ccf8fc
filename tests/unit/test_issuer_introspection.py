"""The test kit's introspection (RFC 7662), and its signed answers (RFC 9701)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from busauth import StaticKeys, Verifier, Verifiers
from busauth.errors import NotGenuine
from busauth.testing import ManualClock
from tests.unit.issuer_fronts import (
    FRONTS,
    INACTIVE,
    Idp,
    asking,
    check_error,
    introspected,
    make_issuer,
)
from tests.unit.support import NOW, proven_by

JWT_TYPE = "application/token-introspection+jwt"


@pytest.fixture(params=FRONTS)
async def idp(request: pytest.FixtureRequest) -> AsyncIterator[Idp]:
    async with asking(request.param, make_issuer()) as idp:
        yield idp


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
        await proven_by(verifiers, answer)
    assert caught.value.code == "token.type"
    assert await introspected(idp, answer) == INACTIVE
