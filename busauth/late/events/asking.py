"""Reading events whose keys may have to be asked for."""

from busauth.clock import Clock
from busauth.errors import Refused
from busauth.late.events.reading import SecurityEvent, Transmitters
from busauth.late.events.transmitters import KeyUnknown

_LOOKS = 2
"""Fetches that an unknown key is worth: one may have been under way already, and be too old."""

_MISSING_SECONDS = 60.0
_MISSING_LIMIT = 1000


class EventReader:
    """Reads events; a key that did not exist is not asked for again for a minute.

    Args:
        transmitters: whose events count.
        clock: what events are judged by.
    """

    def __init__(self, transmitters: Transmitters, clock: Clock) -> None:
        self._transmitters = transmitters
        self._clock = clock
        self._missing: dict[tuple[str, object], float] = {}

    async def read(self, raw: object) -> SecurityEvent:
        """Return what an event says, if it counts.

        Raises:
            Refused: see `Transmitters.read`; ``event.key_unknown`` where there is no such key.
            Deferred: its transmitter's keys are out of reach.
        """
        for _ in range(_LOOKS):
            try:
                return self._transmitters.read(raw, self._clock.now())
            except KeyUnknown as unknown:
                if await self._asked(unknown):
                    break
        try:
            return self._transmitters.read(raw, self._clock.now())
        except KeyUnknown as unknown:
            raise self._given_up(unknown) from None

    async def _asked(self, unknown: KeyUnknown) -> bool:
        if self._missing.get(_key(unknown), 0.0) > self._clock.monotonic():
            raise unknown.refusal
        return await unknown.transmitter.keys.refresh()

    def _given_up(self, unknown: KeyUnknown) -> Refused:
        if len(self._missing) >= _MISSING_LIMIT:
            self._missing.clear()
        self._missing[_key(unknown)] = self._clock.monotonic() + _MISSING_SECONDS
        return unknown.refusal


def _key(unknown: KeyUnknown) -> tuple[str, object]:
    return unknown.transmitter.name, unknown.key_id
