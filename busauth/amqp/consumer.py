"""One guarded consumer: what happens to a delivery, from its arrival to its settlement.

Who holds the message:

==================================  =====================================================
at this point                       if cut, cancelled or killed here
==================================  =====================================================
authenticating, waiting for a slot  unsettled: the broker delivers it again
in the handler                      unsettled: the broker delivers it again
copy published, not yet confirmed   unsettled: again, and perhaps a copy as well
copy confirmed, not yet acked       unsettled: again, and a copy as well
deferred, consumer being cancelled  unsettled: the broker delivers it again
given back, or acked                done
==================================  =====================================================

So everything happens at least once, and nothing is lost. Cancelled means unsettled.
"""

import asyncio
from dataclasses import dataclass, replace

from aio_pika.abc import AbstractIncomingMessage

from busauth.amqp import settlement
from busauth.amqp.copies import Refusal
from busauth.amqp.disposal import Disposal
from busauth.amqp.headers import DELIVERY_COUNT, HOP, count_in, token_in
from busauth.amqp.options import GuardOptions, OnError
from busauth.amqp.pause import Pause
from busauth.amqp.plan import CallPlan, Handler
from busauth.amqp.publisher import was_cancelled
from busauth.amqp.replies import Replies
from busauth.audit import LOGGER, Auditor, Event, EventKind
from busauth.caller import Caller, acting, lease_for
from busauth.clock import Clock
from busauth.decision import Discarded, Rules, decide
from busauth.errors import (
    BadMessage,
    ConfigurationError,
    Deferred,
    Forbidden,
    HandlerFailed,
    Refused,
    Reject,
    evidence,
)
from busauth.redaction import redacted_traceback
from busauth.tokens.verifier import Verified, Verifiers, fingerprint

_POLICY_SECONDS = 30.0

_OFTEN = 5
"""Returns of a delivery after which a copy of it waits instead (docs/adr/0003)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms on which one queue is consumed.

    Attributes:
        queue: the consumed queue.
        rules: what its callers are held to.
        concurrency: handlers that run at once.
        on_error: what happens to a message whose handler failed and is not retried.
    """

    queue: str
    rules: Rules
    concurrency: int
    on_error: OnError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every consumer of a guard shares."""

    verifiers: Verifiers
    clock: Clock
    options: GuardOptions
    auditor: Auditor
    replies: Replies


@dataclass(slots=True)
class _Case:
    """One delivery, and what is known of it so far."""

    message: AbstractIncomingMessage
    now: float
    caller: Caller | None = None
    token_sha256: str | None = None


class GuardedConsumer:
    """A guarded handler: an aio-pika callback that settles its messages.

    Attributes:
        handler: the bare function, for tests.
        queue: what it is meant to consume.
    """

    def __init__(self, plan: CallPlan, terms: Terms, tools: Tools, disposal: Disposal) -> None:
        self.handler: Handler = plan.handler
        self.queue = terms.queue
        self.__name__ = getattr(plan.handler, "__name__", terms.queue)
        self.__doc__ = plan.handler.__doc__
        self._plan = plan
        self._terms = terms
        self._tools = tools
        self._disposal = disposal
        self._slots = asyncio.Semaphore(terms.concurrency)
        self._held = 0
        self._idle = asyncio.Event()
        self._idle.set()
        options = tools.options
        self._pause = Pause(
            terms.queue,
            first=options.pause_first,
            longest=options.pause_longest,
            clock=tools.clock,
            auditor=tools.auditor,
        )

    async def __call__(self, message: AbstractIncomingMessage) -> None:
        """Take one delivery from aio-pika.

        Raises:
            TypeError: called with something else; call `handler` in a unit test.
            ConfigurationError: consumed with ``no_ack``, so that nothing could be given back.
        """
        self._check_delivery(message)
        self._held += 1
        self._idle.clear()
        try:
            await self._receive(message)
        finally:
            self._held -= 1
            if not self._held:
                self._idle.set()

    async def idle(self) -> None:
        """Return once no delivery is being handled."""
        await self._idle.wait()

    def forget(self, tag: str) -> None:
        """Do not bring back a consumer that was replaced while it was paused."""
        self._pause.forget(tag)

    def open(self) -> None:
        """Begin anew after `close`."""
        self._pause.open()

    async def close(self) -> None:
        """End a pause for good; the consumer will not come back by itself."""
        await self._pause.close()

    def _check_delivery(self, message: AbstractIncomingMessage) -> None:
        if not isinstance(message, AbstractIncomingMessage):
            raise TypeError(
                f"{self.__name__} is guarded and takes deliveries from aio-pika; to call the bare "
                f"function, as in a unit test, use {self.__name__}.handler(...)"
            )
        if message.processed:
            raise ConfigurationError(
                f"{self.queue}: consumed with no_ack=True; a guard needs acknowledgements"
            )

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        if self._pause.reason is not None:
            await self._pause.hold_off(message, self._pause.reason, self._put_back)
            return
        case = _Case(message, self._tools.clock.now())
        try:
            await self._settle(case, await self._outcome(case))
            self._pause.progressed()
        except Deferred as deferred:
            await self._pause.hold_off(message, deferred, self._put_back)

    async def _put_back(self, message: AbstractIncomingMessage) -> None:
        """Give back; a copy takes over from what was given back often, below the delivery limit."""
        often = count_in(message.headers, DELIVERY_COUNT) >= _OFTEN
        if often and await self._disposal.postpone(message):
            await settlement.acknowledge(message)
        else:
            await settlement.give_back(message)

    async def _outcome(self, case: _Case) -> Refused | None:
        """Return why the message was not handled, None where it was. Errors here never accept."""
        try:
            token = token_in(case.message.headers, self._tools.options.header)
            case.token_sha256 = fingerprint(token)
            await self._tools.verifiers.authenticate(token)  # may fetch keys: holds no slot
            async with self._slots:
                return await self._decide_and_run(case, token)
        except Refused as refused:
            return refused
        except (Deferred, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and was_cancelled():
                raise
            LOGGER.error("a check failed, the message is refused: %s", redacted_traceback(error))
            return BadMessage("check.failed", found=type(error).__name__, expected="no error")

    async def _decide_and_run(self, case: _Case, token: str) -> HandlerFailed | None:
        """Judge at one instant, in the slot: waiting for it must not make a decision stale."""
        verified = await self._tools.verifiers.authenticate(token)
        case.now = self._tools.clock.now()
        case.caller = verified.caller
        hop = self._checked_hop(case.message)
        caller = await self._decided(verified, case.now)
        lease = lease_for(caller, token, hop=hop)
        caller = case.caller = replace(caller, _lease=lease)
        self._check_body(case.message)
        arguments = self._plan.arguments(case.message, caller)
        self._tell(case, EventKind.ACCEPTED_LATE if caller.late else EventKind.ACCEPTED)
        with acting(lease):
            return await _run(self._plan.handler, arguments)

    async def _decided(self, verified: Verified, now: float) -> Caller:
        """Bound how long a policy holds up its consumer; without an answer it is out of reach."""
        try:
            async with asyncio.timeout(_POLICY_SECONDS):
                return await decide(verified, self._terms.rules, now)
        except TimeoutError as error:
            raise Deferred(f"no decision in {_POLICY_SECONDS:g} s") from error

    def _checked_hop(self, message: AbstractIncomingMessage) -> int:
        """Stop loops between honest services; a sender can only shorten its own way."""
        hop, limit = count_in(message.headers, HOP), self._tools.options.max_hops
        if hop > limit:
            raise Forbidden("message.hops", found=f"hop {hop}", expected=f"at most {limit}")
        return hop

    def _check_body(self, message: AbstractIncomingMessage) -> None:
        """Bound what is parsed: a small body can be a large object."""
        size, limit = len(message.body), self._tools.options.max_body_bytes
        if self._plan.model is not None and size > limit:
            found, expected = f"{size} bytes", f"at most {limit} bytes"
            raise BadMessage("body.too_large", found=found, expected=expected)

    async def _settle(self, case: _Case, outcome: Refused | None) -> None:
        if settlement.is_lost(case.message):
            self._tell(case, EventKind.ABANDONED, detail="its channel was closed; it comes again")
        elif case.message.processed:
            self._tell(case, EventKind.SETTLED_BY_HANDLER, outcome)
        elif outcome is None:
            await self._acknowledge(case, EventKind.HANDLED)
        elif isinstance(outcome, Discarded):
            await self._acknowledge(case, EventKind.DISCARDED, outcome)
        elif isinstance(outcome, HandlerFailed):
            await self._failed(case, outcome)
        else:
            await self._refuse(case, outcome)

    async def _failed(self, case: _Case, failed: HandlerFailed) -> None:
        rung = await self._disposal.retry(case.message, failed)
        if rung is not None:
            await self._acknowledge(case, EventKind.RETRIED, failed, detail=rung)
        elif self._terms.on_error is OnError.GIVE_BACK and failed.retry:
            await settlement.hand_back(case.message)
            self._tell(case, EventKind.RETRIED, failed, detail="given back")
        else:
            await self._refuse(case, failed)

    async def _refuse(self, case: _Case, refused: Refused) -> None:
        refusal = Refusal(
            refused=refused,
            queue=self.queue,
            at=case.now,
            caller=case.caller,
            token_sha256=case.token_sha256,
        )
        name = await self._disposal.dead_letter(case.message, refusal)
        await self._acknowledge(
            case, EventKind.REFUSED, refused, detail=f"{refused.detail} -> {name}"
        )
        await self._tools.replies.answer(self._disposal.outlet, case.message, refused)

    async def _acknowledge(
        self,
        case: _Case,
        kind: EventKind,
        refused: Refused | None = None,
        *,
        detail: str | None = None,
    ) -> None:
        """Acknowledge, and tell what has become of the message."""
        if await settlement.acknowledge(case.message):
            self._tell(case, kind, refused, detail=detail)
        else:
            self._tell(
                case, EventKind.ABANDONED, refused, detail="not acknowledged; it comes again"
            )

    def _tell(
        self,
        case: _Case,
        kind: EventKind,
        refused: Refused | None = None,
        *,
        detail: str | None = None,
    ) -> None:
        caller = case.caller
        self._tools.auditor(
            Event(
                kind=kind,
                queue=self.queue,
                at=case.now,
                message_id=evidence(case.message.message_id),
                issuer=caller.issuer if caller else None,
                subject=evidence(caller.subject) if caller else None,
                age=_age(caller, case.now),
                late=caller.late.seconds if caller and caller.late else None,
                code=refused.code if refused else None,
                detail=detail or (refused.detail if refused else None),
            )
        )


async def _run(handler: Handler, arguments: dict[str, object]) -> HandlerFailed | None:
    """Run the handler; its failure is an outcome, its cancellation from outside is not."""
    try:
        await handler(**arguments)
    except asyncio.CancelledError:
        if was_cancelled():
            raise
        return HandlerFailed(
            "handler.failed", found="something it awaited was cancelled", retry=True
        )
    except Reject as reject:
        return HandlerFailed("handler.rejected", found=reject.reason, retry=False)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        LOGGER.warning("a handler failed: %s", redacted_traceback(error))
        return HandlerFailed("handler.failed", found=_shown(error), retry=True)
    return None


def _shown(error: BaseException) -> str:
    """Name an error; its own words may fail as well."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _age(caller: Caller | None, now: float) -> float | None:
    return now - caller.issued_at if caller and caller.issued_at is not None else None
