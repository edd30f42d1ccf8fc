"""One attempt at a delivery: is it genuine, in time, allowed, readable; then its handler.

What comes out is why the message was not handled, or nothing. Nothing here settles anything, and no
error here accepts.
"""

import asyncio
from dataclasses import dataclass

from aio_pika.abc import AbstractIncomingMessage

from busauth.amqp.acks import Acks
from busauth.amqp.delivery import Delivery
from busauth.amqp.headers import HOP, count_in, token_in
from busauth.amqp.options import GuardOptions, OnError
from busauth.amqp.plan import CallPlan, Handler
from busauth.amqp.publisher import was_cancelled
from busauth.amqp.replies import Replies
from busauth.audit import LOGGER, Event, EventKind, Telling
from busauth.caller import Caller, acting, holding, lease_for
from busauth.clock import Clock
from busauth.decision import Rules, decide, decide_in_time
from busauth.errors import BadMessage, Deferred, Forbidden, HandlerFailed, Refused, Reject, evidence
from busauth.redaction import redacted_traceback
from busauth.tokens.authenticators import Authenticator
from busauth.tokens.keys import KeyMissing
from busauth.tokens.verifier import Verified, fingerprint

_POLICY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms on which one queue is consumed.

    Attributes:
        queue: the consumed queue.
        trusted: who proves tokens genuine.
        rules: what its callers are held to.
        concurrency: handlers that run at once.
        on_error: what happens to a message whose handler failed and is not retried.
    """

    queue: str
    trusted: Authenticator
    rules: Rules
    concurrency: int
    on_error: OnError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every consumer of a guard shares."""

    clock: Clock
    options: GuardOptions
    auditor: Telling
    replies: Replies
    acks: Acks


@dataclass(slots=True)
class Case:
    """One delivery, and what is known of it so far.

    Attributes:
        delivery: as received.
        now: the instant of the decision; until then, that of the arrival.
        caller: whose it is, once that is proven.
        token_sha256: identifies its token, where it was refused.
        is_acknowledged: the broker is about to be told that it is done.
    """

    delivery: Delivery
    now: float
    caller: Caller | None = None
    token_sha256: str | None = None
    is_acknowledged: bool = False

    @property
    def message(self) -> AbstractIncomingMessage:
        """Return aio-pika's message of it."""
        return self.delivery.message


class Attempts:
    """Attempts at one queue's deliveries.

    Args:
        plan: how the handler is called.
        terms: what is asked of callers, and how many handlers run at once.
        tools: what all consumers of a guard share.
    """

    def __init__(self, plan: CallPlan, terms: Terms, tools: Tools) -> None:
        self._plan = plan
        self._terms = terms
        self._tools = tools
        self._slots = asyncio.Semaphore(terms.concurrency)

    async def outcome(self, case: Case) -> Refused | None:
        """Return why the message was not handled, None where it was. Errors here never accept."""
        token = None
        try:
            token = token_in(case.delivery.headers, self._tools.options.header)
            try:
                verified, waits = self._terms.trusted.recall(token), self._slots.locked()
            except KeyMissing:  # fetches keys: holds no slot
                verified, waits = await self._terms.trusted.authenticate(token), True
            await self._slots.acquire()
            try:
                if waits and not verified.holds():
                    verified = await self._terms.trusted.authenticate(token)
                return await self._decide_and_run(case, token, verified)
            finally:
                self._slots.release()
        except Refused as refused:
            case.token_sha256 = None if token is None else fingerprint(token)
            return refused
        except (Deferred, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and was_cancelled():
                raise
            LOGGER.error("a check failed, the message is refused: %s", redacted_traceback(error))
            return BadMessage("check.failed", found=type(error).__name__, expected="no error")

    async def _decide_and_run(
        self, case: Case, token: str, verified: Verified
    ) -> HandlerFailed | None:
        """Judge at one instant, in the slot: waiting for it must not make a decision stale."""
        delivery, plan = case.delivery, self._plan
        case.now = self._tools.clock.now()
        case.caller = verified.caller
        hop = self._checked_hop(delivery)
        rules, now = self._terms.rules, case.now
        if verified.lateness(now) is None:
            caller = decide_in_time(verified, rules, now)
        else:
            caller = await self._decided(verified, now)
        case.caller = caller
        lease = lease_for(caller, token, hop=hop)
        self._check_body(delivery)
        arguments = plan.arguments(delivery, holding(caller, lease) if plan.caller else caller)
        self.tell(case, EventKind.ACCEPTED_LATE if caller.late else EventKind.ACCEPTED)
        with acting(lease):
            failed = await _run(plan.handler, arguments)
        if failed is not None:
            case.token_sha256 = caller.token_sha256
            self._log(case, failed)
        return failed

    def _log(self, case: Case, failed: HandlerFailed) -> None:
        if failed.__cause__ is not None:
            message_id = case.delivery.message_id
            what = f"{self._terms.queue}: a handler failed, message_id={message_id!r}"
            LOGGER.warning("%s: %s", evidence(what), redacted_traceback(failed.__cause__))

    async def _decided(self, verified: Verified, now: float) -> Caller:
        """Bound how long a policy holds up its consumer; without an answer it is out of reach."""
        try:
            async with asyncio.timeout(_POLICY_SECONDS):
                return await decide(verified, self._terms.rules, now)
        except TimeoutError as error:
            raise Deferred(f"no decision in {_POLICY_SECONDS:g} s") from error

    def _checked_hop(self, message: Delivery) -> int:
        """Stop loops between honest services; a sender can only shorten its own way."""
        hop, limit = count_in(message.headers, HOP), self._tools.options.max_hops
        if hop > limit:
            raise Forbidden("message.hops", found=f"hop {hop}", expected=f"at most {limit}")
        return hop

    def _check_body(self, message: Delivery) -> None:
        """Bound what is parsed: a small body can be a large object."""
        if self._plan.model is None:
            return
        size, limit = len(message.body), self._tools.options.max_body_bytes
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
        if not self._tools.auditor.is_heard(kind):
            return
        caller = case.caller
        self._tools.auditor(
            Event(
                kind=kind,
                queue=self._terms.queue,
                at=case.now,
                message_id=evidence(case.delivery.message_id),
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
        failed = HandlerFailed("handler.failed", found=_shown(error), retry=True)
        failed.__cause__ = error
        return failed
    return None


def _shown(error: BaseException) -> str:
    """Name an error; its own words may fail as well."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _age(caller: Caller | None, now: float) -> float | None:
    return now - caller.issued_at if caller and caller.issued_at is not None else None
