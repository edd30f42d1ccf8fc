"""`busauth revoke` and `busauth heartbeats`."""

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import aiormq
import pytest
from jwt.algorithms import ECAlgorithm
from typer.testing import CliRunner, Result

from busauth.cli import app
from busauth.revocation import FeedOptions, RevocationFeed
from tests.unit.revoking import FEED, OPS, caller, transmitters
from tests.unit.support import ISSUER, pem_of, private_key

PRIVATE = private_key("ES256", "ops")


@pytest.fixture
async def stream(url: str) -> AsyncIterator[str]:
    name = f"t{uuid4().hex[:10]}.revocations"
    yield name
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_delete(name)
    await connection.close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "ops.jwk"
    jwk = json.loads(ECAlgorithm.to_jwk(PRIVATE))
    path.write_text(json.dumps({**jwk, "alg": "ES256", "kid": "ops"}))
    return path


def arguments(key: Path, *more: str) -> list[str]:
    return ["--transmitter", OPS, "--audience", FEED, "--key", str(key), *more]


def run(*given: str) -> Result:
    return CliRunner().invoke(app, given)


def revoke(key: Path, *more: str) -> Result:
    return run("revoke", *arguments(key, "--issuer", ISSUER, *more))


async def start(*given: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "busauth", *given, stdout=PIPE, stderr=PIPE
    )


@pytest.mark.processes
async def test_it_ends_tokens(url: str, stream: str, key: Path) -> None:
    """What the commands publish is read: heartbeats make the feed ready, revocations count."""
    place = ("--url", url, "--stream", stream)
    beating = await start("heartbeats", *arguments(key, "--every", "0.2", *place))
    feed = RevocationFeed(url, transmitters(), options=FeedOptions(stream=stream, reconnect=0.1))
    async with feed, asyncio.timeout(60):
        await feed.ready()
        now = time.time()
        alice = caller(issued_at=now - 60, expires_at=now + 60)
        assert not feed.revoked(alice, now)
        subject = ("--issuer", ISSUER, "--subject", "alice")
        process = await start("revoke", *arguments(key, *subject, *place))
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert out.startswith(b"Confirmed: tokens of subject 'alice' at https://issuer.test")
        while not feed.revoked(alice, time.time()):
            await asyncio.sleep(0.01)
    beating.send_signal(signal.SIGTERM)
    assert await beating.wait() == 0


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "whose tokens?"),
        (["--jti", "t-1", "--subject", "alice"], "--jti names one token"),
        (["--subject", ""], "names nobody"),
        (["--subject", "a", "--kind", "gone"], "--kind gone"),
        (["--subject", "a", "--at", "yesterday"], "ISO 8601"),
        (["--subject", "a", "--at", "2999-01-01T00:00:00Z"], "lies ahead"),
        (["--subject", "a", "--algorithm", "RS256"], "alg='ES256'"),
        (["--subject", "a", "--url", "amqp://127.0.0.1:1/"], "not confirmed"),
    ],
)
def test_what_cannot_be_revoked(key: Path, given: list[str], why: str) -> None:
    """A sentence says what is wrong, and the exit code is 1."""
    result = revoke(key, *given)
    assert result.exit_code == 1
    assert why in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not a key", "does not say what it signs with"),
        ('{"kty": "EC"}', "does not say what it signs with"),
        ('{"kty": "EC", "alg": "ES256"}', "cannot be loaded"),
        ("{broken", "is no JSON: expected a JWK"),
    ],
)
def test_keys_that_are_none(key: Path, text: str, why: str) -> None:
    """What is no private key is told, and nothing of it shown."""
    key.write_text(text)
    result = revoke(key, "--subject", "alice")
    assert (result.exit_code, result.stdout) == (1, "")
    assert why in result.stderr


def test_a_pem(key: Path) -> None:
    """A PEM names no algorithm; with one, it signs."""
    key.write_bytes(pem_of(PRIVATE))
    assert "name --algorithm" in revoke(key, "--subject", "alice").stderr
    place = ("--algorithm", "ES256", "--url", "amqp://127.0.0.1:1/")
    assert "not confirmed" in revoke(key, "--subject", "alice", *place).stderr
