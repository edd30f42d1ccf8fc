"""`busauth release` and `busauth redrive`."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
import pytest
from typer.testing import CliRunner, Result

from busauth import Bus, Caller, DeadLetter, Grace, Park
from busauth.cli import app
from busauth.expiry import Policies
from busauth.letters import Letters, dead_letters
from busauth.testing import Issuer, IssuerServer, ManualClock
from busauth.tokens import TokenEncryption, shared_encryption_key
from tests.parties import SEAL, Party, Scene, security
from tests.unit.support import pem_of

WEB, ORDERS = Party("web"), Party("orders")
KEY = shared_encryption_key(secrets.token_bytes(32), key_id="redrive")
LATE = 1000.0


@pytest.fixture
def clock() -> ManualClock:
    """A clock that shows what the machine shows once `LATE` seconds have passed."""
    return ManualClock(time.time() - LATE)


@pytest.fixture
def issuer_in_time(clock: ManualClock) -> Iterator[Issuer]:
    """An issuer whose keys the command fetches."""
    with IssuerServer(Issuer(clock=clock)) as server:
        yield server.issuer


@dataclass
class Desk:
    """An operator's desk: a queue, and files beside it."""

    scene: Scene
    folder: Path
    queue: str
    letters: Letters = field(default_factory=Letters)

    @property
    def settings(self) -> str:
        return str(self.folder / "busauth.toml")

    def write(self) -> None:
        """Write settings and keys of the service that consumes."""
        for party in (WEB, ORDERS):
            (self.folder / f"{party.name}.jwk").write_text(json.dumps(party.jwk))
        (self.folder / "orders.pem").write_bytes(pem_of(ORDERS.key))
        (seal_id,) = SEAL
        (self.folder / "seal").write_bytes(SEAL[seal_id].hex().encode())
        (self.folder / "bytes").write_bytes(bytes(range(256)))
        (self.folder / "redrive.jwk").write_text(json.dumps(KEY))
        Path(self.settings).write_text(f"""
            issuer = "{self.scene.issuer.url}"
            audience = "{self.scene.issuer.audience}"
            unsafe_http = ["127.0.0.1"]
            on_expired = {{ policy = "park" }}
            [bus]
            url = "{self.scene.broker.url}"
            [retired]
            keep_for = 86400
            sources = ["web"]
            file = "{self.folder}/idp.keys"
            file_key_file = "{self.folder}/seal"
            [messages.proofs]
            max_age = 86400
            publishers = [
                {{ name = "web", key_file = "{self.folder}/web.jwk" }},
                {{ name = "orders", key_file = "{self.folder}/orders.jwk", relays = true }},
            ]
            [messages.signer]
            name = "orders"
            key_file = "{self.folder}/orders.pem"
            algorithm = "ES256"
            [letters]
            keep_token = "{self.folder}/this-too.jwk"
            [messages.seal]
            {seal_id} = "{self.folder}/only-the-consumer-has-it"
        """)

    async def run(self, command: str, *given: str, stdin: str = "") -> Result:
        """Run a command on the broker that the settings name."""
        place = ("--settings", self.settings)
        return await asyncio.to_thread(
            CliRunner(env={"BUSAUTH_AMQP_URL": None}).invoke,
            app,
            [command, self.queue, *place, *given],
            input=stdin,
        )

    def service(self, policy: Policies) -> tuple[Bus, list[str]]:
        """Return the service that the settings are of, and whose messages it handles."""
        seal = {name: key.hex().encode() for name, key in SEAL.items()}
        messages = security(WEB.publisher(), ORDERS.publisher(relays=True), seal=seal)
        bus = self.scene.bus(messages, on_expired=policy, letters=self.letters)
        handled: list[str] = []

        @bus.consumer(self.queue)
        async def place(caller: Caller) -> None:
            handled.append(caller.subject)

        return bus, handled

    async def late(self, policy: Policies, *subjects: str) -> None:
        """Have messages of subjects judged once their tokens are late."""
        bus, _ = self.service(policy)
        await bus.declare()
        async with self.scene.publishing(WEB) as publishing:
            for subject in subjects:
                token = self.scene.issuer.token(subject)
                await publishing.publish(self.queue, b"{}", token=token)
        await self.scene.clock.advance(LATE)
        async with bus:
            kind = "parked" if isinstance(policy, Park) else "refused"
            await self.scene.trail.until(kind, count=len(subjects))

    async def handles(self, policy: Policies, count: int) -> list[str]:
        """Return the subjects whose messages are handled then."""
        bus, handled = self.service(policy)
        async with bus:
            await self.scene.trail.until("handled", count=count)
        return handled


@pytest.fixture
def desk(scene: Scene, tmp_path: Path) -> Desk:
    desk = Desk(scene, tmp_path, scene.broker.name("orders"))
    desk.write()
    return desk


async def test_a_caller_releases_what_waits_for_them(desk: Desk) -> None:
    """The token comes from standard input; only its caller's messages go, and it is said."""
    await desk.late(Park(), "ann", "bob", "ann")
    token = desk.scene.issuer.token("ann")
    result = await desk.run("release", stdin=f"{token}\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Released to {desk.queue}: 2. Others stay: 1.\n"
    assert token not in result.output
    assert not (desk.folder / "idp.keys").exists()  # the service's own
    assert await desk.handles(Park(), 2) == ["ann", "ann"]
    await desk.scene.broker.settles_at(f"{desk.queue}.parked", 1)


async def test_a_token_may_come_from_a_file(desk: Desk) -> None:
    """A release is done once: the second one finds nothing."""
    await desk.late(Park(), "ann")
    file = desk.folder / "token"
    file.write_text(desk.scene.issuer.token("ann"))
    for sent in (1, 0):
        result = await desk.run("release", "--token-file", str(file), "--route", "shop:orders.#")
        assert result.stdout == f"Released to {desk.queue}: {sent}. Others stay: 0.\n"


async def test_a_message_that_was_tampered_with_is_told(desk: Desk) -> None:
    """It stays, and the command ends with another code."""
    await desk.late(Park(), "ann")
    parked = await desk.scene.broker.one(f"{desk.queue}.parked")
    forged = aio_pika.Message(
        b"pay mallory", headers=dict(parked.headers), message_id=parked.message_id
    )
    await desk.scene.broker.channel.default_exchange.publish(forged, f"{desk.queue}.parked")
    await desk.scene.broker.settles_at(f"{desk.queue}.parked", 1)
    result = await desk.run("release", stdin=desk.scene.issuer.token("ann"))
    assert result.exit_code == 3
    assert f"Refused, and stays: {parked.message_id} (proof.body)" in result.stdout


async def test_dead_letters_go_again(desk: Desk) -> None:
    """Those that were asked for, with the tokens that they kept."""
    keeping = DeadLetter(keep_token=TokenEncryption({"redrive": KEY}))
    await desk.late(keeping, "ann", "bob", "cid")
    key = ("--key", str(desk.folder / "redrive.jwk"))
    letters = await dead_letters(desk.scene.broker.url, f"{desk.queue}.dead")
    (bobs,) = [str(letter.message_id) for letter in letters if letter.subject == "bob"]
    for chosen in (("--subject", "ann"), ("--message-id", bobs, "--code", "token.expired")):
        result = await desk.run("redrive", *key, *chosen)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"Redriven to {desk.queue}: 1. Others stay: ")
    for chosen, why in (
        (("--code", "handler.failed"), "no letter has it; there is token.expired"),
        (("--code", "token.expire"), "did you mean token.expired?"),
        (("--message-id", bobs), f"--message-id {bobs}: no letter has it"),
        (("--subject", "cyd", "--code", "token.expired"), "did you mean cid?"),
    ):
        result = await desk.run("redrive", *key, *chosen)
        assert result.stdout == f"Redriven to {desk.queue}: 0. Others stay: 1.\n"
        assert (result.exit_code, why in result.stderr) == (3, True), result.output
    assert await desk.handles(Grace(hours=1), 2) == ["ann", "bob"]
    await desk.scene.broker.settles_at(f"{desk.queue}.dead", 1)
    result = await desk.run("redrive", *key, "--rejected")
    assert result.stdout == f"Redriven to {desk.queue}: 0. Others stay: 0.\n"


async def test_letters_that_their_consumer_opens_go_again(desk: Desk) -> None:
    """The command needs no key of theirs, and says for the story who sends them."""
    desk.letters = Letters(keep_token=KEY)
    await desk.late(DeadLetter(), "ann")
    result = await desk.run("redrive", "--by", "ops", "--subject", "ann")
    told = f"Redriven to {desk.queue}: 1. Others stay: 0.\n"
    assert (result.exit_code, result.stdout) == (0, told)
    assert await desk.handles(Grace(hours=1), 1) == ["ann"]


async def test_a_letter_that_kept_no_token_is_told(desk: Desk) -> None:
    """Asked for by its subject, it stays, and the command does not end as if all were done."""
    await desk.late(DeadLetter(), "ann")
    key = ("--key", str(desk.folder / "redrive.jwk"))
    result = await desk.run("redrive", *key, "--subject", "ann")
    assert (result.exit_code, "1 that was asked for kept no token, and stays" in result.stderr) == (
        3,
        True,
    )
    result = await desk.run("redrive", *key)
    assert (result.exit_code, "kept no token, and stays: a policy" in result.stderr) == (3, True)


@pytest.mark.parametrize(
    ("command", "given", "stdin", "why"),
    [
        ("release", [], "", "no token: expected the caller's fresh one"),
        ("release", [], "no.to.ken", "token.encoding"),
        ("release", [], "é", "token.characters"),
        ("release", ["--token-file", "bytes"], "", "bytes holds no token: expected text"),
        ("release", ["--token-file", "absent"], "", "absent cannot be read: No such file"),
        ("release", ["--route", "orders"], "x", "--route orders: expected EXCHANGE:KEY"),
        ("release", ["--settings", "absent.toml"], "x", "absent.toml: cannot be read"),
        ("release", ["--url", "amqp://127.0.0.1:1/"], "TOKEN", "the broker cannot be reached"),
        ("release", [], "TOKEN", ".parked' is not there"),
        ("redrive", ["--key", "absent.jwk"], "", "absent.jwk: cannot be read"),
        ("redrive", ["--key", "absent"], "", "--key: expected the path of a file that holds the"),
        ("redrive", ["--key", "web.jwk"], "", "web.jwk"),
        ("redrive", ["--key", "redrive.jwk"], "", ".dead' is not there"),
    ],
)
async def test_what_is_wrong_is_told(
    command: str,
    given: list[str],
    stdin: str,
    why: str,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sentence each, and no traceback."""
    monkeypatch.chdir(desk.folder)
    await desk.scene.clock.advance(LATE)
    if stdin == "TOKEN":
        stdin = desk.scene.issuer.token("ann")
    result = await desk.run(command, *given, stdin=stdin)
    assert result.exit_code == 1
    assert result.stderr.startswith("busauth: ")
    assert why in result.stderr
    assert stdin not in result.output or len(stdin) < 20
