"""What a consumer would decide about a message now, without any of it happening.

The course is the consumer's own: each stage of its pipeline, and its settlement. What has effects
is stood in for: the handler, whom copies go to, the broker, the auditor, the replay memory. A
policy or a check of a user's is run only where it says that it is pure. Keys are fetched, issuers
and what knows of revocations are asked, as the consumer would ask them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from aio_pika.abc import AbstractIncomingMessage

from busauth._amqp.consuming.case import Case
from busauth._amqp.consuming.consumer import Consumer
from busauth._amqp.consuming.operated import Operated, Vouched
from busauth._amqp.consuming.pipeline import Genuine, Pipeline
from busauth._amqp.consuming.rules import ConsumerRules, GuardContext
from busauth._amqp.handling.plan import CallPlan, compile_plan
from busauth._amqp.headers import SEAL, STATEMENT
from busauth._amqp.judging.foreseen import Foreseen, ForeseenEnd, Stage, StageState
from busauth._amqp.judging.received import Received, seen
from busauth._amqp.judging.standing_in import NoBroker, SettledByOthers, Unanswered, with_frames_of
from busauth._amqp.publishing.publisher import Publisher
from busauth._amqp.publishing.watching import Watching
from busauth._amqp.settling.disposal import Disposal
from busauth._amqp.settling.returns import Returns
from busauth._amqp.settling.surroundings import Surroundings
from busauth._amqp.topology import RetryLadder, Tail
from busauth._callables import is_pure, short_name_of
from busauth._expiry import NotRun
from busauth._loops import OneLoop
from busauth._messages.replay import GroupMemory, ReplayKey, Standing
from busauth._tokens.encryption.kept import is_kept
from busauth._tokens.envelope import is_encrypted
from busauth._tokens.evidence import Verified
from busauth._tokens.keys.waiting import NotAtHand
from busauth._tokens.vouchers import is_voucher
from busauth.audit import Event, Lines, Telling
from busauth.caller import Caller
from busauth.errors import Deferred, HandlerFailed, Refused, evidence

STAGES: Mapping[str, tuple[str, str]] = {
    "read": ("a token is there, and can be read", ""),
    "recall": ("it is genuine, by the keys at hand", ""),
    "prove": ("the same, where keys or an answer are fetched", "nothing had to be fetched"),
    "compare": ("proof and seal speak of this message", ""),
    "check_hop": ("it was not sent round in a circle", ""),
    "check_new": ("it was not here before", "nothing remembers messages here"),
    "judge": ("in time, or accepted late; not revoked; allowed", ""),
    "stands": ("still so, where something was awaited", "nothing was awaited"),
    "arguments": ("the body is what the handler takes", ""),
    "run": ("the handler returns", ""),
}
"""Each stage's name; what is asked there; what is said of one that its course had no need of."""

_RUN = "run"
_DEMANDS_UNKNOWN = "what its handler demands of a caller, and who was revoked, is not known here"
_NEVER = "no handler is run to look ahead"


@dataclass(slots=True)
class _Trail:
    """What was seen on the way.

    Attributes:
        stages: those that were come to, by name, as they came out last.
        unasked: what was not looked at, each once.
        is_unknown: whether something that decides is among that.
    """

    stages: dict[str, Stage] = field(default_factory=dict)
    unasked: dict[str, None] = field(default_factory=dict)
    is_unknown: bool = False

    @contextmanager
    def stage(self, name: str, expected: str | None = None) -> Iterator[list[str]]:
        """Note what comes of a stage; what is seen in it is said to the list that it gives."""
        said: list[str] = []
        stage = Stage(name=name, asks=STAGES[name][0], expected=expected)
        state, found = StageState.PASSED, None
        try:
            yield said
        except Refused as refused:
            state, found = StageState.REFUSED, refused.found or refused.code
            stage = replace(stage, expected=refused.expected)
            raise
        except NotAtHand:
            state, found = StageState.UNKNOWN, "keys, or an answer, have to be fetched"
            raise
        except Deferred as deferred:
            state, found = StageState.UNKNOWN, deferred.reason
            raise
        except Exception as error:
            state, found = StageState.REFUSED, f"{type(error).__name__}, where no error is expected"
            raise
        finally:
            if state is StageState.PASSED and said and said[0] in self.unasked:
                state = StageState.UNKNOWN
            found = found or "; ".join(said) or None
            self.stages[name] = replace(stage, state=state, found=evidence(found))

    def not_asked(self, said: list[str], why: str, *, decides: bool = True) -> None:
        """Note what is not looked at, and go on as if it said nothing against the message."""
        said.insert(0, why)
        self.unasked[why] = None
        self.is_unknown |= decides

    def all(self) -> tuple[Stage, ...]:
        """Return all stages, in order; one that was passed by had nothing to do."""
        last = max((list(STAGES).index(name) for name in self.stages), default=-1)
        return tuple(
            self.stages.get(name) or _passed_by(name, is_passed=index < last)
            for index, name in enumerate(STAGES)
        )


def _passed_by(name: str, *, is_passed: bool) -> Stage:
    asks, idle = STAGES[name]
    if not is_passed:
        return Stage(name=name, asks=asks, found=_NEVER if name == _RUN else None)
    return Stage(name=name, asks=asks, state=StageState.PASSED, found=idle)


class Foresight:
    """Looks ahead for one consumer.

    Args:
        plan: how its handler is called, which nobody does; None where the handler is not known:
            then neither are what it demands, how it reads a body, and what its decorator says.
        rules: on what terms it consumes.
        context: what all consumers of its guard share.
        waiting: where what failed waits for another attempt.
        frame_max: bytes of a frame on the connection that its copies go out on.
        lines: how much of what fails is logged, for all looks of a guard.
    """

    def __init__(
        self,
        plan: CallPlan | None,
        rules: ConsumerRules,
        context: GuardContext,
        waiting: RetryLadder | Tail,
        *,
        frame_max: int,
        lines: Lines,
    ) -> None:
        self._rules, self._context = rules, context
        self._waiting = waiting
        self._lines, self._is_whole = lines, plan is not None
        self._looking = _without_effects(rules)
        self._course = partial(_Looking, own=rules, is_whole=self._is_whole)
        self._outlet = with_frames_of(frame_max)
        self._unanswered = Unanswered(
            (), per_second=1.0, clock=context.clock, publisher=Publisher()
        )
        self._plan = replace(plan or compile_plan(_of_anything), call=_not_run, blocks=False)

    async def foresee(self, message: Received | AbstractIncomingMessage) -> Foreseen:
        """Return what would be decided about a message now.

        Raises:
            ConfigurationError: it came from another queue, or is no message; or the guard's
                consumers run in another thread's event loop.
        """
        clock, trail, events = self._context.clock, _Trail(), list[Event]()
        delivery = seen(message, self._rules.queue)
        case = Case(delivery, clock.now(), self._rules.queue, delivery.message_id)
        telling = Telling(events.append, clock, self._lines)
        alone = replace(
            self._context,
            acks=SettledByOthers(),
            replies=self._unanswered,
            auditor=telling,
            watching=Watching(self._lines),
            loop=_Unclaimed(self._context.loop),
        )
        broker = NoBroker()
        deferred = await self._consumer(trail, alone, broker).judged(case)
        return _foreseen(case, trail, deferred, events, broker.copied_to)

    def _consumer(
        self, trail: _Trail, context: GuardContext, broker: NoBroker
    ) -> "Consumer[..., Any]":
        """Return a consumer for one message, which has met none before."""
        rules = self._rules
        disposal = Disposal(
            queue=rules.queue,
            token_header=context.header,
            publisher=broker,
            outlet=self._outlet,
            retries=self._waiting,
            around=Surroundings(rules.queue),
        )
        course = partial(self._course, trail=trail)
        returns = Returns(counted=False)
        return Consumer(self._plan, self._looking, context, disposal, returns, course=course)


def _without_effects(rules: ConsumerRules) -> ConsumerRules:
    """Return the same terms, by which nothing is asked that may change something."""
    callers, messages = rules.callers, rules.messages
    demand, replay = callers.demand, messages.replay
    if demand.allow is not None and not is_pure(demand.allow):
        demand = replace(demand, allow=None)
    if isinstance(replay, GroupMemory):
        replay = replace(replay, memory=_NotAsked())
    return replace(
        rules,
        messages=replace(messages, replay=replay),
        callers=replace(callers, policies=callers.policies.without_effects(), demand=demand),
    )


class _Unclaimed(OneLoop):
    """Leaves the loop to the consumers, which may begin in another one after this."""

    def __init__(self, theirs: OneLoop) -> None:
        super().__init__()
        self._theirs = theirs

    def claim(self, what: str) -> None:
        """Look whether they run in another one now."""
        self._theirs.check(what)


class _NotAsked:
    """Stands for a replay memory that nobody asks: each message is as new as any.

    Attributes:
        keep_for: nothing is kept.
    """

    keep_for = 0.0

    async def begin(self, key: ReplayKey, *, holder: str, redelivered: bool) -> Standing:
        """Return that it is new."""
        return Standing.NEW

    async def done(self, key: ReplayKey) -> None:
        """Do nothing."""

    async def forget(self, key: ReplayKey, *, holder: str) -> None:
        """Do nothing."""

    async def was_settled(self, key: ReplayKey) -> bool:
        """Return False."""
        return False


async def _of_anything() -> None:
    """Be a handler of which nothing is known."""


async def _not_run(**_arguments: object) -> None:
    """Be the handler, which is not run."""


class _Looking(Pipeline):
    """The pipeline, and what is seen in each of its stages.

    Args:
        trail: what that is noted on.
        own: the consumer's own rules, of which `rules` leaves out what has effects.
        is_whole: False where the consumer's handler, and perhaps its keys, are not here.
    """

    def __init__(
        self,
        plan: CallPlan,
        rules: ConsumerRules,
        context: GuardContext,
        running: Mapping[int, Case],
        *,
        trail: _Trail,
        own: ConsumerRules,
        is_whole: bool,
    ) -> None:
        super().__init__(plan, rules, context, running)
        self._trail, self._own, self._is_whole = trail, own, is_whole
        self._operated = _LookingForOperators(rules, trail, self._authority)

    def read(self, case: Case) -> None:
        header = self._context.header.name
        with self._trail.stage("read") as said:
            if not self._is_whole:
                self._check_here(case, header)
            super().read(case)
            if case.statement is None:
                what = "what its letter kept, a token" if case.is_kept else "a token"
                said.append(f"{what} of {len(case.token or '')} bytes, in {header!r}")
            else:
                said.append("no token, and an operator's statement in its place")

    def _recall(self, case: Case) -> Genuine | Vouched:
        with self._trail.stage("recall") as said:
            return _told(super()._recall(case), said)

    async def _prove(self, case: Case) -> Genuine | Vouched:
        with self._trail.stage("prove") as said:
            return _told(await super()._prove(case), said)

    def _compare(self, case: Case, genuine: Genuine) -> Verified:
        with self._trail.stage("compare") as said:
            if not self._is_whole and self._messages.seal is None and self._says_sealed(case):
                raise NotRun("it has a seal, and its consumer's key is not here")
            verified = super()._compare(case, genuine)
            said.extend(_provenance(case, asks=self._messages.asks))
            return verified

    def _check_hop(self, case: Case) -> None:
        limit = self._context.options.max_hops
        with self._trail.stage("check_hop", f"at most {limit}") as said:
            super()._check_hop(case)
            said.append(f"hop {case.hop}")

    async def _check_new(self, case: Case) -> None:
        with self._trail.stage("check_new") as said:
            await super()._check_new(case)
            if case.replay_key is None:
                said.append("nothing is proven of it by which it could be known")
                return
            why = "the replay memory was not asked, as asking notes the message there"
            self._trail.not_asked(said, why, decides=False)

    async def _judge(self, case: Case, verified: Verified) -> Caller:
        with self._trail.stage("judge", self._demanded()) as said:
            self._check_policies(case, verified)
            caller = await super()._judge(case, verified)
            self._authority(said, caller, case.now)
            return caller

    def _authority(self, said: list[str], caller: Caller, now: float) -> None:
        """Tell what a caller was accepted for, and what of that was not looked at."""
        said.extend(_told_of(caller, now))
        if self._rules.callers.revocations is not None:
            said.append("not revoked")
        allow = self._own.callers.demand.allow
        if not self._is_whole:
            self._trail.not_asked(said, _DEMANDS_UNKNOWN)
        elif allow is not None and self._rules.callers.demand.allow is None:
            why = f"allow={short_name_of(allow)} was not run: it does not say that it is pure"
            self._trail.not_asked(said, why)

    def _stands(self, case: Case, verified: Verified, signed: Any, caller: Caller) -> bool:
        with self._trail.stage("stands") as said:
            is_standing = super()._stands(case, verified, signed, caller)
            said.append("it still stands" if is_standing else "it has changed meanwhile")
            return is_standing

    async def _handle(self, case: Case, caller: Caller | None) -> HandlerFailed | None:
        reader = self._plan.reader
        with self._trail.stage("arguments", None if reader is None else reader.name) as said:
            failed = await super()._handle(case, caller)
            size = f"{len(case.delivery.body)} bytes"
            if self._is_whole:
                said.append(f"{size}, {'which it does not take' if reader is None else 'read'}")
            else:
                self._trail.not_asked(said, f"{size}, and what its handler takes is not known here")
            return failed

    def _check_policies(self, case: Case, verified: Verified) -> None:
        """A decorator may say other policies than its guard; the operator's word counts above.

        Raises:
            NotRun: it is late, and they are not known here.
        """
        is_said = self._context.options.of(self._rules.queue).on_expired is not None
        if not (self._is_whole or is_said) and case.now >= verified.ends_at:
            raise NotRun("it is late, and which policies its decorator names is not known here")

    def _check_here(self, case: Case, header: str) -> None:
        """Stop where only the consumer's own keys or settings say more.

        Raises:
            NotRun: its token is encrypted and nothing opens it, or is a voucher; or it has an
                operator's statement.
        """
        headers = case.delivery.headers
        value = headers.get(header)
        token = value.rpartition(" ")[2] if isinstance(value, str) else ""
        key = self._messages.letters if is_kept(token) else self._rules.decryption
        if is_encrypted(token) and key is None:
            raise NotRun("its token is encrypted, and its consumer's keys are not here")
        longest = self._context.options.max_token_bytes
        if is_voucher(token, frozenset(), max_bytes=longest) and not self._admits_vouchers():
            raise NotRun("it has a voucher, and whether its consumer admits it is not known here")
        if value is None and headers.get(STATEMENT) is not None and self._rules.operators is None:
            raise NotRun("it has an operator's statement, and whose count is not known here")

    def _admits_vouchers(self) -> bool:
        return any(each.vouchers for each in self._rules.callers.policies.renewing)

    def _says_sealed(self, case: Case) -> bool:
        return case.delivery.headers.get(SEAL) is not None

    def _demanded(self) -> str | None:
        demand = self._rules.callers.demand
        said = [f"scopes {' '.join(sorted(demand.scopes))}"] if demand.scopes else []
        said += [f"roles {' '.join(sorted(demand.roles))}"] if demand.roles else []
        return ", ".join(said) or None


class _LookingForOperators(Operated):
    """The same of what an operator had sent again."""

    def __init__(
        self,
        rules: ConsumerRules,
        trail: _Trail,
        authority: Callable[[list[str], Caller, float], None],
    ) -> None:
        super().__init__(rules)
        self._trail, self._authority = trail, authority

    def compare(self, case: Case, vouched: Vouched) -> None:
        with self._trail.stage("compare") as said:
            super().compare(case, vouched)
            said.extend(_provenance(case, asks=True))

    def judge(self, case: Case, vouched: Vouched) -> Caller:
        with self._trail.stage("judge") as said:
            caller = super().judge(case, vouched)
            self._authority(said, caller, case.now)
            return caller


G = TypeVar("G", Genuine, Vouched, Genuine | Vouched)


def _told(genuine: G, said: list[str]) -> G:
    if isinstance(genuine, Vouched):
        operator = genuine.stated.operator
        said.append(f"a statement for operator {evidence(operator.subject)!r}")
        return genuine
    caller = genuine.verified.caller
    said.append(f"a token of {evidence(caller.subject)!r}, by {evidence(caller.issuer)}")
    if genuine.verified.retired is not None:
        said.append("by a key that its issuer has removed")
    if genuine.signed is not None:
        said.append(f"a proof by {genuine.signed.publisher.name}")
    return genuine


def _provenance(case: Case, *, asks: bool) -> Iterator[str]:
    """Tell what proof, seal and stamp say of a message, once they were compared with it."""
    if not asks:
        yield "nothing but its token is looked at here"
        return
    if case.proven is not None:
        ago = case.now - case.proven.published_at
        yield f"published {ago:.0f} s ago, by the word of {case.proven.publisher}"
    else:
        yield "no proof"
    marks = case.marks
    if marks is not None and marks.code is None:
        sealed = marks.sealed
        purpose = f", as {sealed.purpose.value}" if sealed.purpose is not None else ""
        yield f"sealed here{purpose}, attempt {case.attempt}, sent again {sealed.redrive} times"


def _told_of(caller: Caller, now: float) -> Iterator[str]:
    late = caller.late
    if late is None:
        yield f"in time for another {caller.expires_at - now:.0f} s"
    else:
        yield f"{late.seconds:.0f} s past exp, accepted by {late.policy}"
    yield f"scopes {' '.join(sorted(caller.scopes)) or 'none'}"
    if caller.roles:
        yield f"roles {' '.join(sorted(caller.roles))}"


def _foreseen(
    case: Case,
    trail: _Trail,
    deferred: Deferred | None,
    events: list[Event],
    copied_to: str | None,
) -> Foreseen:
    """Put together what has come of a look."""
    refused, late = case.outcome, case.caller.late if case.caller is not None else None
    end = ForeseenEnd.ACCEPTED if late is None else ForeseenEnd.ACCEPTED_LATE
    policy = None if late is None else late.policy
    foreseen = Foreseen(
        queue=case.queue,
        at=case.now,
        end=end,
        stages=trail.all(),
        policy=policy,
        unasked=tuple(trail.unasked),
    )
    if isinstance(deferred, NotRun) or trail.is_unknown:
        why = [deferred.reason] if isinstance(deferred, NotRun) else trail.unasked
        return replace(foreseen, end=ForeseenEnd.UNKNOWN, policy=None, detail="; ".join(why))
    if deferred is not None:
        return replace(foreseen, end=ForeseenEnd.DEFERRED, policy=None, detail=deferred.reason)
    if refused is None and case.shadowed is not None:
        shadowed, end = case.shadowed, ForeseenEnd.SHADOWED
        return replace(foreseen, end=end, code=shadowed.code, detail=shadowed.detail)
    if refused is None:
        return foreseen
    told = next(each for each in reversed(events) if each.kind.is_outcome)
    end, detail = ForeseenEnd(told.kind.value), refused.detail
    return replace(
        foreseen, end=end, policy=None, code=told.code, detail=detail, copied_to=copied_to
    )
