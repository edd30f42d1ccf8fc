"""Sending letters again in passes, at a rate, so that it can be stopped, killed and resumed.

A pass has the queue alone, holds all of it, sends for some seconds, and gives the rest back in its
order; between passes others may look. What is about to be sent is recorded before it goes, and what
became of it afterwards, `AT_ONCE` letters at a time.

Who holds a letter: the queue beside, until the broker has confirmed that its copy was routed. So
one that is killed loses none; at most `AT_ONCE` are in both places, which the run's history names.
Resumed, they are sent once more, and a replay memory refuses the second.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from yarl import URL

from busauth._amqp.connecting.connect import below, connected
from busauth._amqp.connecting.patience import answered, leaving
from busauth._amqp.publishing.copies import Outgoing
from busauth._amqp.publishing.publisher import frame_max
from busauth._amqp.resending.again import Sending, alone
from busauth._amqp.resending.authorities import Authority, Errand, Renewing, renewing
from busauth._amqp.resending.letters import Letter, Waiting, letter_id, was_whole
from busauth._amqp.resending.records import Record, Recorder, history, recording
from busauth._amqp.resending.runs import Run, runs_of
from busauth._amqp.resending.wanted import Census, Wanted
from busauth._amqp.topology import parked_queue
from busauth._messages.seal import Purpose
from busauth.audit import EventKind
from busauth.errors import ConfigurationError, Refused, evidence

AT_ONCE = 100
"""Letters that are in flight together at most."""

_LEAST, _TIMES, _PAUSE = 5.0, 4, 1.0
"""Seconds of a pass, or so many times as long as it took to get at its first letter, where that is
longer; and seconds in between, in which others may look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """What became of a run.

    Attributes:
        run: its id, for `history`, and to resume it.
        sent: how many letters went.
        refused: the codes of those that stay although they were asked for, by their ids.
        without: how many were asked for and are not for this authority, such as those that kept no
            token.
        others: how many stay because nobody asked for them.
        missed: a sentence for each value that was asked for and no letter has.
        is_whole: whether it came to the end of the queue; False where it was stopped, or a limit
            was reached.
    """

    run: str
    sent: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    without: int = 0
    others: int = 0
    missed: tuple[str, ...] = ()
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a run goes.

    Attributes:
        rate: letters a second at most, None for as fast as they are confirmed.
        limit: how many letters go at most, None for all.
        record: whether it is recorded.
        stop: set by whoever wants it to end after what is in flight.
        progress: called after each batch.
    """

    rate: float | None = None
    limit: int | None = None
    record: bool = True
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    progress: Callable[[Redriven], None] = lambda _: None


async def redriven(
    url: str | URL,
    errand: Errand,
    source: str,
    authority: Authority,
    *,
    wanted: Wanted,
    terms: Terms,
    resume: str | None = None,
) -> Redriven:
    """Send what is asked for, pass after pass.

    Args:
        url: the broker.
        errand: what letters go again with.
        source: the queue beside the consumer's.
        authority: by whose authority.
        wanted: which letters; those of an earlier run where that is resumed, which it may repeat.
        terms: how it goes.
        resume: the earlier run's id.

    Raises:
        Refused: the authority is none.
        Deferred: something is out of reach, or somebody else has the queue.
        PublishError: the broker did not confirm one; it and what follows stay.
        ConfigurationError: there is no such queue, right or run, or that run has other filters.
        ConnectionError: the broker is out of reach.
    """
    is_parked = source == parked_queue(errand.queue)
    errand = replace(errand, purpose=Purpose.PARKED if is_parked else Purpose.LETTER)
    authorized, now = await renewing(authority, errand), errand.guard.clock.now()
    earlier = None
    if resume is None:
        # what comes back and is refused once more was refused after this: it does not go round
        begun = math.floor(now * 1000) / 1000  # letters tell milliseconds, and no more
        before = begun if wanted.before is None else min(begun, wanted.before)
        wanted = replace(wanted, before=before)
    else:
        earlier = await _earlier(url, errand.queue, resume, (source, authorized.name))
        wanted = _of_run(resume, Wanted.of(earlier.first.filters), wanted)
    told = Record(
        run=resume or run_id(now),
        kind="begun",
        at=now,
        queue=errand.queue,
        source=source,
        by=errand.by or "-",
        authority=authorized.name,
    )
    sending = Sending(
        url=url,
        guard=errand.guard,
        queue=errand.queue,
        source=source,
        told=EventKind.RELEASED if is_parked else EventKind.REDRIVEN,
        caller=authorized.caller,
        publisher=authorized.publisher,
    )
    async with AsyncExitStack() as stack:
        recorder = None
        if terms.record:
            recorder = await stack.enter_async_context(recording(url, errand.queue))
        passes = _Passes(
            sending,
            authorized,
            wanted=wanted,
            terms=terms,
            told=told,
            recorder=recorder,
            earlier=earlier,
        )
        return await passes.run()


def run_id(now: float) -> str:
    """Return an id for a run: when it was begun, and something that no other has."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}-{token_hex(4)}"


async def _earlier(url: str | URL, queue: str, run: str, expected: tuple[str, str]) -> Run:
    runs = runs_of(await history(url, queue))
    found = runs.get(run)
    if found is None or found.what != "redrive":
        told = ", ".join(name for name, each in runs.items() if each.what == "redrive")
        raise ConfigurationError(f"run {run!r} is not there: expected one of: {told or 'none'}")
    if (found.first.source, found.first.authority) != expected:
        raise ConfigurationError(
            f"run {run!r} is of {found.first.source}, by authority {found.first.authority!r}: "
            f"got {expected[0]} and {expected[1]!r}"
        )
    return found


def _of_run(run: str, wanted: Wanted, given: Wanted) -> Wanted:
    """Return the letters of a run: more of them must not go than somebody who resumes it asks for.

    A command that is said again may have ages in it, which are other instants by then.

    Raises:
        ConfigurationError: something else is asked for.
    """
    said, own = given.filters(), wanted.filters()
    odd = [name for name in said if name not in ("before", "after") and said[name] != own.get(name)]
    if given.before is not None and given.before < (wanted.before or math.inf):
        odd.append("before")
    if given.after is not None and wanted.after is None:
        odd.append("after")
    if odd:
        raise ConfigurationError(
            f"run {run!r} goes on with its own filters, and has others of {', '.join(odd)}: "
            f"expected none, or the same: {evidence(own)}"
        )
    return wanted


class _Passes:
    """A run, from its first pass to its last."""

    def __init__(
        self,
        sending: Sending,
        authorized: Renewing,
        *,
        wanted: Wanted,
        terms: Terms,
        told: Record,
        recorder: Recorder | None,
        earlier: Run | None,
    ) -> None:
        self._sending, self._authorized, self._terms = sending, authorized, terms
        self._wanted, self._told, self._recorder = wanted, told, recorder
        self._clock = sending.guard.clock
        self._census = Census(wanted)
        self._unknown = set(earlier.in_flight) if earlier else set[str]()
        self._refused = dict[str, str]()
        self._count = self._without = self._others = 0
        self._due = 0.0

    async def run(self) -> Redriven:
        await self._write("begun", filters=self._wanted.filters())
        while not (is_whole := await self._passed()) and self._goes_on():
            await self._rest(max(_PAUSE, self._due - self._clock.monotonic()))
            if not self._goes_on():
                break
        if is_whole and self._unknown:  # of these the earlier run did not live to tell it
            await self._write("sent", letters=tuple(sorted(self._unknown)))
        counts = {"sent": self._count, "refused": len(self._refused), "others": self._others}
        await self._write("ended", counts={**counts, "without": self._without})
        return self._result(is_whole=is_whole)

    def _goes_on(self) -> bool:
        return not self._terms.stop.is_set() and self._room() > 0

    def _room(self) -> int:
        """Return how many letters go together next."""
        rate, limit = self._terms.rate, self._terms.limit
        paced = AT_ONCE if rate is None else max(1, min(AT_ONCE, int(rate)))
        return paced if limit is None else min(paced, limit - self._count)

    async def _passed(self) -> bool:
        """Hold the queue and send for a while; return whether the end of the queue was seen."""
        monotonic = self._clock.monotonic
        async with leaving(await connected(self._sending.url)) as connection:
            waiting = await alone(connection, self._sending.source)
            begun, until = monotonic(), 0.0
            self._without = self._others = 0
            batch = list[AbstractIncomingMessage]()
            async for message in waiting:
                if not self._goes_on():
                    return False
                if self._chooses(message):
                    batch.append(message)
                if len(batch) < self._room():
                    continue
                until = until or monotonic() + max(_LEAST, _TIMES * (monotonic() - begun))
                await self._send(connection, waiting, batch)
                batch = []
                if not await self._may_hold_on(until):
                    return False
            if batch and not self._goes_on():
                return False
            if batch:
                await self._send(connection, waiting, batch)
            return await was_whole(connection, waiting)

    async def _may_hold_on(self, until: float) -> bool:
        """Wait for the next batch to be due, unless that is beyond the end of this pass."""
        if not self._goes_on() or self._due > until:
            return False
        await self._rest(self._due - self._clock.monotonic())
        return self._goes_on() and self._clock.monotonic() < until

    def _chooses(self, message: AbstractIncomingMessage) -> bool:
        letter = Letter.of(message, self._sending.source, with_body=False)
        self._unknown.discard(letter.id)
        if letter.id in self._refused:
            return False
        if not self._census.asks(letter):
            self._others += 1
            return False
        concerned = self._authorized.concerns(message)
        self._without += not concerned
        return concerned

    async def _send(
        self,
        connection: AbstractConnection,
        waiting: Waiting,
        batch: list[AbstractIncomingMessage],
    ) -> None:
        """Send some together: recorded before, confirmed, taken away, and recorded after."""
        ready = await self._renewed(batch, frame_max(below(connection)))
        ids = [letter_id(message) for message, _ in ready]
        await self._write("sending", letters=tuple(ids))
        outcomes = await asyncio.gather(
            *(self._go(connection, waiting, *each) for each in ready), return_exceptions=True
        )
        went = [name for name, each in zip(ids, outcomes, strict=True) if each is None]
        self._count += len(went)
        await self._write("sent", letters=tuple(went))
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        if self._terms.rate is not None:
            begun = max(self._due, self._clock.monotonic())
            self._due = begun + len(ready) / self._terms.rate
        self._terms.progress(self._result(is_whole=False))

    async def _renewed(
        self, batch: list[AbstractIncomingMessage], limit: int
    ) -> list[tuple[AbstractIncomingMessage, Outgoing]]:
        """Return what goes, and its copies; what is refused stays, and is told."""
        renewed = await asyncio.gather(
            *(self._authorized.renewed(message, limit) for message in batch),
            return_exceptions=True,
        )
        # by messages: somebody may have laid a copy beside a letter, which has its id as well
        ready = list[tuple[AbstractIncomingMessage, Outgoing]]()
        refused = dict[str, str]()
        for message, copy in zip(batch, renewed, strict=True):
            match copy:
                case Outgoing():
                    ready.append((message, copy))
                case Refused():
                    refused[letter_id(message)] = copy.code
                    self._sending.tell(EventKind.REFUSED, message, copy)
                case error:
                    raise error
        self._refused |= refused
        await self._write("refused", letters=tuple(refused), codes=refused)
        return ready

    async def _go(
        self,
        connection: AbstractConnection,
        waiting: Waiting,
        message: AbstractIncomingMessage,
        copy: Outgoing,
    ) -> None:
        outlet, sending = below(connection), self._sending
        await sending.guard.core.send(outlet, copy, "", sending.queue)
        # told before it is taken away: cut off in between, it is in both, and was sent
        sending.tell(sending.told, message)
        waiting.check()  # only while it was held, it is gone from there
        await answered(outlet, message.ack())

    async def _write(self, kind: str, **said: Any) -> None:
        """Record a step; one that is about no letter is none."""
        if self._recorder is None or said.get("letters") == ():
            return
        await self._recorder.write(replace(self._told, kind=kind, at=self._clock.now(), **said))

    async def _rest(self, seconds: float) -> None:
        """Wait, and no longer than until somebody wants it to end."""
        if seconds <= 0:
            return
        waits = self._clock.sleep(seconds), self._terms.stop.wait()
        tasks = [asyncio.ensure_future(each) for each in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _result(self, *, is_whole: bool) -> Redriven:
        return Redriven(
            run=self._told.run,
            sent=self._count,
            refused=dict(self._refused),
            without=self._without,
            others=self._others,
            missed=self._census.missed(),
            is_whole=is_whole,
        )
