"""What a console shows, as plain values: no token, no key, and no word that was not bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from busauth.caller import acting_for

MOST_LETTERS = 100_000
"""Letters of a queue that are held."""


@dataclass(frozen=True, slots=True)
class Late:
    """How late one message was accepted.

    Attributes:
        at: when, seconds since the epoch.
        seconds: past its token's `exp`.
    """

    at: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSeen:
    """One consumer of one instance.

    Attributes:
        queue: what it consumes.
        handling: how many messages its handlers have in hand.
        paused_for: what it waits for; None where it consumes.
        paused_since: since when, seconds since the epoch.
        late: what it accepted late, oldest first.
    """

    queue: str
    handling: int | None = None
    paused_for: str | None = None
    paused_since: float | None = None
    late: tuple[Late, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSeen:
    """One process of a service, as it last told of itself.

    Attributes:
        service, instance: its names.
        at: when it told, seconds since the epoch.
        consumers: its own.
        keys: age of the keys in seconds, by issuer.
        feed_age: seconds since the revocation feed's newest heartbeat; None without a feed.
        has_stopped: whether that was its last word: it has ended in order.
    """

    service: str
    instance: str
    at: float
    consumers: tuple[ConsumerSeen, ...] = ()
    keys: tuple[tuple[str, float | None], ...] = ()
    feed_age: float | None = None
    has_stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One step in a letter's story.

    Attributes:
        at: when, in ISO 8601.
        code: why it became a letter.
        attempt: which attempt that was.
        by: who had sent it again before, by their own word.
        authority: on whose authority: ``kept``, ``fresh`` or ``operator``.
    """

    at: str | None
    code: str | None
    attempt: int | None = None
    by: str | None = None
    authority: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSeen:
    """One letter, without its token, its other headers and, unless asked for, its body.

    Attributes:
        id: names it in a link.
        source: the queue in which it lies.
        code, detail, error, at: why it is there, with which error of a handler, and since when.
        issuer, subject: whose it was, where its token was genuine.
        actor: who acted for them, None where nobody did.
        publisher: who sent it, by its own word.
        message_id: its sender's.
        attempts: how often it was tried.
        sealed: whether it carries a seal of its consumer's.
        kept: whether it keeps a token, encrypted for its consumer.
        story: its steps, oldest first.
        size: bytes of its body.
        body: the beginning of its body, as text; None where bodies are not shown.
    """

    id: str
    source: str
    code: str | None = None
    detail: str | None = None
    error: str | None = None
    at: str | None = None
    issuer: str | None = None
    subject: str | None = None
    publisher: str | None = None
    message_id: str | None = None
    attempts: int | None = None
    sealed: bool = False
    kept: bool = False
    story: tuple[Passage, ...] = ()
    size: int = 0
    body: str | None = None
    actor: str | None = None

    @property
    def whose(self) -> str | None:
        """Return whose it was, and who acted for them."""
        return acting_for(self.actor, self.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """One word of a run over letters: it was planned, began, sent some, refused some, ended.

    Attributes:
        run: the run's id.
        kind: ``planned``, ``begun``, ``sending``, ``sent``, ``refused``, ``ended``, ``discarded``,
            ``erased`` or ``exported``.
        at: when, seconds since the epoch.
        source: the queue that its letters lay in.
        by, authority: who began it, and on whose authority.
        letters: how many it speaks of.
        filters, counts: what was chosen; how many there are of each outcome.
    """

    run: str
    kind: str
    at: float
    source: str | None = None
    by: str | None = None
    authority: str | None = None
    letters: int = 0
    filters: Mapping[str, str]
    counts: Mapping[str, int]


class Source(Protocol):
    """Where a console looks. Whoever writes one leaves tokens, keys and headers of others behind.

    Each raises an `OSError` where it cannot tell now, and `Deferred`, or `ConfigurationError` where
    it may not, with words that are shown.
    """

    async def instances(self) -> Sequence[InstanceSeen]:
        """Return who has told of themselves lately."""
        ...

    async def letters(self, queue: str) -> Sequence[LetterSeen]:
        """Return what lies beside a consumer's queue, dead, rejected and parked.

        While it looks, nobody else gets those letters.
        """
        ...

    async def runs(self, queue: str) -> Sequence[RunStep]:
        """Return what was recorded of runs over a queue's letters, oldest first."""
        ...
