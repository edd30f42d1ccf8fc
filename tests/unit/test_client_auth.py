"""How a service proves to an endpoint who it is."""

import base64
from urllib.parse import parse_qs

import httpx
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from busauth.errors import ConfigurationError
from busauth.tokens import ClientSecretBasic, ClientSecretPost, Fetcher, PrivateKeyJwt
from tests.unit.introspecting import OPAQUE, Scripted, asked, asks, outcome
from tests.unit.issuer_fronts import make_issuer
from tests.unit.support import NOW, Signer

ODD = "a:b c/ä+%"
KEY = Signer("ES256")


def assertion(**settings: str) -> PrivateKeyJwt:
    return PrivateKeyJwt("orders", KEY.private, algorithm="ES256", key_id="main", **settings)


async def test_odd_characters_arrive_as_they_were() -> None:
    """Name and secret are form-encoded before they are put together (RFC 6749, section 2.3.1)."""
    world = asked(client=ClientSecretBasic(ODD, ODD))
    world.issuer.register(ODD, ODD)
    assert await world.code(world.issuer.reference()) == "alice"
    scheme, _, encoded = world.transport.received[0].headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(encoded).count(b":")) == ("Basic", 1)


async def test_a_secret_may_go_in_the_form() -> None:
    """client_secret_post: name and secret are parameters, and no header proves anything."""
    world = asked(client=ClientSecretPost(ODD, ODD))
    world.issuer.register(ODD, ODD)
    assert await world.code(world.issuer.reference()) == "alice"
    assert "authorization" not in world.transport.received[0].headers


async def test_a_signed_assertion_proves_the_client() -> None:
    """It names client and issuer, lives for a minute, and no two have one id (RFC 7523)."""
    forms = []

    async def respond(request: httpx.Request) -> httpx.Response:
        forms.append(parse_qs((await request.aread()).decode()))
        assert "authorization" not in request.headers
        return httpx.Response(200, stream=httpx.ByteStream(b'{"active": false}'))

    idp = make_issuer()
    asking = asks(idp, Fetcher(transport=Scripted(respond)), client=assertion())
    for token in (OPAQUE, "another"):
        assert await outcome(asking, token) == "token.inactive"
    told = []
    for form in forms:
        (kind,), (text,) = form["client_assertion_type"], form["client_assertion"]
        assert kind == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        read = joserfc_jwt.decode(text, import_key(KEY.jwk()), algorithms=["ES256"])
        assert read.header["typ"] == "client-authentication+jwt"
        told.append(read.claims)
    ids = {claims.pop("jti") for claims in told}
    assert len(ids) == 2
    expected = {"iss": "orders", "sub": "orders", "aud": idp.url, "iat": NOW, "exp": NOW + 60}
    assert told == [expected, expected]


def test_the_audience_can_be_named() -> None:
    """Some issuers want the token endpoint there."""
    form = assertion(audience="https://idp.test/token").credentials("https://idp.test", NOW).form
    read = joserfc_jwt.decode(form["client_assertion"], import_key(KEY.jwk()), algorithms=["ES256"])
    assert read.claims["aud"] == "https://idp.test/token"


def test_secrets_are_not_printed() -> None:
    """Neither a client nor its credentials show what proves it."""
    encoded = base64.b64encode(b"orders:hush-hush").decode()
    secrets = (ClientSecretBasic("orders", "hush-hush"), ClientSecretPost("orders", "hush-hush"))
    for client in (*secrets, assertion()):
        credentials = client.credentials("https://idp.test", NOW)
        for shown in (repr(client), str(client), repr(credentials), str(credentials)):
            assert "hush" not in shown
            assert encoded not in shown
            assert credentials.form.get("client_assertion", encoded) not in shown


def test_what_proves_nothing_is_an_error() -> None:
    """A name and a secret are there, and a key is a private one."""
    for name, secret in (("", "x"), ("x", "")):
        for client in (ClientSecretBasic, ClientSecretPost):
            with pytest.raises(ConfigurationError, match="expected a client and its secret"):
                client(name, secret)
    with pytest.raises(ConfigurationError, match="private key"):
        PrivateKeyJwt("orders", Signer("HS256").private, algorithm="HS256")
    with pytest.raises(ConfigurationError):
        PrivateKeyJwt("orders", KEY.jwk(), algorithm="ES256")
    with pytest.raises(ConfigurationError):
        PrivateKeyJwt("", KEY.private, algorithm="ES256")
