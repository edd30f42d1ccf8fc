"""What can be tried with transaction tokens, and with what is none."""

from typing import Any

import pytest

from busauth import Caller
from busauth._amqp.headers import TXN_TOKEN
from busauth.messages import MessageSecurity
from tests.parties import Scene
from tests.security.stage import Message, Stage, attack
from tests.transacting import EDGE, ORDERS, bus_of, proving


@attack("transaction-as-access")
async def test_a_transaction_token_as_an_access_token(scene: Scene) -> None:
    """Signed by the same issuer for the same audience, it opens no consumer of access tokens."""
    stage = Stage.set(scene)
    message, untampered = await stage.pair()
    raw = scene.issuer.transaction_token("ann", scope="orders:write")
    forged = message.having(authorization=f"Bearer {raw}")
    await stage.refuses(forged, "token.type", untampered=untampered)


@attack("transaction-from-access")
@pytest.mark.parametrize("spelled", ["{}", "Bearer {}"])
async def test_an_access_token_as_a_transaction_token(scene: Scene, spelled: str) -> None:
    """With all claims of one, too, an access token is none: it would be a bearer token inside."""
    queue, bus = scene.broker.name("orders"), bus_of(scene, MessageSecurity())

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        raise AssertionError(caller.subject)

    claims: dict[str, Any] = {"txn": "t-1", "req_wl": "edge", "scope": "orders:write"}
    async with bus:
        token = spelled.format(scene.issuer.token("ann", **claims))
        await scene.broker.publish(queue, b"", headers={TXN_TOKEN: token})
        refused = await scene.trail.until("refused")
    assert refused[0].code == ("header.scheme" if " " in spelled else "token.type")


@attack("transaction-both")
async def test_both_headers_on_one_message(scene: Scene) -> None:
    """A second token in the other header makes nobody more than they are, and goes no further."""
    queue, seen = scene.broker.name("orders"), list[Caller]()
    bus = bus_of(scene, proving(ORDERS))

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        seen.append(caller)
        raise LookupError

    raw = scene.issuer.transaction_token("ann", scope="orders:read")
    root = scene.issuer.token("root", scope="orders:write")
    await bus.declare()
    async with bus_of(scene, proving(EDGE)) as edge:
        await edge.publish(queue, b"{}", token=raw)
    sent = Message.of(await scene.broker.one(queue)).having(authorization=f"Bearer {root}")
    await scene.broker.publish(queue, sent.body, headers=dict(sent.headers), **sent.properties)
    async with bus:
        await scene.trail.until("refused")
    letter = await scene.broker.one(f"{queue}.dead")
    assert {(caller.subject, caller.scopes) for caller in seen} == {
        ("ann", frozenset({"orders:read"}))
    }
    assert root not in str(letter.headers)
    assert raw not in str(letter.headers)
