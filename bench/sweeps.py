"""How a message's cost grows with issuers, handlers and revocations, measured in process.

Each step handles the same number of messages of as many callers; only what stands around them
grows. What is told are ratios to the first step of the same round.
"""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from aiormq.abc import DeliveredMessage

from bench import tokens
from bench.delivered import deliveries
from bench.figures import Spread, ratios
from bench.patterns import WARM_CALLERS
from bench.scale import Scale
from bench.stages import Step, direct, guarded, timed, verifier_of
from bench.tokens import Pool
from busauth import Guard
from busauth._revocation import RevokedTokens
from busauth._revocation.store import SUBJECT, TOKEN

_ALGORITHM = "ES256"
"""A hundred RSA keys take a while to make, and a warm message does not meet its key."""


@dataclass(frozen=True, slots=True)
class Swept:
    """Microseconds for one message at each step of one sweep.

    Attributes:
        name: what grew.
        costs: round by round, by how many there were.
    """

    name: str
    costs: dict[int, list[float]]

    def growth(self) -> dict[int, Spread]:
        """Return how many times the first step's cost each step's is."""
        first = next(iter(self.costs.values()))
        return {step: ratios(found, first) for step, found in self.costs.items()}

    def to_json(self) -> dict[str, Any]:
        """Return what was measured."""
        return {"name": self.name, "costs": self.costs}


Prepared = tuple[Step, list[str]]
"""What handles messages, and their tokens."""


def measure(scale: Scale, doing: Callable[[str], None]) -> list[Swept]:
    """Measure all sweeps; `doing` is told which is under way."""
    sweeps: dict[str, dict[int, Prepared]] = {
        "issuers": {count: _issuers(count) for count in scale.issuers},
        "handlers": {count: _handlers(count) for count in scale.handlers},
        "revocations": {count: _revocations(count) for count in scale.revocations},
    }
    found = []
    for name, steps in sweeps.items():
        doing(f"sweep: {name}")
        found.append(asyncio.run(_swept(name, steps, scale)))
    return found


async def _swept(name: str, steps: dict[int, Prepared], scale: Scale) -> Swept:
    costs: dict[int, list[float]] = defaultdict(list)
    for _ in range(scale.loop_rounds + 1):
        for count, (step, whose) in steps.items():
            messages = deliveries(list(islice(cycle(whose), scale.loop)))
            costs[count].append(await timed(step, messages))
    return Swept(name, {count: found[1:] for count, found in costs.items()})  # the first warms up


def _issuers(count: int) -> Prepared:
    """As many callers in all, from more issuers."""
    each = max(1, WARM_CALLERS // count)
    pools = [tokens.pool(_ALGORITHM, each, issuer=_url(number)) for number in range(count)]
    guard = Guard(*map(verifier_of, pools))
    whose = [token for turn in zip(*(pool.tokens for pool in pools), strict=True) for token in turn]
    return direct(guarded(guard)), whose


def _url(number: int) -> str:
    return f"https://idp-{number}.example"


def _few() -> Pool:
    return tokens.pool(_ALGORITHM, WARM_CALLERS, issuer=_url(0))


def _handlers(count: int) -> Prepared:
    """Messages go to the handlers of one guard in turn."""
    pool = _few()
    guard = Guard(verifier_of(pool))
    handlers = cycle([direct(guarded(guard, f"orders.{number}")) for number in range(count)])

    async def step(message: DeliveredMessage) -> None:
        await next(handlers)(message)

    return step, pool.tokens


def _revocations(count: int) -> Prepared:
    pool = _few()
    guard = Guard(verifier_of(pool), revocations=_revoked(count))
    return direct(guarded(guard)), pool.tokens


def _revoked(count: int) -> RevokedTokens:
    """Return revocations of other callers of the same issuer: tokens and subjects in turns."""
    revoked = RevokedTokens(retention=86_400, token_life=86_400)
    until = int(time.time())
    kinds = (TOKEN, SUBJECT)
    records = ((kinds[number % 2], secrets.token_bytes(16), until) for number in range(count))
    revoked.restore({kind: [_url(0)] for kind in kinds if count}, records)
    return revoked
