"""A token for a token: what is asked, what is taken for an answer, and what is kept of it."""

import pytest

from busauth.caller import Actor
from busauth.delegation import Exchanged, ExchangeRequest
from tests.unit.exchange_world import PAYMENTS, code_of, make_world


async def test_a_token_is_had_for_one_service_with_less() -> None:
    """The new token is the subject's, for whom was asked, and allows what was asked."""
    world = make_world()
    given = await world.idp.exchange(await world.subject(), PAYMENTS)
    assert given.caller.subject == "alice"
    assert given.caller.audience == ("payments",)
    assert given.caller.scopes == {"payments:take"}
    assert given.token not in repr(given) + repr(world.idp)
    (form,) = world.forms()
    assert form["audience"] == ["payments"]
    assert form["scope"] == ["payments:take"]
    assert world.transport.requests.count("/token") == 1


async def test_a_service_that_acts_is_named_in_front() -> None:
    """Its own token is the actor token, and whoever acted before is behind it."""
    world = make_world(acts=True)
    gateway = {"sub": "gateway"}
    given = await world.idp.exchange(await world.subject(act=gateway), PAYMENTS)
    assert given.caller.actors == (
        Actor("orders", world.issuer.url, "orders"),
        Actor("gateway"),
    )
    again = await world.idp.exchange(await world.subject(), PAYMENTS)
    assert again.caller.actors == (Actor("orders", world.issuer.url, "orders"),)
    grants = [form["grant_type"][0].rpartition(":")[2] for form in world.forms()]
    assert grants == ["client_credentials", "token-exchange", "token-exchange"]


@pytest.mark.parametrize("several", [True, False])
async def test_several_may_be_named(several: bool) -> None:
    """Audiences and resources are sent one by one, and the token is for all of them alone."""
    world = make_world()
    request = ExchangeRequest.of(
        ["payments", "stock"] if several else "payments", resource="https://stock.test/api"
    )
    given = await code_of(world.idp, await world.subject(), request)
    assert isinstance(given, Exchanged)
    assert set(given.caller.audience) == request.audience | request.resource
    assert given.caller.scopes == {"orders:write", "payments:take"}
