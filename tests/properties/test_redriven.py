"""A letter that is sent again unopened is judged as its first token would be, by today's rules."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import Mock

from aio_pika import IncomingMessage
from aiormq.abc import DeliveredMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth import Caller, DeadLetter, Grace, Guard, StaticKeys, Verifier
from busauth._amqp.headers import TOKEN
from busauth._amqp.judging.verdicts import Accepted, Outcome
from busauth._amqp.resending.authorities import Errand, KeptToken, renewing
from busauth.expiry import Discard, Policies, Restrict
from busauth.letters import Letters
from busauth.messages import MessageSecurity, Received
from busauth.testing import Issuer, ManualClock
from tests.parties import SEAL
from tests.unit.encrypting import private_jwk

QUEUE = "orders"
LETTERS = Letters(keep_token=private_jwk("p256"))
FRAME = 131_072


@dataclass(frozen=True)
class Rules:
    """What a consumer goes by on one day."""

    audience: str
    scope: str
    on_expired: Policies
    revokes: bool = False

    def revoked(self, caller: Caller, now: float) -> bool:
        """Return whether it knows every token as revoked."""
        return self.revokes

    def guard(self, issuer: Issuer, clock: ManualClock) -> Guard:
        keys = StaticKeys(issuer.jwks())
        return Guard(
            Verifier(keys, issuer=issuer.url, audience=self.audience, leeway=0),
            on_expired=self.on_expired,
            revocations=self,
            messages=MessageSecurity(seal=SEAL),
            letters=LETTERS,
            clock=clock,
            auditor=lambda _event: None,
        )

    async def judged(self, guard: Guard, message: Received, *, fails: bool = False) -> Outcome:
        judge = guard.judge(queue=QUEUE, scopes={self.scope})
        async with judge(message) as outcome:
            if fails and isinstance(outcome, Accepted):
                return await outcome.failed(LookupError())
        return outcome


DAYS = st.builds(
    Rules,
    audience=st.sampled_from(["shop", "bank"]),
    scope=st.sampled_from(["orders:write", "orders:refund"]),
    on_expired=st.sampled_from(
        [
            DeadLetter(),
            Discard(),
            Grace(minutes=30),
            Restrict(scopes={"orders:write", "orders:refund"}),
        ]
    ),
    revokes=st.booleans(),
)


def received(headers: dict[str, Any], body: bytes, message_id: str) -> Received:
    return Received(
        body=body,
        exchange="",
        routing_key=QUEUE,
        redelivered=False,
        headers=headers,
        message_id=message_id,
    )


async def redriven(guard: Guard, outcome: Outcome) -> Received | None:
    """Return a letter as a redrive forwards it; None for what became none."""
    copy = outcome.copy
    if copy is None or TOKEN not in copy.headers:
        return None
    said = Basic.Properties(headers=dict(copy.headers), message_id=copy.properties["message_id"])
    letter = IncomingMessage(
        DeliveredMessage(
            delivery=Basic.Deliver(consumer_tag="c", delivery_tag=1, routing_key=QUEUE),
            header=ContentHeader(properties=said),
            body=copy.body,
            channel=Mock(),
        )
    )
    authorized = await renewing(KeptToken(), Errand(guard=guard, queue=QUEUE, by="ops"))
    again = await authorized.renewed(letter, FRAME)
    sent = again.properties
    return received(dict(sent.headers or {}), again.body, str(sent.message_id))


def told(outcome: Outcome) -> tuple[object, ...]:
    """Return all that a consumer's decision comes to."""
    if not isinstance(outcome, Accepted):
        return type(outcome), getattr(outcome, "code", None)
    caller = outcome.caller
    return Accepted, caller.subject, caller.scopes, caller.audience, caller.late, caller.restricted


@settings(max_examples=50)  # each with keys and guards of its own
@given(first=DAYS, today=DAYS, age=st.integers(0, 7200), fails=st.booleans(), scoped=st.booleans())
def test_a_redriven_letter_is_judged_as_its_first_token_would_be(
    first: Rules, today: Rules, age: int, *, fails: bool, scoped: bool
) -> None:
    """Whatever it was refused for, coming back gives it nothing, and takes nothing away."""

    async def compared() -> None:
        clock = ManualClock()
        issuer = Issuer(audience="shop", clock=clock)
        token = issuer.token("ann", scope="orders:write orders:refund" if scoped else "orders:read")
        message = received({"authorization": f"Bearer {token}", "tenant": "a"}, b"{}", "m-1")
        then = first.guard(issuer, clock)
        letter = await first.judged(then, message, fails=fails)
        await clock.advance(age)
        now = today.guard(issuer, clock)
        operators = replace(today, revokes=False).guard(issuer, clock)  # who knows of none
        again = await redriven(operators, letter)
        if again is None:
            return
        expected = told(await today.judged(today.guard(issuer, clock), message))
        assert told(await today.judged(now, again)) == expected

    asyncio.run(compared())
