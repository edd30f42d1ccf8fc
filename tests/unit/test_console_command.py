"""`busauth console`: when it starts, and what it is made of."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from busauth._amqp.guard import Guard
from busauth._messages.proof import ProofSigner
from busauth._tokens.keys.making import KeyUse, new_private_jwk
from busauth.cli import app
from busauth.cli.console import Listening, prepared
from busauth.errors import ConfigurationError
from busauth.settings import load_settings
from tests.unit.reaching import reached, strings_in
from tests.unit.support import forget_settings, lay_keys

SERVICE = """
    issuer = "https://idp.example"
    audience = "shop"
    clients = ["shop-web"]
    [bus]
    url = "amqp://looker:hunter2@rabbit.example/"
    [messages.signer]
    name = "orders"
    key_file = "edge.pem"
    algorithm = "ES256"
    [messages.seal]
    k1 = "shared.key"
    [messages.decryption]
    key_files = ["private.jwk"]
    [letters]
    keep_token = "letters.jwk"
    [consumers."orders.placed"]
    concurrency = 2
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    forget_settings(monkeypatch)
    monkeypatch.chdir(tmp_path)
    lay_keys(tmp_path)
    (tmp_path / "letters.jwk").write_text(json.dumps(new_private_jwk(KeyUse.LETTERS, None)))
    (tmp_path / "busauth.toml").write_text(SERVICE)
    return tmp_path


def test_it_holds_no_key_of_the_service(folder: Path) -> None:
    """Of a consumer's settings it takes whom to trust, and nothing that seals, signs or opens."""
    secret = secrets.token_hex(32)
    (folder / "shared.key").write_text(secret)
    private = (folder / "edge.pem").read_text().splitlines()[1]
    sealed = (folder / "private.jwk").read_text()
    kept = json.loads((folder / "letters.jwk").read_text())["d"]
    whole = load_settings("busauth.toml").make_guard()
    assert secret in strings_in(whole)  # else nothing would be found
    assert any(isinstance(each, ProofSigner) for each in reached(whole))
    looking = prepared(load_settings("busauth.toml"), [], None, sign_in=True, bodies=False)
    assert looking.queues == ("orders.placed",)
    assert looking.guard is not None
    assert looking.guard.messages.decryption is None
    found = strings_in(looking)
    assert not [each for each in found if secret in each or private in each or each == sealed]
    assert not [each for each in found if kept in each]
    assert not any(isinstance(each, ProofSigner) for each in reached(looking))


def test_tokens_of_the_service_do_not_open_it() -> None:
    """The audience is the console's own, and so are the clients."""
    looking = prepared(load_settings("busauth.toml"), ["q"], None, sign_in=True, bodies=False)
    assert isinstance(looking.guard, Guard)
    (verifier,) = looking.guard.verifiers
    assert verifier.audience == frozenset({"busauth-console"})  # type: ignore[union-attr]


def test_the_feed_is_the_operators(folder: Path) -> None:
    """What is said under [console.feed] is asked on each request."""
    (folder / "busauth.toml").write_text(
        SERVICE
        + """
    [console.feed]
    audience = "shop"
    stale_after = 60
    transmitters = [{ name = "https://idp.example", key_file = "edge.jwks", heartbeats = true }]
    """
    )
    looking = prepared(load_settings("busauth.toml"), [], None, sign_in=True, bodies=False)
    assert looking.guard is not None
    assert looking.feed is not None
    assert looking.guard.core.revocations is looking.feed


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--host", "0.0.0.0"], "others than this machine need TLS and a sign-in"),
        (["--host", "console.example"], "others than this machine need TLS and a sign-in"),
        (["--name", "console.example"], "others than this machine need TLS and a sign-in"),
        (["--tls-cert", "edge.pem"], "--tls-cert and --tls-key: expected both"),
        (
            ["--host", "::", "--tls-cert", "edge.pem", "--tls-key", "edge.pem"],
            "by which name is it reached? expected --name",
        ),
        (
            ["--host", "a.b", "--tls-cert", "edge.pem", "--tls-key", "edge.pem", "--no-sign-in"],
            "others than this machine need TLS and a sign-in",
        ),
        (["--settings", "busauth.toml", "--bodies"], "--bodies: for whom?"),
        ([], "expected the exact `iss` of your identity provider"),
    ],
)
def test_it_does_not_start(given: list[str], why: str) -> None:
    """Where others could reach it without TLS and a sign-in, or something is wrong: a sentence."""
    result = CliRunner().invoke(app, ["console", *given])
    assert (result.exit_code, result.stdout) == (1, "")
    assert why in result.stderr
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize(
    ("said", "hosts"),
    [
        ({"host": "127.0.0.1"}, {"127.0.0.1:8250", "localhost:8250", "[::1]:8250"}),
        ({"host": "console.example", "certificate": Path("c")}, {"console.example:8250"}),
        (
            {"host": "0.0.0.0", "names": ("c.example",), "certificate": Path("c"), "port": 443},
            {"c.example", "c.example:443"},
        ),
    ],
)
def test_by_which_names_it_is_reached(said: dict[str, Any], hosts: set[str]) -> None:
    """Those alone, and without a port where that is its scheme's own."""
    usual: dict[str, Any] = {"port": 8250, "names": (), "certificate": None, "key": Path("k")}
    listening = Listening(**usual | said)
    assert set(listening.hosts(listening.port)) == hosts


def test_a_sign_in_needs_an_issuer() -> None:
    """Without one nobody could be let in."""
    with pytest.raises(ConfigurationError, match="issuer"):
        prepared(load_settings(), [], "amqp://localhost/", sign_in=True, bodies=False)
