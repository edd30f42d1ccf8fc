"""Reading events whose keys may have to be asked for."""

from functools import partial
from math import inf

from busauth._revocation.events.reading import SecurityEvent, Transmitters
from busauth._tokens.keys.waiting import KeyUnknown, fetched
from busauth.clock import Clock

_MISSING_SECONDS = 60.0  # a new key that is signed with before it is published waits this long
_MISSING_LIMIT = 1000  # names of keys, of which a sender may make up any number


class EventReader:
    """Reads events; a key that did not exist is not asked for again for a minute.

    Nor is any for an event that had come before its transmitter was asked last: so a pile of events
    with names of keys that nobody has costs one question, not one for each name.

    Args:
        transmitters: whose events count.
        clock: what events are judged by.
    """

    def __init__(self, transmitters: Transmitters, clock: Clock) -> None:
        self._transmitters = transmitters
        self._clock = clock
        self._missing: dict[tuple[str, object], float] = {}
        self._asked_at: dict[str, float] = {}

    async def read(self, raw: object, *, arrived: float | None = None) -> SecurityEvent:
        """Return what an event says, if it counts.

        Args:
            raw: a compact JWS, as it came.
            arrived: when it came, on the clock's monotonic seconds; default: now.

        Raises:
            Refused: see `Transmitters.read`; ``event.key_unknown`` where there is no such key.
            Deferred: its transmitter's keys are out of reach.
        """
        arrived = self._clock.monotonic() if arrived is None else arrived
        try:
            return await fetched(lambda: self._look(raw, arrived))
        except KeyUnknown as unknown:
            if len(self._missing) >= _MISSING_LIMIT:  # all of them: it costs one question each
                self._missing.clear()
            self._missing[_key(unknown)] = self._clock.monotonic() + _MISSING_SECONDS
            raise unknown.refusal from None

    def _look(self, raw: object, arrived: float) -> SecurityEvent:
        try:
            return self._transmitters.read(raw, self._clock.now())
        except KeyUnknown as unknown:
            raise unknown.but(fetch=partial(self._asked, unknown, arrived)) from None

    async def _asked(self, unknown: KeyUnknown, arrived: float) -> bool:
        """Ask for the transmitter's keys; return whether that was done after this call began."""
        name, began = unknown.party, self._clock.monotonic()
        was_asked = arrived <= self._asked_at.get(name, -inf)
        if was_asked or self._missing.get(_key(unknown), 0.0) > began:
            raise unknown.refusal
        is_new = await unknown.fetch()
        if is_new:
            self._asked_at[name] = began
        return is_new


def _key(unknown: KeyUnknown) -> tuple[str, object]:
    return unknown.party, unknown.key_id
