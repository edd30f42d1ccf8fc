"""Held to authgent-server 0.3.4: exchanges, and what its answers get wrong.

What the server does otherwise than the standards say, each shown below:

- It reads no `actor_token`: whoever asks becomes the actor, as ``client:<client id>``.
- Of several audiences it takes the last, and says nothing.
- Where no scope is asked for, it takes all that the client is registered with, and refuses what of
  these the subject lacks.
- Its no is a status 403 with a code of its own, where RFC 6749 has 400 and `invalid_scope`; of a
  revoked subject it is a 401, which elsewhere is about the client.
- Members that it has no value for are null.
- It gives transaction tokens of draft 08, and takes none to be replaced.
- A client that sends no secret is believed, whatever it was registered with; whoever asks may
  introspect.
- A token that it exchanged outlives the revocation of the one that it was had for.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from busauth import JWKS, Bus, Caller, Guard, NotGenuine, Verifier
from busauth._tokens.keys.signing import b64url
from busauth.caller import Actor
from busauth.delegation import (
    Exchange,
    ExchangeRequest,
    Subject,
    TokenExchange,
    TransactionTokens,
    Voucher,
)
from busauth.errors import Deferred, Refused
from busauth.tokens import (
    TRANSACTION,
    ClientAuthentication,
    ClientSecretBasic,
    ClientSecretPost,
    Introspection,
)
from scripts.broker.ports import free_ports
from scripts.servers.installing import ServerError
from scripts.servers.running import authgent
from tests.parties import Party, security
from tests.support import Broker, Trail

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACTORS = 2  # at most, it was told
USER = "auto_approved_user"  # it logs in nobody else
BACK, VERIFIER = "http://127.0.0.1/back", "v" * 43
PAYMENTS = ExchangeRequest.of("payments", scopes="orders:read")


@dataclass(frozen=True)
class Client:
    """A client that the server knows."""

    client_id: str
    secret: str

    @property
    def form(self) -> dict[str, str]:
        return {"client_id": self.client_id, "client_secret": self.secret}

    @property
    def basic(self) -> ClientSecretBasic:
        return ClientSecretBasic(self.client_id, self.secret)

    @property
    def acting(self) -> str:
        """Return how the server calls it where it acts."""
        return f"client:{self.client_id}"


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        issuer: its `iss`.
        web: where users log in.
        orders: what they call first.
        wide: may ask for more than they have.
    """

    issuer: str
    web: Client
    orders: Client
    wide: Client

    def idp(
        self, client: ClientAuthentication | None = None, *, acts: bool | str = ""
    ) -> TokenExchange:
        acts = self.orders.acting if acts == "" else acts
        return TokenExchange(self.issuer, client=client or self.orders.basic, acts=acts)

    def transactions(self, client: Client | None = None) -> TransactionTokens:
        basic = (client or self.orders).basic
        return TransactionTokens(self.issuer, trust_domain="shop", client=basic)

    def verifier(self, audience: str = "orders") -> Verifier:
        return Verifier(JWKS.discover(self.issuer), issuer=self.issuer, audience=audience)

    async def login(self) -> str:
        """Return a user's token for `orders`."""
        challenge = b64url(hashlib.sha256(VERIFIER.encode()).digest()).decode()
        asked = {
            "response_type": "code",
            "client_id": self.web.client_id,
            "redirect_uri": BACK,
            "scope": "orders:read orders:write",
            "resource": "orders",
            "code_challenge": challenge,
        }
        async with httpx.AsyncClient(base_url=self.issuer) as browser:
            answer = await browser.get("/authorize", params=asked)
        (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        got = await self.post("/token", {**form, **self.web.form})
        return str(got.json()["access_token"])

    async def subject(self) -> Subject:
        """Return a user whose token came to `orders`."""
        token = await self.login()
        return Subject(await Guard(self.verifier()).authenticate(f"Bearer {token}"), token)

    async def revoke(self, token: str, client: Client) -> None:
        (await self.post("/revoke", {"token": token, **client.form})).raise_for_status()

    async def post(self, path: str, form: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.issuer) as client:
            return await client.post(path, data=form)


def _registered(issuer: str, name: str, **said: Any) -> Client:
    client = {"client_name": name, "redirect_uris": [BACK], "scope": "orders:read orders:write"}
    got = httpx.post(f"{issuer}/register", json={**client, **said}).raise_for_status().json()
    return Client(got["client_id"], got["client_secret"])


@contextmanager
def serving() -> Iterator[Server]:
    """Run one; where it cannot be had, the test fails."""
    (port,) = free_ports(1)
    try:
        with authgent(port, max_delegation_depth=str(ACTORS)) as issuer:
            web = _registered(issuer, "web", grant_types=["authorization_code"])
            grants = [EXCHANGE, "client_credentials"]
            orders = _registered(issuer, "orders", grant_types=grants)
            wide = _registered(issuer, "wide", grant_types=grants, scope="orders:delete")
            yield Server(issuer, web, orders, wide)
    except ServerError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


async def code_of(idp: TokenExchange, subject: Subject, request: ExchangeRequest) -> str:
    with pytest.raises(Refused) as refused:
        await idp.exchange(subject, request)
    return f"{refused.value.code}: {refused.value.found}"


@pytest.mark.parametrize("auth", [ClientSecretBasic, ClientSecretPost])
async def test_less_for_another_service(server: Server, auth: type[ClientSecretBasic]) -> None:
    """The user's token for `orders` becomes one for `payments`, with less, by way of `orders`."""
    client = auth(server.orders.client_id, server.orders.secret)
    given = await server.idp(client).exchange(await server.subject(), PAYMENTS)
    caller = await Guard(server.verifier("payments")).authenticate(f"Bearer {given.token}")
    assert (caller.subject, caller.scopes) == (USER, frozenset({"orders:read"}))
    assert caller.actors == (Actor(server.orders.acting),)
    assert caller == given.caller


async def test_its_answer_has_nulls(server: Server) -> None:
    """They are taken for what is not there, in an exchange and in an introspection."""
    subject = await server.subject()
    asked = {"grant_type": EXCHANGE, "subject_token": subject.token, "audience": "payments"}
    answer = (await server.post("/token", {**asked, **server.orders.form})).json()
    assert answer["refresh_token"] is None
    about = (await server.post("/introspect", {"token": answer["access_token"]})).json()
    assert about["username"] is None
    caller = await Guard(asking(server, "payments")).authenticate(
        f"Bearer {answer['access_token']}"
    )
    assert caller.subject == USER


async def test_more_than_the_subject_has_is_refused(server: Server) -> None:
    """By the server, with a status and a code of its own; also where nobody said how much."""
    subject = await server.subject()
    wide = ExchangeRequest.of("payments", scopes="orders:delete")
    idp = server.idp(server.wide.basic, acts=False)
    assert await code_of(idp, subject, wide) == "exchange.refused: scope_escalation"
    unsaid = ExchangeRequest.of("payments")
    assert await code_of(idp, subject, unsaid) == "exchange.refused: scope_escalation"
    assert await code_of(server.idp(), subject, wide) == "exchange.refused: insufficient_scope"


async def test_an_actor_that_it_does_not_name(server: Server) -> None:
    """Who acts has to be told as the server tells it: another name is not in its answer."""
    subject = await server.subject()
    for acts in (True, "agent-x"):
        found = await code_of(server.idp(acts=acts), subject, PAYMENTS)
        assert found == f"exchange.answer: act of {server.orders.acting}"


async def test_of_two_audiences_it_serves_one(server: Server) -> None:
    """A token for fewer than was asked for is refused."""
    both = ExchangeRequest.of(["payments", "stock"], scopes="orders:read")
    assert await code_of(server.idp(), await server.subject(), both) == (
        "exchange.answer: a token for stock"
    )


async def test_a_revoked_token_buys_nothing(server: Server) -> None:
    """Nor is it confirmed; what was had for it before is, and has to be revoked by itself."""
    subject = await server.subject()
    given = await server.idp().exchange(subject, PAYMENTS)
    await server.revoke(subject.token, server.orders)  # not its own: nothing happens
    confirmed = Guard(asking(server, "orders"))
    await confirmed.authenticate(f"Bearer {subject.token}")
    await server.revoke(subject.token, server.web)
    with pytest.raises(Refused, match="inactive"):
        await Guard(asking(server, "orders")).authenticate(f"Bearer {subject.token}")
    assert await code_of(server.idp(), subject, PAYMENTS) == "exchange.refused: token_revoked"
    await Guard(asking(server, "payments")).authenticate(f"Bearer {given.token}")
    await server.revoke(given.token, server.orders)
    with pytest.raises(Refused, match="inactive"):
        await Guard(asking(server, "payments")).authenticate(f"Bearer {given.token}")


def asking(server: Server, audience: str) -> Introspection:
    return Introspection(
        f"{server.issuer}/introspect",
        issuer=server.issuer,
        audience=audience,
        client=server.orders.basic,
    )


async def test_its_chain_is_limited(server: Server) -> None:
    """One actor more than it allows is refused, with a code of its own."""
    subject, idp = await server.subject(), server.idp()
    for _ in range(ACTORS):
        given = await idp.exchange(subject, PAYMENTS)
        subject = Subject(given.caller, given.token)
    found = await code_of(idp, subject, PAYMENTS)
    assert found == "exchange.refused: delegation_depth_exceeded"


async def test_a_transaction_token(server: Server) -> None:
    """What the user came with becomes a token for one transaction, and that is no access token."""
    edge = Guard(server.verifier())
    caller = await edge.authenticate(f"Bearer {await server.login()}")
    given = await server.transactions().token_for(
        caller, scopes="orders:read", details={"cart": 7}, context={"channel": "app"}
    )
    trusted = Verifier(
        JWKS.discover(server.issuer), issuer=server.issuer, audience="shop", profile=TRANSACTION
    )
    inside = await Guard(trusted).authenticate(given.token)
    assert (inside.subject, inside.scopes) == (USER, frozenset({"orders:read"}))
    transaction = inside.transaction
    assert transaction is not None
    assert transaction.req_wl == (server.orders.acting,)
    assert transaction.tctx == {"cart": 7}
    assert transaction.rctx["channel"] == "app"
    with pytest.raises(NotGenuine, match="type"):
        await Guard(server.verifier("shop")).authenticate(f"Bearer {given.token}")
    with pytest.raises(Refused) as no_replacement:
        await server.transactions().replace(inside)
    assert (no_replacement.value.code, no_replacement.value.found) == (
        "exchange.refused", "invalid_request"
    )  # fmt: skip


async def test_a_transaction_for_more_than_the_user_may(server: Server) -> None:
    """The server says no."""
    caller = await Guard(server.verifier()).authenticate(f"Bearer {await server.login()}")
    with pytest.raises(Refused) as refused:
        await server.transactions(server.wide).token_for(caller, scopes="orders:delete")
    assert (refused.value.code, refused.value.found) == ("exchange.refused", "access_denied")


async def test_who_cannot_prove_itself_gets_no_answer(server: Server) -> None:
    """That is no message's fault."""
    idp = server.idp(ClientSecretBasic(server.orders.client_id, "of somebody else"), acts=False)
    with pytest.raises(Deferred, match="invalid_client"):
        await idp.exchange(await server.subject(), PAYMENTS)


async def test_who_sends_no_secret_is_believed(server: Server) -> None:
    """Whoever knows a client's name acts as it: only the server's network keeps others away."""
    subject = await server.subject()
    asked = {"grant_type": EXCHANGE, "subject_token": subject.token, "audience": "payments"}
    answer = await server.post("/token", {**asked, "client_id": server.orders.client_id})
    assert answer.status_code == 200


async def test_a_handler_calls_on(server: Server, broker: Broker, trail: Trail) -> None:
    """A message's user is known, and what its handler calls is for one service, with less."""
    queue, idp = broker.name("orders"), server.idp()
    guard = Guard(server.verifier(), auditor=trail)
    bus, seen = Bus(broker.url, guard=guard, service="orders"), list[Caller]()

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        given = await idp.token_for(caller, "payments", scopes="orders:read")
        payments = Guard(server.verifier("payments"))
        seen.append(await payments.authenticate(f"Bearer {given.token}"))

    async with bus:
        await broker.publish(queue, token=await server.login())
        await trail.until("handled")
    (caller,) = seen
    assert (caller.subject, caller.audience) == (USER, ("payments",))
    assert caller.scopes == {"orders:read"}


async def test_a_voucher_is_an_access_token_for_nobody(
    server: Server, broker: Broker, trail: Trail
) -> None:
    """By its audience alone it is no access token here, and buys a fresh one for its consumer."""
    web, idp = Party("web"), server.idp()
    later = Exchange(idp, audience="orders", scopes="orders:read", vouchers="orders-later")
    guard = Guard(
        server.verifier(), auditor=trail, on_expired=later, messages=security(web.publisher())
    )
    queue, seen = broker.name("orders"), list[Caller]()
    bus = Bus(broker.url, guard=guard, service="orders")
    signing = Guard(server.verifier(), messages=security(signer=web.signer))
    voucher = Voucher(idp, audience="orders-later", scopes="orders:read", typed=False)
    edge = Bus(broker.url, guard=signing, service="web", onward={queue: voucher})

    @bus.consumer(queue, scopes={"orders:read"})
    async def handle(caller: Caller) -> None:
        seen.append(caller)

    async with bus, edge:
        await edge.publish(queue, b"later", token=await server.login())
        await trail.until("handled")
    (caller,) = seen
    assert caller.first is not None
    assert (caller.subject, caller.audience) == (USER, ("orders",))
    assert caller.first.audience == ("orders-later",)
    assert caller.scopes == {"orders:read"}
