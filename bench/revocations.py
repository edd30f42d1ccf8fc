"""What the revocation feed costs: cold start, restart from a checkpoint, memory, lookups.

    python -m bench.revocations [--events 1000000] [--beat 1]

The broker is the one that BUSAUTH_AMQP_URL names. Events are signed with ES256 and published to a
stream that is deleted afterwards; each start is a process of its own, whose peak memory is its own.
Reading and restarting include the wait for a heartbeat, which comes every `--beat` seconds.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, cast

import aiormq
from aiormq.channel import Channel
from cryptography.hazmat.primitives.asymmetric import ec

from busauth import StaticKeys
from busauth._tokens.keys.signing import SigningKey
from busauth.caller import Caller, read_only
from busauth.revocation import (
    CheckpointFile,
    EventSigner,
    FeedOptions,
    FeedPublisher,
    RevocationFeed,
    StreamOptions,
    Target,
    Transmitter,
    Transmitters,
    keep_beating,
)

ISSUER, OPS, FEED = "https://issuer.test", "https://ops.test", "bench"
_NANO = 1e9
_LOOKUPS = 20_000
_AGAIN = 1_000
_IN_FLIGHT = 5_000
_KEY = bytes(range(32))


def target(number: int) -> Target:
    """Return whose tokens an event ends: subjects and tokens by their ids, in turns."""
    name = f"3f0c2f5e-0d0f-4f0e-9d0e-{number:012}"
    if number % 2:
        return Target(issuer=ISSUER, subject=name)
    return Target(issuer=ISSUER, token_id=name)


def caller(number: int, now: float) -> Caller:
    """Return a caller of whom nothing was revoked, or, from 0 up, whose token was."""
    name = f"3f0c2f5e-0d0f-4f0e-9d0e-{number:012}" if number >= 0 else f"nobody{number:030}"
    return Caller(
        issuer=ISSUER,
        subject=name,
        client="shop-web",
        scopes=frozenset(),
        roles=frozenset(),
        audience=("shop",),
        expires_at=now + 300,
        issued_at=now - 1800,
        token_id=name,
        token_sha256="",
        claims=read_only({"sid": name}),
    )


async def publish(url: str, stream: str, signer: EventSigner, count: int) -> float:
    """Sign and publish events; return the seconds that it took."""
    since = time.perf_counter()
    connection = await aiormq.connect(url)
    channel = cast("Channel", await connection.channel())
    pending: list[asyncio.Task[Any]] = []
    for number in range(count):
        event = signer.revocation(target(number), now=time.time()).encode()
        pending.append(asyncio.create_task(_send(channel, stream, event)))
        if len(pending) == _IN_FLIGHT:
            await asyncio.gather(*pending)
            pending.clear()
    await asyncio.gather(*pending)
    await connection.close()
    return time.perf_counter() - since


async def _send(channel: Channel, stream: str, event: bytes) -> None:
    await channel.basic_publish(event, routing_key=stream)


@asynccontextmanager
async def published(url: str, stream: str) -> AsyncIterator[FeedPublisher]:
    """Declare a stream, and delete it afterwards."""
    async with FeedPublisher(url, options=StreamOptions(name=stream)) as publisher:
        yield publisher
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_delete(stream)
    await connection.close()


async def start(url: str, stream: str, jwk: dict[str, Any], folder: Path, count: int) -> None:
    """Start one reader, print what it took, and leave a checkpoint: the child process."""
    trusted = Transmitter(OPS, StaticKeys([jwk]), issuers=ISSUER, heartbeats=True)
    feed = RevocationFeed(
        url,
        Transmitters([trusted], audience=FEED),
        options=FeedOptions(stream=stream, checkpoint_every=3600),
        checkpoint=CheckpointFile(folder / "revoked", _KEY),
    )
    before, since = _peak(), time.perf_counter()
    async with feed:
        await feed.ready()
        ready = time.perf_counter() - since
        found = {
            "ready_seconds": round(ready, 2),
            "remembered": feed.count,
            "peak_mib": _peak(),
            "peak_mib_before": before,
            "lookup_ns": lookups(feed, count),
        }
    found["peak_mib_with_checkpoint"] = _peak()
    print(json.dumps(found))


def lookups(feed: RevocationFeed, count: int) -> dict[str, int]:
    """Return the median of the nanoseconds of a lookup: of new callers, and of known ones again."""
    now = time.time()
    absent = [caller(-1 - number, now) for number in range(_LOOKUPS)]
    present = [caller(number * max(1, count // _LOOKUPS), now) for number in range(_LOOKUPS)]
    found = {"not revoked": _timed(feed, absent, now), "revoked": _timed(feed, present, now)}
    few = absent[:_AGAIN]
    _timed(feed, few, now)
    return {**found, "not revoked, asked again": _timed(feed, few, now)}


def _timed(feed: RevocationFeed, callers: list[Caller], now: float) -> int:
    taken = []
    for first in range(0, len(callers), 100):
        some = callers[first : first + 100]
        since = time.perf_counter()
        for one in some:
            feed.revoked(one, now)
        taken.append((time.perf_counter() - since) / len(some))
    return round(median(taken) * _NANO)


def _peak() -> int:
    """Return this process's peak memory in MiB: since it was started, not its parent's."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


async def run(url: str, count: int, beat: float) -> None:
    """Publish, start cold, and restart from the checkpoint."""
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = SigningKey(private, algorithm="ES256", key_id="1").verification_jwk()
    signer = EventSigner(OPS, private, algorithm="ES256", audience=FEED, key_id="1")
    stream = f"bench.revocations.{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        async with published(url, stream) as publisher:
            print(f"published {count} in {await publish(url, stream, signer, count):.0f} s")
            beating = asyncio.create_task(keep_beating(publisher, signer, every=beat))
            for name in ("cold start", "restart"):
                told = json.dumps([stream, jwk, folder, count])
                command = [sys.executable, "-m", "bench.revocations", "--start", told]
                done = await asyncio.to_thread(
                    subprocess.run, command, check=True, capture_output=True, text=True
                )
                print(f"{name:10} {done.stdout.strip()}")
            beating.cancel()
            size = (Path(folder) / "revoked").stat().st_size
            print(f"checkpoint {size / 1e6:.1f} MB")


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--beat", type=float, default=1.0)
    parser.add_argument("--start", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    url = os.environ["BUSAUTH_AMQP_URL"]
    if asked.start:
        stream, jwk, folder, count = json.loads(asked.start)
        asyncio.run(start(url, stream, jwk, Path(folder), count))
    else:
        asyncio.run(run(url, asked.events, asked.beat))


if __name__ == "__main__":
    main()
