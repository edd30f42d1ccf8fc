"""Security events over HTTP: a receiver for push delivery (RFC 8935), as an ASGI application.

```python
from busauth.integrations.set_push import SetReceiver

app = SetReceiver(transmitters, FeedPublisher("amqp://localhost/"), secret=secret)
```

An identity provider posts a signed event; the receiver holds it to the same rules as every reader
of the feed, and answers 202 once the broker has confirmed it. The event goes into the feed as it
was signed, so that readers need not trust the receiver. An event that was sent again is published
again, which changes nothing where it is known, and restores it where the stream was deleted.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

from busauth._retold import ExcInfo, retold, words_of
from busauth._revocation.events import MAX_BYTES, TYPE, EventReader, Transmitters
from busauth.audit import LOGGER, Lines
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, Deferred, PublishError, Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MEDIA_TYPE = f"application/{TYPE}"
_MIN_SECRET = 16  # characters: fewer are guessed, as nothing here counts the attempts
_KEY_SECONDS = 10.0  # for keys to be fetched: who pushes has a timeout of its own, and sends again

_ERRORS: Mapping[str, str] = {
    "event.transmitter": "invalid_issuer",
    "event.audience": "invalid_audience",
    "event.algorithm": "invalid_key",
    "event.key_unknown": "invalid_key",
    "event.signature": "invalid_key",
    "event.issuer": "access_denied",
    "event.heartbeat": "access_denied",
}
"""The error codes of RFC 8935, section 2.4; everything else is ``invalid_request``."""

_AHEAD = "event.issued_in_future"
"""An event to be sent again: it may be our clock that is behind, and what is refused is lost."""


class Outbound(Protocol):
    """What publishes to the feed: a `FeedPublisher`."""

    async def publish(self, event: str) -> None:
        """Return once an event is confirmed."""
        ...

    async def close(self) -> None:
        """Close what was opened."""
        ...


@dataclass(frozen=True, slots=True)
class _Answer:
    """A status, and what RFC 8935 has it say."""

    status: int
    error: str | None = None
    description: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def body(self) -> bytes:
        if self.error is None:
            return b""
        return json.dumps({"err": self.error, "description": self.description}).encode()


class SetReceiver:
    """An ASGI application for one path; mount it where the identity provider posts to.

    Args:
        transmitters: whose events are taken.
        publisher: of the feed.
        secret: what requests must carry as ``Authorization: Bearer``, 16 characters or more; None
            where something in front of this authenticates. Events count by their signatures; the
            secret keeps strangers from making this look for keys.
        clock: what events are judged by.

    Raises:
        ConfigurationError: the secret is too short.
    """

    def __init__(
        self,
        transmitters: Transmitters,
        publisher: Outbound,
        *,
        secret: str | None,
        clock: Clock | None = None,
    ) -> None:
        if secret is not None and len(secret) < _MIN_SECRET:
            raise ConfigurationError(f"a secret of {len(secret)}: expected {_MIN_SECRET} or more")
        clock = clock or SystemClock()
        self._reader = EventReader(transmitters, clock)
        self._lines = Lines(clock)
        self._publisher = publisher
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or accompany the server from its start to its end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await _send(send, await self._answer(scope, receive))

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._lines.close()
                await self._publisher.close()  # before its answer: the loop may end with that
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        headers = {name.lower(): value for name, value in scope["headers"]}
        refused = self._unacceptable(scope["method"], headers)
        if refused is not None:
            return refused
        body = await _body(receive)  # only now: a stranger's is not read
        if body is None:
            return _Answer(413, "invalid_request", f"expected at most {MAX_BYTES} bytes")
        try:
            # Never fails to decode: what is no token is refused as such.
            return await self._taken(body.decode("latin-1"))
        except Refused as error:
            self._log(error.code, "a pushed event was refused", error.detail)
            # Not what was found: a transmitter that nobody knows learns nothing about the others.
            if error.code != _AHEAD:
                return _Answer(400, _ERRORS.get(error.code, "invalid_request"), error.code)
        except (Deferred, PublishError, TimeoutError) as error:
            sort = type(error).__name__
            self._log(sort, "a pushed event could not be taken", f"{sort} {words_of(error)}")
        except Exception as error:  # a server's answer of its own might tell what was found
            sort = type(error).__name__
            self._log(sort, "the receiver failed", sort, retold(error))
        return _Answer(503, headers=((b"retry-after", b"5"),))

    def _log(self, sort: str, what: str, why: str, error: ExcInfo | None = None) -> None:
        """Log what happened; whoever may push must not fill the log."""
        if self._lines.admit(what, sort):
            LOGGER.warning("%s: %s", what, why, exc_info=error)

    def _unacceptable(self, method: str, headers: Mapping[bytes, bytes]) -> _Answer | None:
        if method != "POST":
            return _Answer(405, headers=((b"allow", b"POST"),))
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        # Compared in a time that says nothing of how much of it was right.
        if self._secret is not None and not (
            scheme.lower() == b"bearer"
            and hmac.compare_digest(given.strip(), self._secret.encode())
        ):
            challenge = ((b"www-authenticate", b"Bearer"),)
            return _Answer(401, "authentication_failed", "expected a bearer secret", challenge)
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type.decode("latin-1") != _MEDIA_TYPE:
            return _Answer(415, "invalid_request", f"expected Content-Type {_MEDIA_TYPE}")
        return None

    async def _taken(self, raw: str) -> _Answer:
        async with asyncio.timeout(_KEY_SECONDS):
            event = await self._reader.read(raw)
        if event.is_heartbeat or event.targets:  # what ends no token is taken, and goes nowhere
            await self._publisher.publish(raw)
        return _Answer(202)


async def _body(receive: Receive) -> bytes | None:
    """Return the body, None where it is longer than any event."""
    body, more = b"", True
    while more and len(body) <= MAX_BYTES:  # what it says of its length may be a lie
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body if len(body) <= MAX_BYTES else None


async def _send(send: Send, answer: _Answer) -> None:
    described = [(b"content-type", b"application/json"), (b"content-language", b"en")]
    headers = [
        (b"content-length", str(len(answer.body)).encode()),
        (b"cache-control", b"no-store"),
        *(described if answer.error is not None else ()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
