"""What holds for every answer that an endpoint may give."""

import json
import math
from typing import Any

import httpx
from hypothesis import example, given
from hypothesis import strategies as st

from busauth import DeadLetter, StaticKeys
from busauth._decision import Rules, decide
from busauth._expiry import PolicyChain
from busauth._tokens.compact import is_signed
from busauth.errors import Deferred, NotGenuine, Refused
from busauth.testing import ManualClock
from busauth.testing.issuer import SigningKey
from busauth.tokens import (
    Authenticators,
    ClientSecretBasic,
    Fetcher,
    Introspection,
    IntrospectionOptions,
    Session,
    Sessions,
    Verified,
)
from tests.properties.strategies import claim_changes, few_of, json_values, scalars
from tests.unit.introspecting import OPAQUE, Scripted, active
from tests.unit.support import AUDIENCE, ISSUER, NOW, Signer, proven_by, token, verifier

STRICT = Rules(policies=PolicyChain(DeadLetter(), hard_max_age=0))
KEY = SigningKey("ES256")
TYPE = "token-introspection+jwt"
FRESH = IntrospectionOptions(fresh_for=0.0, refused_for=0.0)


async def judged(body: bytes, *, status: int = 200, signed: bool = False) -> Verified | str:
    """Return what becomes of an opaque token when this is answered; nothing else may be raised."""

    async def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, stream=httpx.ByteStream(body))

    asking = Introspection(
        "https://issuer.test/introspect",
        issuer=ISSUER,
        audience=AUDIENCE,
        client=ClientSecretBasic("shop-web", "secret"),
        keys=StaticKeys([KEY.public_jwk()]) if signed else None,
        leeway=0,
        options=FRESH,
        fetcher=Fetcher(transport=Scripted(respond)),
        clock=ManualClock(NOW),
    )
    try:
        return await proven_by(asking, OPAQUE)
    except NotGenuine as refused:
        return refused.code
    except Deferred:
        return "deferred"


def hold(verified: Verified | str, said: Any) -> None:
    """Hold what was accepted to every rule."""
    if isinstance(verified, str):
        return
    caller = verified.caller
    assert said["active"] is True
    said = {name: value for name, value in said.items() if value is not None}
    assert said.get("iss", ISSUER) == ISSUER
    audience = said["aud"]
    assert audience == AUDIENCE or (isinstance(audience, list) and AUDIENCE in audience)
    assert isinstance(said.get("sub", ""), str)
    assert caller.subject == said.get("sub", "")
    assert type(said["exp"]) in (int, float)
    assert 0 <= caller.expires_at == float(said["exp"]) < math.inf
    assert "cnf" not in said
    assert str(said.get("token_type", "bearer")).lower() == "bearer"
    assert OPAQUE not in repr(verified)


answers = claim_changes.map(lambda changes: active(**changes)) | few_of(
    {
        "active": scalars | json_values,
        "token_type": st.sampled_from(["Bearer", "DPoP", "N_A"]) | json_values,
        "token_use": st.sampled_from(["access_token", "refresh_token"]) | json_values,
    }
).map(lambda changes: active(**changes))


@given(said=answers | json_values)
@example(said=active())
@example(said=active(exp=10**30))  # no float is this integer
async def test_whatever_json_is_answered_is_judged(said: Any) -> None:
    """It is accepted by every rule, refused, or nobody's fault; and nothing else happens."""
    hold(await judged(json.dumps(said).encode()), said)


@given(said=answers | json_values, changes=few_of({"iss": json_values, "aud": json_values}))
@example(said=active(), changes={})
async def test_whatever_json_is_signed_is_judged(said: Any, changes: dict[str, Any]) -> None:
    """A signature makes nothing true that the rules deny."""
    usual = {"iss": ISSUER, "aud": "shop-web", "iat": int(NOW), "token_introspection": said}
    text = KEY.sign(usual | changes, {"typ": TYPE})
    found = await judged(text.encode(), signed=True)
    hold(found, said)
    if isinstance(found, Verified):
        outer = (usual | changes)["aud"]
        assert (usual | changes)["iss"] == ISSUER
        assert outer == "shop-web" or "shop-web" in outer


@given(body=st.binary(max_size=200), status=st.sampled_from([200, 204, 301, 400, 401, 422, 500]))
async def test_whatever_bytes_are_answered_are_no_acceptance(body: bytes, status: int) -> None:
    """Bytes and statuses never make a caller, and raise nothing unexpected."""
    for signed in (False, True):
        assert isinstance(await judged(body, status=status, signed=signed), str)


@given(said=answers)
@example(said=active(exp=NOW))
async def test_nothing_is_accepted_past_its_end(said: dict[str, Any]) -> None:
    """Without a policy, a token whose answer ends now or earlier does not pass."""
    found = await judged(json.dumps(said).encode())
    if isinstance(found, Verified) and found.caller.expires_at <= NOW:
        try:
            await decide(found, STRICT, NOW)
        except Refused:
            return
        raise AssertionError("it was accepted")


class _Nobody:
    async def find(self, session_id: str) -> Session | None:
        return None


LOCAL = Signer("ES256")
b64tokens = st.text(alphabet="abcXYZ019-._~+/=", max_size=40)


@given(text=b64tokens | st.text(max_size=40) | st.just(token(LOCAL, iss="https://other.test")))
async def test_every_text_is_judged_by_somebody(text: str) -> None:
    """Routing raises nothing unexpected, and what looks like a JWS is sent to nobody."""
    sent = []

    async def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b'{"active": false}'))

    asking = Introspection(
        "https://issuer.test/introspect",
        issuer=ISSUER,
        audience=AUDIENCE,
        client=ClientSecretBasic("shop-web", "secret"),
        fetcher=Fetcher(transport=Scripted(respond)),
    )
    sessions = Sessions(_Nobody(), issuer="sessions", audience=AUDIENCE, prefix="a")
    trusted = Authenticators(verifier(LOCAL, issuer="https://other.test"), sessions, asking)
    try:
        await proven_by(trusted, text)
    except Refused:
        assert not (sent and is_signed(text))
    else:
        assert is_signed(text)
        assert not sent
