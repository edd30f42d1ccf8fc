"""What holds for every transaction token, and for every answer of its service."""

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busauth import Verifiers
from busauth._amqp.headers import TRANSACTIONS, token_in
from busauth._redaction import redact
from busauth.caller import Caller
from busauth.delegation import Exchanged
from busauth.errors import Deferred, NotGenuine, Refused
from busauth.tokens import TRANSACTION
from tests.properties.strategies import few_of, json_values, run
from tests.unit.support import AUDIENCE, proven_by, token, verifier
from tests.unit.test_transaction_tokens import DOMAIN, Domain, domain
from tests.unit.test_transactions import transaction_token

TRUSTING = Verifiers(verifier(profile=TRANSACTION), cache_size=0)
ACCESS = Verifiers(verifier(), cache_size=0)
CODE = re.compile(r"(header|token)\.[a-z_]+")
CLAIMS = ("txn", "req_wl", "scope", "tctx", "rctx", "sub", "aud", "iat", "iss", "act", "cnf")
odd = few_of({name: json_values | st.just(...) for name in CLAIMS}, most=3)


def said_of(raw: str) -> Caller | None:
    try:
        return run(proven_by(TRUSTING, raw)).caller
    except NotGenuine as refused:
        code = refused.code
    assert CODE.fullmatch(code)
    return None


@given(claims=odd)
def test_what_is_taken_is_what_the_draft_says(claims: dict[str, Any]) -> None:
    """Whatever a service signs: what is taken has all that it must have, in its shape."""
    caller = said_of(transaction_token(**claims))
    if caller is None:
        return
    transaction = caller.transaction
    assert transaction is not None
    assert caller.audience == (AUDIENCE,)
    assert caller.subject
    for shown in (transaction.txn, *transaction.req_wl):
        assert 0 < len(shown) <= 255
        assert shown.isprintable()
        assert redact(shown) == shown
    assert caller.scopes == set(transaction.scope.split(" ")) - {""}
    assert redact(repr(caller.claims)) == repr(caller.claims)


@given(claims=odd)
def test_no_token_is_of_both_kinds(claims: dict[str, Any]) -> None:
    """One that either kind of verifier takes, the other refuses."""
    with pytest.raises(NotGenuine):
        run(proven_by(ACCESS, transaction_token(**claims)))
    assert said_of(token(**{"txn": "t", "req_wl": "w", **claims})) is None


@given(before=st.text(max_size=5), after=st.text(max_size=5))
def test_one_bare_token_is_read(before: str, after: str) -> None:
    """What is read is the header as it stands, or nothing."""
    value = f"{before}e30.e30.e30{after}"
    try:
        assert token_in({"txn-token": value}, TRANSACTIONS) == value
    except NotGenuine:
        assert re.search(r"[\s,]", value)


members = few_of(
    {
        "token_type": json_values,
        "issued_token_type": json_values,
        "expires_in": json_values,
        "refresh_token": json_values,
        "access_token": json_values,
    },
    most=3,
)
told = few_of(
    {
        "sub": json_values,
        "aud": json_values | st.just(DOMAIN),
        "scope": json_values | st.just("orders:read"),
        "txn": json_values,
        "exp": json_values,
        "iat": json_values,
        "req_wl": json_values,
        "tctx": json_values,
    },
    most=2,
)


async def asked(world: Domain) -> Exchanged:
    return await world.tokens.token_for(await world.caller(), scopes="orders:write")


@given(changed=members, claims=told)
def test_an_arbitrary_answer_widens_nothing(changed: Any, claims: Any) -> None:
    """It is held to what was asked for, refused, or no answer: nothing else is raised."""
    world = domain()
    usual = {"scope": "orders:write", "aud": DOMAIN}
    world.answering(
        lambda said: {
            **said,
            "access_token": world.issuer.transaction_token(**{**usual, **claims}),
            **changed,
        }
    )
    code = ""
    try:
        caller = asyncio.run(asked(world)).caller
    except Refused as refused:
        code = refused.code
    except Deferred:
        return
    if code:
        assert code == "exchange.answer"
        return
    assert (caller.subject, caller.audience) == ("alice", (DOMAIN,))
    assert caller.scopes <= {"orders:write"}
    assert 0 < caller.expires_at - world.clock.now() <= 300
