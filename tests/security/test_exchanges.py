"""Who stands in for an authorization server, or has it answer another question than was asked.

They sit in front of the server and change what it answers, or hold a token that it gave somebody
else. Each time what it gives unchanged is taken.
"""

import asyncio
from dataclasses import replace
from typing import Any

from busauth.delegation import Exchanged, ExchangeRequest, Subject
from tests.security.stage import attack
from tests.unit.exchange_world import Members, World, code_of, make_world


async def refused(world: World, change: Any) -> str:
    """Return the code for a changed answer, where the unchanged one is taken."""
    subject = await world.subject(roles=["clerk"])
    world.answering(change)
    code = await code_of(world.idp, subject)
    world.transport.rewrite = None
    assert isinstance(await code_of(world.idp, subject), Exchanged)
    assert isinstance(code, str)
    return code


def saying(world: World, **changes: Any) -> Any:
    """Return a change by which the server's own token says something else."""
    return lambda members: {
        **members,
        "access_token": world.issuer.sign({**world.claims_of(members), **changes}),
    }


@attack("exchange-forged")
async def test_a_forged_token_is_no_answer() -> None:
    """Who has no key of the issuer's gives nothing, whatever stands in it."""
    world = make_world()
    forged = world.issuer.forged(aud="payments", scope="payments:take")
    assert await refused(world, lambda given: {**given, "access_token": forged}) == (
        "exchange.answer"
    )


@attack("exchange-wider")
async def test_more_than_was_asked_for_is_refused() -> None:
    """Scopes that the subject has and nobody asked for, and roles that the subject has not."""
    for more in ({"scope": "payments:take orders:write"}, {"roles": ["clerk", "admin"]}):
        world = make_world()
        assert await refused(world, saying(world, **more)) == "exchange.answer"


@attack("exchange-deputy")
async def test_a_token_for_two_serves_neither() -> None:
    """A second audience could have the first one's token confused for its own."""
    world = make_world()
    two = saying(world, aud=["payments", "bank"])
    assert await refused(world, two) == "exchange.answer"
    assert await refused(world, saying(world, aud="bank")) == "exchange.answer"


@attack("exchange-swapped")
async def test_answers_that_are_swapped_reach_nobody() -> None:
    """Two callers in flight, each of whom gets the other's token, have none of them."""
    world = make_world()
    alice, bob = await world.subject("alice"), await world.subject("bob")
    swapped = {"alice": "bob", "bob": "alice"}

    def swap(members: Members) -> Members:
        claims = world.claims_of(members)
        other = {**claims, "sub": swapped[claims["sub"]]}
        return {**members, "access_token": world.issuer.sign(other)}

    world.answering(swap)
    both = await asyncio.gather(code_of(world.idp, alice), code_of(world.idp, bob))
    assert list(both) == ["exchange.answer", "exchange.answer"]


@attack("exchange-shared")
async def test_who_shares_an_answer_shares_no_authority() -> None:
    """One that was left with less asks for what somebody with more has had, of the same token."""
    world = make_world()
    subject, request = await world.subject(), ExchangeRequest.of("payments")
    assert isinstance(await code_of(world.idp, subject, request), Exchanged)
    less = Subject(replace(subject.caller, scopes=frozenset()), subject.token)
    assert await code_of(world.idp, less, request) == "exchange.answer"


@attack("exchange-actor-cut")
async def test_a_chain_that_is_cut_or_another_is_refused() -> None:
    """A server that hides who acted, or names somebody else, gives what nobody asked for."""
    for act in (None, {"sub": "orders"}, {"sub": "stock", "act": {"sub": "gateway"}}):
        world = make_world(acts=True)
        subject = await world.subject(act={"sub": "gateway"})
        world.answering(saying(world, act=act))
        assert await code_of(world.idp, subject) == "exchange.answer"


@attack("exchange-elsewhere")
async def test_another_issuers_tokens_are_not_shown() -> None:
    """A server is shown a caller's token where that issuer's are known to be taken there."""
    world = make_world()
    subject = await world.subject()
    foreign = Subject(replace(subject.caller, issuer="https://else.test"), subject.token)
    assert await code_of(world.idp, foreign) == "exchange.refused"
    assert world.transport.received == []
    taking = make_world(takes="https://else.test")
    assert isinstance(await code_of(taking.idp, await taking.subject()), Exchanged)
    there = replace((await taking.subject()).caller, issuer="https://else.test")
    token = taking.issuer.token("alice", scope="payments:take")
    assert isinstance(await code_of(taking.idp, Subject(there, token)), Exchanged)
