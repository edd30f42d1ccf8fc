"""What can be tried with transaction tokens, and with what is none."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from busauth import Caller, Grace
from busauth._amqp.headers import TXN_TOKEN
from busauth.delegation import TransactionTokens
from busauth.errors import Refused
from busauth.expiry import Policies
from busauth.messages import MessageSecurity
from busauth.testing import IssuerTransport
from busauth.testing.issuer import Request, Response
from busauth.testing.issuer.minting import TXN_TYPES
from busauth.tokens import ClientSecretBasic, Fetcher
from tests.parties import Scene
from tests.security.stage import Message, Stage, attack
from tests.transacting import EDGE, ORDERS, bus_of, proving

Replace = Callable[[Caller], Awaitable[object]]


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


def service_of(scene: Scene) -> tuple[TransactionTokens, IssuerTransport]:
    """Return a client of the trust domain's service, and what it is asked."""
    mallory, transport = scene.issuer.register("mallory"), scene.issuer.transport()
    tokens = TransactionTokens(
        scene.issuer.url,
        trust_domain=scene.issuer.audience,
        client=ClientSecretBasic("mallory", mallory.secret),
        fetcher=Fetcher(transport=transport),
        clock=scene.clock,
    )
    return tokens, transport


GIVEN: dict[str, Any] = {
    "scope": "orders:read",
    "txn": "t-1",
    "tctx": {"cart": 7},
    "act": {"sub": "agent-x"},
}
WIDER: list[dict[str, Any]] = [
    {"scope": "orders:read orders:write"},
    {"txn": "t-2"},
    {"subject": "root"},
    {"tctx": {"cart": 8}},
    {"act": None},
]


async def replacing(scene: Scene, replace: Replace, *, on_expired: Policies | None = None) -> str:
    """Return what comes of a replacement that a handler asks for: a refusal's code."""
    queue, codes = scene.broker.name("orders"), list[str]()
    bus = bus_of(scene, MessageSecurity(), on_expired=on_expired)

    @bus.consumer(queue)
    async def place(caller: Caller) -> None:
        try:
            await replace(caller)
        except Refused as refused:
            codes.append(refused.code)

    await bus.declare()
    async with bus_of(scene, MessageSecurity()) as edge:
        raw = scene.issuer.transaction_token("ann", **GIVEN)
        await edge.publish(queue, b"{}", token=raw)
    await scene.clock.advance(600 if on_expired else 0)
    async with bus:
        await scene.trail.until("handled")
    return codes[0] if codes else "given"


@attack("transaction-replaced-late")
async def test_a_replacement_of_an_expired_one(scene: Scene) -> None:
    """A policy may accept a late transaction; a fresh one is never had for it. Nobody is asked."""
    tokens, transport = service_of(scene)
    code = await replacing(scene, tokens.replace, on_expired=Grace(minutes=10))
    assert (code, transport.requests.count("/token")) == ("token.expired", 0)
    # whoever asks the service past this library is told the same
    late = scene.issuer.transaction_token("ann", exp=scene.clock.now() - 1)
    assert scene.issuer.standing(late, TXN_TYPES) is None


@attack("transaction-replaced-wider")
@pytest.mark.parametrize("wider", WIDER, ids=str)
async def test_a_wider_replacement(scene: Scene, wider: dict[str, Any]) -> None:
    """A service that gives more than there was, or another transaction, is not believed."""
    tokens, transport = service_of(scene)
    told = {"subject": "ann", **GIVEN, **wider}

    def rewrite(request: Request, response: Response) -> Response:
        if request.path != "/token":
            return response
        said = json.loads(response.body)
        said["access_token"] = scene.issuer.transaction_token(**told)
        return Response(response.status, response.headers, json.dumps(said).encode())

    transport.rewrite = rewrite
    assert await replacing(scene, tokens.replace) == "exchange.answer"
