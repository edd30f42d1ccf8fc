"""Tokens that were had: kept until shortly before they end, and asked for once at a time.

They are kept by the digest of the token that they were had for and by what was asked, so that a
weak token never gets what a strong one got. Refusals are kept apart, for seconds.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, NamedTuple

from busauth._delegation.exchange.options import ExchangeOptions
from busauth._loops import used
from busauth._tokens.asking.answers import renewed
from busauth._tokens.asking.flights import Flights
from busauth._tokens.evidence import Verified
from busauth.clock import Clock
from busauth.errors import Refused


class Had(NamedTuple):
    """A token that was had.

    Attributes:
        verified: what is proven of it, and by what.
        token: raw.
        until: when it ends by all that was said, seconds since the epoch.
    """

    verified: Verified
    token: str
    until: float

    def __repr__(self) -> str:
        return f"<Had until {self.until:.0f}>"


class Results:
    """What one client of one server has had.

    Args:
        options: how much is kept, and for how long.
        clock: where ages and instants come from.
    """

    def __init__(self, *, options: ExchangeOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._had: OrderedDict[Hashable, Had] = OrderedDict()
        self._refused: OrderedDict[Hashable, tuple[Refused, float]] = OrderedDict()
        self._flights: Flights[Had] = Flights("tokens", options.in_flight)

    async def get(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, Had]]) -> Had:
        """Return what is at hand, or ask for it, once however many wait.

        Args:
            key: for which token, and what.
            ask: asks; what it returns was held to what was asked for.

        Raises:
            Refused, Deferred: as `ask`, or too many are waited for.
        """
        had = self._had.get(key)
        if had is not None:
            if self._counts(had):
                used(self._had, key)
                return had
            self._had.pop(key, None)
        refused, until = self._refused.get(key, (None, 0.0))
        if refused is not None and self._clock.monotonic() < until:
            raise renewed(refused)
        try:
            return await self._flights.get(key, lambda: self._asked(key, ask))
        except Refused as same:  # each that waits raises one of its own
            raise renewed(same) from None

    async def _asked(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, Had]]) -> Had:
        try:
            had = await ask()
        except Refused as refused:
            # What broke its promise is remembered by nobody: the next answer may be a better one.
            if refused.code == "exchange.refused":
                until = self._clock.monotonic() + self._options.refused_for
                self._remember(self._refused, key, (renewed(refused), until))
            raise
        self._refused.pop(key, None)
        if self._counts(had):
            self._remember(self._had, key, had)
        return had

    def _counts(self, had: Had) -> bool:
        return self._clock.now() < had.until - self._options.early and had.verified.holds()

    def _remember(self, kept: OrderedDict[Hashable, Any], key: Hashable, value: object) -> None:
        kept[key] = value
        while len(kept) > self._options.remembered:
            kept.popitem(last=False)
