"""One delivery, and what is known of it so far."""

import asyncio
from dataclasses import dataclass, field

from busauth._amqp.consuming.returning import Marks
from busauth._amqp.delivery import Delivery
from busauth._amqp.headers import TOKEN_SHA256, id_in
from busauth._amqp.publishing.copies import Carried
from busauth._amqp.publishing.watching import Handling
from busauth._expiry import Fresh
from busauth._messages.proof import Proven
from busauth._messages.provenance import BROKER_STAMP, UNPROVEN, Provenance
from busauth._messages.replay import ReplayKey
from busauth._tokens.evidence import Verified
from busauth._tokens.verifier import fingerprint
from busauth.caller import Caller, Cause
from busauth.errors import Refused, evidence

_SHOWN = 64
"""Characters of what a message says of its sender."""


@dataclass(slots=True)
class Case:
    """One delivery, and what is known of it so far.

    Attributes:
        delivery: as received.
        now: the instant of the decision; until then, that of the arrival.
        queue: from where.
        message_id: its sender's id of it, if any.
        token: its raw token, decrypted; None before it was read, and where it cannot be.
        is_kept: its token came as a letter had kept it.
        verified: its token, once that is proven genuine; of what came back with another token than
            its first one, with no more than both allow.
        caller: whose it is, once that is proven; later, for whom the handler may run.
        fresh: what a policy has had in the place of its token; the message stays that token's.
        provenance: who published it, and when, once that is proven.
        proven: what its proof says, once it was compared with it.
        marks: what is believed of an earlier copy's headers, once they were looked at.
        letter: what it carries on as this consumer's own letter, which came without a token.
        statement: what came in place of its token: an operator has it sent again.
        operator: who has it sent again, by the statement.
        retried: what it carries on as a retry of what was accepted on that statement.
        replay_key: what it is in flight as, None where nothing remembers it.
        is_known: the memory has answered that it is, and was told nothing else since.
        is_leaving: it is being given back.
        outcome: why it was not handled, once that is known.
        attempt: which attempt this is, from 1 on; None before its token is proven genuine.
        hop: how many messages led to it, as it says itself.
        holder: this attempt's own name for what remembers it.
        duration: seconds for which its handler ran, None where it did not, or still does.
        began_at, ended_at: when its handler began and ended, seconds since the epoch.
        is_acknowledged: the broker is about to be told that it is done.
        task: what judges and handles it.
        has_begun: its handler runs, or what became of it is being carried out.
        returning: gives it back, as its task was cancelled.
        watch: watches it, None where nobody does.
        shadowed: why it would be refused, where it is handed over as nobody.
    """

    delivery: Delivery
    now: float
    queue: str = ""
    message_id: str | None = None
    token: str | None = field(default=None, repr=False)
    is_kept: bool = False
    verified: Verified | None = None
    caller: Caller | None = None
    fresh: Fresh | None = None
    provenance: Provenance = UNPROVEN
    proven: Proven | None = None
    marks: Marks | None = None
    letter: Carried | None = None
    statement: str | None = field(default=None, repr=False)
    operator: str | None = None
    retried: Carried | None = None
    replay_key: ReplayKey | None = None
    outcome: Refused | None = None
    attempt: int | None = None
    hop: int = 0
    holder: str = ""
    duration: float | None = None
    began_at: float | None = None
    ended_at: float | None = None
    is_acknowledged: bool = False
    is_known: bool = False
    is_leaving: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    has_begun: bool = False
    returning: asyncio.Task[None] | None = field(default=None, repr=False)
    watch: Handling | None = field(default=None, repr=False)
    shadowed: Refused | None = None

    @property
    def token_sha256(self) -> str | None:
        """Return what identifies its token, None where it could not be read.

        Where a statement took its place: the token that its letter was sealed for, and may have
        kept. The record's is another one where the letter went by a fresh token since.
        """
        if self.letter is not None or self.retried is not None:
            said = self.delivery.headers.get(TOKEN_SHA256)
            if self.statement is not None and isinstance(said, str):
                return said
        caller = self.caller if self.verified is None else self.verified.caller
        if caller is not None:
            return caller.token_sha256
        return None if self.token is None else fingerprint(self.token)

    @property
    def published_at(self) -> float | None:
        """Return when this very message was published, by who is trusted for that."""
        stamp, proven = self.provenance.published.get(BROKER_STAMP), self.proven
        return stamp if stamp is not None or proven is None else proven.published_at

    @property
    def sender(self) -> str | None:
        """Return who sent it, and by whose word: proven, a genuine token's client, or its own."""
        if self.proven is not None:
            return f"proven {self.proven.publisher}"
        if self.caller is not None and self.caller.client is not None:
            return f"client {evidence(self.caller.client)}"
        raw = self.delivery.raw
        said = id_in(raw.app_id, self.token) or id_in(raw.user_id, self.token)
        return None if said is None else f"said {said[:_SHOWN]}"

    def cause(self) -> Cause:
        """Return what is said of it on what its handler publishes."""
        correlation_id = id_in(self.delivery.raw.correlation_id, self.token)
        return Cause(id_in(self.message_id, self.token), correlation_id)
