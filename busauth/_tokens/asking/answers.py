"""What somebody said about tokens: remembered for seconds, and asked for once at a time.

- Answers are kept by the token's SHA-256; the token itself is not.
- An answer ages from when it was asked for, not from when it came.
- An answer from before a token's end says nothing of the time after it.
- What is accepted and what is refused are remembered apart, so that a flood of tokens that nobody
  knows displaces none of those that count.
"""

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

from busauth._arguments import Bytes, Count, CountOrNone, Range
from busauth._knobs import Knobs
from busauth._loops import used
from busauth._tokens.asking.flights import Flights
from busauth._tokens.evidence import Verified
from busauth._tokens.keys.waiting import answered
from busauth._tokens.verifier import MAX_TOKEN_BYTES
from busauth.clock import Clock
from busauth.errors import Refused

NEVER = math.inf
"""The end of a token of which nobody said when it ends."""

Memory = Annotated[float, Range(unit="seconds", most=300)]


class AnswerOptions(Knobs):
    """How long answers count, and how many are kept.

    Attributes:
        fresh_for: seconds that a token counts after it was asked about; 0 to ask every time.
        refused_for: seconds that a refusal counts.
        remembered: how many answers are kept of either kind.
        in_flight: how many tokens are asked about, or wait for it, at the same time.
        max_token_bytes: longer tokens are refused unread, in bytes.
    """

    fresh_for: Memory = 10.0
    refused_for: Memory = 5.0
    remembered: CountOrNone = 10_000
    in_flight: Count = 1_000
    max_token_bytes: Bytes = MAX_TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class Freshness:
    """How long an answer counts.

    Attributes:
        asked_at: when the question was put, seconds since the epoch.
        until: up to when it counts, on the monotonic clock.
    """

    clock: Clock
    asked_at: float
    until: float

    def holds(self, ends_at: float) -> bool:
        """Return whether it counts, for a token that ends at this instant."""
        crossed = self.asked_at < ends_at <= self.clock.now()
        return not crossed and self.clock.monotonic() < self.until


@dataclass(frozen=True, slots=True)
class Word:
    """Somebody's word for a token, until it is stale or the token ends: see `Evidence`."""

    freshness: Freshness
    ends_at: float

    def holds(self) -> bool:
        """Return whether the word still counts."""
        return self.freshness.holds(self.ends_at)


class Answer(NamedTuple):
    """What was said of a token.

    Attributes:
        verdict: what is proven of it, or why it is refused.
        freshness: how long that counts.
        said: every claim of a token that counts, None of one that does not.
        ends_at: when the token ends, as far as it was said.
    """

    verdict: Verified | Refused
    freshness: Freshness
    said: Mapping[str, Any] | None = None
    ends_at: float = NEVER

    def holds(self, ends_at: float = NEVER) -> bool:
        """Return whether it still counts, for whoever has the token end at this instant."""
        return self.freshness.holds(self.ends_at) and self.freshness.holds(ends_at)

    def verified(self) -> Verified:
        """Return what is proven, or raise the refusal."""
        if isinstance(self.verdict, Verified):
            return self.verdict
        raise renewed(self.verdict)


def renewed(refused: Refused) -> Refused:
    """Return an equal refusal that nobody has raised yet."""
    return type(refused)(refused.code, found=refused.found, expected=refused.expected)


Ask = Callable[[str, str, Freshness], Awaitable[Answer]]
"""From a token, its SHA-256 and how long it would count, to the answer; raises `Deferred`."""


class Answers:
    """Answers that are at hand, and the questions under way.

    Args:
        ask: who is asked.
        options: how long answers count, and how many are kept.
        clock: where ages and instants come from.
    """

    def __init__(self, ask: Ask, *, options: AnswerOptions, clock: Clock) -> None:
        self._ask = ask
        self._options = options
        self._clock = clock
        self._counting: OrderedDict[str, Answer] = OrderedDict()
        self._refused: OrderedDict[str, Answer] = OrderedDict()
        self._flights = Flights[Answer]("tokens", options.in_flight)

    def recall(self, token: str, digest: str) -> Verified:
        """Return what is proven of a token, by the answer at hand.

        Raises:
            Refused: as the answer says.
            AnswerMissing: there is none, or none that still counts.
        """
        answer = self.at_hand(digest)
        if answer is None:
            answer = answered((self, digest), lambda: self.get(token, digest))
        return answer.verified()

    def at_hand(self, digest: str, ends_at: float = NEVER) -> Answer | None:
        """Return the answer that is at hand; None for none, or none that still counts."""
        for kept in (self._counting, self._refused):
            answer = kept.get(digest)
            if answer is not None and answer.holds(ends_at):
                used(kept, digest)
                return answer
        return None

    async def get(self, token: str, digest: str, ends_at: float = NEVER) -> Answer:
        """Return the answer, asking for it if it is not at hand.

        Raises:
            Deferred: there is none to be had now, or too many are waited for.
        """
        answer = self.at_hand(digest, ends_at)
        if answer is None:
            return await self._flights.get(digest, lambda: self._asked(token, digest))
        return answer

    async def _asked(self, token: str, digest: str) -> Answer:
        # Read before asking: what changes on the way is not in the answer.
        asked_at, began = self._clock.now(), self._clock.monotonic()
        fresh = Freshness(self._clock, asked_at, began + self._options.fresh_for)
        answer = await self._ask(token, digest, fresh)
        self._counting.pop(digest, None)
        self._refused.pop(digest, None)
        if isinstance(answer.verdict, Refused):
            until = began + self._options.refused_for
            answer = answer._replace(freshness=replace(fresh, until=until))
            self._remember(self._refused, digest, answer)
        else:
            self._remember(self._counting, digest, answer)
        return answer

    def _remember(self, kept: OrderedDict[str, Answer], digest: str, answer: Answer) -> None:
        kept[digest] = answer
        if len(kept) > self._options.remembered:
            kept.popitem(last=False)
