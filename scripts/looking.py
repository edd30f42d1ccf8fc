"""A console in the hour after an incident that never was: for its pictures, and its tests."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from socket import create_server
from threading import Thread
from typing import Any, TypeVar

from uvicorn import Config, Server

from busauth import Guard, StaticKeys, Verifier
from busauth.integrations.console import (
    ConsumerSeen,
    InstanceSeen,
    Late,
    LetterSeen,
    Passage,
    RunStep,
    console,
)
from busauth.testing import Issuer, ManualClock

T = TypeVar("T")

NOW = 1_750_000_000.0
AUDIENCE = "busauth-console"
QUEUE = "orders.placed"


def letter(**said: Any) -> LetterSeen:
    """Return a letter whose handler failed; a test says what is else."""
    usual: dict[str, Any] = {
        "id": "0" * 32,
        "source": f"{QUEUE}.dead",
        "code": "handler.failed",
        "detail": "handler.failed: got TimeoutError, expected the handler to return",
        "error": "TimeoutError",
        "at": "2025-06-15T15:06:40+00:00",
        "issuer": "https://idp.example",
        "subject": "alice",
        "publisher": "web",
        "message_id": "m-1",
        "attempts": 3,
        "sealed": True,
        "kept": True,
        "size": 12,
        "body": '{"order": 7}',
    }
    return LetterSeen(**usual | said)


def step(kind: str, at: float = NOW, **said: Any) -> RunStep:
    """Return one word of a run."""
    usual: dict[str, Any] = {"run": "r-1", "filters": {}, "counts": {}}
    return RunStep(kind=kind, at=at, **usual | said)


@dataclass
class Shown:
    """A source that shows what a test says, and counts how often it was asked."""

    seen: list[InstanceSeen] = field(default_factory=list)
    lying: list[LetterSeen] = field(default_factory=list)
    steps: list[RunStep] = field(default_factory=list)
    fails: Exception | None = None
    looks: int = 0

    async def instances(self) -> Sequence[InstanceSeen]:
        """Return who has told of themselves."""
        return self._told(self.seen)

    async def letters(self, queue: str) -> Sequence[LetterSeen]:
        """Return the letters of the one queue that has some."""
        self.looks += 1
        return self._told(self.lying if queue == QUEUE else [])

    async def runs(self, queue: str) -> Sequence[RunStep]:
        """Return the runs of the one queue that has some."""
        return self._told(self.steps if queue == QUEUE else [])

    def _told(self, seen: Sequence[T]) -> Sequence[T]:
        if self.fails is not None:
            raise self.fails
        return seen


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def an_hour_after(now: float = NOW) -> Shown:
    """Return what somebody sees in the hour after an incident."""
    late = tuple(Late(now - 900 + 15 * n, 20 + 7 * (n % 9) + 2 * n) for n in range(60))
    paused = ConsumerSeen(
        queue="invoices.issued",
        handling=0,
        paused_for="keys of https://idp.example",
        paused_since=now - 340,
    )
    placed = ConsumerSeen(queue=QUEUE, handling=7, late=late)
    keys = (("https://idp.example", 212.0),)
    story = (
        Passage(at="2025-06-15T12:41:09+00:00", code="token.expired", attempt=1),
        Passage(
            at="2025-06-15T14:02:30+00:00",
            code="handler.failed",
            attempt=3,
            by="ines@ops-1",
            authority="kept",
        ),
    )
    last = replace(story[-1], attempt=6, authority="operator")
    lying = [
        letter(
            id=f"{n:032x}",
            at=_iso(now - 3300 + 7 * n),
            message_id=f"order-{n}",
            subject=f"caller-{n % 40}",
            attempts=6,
            story=(*story, replace(last, at=_iso(now - 3300 + 7 * n))),
        )
        for n in range(230)
    ]
    lying += [
        letter(
            id=f"{1000 + n:032x}",
            at=_iso(now - 7000 + 31 * n),
            attempts=1,
            code="token.expired",
            error=None,
            detail="token.expired: got 4021 s past exp, expected in time",
            subject=f"caller-{n % 7}",
        )
        for n in range(61)
    ]
    lying.append(
        letter(
            id=f"{2000:032x}",
            source=f"{QUEUE}.rejected",
            code="token.audience",
            error=None,
            subject=None,
            issuer=None,
            kept=False,
            detail="token.audience: got ['warehouse'], expected 'shop'",
        )
    )
    who: dict[str, Any] = {"by": "ines@ops-1", "source": f"{QUEUE}.dead"}
    steps = [
        step("planned", now - 1500, run="p-1", letters=291, filters={"code": "handler.failed"},
             counts={"accepted": 180, "token.revoked": 11, "token.expired": 39}, **who),
        step("begun", now - 1200, run="r-0", authority="kept", **who),
        step("ended", now - 1100, run="r-0", counts={"sent": 48, "refused": 2}, **who),
        step("begun", now - 90, run="r-1", authority="operator", **who),
        step("sending", now - 30, run="r-1", letters=100, **who),
        step("sent", now - 25, run="r-1", letters=100, **who),
        step("refused", now - 5, run="r-1", letters=31, **who),
        step("sending", now - 4, run="r-1", letters=69, **who),
    ]  # fmt: skip
    return Shown(
        seen=[
            InstanceSeen(
                service="orders", instance="orders-7c9d", at=now - 3, keys=keys, feed_age=4.0,
                consumers=(placed, paused),
            ),
            InstanceSeen(
                service="orders", instance="orders-x2fk", at=now - 260, keys=keys, feed_age=4.0,
                consumers=(ConsumerSeen(queue=QUEUE, handling=2),),
            ),
        ],
        lying=lying,
        steps=steps,
    )  # fmt: skip


@contextmanager
def looking() -> Iterator[tuple[str, str]]:
    """Serve it on a free port while inside; gives its URL, and a token that opens it."""
    clock = ManualClock(NOW)
    issuer = Issuer("https://idp.example", clock=clock, lifetime=3600)
    verifier = Verifier(StaticKeys(issuer.jwks()), issuer=issuer.url, audience=AUDIENCE)
    opened = create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{opened.getsockname()[1]}"
    app = console(
        an_hour_after(),
        queues=[QUEUE, "invoices.issued"],
        hosts=[host],
        guard=Guard(verifier, clock=clock),
        bodies="console:bodies",
    )
    server = Server(Config(app, lifespan="off", log_config=None, access_log=False))
    thread = Thread(target=lambda: asyncio.run(server.serve([opened])))
    thread.start()
    try:
        yield (
            f"http://{host}/",
            issuer.token("ines", aud=AUDIENCE, scope="console:read console:bodies"),
        )
    finally:
        server.should_exit = True
        thread.join()
