"""A receiver for pushed security events (RFC 8935)."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from busauth._revocation.events import MAX_BYTES, VERIFICATION
from busauth.errors import ConfigurationError, Deferred, PublishError
from busauth.integrations.set_push import SetReceiver
from busauth.testing import ManualClock
from busauth.tokens import Key, KeyMissing
from tests.unit.revoking import ALICE, claims, signer, transmitter, transmitters, written
from tests.unit.support import NOW, Signer

SECRET = "a-secret-of-the-idp"
TYPE = "application/secevent+jwt"


@dataclass
class Feed:
    """A feed that remembers, and that can be out of reach."""

    published: list[str] = field(default_factory=list)
    fault: Exception | None = None
    closed: bool = False

    async def publish(self, event: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.published.append(event)

    async def close(self) -> None:
        self.closed = True


@dataclass
class Keys:
    """Keys that are not at hand."""

    fault: Exception | None = None
    asked: int = 0
    epoch: int = 0

    def candidates(self, key_id: str | None, algorithm: str) -> list[Key]:
        raise KeyMissing

    async def refresh(self) -> bool:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return True


@pytest.fixture
def feed() -> Feed:
    return Feed()


def receiver(feed: Feed, **settings: Any) -> SetReceiver:
    trusted = settings.pop("trusted", None) or transmitters()
    usual: dict[str, Any] = {"secret": SECRET, "clock": ManualClock(NOW)}
    return SetReceiver(trusted, feed, **(usual | settings))


@pytest.fixture
async def client(feed: Feed) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(receiver(feed)) as client:
        yield client


def asking(app: SetReceiver) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://receiver.test")


async def post(client: httpx.AsyncClient, body: str | bytes, **headers: str) -> httpx.Response:
    usual = {
        "content-type": TYPE,
        "accept": "application/json",
        "authorization": f"Bearer {SECRET}",
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/events", content=body, headers=usual | named)


async def test_an_event_is_published_as_it_was_signed(
    client: httpx.AsyncClient, feed: Feed
) -> None:
    """202 with an empty body, once the feed has confirmed the very same event."""
    raw = written()
    answer = await post(client, raw)
    assert (answer.status_code, answer.content) == (202, b"")
    assert feed.published == [raw]


async def test_the_same_event_again(client: httpx.AsyncClient, feed: Feed) -> None:
    """An event that is delivered again is answered alike, and published again.

    Its stream may have been deleted since; where it is known still, nothing follows from it.
    """
    raw = written()
    assert [(await post(client, raw)).status_code for _ in range(3)] == [202, 202, 202]
    assert feed.published == [raw] * 3


async def test_an_event_from_the_future_comes_again(client: httpx.AsyncClient, feed: Feed) -> None:
    """It may be the receiver's clock that is behind: the transmitter must not take it for lost."""
    answer = await post(client, written(claims(iat=int(NOW) + 301)))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert feed.published == []


async def test_a_test_of_the_line(client: httpx.AsyncClient, feed: Feed) -> None:
    """A verification event is accepted, and nothing follows from it."""
    answer = await post(client, written(claims(events={VERIFICATION: {}}, sub_id=...)))
    assert (answer.status_code, feed.published) == (202, [])


@pytest.mark.parametrize(
    ("body", "code", "error"),
    [
        (b"", "event.malformed", "invalid_request"),
        (b"\xff\xfe", "event.malformed", "invalid_request"),
        (written(typ="JWT"), "event.type", "invalid_request"),
        (written(claims(jti=...)), "event.claim", "invalid_request"),
        (written(claims(events={"urn:x": {}})), "event.kind", "invalid_request"),
        (written(claims(sub_id="alice")), "event.subject", "invalid_request"),
        (written(claims(iss="https://other.test")), "event.transmitter", "invalid_issuer"),
        (written(claims(aud="other")), "event.audience", "invalid_audience"),
        (written(kid="gone"), "event.key_unknown", "invalid_key"),
        (
            Signer("ES256", "mallory").sign(claims(), typ="secevent+jwt", kid="ops"),
            "event.signature",
            "invalid_key",
        ),
        (
            written(claims(sub_id={**ALICE, "iss": "https://other.test"})),
            "event.issuer",
            "access_denied",
        ),
    ],
)
async def test_errors(
    client: httpx.AsyncClient, feed: Feed, body: str | bytes, code: str, error: str
) -> None:
    """400 with the error codes of RFC 8935 as JSON; what was found is not told."""
    answer = await post(client, body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-language"] == "en"
    assert answer.json() == {"err": error, "description": code}
    assert feed.published == []


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({"authorization": ""}, 401, "authentication_failed"),
        ({"authorization": "Bearer another-secret-of-x"}, 401, "authentication_failed"),
        ({"authorization": f"Basic {SECRET}"}, 401, "authentication_failed"),
        ({"authorization": f"Bearer {SECRET}x"}, 401, "authentication_failed"),
        ({"content_type": "application/json"}, 415, "invalid_request"),
    ],
)
async def test_requests_that_are_not_read(
    client: httpx.AsyncClient, feed: Feed, headers: dict[str, str], status: int, error: str
) -> None:
    """Strangers, and what says that it is something else, are turned away unread."""
    answer = await post(client, written(), **headers)
    assert (answer.status_code, answer.json()["err"]) == (status, error)
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert feed.published == []


async def test_media_types_have_parameters_and_any_case(client: httpx.AsyncClient) -> None:
    """The content type is compared as media types are."""
    answer = await post(client, written(), content_type="Application/SecEvent+JWT; charset=utf-8")
    assert answer.status_code == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods(client: httpx.AsyncClient, method: str) -> None:
    """Events are posted, and nothing else is done here."""
    answer = await client.request(method, "/events")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_body_without_end(client: httpx.AsyncClient, feed: Feed) -> None:
    """Nothing is kept of a body that is longer than any event."""
    answer = await post(client, b"a" * (MAX_BYTES + 1))
    assert answer.status_code == 413
    assert (await post(client, b"a" * MAX_BYTES)).status_code == 400


async def test_a_body_in_pieces(client: httpx.AsyncClient, feed: Feed) -> None:
    """A body that comes in pieces is one event."""

    async def pieces() -> AsyncIterator[bytes]:
        for each in written():
            yield each.encode()

    headers = {"content-type": TYPE, "authorization": f"Bearer {SECRET}"}
    answer = await client.post("/events", content=pieces(), headers=headers)
    assert (answer.status_code, len(feed.published)) == (202, 1)


async def test_a_feed_out_of_reach(client: httpx.AsyncClient, feed: Feed) -> None:
    """503 until the feed confirms: the transmitter keeps the event and comes back."""
    raw = written()
    feed.fault = PublishError("not confirmed")
    answer = await post(client, raw)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    feed.fault = None
    assert (await post(client, raw)).status_code == 202
    assert feed.published == [raw]


async def test_an_unexpected_error_is_no_acceptance(client: httpx.AsyncClient, feed: Feed) -> None:
    """What nobody foresaw is answered 503, and tells nothing."""
    feed.fault = RuntimeError("a secret detail")
    answer = await post(client, written())
    assert (answer.status_code, answer.content) == (503, b"")


@pytest.mark.parametrize(
    ("fault", "status"), [(None, 400), (Deferred("down"), 503)], ids=["gone", "out of reach"]
)
async def test_unknown_keys(feed: Feed, fault: Exception | None, status: int) -> None:
    """Keys are asked for: one that does not exist is refused, one that may is waited for."""
    keys = Keys(fault)
    trusted = transmitters(transmitter(keys=keys))
    async with asking(receiver(feed, trusted=trusted)) as client:
        answers = [(await post(client, written())).status_code for _ in range(3)]
    assert answers == [status] * 3
    assert keys.asked == (1 if fault is None else 3)


async def test_a_heartbeat_may_come_by_http(client: httpx.AsyncClient, feed: Feed) -> None:
    """A transmitter that keeps the feed's time may do so from afar."""
    assert (await post(client, signer().heartbeat(NOW))).status_code == 202
    assert len(feed.published) == 1


async def test_without_a_secret(feed: Feed) -> None:
    """Where something in front authenticates, any request is read."""
    async with asking(receiver(feed, secret=None)) as client:
        assert (await post(client, written(), authorization="")).status_code == 202


def test_a_short_secret_is_refused(feed: Feed) -> None:
    """A secret that could be guessed is found before anything runs, and not shown."""
    with pytest.raises(ConfigurationError, match="16 or more"):
        receiver(feed, secret="short")


async def test_it_ends_with_its_server(feed: Feed) -> None:
    """At the server's end the connection to the broker is closed."""
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    said: list[str] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        said.append(message["type"])

    await receiver(feed)({"type": "lifespan"}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert feed.closed


async def test_no_event_is_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither an event nor the secret is in the log, whatever becomes of the request."""
    raw = written(claims(aud="other"))
    await post(client, raw)
    assert json.dumps(raw) not in caplog.text
    assert raw not in caplog.text
    assert SECRET not in caplog.text
