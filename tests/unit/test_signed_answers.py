"""Signed answers (RFC 9701): believed when the issuer signed them, for this client, now."""

from typing import Any

import pytest

from busauth import StaticKeys, Verifier, Verifiers
from busauth.errors import Deferred
from busauth.testing.issuer import Response
from tests.unit.introspecting import OPAQUE, PATH, Asked, active, asked
from tests.unit.support import AUDIENCE, NOW, proven_by, refused_code

TYPE = "token-introspection+jwt"


def claims(world: Asked, **changes: Any) -> dict[str, Any]:
    """Return a signed answer's claims; `...` takes one away."""
    usual: dict[str, Any] = {
        "iss": world.issuer.url,
        "aud": world.issuer.client.client_id,
        "iat": int(NOW),
        "token_introspection": active(),
    }
    return {name: value for name, value in (usual | changes).items() if value is not ...}


def answered(world: Asked, text: str | bytes) -> None:
    body = text if isinstance(text, bytes) else text.encode()
    world.transport.replies[PATH] = Response(200, {"Content-Type": f"application/{TYPE}"}, body)


async def code(world: Asked, text: str | bytes) -> str:
    """Return what becomes of a token when this is answered."""
    answered(world, text)
    return await world.code(OPAQUE)


async def test_a_signed_answer_is_asked_for_and_believed() -> None:
    """With keys, the issuer is asked for a signed answer, and what it says counts."""
    world = asked(signed=True)
    assert await world.code(world.issuer.reference("bob")) == "bob"
    assert await world.code("unknown") == "token.inactive"
    assert world.transport.received[0].headers["accept"] == f"application/{TYPE}"


@pytest.mark.parametrize("typ", [TYPE, f"application/{TYPE}", TYPE.upper()])
async def test_spellings_of_the_type_are_the_same(typ: str) -> None:
    """A media type is compared without case, and with or without its first part."""
    world = asked(signed=True)
    assert await code(world, world.issuer.sign(claims(world), {"typ": typ})) == "alice"


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"},
        {"typ": "JWT"},
        {"typ": None},
        {"typ": 5},
        {"typ": TYPE, "alg": "none"},
        {"typ": TYPE, "alg": "HS256"},
        {"typ": TYPE, "alg": "RS256"},
        {"typ": TYPE, "alg": ["ES256"]},
        {"typ": TYPE, "kid": "unknown"},
        {"typ": TYPE, "kid": 5},
        {"typ": TYPE, "crit": ["exp"]},
        {"typ": TYPE, "b64": False},
    ],
)
async def test_another_kind_of_jws_is_no_answer(header: dict[str, Any]) -> None:
    """Type, algorithm and key must be those of this issuer's answers."""
    world = asked(signed=True)
    assert await code(world, world.issuer.sign(claims(world), header)) == "deferred"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.test"},
        {"iss": ...},
        {"iss": ["https://issuer.test"]},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": ...},
        {"aud": {"shop-web": 1}},
        {"aud": AUDIENCE},
        {"iat": ...},
        {"iat": int(NOW) - 60},
        {"iat": int(NOW) + 60},
        {"iat": "now"},
        {"iat": True},
        {"token_introspection": ...},
        {"token_introspection": []},
        {"token_introspection": "x"},
        {"token_introspection": {}},
        {"token_introspection": {"active": "true"}},
    ],
)
async def test_an_answer_for_somebody_else_or_another_time_is_none(changes: dict[str, Any]) -> None:
    """Issuer, client and instant must be right, or it was recorded elsewhere."""
    world = asked(signed=True)
    text = world.issuer.sign(claims(world, **changes), {"typ": TYPE})
    assert await code(world, text) == "deferred"


async def test_a_forged_answer_is_none() -> None:
    """Somebody else's signature, none, or an exchanged payload counts for nothing."""
    world = asked(signed=True)
    genuine = world.issuer.sign(claims(world), {"typ": TYPE})
    header, _, signature = genuine.split(".")
    other = world.issuer.sign(claims(world, extra=1), {"typ": TYPE}).split(".")[1]
    key_id = world.issuer.signing.key_id
    forged = world.issuer.sign(
        claims(world), {"typ": TYPE, "kid": key_id}, key=world.issuer.stranger
    )
    unsigned = world.issuer.sign(claims(world), {"typ": TYPE}, algorithm="none")
    confused = world.issuer.sign(claims(world), {"typ": TYPE}, algorithm="HS256")
    for text in (forged, unsigned, confused, f"{header}.{other}.{signature}", "", "a.b.c"):
        assert await code(world, text) == "deferred"


async def test_a_plain_answer_is_none_where_signed_ones_are_wanted() -> None:
    """Whoever sits between cannot take the signature away."""
    world = asked(signed=True)
    world.answers(active())
    assert await world.code(OPAQUE) == "deferred"


async def test_a_signed_answer_is_none_where_plain_ones_are_wanted() -> None:
    """What cannot be verified is not read."""
    world = asked()
    text = world.issuer.sign(claims(world), {"typ": TYPE})
    assert await code(world, text) == "deferred"


async def test_an_answer_is_never_an_access_token() -> None:
    """Neither a verifier nor an endpoint is given one, even with every claim of a token."""
    world = asked(signed=True)
    text = world.issuer.sign({**world.issuer.claims(), **claims(world)}, {"typ": TYPE})
    assert await world.code(text) == "token.type"
    local = Verifier(
        StaticKeys(world.issuer.jwks()),
        issuer=world.issuer.url,
        audience=world.issuer.client.client_id,
        algorithms=("ES256",),
    )
    assert await refused_code(proven_by(Verifiers(local), text)) == "token.type"
    assert world.transport.received == []


async def test_a_rotated_key_is_found() -> None:
    """The next answer, by the next key, is believed; one by a retired key is not."""
    world = asked(signed=True)
    old = world.issuer.signing
    world.issuer.rotate(retire=True)
    assert await world.code(world.issuer.reference()) == "alice"
    text = world.issuer.sign(claims(world), {"typ": TYPE}, key=old)
    assert await code(world, text) == "deferred"


async def test_the_reason_shows_no_answer() -> None:
    """What is wrong is told without the text."""
    world = asked(signed=True)
    text = world.issuer.sign(claims(world, aud="other"), {"typ": TYPE})
    answered(world, text)
    with pytest.raises(Deferred, match="audience") as caught:
        await proven_by(world.introspection, OPAQUE)
    assert text not in str(caught.value)
