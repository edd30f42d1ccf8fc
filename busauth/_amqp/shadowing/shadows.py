"""Which consumers of a guard are in shadow now: as the settings said, and as their file says since.

Nothing of a message leads here, and nothing but an operator's word changes what is kept. The file
is looked at again before a refusal is carried out, and now and then while a bus runs.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self

from busauth._amqp.shadowing.shadow import Shadow, may_be_first
from busauth._retold import retold
from busauth.audit import LOGGER
from busauth.clock import Clock
from busauth.errors import ConfigurationError, Refused, evidence

_LOOK_SECONDS = 5.0
"""Between two looks at the file: a flood of refused messages makes no more of them."""

_TELL_SECONDS = 60.0
"""Between two lines that say the same of a file that cannot be used."""

_BEGUN = (
    "%s: in shadow until %s: what would be refused with a code of %s is handed over as nobody; "
    "`busauth shadow report` counts it"
)
_UNUSABLE = "the settings were changed and cannot be used, so that shadows stay as they were: %s"
_STRICT = "%s: in shadow no more: what is refused is refused"
_ENDED = "%s: its shadow has ended at %s: what is refused is refused"
_DEMANDS = (
    "%s: in shadow, and yet strict: %s takes a %s, and nobody has one; annotate it as "
    "`%s | None`, and say there what is done for nobody"
)


class Source(Protocol):
    """Where an operator says it, as it is now."""

    def has_changed(self) -> bool:
        """Return whether it is another one than when it was read last."""
        ...

    def read(self) -> Mapping[str, Shadow]:
        """Return the shadows in it, by queue.

        Raises:
            ConfigurationError: it cannot be read, or something in it is wrong.
        """
        ...


class _Handler(NamedTuple):
    queue: str
    name: str
    demands: str | None


class Shadows:
    """The shadows of one guard's consumers.

    Args:
        said: by queue, as its options say.
        clock: by which they end, and by which the file is looked at.

    Raises:
        ConfigurationError: one ends too far ahead.
    """

    def __init__(self, said: Mapping[str, Shadow], clock: Clock) -> None:
        self._clock = clock
        self._source: Source | None = None
        self._looked_at = -math.inf
        self._handlers: list[_Handler] = []
        self._current = self._checked(said)
        self._ended: set[str] = set()
        self._unusable: str | None = None
        self._told_at = -math.inf

    def begin_as(self, other: Self) -> None:
        """Begin with another guard's, as they are now."""
        self._current = dict(other._current)

    def follow(self, source: Source) -> None:
        """Take what is said there from now on, each time that it changes."""
        self._source = source

    def add(self, queue: str, handler: str, *, demands: str | None) -> None:
        """Note who handles a queue's messages, and tell where it is in shadow.

        Args:
            queue: the consumed queue.
            handler: its handler, for people.
            demands: what it is always given, which nobody has, by name; None for nothing such.
        """
        added = _Handler(queue, handler, demands)
        self._handlers.append(added)
        if queue in self._current:
            self._tell(added, self._current[queue])

    def of(self, queue: str) -> Shadow | None:
        """Return what is said of a queue, None where nothing is, or where it has ended."""
        shadow = self._current.get(queue)
        return shadow if shadow is not None and self._holds(queue, shadow) else None

    def covers(self, queue: str, headers: Mapping[str, object], refused: Refused) -> bool:
        """Return whether a message is handed over as nobody that strict refuses.

        Args:
            queue: from where.
            headers: its headers, of which none can widen this.
            refused: why strict refuses it.
        """
        self.look()
        shadow = self.of(queue)
        return shadow is not None and may_be_first(headers) and shadow.covers(refused)

    def look(self) -> None:
        """Read the file again where it has changed; no more often than each five seconds."""
        now = self._clock.monotonic()
        if self._source is None or now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            if self._source.has_changed():
                self._take(self._checked(self._source.read()))
                self._unusable = None
        except ConfigurationError as error:
            self._tell_unusable(str(error))
        except Exception as error:  # ours: no message is guilty of it
            self._tell_unusable(type(error).__name__, error)

    def _tell_unusable(self, why: str, error: Exception | None = None) -> None:
        """Tell it once a minute: it is tried again with each look."""
        now = self._clock.monotonic()
        if why != self._unusable or now - self._told_at >= _TELL_SECONDS:
            self._unusable, self._told_at = why, now
            LOGGER.error(_UNUSABLE, why, exc_info=None if error is None else retold(error))

    def _take(self, said: dict[str, Shadow]) -> None:
        """Go by what is said now; whom it changes is told."""
        before, self._current = self._current, said
        self._ended = {queue for queue in self._ended if said.get(queue) == before.get(queue)}
        for each in self._handlers:
            if before.get(each.queue) != (now := said.get(each.queue)):
                self._tell(each, now)

    def _checked(self, said: Mapping[str, Shadow]) -> dict[str, Shadow]:
        now = self._clock.now() if said else 0.0
        for queue, shadow in said.items():
            shadow.check_end(queue, now)
        return dict(said)

    def _holds(self, queue: str, shadow: Shadow) -> bool:
        """Return whether it has not ended; once it has, it stays so, wherever the clock goes."""
        if queue not in self._ended:
            if shadow.holds(self._clock.now()):
                return True
            self._ended.add(queue)
            LOGGER.warning(_ENDED, evidence(queue), shadow.end)
        return False

    def _tell(self, handler: _Handler, shadow: Shadow | None) -> None:
        queue = evidence(handler.queue)
        if shadow is None:
            LOGGER.warning(_STRICT, queue)
        elif self._holds(handler.queue, shadow) and handler.demands is None:
            LOGGER.warning(_BEGUN, queue, shadow.end, ", ".join(shadow.codes))
        elif self._holds(handler.queue, shadow):
            LOGGER.error(_DEMANDS, queue, handler.name, handler.demands, handler.demands)
