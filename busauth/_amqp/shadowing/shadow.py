"""What an operator says of a consumer in shadow: until when, and which refusals are handed over.

What may be handed over is about who asks, and whether they may. What says that a message is a copy,
was here before, goes in circles, cannot be read or cannot be used is about the message itself: to
hand that over would do work twice, or hand over what no handler takes.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from busauth._amqp.headers import REFUSAL
from busauth._decision import Discarded, Parked
from busauth._knobs import Knobs
from busauth._messages.seal import PURPOSE, REDRIVE, Purpose
from busauth.errors import ConfigurationError, Refused, evidence

LONGEST = 90
"""Days ahead that a shadow may end: somebody has to look again."""

FAMILIES = ("header", "token", "session", "proof", "published", "caller")
"""Codes begin so that are about who asks, by whose word, and whether they may."""

NEVER = frozenset({"token.encryption_moved", "proof.original", "proof.relay"})
"""Of those, what only a message meets that was here before."""

_DAY = 24 * 3600.0
_CODE = re.compile(r"([a-z]+)\.(?:\*|[a-z_]+)")
_EXAMPLE = "2026-12-31T00:00:00Z"


def _instant(said: object) -> datetime:
    """Return an instant; a number, a day or a time of nowhere in particular is none."""
    try:
        instant = datetime.fromisoformat(said) if isinstance(said, str) else said
    except ValueError:
        instant = None
    if not isinstance(instant, datetime) or instant.utcoffset() is None:
        raise ConfigurationError(f"expected an instant with its offset, such as {_EXAMPLE}")
    return instant


def _check_codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    if not codes:
        raise ConfigurationError("expected a code at least, or no list, for all that there are")
    for code in codes:
        found = _CODE.fullmatch(code)
        if found is None or found[1] not in FAMILIES or code in NEVER:
            several = ", ".join(f"{family}.*" for family in FAMILIES)
            raise ConfigurationError(
                f"{evidence(code)} is handed over to nobody: expected codes of {several}"
            )
    return codes


class Shadow(Knobs):
    """A consumer that hands over as nobody what it would refuse; said by an operator alone.

    Attributes:
        until: when it ends, with an offset: from then on the consumer is strict again.
        codes: the refusals that are handed over, such as ``token.expired`` or ``token.*``; default:
            all that are about who asks, by whose word, and whether they may.
    """

    until: Annotated[datetime, BeforeValidator(_instant)]
    codes: Annotated[tuple[str, ...], AfterValidator(_check_codes)] = tuple(
        f"{family}.*" for family in FAMILIES
    )

    def holds(self, now: float) -> bool:
        """Return whether it has not ended.

        Args:
            now: seconds since the epoch.
        """
        return now < self.until.timestamp()

    @property
    def end(self) -> str:
        """Return when it ends, in UTC, for people."""
        return f"{self.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

    def check_end(self, queue: str, now: float) -> None:
        """Refuse an end so far ahead that nobody would look again.

        Raises:
            ConfigurationError: it is more than 90 days ahead.
        """
        days = (self.until.timestamp() - now) / _DAY
        if days > LONGEST:
            raise ConfigurationError(
                f'consumers."{evidence(queue)}".shadow.until = {self.until.isoformat()}: '
                f"{days:.0f} days ahead: expected at most {LONGEST}, so that somebody looks again"
            )

    def covers(self, refused: Refused) -> bool:
        """Return whether what was refused so is handed over.

        What a policy parks or discards has its place already.
        """
        code = refused.code
        if isinstance(refused, (Parked, Discarded)) or code in NEVER:
            return False
        family = code.partition(".")[0]
        return family in FAMILIES and (code in self.codes or f"{family}.*" in self.codes)


def may_be_first(headers: Mapping[str, object]) -> bool:
    """Return whether a message does not say that it was refused or parked before.

    Whoever wrote that: what comes back gets no new way in, its retries included.
    """
    again = headers.get(PURPOSE) not in (None, Purpose.RETRY.value)
    return REFUSAL not in headers and not again and headers.get(REDRIVE) in (None, 0)
