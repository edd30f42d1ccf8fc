"""Misconfigurations and wrong calls, each with its sentence: found, expected, what to do."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from busauth import (
    ANONYMOUS,
    JWKS,
    Binding,
    Bus,
    BusOptions,
    Caller,
    CallerError,
    ConfigurationError,
    DeadLetter,
    Grace,
    Guard,
    GuardOptions,
    NotGenuine,
    Park,
    Restrict,
    StaticKeys,
    ValidWhenPublished,
    Verifier,
    Verifiers,
    load_settings,
)
from busauth._amqp.headers import BEARER
from busauth._amqp.publishing.outbox import Outbox
from busauth.caller import Lease, acting
from busauth.expiry import Policies
from busauth.messages import (
    InProcessReplay,
    MessageSecurity,
    Proofs,
    ProofSigner,
    Proven,
    TrustedPublisher,
)
from busauth.testing import ManualClock
from busauth.tokens import (
    ClientSecretBasic,
    Decryption,
    Introspection,
    RetiredKeys,
    TokenEncryption,
    shared_encryption_key,
    shared_secret,
)
from tests.unit.support import Signer, forget_settings, private_key, verifier

SEAL = {"k1": bytes(32)}
BASE = 'issuer = "https://idp.example"\naudience = "shop"\n'


class Order(BaseModel):
    """A typed body."""

    id: int


async def handler(order: Order, caller: Caller) -> None:
    """Do nothing."""


def yielding(order: Order) -> Iterator[None]:
    yield


async def untyped(order) -> None:  # type: ignore[no-untyped-def]
    """Do nothing."""


async def proving(order: Order, proven: Proven) -> None:
    """Do nothing."""


async def later(*_: Any) -> bool:
    return True


def wrongly(called: Any, *given: Any, **said: Any) -> Any:
    """Call something with what no type checker lets through."""
    return called(*given, **said)


def guard(**said: Any) -> Guard:
    return Guard(verifier(), **said)


def consumer(handler: Any = handler, queue: str = "orders", **said: Any) -> object:
    return guard()(queue=queue, **said)(handler)


def registered(queue: Any = "orders", **said: Any) -> object:
    bus = Bus("amqp://h/", guard=guard(), service="shop")
    return bus.consumer(queue, **said)(handler)


def settings(text: str) -> Callable[[Path], object]:
    def make(folder: Path) -> object:
        file = folder / "busauth.toml"
        file.write_text(text)
        return load_settings(file).make_guard()

    return make


def said(name: str, value: str) -> Callable[[Path, pytest.MonkeyPatch], object]:
    def make(_: Path, environment: pytest.MonkeyPatch) -> object:
        environment.setenv(name, value)
        return load_settings()

    return make


def publishers() -> Proofs:
    return Proofs([TrustedPublisher("web", StaticKeys(Signer("ES256").jwk()))], max_age=60)


MISCONFIGURED: list[tuple[Callable[..., object], str, str, str]] = [
    # how it is made; what was found; what was expected; what to do
    (Guard, "Guard", "expected Guard(issuer=..., audience=...)", "who issues the tokens"),
    (
        lambda: wrongly(Guard, "https://idp"),
        "https://idp",
        "expected Guard(issuer=",
        "Guard(Verifier(...)",
    ),
    (lambda: Guard(verifier(), issuer="https://b"), "verifiers, or issuer", "not both", "give"),
    (lambda: guard(options=5), "got an int", "expected GuardOptions", "Guard(options=...)"),
    (lambda: guard(auditor=later), "auditor=later", "expected a plain function", "not async"),
    (
        lambda: Verifier(StaticKeys(Signer().jwk()), issuer="", audience="a"),
        "issuer=''",
        "expected names",
        "none of them empty",
    ),
    (
        lambda: Verifier(JWKS("https://i/k"), issuer="https://i", audience="a", leeway=500),
        "leeway=...): got 500",
        "expected seconds from 0 to 300",
        "for more, Grace",
    ),
    (
        lambda: Verifier(JWKS("https://i/k"), issuer="https://i", audience="a", profile="ping"),
        "'ping'",
        "expected a Profile",
        "one of lenient, at+jwt",
    ),
    (lambda: JWKS("http://idp/keys"), "http://idp/keys", "expected https", "unsafe_http"),
    (lambda: shared_secret(b"short"), "5 bytes", "expected 32 or more", "secret"),
    (
        lambda: wrongly(MessageSecurity, seal=b"short"),
        "got a bytes",
        "expected a mapping",
        "str to bytes",
    ),
    (
        lambda: guard(messages=MessageSecurity(seal={"k": b"short"})),
        "'k' is one of 5 bytes",
        "expected 32 or more",
        "random",
    ),
    (
        lambda: MessageSecurity(replay=InProcessReplay(keep_for=60)),
        "nothing tells one message",
        "expected proofs=Proofs",
        "too",
    ),
    (
        lambda: guard(options=GuardOptions(broker_stamps=True)),
        "broker_stamps",
        "expected seal=",
        "only a seal keeps",
    ),
    (lambda: guard(on_expired=[]), "on_expired is empty", "expected a policy", "DeadLetter()"),
    (lambda: guard(on_expired="grace"), "on_expired='grace'", "expected a policy", "Grace(minute"),
    (lambda: guard(on_expired=Park()), "Park", "expected proofs=", "who published"),
    (
        lambda: guard(on_expired=Grace(hours=48)),
        "Grace of 172800 s",
        "lasts longer than",
        "GuardOptions(hard_max_age=...)",
    ),
    (
        lambda: guard(on_expired=ValidWhenPublished(hours=1, sources=["web"])),
        "sources=['web']",
        "expected whose word",
        "proofs=Proofs",
    ),
    (lambda: GuardOptions(concurrency=0), "concurrency=0", "greater than or equal to 1", "Guard"),
    (lambda: wrongly(BusOptions, prefech=5), "prefech=5", "no such key", "did you mean prefetch?"),
    (lambda: Decryption([]), "got none", "needs a list of JWKs", "or a set"),
    (lambda: TokenEncryption({}), "got none", "expected a JWK for each", "{'orders': jwk}"),
    (
        lambda: Proofs([], max_age=60),
        "publishers is empty",
        "expected at least one",
        "TrustedPublisher",
    ),
    (
        lambda: ProofSigner("web", private_key("RS256"), algorithm="RS256"),
        "RS256",
        "expected",
        "ES256",
    ),
    (lambda: RetiredKeys(keep_for=0, sources=["web"]), "got 0", "expected seconds", "above"),
    (lambda: ClientSecretBasic("shop", ""), "shop", "expected", "secret"),
    (
        lambda: Introspection(
            "https://i/x", issuer="", audience="a", client=ClientSecretBasic("a", "b")
        ),
        "issuer=''",
        "expected names",
        "none of them empty",
    ),
    (
        lambda: Bus("http://h/", guard=guard(), service="s"),
        "names no broker",
        "expected",
        "amqp://",
    ),
    (lambda: Binding(""), "exchange=''", "expected a name", "such as"),
    (
        lambda: Guard(issuer="https://i", audience="a,b"),
        "audience='a,b' has a comma",
        "several as a list, ['a', 'b']",
        "stands in a list, too: ['a,b']",
    ),
    (
        lambda: Restrict(scopes=["a b"]),
        "Restrict: scopes=",
        "expected scopes without blanks",
        "{'a', 'b'}",
    ),
    (Grace, "Grace of nothing", "expected hours, minutes or seconds above 0", "minutes = 10"),
    (lambda: Grace(minutes=-1), "Grace of minutes=-1", "expected hours, minutes or", "above 0"),
    (
        lambda: wrongly(Grace, minute=10),
        "minute=10: there is no such key",
        "did you mean",
        "minutes?",
    ),
    (
        lambda: ValidWhenPublished(hours=1),
        "ValidWhenPublished: sources=",
        "should have at least 1 item",
        "",
    ),
    (
        lambda: ValidWhenPublished(sources=["web"]),
        "ValidWhenPublished of nothing",
        "expected hours",
        "max_age",
    ),
    (lambda: wrongly(Park, x=1), "Park: x=1", "there is no such key", "expected one of policy"),
    (lambda: wrongly(DeadLetter, keep_token=5), "DeadLetter: keep_token: ", "instance of", "Token"),
    (
        settings(f"{BASE}on_expired = {{ policy = 'grace', minute = 10 }}"),
        "minute = 10: there is no such key",
        "did you mean",
        "minutes?",
    ),
    (
        settings(f"{BASE}on_expired = {{ policy = 'grace' }}"),
        "Grace of nothing",
        "expected hours, minutes or seconds above 0",
        "minutes = 10",
    ),
    (
        settings(f"{BASE}on_expired = {{ policy = 'grace', x = 1 }}"),
        "x = 1: there is no such key",
        "expected one of hours, minutes, policy, seconds, window",
        "on_expired.x",
    ),
    (
        settings(f"{BASE}keycloak_client = 'orders'"),
        'keycloak_client = "orders"',
        'counts with profile = "keycloak" only',
        "say that, too",
    ),
    (
        settings(f"{BASE}on_expired = {{ policy = 'park' }}"),
        "Park",
        "[messages.proofs] in a settings file",
        "busauth.toml",
    ),
    (
        settings(f"{BASE}algorithms = ['HS256']"),
        "'HS256'",
        "expected RS256, ES256",
        "shared_secret(...)",
    ),
    (settings("audience = 'shop'"), "issuer = None", "expected the exact `iss`", "BUSAUTH_ISSUER"),
    (
        settings(f"{BASE}[guard]\nconcurency = 5"),
        "guard.concurency = 5",
        "no such key",
        "concurren",
    ),
    (settings(f"{BASE}leeway = 500"), "leeway = 500", "less than or equal to 300", "busauth.toml"),
    (settings("[a]\n[a]"), "busauth.toml", "is not TOML", "line 2"),
    (said("BUSAUTH_AUDIENCE", "a,"), 'audience = "a,"', "expected names with commas", '["a"]'),
    (
        said("BUSAUTH_ISSUER", "'https://i'"),
        "quotes around it",
        "expected the name alone",
        "ISSUER",
    ),
    (said("BUSAUTH_ALGORITHMS", "'RS256'"), "RS256", "expected names with commas", '["RS256"]'),
]


@pytest.mark.parametrize(("make", "found", "expected", "to_do"), MISCONFIGURED)
def test_a_misconfiguration_is_told_in_a_sentence(
    make: Callable[..., object],
    found: str,
    expected: str,
    to_do: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was found, what was expected, what to do: before anything connects."""
    forget_settings(monkeypatch)
    code = getattr(make, "__code__", None)
    given = (tmp_path, monkeypatch)[: code.co_argcount if code else 0]
    with pytest.raises(ConfigurationError) as caught:
        make(*given)
    told = str(caught.value)
    assert [part for part in (found, expected, to_do) if part not in told] == [], told
    assert caught.value.__cause__ is None or "expected" in told


def prepared(body: Any, token: Any = None, **said: Any) -> object:
    outbox = Outbox(header=BEARER, verifiers=Verifiers(verifier()), clock=ManualClock())
    return outbox.prepare(body, token, exchange="", routing_key="orders", **said)


def ended() -> object:
    lease = Lease("x.y.z")
    with acting(lease):
        pass
    return lease.token()


def restricted() -> Policies:
    return Restrict(scopes=["orders:read"])


WRONG: list[tuple[Callable[[], object], type[Exception], str, str, str]] = [
    (lambda: consumer(yielding), TypeError, "yielding", "a generator", "without a `yield`"),
    (lambda: consumer(Order), TypeError, "a class", "expected an instance", "__call__"),
    (lambda: consumer(5), TypeError, "an int that cannot be called", "expected", "async def"),
    (lambda: consumer(untyped), TypeError, "'order' cannot be injected", "annotate it", "default"),
    (
        lambda: consumer(wrongly(partial, handler, 1, 2, 3)),
        TypeError,
        "handler",
        "expected",
        "binds no more",
    ),
    (
        lambda: consumer(proving),
        ConfigurationError,
        "annotated as Proven",
        "needs a proof",
        "`Prov",
    ),
    (lambda: consumer(queue=""), ConfigurationError, "queue=''", "expected a name", "such as"),
    (lambda: consumer(queue="a.dead"), ConfigurationError, "a.dead", "expected another", "Redrive"),
    (lambda: consumer(queue="amq.x"), ConfigurationError, "amq.x", "expected another name", "own"),
    (lambda: consumer(queue="x" * 250), ConfigurationError, "250 bytes", "expected", "at most"),
    (lambda: consumer(scopes=5), ConfigurationError, "got an int", "expected several of str", "sc"),
    (
        lambda: consumer(scopes={"a b"}),
        ConfigurationError,
        "scopes={'a b'}",
        "expected scopes without blanks",
        "{'a', 'b'}",
    ),
    (lambda: consumer(scopes=""), ConfigurationError, "scopes={''}", "without blanks", "one by"),
    (lambda: consumer(roles={""}), ConfigurationError, "roles={''}", "expected names", "empty"),
    (
        lambda: consumer(allow=later),
        ConfigurationError,
        "allow=later",
        "expected a plain",
        "not as",
    ),
    (lambda: consumer(deadline=0), ConfigurationError, "deadline=0", "expected seconds", "or None"),
    (
        lambda: consumer(on_error="retry"),
        ConfigurationError,
        "got a str",
        "expected OnError.DEAD_LETTER",
        "OnError.RETRY",
    ),
    (
        lambda: consumer(introspect=True),
        ConfigurationError,
        "introspect=True",
        "expected an Introspection",
        "among the guard's verifiers",
    ),
    (
        lambda: consumer(scopes="orders:write", on_expired=restricted()),
        ConfigurationError,
        "takes away the scopes ['orders:write']",
        "demanded here",
        "name them in Restrict",
    ),
    (
        lambda: wrongly(guard(), handler),
        TypeError,
        "got the handler itself, handler",
        "expected @guard",
        '(queue="queue"',
    ),
    (lambda: registered(None), ConfigurationError, "got None", "expected str", "queue"),
    (
        lambda: _bus().consumer("a")(_bus().consumer("b")(handler)),
        TypeError,
        "handler: got the guarded consumer of 'b'",
        "expected the bare function",
        "decorate handler.handler",
    ),
    (
        lambda: registered(" b"),
        ConfigurationError,
        "queue=' b'",
        "blanks around it",
        "expected the name alone",
    ),
    (
        lambda: Bus("amqp://h/", guard=guard(), service=" "),
        ConfigurationError,
        "service=' '",
        "expected its name",
        "such as 'orders'",
    ),
    (
        lambda: registered(bindings=[("shop", "k")]),
        ConfigurationError,
        "got a list that holds a tuple",
        "expected several of Binding",
        "bindings",
    ),
    (
        lambda: registered(handler),
        TypeError,
        "got the handler",
        "expected @bus.consumer",
        '"queue"',
    ),
    (
        lambda: [bus.consumer("orders")(handler) for bus in [_bus()] * 2],
        ConfigurationError,
        "queue 'orders' has a consumer already, handler",
        "expected one consumer a queue",
        "a queue of its own",
    ),
    (lambda: prepared(Order(id=1)), CallerError, "no caller", "token", "ANONYMOUS"),
    (
        lambda: prepared(Order(id=1), "Bearer x.y.z"),
        NotGenuine,
        "Bearer and a token",
        "expec",
        "alone",
    ),
    (lambda: prepared(Order(id=1), "no"), NotGenuine, "token.segments", "expected", "got"),
    (lambda: prepared(5, ANONYMOUS), ConfigurationError, "int", "expected", "Message"),
    (ended, CallerError, "ended", "handler", "await"),
    (
        lambda: TokenEncryption({"a": _key()}).encrypt("e30.e30.eA", "b"),
        ConfigurationError,
        "recipient='b'",
        "expected one of",
        "['a']",
    ),
    (
        lambda: wrongly(publishers().demanding, "required"),
        ConfigurationError,
        "got a str",
        "ProofDemand",
        "Pro",
    ),
    (
        lambda: Guard(verifier(), verifier()),
        ConfigurationError,
        "two for one",
        "expected",
        "one for",
    ),
]


def _bus() -> Bus:
    return Bus("amqp://h/", guard=guard(), service="shop")


def _key() -> dict[str, str]:
    return shared_encryption_key(bytes(32), key_id="k")


@pytest.mark.parametrize(("call", "kind", "found", "expected", "to_do"), WRONG)
def test_a_wrong_call_is_told_in_a_sentence(
    call: Callable[[], object], kind: type[Exception], found: str, expected: str, to_do: str
) -> None:
    """The same of what is called with something that cannot be meant."""
    with pytest.raises(kind) as caught:
        call()
    told = str(caught.value)
    assert [part for part in (found, expected, to_do) if part not in told] == [], told


def test_there_are_twenty_of_each() -> None:
    """The tables are not shortened by mistake."""
    assert min(len(MISCONFIGURED), len(WRONG)) >= 20
