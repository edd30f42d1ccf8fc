"""A service that is as it should be, and its surroundings, for tests that change one thing."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from busauth import Bus
from busauth.caller import Caller
from busauth.cli.doctor.examination import examine
from busauth.cli.doctor.finding import Report
from busauth.cli.doctor.subject import Question, Subject, of_bus, of_settings
from busauth.revocation import Revocations
from busauth.settings import load_settings
from busauth.testing import IssuerServer, ManualClock
from tests.support import Broker
from tests.unit.encrypting import public_jwk

SEAL = "kP3xV9sQm2LrT7yZb4NcWf8HjD1gA6uE0oRiXtKvBqY"
"""As `openssl rand -base64 32` writes one."""


def toml(value: object) -> str:
    """Return a value as TOML has it, tables in line."""
    if isinstance(value, Mapping):
        return (
            f"{{{', '.join(f'{json.dumps(key)} = {toml(each)}' for key, each in value.items())}}}"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


@dataclass
class Service:
    """A service that is as it should be, until a test changes something.

    Attributes:
        said: its settings.
        consumer: what its decorator says.
        question: how it is looked at.
        revocations, clock: parts that are made in code.
        consumes: the queues that it consumes.
        by_file: whether it is looked at by its settings file alone.
    """

    broker: Broker
    server: IssuerServer
    folder: Path
    said: dict[str, Any] = field(default_factory=dict)
    consumer: dict[str, Any] = field(default_factory=dict)
    question: dict[str, Any] = field(default_factory=dict)
    revocations: Revocations | None = None
    clock: ManualClock = field(default_factory=lambda: ManualClock(time.time()))
    consumes: list[str] = field(default_factory=list)
    by_file: bool = False

    def __post_init__(self) -> None:
        self.queue = self.broker.name("orders")
        self.consumes.append(self.queue)
        self.consumer |= {"scopes": {"orders:write"}, "deadline": 60.0}
        self.question |= {"environment": {}}
        kept = self.write("redrive.jwk", json.dumps(public_jwk("p256")))
        self.said |= {
            "issuer": self.server.issuer.url,
            "audience": "shop",
            "on_expired": {"policy": "dead-letter", "keep_token": kept},
            "messages": {"seal": {"2026": self.write("seal", SEAL)}},
            "bus": {"url": self.broker.url, "retry": {"limit": 3, "first": 0.05}},
        }

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def file(self) -> Path:
        lines = (f"{json.dumps(key)} = {toml(value)}" for key, value in self.said.items())
        return self.write("busauth.toml", "\n".join(lines))

    def bus(self) -> Bus:
        settings = load_settings(self.file())
        guard = settings.make_guard(clock=self.clock, revocations=self.revocations)
        bus = settings.make_bus("shop", guard=guard)
        for queue in self.consumes:

            @bus.consumer(queue, **self.consumer)
            async def handle(caller: Caller) -> None: ...

        return bus

    def around(self) -> list[Mapping[str, Mapping[str, Any]]]:
        """Return the queues of each consumer, as a bus would declare them."""
        return [each.around for each in of_bus(self.bus()).consumed]

    async def declare(self) -> None:
        """Let another bus declare everything, as it is said now."""
        await self.bus().declare()

    async def report(self) -> Report:
        question = Question(**self.question)
        if self.by_file:
            return await examine(*self._of_file(question))
        return await examine(self._of_bus(), question)

    def _of_bus(self) -> Subject:
        path = self.file()
        return of_bus(self.bus(), load_settings(path), path)

    def _of_file(self, question: Question) -> tuple[Subject, Question, Any]:
        subject, known = of_settings(self.file())
        return subject, question, known
