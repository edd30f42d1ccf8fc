"""`busauth console`: when it starts, and what it is made of."""

import asyncio
import json
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from uvicorn import Server

from busauth._amqp.guard import Guard
from busauth._messages.proof import ProofSigner
from busauth._tokens.keys.making import KeyUse, new_private_jwk
from busauth.cli import app
from busauth.cli.console import Listening, _config, hanging_up, prepared
from busauth.errors import ConfigurationError
from busauth.integrations.console import console
from busauth.settings import load_settings
from scripts.looking import Shown
from tests.unit.consoling import town
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


def test_it_opens_no_file_of_the_service(folder: Path) -> None:
    """The key that opens kept tokens is where the service is, and is not missed here."""
    (folder / "busauth.toml").write_text(SERVICE.replace("letters.jwk", "elsewhere.jwk"))
    with pytest.raises(ConfigurationError, match=r"elsewhere\.jwk"):
        load_settings("busauth.toml").make_guard()
    looking = prepared(load_settings("busauth.toml"), [], None, sign_in=True, bodies=False)
    assert looking.guard is not None
    (folder / "elsewhere.jwk").write_text((folder / "private.jwk").read_text())
    looking = prepared(load_settings("busauth.toml"), [], None, sign_in=True, bodies=False)
    assert looking.guard is not None
    assert looking.guard.core.letters.keep_token is None


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
        (
            {"host": "::1", "port": 80},
            {
                f"{each}{port}"
                for each in ("127.0.0.1", "localhost", "[::1]")
                for port in ("", ":80")
            },
        ),
    ],
)
def test_by_which_names_it_is_reached(said: dict[str, Any], hosts: set[str]) -> None:
    """Those alone, and without a port where that is its scheme's own."""
    usual: dict[str, Any] = {"port": 8250, "names": (), "certificate": None, "key": Path("k")}
    listening = Listening(**usual | said)
    assert set(listening.hosts(listening.port)) == hosts
    console(
        Shown(), queues=[], hosts=hosts, guard=town().guard, secure=bool(said.get("certificate"))
    )


def test_a_sign_in_needs_an_issuer() -> None:
    """Without one nobody could be let in."""
    with pytest.raises(ConfigurationError, match="issuer"):
        prepared(load_settings(), [], "amqp://localhost/", sign_in=True, bodies=False)


@pytest.mark.parametrize("dribbles", [False, True])
async def test_who_asks_for_nothing_is_hung_up_on(dribbles: bool) -> None:
    """A hundred that hold a connection each keep nobody out for longer than a head may take."""
    opened = socket.create_server(("127.0.0.1", 0))
    port = opened.getsockname()[1]
    listening = Listening("127.0.0.1", port, (), None, None)
    app = console(Shown(), queues=[], hosts=listening.hosts(port), guard=None)
    server = Server(_config(app, listening))
    serving = asyncio.create_task(server.serve([opened]))
    while not server.started:
        await asyncio.sleep(0.01)
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    connections = server.server_state.connections
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as asks:
        while len(connections) < len(idle):
            await asyncio.sleep(0.01)
        statuses = [(await asks.get("/")).status_code]  # before anybody is hung up on
        watching = asyncio.create_task(hanging_up(connections, asked=0.4, every=0.05))
        while 200 not in statuses:
            for _, writer in idle if dribbles else []:
                writer.write(b"G")
            with suppress(httpx.TransportError):
                statuses.append((await asks.get("/")).status_code)
            await asyncio.sleep(0.05)
    assert statuses[0] == 503  # there was no place for it at first
    for _, writer in idle:
        writer.close()
    watching.cancel()
    server.should_exit = True
    await serving
