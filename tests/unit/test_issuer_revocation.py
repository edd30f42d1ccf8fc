"""The test kit's revocation (RFC 7009)."""

from collections.abc import AsyncIterator

import pytest

from busauth.testing import SigningKey
from tests.unit.issuer_fronts import (
    FRONTS,
    INACTIVE,
    Idp,
    asking,
    check_error,
    introspected,
    make_issuer,
)


@pytest.fixture(params=FRONTS)
async def idp(request: pytest.FixtureRequest) -> AsyncIterator[Idp]:
    async with asking(request.param, make_issuer()) as idp:
        yield idp


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
