"""The revocation feed on a broker: replay, restarts, forgeries, cuts, and what a stale one does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import aiormq
import pytest
from aiormq.channel import Channel

from busauth import StaticKeys
from busauth.errors import Deferred, PublishError
from busauth.revocation import (
    CheckpointFile,
    EventSigner,
    FeedOptions,
    FeedPublisher,
    OnStale,
    RevocationFeed,
    StreamOptions,
    Target,
    Transmitters,
)
from busauth.testing import ManualClock
from busauth.tokens import Key, KeyMissing
from tests.proxy import proxied
from tests.unit.revoking import (
    FEED,
    LATENESS,
    LIFE,
    RETENTION,
    caller,
    claims,
    signer,
    transmitter,
    transmitters,
    written,
)
from tests.unit.support import ISSUER, NOW, Signer

KEY = bytes(range(32))
SECONDS = 20


@pytest.fixture
async def stream(url: str) -> AsyncIterator[str]:
    """A stream's name; the stream is deleted after the test."""
    name = f"t{uuid4().hex[:10]}.revocations"
    yield name
    await delete(url, name)


@pytest.fixture
async def publisher(url: str, stream: str) -> AsyncIterator[FeedPublisher]:
    async with FeedPublisher(url, options=StreamOptions(name=stream)) as publisher:
        yield publisher


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def file(tmp_path: Path) -> CheckpointFile:
    return CheckpointFile(tmp_path / "revoked", KEY)


async def delete(url: str, stream: str) -> None:
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_delete(stream)
    await connection.close()


def reading(
    url: str,
    stream: str,
    clock: ManualClock,
    *,
    trusted: Transmitters | None = None,
    file: CheckpointFile | None = None,
    **options: Any,
) -> RevocationFeed:
    usual: dict[str, Any] = {"stream": stream, "token_life": LIFE, "lateness": LATENESS}
    return RevocationFeed(
        url,
        trusted or transmitters(),
        options=FeedOptions(**(usual | options)),
        checkpoint=file,
        clock=clock,
    )


def revocation(clock: ManualClock, subject: str = "alice", **changes: Any) -> str:
    target = Target(issuer=ISSUER, subject=subject)
    return signer().revocation(target, now=clock.now(), **changes)


async def until(condition: Callable[[], object], clock: ManualClock | None = None) -> None:
    """Return once something has come about; on a clock that is given, time passes meanwhile."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)
            if clock is not None:
                await clock.advance(0.1)


async def at(feed: RevocationFeed, offset: int, clock: ManualClock | None = None) -> None:
    """Return once the message at an offset was read."""
    await until(lambda: feed.position is not None and feed.position.offset >= offset, clock)


async def beat(publisher: FeedPublisher, clock: ManualClock, by: EventSigner | None = None) -> None:
    await publisher.publish((by or signer()).heartbeat(clock.now()))


@asynccontextmanager
async def caught_up(
    feed: RevocationFeed, publisher: FeedPublisher, clock: ManualClock
) -> AsyncIterator[RevocationFeed]:
    """Open a feed, and beat until it has caught up."""
    async with feed:
        await catch_up(feed, publisher, clock)
        yield feed


async def catch_up(feed: RevocationFeed, publisher: FeedPublisher, clock: ManualClock) -> None:
    async with asyncio.timeout(SECONDS):
        while feed.doubt() is not None:
            await clock.advance(1.5)
            await beat(publisher, clock)
            await asyncio.sleep(0.05)


def deferred(feed: RevocationFeed, clock: ManualClock) -> str:
    """Return why nothing can be told of a caller who was not revoked."""
    with pytest.raises(Deferred) as caught:
        feed.revoked(caller("nobody", issued_at=clock.now()), clock.now())
    return caught.value.reason


async def test_it_is_replayed_and_not_relied_on_before_its_end(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """What was published before is known; nothing is told until a heartbeat after attaching."""
    await publisher.publish(revocation(clock))
    await beat(publisher, clock)
    async with reading(url, stream, clock) as feed:
        await at(feed, 1)
        assert "read to its end" in deferred(feed, clock)
        assert feed.revoked(caller(), clock.now())
        await clock.advance(1)
        await beat(publisher, clock)
        async with asyncio.timeout(SECONDS):
            await feed.ready()
        assert not feed.revoked(caller("bob"), clock.now())
        assert feed.revoked(caller(), clock.now())
        assert not feed.revoked(caller(issued_at=clock.now()), clock.now())


def test_a_feed_that_knows_nothing_is_a_feed(url: str, clock: ManualClock) -> None:
    """An empty feed is true, so that no guard takes it for none."""
    assert reading(url, "never.declared", clock)


async def test_before_it_is_opened_nothing_is_told(url: str, clock: ManualClock) -> None:
    """A feed that nobody has opened lets nothing pass."""
    feed = reading(url, "never.declared", clock)
    assert "not reached" in deferred(feed, clock)


async def test_what_is_published_later_is_known_at_once(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """An event reaches its readers without any time passing."""
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        assert not feed.revoked(caller(), clock.now())
        await publisher.publish(revocation(clock))
        await until(lambda: feed.revoked(caller(), clock.now()))


async def test_a_stream_that_comes_later(url: str, stream: str, clock: ManualClock) -> None:
    """A reader that was there before the stream waits, and reads it once it is there."""
    async with reading(url, stream, clock) as feed:
        await clock.advance(5)
        assert "not reached" in deferred(feed, clock)
        async with FeedPublisher(url, options=StreamOptions(name=stream)) as publisher:
            await catch_up(feed, publisher, clock)
        assert not feed.revoked(caller(), clock.now())


async def test_nothing_counts_that_is_not_signed_by_who_may(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """Forged, foreign, malformed and unallowed events are counted and change nothing."""
    forged = Signer("ES256", "mallory")
    attempts = [
        "no event",
        forged.sign(claims(), typ="secevent+jwt", kid="ops"),
        forged.sign(claims(), typ="secevent+jwt", kid="mallory"),
        written(claims(iss="https://mallory.test")),
        written(typ="at+jwt"),
        written(claims(aud="another-feed")),
        written(claims(sub_id={"format": "iss_sub", "iss": "https://other.test", "sub": "a"})),
        signer("https://mallory.test").heartbeat(NOW + 1),
        signer(audience="another-feed").heartbeat(NOW + 1),
    ]
    async with reading(url, stream, clock) as feed:
        for attempt in attempts:
            await publisher.publish(attempt)
        await at(feed, len(attempts) - 1)
        assert (feed.count, feed.refused.total()) == (0, len(attempts))
        assert feed.refused["event.key_unknown"] == 1
        assert feed.doubt() is not None
        await publisher.publish(revocation(clock))
        await until(lambda: feed.count == 1)


async def test_repeated_events_change_nothing(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """Old events and heartbeats that somebody sends again revoke no later token, nor hide a gap."""
    raw, heartbeat = revocation(clock), signer().heartbeat(clock.now())
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        await publisher.publish(raw)
        await until(lambda: feed.count)
        assert feed.position
        last = feed.position.offset
        await clock.advance(31)
        for each in [raw, heartbeat] * 10:
            await publisher.publish(each)
        await at(feed, last + 20, clock)
        assert feed.count == 1
        assert "heartbeat" in deferred(feed, clock)
        await catch_up(feed, publisher, clock)
        assert not feed.revoked(caller(issued_at=clock.now()), clock.now())


async def test_a_flood_of_rubbish_delays_nothing_for_long(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """Behind thousands of messages that are nothing, an event still arrives, and is told once."""
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        forged = Signer("ES256", "mallory").sign(claims(), typ="secevent+jwt", kid="ops")
        await flood(url, stream, [b"rubbish", b"x" * 9000, forged.encode()] * 1000)
        await publisher.publish(revocation(clock))
        await until(lambda: feed.revoked(caller(), clock.now()))
        assert feed.refused == {"event.malformed": 2000, "event.signature": 1000}


async def flood(url: str, stream: str, bodies: list[bytes]) -> None:
    connection = await aiormq.connect(url)
    channel = cast("Channel", await connection.channel())
    for body in bodies:
        await channel.basic_publish(body, routing_key=stream, wait=False)
    await connection.close()


async def test_time_passes_and_it_is_stale(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """Without heartbeats the feed counts as stale, and a new one ends that."""
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        await publisher.publish(revocation(clock))
        await until(lambda: feed.count)
        await clock.advance(31)
        assert "heartbeat is" in deferred(feed, clock)
        assert feed.revoked(caller(), clock.now())
        await catch_up(feed, publisher, clock)
        assert not feed.revoked(caller("bob"), clock.now())


async def test_going_on_while_it_is_stale(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """Where the operator says so, a stale feed is gone by as it is, and says that it is stale."""
    feed = reading(url, stream, clock, on_stale=OnStale.GO_ON)
    async with caught_up(feed, publisher, clock):
        await publisher.publish(revocation(clock))
        await until(lambda: feed.count)
        await clock.advance(minutes=10)
        assert feed.doubt() is not None
        assert feed.revoked(caller(), clock.now())
        assert not feed.revoked(caller("bob", issued_at=clock.now()), clock.now())


async def test_a_cut_connection(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """After a cut, reading goes on where it was, and what came meanwhile is known."""
    async with (
        proxied(url) as (proxy, address),
        caught_up(reading(address, stream, clock), publisher, clock) as feed,
    ):
        await publisher.publish(revocation(clock))
        await until(lambda: feed.count)
        read = feed._read
        proxy.cut()
        await publisher.publish(revocation(clock, "bob"))
        await until(lambda: feed.count == 2, clock)
        assert feed.revoked(caller("bob"), clock.now())
        assert feed._read <= read + 2
        await catch_up(feed, publisher, clock)


async def test_a_cut_in_the_middle_of_a_replay(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """However often the connection is cut, everything is read in the end."""
    await flood(url, stream, [revocation(clock, f"user-{n}").encode() for n in range(600)])
    async with proxied(url) as (proxy, address), reading(address, stream, clock) as feed:
        for share in (100, 300, 500):
            await until(lambda share=share: feed.count >= share, clock)  # type: ignore[misc]
            proxy.cut()
            await until(lambda: not feed._attached)
        await until(lambda: feed.count == 600, clock)


async def test_a_cut_before_the_last_message_was_read_once_more(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """However often a connection is cut at its beginning, reading goes on where it was."""
    async with (
        proxied(url) as (proxy, address),
        caught_up(reading(address, stream, clock), publisher, clock) as feed,
    ):
        for subject in ("a", "b", "c"):
            await publisher.publish(revocation(clock, subject))
        await until(lambda: feed.count == 3)
        known = feed.position
        proxy.delay = 0.05
        for _ in range(3):
            proxy.cut()
            await until(lambda: not feed._attached, clock)
            await until(lambda: feed._attached, clock)
        assert feed.position == known
        proxy.delay = 0.0
        await catch_up(feed, publisher, clock)


async def test_a_restart_reads_on(
    url: str,
    stream: str,
    publisher: FeedPublisher,
    clock: ManualClock,
    file: CheckpointFile,
) -> None:
    """From a checkpoint, only what came since is read, and everything is known."""
    for number in range(50):
        await publisher.publish(revocation(clock, f"user-{number}"))
    async with caught_up(reading(url, stream, clock, file=file), publisher, clock):
        pass
    await publisher.publish(revocation(clock, "late"))
    again = reading(url, stream, clock, file=file)
    async with caught_up(again, publisher, clock):
        assert again._read < 30
        assert again.count == 51
        for subject in ("user-0", "user-49", "late"):
            assert again.revoked(caller(subject), clock.now())


async def test_checkpoints_are_written_while_it_runs(
    url: str,
    stream: str,
    publisher: FeedPublisher,
    clock: ManualClock,
    file: CheckpointFile,
) -> None:
    """A process that is killed has written down what it knew a minute ago."""
    feed = reading(url, stream, clock, file=file, checkpoint_every=60)
    async with caught_up(feed, publisher, clock):
        await clock.advance(60)
        await until(file.path.exists)


@pytest.mark.parametrize("then", ["damaged", "another key", "other trust", "longer memory", "old"])
async def test_an_unusable_checkpoint(
    url: str,
    stream: str,
    publisher: FeedPublisher,
    clock: ManualClock,
    file: CheckpointFile,
    then: str,
) -> None:
    """What cannot be trusted or no longer fits is not used: everything is read anew."""
    await publisher.publish(revocation(clock))
    async with caught_up(reading(url, stream, clock, file=file), publisher, clock) as feed:
        offset = feed.position.offset if feed.position else 0
    settings: dict[str, Any] = {"file": file}
    if then == "damaged":
        file.path.write_bytes(file.path.read_bytes()[:-40])
    elif then == "another key":
        settings["file"] = CheckpointFile(file.path, bytes(32))
    elif then == "other trust":
        settings["trusted"] = transmitters(transmitter(), transmitter("https://new.test"))
    elif then == "longer memory":
        settings["lateness"] = 2 * LATENESS
    else:
        await clock.advance(RETENTION + 1)
        await publisher.publish(revocation(clock))
    async with reading(url, stream, clock, **settings) as again:
        await until(lambda: again.count == 1)
        await at(again, offset)
        assert again._read >= offset


async def test_a_stream_that_is_another_one(
    url: str, stream: str, clock: ManualClock, file: CheckpointFile
) -> None:
    """Where the last message is not the one that it was, everything is read anew, and kept."""
    options = StreamOptions(name=stream)
    async with FeedPublisher(url, options=options) as publisher:
        await publisher.publish(revocation(clock, "before"))
        async with caught_up(reading(url, stream, clock, file=file), publisher, clock) as feed:
            offset = feed.position.offset if feed.position else 0
    await delete(url, stream)
    async with FeedPublisher(url, options=options) as publisher:
        await publisher.publish(revocation(clock, "after"))
        for _ in range(offset + 5):
            await beat(publisher, clock)
        again = reading(url, stream, clock, file=file)
        async with caught_up(again, publisher, clock):
            assert again.revoked(caller("before"), clock.now())
            assert again.revoked(caller("after"), clock.now())


async def test_a_stream_that_is_shorter_than_it_was(
    url: str, stream: str, clock: ManualClock, file: CheckpointFile
) -> None:
    """Where nothing comes from the last position on, everything is read anew."""
    options = StreamOptions(name=stream)
    async with FeedPublisher(url, options=options) as publisher:
        for _ in range(20):
            await beat(publisher, clock)
        async with caught_up(reading(url, stream, clock, file=file), publisher, clock):
            pass
    await delete(url, stream)
    async with FeedPublisher(url, options=options) as publisher:
        await publisher.publish(revocation(clock))
        again = reading(url, stream, clock, file=file)
        async with again:
            await until(lambda: again._attached)
            assert again.doubt() is not None
            await clock.advance(30)
            await until(lambda: again.count == 1, clock)
            await catch_up(again, publisher, clock)


async def test_a_stream_that_is_deleted_while_it_is_read(
    url: str, stream: str, clock: ManualClock
) -> None:
    """A feed that is gone becomes stale; what was known stays known; it is read when it is back."""
    options = StreamOptions(name=stream)
    async with FeedPublisher(url, options=options) as publisher:
        await publisher.publish(revocation(clock))
        async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
            await delete(url, stream)
            await until(lambda: not feed._attached)
            await clock.advance(31)
            assert "heartbeat" in deferred(feed, clock)
            async with FeedPublisher(url, options=options) as again:
                await again.publish(revocation(clock, "bob"))
                await catch_up(feed, again, clock)
            assert feed.revoked(caller(), clock.now())
            assert feed.revoked(caller("bob"), clock.now())


async def test_a_full_memory_reads_no_further(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """What does not fit is waited for, never skipped: the feed is stale until there is room."""
    async with caught_up(reading(url, stream, clock, capacity=2), publisher, clock) as feed:
        for subject in ("a", "b", "c"):
            await publisher.publish(revocation(clock, subject))
        await beat(publisher, clock)
        await until(lambda: feed.count == 2)
        await clock.advance(31)
        assert "heartbeat" in deferred(feed, clock)
        assert not feed.refused


class Keys:
    """A transmitter's keys that cannot be had at first."""

    def __init__(self) -> None:
        self.down, self.known = True, False
        self._keys = StaticKeys([Signer("ES256", "ops").jwk()])
        self.epoch = 0

    def candidates(self, key_id: str | None, algorithm: str) -> Any:
        if not self.known:
            raise KeyMissing
        found: list[Key] = list(self._keys.candidates(key_id, algorithm))
        return found

    async def refresh(self) -> bool:
        if self.down:
            raise Deferred("no keys")
        self.known = True
        return True


async def test_keys_that_are_out_of_reach(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """An event whose key cannot be had now is waited for, and counts once it can."""
    keys = Keys()
    trusted = transmitters(transmitter(keys=keys))
    async with reading(url, stream, clock, trusted=trusted) as feed:
        await publisher.publish(revocation(clock))
        await until(lambda: feed._attached)
        await clock.advance(3)
        assert (feed.count, feed.refused.total()) == (0, 0)
        keys.down = False
        await clock.advance(1)
        await until(lambda: feed.count == 1)


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
async def test_clocks_that_disagree(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock, ahead: float
) -> None:
    """Where a reader's clock is wrong by an hour, the feed is stale: nothing is let pass."""
    wrong = ManualClock(NOW + ahead)
    async with reading(url, stream, wrong) as feed:
        for _ in range(3):
            await clock.advance(1)
            await wrong.advance(1)
            await beat(publisher, clock)
        await until(lambda: feed._read == 3)
        assert deferred(feed, wrong)


class JumpingClock(ManualClock):
    """A wall clock that somebody sets."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


async def test_a_clock_that_is_set_ahead_for_a_moment(
    url: str, stream: str, publisher: FeedPublisher
) -> None:
    """What is remembered is not forgotten by a wrong clock: signed time has to pass as well."""
    clock = JumpingClock(NOW)
    await publisher.publish(revocation(clock))
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        heartbeat = signer().heartbeat(clock.now() + 1)
        assert feed.position
        last = feed.position.offset
        clock.ahead = 10 * RETENTION
        await publisher.publish(heartbeat)
        await at(feed, last + 1)
        clock.ahead = 0.0
        assert feed.revoked(caller(), clock.now())


async def test_a_clock_that_is_ahead_while_attaching(
    url: str, stream: str, publisher: FeedPublisher
) -> None:
    """Once it is right again, the next heartbeat ends the doubt, and not an hour later."""
    clock = JumpingClock(NOW)
    clock.ahead = 3600.0
    async with reading(url, stream, clock) as feed:
        await until(lambda: feed._attached)
        clock.ahead = 0.0
        await clock.advance(1)
        await beat(publisher, clock)
        await until(lambda: feed.doubt() is None)
        assert not feed.revoked(caller("bob"), clock.now())


@pytest.mark.parametrize("policy", list(OnStale))
async def test_a_clock_that_is_years_ahead_while_attaching(
    url: str, stream: str, publisher: FeedPublisher, file: CheckpointFile, policy: OnStale
) -> None:
    """What was published before is not left out: once the clock is right, everything is read anew.

    Until then nothing is told, and no checkpoint takes the half for the whole.
    """
    clock = JumpingClock(NOW)
    await publisher.publish(revocation(clock))
    clock.ahead = 20 * 365 * 24 * 3600.0
    async with reading(url, stream, clock, file=file, on_stale=policy) as feed:
        await until(lambda: feed._attached)
        clock.ahead = 0.0
        await clock.advance(1)
        await beat(publisher, clock)
        await at(feed, 1)
        assert feed.count == 0
        assert "beginning" in deferred(feed, clock)
        await feed._save(feed._keeper)  # type: ignore[arg-type]  # there is a file
        assert not file.path.exists()
        await until(lambda: feed.count == 1, clock)
        await catch_up(feed, publisher, clock)
        assert feed.revoked(caller(), clock.now())


async def test_a_clock_that_is_behind_for_a_moment_loses_no_revocation(
    url: str, stream: str, publisher: FeedPublisher
) -> None:
    """What seems to come from the future is judged again when a heartbeat says what time it is."""
    clock = JumpingClock(NOW)
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        read, known = feed._read, feed.position
        raw = revocation(clock)
        clock.ahead = -1000.0
        await publisher.publish(raw)
        await until(lambda: feed._read == read + 1)
        assert (feed.count, feed.refused.total(), feed.position) == (0, 0, known)
        clock.ahead = 0.0
        await clock.advance(1)
        await beat(publisher, clock)
        await until(lambda: feed._read == read + 2)
        assert feed.revoked(caller(), clock.now())
        assert feed.position != known


async def test_an_event_from_the_future_is_refused_in_the_end(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """It holds nothing up, is counted once however often it comes, and changes nothing."""
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        read = feed._read
        raw = written(claims(iat=int(clock.now()) + 10_000))
        for _ in range(5):
            await publisher.publish(raw)
        await clock.advance(1)
        await beat(publisher, clock)
        await until(lambda: feed._read == read + 6)
        assert feed.refused == {"event.issued_in_future": 1}
        assert (feed.count, feed.doubt()) == (0, None)


async def test_too_many_events_from_the_future_are_not_read_on(
    url: str, stream: str, publisher: FeedPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be held is waited for: the feed is stale until the clock is right."""
    monkeypatch.setattr("busauth._amqp.feed.feed._MOST_AHEAD", 3)
    clock = JumpingClock(NOW)
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        read = feed._read
        raws = [revocation(clock, f"user-{number}") for number in range(6)]
        clock.ahead = -1000.0
        for raw in raws:
            await publisher.publish(raw)
        await until(lambda: feed._read == read + 3)
        await clock.advance(31)
        assert feed._read == read + 3
        clock.ahead = 0.0
        await clock.advance(1)
        await catch_up(feed, publisher, clock)
        assert feed.count == 6


class NoKeys:
    """Keys of somebody who has one, and is asked for others."""

    def __init__(self) -> None:
        self.asked, self.epoch = 0, 0
        self._keys = StaticKeys([Signer("ES256", "ops").jwk()])

    def candidates(self, key_id: str | None, algorithm: str) -> Any:
        return self._keys.candidates(key_id, algorithm)

    async def refresh(self) -> bool:
        self.asked += 1
        return True


async def test_names_of_keys_that_nobody_has_do_not_keep_it_waiting(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """A pile of events with such names costs one question for all that had come by then."""
    forged, keys = Signer("ES256", "mallory"), NoKeys()
    names = [f"mallory-{number}" for number in range(400)]
    pile = [forged.sign(claims(), typ="secevent+jwt", kid=name).encode() for name in names]
    await flood(url, stream, pile)
    trusted = transmitters(transmitter(keys=keys))
    async with caught_up(reading(url, stream, clock, trusted=trusted), publisher, clock) as feed:
        assert feed.refused["event.key_unknown"] == 400
        assert keys.asked < 40


async def test_a_queue_that_is_no_stream(
    url: str, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is taken from it, and nothing is told of anybody while it stands in the way."""
    name = f"t{uuid4().hex[:10]}.queue"
    connection = await aiormq.connect(url)
    channel = cast("Channel", await connection.channel(publisher_confirms=True))
    await channel.queue_declare(name, durable=True)
    await channel.basic_publish(revocation(clock).encode(), routing_key=name)
    async with reading(url, name, clock) as feed:
        await until(lambda: "feed was lost" in caplog.text)
        assert deferred(feed, clock)
        assert (feed.count, feed.position) == (0, None)
    declared = await channel.queue_declare(name, passive=True)
    assert declared.message_count == 1
    await channel.queue_delete(name)
    await connection.close()


async def test_a_publisher_declares_a_stream_that_was_deleted(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """What is published into nothing is told, and the next event finds a stream again."""
    await publisher.publish(revocation(clock))
    await delete(url, stream)
    with pytest.raises(PublishError):
        await publisher.publish(revocation(clock))
    await publisher.publish(revocation(clock))
    async with reading(url, stream, clock) as feed:
        await until(lambda: feed.count == 1)


async def test_it_forgets_what_can_no_longer_matter(
    url: str, stream: str, publisher: FeedPublisher, clock: ManualClock
) -> None:
    """As time passes and heartbeats come, memory is given back."""
    await publisher.publish(revocation(clock))
    async with caught_up(reading(url, stream, clock), publisher, clock) as feed:
        assert feed.count == 1
        await clock.advance(RETENTION * 1.2)
        await until(lambda: feed._attached, clock)
        await catch_up(feed, publisher, clock)
        assert feed.count == 0


async def test_the_publisher_connects_again(url: str, stream: str, clock: ManualClock) -> None:
    """After its connection was lost, a publisher opens another for the next event."""
    async with (
        proxied(url) as (proxy, address),
        FeedPublisher(address, options=StreamOptions(name=stream)) as publisher,
    ):
        await publisher.publish(revocation(clock))
        proxy.cut()
        attempt = publisher._writer._own._kept.here.attempt
        assert attempt is not None
        await until(lambda: attempt.result().is_closed)
        await publisher.publish(revocation(clock, "bob"))
    async with reading(url, stream, clock) as feed:
        await until(lambda: feed.count == 2)


async def test_two_publishers_declare_one_stream(url: str, stream: str) -> None:
    """A stream that is there is used, however long it keeps its events."""
    for max_age in (3600.0, 7200.0):
        options = StreamOptions(name=stream, max_age=max_age)
        async with FeedPublisher(url, options=options) as publisher:
            await publisher.publish(signer(audience=FEED).heartbeat(NOW))
