"""`busauth explain` and `busauth token` look, and print no token; their exit codes say the end."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from busauth.cli import app
from busauth.cli.looking.inspecting import inspected_of, lines_of, span
from busauth.messages import OutgoingMessage, Properties
from busauth.testing import Issuer
from tests.parties import Party
from tests.properties.strategies import SIGNERS, json_values
from tests.unit.support import NOW

_SHOP = """
import json
from pathlib import Path
from pydantic import BaseModel
from busauth import Bus, Caller, Grace, Guard, StaticKeys, Verifier
keys = StaticKeys(json.loads(Path("keys.json").read_text()))
guard = Guard(Verifier(keys, issuer="https://issuer.test", audience="shop"))
bus = Bus("amqp://localhost/", guard=guard, service="shop")
class Order(BaseModel):
    id: int
@bus.consumer("orders", scopes={"orders:write"})
async def place(order: Order, caller: Caller) -> None:
    raise AssertionError("it was run")
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    """A module with a bus in the working directory, and who issues for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "looked_at_shop", raising=False)
    monkeypatch.delenv("BUSAUTH_SETTINGS", raising=False)
    issuer = Issuer()
    Path("looked_at_shop.py").write_text(_SHOP)
    Path("keys.json").write_text(json.dumps(issuer.jwks()))
    Path("busauth.toml").write_text(
        'issuer = "https://issuer.test"\naudience = "shop"\njwks_url = "https://127.0.0.1:1/"\n'
    )
    return issuer


def run(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, words, input=given)


def explain(message: dict[str, Any], *more: str) -> Result:
    Path("message.json").write_text(json.dumps(message))
    return run("explain", "message.json", "--queue", "orders", *more)


OF_BUS = ("--bus", "looked_at_shop:bus")


@pytest.mark.parametrize(
    ("claims", "body", "code", "said"),
    [
        ({}, {"id": 1}, 0, "Accepted: the handler of orders would run."),
        ({"scope": "x"}, {"id": 1}, 3, "Refused, to orders.dead: caller.scope"),
        ({}, "no order", 3, "body.not_json"),
        ({"aud": "other"}, {"id": 1}, 3, "Refused, to orders.rejected: token.audience"),
    ],
)
def test_a_message_is_explained(
    shop: Issuer, claims: dict[str, Any], body: Any, code: int, said: str
) -> None:
    """Each stage is a line, the end is a sentence, and the exit code says it as well."""
    token = shop.token("ann", **{"scope": "orders:write", **claims})
    message = {"headers": {"authorization": f"Bearer {token}"}, "body": body}
    shown = explain(message, *OF_BUS)
    assert shown.exit_code == code, shown.output
    assert said in shown.stdout
    assert token not in shown.output
    whole = json.loads(explain(message, *OF_BUS, "--json").stdout)
    assert len(whole["stages"]) == shown.stdout.split("\n\n")[0].count("\n") + 1


def test_what_is_not_known_has_an_exit_code_of_its_own(shop: Issuer) -> None:
    """Of settings alone, whose keys are out of reach here, nothing is told but that."""
    token = shop.token("ann", scope="orders:write")
    message = {"headers": {"authorization": f"Bearer {token}"}, "body_base64": "e30="}
    told = explain(message, "--settings", "busauth.toml")
    assert told.exit_code == 4, told.output
    assert "Not now" in told.stdout
    assert "--bus MODULE:BUS knows" in told.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "another kind"),
        ('{"body": "x", "body_base64": "eA=="}', "one of body"),
        ('{"body": "x", "header": {}}', "header: expected an object"),
        ('{"body_base64": "é"}', "no base64"),
        (r'{"body": "\ud800"}', "no text that has bytes"),
    ],
)
def test_what_is_no_message_is_told_without_it(shop: Issuer, text: str, said: str) -> None:
    """A file that cannot be read as a message ends with a sentence that shows nothing of it."""
    Path("message.json").write_text(text)
    told = run("explain", "message.json", "--queue", "orders", *OF_BUS)
    assert (told.exit_code, said in told.stderr) == (1, True), told.output
    assert run("explain", "message.json", "--queue", "orders").exit_code == 2


def test_a_token_is_verified_rule_by_rule(shop: Issuer) -> None:
    """Accepted ends with 0, refused with 3, and what was not met is not said to have passed."""
    good, late = shop.token("ann"), shop.token("ann", iat=NOW, exp=NOW + 300)
    assert run("token", "verify", *OF_BUS, given=f"Bearer {good}\n").exit_code == 0
    Path("token").write_text(late)
    told = run("token", "verify", "token", *OF_BUS, "--json")
    assert told.exit_code == 3, told.output
    states = {each["rule"]: each["state"] for each in json.loads(told.stdout)["rules"]}
    assert (states["audience"], states["time"], states["revoked"]) == (
        "passed",
        "refused",
        "not reached",
    )
    assert "token.expired" in told.stdout
    forged = Issuer().token("ann")
    assert "token.key_unknown" in run("token", "verify", *OF_BUS, given=forged).stdout
    for each in (good, late, forged):
        assert each.rpartition(".")[2] not in run("token", "verify", *OF_BUS, given=each).output


def test_a_token_that_is_given_as_an_argument_is_not_shown_again() -> None:
    """Arguments are public: whoever gives one so is told, without it."""
    token = Issuer().token("ann")
    told = run("token", "inspect", token)
    assert told.exit_code == 1
    assert "never a token itself" in told.stderr
    assert token not in told.output


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "{}", "--queue", "q"),
        ("explain", "message.json", "--queue", "q"),
        ("explain", "--queue", "q", "--letter", "x", "--token-file", "{}"),
        ("token", "inspect", "message.json", "{}"),
        ("token", "verify", "--{}"),
        ("token", "verify", "--bus", "{}"),
        ("token", "verify", "--settings", "{}"),
        ("token", "mint", "ann", "--url", "{}"),
        ("letters", "{}"),
        ("{}",),
        ("--{}",),
    ],
)
def test_no_error_shows_a_token_that_stands_in_the_wrong_place(
    shop: Issuer, words: tuple[str, ...]
) -> None:
    """Errors end in logs of other programs: as an argument, or as a key of a file."""
    token = shop.token("ann")
    Path("message.json").write_text(json.dumps({token: 1, "body": "x"}))
    more = () if "--settings" in words or words[0] != "explain" else ("--settings", "busauth.toml")
    told = run(*(word.format(token) for word in words), *more)
    assert told.exit_code in (1, 2), told.output
    assert [part for part in token.split(".") if part in told.output] == []
    assert isinstance(told.exception, SystemExit)


def test_what_is_too_long_for_a_token_has_no_digest(shop: Issuer) -> None:
    """A part of it would be another token."""
    told = run("token", "inspect", given="a" * (1024 * 1024 + 1))
    assert (told.exit_code, told.stdout) == (1, "")
    assert "expected 1048576 characters at most" in told.stderr


def test_a_subject_needs_no_command() -> None:
    """`busauth token alice` asks for a token of hers, whatever stands in front of her name."""
    for words in (["alice"], ["--scope", "x", "alice"], ["mint", "alice"], ["mint", "verify"]):
        told = run("token", *words, "--url", "http://127.0.0.1:1")
        assert "start `busauth dev` first" in told.stderr


def test_a_proof_shows_no_token_that_it_holds() -> None:
    """What embeds another token is printed without it."""
    binding = OutgoingMessage(
        token="a.b.c",
        body=b"",
        message_id="1",
        properties=Properties(),
        headers={},
        issuer="i",
        subject="s",
        exchange="",
        routing_key="q",
    )
    first = Party("web").signer.sign(binding, NOW)
    assert inspected_of(first, NOW).kind == "JWS, proof of a message"
    holding = SIGNERS[0].sign({"original": {"proof": [first]}})
    assert first not in "\n".join(lines_of(inspected_of(holding, NOW)))


@given(claims=st.dictionaries(st.text(), json_values), signer=st.sampled_from(SIGNERS))
def test_whatever_is_inspected_shows_no_signature(claims: dict[str, Any], signer: Any) -> None:
    """It never fails, and prints neither the signature nor the whole token."""
    token = signer.sign(claims)
    lines = "\n".join(lines_of(inspected_of(token, NOW)))
    assert token.rpartition(".")[2] not in lines
    assert "\x1b" not in lines


@given(text=st.text())
def test_whatever_is_no_token_is_told_as_such(text: str) -> None:
    """Neither does it fail for what is none: its size and digest are told, and nothing of it."""
    inspected = inspected_of(text, NOW)
    assert inspected.claims is None or text.count(".") == 2
    assert len(inspected.sha256) == 64


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59.6, "1 min"), (3661, "1 h 1 min"), (86_400 * 2 + 5, "2 d 5 s")],
)
def test_spans_are_told_in_two_units(seconds: float, told: str) -> None:
    """Nobody has to divide by 60."""
    assert span(seconds) == told
