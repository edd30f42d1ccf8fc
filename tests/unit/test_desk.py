"""A desk states letters for operators, in Python and over HTTP; what it says is read strictly."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from busauth import ConfigurationError, Deferred, Refused, StaticKeys, load_settings
from busauth._messages.statements import OperatorRules, Stated
from busauth._messages.statements.desks import Desks
from busauth._messages.statements.statement import TYPE
from busauth._tokens.keys.signing import SigningKey
from busauth.integrations.desk import statements
from busauth.letters import (
    Desk,
    Operators,
    OperatorToken,
    StatedLetter,
    StatementSigner,
    TrustedDesk,
)
from busauth.messages import MessageSecurity
from busauth.testing import Issuer, ManualClock
from busauth.tokens import JWKS, Fetcher
from tests.support import Trail, guard_for
from tests.unit.support import forget_settings, lay_keys

KEY = ed25519.Ed25519PrivateKey.generate()
SIGNER = StatementSigner("ops-desk", KEY, algorithm="EdDSA", key_id="1")
TRUSTED = TrustedDesk(name="ops-desk", keys=StaticKeys(SIGNER.verification_jwk()))
LETTER = StatedLetter(queue="orders", letter="0" * 32, seal="s" * 43, body="b" * 43)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ops(clock: ManualClock) -> Issuer:
    return Issuer("https://ops.example", audience="desk", clock=clock)


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
def desk(ops: Issuer, trail: Trail, clock: ManualClock) -> Desk:
    return Desk(guard_for(ops, trail, clock=clock), SIGNER)


def operator(ops: Issuer, scope: str = "letters:redrive") -> str:
    return ops.token("olga", scope=scope)


def proven(raw: object, clock: ManualClock) -> Stated:
    return Desks.of([TRUSTED], None, clock).prove(raw)


@pytest.fixture
def at_url(desk: Desk) -> Fetcher:
    return Fetcher(transport=httpx.ASGITransport(Starlette(routes=[statements(desk)])))


async def test_it_says_who_and_which(desk: Desk, ops: Issuer, clock: ManualClock) -> None:
    """A statement names the letter, and the operator by the record of their token."""
    token = operator(ops)
    (raw,) = await desk.state(token, [LETTER])
    stated = proven(raw, clock)
    assert (stated.desk, stated.letter) == ("ops-desk", LETTER)
    assert (stated.operator.subject, stated.operator.issuer) == ("olga", ops.url)
    assert stated.operator.scopes == {"letters:redrive"}
    assert token not in raw


async def test_who_may_not_gets_nothing(desk: Desk, ops: Issuer, trail: Trail) -> None:
    """Another scope, another audience, too many letters: refused, and told where it is known."""
    with pytest.raises(Refused) as scope:
        await desk.state(operator(ops, "letters:read"), [LETTER])
    with pytest.raises(Refused) as audience:
        await desk.state(ops.token("olga", scope="letters:redrive", aud="shop"), [LETTER])
    with pytest.raises(Refused) as many:
        await desk.state(operator(ops), [LETTER] * 101)
    codes = [caught.value.code for caught in (scope, audience, many)]
    assert codes == ["caller.scope", "token.audience", "redrive.statement"]
    assert [(each.kind, each.code) for each in trail.events] == [("refused", "caller.scope")]


async def test_a_statement_is_bought_over_http(
    at_url: Fetcher, ops: Issuer, clock: ManualClock, trail: Trail
) -> None:
    """The client asks for one letter, and has what the desk signed for it."""
    buying = OperatorToken(operator(ops), desk="https://desk.example/", fetcher=at_url)
    await buying.check("orders")
    assert trail.events == []
    assert proven(await buying.state(LETTER), clock).letter == LETTER
    assert [(each.kind, each.subject) for each in trail.events] == [("stated", "olga")]
    assert operator(ops) not in repr(buying)


async def test_the_desk_refuses_over_http(at_url: Fetcher, ops: Issuer) -> None:
    """Its code comes across; a stranger's body is not read."""
    poor = OperatorToken(operator(ops, "none"), desk="https://desk.example", fetcher=at_url)
    with pytest.raises(Refused) as caught:
        await poor.check("orders")
    assert caught.value.code == "caller.scope"
    headers = {"Authorization": "Bearer nobody"}
    reply = await at_url.post_json("https://desk.example/statements", "x" * 70_000, headers)
    assert (reply.status, json.loads(reply.body)["code"]) == (401, "token.segments")


@pytest.mark.parametrize(
    "asked",
    [
        [],
        {"queue": "q"},
        {"queue": "q", "letters": [], "more": 1},
        {"queue": "", "letters": []},
        {"queue": "q", "letters": [{"letter": "", "seal": "s" * 43, "body": "b" * 42}]},
        {"queue": "q", "letters": [{"letter": "x", "seal": "s" * 43, "body": "b" * 43}]},
        {"queue": "q" * 70_000, "letters": []},
    ],
)
async def test_what_is_no_request_is_refused(asked: object, at_url: Fetcher, ops: Issuer) -> None:
    """Bounded in size and number, and nothing else than was agreed."""
    headers = {"Authorization": f"Bearer {operator(ops)}"}
    reply = await at_url.post_json("https://desk.example/statements", asked, headers)
    assert (reply.status, json.loads(reply.body)["code"]) == (400, "redrive.statement")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"statements": []}),
        httpx.Response(200, json={"statements": ["eyJhbGciOiJub25lIn0.e30.AAAA"]}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(503, json={}),
        httpx.Response(302, headers={"location": "https://elsewhere.example"}),
    ],
)
async def test_what_is_no_desk_defers(answer: httpx.Response, ops: Issuer) -> None:
    """Whatever else answers there, no letter is at fault for it."""
    fetcher = Fetcher(transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(Deferred):
        await OperatorToken(operator(ops), desk="https://d.example", fetcher=fetcher).state(LETTER)


def test_a_token_crosses_no_wire_in_the_clear(ops: Issuer) -> None:
    """Plain http is for loopback, and for hosts that somebody has named."""
    with pytest.raises(ConfigurationError, match="expected https"):
        OperatorToken(operator(ops), desk="http://desk.example")
    OperatorToken(operator(ops), desk="http://127.0.0.1:8000")


CLAIMS: dict[str, Any] = {
    "iss": "ops-desk",
    "iat": 1_000.0,
    "exp": 1_300.0,
    "jti": "1",
    "queue": "orders",
    "letter": "",
    "seal": "s",
    "body": "b",
}


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "operator", "nbf"]),
        st.sampled_from([None, True, -1, 0, 2**70, 1e300, "", "x", {}, [], {"issuer": 1}]),
        max_size=4,
    )
)
def test_what_a_desk_signs_otherwise_is_no_statement(changes: dict[str, Any]) -> None:
    """Signed by its key, and of another shape: it is refused, and raises nothing else."""
    signed = SigningKey(KEY, algorithm="EdDSA", key_id="1").sign({**CLAIMS, **changes}, typ=TYPE)
    with pytest.raises(Refused) as caught:
        proven(signed, ManualClock())
    assert caught.value.code in ("redrive.statement", "redrive.desk")


async def test_until_when_a_statement_counts(desk: Desk, ops: Issuer, clock: ManualClock) -> None:
    """A clock that is behind, or ahead, by half a minute changes nothing; more does."""
    (raw,) = await desk.state(operator(ops), [LETTER])
    stated, now = proven(raw, clock), clock.now()
    rules = OperatorRules.of(
        Operators(desks=TRUSTED, within=60), frozenset({"orders"}), clock, None
    )
    for later in (-30.0, 0.0, 89.9):
        rules.check(stated, LETTER, now + later)
    for later in (-30.5, 90.0):
        with pytest.raises(Refused, match=r"redrive\.expired"):
            rules.check(stated, LETTER, now + later)


def test_a_memory_must_outlive_a_statement(clock: ManualClock) -> None:
    """One that forgets earlier would let a copy pass."""
    operators = Operators(desks=TRUSTED)
    with pytest.raises(ConfigurationError, match="expected within"):
        OperatorRules.of(operators, frozenset({"q"}), clock, 900)
    assert OperatorRules.of(operators, frozenset({"q"}), clock, 3600).retried_within == 3540


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"desks": []}, "expected at least one"),
        ({"desks": TRUSTED, "scopes": ()}, "is empty"),
        ({"desks": TRUSTED, "within": 100_000}, "within"),
        ({"desks": [{"name": "d"}]}, "in one place"),
        ({"desks": [{"name": "d", "keys": "jwks"}]}, "expected StaticKeys"),
        ({"desks": [{"name": "d", "jwks_url": "https://d", "algorithms": ["HS256"]}]}, "some of"),
    ],
)
def test_what_cannot_be_said_of_operators(said: Any, told: str) -> None:
    """Each mistake is told in a sentence."""
    with pytest.raises(ConfigurationError, match=told):
        Operators(**said)


SAID = """
issuer = "https://idp.example"
audience = "shop"
unsafe_http = ["desk.internal"]
[messages.seal]
k = "{folder}/shared.key"
[consumers.q.on_redrive]
within = 60
desks = [
    {{ name = "one", jwks_url = "http://desk.internal/jwks.json" }},
    {{ name = "two", key_file = "{folder}/edge.jwks", algorithms = ["ES256"] }},
]
"""


def test_an_operators_desks_stand_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their keys are fetched as others are, or read; what is wrong is told with its place."""
    forget_settings(monkeypatch)
    lay_keys(tmp_path)
    path = tmp_path / "busauth.toml"
    path.write_text(SAID.format(folder=tmp_path))
    operators = load_settings(path).make_guard().options.of("q").on_redrive
    assert operators is not None
    assert [(each.name, type(each.keys)) for each in operators.desks] == [
        ("one", JWKS),
        ("two", StaticKeys),
    ]
    path.write_text(SAID.format(folder=tmp_path).replace("edge.jwks", "nowhere.jwks"))
    with pytest.raises(ConfigurationError, match=r"consumers\.q\.on_redrive"):
        load_settings(path).make_guard()


def test_a_consumer_says_what_operators_need(ops: Issuer) -> None:
    """A seal, as nothing else shows whose a letter is; and who knows of tokens that are gone."""
    with pytest.raises(ConfigurationError, match=r"on_redrive: expected .*seal"):
        guard_for(ops, Trail()).judge(queue="q", on_redrive=Operators(desks=TRUSTED))
    sealed = guard_for(ops, Trail(), messages=MessageSecurity(seal={"k": bytes(range(32))}))
    with pytest.raises(ConfigurationError, match="a token that is gone"):
        sealed.judge(queue="q", on_redrive=Operators(desks=TRUSTED), introspect=True)
