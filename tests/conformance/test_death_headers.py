"""What a dead letter carries: x-death, the headers beside it, and the message's own properties."""

from datetime import UTC, datetime

import pytest
from pamqp.commands import Basic

from tests.conformance.client import RawChannel, RawConnection
from tests.conformance.conftest import Server
from tests.conformance.lettering import (
    TYPES,
    arrival,
    bind,
    deaths,
    queue,
    reject,
    sink,
    take,
)
from tests.conformance.tables import typed_headers
from tests.conformance.versions import versions

both = pytest.mark.parametrize("kind", TYPES)
FIRST = ("x-first-death-exchange", "x-first-death-queue", "x-first-death-reason")


@versions("3.10 - 4.3")
@both
async def test_entry(
    server: Server, connection: RawConnection, channel: RawChannel, kind: str
) -> None:
    """x-death is an array of tables with these keys, types and values."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    before = datetime.now(UTC).replace(microsecond=0)
    channel.publish(b"one", source)
    reject(channel, await take(channel, source))
    await arrival(channel, dead)
    tag, entries = typed_headers(connection)["x-death"]
    ((entry_tag, entry),) = entries
    assert (tag, entry_tag) == ("A", "F")
    time_tag, time = entry.pop("time")
    assert time_tag == "T"
    assert before <= time <= datetime.now(UTC)
    assert entry == {
        "count": ("l", 1),
        "reason": ("S", "rejected"),
        "queue": ("S", source),
        "exchange": ("S", ""),
        "routing-keys": ("A", [("S", source)]),
    }


@versions("3.10 - 4.3")
@both
async def test_original_expiration(
    server: Server, connection: RawConnection, channel: RawChannel, kind: str
) -> None:
    """A message's own expiration moves from its properties into its first entry."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"one", source, expiration="20")
    letter = await arrival(channel, dead)
    assert letter.properties.expiration is None
    ((_, entry),) = typed_headers(connection)["x-death"][1]
    assert entry["reason"] == ("S", "expired")
    assert entry["original-expiration"] == ("S", "20")
    assert set(entry) == {
        *("count", "reason", "queue", "time", "exchange", "routing-keys"),
        "original-expiration",
    }


@versions("3.10 - 4.3")
@both
async def test_original_expiration_of_a_rejected_one(
    server: Server, channel: RawChannel, kind: str
) -> None:
    """The expiration moves whatever the reason, and a further death does not name it."""
    exchange, dead = await sink(server, channel)
    again, end = await sink(server, channel, "end")
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    middle = await queue(server, channel, "middle", queue_type=kind, dead_letter_exchange=again)
    await bind(channel, middle, exchange)
    channel.publish(b"one", source, expiration="60000")
    reject(channel, await take(channel, source))
    assert (await arrival(channel, dead)).headers["x-death"][0]["original-expiration"] == "60000"
    reject(channel, await take(channel, middle))
    latest, oldest = (await arrival(channel, end)).headers["x-death"]
    assert "original-expiration" not in latest
    assert oldest["original-expiration"] == "60000"


@versions("3.10 - 4.3")
@both
async def test_ttl_of_the_queue(server: Server, channel: RawChannel, kind: str) -> None:
    """A queue's TTL is no original-expiration."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, queue_type=kind, dead_letter_exchange=exchange, message_ttl=20
    )
    channel.publish(b"one", source)
    (entry,) = (await arrival(channel, dead)).headers["x-death"]
    assert entry["reason"] == "expired"
    assert "original-expiration" not in entry


@versions("3.10 - 4.3")
@both
async def test_first_death(
    server: Server, connection: RawConnection, channel: RawChannel, kind: str
) -> None:
    """x-first-death-* are strings that tell of the first death, also after the second."""
    exchange, dead = await sink(server, channel)
    again, end = await sink(server, channel, "end")
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    middle = await queue(
        server, channel, "middle", queue_type=kind, dead_letter_exchange=again, message_ttl=20
    )
    channel.publish(b"one", source)
    first = {
        "x-first-death-exchange": ("S", ""),
        "x-first-death-queue": ("S", source),
        "x-first-death-reason": ("S", "rejected"),
    }
    taken = await take(channel, source)
    await bind(channel, middle, exchange)
    reject(channel, taken)
    await arrival(channel, dead)
    headers = typed_headers(connection)
    assert {name: headers[name] for name in FIRST} == first
    letter = await arrival(channel, end)
    headers = typed_headers(connection)
    assert {name: headers[name] for name in FIRST} == first
    assert deaths(letter) == [(middle, "expired", 1), (source, "rejected", 1)]
    assert [entry["exchange"] for entry in letter.headers["x-death"]] == [exchange, ""]


@versions("3.10 - 3.12", still=True)
@both
async def test_no_last_death(server: Server, channel: RawChannel, kind: str) -> None:
    """x-death and x-first-death-* are all that is added."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"one", source)
    reject(channel, await take(channel, source))
    assert set((await arrival(channel, dead)).headers) == {"x-death", *FIRST}


@versions("3.10 - 4.3")
@both
async def test_repetition(server: Server, channel: RawChannel, kind: str) -> None:
    """A death of the same queue and reason counts up and moves to the front."""
    one, two = server.queue_name("one"), server.queue_name("two")
    for here, there in (("one", two), ("two", one)):
        await queue(
            server,
            channel,
            here,
            queue_type=kind,
            dead_letter_exchange="",
            dead_letter_routing_key=there,
        )
    channel.publish(b"x", one)
    for _ in range(2):
        reject(channel, await take(channel, one))
        reject(channel, await take(channel, two))
    content = await take(channel, one)
    assert deaths(content) == [(two, "rejected", 2), (one, "rejected", 2)]
    reject(channel, content)
    content = await take(channel, two)
    assert deaths(content) == [(one, "rejected", 3), (two, "rejected", 2)]
    entries = {entry["queue"]: entry for entry in content.headers["x-death"]}
    assert (entries[one]["exchange"], entries[one]["routing-keys"]) == ("", [one])


@versions("3.10 - 4.3")
@both
async def test_entry_of_the_first_time(server: Server, channel: RawChannel, kind: str) -> None:
    """A repeated death keeps exchange, routing keys and original-expiration of the first one."""
    exchange = await server.exchange(channel, "direct")
    source = await queue(
        server,
        channel,
        queue_type=kind,
        dead_letter_exchange="",
        dead_letter_routing_key=server.queue_name(),
    )
    await bind(channel, source, exchange, "k")
    channel.publish(b"x", "k", exchange, expiration="60000")
    for _ in range(3):
        reject(channel, await take(channel, source))
    content = await take(channel, source)
    (entry,) = content.headers["x-death"]
    assert (entry["count"], entry["exchange"]) == (3, exchange)
    assert entry["routing-keys"] == ["k"]
    assert entry["original-expiration"] == "60000"


@versions("3.10 - 4.3")
@both
async def test_reasons(server: Server, channel: RawChannel, kind: str) -> None:
    """Another reason in the same queue is another entry."""
    exchange, dead = await sink(server, channel)
    other = await queue(
        server,
        channel,
        "other",
        queue_type=kind,
        dead_letter_exchange=exchange,
        message_ttl=300,
    )
    await bind(channel, other, exchange)
    channel.publish(b"x", other)
    reject(channel, await take(channel, other))
    assert deaths(await arrival(channel, dead)) == [(other, "rejected", 1)]
    assert deaths(await arrival(channel, dead)) == [
        (other, "expired", 1),
        (other, "rejected", 1),
    ]


@versions("3.10 - 4.3")
@both
async def test_copies(server: Server, channel: RawChannel, kind: str) -> None:
    """routing-keys names the key and those in CC, not those in BCC."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    headers = {"CC": [source, "c"], "BCC": ["b"]}
    channel.publish(b"x", "a", headers=headers)
    reject(channel, await take(channel, source))
    letter = await arrival(channel, dead)
    assert letter.headers["x-death"][0]["routing-keys"] == ["a", source, "c"]
    assert letter.headers["CC"] == [source, "c"]
    assert "BCC" not in letter.headers


@versions("3.10 - 4.3")
@both
async def test_copies_of_a_dead_letter(server: Server, channel: RawChannel, kind: str) -> None:
    """Without x-dead-letter-routing-key the keys in CC and BCC route the dead letter too."""
    exchange = await server.exchange(channel, "direct")
    keys = ("a", "c", "b")
    queues = {key: await queue(server, channel, f"dead.{key}") for key in keys}
    for key, dead in queues.items():
        await bind(channel, dead, exchange, key)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"x", "a", headers={"CC": [source, "c"], "BCC": ["b"]})
    reject(channel, await take(channel, source))
    for dead in queues.values():
        assert (await arrival(channel, dead)).method.routing_key == "a"


@versions("3.10 - 3.12", still=True)
@both
async def test_copies_with_a_key(server: Server, channel: RawChannel, kind: str) -> None:
    """With x-dead-letter-routing-key the CC header goes, and its keys remain in x-death."""
    exchange, dead = await sink(server, channel)
    source = await queue(
        server, channel, queue_type=kind, dead_letter_exchange=exchange, dead_letter_routing_key="k"
    )
    channel.publish(b"x", "a", headers={"CC": [source, "c"], "kept": "h"})
    reject(channel, await take(channel, source))
    letter = await arrival(channel, dead)
    assert letter.headers["x-death"][0]["routing-keys"] == ["a", source, "c"]
    assert letter.method.routing_key == "k"
    assert letter.headers["kept"] == "h"
    assert "CC" not in letter.headers


@versions("3.10 - 3.12", still=True)
@both
async def test_republished(server: Server, channel: RawChannel, kind: str) -> None:
    """What a publisher sends as x-death is counted on, and no x-first-death-* is added to it."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    sent = {"queue": source, "reason": "rejected", "count": 41}
    other = {"queue": "other", "reason": "expired", "count": 7}
    channel.publish(b"x", source, headers={"x-death": [other, sent]})
    reject(channel, await take(channel, source))
    headers = (await arrival(channel, dead)).headers
    assert headers["x-death"] == [{**sent, "count": 42}, other]
    assert set(headers) == {"x-death"}


@versions("3.10 - 3.12", still=True)
@both
async def test_sent_by_a_publisher(server: Server, channel: RawChannel, kind: str) -> None:
    """An x-death that is no array is replaced."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    channel.publish(b"x", source, headers={"x-death": "many"})
    reject(channel, await take(channel, source))
    letter = await arrival(channel, dead)
    assert deaths(letter) == [(source, "rejected", 1)]
    assert set(letter.headers) == {"x-death"}


@versions("3.10 - 4.3")
@both
async def test_properties(
    server: Server, connection: RawConnection, channel: RawChannel, kind: str
) -> None:
    """Body, headers and properties other than the expiration are kept."""
    exchange, dead = await sink(server, channel)
    source = await queue(server, channel, queue_type=kind, dead_letter_exchange=exchange)
    values = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "message_id": "m",
        "timestamp": datetime(2024, 1, 2, tzinfo=UTC),
        "message_type": "t",
        "app_id": "a",
    }
    channel.publish(
        b"body",
        source,
        properties=Basic.Properties(headers={"h": [1, {"k": "v"}]}, **values),  # type: ignore[arg-type]
    )
    reject(channel, await take(channel, source))
    letter = await arrival(channel, dead)
    assert letter.body == b"body"
    assert {name: getattr(letter.properties, name) for name in values} == values
    assert letter.properties.expiration is None
    assert typed_headers(connection)["h"] == ("A", [("b", 1), ("F", {"k": ("S", "v")})])
