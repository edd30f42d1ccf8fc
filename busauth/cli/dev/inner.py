"""The process where `busauth dev` runs a bus: it tells what is decided, and ends with its parent.

On standard input come its orders, one line of JSON; when that ends, so does this process. What it
tells goes to a pipe, a line of JSON each, so that what a handler prints stays the handler's.
"""

import asyncio
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import typer

from busauth._amqp.bus import Bus
from busauth._amqp.guard import Guard
from busauth._tokens.keys.jwks import JWKS
from busauth._tokens.verifier import Verifier
from busauth.audit import Event
from busauth.cli.target import bus_or_traceback
from busauth.clock import SystemClock
from busauth.errors import ConfigurationError
from busauth.testing.issuer.keys import ALGORITHMS
from busauth.testing.published import telling_forgotten, warn_always

PATIENCE_SECONDS = 2.0
"""What handlers get to finish; what they have not finished is the broker's again."""

_STDIN = 0
_LOOK_SECONDS = 0.05
_CHUNK = 4096

Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    """Run the bus that the first line names, until standard input ends or a signal comes."""
    orders = json.loads(_first_line())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdin = io.StringIO()
    tell = _teller(orders["tell"])
    warn_always()
    try:
        with telling_forgotten(lambda sentence: typer.echo(f"busauth: {sentence}", err=True)):
            _run(bus_or_traceback(orders["target"]), orders, tell)
    except typer.BadParameter as error:
        sys.exit(f"busauth: {error.message}")
    except (ConfigurationError, ConnectionError) as error:
        sys.exit(f"busauth: {error}")


def _run(bus: Bus, orders: Mapping[str, Any], tell: Tell) -> None:
    adopted = _adopted(bus.guard)
    guard = _trusting(bus.guard, adopted, orders["issuer"], tell)
    about = {
        "bus": repr(bus)[1:-1],
        "queues": [*bus.queues],
        "audience": sorted(adopted.audience),
        "algorithms": [each for each in adopted.algorithms if each in ALGORITHMS],
    }
    tell({"about": about})  # before it asks for keys: they are made for what it takes
    with bus.overridden(url=orders["broker"], guard=guard, declares=orders["declares"]):
        asyncio.run(_consume(bus, partial(tell, {"ready": adopted.issuer})))


async def _consume(bus: Bus, begun: Callable[[], None]) -> None:
    """Run until a signal comes, and tell once that it has begun."""

    async def look() -> None:
        while not bus.ready:  # noqa: ASYNC110 -- it is known, and nobody is told
            await asyncio.sleep(_LOOK_SECONDS)
        begun()

    looking = asyncio.ensure_future(look())
    try:
        await bus.run()
    finally:
        looking.cancel()


def _adopted(guard: Guard) -> Verifier:
    """Return the verifier whose place this issuer takes.

    Raises:
        ConfigurationError: none of them takes a JWT that is an access token.
    """
    if guard.core.header.is_transactions:
        raise ConfigurationError(
            "the guard takes transaction tokens, and busauth dev gives access tokens: try it in "
            "tests, with a Kit of busauth.testing"
        )
    for each in guard.verifiers:
        if isinstance(each, Verifier) and set(each.algorithms) & set(ALGORITHMS):
            return each
    raise ConfigurationError(
        f"the guard takes no JWT of what this issuer signs with, {', '.join(ALGORITHMS)}: expected "
        "an issuer and an audience, or a Verifier of one of these"
    )


def _trusting(guard: Guard, adopted: Verifier, issuer: str, tell: Tell) -> Guard:
    """Return the guard with its policies and demands, that takes no JWT but this issuer's.

    It keeps the name of the one that it stands in for to itself: a token that leaves this machine
    claims to be nobody's but a development issuer's.
    """
    # Leeway is for clocks that differ: here is one, and a token of five seconds ends after five.
    named = [each.issuer for each in guard.verifiers if isinstance(each, Verifier)]
    keys = JWKS.discover(issuer)
    trusted = adopted.with_keys(keys, issuer=issuer, stands_for=named, leeway=0)
    others = (each for each in guard.verifiers if not isinstance(each, Verifier))

    def auditor(event: Event) -> None:
        tell({"event": asdict(event)})

    return guard.replica(trusted, *others, clock=SystemClock(), auditor=auditor, logs=False)


def _teller(descriptor: int) -> Tell:
    os.set_inheritable(descriptor, False)  # noqa: FBT003 -- what a handler starts is none of this
    pipe = os.fdopen(descriptor, "w", encoding="ascii", buffering=1)

    def tell(said: dict[str, Any]) -> None:
        pipe.write(f"{json.dumps(said)}\n")

    return tell


def _first_line() -> bytes:
    """Read no further: the thread that waits for the end reads the rest."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(_STDIN, 1)):
            sys.exit("busauth: this is a part of `busauth dev`, which starts it")
        line += byte
    return line


def _end_with_parent() -> None:
    while os.read(_STDIN, _CHUNK):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)  # whatever it is doing: nobody waits for it any more


if __name__ == "__main__":
    main()
