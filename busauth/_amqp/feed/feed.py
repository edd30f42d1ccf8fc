"""The revocation feed, read by a consumer: what was revoked, and whether that is all.

Events are read in order, each is judged, and the position moves on after it. A checkpoint, or an
earlier connection, says where to read on: there the last message is read once more, and must be the
one that it was. Where it is not (the stream was deleted, cut short, or is another one), everything
is read anew, and nothing that is known is forgotten for it.

What cannot be judged now (keys out of reach, no room) is waited for, never skipped: the feed
becomes stale, and its policy decides. What is refused is counted, logged and skipped: nobody who
may say so has said it. But an event that is ahead of the clock may be genuine, and the clock wrong:
it is judged once more when a heartbeat shows that the clock is right, and the position stays before
it until then.
"""

import asyncio
import math
import time
from collections import Counter
from contextvars import Context
from datetime import datetime
from hashlib import sha256
from types import TracebackType
from typing import Self

import aiormq.exceptions

from busauth._amqp.connecting.address import broker_url
from busauth._amqp.connecting.running import Phase, Running
from busauth._amqp.feed.attachment import Attachment, DetachedError, Reading, attach, since
from busauth._amqp.feed.keeper import Keeper
from busauth._amqp.feed.options import FeedOptions
from busauth._amqp.publishing.publisher import was_cancelled
from busauth._arguments import checked
from busauth._retold import retold
from busauth._revocation import CheckpointFile, FeedHealth, Position, RevokedTokens
from busauth._revocation.events import EventReader, SecurityEvent, Transmitters
from busauth.audit import LOGGER
from busauth.caller import Caller
from busauth.clock import Clock, SystemClock
from busauth.errors import BadMessage, ConfigurationError, Deferred, Refused

# What an operator or a broker can cure: the log says it in a line, and needs no traceback.
_GONE = (OSError, TimeoutError, aiormq.exceptions.AMQPError, ConfigurationError)
_MARGIN = 3600.0
"""Seconds before the retention at which reading begins: brokers' clocks and chunks are coarse."""

_TURN = 20
"""Messages that are judged before others may run."""

_AHEAD = "event.issued_in_future"
_MOST_AHEAD = 1000
"""Events that are ahead of the clock and held; where there are more, the feed is not read on."""


class RevocationFeed:
    """Knows which tokens were revoked: `Guard(revocations=feed)`, and `async with feed`.

    Args:
        url: the broker.
        transmitters: whose events count.
        options: retention, staleness, bounds.
        checkpoint: where what is known is kept between restarts.
        clock: the guard's.

    Attributes:
        refused: how many events were refused, by code.
        session_claim: the claim that names a token's session.

    Raises:
        ConfigurationError: the URL could never connect.
    """

    @checked
    def __init__(
        self,
        url: str,
        transmitters: Transmitters,
        *,
        options: FeedOptions | None = None,
        checkpoint: CheckpointFile | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._url = broker_url(url)
        options = self._options = options or FeedOptions()
        self.session_claim = options.session_claim
        self._clock = clock or SystemClock()
        self._monotonic = time.monotonic if clock is None else clock.monotonic
        self._reader = EventReader(transmitters, self._clock)
        self._tokens = RevokedTokens(
            retention=options.retention,
            token_life=options.token_life,
            capacity=options.capacity,
            key=checkpoint.digest_key if checkpoint is not None else None,
            session_claim=options.session_claim,
        )
        self._health = FeedHealth(options.stale_after, options.on_stale, self._clock.monotonic())
        self._keeper = Keeper(checkpoint, options, transmitters) if checkpoint else None
        self.refused: Counter[str] = Counter()
        self._position: Position | None = None
        self._ahead: dict[str, Reading] = {}
        self._read = 0
        self._attached = False
        self._moved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._running = Running("the revocation feed", "one of `async with feed` and `feed.open()`")

    @property
    def options(self) -> FeedOptions:
        """Return how it is read, as given or by default."""
        return self._options

    @property
    def count(self) -> int:
        """Return how many revocations are remembered."""
        return self._tokens.count

    @property
    def position(self) -> Position | None:
        """Return the last message up to which everything is judged, None where none is."""
        return self._position

    @property
    def lag(self) -> float | None:
        """Return how many seconds old the newest heartbeat is, None before there was one."""
        newest = self._health.newest
        return None if newest == -math.inf else self._clock.now() - newest

    def revoked(self, caller: Caller, now: float) -> bool:
        """Return whether a token was revoked; what is known to be is, however stale the feed.

        Raises:
            Deferred: the feed cannot be relied on now, and its policy is to wait.
        """
        if self._tokens.revoked(caller, now):
            return True
        monotonic = self._monotonic()
        if self._health.holds(now, monotonic):
            return False
        objection = self._health.objection(now, monotonic)
        if objection is not None:
            raise Deferred(f"the revocation feed: {objection}", probe=self.ready)
        return False

    def doubt(self) -> str | None:
        """Return why the feed cannot be relied on now, None where it can; for health checks."""
        return self._health.doubt(self._clock.now(), self._clock.monotonic())

    async def ready(self) -> None:
        """Return once messages may be handled."""
        while self._health.objection(self._clock.now(), self._clock.monotonic()) is not None:
            self._moved.clear()
            await self._moved.wait()

    @property
    def is_open(self) -> bool:
        """Return whether it reads, or tries to: from `open` until `close`."""
        return bool(self._tasks)

    async def open(self) -> None:
        """Take over the checkpoint, if there is one, and begin to read.

        Raises:
            ConfigurationError: it reads already.
        """
        self._running.begin(Phase.RUNNING)
        try:
            self._moved = asyncio.Event()  # the last one may belong to another loop
            self._health.read(self._clock.monotonic())
            keeper, now = self._keeper, self._clock.now()
            if keeper is not None:  # in a thread: a file of many takes its time
                self._position = await asyncio.to_thread(keeper.restore, self._tokens, now)
            loop = asyncio.get_running_loop()
            tasks = [self._run()] if keeper is None else [self._run(), self._keep(keeper)]
            # In a context of their own: they outlive whoever opens it, a caller in scope perhaps.
            self._tasks = [loop.create_task(task, context=Context()) for task in tasks]
        except BaseException:
            self._running.end()
            raise

    async def close(self) -> None:
        """Stop reading, and write a checkpoint."""
        for task in self._tasks:
            task.cancel()
        # Ended, and not only cancelled: what is written then does not change any more.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        try:
            if self._keeper is not None:
                await self._save(self._keeper)
        finally:
            self._running.end()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- reading --------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Read for ever; whatever goes wrong, attach again."""
        while True:
            try:
                await self._follow()
            except asyncio.CancelledError:  # not this task's: aiormq cancels who waits
                if was_cancelled():
                    raise
            except _GONE as error:
                LOGGER.warning("the revocation feed was lost: %s %s", type(error).__name__, error)
            except Exception as error:
                LOGGER.error("the revocation feed failed", exc_info=retold(error))
            self._moved.set()  # who waits looks again at what the feed's policy says now
            await self._clock.sleep(self._options.reconnect)

    async def _follow(self) -> None:
        options = self._options
        attachment = await attach(
            self._url,
            options.stream,
            self._start(),
            prefetch=options.prefetch,
            monotonic=self._clock.monotonic,
        )
        self._attached = True
        self._ahead.clear()  # they come again
        loop = asyncio.get_running_loop()
        watch = loop.create_task(self._watch(attachment), context=Context())
        try:
            self._health.attached(self._clock.now(), self._clock.monotonic())
            await self._read_on(attachment)
        finally:
            self._attached = False
            watch.cancel()
            await attachment.close()

    def _start(self) -> int | datetime:
        if self._position is not None:
            return self._position.offset
        now = self._clock.now()  # one instant for both: reading begins before what it vouches for
        self._health.begins(now - _MARGIN)
        return since(now - self._options.retention - _MARGIN)

    async def _read_on(self, attachment: Attachment) -> None:
        if (known := self._position) is not None:
            # The last message once more: where it is not the same, the stream is not, either.
            if _position(await attachment.read()) != known:
                self._position = None
                raise DetachedError(f"offset {known.offset} holds something else: it is read anew")
            self._read += 1
        while True:
            await self._take(await attachment.read())
            self._read += 1
            if self._read % _TURN == 0:
                await asyncio.sleep(0)

    async def _watch(self, attachment: Attachment) -> None:
        """Detach where not even heartbeats come: a cut connection says nothing of it.

        Where nothing came at all, the position may be one that the stream does not have any more.
        Where a clock that was ahead has told from when on to read, everything is read anew.
        """
        begun = self._read
        while True:
            before = self._read
            await self._clock.sleep(self._options.stale_after)
            self._moved.set()
            if self._read == before:
                self._position = None if before == begun else self._position
                attachment.detach(f"nothing came for {self._options.stale_after:g} s")
            elif not self._health.covers(self._clock.now()):
                self._position = None
                attachment.detach("a clock that was ahead has told where to begin")

    async def _take(self, reading: Reading) -> None:
        try:
            event = await self._judged(reading)
        except Refused as refused:
            if refused.code == _AHEAD:  # by its digest: after a reconnection it comes again
                self._ahead.setdefault(_position(reading).sha256, reading)
            else:
                self._count(refused, reading)
        else:
            await self._apply(event)
        if not self._ahead:  # or a restart would begin behind what is still to be judged
            self._position = _position(reading)
        self._health.read(self._clock.monotonic())

    async def _judged(self, reading: Reading) -> SecurityEvent:
        raw = reading.body.decode("latin-1")  # never fails: what is no token is refused as such
        while True:
            try:
                return await self._reader.read(raw, arrived=reading.arrived)
            except Deferred as deferred:
                LOGGER.warning("the revocation feed waits: %s", deferred)
            except BadMessage as refused:
                if refused.code != _AHEAD or len(self._ahead) < _MOST_AHEAD:
                    raise
                LOGGER.warning("the revocation feed waits: a clock is behind: %s", refused.detail)
            await self._clock.sleep(self._options.reconnect)

    async def _catch_up_with_ahead(self) -> None:
        """Judge what was ahead of the clock for good: a heartbeat says that the clock is right."""
        ahead, self._ahead = self._ahead, {}
        for reading in ahead.values():
            try:
                event = await self._judged(reading)
            except Refused as refused:
                self._count(refused, reading)
            else:
                await self._apply(event)

    async def _apply(self, event: SecurityEvent) -> None:
        if event.is_heartbeat:
            # What was ahead is judged first: `beat` says that all is known up to here.
            await self._catch_up_with_ahead()
            self._health.beat(event.issued_at, self._clock.monotonic())
            self._sweep()
            self._moved.set()
            return
        while True:
            try:
                self._tokens.add(event)
            except Deferred as deferred:
                LOGGER.error("the revocation feed waits: %s", deferred)
                # There is room once some are forgotten.
                await self._clock.sleep(self._options.reconnect)
                self._sweep()
            else:
                return

    def _sweep(self) -> None:
        """Forget by signed time, too: a clock that is ahead for a moment must not empty it."""
        self._tokens.sweep(min(self._clock.now(), self._health.newest))

    def _count(self, refused: Refused, reading: Reading) -> None:
        """Count a refusal, and log the 1st, 2nd, 4th and so on: a flood must not fill the logs."""
        self.refused[refused.code] += 1
        count = self.refused[refused.code]
        if count & (count - 1) == 0:
            LOGGER.warning(
                "the revocation feed: offset %d is refused, %s (%d so far)",
                reading.offset, refused.detail, count,
            )  # fmt: skip

    async def _keep(self, keeper: Keeper) -> None:
        while True:
            await self._clock.sleep(self._options.checkpoint_every)
            await self._save(keeper)

    async def _save(self, keeper: Keeper) -> None:
        """Write down what is known, unless a restart would take the half for the whole."""
        now = self._clock.now()
        if self._health.covers(now):
            await keeper.save(self._tokens, self._position, now)


def _position(reading: Reading) -> Position:
    return Position(reading.offset, sha256(reading.body).hexdigest())
