"""What hostile senders might send."""

import asyncio
import atexit
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.unit.support import AUDIENCE, ISSUER, NOW, Signer, payload

T = TypeVar("T")

_LOOP = asyncio.new_event_loop()
atexit.register(_LOOP.close)

SIGNERS = tuple(map(Signer, ("RS256", "ES256", "EdDSA", "HS256")))

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**320)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def few_of(
    draw: st.DrawFn, members: dict[str, st.SearchStrategy[Any]], *, most: int = 2
) -> dict[str, Any]:
    """Return a few of these members: one thing wrong is more telling than ten."""
    chosen = draw(st.sets(st.sampled_from(sorted(members)), max_size=most))
    return {name: draw(members[name]) for name in sorted(chosen)}


instants = st.sampled_from(
    [0, 1, int(NOW), int(NOW) - 1, int(NOW) + 1, NOW + 0.5, NOW - 0.5, int(NOW) + 300, 10**30, -1]
)
audiences = st.sampled_from([AUDIENCE, [AUDIENCE], ["x", AUDIENCE], "x", ["x"], [], [AUDIENCE, 5]])
claim_changes = few_of(
    {
        "exp": instants | json_values,
        "nbf": instants | json_values,
        "iat": instants | json_values,
        "iss": st.sampled_from([ISSUER, f"{ISSUER}/", [ISSUER]]) | json_values,
        "aud": audiences | json_values,
        "sub": st.text(max_size=5) | json_values,
        "jti": json_values,
        "scope": st.text(max_size=10) | json_values,
        "roles": json_values,
        "client_id": json_values,
        "act": st.just({"sub": "gateway"}) | json_values,
        "cnf": json_values,
        "events": json_values,
        "other": json_values,
    },
)
header_changes = few_of(
    {
        "alg": st.sampled_from(["RS256", "ES256", "EdDSA", "HS256", "none", "RS512"]) | json_values,
        "kid": st.sampled_from(["main", "other", ""]) | json_values,
        "typ": st.sampled_from(["JWT", "at+jwt", "application/at+jwt", "dpop+jwt"]) | json_values,
        "crit": st.sampled_from([["exp"], []]) | json_values,
        "b64": json_values,
        "cty": st.just("JWT"),
        "jku": st.just("https://evil.example/jwks"),
        "x5u": st.just("https://evil.example/cert"),
        "jwk": st.just(Signer("ES256", "other").jwk()),
        "other": json_values,
    },
)


@st.composite
def signed_tokens(draw: st.DrawFn) -> tuple[Signer, str]:
    """Return a trusted signer, and a token with a hostile header and payload that it signed.

    Now and then somebody else signed it.
    """
    trusted = draw(st.sampled_from(SIGNERS))
    name = draw(st.sampled_from(["main"] * 7 + ["other"]))
    claims = payload(**draw(claim_changes))
    for absent in draw(st.sets(st.sampled_from(["exp", "iat", "jti", "client_id"]), max_size=2)):
        claims.pop(absent, None)
    usual = {"alg": trusted.algorithm, "kid": "main", "typ": "JWT"}
    header = usual | draw(header_changes)
    return trusted, Signer(trusted.algorithm, name).sign(claims, header=header)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, on one loop for all examples."""
    return _LOOP.run_until_complete(_at_once(coroutine))


async def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # what the coroutine returned
    raise AssertionError("it waited")
