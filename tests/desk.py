"""An operator's desk: the settings of a service that consumes, its files, and its commands."""

import asyncio
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner, Result

from busauth import Bus, Caller, Park
from busauth.cli import app
from busauth.expiry import Policies
from busauth.tokens import shared_encryption_key
from tests.parties import SEAL, Party, Scene, security
from tests.unit.support import pem_of

WEB, ORDERS = Party("web"), Party("orders")
KEY = shared_encryption_key(secrets.token_bytes(32), key_id="redrive")
LATE = 1000.0


@dataclass
class Desk:
    """An operator's desk: a queue, and files beside it."""

    scene: Scene
    folder: Path
    queue: str

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
            [messages.seal]
            {seal_id} = "{self.folder}/only-the-consumer-has-it"
        """)

    async def run(self, command: str, *given: str, stdin: str = "") -> Result:
        """Run a command on the broker that the settings name."""
        place = ("--settings", self.settings)
        return await asyncio.to_thread(
            CliRunner(env={"BUSAUTH_AMQP_URL": None}).invoke,
            app,
            [*command.split(), self.queue, *place, *given],
            input=stdin,
        )

    def service(self, policy: Policies) -> tuple[Bus, list[str]]:
        """Return the service that the settings are of, and whose messages it handles."""
        seal = {name: key.hex().encode() for name, key in SEAL.items()}
        messages = security(WEB.publisher(), ORDERS.publisher(relays=True), seal=seal)
        bus = self.scene.bus(messages, on_expired=policy)
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
