"""One attempt at a delivery: may its handler run, and what came of it?

What comes out is why the message was not handled, or nothing. Nothing here settles anything, and no
error here accepts.
"""

import asyncio
from collections.abc import Mapping
from secrets import token_hex

from busauth._amqp.consuming.admission import Admission, Genuine
from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.rules import ConsumerRules, GuardContext
from busauth._amqp.delivery import Delivery
from busauth._amqp.handling.deadline import Deadline
from busauth._amqp.handling.plan import CallPlan, Handler
from busauth._amqp.headers import HOP, count_in
from busauth._amqp.publishing.publisher import raise_if_ending
from busauth._amqp.publishing.sealing import added_to
from busauth._loops import PerLoop
from busauth._messages.replay import Duplicate, ReplayKey, a_copy_of
from busauth._retold import retold, words_of
from busauth._tokens.keys.waiting import NotAtHand
from busauth.audit import LOGGER, Event, EventKind
from busauth.caller import Caller, acting, holding, lease_for
from busauth.errors import (
    BadMessage,
    Deferred,
    Forbidden,
    HandlerFailed,
    NotGenuine,
    Refused,
    Reject,
    evidence,
    held_by,
)

_LOOKS = 3
"""How often a decision is made before it is put off: keys that change each time are a fault."""


class Attempts:
    """Attempts at one queue's deliveries.

    Args:
        plan: how the handler is called.
        rules: what is asked of callers, and how many handlers run at once.
        context: what all consumers of a guard share.
        running: the deliveries that are being judged, handled or settled now.

    Attributes:
        read: reads a case's token.
    """

    def __init__(
        self,
        plan: CallPlan,
        rules: ConsumerRules,
        context: GuardContext,
        running: Mapping[int, Case],
    ) -> None:
        self._plan = plan
        self._running = running
        self._rules = rules
        self._context = context
        self._slots = PerLoop(lambda: asyncio.Semaphore(rules.concurrency))
        self._admission = Admission(
            header=context.options.header,
            trusted=rules.trusted,
            decryption=rules.decryption,
            messages=rules.messages,
            callers=rules.callers,
        )
        self.read = self._admission.read

    async def outcome(self, case: Case) -> Refused | None:
        """Return why the message was not handled, None where it was. Errors here never accept.

        Raises:
            Deferred: that cannot be told now.
            RuntimeError, TypeError: the program is wrong, and the message not guilty of it.
        """
        try:
            _check_readable(case.delivery)
            slots = self._slots.here
            try:
                genuine, waits = self._admission.recall(case), slots.locked()
            except NotAtHand:  # fetches keys: holds no slot
                genuine, waits = await self._admission.authenticate(case), True
            await slots.acquire()
            try:
                if waits and not genuine.holds():
                    genuine = await self._admission.authenticate(case)
                return await self._decide_and_run(case, genuine)
            finally:
                slots.release()
        except Refused as refused:
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

    async def _decide_and_run(self, case: Case, genuine: Genuine) -> HandlerFailed | None:
        """Judge at one instant, in the slot: waiting for it must not make a decision stale."""
        delivery, plan = case.delivery, self._plan
        caller = case.caller = await self._decided(case, genuine)
        self._check_body(delivery)
        hop = count_in(delivery.headers, HOP)
        lease = lease_for(caller, case.token or "", hop=hop, published_at=_relayed(case, caller))
        delivery.hidden = added_to(delivery.headers, self._context.options.header)
        arguments = plan.arguments(
            delivery, holding(caller, lease) if plan.caller else caller, case.provenance.proven
        )
        case.has_begun = True
        self.tell(case, EventKind.ACCEPTED_LATE if caller.late else EventKind.ACCEPTED)
        began = self._context.clock.monotonic()
        try:
            with acting(lease):
                failed = await _run(plan.handler, arguments, self._deadline())
        finally:
            case.duration = self._context.clock.monotonic() - began
        if failed is not None:
            self._log(case, failed)
        return failed

    def _deadline(self) -> Deadline:
        return Deadline(self._rules.deadline, self._context.clock)

    async def _decided(self, case: Case, genuine: Genuine) -> Caller:
        """Decide, and look once more after whatever was awaited: what stood then may have fallen.

        Raises:
            Refused: with its code.
            Deferred: something cannot be told now, or it changed each time that it was looked at.
        """
        for _ in range(_LOOKS):
            case.now = self._context.clock.now()
            self._admission.compare(case, genuine)
            self._check_hop(case.delivery)
            await self._check_new(case)
            caller = await self._admission.decided(case)
            if caller.late is None and case.replay_key is None:
                return caller  # nothing was awaited
            if self._admission.stands(case, genuine, caller, self._context.clock.now()):
                return caller
            genuine = await self._admission.authenticate(case)
        raise Deferred("what the decision rests on keeps changing")

    async def _check_new(self, case: Case) -> None:
        """Put the message in flight, unless it was here before, or is in flight already.

        It is asked before anything is decided: what is refused or parked may come back, and a copy
        of what was handled must not become a letter that could.

        Raises:
            Duplicate: it was handled.
            Forbidden: ``replay.copy``.
            Deferred: what remembers is out of reach.
        """
        provenance = self._rules.messages
        if provenance.replay is None or case.replay_key is not None:
            return
        key = provenance.replay_key(case.provenance, case.marks)
        if key is None:
            return
        if case.delivery.redelivered and self._has(key):
            raise a_copy_of(key)  # the broker has not taken that one back: it delivers another
        case.replay_key = key  # before asking: whoever is cut off may have been heard
        case.holder = token_hex(8)
        redelivered = case.delivery.redelivered
        try:
            is_new = await provenance.is_new(key, holder=case.holder, redelivered=redelivered)
        except Forbidden:
            case.replay_key = None  # the other one's
            raise
        case.is_known = True
        if not is_new:
            raise Duplicate.of(key)

    def _has(self, key: ReplayKey) -> bool:
        """Return whether a message is in hand already, and the broker cannot have it back."""
        return any(
            case.replay_key == key and not (case.delivery.is_lost or case.delivery.is_settled)
            for case in self._running.values()
        )

    def _log(self, case: Case, failed: HandlerFailed) -> None:
        error, lines = failed.__cause__, self._context.auditor.lines
        if error is not None and lines.admit(
            f"{self._rules.queue}: a handler failed", type(error).__name__
        ):
            message_id = case.delivery.message_id
            what = f"{self._rules.queue}: a handler failed, message_id={message_id!r}"
            LOGGER.warning("%s: %s", evidence(what), failed.found, exc_info=retold(error))

    def _check_hop(self, message: Delivery) -> None:
        """Stop loops between honest services; a sender can only shorten its own way."""
        hop, limit = count_in(message.headers, HOP), self._context.options.max_hops
        if hop > limit:
            raise Forbidden("message.hops", found=f"hop {hop}", expected=f"at most {limit}")

    def _check_body(self, message: Delivery) -> None:
        """Bound what is parsed: a small body can be a large object."""
        if self._plan.model is None:
            return
        size, limit = len(message.body), self._context.options.max_body_bytes
        if size > limit:
            found, expected = f"{size} bytes", f"at most {limit} bytes"
            raise BadMessage("body.too_large", found=found, expected=expected)

    def tell(
        self,
        case: Case,
        kind: EventKind,
        refused: Refused | None = None,
        *,
        detail: str | None = None,
    ) -> None:
        """Tell the auditor what has become of a delivery."""
        if not self._context.auditor.is_heard(kind):
            return
        caller, proven = case.caller, case.provenance.proven
        self._context.auditor(
            Event(
                kind=kind,
                queue=self._rules.queue,
                at=self._context.clock.now(),
                decided_at=case.now,
                message_id=evidence(case.delivery.message_id),
                issuer=caller.issuer if caller else None,
                subject=evidence(caller.subject) if caller else None,
                age=_age(caller, case.now),
                late=caller.late.seconds if caller and caller.late else None,
                code=refused.code if refused else None,
                detail=detail or (refused.detail if refused else None),
                publisher=proven.publisher if proven else None,
                published_at=proven.published_at if proven else None,
                attempt=case.attempt,
                duration=case.duration,
                error=refused.error if isinstance(refused, HandlerFailed) else None,
            )
        )


def _is_of_the_program(error: BaseException) -> bool:
    """Return whether an error says that the program is wrong: of no message can it say anything.

    A recursion too deep is of what was looked at.
    """
    return any(
        isinstance(each, (RuntimeError, TypeError)) and not isinstance(each, RecursionError)
        for each in held_by(error)
    )


def _check_readable(delivery: Delivery) -> None:
    """Put what the client library cannot read where its token is not kept."""
    if delivery.is_unreadable:
        raise NotGenuine(
            "message.unreadable",
            found="properties or a route that are no AMQP",
            expected="what an AMQP 0-9-1 client can decode",
        )


def _relayed(case: Case, caller: Caller) -> float | None:
    """Return the published instant that an onward message may repeat.

    Where a policy accepted the caller by another instant than this one, or by none, nothing is
    said on: no word that this consumer did not take becomes its own.
    """
    return case.provenance.published_at if caller.late is None else caller.late.published_at


async def _run(
    handler: Handler, arguments: dict[str, object], deadline: Deadline
) -> HandlerFailed | None:
    """Run the handler; its failure is an outcome, its cancellation from outside is not."""
    try:
        async with deadline:
            await handler(**arguments)
    except BaseException as error:
        return _failure(error, deadline)
    return None


def _failure(error: BaseException, deadline: Deadline) -> HandlerFailed:
    """Return what an error of a handler's means; of a group, what it holds decides.

    Raises:
        BaseException: what ends this task or this process, where that is in it.
    """
    raise_if_ending(error)
    held = tuple(held_by(error))
    for each in held:
        if isinstance(each, Reject):
            return HandlerFailed("handler.rejected", found=each.reason, retry=False, error="Reject")
    kind = type(held[0]).__name__
    if deadline.has_passed:
        return HandlerFailed("handler.deadline", found=deadline.told, retry=True, error=kind)
    if all(isinstance(each, asyncio.CancelledError) for each in held):
        found = f"{kind}, raised in it or by what it awaited: nobody cancelled the handler"
    else:
        more = f", and {len(held) - 1} more" if len(held) > 1 else ""
        found = f"{_shown(held[0])}{more}"
    failed = HandlerFailed("handler.failed", found=found, retry=True, error=kind)
    failed.__cause__ = error
    return failed


def _shown(error: BaseException) -> str:
    """Name an error; its own words may fail, and are left out then."""
    words = words_of(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _age(caller: Caller | None, now: float) -> float | None:
    return now - caller.issued_at if caller and caller.issued_at is not None else None
