"""The script: what is sent, what should come of it, and in which order it is played.

Each scene sends something; the demo waits for what it expects, and `record` tells what else there
was. The docstrings are shown to the audience.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from busauth.testing import IssuerServer
from workers.demo.broker import QUEUES
from workers.demo.play import Chain, Scene
from workers.demo.stage import GRACE_SECONDS, Stage, set_up

LIFETIME_SECONDS = 2.5
"""Of a token that is to expire while its message waits; it has to reach the queue before that."""

MOMENT_SECONDS = 0.3

SERVICES = 5
"""Those that verify tokens, and therefore fetch keys."""

ALL_THE_WAY = (
    "gateway: 202",
    "orders: handled",
    "ledger: accepted",
    "payments: handled",
    "notifications: handled",
)


async def good_request(stage: Stage) -> None:
    """Alice orders a teapot."""
    await stage.order(stage.token("alice"))


async def without_scope(stage: Stage) -> None:
    """Bob is who he says he is, and may only look."""
    await stage.order(stage.token("bob"))


async def forged(stage: Stage) -> None:
    """Somebody signs as Alice, with a key of their own under the issuer's `kid`."""
    token = stage.forged("alice")
    await stage.order(token)
    await stage.intrude(token)


async def wrong_audience(stage: Stage) -> None:
    """Alice's bank sends us the token that she gave to it."""
    token = stage.token("alice", aud="bank")
    await stage.order(token)
    await stage.intrude(token)


async def late_within_grace(stage: Stage) -> None:
    """Payments stands still until the token has expired."""
    await _held_up(stage, 0)


async def late_beyond_grace(stage: Stage) -> None:
    """Payments stands still until the grace is over as well."""
    await _held_up(stage, GRACE_SECONDS)


async def _held_up(stage: Stage, seconds_past_exp: float) -> None:
    with stage.services["payments"].paused():
        resume_at = time.time() + LIFETIME_SECONDS + seconds_past_exp + MOMENT_SECONDS
        stage.timeline.note(f"payments is paused; the token lives for {LIFETIME_SECONDS} s")
        await stage.order(stage.token("alice", lifetime=LIFETIME_SECONDS))
        await stage.record.until("orders: handled")
        await asyncio.sleep(resume_at - time.time())
        stage.timeline.note(f"payments goes on, {seconds_past_exp + MOMENT_SECONDS} s past exp")


async def issuer_down(stage: Stage) -> None:
    """Orders starts anew, without keys, while there is nobody to get them from."""
    with _out_of_reach(stage.idp):
        await _start_anew(stage, "orders")
        await stage.record.until("orders: deferred")
        await stage.order(stage.token("alice"))
        await stage.until(lambda: _one_waits(stage))
        stage.record.add("orders.placed: 1 waiting")
        stage.timeline.note("the order waits in its queue; the issuer comes up again")


@contextmanager
def _out_of_reach(server: IssuerServer) -> Iterator[None]:
    server.down = True
    try:
        yield
    finally:
        server.down = False


async def _start_anew(stage: Stage, name: str) -> None:
    stage.timeline.note(f"the issuer is down; {name} is started anew and has no keys")
    await stage.services[name].stop()
    await stage.services[name].start()  # it takes nothing before it has keys


async def _one_waits(stage: Stage) -> bool:
    return await stage.broker.waiting("orders.placed") == 1


async def rotated_key(stage: Stage) -> None:
    """The issuer signs with a new key; what the old one signed is still good."""
    old, fetches = stage.token("alice"), _fetches(stage)
    stage.idp.issuer.rotate()
    stage.timeline.note("the issuer has a new key; first a token of the new one")
    await stage.order(stage.token("alice"))
    await stage.record.until(*ALL_THE_WAY)
    stage.timeline.note("and one of the old")
    await stage.order(old)
    await stage.record.until(*ALL_THE_WAY, *ALL_THE_WAY)
    for _ in range(_fetches(stage) - fetches):
        stage.record.add("issuer: keys fetched")


def _fetches(stage: Stage) -> int:
    return stage.idp.requests.count("/jwks.json")


async def nothing_left(stage: Stage) -> None:
    """Look whether anything was forgotten."""
    for queue in QUEUES.values():
        fact = f"{queue}: {await stage.broker.waiting(queue)} waiting"
        stage.timeline.note(fact)
        stage.record.add(fact)


SCENES = (
    Scene("A good request", good_request, ALL_THE_WAY),
    Scene(
        "A caller without the scope",
        without_scope,
        ("gateway: 202", "orders: refused caller.scope", "orders.placed.dead: caller.scope"),
    ),
    Scene(
        "A forged token",
        forged,
        (
            "gateway: 401 token.signature",
            "orders: refused token.signature",
            "orders.placed.rejected: token.signature",
        ),
    ),
    Scene(
        "A token for somebody else",
        wrong_audience,
        (
            "gateway: 401 token.audience",
            "orders: refused token.audience",
            "orders.placed.rejected: token.audience",
        ),
    ),
    Scene(
        "Expired in the queue, within the grace",
        late_within_grace,
        (
            "gateway: 202",
            "orders: handled",
            "ledger: accepted late",
            "payments: handled late",
            "notifications: handled late",
        ),
    ),
    Scene(
        "Expired in the queue, beyond the grace",
        late_beyond_grace,
        (
            "gateway: 202",
            "orders: handled",
            "payments: refused token.expired",
            "payments.requested.dead: token.expired",
        ),
    ),
    Scene(
        "The issuer down for a moment",
        issuer_down,
        ("orders: deferred", "orders.placed: 1 waiting", "orders: resumed", *ALL_THE_WAY),
    ),
    Scene(
        "A rotated key",
        rotated_key,
        (*ALL_THE_WAY, *ALL_THE_WAY, *["issuer: keys fetched"] * SERVICES),
    ),
    Scene(
        "Afterwards",
        nothing_left,
        tuple(f"{queue}: 0 waiting" for queue in QUEUES.values()),
    ),
)

SHOP = Chain("Starting the shop: issuer, gateway, ledger, three workers.", set_up, SCENES)
