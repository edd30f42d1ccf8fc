"""From a delivery to what came of it: may its handler run, and did it?

The stages, in their order (docs/refusals.md has what each one refuses):

1. `read`: its token, out of the header that carries it, decrypted.
2. `_recall`: the token is its issuer's, and the proof its publisher's, by the keys at hand; or
   `_prove`, which waits for what is not at hand, before a slot is taken.
3. `outcome`: a slot for the handler. From here on there is one instant, `Case.now`.
4. `_compare`: the proof and the seal speak of this message; what came back is narrowed to what its
   first token allowed.
5. `_check_hop`: honest services have not sent it round in a circle.
6. `_check_new`: it was not here before.
7. `_judge`: the token is in time or a policy accepts it, or has another one for it; it was not
   revoked, and its caller may do this (`busauth._decision`).
8. `_stands`: where something was awaited in 6 or 7, what can have fallen since is looked at once
   more, without waiting.
9. `_arguments`, in `_handle`: the body is what the handler takes.
10. `_run`, in `_handle`: the handler runs, under a lease on the caller's token.

What an operator had sent again comes without a token, and is judged by a statement and a seal in
its place (`operated`). What 1 to 8 refuse is handed over as nobody where an operator has said so
(`shadowing`).

What comes out is why the message was not handled, or nothing. Nothing here settles anything, and no
error here accepts.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Any, NamedTuple, Self

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.operated import Operated, Vouched, homeward
from busauth._amqp.consuming.returning import MISDIRECTED, CameBack, check_unasked
from busauth._amqp.consuming.rules import ConsumerRules, GuardContext
from busauth._amqp.handling.anew import Renewal
from busauth._amqp.handling.deadline import Deadline
from busauth._amqp.handling.plan import CallPlan
from busauth._amqp.handling.threads import NoThreadError
from busauth._amqp.headers import HOP, count_in, token_in
from busauth._amqp.publishing.publisher import raise_if_ending
from busauth._amqp.publishing.sealing import added_to
from busauth._decision import LOOKS, check_standing, decide, stands
from busauth._expiry import Fresh
from busauth._loops import PerLoop
from busauth._messages.proof import Signed
from busauth._messages.replay import ReplayKey, a_copy_of
from busauth._messages.seal import ATTEMPT, PURPOSE, hinted_attempt
from busauth._retold import retold, words_of
from busauth._tokens.encryption.kept import is_kept
from busauth._tokens.envelope import is_encrypted
from busauth._tokens.evidence import Verified, still_said
from busauth._tokens.keys.key import KeyMissing
from busauth._tokens.keys.waiting import NotAtHand, found
from busauth.audit import LOGGER, EventKind, exchanged
from busauth.caller import Caller, Lease, acting, holding, lease_for, narrowed
from busauth.errors import (
    BadMessage,
    Deferred,
    Forbidden,
    HandlerFailed,
    NotGenuine,
    Refused,
    Reject,
    Untimely,
    defer_if_transient,
    evidence,
    held_by,
)

_UNHURRIED = nullcontext()
_OF_PROOFS = "proof."
"""Codes of proofs begin so; what one says that is refused reaches no handler."""

_OF_TODAY = frozenset({*MISDIRECTED, "token.key_unknown", "proof.key_unknown"})
"""Codes of what may be genuine elsewhere or was so earlier: no forger need have been here."""


class Genuine(NamedTuple):
    """A token that is its issuer's, and a proof that is its publisher's, where one is asked for."""

    verified: Verified
    signed: Signed | None
    fresh: Fresh | None = None
    """What a policy has had in the token's place."""

    def holds(self) -> bool:
        """Return whether what proved them still counts, without waiting."""
        if self.fresh is not None and not self.fresh.verified.holds():
            return False
        return self.verified.holds() and (self.signed is None or self.signed.holds())

    def says_as(self, other: Self) -> bool:
        """Return whether both, proven again, say the same, whatever proved them."""
        ours, theirs = (
            None if each is None else (each.publisher.name, each.claims)
            for each in (self.signed, other.signed)
        )
        if ours != theirs or not self.verified.says_as(other.verified):
            return False
        if self.fresh is None or other.fresh is None:
            return self.fresh is other.fresh
        return self.fresh.verified.says_as(other.fresh.verified)


class Pipeline:
    """Judges and handles one queue's deliveries.

    Args:
        plan: how the handler is called.
        rules: what is asked of messages and callers, and how many handlers run at once.
        context: what all consumers of a guard share.
        running: the deliveries that are being judged, handled or settled now.
    """

    def __init__(
        self,
        plan: CallPlan,
        rules: ConsumerRules,
        context: GuardContext,
        running: Mapping[int, Case],
    ) -> None:
        self._plan = plan
        self._rules = rules
        self._messages = rules.messages
        self._context = context
        self._running = running
        self._renews = bool(rules.callers.policies.renewing)
        self._operated = Operated(rules)
        self._slots_of = PerLoop(lambda: asyncio.Semaphore(rules.concurrency))
        self._slots = asyncio.Semaphore(rules.concurrency)

    def begin(self) -> None:
        """Go on in the running event loop; where one comes back, its handlers hold their slots."""
        self._slots = self._slots_of.here

    async def outcome(self, case: Case) -> Refused | None:
        """Return why the message was not handled, None where it was. Errors here never accept.

        Raises:
            Deferred: that cannot be told now.
            RuntimeError, TypeError: the program is wrong, and the message not guilty of it.
        """
        try:
            slots = self._slots
            genuine = await self._proven(case)
            waits = slots.locked()
            await slots.acquire()
            try:
                if waits and not isinstance(genuine, Refused) and not genuine.holds():
                    genuine = await self._proven(case)
                caller = await self._for_whom(case, genuine)
                return await self._handle(case, caller)
            finally:
                slots.release()
        except Refused as refused:
            self._context.auditor.tell_mistake(refused, self._rules.queue)
            return refused
        except Deferred:
            raise
        except BaseException as error:
            raise_if_ending(error)
            if _is_of_the_program(error):
                raise
            if self._context.auditor.lines.admit("a check failed", self._rules.queue):
                LOGGER.error("a check failed, the message is refused", exc_info=retold(error))
            return BadMessage("check.failed", found=type(error).__name__, expected="no error")

    async def _proven(self, case: Case) -> Genuine | Vouched | Refused:
        """Return what proves a delivery; in shadow, why nothing does.

        Raises:
            Refused: it is not handed over.
            Deferred: keys are out of reach.
        """
        try:
            self.read(case)
            try:
                return self._recall(case)
            except NotAtHand:
                return await self._prove(case)
        except Refused as refused:
            self._check_home(case, refused)
            if not self._is_handed_over(case, refused):
                raise
            return refused

    def _check_home(self, case: Case, refused: Refused) -> None:
        """Have a letter of this consumer's, or what it parked, go back where it was.

        Its token or its proof does not count here and now: a key is gone, a proof is stale. Nothing
        of it is false, and refused it would lose the seal by which it can go again. What was kept
        and is for somebody else is sealed anew where it is refused.

        Raises:
            CameBack: it goes back.
        """
        if case.letter is not None or not isinstance(refused, NotGenuine | Untimely):
            return
        if case.is_kept and refused.code in MISDIRECTED:
            return
        letter = self._messages.letter(case.delivery)
        if letter is None:
            return
        # by the token that it had, nothing of it is anybody else's; by another, that may be forged
        if not self._messages.came_by_its_own(case):
            is_of_today = isinstance(refused, Untimely) or refused.code in _OF_TODAY
            if case.is_kept or not is_of_today:
                return
        case.letter = letter
        raise CameBack.over(refused) from refused

    def _is_handed_over(self, case: Case, refused: Refused) -> bool:
        """Return whether an operator has said that what is refused so is handed over as nobody.

        A letter of this consumer's goes home, and what came round in a circle goes no further.
        """
        if not self._plan.takes_nobody or case.letter is not None:
            return False
        headers, queue = case.delivery.headers, self._rules.queue
        is_near = count_in(headers, HOP) <= self._context.options.max_hops
        return is_near and self._context.shadows.covers(queue, headers, refused)

    def _hand_over(self, case: Case, refused: Refused) -> None:
        """Note that a message is handed over as nobody, though strict refuses it.

        Raises:
            Refused: it is not: it is refused.
        """
        if not self._is_handed_over(case, refused):
            raise refused
        self._context.auditor.tell_mistake(refused, self._rules.queue)
        case.shadowed = refused
        case.hop = count_in(case.delivery.headers, HOP)
        marks = case.marks or self._messages.marks(case.delivery, case.token_sha256)
        case.attempt = 1 + marks.sealed.attempt

    def read(self, case: Case) -> None:
        """Note a delivery's token, decrypted, or what came in its place; nothing is proven of it.

        Raises:
            NotGenuine: there is none, or it cannot be read.
            CameBack: this consumer has put it away without a token, and somebody has moved it.
        """
        delivery, header = case.delivery, self._context.header
        if delivery.is_unreadable:
            raise NotGenuine(
                "message.unreadable",
                found="properties or a route that are no AMQP",
                expected="what an AMQP 0-9-1 client can decode",
            )
        if delivery.headers.get(header.name) is None:
            self._operated.read(case)
            if case.statement is not None:
                return
        token = token_in(delivery.headers, header)
        if is_encrypted(token) and is_kept(token):
            case.is_kept, token = True, self._opened(case, token)
        elif self._rules.decryption is not None:
            token = self._rules.decryption.reveal(token)
        case.token = token

    def _opened(self, case: Case, kept: str) -> str:
        """Return what a letter kept; it counts on that letter alone, as its seal has to say.

        Raises:
            NotGenuine: it is not this one's, or cannot be read.
            CameBack: it is this consumer's own letter, and no key for it is here.
        """
        try:
            return self._messages.opened(case.delivery, kept)
        except NotGenuine as refused:
            if refused.code == "token.encryption_key":
                case.letter = self._messages.letter(case.delivery)
            if case.letter is not None:
                raise CameBack.unopened() from None
            if self._messages.letters is not None:
                raise
        decryption = self._rules.decryption
        return kept if decryption is None else decryption.reveal(kept)  # which opens no kept one

    def _recall(self, case: Case) -> Genuine | Vouched:
        """Prove a delivery's token and proof with the keys at hand.

        Raises:
            Refused: with the first rule that one of them breaks.
            NotAtHand: keys, or an answer, must be fetched: `_prove`.
            Deferred: who proves them is out of reach.
        """
        if case.statement is not None:
            return self._operated.recall(case)
        try:
            verified = self._rules.trusted.recall(case.token or "")
            if self._messages.proofs is None:
                return Genuine(verified, None)
            return Genuine(verified, self._messages.recall(case.delivery))
        except Exception as error:
            self._defer_if_transient(error)
            raise

    async def _prove(self, case: Case) -> Genuine | Vouched:
        """Prove what `_recall` does, fetching keys that are not at hand.

        Raises:
            Refused: with the first rule that one of them breaks.
            Deferred: keys are out of reach.
        """
        if case.statement is not None:
            return await self._operated.prove(case)
        return await self._prove_genuine(case)

    async def _prove_genuine(self, case: Case) -> Genuine:
        try:
            verified = await found(lambda: self._rules.trusted.recall(case.token or ""))
            if self._messages.proofs is None:
                return Genuine(verified, None)
            signed = await found(lambda: self._messages.recall(case.delivery))
            fresh, renewals = case.fresh, self._rules.callers.renewals
            if fresh is not None and renewals is not None:
                fresh = fresh._replace(verified=await renewals.proven(fresh.token))
            if not verified.holds():  # the wait for the proof's keys may have been long
                verified = await found(lambda: self._rules.trusted.recall(case.token or ""))
            return Genuine(verified, signed, fresh)
        except Exception as error:
            self._defer_if_transient(error)
            raise

    def _defer_if_transient(self, error: Exception) -> None:
        transient = self._rules.callers.transient
        defer_if_transient("who proves tokens is", error, transient)

    async def _for_whom(self, case: Case, genuine: Genuine | Vouched | Refused) -> Caller | None:
        """Return the caller for whom the handler may run; None for nobody, in shadow.

        Raises:
            Refused, Deferred: as of `_decided`.
        """
        try:
            if isinstance(genuine, Refused):
                case.now = self._context.clock.now()
                raise genuine
            return await self._decided(case, genuine)
        except Refused as refused:
            self._hand_over(case, refused)
            return None

    async def _decided(self, case: Case, genuine: Genuine | Vouched) -> Caller:
        """Return the caller for whom the handler may run.

        It is made in the slot, at one instant: waiting for it must not make a decision stale. Where
        something was awaited all the same, what stood then may have fallen.

        Raises:
            Refused: with its code.
            Deferred: something cannot be told now, or it changed each time that it was looked at.
        """
        if isinstance(genuine, Vouched):
            return await self._accepted(case, genuine)
        for _ in range(LOOKS):
            case.now = self._context.clock.now()
            verified = self._compare(case, genuine)
            self._check_hop(case)
            if self._messages.replay.remembers:
                await self._check_new(case)
            try:
                caller = await self._judge(case, verified)
            finally:
                if case.fresh is not None:
                    genuine = genuine._replace(fresh=case.fresh)
                    self._tell_exchanged(case, case.fresh)
            if caller.late is None and case.replay_key is None:
                return caller  # nothing was awaited
            genuine, is_same = await still_said(genuine, partial(self._prove_genuine, case))
            if is_same and self._stands(case, verified, genuine.signed, caller):
                return caller
            case.fresh, genuine = None, genuine._replace(fresh=None)
        raise Deferred("what the decision rests on keeps changing")

    async def _accepted(self, case: Case, vouched: Vouched) -> Caller:
        """Return the caller for whom an operator has the handler run.

        Whatever could have changed is judged behind the last await, at one instant.

        Raises:
            Refused: with its code; `CameBack` for a letter, which goes back where it was.
            Deferred: something cannot be told now, or it changed each time that it was looked at.
        """
        for _ in range(LOOKS):
            case.now = self._context.clock.now()
            self._operated.compare(case, vouched)
            if self._messages.replay.remembers:
                await self._check_new(case)
            if vouched.holds():
                case.now = self._context.clock.now()
                with homeward(case):
                    self._check_hop(case)
                return self._operated.judge(case, vouched)
            vouched = await self._operated.prove(case)
        raise Deferred("what the decision rests on keeps changing")

    def _compare(self, case: Case, genuine: Genuine) -> Verified:
        """Compare a message with its proof and its seal, note what they say, return its token.

        What came back with another token than its first one, or with a reference that means more
        by now, is narrowed to what both allow.

        Raises:
            Refused: one speaks of another message, or not for here or now.
        """
        verified = case.verified = genuine.verified
        caller, headers = verified.caller, case.delivery.headers
        case.caller = caller
        case.attempt = 1 + hinted_attempt(headers) if ATTEMPT in headers else 1
        if not self._messages.asks:
            if PURPOSE in headers:
                check_unasked(headers)
            return verified
        try:
            case.provenance, case.marks = self._messages.provenance_of(
                case.delivery,
                caller,
                genuine.signed,
                case.now,
                starts_at=verified.starts_at,
                is_kept=case.is_kept,
            )
        except Untimely as refused:
            self._check_home(case, refused)
            raise
        case.proven = case.provenance.proven
        case.attempt = 1 + case.marks.sealed.attempt
        first = case.marks.sealed.first
        if first is not None and first != self._messages.first(caller):
            case.verified = replace(verified, caller=narrowed(caller, first))
        return case.verified

    def _check_hop(self, case: Case) -> None:
        """Stop loops between honest services; a sender can only shorten its own way."""
        if HOP not in case.delivery.headers:
            return
        limit = self._context.options.max_hops
        case.hop = count_in(case.delivery.headers, HOP)
        if case.hop > limit:
            raise Forbidden("message.hops", found=f"hop {case.hop}", expected=f"at most {limit}")

    async def _check_new(self, case: Case) -> None:
        """Put the message in flight, unless it was here before, or is in flight already.

        It is asked before anything is decided: what is refused or parked may come back, and a copy
        of what was handled must not become a letter that could.

        Raises:
            Duplicate: it was handled.
            Forbidden: ``replay.copy``.
            Deferred: what remembers is out of reach, or it may be in hand here.
        """
        if case.replay_key is not None:
            return
        key = self._messages.replay_key(case.provenance, case.marks)
        if key is None:
            return
        redelivered = case.delivery.redelivered
        if redelivered:
            self._check_in_hand(key)
        case.replay_key = key  # before asking: whoever is cut off may have been heard
        case.holder = token_hex(8)
        try:
            await self._messages.replay.admit(key, holder=case.holder, redelivered=redelivered)
        except Forbidden:
            case.replay_key = None  # the other one's
            raise
        case.is_known = True

    def _check_in_hand(self, key: ReplayKey) -> None:
        """Look whether a redelivered message is in hand already.

        One that is, and that the broker cannot have back, is another: this is its copy. Where that
        is known to others alone, it waits until the first one is done.

        Raises:
            Forbidden: ``replay.copy``.
            Deferred: it may be that one, delivered again.
        """
        held = [each.delivery for each in self._running.values() if each.replay_key == key]
        if any(delivery.is_open and delivery.may_be_lost for delivery in held):
            raise Deferred(f"{self._rules.queue}: what may be this message is still in hand here")
        if any(delivery.is_open for delivery in held):
            raise a_copy_of(key)

    def _judge(self, case: Case, verified: Verified) -> Awaitable[Caller]:
        """Return the caller for whom the handler may run, at the case's instant.

        Raises:
            Refused: with its code.
            Deferred: a policy, or what knows of revocations, cannot tell now.
        """
        return decide(verified, self._rules.callers, case.now, case.provenance, case)

    def _stands(
        self, case: Case, verified: Verified, signed: Signed | None, caller: Caller
    ) -> bool:
        """Return whether a decision still stands after an await; else it is to be made anew.

        Nothing is waited for.

        Raises:
            Refused: it does not, and will not: the token was revoked, the proof has become stale.
            Deferred: what knows of revocations cannot tell now.
        """
        now = self._context.clock.now()
        self._messages.check_age(signed, now)
        rules, fresh = self._rules.callers, case.fresh
        return stands(verified, caller, rules, now, case.provenance, fresh=fresh)

    async def _handle(self, case: Case, caller: Caller | None) -> HandlerFailed | None:
        """Run the handler for a caller, or for nobody.

        Raises:
            BadMessage: the body is not what it takes.
        """
        size, limit = len(case.delivery.body), self._context.options.max_body_bytes
        reader = self._plan.reader
        if size > limit and reader is not None and reader.is_bounded:
            found, expected = f"{size} bytes", f"at most {limit} bytes"
            raise BadMessage("body.too_large", found=found, expected=expected)
        lease = _nobodys(case) if caller is None else self._lease(case, caller)
        if caller is not None:
            case.caller = caller
            caller = holding(caller, lease) if self._plan.caller else caller
        arguments = self._arguments(case, caller)
        case.has_begun = True
        self._tell_begun(case)
        clock = self._context.clock
        began, case.began_at = clock.monotonic(), clock.now()
        try:
            with acting(lease):
                failed = await self._run(case, arguments)
        finally:
            case.duration, case.ended_at = clock.monotonic() - began, clock.now()
        if failed is not None:
            self._log(case, failed)
        return failed

    def _lease(self, case: Case, caller: Caller) -> Lease:
        """Return the right to act for a caller.

        Where a policy accepted them by another published instant than the message's own, or by
        none, that is said on: no word that was not taken here becomes this consumer's.
        """
        late, said, fresh = caller.late, case.provenance, case.fresh
        token = case.token or "" if fresh is None else fresh.token
        return lease_for(
            caller,
            token,
            standing=partial(self._check_standing, case.verified),
            hop=case.hop,
            published_at=said.repeated(late.published_at)
            if late and not fresh
            else said.published_at,
            cause=case.cause,
            clock=self._context.clock,
            renewal=self._renewal(case) if self._renews else None,
            told=self._tell_had,
        )

    def _tell_had(self, caller: Caller, what: str) -> None:
        """Tell that a handler has had a token by itself."""
        context, queue = self._context, self._rules.queue
        context.auditor(
            exchanged(caller, queue=queue, at=context.clock.now(), detail=evidence(what))
        )

    def _renewal(self, case: Case) -> Renewal | None:
        """Return what has the case's token anew for a handler that takes longer than it lives."""
        if case.verified is None:  # an operator's word in a token's place buys none
            return None
        told, rules = partial(self._tell_exchanged, case), self._rules.callers
        return Renewal(case.token, case.verified, rules, case.provenance, told=told)

    def _tell_exchanged(self, case: Case, fresh: Fresh) -> None:
        """Tell that a token was had, whatever comes of it, where anybody listens."""
        kind, auditor = EventKind.EXCHANGED, self._context.auditor
        if auditor.is_heard(kind):
            auditor.tell(replace(case, caller=fresh.caller), kind, detail=fresh.told)

    def _check_standing(self, verified: Verified | None, caller: Caller) -> None:
        rules, now = self._rules.callers, self._context.clock.now()
        check_standing(caller, rules, now)
        if caller.first is not None and verified is not None:  # the message's own token, too
            check_standing(verified.caller, rules, now)

    def _tell_begun(self, case: Case) -> None:
        tell, refused, caller = self._context.auditor.tell, case.shadowed, case.caller
        if refused is not None:
            tell(case, EventKind.SHADOWED, refused, sender=case.sender)
            return
        is_late = caller is not None and caller.late is not None
        detail = None if caller is None or case.statement is None else _by(caller)
        tell(case, EventKind.ACCEPTED_LATE if is_late else EventKind.ACCEPTED, detail=detail)

    def _arguments(self, case: Case, caller: Caller | None) -> dict[str, Any]:
        """Return what the handler is called with.

        Raises:
            BadMessage: ``body.encoding``, ``body.not_json`` or ``body.invalid``; or
                ``message.property``, where aio-pika cannot make its message.
        """
        plan, delivery = self._plan, case.delivery
        if plan.message is not None:  # what was added to a sealed copy on its way is not shown
            delivery.hidden = added_to(delivery.headers, self._context.header.name)
            if case.verified is not None and case.verified.is_voucher:  # which goes nowhere
                delivery.hidden |= {self._context.header.name}
        refused = case.shadowed
        is_unproven = refused is not None and refused.code.startswith(_OF_PROOFS)
        return plan.arguments(delivery, caller, None if is_unproven else case.proven)

    async def _run(self, case: Case, arguments: dict[str, Any]) -> HandlerFailed | None:
        """Run the handler; its failure is an outcome, its cancellation from outside is not.

        Raises:
            NoThreadError: it blocks, and there is no thread for it now.
            Deferred: no token can be had now that it needs to go on: its message is given back,
                unless it has settled that itself.
        """
        seconds = self._rules.deadline
        deadline = None if seconds is None else Deadline(seconds, self._context.clock)
        try:
            async with deadline or _UNHURRIED:
                await self._plan.call(**arguments)
        except NoThreadError:
            raise
        except BaseException as error:
            failed = _failure(error, deadline)
            if not isinstance(failed, Deferred):
                return failed
            if case.delivery.is_open:
                raise failed from None
            found, kind = failed.reason, type(failed).__name__
            return HandlerFailed("handler.failed", found=found, retry=True, error=kind)
        return None

    def _log(self, case: Case, failed: HandlerFailed) -> None:
        error, queue = failed.__cause__, self._rules.queue
        lines = self._context.auditor.lines
        if error is None or not lines.admit(f"{queue}: a handler failed", type(error).__name__):
            return
        what = f"{queue}: a handler failed, message_id={case.delivery.message_id!r}"
        LOGGER.warning("%s: %s", evidence(what), failed.found, exc_info=retold(error))


def _by(caller: Caller) -> str:
    """Tell which operator had a message sent again."""
    operator = caller.actors[0]
    return f"by operator {evidence(operator.subject)} of {evidence(operator.issuer)}"


def _nobodys(case: Case) -> Lease:
    """Return an ended lease, without a token: what is published in no name is said to be so."""
    lease = Lease("", hop=case.hop, cause=case.cause)
    code = case.shadowed.code if case.shadowed is not None else "nothing"
    lease.end(
        f"this handler runs as nobody, as its message would be refused ({code}): publish with "
        "token=ANONYMOUS"
    )
    return lease


def _is_of_the_program(error: BaseException) -> bool:
    """Return whether an error says that the program is wrong: of no message can it say anything.

    A recursion too deep is of what was looked at. An authenticator that raises `KeyMissing`, which
    is for sources of keys, or the bare `NotAtHand` has not said how to fetch what is missing.
    """
    return any(
        isinstance(each, (RuntimeError, TypeError, KeyMissing, NotAtHand))
        and not isinstance(each, RecursionError)
        for each in held_by(error)
    )


def _failure(error: BaseException, deadline: Deadline | None) -> HandlerFailed | Deferred:
    """Return what an error of a handler's means; of a group, what it holds decides.

    Where no token goes on, the handler has not failed: it may not do this for its caller, or that
    cannot be told now.

    Raises:
        BaseException: what ends this task or this process, where that is in it.
    """
    raise_if_ending(error)
    held = tuple(held_by(error))
    for each in held:
        if isinstance(each, Reject):
            return HandlerFailed("handler.rejected", found=each.reason, retry=False, error="Reject")
    if (lacking := _lacking(held)) is not None:
        return lacking
    kind = type(held[0]).__name__
    if deadline is not None and deadline.has_passed:
        return HandlerFailed("handler.deadline", found=deadline.told, retry=True, error=kind)
    if all(isinstance(each, asyncio.CancelledError) for each in held):
        found = f"{kind}, raised in it or by what it awaited: nobody cancelled the handler"
    else:
        words = words_of(held[0])  # may fail, and are left out then
        more = f", and {len(held) - 1} more" if len(held) > 1 else ""
        found = f"{kind}: {words}{more}" if words else f"{kind}{more}"
    failed = HandlerFailed("handler.failed", found=found, retry=True, error=kind)
    failed.__cause__ = error
    return failed


def _lacking(held: Iterable[BaseException]) -> HandlerFailed | Deferred | None:
    """Return what it means that no token goes on; None where a handler failed for something else.

    A verdict counts before what cannot be told now: another attempt would end in it as well.
    """
    lacking = [each for each in held if isinstance(each, Refused | Deferred) and each.onward]
    for each in lacking:
        if isinstance(each, Refused):
            kind = type(each).__name__
            return HandlerFailed("handler.rejected", found=each.detail, retry=False, error=kind)
    return next((each for each in lacking if isinstance(each, Deferred)), None)
