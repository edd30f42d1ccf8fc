"""Held to oidc-provider 9: discovery, both kinds of tokens, signed answers, other keys."""

from collections.abc import Iterator

import httpx
import pytest

from busauth import JWKS, Bus, Caller, ConfigurationError, Guard, NotGenuine, Verifier
from busauth.errors import Deferred, Refused
from busauth.testing import ManualClock
from busauth.tokens import (
    RFC9068,
    ClientAuthentication,
    ClientSecretBasic,
    ClientSecretPost,
    Introspection,
    JWKSOptions,
    MutualTls,
    PrivateKeyJwt,
)
from tests.servers.oidc import (
    ELSEWHERE,
    KEY,
    LASTS,
    OPAQUE,
    ORDERS,
    SECRET,
    SHOWN,
    SIGNED,
    WEB,
    Provider,
    serving,
)
from tests.support import Broker, Trail

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
BASIC = ClientSecretBasic(ORDERS, SECRET)
BY_KEY = PrivateKeyJwt(SIGNED, KEY, algorithm="ES256")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with serving(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture
def guard(provider: Provider, now: ManualClock, trail: Trail) -> Guard:
    return Guard(issuer=provider.issuer, audience="shop", clock=now, auditor=trail)


def asking(
    provider: Provider,
    client: ClientAuthentication = BASIC,
    *,
    keys: JWKS | None = None,
    at: str | None = None,
) -> Introspection:
    """Return who asks it about tokens."""
    return Introspection(
        f"{at or provider.issuer}/token/introspection",
        issuer=provider.issuer,
        audience="shop",
        client=client,
        keys=keys,
    )


async def test_a_users_token_is_its_caller(provider: Provider, guard: Guard) -> None:
    """Keys are found by discovery; subject, client and scopes are where RFC 9068 has them."""
    assert await guard.check() == {}
    token, _ = await provider.login("ann")
    caller = await guard.authenticate(f"Bearer {token}")
    assert (caller.subject, caller.client) == ("ann", WEB)
    assert caller.scopes == {"orders:write"}
    strict = Verifier(
        JWKS.discover(provider.issuer), issuer=provider.issuer, audience="shop", profile=RFC9068
    )
    assert await Guard(strict).authenticate(f"Bearer {token}") == caller


async def test_what_is_no_token_of_now_for_this_service(
    provider: Provider, guard: Guard, now: ManualClock
) -> None:
    """Forged, for somebody else, late: each by its own code."""
    token, _ = await provider.login("ann")
    head, payload, signature = token.split(".")
    forged = ".".join((head, payload, signature[:9] + signature[9::-1] + signature[19:]))
    cases = {
        "token.signature": forged,
        "token.audience": await provider.own(ELSEWHERE),
    }
    found = {code: await code_of(guard, each) for code, each in cases.items()}
    await guard.authenticate(f"Bearer {token}")
    await now.advance(LASTS + 60)
    assert {**found, "token.expired": await code_of(guard, token)} == {
        code: code for code in (*cases, "token.expired")
    }


async def test_an_id_token_is_no_access_token(provider: Provider, guard: Guard) -> None:
    """Not for a service's audience, and not for a client's where the profile is RFC 9068's.

    From the code flow it has no `at_hash`: by its claims a lenient profile cannot tell what it is.
    """
    _, login = await provider.login("ann")
    assert await code_of(guard, login) == "token.audience"
    verifier = Verifier(
        JWKS.discover(provider.issuer), issuer=provider.issuer, audience=WEB, profile=RFC9068
    )
    assert await code_of(Guard(verifier), login) == "token.type"


async def code_of(guard: Guard, token: str) -> str:
    with pytest.raises(Refused) as refused:
        await guard.authenticate(f"Bearer {token}")
    return refused.value.code


@pytest.mark.parametrize("client", [BASIC, ClientSecretPost(WEB, SECRET), BY_KEY], ids=repr)
async def test_an_opaque_token_is_asked_about(
    provider: Provider, client: ClientAuthentication
) -> None:
    """However the client proves who it is, the answer makes a caller; of a revoked one, none."""
    keys = JWKS.discover(provider.issuer) if client is BY_KEY else None
    token, _ = await provider.login("ann", OPAQUE)
    caller = await Guard(asking(provider, client, keys=keys)).authenticate(f"Bearer {token}")
    assert (caller.subject, caller.client) == ("ann", WEB)
    assert caller.scopes == {"orders:write"}
    await provider.revoke(token)
    assert await code_of(Guard(asking(provider, client, keys=keys)), token) == "token.inactive"


async def test_a_certificate_proves_a_client(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that the server knows (RFC 8705, section 2.2); without it there is no answer."""
    monkeypatch.setenv("SSL_CERT_FILE", str(provider.certificate))
    client = MutualTls(SHOWN, certificate=provider.certificate, key=provider.key)
    token, _ = await provider.login("ann", OPAQUE)
    asked = Guard(asking(provider, client, at=provider.over_tls))
    assert (await asked.authenticate(f"Bearer {token}")).subject == "ann"
    with pytest.raises(Deferred, match="401"):
        await Guard(asking(provider, client)).authenticate(f"Bearer {token}")


async def test_who_cannot_prove_itself_gets_no_answer(provider: Provider) -> None:
    """A wrong secret is nobody's verdict on the token."""
    wrong = asking(provider, ClientSecretBasic(ORDERS, "of somebody else"))
    with pytest.raises(Deferred):
        await Guard(wrong).authenticate(f"Bearer {await provider.own(OPAQUE)}")


async def test_a_clients_own_token_has_no_subject(provider: Provider) -> None:
    """The answer about it names a client and nobody else."""
    token = await provider.own(OPAQUE)
    caller = await Guard(asking(provider)).authenticate(f"Bearer {token}")
    assert (caller.subject, caller.client) == ("", WEB)


@pytest.mark.prints_tokens("it is what is asked for")
async def test_a_signed_answer_is_no_access_token(provider: Provider, guard: Guard) -> None:
    """Same issuer, same key, and another kind."""
    token = await provider.own(OPAQUE)
    credentials = BY_KEY.credentials(provider.issuer, guard.clock.now())
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{provider.issuer}/token/introspection",
            data={"token": token, **credentials.form},
            headers={"accept": "application/token-introspection+jwt"},
        )
    with pytest.raises(NotGenuine, match="type"):
        await guard.authenticate(f"Bearer {answer.text}")


async def test_it_answers_about_no_jwt(provider: Provider) -> None:
    """So what demands a live answer does not start, and is told why."""
    verifier = Verifier(JWKS.discover(provider.issuer), issuer=provider.issuer, audience="shop")
    both = Guard(verifier, asking(provider))
    bus = Bus("amqp://127.0.0.1:9/", guard=both, service="orders")

    @bus.consumer("orders", introspect=True)
    async def handle(caller: Caller) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="introspect=True cannot work there"):
        await bus.run()


async def test_messages_wait_through_a_change_of_keys(
    provider: Provider, broker: Broker, trail: Trail
) -> None:
    """Each kind of token is handled; a key that is gone takes its messages along, and no others."""
    queue = broker.name("orders")
    verifier = Verifier(
        JWKS.discover(provider.issuer, options=JWKSOptions(min_interval=0)),
        issuer=provider.issuer,
        audience="shop",
    )
    guard = Guard(verifier, asking(provider), auditor=trail)
    bus, seen = Bus(broker.url, guard=guard, service="orders"), set[str]()

    @bus.consumer(queue)
    async def handle(caller: Caller) -> None:
        seen.add(caller.subject)

    await bus.declare()
    gone, _ = await provider.login("gone")
    await provider.new_key(retire=True)
    before, _ = await provider.login("before")
    await provider.new_key()
    after, _ = await provider.login("after")
    opaque, _ = await provider.login("opaque", OPAQUE)
    for token in (gone, before, after, opaque):
        await broker.publish(queue, token=token)
    async with bus:
        await trail.until("handled", count=3)
        (refused,) = await trail.until("refused")
    assert (seen, refused.code) == ({"before", "after", "opaque"}, "token.key_unknown")
    await broker.settles_at(f"{queue}.rejected", 1)
