"""A token for work that waits: it lives longer than the caller's, and buys one thing alone.

It goes along in place of an access token, for the one service that has it exchanged when it gets to
the work. It is nobody's access token. Only an authorization server gives one: a service that wrote
its own could be anybody.
"""

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from busauth._arguments import Count, SecondsOrNone, checked
from busauth._delegation.exchange.server import Reaching
from busauth._delegation.exchanging import (
    ACCESS_TOKEN,
    VOUCHER,
    Exchanged,
    Exchanger,
    ExchangeRequest,
)
from busauth._delegation.onward import MAX_DEPTH, Asking, OwnOnward
from busauth.audit import LOGGER
from busauth.caller import Subject
from busauth.clock import Clock, SystemClock
from busauth.errors import ConfigurationError, Forbidden

_SKEW: Final = 60.0
"""Seconds by which a server's clock may differ, and by which a span is no other one."""

_CAPPED = (
    "%s: %s ends vouchers with the token that they are had for, or before it: this one counts for "
    "%.0f s. Work that waits for longer finds no authority left; expected a server that gives "
    "vouchers a lifetime of their own"
)


class Voucher(OwnOnward):
    """Has a voucher for the caller's token: what its message carries until it is handled.

    What comes is held to its kind and to `lifetime`, which no server can be asked for (RFC 8693 has
    no word for it): it is set there, and its consumer has a limit of its own. Where a server ends a
    voucher no later than the token that it was had for, that is told once, as a warning.

    Args:
        exchanger: who gives tokens for tokens.
        audience: as the service that takes vouchers names itself for them, which is no audience of
            its access tokens.
        scopes: what may be had for it at most; None for what the caller's token allows.
        lifetime: how long it may live at most, as long as the work may wait; or `hours`, `minutes`
            and `seconds`, added up. None for what the server gives.
        max_depth: how many services may act for the caller, this one included.
        typed: False for a server that has no vouchers of a type of their own: it is asked for an
            access token, which is a voucher by its audience alone, nobody's for calls.
        clock: what its end is compared with; None for the exchanger's own, where it has one.

    Raises:
        ConfigurationError: for nobody, a scope has a name that none can have, or no span of time.
    """

    @checked
    def __init__(
        self,
        exchanger: Exchanger,
        *,
        audience: str | Iterable[str],
        scopes: str | Iterable[str] | None = None,
        lifetime: timedelta | None = None,
        hours: SecondsOrNone = 0,
        minutes: SecondsOrNone = 0,
        seconds: SecondsOrNone = 0,
        max_depth: Count = MAX_DEPTH,
        typed: bool = True,
        clock: Clock | None = None,
    ) -> None:
        parts = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if lifetime is not None and (parts or lifetime <= timedelta(0)):
            raise ConfigurationError(
                f"Voucher(lifetime={lifetime}), and hours, minutes and seconds of {parts}: "
                "expected one of the two, above nothing"
            )
        span = lifetime or parts
        self._lifetime = span.total_seconds() if span else math.inf
        self._kind = VOUCHER if typed else ACCESS_TOKEN
        request = ExchangeRequest.of(audience, scopes=scopes, token_type=self._kind)
        self._asking = Asking(exchanger, request, max_depth)
        self._timed = exchanger if isinstance(exchanger, Reaching) else None
        self._clock = clock
        self._is_told = False

    async def token_for(self, subject: Subject) -> str:
        """Return a raw voucher.

        Raises:
            Refused: ``exchange.…``: the server says no, gives what is no voucher or one that lives
                for too long, or too many act for the caller already.
            Deferred: there is no answer to be had now.
        """
        exchanged = await self._asking.exchanged(subject)
        if exchanged.token_type != self._kind:  # what travels in a queue for hours
            raise _broken(exchanged.token_type, self._kind)
        self._check_life(subject, exchanged)
        return exchanged.token

    def _check_life(self, subject: Subject, exchanged: Exchanged) -> None:
        ends_at, now = exchanged.caller.expires_at, self._now()
        began = exchanged.caller.issued_at  # of one that is remembered, earlier than now
        lives = ends_at - (now if began is None else min(began, now))
        if lives > self._lifetime + _SKEW:
            raise _broken(f"a voucher for {lives:.0f} s", f"{self._lifetime:.0f} s at most")
        is_capped = ends_at <= subject.caller.expires_at and lives < self._lifetime - _SKEW
        if is_capped and not self._is_told:
            self._is_told = True
            issuer = exchanged.caller.issuer
            LOGGER.warning(_CAPPED, self, issuer, ends_at - now)

    def _now(self) -> float:
        usual = SystemClock() if self._timed is None else self._timed.clock
        return (self._clock or usual).now()

    def __repr__(self) -> str:
        return f"<Voucher {self._asking}>"


def _broken(found: object, expected: object) -> Forbidden:
    return Forbidden("exchange.answer", found=found, expected=expected)
