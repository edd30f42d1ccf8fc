"""A replay memory as one consumer group asks it, and what stands there where nothing remembers.

Messages are known by keys, and only a memory makes them: who has no key has nothing to ask.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from busauth._messages.proof import Proven
from busauth._messages.replay.memory import (
    OWN,
    Duplicate,
    ReplayKey,
    ReplayMemory,
    Standing,
    a_copy_of,
)
from busauth._messages.seal import Sealed
from busauth.audit import LOGGER
from busauth.errors import Deferred, Transient, defer_if_transient

Prove = Callable[[], Awaitable[Proven | None]]
"""Proves whose a message is; None where nobody can say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMemory:
    """What one consumer group remembers of its messages.

    Attributes:
        memory: where.
        group: its name there.
        transient: errors of the memory that are nobody's fault, next to `OSError`.
        remembers: True.
    """

    memory: ReplayMemory
    group: str
    transient: Transient = ()
    remembers: ClassVar[bool] = True

    def key(self, proven: Proven | None, sealed: Sealed) -> ReplayKey | None:
        """Return what makes two deliveries one message, None where nothing is proven of it.

        A letter that was sent again is known by its sealed id, whatever proof it comes with, or
        without one. The first time, it is the message that nobody here has compared with its proof.
        """
        if sealed.letter is not None and (sealed.redrive or proven is None):
            return ReplayKey(
                group=self.group,
                publisher=OWN,
                message_id=sealed.letter,
                attempt=sealed.attempt,
                redrive=sealed.redrive,
            )
        if proven is None:
            return None
        return ReplayKey(
            group=self.group,
            publisher=proven.root_publisher,  # whoever released it
            message_id=proven.message_id,
            attempt=sealed.attempt,
            redrive=sealed.redrive,
        )

    async def admit(self, key: ReplayKey, *, holder: str, redelivered: bool) -> None:
        """Put a message in flight.

        Args:
            key: what makes it this message.
            holder: a name of this attempt.
            redelivered: whether the broker has delivered it before.

        Raises:
            Duplicate: it was done, and is delivered again.
            Forbidden: ``replay.copy``.
            Deferred: the memory cannot tell now.
        """
        try:
            standing = await self.memory.begin(key, holder=holder, redelivered=redelivered)
        except Exception as error:
            self._raise(error)
        if standing is Standing.COPY:
            raise a_copy_of(key)
        if standing is Standing.DUPLICATE:
            raise Duplicate.of(key)

    async def settled_as(self, prove: Prove, sealed: Sealed) -> ReplayKey | None:
        """Return as what a message was settled, None if it was not, as far as is known.

        Args:
            prove: is asked whose it is, only where something remembers.
            sealed: what its seal says, which holds.

        Raises:
            Deferred: the memory cannot tell now.
        """
        is_known = sealed.letter is not None and sealed.redrive > 0
        key = self.key(None if is_known else await prove(), sealed)
        if key is None:
            return None
        try:
            return key if await self.memory.was_settled(key) else None
        except Exception as error:
            self._raise(error)

    async def forget(self, key: ReplayKey, *, holder: str) -> None:
        """Take a message that is in flight back: a copy of it takes over, undecided.

        Raises:
            Deferred: it cannot be, whatever the reason: no copy must take over.
        """
        try:
            await self.memory.forget(key, holder=holder)
        except Exception as error:  # a mistake of the memory's, too: no copy must take over
            raise Deferred(f"not taken back: {type(error).__name__}") from error

    async def done(self, key: ReplayKey) -> None:
        """Note that a message was settled; what cannot be noted is told, and changes nothing."""
        try:
            await self.memory.done(key)
        except Exception as error:
            why = error.reason if isinstance(error, Deferred) else type(error).__name__
            LOGGER.warning("%s: a redelivery would be handled again: %s", self.group, why)

    def _raise(self, error: Exception) -> NoReturn:
        defer_if_transient("the replay memory is", error, self.transient)
        raise error


class NoMemory:
    """Remembers nothing: it makes no keys, so each message is as new as any.

    Attributes:
        remembers: False: a consumer need not ask at all.
    """

    remembers: ClassVar[bool] = False

    def key(self, proven: Proven | None, sealed: Sealed) -> ReplayKey | None:
        """Return None."""
        return None

    async def admit(self, key: ReplayKey, *, holder: str, redelivered: bool) -> None:
        """Let it pass."""

    async def settled_as(self, prove: Prove, sealed: Sealed) -> ReplayKey | None:
        """Return None: nothing is known of any."""
        return None

    async def forget(self, key: ReplayKey, *, holder: str) -> None:
        """Do nothing."""

    async def done(self, key: ReplayKey) -> None:
        """Do nothing."""


Remembered = GroupMemory | NoMemory
"""What a consumer has."""
