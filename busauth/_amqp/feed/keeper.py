"""Between restarts: what a reader of the feed knows, taken from a checkpoint and written to one."""

import asyncio

from busauth._amqp.feed.options import FeedOptions
from busauth._revocation import (
    Checkpoint,
    CheckpointFile,
    Position,
    RevokedTokens,
    UnusableCheckpoint,
)
from busauth._revocation.events import Transmitters
from busauth.audit import LOGGER
from busauth.errors import Deferred


class Keeper:
    """Restores and saves one reader's knowledge.

    Args:
        file: where it is kept.
        options: the reader's; a checkpoint of other ones may not be used.
        transmitters: likewise.
    """

    def __init__(
        self, file: CheckpointFile, options: FeedOptions, transmitters: Transmitters
    ) -> None:
        self._file = file
        self._retention = options.retention
        self._name = f"{options.stream} {options.session_claim} {transmitters.fingerprint()}"

    def restore(self, tokens: RevokedTokens, now: float) -> Position | None:
        """Fill `tokens`, and return where to read on; None where everything is to be read."""
        try:
            found = self._file.load(self._name, retention=self._retention, now=now)
            if found is None:
                return None
            for some in found.records:  # a few thousand at a time: all of them are not held twice
                tokens.restore(dict(found.issuers), some)
        except (UnusableCheckpoint, Deferred) as error:
            LOGGER.warning("%s is not used, the feed is read anew: %s", self._file.path, error)
            return None
        return found.position

    async def save(self, tokens: RevokedTokens, position: Position | None, now: float) -> None:
        """Write down what is known; a failure costs no more than a slower restart."""
        if position is None:  # nowhere to read on from: a restart reads all anew
            return
        checkpoint = Checkpoint(
            feed=self._name,
            retention=self._retention,
            position=position,
            at=now,
            issuers=tokens.issuers(),
            records=tokens.records(),
        )
        # In a thread, as it takes its time for many: messages are judged meanwhile.
        try:
            await asyncio.to_thread(self._file.save, checkpoint)
        except OSError as error:
            LOGGER.warning("%s was not written: %s", self._file.path, error)
