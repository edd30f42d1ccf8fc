"""Whatever a token endpoint answers: a token that is held to what was asked, a no, or no answer."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from busauth.delegation import Exchanged
from tests.properties.strategies import json_values
from tests.unit.exchange_world import PAYMENTS, World, code_of, make_world
from tests.unit.support import as_json

MEMBERS = ("access_token", "token_type", "issued_token_type", "expires_in", "scope", "error")
CLAIMS = ("sub", "aud", "scope", "scp", "roles", "act", "exp", "iat", "nbf", "iss", "jti", "cnf")
LIKELY = st.sampled_from(
    ["alice", "payments", ["payments"], ["payments", "bank"], "payments:take", {"sub": "orders"}]
)
STATUSES = st.sampled_from([200, 200, 200, 400, 403, 401, 404, 429, 500, 302])


async def outcome(world: World) -> str | Exchanged:
    """Return what comes of it, a token held to its invariants."""
    found = await code_of(world.idp, await world.subject(roles=["clerk"]))
    if isinstance(found, Exchanged):
        caller = found.caller
        assert (caller.issuer, caller.subject) == (world.issuer.url, "alice")
        assert set(caller.audience) == PAYMENTS.audience
        assert caller.scopes <= {"payments:take"}
        assert caller.roles <= {"clerk"}
        assert [actor.subject for actor in caller.actors] in ([], ["orders"])
        assert caller.expires_at > world.clock.now()
        assert found.token_type == PAYMENTS.token_type
    else:
        assert found in ("exchange.answer", "exchange.refused", "deferred")
    return found


@given(
    status=STATUSES,
    members=st.dictionaries(st.sampled_from(MEMBERS), json_values),
    claims=st.dictionaries(st.sampled_from(CLAIMS), json_values | LIKELY),
)
async def test_an_answer_is_held_or_it_is_none(
    status: int, members: dict[str, Any], claims: dict[str, Any]
) -> None:
    """A good answer with any members and claims in place of its own widens nothing."""
    world = make_world()

    def change(good: dict[str, Any]) -> dict[str, Any]:
        token = world.issuer.sign({**world.claims_of(good), **claims})
        return {**good, "access_token": token, **members}

    world.answering(change, status=status)
    await outcome(world)


@given(status=STATUSES, body=st.binary(max_size=60) | json_values.map(as_json))
async def test_any_bytes_give_no_token(status: int, body: bytes) -> None:
    """What is not an answer gives nothing, whatever it is."""
    world = make_world()
    world.transport.replies["/token"] = (status, body)
    assert not isinstance(await outcome(world), Exchanged)
