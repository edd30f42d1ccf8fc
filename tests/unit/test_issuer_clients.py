"""Who may use the endpoints of the test kit's issuer, and how they prove it."""

import base64
from collections.abc import AsyncIterator

import pytest

from busauth.testing.issuer import Client
from tests.unit.issuer_fronts import (
    FRONTS,
    INACTIVE,
    Idp,
    asking,
    check_error,
    introspected,
    make_issuer,
)

PATHS = ["/introspect", "/revoke", "/token"]


@pytest.fixture(params=FRONTS)
async def idp(request: pytest.FixtureRequest) -> AsyncIterator[Idp]:
    async with asking(request.param, make_issuer()) as idp:
        yield idp


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
