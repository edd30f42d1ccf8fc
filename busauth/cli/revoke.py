"""`busauth revoke`: end tokens before they expire; `busauth heartbeats`: keep the feed's time."""

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from busauth._amqp.feed import STREAM, FeedPublisher, StreamOptions, keep_beating
from busauth._files.keys import naming, read_key
from busauth._revocation.events import (
    CLAIMS_CHANGE,
    CREDENTIAL_CHANGE,
    SESSION_REVOKED,
    SKEW,
    EventSigner,
    Target,
)
from busauth.cli.options import AsJson, fail
from busauth.errors import ConfigurationError, PublishError

_MAX_AGE = StreamOptions().max_age
_KINDS = {
    "session-revoked": SESSION_REVOKED,
    "token-claims-change": CLAIMS_CHANGE,
    "credential-change": CREDENTIAL_CHANGE,
}

Url = Annotated[str, typer.Option(envvar="BUSAUTH_AMQP_URL", help="The broker.")]
Stream = Annotated[str, typer.Option(help="The feed's stream; declared if it is not there.")]
MaxAge = Annotated[
    float, typer.Option(min=1, help="Seconds for which a stream that is declared keeps events.")
]
Key = Annotated[
    Path,
    typer.Option(
        envvar="BUSAUTH_EVENT_KEY", help="A file with the private key, a JWK or a PEM.", exists=True
    ),
]
Algorithm = Annotated[
    str | None, typer.Option(help="What the key signs with; default: the JWK's `alg`.")
]
KeyId = Annotated[str | None, typer.Option(help="The key's `kid`; default: the JWK's.")]
Transmitter = Annotated[
    str, typer.Option(envvar="BUSAUTH_TRANSMITTER", help="In whose name it is signed: `iss`.")
]
Audience = Annotated[
    str, typer.Option(envvar="BUSAUTH_FEED_AUDIENCE", help="Whom events are for: `aud`.")
]
Issuer = Annotated[str, typer.Option(help="The issuer of the tokens, exactly.")]
Named = Annotated[str | None, typer.Option(help="Whose tokens; several narrow it down.")]
Jti = Annotated[str | None, typer.Option(help="One token, by its `jti`; instead of the others.")]
At = Annotated[
    str | None, typer.Option(help="Tokens issued until then, in ISO 8601; default: now.")
]
Kind = Annotated[str, typer.Option(help=f"One of {', '.join(_KINDS)}.")]
Reason = Annotated[str | None, typer.Option(help="For administrators; it is not secret.")]
Every = Annotated[float, typer.Option(min=0.1, max=300, help="Seconds between heartbeats.")]


def revoke(  # noqa: PLR0913 -- a command's options
    *,
    issuer: Issuer,
    transmitter: Transmitter,
    audience: Audience,
    key: Key,
    subject: Named = None,
    session: Named = None,
    client: Named = None,
    jti: Jti = None,
    at: At = None,
    kind: Kind = "session-revoked",
    reason: Reason = None,
    algorithm: Algorithm = None,
    key_id: KeyId = None,
    url: Url = "amqp://localhost/",
    stream: Stream = STREAM,
    as_document: AsJson = False,
) -> None:
    """End tokens before they expire, at every consumer that reads the feed.

    Example: busauth revoke --issuer https://idp.example --subject ann --transmitter ops
    --audience shop --key ops.pem

    It returns once the broker has confirmed the event; consumers have it well within a second.
    """
    target = _target(issuer, jti=jti, subject=subject, session=session, client=client)
    if kind not in _KINDS:
        fail(f"--kind {kind}: expected one of {', '.join(_KINDS)}")
    signer = _signer(key, transmitter, audience, algorithm, key_id)
    now = time.time()
    effective_at = now if at is None else _instant(at, now)
    event = signer.revocation(
        target, now=now, effective_at=effective_at, kind=_KINDS[kind], reason=reason
    )
    asyncio.run(_publish(_publisher(url, stream, _MAX_AGE), event))
    until = datetime.fromtimestamp(effective_at, UTC).isoformat(timespec="seconds")
    if as_document:
        typer.echo(json.dumps({"tokens": _shown(target), "issued_until": until, "confirmed": True}))
        return
    typer.echo(f"Confirmed: tokens of {_shown(target)} issued until {until} count no more.")


def heartbeats(
    *,
    transmitter: Transmitter,
    audience: Audience,
    key: Key,
    every: Every = 5.0,
    algorithm: Algorithm = None,
    key_id: KeyId = None,
    url: Url = "amqp://localhost/",
    stream: Stream = STREAM,
    max_age: MaxAge = _MAX_AGE,
) -> None:
    """Keep the revocation feed's time, until a signal ends it; run two of these.

    Example: busauth heartbeats --transmitter ops --audience shop --key ops.pem

    Consumers that pause when the feed is stale pause when nobody does this.
    """
    signer = _signer(key, transmitter, audience, algorithm, key_id)
    asyncio.run(_beat(_publisher(url, stream, max_age), signer, every))


def _target(issuer: str, *, jti: str | None, **named: str | None) -> Target:
    given = {name: value for name, value in named.items() if value is not None}
    if jti is not None and given:
        fail("--jti names one token: leave --subject, --session and --client out")
    if jti is None and not given:
        fail("whose tokens? Name --subject, --session, --client, or --jti")
    if "" in (issuer, jti, *given.values()):
        fail("an empty name names nobody")
    return Target(issuer=issuer, token_id=jti, **given)


def _shown(target: Target) -> str:
    named = {
        "jti": target.token_id,
        "subject": target.subject,
        "session": target.session,
        "client": target.client,
    }
    told = " and ".join(f"{name} {value!r}" for name, value in named.items() if value is not None)
    return f"{told} at {target.issuer}"


def _instant(text: str, now: float) -> float:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--at {text}: expected an instant in ISO 8601, such as 2026-01-31T12:00:00Z")
    # Without a zone it is UTC, as what the command prints, and not this machine's.
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    if aware.timestamp() > now + SKEW:
        fail(f"--at {text}: it lies ahead; tokens that are still to come cannot be revoked")
    return max(0.0, aware.timestamp())


def _signer(
    path: Path, transmitter: str, audience: str, algorithm: str | None, key_id: str | None
) -> EventSigner:
    try:
        key = read_key(path)
    except ConfigurationError as error:
        fail(f"--key: {error}")
    try:
        chosen = algorithm or (key.get("alg") if isinstance(key, Mapping) else None)
        if not isinstance(chosen, str):
            fail(f"{path} does not say what it signs with: name --algorithm")
        with naming(path):
            return EventSigner(transmitter, key, algorithm=chosen, audience=audience, key_id=key_id)
    except ConfigurationError as error:
        fail(str(error))


def _publisher(url: str, stream: str, max_age: float) -> FeedPublisher:
    try:
        return FeedPublisher(url, options=StreamOptions(name=stream, max_age=max_age))
    except ConfigurationError as error:
        fail(str(error))


async def _publish(publisher: FeedPublisher, event: str) -> None:
    try:
        async with publisher:
            await publisher.publish(event)
    except PublishError as error:  # it may be written, and only its confirmation lost
        fail(f"not confirmed, and so perhaps not revoked: {error}")


async def _beat(publisher: FeedPublisher, signer: EventSigner, every: float) -> None:
    loop = asyncio.get_running_loop()
    beating = loop.create_task(keep_beating(publisher, signer, every=every))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, beating.cancel)
    typer.echo(f"A heartbeat every {every:g} s. Ctrl-C ends it.", err=True)
    # Told apart below: its cancellation must not end this function before the farewell.
    (ended,) = await asyncio.gather(beating, return_exceptions=True)
    await publisher.close()
    if isinstance(ended, Exception):  # a signal cancels it; what else ends it is no good end
        fail(f"no more heartbeats: {type(ended).__name__}: {ended}")
