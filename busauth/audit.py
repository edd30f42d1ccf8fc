"""What happened, told as events that hold no token."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from logging import DEBUG, WARNING
from typing import Any, Protocol, Self

from busauth._arguments import CountOrNone, Seconds, checked
from busauth._redaction import redact
from busauth._retold import retold
from busauth.caller import Actor, Caller, acting_for
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, HandlerFailed, Refused, evidence

ENDING = (KeyboardInterrupt, SystemExit)
"""What ends the process, whoever was called meanwhile. A `CancelledError` of somebody who awaits
nothing is not this task's: it is of what they have asked, and an error as any other."""


class _Log(logging.LoggerAdapter[logging.Logger]):
    """The log, to which nothing can be told that fails: no line changes a message's fate.

    Handlers and filters are a user's, and so are the words of errors.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write a line, of whoever called; what goes wrong with that goes no further."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # this frame is not the caller's
        try:
            super().log(level, msg, *args, **kwargs)
        except ENDING:
            raise
        except BaseException:  # noqa: S110 -- there is nowhere left to say so
            pass


LOGGER = _Log(logging.getLogger("busauth"))

_SORTS = 1000  # of lines: some are named after queues and codes, which may be anybody's


def cut_short(error: BaseException) -> None:
    """Leave of an error that ends a start what its sentence says; what led to it goes to DEBUG.

    The client library's forty frames above "no broker at ..." tell nobody more, and hide it.
    """
    if isinstance(error, ConnectionError | ConfigurationError) and error.__cause__ is not None:
        LOGGER.debug("it does not start", exc_info=retold(error))
        error.__cause__ = error.__context__ = None  # either one would bring the frames back


_OUTCOME = True


class EventKind(StrEnum):
    """What can happen to a message, or to a consumer.

    Attributes:
        level: at which it is logged; WARNING for what somebody should look at.
        is_outcome: whether an attempt at a message ends with it.
    """

    level: int
    is_outcome: bool

    def __new__(cls, value: str, level: int = DEBUG, is_outcome: bool = False) -> Self:  # noqa: FBT001, FBT002 -- a member is a tuple
        """Return a kind with what is said beside its value."""
        kind = str.__new__(cls, value)
        kind._value_, kind.level, kind.is_outcome = value, level, is_outcome
        return kind

    ACCEPTED = "accepted", DEBUG
    """The handler is about to run."""

    ACCEPTED_LATE = "accepted-late", WARNING
    """The same, for a token that had expired; a policy accepted it."""

    HANDLED = "handled", DEBUG, _OUTCOME
    """The handler returned, and the acknowledgement went out on a connection that had not ended.

    A broker confirms no acknowledgement: one that is lost on its way is told as this, and the
    message comes again. Nothing of an end that had come before it, read or not, is overlooked.
    """

    SHADOWED = "shadowed", WARNING
    """The handler is about to run as nobody: its consumer is in shadow, and strict refuses it."""

    REFUSED = "refused", WARNING, _OUTCOME
    """A copy with the reason is confirmed, and the message acknowledged."""

    DISCARDED = "discarded", WARNING, _OUTCOME
    """A policy said so: acknowledged without a copy."""

    PARKED = "parked", WARNING, _OUTCOME
    """A copy that waits for its caller is confirmed, and the message acknowledged."""

    RELEASED = "released", WARNING
    """A parked message was sent again, for its caller with a fresh token."""

    REDRIVEN = "redriven", WARNING
    """A dead letter was sent again, with the token that it kept."""

    STATED = "stated", WARNING
    """A desk has signed for an operator that a dead letter may be sent again."""

    DUPLICATE = "duplicate", WARNING, _OUTCOME
    """It was handled before, and its acknowledgement got lost: acknowledged again."""

    SEAL_BROKEN = "seal-broken", WARNING
    """What a copy says of itself is not believed; it is handled as if it came first."""

    RETURNED = "returned", WARNING, _OUTCOME
    """A letter, or what was parked, came without a token, and nobody whose word suffices had it
    sent: it went back where it was."""

    RETRIED = "retried", DEBUG, _OUTCOME
    """The handler failed; a copy waits for the next attempt."""

    DEFERRED = "deferred", WARNING
    """The consumer cannot decide: it has stopped consuming."""

    RESUMED = "resumed", DEBUG
    """The consumer consumes again."""

    FAULT = "fault", WARNING
    """A message could not be put away, for an error of the program's own: it is given back."""

    SETTLED_BY_HANDLER = "settled-by-handler", WARNING, _OUTCOME
    """The handler settled the message itself; it was left alone. With a code, it failed as well."""

    ABANDONED = "abandoned", WARNING, _OUTCOME
    """It comes again: its channel was closed, its connection had ended, its task was cancelled."""

    EXCHANGED = "exchanged", DEBUG
    """A token was had for another one: for a late one or a voucher, or for where work goes on."""

    PUBLISHED = "published", DEBUG
    """The broker confirmed that a message was routed."""

    @property
    def is_warning(self) -> bool:
        """Return whether somebody should look at it; see `Event.level` for what an event adds."""
        return self.level >= WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One step in a message's life, safe to log and to ship.

    Attributes:
        kind: what happened.
        queue: the consumer's queue, or the routing key of a publication.
        at: when this happened, seconds since the epoch: each event of a message has its own.
        decided_at: the one instant by which the message was judged, seconds since the epoch; before
            that, its arrival. None where no delivery is judged.
        message_id: the sender's message id, if any.
        issuer: the verified issuer; None before the token is known to be genuine.
        subject: the verified subject; None before the token is known to be genuine.
        actors: who acts for them, outermost first, as evidence; see `actor`. Empty where nobody
            does, and before the token is known to be genuine.
        age: seconds between the token's `iat` and `decided_at`, where known.
        late: seconds past `exp`, where the token was accepted late.
        code: the refusal's code, or what a deferral waits for.
        detail: the evidence, for people.
        publisher: who published the message, where that is proven.
        published_at: when, by that publisher's word, seconds since the epoch.
        attempt: which attempt at the message this is, from 1 on; None before its token is known to
            be genuine. Without a seal, a hint of whoever wrote its headers.
        duration: seconds for which its handler ran, by the guard's clock; None where it did not.
        began_at: when its handler began, seconds since the epoch; None where it did not run.
        ended_at: when its handler ended, likewise; `duration` is from a clock that never goes back.
        error: the type of the error with which its handler failed, by name.
        waited: seconds between `decided_at` and when the message was first published, where a proof
            or a stamp that is trusted says when that was.
        policy: the name of the policy that accepted a late token.
        sender: of what was handed over as nobody, who sent it, and by whose word: ``proven``, the
            ``client`` of a genuine token, or ``said`` by the message itself.
        transaction: `txn` of a transaction token, the same in every service of its call chain.
    """

    kind: EventKind
    queue: str
    at: float
    message_id: str | None = None
    issuer: str | None = None
    subject: str | None = None
    age: float | None = None
    late: float | None = None
    code: str | None = None
    detail: str | None = None
    publisher: str | None = None
    published_at: float | None = None
    decided_at: float | None = None
    attempt: int | None = None
    duration: float | None = None
    error: str | None = None
    waited: float | None = None
    policy: str | None = None
    sender: str | None = None
    began_at: float | None = None
    ended_at: float | None = None
    transaction: str | None = None
    actors: tuple[Actor, ...] = ()

    @property
    def actor(self) -> str | None:
        """Return the subject of who acts for the caller, the outermost of `actors`."""
        return self.actors[0].subject if self.actors else None

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON: what is known of it, ``kind`` as its value.

        Where somebody acts, ``actor`` is the outermost one's subject, and ``actors`` are objects.
        It is safe to ship: senders choose ids and routing keys, and no token in one gets further.
        """
        # `asdict` copies each value, which costs more than all the rest.
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        known |= {"kind": self.kind.value, "actors": None}
        if self.actors:
            chain = [without_tokens(asdict(each)) for each in self.actors]
            known |= {"actor": self.actor, "actors": chain}
        return without_tokens(known)

    @property
    def level(self) -> int:
        """Return the level at which it is logged: its kind's, as a rule.

        A handler that settles its message itself may do so; where it fails after that, its work is
        not tried again.
        """
        is_fine = self.kind is EventKind.SETTLED_BY_HANDLER and self.code is None
        return DEBUG if is_fine else self.kind.level

    @property
    def is_warning(self) -> bool:
        """Return whether somebody should look at it."""
        return self.level >= WARNING


Auditor = Callable[[Event], None]
"""Receives every event. It must not block; an error in it is logged and changes no decision."""


class Shipped(Protocol):
    """What a sink keeps: an event, or a bus's status."""

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON, without tokens."""
        ...


def without_tokens(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known, as an object of JSON: without None, and without tokens in its text."""
    return {
        name: redact(value) if isinstance(value, str) else value
        for name, value in known.items()
        if value is not None
    }


class Sink(ABC):
    """An auditor that keeps events somewhere; see `busauth.sinks`.

    A guard that is told of one closes it when it is closed itself, as it is by its bus. Told of
    another event after that, it opens again.

    Attributes:
        logs: whether a guard logs what it is told as well, as it does without a sink.
        status_every: seconds between two statuses of a bus that it wants; None for no status.
    """

    logs: bool = True
    status_every: float | None = None

    @abstractmethod
    def __call__(self, event: Event) -> None:
        """Take an event, at once; whatever becomes of it is this sink's affair."""

    @abstractmethod
    async def close(self) -> None:
        """Write what waits, for some seconds at most; what cannot be written is counted, told."""

    def report(self, status: Shipped) -> None:  # noqa: B027 -- few have a use for it
        """Take a bus's status, likewise; by itself, a sink has no use for it."""

    def named(self, service: str) -> None:  # noqa: B027 -- likewise
        """Hear whose bus begins, where it was not told so before."""

    def in_tests(self) -> Auditor:
        """Return who is told in its place under test, where nothing is kept."""
        return log_event if self.logs else _nobody


def _nobody(_: Event) -> None: ...


def log_event(event: Event) -> None:
    """Write an event to the ``busauth`` logger: warnings for what somebody should look at.

    As a guard's auditor it is an `EventLog`, which a flood does not fill; called, it always writes.
    """
    if not LOGGER.isEnabledFor(event.level):
        return
    said = {
        "message_id": event.message_id,
        "subject": event.subject,
        "actor": event.actor,
        "code": event.code,
    }
    known = "".join(f" {name}={value}" for name, value in said.items() if value is not None)
    run = ""
    if event.duration is not None:  # None: no handler ran
        failed = f" error={event.error}" if event.error else ""
        run = f" attempt={event.attempt} duration={event.duration:.3f}{failed}"
    LOGGER.log(
        event.level,
        "%s queue=%s%s%s %s",
        event.kind, event.queue, known, run, event.detail or "",
    )  # fmt: skip


@dataclass(slots=True)
class _Count:
    """How many lines of a sort were asked for, since when."""

    since: float
    lines: int = 0


class Lines:
    """How many lines a log gets: some of each sort in a while; the others are counted, and told.

    Args:
        clock: what a while is measured with.
        most: lines of one sort in a while.
        seconds: how long a while is, from its first line on.
    """

    def __init__(self, clock: Clock, *, most: int = 10, seconds: float = 60.0) -> None:
        self._clock, self._most, self._seconds = clock, most, seconds
        self._counts: dict[tuple[str, ...], _Count] = {}  # by when they began

    def admit(self, *sort: str) -> bool:
        """Count a line, and return whether it may be written.

        Args:
            sort: what lines have in common; of a thousand sorts, further ones are one.
        """
        now = self._clock.monotonic()
        self._tell(now - self._seconds)
        if sort not in self._counts and len(self._counts) >= _SORTS:
            sort = ("other events",)
        count = self._counts.setdefault(sort, _Count(now))
        count.lines += 1
        if count.lines == self._most + 1:
            LOGGER.warning("%s: from now on counted, for %g s", " ".join(sort), self._seconds)
        return count.lines <= self._most

    def tell(self) -> None:
        """Tell the counts of whiles that are over; costs next to nothing where there are none."""
        if self._counts:
            self._tell(self._clock.monotonic() - self._seconds)

    def close(self) -> None:
        """Tell all counts."""
        self._tell(math.inf)

    def _tell(self, until: float) -> None:
        while self._counts:
            sort, count = next(iter(self._counts.items()))
            if count.since > until:
                return
            del self._counts[sort]
            if (more := count.lines - self._most) > 0:
                LOGGER.warning("%s: %d more", " ".join(sort), more)


class EventLog:
    """The auditor that a guard has by itself: it logs events, and a flood of them does not fill it.

    Of each kind, queue and code the first ten warnings in a minute are written, and the others are
    counted: one line tells how many, with the first event after that minute, or at the end.

    Args:
        clock: what the minute is measured with.
        most: other than ten.
        seconds: other than sixty.

    Attributes:
        lines: counts what is written.
    """

    @checked
    def __init__(
        self, clock: Clock | None = None, *, most: CountOrNone = 10, seconds: Seconds = 60.0
    ) -> None:
        self.lines = Lines(clock or SystemClock(), most=most, seconds=seconds)

    def __call__(self, event: Event) -> None:
        """Write an event, or count it."""
        if event.is_warning and not self.lines.admit(
            event.kind, f"queue={event.queue}", f"code={event.code}"
        ):
            return
        log_event(event)


class Published(Protocol):
    """What is proven of a publication; see `busauth.messages.Proven`."""

    @property
    def publisher(self) -> str:
        """Return by whom."""
        ...

    @property
    def published_at(self) -> float:
        """Return when, seconds since the epoch."""
        ...


class Listener(Protocol):
    """Hears what becomes of one message."""

    def told(self, event: Event) -> None:
        """Hear it."""
        ...


class Judged(Protocol):
    """What an event tells of a message that is judged and handled; see `Event`."""

    queue: str
    now: float
    caller: Caller | None
    attempt: int | None
    duration: float | None
    began_at: float | None
    ended_at: float | None

    @property
    def message_id(self) -> str | None:
        """Return the sender's id of it, as it came."""
        ...

    @property
    def proven(self) -> Published | None:
        """Return who published it, and when, where that is proven."""
        ...

    @property
    def published_at(self) -> float | None:
        """Return when it was published, by a proof or a stamp that is trusted."""
        ...

    @property
    def watch(self) -> Listener | None:
        """Return who is told what becomes of it, beside the auditor."""
        ...


class Telling:
    """An auditor whose failure is logged and goes no further.

    Args:
        auditor: who is told; `log_event` is told by an `EventLog`, and so are events next to a
            sink.
        clock: the guard's.
        lines: of several that share them; None for lines of its own.

    Attributes:
        lines: how many lines of a sort the log gets, whoever the auditor is.
        note: what is said in the detail of each outcome; empty for nothing.
    """

    def __init__(
        self, auditor: Auditor, clock: Clock | None = None, lines: Lines | None = None
    ) -> None:
        log = auditor if isinstance(auditor, EventLog) else None
        is_also = log is None and isinstance(auditor, Sink) and auditor.logs
        if auditor is log_event or is_also:
            log = EventLog(clock)
        self._clock = clock or SystemClock()
        self._is_log = log is not None and not is_also
        others = () if self._is_log else (auditor,)
        self._auditors: tuple[Auditor, ...] = others if log is None else (log, *others)
        own = Lines(self._clock) if log is None else log.lines
        self.lines = own if lines is None else lines
        self.note = ""
        self._watchers: list[Auditor] = []  # one at most, and of those as well that note something

    @property
    def watcher(self) -> Auditor | None:
        """Return who is told as well; None where nobody is."""
        return self._watchers[0] if self._watchers else None

    @watcher.setter
    def watcher(self, watcher: Auditor | None) -> None:
        self._watchers[:] = [] if watcher is None else [watcher]

    def noting(self, note: str) -> Self:
        """Return one that tells the same auditor, with a note in the detail of each outcome."""
        noting = copy(self)
        noting.note = note
        return noting

    def is_heard(self, kind: EventKind) -> bool:
        """Return whether an event of this kind would be told at all, before one is made."""
        self.lines.tell()
        return bool(self._watchers) or not self._is_log or LOGGER.isEnabledFor(kind.level)

    def tell(
        self,
        message: Judged,
        kind: EventKind,
        refused: Refused | None = None,
        *,
        detail: str | None = None,
        sender: str | None = None,
    ) -> None:
        """Tell what has become of a message; where nobody listens, no event is made.

        Args:
            message: what is known of it.
            kind: what has become of it.
            refused: why, where it was not handled.
            detail: for people; None for what the refusal says.
            sender: who sent it, where that is told.
        """
        if not self.is_heard(kind):
            return
        caller, proven = message.caller, message.proven
        late = caller.late if caller else None
        event = Event(
            kind=kind,
            queue=message.queue,
            at=self._clock.now(),
            decided_at=message.now,
            message_id=evidence(message.message_id),
            issuer=caller.issuer if caller else None,
            subject=evidence(caller.subject) if caller else None,
            age=_since(caller.issued_at if caller else None, message.now),
            late=late.seconds if late else None,
            code=refused.code if refused else None,
            detail=self._noted(kind, detail or (refused.detail if refused else None)),
            publisher=proven.publisher if proven else None,
            published_at=proven.published_at if proven else None,
            attempt=message.attempt,
            duration=message.duration,
            error=refused.error if isinstance(refused, HandlerFailed) else None,
            waited=_since(message.published_at, message.now),
            policy=late.policy if late else None,
            sender=sender,
            began_at=message.began_at,
            ended_at=message.ended_at,
            transaction=caller.transaction.txn if caller and caller.transaction else None,
            actors=told_actors(caller),
        )
        self(event)
        if message.watch is not None:
            self._hand(message.watch.told, event)

    def _noted(self, kind: EventKind, detail: str | None) -> str | None:
        if not (self.note and kind.is_outcome):
            return detail
        return self.note if detail is None else f"{detail}; {self.note}"

    def tell_mistake(self, refused: Refused, where: str) -> None:
        """Log the error that made a refusal, where one of the program's own did.

        Args:
            refused: the refusal.
            where: the queue, or the edge.
        """
        error = refused.mistake
        if error is not None and self.lines.admit(where, f"code={refused.code}", "a mistake"):
            LOGGER.error("%s: %s", where, refused.detail, exc_info=retold(error))

    def __call__(self, event: Event) -> None:
        """Tell it."""
        for auditor in self._auditors:
            self._hand(auditor, event)
        for watcher in self._watchers:
            self._hand(watcher, event)

    def _hand(self, listener: Auditor, event: Event) -> None:
        try:
            listener(event)
        except ENDING:
            raise
        except BaseException as error:  # whatever a user's auditor raises: the message is settled
            if self.lines.admit("the auditor failed", event.kind):
                what = "the auditor failed on a %s event"
                LOGGER.exception(what, event.kind, exc_info=retold(error))


def exchanged(caller: Caller, *, queue: str, at: float, detail: str | None) -> Event:
    """Return the event of a token that was had where no delivery is judged.

    Args:
        caller: in whose name.
        queue: the routing key of what goes on with it; empty at an edge.
        at: when, seconds since the epoch.
        detail: for whom, for people.
    """
    late = caller.late
    return Event(
        kind=EventKind.EXCHANGED,
        queue=queue,
        at=at,
        issuer=caller.issuer,
        subject=evidence(caller.subject),
        late=late.seconds if late else None,
        detail=detail,
        policy=late.policy if late else None,
        transaction=caller.transaction.txn if caller.transaction else None,
        actors=told_actors(caller),
    )


def told_actors(caller: Caller | None) -> tuple[Actor, ...]:
    """Return who acts for a caller as an event may say it: bounded, and without tokens."""
    if caller is None or not caller.actors:  # nearly always
        return ()
    return tuple(
        Actor(evidence(each.subject) or "", evidence(each.issuer), evidence(each.client))
        for each in caller.actors
    )


def told_acting(caller: Caller) -> str:
    """Return who acts for a caller, for people, and of how many: ``agent-x for alice``."""
    chain = told_actors(caller)
    more = f", {len(chain)} in the chain" if len(chain) > 1 else ""
    return f"{acting_for(chain[0].subject if chain else None, evidence(caller.subject))}{more}"


def _since(instant: float | None, now: float) -> float | None:
    return None if instant is None else now - instant


def both(first: Auditor, second: Auditor) -> Auditor:
    """Return an auditor that tells two."""

    def told(event: Event) -> None:
        first(event)
        second(event)

    return told


def told_safely(auditor: Auditor, clock: Clock | None = None) -> Telling:
    """Wrap an auditor so that its failure is logged and goes no further."""
    return Telling(auditor, clock)
